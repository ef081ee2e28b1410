"""The conveniences over any store: the service's own way, and the same result without it."""

from dataclasses import replace

import pytest

from cftool.core import ops, paths
from cftool.core.errors import (
    AlreadyExists,
    ConnectionFailed,
    InvalidName,
    IsADirectory,
    ListingError,
    NotFound,
    PreconditionFailed,
    SourceChanged,
    TooLarge,
)
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, Entry, Kind, WalkOrder
from cftool.testing.faulty import Fault, FaultyStore
from cftool_providers.memory import MemoryStore

PLAIN = Cap.EMPTY_DIRS | Cap.RANGES
FILES = ("a-b", "a/x", "a/y/z", "a.txt", "b", "dir/e/f")


def memory(caps=None, **features):
    store = MemoryStore()
    store._features = replace(store.features, **({} if caps is None else {"caps": caps}), **features)
    for path in FILES:
        store.write(path, BytesSource(path.encode()), modified_ns=7)
    store.mkdir("a/empty")
    return store


@pytest.fixture(params=["own way", "required members alone"])
def store(request):
    return memory(None if request.param == "own way" else PLAIN)


def tree(store):
    return {e.path: e.kind for e in ops.walk_anyhow(store, "")}


def test_read_and_write_bytes(store):
    assert ops.write_bytes(store, "new", b"content", modified_ns=5).modified_ns == 5
    assert ops.read_bytes(store, "new") == b"content"
    assert ops.read_bytes(store, "new", limit=7) == b"content"
    with pytest.raises(TooLarge, match="more than 6 bytes"):
        ops.read_bytes(store, "new", limit=6)


def test_exists_means_no_only_where_it_is_known(store):
    assert (ops.exists(store, "a"), ops.exists(store, "b"), ops.exists(store, "c")) == (True, True, False)
    with pytest.raises(ConnectionFailed):
        ops.exists(FaultyStore(store, {"stat": [Fault()]}), "a")


@pytest.mark.parametrize("path", ["", "a"])
def test_walk_is_in_order_and_the_same_with_and_without_the_capability(path):
    walked = [list(ops.walk_anyhow(s, path)) for s in (memory(), memory(PLAIN), memory(walk_order=WalkOrder.NONE))]
    keys = [paths.entry_key(e) for e in walked[0]]
    assert keys == sorted(keys)
    assert [[e.path for e in each] for each in walked] == [[e.path for e in walked[0]]] * 3


def test_a_walk_that_does_not_end_is_a_listing_error():
    store = memory(PLAIN)
    store.scan = lambda path: iter([Entry(paths.join(path, "loop"), Kind.DIRECTORY)])
    with pytest.raises(ListingError, match="nested"):
        list(ops.walk_anyhow(store, ""))


def test_a_broken_listing_is_an_error_and_no_shorter_walk(store):
    faulty = FaultyStore(store, {op: [None] * (op == "scan") + [Fault(at=1)] for op in ("scan", "walk")})
    with pytest.raises(ConnectionFailed):
        list(ops.walk_anyhow(faulty, ""))


# ---- remove_tree


def test_remove_tree_removes_files_then_directories_deepest_first(store):
    removed = [(r.path, r.error) for r in ops.remove_tree(store, "a")]
    assert {p for p, _ in removed[:2]} == {"a/x", "a/y/z"}
    assert [p for p, _ in removed[2:]] == ["a/y", "a/empty", "a"]
    assert {e for _, e in removed} == {None}
    assert "a-b" in tree(store)
    assert "a" not in tree(store)


def test_remove_tree_of_a_file(store):
    assert [(r.path, r.error) for r in ops.remove_tree(store, "a/x")] == [("a/x", None)]
    assert not ops.exists(store, "a/x")


def test_remove_tree_of_the_root_leaves_the_root(store):
    assert all(r.error is None for r in ops.remove_tree(store, ""))
    assert tree(store) == {}
    assert store.stat("").is_dir


def test_remove_tree_of_nothing_is_not_found(store):
    with pytest.raises(NotFound):
        list(ops.remove_tree(store, "nothing"))


def test_what_cannot_be_removed_keeps_its_directories_and_says_so(store):
    faulty = FaultyStore(store, {"delete": [Fault()]})
    results = {r.path: type(r.error).__name__ for r in ops.remove_tree(faulty, "a")}
    kept = next(p for p, error in results.items() if error == "ConnectionFailed")
    assert ops.exists(store, kept)
    for directory in ("a", *([] if kept == "a/x" else ["a/y"])):
        assert results[directory] == "DirectoryNotEmpty"


def test_what_is_gone_meanwhile_is_no_error():
    store = memory(PLAIN)

    def gone(path):
        MemoryStore.delete(store, path)
        raise NotFound("gone", path=path)

    store.delete = gone
    assert [r.error for r in ops.remove_tree(store, "dir")] == [None, None, None]


