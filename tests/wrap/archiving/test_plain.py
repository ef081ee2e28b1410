"""Plain objects of the store below, beside what the archive knows: shown, hidden, replaced, removed in safe order."""

import logging
import os
from dataclasses import replace

import pytest

from cftool.core import ops
from cftool.core.errors import AlreadyExists, DirectoryNotEmpty, IsADirectory, NotFound, PreconditionFailed, StoreError
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, Entry, Kind, NameRules, WriteItem
from cftool.testing.faulty import Fault, FaultyStore
from cftool.wrap.archiving import ArchiveSettings, ArchivingStore
from cftool.wrap.prefix import PrefixStore
from cftool_providers.memory import MemoryStore, Space
from tests.wrap.archiving.test_contract import Folding
from tests.wrap.caching.kit import FlatMemory


@pytest.fixture
def below():
    return MemoryStore(Space("memory"))


@pytest.fixture
def archive(below, cache_directory):
    store = over(below, cache_directory)
    yield store
    store.close()


def over(below, folder, **more):
    return ArchivingStore(below, os.path.join(folder, "state"), ArchiveSettings(**{"fresh": 0, "large": 10, **more}))


def put(store, path, data=b"content", **more):
    return store.write(path, BytesSource(data), **more)


def shown(store, path=""):
    return {e.path: None if e.is_dir else ops.read_bytes(store, e.path) for e in store.walk(path)}


def test_a_condition_on_a_plain_file_is_kept(archive, below):
    there = put(below, "f")
    with pytest.raises(PreconditionFailed):
        put(archive, "f", b"new", if_version="another")
    put(archive, "f", b"new", if_version=there.version)
    assert shown(archive) == {"f": b"new"}
    assert not ops.exists(below, "f")


def test_a_conflict_that_gets_its_own_name_keeps_its_directory(archive, below):
    put(archive, "d/f", b"ours")
    other = over(below, archive.index._directory + "2")
    archive.packs.refresh(now=True)
    put(archive, "d/f", b"a")
    other.packs.refresh, real = (lambda now=False: None), other.packs.refresh
    put(other, "d/f", b"b")
    other.packs.refresh = real
    both = shown(archive)
    assert sorted(data for data in both.values() if data) == [b"a", b"b"]
    [left] = both.keys() - {"d", "d/f"}
    results = archive.delete_many([Entry("d/f", Kind.FILE), Entry("d", Kind.DIRECTORY)])
    errors = {result.path: result.error for result in results}
    assert errors["d/f"] is None
    assert isinstance(errors["d"], DirectoryNotEmpty)
    assert shown(archive) == shown(other) == {"d": None, left: both[left]}
    other.close()


def test_what_was_replaced_and_could_not_be_removed_goes_with_the_next_change(below, cache_directory, caplog):
    put(below, "f", b"plain")
    faulty = FaultyStore(below, {"delete": [Fault()]})
    archive = over(faulty, cache_directory)
    put(archive, "f", b"ours")
    assert "could not be removed" in caplog.text
    assert ops.read_bytes(below, "f") == b"plain"
    assert shown(archive) == {"f": b"ours"}
    put(archive, "f", b"again")
    archive.delete("f")
    assert shown(archive) == {}
    assert not ops.exists(below, "f")
    archive.close()


def test_what_was_replaced_and_is_gone_or_another_one_by_then_is_left_alone(below, cache_directory):
    put(below, "gone", b"plain")
    put(below, "other", b"plain")

    class Meddling(MemoryStore):
        def write(self, path, source, **more):
            if path.startswith(".cftool-archive/"):
                ops.write_bytes(below, "other", b"by somebody else")
                below.delete("gone")
            return super().write(path, source, **more)

    archive = over(Meddling(below.space), cache_directory)
    items = [WriteItem(path, BytesSource(b"ours")) for path in ("gone", "other")]
    assert [result.error for result in archive.write_many(items)] == [None, None]
    assert shown(archive) == {"gone": b"ours", "other": b"ours", "other (conflict plain)": b"by somebody else"}
    archive.close()


