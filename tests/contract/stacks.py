"""The stacks of wrappers that the conformance suite and the model run over."""

import os
import tempfile
from itertools import cycle

from cftool.core.wrapper import Wrapper
from cftool.stack import Metadata, build
from cftool.testing.clock import FakeClock
from cftool.wrap.archiving import ArchiveSettings, ArchivingStore
from cftool.wrap.caching import CachingStore
from cftool.wrap.check import CheckStore
from cftool.wrap.metadata.store import MetadataCachingStore
from cftool.wrap.prefix import PrefixStore
from cftool.wrap.readonly import ReadOnlyStore
from cftool.wrap.resume import ResumeStore
from tests.wrap.caching.kit import Clock, settings


def cached(store):
    """Everything is remembered for as long as the test runs: what is stale would show."""
    return MetadataCachingStore(store, ttl=1e9, clock=FakeClock())


def tight(store):
    """A cache so small that it forgets all the time."""
    return MetadataCachingStore(store, ttl=1e9, clock=FakeClock(), limit=10_000)


class Together(Wrapper):
    """Two stores over one, which share a cache on the disk; each call is the other one's, as of two processes."""

    def __init__(self, store, ttl=1e9, tick=0.0):
        self.directory = tempfile.TemporaryDirectory(prefix="cftool-metadata-")
        clock = FakeClock()

        def ticking():
            clock.advance(tick)
            return clock()

        self.stores = cycle(
            [MetadataCachingStore(store, ttl=ttl, directory=self.directory.name, clock=ticking) for _ in range(2)]
        )
        self.name = store.name

    @property
    def inner(self):
        return next(self.stores)

    def close(self):
        for _ in range(2):
            self.inner.close()
        self.directory.cleanup()


def _behind(name):
    def member(self, *args, **kwargs):
        return getattr(self.inner, name)(*args, **kwargs)

    return member


class ReadingThrough(ReadOnlyStore):
    """Reads through ReadOnly, and changes behind its back: so that the suite's reading half covers it."""

    features = property(lambda self: self.inner.features)


for _name in (
    "write",
    "delete",
    "mkdir",
    "rmdir",
    "copy",
    "move",
    "set_modified",
    "write_many",
    "delete_many",
    "delete_dir",
):
    setattr(ReadingThrough, _name, _behind(_name))


STACKS = {
    "check": CheckStore,
    "prefix": lambda store: PrefixStore(store, "some/where"),
    "metadata_caching": cached,
    "metadata_caching_tight": tight,
    "metadata_caching_together": Together,
    # Everything is too old, and confirmed by the feed of changes, whenever it is looked at.
    "metadata_caching_feed": lambda store: Together(store, ttl=0.5, tick=1.0),
    "resume": ResumeStore,
    "readonly_reading": ReadingThrough,
    "all": lambda store: CheckStore(PrefixStore(cached(ResumeStore(store)), "a/root")),
    "views_of_views": lambda store: CheckStore(PrefixStore(PrefixStore(cached(store), "ä"), "b c")),
    "built": lambda store: build(store, root="bucket/backups", metadata=Metadata(3600)),
}


def archived(store):
    """Small files in packs, looked for before every answer; the index is kept for as long as the store is open."""
    return ArchivingStore(ResumeStore(store), None, ArchiveSettings(fresh=0))


class Pending(CachingStore):
    """A write-back cache, which goes with the store."""

    def __init__(self, store):
        self.folder = tempfile.TemporaryDirectory(
            prefix="cftool-cache-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None
        )
        super().__init__(store, self.folder.name, settings(Clock()))

    def close(self):
        super().close()
        self.folder.cleanup()


class Uploaded(Pending):
    """As that, and all is uploaded before a call returns."""


def _uploaded(name):
    def member(self, *args, **kwargs):
        result = getattr(CachingStore, name)(self, *args, **kwargs)
        assert self.flush() == []
        return result if result is None else self.stat(result.path)

    return member


for _name in ("write", "delete", "mkdir", "rmdir", "move", "copy", "set_modified"):
    setattr(Uploaded, _name, _uploaded(_name))

# With an archive of small files; by the store that they stand over.
ARCHIVES = {
    "metadata_over_archiving": lambda store: CheckStore(PrefixStore(cached(archived(store)), "ä")),
    "caching_over_archiving": lambda store: CheckStore(PrefixStore(Pending(archived(store)), "a/root")),
    "caching_over_metadata_over_archiving": lambda store: CheckStore(
        PrefixStore(Uploaded(cached(archived(store))), "a/root")
    ),
}
