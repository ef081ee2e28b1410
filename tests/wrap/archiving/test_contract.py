"""The conformance suite over the archiving layer: over stores that keep all, fold case, or have flat keys."""

from dataclasses import replace

import pytest

from cftool import registry
from cftool.core.provider import Context
from cftool.testing.contract import StoreContract
from cftool.wrap.archiving import ArchiveSettings, ArchivingStore
from cftool.wrap.check import CheckStore
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


@pytest.mark.parametrize("below", MAKERS)
class TestArchivingStore(StoreContract):
    @pytest.fixture
    def store(self, below, tmp_path):
        folder = tmp_path / "below"
        folder.mkdir()
        store = CheckStore(ArchivingStore(MAKERS[below](folder), str(tmp_path / "state"), ArchiveSettings(fresh=0)))
        yield store
        store.close()
