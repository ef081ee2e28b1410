"""What the tests of the cache share: a clock, a store that can be opened again after a crash."""

from cftool.core.sources import BytesSource
from cftool.wrap.caching import CacheSettings, CachingStore, Times


class Clock:
    """Wall and monotonic time, moved by hand."""

    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


def settings(clock, **more):
    return CacheSettings(times=Times(clock, clock), host="here", **{"delay": 60.0, "patience": 0.0, **more})


def cached(inner, directory, clock=None, **more):
    return CachingStore(inner, str(directory), settings(clock or Clock(), **more))


def put(store, path, data, **more):
    return store.write(path, BytesSource(data), **more)


def get(store, path):
    with store.read(path) as download:
        return download.read()
