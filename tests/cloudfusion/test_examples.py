"""The example scripts of the CloudFusion documents, as they are, as child processes over every service."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Cftool

EXAMPLES = Path(__file__).parent / "examples"


def run(script: str, word: str, *, user: Cftool, stdin: str = "") -> str:
    """What a script prints; an AssertionError with all that it said where it fails."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / script, word],
        input=stdin,
        capture_output=True,
        text=True,
        env=user.environment(),
        timeout=250,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done
    return done.stdout


@pytest.fixture
def user(service, tmp_path) -> Cftool:
    (tmp_path / "home").mkdir()
    return Cftool(tmp_path / "home", service.env)


def test_caching(service, user):
    downloaded, _, uploaded = run("caching.py", service.address, user=user).split()
    assert float(downloaded) >= 0
    assert float(uploaded) > 0


def test_archiving(service, user):
    run("archiving.py", service.address, user=user)


def test_constructors(service, user):
    plain = Cftool(user.home, {name: value for name, value in service.env.items() if not name.startswith("CFTOOL_")})
    assert service.documents
    for name, config in service.documents.items():
        said = run("constructors.py", name, user=plain, stdin=json.dumps(config))
        assert said.splitlines()[0] == service.name


def test_a_local_directory_is_a_store_too(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "there").mkdir()
    run("caching.py", str(tmp_path / "there"), user=Cftool(home))
    assert os.listdir(tmp_path / "there") == []
