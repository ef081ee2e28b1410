"""The two listings of a run: what each shows, and how they begin.

Whether a side is there at all is asked only where its listing leaves that open: every question is a request.
"""

from collections.abc import Callable
from dataclasses import replace

from cftool.core.errors import CftoolError, NotFound
from cftool.core.types import Cap
from cftool.transfer.options import Options, Side
from cftool.transfer.scan import How, Scan, Stopped, placed
from cftool.transfer.select import by_name


def both(src: Side, dst: Side, options: Options, how: How, stop: Callable[[], bool]) -> tuple[Scan, Scan]:
    """The source's and the destination's, not started. `stop`: whether the run ends early."""
    here = replace(how, mark=True, hide=True)
    there = replace(here, select=None if options.delete_excluded else by_name(how.select), mark=False)
    return (
        Scan(src.store, here, name="the source", address=src.address, cancelled=stop),
        Scan(dst.store, there, name="the destination", address=dst.address, cancelled=stop),
    )


def begin(src: Side, dst: Side, source: Scan, destination: Scan) -> bool:
    """Wait for both listings to begin; whether the destination is not there. Raises NotFound for the source."""
    try:
        first = source.first()
        if first.last and not first.entries and Cap.IMPLICIT_DIRS in src.store.features.caps:
            src.store.stat("")  # NotFound: nothing below a prefix means that it is not there
    except NotFound as error:
        try:
            src.store.stat("")
        except NotFound as missing:
            raise placed(missing, src.address) from None
        raise placed(error, src.address) from None
    except Stopped:
        return False
    except CftoolError:
        pass  # told by the merge, which meets it again
    try:
        destination.first()
    except NotFound:
        if Cap.IMPLICIT_DIRS in dst.store.features.caps:
            return True  # nothing is below it, so it is not there: nothing more to ask
        try:
            dst.store.stat("")
        except NotFound:
            return True
    except (Stopped, CftoolError):
        pass
    return False
