"""A file system over memory; a module may have its own instead."""

import pytest

from cftool_providers.memory import MemoryStore
from tests.vfs.kit import Opener


@pytest.fixture
def memory():
    return MemoryStore()


@pytest.fixture
def opened(memory, tmp_path):
    opener = Opener(memory, tmp_path)
    yield opener
    for vfs in opener.left.copy():
        opener.close(vfs)


@pytest.fixture
def vfs(opened):
    return opened()
