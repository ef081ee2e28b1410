"""Limits of a run: bytes a second by a timetable (--bwlimit), bytes in all (--max-transfer), time (--max-duration).

A `Throttle` is shared by everything that moves bytes in a run, in any thread: whoever has moved some says so, and waits
there until the pace allows the next. It holds a token bucket a direction that may go into debt, so that the sum of all
is the rate whatever the pieces are. A `Budget` is asked before each file. Clock and sleep are given from outside.
"""

import threading
import time
from collections.abc import Callable

from cftool.config import sizes
from cftool.core.dataclass import dataclass

_BURST = 0.1  # seconds of the rate that may be taken at once after a pause
_NAP = 0.25  # seconds between two looks at the stop flag and at the timetable
_SHORTEST = 0.0005  # seconds not worth a nap: they stay owed
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEK = 7 * 24 * 60
_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Rate:
    """Bytes a second in each direction; None is no limit."""

    up: int | None = None
    down: int | None = None


@dataclass(frozen=True, slots=True)
class Timetable:
    """Rates with the minute of the week from which each holds (Monday 00:00 is 0), in rising order."""

    slots: tuple[tuple[int, Rate], ...]

    def at(self, when: time.struct_time) -> Rate:
        """The rate at a local time: the last slot's that began, round the week."""
        minute = when.tm_wday * _DAY + when.tm_hour * 60 + when.tm_min
        rate = self.slots[-1][1]
        for begin, following in self.slots:
            if begin > minute:
                break
            rate = following
        return rate

    def slowest(self) -> int | None:
        """The lowest rate of all, None where there never is a limit."""
        return min((rate for _, slot in self.slots for rate in (slot.up, slot.down) if rate is not None), default=None)


def parse(text: str) -> Timetable:
    """Of `RATE`, or of slots `08:00,512k 19:00,10M Sat-00:00,off`; RATE is `10M`, `UP:DOWN` or `off`. ValueError."""
    if not text.strip():
        raise ValueError("is empty")
    if "," not in text and not text.strip().count(" "):
        return Timetable(((0, _rate(text.strip())),))
    slots: dict[int, Rate] = {}
    for word in text.replace(";", " ").split():
        when, comma, rate = word.partition(",")
        if not comma or "," in rate:
            raise ValueError(f"{word!r} is no slot; write it as 08:00,512k or Sat-08:00,off")
        for minute in _minutes(when):
            slots[minute] = _rate(rate)
    return Timetable(tuple(sorted(slots.items(), key=lambda slot: slot[0])))


def _minutes(text: str) -> list[int]:
    day, dash, clock = text.rpartition("-")
    hours, _, minutes = clock.partition(":")
    digits = len(hours) == 2 and len(minutes) == 2 and clock.replace(":", "").isascii() and (hours + minutes).isdigit()
    if not digits or int(hours) > 23 or int(minutes) > 59:
        raise ValueError(f"{clock!r} is no time of day; write it as 08:00")
    minute = int(hours) * 60 + int(minutes)
    if not dash:
        return [start + minute for start in range(0, _WEEK, _DAY)]
    name = day.lower()
    for known in (_DAYS, _NAMES):
        if name in known:
            return [known.index(name) * _DAY + minute]
    raise ValueError(f"{day!r} is no day of the week; write it as Mon or Monday")


def _rate(text: str) -> Rate:
    up, colon, down = text.partition(":")
    if colon and len(up) == len(down) == 2 and (up + down).isdigit():
        raise ValueError(f"{text!r} is a time of day without a rate; write it as {text},10M")
    first = _bytes(up)
    return Rate(first, _bytes(down) if colon else first)


def _bytes(text: str) -> int | None:
    if text.lower() == "off":
        return None
    rate = sizes.parse_size(text.removesuffix("/s"))
    return rate or None  # 0 is no limit, as rclone has it


class _Bucket:
    """What may be moved in one direction, in bytes; below zero it is owed."""

    __slots__ = ("balance", "rate", "seen")

    def __init__(self, now: float) -> None:
        self.balance = 0.0
        self.rate: int | None = None
        self.seen = now

    def settle(self, rate: int | None, now: float) -> None:
        """Add what has come in since the last look."""
        if self.rate is None or rate is None:
            self.balance = 0.0
        else:
            self.balance = min(self.balance + (now - self.seen) * self.rate, rate * _BURST)
        self.rate, self.seen = rate, now


class Throttle:
    """The pace of a run. `up` and `down` take what was moved and return when the pace allows more. Thread-safe."""

    def __init__(
        self,
        table: Timetable,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._table = table
        self._monotonic, self._wall, self._sleep, self._cancelled = monotonic, wall, sleep, cancelled
        self._lock = threading.Lock()
        self._up, self._down = _Bucket(monotonic()), _Bucket(monotonic())
        self._looked = float("-inf")
        self._rate = Rate()

    def piece(self) -> int:
        """How many bytes to move between two calls, so that no one wait is long and all share alike."""
        slowest = min((rate for rate in (self._now().up, self._now().down) if rate is not None), default=None)
        return 1 << 20 if slowest is None else min(max(slowest // 20, 1024), 1 << 20)

    def up(self, count: int) -> None:
        """`count` bytes were sent, or copied on this machine."""
        self._moved(self._up, count, "up")

    def down(self, count: int) -> None:
        """`count` bytes were received."""
        self._moved(self._down, count, "down")

    def _moved(self, bucket: _Bucket, count: int, way: str) -> None:
        with self._lock:
            wait = self._charge(bucket, count, way)
        while wait > 0 and not self._cancelled():
            self._sleep(min(wait, _NAP))
            with self._lock:
                wait = self._charge(bucket, 0, way)

    def _charge(self, bucket: _Bucket, count: int, way: str) -> float:
        """Take `count` and say for how many seconds to wait."""
        rate = self._now()
        bucket.settle(rate.up if way == "up" else rate.down, self._monotonic())
        if bucket.rate is None:
            return 0.0
        bucket.balance -= count
        wait = -bucket.balance / bucket.rate
        return wait if wait > _SHORTEST else 0.0

    def _now(self) -> Rate:
        now = self._monotonic()
        if now - self._looked >= 1.0:  # the timetable counts in minutes
            self._looked = now
            self._rate = self._table.at(time.localtime(self._wall()))
        return self._rate


class Budget:
    """What a whole command may move, and for how long, over all its steps. Main thread only."""

    def __init__(self, bytes_most: int | None = None, seconds_most: float | None = None) -> None:
        self._left = bytes_most
        self._seconds = seconds_most
        self._began: float | None = None

    def may_send(self, size: int) -> bool:
        """Whether a file of this size may be begun; it counts from now on."""
        if self._left is None:
            return True
        if size > self._left:
            return False
        self._left -= size
        return True

    def over(self, now: float) -> bool:
        """Whether the time is up. The first call begins it."""
        if self._began is None:
            self._began = now
        return self._seconds is not None and now - self._began > self._seconds