def test_what_a_record_hides_and_somebody_removed_is_no_error(below, cache_directory):
    put(below, "f", b"plain")

    class Racing(MemoryStore):
        races = False

        def delete(self, path):
            if not self.races:
                return
            super().delete(path)
            super().delete(path)

    racing = Racing(below.space)
    archive = over(racing, cache_directory)
    put(archive, "f", b"ours")
    racing.races = True
    archive.delete("f")
    assert shown(archive) == {}
    archive.close()


def test_a_plain_directory_below_a_files_name_is_hidden_and_told(archive, below, caplog):
    put(archive, "f", b"ours")
    put(below, "f/inner/file", b"plain")
    put(below, "g/file", b"plain")
    with caplog.at_level(logging.WARNING, "cftool.archive"):
        assert shown(archive) == {"f": b"ours", "g": None, "g/file": b"plain"}
        assert {e.path for e in archive.scan("")} == {"f", "g"}
    assert caplog.text.count("f is a file here") == 2
    with pytest.raises(StoreError):
        list(archive.scan("f"))


def test_a_plain_file_of_a_directory_of_ours_is_in_conflict(archive, below):
    put(archive, "d/f", b"ours")
    put(below, "d", b"plain")
    assert shown(archive) == {"d": None, "d/f": b"ours", "d (conflict plain)": b"plain"}
    assert archive.stat("d (conflict plain)").size == 5
    assert {e.path for e in archive.scan("")} == {"d", "d (conflict plain)"}
    assert ops.read_bytes(archive, "d (conflict plain)") == b"plain"
    with pytest.raises(IsADirectory):
        archive.read("d")
    with pytest.raises(NotFound):
        archive.stat("nothing (conflict plain)")
    with pytest.raises(NotFound):
        archive.read("nothing")
    with pytest.raises(IsADirectory):
        archive.read("")


def test_of_two_that_want_a_conflict_name_the_one_that_has_it_is_shown(archive, below):
    put(archive, "f", b"ours")
    put(archive, "f (conflict plain)", b"also ours")
    put(below, "f", b"plain")
    assert shown(archive) == {"f": b"ours", "f (conflict plain)": b"also ours"}
    assert {e.path for e in archive.scan("")} == {"f", "f (conflict plain)"}


def test_a_conflict_name_comes_in_its_place_of_the_walk(archive, below):
    """Behind names that come after the one it was made of."""
    for name in ("f", "f ", "f z", "g"):
        put(archive, name, b"ours")
        put(below, name, b"plain")
    names = [e.path for e in archive.walk("")]
    assert names == sorted(names)
    assert len(names) == 8
    put(below, "f!", b"plain")
    names = [e.path for e in archive.walk("")]
    assert names == sorted(names)
    assert len(names) == 9


def test_the_reserved_directory_is_no_directory_of_ours(archive):
    put(archive, "f", b"ours")
    with pytest.raises(NotFound):
        list(archive.scan(".cftool-archive"))
    with pytest.raises(NotFound):
        list(archive.walk(".cftool-archive/x"))


def test_a_name_that_the_store_below_cannot_hold_is_listed_all_the_same(cache_directory):
    class Narrow(MemoryStore):
        @property
        def features(self):
            return replace(super().features, names=NameRules(forbidden=":"))

        def scan(self, path):
            assert ":" not in path
            return super().scan(path)

        walk = scan

    archive = over(Narrow(), cache_directory)
    put(archive, "a:b/c:d", b"ours")
    put(archive, "a:b/large:", b"large " * 10)
    assert {e.path for e in archive.scan("a:b")} == {"a:b/c:d", "a:b/large:"}
    assert shown(archive, "a:b") == {"a:b/c:d": b"ours", "a:b/large:": b"large " * 10}
    archive.close()


def test_below_a_directory_that_is_not_there_yet(cache_directory):
    archive = over(PrefixStore(Folding(), "not/yet"), cache_directory)
    put(archive, "f", b"ours")
    put(archive, "large", b"large " * 10)
    assert shown(archive) == {"f": b"ours", "large": b"large " * 10}
    archive.close()


