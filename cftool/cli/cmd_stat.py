"""`cftool stat`: everything that one request tells of an entry."""

from typing import Annotated

from typer import Argument

from cftool.cli import exits, formats
from cftool.cli.listing import entry_fields
from cftool.cli.session import Session
from cftool.core.errors import CftoolError, NotADirectory
from cftool.core.types import Entry


def stat(session: Session, paths: Annotated[list[str], Argument(metavar="PATH...")]) -> int:
    """Show all metadata of an entry."""
    session.read_only = True
    codes = []
    for text in paths:
        try:
            opened = session.open(text, cached=True)
            entry = opened.store.stat(opened.path)
            if opened.address.trailing_slash and not entry.is_dir:
                raise NotADirectory("not a directory", op="stat", path=opened.path, store=opened.store.name)
        except (CftoolError, OSError) as error:
            codes.append(session.report(error, text))
            continue
        if session.out.json:
            session.out.event("entry", {**entry_fields(entry), "path": text, "kind": entry.kind.value, "id": entry.id})
        else:
            _show(session, text, entry)
    return exits.worst(codes)


def _show(session: Session, text: str, entry: Entry) -> None:
    rows: list[tuple[str, str | None]] = [
        ("path", session.out.name(text)),
        ("kind", entry.kind.value),
        ("size", None if entry.size is None or entry.is_dir else f"{entry.size} ({formats.size(entry.size)})"),
        ("modified", _time(entry.modified_ns)),
        ("stored", _time(entry.stored_ns)),
        ("version", entry.version and session.out.name(entry.version)),
        ("id", entry.id and session.out.name(entry.id)),
        *((name, value) for name, value in sorted(entry.hashes.items())),
    ]
    for name, value in rows:
        if value is not None:
            session.out.line(f"{name + ':':<10} {value}")


def _time(ns: int | None) -> str | None:
    return None if ns is None else f"{formats.local_time(ns)} local, {formats.utc_time(ns)}"
