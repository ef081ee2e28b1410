"""The conformance suite over the bare `memory` provider."""

import pytest

from cftool.testing.contract import StoreContract
from cftool_providers.memory import MemoryStore


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self):
        with_space = MemoryStore()
        yield with_space
        with_space.close()
