"""`cftool restore`: a file, or a directory with all below it, as it was before a run with --trash took it away."""

from datetime import datetime
from typing import Annotated

from typer import Argument, Option

from cftool.cli import formats
from cftool.cli.options import DryRun, Text
from cftool.cli.run import execute
from cftool.cli.session import Session
from cftool.cli.transfer_flags import trash_of
from cftool.core import paths
from cftool.core.errors import ConfigError, NotFound


def restore(
    session: Session,
    flags: DryRun,
    path: Annotated[str, Argument(metavar="PATH")],
    to: Annotated[str | None, Argument(metavar="[TO]")] = None,
    at: Annotated[Text, Option("--at", metavar="TIME", help="As it was then: a time, or how long ago (2h).")] = None,
    force: Annotated[bool, Option("-f", "--force", help="Replace what is there; it goes to the trash itself.")] = False,
    trash: Annotated[Text, Option("--trash", metavar="[=DIR]", help="The DIR that sync --trash=DIR was given.")] = None,
) -> int:
    """Bring back what --trash kept at and below PATH, to where it was or to TO; what the trash holds stays there."""
    folder = trash_of(trash or "") or ""
    opened = session.open(path, follow=False)
    around = session.surroundings()
    when = None if at is None else moment(at, around.now())
    from cftool.transfer import api
    from cftool.transfer import trash as kept

    found = kept.find(opened.store, opened.path, folder)
    if found is None:
        raise NotFound("no trash at or above has anything of this name").at_place(path)
    root, rest = found
    source = api.side(opened, root)
    if to is None:
        target, name = source, rest
    elif not rest:
        target, name = api.side(session.open(to)), ""
    else:
        other = session.open(to)
        where = paths.join(other.path, rest.rpartition("/")[2]) if other.address.trailing_slash else other.path
        target, name = api.side(other, paths.parent(where)), where.rpartition("/")[2]
        if not name:
            raise ConfigError(f"{to}: say under which name it is to be restored")

    def step(around: api.Surroundings, emit: api.Emit) -> api.Summary:
        how = api.Options(dry_run=flags.dry_run, trash=folder)
        return api.restore(source, rest, target, name, how, around, emit, trash=folder, when=when, replace=force)

    return execute(session, [step], dry_run=flags.dry_run, verb="restored")


def moment(text: str, now: float) -> float:
    """Seconds since the epoch of a time as people, folders of a trash, or RFC 3339 write it; local without a zone."""
    day, mark, clock = text.strip().replace(" ", "T").partition("T")
    try:
        # A folder's name has dashes where a time has colons; the date before it has its own.
        return datetime.fromisoformat(
            day + mark + clock.replace("-", ":", 2) if clock.count("-") >= 2 else text
        ).timestamp()
    except ValueError:
        pass
    try:
        return now - formats.parse_duration(text, "--at")
    except ConfigError:
        raise ConfigError(f"--at: {text!r} is no time such as 2026-01-31T16:05, and no duration such as 2h") from None
