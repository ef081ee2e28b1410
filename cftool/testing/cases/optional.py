"""Cases about the optional members: each does what the protocol says, or is refused before any request."""

from collections.abc import Callable, Iterator

import pytest

from cftool.core.errors import (
    IsADirectory,
    NotADirectory,
    NotFound,
    PreconditionFailed,
    ReadOnly,
    SourceChanged,
    StoreError,
    Unsupported,
)
from cftool.core.sources import BytesSource
from cftool.core.store import Store
from cftool.core.types import Cap, Entry, Kind, Leftover, ReadItem, Result, WriteItem
from cftool.testing.cases.base import Base, OddSource
from cftool.testing.targets import MemoryTarget

_WHEN = 1_600_000_000_000_000_000


class OptionalCases(Base):
    """See the module."""

    # ---- features

    def test_features_are_constant_and_sound(self, store: Store) -> None:
        features = store.features
        self.put(store, "file")
        after = store.features
        assert features.caps in after.caps  # more may appear once they were seen to work
        assert (features.identity, features.hashes, features.names) == (after.identity, after.hashes, after.names)
        assert features.identity
        assert features.connections >= 1
        assert features.time_precision_ns is None or features.time_precision_ns >= 1
        assert all(name == name.lower() for name in features.hashes)

    def test_absent_members_raise_unsupported(self, store: Store) -> None:
        self.put(store, "file", b"kept")
        entry = store.stat("file")
        item, read = WriteItem("new", BytesSource(b"x")), ReadItem(entry, MemoryTarget())
        calls: list[tuple[Cap, Callable[[], object]]] = [
            (Cap.WALK, lambda: next(iter(store.walk("")))),
            (Cap.TREE, lambda: next(iter(store.tree("file")))),
            (Cap.COPY, lambda: store.copy("file", "new")),
            (Cap.MOVE, lambda: store.move("file", "new")),
            (Cap.SET_MODIFIED, lambda: store.set_modified("file", _WHEN)),
            (Cap.WRITE_MANY, lambda: next(iter(store.write_many([item])))),
            (Cap.READ_MANY, lambda: next(iter(store.read_many([read])))),
            (Cap.DELETE_MANY, lambda: next(iter(store.delete_many([entry])))),
            (Cap.DELETE_DIR, lambda: store.delete_dir("dir")),
            (Cap.CHANGES, lambda: store.changes(None)),
            (Cap.USAGE, store.usage),
            (Cap.LINK, lambda: store.link("file")),
            (Cap.LEFTOVERS, lambda: next(iter(store.leftovers("")))),
            (Cap.LEFTOVERS, lambda: store.remove_leftover(Leftover("file", "1"))),
        ]
        for cap, call in calls:
            if not self.has(store, cap):
                with pytest.raises((Unsupported, ReadOnly)):
                    call()
        assert self.get(store, "file") == b"kept"
        assert self.missing(store, "new")

    # ---- copy

    def test_copy_keeps_content_time_and_source(self, store: Store) -> None:
        self.need(store, Cap.COPY)
        self.put(store, "a/file", b"content", modified_ns=_WHEN)
        copied = store.copy("a/file", "b/copy")
        assert copied.path == "b/copy"
        self.agree(copied, store.stat("b/copy"))
        assert self.get(store, "b/copy") == b"content"
        assert self.get(store, "a/file") == b"content"
        assert store.stat("b/copy").modified_ns == store.stat("a/file").modified_ns

    def test_copy_replaces(self, store: Store) -> None:
        self.need(store, Cap.COPY)
        self.put(store, "new", b"new content")
        self.put(store, "old", b"old")
        store.copy("new", "old")
        assert self.get(store, "old") == b"new content"
        self.put(store, "new", b"changed")
        assert self.get(store, "old") == b"new content"

    def test_copy_of_an_empty_and_of_a_large_file(self, store: Store) -> None:
        self.need(store, Cap.COPY)
        for size in (0, self.big):
            data = self.content(size)
            self.put(store, "file", data)
            assert store.copy("file", "copy").size == size
            assert self.get(store, "copy") == data

    def test_copy_of_nothing_is_not_found_and_keeps_the_destination(self, store: Store) -> None:
        self.need(store, Cap.COPY)
        self.put(store, "file", b"kept")
        with pytest.raises(NotFound):
            store.copy("nothing", "file")
        assert self.get(store, "file") == b"kept"

    def test_copy_of_a_directory_fails(self, store: Store) -> None:
        self.need(store, Cap.COPY)
        self.put(store, "dir/file", b"kept")
        with pytest.raises((IsADirectory, NotFound)):
            store.copy("dir", "other")
        assert self.get(store, "dir/file") == b"kept"

    def test_copy_of_odd_names(self, store: Store) -> None:
        self.need(store, Cap.COPY)
        for name in ("a b+c%20#?&=é'\"", "日本語", "x" * 200):
            self.put(store, name, name.encode())
            store.copy(name, f"copies/{name}!")
            assert self.get(store, f"copies/{name}!") == name.encode()

    # ---- move

    def test_move_of_a_file(self, store: Store) -> None:
        self.need(store, Cap.MOVE)
        self.put(store, "a/file", b"content", modified_ns=_WHEN)
        before = store.stat("a/file")
        moved = store.move("a/file", "b/moved")
        assert moved.path == "b/moved"
        self.agree(moved, store.stat("b/moved"))
        assert self.get(store, "b/moved") == b"content"
        assert store.stat("b/moved").modified_ns == before.modified_ns
        assert self.missing(store, "a/file")

    def test_move_replaces_a_file(self, store: Store) -> None:
        self.need(store, Cap.MOVE)
        self.put(store, "new", b"new content")
        self.put(store, "old", b"old")
        store.move("new", "old")
        assert self.get(store, "old") == b"new content"
        assert self.missing(store, "new")

    def test_move_of_nothing_is_not_found_and_keeps_the_destination(self, store: Store) -> None:
        self.need(store, Cap.MOVE)
        self.put(store, "file", b"kept")
        with pytest.raises(NotFound):
            store.move("nothing", "file")
        assert self.get(store, "file") == b"kept"

    def test_move_of_a_file_onto_a_directory_harms_neither(self, store: Store) -> None:
        self.need(store, Cap.MOVE)
        if store.features.names.opaque:
            pytest.skip(f"in {store.name} a key may be the prefix of others")
        self.put(store, "file", b"kept")
        self.put(store, "dir/inside", b"kept too")
        with pytest.raises(StoreError):
            store.move("file", "dir")
        assert self.get(store, "file") == b"kept"
        assert self.get(store, "dir/inside") == b"kept too"

    def test_move_of_a_directory(self, store: Store) -> None:
        self.need(store, Cap.MOVE_DIR)
        self.put(store, "from/sub/file", b"content")
        self.put(store, "from2/file", b"kept")
        store.mkdir("from/empty")
        moved = store.move("from", "to/here")
        assert (moved.path, moved.kind) == ("to/here", Kind.DIRECTORY)
        assert self.missing(store, "from")
        assert self.get(store, "to/here/sub/file") == b"content"
        assert self.get(store, "from2/file") == b"kept"
        if self.has(store, Cap.EMPTY_DIRS):
            assert store.stat("to/here/empty").is_dir

    def test_move_of_a_directory_onto_one_with_entries_harms_neither(self, store: Store) -> None:
        self.need(store, Cap.MOVE_DIR)
        self.put(store, "from/file", b"one")
        self.put(store, "to/file", b"two")
        with pytest.raises(StoreError):
            store.move("from", "to")
        assert self.get(store, "from/file") == b"one"
        assert self.get(store, "to/file") == b"two"

    def test_move_of_a_directory_without_the_capability_moves_nothing(self, store: Store) -> None:
        self.need(store, Cap.MOVE)
        if self.has(store, Cap.MOVE_DIR):
            pytest.skip(f"{store.name} moves directories")
        self.put(store, "from/file", b"kept")
        with pytest.raises(StoreError):
            store.move("from", "to")
        assert self.get(store, "from/file") == b"kept"

    # ---- times

    def test_set_modified_changes_the_time_alone(self, store: Store) -> None:
        self.need(store, Cap.SET_MODIFIED)
        before = self.put(store, "file", b"content", modified_ns=1_000_000_000_000_000_000)
        entry = store.set_modified("file", _WHEN)
        self.agree(entry, store.stat("file"))
        assert store.stat("file").modified_ns == _WHEN
        assert self.get(store, "file") == b"content"
        assert entry.size == before.size

    def test_set_modified_of_nothing_is_not_found(self, store: Store) -> None:
        self.need(store, Cap.SET_MODIFIED)
        with pytest.raises(NotFound):
            store.set_modified("nothing", _WHEN)
        assert self.missing(store, "nothing")

    # ---- batches

    def test_write_many_writes_all_and_gives_the_tags_back(self, store: Store) -> None:
        self.need(store, Cap.WRITE_MANY)
        contents = {f"dir{n % 3}/file{n}": self.content(n * 501, seed=n) for n in range(40)}
        items = (WriteItem(p, BytesSource(d), modified_ns=_WHEN, tag=("tag", p)) for p, d in contents.items())
        results = _by_path(store.write_many(items))
        assert results.keys() == contents.keys()
        for path, data in contents.items():
            result = results[path]
            assert result.error is None
            assert result.tag == ("tag", path)
            assert result.entry is not None
            assert result.entry.size == len(data)
            self.agree(result.entry, store.stat(path))
            assert self.get(store, path) == data

    def test_write_many_of_nothing(self, store: Store) -> None:
        self.need(store, Cap.WRITE_MANY)
        assert list(store.write_many([])) == []

    def test_write_many_goes_on_after_a_failure(self, store: Store) -> None:
        self.need(store, Cap.WRITE_MANY)
        self.put(store, "bad", b"old")
        items = [WriteItem(f"file{n}", BytesSource(b"x" * n), tag=n) for n in range(10)]
        items.insert(4, WriteItem("bad", OddSource(b"abc", size=3, changed=True), tag="bad"))
        results = _by_path(store.write_many(items))
        assert isinstance(results["bad"].error, SourceChanged)
        assert results["bad"].entry is None
        assert results["bad"].tag == "bad"
        assert [r.path for r in results.values() if r.error is not None] == ["bad"]
        assert self.get(store, "bad") == b"old"
        assert self.listing(store).keys() == {"bad", *(f"file{n}" for n in range(10))}

    def test_write_many_mixes_large_and_small(self, store: Store) -> None:
        self.need(store, Cap.WRITE_MANY)
        contents = {"large": self.content(self.big), "small": b"x", "empty": b""}
        results = _by_path(store.write_many(WriteItem(p, BytesSource(d)) for p, d in contents.items()))
        assert all(r.error is None for r in results.values())
        assert {p: self.get(store, p) for p in contents} == contents

    def test_write_many_may_be_abandoned(self, store: Store) -> None:
        self.need(store, Cap.WRITE_MANY)
        results: Iterator[Result] = iter(store.write_many(WriteItem(f"f{n}", BytesSource(b"x")) for n in range(20)))
        first = next(results)
        del results
        assert self.get(store, first.path) == b"x"
        self.put(store, "after", b"usable")
        assert self.get(store, "after") == b"usable"

    def test_write_many_obeys_conditions(self, store: Store) -> None:
        self.need(store, Cap.WRITE_MANY | Cap.IF_VERSION)
        version = self.put(store, "file", b"one").version
        self.put(store, "file", b"second")
        [result] = store.write_many([WriteItem("file", BytesSource(b"third"), if_version=version)])
        assert isinstance(result.error, PreconditionFailed)
        assert self.get(store, "file") == b"second"

    def test_read_many_reads_all_and_gives_the_tags_back(self, store: Store) -> None:
        self.need(store, Cap.READ_MANY)
        contents = {f"file{n}": self.content(n * 997, seed=n) for n in range(30)}
        contents["large"] = self.content(self.big)
        for path, data in contents.items():
            self.put(store, path, data)
        targets = {path: MemoryTarget() for path in contents}
        items = (ReadItem(e, targets[e.path], tag=e.path) for e in self.listing(store).values())
        results = _by_path(store.read_many(items))
        assert {p: r.error for p, r in results.items()} == dict.fromkeys(contents)
        assert {p: r.tag for p, r in results.items()} == {p: p for p in contents}
        assert {p: t.data for p, t in targets.items()} == contents
        for path, target in targets.items():
            assert target.entry is not None
            assert target.entry.path == path
            self.agree(target.entry, store.stat(path))

    def test_read_many_goes_on_after_a_failure(self, store: Store) -> None:
        self.need(store, Cap.READ_MANY)
        for name in ("gone", "file1", "file2"):
            self.put(store, name, name.encode())
        entries = list(self.listing(store).values())
        store.delete("gone")
        targets = {e.path: MemoryTarget() for e in entries}
        results = _by_path(store.read_many(ReadItem(e, targets[e.path]) for e in entries))
        assert isinstance(results["gone"].error, NotFound)
        assert targets["gone"].data is None
        assert (targets["file1"].data, targets["file2"].data) == (b"file1", b"file2")

    def test_read_many_refuses_another_version(self, store: Store) -> None:
        self.need(store, Cap.READ_MANY)
        for size in (100, self.big):
            self.put(store, "file", self.content(size, seed=1))
            listed = self.listing(store)["file"]
            if listed.version is None:
                pytest.skip(f"{store.name} lists no versions")
            self.put(store, "file", self.content(size, seed=2))
            target = MemoryTarget()
            [result] = store.read_many([ReadItem(listed, target)])
            assert isinstance(result.error, StoreError)
            assert target.data is None

    def test_delete_many_removes_files_then_directories(self, store: Store) -> None:
        self.need(store, Cap.DELETE_MANY)
        paths = [f"dir/file{n}" for n in range(30)]
        for path in (*paths, "dir2/kept"):
            self.put(store, path)
        entries = [Entry(path, Kind.FILE) for path in paths]
        results = _by_path(store.delete_many([*entries, Entry("dir", Kind.DIRECTORY)]))
        assert results.keys() == {*paths, "dir"}
        assert [r for r in results.values() if r.error is not None] == []
        assert self.tree(store).keys() == {"dir2", "dir2/kept"}

    def test_delete_many_of_odd_names(self, store: Store) -> None:
        self.need(store, Cap.DELETE_MANY)
        names = ["a b", "plus+", "per%20cent", "amp&<>'\"", "é", "日本語", "😀"]
        for name in (*names, "kept"):
            self.put(store, name)
        results = _by_path(store.delete_many(Entry(name, Kind.FILE) for name in names))
        assert [r for r in results.values() if r.error is not None] == []
        assert self.listing(store).keys() == {"kept"}

    def test_delete_many_takes_what_is_gone_already_as_done(self, store: Store) -> None:
        self.need(store, Cap.DELETE_MANY)
        self.put(store, "file")
        entries = [Entry("gone", Kind.FILE), Entry("file", Kind.FILE), Entry("dir/gone", Kind.FILE)]
        results = _by_path(store.delete_many(entries))
        assert {p: r.error for p, r in results.items()} == {"gone": None, "file": None, "dir/gone": None}
        assert self.listing(store) == {}

    def test_delete_many_keeps_directories_with_entries(self, store: Store) -> None:
        self.need(store, Cap.DELETE_MANY)
        self.put(store, "dir/kept", b"kept")
        self.put(store, "file")
        results = _by_path(store.delete_many([Entry("dir", Kind.DIRECTORY), Entry("file", Kind.FILE)]))
        assert results["file"].error is None
        if self.has(store, Cap.EMPTY_DIRS) and not self.has(store, Cap.IMPLICIT_DIRS):
            assert isinstance(results["dir"].error, StoreError)
        assert self.get(store, "dir/kept") == b"kept"
        assert self.missing(store, "file")

    # ---- a directory with all below it

    def test_delete_dir_takes_all_below_and_nothing_else(self, store: Store) -> None:
        self.need(store, Cap.DELETE_DIR)
        for path in ("dir/file", "dir/sub/deep/file", "dir2/kept", "dir.txt"):
            self.put(store, path)
        store.mkdir("dir/empty")
        store.delete_dir("dir")
        assert self.missing(store, "dir")
        assert self.missing(store, "dir/sub/deep/file")
        assert self.tree(store).keys() == {"dir2", "dir2/kept", "dir.txt"}
        self.put(store, "dir/new", b"new")
        assert self.listing(store, "dir").keys() == {"dir/new"}

    def test_delete_dir_of_a_file_or_of_nothing_fails_and_harms_nothing(self, store: Store) -> None:
        self.need(store, Cap.DELETE_DIR)
        self.put(store, "file", b"kept")
        with pytest.raises(NotFound):
            store.delete_dir("nothing")
        with pytest.raises(NotADirectory):
            store.delete_dir("file")
        with pytest.raises(StoreError):
            store.delete_dir("")
        assert self.get(store, "file") == b"kept"

    # ---- the rest

    def test_changes_tell_what_changed(self, store: Store) -> None:
        self.need(store, Cap.CHANGES)
        self.put(store, "before")
        cursor = store.changes(None).cursor
        self.put(store, "dir/new")
        store.delete("before")
        changed = store.changes(cursor)
        assert not changed.reset
        assert {"dir/new", "before"} <= set(changed.paths)
        assert store.changes(changed.cursor).paths == ()

    def test_changes_since_an_unknown_cursor_ask_for_a_new_listing(self, store: Store) -> None:
        self.need(store, Cap.CHANGES)
        assert store.changes("no cursor of ours").reset

    def test_usage_is_sound(self, store: Store) -> None:
        self.need(store, Cap.USAGE)
        self.put(store, "file", b"x" * 1000)
        usage = store.usage()
        for value in (usage.total, usage.used, usage.free):
            assert value is None or value >= 0
        assert (usage.total, usage.used, usage.free) != (None, None, None)


def _by_path(results: Iterator[Result]) -> dict[str, Result]:
    found: dict[str, Result] = {}
    for result in results:
        assert (result.entry is None) != (result.error is None), result
        assert result.path not in found, f"two results for {result.path!r}"
        assert result.entry is None or result.entry.path == result.path
        found[result.path] = result
    return found
