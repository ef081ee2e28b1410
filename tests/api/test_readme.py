"""The Python of the README and of the manual runs as it stands, over a service."""

import re
import subprocess
import sys

import pytest

from cftool.testing.fake_s3 import ACCESS_KEY, SECRET_KEY, FakeS3
from cftool.testing.http_fake import FakeServer
from tests.command import Cftool
from tests.house.docs import README
from tests.house.modules import PACKAGES

BLOCKS = re.findall(r"<!-- tested -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)
PRINTED = [
    ("2024/beach.jpg 1000 ", "['2024/dune.jpg']", {"2024/beach.jpg", "2024/dune.jpg"}),
    ("['/hello.txt'] b'Hello World!'", "['/hello.txt'] 1.2e-05 {}", {"hello.txt"}),
]


@pytest.fixture
def fake():
    fake = FakeS3()
    fake.make("photos", [])
    return fake


@pytest.fixture
def run(fake, tmp_path):
    """Runs a script where `work:` is an S3 remote, and gives what it prints."""
    (tmp_path / "home").mkdir()

    def run(script: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script],
            env=Cftool(tmp_path / "home", settings).environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done
        return done.stdout

    with FakeServer(fake.handle) as server:
        settings = {
            "CFTOOL_WORK_TYPE": "s3",
            "CFTOOL_WORK_ENDPOINT_URL": server.url,
            "CFTOOL_WORK_ACCESS_KEY_ID": ACCESS_KEY,
            "CFTOOL_WORK_SECRET_ACCESS_KEY": SECRET_KEY,
        }
        yield run


def test_all_of_it_is_known():
    assert len(BLOCKS) == len(PRINTED) == README.read_text().count("```python")


@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_a_block_runs(number, run, fake):
    first, last, keys = PRINTED[number]
    lines = run(BLOCKS[number]).splitlines()
    assert lines[0].startswith(first)
    assert lines[-1] == last
    assert set(fake.buckets["photos"]) == keys


@pytest.mark.parametrize("page", PACKAGES)
def test_the_examples_of_a_page_print_what_they_say(page, run):
    examples = PACKAGES[page].examples
    script = "\n".join(f"{example.code}\nprint('---')" for example in examples)
    assert run(script).split("---\n")[:-1] == [example.prints for example in examples]
