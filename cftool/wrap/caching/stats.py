"""Statistics of a cache: hits and misses, bytes and rates, errors by kind. In memory, of the owner's life.

Megabytes are 10^6 bytes and rates are over the time in which at least one transfer ran, so that parallel transfers are
not counted twice: as CloudFusion defined them.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace


@dataclass(slots=True)
class ErrorCount:
    """Errors of one kind: how many, when the last one was (epoch seconds), and what it said."""

    count: int = 0
    last: float = 0.0
    text: str = ""


class Busy:
    """Seconds in which at least one of several overlapping activities ran, and what they moved."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._running = 0
        self._since = 0.0
        self._seconds = 0.0
        self.bytes = 0

    def begin(self) -> None:
        """One more runs."""
        if self._running == 0:
            self._since = self._clock()
        self._running += 1

    def end(self) -> None:
        """One has ended."""
        self._running -= 1
        if self._running == 0:
            self._seconds += self._clock() - self._since

    @property
    def seconds(self) -> float:
        """So far."""
        return self._seconds + (self._clock() - self._since if self._running else 0.0)

    @property
    def rate(self) -> float:
        """Bytes a second; 0 where nothing was moved."""
        seconds = self.seconds
        return self.bytes / seconds if seconds > 0 else float(self.bytes)


class Stats:
    """Thread-safe."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._lock = threading.Lock()
        self._wall = wall
        self.up = Busy(clock)
        self.down = Busy(clock)
        self.hits = 0
        self.misses = 0
        self.conflicts = 0
        self.errors: dict[str, ErrorCount] = {}

    def hit(self) -> None:
        """Content was here."""
        with self._lock:
            self.hits += 1

    def miss(self) -> None:
        """Content had to be fetched."""
        with self._lock:
            self.misses += 1

    def conflict(self) -> None:
        """Both versions were kept."""
        with self._lock:
            self.conflicts += 1

    def error(self, kind: str, text: str) -> None:
        """Something failed; it may be tried again."""
        with self._lock:
            found = self.errors.setdefault(kind, ErrorCount())
            found.count += 1
            found.last = self._wall()
            found.text = text

    def by_kind(self) -> dict[str, ErrorCount]:
        """The errors so far, as they are now."""
        with self._lock:
            return {kind: replace(one) for kind, one in self.errors.items()}

    @contextmanager
    def moving(self, busy: Busy) -> Iterator[Callable[[int], None]]:
        """While one transfer runs; what is yielded hears of its bytes."""

        def moved(count: int) -> None:
            with self._lock:
                busy.bytes += count

        with self._lock:
            busy.begin()
        try:
            yield moved
        finally:
            with self._lock:
                busy.end()
