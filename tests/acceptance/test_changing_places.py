"""mv, --trash and restore, --track-renames, --plan and apply, through the real command against real servers."""

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import trees
from tests.acceptance.conftest import FULL
from tests.command import Cftool, kill
from tests.servers import S3Server, boto3_client, new_bucket

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600 if FULL else 300)]

FILES, KILLS = (2000, 60) if FULL else (60, 5)
SEED = int(os.environ.get("TEST_SEED", "7"))
TRASH = ".cftool-trash"


@pytest.fixture
def lab(user: Cftool, server: S3Server) -> Cftool:
    return user.with_server(server)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    trees.make(root, files=FILES, seed=SEED)
    return root


def keys(server: S3Server, bucket: str) -> dict[str, bytes]:
    client = boto3_client(server)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    names = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return {name: client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names}


def local_files(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in trees.snapshot(root)} if root.exists() else {}


def test_a_tree_moves_up_across_and_down_again(lab, server, tree, tmp_path):
    expected, times = trees.snapshot(tree), trees.times(tree)
    bucket = new_bucket(server)
    up = lab.run("mv", "-r", tree, f"lab:{bucket}/a", "--json")
    assert (up.summary["moved"], up.summary["errors"], trees.snapshot(tree)) == (len(expected), 0, {}), up
    assert not tree.exists()

    across = lab.run("mv", "-r", f"lab:{bucket}/a", f"lab:{bucket}/b", "--json")
    assert (across.summary["moved"], across.summary["errors"]) == (len(expected), 0), across
    assert across.summary["requests"].get("GetObject", 0) == 0  # its bytes never passed here
    assert {name.partition("/")[0] for name in keys(server, bucket)} == {"b"}

    down = lab.run("mv", "-r", f"lab:{bucket}/b", tmp_path / "back", "--json")
    assert (trees.snapshot(tmp_path / "back"), trees.times(tmp_path / "back")) == (expected, times), down
    assert keys(server, bucket) == {}


def test_what_sync_would_lose_is_kept_and_comes_back_to_any_machine(lab, server, tree, tmp_path):
    bucket = new_bucket(server)
    where = f"lab:{bucket}/data"
    lab.run("sync", tree, where)
    before = local_files(tree)
    names = sorted(before)
    changed, gone = names[1], names[2]
    trees.write(tree / changed, b"another content", mtime_ns=1_700_000_000_000_000_001)
    (tree / gone).unlink()
    done = lab.run("sync", tree, where, "--trash", "--json")
    assert [event["path"] for event in done.of("move")] == [gone], done
    kept = {name: data for name, data in keys(server, bucket).items() if f"/{TRASH}/" in name}
    assert sorted(kept.values()) == sorted([before[changed], before[gone]])

    again = lab.run("sync", tree, where, "--json")
    assert (again.summary["deleted"], again.summary["copied"]) == (0, 0), again
    lab.run("check", tree, where)

    home = tmp_path / "another home"
    home.mkdir()
    other = Cftool(home).with_server(server)  # no state of the one that put it there
    assert len(other.run("trash", "list", where, "--json").of("old")) == 2
    other.run("restore", f"{where}/{gone}")
    refused = other.run("restore", f"{where}/{changed}", code=1)
    assert "--force" in refused.err
    other.run("restore", f"{where}/{changed}", tmp_path / "old")
    now = keys(server, bucket)
    assert now[f"data/{gone}"] == before[gone]
    assert now[f"data/{changed}"] == b"another content"
    assert (tmp_path / "old").read_bytes() == before[changed]
    other.run("restore", f"{where}/{changed}", "--force")
    assert keys(server, bucket)[f"data/{changed}"] == before[changed]
    other.run("trash", "empty", where)
    assert [name for name in keys(server, bucket) if TRASH in name] == []


def test_a_renamed_directory_is_not_sent_again(lab, server, tree):
    bucket = new_bucket(server)
    where = f"lab:{bucket}/data"
    lab.run("sync", tree, where)
    os.rename(tree / "d0000", tree / "renamed")
    done = lab.run("sync", tree, where, "--track-renames", "--json")
    # Empty files tell nothing and are sent; what is of one content and name of another is moved.
    moved, sent = len(done.of("move")), sum(event["bytes"] for event in done.of("copy"))
    assert (moved > 40, sent, done.summary["errors"]) == (True, 0, 0), done
    assert {name.removeprefix("data/"): data for name, data in keys(server, bucket).items()} == local_files(tree)
    lab.run("check", tree, where, "--download")


def test_a_plan_is_applied_and_what_changed_since_deletes_nothing(lab, server, tree, tmp_path):
    bucket = new_bucket(server)
    where = f"lab:{bucket}/data"
    lab.run("sync", tree, where)
    names = sorted(local_files(tree))
    trees.write(tree / names[1], b"changed", mtime_ns=1_700_000_000_000_000_001)
    trees.write(tree / "new", b"new", mtime_ns=1_700_000_000_000_000_001)
    (tree / names[2]).unlink()
    before = keys(server, bucket)
    lab.run("sync", tree, where, "--plan", tmp_path / "p", code=10)
    assert keys(server, bucket) == before

    boto3_client(server).put_object(Bucket=bucket, Key=f"data/{names[1]}", Body=b"somebody else's")
    refused = lab.run("apply", tmp_path / "p", "--json", code=1)
    assert [event["path"] for event in refused.of("error")] == [names[1]], refused
    after = keys(server, bucket)
    assert (after[f"data/{names[1]}"], f"data/{names[2]}" in after) == (b"somebody else's", True)

    lab.run("sync", tree, where, "--plan", tmp_path / "p", code=10)
    lab.run("apply", tmp_path / "p")
    assert {name.removeprefix("data/"): data for name, data in keys(server, bucket).items()} == local_files(tree)


@pytest.mark.crash
@pytest.mark.parametrize("way", ["up", "down"])
def test_mv_survives_kill_9(user, rclone_server, tmp_path, way):
    """After each kill every file is whole at one of the two places at least; the last run leaves it at one only."""
    lab = user.with_server(rclone_server)
    rng = random.Random(SEED)
    bucket = new_bucket(rclone_server, create=True)
    here, there = tmp_path / "here", f"lab:{bucket}/data"
    killed = 0
    for number in range(KILLS):
        shutil.rmtree(here, ignore_errors=True)
        trees.make(here, files=40, seed=SEED + number, size=40_000)
        wanted = local_files(here)
        words = ["mv", "-r", here, there]
        if way == "down":
            lab.run("mv", "-r", here, there)
            words = ["mv", "-r", there, here]
        with lab.started(*words) as process:
            try:
                process.communicate(timeout=rng.uniform(0.1, 1.2))
            except subprocess.TimeoutExpired:
                kill(process)
                killed += 1
        remote = {name.removeprefix("data/"): data for name, data in keys(rclone_server, bucket).items()}
        disk = local_files(here)
        lost = [name for name, data in wanted.items() if data not in (remote.get(name), disk.get(name))]
        assert lost == [], f"round {number}"
        left = keys(rclone_server, bucket) if way == "down" else here.exists()
        if left:
            lab.run(*words)
        remote = {name.removeprefix("data/"): data for name, data in keys(rclone_server, bucket).items()}
        assert (remote, local_files(here)) == (({}, wanted) if way == "down" else (wanted, {})), f"round {number}"
        lab.run("rm", "-r", "-f", there)
    assert killed
