"""What is heard of a tree, and of directories that are made later."""

import ctypes
import os
import shutil

import pytest

from cftool.disk import notify
from cftool.disk.notify import Notify

LONG = 5.0  # seconds; an event is there at once, or never


@pytest.fixture
def heard(tmp_path):
    (tmp_path / "d" / "e").mkdir(parents=True)
    watching = Notify(str(tmp_path), hidden=lambda name: name.startswith(".hidden"))
    yield watching
    watching.close()
    watching.close()


def drained(watching):
    while watching.wait(0.0):
        pass


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "f").write_text("1"),
        lambda root: (root / "d" / "e" / "f").write_text("1"),
        lambda root: os.rename(root / "d" / "e", root / "x"),
        lambda root: (root / "d" / "e").rmdir(),
        lambda root: os.utime(root / "d", ns=(1, 1)),
    ],
)
def test_a_change_is_heard(heard, tmp_path, change):
    assert not heard.wait(0.0)
    change(tmp_path)
    assert heard.wait(LONG)


def test_directories_that_are_made_later_are_heard_too(heard, tmp_path):
    (tmp_path / "new" / "deep").mkdir(parents=True)
    assert heard.wait(LONG)
    drained(heard)
    (tmp_path / "new" / "deep" / "f").write_text("1")
    assert heard.wait(LONG)
    drained(heard)
    shutil.rmtree(tmp_path / "new")
    assert heard.wait(LONG)


def test_hidden_names_are_not_heard(heard, tmp_path):
    (tmp_path / ".hidden-1").write_text("1")
    assert not heard.wait(0.05)


def test_links_are_not_followed(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    watching = Notify(str(inside))
    os.symlink(outside, inside / "link")
    assert watching.wait(LONG)
    drained(watching)
    (outside / "f").write_text("1")
    assert not watching.wait(0.05)
    watching.close()


def test_what_is_lost_counts_as_a_change(heard):
    overflow = notify._HEAD.pack(-1, notify._OVERFLOW, 0, 0)
    unknown = notify._HEAD.pack(99, notify._CREATE | notify._ISDIR, 0, 4) + b"x\0\0\0"
    assert heard._take(overflow)
    assert heard._take(unknown)
    assert not heard._take(notify._HEAD.pack(99, notify._IGNORED, 0, 0))


def test_where_nothing_can_be_watched(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="No such file"):
        Notify(str(tmp_path / "nothing"))

    class Refusing:
        def __init__(self):
            self.inotify_add_watch = type("F", (), {"__call__": lambda self, *_: -1})()

        @staticmethod
        def inotify_init1(flags):
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Refusing())
    with pytest.raises(OSError, match="inotify"):
        Notify(str(tmp_path))


def test_a_directory_that_is_gone_or_closed_by_then(tmp_path, monkeypatch, heard):
    heard._watch_new(str(tmp_path / "gone"))
    real = heard._add_watch

    def add(fd, path, mask):
        if path.endswith(b"/d"):
            shutil.rmtree(tmp_path / "d")
            ctypes.set_errno(2)
            return -1
        return real(fd, path, mask)

    heard._add_watch = add
    heard._watch(str(tmp_path))

    def unreadable(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", unreadable)
    heard._watch(str(tmp_path))
