"""Exit codes: which failure is which, and which of several wins. The only place that knows them.

    0 done                      4 not allowed                8 stopped at a limit
    1 some entries failed       5 temporary failure          9 another run holds the lock
    2 usage, configuration      6 check found differences   10 dry run: there is work to do
    3 not found                 7 refused for safety       130 interrupted

Code 141 (128 + SIGPIPE) is what a shell shows for any program whose reader went away.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from cftool.core.errors import (
    ConfigError,
    Interrupted,
    Locked,
    NotFound,
    PermissionDenied,
    ReadOnly,
    Refused,
    TemporaryError,
)

if TYPE_CHECKING:
    from cftool.transfer.events import Summary

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
NOT_ALLOWED: Final = 4
TEMPORARY: Final = 5
DIFFERENT: Final = 6
REFUSED: Final = 7
STOPPED: Final = 8
LOCKED: Final = 9
TO_DO: Final = 10
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

_PRECEDENCE: Final = (INTERRUPTED, USAGE, LOCKED, STOPPED, NOT_ALLOWED, TEMPORARY, NOT_FOUND, FAILED)
_PRECEDENCE_CLEAN: Final = (REFUSED, DIFFERENT, TO_DO)  # these stand only where nothing failed

_CLASSES: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], int], ...]] = (
    ((KeyboardInterrupt, Interrupted), INTERRUPTED),
    (ConfigError, USAGE),
    (Locked, LOCKED),
    (Refused, REFUSED),
    ((NotFound, FileNotFoundError), NOT_FOUND),
    ((PermissionDenied, ReadOnly, PermissionError), NOT_ALLOWED),
    ((TemporaryError, ConnectionError, TimeoutError), TEMPORARY),
)


def of_error(error: BaseException) -> int:
    """The code of one error, for the whole run or for one entry."""
    for kinds, code in _CLASSES:
        if isinstance(error, kinds):
            return code
    return FAILED


def worst(codes: Iterable[int]) -> int:
    """Of several codes the one that counts; DONE where there is none."""
    found = set(codes)
    for code in (*_PRECEDENCE, *_PRECEDENCE_CLEAN):
        if code in found:
            return code
    return DONE


def of_summary(summary: "Summary", *, dry_run: bool = False) -> int:
    """The code of a run of the engine."""
    codes: set[int] = set()
    if summary.stopped:
        codes.add(INTERRUPTED if summary.stopped == "interrupted" else STOPPED)
    codes.update(of_error(error) for error in summary.failures)
    if any(summary.errors.values()):
        codes.add(FAILED)
    if summary.withheld or summary.why:
        codes.add(REFUSED)
    if summary.differences:
        codes.add(DIFFERENT)
    if dry_run and summary.to_do:
        codes.add(TO_DO)
    return worst(codes)
