"""`cftool put`: standard input to a file, of any length; nothing is published where the input breaks off."""

from typing import Annotated

from typer import Argument

from cftool.cli import stdio
from cftool.cli.session import Session


def put(session: Session, path: Annotated[str, Argument(metavar="PATH")]) -> int:
    """Write standard input to a file."""
    return stdio.receive(session, path)
