"""`cftool cat`: the bytes of files to standard output, verified as they pass; `-` is standard input.

Bytes that were written cannot be taken back: where the content breaks off or proves to be wrong, the exit code says so.
"""

from typing import Annotated

from typer import Argument, Option

from cftool.cli import formats
from cftool.cli.each import each
from cftool.cli.options import Text
from cftool.cli.session import Session
from cftool.core.errors import ConfigError, IsADirectory, NotADirectory


def cat(
    session: Session,
    paths: Annotated[list[str], Argument(metavar="PATH...")],
    offset: Annotated[Text, Option("--offset", metavar="N", help="Begin at byte N; -N counts from the end.")] = None,
    count: Annotated[Text, Option("--count", metavar="N", help="At most N bytes of each file.")] = None,
) -> int:
    """Write files to standard output."""
    if session.out.json:
        raise ConfigError("cat writes the bytes of files: --json does not go with it")
    session.read_only = True
    backwards = offset is not None and offset.startswith("-")
    start = 0 if offset is None else formats.parse_size(offset.removeprefix("-"), "--offset")
    most = None if count is None else formats.parse_size(count, "--count")
    return each(session, paths, lambda text: write(session, text, start=-start if backwards else start, most=most))


def write(session: Session, text: str, *, start: int = 0, most: int | None = None) -> None:
    """One file to standard output; a negative `start` counts from the end."""
    if text == "-":
        _pass(session, start, most)
        return
    opened = session.open(text)
    if opened.address.trailing_slash:
        if not opened.store.stat(opened.path).is_dir:
            raise NotADirectory("not a directory", op="read", path=opened.path, store=opened.store.name)
        raise IsADirectory("is a directory", op="read", path=opened.path, store=opened.store.name)
    if start < 0:
        size = opened.store.stat(opened.path).size or 0
        start = max(0, size + start)
    end = None if most is None else start + most
    with opened.store.read(opened.path, start=start, end=end) as download:
        for chunk in download:
            session.out.data(chunk)
    session.out.flush()


def _pass(session: Session, start: int, most: int | None) -> None:
    """Standard input to standard output."""
    from cftool.cli import stdio

    if start < 0:
        raise ConfigError("--offset from the end: standard input has none that is known")
    left = most
    if left == 0:
        return
    for data in stdio.chunks():
        piece = data[start:]
        start -= len(data) - len(piece)
        if left is not None:
            piece = piece[:left]
            left -= len(piece)
        if piece:
            session.out.data(piece)
            session.out.flush()
        if left == 0:
            break
