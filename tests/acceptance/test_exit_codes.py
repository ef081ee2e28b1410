"""Each exit code of the manual is produced by the real command, in the situation that it stands for."""

import os
import signal

import pytest

from tests import trees
from tests.command import Cftool, kill
from tests.proxy import Answer, Proxy, Rules
from tests.servers import boto3_client, new_bucket

pytestmark = pytest.mark.real


@pytest.fixture
def lab(user, rclone_server):
    return user.with_server(rclone_server)


@pytest.fixture
def bucket(rclone_server):
    name = new_bucket(rclone_server, create=True)
    client = boto3_client(rclone_server)
    for key in ("data/a.txt", "data/b.txt", "data/sub/c.txt"):
        client.put_object(Bucket=name, Key=key, Body=key.encode())
    return name


def test_0_where_all_is_there_and_verified(lab, bucket, tmp_path):
    done = lab.run("cp", "-r", f"lab:{bucket}/data", tmp_path / "data", "--json")
    assert (done.summary["copied"], done.summary["exit"]) == (3, 0)
    assert (tmp_path / "data/sub/c.txt").read_bytes() == b"data/sub/c.txt"


def test_1_where_one_entry_failed(user, rclone_server, bucket, tmp_path):
    with Proxy(rclone_server) as proxy:
        proxy.rules = Rules(
            wants=lambda exchange: exchange.is_object_read and exchange.path.endswith("/b.txt"),
            rewrite=lambda exchange, answer: Answer(answer.status, answer.headers, answer.body[::-1]),
        )
        done = user.with_server(proxy.server).run("cp", "-r", f"lab:{bucket}/data", tmp_path / "data", "--json", code=1)
    assert [(event["path"], event["kind"]) for event in done.of("error")] == [("b.txt", "integrity_error")]
    assert sorted(trees.snapshot(tmp_path / "data")) == ["a.txt", "sub/c.txt"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--no-such-flag",),
        ("no-such-command",),
        ("cp", "only-one"),
        ("ls", "nosuchremote:path"),
        ("sync", "a", "b", "--max-delete", "many"),
        ("cp", "-r", "a", "b", "--bwlimit", "fast"),
        ("ls", "lab,no_such_option=1:bucket"),
        ("--config", "/nonexistent/config.toml", "ls", "x:"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_2_for_usage_and_configuration(lab, arguments):
    done = lab.run(*arguments, code=2)
    assert (done.out, done.err != "") == (b"", True)


@pytest.mark.parametrize("command", ["ls", "cat", "stat", "rm", "du"])
def test_3_where_nothing_is_there(lab, bucket, tmp_path, command):
    lab.run(command, f"lab:{bucket}/missing", code=3)
    lab.run(command, tmp_path / "missing", code=3)


def test_3_for_a_source_that_is_missing(lab, bucket, tmp_path):
    for command in ("cp", "sync", "check"):
        lab.run(command, f"lab:{bucket}/missing", tmp_path / "x", code=3)
        lab.run(command, tmp_path / "missing", f"lab:{bucket}/x", code=3)


def test_4_for_wrong_credentials(user, rclone_server, bucket, tmp_path):
    settings = {**rclone_server.cftool_environment("lab"), "CFTOOL_LAB_SECRET_ACCESS_KEY": "wrong"}
    stranger = Cftool(user.home, settings)
    stranger.run("ls", f"lab:{bucket}/data", code=4)
    stranger.run("cp", "-r", f"lab:{bucket}/data", tmp_path / "data", code=4)
    assert not (tmp_path / "data/a.txt").exists()


def test_5_where_the_server_asks_to_come_back_tomorrow(user, rclone_server, bucket):
    with Proxy(rclone_server) as proxy:
        proxy.rules = Rules(answer=lambda exchange: Answer(503, {"Retry-After": "86400"}, b""))
        user.with_server(proxy.server).run("ls", f"lab:{bucket}/data", code=5)
        # Neither hammered nor waited for.
        assert len(proxy.exchanges) < 5


def test_6_where_check_finds_differences(lab, bucket, tmp_path):
    lab.run("cp", "-r", f"lab:{bucket}/data", tmp_path / "data")
    lab.run("check", f"lab:{bucket}/data", tmp_path / "data")
    (tmp_path / "data/a.txt").write_bytes(b"data/A.txt")
    (tmp_path / "data/b.txt").unlink()
    (tmp_path / "data/extra").write_bytes(b"")
    done = lab.run("check", f"lab:{bucket}/data", tmp_path / "data", code=6)
    assert sorted(done.out.decode().splitlines()) == ["* a.txt", "+ b.txt", "- extra"]


def test_7_where_a_deletion_is_refused(lab, bucket, tmp_path):
    (tmp_path / "empty").mkdir()
    done = lab.run("sync", tmp_path / "empty", f"lab:{bucket}/data", "--json", code=7)
    assert (done.summary["deletions_withheld"], done.summary["exit"]) == (3, 7)


def test_8_where_the_transfer_limit_is_reached(lab, bucket, tmp_path):
    for number in range(8):
        trees.write(tmp_path / "big" / str(number), bytes(1_000_000), mtime_ns=10**18)
    lab.run("cp", "-r", tmp_path / "big", f"lab:{bucket}/big", "--max-transfer", "3M", code=8)
    lab.run("cp", "-r", tmp_path / "big", f"lab:{bucket}/big")


def test_9_while_another_run_has_the_destination(user, rclone_server, bucket, tmp_path):
    target = tmp_path / "target"
    with Proxy(rclone_server) as proxy:
        lab = user.with_server(proxy.server)
        proxy.rules = Rules(hold_on=lambda exchange: exchange.is_listing)
        with lab.started("sync", f"lab:{bucket}/data", target) as first:
            proxy.wait_until_held(first)
            for wait in ((), ("--wait-lock", "1s")):
                lab.run("sync", f"lab:{bucket}/data", target, *wait, code=9)
            # The lock is the kernel's: a killed run leaves none.
            kill(first)
        proxy.release()
        lab.run("sync", f"lab:{bucket}/data", target)
    assert len(trees.snapshot(target)) == 3


def test_10_where_a_dry_run_finds_work(lab, bucket, tmp_path):
    target = tmp_path / "target"
    done = lab.run("sync", f"lab:{bucket}/data", target, "--dry-run", "--json", code=10)
    assert sorted(event["path"] for event in done.of("copy") if event["dry_run"]) == ["a.txt", "b.txt", "sub/c.txt"]
    assert not target.exists()
    lab.run("sync", f"lab:{bucket}/data", target)
    lab.run("sync", f"lab:{bucket}/data", target, "--dry-run")


def test_130_after_the_first_interrupt(user, rclone_server, bucket, tmp_path):
    for number in range(12):
        trees.write_large(tmp_path / "big" / f"{number:02d}.bin", 8 << 20, seed=f"interrupt/{number}")
    expected = trees.snapshot(tmp_path / "big")
    with Proxy(rclone_server) as proxy:
        lab = user.with_server(proxy.server)
        proxy.rules = Rules(hold_sent=20 << 20)
        with lab.started("sync", tmp_path / "big", f"lab:{bucket}/big", "--transfers", "2") as process:
            proxy.wait_until_held(process)
            os.kill(process.pid, signal.SIGINT)
            # Connections break and work again: what was under way may end, nothing new may begin.
            proxy.release()
            output, _ = process.communicate(timeout=120)
        assert (process.returncode, b"Traceback" in output) == (130, False), output
        client = boto3_client(rclone_server)
        there = client.list_objects_v2(Bucket=bucket, Prefix="big/").get("Contents", [])
        assert 0 < len(there) < len(expected)
        assert {item["Size"] for item in there} == {8 << 20}
        lab.run("sync", tmp_path / "big", f"lab:{bucket}/big")
        lab.run("check", "--download", tmp_path / "big", f"lab:{bucket}/big")


def test_a_reader_that_goes_away_is_no_error_worth_a_traceback(lab, tmp_path):
    for number in range(3000):
        (tmp_path / f"{number:0200d}").touch()
    with lab.started("ls", tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.read(10) == b"0" * 10
        process.stdout.close()
        assert process.wait(60) == 128 + signal.SIGPIPE
