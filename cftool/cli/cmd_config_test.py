"""`cftool config test`: log in to a remote, list it, and tell what works there and what does not."""

import time
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cftool.cli import exits
from cftool.cli.session import Session
from cftool.core import paths
from cftool.core.errors import CftoolError, ConfigError, NotFound
from cftool.core.types import Cap

if TYPE_CHECKING:
    from collections.abc import Callable

    from cftool.stack import Opened

_CAPS = (
    (Cap.COPY, "server-side copy"),
    (Cap.MOVE, "server-side move"),
    (Cap.SET_MODIFIED, "times set without a new upload"),
    (Cap.WALK, "recursive listing"),
    (Cap.DELETE_MANY, "deletion in batches"),
    (Cap.RESUME, "resumed uploads"),
    (Cap.EMPTY_DIRS, "empty directories"),
)

_EDITS = {
    True: "the server refuses to overwrite what changed meanwhile",
    False: "looked at just before and after a write: a change in between is seen, and both versions are kept",
    None: "whether the server refuses to overwrite what changed meanwhile is not known yet: --write tries it",
}


def probe(
    session: Session,
    name: Annotated[str, Argument(metavar="NAME[:PATH]")],
    write: Annotated[bool, Option("--write", help="Write, read and delete a small file too.")] = False,
) -> int:
    """Log in to a remote and tell what works; exit 4 where the login fails."""
    address = name if ":" in name else f"{name}:"
    opened = session.open(address)
    codes = [_step(session, address, "list", lambda: _list(opened, new=write))]
    if codes == [exits.DONE] and write:
        codes.append(_step(session, address, "write", lambda: _write(opened)))
    if codes == [exits.DONE] * len(codes):
        _tell(session, opened, tried=write)
    return exits.worst(codes)


def _step(session: Session, address: str, what: str, action: "Callable[[], str]") -> int:
    try:
        found = action()
    except (CftoolError, OSError) as error:
        if session.out.json:
            session.out.event("probe", {"probe": what, "ok": False})
        return session.report(error, address)
    if session.out.json:
        session.out.event("probe", {"probe": what, "ok": True, "detail": found})
    else:
        session.out.line(f"{what + ':':<7} {session.out.name(found)}")
    return exits.DONE


def _list(opened: "Opened", *, new: bool) -> str:
    """Count entries; `new`: a place where nothing is yet will do, for the write makes it."""
    count = 0
    try:
        for _entry in opened.store.scan(opened.path):
            count += 1
            if count > 1000:
                return "more than 1,000 entries"
    except NotFound:
        if not new:
            raise
        return "nothing there yet"
    return f"{count} entr{'y' if count == 1 else 'ies'}"


def _write(opened: "Opened") -> str:
    """A file of unique name there and back; it is deleted whatever happens."""
    import os

    from cftool.core.sources import BytesSource

    if not opened.path and Cap.IMPLICIT_DIRS in opened.store.features.caps and not opened.address.path:
        raise ConfigError("--write needs a place to write to: cftool config test --write NAME:PATH")
    data = os.urandom(64)
    path = paths.join(opened.path, f".cftool-test-{data.hex()[:16]}.tmp")
    store = opened.store
    store.write(path, BytesSource(data), modified_ns=time.time_ns())
    try:
        with store.read(path) as download:
            same = download.read() == data
    finally:
        store.delete(path)
    if not same:
        raise ConfigError("what was read is not what was written")
    store.probe(opened.path)
    return "written, read back, deleted"


def _tell(session: Session, opened: "Opened", *, tried: bool) -> None:
    features = opened.store.features
    conditional = bool(features.caps & (Cap.IF_VERSION | Cap.IF_ABSENT))
    works = [text for cap, text in _CAPS if cap in features.caps]
    lacks = [text for cap, text in _CAPS if cap not in features.caps]
    if session.out.json:
        fields = {
            "identity": features.identity,
            "hashes": sorted(features.hashes),
            "conditional_writes": True if conditional else False if tried else None,
            "works": works,
            "lacks": lacks,
        }
        session.out.event("features", fields)
        return
    rows = [
        ("works", ", ".join(works)),
        ("lacks", ", ".join(lacks)),
        ("hashes", ", ".join(sorted(features.hashes))),
        ("times", "kept" if features.time_precision_ns is not None else "not kept"),
        ("edits", _EDITS[True if conditional else False if tried else None]),
    ]
    for name, text in rows:
        session.out.line(f"{name + ':':<7} {text or '-'}")
