"""Birth times, where there are any, and None where there are none."""

import ctypes
import os
import time

import pytest

from cftool.disk import birth
from cftool.disk.root import Root


@pytest.fixture
def root(tmp_path):
    with Root(str(tmp_path)) as opened:
        yield opened


def test_a_file_is_born_once_whatever_its_times_say(root, tmp_path):
    before = time.time_ns()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("1")
    born = birth.born_ns(root, "d/f")
    if born is None:
        pytest.skip("this file system knows no birth times")
    os.utime(tmp_path / "d" / "f", ns=(1, 1))
    os.rename(tmp_path / "d" / "f", tmp_path / "g")
    assert birth.born_ns(root, "g") == born
    assert abs(born - before) < 60 * 10**9


def test_what_is_not_there_has_none(root):
    assert (birth.born_ns(root, "nothing"), birth.born_ns(root, "no/thing")) == (None, None)


def test_where_the_library_or_the_file_system_knows_none(root, tmp_path, monkeypatch):
    (tmp_path / "f").write_text("1")
    monkeypatch.setattr(birth, "_statx", lambda: None)
    assert birth.born_ns(root, "f") is None
    monkeypatch.setattr(birth, "_statx", lambda: lambda *_: 0)  # answers, with no bit of its mask set
    assert birth.born_ns(root, "f") is None


def test_a_library_without_the_call(monkeypatch):
    birth._statx.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    assert birth._statx() is None
    birth._statx.cache_clear()
