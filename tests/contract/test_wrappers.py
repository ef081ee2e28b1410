"""The conformance suite over every wrapper and over whole stacks of them, above `memory`."""

import pytest

from cftool.testing.contract import StoreContract
from cftool_providers.memory import MemoryStore
from tests.contract.stacks import STACKS


@pytest.mark.parametrize("stack", STACKS)
class TestStack(StoreContract):
    @pytest.fixture
    def store(self, stack):
        store = STACKS[stack](MemoryStore())
        store.mkdir("")  # a view's directory, where it is one
        yield store
        store.close()
