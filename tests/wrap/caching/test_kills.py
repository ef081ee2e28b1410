"""Random kill -9 of a process that writes through the cache while it uploads, and a look at what is left.

The child writes version after version of a few files, replaces one by a rename as editors do, and acknowledges each
when the calls have returned. After each kill the cache is opened again: every file shown is one whole version, none
older than what was acknowledged; fsck finds nothing; the remote has whole files only, and when all is uploaded it has
what was shown.
"""

import os
import random
from functools import partial

import pytest

from cftool.wrap.caching import CacheSettings, CachingStore
from tests.sizes import FULL, SEED
from tests.wrap.caching.owning import remote
from tests.wrap.killing import one_kill, versions, write_version

pytestmark = [pytest.mark.crash, pytest.mark.timeout(7200 if FULL else 300)]

KILLS = 10_000 if FULL else 12
NAMES = ("a", "d/b", "d/e/c", "edited")
LONGEST = 0.15  # seconds until the kill


def write_for_ever(root, cache, first, acknowledge):
    store = CachingStore(remote(root), cache, CacheSettings(delay=0.01, host="here"))
    store.start()
    for version in range(first, 1 << 40):
        write_version(store, NAMES[:-1], version)
        acknowledge(version)


def test_no_acknowledged_version_is_lost(cache_directory, record_property):
    root, cache = os.path.join(cache_directory, "remote"), os.path.join(cache_directory, "cache")
    os.mkdir(root)
    rng = random.Random(SEED)
    acknowledged = begun = 0
    total = 0
    for _ in range(KILLS):
        first = begun + 1
        now, begun = one_kill(partial(write_for_ever, root, cache), first, rng.uniform(0, LONGEST))
        total += now != 0 and now - first + 1
        acknowledged = max(acknowledged, now)
        versions(remote(root))
        store = CachingStore(remote(root), cache, CacheSettings(delay=3600, host="here"))
        shown = versions(store)
        assert store.problems == []
        for name in NAMES:
            assert acknowledged <= shown.get(name, 0) <= begun
        if rng.random() < 0.3:
            assert store.flush() == []
            assert versions(remote(root)) == shown
        assert store.stats.conflicts == 0
        assert store.check() == []
        store.close()
    record_property("kills", KILLS)
    record_property("acknowledged versions", total)
