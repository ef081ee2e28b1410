"""Death at every call of every operation of the archive: what DESIGN.md promises of crash points is checked.

The store below is a real directory, so that deaths in the middle of a pack are among them. A transaction of the index
counts as one call: that a death inside of it leaves the old or the new state is SQLite's promise. After each death two
machines look: one with the index that the dead one left, one with none at all.
"""

import time

import pytest

from cftool.core import ops
from cftool.core.sources import BytesSource
from cftool.core.types import WriteItem
from cftool.testing.crash import every_death_at_a_call
from cftool.wrap.archiving import ArchiveSettings, ArchivingStore
from cftool.wrap.archiving.index import Index
from tests.wrap.caching.owning import remote
from tests.wrap.worlds import World

# A fork for each system call: slow where the process that forks is large.
pytestmark = [pytest.mark.crash, pytest.mark.timeout(1200)]

OLD, NEW, LARGE = b"old", b"new content", b"large " * 50
DAY = 86_400.0


class Machine(World):
    """An archive on the remote."""

    days = 0

    def open(self, *, lost=False):
        now = lambda: time.time() + self.days * DAY
        settings = ArchiveSettings(fresh=0, large=100, pack_bytes=4_000, host="here", now=now)
        return ArchivingStore(remote(self.root), None if lost else self.state, settings)

    def act(self, action):
        """In the child: transactions are calls like others."""
        Index._changing = self.counted(Index._changing)
        action(self.open())
        self.returned()


@pytest.fixture
def world(cache_directory):
    return Machine(cache_directory)


def tree(store):
    """What is shown: content, None for a directory."""
    return {e.path: None if e.is_dir else ops.read_bytes(store, e.path) for e in store.walk("")}


def deaths(world, prepare, action, *allowed):
    """Each death leaves an allowed tree, the last one where the action returned; how many deaths there were."""
    count = 0
    for death in every_death_at_a_call(lambda: world.reset(prepare), lambda: world.act(action)):
        count += 1
        seen = []
        for lost in (False, True):
            store = world.open(lost=lost)
            seen.append(tree(store))
            if lost:  # and it goes on
                ops.write_bytes(store, "later", NEW)
                seen.append({path: data for path, data in tree(store).items() if path != "later"})
                assert count % 4 or store.check(download=True).found == (), death
            store.close()
        assert seen[0] == seen[1] == seen[2], death
        assert seen[0] in (allowed[-1:] if world.acknowledged else allowed), death
    return count


def nothing(store):
    pass


def one(store):
    ops.write_bytes(store, "d/f", OLD)


def several(store):
    one(store)
    ops.write_bytes(store, "d/e/g", NEW)
    ops.write_bytes(store, "d/e/large", LARGE)


ONE = {"d": None, "d/f": OLD}
SEVERAL = {**ONE, "d/e": None, "d/e/g": NEW, "d/e/large": LARGE}


def test_new_file(world):
    act = lambda store: ops.write_bytes(store, "d/f", OLD)
    assert deaths(world, nothing, act, {}, ONE) > 10


def test_replaced_file(world):
    act = lambda store: ops.write_bytes(store, "d/f", NEW)
    assert deaths(world, one, act, ONE, {"d": None, "d/f": NEW}) > 10


def test_deleted_file(world):
    assert deaths(world, one, lambda store: store.delete("d/f"), ONE, {"d": None}) > 10


def test_renamed_file(world):
    act = lambda store: store.move("d/f", "e/g")
    assert deaths(world, one, act, ONE, {"d": None, "e": None, "e/g": OLD}) > 10


def test_made_and_removed_directories(world):
    assert deaths(world, nothing, lambda store: store.mkdir("a/b"), {}, {"a": None, "a/b": None}) > 10
    prepare = lambda store: store.mkdir("a/b")
    act = lambda store: store.rmdir("a/b")
    assert deaths(world, prepare, act, {"a": None, "a/b": None}, {"a": None}) > 10


def test_many_files_are_there_together_or_not_at_all(world):
    contents = {f"d/{n}": b"%d" % n for n in range(20)}

    def act(store):
        items = [WriteItem(path, BytesSource(data)) for path, data in contents.items()]
        assert [result.error for result in store.write_many(items) if result.error] == []

    assert deaths(world, one, act, ONE, {**ONE, **contents}) > 10


def test_deleted_files(world):
    act = lambda store: list(store.delete_many(reversed(list(store.walk("d/e")))))
    less = {path: data for path, data in SEVERAL.items() if path != "d/e/large"}
    assert deaths(world, several, act, SEVERAL, less, {**ONE, "d/e": None}) > 10


def test_small_file_over_a_large_one(world):
    prepare = lambda store: ops.write_bytes(store, "f", LARGE)
    assert deaths(world, prepare, lambda store: ops.write_bytes(store, "f", NEW), {"f": LARGE}, {"f": NEW}) > 10


def test_large_file_over_a_small_one(world):
    prepare = lambda store: ops.write_bytes(store, "f", NEW)
    assert deaths(world, prepare, lambda store: ops.write_bytes(store, "f", LARGE), {"f": NEW}, {"f": LARGE}) > 20


def test_deleted_file_that_replaced_a_large_one(world):
    def prepare(store):
        ops.write_bytes(store, "f", LARGE)
        store.inner.delete, real = (lambda path: None), store.inner.delete
        ops.write_bytes(store, "f", NEW)  # what it replaces is still there
        store.inner.delete = real

    assert deaths(world, prepare, lambda store: store.delete("f"), {"f": NEW}, {}) > 20


@pytest.mark.parametrize("dst", ["d/m", "x/y"])
def test_moved_directory(world, dst):
    moved = {path.replace("d/e", dst): data for path, data in SEVERAL.items()}
    moved |= {"x": None} if dst == "x/y" else {}
    # What lies under its own name moves first: for a moment each file is at one of the two places.
    between = [
        {**SEVERAL, **({"x": None} if dst == "x/y" else {})},
        {path: data for path, data in {**SEVERAL, **moved}.items() if path not in {"d/e/large", f"{dst}/g"}},
    ]
    assert deaths(world, several, lambda store: store.move("d/e", dst), SEVERAL, *between, moved) > 20


def worn(store):
    """A pack that is mostly dead, a move, a large file in an object."""
    for result in store.write_many(WriteItem(f"d/{n}", BytesSource(b"%d" % n * 80)) for n in range(9)):
        assert result.error is None
    for n in range(5):
        store.delete(f"d/{n}")
    store.move("d/5", "moved")
    ops.write_bytes(store, "moved", LARGE)


WORN = {"d": None, **{f"d/{n}": b"%d" % n * 80 for n in (6, 7, 8)}, "moved": LARGE}


def test_compaction(world):
    assert deaths(world, worn, lambda store: store.compact(), WORN) > 30


def test_compaction_that_removes_what_was_replaced(world):
    def prepare(store):
        world.days = 0
        worn(store)
        assert store.compact().made > 0

    def act(store):
        world.days = 2
        assert store.compact().removed > 0

    assert deaths(world, prepare, act, WORN) > 15
