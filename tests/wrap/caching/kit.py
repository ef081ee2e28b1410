"""What the tests of the cache share: a clock, a store that can be opened again after a crash."""

from dataclasses import replace

from cftool.core import paths
from cftool.core.errors import DirectoryNotEmpty, NotFound, Unsupported
from cftool.core.sources import BytesSource
from cftool.core.types import Cap
from cftool.wrap.caching import CacheSettings, CachingStore, Times
from cftool_providers.memory import MemoryStore


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


def crashed(store):
    """What the process knew is gone; what the journal knows is not."""
    store.drain.stop()
    store.journal.close()
    store.files.close()
    store._ownership.release()
    store._pool.shutdown()
    store._closed = True


def content_is_where_its_row_is(store):
    """Each row's content is in one place, and no data file is nobody's."""
    known = {number for number, _, _ in store.journal.sizes()}
    return {number for number, _ in store.files.ids()} == known - store.journal.inline.sizes().keys()


def in_files(store):
    """What is written from now on gets a data file, as large content does."""
    store.settings = replace(store.settings, inline=0)
    return store


def put(store, path, data, **more):
    return store.write(path, BytesSource(data), **more)


def get(store, path):
    with store.read(path) as download:
        return download.read()


class FlatMemory(MemoryStore):
    """Memory as an object store without markers: a directory is there while something is in it, and only then."""

    @property
    def features(self):
        features = super().features
        return replace(features, caps=features.caps & ~(Cap.EMPTY_DIRS | Cap.MOVE_DIR) | Cap.IMPLICIT_DIRS)

    def mkdir(self, path):
        if path:
            raise Unsupported("no empty directories here", op="mkdir", path=path)
        return super().mkdir(path)

    def rmdir(self, path):
        if self.stat(path).is_dir:
            raise DirectoryNotEmpty("is not empty", op="rmdir", path=path)
        super().rmdir(path)

    def delete(self, path):
        super().delete(path)
        self._swept(path)

    def move(self, src, dst):
        moved = super().move(src, dst)
        self._swept(src)
        return moved

    def _swept(self, path):
        while path := paths.parent(path):
            try:
                self.space.rmdir(path)
            except (DirectoryNotEmpty, NotFound):
                return
