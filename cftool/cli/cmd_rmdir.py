"""`cftool rmdir`: empty directories. What holds anything stays, and so does the root of a disk or of a remote."""

from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cftool.cli import exits
from cftool.cli.each import each
from cftool.cli.options import DryRun
from cftool.cli.session import Session
from cftool.core import paths as names
from cftool.core.errors import DirectoryNotEmpty, NotADirectory, NotFound, Refused

if TYPE_CHECKING:
    from cftool.core.store import Store


def rmdir(
    session: Session,
    flags: DryRun,
    paths: Annotated[list[str], Argument(metavar="PATH...")],
    parents: Annotated[bool, Option("-p", "--parents", help="Then the directories above, as far as typed.")] = False,
    tolerant: Annotated[bool, Option("--ignore-fail-on-non-empty", help="Leave what is not empty, silently.")] = False,
) -> int:
    """Remove directories that are empty."""

    def remove(text: str) -> int:
        opened = session.open(text, follow=False)
        if not opened.path:
            raise Refused(f"{text}: rmdir does not remove a whole disk or remote; name what is below it")
        path, typed, shown = opened.path, opened.address.path, text.rstrip("/")
        if typed.rpartition("/")[2] in {".", ".."}:
            raise Refused(f"{text}: rmdir does not remove . or ..")
        child = None
        while path:
            try:
                _remove(opened.store, path, child, dry_run=flags.dry_run)
            except DirectoryNotEmpty:
                if not tolerant:
                    raise
                break
            except NotFound:
                if child is None:
                    raise  # else it existed by what was in it, and went with it
            else:
                _tell(session, shown, dry_run=flags.dry_run)
            typed, child = names.parent(typed), path
            if not parents or typed.rpartition("/")[2] in {"", ".", ".."}:
                break
            path, shown = names.parent(path), shown.rpartition("/")[0]
        return exits.TO_DO if flags.dry_run and child is not None else exits.DONE

    return each(session, paths, remove)


def _remove(store: "Store", path: str, child: str | None, *, dry_run: bool) -> None:
    """Remove the directory; of a dry run, look whether it holds anything but `child`, which would be gone by then."""
    if not dry_run:
        store.rmdir(path)
        return
    if not store.stat(path).is_dir:
        raise NotADirectory("is not a directory", op="rmdir", path=path, store=store.name)
    if any(entry.path != child for entry in store.scan(path)):
        raise DirectoryNotEmpty("is not empty", op="rmdir", path=path, store=store.name)


def _tell(session: Session, shown: str, *, dry_run: bool) -> None:
    if session.out.json:
        session.out.event("delete", {"path": shown, "is_dir": True, **({"dry_run": True} if dry_run else {})})
    elif dry_run:
        session.out.line(f"delete {session.out.name(shown)}/")
    else:
        session.messages.detail(f"delete {shown}/")
