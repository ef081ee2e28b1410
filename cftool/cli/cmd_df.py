"""`cftool df`: space of the account, or of the file system, that holds an address; `-` where nobody says it."""

from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cftool.cli import formats
from cftool.cli.each import each
from cftool.cli.session import Session
from cftool.core import paths as names
from cftool.core.errors import Unsupported
from cftool.core.types import Cap

if TYPE_CHECKING:
    from cftool.core.types import Usage
    from cftool.stack import Opened

_ROW = "{:>16} {:>16} {:>16} {:>5}  {}"


def df(
    session: Session,
    paths: Annotated[list[str] | None, Argument(metavar="[REMOTE:]...")] = None,
    human: Annotated[bool, Option("-h", "--human", help="Sizes as 3.4 MiB.")] = False,
) -> int:
    """Show space used and free; without REMOTE: of the current directory's file system."""
    session.read_only = True
    heading = not session.out.json

    def show(text: str) -> None:
        nonlocal heading
        usage = _usage(session.open(text))
        if session.out.json:
            fields = {"total": usage.total, "used": usage.used, "free": usage.free}
            session.out.event("df", {"path": text, **fields})
            return
        if heading:
            session.out.line(_ROW.format("Size", "Used", "Free", "Use%", "Remote"))
            heading = False
        sizes = (_size(count, human=human) for count in (usage.total, usage.used, usage.free))
        session.out.line(_ROW.format(*sizes, _share(usage), session.out.name(text)))

    return each(session, paths or ["."], show)


def _usage(opened: "Opened") -> "Usage":
    store = opened.store
    if Cap.USAGE not in store.features.caps:
        raise Unsupported("this service does not say how much is used or free", op="usage", store=store.name)
    if opened.local_root is None:
        return store.usage()
    # The store of a local address is the whole tree of files: what counts is the file system at the address.
    from cftool import registry
    from cftool.core.provider import Context

    entry = store.stat(opened.path)
    place = opened.local_root if entry.is_dir else "/" + names.parent(opened.local_root.strip("/"))
    there = registry.provider("local").open({"root": place}, Context(remote=store.name))
    try:
        return there.usage()
    finally:
        there.close()


def _size(count: int | None, *, human: bool) -> str:
    if count is None:
        return "-"
    return formats.size(count) if human else str(count)


def _share(usage: "Usage") -> str:
    """Of what this user may use, rounded up, as df of coreutils has it."""
    if usage.used is None or not usage.total:
        return "-"
    whole = usage.total if usage.free is None else usage.used + usage.free
    return f"{-(-100 * usage.used // whole)}%" if whole else "-"
