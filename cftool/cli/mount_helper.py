"""`mount.cftool`, which mount(8) runs for `mount -t cftool REMOTE:PATH DIR -o …` and for lines of /etc/fstab.

    work:data  /mnt/data  cftool  noauto,ro,allow_other,config=/etc/cftool.toml  0 0

Options that are flags of `cftool mount` are handed on (with `_` or `-`), those of mount(8) and of systemd that ask for
what is so anyway, or for what a remote does not have, are passed over, anything else is refused. It is to be found in
/sbin: `ln -s "$(command -v mount.cftool)" /sbin/`.
"""

import os
import sys
from collections.abc import Sequence

from cftool.cli import exits

# What mount(8), systemd and users write beside the options of a file system, and the kernel or nobody acts upon.
_NOT_OURS = frozenset({
    "rw", "auto", "noauto", "user", "nouser", "users", "owner", "group", "defaults", "_netdev", "nofail", "exec",
    "suid", "nosuid", "dev", "nodev", "atime", "noatime", "relatime", "norelatime", "diratime", "nodiratime",
    "strictatime", "lazytime", "sync", "async", "dirsync",
})  # fmt: skip
_LONG = {"ro": "read-only"}
_SWITCHES = frozenset({"read-only", "allow-other", "stats-dir", "no-passthrough", "noexec"})
_VALUES = frozenset({
    "cache", "cache-size", "hard-cache-size-limit", "metadata-cache", "cache-id", "cache-mode", "fsync", "drain",
    "config", "log-file", "log-format", "uid", "gid", "umask",
})  # fmt: skip


class Refused(Exception):
    """The command line cannot be understood; in words."""


def command(arguments: Sequence[str]) -> list[str]:
    """The arguments for `cftool` of those that mount(8) gives to a helper. Raises Refused."""
    places: list[str] = []
    flags: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word in {"-o", "-t", "-N"}:
            if not rest:
                raise Refused(f"{word} needs a value")
            value = rest.pop(0)
            if word == "-N":
                raise Refused("mount namespaces by name are not supported")
            flags += _flags(value) if word == "-o" else []
        elif word.startswith("-") and set(word[1:]) <= set("sfnvrw") and len(word) > 1:
            if "f" in word:
                return []  # --fake: everything but the mount
            flags += ["--verbose"] * word.count("v") + ["--read-only"] * ("r" in word)
        else:
            places.append(word)
    if len(places) != 2:
        raise Refused("usage: mount.cftool REMOTE:PATH DIR [-o OPTIONS]")
    quiet = [] if "--verbose" in flags else ["--quiet"]
    return ["mount", *quiet, *flags, "--", *places]


def _flags(text: str) -> list[str]:
    found: list[str] = []
    for option in _split(text):
        name, equals, value = option.partition("=")
        if not name or name in _NOT_OURS or name.startswith(("x-", "comment")):
            continue
        name = _LONG.get(name, name.replace("_", "-"))
        if name in _SWITCHES and not equals:
            found.append(f"--{name}")
        elif name in _VALUES and equals:
            found += [f"--{name}", value]
        else:
            raise Refused(f"the option {option!r} is not known; options are the flags of cftool mount")
    return found


def _split(text: str) -> list[str]:
    """At commas, but for those within double quotes."""
    pieces, quoted = [""], False
    for char in text:
        if char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            pieces.append("")
        else:
            pieces[-1] += char
    return pieces


def main() -> None:
    """The console script. Without a home, as under systemd, it is looked up: the configuration is there."""
    if "HOME" not in os.environ:
        import pwd

        os.environ["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
    try:
        arguments = command(sys.argv[1:])
    except Refused as error:
        sys.stderr.write(f"mount.cftool: {error}\n")
        sys.exit(exits.USAGE)
    if not arguments:
        sys.exit(exits.DONE)
    from cftool.cli.main import main as run

    sys.argv = ["cftool", *arguments]
    run()
