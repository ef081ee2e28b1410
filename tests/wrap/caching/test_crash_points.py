"""Death at every call of every operation of the cache: what DESIGN.md, "Crash points", promises is checked after each.

The remote is a real directory, so that deaths in the middle of an upload are among them. A commit of SQLite, and the
opening of its file, count as one call each: that a death inside of it leaves the old or the new state is SQLite's
promise. With those there is nothing that changes a file between two calls.
"""

import os
from pathlib import Path

import pytest

from cftool.core import ops
from cftool.testing.crash import every_death_at_a_call
from cftool.wrap.caching import CacheSettings, CachingStore
from cftool.wrap.caching.journal import Journal
from tests.wrap.caching.kit import content_is_where_its_row_is
from tests.wrap.caching.owning import remote
from tests.wrap.worlds import World

# A fork for each system call: slow where the process that forks is large.
pytestmark = [pytest.mark.crash, pytest.mark.timeout(1200)]

OLD, NEW = b"old", b"new content"


class Machine(World):
    """A cache over the remote."""

    def __init__(self, base, inline):
        super().__init__(base)
        self.inline = inline

    def open(self, **more):
        settings = CacheSettings(delay=3600, host="here", inline=self.inline, **more)
        return CachingStore(remote(self.root), self.state, settings)

    def act(self, action, **more):
        """In the child: commits are calls like others, and so is the opening of the journal."""
        begin = Journal.__init__

        def opened(journal, *args, **how):
            self.call()
            begin(journal, *args, **how)
            self.call()

        Journal._transaction, Journal.__init__ = self.counted(Journal._transaction), opened
        action(self.open(**more))
        self.returned()

    def there(self):
        with_store = remote(self.root)
        return {e.path: ops.read_bytes(with_store, e.path) for e in ops.walk_anyhow(with_store, "") if not e.is_dir}


@pytest.fixture
def world(cache_directory):
    """All content is in files."""
    return Machine(cache_directory, 0)


@pytest.fixture
def journal(cache_directory):
    """Up to ten bytes are in the journal itself."""
    return Machine(cache_directory, 10)


def few(count):
    """There is little to die at: the commit is nearly all."""
    return 5 < count < 60


def deaths(world, prepare, action, look, **more):
    """Look after each death, as the next process sees it; how many there were."""
    count = 0
    for death in every_death_at_a_call(lambda: world.reset(prepare), lambda: world.act(action, **more)):
        count += 1
        try:
            store = world.open()
            try:
                assert store.problems == []
                look(store)
                assert content_is_where_its_row_is(store)
                assert store.journal.totals() == store.journal.summed()
            finally:
                store.close()
        except AssertionError as error:
            raise AssertionError(f"after {death}: {error}") from error
    return count


def tree(store):
    """All files with their content, by listings."""
    found, todo = {}, [""]
    while todo:
        for entry in store.scan(todo.pop()):
            if entry.is_dir:
                todo.append(entry.path)
            else:
                found[entry.path] = ops.read_bytes(store, entry.path)
    return found


def old_or_new(world, old, new):
    """The state is the old one or the new one, the new one where it was acknowledged, and it goes to the remote."""

    def look(store):
        now = tree(store)
        assert now in ([new] if world.acknowledged else [old, new])
        assert store.flush() == []
        assert store.stats.conflicts == 0
        assert world.there() == now == tree(store)

    return look


def test_new_file(world):
    look = old_or_new(world, {}, {"a/f": NEW})
    assert deaths(world, lambda store: None, lambda store: ops.write_bytes(store, "a/f", NEW), look) > 30


def uploaded(store):
    ops.write_bytes(store, "d/f", OLD)
    assert store.flush() == []


def test_replaced_file_that_is_uploaded(world):
    look = old_or_new(world, {"d/f": OLD}, {"d/f": NEW})
    assert deaths(world, uploaded, lambda store: ops.write_bytes(store, "d/f", NEW), look) > 30


def test_replaced_file_that_is_pending(world):
    look = old_or_new(world, {"f": OLD}, {"f": NEW})
    prepare = lambda store: ops.write_bytes(store, "f", OLD)
    assert deaths(world, prepare, lambda store: ops.write_bytes(store, "f", NEW), look) > 30


def edit(store):
    draft = store.edit("d/f")
    draft.write(b"NEW", 0)
    draft.close()


def test_file_that_is_edited_in_place(world):
    look = old_or_new(world, {"d/f": OLD}, {"d/f": b"NEW"})
    assert deaths(world, uploaded, edit, look) > 30


def test_small_file(journal):
    look = old_or_new(journal, {}, {"a/f": b"small"})
    assert few(deaths(journal, lambda store: None, lambda store: ops.write_bytes(store, "a/f", b"small"), look))


@pytest.mark.parametrize("prepare", [uploaded, lambda store: ops.write_bytes(store, "d/f", OLD)], ids=["up", "pending"])
def test_small_file_that_is_edited(journal, prepare):
    look = old_or_new(journal, {"d/f": OLD}, {"d/f": b"NEW"})
    assert few(deaths(journal, prepare, edit, look))


