"""`cftool trash list` and `trash empty`: what sync, cp and mv kept with --trash below a destination."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cftool.cli import exits, formats
from cftool.cli.options import DryRun, Text
from cftool.cli.run import execute
from cftool.cli.session import Session
from cftool.cli.transfer_flags import trash_of
from cftool.core.errors import told_at

if TYPE_CHECKING:
    from cftool.stack import Opened


@dataclass(frozen=True)
class Which:
    """Which trash, and what of it."""

    trash: Annotated[Text, Option("--trash", metavar="[=DIR]", help="The DIR that sync --trash=DIR was given.")] = None
    older_than: Annotated[Text, Option("--older-than", metavar="T", help="What was kept longer than T ago.")] = None

    def folder(self) -> str:
        """The trash, relative to the destination."""
        return trash_of(self.trash or "") or ""

    def age(self) -> float | None:
        """In seconds."""
        return None if self.older_than is None else formats.parse_duration(self.older_than, "--older-than")


def list_(session: Session, which: Which, where: Annotated[str, Argument(metavar="DST")]) -> int:
    """List what a trash holds: when it was kept, its size, and the name that it had."""
    session.read_only = True
    folder, age = which.folder(), which.age()
    opened = _there(session, where)
    from cftool.transfer import api

    out = session.out
    for old in api.trash_files(api.side(opened), folder, session.surroundings(), older_than=age):
        entry = old.entry
        if out.json:
            when = formats.utc_time(int(old.folder.when) * 1_000_000_000)
            modified = None if entry.modified_ns is None else formats.utc_time(entry.modified_ns)
            fields = {"path": old.path, "kept": when, "in": entry.path, "bytes": entry.size, "modified": modified}
            out.event("old", fields)
        else:
            size = "-" if entry.size is None else str(entry.size)
            out.line(f"{old.folder.name}\t{size}\t{out.name(old.path)}")
    return exits.DONE


def empty(session: Session, flags: DryRun, which: Which, where: Annotated[str, Argument(metavar="DST")]) -> int:
    """Delete what a trash holds, for good."""
    folder, age = which.folder(), which.age()
    opened = _there(session, where)
    from cftool.transfer import api

    def step(around: api.Surroundings, emit: api.Emit) -> api.Summary:
        how = api.Options(dry_run=flags.dry_run)
        return api.empty_trash(api.side(opened), folder, how, around, emit, older_than=age)

    return execute(session, [step], dry_run=flags.dry_run, verb="deleted")


def _there(session: Session, where: str) -> "Opened":
    """The place, which is there: of one that is misspelt nobody should believe that its trash is empty."""
    opened = session.open(where)
    with told_at(where):
        opened.store.stat(opened.path)
    return opened
