"""What a mount does with changes besides keeping them for later, and what it tells of itself."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.command import Cftool
from tests.mount.mounted import missing_fuse, mounted
from tests.servers import boto3_client, new_bucket

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))]


@pytest.fixture
def env(tmp_path: Path, moto_server) -> dict[str, str]:
    return Cftool(tmp_path / "home").with_server(moto_server).environment()


@pytest.fixture
def remote(tmp_path) -> Path:
    (tmp_path / "remote").mkdir()
    return tmp_path / "remote"


def cached(env: dict[str, str]) -> list[str]:
    """Names of the content that the cache holds."""
    [cache] = (Path(env["XDG_STATE_HOME"]) / "cftool" / "cache").iterdir()
    return os.listdir(cache / "data")


@pytest.mark.parametrize("flags", [("--fsync", "remote"), ("--cache-mode", "read"), ("--cache-mode", "off")])
def test_what_was_closed_or_synced_is_at_the_remote(env, tmp_path, remote, flags):
    with mounted(str(remote), tmp_path / "mnt", env, "--cache", "1h", *flags) as mount:
        (mount.place / "f").write_bytes(b"one")
        assert (remote / "f").read_bytes() == b"one"
        with (mount.place / "f").open("r+b", buffering=0) as file:
            file.write(b"TWO and more")
            os.fsync(file.fileno())
            assert (remote / "f").read_bytes() == b"TWO and more"
            file.write(b"!")
        assert (remote / "f").read_bytes() == b"TWO and more!"
        assert (mount.place / "f").read_bytes() == b"TWO and more!"
        mount.umount()


def test_over_s3_too(env, tmp_path, moto_server):
    bucket = new_bucket(moto_server, create=True)
    client = boto3_client(moto_server)
    with mounted(f"lab:{bucket}", tmp_path / "mnt", env, "--cache", "1h", "--fsync", "remote") as mount:
        (mount.place / "f").write_bytes(b"one")
        assert client.get_object(Bucket=bucket, Key="f")["Body"].read() == b"one"
        assert (mount.place / "f").read_bytes() == b"one"


@pytest.fixture
def small(remote):
    """A remote that takes 64 KiB; `resize` says how much."""

    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(remote)], check=True)

    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(remote)], check=True)
    try:
        yield resize
    finally:
        subprocess.run(["umount", "-l", str(remote)], check=True)


def test_a_close_that_the_remote_does_not_take_fails_and_the_umount_tells(env, tmp_path, remote, small):
    data = bytes(range(256)) * 1024
    with mounted(str(remote), tmp_path / "mnt", env, "--cache", "1h", "--fsync", "remote") as mount:
        fd = os.open(mount.place / "f", os.O_CREAT | os.O_WRONLY)
        os.write(fd, data)
        for failing in (os.fsync, os.close):
            with pytest.raises(OSError, match="No space"):
                failing(fd)
        assert (mount.place / "f").read_bytes() == data  # it is kept, and tried again
        said = mount.umount("--timeout", "10s", code=5)
        assert b"not uploaded: f" in said
        mount.mount()
        small("1m")
        mount.umount()
    assert (remote / "f").read_bytes() == data


def test_with_a_read_cache_names_change_at_the_remote_at_once(env, tmp_path, remote):
    with mounted(str(remote), tmp_path / "mnt", env, "--cache", "1h", "--cache-mode", "read") as mount:
        (mount.place / "d").mkdir()
        (mount.place / "d" / "f").write_bytes(b"f")
        (mount.place / "d" / "f").rename(mount.place / "g")
        assert sorted(path.name for path in remote.rglob("*")) == ["d", "g"]
        (mount.place / "d").rmdir()
        (mount.place / "g").unlink()
        os.symlink("x", mount.place / "link")
        assert [path.name for path in remote.rglob("*")] == ["link.rclonelink"]
        mount.umount()


def test_without_a_cache_nothing_is_kept(env, tmp_path, remote):
    (remote / "old").write_bytes(b"old")
    with mounted(str(remote), tmp_path / "mnt", env, "--cache-mode", "off") as mount:
        assert (mount.place / "old").read_bytes() == b"old"
        (mount.place / "new").write_bytes(b"new")
        mount.umount()
    assert ((remote / "new").read_bytes(), cached(env)) == (b"new", [])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--cache-mode", "x"), "--cache-mode: 'x' is none of full, read, off"),
        (("--fsync", "x"), "--fsync: 'x' is none of journal, remote"),
        (("--cache-mode", "off", "--cache-size", "1G"), "--cache-size: nothing is kept with --cache-mode off"),
        (("--cache-size", "2G", "--hard-cache-size-limit", "1G"), "hard_cache_size_limit is below cache_size"),
    ],
)
def test_what_is_no_mode_is_refused(env, tmp_path, remote, flags, said):
    with pytest.raises(AssertionError, match=said), mounted(str(remote), tmp_path / "mnt", env, *flags):
        pass
    assert not os.path.ismount(tmp_path / "mnt")


def test_a_limit_that_contradicts_the_configuration_is_refused(env, tmp_path, remote):
    config = tmp_path / "limits.toml"
    config.write_text(f'[remotes.x]\ntype = "local"\nroot = "{remote}"\nstack.cache_size = "2 GB"\n')
    flags = ("--config", str(config), "--hard-cache-size-limit", "1G")
    with pytest.raises(AssertionError, match="below cache_size"), mounted("x:", tmp_path / "mnt", env, *flags):
        pass
    assert not os.path.ismount(tmp_path / "mnt")


def test_statistics_have_their_name_whatever_the_remote_has(env, tmp_path, remote):
    (remote / ".cftool").mkdir()
    (remote / ".cftool" / "f").write_bytes(b"of somebody")
    with mounted(str(remote), tmp_path / "mnt", env, "--stats-dir") as mount:
        assert os.listdir(mount.place) == []
        assert sorted(os.listdir(mount.place / ".cftool")) == ["errors", "pending", "stats", "status.json"]
        mount.umount()
        assert "the mount's statistics have this name" in mount.log.read_text()
    assert (remote / ".cftool" / "f").read_bytes() == b"of somebody"


def test_statistics_are_files(env, tmp_path, remote):
    with mounted(str(remote), tmp_path / "mnt", env, "--stats-dir", "--cache", "1h") as mount:
        (mount.place / "f").write_bytes(b"four")
        place = mount.place / ".cftool"
        assert (os.listdir(mount.place), sorted(os.listdir(place))) == (
            ["f"],
            ["errors", "pending", "stats", "status.json"],
        )
        said = json.loads((place / "status.json").read_text())
        assert (said["v"], said["count"], said["pending"][0]["path"]) == (1, 1, "f")
        assert (place / "pending").read_text() == "dirty\tupload\t4\tf\t\t\n"
        assert "count\t1\n" in (place / "stats").read_text()
        assert (place / "errors").read_text() == ""
        assert (place / "stats").stat().st_size > 0
        for change in (
            lambda: (place / "x").write_text("x"), lambda: (place / "stats").write_text("x"),
            lambda: (place / "stats").unlink(), lambda: (place / "d").mkdir(), lambda: place.rename(mount.place / "y"),
            lambda: (mount.place / "f").rename(place / "f"), lambda: os.chmod(place / "stats", 0o666), place.rmdir,
        ):  # fmt: skip
            with pytest.raises(OSError, match="Read-only"):
                change()
        mount.umount()
    assert [path.name for path in remote.iterdir()] == ["f"]
    assert shutil.disk_usage(remote).total > 0
