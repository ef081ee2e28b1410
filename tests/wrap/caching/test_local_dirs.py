"""Directories over an object store without markers: here only, in nobody's way, until something is in them."""

import pytest

from cftool.core.errors import NotFound
from tests.wrap.caching.kit import FlatMemory, cached, get, put


@pytest.fixture
def remote():
    return FlatMemory()


@pytest.fixture
def store(remote, cache_directory):
    store = cached(remote, cache_directory)
    yield store
    store.close()


def names(store, path=""):
    return sorted(entry.path for entry in store.scan(path))


def test_new_directory_is_shown_after_a_restart_and_is_not_pending(store, remote, cache_directory):
    store.mkdir("a/b")
    store.mkdir("top")
    assert store.flush() == []
    assert store.pending() == []
    store.close()
    with pytest.raises(NotFound):
        remote.stat("a")
    again = cached(remote, cache_directory)
    assert [e.path for e in again.walk("")] == ["a", "a/b", "top"]
    again.close()


def test_it_blocks_nothing_below_it(store, remote):
    store.mkdir("top")
    put(store, "top/file", b"x")
    assert store.flush() == []
    assert get(remote, "top/file") == b"x"


def test_it_goes_with_rmdir(store):
    store.mkdir("a/b")
    store.rmdir("a/b")
    assert names(store, "a") == []
    store.rmdir("a")
    assert names(store) == []
    with pytest.raises(NotFound):
        store.stat("a")


def test_it_moves_with_itself_and_with_a_directory_above(store, remote):
    store.mkdir("a/b/c")
    put(store, "a/file", b"x")
    store.move("a/b/c", "a/b/d")
    store.move("a", "z/y")
    assert [e.path for e in store.walk("")] == ["z", "z/y", "z/y/b", "z/y/b/d", "z/y/file"]
    assert store.flush() == []
    assert [e.path for e in remote.walk("")] == ["z", "z/y", "z/y/file"]
    assert [e.path for e in store.walk("")] == ["z", "z/y", "z/y/b", "z/y/b/d", "z/y/file"]


def test_a_new_directory_of_the_top_that_was_renamed_before_it_was_tried_has_its_new_name(store):
    store.mkdir("top")
    store.move("top", "other")
    assert names(store) == ["other"]
    assert store.flush() == []
    assert names(store) == ["other"]


def test_it_is_forgotten_when_something_in_it_was_uploaded(store, remote):
    store.mkdir("a/b")
    put(store, "a/b/file", b"x")
    assert store.flush() == []
    assert store.journal.local() == []
    remote.delete("a/b/file")
    assert names(store) == []


def test_a_directory_stays_when_its_last_file_was_removed(store, remote):
    put(remote, "a/file", b"x")
    store.delete("a/file")
    assert names(store) == ["a"]
    assert store.flush() == []
    assert names(store) == ["a"]
    assert names(store, "a") == []


def test_it_is_forgotten_when_the_remote_is_seen_to_have_something_in_it(store, remote):
    store.mkdir("a/b")
    put(remote, "a/b/file", b"somebody's")
    assert names(store, "a/b") == ["a/b/file"]
    assert store.journal.local() == []


def test_a_file_moves_out_of_its_directory_which_stays(store, remote):
    put(remote, "a/file", b"x")
    store.move("a/file", "b/c/file")
    assert names(store) == ["a", "b"]
    assert names(store, "b") == ["b/c"]
    assert store.flush() == []
    assert names(store) == ["a", "b"]
    assert [e.path for e in remote.walk("")] == ["b", "b/c", "b/c/file"]


def test_what_is_removed_while_the_remote_still_has_it_is_gone(store, remote):
    put(remote, "a/file", b"x")
    store.delete("a/file")
    store.rmdir("a")
    assert names(store) == []
    store.mkdir("a")
    assert names(store) == ["a"]
    assert names(store, "a") == []
    assert store.flush() == []
    assert names(store) == ["a"]
