"""A world for each test, closed after it."""

import pytest

from tests.wrap.metadata.kit import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "cache", "dir/a", "dir/b", "top")
    yield world
    world.close()
