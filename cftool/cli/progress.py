"""The progress display on a terminal: overall bytes, files, rate, time left, and the transfers that are active.

Shown only where standard error is a terminal, and only after a moment, so that a quick command never imports rich.
Events come from the engine's threads and only add to counters; a thread of rich draws eight times a second.
"""

import os
import sys
import threading
from contextlib import suppress
from typing import Any

from cftool.cli import formats
from cftool.cli.session import Session
from cftool.cli.totals import Totals
from cftool.core.paths import printable

_DELAY = 0.3  # seconds; what is over by then needs no display
_ROWS = 6  # active transfers shown


def wanted(session: Session) -> bool:
    """Whether there is someone to watch, and nothing else is written to the same terminal."""
    if session.messages.level == 0 or session.env.get("TERM", "dumb") == "dumb":
        return False
    try:
        return sys.stderr.isatty() and not (session.out.json and session.out.terminal)
    except (AttributeError, ValueError):
        return False


class Progress(Totals):
    """The display of one run, as a context manager; `update` takes the engine's events."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._live: Any = None
        self._timer = threading.Timer(_DELAY, self._start)
        self._timer.daemon = True
        self._ended = False

    def __enter__(self) -> "Progress":
        self._timer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._ended = True
            live, self._live = self._live, None
        self._session.messages.via = None
        if live is not None:
            live.stop()
        self._session.on_leave = None

    def _start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False)
        live = Live(get_renderable=self.render, console=console, refresh_per_second=8, transient=True)
        with self._lock:
            if self._ended:
                return
            self._live = live
        self._session.on_leave = _show_cursor
        live.start()
        self._session.messages.via = lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True)

    # ---- drawing

    def render(self) -> Any:
        """The display as it is now: two lines of totals, and a line for each active transfer."""
        from rich.console import Group
        from rich.padding import Padding
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        with self._lock:
            active = [(path, row[0] or 0, row[1]) for path, row in list(self._active.items())[:_ROWS]]
            more = len(self._active) - len(active)
        lines = [*self._totals(), *(_row(path, done, size) for path, done, size in active)]
        if more > 0:
            lines.append(f"  … and {formats.number(more)} more")
        known = self._scanned.complete
        bar = ProgressBar(
            total=max(self._scanned.to_copy_bytes, self._bytes, 1) if known else None,
            completed=self._bytes,
            width=min(_columns(), 80),
        )
        texts = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
        return Group(texts[0], Padding(bar, 0), *texts[1:])  # a bare bar ends no line


def _show_cursor() -> None:
    """Past what the console has collected: it may be in the middle of a line."""
    with suppress(OSError):
        os.write(2, b"\x1b[?25h")


def _row(path: str, done: int, size: int | None) -> str:
    share = f"{100 * done // size:3d}%" if size else formats.size(done)
    return f"  {share} {_fit(printable(path), _columns() - 10)}"


def _fit(text: str, width: int) -> str:
    """The end of a long path says more than its beginning."""
    return text if len(text) <= width else "…" + text[-(max(width, 2) - 1) :]


def _columns() -> int:
    try:
        return os.get_terminal_size(2).columns
    except OSError:
        return 80
