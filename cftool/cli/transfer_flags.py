"""The flags that cp, sync and check share, and their translation into the engine's Options.

Every value is a bool or a text here; `options()` reads the texts and names the flag where one is wrong. Flags of later
versions are absent, never accepted and ignored.
"""

import enum
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from typer import Option

from cftool.cli import formats
from cftool.cli.options import Text
from cftool.cli.selection import Selection, select
from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError

if TYPE_CHECKING:
    from cftool.cli.session import Session
    from cftool.transfer.options import MaxDelete, Options

_FULL_SPEED = 1 << 20  # bytes a second below which fewer connections are opened: each must get on
_PER_CONNECTION = 64 << 10
_E = TypeVar("_E", bound=enum.Enum)


@dataclass(frozen=True)
class Transfer:
    """What cp, sync and check share."""

    dry_run: Annotated[bool, Option("-n", "--dry-run", help="Show what would be done; change nothing.")] = False
    checksum: Annotated[bool, Option("-c", "--checksum", help="Compare by hash, never by time.")] = False
    size_only: Annotated[bool, Option("--size-only", help="Compare by size alone.")] = False
    update: Annotated[bool, Option("-u", "--update", help="Skip files that are newer at the destination.")] = False
    ignore_existing: Annotated[bool, Option("--ignore-existing", help="Skip files that are there, equal or not.")] = (
        False
    )
    existing: Annotated[bool, Option("--existing", help="Skip files that are not at the destination yet.")] = False
    ignore_times: Annotated[bool, Option("--ignore-times", help="Copy every file, equal or not.")] = False
    transfers: Annotated[
        Text, Option("--transfers", metavar="N", help="Files or parts in flight at once, at most.")
    ] = None
    checkers: Annotated[Text, Option("--checkers", metavar="N", help="Comparisons in flight at once, at most.")] = None
    bwlimit: Annotated[
        Text, Option("--bwlimit", metavar="RATE", help="10M, UP:DOWN, or a timetable '08:00,512k 19:00,off'.")
    ] = None
    max_transfer: Annotated[Text, Option("--max-transfer", metavar="SIZE", help="Begin no file after SIZE.")] = None
    max_duration: Annotated[Text, Option("--max-duration", metavar="T", help="Begin no file after T.")] = None
    retries: Annotated[
        Text, Option("--retries", metavar="N", help="Attempts at a file that changed or failed (3).")
    ] = None
    links: Annotated[
        Text, Option("--links", metavar="skip|follow|keep", help="Symbolic links of local trees (skip).")
    ] = None
    verify: Annotated[
        Text, Option("--verify", metavar="auto|readback|none", help="How copies are verified (auto).")
    ] = None
    trash: Annotated[
        Text, Option("--trash", metavar="[=DIR]", help="Move what is deleted or replaced to DIR/.cftool-trash of DST.")
    ] = None
    suffix: Annotated[Text, Option("--suffix", metavar="S", help="Keep what is replaced beside it, as NAME + S.")] = (
        None
    )
    wait_lock: Annotated[Text, Option("--wait-lock", metavar="T", help="Wait for another run to end.")] = None
    stats: Annotated[Text, Option("--stats", metavar="T", help="A line of what is done so far, every T.")] = None
    metrics_file: Annotated[Text, Option("--metrics-file", metavar="F", help="Figures for Prometheus, in F.")] = None


@dataclass(frozen=True)
class Deletion:
    """What sync alone has: how far it may delete."""

    no_delete: Annotated[bool, Option("--no-delete", help="Delete nothing.")] = False
    max_delete: Annotated[
        Text, Option("--max-delete", metavar="N|P%", help="Delete no more (50% where that is over 100 files).")
    ] = None
    force_delete: Annotated[bool, Option("--force-delete", help="Delete although the source is another one.")] = False
    track_renames: Annotated[
        bool, Option("--track-renames", help="Move what has another name instead of sending it again.")
    ] = False
    plan: Annotated[Text, Option("--plan", metavar="FILE", help="Write what would be done to FILE, for apply.")] = None
    watch: Annotated[
        Text, Option("--watch", metavar="[=T]", help="Go on, and sync again when SRC changes; look each T (60s).")
    ] = None
    allow_empty_source: Annotated[bool, Option("--allow-empty-source", help="An empty source may empty DST.")] = False
    delete_excluded: Annotated[bool, Option("--delete-excluded", help="Delete what the filters leave out, too.")] = (
        False
    )