def test_a_plain_directory_that_goes_while_it_is_looked_at_is_empty(cache_directory):
    class Going(Folding):
        def scan(self, path):
            if path == "d":
                raise NotFound("gone", path=path)
            return super().scan(path)

        def rmdir(self, path):
            super().rmdir(path)
            raise NotFound("gone", path=path)

    going = Going()
    going.mkdir("d")
    archive = over(going, cache_directory)
    archive.rmdir("d")
    assert shown(archive) == {}
    archive.close()


def test_directories_move_with_plain_files_and_those_that_only_hold_something(archive, below):
    put(archive, "d/e/f", b"ours")
    put(archive, "d/e/large", b"large " * 10)
    put(below, "d/foreign", b"foreign")
    for path in ("d/e", "d"):
        with pytest.raises(StoreError, match="into itself"):
            archive.move(path, f"{path}/x")
    archive.move("d", "m")
    assert shown(archive) == {
        "m": None, "m/e": None, "m/e/f": b"ours", "m/e/large": b"large " * 10, "m/foreign": b"foreign",
    }  # fmt: skip
    with pytest.raises(StoreError, match="there already"):
        archive.move("m/e", "m")


def test_a_plain_file_is_copied_moved_and_dated_as_the_store_below_does(archive, below):
    put(below, "d/f", b"plain")
    archive.copy("d/f", "e/copy")
    archive.move("d/f", "e/moved")
    archive.set_modified("e/moved", 5_000_000_000)
    assert shown(archive) == {"d": None, "e": None, "e/copy": b"plain", "e/moved": b"plain"}
    assert below.stat("e/moved").modified_ns == archive.stat("e/moved").modified_ns == 5_000_000_000


def test_a_plain_file_under_a_conflict_name_is_moved_from_there(archive, below):
    put(archive, "f", b"ours")
    put(below, "f", b"plain")
    archive.copy("f (conflict plain)", "copy")
    archive.move("f (conflict plain)", "moved")
    assert shown(archive) == {"f": b"ours", "copy": b"plain", "moved": b"plain"}
    assert not ops.exists(below, "f")


def test_where_directories_are_implicit_those_of_plain_files_stay(cache_directory):
    archive = over(FlatMemory(), cache_directory)
    put(archive, "d/e/large", b"large " * 10)
    archive.move("d/e", "d/m")
    archive.move("d/m/large", "x/large")
    archive.delete("x/large")
    assert shown(archive) == {"d": None, "d/m": None, "x": None}
    archive.close()


@pytest.mark.parametrize("obeys", [False, True])
def test_a_large_file_with_a_condition_has_its_own_name_where_the_service_obeys(cache_directory, obeys):
    class Asked(MemoryStore):
        asked = False

        @property
        def features(self):
            features = super().features
            caps = features.caps & ~(Cap.IF_ABSENT | Cap.IF_VERSION)
            more = Cap.IF_ABSENT if self.asked and obeys else Cap.NONE
            return replace(features, caps=caps | more)

        def write(self, path, source, *, modified_ns=None, if_version=None, if_absent=False):
            return super().write(path, source, modified_ns=modified_ns)

        def probe(self, path):
            self.asked = True
            return Cap.NONE

    below = Asked()
    archive = over(below, cache_directory)
    put(archive, "large", b"large " * 10, if_absent=True)
    assert ops.exists(below, "large") is obeys
    assert shown(archive) == {"large": b"large " * 10}
    archive.close()


def test_an_object_whose_size_the_service_does_not_tell_at_once_is_asked_for(cache_directory):
    class Terse(Folding):
        def write(self, *words, **more):
            return super().write(*words, **more)._replace(size=None)

    archive = over(Terse(), cache_directory)
    assert put(archive, "large", b"large " * 10).size == 60
    assert shown(archive) == {"large": b"large " * 10}
    archive.close()


def test_a_plain_directory_is_not_read(archive, below):
    below.mkdir("d")
    with pytest.raises(IsADirectory):
        archive.read("d")


