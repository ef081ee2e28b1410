"""`cftool touch`: makes empty files, and sets the time of those that are there. Content is never sent again.

What a store cannot keep is told: nothing counts as done that was not.
"""

import time
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cftool.cli import exits, formats, times
from cftool.cli.each import each
from cftool.cli.options import DryRun, Text
from cftool.cli.session import Session
from cftool.core.dataclass import dataclass
from cftool.core.errors import AlreadyExists, ConfigError, IsADirectory, NotADirectory, NotFound, Unsupported
from cftool.core.sources import BytesSource
from cftool.core.types import Cap

if TYPE_CHECKING:
    from cftool.core.store import Store
    from cftool.core.types import Entry
    from cftool.stack import Opened


@dataclass(frozen=True)
class When:
    """Which time touch sets."""

    no_create: Annotated[bool, Option("-c", "--no-create", help="Make no file.")] = False
    date: Annotated[Text, Option("-d", "--date", metavar="WHEN", help="This time, as '2 hours ago'.")] = None
    stamp: Annotated[Text, Option("-t", metavar="STAMP", help="This time: [[CC]YY]MMDDhhmm[.ss].")] = None
    reference: Annotated[Text, Option("-r", "--reference", metavar="FILE", help="The time of FILE.")] = None


def touch(session: Session, when: When, flags: DryRun, paths: Annotated[list[str], Argument(metavar="PATH...")]) -> int:
    """Make empty files, or set the time of files to now."""
    wanted = _wanted(session, when)

    def one(text: str) -> int:
        opened = session.open(text)
        entry = _look(opened)
        if entry is None and when.no_create:
            return exits.DONE
        if flags.dry_run:
            _tell(session, text, wanted, created=entry is None, dry_run=True)
            return exits.TO_DO
        created = entry is None and _create(opened, wanted, must_keep=wanted is not None)
        if not created:
            _set(opened.store, opened.path, time.time_ns() if wanted is None else wanted)
        _tell(session, text, wanted, created=created, dry_run=False)
        return exits.DONE

    return each(session, paths, one)


def _wanted(session: Session, when: When) -> int | None:
    """The time that the flags name; None for now."""
    given = [value for value in (when.date, when.stamp, when.reference) if value is not None]
    if len(given) > 1:
        raise ConfigError("-d, -t and -r exclude each other")
    if when.date is not None:
        return times.parse_date(when.date, time.time_ns())
    if when.stamp is not None:
        return times.parse_stamp(when.stamp, time.time_ns())
    if when.reference is None:
        return None
    opened = session.open(when.reference)
    modified = opened.store.stat(opened.path).modified_ns
    if modified is None:
        raise Unsupported("its time is not known", op="stat", path=opened.path, store=opened.store.name)
    return modified


def _look(opened: "Opened") -> "Entry | None":
    try:
        entry = opened.store.stat(opened.path)
    except NotFound:
        if opened.address.trailing_slash:
            raise
        return None
    if entry.is_dir:
        raise IsADirectory("is a directory; touch is for files", path=opened.path, store=opened.store.name)
    if opened.address.trailing_slash:
        raise NotADirectory("not a directory", path=opened.path, store=opened.store.name)
    return entry


def _create(opened: "Opened", wanted: int | None, *, must_keep: bool) -> bool:
    """Make the file; False where somebody else made it meanwhile."""
    store, path = opened.store, opened.path
    if must_keep and store.features.time_precision_ns is None:
        raise Unsupported(f"{store.name} keeps no times of files", op="touch", path=path, store=store.name)
    when = time.time_ns() if wanted is None else wanted
    try:
        store.write(path, BytesSource(b""), modified_ns=when, if_absent=Cap.IF_ABSENT in store.features.caps)
    except AlreadyExists:
        return False
    return True


def _set(store: "Store", path: str, when: int) -> None:
    if Cap.SET_MODIFIED not in store.features.caps:
        raise Unsupported(
            f"{store.name} cannot set the time of a file that is there", op="touch", path=path, store=store.name
        )
    store.set_modified(path, when)


def _tell(session: Session, text: str, when: int | None, *, created: bool, dry_run: bool) -> None:
    if session.out.json:
        shown = None if when is None else formats.utc_time(when)
        dry = {"dry_run": True} if dry_run else {}
        session.out.event("touch", {"path": text, "created": created, "modified": shown, **dry})
    elif dry_run:
        session.out.line(f"touch {session.out.name(text)}")
    else:
        session.messages.detail(f"touch {text}")
