"""Brings pending changes to the store below: in order, in batches, with retries; never over somebody else's edit.

One round (`step`) takes all rows that are due and touch nothing earlier, uploads as one batch, the rest one by one, and
settles each by itself. `Drain.start` runs rounds in a thread, woken by `Waiting`; `flush` runs them in the caller's.
DESIGN.md, "Order", "Conditions" and "Crash points", has the rules.
"""

import logging
import threading
import time
from typing import TYPE_CHECKING

from cftool.core import paths
from cftool.wrap.caching.others import Others
from cftool.wrap.caching.rows import Pending, State, What
from cftool.wrap.caching.uploads import Uploads

if TYPE_CHECKING:
    from cftool.wrap.caching.store import CachingStore

_log = logging.getLogger("cftool.cache")
_BATCH = 1000  # rows of one round
_IDLE = 3600.0


class Waiting:
    """Wakes the drain when there is something new, and writers when there is room. Waits are bounded."""

    def __init__(self, lock: threading.RLock) -> None:
        self._changed = threading.Condition(lock)

    def wake(self) -> None:
        """Something changed."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Until something changes; False where `seconds` were over first."""
        if seconds <= 0:
            return False
        with self._changed:
            return self._changed.wait(min(seconds, _IDLE))


class Drain(Uploads, Others):
    """See the module."""

    def __init__(self, store: "CachingStore") -> None:
        self._store = store
        self._one = threading.Lock()  # one round at a time
        self._thread: threading.Thread | None = None
        self._stopping = False

    @property
    def running(self) -> bool:
        """Whether uploads happen by themselves."""
        return self._thread is not None

    def start(self) -> None:
        """Run rounds until `stop`."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="cftool-write-back", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread after what it is at; what is pending stays pending."""
        self._stopping = True
        self._store.waiting.wake()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._stopping:
            try:
                delay = self.step()
            except Exception:
                _log.exception("the write-back of %s had an error of its own; it goes on", self._store.name)
                delay = 60.0
            if delay > 0 and not self._stopping:
                self._store.waiting.wait(delay)

    def step(self, *, force: bool = False, below: str | None = None) -> float:
        """One round; seconds until the next one may have something to do (0: at once).

        `force`: neither delay nor back-off count. `below`: only what `flush` needs of that path.
        """
        store = self._store
        with self._one:
            with store.lock:
                rows = self._eligible(store.times.wall(), force=force, below=below)
            if not rows:
                with store.lock:
                    return self._pause()
            self._do(rows)
        return 0.0

    def _eligible(self, now: float, *, force: bool, below: str | None) -> list[Pending]:
        """Under the lock: rows that may go now. A row is behind every earlier one that touches a path of its own."""
        found: list[Pending] = []
        busy: set[str] = set()
        above: set[str] = set()
        for row in self._store.overlay.rows.values():
            free = not any(_is_busy(place, busy, above) for place in row.places)
            for place in row.places:
                busy.add(place)
                while place := paths.parent(place):
                    if place in above:
                        break
                    above.add(place)
            if free and self._may_go(row, now, force=force, below=below):
                found.append(row)
                if len(found) >= _BATCH:
                    break
        return found

    def _may_go(self, row: Pending, now: float, *, force: bool, below: str | None) -> bool:
        if row.state is State.UPLOADING or self._store.being_edited(row):
            return False
        if below is not None and not any(
            paths.is_within(place, below) or paths.is_within(below, place) for place in row.places
        ):
            return False
        if force:
            return True
        return row.state is not State.FAILED and row.due <= now and row.next_try <= now

    def _pause(self) -> float:
        """Under the lock: seconds until the first row that waits for a time."""
        now = self._store.times.wall()
        times = [
            max(row.due, row.next_try) for row in self._store.overlay.rows.values() if row.state is not State.FAILED
        ]
        if not times:
            return _IDLE
        return max(min(times) - now, 0.5)  # what is due and blocked waits for what blocks it

    def _do(self, rows: list[Pending]) -> None:
        store = self._store
        with store.lock:
            rows = [row for row in rows if row.seq in store.overlay.rows]  # replaced meanwhile
            store.journal.start(rows)
            rows = [self._changed(row, state=State.UPLOADING, save=False) for row in rows]
        try:
            uploads = [row for row in rows if row.what is What.UPLOAD]
            if uploads:
                self._uploads(uploads)
            for row in rows:
                if row.what is not What.UPLOAD:
                    self._settle(row, lambda row=row: self._other(row))
        finally:
            with store.lock:
                for row in rows:
                    now = store.overlay.rows.get(row.seq)
                    if now is not None and now.state is State.UPLOADING:
                        self._changed(now, state=State.DIRTY)
            store.waiting.wake()

    def flush(self, path: str, *, timeout: float | None = None) -> list[Pending]:
        """Rounds without delays until nothing at, above or below `path` is left, fails, or `timeout` is over."""
        store = self._store
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with store.lock:
                left = list(store.overlay.touching(path))
                before = {row.seq: row.attempts for row in left}
            if not left or (deadline is not None and time.monotonic() > deadline):
                return left
            self.step(force=True, below=path)
            with store.lock:
                left = list(store.overlay.touching(path))
            if {row.seq: row.attempts for row in left} == before or any(
                row.attempts > before.get(row.seq, row.attempts) for row in left
            ):
                return left


def _is_busy(place: str, busy: set[str], above: set[str]) -> bool:
    """Whether an earlier row touches `place`, something above it or something below it."""
    if place in busy or place in above:
        return True
    while place := paths.parent(place):
        if place in busy:
            return True
    return False
