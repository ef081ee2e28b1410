"""Random kill -9 of a process that writes into an archive, alone or below the write-back cache, and a look at the rest.

The child writes version after version of a few files, alone and in batches, in packs and beside them, replaces one by a
rename as editors do, and compacts now and then; it acknowledges each version when the calls have returned. After each
kill the same machine, and one that has only the packs, must show whole versions, none older than what was acknowledged;
the check of the archive finds nothing.
"""

import os
import random
import time
from functools import partial

import pytest

from cftool.core.sources import BytesSource
from cftool.core.types import WriteItem
from cftool.wrap.archiving import ArchiveSettings, ArchivingStore
from cftool.wrap.caching import CacheSettings, CachingStore
from tests.sizes import FULL, SEED
from tests.wrap.caching.owning import remote
from tests.wrap.killing import one_kill, version_of, versions, write_version

pytestmark = [pytest.mark.crash, pytest.mark.timeout(7200 if FULL else 300)]

KILLS = 5_000 if FULL else 8  # of each kind
BATCH = ("d/b", "d/e/c")
NAMES = ("a", *BATCH, "edited")
LONGEST = 0.12  # seconds until the kill
HOURS = 9  # that pass with each version: what a compaction replaced goes after some


def archive(root, state, hours=0.0):
    """Files of more than 5,000 bytes lie beside the packs: of each there are versions of both kinds."""
    now = lambda: time.time() + 3600 * hours
    return ArchivingStore(remote(root), state, ArchiveSettings(fresh=0, large=5_000, host="here", now=now))


def write_for_ever(root, state, first, acknowledge):
    for version in range(first, 1 << 40):
        store = archive(root, state, HOURS * version)
        store.write("a", BytesSource(version_of("a", version)))
        batch = [WriteItem(name, BytesSource(version_of(name, version))) for name in BATCH]
        assert [result.error for result in store.write_many(batch) if result.error] == []
        write_version(store, (), version)
        acknowledge(version)
        if version % 3 == 0:
            store.compact()
        store.close()


def write_through_the_cache(root, state, first, acknowledge):
    store = cached(root, state, HOURS * first, delay=0.01)
    store.start()
    for version in range(first, 1 << 40):
        write_version(store, NAMES[:-1], version)
        acknowledge(version)


def cached(root, state, hours, delay=3600.0):
    below = archive(root, os.path.join(state, "archive"), hours)
    return CachingStore(below, os.path.join(state, "cache"), CacheSettings(delay=delay, host="here"))


class Kills:
    """A remote, the state of a machine that is killed again and again, and what it acknowledged."""

    def __init__(self, base):
        self.root, self.state = os.path.join(base, "remote"), os.path.join(base, "state")
        os.mkdir(self.root)
        self.dice = random.Random(SEED)
        self.acknowledged = self.begun = self.total = 0

    def again(self, write):
        first = self.begun + 1
        act = partial(write, self.root, self.state)
        now, self.begun = one_kill(act, first, self.dice.uniform(0, LONGEST))
        self.total += now != 0 and now - first + 1
        self.acknowledged = max(self.acknowledged, now)

    def look(self, store):
        """What it shows, which must be whole and not too old."""
        shown = versions(store)
        for name in NAMES:
            assert self.acknowledged <= shown.get(name, 0) <= self.begun, (name, shown)
        return shown

    def elsewhere(self):
        """What another machine sees, and that the check finds nothing."""
        store = archive(self.root, None)
        shown = versions(store)
        assert store.check(download=self.dice.random() < 0.2).found == ()
        store.close()
        return shown

    def counted(self, record_property):
        record_property("kills", KILLS)
        record_property("acknowledged versions", self.total)


@pytest.fixture
def kills(cache_directory):
    return Kills(cache_directory)


def test_no_acknowledged_version_is_lost(kills, record_property):
    for _ in range(KILLS):
        kills.again(write_for_ever)
        store = archive(kills.root, kills.state, HOURS * kills.begun)
        assert kills.look(store) == kills.elsewhere()
        store.close()
    kills.counted(record_property)


def test_no_version_that_the_cache_acknowledged_is_lost(kills, record_property):
    for _ in range(KILLS):
        kills.again(write_through_the_cache)
        kills.elsewhere()
        store = cached(kills.root, kills.state, HOURS * kills.begun)
        shown = kills.look(store)
        assert store.problems == []
        if kills.dice.random() < 0.3:
            assert store.flush() == []
            assert kills.elsewhere() == shown
            store.inner.compact()
        assert store.stats.conflicts == 0
        assert store.check() == []
        store.close()
    kills.counted(record_property)
