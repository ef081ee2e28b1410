"""A large transfer that was killed goes on in the next run: it sends what is missing and at most one part more."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests import trees
from tests.acceptance.conftest import FULL
from tests.command import Cftool, kill
from tests.proxy import Proxy, Rules
from tests.servers import S3Server, boto3_client, new_bucket

pytestmark = [pytest.mark.real, pytest.mark.crash, pytest.mark.timeout(3600 if FULL else 300)]

SIZE, PART = (1 << 30, 16 << 20) if FULL else (96 << 20, 5 << 20)
SMALL_TALK = 256 * 1024  # bytes of XML and of probes, at most


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    trees.write_large(path, SIZE, seed="resume")
    return path


def cpu_ticks(process: "subprocess.Popen[bytes]") -> tuple[int, int]:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def kill_when_held(process: "subprocess.Popen[bytes]", proxy: Proxy) -> None:
    """Kill -9 once the proxy holds all traffic and the client has dealt with what it was given."""
    proxy.wait_until_held(process)
    seen = None
    while seen != (seen := cpu_ticks(process)):
        time.sleep(0.3)  # not a timed assertion: the next run is asked how much it had to repeat
    kill(process)


def same_content(server: S3Server, bucket: str, key: str, path: Path) -> bool:
    body = boto3_client(server).get_object(Bucket=bucket, Key=key)["Body"]
    with path.open("rb") as file:
        return all(piece == file.read(len(piece)) for piece in body.iter_chunks(1 << 20)) and not file.read(1)


@pytest.mark.parametrize("command", ["cp", "sync"])
def test_an_interrupted_upload_goes_on(user: Cftool, server: S3Server, large: Path, command: str) -> None:
    bucket = new_bucket(server, create=True)
    client = boto3_client(server)
    source, key = (large, "large.bin") if command == "cp" else (large.parent / "tree", "data/large.bin")
    if command == "sync":
        source.mkdir()
        large = large.rename(source / "large.bin")
    with Proxy(server) as proxy:
        lab = user.with_server(proxy.server)
        target = f"lab,part_size={PART}:{bucket}/{key if command == 'cp' else 'data'}"
        proxy.rules = Rules(hold_sent=SIZE * 7 // 10)
        with lab.started(command, source, target) as process:
            kill_when_held(process, proxy)
        proxy.release()

        assert client.list_objects_v2(Bucket=bucket).get("Contents", []) == []
        (upload,) = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
        listed = client.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload["UploadId"])
        parts = [part["Size"] for page in listed for part in page.get("Parts", [])]
        assert len(parts) > 1
        lab.run(command, source, target)
        assert proxy.sent <= SIZE - sum(parts) + PART + SMALL_TALK
    assert same_content(server, bucket, key, large)
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


@pytest.mark.parametrize("command", ["cp", "sync"])
def test_an_interrupted_download_goes_on(user: Cftool, server: S3Server, large: Path, command: str) -> None:
    bucket = new_bucket(server, create=True)
    boto3_client(server).upload_file(str(large), bucket, "data/large.bin")
    folder = large.parent / "folder"
    folder.mkdir()
    target = folder / "large.bin"
    with Proxy(server) as proxy:
        lab = user.with_server(proxy.server)
        remote = f"lab,part_size={PART}:{bucket}/data"
        arguments = (remote + "/large.bin", target) if command == "cp" else (remote, folder)
        proxy.rules = Rules(hold_received=SIZE * 7 // 10)
        with lab.started(command, *arguments) as process:
            kill_when_held(process, proxy)
        whole = sum(seen.received for seen in proxy.exchanges if seen.is_object_read and seen.complete)
        part = max(seen.received for seen in proxy.exchanges if seen.is_object_read)
        proxy.release()

        assert not target.exists()
        assert 0 < part < SIZE // 4
        lab.run(command, *arguments)
        assert proxy.received <= SIZE - whole + part + SMALL_TALK
    with target.open("rb") as ours, large.open("rb") as theirs:
        assert all(ours.read(1 << 20) == theirs.read(1 << 20) for _ in range(0, SIZE + 1, 1 << 20))
    assert sorted(path.name for path in folder.iterdir()) == ["large.bin"]


def test_a_source_that_changed_meanwhile_is_sent_anew(user: Cftool, moto_server: S3Server, large: Path) -> None:
    bucket = new_bucket(moto_server, create=True)
    client = boto3_client(moto_server)
    with Proxy(moto_server) as proxy:
        lab = user.with_server(proxy.server)
        target = f"lab,part_size={PART}:{bucket}/large.bin"
        proxy.rules = Rules(hold_sent=SIZE // 2)
        with lab.started("cp", large, target) as process:
            kill_when_held(process, proxy)
        proxy.release()
        before = large.stat()
        with large.open("r+b") as file:
            file.write(b"changed, with the old size and time")
        os.utime(large, ns=(before.st_atime_ns, before.st_mtime_ns))
        lab.run("cp", large, target)
    assert same_content(moto_server, bucket, "large.bin", large)
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
