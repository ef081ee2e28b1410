"""The small pure parts: names of conflicts, hashes in a column, busy time, waits, versions, saves."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cftool.config.file import StackOptions
from cftool.core.errors import (
    ConnectionFailed,
    IntegrityError,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
    StoreError,
    TemporaryError,
)
from cftool.core.types import NO_HASHES, Entry, Kind
from cftool.wrap.caching.blocks import BLOCK, Blocks
from cftool.wrap.caching.drain import Waiting
from cftool.wrap.caching.fetch import Fetching
from cftool.wrap.caching.names import conflict_name
from cftool.wrap.caching.rows import Pending, What, content_of, decode_hashes, encode_hashes
from cftool.wrap.caching.schedule import Schedule
from cftool.wrap.caching.settings import settings_of
from cftool.wrap.caching.settling import _delay, error_of
from cftool.wrap.caching.stats import Busy, Stats
from cftool_providers.memory import MemoryStore
from tests.wrap.caching.kit import Clock

GB = 1_000_000_000
NEW_YEAR = 1_767_225_600.0


@pytest.mark.parametrize(
    ("path", "host", "taken", "name"),
    [
        ("d/a.txt", "h", (), "d/a (conflict h 2026-01-01 00-00-00).txt"),
        ("a", "", (), "a (conflict 2026-01-01 00-00-00)"),
        (".profile", "h", (), ".profile (conflict h 2026-01-01 00-00-00)"),
        ("d/" + "n" * 251 + ".txt", "h", (), "d/" + "n" * 218 + " (conflict h 2026-01-01 00-00-00).txt"),
        ("é" * 127, "h", (), "é" * 111 + " (conflict h 2026-01-01 00-00-00)"),
        ("a." + "x" * 253, "h", (), "a." + "x" * 220 + " (conflict h 2026-01-01 00-00-00)"),
        ("a.b.c", "h", ("a.b (conflict h 2026-01-01 00-00-00).c",), "a.b (conflict h 2026-01-01 00-00-00 2).c"),
    ],
)
def test_name_of_a_conflict(path, host, taken, name):
    assert conflict_name(path, host, NEW_YEAR, set(taken)) == name


def test_hashes_of_a_column():
    assert decode_hashes(encode_hashes({"md5": "x"})) == {"md5": "x"}
    for text in ("no json", "[]", "7"):
        assert decode_hashes(text) == NO_HASHES


def test_content_of_a_pending_version():
    assert content_of(Pending(3, What.UPLOAD, "a", content=12).entry().version) == 12
    assert content_of("pending:3:None") is None


def test_rate_is_over_the_time_in_which_anything_ran():
    clock = Clock()
    busy = Busy(clock)
    assert busy.rate == 0.0
    busy.begin()
    clock.now += 1
    busy.begin()
    clock.now += 1
    busy.end()
    busy.bytes = 300
    clock.now += 1
    assert (busy.seconds, busy.rate) == (3.0, 100.0)
    busy.end()
    clock.now += 100
    assert (busy.seconds, busy.rate) == (3.0, 100.0)


def test_bytes_that_took_no_time_have_a_rate():
    busy = Busy(Clock())
    busy.bytes = 5
    assert busy.rate == 5.0


def test_errors_are_counted_by_kind_with_the_last_text():
    clock = Clock()
    stats = Stats(clock, clock)
    stats.error("a", "first")
    clock.now += 5
    stats.error("a", "second")
    stats.error("b", "other")
    found = stats.by_kind()
    assert {kind: (one.count, one.last, one.text) for kind, one in found.items()} == {
        "a": (2, clock.now, "second"), "b": (1, clock.now, "other"),
    }  # fmt: skip
    stats.error("a", "third")
    assert found["a"].count == 2


@pytest.mark.parametrize(
    ("error", "attempts", "least", "most"),
    [
        (QuotaExceeded("x"), 1, 600, 600),
        (PermissionDenied("x"), 1, 300, 300),
        (TemporaryError("x", retry_after=77.0), 1, 77, 77),
        (RateLimited("x", retry_after=0.0), 1, 1, 1),
        (ConnectionFailed("x"), 3, 4, 8),
        (IntegrityError("x"), 30, 150, 300),
        (StoreError("x"), 2, 4, 4),
        (ValueError("x"), 50, 300, 300),
    ],
)
def test_next_try_waits_by_kind_and_longer_each_time(error, attempts, least, most):
    assert least <= _delay(error, attempts) <= most


@pytest.mark.parametrize(
    ("kind", "raised"),
    [("quota_exceeded", QuotaExceeded), ("rate_limited", RateLimited), ("damaged", IntegrityError),
     ("conflict", TemporaryError), ("", TemporaryError), ("ValueError", TemporaryError)],
)  # fmt: skip
def test_error_of_a_row_is_the_one_of_its_last_try(kind, raised):
    error = error_of(Pending(1, What.UPLOAD, "a", error_kind=kind, error="why"))
    assert (type(error), error.message, error.path) == (raised, "why", "a")


def test_row_that_has_another_time_since_it_was_due_is_not_done():
    rows = {number: Pending(number, What.UPLOAD, f"{number}", due=1.0) for number in (1, 2, 3)}
    schedule = Schedule(rows)
    due = schedule.due(5.0)
    assert next(due).seq == 1
    rows[2] = Pending(2, What.UPLOAD, "2", due=9.0)
    schedule.put(rows[2])
    assert [row.seq for row in due] == [3]
    assert (schedule.next(), [row.seq for row in schedule.due(9.0)]) == (9.0, [2])


def test_only_what_waits_is_asked_again():
    rows = {number: Pending(number, What.UPLOAD, f"{number}", due=1.0) for number in (1, 2)}
    schedule = Schedule(rows)
    assert [row.seq for row in schedule.due(5.0)] == [1, 2]
    schedule.set_aside(rows[2])
    schedule.again([1, 2, 2, 77])
    assert [row.seq for row in schedule.due(5.0)] == [2]


def test_wait_misses_no_change_between_look_and_wait():
    waiting = Waiting(threading.RLock())
    seen = waiting.count
    waiting.wake()
    assert waiting.wait(60.0, seen)
    assert not waiting.wait(0.0, seen)
    assert not waiting.wait(0.001, waiting.count)


def test_drain_sleeps_through_what_has_time_and_others_hear_of_everything():
    waiting = Waiting(threading.RLock())
    waiting.wake(100.0)  # nobody rests: it counts
    assert waiting.hurried == 1
    woken = threading.Event()

    def rest():
        waiting.rest(60.0, 50.0, waiting.hurried)
        woken.set()

    drain = threading.Thread(target=rest)
    drain.start()
    while not waiting._resting:
        pass
    seen = waiting.count
    other = threading.Thread(target=lambda: waiting.wait(60.0, seen))
    other.start()
    while not waiting._for_any:
        pass
    waiting.wake(100.0)
    other.join()
    assert (woken.is_set(), waiting.hurried) == (False, 1)
    waiting.wake(100.0)
    assert not woken.is_set()
    waiting.wake(49.0)
    drain.join()
    assert waiting.hurried == 2
    waiting.rest(60.0, 50.0, 1)  # what came in between is not slept through


def test_who_saves_what_was_fetched_has_it_in_the_journal_whoever_else_is_at_it(tmp_path):
    """The second one has nothing of its own to save, and waits for the first."""
    fd = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
    done, threads = [], []

    def save(encoded):
        if not threads:
            assert fetching._saving.locked()
            threads.append(threading.Thread(target=lambda: (fetching.save(), done.append("the other"))))
            threads[0].start()
        done.append(encoded)

    entry = Entry("f", Kind.FILE, 2 * BLOCK, version="1")
    fetching = Fetching(
        MemoryStore(), "f", entry, fd, Blocks(2 * BLOCK), stats=Stats(Clock(), Clock()), pool=ThreadPoolExecutor(1),
        window=BLOCK, save=save,
    )  # fmt: skip
    fetching._arrived(0, BLOCK)
    fetching.save()
    threads[0].join()
    fetching.close()
    assert done == [b"\x01", "the other"]


@pytest.mark.parametrize(
    ("soft", "hard", "limits"),
    [
        (None, None, (5 * GB, 10 * GB)), (1 * GB, None, (1 * GB, 10 * GB)), (20 * GB, None, (20 * GB, 40 * GB)),
        (None, 20 * GB, (5 * GB, 20 * GB)), (None, 2 * GB, (1 * GB, 2 * GB)), (0, 0, (0, 0)), (1, 1, (1, 1)),
    ],
)  # fmt: skip
def test_of_one_limit_alone_the_other_is_never_the_wrong_side_of_it(soft, hard, limits):
    made = settings_of(StackOptions(cache_size=soft, hard_cache_size_limit=hard, cache=5.0).checked(), host="h")
    assert ((made.soft, made.hard), made.delay, made.host) == (limits, 5.0, "h")
