"""`cftool mkdir`: directories and their parents; no error where one is there already."""

from typing import Annotated

from typer import Argument, Option

from cftool.cli import exits
from cftool.cli.options import DryRun
from cftool.cli.session import Session
from cftool.core.errors import CftoolError, NotADirectory, NotFound


def mkdir(
    session: Session,
    flags: DryRun,
    paths: Annotated[list[str], Argument(metavar="PATH...")],
    parents: Annotated[bool, Option("-p", "--parents", help="Always so; accepted out of habit.")] = False,
) -> int:
    """Make directories and their parents."""
    del parents
    codes = []
    for text in paths:
        try:
            made = _make(session, text, dry_run=flags.dry_run)
        except (CftoolError, OSError) as error:
            codes.append(session.report(error, text))
            continue
        if made and flags.dry_run:
            codes.append(exits.TO_DO)
    return exits.worst(codes)


def _make(session: Session, text: str, *, dry_run: bool) -> bool:
    """Whether there was something to do."""
    opened = session.open(text)
    try:
        entry = opened.store.stat(opened.path)
    except NotFound:
        pass
    else:
        if not entry.is_dir:
            raise NotADirectory("a file is there", op="mkdir", path=opened.path, store=opened.store.name)
        return False
    if not dry_run:
        opened.store.mkdir(opened.path)
    if session.out.json:
        session.out.event("mkdir", {"path": text, **({"dry_run": True} if dry_run else {})})
    elif dry_run:
        session.out.line(f"mkdir {session.out.name(text)}")
    else:
        session.messages.detail(f"mkdir {text}")
    return True
