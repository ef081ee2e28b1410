"""What the acceptance tests share: a user, a server of either make, and the two sizes of each test.

TEST_SIZE=full (set by `make long`) gives the sizes of a release, anything else those of every merge.
"""

import os
from pathlib import Path

import pytest

from tests.command import Cftool
from tests.servers import S3Server

FULL = os.environ.get("TEST_SIZE") == "full"


@pytest.fixture(params=["rclone", "moto"])
def server(request: pytest.FixtureRequest) -> S3Server:
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def user(tmp_path: Path) -> Cftool:
    """A user without any remote; `user.with_server(server)` has one that is called `lab`."""
    home = tmp_path / "home"
    home.mkdir()
    return Cftool(home)
