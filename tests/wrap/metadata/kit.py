"""What the tests of the metadata cache share: a remote of which requests are counted, and caches of it."""

from collections import Counter
from dataclasses import replace

from cftool.core.errors import NotFound
from cftool.core.sources import BytesSource
from cftool.core.types import Cap
from cftool.testing.clock import FakeClock
from cftool.wrap.metadata.store import MetadataCachingStore
from cftool_providers.memory import MemoryStore


class Counted(MemoryStore):
    """Of which questions for changes are counted too; `feed`: whether it has any."""

    def __init__(self, requests, *, feed):
        super().__init__(requests=requests)
        if not feed:
            self._features = replace(self._features, caps=self._features.caps & ~Cap.CHANGES)

    def changes(self, cursor):
        self._requests["changes"] += 1
        return super().changes(cursor)


class World:
    """A remote, and any number of caches of it on one directory, with one clock."""

    def __init__(self, directory, *files, feed=False):
        self.directory = str(directory)
        self.clock = FakeClock(1.0)  # soon after the boot: what has no fake one is later
        self.requests = Counter()
        self.memory = Counted(self.requests, feed=feed)
        for path in files:
            self.memory.write(path, BytesSource(path.encode()))
        self.requests.clear()
        self.opened = []

    def open(self, *, ttl=60, inner=None, **more):
        store = MetadataCachingStore(inner or self.memory, ttl=ttl, directory=self.directory, clock=self.clock, **more)
        self.opened.append(store)
        return store

    def asked(self):
        """Requests since the last call."""
        found = dict(self.requests)
        self.requests.clear()
        return found

    def behind(self, path, data=b"theirs"):
        """Somebody else writes; no request is counted."""
        self.memory.space.put(path, data, None, None, False)

    def close(self):
        for store in self.opened:
            store.close()


def names(store, path=""):
    return sorted(entry.name for entry in store.scan(path))


def missing(store, path):
    try:
        store.stat(path)
    except NotFound:
        return True
    return False


def put(store, path, data=b"new"):
    return store.write(path, BytesSource(data))


def soon_old(inner, directory):
    """A cache whose clock moves on at each look, so that nothing in it is believed unless the feed confirms it."""
    clock = FakeClock(1.0)

    def ticking():
        clock.advance(1)
        return clock()

    return MetadataCachingStore(inner, ttl=0.5, directory=str(directory), clock=ticking)
