"""`cftool cleanup`: what killed runs left on a remote or below a directory: upload sessions and temporary names."""

from typing import Annotated

from typer import Argument, Option

from cftool.cli import formats
from cftool.cli.options import DryRun, Text
from cftool.cli.run import execute
from cftool.cli.session import Session
from cftool.core.errors import told_at


def cleanup(
    session: Session,
    flags: DryRun,
    where: Annotated[str, Argument(metavar="REMOTE:[PATH]")],
    older_than: Annotated[
        Text, Option("--older-than", metavar="T", help="Those of other machines too, where older than T.")
    ] = None,
) -> int:
    """List and remove what killed runs of this machine left there."""
    age = None if older_than is None else formats.parse_duration(older_than, "--older-than")
    opened = session.open(where)
    from cftool.transfer import api

    def step(around: api.Surroundings, emit: api.Emit) -> api.Summary:
        with told_at(where):
            return api.cleanup(api.side(opened), api.Options(dry_run=flags.dry_run), around, emit, older_than=age)

    return execute(session, [step], dry_run=flags.dry_run, verb="deleted")