@pytest.mark.parametrize(("old", "new"), [(OLD, NEW), (NEW, OLD)], ids=["small is replaced", "large is replaced"])
def test_small_and_large_content_in_each_others_place(journal, old, new):
    look = old_or_new(journal, {"f": old}, {"f": new})
    prepare = lambda store: ops.write_bytes(store, "f", old)
    assert deaths(journal, prepare, lambda store: ops.write_bytes(store, "f", new), look) > 5


def test_small_file_that_grows_after_its_commit(journal):
    parts = (b"one", b"two", b"and more than is small")

    def grow(store):
        draft = store.edit("f", create=True)
        for number, part in enumerate(parts):
            draft.write(part, len(b"".join(parts[:number])))
            draft.commit()
        draft.close()

    whole = [{}, *({"f": b"".join(parts[: n + 1])} for n in range(3))]

    def look(store):
        now = tree(store)
        assert now in (whole[-1:] if journal.acknowledged else whole)
        assert store.flush() == []
        assert store.stats.conflicts == 0
        assert journal.there() == now

    assert deaths(journal, lambda store: None, grow, look) > 10


def test_file_that_grows_after_its_commit(world):
    def grow(store):
        draft = store.edit("f", create=True)
        draft.reserve(3)
        os.pwrite(draft.fd, b"one", 0)
        draft.commit()
        draft.reserve(7)
        os.pwrite(draft.fd, b"more", 3)
        draft.close()

    def look(store):
        now = tree(store)
        assert now in ([{"f": b"onemore"}] if world.acknowledged else [{}, *({"f": b"onemore"[:n]} for n in (3, 5, 7))])
        assert store.flush() == []
        assert store.stats.conflicts == 0
        assert world.there() == now

    assert deaths(world, lambda store: None, grow, look) > 30


@pytest.mark.parametrize("inline", [0, 10])
def test_file_that_is_uploaded_while_it_is_open(world, inline):
    world.inline = inline

    def send(store):
        draft = store.edit("f", truncate=True)
        draft.write(b"NEW", 0)
        draft.bring(draft.copied(), timeout=60.0)
        assert world.there() == {"f": b"NEW"}
        draft.discard()

    def prepare(store):
        ops.write_bytes(store, "f", OLD)

    assert deaths(world, prepare, send, old_or_new(world, {"f": OLD}, {"f": b"NEW"})) > 15


def test_deleted_file(world):
    look = old_or_new(world, {"d/f": OLD}, {})
    assert deaths(world, uploaded, lambda store: store.delete("d/f"), look) > 20


@pytest.mark.parametrize(("src", "dst"), [("d/f", "e/g"), ("d", "e/d")])
def test_renamed(world, src, dst):
    look = old_or_new(world, {"d/f": OLD}, {"d/f".replace(src, dst): OLD})
    assert deaths(world, uploaded, lambda store: store.move(src, dst), look) > 20


def changes(store):
    """One of each kind, pending."""
    uploaded(store)
    ops.write_bytes(store, "gone", OLD)
    assert store.flush() == []
    ops.write_bytes(store, "d/f", NEW)
    ops.write_bytes(store, "n/new", NEW)
    store.move("d", "m")
    store.delete("gone")


@pytest.mark.parametrize("inline", [0, 20])
def test_flush(world, inline):
    world.inline = inline
    whole = {"m/f": NEW, "n/new": NEW}

    def look(store):
        assert tree(store) == whole
        assert set(world.there().values()) <= {OLD, NEW}
        assert store.flush() == []
        assert store.stats.conflicts == 0
        assert world.there() == whole
        if world.acknowledged:
            assert store.pending() == []

    def flush(store):
        assert store.flush() == []

    assert deaths(world, changes, flush, look) > 40


def test_evict(world):
    def prepare(store):
        uploaded(store)
        ops.write_bytes(store, "pending", NEW)

    def look(store):
        assert tree(store) == {"d/f": OLD, "pending": NEW}
        assert store.flush() == []
        assert world.there() == {"d/f": OLD, "pending": NEW}

    assert deaths(world, prepare, lambda store: store.make_room(1), look, soft=0) > 20


def test_open_of_a_damaged_journal_keeps_what_it_knew(world):
    def prepare(store):
        ops.write_bytes(store, "f", NEW)

    def reset():
        world.reset(prepare)
        path = os.path.join(world.state, "journal.sqlite")
        with open(path, "r+b") as file:
            file.write(b"no database at all" * 100)

    def kept():
        found = set()
        for directory, _, names in os.walk(world.state):
            found |= {Path(directory, name).read_bytes() for name in names if name == "1"}
        return found

    count = 0
    for death in every_death_at_a_call(reset, lambda: world.act(lambda store: None)):
        count += 1
        world.open().close()
        assert kept() == {NEW}, death
    assert count > 10
