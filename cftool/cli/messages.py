"""Standard error: messages, warnings and errors, one line each, and the same into the log file.

An error line says what, where and what to do: `cftool: work:a/b: not found`. Names in it are escaped, secrets redacted.
While a progress display is on the terminal, lines go through it (`via`), so that neither tears the other.
"""

import os
import sys
from typing import TYPE_CHECKING

from cftool.config.address import shown
from cftool.core.errors import (
    CftoolError,
    ConnectionFailed,
    LoginRequired,
    NotFound,
    QuotaExceeded,
    RateLimited,
    StoreError,
    TemporaryError,
)
from cftool.core.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable

_HINTS: tuple[tuple[type[StoreError], str], ...] = (
    (LoginRequired, "check the credentials (cftool config test {store})"),
    (QuotaExceeded, "make room first"),
    (RateLimited, "try again later"),
    (ConnectionFailed, "check the network and the address of the service, or try again later"),
    (TemporaryError, "try again later"),
)
_TOLD = ("check ", "again", "run cftool ", "run gcloud ", ": set ")  # what to do stands in the message already


class Messages:
    """What one command tells on standard error. `level`: 0 errors only (-q), 1 normal, 2 -v, 3 -vv."""

    def __init__(self, level: int = 1) -> None:
        self.level = level
        self.via: Callable[[str], None] | None = None
        self.log: Callable[[str, str], None] | None = None  # (level name, text), set where there is a log file

    def error(self, text: str) -> None:
        """What went wrong; shown always."""
        self._show("error", text, at=0)

    def warn(self, text: str) -> None:
        """What the user should know although nothing failed."""
        self._show("warning", text, at=1)

    def info(self, text: str) -> None:
        """What was done, in a line."""
        self._show("info", text, at=1)

    def detail(self, text: str) -> None:
        """Each single thing that was done: -v."""
        self._show("info", text, at=2)

    def _show(self, kind: str, text: str, *, at: int) -> None:
        text = printable(shown(text))
        if self.log is not None:
            self.log(kind, text)
        if self.level >= at:
            self.write(text if kind == "info" else f"cftool: {text}")

    def write(self, line: str) -> None:
        """One finished line to the terminal, past every level."""
        if self.via is not None:
            self.via(line)
            return
        if sys.stderr is None:  # closed: print would take standard output, which carries data only
            return
        try:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is the one place that prints
        except (OSError, ValueError):
            pass  # standard error is gone: nobody is left to tell


def explain(error: BaseException, where: str | None = None) -> str:
    """One line for the user: where, what, what to do. `where`: the address that was typed, where it is known."""
    return shown(_explained(error, where))


def _explained(error: BaseException, where: str | None) -> str:
    if isinstance(error, NotFound) and where is not None and os.path.islink(where):
        return f"{where}: the link leads nowhere"
    if isinstance(error, StoreError):
        text = f"{_place(error, where or error.place)}{error.message or error.kind.replace('_', ' ')}"
        if not any(words in error.message for words in _TOLD):
            for kind, hint in _HINTS:
                if isinstance(error, kind):
                    return f"{text}; {hint.format(store=error.store or 'NAME')}"
        return text
    if isinstance(error, CftoolError):
        return str(error) or type(error).__name__
    if isinstance(error, OSError):
        what = error.strerror or str(error) or type(error).__name__
        place = where if error.filename is None else _text(error.filename)
        return what if place is None else f"{place}: {what}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _place(error: StoreError, where: str | None) -> str:
    """`work:a/b: `, or nothing where the message names the place itself."""
    path, message = error.path or "", error.message
    if where is not None:
        # Seen from the address, a path below it says more; the address's own path would say the same twice.
        typed = (where.partition(":")[2] or where).strip("/")
        same = path.strip("/").endswith(typed) or typed.endswith(path.strip("/"))
        place = where if same or names(message, path) else f"{before(where)}{_typed(where, path)}"
    elif names(message, path):
        place = error.store or ""
    else:
        place = f"{error.store}:{path}" if error.store and path else path or error.store or ""
    if not place or message.startswith(f"{place}:"):
        return ""
    return before(place)


def _typed(where: str, path: str) -> str:
    """`path` as a part of the address `where`, where it is a directory of this machine above what was typed."""
    if ":" in where.partition("/")[0]:
        return path
    whole = os.path.abspath(where)
    if not whole.startswith(f"/{path}/"):
        return path
    above, below = where.rstrip("/"), whole[len(path) + 1 :]
    return above[: -len(below)] if above.endswith(below) and len(above) > len(below) else f"/{path}"


def before(place: str) -> str:
    """`place` as it stands before a message; the root of a remote has its colon already."""
    return f"{place} " if place.endswith(":") else f"{place}: "


def names(message: str, path: str) -> bool:
    """Whether the message names the path itself; one that may be a word of a sentence (`file`) never does."""
    return path in message and not path.isalpha() and len(path) > 2


def _text(name: str | bytes | int) -> str:
    if isinstance(name, bytes):
        return name.decode("utf-8", "surrogateescape")
    return str(name)
