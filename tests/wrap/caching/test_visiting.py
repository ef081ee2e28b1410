"""Who does not own the cache sees what is pending in it, and changes nothing over it: two real processes."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from cftool.core import ops
from cftool.core.errors import NotFound, PreconditionFailed, TemporaryError
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, WriteItem
from cftool.testing.faulty import Fault, FaultyStore
from cftool.wrap.caching.visiting import VisitingStore, anything_pending
from tests.wrap.caching.kit import get, put
from tests.wrap.caching.owning import remote


class Process:
    def __init__(self, root, cache):
        self.child = subprocess.Popen(
            [sys.executable, "-m", "tests.wrap.caching.owning", root, cache],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=os.getcwd(),
        )  # fmt: skip
        assert self.child.stdout.readline() == "ready\n"

    def do(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        return self.child.stdout.readline()

    def end(self):
        self.child.stdin.close()
        self.child.wait(30)
        self.child.stdout.close()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "remote").mkdir()
    return str(tmp_path / "remote")


@pytest.fixture
def process(root, cache_directory):
    process = Process(root, cache_directory)
    yield process
    process.end()


@pytest.fixture
def visit(root, cache_directory):
    opened = []

    def visiting():
        opened.append(VisitingStore(remote(root), cache_directory))
        return opened[-1]

    yield visiting
    for store in opened:
        store.close()


def shown(store):
    return {entry.path: None if entry.is_dir else get(store, entry.path) for entry in ops.walk_anyhow(store, "")}


def test_pending_changes_are_seen_as_they_are_made(process, visit, root):
    process.do("write a/one 1")
    store = visit()
    assert shown(store) == {"a": None, "a/one": b"1"}
    process.do("write two 22")
    process.do("move a b")
    assert shown(store) == {"b": None, "b/one": b"1", "two": b"22"}
    assert (store.stat("two").size, store.read("two", start=1).read()) == (2, b"2")
    assert os.listdir(root) == []
    with pytest.raises(NotFound):
        store.read("a/one")


def test_change_beside_a_pending_path_needs_no_upload(process, visit, root):
    process.do("write a/one 1")
    store = visit()
    put(store, "b", b"x")
    assert os.listdir(root) == ["b"]


def test_owner_uploads_what_is_in_the_way_of_a_change(process, visit, root):
    process.do("write a/one 1")
    process.do("write other 2")
    store = visit()
    store.move("a", "c")
    assert shown(remote(root)) == {"c": None, "c/one": b"1"}
    assert shown(store) == {"c": None, "c/one": b"1", "other": b"2"}


def test_condition_on_a_pending_version_holds_for_what_is_uploaded_of_it(process, visit, root):
    process.do("write file 1")
    store = visit()
    seen = store.stat("file").version
    process.do("write file 22")
    with pytest.raises(PreconditionFailed):
        store.write("file", BytesSource(b"mine"), if_version=seen)
    store.write("file", BytesSource(b"mine"), if_version=store.stat("file").version)
    assert shown(remote(root)) == {"file": b"mine"}


def test_condition_on_a_pending_version_does_not_hold_for_what_somebody_else_put_there(process, visit, root):
    process.do("write file 1")
    store = visit()
    seen = store.stat("file").version
    put(remote(root), "file", b"theirs")
    with pytest.raises(PreconditionFailed):
        store.write("file", BytesSource(b"mine"), if_version=seen)
    assert shown(remote(root))["file"] == b"theirs"
    assert sorted(shown(store).values()) == [b"1", b"theirs"]


def test_without_an_owner_the_visitor_uploads_what_is_in_the_way(process, visit, root, cache_directory):
    process.do("write a/one 1")
    process.do("write other 2")
    process.do("crash")
    store = visit()
    assert shown(store) == {"a": None, "a/one": b"1", "other": b"2"}
    store.delete("a/one")
    assert shown(remote(root)) == {"a": None}
    assert anything_pending(cache_directory)
    store.delete("other")
    assert not anything_pending(cache_directory)
    assert shown(remote(root)) == {"a": None}


def test_what_cannot_be_uploaded_is_in_the_way(process, root, cache_directory):
    process.do("write one 1")
    process.do("crash")
    faulty = FaultyStore(remote(root), {"write": [Fault()]})
    store = VisitingStore(faulty, cache_directory)
    with pytest.raises(TemporaryError, match="not uploaded yet"):
        store.delete("one")
    assert shown(store) == {"one": b"1"}
    store.close()


def test_cache_without_changes_is_not_visited(tmp_path):
    assert not anything_pending(str(tmp_path))
    (tmp_path / "journal.sqlite").write_bytes(b"no database")
    assert not anything_pending(str(tmp_path))


# ---- batches


class Batching(FaultyStore):
    """A local directory with batches, which are counted."""

    def __init__(self, root, faults=()):
        super().__init__(remote(root), dict(faults))
        self.batches = []

    @property
    def features(self):
        features = super().features
        return replace(features, caps=features.caps | Cap.WRITE_MANY | Cap.DELETE_MANY)

    def write_many(self, items):
        items = list(items)
        self.batches.append(("write", [item.path for item in items]))
        return super().write_many(items)

    def delete_many(self, entries):
        entries = list(entries)
        self.batches.append(("delete", [entry.path for entry in entries]))
        return super().delete_many(entries)


@pytest.fixture
def batching(root, cache_directory):
    store = VisitingStore(Batching(root), cache_directory)
    yield store
    store.close()


def test_batch_of_writes_is_one_below_and_what_is_pending_there_goes_first(process, cache_directory, root):
    for number in range(5):
        process.do(f"write d/{number} old")
    store = VisitingStore(Batching(root), cache_directory)
    seen = [store.stat(f"d/{number}").version for number in range(5)]
    items = [
        WriteItem("d/1", BytesSource(b"new"), if_version=seen[1], tag="seen"),
        WriteItem("d/2", BytesSource(b"new"), if_version=seen[1]),
        WriteItem("d/3", BytesSource(b"new"), if_version=seen[3]),
        WriteItem("other", BytesSource(b"new")),
    ]
    results = {result.path: result for result in store.write_many(items)}
    assert results["d/1"].tag == "seen"
    assert {path: type(result.error) for path, result in results.items()} == {
        "d/1": type(None), "d/2": PreconditionFailed, "d/3": type(None), "other": type(None),
    }  # fmt: skip
    assert store.inner.batches == [("write", ["d/1", "d/3", "other"])]
    assert shown(remote(root)) == {
        "d": None, "d/0": b"old", "d/1": b"new", "d/2": b"old", "d/3": b"new", "d/4": b"old", "other": b"new",
    }  # fmt: skip
    store.close()


def test_batch_of_deletes_is_one_below(process, batching, root):
    process.do("write d/one 1")
    process.do("write d/two 2")
    entries = [batching.stat("d/one"), batching.stat("d/two"), batching.stat("d")]
    assert [result.error for result in batching.delete_many(entries)] == [None] * 3
    assert batching.inner.batches == [("delete", ["d/one", "d/two", "d"])]
    assert (shown(remote(root)), shown(batching)) == ({}, {})


def test_what_cannot_be_uploaded_is_in_the_way_of_its_own_items_only(process, root, cache_directory):
    process.do("write one 1")
    process.do("crash")
    store = VisitingStore(Batching(root, {"write": [Fault(), Fault(), None]}), cache_directory)
    items = [WriteItem(path, BytesSource(b"new")) for path in ("one", "two")]
    results = {result.path: type(result.error) for result in store.write_many(items)}
    assert results == {"one": TemporaryError, "two": type(None)}
    results = [type(result.error) for result in store.delete_many([store.stat("two")])]
    assert results == [type(None)]
    store.close()


def test_store_without_batches_gets_one_call_after_the_other(process, visit, root):
    process.do("write one 1")
    process.do("crash")
    store = visit()
    assert [r.error for r in store.write_many([WriteItem("one", BytesSource(b"new"))])] == [None]
    assert [r.error for r in store.delete_many([store.stat("one")])] == [None]
    assert shown(remote(root)) == {}


def test_whole_directory_goes_in_one_step_where_the_service_can(process, root, cache_directory):
    process.do("write d/one 1")

    class Whole(FaultyStore):
        def delete_dir(self, path):
            list(ops.remove_tree(self.inner, path))

    store = VisitingStore(Whole(remote(root), {}), cache_directory)
    store.delete_dir("d")
    assert (shown(remote(root)), shown(store)) == ({}, {})
    store.close()
