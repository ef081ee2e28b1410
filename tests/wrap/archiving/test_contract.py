"""The conformance suite over the archiving layer: over stores that keep all, fold case, or have flat keys."""

import os
from dataclasses import replace

import pytest

from cftool import registry
from cftool.core.provider import Context
from cftool.testing.contract import StoreContract
from cftool.wrap.archiving import ArchiveSettings, ArchivingStore
from cftool.wrap.check import CheckStore
from cftool.wrap.prefix import PrefixStore
from cftool_providers.memory import MemoryStore
from tests.wrap.caching.kit import FlatMemory


class Folding(MemoryStore):
    """Says that it folds case: no large file may lie under its own name."""

    @property
    def features(self):
        features = super().features
        return replace(features, names=replace(features.names, case_sensitive=False))


def _local(folder):
    return registry.provider("local").open({"root": str(folder)}, Context(remote="local"))


MAKERS = {
    "memory": lambda folder: MemoryStore(),
    "flat": lambda folder: FlatMemory(),
    "folding": lambda folder: Folding(),
    "local": _local,
}

VIEWS = {"memory", "local"}  # of a directory of the archive


@pytest.mark.parametrize("below", MAKERS)
class TestArchivingStore(StoreContract):
    @pytest.fixture
    def store(self, below, cache_directory):
        folder = os.path.join(cache_directory, "below")
        os.mkdir(folder)
        state = os.path.join(cache_directory, "state")
        store = ArchivingStore(MAKERS[below](folder), state, ArchiveSettings(fresh=0))
        store = CheckStore(PrefixStore(store, "a/root") if below in VIEWS else store)
        store.mkdir("")
        yield store
        store.close()
