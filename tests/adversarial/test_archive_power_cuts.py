"""After a power cut at any moment an archive has what was acknowledged, whole: alone, and below the write-back cache.

The directory of the archive, the index and the cache lose what was not synced, all together. See `powercut`.
"""

import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cftool.core import ops
from cftool.core.sources import BytesSource
from cftool.core.types import WriteItem
from cftool.wrap.archiving import ArchiveSettings, ArchivingStore
from cftool.wrap.caching import CacheSettings, CachingStore
from tests.adversarial.powercut import record
from tests.sizes import FULL, SEED
from tests.wrap.caching.owning import remote

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() != "x86_64", reason="the recorder knows Linux on x86-64"
    ),
    pytest.mark.timeout(7200 if FULL else 600),
]
SHM = "/dev/shm"
CHANCES = 4 if FULL else 1
STEP = 1 if FULL else 11
OLD, NEW, LARGE = b"old " * 20, b"new content " * 20, b"large " * 200
DAY = 86_400.0


@pytest.fixture
def place():
    """In memory where the machine has some: what a disk would have kept is computed, not tried."""
    with tempfile.TemporaryDirectory(prefix="cftool-cuts-", dir=SHM if os.path.isdir(SHM) else None) as path:
        yield Path(path)


def archive(disk, days=0, *, lost=False):
    state = None if lost else str(disk / "state")
    now = lambda: time.time() + days * DAY
    return ArchivingStore(
        remote(str(disk / "remote")), state, ArchiveSettings(fresh=0, large=1_000, host="here", now=now)
    )


def cached(disk):
    return CachingStore(archive(disk), str(disk / "cache"), CacheSettings(delay=3600, host="here"))


def tree(store):
    return {e.path: ops.read_bytes(store, e.path) for e in ops.walk_anyhow(store, "") if not e.is_dir}


class Story:
    """Changes one after the other. Each leads from one tree to the next, which is acknowledged by its number."""

    def __init__(self, first):
        self.trees = [first]
        self.changes = []

    def then(self, act, **changed):
        """`changed` by name with `/` for `__`; None: it is gone."""
        now = {**self.trees[-1], **{name.replace("__", "/"): data for name, data in changed.items()}}
        self.trees.append({name: data for name, data in now.items() if data is not None})
        self.changes.append(act)

    def tell(self, store, acknowledge):
        for number, act in enumerate(self.changes, 1):
            act(store)
            acknowledge(f"{number} ")

    def require(self, found, cut):
        """What was acknowledged last, or what the change after that leads to."""
        done = int(cut.acknowledged[-1]) if cut.acknowledged else 0
        assert found in self.trees[done : done + 2], (cut, found.keys())


def put(path, data):
    return lambda store: ops.write_bytes(store, path, data)


def batch(**contents):
    def act(store):
        items = [WriteItem(name.replace("__", "/"), BytesSource(data)) for name, data in contents.items()]
        assert [result.error for result in store.write_many(items) if result.error] == []

    return act


def prepared(place, opened):
    disk = place / "disk"
    (disk / "remote").mkdir(parents=True)
    store = opened(disk)
    ops.write_bytes(store, "d/replaced", OLD)
    ops.write_bytes(store, "d/gone", OLD)
    if isinstance(store, CachingStore):
        assert store.flush() == []
    store.close()
    return disk, Story({"d/replaced": OLD, "d/gone": OLD})


def cuts(disk, to):
    for number, cut in enumerate(disk.cuts(to, chances=CHANCES, seed=SEED)):
        if number % STEP:
            continue  # each state costs some databases
        for path in to.rglob("*.sqlite-shm"):  # memory that the processes shared: it is gone
            path.unlink()
        (to / "remote").mkdir(exist_ok=True)
        yield cut


def test_what_an_archive_acknowledged_is_there_whole(place, record_property):
    disk, story = prepared(place, archive)
    story.then(put("d/replaced", NEW), d__replaced=NEW)
    story.then(batch(e__1=b"1", e__2=b"2" * 500, e__f__3=OLD), e__1=b"1", e__2=b"2" * 500, e__f__3=OLD)
    story.then(lambda store: store.delete("d/gone"), d__gone=None)
    story.then(lambda store: store.move("d/replaced", "m/moved"), d__replaced=None, m__moved=NEW)
    story.then(lambda store: store.move("e", "g/h"), e__1=None, e__2=None, e__f__3=None,
               g__h__1=b"1", g__h__2=b"2" * 500, g__h__f__3=OLD)  # fmt: skip
    story.then(put("large", LARGE), large=LARGE)
    story.then(put("m/moved", LARGE), m__moved=LARGE)
    # Not a small one over `large`: the files made for a cut have other inodes, and are other files to the record.

    def act(acknowledge):
        store = archive(disk)
        story.tell(store, acknowledge)
        store.close()

    states = look(record(disk, act), place / "cut", story)
    record_property("states", states)


def test_compaction_loses_nothing(place, record_property):
    disk, story = prepared(place, archive)
    store = archive(disk)
    batch(**{f"w__{n}": b"%d" % n * 200 for n in range(6)})(store)
    for n in range(5):
        store.delete(f"w/{n}")
    store.close()
    story.trees[0]["w/5"] = b"5" * 200

    def act(acknowledge):
        store = archive(disk)
        assert store.compact().made > 0
        store.close()
        store = archive(disk, days=2)
        assert store.compact().removed > 0
        store.close()

    states = look(record(disk, act), place / "cut", story)
    record_property("states", states)


def look(disk, to, story):
    """How many states there were."""
    states = 0
    for cut in cuts(disk, to):
        states += 1
        found = []
        for lost in (False, True):
            store = archive(to, lost=lost)
            found.append(tree(store))
            if lost:
                assert store.check(download=True).found == (), cut
                ops.write_bytes(store, "later", NEW)
                assert tree(store) == {**found[-1], "later": NEW}, cut
            store.close()
        assert found[0] == found[1], cut
        story.require(found[0], cut)
    assert states > 20
    return states


def test_what_the_cache_above_it_acknowledged_is_there_whole(place, record_property):
    disk, story = prepared(place, cached)
    story.then(put("d/replaced", NEW), d__replaced=NEW)
    story.then(put("e/new", NEW), e__new=NEW)
    story.then(lambda store: store.move("e/new", "e/moved"), e__new=None, e__moved=NEW)
    story.then(lambda store: store.delete("d/gone"), d__gone=None)
    story.then(lambda store: store.flush())
    story.then(put("e/moved", LARGE), e__moved=LARGE)
    story.then(lambda store: store.flush())

    def act(acknowledge):
        store = cached(disk)
        story.tell(store, acknowledge)
        store.close()

    to = place / "cut"
    states = 0
    for cut in cuts(record(disk, act), to):
        states += 1
        store = cached(to)
        assert store.problems == [], cut
        shown = tree(store)
        story.require(shown, cut)
        assert store.check() == [], cut
        assert store.flush() == [], cut
        assert store.stats.conflicts == 0, cut
        store.close()
        below = archive(to, lost=True)
        assert tree(below) == shown, cut
        assert below.check(download=True).found == (), cut
        below.close()
    assert states > 20
    record_property("states", states)
