"""The stacks of wrappers that the conformance suite and the model run over."""

import tempfile
from itertools import cycle

from cftool.core.wrapper import Wrapper
from cftool.stack import Metadata, build
from cftool.testing.clock import FakeClock
from cftool.wrap.check import CheckStore
from cftool.wrap.metadata.store import MetadataCachingStore
from cftool.wrap.prefix import PrefixStore
from cftool.wrap.readonly import ReadOnlyStore
from cftool.wrap.resume import ResumeStore


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
