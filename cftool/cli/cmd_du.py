"""`cftool du`: how many bytes and files are below a path, counted from one listing."""

from dataclasses import dataclass
from typing import Annotated

from typer import Argument, Option

from cftool.cli import exits, formats
from cftool.cli.listing import Listing, Style
from cftool.cli.session import Session
from cftool.core.errors import CftoolError
from cftool.core.types import Entry, Kind


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
    paths: Annotated[list[str] | None, Argument(metavar="[PATH]...")] = None,
    human: Annotated[bool, Option("-h", "--human", help="Sizes as 3.4 MiB.")] = False,
) -> int:
    """Count bytes and files below a path: lines of BYTES, FILES and PATH with tabs between."""
    session.read_only = True
    codes = []
    listing = Listing(session, Style(depth=None))
    for text in paths or ["."]:
        count = _Count()
        try:
            codes.append(listing.visit(text, count.add))
        except (CftoolError, OSError) as error:
            codes.append(session.report(error, text))
            continue
        if count.unknown:
            what = formats.plural(count.unknown, "file")
            session.messages.warn(f"{text}: {what} of unknown size counted as empty")
        if session.out.json:
            fields = {"bytes": count.bytes, "files": count.files, "directories": count.directories}
            session.out.event("du", {"path": text, **fields})
        else:
            shown = formats.size(count.bytes) if human else str(count.bytes)
            session.out.line(f"{shown}\t{count.files}\t{session.out.name(text)}")
    return exits.worst(codes)
