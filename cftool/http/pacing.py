"""How many requests of one remote may run at once, and until when none may: shared by all its clients in the process.

The limit halves when the service says "slow down" (once per round, not once per refused request) and climbs back by one
per round. Beyond its start it rises only while the throughput rises with it: at first it doubles from round to round,
since at a high latency most of a short job would be over before small steps had found the right limit; after the
first trial that brought nothing, or a refusal, by an eighth at a time. `hold` stops every worker of the remote until
the time that Retry-After named. Thread-safe.
"""

import threading
import weakref
from collections.abc import Callable

from cftool.http.forks import renew_after_fork

_WINDOW = 1.0  # seconds over which throughput is compared
_OPENING_WINDOW = 0.03  # the same while the limit doubles, where a round does not take longer
_OPENING_GAIN = 1.25  # a doubled limit must bring this much to be kept
_GAIN = 1.05  # a rise by an eighth this much
_REST = 20  # windows without another trial after one that brought nothing


class Share:
    """What one user of a Pacer has in flight; written by its owner only."""

    __slots__ = ("in_flight",)

    def __init__(self) -> None:
        self.in_flight = 0


class Pacer:
    """The pace of one remote. `start` requests at once at first, never more than `ceiling`."""

    def __init__(self, start: int, ceiling: int, clock: Callable[[], float]) -> None:
        self.start = max(1, start)
        self.ceiling = max(self.start, ceiling)
        self.limit = self.start
        self.held_until = float("-inf")
        self._clock = clock
        self._changed = threading.Condition()
        self._singles = Share()
        self._shares: list[Share] = [self._singles]
        self._last_cut = float("-inf")
        self._round = 0  # completions since the limit last changed, for the climb back
        self._window_start = clock()
        self._window_done = 0
        self._before: float | None = None  # throughput before the trial that is running
        self._rest = 0
        self._opening = True  # the limit doubles still
        self._settling = True  # the first round, and that after a rise: connections are made, which says nothing
        self._below = self.start  # the limit before the last doubling
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's threads and what they have in flight."""
        self._changed = threading.Condition()
        self._singles = Share()
        self._shares = [self._singles]

    # ---- the hold of Retry-After

    def held(self, now: float) -> float:
        """Seconds for which nothing may be sent, 0 where it may."""
        held = self.held_until - now
        return max(0.0, held)

    def hold(self, until: float) -> None:
        """Let nobody send before `until`."""
        with self._changed:
            self.held_until = max(self.held_until, until)

    # ---- the limit

    def join(self) -> Share:
        """A share for a batch, which publishes there what it has in flight."""
        share = Share()
        with self._changed:
            self._shares = [*self._shares, share]
        return share

    def leave(self, share: Share) -> None:
        """Give a share back."""
        with self._changed:
            self._shares = [other for other in self._shares if other is not share]
            self._changed.notify_all()

    def allowed(self, share: Share) -> int:
        """How many the owner of `share` may have in flight: at least one, so that nobody starves."""
        left = self.limit + share.in_flight
        for other in self._shares:
            left -= other.in_flight
        return max(1, left)

    def enter(self, timeout: float) -> bool:
        """Wait for room for one request; False where there was none within `timeout` seconds of real time."""
        with self._changed:
            entered = self._changed.wait_for(self._room, timeout)
            if entered:
                self._singles.in_flight += 1
        return entered

    def _room(self) -> bool:
        # A batch adapts to the singles, not they to it: they need one connection each, it has many.
        return self._singles.in_flight < self.limit

    def exit(self) -> None:
        """The request of `enter` is over."""
        with self._changed:
            self._singles.in_flight -= 1
            self._changed.notify()

    # ---- what the service said

    def slow_down(self, began: float) -> None:
        """An attempt that began at `began` was refused for its rate: halve, unless it began before the last cut."""
        with self._changed:
            if began <= self._last_cut:
                return
            self._last_cut = self._clock()
            self.limit = max(1, self.limit // 2)
            self._round = 0
            self._opening = False
            self._restart_window(self._last_cut)

    def succeeded(self, count: int, saturated: bool) -> None:
        """`count` more answers came; `saturated`: the limit is what kept more from being in flight."""
        with self._changed:
            now = self._clock()
            if self.limit < self.start:
                self._round += count
                if self._round >= self.limit:
                    self.limit += 1
                    self._round = 0
                    self._changed.notify()
                return
            self._window_done += count
            if not saturated:
                self._restart_window(now)
            elif self._opening:
                self._open(now)
            elif now - self._window_start >= _WINDOW:
                self._explore(self._window_done / (now - self._window_start))
                self._window_start, self._window_done = now, 0

    def _restart_window(self, now: float) -> None:
        self._window_start, self._window_done, self._before = now, 0, None

    def _open(self, now: float) -> None:
        """Twice the limit after each round that was faster than the one before."""
        if self._window_done < self.limit or now - self._window_start < _OPENING_WINDOW:
            return
        if self._settling:
            self._settling = False
        else:
            rate = self._window_done / (now - self._window_start)
            if self._before is not None and rate < self._before * _OPENING_GAIN:
                self.limit = self._below
                self._before, self._rest, self._opening = None, _REST, False
            elif self.limit < self.ceiling:
                self._before, self._below = rate, self.limit
                self.limit = min(self.ceiling, self.limit * 2)
                self._settling = True
                self._changed.notify_all()
            else:
                self._before, self._opening = None, False
        self._window_start, self._window_done = now, 0

    def _explore(self, rate: float) -> None:
        """A full window at this limit made `rate` answers a second: try an eighth more, or take the last trial back."""
        step = max(1, self.limit // 8)
        if self._before is not None and rate < self._before * _GAIN:
            self.limit = max(self.start, self.limit - max(1, self.limit // 9))
            self._before, self._rest = None, _REST
        elif self._rest:
            self._rest -= 1
        elif self.limit < self.ceiling:
            self._before = rate
            self.limit = min(self.ceiling, self.limit + step)
            self._changed.notify_all()
        else:
            self._before = None


class _Registry:
    """The process's pacers, by remote and clock."""

    def __init__(self) -> None:
        self._pacers: weakref.WeakValueDictionary[tuple[str, Callable[[], float]], Pacer]
        self._pacers = weakref.WeakValueDictionary()
        self._lock = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """A new lock; the pacers themselves stay."""
        self._lock = threading.Lock()

    def get(self, name: str, start: int, ceiling: int, clock: Callable[[], float]) -> Pacer:
        with self._lock:
            pacer = self._pacers.get((name, clock))
            if pacer is None:
                pacer = self._pacers[name, clock] = Pacer(start, ceiling, clock)
            return pacer


_registry = _Registry()


def shared(name: str, start: int, ceiling: int, clock: Callable[[], float]) -> Pacer:
    """The process's one Pacer of the remote `name`; the first to ask sets its limits. An empty name shares nothing."""
    return _registry.get(name, start, ceiling, clock) if name else Pacer(start, ceiling, clock)
