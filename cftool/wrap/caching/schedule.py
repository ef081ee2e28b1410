"""When a pending row may be done: by the time it waits for, then in order, then when what is in its way has gone.

Rows are put in again whenever they change; what is said here of one that has changed since is ignored. Not thread-safe.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping

from cftool.wrap.caching.rows import Pending, State

_FAILED, _UPLOADING = State.FAILED, State.UPLOADING


class Schedule:
    """See the module. `rows` are those of the overlay, which tells of every change."""

    def __init__(self, rows: Mapping[int, Pending]) -> None:
        self._rows = rows
        self._times = [(max(row.due, row.next_try), row.seq) for row in rows.values() if _may(row)]
        heapq.heapify(self._times)
        self._due: list[int] = []
        self._queued: set[int] = set()  # what is in `_due`
        self._waiting: set[int] = set()  # due, and set aside until `again`

    def put(self, row: Pending) -> None:
        """A row is new, or has changed."""
        self._waiting.discard(row.seq)
        if _may(row):
            heapq.heappush(self._times, (row.when, row.seq))

    def again(self, numbers: Iterable[int]) -> bool:
        """Something that these may have waited for has happened; whether one of them may go now."""
        found = False
        for number in numbers if self._waiting else ():
            if number in self._waiting:
                self._waiting.discard(number)
                self._queue(number)
                found = True
        return found

    def set_aside(self, row: Pending) -> None:
        """It is due and cannot go: it waits for `again`."""
        self._waiting.add(row.seq)

    def due(self, now: float) -> Iterator[Pending]:
        """Takes out rows that are due, oldest first. What is not done of them must be put in or set aside again."""
        while self._times and self._times[0][0] <= now:
            when, number = heapq.heappop(self._times)
            if self._holds(when, number):
                self._queue(number)
        while self._due:
            number = heapq.heappop(self._due)
            self._queued.discard(number)
            row = self._rows.get(number)
            if row is not None and row.when <= now and _may(row):
                yield row

    def next(self) -> float | None:
        """When the next row is due."""
        while self._times and not self._holds(*self._times[0]):
            heapq.heappop(self._times)
        return self._times[0][0] if self._times else None

    def _queue(self, number: int) -> None:
        if number not in self._queued:
            self._queued.add(number)
            heapq.heappush(self._due, number)

    def _holds(self, when: float, number: int) -> bool:
        row = self._rows.get(number)
        return row is not None and row.when == when and _may(row)


def _may(row: Pending) -> bool:
    return row.state is not _FAILED and row.state is not _UPLOADING
