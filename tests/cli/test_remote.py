"""The commands against a service of somebody else's making: the same words as for local paths."""

import pytest

from tests.cli.conftest import tree
from tests.servers import boto3_client, new_bucket

pytestmark = pytest.mark.real


@pytest.fixture
def bucket(here, moto_server, monkeypatch):
    """A bucket with three objects, and the server as the remote `lab`."""
    for name, value in moto_server.cftool_environment("lab").items():
        monkeypatch.setenv(name, value)
    name = new_bucket(moto_server, create=True)
    client = boto3_client(moto_server)
    for key in ("data/a.txt", "data/sub/c.txt", "top"):
        client.put_object(Bucket=name, Key=key, Body=key.encode())
    return name


def test_listing_forms(run, bucket):
    assert run("ls", f"lab:{bucket}").lines == ["data/", "top"]
    assert run("ls", "-R", f"lab:{bucket}/data/").lines == ["a.txt", "sub/", "sub/c.txt"]
    assert run("ls", f"lab:{bucket}/top").lines == ["top"]
    assert f"{bucket}/" in run("ls", "lab:").lines
    assert run("ls", f"lab:{bucket}/data/a.txt/", code=1).out == b""
    (event, _) = run("ls", "--json", f"lab:{bucket}/data").events
    assert (event["path"], event["bytes"], event["modified"], len(event["hashes"]["md5"])) == ("a.txt", 10, None, 32)
    assert event["stored"].endswith("Z")


def test_a_listing_of_a_directory_is_one_request(run, bucket, moto_server):
    from cftool.cli.listing import Listing, Style
    from cftool.cli.options import Common
    from cftool.cli.session import Session

    def command(session):
        Listing(session, Style()).show(f"lab:{bucket}/data", among=False)
        assert dict(session.requests) == {"ListObjectsV2": 1}

    assert Session.run(Common(), command) == 0


def test_cat_stat_du(run, bucket):
    assert run("cat", f"lab:{bucket}/top", f"lab:{bucket}/data/a.txt").out == b"topdata/a.txt"
    assert run("cat", "--offset", "5", f"lab:{bucket}/data/a.txt").out == b"a.txt"
    assert run("stat", f"lab:{bucket}/top", "--json").events[0]["bytes"] == 3
    assert run("du", f"lab:{bucket}/data").lines == [f"24\t2\tlab:{bucket}/data"]


def test_cp_into_exact_and_back(run, bucket, here):
    tree(here, f="file", a__1="one")
    run("cp", "f", f"lab:{bucket}/data")
    run("cp", "f", f"lab:{bucket}/exact")
    run("cp", "-r", "a", f"lab:{bucket}/new")
    assert run("ls", "-Rf", f"lab:{bucket}").lines == [
        "data/a.txt",
        "data/f",
        "data/sub/c.txt",
        "exact",
        "new/1",
        "top",
    ]
    run("cp", "-r", f"lab:{bucket}/data", "back")
    assert (here / "back/sub/c.txt").read_text() == "data/sub/c.txt"
    run("cp", f"lab:{bucket}/top", "back/")
    assert (here / "back/top").read_text() == "top"


def test_standard_input_to_an_object(run, bucket, monkeypatch):
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"streamed")))
    run("cp", "-", f"lab:{bucket}/stream")
    assert run("cat", f"lab:{bucket}/stream").out == b"streamed"


def test_more_than_is_held_is_streamed_to_an_object(run, bucket, monkeypatch):
    import io
    import sys

    from cftool.cli import stdio

    data = bytes(range(256)) * 1024
    monkeypatch.setattr(stdio, "_HELD", 1000)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    run("cp", "-", f"lab:{bucket}/stream")
    assert run("cat", f"lab:{bucket}/stream").out == data


def test_rm(run, bucket):
    run("rm", f"lab:{bucket}/top")
    run("rm", "-r", f"lab:{bucket}/data")
    assert run("ls", f"lab:{bucket}").out == b""
    run("rm", f"lab:{bucket}/top", code=3)
    run("rm", "-r", "lab:", code=7)


def test_rm_of_a_bucket_removes_the_bucket(run, bucket):
    (*_, last, summary) = run("rm", "-r", "--dry-run", "--json", f"lab:{bucket}", code=10).events
    assert (last["event"], last["path"], summary["deleted"]) == ("delete", bucket, 4)
    assert f"{bucket}/" in run("ls", "lab:").lines
    assert run("rm", "-r", "--json", f"lab:{bucket}").events[-1]["deleted"] == 4
    assert f"{bucket}/" not in run("ls", "lab:").lines
    run("rm", "-r", f"lab:{bucket}", code=3)


def test_the_summary_counts_requests_by_call(run, bucket, here):
    tree(here, a__1="one")
    requests = run("sync", "a", f"lab:{bucket}/data", "--json").summary["requests"]
    assert requests["PutObject"] >= 1
    again = run("sync", "a", f"lab:{bucket}/data", "--json").summary["requests"]
    assert set(again) == {"ListObjectsV2"}


class TestConfigTest:
    def test_what_works_is_told(self, run, bucket):
        lines = run("config", "test", "lab").lines
        assert lines[0].startswith("list:")
        assert any(line.startswith("works:") and "server-side copy" in line for line in lines)
        assert "--write" in lines[-1]

    def test_a_write_leaves_nothing(self, run, bucket):
        assert "write:  written, read back, deleted" in run("config", "test", "--write", f"lab:{bucket}/new").lines
        assert run("ls", f"lab:{bucket}").lines == ["data/", "top"]
        (_, write, features) = run("config", "test", "--write", f"lab:{bucket}", "--json").events
        assert (write["probe"], write["ok"], features["conditional_writes"]) == ("write", True, True)

    def test_a_write_needs_a_place(self, run, bucket):
        assert "NAME:PATH" in run("config", "test", "--write", "lab", code=2).err

    def test_what_is_missing_is_3(self, run, bucket):
        run("config", "test", f"lab:{bucket}/missing", code=3)
        run("config", "test", "nosuch", code=2)

    def test_keys_that_are_wrong_are_4(self, run, here, rclone_server, monkeypatch):
        settings = {**rclone_server.cftool_environment("bad"), "CFTOOL_BAD_SECRET_ACCESS_KEY": "wrong"}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        ran = run("config", "test", "bad", "--json", code=4)
        assert ran.of("probe") == [{"v": 1, "event": "probe", "probe": "list", "ok": False}]
        assert ran.err.startswith("cftool: bad: ")
