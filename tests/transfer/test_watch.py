"""When --watch syncs again: at once where changes are told, else by feed or interval, and never for nothing."""

import os

import pytest

from cftool.core.errors import ConnectionFailed
from cftool.core.types import Cap
from cftool.transfer import watch as module
from cftool.transfer.watch import Watch
from tests.transfer.kit import Fitted, local, put, remote


class Time:
    """A clock that sleeping moves; `at` says what happens when."""

    def __init__(self):
        self.now = 0.0
        self.at = {}

    def sleep(self, seconds):
        self.now += seconds
        for when in [when for when in self.at if when <= self.now]:
            self.at.pop(when)()

    def clock(self):
        return self.now


@pytest.fixture
def time():
    return Time()


def watch(src, time, *, cancelled=lambda: False, interval=10):
    return Watch(src, interval=interval, cancelled=cancelled, sleep=time.sleep, clock=time.clock)


def test_what_cannot_tell_is_listed_each_interval(time):
    watching = watch(remote(Fitted(without=Cap.CHANGES)), time)
    assert watching.wait(failed=False)
    assert (time.now, "every 10 s" in watching.how) == (10, True)


def test_a_feed_of_changes_is_asked_each_interval(time):
    store = Fitted(remote=True)
    watching = watch(remote(store), time)
    time.at[25] = lambda: put(store, "f")
    assert watching.wait(failed=False)
    assert time.now == 30
    assert watching.wait(failed=True)
    assert time.now == 40
    stopped = watch(remote(store), time, cancelled=lambda: time.now > 100)
    assert not stopped.wait(failed=False)


def test_a_feed_that_fails_is_no_reason_to_stop(time):
    store = Fitted(remote=True)
    watching = watch(remote(store), time)

    def refuse(cursor):
        raise ConnectionFailed("away")

    store.inner.changes = refuse
    assert watching.wait(failed=False)


def test_a_feed_that_was_reset_means_anything(time):
    store = Fitted(remote=True)
    watching = watch(remote(store), time)
    watching._cursor = "not one of ours"
    assert watching.wait(failed=False)


class Told:
    """A Notify that says what it is told to say."""

    def __init__(self, time, answers):
        self.time, self.answers, self.closed = time, answers, False

    def wait(self, seconds):
        self.time.sleep(seconds)
        answer = self.answers.pop(0) if self.answers else False
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        self.closed = True


def told(src, time, answers, monkeypatch, **how):
    monkeypatch.setattr(module, "Notify", lambda root, hidden: Told(time, answers))
    return watch(src, time, **how)


def test_a_local_source_tells_at_once_and_a_burst_is_waited_out(tmp_path, time, monkeypatch):
    watching = told(local(tmp_path), time, [False, True, True, True, False], monkeypatch)
    assert watching.wait(failed=False)
    assert (watching.how, time.now) == ("hears of changes at once", 3.5)
    watching.close()


def test_an_endless_burst_is_not_waited_for(tmp_path, time, monkeypatch):
    watching = told(local(tmp_path), time, [True] * 1000, monkeypatch)
    assert watching.wait(failed=False)
    assert time.now < 20


def test_after_a_failure_it_is_tried_again_without_a_change(tmp_path, time, monkeypatch):
    watching = told(local(tmp_path), time, [], monkeypatch, cancelled=lambda: time.now > 50)
    assert watching.wait(failed=True)
    assert time.now == 10
    assert not watching.wait(failed=False)


def test_a_stop_in_a_burst_ends_it(tmp_path, time, monkeypatch):
    watching = told(local(tmp_path), time, [True] * 99, monkeypatch, cancelled=lambda: time.now > 2)
    assert not watching.wait(failed=False)


def test_where_changes_are_not_told_any_more_the_interval_counts(tmp_path, time, monkeypatch):
    watching = told(local(tmp_path), time, [OSError(5, "broken")], monkeypatch)
    assert watching.wait(failed=False)
    assert watching.wait(failed=False)
    assert time.now >= 10
    watching.close()


def test_where_no_watch_is_to_be_had_the_interval_counts(tmp_path, time, monkeypatch):
    def none(root, hidden):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "Notify", none)
    watching = watch(local(tmp_path), time)
    assert watching.wait(failed=False)
    assert time.now == 10


def test_a_real_change_is_heard(tmp_path):
    src = local(tmp_path / "src")
    watching = Watch(src, interval=60, cancelled=lambda: False)
    (tmp_path / "src" / "f").write_text("1")
    assert watching.wait(failed=False)
    watching.close()
    assert os.path.exists(tmp_path / "src" / "f")