def test_what_was_written_past_a_record_comes_to_light_when_that_goes(archive, below):
    put(below, "f", b"plain")
    put(archive, "f", b"ours")
    put(below, "f", b"another")
    archive.delete("f")
    assert shown(archive) == {"f": b"another"}


def test_of_many_large_files_each_is_told_of(below, cache_directory):
    archive = over(FaultyStore(below, {}), cache_directory)
    put(archive, "d/f", b"ours")
    items = [WriteItem(path, BytesSource(b"large " * 10)) for path in ("a", "d", "d/f/x", "d/f", "b")]
    errors = {result.path: type(result.error).__name__ for result in archive.write_many(items)}
    assert errors == {
        "a": "NoneType", "d": "IsADirectory", "d/f/x": "NotADirectory", "d/f": "NoneType", "b": "NoneType",
    }  # fmt: skip
    assert shown(archive) == {"d": None, **dict.fromkeys(("a", "b", "d/f"), b"large " * 10)}
    archive.close()


def test_looks_within_a_second_share_a_listing(below, cache_directory):
    counting = FaultyStore(below, {})
    now = [5.0]
    archive = over(counting, cache_directory, fresh=1.0, clock=lambda: now[0])
    put(archive, "f", b"ours")
    before = counting.calls["scan"]
    assert [archive.stat("f").size for _ in range(3)] == [4, 4, 4]
    assert counting.calls["scan"] == before
    now[0] += 1.5
    archive.stat("f")
    assert counting.calls["scan"] == before + 1
    archive.close()


# ---- sources that are files of the same archive


def copied(archive, *pairs, **more):
    items = [
        WriteItem(dst, ops.StoreSource(archive, src if isinstance(src, Entry) else archive.stat(src)), **more)
        for src, dst in pairs
    ]
    return {result.path: result.error for result in archive.write_many(items)}


def test_files_of_ours_are_copied_together_and_without_their_bytes(below, cache_directory):
    counting = FaultyStore(below, {})
    archive = over(counting, cache_directory)
    put(archive, "d/a", b"first", modified_ns=5)
    put(archive, "d/b", b"second")
    before = dict(counting.calls)
    assert copied(archive, ("d/a", "e/a"), ("d/b", "e/b")) == {"e/a": None, "e/b": None}
    assert counting.calls["write"] - before["write"] == 1
    assert counting.calls["read"] == before.get("read", 0)
    assert shown(archive, "e") == {"e/a": b"first", "e/b": b"second"}
    assert archive.stat("e/a").modified_ns == 5
    assert archive.stat("e/a").version == archive.stat("d/a").version
    archive.close()


def test_a_file_of_ours_that_is_another_version_now_is_not_copied(archive):
    put(archive, "f", b"first")
    seen = archive.stat("f")
    put(archive, "f", b"second")
    assert isinstance(copied(archive, (seen, "copy"))["copy"], StoreError)
    assert not ops.exists(archive, "copy")


def test_a_condition_on_what_a_copy_replaces_is_kept(archive, below):
    put(archive, "f", b"ours")
    put(archive, "large", b"large " * 10)
    put(archive, "there", b"there")
    for name in ("f", "large"):
        assert isinstance(copied(archive, (name, "there"), if_absent=True)["there"], AlreadyExists)
    assert ops.read_bytes(archive, "there") == b"there"


@pytest.mark.parametrize("copies", [False, True])
def test_large_files_are_copied_by_the_store_below_where_it_can(cache_directory, copies):
    class Below(MemoryStore):
        reads = 0

        @property
        def features(self):
            features = super().features
            return features if copies else replace(features, caps=features.caps & ~Cap.COPY)

        def read(self, path, **more):
            self.reads += path == "large"
            return super().read(path, **more)

    below = Below()
    archive = over(below, cache_directory)
    put(archive, "large", b"large " * 10)
    assert copied(archive, ("large", "copy")) == {"copy": None}
    assert below.reads == (0 if copies else 1)
    assert shown(archive) == {"copy": b"large " * 10, "large": b"large " * 10}
    archive.close()
