"""Brings pending changes to the store below: in order, in batches, with retries; never over somebody else's edit.

One round (`step`) takes all rows that are due and touch nothing earlier, uploads as one batch, the rest one by one, and
settles each by itself. `Drain.start` runs rounds in a thread, woken by `Waiting`; `flush` runs them in the caller's.
DESIGN.md, "Order", "Conditions" and "Crash points", has the rules.
"""

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from cftool.core.errors import TemporaryError
from cftool.wrap.caching.others import Others
from cftool.wrap.caching.rows import DAMAGED, Pending, State, What
from cftool.wrap.caching.settling import error_of
from cftool.wrap.caching.uploads import Uploads

if TYPE_CHECKING:
    from cftool.wrap.caching.store import CachingStore

_log = logging.getLogger("cftool.cache")
_BATCH = 1000  # rows of one round
_IDLE = 3600.0


class Waiting:
    """Wakes the drain when there is something to do, and writers when there is room. Waits are bounded."""

    def __init__(self, lock: threading.RLock) -> None:
        self._changed = threading.Condition(lock)
        self.count = 0  # of changes: who looks, and then waits, misses none in between
        self._for_any = 0  # who waits for any change
        self._resting = False  # the drain, until
        self._until = 0.0
        self._hurried = 0  # changes that it does not sleep through

    def wake(self, due: float | None = None) -> None:
        """Something changed. `due`: all that is new is a row that has time until then, in epoch seconds."""
        with self._changed:
            self.count += 1
            if due is None or not self._resting or due < self._until:
                self._hurried += 1
                self._changed.notify_all()
            elif self._for_any:
                self._changed.notify_all()

    def rest(self, seconds: float, until: float, seen: int) -> None:
        """For the drain: `seconds`, which is `until` then, or something comes that is due before; `seen`: `hurried`."""
        with self._changed:
            self._resting, self._until = True, until
            try:
                self._changed.wait_for(lambda: self._hurried != seen, min(seconds, _IDLE))
            finally:
                self._resting = False

    @property
    def hurried(self) -> int:
        """How often something came that could not wait."""
        return self._hurried

    def wait(self, seconds: float, seen: int | None = None) -> bool:
        """Until there are more changes than were `seen`; False where `seconds` were over first."""
        if seconds <= 0:
            return False
        with self._changed:
            if seen is not None and seen != self.count:
                return True
            self._for_any += 1
            try:
                return self._changed.wait(min(seconds, _IDLE))
            finally:
                self._for_any -= 1


class Drain(Uploads, Others):
    """See the module."""

    def __init__(self, store: "CachingStore") -> None:
        super().__init__()
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
            waiting = self._store.waiting
            seen = waiting.hurried
            try:
                delay = self.step()
            except Exception:
                _log.exception("the write-back of %s had an error of its own; it goes on", self._store.name)
                delay = 60.0
            if delay > 0 and not self._stopping:
                waiting.rest(delay, self._store.times.wall() + delay, seen)

    def step(self) -> float:
        """One round; seconds until the next one may have something to do (0: at once)."""
        store = self._store
        with self._one:
            with store.lock:
                rows = self._eligible(store.times.wall())
                if not rows:
                    return self._pause()
            self._do(rows)
        return 0.0

    def _eligible(self, now: float) -> list[Pending]:
        """Under the lock: rows that may go now. A row is behind every earlier one that touches a path of its own."""
        store = self._store
        schedule = store.overlay.schedule
        found: list[Pending] = []
        for row in schedule.due(now):
            if store.being_edited(row) or store.overlay.blocked(row):
                schedule.set_aside(row)
                continue
            found.append(row)
            if len(found) >= _BATCH:
                break
        return found

    def _wanted(self, below: str, tried: set[int]) -> list[Pending]:
        """Under the lock: what `flush` may do next for `below`; neither delay nor back-off count, but damage does."""
        store = self._store
        found: list[Pending] = []
        for row in store.overlay.needed(below):
            if row.seq in tried or row.state is State.UPLOADING:
                continue
            if row.error_kind == DAMAGED and not store.overlay.followers(row.seq):
                continue
            if not store.being_edited(row) and not store.overlay.blocked(row):
                found.append(row)
                if len(found) >= _BATCH:
                    break
        return found

    def _pause(self) -> float:
        """Under the lock: seconds until the first row that waits for a time."""
        when = self._store.overlay.schedule.next()
        return _IDLE if when is None else max(when - self._store.times.wall(), 0.05)

    def _do(self, rows: list[Pending]) -> None:
        store = self._store
        with store.lock:
            current = store.overlay.rows  # some were replaced meanwhile, or have another time
            rows = [current[row.seq] for row in rows if row.seq in current]
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
        """Rounds without delays until nothing at, above or below `path` is left that was not tried, or `timeout`."""
        store = self._store
        deadline = None if timeout is None else time.monotonic() + timeout
        failed: set[int] = set()
        while deadline is None or time.monotonic() <= deadline:
            if not self._one.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())):
                break  # a round takes longer
            try:
                with store.lock:
                    rows = self._wanted(path, failed)
                    if not rows:
                        return list(store.overlay.touching(path))
                self._do(rows)
            finally:
                self._one.release()
            with store.lock:
                failed |= {row.seq for row in rows if self._not_better(row)}
        with store.lock:
            return list(store.overlay.touching(path))

    def upload(self, path: str, *, timeout: float) -> None:
        """See `Owned.upload`. The background's rounds do it where there are any, so that the wait is bounded."""
        store = self._store
        if not self.running:
            for row in self.flush(path, timeout=timeout):
                raise error_of(row)
            return
        deadline = time.monotonic() + timeout
        with store.lock:
            begun = store.settlement(path)
            asked = {row.seq: row.attempts for row in store.overlay.needed(path)}
            self._hurry(asked)
        while True:
            with store.lock:
                seen = store.waiting.count
                rows = [store.overlay.rows[seq] for seq in asked if seq in store.overlay.rows]
                for row in rows:
                    if row.attempts > asked[row.seq] or row.state is State.FAILED:
                        raise error_of(row)
                if not rows:
                    last = store.overlay.last(path)
                    if last is None or store.settlement(path) != begun:
                        return
                    asked = {last.seq: last.attempts}  # newer content took its place
                    self._hurry(asked)
            if not store.waiting.wait(deadline - time.monotonic(), seen):
                raise TemporaryError(f"not uploaded within {timeout:.0f} s", op="upload", path=path, store=store.name)

    def _hurry(self, numbers: Iterable[int]) -> None:
        """Under the lock: neither delay nor back-off count for these."""
        overlay = self._store.overlay
        for row in [overlay.rows[number] for number in numbers]:
            if row.state is not State.UPLOADING and row.error_kind != DAMAGED:
                state = State.DIRTY if row.state is State.FAILED else row.state
                overlay.replace(replace(row, state=state, due=0.0, next_try=0.0))
        self._store.waiting.wake()

    def _not_better(self, row: Pending) -> bool:
        """Under the lock: whether a row that was tried is still what it was."""
        now = self._store.overlay.rows.get(row.seq)
        return now is not None and now.path == row.path
