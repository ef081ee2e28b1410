"""The check of an archive: what is damaged or gone is told, what nothing needs as well, and nothing is changed."""

from pathlib import Path

import pytest

from cftool.core import ops
from cftool.core.errors import ListingError, NotFound
from cftool.core.sources import BytesSource
from cftool.wrap.archiving import names
from cftool_providers.memory import MemoryStore
from tests.wrap.archiving.test_compaction import DAY, Machines, put, tree, worn


@pytest.fixture
def machine(cache_directory):
    machines = Machines(Path(cache_directory))
    yield machines
    machines.close()


@pytest.fixture
def below(machine):
    return MemoryStore(machine.space)


def problems(store, **more):
    return {one.path: one.problem for one in store.check(**more).found}


def edited(below, path, old, new):
    data = ops.read_bytes(below, path)
    assert old in data
    ops.write_bytes(below, path, data.replace(old, new))


@pytest.mark.parametrize("download", [False, True])
def test_whatever_was_done_to_a_sound_archive_nothing_is_wrong(machine, below, download):
    store = machine("one")
    worn(store)
    ops.write_bytes(below, "plain", b"foreign")
    for _ in range(3):
        done = store.check(download=download)
        assert (done.found, done.unused) == ((), ())
        assert done.files == sum(data is not None for data, *_ in tree(store).values()) - 2  # not the plain ones
        store.compact()
        machine.clock.now += DAY + 1


def test_an_object_that_was_cut_removed_or_changed(machine, below):
    store = machine("one")
    put(store, large=b"small")
    store.write("large", BytesSource(b"l" * 20_000))
    [path] = [entry.path for entry in below.scan(names.DIRECTORY) if entry.path.endswith(".object")]
    assert problems(store, download=True) == {}
    ops.write_bytes(below, path, b"l" * 19_999 + b"m")
    assert problems(store) == {}
    assert "is damaged" in problems(store, download=True)["large"]
    ops.write_bytes(below, path, b"l" * 10_000)
    assert problems(store)["large"].endswith("has 10000 bytes, not 20000")
    below.delete(path)
    assert problems(store)["large"].endswith("is gone or damaged")


def test_a_record_that_names_bytes_beyond_another_packs_end(machine, below):
    store = machine("one")
    put(store, f=b"x" * 2_000)
    store.move("f", "g")
    _, last = sorted(entry.path for entry in below.scan(names.DIRECTORY))
    edited(below, last, b'"size":2000', b'"size":9000')
    assert "too short for it" in problems(machine("two"))["g"]


def test_a_size_that_no_listing_tells_is_asked_for_or_passed_over(machine, below):
    class Sizeless(MemoryStore):
        def scan(self, path):
            return (entry._replace(size=None) for entry in super().scan(path))

    store = machine("one", Sizeless(machine.space))
    worn(store)
    assert problems(store) == {}


def test_a_pack_that_goes_while_it_is_looked_at_is_no_damage_by_itself(machine):
    class Going(MemoryStore):
        def read(self, path, **more):
            raise NotFound("gone", path=path)

    put(machine("one"), f=b"x")
    done = machine("two", Going(machine.space)).check()
    assert (done.packs, done.files, done.found) == (1, 0, ())


def test_members_that_tar_does_not_find(machine, below):
    store = machine("one")
    put(store, f=b"x" * 100, g=b"y" * 100)
    [pack] = [entry.path for entry in below.scan(names.DIRECTORY)]
    edited(below, pack, b'"at":512', b'"at":513')
    found = store.check(download=True).found
    assert {one.path for one in found} == {pack}
    assert max(one.problem for one in found) == "is damaged: tar does not find all members"


@pytest.mark.parametrize("at", [0, 1024])
def test_a_header_that_is_no_tars(machine, below, at):
    store = machine("one")
    put(store, f=b"x" * 100, g=b"y" * 100)
    [pack] = [entry.path for entry in below.scan(names.DIRECTORY)]
    data = ops.read_bytes(below, pack)
    ops.write_bytes(below, pack, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert problems(store) == {}
    assert "tar" in problems(store, download=True)[pack]


def test_a_pack_that_is_gone_and_was_known(machine, below):
    store = machine("one")
    put(store, f=b"x" * 100, d__g=b"y")
    [pack] = [entry.path for entry in below.scan(names.DIRECTORY)]
    below.delete(pack)
    assert problems(store) == {pack: "is gone, and 2 files of it with it"}
    assert problems(machine("two")) == {}


def test_a_pack_that_a_look_has_missed_is_told_by_the_next_check(machine, below):
    store = machine("one")
    put(store, f=b"one", g=b"old")
    [first] = [entry.path for entry in below.scan(names.DIRECTORY)]
    put(store, g=b"new")
    store.delete("f")
    second, third = [entry.path for entry in below.scan(names.DIRECTORY) if entry.path != first]
    below.delete(second)
    below.delete(third)
    with pytest.raises(ListingError, match="and 1 more were removed by somebody: 1 files are gone, and 2 old ones"):
        list(store.walk(""))
    assert {entry.path: ops.read_bytes(store, entry.path) for entry in store.walk("")} == {"f": b"one", "g": b"old"}
    back = "files of it with it, and 1 that were replaced or removed have come back"
    assert problems(store) == {
        second: f"was removed by somebody, and 1 {back}", third: f"was removed by somebody, and 0 {back}",
    }  # fmt: skip
    assert problems(store) == {}


def test_a_pack_without_its_end_and_files_that_need_it(machine, below):
    store = machine("one")
    put(store, f=b"x" * 100, empty=b"")
    first = next(entry.path for entry in below.scan(names.DIRECTORY))
    store.move("f", "g")
    store.move("empty", "still")
    ops.write_bytes(below, first, ops.read_bytes(below, first)[:-512])
    found = problems(store)
    assert found.keys() == {first, "g"}  # nothing is needed of what is empty
    assert found[first].startswith("cannot be relied on: ")


def test_an_object_that_goes_while_it_is_read_and_what_is_not_ours(machine, below):
    class Going(MemoryStore):
        def read(self, path, **more):
            if path.endswith(".object"):
                raise NotFound("gone", path=path)
            return super().read(path, **more)

    store = machine("one", Going(machine.space))
    put(store, large=b"small")
    store.write("large", BytesSource(b"l" * 20_000))
    ops.write_bytes(below, names.place("notes"), b"mine")
    stray = names.place(names.object_name(names.new_stem(7)))
    ops.write_bytes(below, stray, b"cut off")
    done = store.check(download=True)
    assert [one.path for one in done.found] == ["large"]
    assert {one.path for one in done.unused} == {names.place("notes"), stray}
