"""What users were promised: commands, flags, events and exit codes, written down by hand and not from the program.

`test_shown` compares this with the program, in both directions, and `shown` says which test shows each.
"""

_FILTERS = (
    "--include", "--exclude", "--filter", "--include-from", "--exclude-from", "--filter-from", "--files-from",
    "--min-size", "--max-size", "--min-age", "--max-age",
)  # fmt: skip
_MOVING = (
    "--transfers", "--checkers", "--bwlimit", "--retries", "--verify", "--wait-lock", "--stats",
    "--metrics-file",
)  # fmt: skip
_TRANSFER = (
    "--dry-run", *_FILTERS, "--checksum", "--size-only", "--update", "--ignore-existing", "--existing",
    "--ignore-times", *_MOVING, "--max-transfer", "--max-duration", "--links", "--trash", "--suffix",
)  # fmt: skip

COMMON = ("--config", "--quiet", "--verbose", "--json", "--log-file", "--log-format", "--help")
"""Flags of every command."""

COMMANDS: dict[str, tuple[str, ...]] = {
    "ls": (
        *_FILTERS, "--long", "--recursive", "--dirs-only", "--files-only", "--depth", "--human", "--hash", "--sort",
        "--reverse", "--null", "--all", "-1",
    ),
    "cp": (*_TRANSFER, "--recursive"),
    "mv": (*_TRANSFER, "--recursive"),
    "sync": (
        *_TRANSFER, "--watch", "--no-delete", "--max-delete", "--force-delete", "--allow-empty-source",
        "--track-renames", "--delete-excluded", "--plan",
    ),
    "check": (*_TRANSFER, "--one-way", "--download"),
    "apply": (*_MOVING, "--dry-run"),
    "cleanup": ("--older-than", "--dry-run"),
    "rm": (*_FILTERS, "--recursive", "--force", "--dry-run"),
    "mkdir": ("--parents", "--dry-run"),
    "rmdir": ("--parents", "--ignore-fail-on-non-empty", "--dry-run"),
    "touch": ("--no-create", "--date", "-t", "--reference", "--dry-run"),
    "cat": ("--offset", "--count"),
    "put": (),
    "stat": (),
    "du": (*_FILTERS, "--human", "--plot", "--summarize"),
    "df": ("--human",),
    "tree": ("--depth", "--dirs-only", "--size", "--human", "--all"),
    "hash": ("--check", "--download", "--strict", "--ignore-missing", "--recursive"),
    "link": ("--expires",),
    "mount": (
        "--foreground", "--read-only", "--allow-other", "--cache-mode", "--fsync", "--stats-dir", "--cache",
        "--metadata-cache", "--cache-size", "--hard-cache-size-limit", "--cache-id", "--drain", "--no-passthrough",
        "--noexec", "--uid", "--gid", "--umask",
    ),
    "umount": ("--timeout", "--lazy"),
    "cache status": (),
    "cache flush": ("--timeout",),
    "cache clear": ("--force",),
    "cache fsck": ("--download",),
    "cache compact": (),
    "config create": (),
    "config wizard": ("--no-browser",),
    "config list": (),
    "config show": (),
    "config remove": (),
    "config login": ("--no-browser",),
    "config test": ("--write",),
    "config path": (),
    "config import-rclone": (),
    "trash list": ("--trash", "--older-than"),
    "trash empty": ("--trash", "--older-than", "--dry-run"),
    "restore": ("--at", "--force", "--trash", "--dry-run"),
    "completion": (),
    "version": (),
    "help": (),
}  # fmt: skip

EVENTS = (
    "entry", "copy", "delete", "move", "mkdir", "skip", "error", "summary", "difference", "check", "checked", "du",
    "df", "tree", "hash", "link", "touch", "plot", "old", "remote", "config", "login", "probe", "features", "cache",
    "cleared", "flushed", "compacted", "metadata", "mounted", "unmounted", "completion", "version", "help",
)  # fmt: skip

EXITS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130, 141)
"""Of the shells' own: 141 is 128 + SIGPIPE, where the reader of a pipe went away."""


def promised() -> set[str]:
    """Every name that needs a test: `sync`, `sync --plan`, `--json`, `event copy`, `exit 6`."""
    names = {*COMMANDS, *COMMON}
    names |= {f"{command} {flag}" for command, flags in COMMANDS.items() for flag in flags}
    return names | {f"event {event}" for event in EVENTS} | {f"exit {code}" for code in EXITS}
