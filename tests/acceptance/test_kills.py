"""kill -9 at random moments of a sync: never a wrong byte under a final name, and the next run puts all right.

Each round changes the source, starts a run, kills it after a random share of the time that a whole run takes, looks at
the destination, runs again to the end, and looks once more, until so many were killed. The moments come from a seed.
"""

import os
import random
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests import trees
from tests.acceptance.conftest import FULL
from tests.command import Cftool, kill
from tests.servers import S3Server, boto3_client, new_bucket

pytestmark = [pytest.mark.real, pytest.mark.crash, pytest.mark.timeout(7200 if FULL else 300)]

KILLS = 100 if FULL else 6  # of each direction and server
SEED = int(os.environ.get("TEST_SEED", "1"))
FILES, LARGE = 40, 24 << 20


def change(source: Path, rng: random.Random, number: int) -> None:
    """A new version of some files and of the large one, a file more and a file less."""
    names = sorted(trees.snapshot(source))
    for name in rng.sample(names, 6):
        data = trees.content(f"{number}/{name}", rng.randrange(1, 200_000))
        trees.write(source / name, data, mtime_ns=1_600_000_000_000_000_000 + number * 10**9)
    trees.write_large(source / "large.bin", LARGE + number, seed=f"large/{number}")
    trees.write(source / f"new-{number}.dat", b"n" * number, mtime_ns=1_600_000_000_000_000_000)
    (source / rng.choice([name for name in names if name != "large.bin"])).unlink(missing_ok=True)


def kill_after(run: "AbstractContextManager[subprocess.Popen[bytes]]", seconds: float) -> float | None:
    """Kill -9 the run after so long; where it had ended before, the seconds that it took."""
    started = time.monotonic()
    with run as process:
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            kill(process)
            return None
    return time.monotonic() - started


def remote_files(server: S3Server, bucket: str) -> dict[str, bytes]:
    client = boto3_client(server)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="data/")
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return {key.removeprefix("data/"): client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in sorted(keys)}


def local_files(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in trees.snapshot(root)} if root.exists() else {}


def without_temporaries(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if not Path(name).name.startswith(".cftool-")}


def survive(
    run: Callable[[], "AbstractContextManager[subprocess.Popen[bytes]]"],
    finish: Callable[[], object],
    source: Path,
    publish: Callable[[], object],
    look: Callable[[], dict[str, bytes]],
) -> tuple[int, int]:
    """The rounds; gives how many runs were killed, and how many of these had changed something before."""
    rng = random.Random(SEED)
    print(f"seed {SEED}, {KILLS} kills")
    publish()
    started = time.monotonic()
    finish()
    whole = max(0.5, time.monotonic() - started)
    killed = halfway = number = 0
    while killed < KILLS:
        number += 1
        assert number <= 5 * KILLS, f"of {number} runs only {killed} were still there to be killed"
        before = without_temporaries(look())
        change(source, rng, number)
        wanted = local_files(source)
        publish()
        took = kill_after(run(), rng.uniform(0.05, whole))
        if took is None:
            killed += 1
        else:
            whole = max(0.2, took)  # machines are busy and idle: moments are drawn from what a run takes now
        after = without_temporaries(look())
        wrong = [name for name, data in after.items() if data not in {before.get(name), wanted.get(name)}]
        lost = [name for name in wanted if name in before and name not in after]
        assert (wrong, lost) == ([], []), f"round {number}"
        halfway += before != after != wanted
        finish()
        assert look() == wanted, f"round {number}: the next run did not converge"
    return killed, halfway


def test_upload_survives_kill_9(user: Cftool, server: S3Server, tmp_path: Path, record_property) -> None:
    lab = user.with_server(server)
    source = tmp_path / "source"
    trees.make(source, files=FILES, seed=SEED, size=60_000)
    trees.write_large(source / "large.bin", LARGE, seed="large/0")
    bucket = new_bucket(server, create=True)
    killed, halfway = survive(
        run=lambda: lab.started("sync", source, f"lab:{bucket}/data"),
        finish=lambda: lab.run("sync", source, f"lab:{bucket}/data"),
        source=source,
        publish=lambda: None,
        look=lambda: remote_files(server, bucket),
    )
    record_property("runs killed", killed)
    record_property("of these killed halfway", halfway)
    if server.kind == "moto":
        # It dates every upload 2010, so that one whose maker was killed before it wrote the id down is nobody's.
        lab.run("cleanup", f"lab:{bucket}", "--older-than", "1s")
    assert boto3_client(server).list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_download_survives_kill_9(user: Cftool, rclone_server: S3Server, tmp_path: Path, record_property) -> None:
    lab = user.with_server(rclone_server)
    source = tmp_path / "source"
    trees.make(source, files=FILES, seed=SEED, size=60_000)
    trees.write_large(source / "large.bin", LARGE, seed="large/0")
    bucket = new_bucket(rclone_server, create=True)
    target = tmp_path / "target"
    killed, halfway = survive(
        run=lambda: lab.started("sync", f"lab:{bucket}/data", target),
        finish=lambda: lab.run("sync", f"lab:{bucket}/data", target),
        source=source,
        # Another user fills the bucket, so that the state of the one that is killed knows nothing of it.
        publish=lambda: Cftool(tmp_path).with_server(rclone_server).run("sync", source, f"lab:{bucket}/data"),
        look=lambda: local_files(target),
    )
    record_property("runs killed", killed)
    record_property("of these killed halfway", halfway)
    assert trees.temporary_names(target) == []
