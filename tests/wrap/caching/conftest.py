"""Where the caches of tests lie: in memory where fsync is not the point."""

import os
import shutil
import tempfile

import pytest


@pytest.fixture
def cache_directory():
    """A directory for a cache, quick where the machine has one."""
    parent = "/dev/shm" if os.path.isdir("/dev/shm") else None
    path = tempfile.mkdtemp(prefix="cftool-cache-", dir=parent)
    yield path
    shutil.rmtree(path)
