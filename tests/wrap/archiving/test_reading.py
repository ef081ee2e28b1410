"""Reading: what moved since is found, what is gone is told, what is damaged is never given out; in groups and alone."""

import os

import pytest

from cftool.core import ops
from cftool.core.errors import ConnectionFailed, IntegrityError, ListingError, NotFound, PreconditionFailed
from cftool.core.sources import BytesSource
from cftool.core.types import ReadItem, WriteItem
from cftool.testing.faulty import Fault, FaultyStore
from cftool.testing.targets import MemoryTarget
from cftool.wrap.archiving import ArchiveSettings, ArchivingStore, names, reading
from cftool_providers.memory import MemoryStore, Space
from tests.wrap.archiving.test_contract import Folding
from tests.wrap.caching.kit import FlatMemory


@pytest.fixture
def space():
    return Space("memory")


@pytest.fixture
def machine(space, cache_directory):
    opened = []

    def one(name, below=None, **more):
        settings = ArchiveSettings(fresh=0, host=name, **more)
        opened.append(ArchivingStore(below or MemoryStore(space), os.path.join(cache_directory, name), settings))
        return opened[-1]

    yield one
    for store in opened:
        store.close()


def packs(space):
    return sorted(entry.path for entry in MemoryStore(space).scan(names.DIRECTORY))


def put(store, **contents):
    results = store.write_many(WriteItem(path, BytesSource(data)) for path, data in contents.items())
    assert [result.error for result in results if result.error] == []


def test_a_version_that_is_known_is_found_where_it_lies_now(machine, space):
    one, two = machine("one", grace=-1.0, many=0), machine("two")
    put(one, f=b"content", g=b"other")
    version = two.stat("f").version
    [old] = packs(space)
    one.compact()
    one.compact()
    assert old not in packs(space)
    with two.read("f", if_version=version) as download:
        assert download.read() == b"content"


def test_a_version_that_is_known_and_gone_is_told(machine):
    one, two, three = machine("one", grace=-1.0, many=0), machine("two"), machine("three")
    put(one, f=b"content", g=b"other", h=b"more")
    versions = {name: two.stat(name).version for name in "fgh"}
    assert three.stat("f").version == versions["f"]
    one.delete("f")
    put(one, g=b"changed")
    one.compact()
    one.compact()
    two.settings = two.packs._settings = ArchiveSettings(fresh=1e9)
    with pytest.raises(NotFound):
        two.read("f", if_version=versions["f"])
    with pytest.raises(PreconditionFailed):
        three.read("g", if_version=versions["g"])


def test_what_is_in_a_pack_that_somebody_removed_is_told(machine, space):
    one = machine("one")
    put(one, f=b"content")
    one.move("f", "g")
    first, _ = packs(space)
    MemoryStore(space).delete(first)
    two = machine("two")
    with pytest.raises(IntegrityError, match="is gone"):
        two.read("g")
    target = MemoryTarget()
    [result] = two.read_many([ReadItem(two.stat("g"), target)])
    assert isinstance(result.error, IntegrityError)
    assert target.data is None


def test_a_download_that_breaks_names_the_file_and_not_the_pack(machine, space):
    put(machine("one"), f=b"content")
    faulty = FaultyStore(MemoryStore(space), {"read": [None, Fault(at=3)]})
    with pytest.raises(ConnectionFailed) as caught, machine("two", faulty).read("f") as download:
        download.read()
    assert caught.value.path == "f"


def test_a_flipped_byte_is_not_given_out(machine, space):
    put(machine("one"), f=b"content", g=b"whole")
    [pack] = packs(space)
    below = MemoryStore(space)
    data = ops.read_bytes(below, pack)
    ops.write_bytes(below, pack, data.replace(b"content", b"cOntent"))
    two = machine("two")
    with pytest.raises(IntegrityError):
        ops.read_bytes(two, "f")
    targets = {name: MemoryTarget() for name in "fg"}
    results = {r.path: r.error for r in two.read_many(ReadItem(two.stat(name), targets[name]) for name in "fg")}
    assert isinstance(results["f"], IntegrityError)
    assert (results["g"], targets["g"].data, targets["f"].data) == (None, b"whole", None)


def test_a_group_that_fails_is_read_one_by_one(machine, space):
    put(machine("one"), f=b"content", g=b"other")
    faulty = FaultyStore(MemoryStore(space), {"read": [None, Fault()]})
    two = machine("two", faulty)
    targets = {name: MemoryTarget() for name in "fg"}
    results = list(two.read_many(ReadItem(two.stat(name), targets[name]) for name in "fg"))
    assert [r.error for r in results] == [None, None]
    assert {name: target.data for name, target in targets.items()} == {"f": b"content", "g": b"other"}


