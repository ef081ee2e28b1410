"""A cache over a store in memory; caches lie in memory too where the machine can: fsync is not the point there."""

import os
import shutil
import tempfile

import pytest

from cftool.testing.faulty import FaultyStore
from cftool_providers.memory import MemoryStore
from tests.wrap.caching.kit import cached


@pytest.fixture
def cache_directory():
    """A directory for a cache, quick where the machine has one."""
    parent = "/dev/shm" if os.path.isdir("/dev/shm") else None
    path = tempfile.mkdtemp(prefix="cftool-cache-", dir=parent)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def memory():
    """What the remote has."""
    return MemoryStore()


@pytest.fixture
def remote(memory):
    """The store below the cache: it fails when it is told to."""
    return FaultyStore(memory, {})


@pytest.fixture
def store(remote, cache_directory):
    """The cache, which uploads when it is told to."""
    store = cached(remote, cache_directory)
    yield store
    store.close()
