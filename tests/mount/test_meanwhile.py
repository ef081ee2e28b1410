"""Files whose uploads run, wait or are refused: whatever happens, each ends once, under its last name, and whole."""

import os
import subprocess

import pytest

from tests import trees
from tests.command import Cftool
from tests.mount import services
from tests.mount.mounted import PATIENCE, missing_fuse, mounted
from tests.mount.services import contents, until
from tests.servers import tool

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))]


@pytest.fixture
def account(request):
    """A service by its name."""
    with {"s3": services.s3, "webdav": services.webdav}[request.param]() as found:
        yield found


@pytest.fixture
def env(account, tmp_path):
    return Cftool(tmp_path / "home", account.env).environment()


def state(path):
    return os.getxattr(path, "user.cftool.state").decode()


@pytest.mark.parametrize(("account", "killed"), [("s3", False), ("webdav", False), ("s3", True)], indirect=["account"])
def test_what_changes_while_its_upload_runs_ends_once_under_its_last_name(account, env, tmp_path, killed):
    names = ("again", "cut", "d/inside", "file", "gone")
    old = {name: trees.content(name, 70_000) for name in names}
    with mounted(account.address, tmp_path / "mnt", env, "--cache", "1h") as mount:
        place = mount.place
        (place / "d").mkdir()
        (place / "before").write_bytes(b"before")
        assert mount.command("cache", "flush").returncode == 0  # looks at what the service can do, too
        for name in names:
            (place / name).write_bytes(old[name])
        account.gate.close()
        flush = subprocess.Popen([tool("cftool"), "cache", "flush"], env=env, stderr=subprocess.DEVNULL)
        try:
            until("uploads do not begin", lambda: {state(place / name) for name in names} == {"uploading"})
            until("nothing is held", lambda: bool(account.gate.held))  # of S3 all of them, of WebDAV the first
            (place / "again").write_bytes(b"written again")
            os.truncate(place / "cut", 3)
            (place / "d").rename(place / "e")
            (place / "file").rename(place / "renamed")
            (place / "gone").unlink()
            expected = {
                "again": b"written again", "cut": old["cut"][:3], "e/inside": old["d/inside"], "renamed": old["file"],
                "before": b"before",
            }  # fmt: skip
            assert contents(place) == expected
            if killed:
                mount.kill()
            account.gate.open()
        finally:
            account.gate.open()
            flush.wait(PATIENCE)
        if killed:
            until("the service is still at what was sent", account.is_idle)
            mount.mount()
        assert contents(place) == expected
        mount.umount()
    assert account.files() == expected


@pytest.mark.parametrize("account", ["webdav"], indirect=True)
def test_a_full_account_is_told_everywhere_and_everything_arrives_when_it_has_room(account, env, tmp_path):
    with mounted(account.address, tmp_path / "mnt", env, "--cache", "0") as mount:
        place = mount.place
        (place / "before").write_bytes(b"before")
        until("the first upload does not end", lambda: state(place / "before") == "clean")
        account.full = True
        expected = {"before": b"before"}
        for name in ("a", "b"):
            expected[name] = trees.content(name, 5_000)
            (place / name).write_bytes(expected[name])
        until("nothing is told", lambda: mount.command("cache", "status").stdout.count(b"KiB): the") == 2)
        assert {name: state(place / name) for name in expected} == {"before": "clean", "a": "dirty", "b": "dirty"}
        (place / "b").rename(place / "c")
        expected["c"] = expected.pop("b")
        said = mount.umount("--timeout", "60s", code=5)
        lines = said.decode().splitlines()
        top, _, reason = (
            next(line for line in lines if "/a: " in line).removeprefix("cftool: not uploaded: ").partition("/a: ")
        )
        assert "full" in reason
        told = [
            f"not uploaded: {top}/a: {reason}",
            f"not uploaded: {top}/b: {reason}",
            f"not renamed: {top}/b to {top}/c",
        ]
        assert [line.removeprefix("cftool: ") for line in lines if ": not " in line] == told
        mount.mount()
        assert contents(place) == expected
        account.full = False
        assert mount.command("cache", "flush").returncode == 0
        assert {name: state(place / name) for name in expected} == dict.fromkeys(expected, "clean")
        mount.umount()
    assert account.files() == expected
