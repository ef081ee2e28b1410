"""The conformance suite over the write-back cache: before anything is uploaded, and with all uploaded at once."""

import pytest

from cftool.testing.contract import StoreContract
from cftool.wrap.caching import CachingStore
from cftool.wrap.check import CheckStore
from cftool_providers.memory import MemoryStore
from tests.wrap.caching.kit import Clock, FlatMemory, settings


class Eager(CachingStore):
    """Every change is at the store below before the call returns."""


def _eager(name):
    def member(self, *args, **kwargs):
        result = getattr(CachingStore, name)(self, *args, **kwargs)
        assert self.flush() == []
        return self.stat(result.path) if result is not None else None

    return member


for _name in ("write", "delete", "mkdir", "rmdir", "move", "copy", "set_modified"):
    setattr(Eager, _name, _eager(_name))


# What is pending is here whole, whatever the size from which on content is fetched in parts.
@pytest.mark.parametrize(
    ("kind", "whole"),
    [(CachingStore, 8 << 20), (Eager, 8 << 20), (Eager, 1000)],
    ids=["pending", "uploaded", "uploaded, in parts"],
)
@pytest.mark.parametrize("memory", [MemoryStore, FlatMemory])
class TestCachingStore(StoreContract):
    @pytest.fixture
    def store(self, kind, whole, memory, cache_directory):
        store = CheckStore(kind(memory(), cache_directory, settings(Clock(), whole=whole)))
        yield store
        store.close()
