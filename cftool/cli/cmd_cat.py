"""`cftool cat`: the bytes of files to standard output, verified as they pass.

Bytes that were written cannot be taken back: where the content breaks off or proves to be wrong, the exit code says so.
"""

from typing import Annotated

from typer import Argument, Option

from cftool.cli import exits, formats
from cftool.cli.options import Text
from cftool.cli.output import OutputError
from cftool.cli.session import Session
from cftool.core.errors import CftoolError, ConfigError, IsADirectory


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
    codes = []
    for text in paths:
        try:
            write(session, text, start=-start if backwards else start, most=most)
        except (BrokenPipeError, OutputError):
            raise
        except (CftoolError, OSError) as error:
            codes.append(session.report(error, text))
    return exits.worst(codes)


def write(session: Session, text: str, *, start: int = 0, most: int | None = None) -> None:
    """One file to standard output; a negative `start` counts from the end."""
    if text == "-":
        raise ConfigError("cat reads files; the standard input is there already")
    opened = session.open(text)
    if opened.address.trailing_slash:
        raise IsADirectory("is a directory", op="read", path=opened.path, store=opened.store.name)
    if start < 0:
        size = opened.store.stat(opened.path).size or 0
        start = max(0, size + start)
    end = None if most is None else start + most
    with opened.store.read(opened.path, start=start, end=end) as download:
        for chunk in download:
            session.out.data(chunk)
    session.out.flush()
