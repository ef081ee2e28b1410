"""`cftool cp`: where each SRC goes, by the rules of the manual; the engine does the rest.

DST with a trailing slash, or several SRC: into that directory. DST an existing directory and SRC a file: into it.
Otherwise DST is the exact result, so that `cp -r a r:b` makes `b` hold what `a` holds, as often as it is run.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from typer import Argument

from cftool.cli import exits
from cftool.cli.options import Recursive
from cftool.cli.run import Step, execute
from cftool.cli.selection import Selection
from cftool.cli.session import Session
from cftool.cli.transfer_flags import Transfer, options, prepare
from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import CftoolError, ConfigError, NotADirectory, NotFound, told_at
from cftool.core.types import Entry, Kind
from cftool.transfer.options import Links

if TYPE_CHECKING:
    from cftool.stack import Opened
    from cftool.transfer.options import Options


@dataclass(frozen=True)
class _Source:
    """One SRC that is there."""

    opened: "Opened"
    entry: Entry


def cp(
    session: Session,
    which: Recursive,
    flags: Transfer,
    chosen: Selection,
    sources: Annotated[list[str], Argument(metavar="SRC... DST")],
) -> int:
    """Copy files, and with -r directories. Deletes nothing at the destination."""
    if len(sources) < 2:
        raise ConfigError("cp: say what to copy and where to: SRC... DST")
    *names, dst = sources
    if "-" in sources:
        prepare(session, flags)
        return _streamed(session, names, dst, options(flags, chosen))
    how = options(flags, chosen)
    prepare(session, flags)
    steps, failed = plan(session, names, dst, how, recursive=which.recursive)
    return execute(session, steps, dry_run=how.dry_run, failed=failed)


def plan(
    session: Session, names: list[str], dst: str, how: "Options", *, recursive: bool, moving: bool = False
) -> tuple[list[Step], list[BaseException]]:
    """The calls of the engine that bring each SRC to where DST says; and what failed already, and was told."""
    session.deletes = moving
    # mv moves a link, never what it leads to; where links are kept, cp copies one.
    follow = not moving and how.links is not Links.KEEP
    found: list[_Source] = []
    failed: list[BaseException] = []
    for name in names:
        try:
            found.append(_find(session, name, recursive=recursive, moving=moving, follow=follow))
        except ConfigError:
            raise
        except (CftoolError, OSError) as error:
            session.report(error, name)
            failed.append(error)
    # A link that is copied as one replaces the name; what it may lead to there is nobody's business.
    link = len(found) == 1 and found[0].entry.kind is Kind.LINK
    target = session.open(dst, follow=not link)
    entry = _look(target)
    if entry is None:
        session.warn_of_local(dst)
    inside = len(names) > 1 or target.address.trailing_slash
    if entry is not None and not entry.is_dir and (inside or any(source.entry.is_dir for source in found)):
        raise NotADirectory("a file is there; a directory is needed").at_place(dst)
    if len(found) > 1:
        _refuse_one_name(found)
    present = entry is not None and entry.is_dir
    steps = [
        _step(source, target, how, inside=inside or (present and not source.entry.is_dir), moving=moving)
        for source in found
    ]
    return steps, failed


def _find(session: Session, name: str, *, recursive: bool, moving: bool, follow: bool) -> _Source:
    opened = session.open(name, follow=follow)
    entry = opened.store.stat(opened.path)
    if entry.is_dir and not recursive:
        raise ConfigError(f"{name} is a directory; -r {'moves' if moving else 'copies'} it with all below it")
    if opened.address.trailing_slash and not entry.is_dir:
        raise NotADirectory("not a directory", op="stat", path=opened.path, store=opened.store.name)
    return _Source(opened, entry)


def _refuse_one_name(found: list[_Source]) -> None:
    """Several SRC of one name would overwrite each other in DST."""
    seen: dict[str, str] = {}
    for source in found:
        text, name = source.opened.address.text, _name(source.opened)
        if name and name in seen:
            raise ConfigError(f"{seen[name]} and {text} would both become {name}")
        seen[name] = text


def _look(opened: "Opened") -> Entry | None:
    with suppress(NotFound), told_at(opened.address.text):
        return opened.store.stat(opened.path)
    return None


def _name(opened: "Opened") -> str:
    """What a directory is called inside DST; `.`, `..` and a whole remote have no name: their content goes there."""
    name = opened.address.path.rpartition("/")[2]
    return "" if name in {".", ".."} else name


def _step(source: _Source, target: "Opened", how: "Options", *, inside: bool, moving: bool) -> Step:
    """The call of the engine for one SRC, into the directory `target` or to exactly there."""
    from cftool.transfer import api
    from cftool.transfer.links import SUFFIX

    src = source.opened
    if source.entry.is_dir:
        whole = paths.join(target.path, _name(src)) if inside and _name(src) else target.path
        tree = api.move if moving else api.copy
        return lambda around, emit: tree(api.side(src), api.side(target, whole), how, around, emit)
    folder, name = paths.parent(src.path), src.path.rpartition("/")[2]
    path = paths.join(target.path, name) if inside else target.path
    if source.entry.kind is Kind.LINK and how.links is Links.KEEP:
        name, path = name + SUFFIX, path + SUFFIX
    file = api.move_file if moving else api.copy_file
    return lambda around, emit: file(
        api.side(src, folder),
        name,
        api.side(target, paths.parent(path)),
        path.rpartition("/")[2],
        how,
        around,
        emit,
    )


def _streamed(session: Session, names: list[str], dst: str, how: "Options") -> int:
    """One side is `-`: standard input to a file, or a file to standard output."""
    from cftool.cli import stdio

    if len(names) > 1 or how.dry_run:
        raise ConfigError("- takes one file on the other side, and no --dry-run")
    if dst == "-":
        if names[0] == "-" or session.out.json:
            raise ConfigError("cp: standard output can take the bytes of a file only, without --json")
        stdio.send(session, names[0])
        return exits.DONE
    return stdio.receive(session, dst)