# ---- copy and move


def test_copy_keeps_content_and_time(store):
    entry = ops.copy_anyhow(store, "a/x", "new/copy")
    assert (entry.path, entry.modified_ns) == ("new/copy", 7)
    assert ops.read_bytes(store, "new/copy") == b"a/x"
    assert ops.read_bytes(store, "a/x") == b"a/x"


def test_copy_of_a_directory_is_refused(store):
    with pytest.raises(IsADirectory):
        ops.copy_anyhow(store, "a", "new")


def test_copy_onto_itself_changes_nothing():
    store = memory(PLAIN)
    assert ops.copy_anyhow(store, "b", "b") == store.stat("b")


def test_move_of_a_file(store):
    assert ops.move_anyhow(store, "a/x", "new/moved").path == "new/moved"
    assert ops.read_bytes(store, "new/moved") == b"a/x"
    assert not ops.exists(store, "a/x")


def test_move_of_a_directory(store):
    before = {p: k for p, k in tree(store).items() if paths.is_within(p, "a")}
    moved = ops.move_anyhow(store, "a", "new/place")
    assert (moved.path, moved.kind) == ("new/place", Kind.DIRECTORY)
    after = tree(store)
    assert {p for p in after if paths.is_within(p, "a")} == set()
    assert {p: k for p, k in after.items() if paths.is_within(p, "new/place")} == {
        "new/place" + p[1:]: k for p, k in before.items()
    }
    assert ops.read_bytes(store, "new/place/y/z") == b"a/y/z"


def test_move_of_a_directory_where_directories_are_implicit():
    store = memory(Cap.IMPLICIT_DIRS | Cap.MOVE)
    store.rmdir("a/empty")

    def rmdir(path):
        raise NotFound("it went with its last file", path=path)

    store.rmdir = rmdir
    assert ops.move_anyhow(store, "a", "new") == Entry("new", Kind.DIRECTORY)
    assert ops.read_bytes(store, "new/y/z") == b"a/y/z"


def test_move_onto_itself_changes_nothing(store):
    assert ops.move_anyhow(store, "a", "a").is_dir
    assert ops.move_anyhow(store, "b", "b").path == "b"
    assert ops.read_bytes(store, "a/x") == b"a/x"


def test_move_into_itself_is_refused(store):
    with pytest.raises(InvalidName):
        ops.move_anyhow(store, "a", "a/y/new")
    assert ops.read_bytes(store, "a/x") == b"a/x"


def test_a_directory_does_not_move_onto_something(store):
    for there in ("dir", "b"):
        with pytest.raises(AlreadyExists):
            ops.move_anyhow(store, "a", there)
    assert ops.read_bytes(store, "a/x") == b"a/x"
    assert ops.read_bytes(store, "dir/e/f") == b"dir/e/f"


def test_a_move_that_fails_half_way_loses_nothing():
    store = memory(PLAIN)
    faulty = FaultyStore(store, {"write": [None, Fault()]})
    with pytest.raises(ConnectionFailed):
        ops.move_anyhow(faulty, "a", "new")
    contents = {ops.read_bytes(store, p) for p, kind in tree(store).items() if kind is Kind.FILE}
    assert {b"a/x", b"a/y/z"} <= contents


# ---- a file of a store as a source


def test_a_file_of_a_store_is_a_source():
    store = memory()
    source = ops.StoreSource(store, store.stat("a/x"))
    assert (source.size, source.local_path, source.load()) == (3, None, b"a/x")
    with source.open() as first, source.open() as second:
        assert (first.read(2), second.read(), first.read(), first.read()) == (b"a/", b"a/x", b"x", b"")
        assert first.readable()
    source.check()


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.write("a/x", BytesSource(b"new")),
        lambda s: s.delete("a/x"),
        lambda s: (s.delete("a/x"), s.mkdir("a/x")),
    ],
)
def test_a_source_that_is_another_file_by_now_has_changed(change):
    store = memory()
    source = ops.StoreSource(store, store.stat("a/x"))
    change(store)
    with pytest.raises(SourceChanged):
        source.check()
    with pytest.raises((SourceChanged, IsADirectory)):
        source.open()
    with pytest.raises((SourceChanged, IsADirectory)):
        source.load()


def test_a_source_that_changes_while_it_is_loaded_has_changed():
    store = memory()
    source = ops.StoreSource(store, store.stat("a/x"))
    read = store.read

    def then_changes(path, **kwargs):
        download = read(path, **kwargs)
        store.write("a/x", BytesSource(b"new"))
        return download

    store.read = then_changes
    with pytest.raises(SourceChanged) as caught:
        source.load()
    assert caught.value.path == "a/x"
    assert not isinstance(caught.value, PreconditionFailed)
