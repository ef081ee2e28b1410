"""The Python of the README runs as it stands, over a service."""

import re
import subprocess
import sys

import pytest

from cftool.testing.fake_s3 import ACCESS_KEY, SECRET_KEY, FakeS3
from cftool.testing.http_fake import FakeServer
from tests.command import Cftool
from tests.house.docs import README

BLOCKS = re.findall(r"<!-- tested -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)
PRINTED = [
    ("2024/beach.jpg 1000 ", "['2024/dune.jpg']", {"2024/beach.jpg", "2024/dune.jpg"}),
    ("['/hello.txt'] b'Hello World!'", "['/hello.txt'] 1.2e-05 {}", {"hello.txt"}),
]


def test_all_of_it_is_known():
    assert len(BLOCKS) == len(PRINTED) == README.read_text().count("```python")


@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_a_block_runs(number, tmp_path):
    (tmp_path / "home").mkdir()
    fake = FakeS3()
    fake.make("photos", [])
    with FakeServer(fake.handle) as server:
        settings = {
            "CFTOOL_WORK_TYPE": "s3",
            "CFTOOL_WORK_ENDPOINT_URL": server.url,
            "CFTOOL_WORK_ACCESS_KEY_ID": ACCESS_KEY,
            "CFTOOL_WORK_SECRET_ACCESS_KEY": SECRET_KEY,
        }
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", BLOCKS[number]],
            env=Cftool(tmp_path / "home", settings).environment(),
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
    first, last, keys = PRINTED[number]
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done
    lines = done.stdout.splitlines()
    assert lines[0].startswith(first)
    assert lines[-1] == last
    assert set(fake.buckets["photos"]) == keys
