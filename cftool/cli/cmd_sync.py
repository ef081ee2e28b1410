"""`cftool sync`: make directory DST hold exactly what SRC holds. What it may delete is the engine's gate to say."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from typer import Argument

from cftool.cli import formats
from cftool.cli.run import Step, execute
from cftool.cli.selection import Selection
from cftool.cli.session import Session
from cftool.cli.transfer_flags import Deletion, Transfer, options, prepare
from cftool.core.errors import ConfigError

if TYPE_CHECKING:
    from cftool.stack import Opened
    from cftool.transfer.options import Options


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
    if deletion.plan == "":
        raise ConfigError("--plan: the name of the file is empty")
    if deletion.plan is not None and deletion.watch is not None:
        raise ConfigError("--watch does not go with --dry-run or --plan")
    prepare(session, flags)
    if "-" in {src, dst}:
        raise ConfigError("sync takes directories; cp takes - for one file")
    source, target = session.open(src), session.open(dst)
    session.needs_directory(source, "sync takes directories; cp copies a file")
    session.warn_of_local(dst)
    from cftool.transfer import api

    if deletion.plan is not None:
        return _planned(session, source, target, how, deletion.plan)

    def step(around: api.Surroundings, emit: api.Emit) -> api.Summary:
        return api.sync(api.side(source), api.side(target), how, around, emit)

    if deletion.watch is not None:
        return _watched(session, source, step, deletion.watch, dry_run=how.dry_run)
    return execute(session, [step], dry_run=how.dry_run, verb="synced")


def _watched(session: Session, source: "Opened", step: Step, text: str, *, dry_run: bool) -> int:
    """Sync again and again, until Ctrl-C or until it cannot work at all."""
    from cftool.transfer import api
    from cftool.transfer.watch import Watch

    if dry_run:
        raise ConfigError("--watch does not go with --dry-run or --plan")
    interval = formats.parse_duration(text or "60", "--watch")
    if interval < 1:
        raise ConfigError("--watch: less than a second apart is no interval")
    failed = hopeless = False

    def once(around: api.Surroundings, emit: api.Emit) -> api.Summary:
        nonlocal failed, hopeless
        hopeless = True  # what a run raises concerns every run
        done = step(around, emit)
        hopeless, failed = False, bool(done.errors or done.stopped)
        return done

    def steps() -> Iterator[Step]:
        watch = Watch(api.side(source), interval=interval, cancelled=session.interrupts.cancelled)
        try:
            session.messages.detail(f"{source.address.text}: {watch.how}")
            yield once
            while not hopeless:
                watch.wait(failed=failed)
                yield once  # where it is to end, the run sees that before it begins
        finally:
            watch.close()

    return execute(session, steps(), verb="synced")


def _planned(session: Session, source: "Opened", target: "Opened", how: "Options", path: str) -> int:
    """Write the plan, and show it as a dry run shows it."""
    from cftool.transfer import api

    for opened in (source, target):
        _no_secret(session, opened)
    dry = replace(how, dry_run=True)

    def step(around: api.Surroundings, emit: api.Emit) -> api.Summary:
        return api.plan(api.side(source), api.side(target), dry, around, emit, path=path)

    return execute(session, [step], dry_run=True, verb="synced")


def _no_secret(session: Session, opened: "Opened") -> None:
    """A plan holds both addresses as they were typed."""
    from cftool import registry

    address = opened.address
    if address.remote is None or not address.overrides:
        return
    remote = session.config.remote(address.remote)
    provider = registry.provider((remote.type if remote is not None else None) or address.remote)
    secret = sorted({option.name for option in provider.options if option.secret} & address.overrides.keys())
    if secret:
        raise ConfigError(f"--plan would write {', '.join(secret)} of an address to a file; configure it instead")
