"""Locks between runs: who excludes whom, how long one waits, and that a death frees."""

import os

import pytest

from cftool.core.errors import Locked, StoreError
from cftool.disk import locks
from cftool.disk.locks import Lock, lock_tree


class Clock:
    def __init__(self):
        self.now = 0.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def refused(state, key, **how):
    try:
        lock_tree(state, key, **how).release()
    except Locked:
        return True
    return False


@pytest.fixture
def state(tmp_path):
    return str(tmp_path / "state")


@pytest.mark.parametrize(
    ("first", "shared", "second", "also_shared", "excluded"),
    [
        ("s3/bucket/a", False, "s3/bucket/a", False, True),
        ("s3/bucket/a", False, "s3/bucket/a/", False, True),
        ("s3/bucket/a", False, "s3/bucket/a/b", False, True),
        ("s3/bucket/a/b", False, "s3/bucket/a", False, True),
        ("s3/bucket/a", False, "s3/bucket/b", False, False),
        ("s3/bucket/a", False, "s3/bucket/ab", False, False),
        ("/a/b", False, "/", False, True),
        ("/a", False, "/b", False, False),
        ("s3/bucket/a", True, "s3/bucket/a", True, False),
        ("s3/bucket/a", True, "s3/bucket/a", False, True),
        ("s3/bucket/a", True, "s3/bucket", False, True),
        ("s3/bucket/a", True, "s3/bucket/a/b", False, False),
        ("s3/bucket/a", False, "s3/bucket/a/b", True, True),
    ],
)
def test_who_excludes_whom(state, first, shared, second, also_shared, excluded):
    with lock_tree(state, first, shared=shared):
        assert refused(state, second, shared=also_shared) is excluded
    assert not refused(state, second, shared=also_shared)


def test_message_names_the_holder(state, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/cf\ntool", "sync"])
    with lock_tree(state, "a\x1b"), pytest.raises(Locked) as caught:
        lock_tree(state, "a\x1b")
    assert str(os.getpid()) in str(caught.value)
    assert r"cf\ntool" in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("sign", [b"", b"{", b"[]", b"{}", b'{"pid": "x", "command": 1}', b'{"pid": 4194304999}'])
def test_unreadable_or_stale_signs_are_left_out(state, sign):
    with lock_tree(state, "a"):
        (name,) = os.listdir(os.path.join(state, "locks"))
        with open(os.path.join(state, "locks", name), "wb") as file:
            file.write(sign)
        with pytest.raises(Locked, match="another run works on a;"):
            lock_tree(state, "a")


def test_holder_of_another_user_is_named(state, monkeypatch):
    def kill(pid, number):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", kill)
    with lock_tree(state, "a"), pytest.raises(Locked, match=f"process {os.getpid()}"):
        lock_tree(state, "a")


def test_holder_without_a_name(state, monkeypatch):
    monkeypatch.setattr("sys.argv", [])
    with lock_tree(state, "a"), pytest.raises(Locked, match="unknown"):
        lock_tree(state, "a")


def test_waiting_is_bounded_and_holds_nothing_meanwhile(state):
    clock = Clock()
    held = lock_tree(state, "a/b")

    def sleep(seconds):
        clock.sleep(seconds)
        assert not refused(state, "c")

    with pytest.raises(Locked):
        lock_tree(state, "a", wait=5.0, clock=clock, sleep=sleep)
    assert clock.now == pytest.approx(5.0)
    assert max(clock.slept) <= 1.0
    held.release()
    held.release()


def test_waiting_ends_when_the_lock_is_free(state):
    clock = Clock()
    held = lock_tree(state, "a")

    def sleep(seconds):
        clock.sleep(seconds)
        if clock.now > 2:
            held.release()

    with lock_tree(state, "a", wait=60.0, clock=clock, sleep=sleep):
        assert refused(state, "a")
    assert clock.now < 4


def test_waiting_can_be_cancelled(state):
    clock = Clock()
    with lock_tree(state, "a"), pytest.raises(Locked):
        lock_tree(state, "a", wait=60.0, clock=clock, sleep=clock.sleep, cancelled=lambda: clock.now > 1)
    assert clock.now < 3


@pytest.mark.crash
def test_death_frees(state):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            lock_tree(state, "a/b")
            os.write(write, b"x")
            while True:
                signal_wait()
        finally:
            os._exit(1)
    os.close(write)
    assert os.read(read, 1) == b"x"
    os.close(read)
    assert refused(state, "a/b")
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert not refused(state, "a/b")


def signal_wait():
    import signal

    signal.pause()


def test_lock_files_are_private(state):
    with Lock(state, "key"):
        directory = os.path.join(state, "locks")
        assert os.stat(directory).st_mode & 0o777 == 0o700
        (name,) = os.listdir(directory)
        assert os.stat(os.path.join(directory, name)).st_mode & 0o777 == 0o600
        assert "key" not in name


def test_state_directory_that_cannot_lock_is_told_and_nothing_stays_held(state, monkeypatch, descriptors):
    def flock(fd, how):
        raise OSError(37, "No locks available")

    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(locks.fcntl, "flock", flock)
        with pytest.raises(StoreError, match="no locks available"):
            lock_tree(state, "a/b")
    assert descriptors() == before


def test_state_directory_that_is_a_file(tmp_path):
    (tmp_path / "state").write_bytes(b"")
    with pytest.raises(StoreError):
        lock_tree(str(tmp_path / "state"), "a")


def test_full_disk_does_not_keep_from_locking(state, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    with lock_tree(state, "a"):
        assert refused(state, "a")
