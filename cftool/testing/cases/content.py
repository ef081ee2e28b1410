"""Cases about the bytes of files: whole, in ranges, replaced, refused; times, hashes and versions."""

import hashlib
from typing import BinaryIO

import pytest

from cftool.core.errors import (
    AlreadyExists,
    IntegrityError,
    NotFound,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    Unsupported,
)
from cftool.core.sources import BytesSource
from cftool.core.store import Store
from cftool.core.types import Cap
from cftool.testing.cases.base import Base, OddSource

_TIMES = (0, 1, 1_000_000_000, 1_234_567_890_123_456_789, 4_102_444_800_999_999_999)


class ContentCases(Base):
    """See the module."""

    # ---- write and read

    def test_what_is_written_is_read_back_at_every_size(self, store: Store) -> None:
        for size in self.sizes:
            data = self.content(size, seed=size)
            entry = self.put(store, f"size-{size}", data)
            assert entry.size == size
            assert self.get(store, f"size-{size}") == data, f"{size} bytes"

    def test_large_file_is_read_back_whole(self, store: Store) -> None:
        data = self.content(self.big)
        self.put(store, "large", data)
        assert hashlib.sha256(self.get(store, "large")).digest() == hashlib.sha256(data).digest()

    def test_written_entry_is_what_stat_says(self, store: Store) -> None:
        written = self.put(store, "dir/file", b"12345", modified_ns=1_500_000_000_000_000_000)
        assert written.path == "dir/file"
        assert written.size == 5
        self.agree(written, store.stat("dir/file"))

    def test_empty_file(self, store: Store) -> None:
        assert self.put(store, "empty", b"").size == 0
        assert store.stat("empty").size == 0
        assert self.get(store, "empty") == b""
        assert self.listing(store)["empty"].size == 0

    def test_replace_with_longer_shorter_and_empty_content(self, store: Store) -> None:
        for data in (b"first", b"x" * 10_000, b"short", b"", b"again"):
            assert self.put(store, "file", data).size == len(data)
            assert self.get(store, "file") == data
            assert self.listing(store)["file"].size == len(data)
        assert self.tree(store).keys() == {"file"}

    def test_write_makes_missing_parents(self, store: Store) -> None:
        self.put(store, "a/b/c/file", b"x")
        assert store.stat("a").is_dir
        assert store.stat("a/b/c").is_dir
        assert self.get(store, "a/b/c/file") == b"x"

    def test_source_of_unknown_size(self, store: Store) -> None:
        for size in (0, 1, 70_000):
            data = self.content(size)
            entry = store.write("file", OddSource(data, size=None))
            assert entry.size == size
            assert self.get(store, "file") == data

    def test_source_without_a_path_of_its_own_is_opened_and_closed(self, store: Store) -> None:
        opened: list[BytesSource] = []

        class Counted(BytesSource):
            def open(self) -> BinaryIO:
                opened.append(self)
                return super().open()

            def load(self) -> bytes:
                opened.append(self)
                return super().load()

        store.write("file", Counted(b"abc"))
        assert opened
        assert self.get(store, "file") == b"abc"

    # ---- reading in parts

    def test_ranges(self, store: Store) -> None:
        data = self.content(1000)
        self.put(store, "file", data)
        for start, end in ((0, 1), (0, 1000), (0, None), (1, None), (999, None), (10, 20), (500, 2000), (0, 5000)):
            with store.read("file", start=start, end=end) as download:
                assert b"".join(download) == data[start:end], (start, end)
                assert download.entry.path == "file"

    def test_ranges_of_nothing(self, store: Store) -> None:
        self.put(store, "file", b"0123456789")
        for start, end in ((10, None), (11, None), (5000, 6000), (3, 3), (0, 0), (10, 10)):
            with store.read("file", start=start, end=end) as download:
                assert b"".join(download) == b"", (start, end)

    def test_range_of_an_empty_file(self, store: Store) -> None:
        self.put(store, "file", b"")
        for start, end in ((0, None), (0, 1), (1, None), (0, 0)):
            with store.read("file", start=start, end=end) as download:
                assert b"".join(download) == b"", (start, end)

    def test_entry_of_a_range_tells_the_size_of_the_file(self, store: Store) -> None:
        self.put(store, "file", self.content(1000))
        with store.read("file", start=10, end=20) as download:
            assert download.entry.size == 1000
            assert download.read() == self.content(1000)[10:20]

    def test_ranges_join_to_the_whole(self, store: Store) -> None:
        data = self.content(100_001)
        self.put(store, "file", data)
        parts = []
        for start in range(0, len(data), 30_000):
            with store.read("file", start=start, end=start + 30_000) as download:
                parts.append(download.read())
        assert b"".join(parts) == data

    def test_read_by_size_returns_that_many_bytes_until_the_end(self, store: Store) -> None:
        data = self.content(200_000)
        self.put(store, "file", data)
        with store.read("file") as download:
            assert download.read(0) == b""
            pieces = [download.read(7), download.read(100_000), download.read(1_000_000)]
            assert download.read(10) == b""
            assert download.read() == b""
        assert [len(piece) for piece in pieces] == [7, 100_000, 99_993]
        assert b"".join(pieces) == data

    def test_read_then_iterate_misses_nothing(self, store: Store) -> None:
        data = self.content(150_000)
        self.put(store, "file", data)
        with store.read("file") as download:
            head = download.read(5)
            assert head + b"".join(download) == data

    def test_download_closed_early_leaves_the_store_usable(self, store: Store) -> None:
        data = self.content(self.big)
        self.put(store, "large", data)
        for _ in range(3):
            with store.read("large") as download:
                assert download.read(10) == data[:10]
        download = store.read("large")
        download.close()
        download.close()
        assert self.get(store, "large") == data

    def test_download_in_progress_gives_one_version_or_fails(self, store: Store) -> None:
        old, new = self.content(self.big, seed=2), self.content(self.big, seed=3)
        self.put(store, "file", old)
        with store.read("file") as download:
            head = download.read(1000)
            self.put(store, "file", new)
            try:
                got = head + download.read()
            except StoreError:
                got = old
        assert got == old
        assert self.get(store, "file") == new

    def test_read_of_the_expected_version(self, store: Store) -> None:
        version = self.put(store, "file", b"one").version
        if version is None:
            pytest.skip(f"{store.name} has no versions")
        with store.read("file", if_version=version) as download:
            assert download.read() == b"one"
        with store.read("file", start=1, if_version=version) as download:
            assert download.read() == b"ne"

    def test_read_of_a_version_that_is_gone_fails(self, store: Store) -> None:
        version = self.put(store, "file", b"one").version
        if version is None:
            pytest.skip(f"{store.name} has no versions")
        self.put(store, "file", b"two, of another size")
        for start in (0, 1):
            with pytest.raises(PreconditionFailed):
                store.read("file", start=start, if_version=version).read()

    def test_read_of_nothing_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.read("nothing").read()
        with pytest.raises(NotFound):
            store.read("nothing/below", start=3).read()

    # ---- versions, hashes, times

    def test_version_changes_with_the_content(self, store: Store) -> None:
        first = self.put(store, "file", b"one")
        if first.version is None:
            pytest.skip(f"{store.name} has no versions")
        assert store.stat("file").version == first.version
        assert self.put(store, "file", b"two").version != first.version

    def test_hashes_are_those_of_the_content(self, store: Store) -> None:
        data = self.content(70_000)
        self.put(store, "file", data)
        for entry in (store.stat("file"), self.listing(store)["file"]):
            assert entry.hashes.keys() <= store.features.hashes
            for name, value in entry.hashes.items():
                if name in hashlib.algorithms_available:
                    assert value == hashlib.new(name, data, usedforsecurity=False).hexdigest()

    def test_time_of_the_file_is_kept_to_the_precision_promised(self, store: Store) -> None:
        precision = store.features.time_precision_ns
        if precision is None:
            pytest.skip(f"{store.name} keeps no times")
        for when in _TIMES:
            self.put(store, "file", b"x", modified_ns=when)
            kept = store.stat("file").modified_ns
            assert kept is not None
            assert abs(kept - when) < precision, when

    def test_listed_time_is_there_where_features_say_so(self, store: Store) -> None:
        self.put(store, "file", b"x", modified_ns=1_600_000_000_000_000_000)
        listed = self.listing(store)["file"].modified_ns
        if store.features.listed_time:
            assert listed == store.stat("file").modified_ns
        else:
            assert listed is None or listed == store.stat("file").modified_ns

    def test_time_changes_when_the_same_content_is_written_with_another(self, store: Store) -> None:
        if store.features.time_precision_ns is None:
            pytest.skip(f"{store.name} keeps no times")
        self.put(store, "file", b"x", modified_ns=1_600_000_000_000_000_000)
        self.put(store, "file", b"x", modified_ns=1_500_000_000_000_000_000)
        assert store.stat("file").modified_ns == 1_500_000_000_000_000_000

    # ---- conditions

    def test_if_absent_writes_only_where_nothing_is(self, store: Store) -> None:
        self.need(store, Cap.IF_ABSENT)
        store.write("file", BytesSource(b"one"), if_absent=True)
        with pytest.raises(AlreadyExists):
            store.write("file", BytesSource(b"two"), if_absent=True)
        assert self.get(store, "file") == b"one"

    def test_if_version_writes_only_over_that_version(self, store: Store) -> None:
        self.need(store, Cap.IF_VERSION)
        first = self.put(store, "file", b"one").version
        second = store.write("file", BytesSource(b"second"), if_version=first)
        self.agree(second, store.stat("file"))
        with pytest.raises(PreconditionFailed):
            store.write("file", BytesSource(b"third"), if_version=first)
        assert self.get(store, "file") == b"second"

    def test_if_version_does_not_create(self, store: Store) -> None:
        self.need(store, Cap.IF_VERSION)
        version = self.put(store, "file", b"one").version
        store.delete("file")
        with pytest.raises(PreconditionFailed):
            store.write("file", BytesSource(b"two"), if_version=version)
        assert self.missing(store, "file")

    def test_absent_conditions_are_unsupported_and_write_nothing(self, store: Store) -> None:
        if not self.has(store, Cap.IF_ABSENT):
            with pytest.raises(Unsupported):
                store.write("file", BytesSource(b"x"), if_absent=True)
        if not self.has(store, Cap.IF_VERSION):
            with pytest.raises(Unsupported):
                store.write("file", BytesSource(b"x"), if_version="1")
        assert self.missing(store, "file")

    # ---- sources that misbehave: the old content stays, whatever happens

    def test_source_that_changed_leaves_the_old_file(self, store: Store) -> None:
        self.put(store, "file", b"old")
        for size in (1000, self.big):
            data = self.content(size)
            with pytest.raises(SourceChanged):
                store.write("file", OddSource(data, size=size, changed=True))
            assert self.get(store, "file") == b"old"

    def test_source_that_changed_creates_nothing(self, store: Store) -> None:
        with pytest.raises(SourceChanged):
            store.write("file", OddSource(b"abc", size=3, changed=True))
        assert self.missing(store, "file")
        assert "file" not in self.listing(store)

    def test_source_that_fails_in_the_middle_leaves_the_old_file(self, store: Store) -> None:
        self.put(store, "file", b"old")
        for size, at in ((1000, 10), (self.big, self.big - 10)):
            with pytest.raises(SourceChanged):
                store.write("file", OddSource(self.content(size), size=size, fail_at=at))
            assert self.get(store, "file") == b"old"

    def test_source_that_fails_with_a_foreign_error_leaves_the_old_file(self, store: Store) -> None:
        self.put(store, "file", b"old")
        source = OddSource(b"0123456789", size=10, fail_at=5, error=lambda: OSError(5, "Input/output error"))
        with pytest.raises((OSError, StoreError)):
            store.write("file", source)
        assert self.get(store, "file") == b"old"
        assert self.tree(store).keys() == {"file"}

    def test_source_shorter_than_it_said_leaves_the_old_file(self, store: Store) -> None:
        self.put(store, "file", b"old")
        for size in (1000, self.big):
            with pytest.raises((SourceChanged, IntegrityError)):
                store.write("file", OddSource(self.content(size - 1), size=size))
            assert self.get(store, "file") == b"old"

    def test_source_longer_than_it_said_leaves_the_old_file(self, store: Store) -> None:
        self.put(store, "file", b"old")
        for size in (1000, self.big):
            with pytest.raises((SourceChanged, IntegrityError)):
                store.write("file", OddSource(self.content(size + 1), size=size))
            assert self.get(store, "file") == b"old"

    def test_source_of_unknown_size_that_fails_leaves_the_old_file(self, store: Store) -> None:
        self.put(store, "file", b"old")
        with pytest.raises(SourceChanged):
            store.write("file", OddSource(self.content(self.big), size=None, fail_at=self.big // 2))
        assert self.get(store, "file") == b"old"
