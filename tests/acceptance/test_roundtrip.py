"""Trees go up and down again unchanged, and rclone, s5cmd and boto3 agree; a second run only looks."""

import json

import pytest

from tests import trees
from tests.acceptance.conftest import FULL
from tests.command import Cftool, Done, peer
from tests.servers import REGION, S3Server, boto3_client, new_bucket

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600 if FULL else 300)]

FILES, LARGE = (20_000, 2 << 30) if FULL else (300, 40 << 20)
SEED = 20_260


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    trees.make(root, files=FILES, seed=SEED)
    trees.write_large(root / "large.bin", LARGE, seed=f"{SEED}/large")
    return root


@pytest.fixture(scope="module")
def expected(tree):
    return trees.snapshot(tree)


@pytest.fixture
def lab(user: Cftool, server: S3Server) -> Cftool:
    return user.with_server(server)


def only_listed(done: Done) -> bool:
    """Whether the run asked the server for nothing but pages of listings."""
    return bool(done.summary["requests"]) and all(name.startswith("ListObjects") for name in done.summary["requests"])


def rclone_finds_nothing_to_do(server: S3Server, source: object, target: object) -> None:
    """`rclone check --download` sees no difference, and a real `rclone sync` transfers and deletes nothing."""
    env = server.rclone_environment()
    checked = peer("rclone", "check", "--download", source, target, env=env)
    assert "0 differences found" in checked.err, checked
    synced = peer("rclone", "sync", "-v", "--use-json-log", "--stats", "1h", source, target, env=env)
    stats = [json.loads(line)["stats"] for line in synced.err.splitlines() if '"stats":' in line][-1]
    done = (stats["transfers"], stats["deletes"], stats["errors"], "Updated modification time" in synced.err)
    assert done == (0, 0, 0, False), synced


def test_up_and_down_again_with_rclone_as_judge(lab, server, tree, expected, tmp_path):
    bucket = new_bucket(server)
    up = lab.run("sync", tree, f"lab:{bucket}/data", "--json")
    assert (up.summary["copied"], up.summary["exit"]) == (len(expected), 0), up
    assert up.summary["bytes"] == sum(file.size for file in expected.values())
    rclone_finds_nothing_to_do(server, tree, f"lab:{bucket}/data")

    again = lab.run("sync", tree, f"lab:{bucket}/data", "--json")
    assert (again.summary["copied"], again.summary["deleted"], only_listed(again)) == (0, 0, True), again
    lab.run("check", tree, f"lab:{bucket}/data", "--download")

    back = tmp_path / "back"
    down = lab.run("sync", f"lab:{bucket}/data", back, "--json")
    assert (down.summary["copied"], trees.snapshot(back) == expected) == (len(expected), True), down
    assert trees.times(back) == trees.times(tree)
    rclone_finds_nothing_to_do(server, f"lab:{bucket}/data", back)

    again = lab.run("sync", f"lab:{bucket}/data", back, "--json")
    assert (again.summary["copied"], again.summary["deleted"], only_listed(again)) == (0, 0, True), again


def test_what_rclone_wrote_needs_no_transfer(lab, server, tree, expected, tmp_path):
    bucket = new_bucket(server, create=True)
    peer("rclone", "sync", tree, f"lab:{bucket}/data", env=server.rclone_environment())

    up = lab.run("sync", tree, f"lab:{bucket}/data", "--json")
    assert (up.summary["copied"], up.summary["deleted"]) == (0, 0), up
    assert "size_only" not in up.summary["compared_by"], up
    again = lab.run("sync", tree, f"lab:{bucket}/data", "--json")
    assert (again.summary["copied"], only_listed(again)) == (0, True), again

    back = tmp_path / "back"
    peer("rclone", "sync", f"lab:{bucket}/data", back, env=server.rclone_environment())
    down = lab.run("sync", f"lab:{bucket}/data", back, "--json")
    assert (down.summary["copied"], down.summary["deleted"]) == (0, 0), down
    assert trees.snapshot(back) == expected


def test_boto3_and_s5cmd_read_what_cftool_wrote(lab, server, tmp_path):
    small = tmp_path / "small"
    trees.make(small, files=30, seed=SEED + 1)
    bucket = new_bucket(server)
    lab.run("cp", "-r", small, f"lab:{bucket}/data")
    expected = trees.snapshot(small)

    client = boto3_client(server)
    listed = {
        item["Key"].removeprefix("data/"): item["Size"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for item in page.get("Contents", [])
    }
    assert listed == {path: file.size for path, file in expected.items()}
    name = next(name for name in expected if name.endswith("ümläut-日本語.txt"))
    assert client.get_object(Bucket=bucket, Key=f"data/{name}")["Body"].read() == (small / name).read_bytes()

    back = tmp_path / "back"
    env = {**server.aws_environment(), "AWS_REGION": REGION, "S3_ENDPOINT_URL": server.url}
    # s5cmd reads `*` and `?` of a source as wildcards, so the prefix is copied as a whole.
    peer("s5cmd", "cp", f"s3://{bucket}/data/*", f"{back}/", env=env)
    assert trees.snapshot(back) == expected


def test_a_changed_a_new_and_a_deleted_file_are_all_that_moves(lab, server, tmp_path):
    source = tmp_path / "source"
    trees.make(source, files=60, seed=SEED + 2)
    bucket = new_bucket(server)
    lab.run("sync", source, f"lab:{bucket}/data")
    changed, deleted = "d0000/file-000013.dat", "d0000/file-000016.dat"
    trees.write(source / changed, b"new content", mtime_ns=1_700_000_000_000_000_001)
    trees.write(source / "d0000/new.txt", b"new file", mtime_ns=1_700_000_000_000_000_002)
    (source / deleted).unlink()

    done = lab.run("sync", source, f"lab:{bucket}/data", "--json")
    assert sorted(event["path"] for event in done.of("copy")) == [changed, "d0000/new.txt"]
    assert [event["path"] for event in done.of("delete")] == [deleted]
    rclone_finds_nothing_to_do(server, source, f"lab:{bucket}/data")
