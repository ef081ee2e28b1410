"""`cftool rm`: files, and with -r trees. The root of a disk or of a whole remote is never removed."""

from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cftool.cli.options import DryRun, Recursive
from cftool.cli.run import Step, execute
from cftool.cli.selection import Selection, select
from cftool.cli.session import Session
from cftool.core.errors import CftoolError, ConfigError, NotADirectory, NotFound, Refused, told_at
from cftool.core.types import Cap
from cftool.transfer.options import Options

if TYPE_CHECKING:
    from cftool.stack import Opened


def rm(
    session: Session,
    which: Recursive,
    flags: DryRun,
    chosen: Selection,
    paths: Annotated[list[str], Argument(metavar="PATH...")],
    force: Annotated[bool, Option("-f", "--force", help="No error where nothing is there.")] = False,
) -> int:
    """Remove files, and with -r trees."""
    how = Options(dry_run=flags.dry_run, select=select(chosen))
    steps: list[Step] = []
    failed: list[BaseException] = []
    session.deletes = False  # what goes is what was named, with what is in it; no lack of a name decides
    for text in paths:
        try:
            opened = session.open(text, follow=False)
            steps.append(_step(opened, recursive=which.recursive, how=how, force=force))
        except (CftoolError, OSError) as error:
            if force and isinstance(error, NotFound):
                continue
            session.report(error, text)
            failed.append(error)
    return execute(session, steps, dry_run=flags.dry_run, verb="deleted", failed=failed)


def _step(opened: "Opened", *, recursive: bool, how: Options, force: bool) -> Step:
    from cftool.transfer import api

    shown = opened.address.text
    if not opened.path:
        raise Refused(f"{shown}: rm does not remove a whole disk or remote; name what is below it")
    if opened.address.path.rpartition("/")[2] in {".", ".."}:
        raise Refused(f"{shown}: rm does not remove . or ..")
    folder, _, name = opened.path.rpartition("/")
    features = opened.store.features
    once = Cap.TREE in features.caps and (folder or features.names.top_files)  # a bucket is more than what is in it
    if recursive and once and how.select is None and not opened.address.trailing_slash:
        return _whole(opened, folder, name, how, force=force)
    entry = opened.store.stat(opened.path)
    if entry.is_dir and not recursive:
        raise ConfigError(f"{shown} is a directory; -r removes it with all below it")
    if opened.address.trailing_slash and not entry.is_dir:
        raise NotADirectory("not a directory", op="delete", path=opened.path, store=opened.store.name)
    if how.select is not None and entry.is_dir:
        return lambda around, emit: api.remove_selected(api.side(opened), how, around, emit)
    return lambda around, emit: api.remove_tree(api.side(opened, folder), entry.at(name), how, around, emit)


def _whole(opened: "Opened", folder: str, name: str, how: Options, *, force: bool) -> Step:
    """File or directory: the listing of what is to go tells which, and nothing has to be asked before."""
    from cftool.transfer import api

    def step(around: api.Surroundings, emit: api.Emit) -> api.Summary:
        with told_at(opened.address.text):
            try:
                return api.remove_tree(api.side(opened, folder), name, how, around, emit)
            except NotFound:
                if not force:
                    raise
        return api.Summary()

    return step
