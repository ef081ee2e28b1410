"""`cftool apply`: does what `sync --plan FILE` wrote, where both sides are still what they were."""

from typing import Annotated

from typer import Argument

from cftool.cli.run import execute
from cftool.cli.selection import Selection
from cftool.cli.session import Session
from cftool.cli.transfer_flags import Applied, options, prepare
from cftool.core.errors import ConfigError


def apply(session: Session, flags: Applied, file: Annotated[str, Argument(metavar="FILE")]) -> int:
    """Do what a plan says; what is no longer as it was is an error, and then nothing is deleted."""
    if not file:
        raise ConfigError("apply: the name of the plan is empty")
    how = options(flags.shared(), Selection())
    prepare(session, flags.shared())
    from cftool.transfer import api

    plan = api.read_plan(file)
    try:
        source, target = session.open(plan.src.address), session.open(plan.dst.address)

        def step(around: api.Surroundings, emit: api.Emit) -> api.Summary:
            return api.apply(plan, api.side(source), api.side(target), how, around, emit)

        return execute(session, [step], dry_run=how.dry_run, verb="synced")
    finally:
        plan.close()
