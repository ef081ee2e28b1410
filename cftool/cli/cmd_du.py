"""`cftool du`: how many bytes and files are below a path, counted from one listing, and drawn where that is wanted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cftool.cli import formats
from cftool.cli.each import each
from cftool.cli.listing import Listing, Style
from cftool.cli.options import Text
from cftool.cli.selection import Selection, select
from cftool.cli.session import Session
from cftool.core.types import Entry, Kind

if TYPE_CHECKING:
    from cftool.cli.plot import Tally


@dataclass
class _Count:
    bytes: int = 0
    files: int = 0
    directories: int = 0
    unknown: int = 0  # files whose size the listing does not know

    def add(self, entry: Entry) -> None:
        if entry.kind is Kind.DIRECTORY:
            self.directories += 1
        elif entry.kind is Kind.FILE:
            self.files += 1
            self.bytes += entry.size or 0
            self.unknown += entry.size is None


def du(
    session: Session,
    chosen: Selection,
    paths: Annotated[list[str] | None, Argument(metavar="[PATH]...")] = None,
    human: Annotated[bool, Option("-h", "--human", help="Sizes as 3.4 MiB.")] = False,
    plot: Annotated[Text, Option("--plot", metavar="FILE.svg", help="Draw what is below into FILE.svg.")] = None,
    total: Annotated[bool, Option("-s", "--summarize", help="Always so; accepted out of habit.")] = False,
) -> int:
    """Count bytes and files below a path: lines of BYTES, FILES and PATH with tabs between."""
    del total
    session.read_only = True
    texts = paths or ["."]
    listing = Listing(session, Style(depth=None, select=select(chosen)))
    tally = None if plot is None else _tally()

    def one(text: str) -> int:
        count = _Count()
        lead = [text] if len(texts) > 1 else []

        def take(entry: Entry) -> None:
            count.add(entry)
            if tally is not None and entry.kind is Kind.FILE:
                tally.add([*lead, *entry.path.split("/")], entry.size or 0)

        code = listing.visit(text, take)
        if count.unknown:
            what = formats.plural(count.unknown, "file")
            session.messages.warn(f"{text}: {what} of unknown size counted as empty")
        if session.out.json:
            fields = {"bytes": count.bytes, "files": count.files, "directories": count.directories}
            session.out.event("du", {"path": text, **fields})
        else:
            shown = formats.size(count.bytes) if human else str(count.bytes)
            session.out.line(f"{shown}\t{count.files}\t{session.out.name(text)}")
        return code

    code = each(session, texts, one)
    if plot is not None and tally is not None:
        _write(session, plot, tally.svg(" ".join(texts), complete=not code))
    return code


def _tally() -> "Tally":
    from cftool.cli.plot import Tally

    return Tally()


def _write(session: Session, plot: str, picture: bytes) -> None:
    from cftool.core import ops

    session.read_only = False
    opened = session.open(plot)
    ops.write_bytes(opened.store, opened.path, picture)
    if session.out.json:
        session.out.event("plot", {"path": plot, "bytes": len(picture)})
    else:
        session.messages.detail(f"drew {plot}")
