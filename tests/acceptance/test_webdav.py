"""WebDAV: trees go up to and down from real servers unchanged, a second run only lists, a cut upload harms nothing."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import trees
from tests.acceptance.conftest import FULL
from tests.command import Cftool, peer
from tests.dav_servers import DavServer, new_folder
from tests.proxy import Proxy

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600 if FULL else 300)]

FILES, LARGE = (5_000, 1 << 30) if FULL else (150, 20 << 20)
SEED = 20_261


@pytest.fixture
def proxy(dav_server: DavServer) -> Iterator[Proxy]:
    """Counts what passes; the remote `lab` leads through it."""
    with Proxy(dav_server) as proxy:
        yield proxy


@pytest.fixture
def lab(user: Cftool, proxy: Proxy) -> Cftool:
    return user.with_server(proxy.server)


@pytest.fixture
def tree(dav_server: DavServer, tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    trees.make(root, files=FILES, seed=SEED)
    trees.write_large(root / "large.bin", LARGE, seed=f"{SEED}/large")
    if dav_server.kind == "wsgidav":  # takes the Destination of a MOVE apart at these; see its own test below
        for path in [path for path in root.rglob("*") if set(path.name) & set("?;")]:
            path.unlink()
    return root


def seconds(root: Path) -> dict[str, int]:
    return {name: time_ns // 10**9 for name, time_ns in trees.times(root).items()}


def looked_otherwise(proxy: Proxy) -> list[str]:
    """Requests that were no listing of a directory."""
    return [f"{one.method} {one.path} {one.headers.get('depth')}" for one in proxy.exchanges if not one.is_listing]


def rclone_agrees(server: DavServer, source: object, target: object) -> None:
    checked = peer("rclone", "check", "--download", source, target, env=server.rclone_environment())
    assert "0 differences found" in checked.err, checked


def test_up_and_down_again_with_rclone_as_judge(lab, proxy, dav_server, tree, tmp_path):
    expected, place = trees.snapshot(tree), f"lab:{new_folder()}"
    up = lab.run("sync", tree, place, "--json")
    assert (up.summary["copied"], up.summary["exit"]) == (len(expected), 0), up
    assert trees.snapshot(dav_server.root / place.partition(":")[2]) == expected
    rclone_agrees(dav_server, tree, place)

    proxy.release()
    again = lab.run("sync", tree, place, "--json")
    assert (again.summary["copied"], again.summary["deleted"], looked_otherwise(proxy)) == (0, 0, []), again

    back = tmp_path / "back"
    down = lab.run("sync", place, back, "--json")
    assert (down.summary["copied"], trees.snapshot(back) == expected) == (len(expected), True), down
    if dav_server.times:
        assert seconds(back) == seconds(tree)
    rclone_agrees(dav_server, place, back)

    proxy.release()
    again = lab.run("sync", place, back, "--json")
    assert (again.summary["copied"], again.summary["deleted"], looked_otherwise(proxy)) == (0, 0, []), again
    lab.run("check", tree, place, "--download")


def test_what_rclone_wrote_comes_down_whole(lab, dav_server, tree, tmp_path):
    place, back = f"lab:{new_folder()}", tmp_path / "back"
    peer("rclone", "copy", tree, place, env=dav_server.rclone_environment())
    down = lab.run("sync", place, back, "--json")
    assert trees.snapshot(back) == trees.snapshot(tree), down
    again = lab.run("sync", place, back, "--json")
    assert (again.summary["copied"], again.summary["deleted"]) == (0, 0), again


def test_a_changed_a_new_and_a_deleted_file_are_all_that_moves(lab, dav_server, tmp_path):
    source, place = tmp_path / "source", f"lab:{new_folder()}"
    trees.make(source, files=40, seed=SEED + 2)
    for path in [path for path in source.rglob("*") if set(path.name) & set("?;")]:
        path.unlink()
    lab.run("sync", source, place)
    changed, deleted = "d0000/file-000013.dat", "d0000/file-000016.dat"
    trees.write(source / changed, b"new content", mtime_ns=1_700_000_000_000_000_001)
    trees.write(source / "d0000/new.txt", b"new file", mtime_ns=1_700_000_000_000_000_002)
    (source / deleted).unlink()

    done = lab.run("sync", source, place, "--json")
    assert sorted(event["path"] for event in done.of("copy")) == [changed, "d0000/new.txt"]
    assert [event["path"] for event in done.of("delete")] == [deleted]
    rclone_agrees(dav_server, source, place)


def test_an_edit_that_keeps_the_size_is_uploaded(lab, dav_server, tmp_path):
    """rclone, for one, compares by size alone where a server has neither times nor hashes, and leaves it out."""
    source, place = tmp_path / "source", f"lab:{new_folder()}"
    for name in ("a.txt", "b.txt"):
        trees.write(source / name, b"one way", mtime_ns=1_700_000_000_000_000_000)
    lab.run("sync", source, place)
    trees.write(source / "a.txt", b"another", mtime_ns=1_700_000_100_000_000_000)

    done = lab.run("sync", source, place, "--json")
    assert [event["path"] for event in done.of("copy")] == ["a.txt"], done
    assert (dav_server.root / place.partition(":")[2] / "a.txt").read_bytes() == b"another"
    rclone_agrees(dav_server, source, place)


def test_an_edit_by_somebody_else_that_keeps_the_size_comes_down(lab, dav_server, tmp_path):
    source, back, place = tmp_path / "source", tmp_path / "back", f"lab:{new_folder()}"
    for name in ("a.txt", "b.txt"):
        trees.write(source / name, b"one way", mtime_ns=1_700_000_000_000_000_000)
    lab.run("sync", source, place)
    if dav_server.kind == "wsgidav":  # its ETags count whole seconds: the edit must not fall into the same one
        for name in ("a.txt", "b.txt"):
            os.utime(dav_server.root / place.partition(":")[2] / name, (1_600_000_000, 1_600_000_000))
    lab.run("sync", place, back)
    dav_server.put(place.partition(":")[2] + "/a.txt", b"another")

    done = lab.run("sync", place, back, "--json")
    assert [event["path"] for event in done.of("copy")] == ["a.txt"], done
    assert (back / "a.txt").read_bytes() == b"another"


@pytest.mark.parametrize("end", ["killed", "interrupted", "cut off"])
def test_an_upload_that_is_cut_never_replaces_a_whole_file(lab, proxy, dav_server, tmp_path, end):
    folder = new_folder()
    source, there = tmp_path / "source", dav_server.root / folder
    trees.write_large(source / "large.bin", LARGE, seed="old")
    trees.write(source / "small.txt", b"old", mtime_ns=1_700_000_000_000_000_000)
    lab.run("sync", source, f"lab:{folder}")
    old = (source / "large.bin").read_bytes()
    trees.write_large(source / "large.bin", LARGE, seed="new", mtime_ns=1_700_000_500_000_000_000)

    proxy.release()
    proxy.rules.hold_sent = LARGE // 2
    with lab.started("sync", source, f"lab:{folder}", "--retries", "1") as process:
        proxy.wait_until_held(process)
        if end == "interrupted":
            process.send_signal(signal.SIGINT)
        if end == "killed":
            os.killpg(process.pid, signal.SIGKILL)
        if end != "cut off":
            process.wait()
        assert (there / "large.bin").read_bytes() == old
        proxy.release()  # breaks all connections: the server sees the end of a body that came half
        if end == "cut off":
            process.communicate(timeout=120)
            assert process.returncode == 0  # one attempt broke off; the next one was let through
    if end != "cut off":
        assert (there / "large.bin").read_bytes() == old
        lab.run("sync", source, f"lab:{folder}")
    assert trees.snapshot(there).keys() >= {"large.bin", "small.txt"}
    assert (there / "large.bin").read_bytes() == (source / "large.bin").read_bytes()
    lab.run("cleanup", "lab:")
    rclone_agrees(dav_server, source, f"lab:{folder}")


def test_what_a_killed_upload_leaves_is_cleaned_up(lab, proxy, dav_server, tmp_path):
    if dav_server.kind == "apache":
        pytest.skip("mod_dav publishes at completion: there is nothing to clean up")
    folder = new_folder()
    trees.write_large(tmp_path / "source/large.bin", LARGE, seed="x")
    trees.write(tmp_path / "source/small.txt", b"x", mtime_ns=1_700_000_000_000_000_000)
    lab.run("cp", tmp_path / "source/small.txt", f"lab:{folder}/small.txt")  # what the server is, is known by now
    proxy.rules.hold_sent = proxy.sent + LARGE // 2
    with lab.started("cp", "-r", tmp_path / "source", f"lab:{folder}") as process:
        proxy.wait_until_held(process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    proxy.release()
    assert trees.temporary_names(dav_server.root / folder) != []
    lab.run("cleanup", "lab:")
    assert trees.temporary_names(dav_server.root / folder) == []


def test_names_that_a_server_loses_are_refused_by_name(user, dav_server_of, tmp_path):
    server, folder = dav_server_of("wsgidav"), new_folder()
    for name in ("what?.txt", "semi;colon.txt", "plain.txt"):
        trees.write(tmp_path / "source" / name, b"x", mtime_ns=1_700_000_000_000_000_000)
    done = user.with_server(server).run("sync", tmp_path / "source", f"lab:{folder}", "--json", code=1)
    assert sorted(event["path"] for event in done.of("error")) == ["semi;colon.txt", "what?.txt"]
    assert [path.name for path in (server.root / folder).iterdir()] == ["plain.txt"]


def test_a_name_that_a_server_lists_as_another_is_refused_and_harms_no_other(user, dav_server_of, tmp_path):
    server, folder = dav_server_of("rclone"), new_folder()
    for name in ("\x1b[31m", "bell\x07", "del\x7f", "quoting\u201b", "plain.txt"):
        trees.write(tmp_path / "source" / name, b"x", mtime_ns=1_700_000_000_000_000_000)
    lab = user.with_server(server)
    for _ in range(2):
        done = lab.run("sync", tmp_path / "source", f"lab:{folder}", "--json", code=1)
        refused = sorted(event["path"] for event in done.of("error"))
        assert refused == ["\x1b[31m", "bell\x07", "del\x7f", "quoting\u201b"]
    assert [path.name for path in (server.root / folder).iterdir()] == ["plain.txt"]


def test_every_command_works_on_a_remote(lab, dav_server, tmp_path):
    folder = new_folder()
    trees.write(tmp_path / "source/a/b.txt", b"hello", mtime_ns=1_700_000_000_000_000_000)
    lab.run("mkdir", f"lab:{folder}/empty")
    lab.run("cp", "-r", tmp_path / "source", f"lab:{folder}/data")
    assert lab.run("cat", f"lab:{folder}/data/a/b.txt").out == b"hello"
    assert lab.run("ls", "-R", f"lab:{folder}").out.decode().split() == ["data/", "data/a/", "data/a/b.txt", "empty/"]
    assert json.loads(lab.run("stat", "--json", f"lab:{folder}/data/a/b.txt").out)["bytes"] == 5
    assert lab.run("du", "--json", f"lab:{folder}").events[-1]["bytes"] == 5
    lab.run("check", tmp_path / "source", f"lab:{folder}/data")
    lab.run("rm", "-r", f"lab:{folder}")
    assert not (dav_server.root / folder).exists()
    lab.run("ls", f"lab:{folder}", code=3)
