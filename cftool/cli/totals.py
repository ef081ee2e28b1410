"""What a run has come to so far, counted from its events: for the progress display, --stats and --metrics-file.

`update` may be called from any thread. Nothing is shown here.
"""

import threading
import time
from collections import Counter, deque
from typing import Any

from cftool.cli import formats
from cftool.transfer import events

_WINDOW = 15.0  # seconds over which the rate is taken


class Totals:
    """Counters of one run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, list[int | None]] = {}  # path: [bytes done, size]
        self._bytes = 0
        self._copied_bytes = 0
        self._loose = 0  # bytes on their way of files that are not in `_active`
        self._files = 0
        self._errors = 0
        self._counts: Counter[type[Any]] = Counter()
        self._kinds: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._scanned = events.Scanned(0, 0, 0, 0, complete=False)
        self._began = time.monotonic()
        self._samples: deque[tuple[float, int]] = deque([(self._began, 0)])

    def update(self, event: Any) -> None:
        """Count one event."""
        kind = type(event)
        with self._lock:
            self._counts[kind] += 1
            if kind is events.Copied:
                self._copied(event)
            elif kind is events.Progress:
                self._bytes += event.bytes
                row = self._active.get(event.path)
                if row is not None:
                    row[0] = (row[0] or 0) + event.bytes
                else:
                    self._loose += event.bytes
            elif kind is events.Started:
                self._active[event.path] = [0, event.bytes]
            elif kind is events.Scanned:
                self._scanned = event
            elif kind is events.Failed:
                self._errors += 1
                self._kinds[event.kind] += 1
                self._active.pop(event.path, None)
            elif kind is events.Skipped:
                self._reasons[event.reason] += 1

    def _copied(self, event: events.Copied) -> None:
        self._files += 1
        self._copied_bytes += event.bytes
        row = self._active.pop(event.path, None) if self._active else None
        if row is None:
            counted = min(self._loose, event.bytes)  # most small ones are not told of on their way
            self._loose -= counted
            self._bytes += event.bytes - counted
        elif row[0] is not None and row[0] < event.bytes:
            self._bytes += event.bytes - row[0]

    def summary(self) -> events.Summary:
        """So far, as far as events tell it; what was compared is known at the end only."""
        with self._lock:
            counts = self._counts
            return events.Summary(
                copied=counts[events.Copied],
                deleted=counts[events.Deleted],
                moved=counts[events.Moved],
                made_directories=counts[events.MadeDirectory],
                skipped=dict(self._reasons),
                errors=dict(self._kinds),
                bytes=self._copied_bytes,
                seconds=time.monotonic() - self._began,
                differences=counts[events.Differs],
            )

    def line(self) -> str:
        """All of it in one line, for --stats."""
        done, files = self._totals()
        deleted = self._counts[events.Deleted]
        return f"{done}, {files}" + (f", {formats.number(deleted)} deleted" if deleted else "")

    def _totals(self) -> tuple[str, str]:
        scanned, done = self._scanned, self._bytes
        rate = self._rate(done)
        speed = f"{formats.size(int(rate))}/s"
        if not scanned.complete:
            # What was seen is told from time to time only: less than what was copied would be no news.
            seen = f", {formats.number(scanned.files)} seen" if scanned.files > self._files else ""
            return (
                f"{formats.size(done)}  {speed}  scanning…",
                f"{formats.plural(self._files, 'file')} copied{seen}{self._trouble()}",
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
