"""For commands that do the same to each of their arguments: one that fails is told and stops no other."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cftool.cli import exits
from cftool.cli.output import OutputError
from cftool.core.errors import CftoolError, Interrupted

if TYPE_CHECKING:
    from cftool.cli.session import Session


def each(session: "Session", texts: Iterable[str], act: Callable[[str], int | None]) -> int:
    """Call `act` of each; the exit code of all. Nobody reading any more ends the command, and so does Ctrl-C."""
    codes = []
    for text in texts:
        try:
            codes.append(act(text) or exits.DONE)
        except (BrokenPipeError, OutputError, Interrupted):
            raise
        except (CftoolError, OSError) as error:
            codes.append(session.report(error, text))
    return exits.worst(codes)
