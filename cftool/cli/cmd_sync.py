"""`cftool sync`: make directory DST hold exactly what SRC holds. What it may delete is the engine's gate to say."""

from typing import Annotated

from typer import Argument

from cftool.cli.run import execute
from cftool.cli.selection import Selection
from cftool.cli.session import Session
from cftool.cli.transfer_flags import Deletion, Transfer, options, prepare
from cftool.core.errors import ConfigError


def sync(
    session: Session,
    flags: Transfer,
    chosen: Selection,
    deletion: Deletion,
    src: Annotated[str, Argument(metavar="SRC")],
    dst: Annotated[str, Argument(metavar="DST")],
) -> int:
    """Make directory DST hold exactly what SRC holds: copy what differs, then delete what SRC lacks."""
    how = options(flags, chosen, deletion)
    prepare(session, flags)
    if "-" in {src, dst}:
        raise ConfigError("sync takes directories; cp takes - for one file")
    source, target = session.open(src), session.open(dst)
    session.needs_directory(source, "sync takes directories; cp copies a file")
    from cftool.transfer import api

    def step(around: api.Surroundings, emit: api.Emit) -> api.Summary:
        return api.sync(api.side(source), api.side(target), how, around, emit)

    return execute(session, [step], dry_run=how.dry_run, verb="synced")