@dataclass(frozen=True)
class Applied:
    """What apply has; everything else is in the plan."""

    dry_run: Annotated[bool, Option("-n", "--dry-run", help="Check and show it all; change nothing.")] = False
    transfers: Annotated[
        Text, Option("--transfers", metavar="N", help="Files or parts in flight at once, at most.")
    ] = None
    checkers: Annotated[Text, Option("--checkers", metavar="N", help="Looks at files in flight at once.")] = None
    bwlimit: Annotated[Text, Option("--bwlimit", metavar="RATE", help="Bytes per second at most.")] = None
    retries: Annotated[Text, Option("--retries", metavar="N", help="Attempts at a file that failed (3).")] = None
    verify: Annotated[
        Text, Option("--verify", metavar="auto|readback|none", help="How copies are verified (auto).")
    ] = None
    wait_lock: Annotated[Text, Option("--wait-lock", metavar="T", help="Wait for another run to end.")] = None
    stats: Annotated[Text, Option("--stats", metavar="T", help="A line of what is done so far, every T.")] = None
    metrics_file: Annotated[Text, Option("--metrics-file", metavar="F", help="Figures for Prometheus, in F.")] = None

    def shared(self) -> Transfer:
        """The same flags among all others."""
        return Transfer(**{field.name: getattr(self, field.name) for field in fields(self)})


def options(flags: Transfer, chosen: Selection, deletion: Deletion | None = None, **more: Any) -> "Options":
    """The engine's Options of these flags; ConfigError names the flag that is wrong."""
    from cftool.transfer.limits import Budget
    from cftool.transfer.options import Links, Options, Verify

    if flags.size_only and flags.checksum:
        raise ConfigError("--size-only and --checksum exclude each other")
    if flags.existing and flags.ignore_existing:
        raise ConfigError("--existing and --ignore-existing together select nothing")
    default = Options()
    values: dict[str, Any] = {
        name: getattr(flags, name)
        for name in ("dry_run", "checksum", "size_only", "update", "ignore_existing", "existing", "ignore_times")
    }
    values["transfers"] = _optional(flags.transfers, "--transfers", least=1)
    values["checkers"] = _optional(flags.checkers, "--checkers", least=1)
    if flags.retries is not None:
        values["retries"] = formats.parse_count(flags.retries, "--retries")
    values["links"] = choice(Links, flags.links, "--links", default.links)
    values["verify"] = choice(Verify, flags.verify, "--verify", default.verify)
    values["select"] = select(chosen)
    if flags.max_transfer is not None:
        values["max_transfer"] = formats.parse_size(flags.max_transfer, "--max-transfer")
    if flags.max_duration is not None:
        values["max_duration"] = formats.parse_duration(flags.max_duration, "--max-duration")
    values["trash"] = trash_of(flags.trash)
    values["suffix"] = flags.suffix
    values["budget"] = Budget(values.get("max_transfer"), values.get("max_duration"))
    if flags.wait_lock is not None:
        values["wait_lock"] = formats.parse_duration(flags.wait_lock, "--wait-lock")
    if deletion is not None:
        values["delete"] = not deletion.no_delete
        values["force_delete"] = deletion.force_delete
        values["allow_empty_source"] = deletion.allow_empty_source
        values["track_renames"] = deletion.track_renames
        values["delete_excluded"] = deletion.delete_excluded
        if deletion.max_delete is not None:
            values["max_delete"] = _max_delete(deletion.max_delete)
    return Options(**values, **more)


def trash_of(text: str | None) -> str | None:
    """The trash of `--trash[=DIR]`, relative to the destination."""
    if text is None:
        return None
    from cftool.transfer.keep import trash_folder

    return trash_folder(text)


def prepare(session: "Session", flags: Transfer) -> None:
    """Set the session up before anything is opened: connections, what is reported, and the pace of --bwlimit.

    Of a slow pace no more connections are opened than it can feed.
    """
    session.metrics_file = flags.metrics_file
    if flags.stats is not None:
        session.stats = formats.parse_duration(flags.stats, "--stats") or None
    session.connections = _optional(flags.transfers, "--transfers", least=1)
    if flags.bwlimit is None:
        return
    from cftool.transfer import limits

    try:
        table = limits.parse(flags.bwlimit)
    except ValueError as error:
        raise ConfigError(f"--bwlimit: {error}") from error
    slowest = table.slowest()
    if slowest is None:
        return
    session.pace = limits.Throttle(table, cancelled=session.interrupts.stopping)
    if session.connections is None and slowest < _FULL_SPEED:
        session.connections = max(1, slowest // _PER_CONNECTION)


def choice(kind: type[_E], text: str | None, flag: str, default: _E) -> _E:
    """The member of `kind` that `text` names."""
    if text is None:
        return default
    for member in kind:
        if member.value == text:
            return member
    raise ConfigError(f"{flag}: {text!r} is none of {', '.join(str(member.value) for member in kind)}")


def _optional(text: str | None, flag: str, *, least: int) -> int | None:
    return None if text is None else formats.parse_count(text, flag, least=least)


def _max_delete(text: str) -> "MaxDelete":
    from cftool.transfer.options import MaxDelete

    if text.endswith("%"):
        try:
            share = float(text[:-1]) / 100
        except ValueError:
            share = -1
        if not 0 <= share <= 1:
            raise ConfigError(f"--max-delete: {text!r} is no percentage from 0% to 100%")
        return MaxDelete(files=None, share=share)
    return MaxDelete(files=formats.parse_count(text, "--max-delete"), share=None)
