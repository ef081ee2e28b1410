"""`cftool link`: a link to each file, one a line. Whoever has it may read the file, until it ends where it does."""

from typing import Annotated

from typer import Argument, Option

from cftool.cli import formats
from cftool.cli.each import each
from cftool.cli.options import Text
from cftool.cli.session import Session
from cftool.core.errors import NotADirectory, Unsupported
from cftool.core.types import Cap


def link(
    session: Session,
    paths: Annotated[list[str], Argument(metavar="PATH...")],
    expires: Annotated[
        Text, Option("--expires", metavar="T", help="For how long, as 7d; default: the longest there is.")
    ] = None,
) -> int:
    """Print links by which anybody may read files: public or presigned, as the service has them."""
    seconds = None if expires is None else formats.parse_duration(expires, "--expires")

    def one(text: str) -> None:
        opened = session.open(text)
        store, path = opened.store, opened.path
        if Cap.LINK not in store.features.caps:
            raise Unsupported("there are no links to files here", op="link", path=path, store=store.name)
        if opened.address.trailing_slash:
            raise NotADirectory("links are of files; name one", op="link", path=path, store=store.name)
        url = store.link(path, expires=seconds)
        if session.out.json:
            session.out.event("link", {"path": text, "url": url, "expires": seconds})
        else:
            session.out.line(session.out.name(url))

    return each(session, paths, one)
