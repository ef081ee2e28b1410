"""Directories over an object store without markers: here only, in nobody's way, until something is in them."""

from dataclasses import replace

import pytest

from cftool.core import ops
from cftool.core.errors import IsADirectory, NotFound, PermissionDenied
from cftool.testing.faulty import Fault, FaultyStore
from tests.wrap.caching.kit import FlatMemory, cached, get, put


@pytest.fixture
def remote():
    return FlatMemory()


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


def test_it_is_kept_where_only_what_is_pending_by_then_was_seen_in_it(remote, cache_directory):
    class Slow(FaultyStore):
        def scan(self, path):
            yield from super().scan(path)
            if path == "a/b":
                put(store, "a/b/file", b"ours")

    store = cached(Slow(remote, {}), cache_directory)
    store.mkdir("a/b")
    put(remote, "a/b/file", b"somebody's")
    assert names(store, "a/b") == ["a/b/file"]
    assert store.journal.local() == ["a/b"]
    store.close()


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


# ---- programs that once went wrong


def tree(store):
    """By listings; and the same by `stat`."""
    found, todo = {}, [""]
    while todo:
        for entry in store.scan(todo.pop()):
            found[entry.path] = None if entry.is_dir else get(store, entry.path)
            assert store.stat(entry.path).kind is entry.kind
            if entry.is_dir:
                todo.append(entry.path)
    return found


def removed(store, path):
    assert [result.error for result in ops.remove_tree(store, path) if result.error] == []


def test_directory_that_is_removed_made_again_and_renamed_is_shown_and_no_conflict(store, remote):
    put(store, "c/d/e", b"old")
    assert store.flush() == []
    removed(store, "c/d")
    put(store, "c/d/e", b"new")
    store.move("c/d", "a")
    assert tree(store) == {"c": None, "a": None, "a/e": b"new"}
    assert store.flush() == []
    assert (store.stats.conflicts, get(remote, "a/e")) == (0, b"new")


def test_file_is_renamed_into_a_directory_that_is_removed_and_made_again(store, remote):
    put(store, "d/old", b"old")
    put(store, "file", b"new")
    assert store.flush() == []
    put(store, "other", b"other")
    removed(store, "d")
    store.move("other", "d/old")
    assert tree(store) == {"d": None, "d/old": b"other", "file": b"new"}
    assert store.flush() == []
    assert (store.stats.conflicts, get(remote, "d/old")) == (0, b"other")


def test_directories_above_a_rename_stay_while_what_it_moves_is_listed(store):
    put(store, "a/x", b"x")
    assert store.flush() == []
    store.move("a", "c/d/e")
    assert tree(store) == {"c": None, "c/d": None, "c/d/e": None, "c/d/e/x": b"x"}
    assert tree(store) == {"c": None, "c/d": None, "c/d/e": None, "c/d/e/x": b"x"}


def test_copy_onto_a_directory_that_is_only_here_is_refused(store, remote):
    put(store, "a", b"a")
    store.mkdir("b")
    assert store.flush() == []
    with pytest.raises(IsADirectory):
        store.copy("a", "b")
    assert tree(store) == {"a": b"a", "b": None}


def test_tree_is_removed_whose_rename_has_happened_already(remote, cache_directory):
    faulty = FaultyStore(remote, {})
    store = cached(faulty, cache_directory)
    put(store, "c/d/e", b"1")
    assert store.flush() == []
    store.move("c", "a/x")
    faulty._faults["move"] = iter([Fault(answer_lost=True)])
    assert len(store.flush()) == 1
    removed(store, "a")
    assert tree(store) == {}
    assert store.flush() == []
    assert (store.stats.conflicts, list(remote.walk(""))) == (0, [])
    store.close()


class Buckets(FlatMemory):
    """Files are in buckets, and nowhere else."""

    @property
    def features(self):
        features = super().features
        return replace(features, names=replace(features.names, top_files=False))


def test_a_file_beside_buckets_is_refused_at_once(cache_directory):
    """Nothing could ever upload it."""
    store = cached(Buckets(), cache_directory)
    put(store, "bucket/file", b"x")
    for change in (
        lambda: put(store, "top", b"x"),
        lambda: store.edit("top", create=True),
        lambda: store.edit("top", create=True, absent=True),
        lambda: store.move("bucket/file", "top"),
        lambda: store.copy("bucket/file", "top"),
    ):
        with pytest.raises(PermissionDenied, match="only in one"):
            change()
    assert [row.path for row in store.pending()] == ["bucket/file"]
    store.close()
