"""The pace by the token bucket, timetables, and the budgets of a run; all by a clock that the tests turn."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cftool.transfer import limits
from cftool.transfer.limits import Budget, Rate, Throttle, Timetable
from cftool.transfer.options import Options
from tests.transfer.kit import held, make, put


class Clock:
    """Sleeping moves it."""

    def __init__(self, start=1000.0):
        self.now = start
        self.naps = []

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.naps.append(seconds)
        self.now += seconds


def throttle(text, clock, **more):
    return Throttle(limits.parse(text), monotonic=clock.time, wall=clock.time, sleep=clock.sleep, **more)


@given(
    st.sampled_from(["100k", "1M", "100M"]),
    st.lists(st.integers(1, 1 << 20), min_size=1, max_size=12),
)
def test_the_time_is_what_the_rate_demands_whatever_the_pieces(text, pieces):
    clock = Clock()
    pace = throttle(text, clock)
    for count in pieces:
        pace.up(count)
    rate = limits.parse(text).slots[0][1].up
    assert sum(pieces) / rate == pytest.approx(clock.now - 1000.0, rel=1e-6, abs=0.11)


def test_a_pause_gives_no_more_than_a_moment_back():
    clock = Clock()
    pace = throttle("1M", clock)
    pace.up(1 << 20)
    clock.now += 3600
    before = clock.now
    pace.up(10 << 20)
    assert 9.89 <= clock.now - before <= 10.0


def test_no_nap_is_long_and_the_first_one_after_a_stop_is_the_last():
    clock = Clock()
    stop = []
    pace = throttle("1k", clock, cancelled=lambda: bool(stop) or clock.now > 1010)
    pace.up(1 << 20)
    assert clock.now < 1010.5
    assert max(clock.naps) <= 0.25


def test_directions_are_apart():
    clock = Clock()
    pace = throttle("1M:2M", clock)
    pace.up(4 << 20)
    assert clock.now == pytest.approx(1004)
    pace.down(4 << 20)
    assert clock.now == pytest.approx(1006)
    free = throttle("off:1M", clock)
    free.up(1 << 40)
    assert clock.now == pytest.approx(1006)


def test_pieces_are_a_small_part_of_a_second():
    for text, expected in (("off", 1 << 20), ("1k", 1024), ("1M", (1 << 20) // 20), ("10G", 1 << 20)):
        assert throttle(text, Clock()).piece() == expected


def test_many_threads_share_one_rate():
    lock = threading.Lock()
    clock = Clock()

    def sleep(seconds):
        with lock:
            clock.now += seconds

    pace = Throttle(limits.parse("1M"), monotonic=clock.time, wall=clock.time, sleep=sleep)
    threads = [threading.Thread(target=pace.up, args=(1 << 20,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now - 1000 >= 7.9


# ---- timetables


def at(text, day, clock):
    """Monday is 0."""
    hours, minutes = map(int, clock.split(":"))
    return limits.parse(text).at(time.struct_time((2026, 1, 5 + day, hours, minutes, 0, day, 0, 0)))


DAILY = "08:00,512k 19:00,10M 23:00,off"
WEEKLY = "Mon-00:00,512 Fri-23:59,10M Sat-10:00,1M Sun-20:00,off"


@pytest.mark.parametrize(
    ("text", "day", "clock", "expected"),
    [
        ("10M", 3, "12:00", 10 << 20),
        (DAILY, 0, "07:59", None),
        (DAILY, 0, "08:00", 512 << 10),
        (DAILY, 2, "18:59", 512 << 10),
        (DAILY, 6, "19:00", 10 << 20),
        (DAILY, 6, "23:30", None),
        (WEEKLY, 0, "00:00", 512),
        (WEEKLY, 3, "12:00", 512),
        (WEEKLY, 4, "23:58", 512),
        (WEEKLY, 5, "09:59", 10 << 20),
        (WEEKLY, 6, "19:59", 1 << 20),
        (WEEKLY, 6, "20:00", None),
        ("sunday-12:00,1M;Wednesday-13:00,2M", 1, "00:00", 1 << 20),
        ("0", 0, "00:00", None),
        ("1M/s", 0, "00:00", 1 << 20),
    ],
)
def test_the_slot_that_began_last_holds(text, day, clock, expected):
    assert at(text, day, clock) == Rate(expected, expected)


def test_slots_may_have_two_directions():
    assert at("08:00,1M:off 20:00,off:2M", 0, "09:00") == Rate(1 << 20, None)
    assert at("08:00,1M:off 20:00,off:2M", 0, "21:00") == Rate(None, 2 << 20)
    assert limits.parse("08:00,1M:off 20:00,off:2k").slowest() == 2048
    assert limits.parse("off").slowest() is None


@pytest.mark.parametrize(
    "text",
    ["", " ", "fast", "08:00", "8:00,1M", "24:00,1M", "08:60,1M", "08:00,1M,2M", "08:00,1M x", "Foo-08:00,1M",
     "1M:2M:3M", "08:00,", "-08:00,1M", "Mon-,1M"],
)  # fmt: skip
def test_what_is_no_timetable(text):
    with pytest.raises(ValueError, match=r"\S"):
        limits.parse(text)


def test_the_timetable_counts_while_a_run_waits():
    clock = Clock()
    table = Timetable(((0, Rate(1024, 1024)),))
    pace = Throttle(table, monotonic=clock.time, wall=clock.time, sleep=clock.sleep)
    pace._table = type("Later", (), {"at": lambda _self, _when: Rate(1024 if clock.now < 1010 else None)})()
    pace.up(1 << 20)  # a quarter of an hour at the old rate
    assert 1010 <= clock.now < 1012


# ---- budgets


def test_a_budget_is_never_overdrawn():
    budget = Budget(100)
    assert [budget.may_send(size) for size in (60, 50, 40, 1, 0)] == [True, False, True, False, True]
    assert Budget().may_send(1 << 60)


def test_the_time_begins_with_the_first_look():
    budget = Budget(seconds_most=10)
    assert [budget.over(now) for now in (5.0, 15.0, 15.1)] == [False, False, True]
    assert not Budget().over(1e9)


def here(side):
    from pathlib import Path

    return Path(side.local_root)


@pytest.mark.parametrize("limit", ["max-transfer", "max-duration"])
def test_a_run_that_reached_a_limit_deletes_nothing(up, limit):
    make(here(up.src), {"a": b"x" * 60, "b": b"x" * 60, "c": b"x" * 60})
    put(up.dst.store, "old")
    if limit == "max-duration":
        up.dst.store.before = lambda op, path: setattr(up, "now", up.now + (6 if op == "write" else 0))
        options = {"max_duration": 10, "transfers": 1}
    else:
        options = {"max_transfer": 150}
    summary = up.sync(**options)
    assert (summary.stopped, summary.copied, summary.deleted) == (limit, 2, 0)
    assert "old" in held(up.dst.store)
    assert up.sync().deleted == 1


def test_time_that_runs_out_after_the_last_copy_still_holds_deletions_back(up):
    make(here(up.src), {"a": b"1"})
    put(up.dst.store, "old")
    up.dst.store.before = lambda op, path: setattr(up, "now", up.now + (60 if op == "write" else 0))
    summary = up.sync(max_duration=10)
    assert (summary.copied, summary.deleted, summary.stopped) == (1, 0, "max-duration")


def test_several_runs_of_a_command_share_a_budget(across):
    from cftool.transfer import api

    make(here(across.src), {"a": b"x" * 60, "b": b"x" * 60})
    options = Options(budget=Budget(100))
    stops = [
        api.copy_file(across.src, name, across.dst, name, options, across.around(), across.events.append).stopped
        for name in ("a", "b")
    ]
    assert stops == ["", "max-transfer"]
    late = Options(budget=Budget(None, 10))
    late.budget.over(across.now)
    across.now += 11
    stopped = api.copy_file(across.src, "b", across.dst, "b", late, across.around(), across.events.append).stopped
    assert stopped == "max-duration"


class Recording:
    """A pace that writes down what it hears."""

    def __init__(self, piece=1000):
        self.size, self.sent, self.received = piece, [], []

    def piece(self):
        return self.size

    def up(self, count):
        self.sent.append(count)

    def down(self, count):
        self.received.append(count)


def test_local_copies_are_held_back_in_pieces(tmp_path):
    from cftool.disk import copying

    (tmp_path / "a").write_bytes(bytes(range(256)) * 100)
    pace = Recording()
    with (tmp_path / "a").open("rb") as src, (tmp_path / "b").open("wb") as dst:
        copying.copy(src.fileno(), dst.fileno(), 25_600, pace=pace)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    assert pace.sent in ([1000] * 25 + [600], [])  # nothing where the file system shares the blocks
