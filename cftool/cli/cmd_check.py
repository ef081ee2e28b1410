"""`cftool check`: compare A and B and tell each difference; changes nothing on either side."""

from typing import Annotated

from typer import Argument, Option

from cftool.cli.run import execute
from cftool.cli.selection import Selection
from cftool.cli.session import Session
from cftool.cli.transfer_flags import Transfer, options, prepare


def check(
    session: Session,
    flags: Transfer,
    chosen: Selection,
    a: Annotated[str, Argument(metavar="A")],
    b: Annotated[str, Argument(metavar="B")],
    one_way: Annotated[bool, Option("--one-way", help="What only B has is no difference.")] = False,
    download: Annotated[bool, Option("--download", help="Compare the bytes themselves.")] = False,
) -> int:
    """Compare two directories: + only in A, - only in B, * differs, ! error."""
    how = options(flags, chosen, one_way=one_way, download=download)
    prepare(session, flags)
    session.read_only = True
    left, right = session.open(a), session.open(b)
    session.needs_directory(left, "check compares directories")
    from cftool.transfer import api

    def step(around: api.Surroundings, emit: api.Emit) -> api.Summary:
        return api.check(api.side(left), api.side(right), how, around, emit)

    return execute(session, [step], verb="checked")