def test_more_than_fit_into_one_round_are_read(machine, monkeypatch):
    monkeypatch.setattr(reading, "_ITEMS", 3)
    contents = {f"f{n}": b"%d" % n for n in range(10)}
    one = machine("one")
    put(one, **contents)
    targets = {name: MemoryTarget() for name in contents}
    results = list(one.read_many(ReadItem(one.stat(name), target) for name, target in targets.items()))
    assert len(results) == 10
    assert {name: target.data for name, target in targets.items()} == contents


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_larger_than_a_group_goes_to_its_target_in_parts(machine, monkeypatch, fails):
    monkeypatch.setattr(reading, "_SPAN", 100)
    monkeypatch.setattr(reading.save, "__defaults__", (64,))
    faulty = FaultyStore(FlatMemory(), {"read": [Fault(at=150) if fails else None]})
    store = machine("one", faulty)
    put(store, f=b"x" * 200)
    target = MemoryTarget()
    [result] = store.read_many([ReadItem(store.stat("f"), target)])
    assert (result.error is not None, target.data) == (fails, None if fails else b"x" * 200)
    assert target.begun == 1


def test_a_plain_file_under_a_conflict_name_is_read_with_the_others(machine, space):
    store = machine("one")
    put(store, f=b"ours", g=b"other")
    ops.write_bytes(MemoryStore(space), "f", b"plain")
    entries = list(store.scan(""))
    targets = {e.path: MemoryTarget() for e in entries}
    results = list(store.read_many(ReadItem(e, targets[e.path]) for e in entries))
    assert [r.error for r in results] == [None] * 3
    assert {path: t.data for path, t in targets.items()} == {
        "f": b"ours", "g": b"other", "f (conflict plain)": b"plain"
    }  # fmt: skip


def test_an_empty_file_costs_no_request(machine, space):
    put(machine("one"), f=b"")
    faulty = FaultyStore(MemoryStore(space), {"read": [None, Fault(), Fault()]})
    store = machine("two", faulty)
    assert ops.read_bytes(store, "f") == b""
    target = MemoryTarget()
    [result] = store.read_many([ReadItem(store.stat("f"), target)])
    assert (result.error, target.data) == (None, b"")


# ---- the packs themselves


def test_the_reserved_name_as_a_file_is_an_error_that_says_so(machine, space):
    ops.write_bytes(MemoryStore(space), names.DIRECTORY, b"a file")
    with pytest.raises(ListingError, match="the archive needs that name"):
        list(machine("one").scan(""))


def test_a_pack_that_goes_between_listing_and_reading_is_not_missed(machine, space):
    put(machine("one"), f=b"content")

    class Going(MemoryStore):
        def read(self, path, **more):
            self.delete(path)
            return super().read(path, **more)

    assert list(machine("two", Going(space)).walk("")) == []


def test_a_listing_that_knows_no_sizes_or_wrong_ones(machine, space):
    put(machine("one"), f=b"content")

    class Sizeless(MemoryStore):
        wrong = None

        def scan(self, path):
            return (entry._replace(size=self.wrong) for entry in super().scan(path))

    store = Sizeless(space)
    assert ops.read_bytes(machine("two", store), "f") == b"content"
    store.wrong = 100_000
    with pytest.raises(ListingError, match="shorter than its listing"):
        list(machine("three", store).walk(""))
    store.wrong = 1
    with pytest.raises(ListingError, match="shorter than its name"):
        list(machine("four", store).walk(""))


def test_a_listing_that_is_behind_makes_nothing_vanish(machine, space):
    one = machine("one")
    put(one, f=b"content")

    class Behind(MemoryStore):
        def scan(self, path):
            return iter(()) if path == names.DIRECTORY else super().scan(path)

    behind = Behind(space)
    one.inner = one.packs._inner = behind
    assert ops.read_bytes(one, "f") == b"content"
    [pack] = packs(space)
    behind.delete(pack)
    with pytest.raises(ListingError, match=r"was removed by somebody: 1 files are gone; this is told once"):
        list(one.walk(""))
    assert list(one.walk("")) == []


def test_on_a_service_that_folds_names_plain_files_are_found_by_listings(machine):
    store = machine("one", Folding())
    ops.write_bytes(store.inner, "D/Plain", b"plain")
    put(store, d=b"ours")
    assert {e.path for e in store.walk("")} == {"d", "D", "D/Plain"}
    with pytest.raises(NotFound):
        store.stat("D/plain")
    assert store.stat("D/Plain").size == 5
