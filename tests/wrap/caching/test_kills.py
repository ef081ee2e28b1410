"""Random kill -9 of a process that writes through the cache while it uploads, and a look at what is left.

The child writes version after version of a few files, replaces one by a rename as editors do, and acknowledges each
when the calls have returned. After each kill the cache is opened again: every file shown is one whole version, none
older than what was acknowledged; fsck finds nothing; the remote has whole files only, and when all is uploaded it has
what was shown.
"""

import os
import random
import signal
import time
import warnings

import pytest

from cftool.core import ops
from cftool.core.sources import BytesSource
from cftool.wrap.caching import CacheSettings, CachingStore
from tests.sizes import FULL, SEED
from tests.trees import content
from tests.wrap.caching.owning import remote

pytestmark = [pytest.mark.crash, pytest.mark.timeout(7200 if FULL else 300)]

KILLS = 10_000 if FULL else 12
NAMES = ("a", "d/b", "d/e/c", "edited")
LONGEST = 0.15  # seconds until the kill


def version_of(name, version):
    size = 100 + 37 * version % 9_000
    return version.to_bytes(8, "big") + content(f"{name}/{version}", size - 8)


def write_for_ever(root, cache, first, acknowledge):
    store = CachingStore(remote(root), cache, CacheSettings(delay=0.01, host="here"))
    store.start()
    for version in range(first, 1 << 40):
        for name in NAMES[:-1]:
            store.write(name, BytesSource(version_of(name, version)))
        store.write("new", BytesSource(version_of("edited", version)))
        store.move("new", "edited")
        os.write(acknowledge, b"%d\n" % version)


def one_kill(root, cache, first, seconds):
    """The last version that was acknowledged (0: none), and the last that was begun."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            write_for_ever(root, cache, first, writing)
        finally:
            os._exit(1)
    os.close(writing)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    with os.fdopen(reading, "rb") as pipe:
        lines = pipe.read().split()
    return int(lines[-1]) if lines else 0, first + len(lines)


def versions(store):
    """Of all files but what an editor had not renamed yet; each proven to be a whole one."""
    found = {}
    for entry in ops.walk_anyhow(store, ""):
        if not entry.is_dir:
            data = ops.read_bytes(store, entry.path)
            found[entry.path] = int.from_bytes(data[:8], "big")
            name = "edited" if entry.path == "new" else entry.path
            assert data == version_of(name, found[entry.path]), entry
    return found


def test_no_acknowledged_version_is_lost(cache_directory, record_property):
    root, cache = os.path.join(cache_directory, "remote"), os.path.join(cache_directory, "cache")
    os.mkdir(root)
    rng = random.Random(SEED)
    acknowledged = begun = 0
    total = 0
    for _ in range(KILLS):
        first = begun + 1
        now, begun = one_kill(root, cache, first, rng.uniform(0, LONGEST))
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
