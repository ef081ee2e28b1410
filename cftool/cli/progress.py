"""The progress display on a terminal: overall bytes, files, rate, time left, and the transfers that are active.

Shown only where standard error is a terminal, and only after a moment, so that a quick command never imports rich.
Events come from the engine's threads and only add to counters; a thread of rich draws eight times a second.
"""

import os
import sys
import threading
import time
from collections import deque
from typing import Any

from cftool.cli import formats
from cftool.cli.session import Session
from cftool.core.paths import printable
from cftool.transfer import events

_DELAY = 0.3  # seconds; what is over by then needs no display
_WINDOW = 15.0  # seconds over which the rate is taken
_ROWS = 6  # active transfers shown


def wanted(session: Session) -> bool:
    """Whether there is someone to watch, and nothing else is written to the same terminal."""
    if session.messages.level == 0 or session.env.get("TERM", "dumb") == "dumb":
        return False
    try:
        return sys.stderr.isatty() and not (session.out.json and session.out.terminal)
    except (AttributeError, ValueError):
        return False


class Progress:
    """The display of one run, as a context manager; `update` takes the engine's events."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._active: dict[str, list[int | None]] = {}  # path: [bytes done, size]
        self._bytes = 0
        self._files = 0
        self._errors = 0
        self._scanned = events.Scanned(0, 0, 0, 0, complete=False)
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
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
        self._session.on_leave = None
        if live is not None:
            live.stop()

    def update(self, event: Any) -> None:
        """Count one event."""
        with self._lock:
            if isinstance(event, events.Progress):
                self._bytes += event.bytes
                row = self._active.get(event.path)
                if row is not None:
                    row[0] = (row[0] or 0) + event.bytes
            elif isinstance(event, events.Copied):
                self._files += 1
                self._active.pop(event.path, None)
            elif isinstance(event, events.Started):
                self._active[event.path] = [0, event.bytes]
            elif isinstance(event, events.Scanned):
                self._scanned = event
            elif isinstance(event, events.Failed):
                self._errors += 1
                self._active.pop(event.path, None)

    def _start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False)
        live = Live(get_renderable=self.render, console=console, refresh_per_second=8, transient=True)
        with self._lock:
            if self._ended:
                return
            self._live = live
        live.start()
        self._session.messages.via = lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._session.on_leave = lambda: console.show_cursor(show=True)

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

    def _totals(self) -> tuple[str, str]:
        scanned, done = self._scanned, self._bytes
        rate = self._rate(done)
        speed = f"{formats.size(int(rate))}/s"
        if not scanned.complete:
            return (
                f"{formats.size(done)}  {speed}  scanning…",
                f"{formats.plural(self._files, 'file')} copied, {formats.number(scanned.files)} seen{self._trouble()}",
            )
        total = max(scanned.to_copy_bytes, done)
        share = f"{100 * done // total}%" if total else "100%"
        left = f"{formats.duration((total - done) / rate)} left" if rate and total > done else ""
        return (
            f"{formats.size(done)} of {formats.size(total)}  {share}  {speed}  {left}".rstrip(),
            f"{formats.number(self._files)} of {formats.plural(scanned.to_copy, 'file')}{self._trouble()}",
        )

    def _trouble(self) -> str:
        return f", {formats.plural(self._errors, 'error')}" if self._errors else ""

    def _rate(self, done: int) -> float:
        now = time.monotonic()
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW:
            self._samples.popleft()
        start, before = self._samples[0]
        return (done - before) / (now - start) if now > start else 0.0


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
