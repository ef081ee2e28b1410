"""Compaction: nothing that is shown changes, whoever looks and wherever it stops; what is dead goes after the grace."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from cftool.core import ops
from cftool.core.errors import IntegrityError, NotFound, TemporaryError
from cftool.core.sources import BytesSource
from cftool.core.types import WriteItem
from cftool.wrap.archiving import ArchiveSettings, ArchivingStore, names
from cftool_providers.memory import MemoryStore, Space

DAY = 86_400


class Clock:
    def __init__(self):
        self.now = time.time()

    def __call__(self):
        return self.now


class Dying(MemoryStore):
    """Ends before or after its k-th change, as a process that is killed there."""

    left = None
    after = False

    def _step(self, change):
        if self.left is None:
            return change()
        self.left -= 1
        if self.left < 0:
            raise TemporaryError("dead")
        if self.left == 0 and not self.after:
            self.left = -1
            raise TemporaryError("dead")
        done = change()
        if self.left == 0:
            self.left = -1
            raise TemporaryError("dead, but it was done")
        return done

    def write(self, *words, **more):
        return self._step(lambda: super(Dying, self).write(*words, **more))

    def delete(self, path):
        return self._step(lambda: super(Dying, self).delete(path))


class Timeless(MemoryStore):
    """Keeps no time of its own, as a local directory."""

    def scan(self, path):
        return (entry._replace(stored_ns=None) for entry in super().scan(path))

    def write(self, *words, **more):
        return super().write(*words, **more)._replace(stored_ns=None)


class Machines:
    def __init__(self, folder):
        self.space = Space("memory")
        self.clock = Clock()
        self._folder = folder
        self._opened = []

    def __call__(self, name, below=None):
        settings = ArchiveSettings(fresh=0, host=name, now=self.clock, large=10_000)
        store = ArchivingStore(below or MemoryStore(self.space), str(self._folder / name), settings)
        self._opened.append(store)
        return store

    def packs(self):
        return {entry.name for entry in MemoryStore(self.space).scan(names.DIRECTORY)}

    def close(self):
        for store in self._opened:
            store.close()


@pytest.fixture
def machine(cache_directory):
    machines = Machines(Path(cache_directory))
    yield machines
    machines.close()


def tree(store):
    return {
        entry.path: (None if entry.is_dir else ops.read_bytes(store, entry.path), entry.version, entry.modified_ns)
        for entry in store.walk("")
    }


def put(store, **contents):
    items = [WriteItem(path.replace("__", "/"), BytesSource(data)) for path, data in contents.items()]
    assert [result.error for result in store.write_many(items) if result.error] == []


def worn(store):
    """Packs that are mostly dead, a directory, a copy, a move, a deletion, a large file in an object."""
    put(store, **{f"d__f{n}": bytes([n]) * 2_000 for n in range(20)})
    store.mkdir("empty")
    for n in range(15):
        store.delete(f"d/f{n}")
    store.copy("d/f15", "copy")
    store.move("d/f16", "moved/f16")
    put(store, d__f17=b"again", new=b"new")
    store.write("large", BytesSource(b"l" * 20_000))
    store.rmdir("empty")


def test_what_is_shown_stays_and_the_dead_go_after_the_grace(machine):
    store = machine("one")
    worn(store)
    before = tree(store)
    other = machine("two")
    assert tree(other) == before
    done = store.compact()
    assert (done.rewritten > 0, done.made, done.removed) == (True, 1, 0)
    assert tree(store) == tree(other) == tree(machine("three")) == before
    known = machine.packs()
    assert store.compact().removed == 0  # within the grace nothing goes
    machine.clock.now += DAY + 1
    done = store.compact()
    assert done.removed > 0
    assert len(machine.packs()) < len(known)
    assert tree(store) == tree(other) == tree(machine("four")) == before


def test_a_second_time_there_is_nothing_to_do(machine):
    store = machine("one")
    worn(store)
    store.compact()
    machine.clock.now += DAY + 1
    store.compact()
    assert store.compact().rewritten == 0


def test_many_small_packs_become_one(machine):
    store = machine("one")
    for n in range(20):
        store.write(f"f{n}", BytesSource(bytes([n])))
    before = tree(store)
    assert len(machine.packs()) == 20
    assert store.compact().rewritten == 20
    machine.clock.now += DAY + 1
    store.compact()
    assert len(machine.packs()) <= 3
    assert tree(machine("two")) == before


@pytest.mark.parametrize("after", [False, True])
def test_it_may_end_at_any_change(machine, cache_directory, after):
    """Of the remote, before and after it was done; also in the run that removes what was replaced."""
    points = 0
    for later in (0, DAY + 1):
        for k in range(1, 30):
            machines = Machines(Path(cache_directory, f"{later}-{k}"))
            store = machines("one")
            worn(store)
            before = tree(store)
            if later:
                store.compact()
                machines.clock.now += later
            below = Dying(machines.space)
            dying = machines("dying", below)
            tree(dying)
            below.left, below.after = k, after
            try:
                dying.compact()
            except TemporaryError:
                points += 1
                ended = False
            else:
                ended = True
            assert tree(machines("two")) == before, (later, k)
            machines("three").compact()
            machines.clock.now += DAY + 1
            machines("three").compact()
            assert tree(machines("four")) == before, (later, k)
            machines.close()
            if ended:
                break
        else:
            raise AssertionError("it has no end")
    assert points > 3


def test_what_was_deleted_does_not_come_back_by_two_who_compact(machine):
    one, two = machine("one"), machine("two")
    worn(one)
    before = tree(one)
    tree(two)
    two.packs.take_in(two.packs.listing())
    one.compact()
    two.compact()
    for _ in range(3):
        machine.clock.now += DAY + 1
        one.compact()
        two.compact()
    machine.clock.now += 31 * DAY
    one.compact()
    two.compact()
    assert tree(one) == tree(two) == tree(machine("three")) == before


def test_a_reader_with_an_old_index_finds_what_was_moved(machine):
    store, reader = machine("one"), machine("two")
    worn(store)
    before = tree(reader)
    store.compact()
    machine.clock.now += DAY + 1
    store.compact()
    assert ops.read_bytes(reader, "d/f18") == before["d/f18"][0]


def test_where_the_service_keeps_no_time_the_grace_begins_when_it_is_seen_first(machine):
    store = machine("one", Timeless(machine.space))
    worn(store)
    before = tree(store)
    stray = names.place(names.object_name(names.new_stem(7)))
    MemoryStore(machine.space).write(stray, BytesSource(b"cut off"))
    assert store.compact().made == 1
    machine.clock.now += DAY + 1
    other = machine("two", Timeless(machine.space))
    assert other.compact().removed == 0  # it has seen all of it just now
    known = machine.packs()
    assert store.compact().removed > 1
    assert stray.rpartition("/")[2] in known - machine.packs()
    assert tree(store) == tree(other) == tree(machine("three")) == before


def test_an_object_that_nothing_names_goes_after_the_grace(machine):
    store = machine("one")
    put(store, file=b"f")
    stray = names.place(names.object_name(names.new_stem(7)))
    MemoryStore(machine.space).write(stray, BytesSource(b"cut off"))
    assert store.compact().removed == 0
    machine.clock.now += DAY + 1
    assert store.compact().removed == 1
    with pytest.raises(NotFound):
        MemoryStore(machine.space).stat(stray)


def test_packs_are_cut_as_others_are_and_empty_files_are_kept(machine):
    store = machine("one")
    store.settings = replace(store.settings, pack_bytes=3_000, pack_files=5)
    for n in range(9):
        store.write(f"f{n}", BytesSource(bytes([n]) * 1_000))
    for n in range(9):
        store.write(f"empty{n}", BytesSource(b""))
    before = tree(store)
    done = store.compact()
    assert (done.rewritten, done.made > 2) == (18, True)
    assert tree(store) == tree(machine("two")) == before


def test_where_all_is_dead_nothing_is_written_but_that(machine):
    store = machine("one")
    put(store, **{f"f{n}": b"x" * 1_000 for n in range(5)})
    store.delete_many(list(store.scan("")))
    for result in store.delete_many(list(store.scan(""))):
        assert result.error is None
    done = store.compact()
    assert (done.rewritten, done.made) == (1, 0)
    assert tree(store) == tree(machine("two")) == {}


def test_a_damaged_member_is_not_written_anew(machine):
    store = machine("one")
    put(store, **{f"f{n}": bytes([n]) * 1_000 for n in range(5)})
    for n in range(4):
        store.delete(f"f{n}")
    below = MemoryStore(machine.space)
    first = min(entry.path for entry in below.scan(names.DIRECTORY))
    data = ops.read_bytes(below, first)
    ops.write_bytes(below, first, data.replace(bytes([4]) * 1_000, bytes([5]) * 1_000))
    known = machine.packs()
    with pytest.raises(IntegrityError) as caught:
        store.compact()
    assert caught.value.path == "f4"
    assert machine.packs() == known


def test_what_another_machine_has_removed_already_is_no_error(machine):
    class Raced(MemoryStore):
        def delete(self, path):
            super().delete(path)
            super().delete(path)

    store = machine("one", Raced(machine.space))
    worn(store)
    before = tree(store)
    store.compact()
    machine.clock.now += DAY + 1
    assert store.compact().removed > 0
    assert tree(store) == before
