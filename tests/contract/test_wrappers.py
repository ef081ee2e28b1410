"""The conformance suite over every wrapper and over whole stacks of them, above `memory` and a local directory."""

import os

import pytest

from cftool.testing.contract import StoreContract
from cftool_providers.memory import MemoryStore
from tests.contract.stacks import ARCHIVES, STACKS
from tests.wrap.caching.conftest import cache_directory
from tests.wrap.caching.owning import remote

__all__ = ["cache_directory"]


@pytest.mark.parametrize("stack", STACKS)
class TestStack(StoreContract):
    @pytest.fixture
    def store(self, stack):
        store = STACKS[stack](MemoryStore())
        store.mkdir("")  # a view's directory, where it is one
        yield store
        store.close()


@pytest.mark.parametrize("stack", ARCHIVES)
class TestArchives(StoreContract):
    many = 100  # as a rule one pack each; more of them are listed in the tests of the archive

    @pytest.fixture
    def store(self, stack):
        store = ARCHIVES[stack](MemoryStore())
        store.mkdir("")
        yield store
        store.close()


class TestArchivesOverLocal(StoreContract):
    many = 100

    @pytest.fixture
    def store(self, cache_directory):
        root = os.path.join(cache_directory, "remote")
        os.mkdir(root)
        store = ARCHIVES["caching_over_metadata_over_archiving"](remote(root))
        store.mkdir("")
        yield store
        store.close()
