"""Cases about directories and listings: that stat, scan and walk tell one story, and what may not be removed."""

import pytest

from cftool.core import paths
from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IsADirectory,
    NotADirectory,
    NotFound,
    StoreError,
)
from cftool.core.sources import BytesSource
from cftool.core.store import Store
from cftool.core.types import Cap, Kind, WalkOrder, WriteItem
from cftool.testing.cases.base import Base, strictly_rising

_DEPTH = 60


class TreeCases(Base):
    """See the module."""

    def _sample(self, store: Store) -> dict[str, Kind]:
        # Names whose order differs between plain names and the order of the merge ("a-b" < "a/" < "a0").
        files = ["a-b", "a/x", "a/y/z", "a0", "a.txt", "b/deep/er/file", "Z", "ä", "b/c-1", "b/c/1", "b/c0"]
        expected = dict.fromkeys(files, Kind.FILE)
        for path in files:
            self.put(store, path, path.encode())
            while path := paths.parent(path):
                expected[path] = Kind.DIRECTORY
        return expected

    # ---- stat

    def test_root_is_a_directory(self, store: Store) -> None:
        self.put(store, "file")
        root = store.stat("")
        assert root.path == ""
        assert root.kind is Kind.DIRECTORY

    def test_stat_of_a_file(self, store: Store) -> None:
        self.put(store, "dir/file", b"12345")
        entry = store.stat("dir/file")
        assert (entry.path, entry.kind, entry.size, entry.name) == ("dir/file", Kind.FILE, 5, "file")

    def test_stat_of_a_directory(self, store: Store) -> None:
        self.put(store, "dir/sub/file")
        entry = store.stat("dir/sub")
        assert (entry.path, entry.kind) == ("dir/sub", Kind.DIRECTORY)

    def test_stat_of_nothing_is_not_found(self, store: Store) -> None:
        self.put(store, "dir/file")
        for path in ("nothing", "dir/nothing", "nothing/below", "di", "dir/fil", "dir/file2"):
            with pytest.raises(NotFound):
                store.stat(path)

    def test_stat_below_a_file_finds_nothing(self, store: Store) -> None:
        self.put(store, "file")
        with pytest.raises((NotFound, NotADirectory)):
            store.stat("file/below")

    # ---- scan and walk

    def test_root_of_an_empty_store_lists_nothing(self, store: Store) -> None:
        assert self.listing(store) == {}

    def test_scan_is_one_level(self, store: Store) -> None:
        self._sample(store)
        assert {p: e.kind.value for p, e in self.listing(store, "b").items()} == {
            "b/deep": "directory",
            "b/c-1": "file",
            "b/c": "directory",
            "b/c0": "file",
        }

    def test_entries_of_a_listing_equal_stat_in_what_they_know(self, store: Store) -> None:
        self._sample(store)
        for directory in ("", "a", "b/c"):
            for entry in self.listing(store, directory).values():
                self.agree(entry, store.stat(entry.path))

    def test_scan_of_nothing_is_not_found(self, store: Store) -> None:
        self.put(store, "dir/file")
        for path in ("nothing", "dir/nothing", "di"):
            with pytest.raises(NotFound):
                list(store.scan(path))

    def test_scan_of_a_file_is_not_a_directory(self, store: Store) -> None:
        self.put(store, "dir/file")
        with pytest.raises(NotADirectory):
            list(store.scan("dir/file"))

    def test_scan_does_not_mistake_a_name_for_its_prefix(self, store: Store) -> None:
        self.put(store, "dir/file")
        self.put(store, "dir2/file")
        self.put(store, "dir.txt")
        assert self.listing(store, "dir").keys() == {"dir/file"}

    def test_large_directory_is_listed_whole(self, store: Store) -> None:
        names = [f"many/file-{number:05}" for number in range(self.many)]
        if self.has(store, Cap.WRITE_MANY):
            errors = [r for r in store.write_many(WriteItem(n, BytesSource(b"x")) for n in names) if r.error]
            assert errors == []
        else:
            for name in names:
                self.put(store, name, b"x")
        assert self.listing(store, "many").keys() == set(names)
        if self.has(store, Cap.WALK):
            walked = list(store.walk(""))
            assert {e.path for e in walked} == {"many", *names}
            assert len(walked) == len(names) + 1

    def test_scan_may_be_abandoned(self, store: Store) -> None:
        self._sample(store)
        for _ in range(3):
            next(iter(store.scan("")))
        assert len(self.listing(store)) == 7

    def test_walk_is_the_recursion_of_scan(self, store: Store) -> None:
        self.need(store, Cap.WALK)
        expected = self._sample(store)
        assert self.tree(store) == expected
        walked = list(store.walk(""))
        assert {e.path: e.kind for e in walked} == expected
        assert len(walked) == len(expected)

    def test_walk_of_a_subtree_stays_in_it(self, store: Store) -> None:
        self.need(store, Cap.WALK)
        self._sample(store)
        assert {e.path: e.kind for e in store.walk("a")} == self.tree(store, "a")
        assert {e.path for e in store.walk("b/c")} == {"b/c/1"}

    def test_tree_is_stat_and_then_walk(self, store: Store) -> None:
        self.need(store, Cap.TREE)
        self._sample(store)
        for path in ("", "a", "b", "b/c", "b/c-1"):
            top, *below = store.tree(path)
            assert (top.path, top.kind, top.stored_ns) == (
                (asked := store.stat(path)).path,
                asked.kind,
                asked.stored_ns,
            )
            assert below == (list(store.walk(path)) if top.is_dir else [])
        with pytest.raises(NotFound):
            next(iter(store.tree("nothing")))

    def test_walk_is_in_the_order_promised(self, store: Store) -> None:
        self.need(store, Cap.WALK)
        if store.features.walk_order is not WalkOrder.BYTES:
            pytest.skip(f"{store.name} walks in no order")
        self._sample(store)
        for path in ("", "a", "b"):
            assert strictly_rising(list(store.walk(path)))

    def test_entries_of_walk_equal_stat_in_what_they_know(self, store: Store) -> None:
        self.need(store, Cap.WALK)
        self._sample(store)
        for entry in store.walk(""):
            self.agree(entry, store.stat(entry.path))

    def test_walk_of_nothing_is_not_found(self, store: Store) -> None:
        self.need(store, Cap.WALK)
        self.put(store, "dir/file")
        for path in ("nothing", "dir/nothing", "di"):
            with pytest.raises(NotFound):
                list(store.walk(path))

    def test_walk_of_a_file_is_not_a_directory(self, store: Store) -> None:
        self.need(store, Cap.WALK)
        self.put(store, "file")
        with pytest.raises(NotADirectory):
            list(store.walk("file"))

    def test_deep_tree(self, store: Store) -> None:
        path = "/".join(["d"] * _DEPTH + ["file"])
        self.put(store, path, b"deep")
        assert self.get(store, path) == b"deep"
        assert len(self.tree(store)) == _DEPTH + 1
        if self.has(store, Cap.WALK):
            assert len(list(store.walk(""))) == _DEPTH + 1

    # ---- mkdir and rmdir

    def test_mkdir_is_listed(self, store: Store) -> None:
        self.need(store, Cap.EMPTY_DIRS)
        made = store.mkdir("dir")
        assert (made.path, made.kind) == ("dir", Kind.DIRECTORY)
        self.agree(made, store.stat("dir"))
        assert self.listing(store)["dir"].is_dir
        assert self.listing(store, "dir") == {}
        if self.has(store, Cap.WALK):
            assert [e.path for e in store.walk("")] == ["dir"]
            assert list(store.walk("dir")) == []

    def test_mkdir_makes_parents(self, store: Store) -> None:
        self.need(store, Cap.EMPTY_DIRS)
        store.mkdir("a/b/c")
        assert self.tree(store) == dict.fromkeys(("a", "a/b", "a/b/c"), Kind.DIRECTORY)

    def test_mkdir_of_an_existing_directory_keeps_what_is_in_it(self, store: Store) -> None:
        self.put(store, "dir/file", b"kept")
        assert store.mkdir("dir").is_dir
        assert store.mkdir("dir").path == "dir"
        assert self.get(store, "dir/file") == b"kept"

    def test_mkdir_where_directories_are_implicit_allows_files_below(self, store: Store) -> None:
        assert store.mkdir("new").kind is Kind.DIRECTORY
        self.put(store, "new/file", b"x")
        assert self.listing(store, "new").keys() == {"new/file"}

    def test_mkdir_over_a_file_fails_and_keeps_it(self, store: Store) -> None:
        self.put(store, "file", b"kept")
        if not store.features.names.opaque:
            with pytest.raises((AlreadyExists, NotADirectory)):
                store.mkdir("file")
            with pytest.raises((AlreadyExists, NotADirectory)):
                store.mkdir("file/below")
        assert self.get(store, "file") == b"kept"

    def test_rmdir_of_an_empty_directory(self, store: Store) -> None:
        self.need(store, Cap.EMPTY_DIRS)
        store.mkdir("dir/sub")
        store.rmdir("dir/sub")
        assert self.tree(store) == {"dir": Kind.DIRECTORY}
        store.rmdir("dir")
        assert self.missing(store, "dir")

    def test_rmdir_of_a_directory_with_entries_fails_and_keeps_them(self, store: Store) -> None:
        self.put(store, "dir/sub/file", b"kept")
        for path in ("dir", "dir/sub"):
            with pytest.raises(DirectoryNotEmpty):
                store.rmdir(path)
        assert self.get(store, "dir/sub/file") == b"kept"

    def test_rmdir_of_nothing_is_not_found(self, store: Store) -> None:
        if self.has(store, Cap.IMPLICIT_DIRS):
            pytest.skip(f"in {store.name} an empty directory and none are the same")
        with pytest.raises(NotFound):
            store.rmdir("nothing")

    def test_rmdir_of_a_file_fails_and_keeps_it(self, store: Store) -> None:
        self.put(store, "file", b"kept")
        if not self.has(store, Cap.IMPLICIT_DIRS):
            with pytest.raises(NotADirectory):
                store.rmdir("file")
        else:
            self._attempt_rmdir(store, "file")
        assert self.get(store, "file") == b"kept"

    @staticmethod
    def _attempt_rmdir(store: Store, path: str) -> None:
        # A flat store may say NotFound, NotADirectory, or that there was no such directory to remove.
        try:
            store.rmdir(path)
        except (NotFound, NotADirectory):
            return

    # ---- delete

    def test_delete(self, store: Store) -> None:
        self.put(store, "dir/file")
        self.put(store, "dir/other", b"kept")
        store.delete("dir/file")
        assert self.missing(store, "dir/file")
        assert self.listing(store, "dir").keys() == {"dir/other"}
        with pytest.raises(NotFound):
            store.read("dir/file").read()

    def test_delete_of_nothing_harms_nothing(self, store: Store) -> None:
        self.put(store, "file2", b"kept")
        for path in ("file", "dir/file"):
            if self.has(store, Cap.IMPLICIT_DIRS):
                self._attempt_delete(store, path)
            else:
                with pytest.raises(NotFound):
                    store.delete(path)
        assert self.get(store, "file2") == b"kept"

    def test_delete_of_a_directory_fails_and_keeps_what_is_in_it(self, store: Store) -> None:
        self.put(store, "dir/file", b"kept")
        if self.has(store, Cap.IMPLICIT_DIRS):
            self._attempt_delete(store, "dir")
        else:
            with pytest.raises(IsADirectory):
                store.delete("dir")
        assert self.get(store, "dir/file") == b"kept"

    @staticmethod
    def _attempt_delete(store: Store, path: str) -> None:
        # A flat store need not say whether there was a file: S3 answers both alike.
        try:
            store.delete(path)
        except (NotFound, IsADirectory):
            return

    # ---- files and directories in each other's place

    def test_write_onto_a_directory_keeps_what_is_in_it(self, store: Store) -> None:
        self.put(store, "dir/file", b"kept")
        if not store.features.names.opaque:
            with pytest.raises(IsADirectory):
                self.put(store, "dir")
        assert self.get(store, "dir/file") == b"kept"

    def test_write_below_a_file_keeps_the_file(self, store: Store) -> None:
        self.put(store, "file", b"kept")
        if not store.features.names.opaque:
            for path in ("file/below", "file/far/below"):
                with pytest.raises(NotADirectory):
                    self.put(store, path)
        assert self.get(store, "file") == b"kept"

    def test_read_of_a_directory_fails(self, store: Store) -> None:
        self.put(store, "dir/file")
        # Where keys are opaque a directory is only a prefix, and no key of that name exists.
        expected = (IsADirectory, NotFound) if store.features.names.opaque else IsADirectory
        with pytest.raises(expected):
            store.read("dir").read()

    def test_root_cannot_be_written_read_or_deleted_as_a_file(self, store: Store) -> None:
        self.put(store, "file", b"kept")
        with pytest.raises(StoreError):
            self.put(store, "")
        with pytest.raises(StoreError):
            store.read("").read()
        with pytest.raises(StoreError):
            store.delete("")
        assert self.get(store, "file") == b"kept"
