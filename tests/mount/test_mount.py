"""A mount as people use it, over S3 and over a local directory: the kernel's own calls, coreutils, git, SQLite."""

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests import trees
from tests.command import Cftool
from tests.mount.mounted import PATIENCE, Mount, missing_fuse, mounted
from tests.servers import boto3_client, new_bucket

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))]


@pytest.fixture
def env(tmp_path: Path, rclone_server) -> dict[str, str]:
    return Cftool(tmp_path / "home").with_server(rclone_server).environment()


@pytest.fixture(params=["s3", "local"])
def mount(request, tmp_path, moto_server):
    """An empty mount; uploads wait until the umount. S3 as moto has it, which keeps the marks of empty directories."""
    env = Cftool(tmp_path / "home").with_server(moto_server).environment()
    if request.param == "s3":
        address = f"lab:{new_bucket(moto_server, create=True)}/data"
    else:
        (tmp_path / "served").mkdir()
        address = str(tmp_path / "served")
    with mounted(address, tmp_path / "mnt", env, "--cache", "1h") as found:
        yield found


def again(mount: Mount) -> None:
    """Everything uploaded, and seen anew through an empty cache."""
    mount.umount()
    shutil.rmtree(Path(mount.env["XDG_STATE_HOME"]) / "cftool" / "cache")
    mount.mount()


def test_files_of_every_size_come_back(mount):
    sizes = (0, 1, 4095, 4096, 4097, 131_073, 3_000_017)
    for size in sizes:
        (mount.place / f"f{size}").write_bytes(trees.content(f"f{size}", size))
    again(mount)
    assert {path.name: path.stat().st_size for path in mount.place.iterdir()} == {f"f{size}": size for size in sizes}
    for size in sizes:
        assert (mount.place / f"f{size}").read_bytes() == trees.content(f"f{size}", size)


def test_holes_of_a_file_that_is_being_written_are_told(mount):
    """As `cp` asks: data begins where one looks for it, and the next hole is the end."""
    for size in (5, 100_000):
        fd = os.open(mount.place / str(size), os.O_RDWR | os.O_CREAT)
        try:
            os.write(fd, b"d" * size)
            assert (os.lseek(fd, 1, os.SEEK_DATA), os.lseek(fd, 1, os.SEEK_HOLE)) == (1, size)
            with pytest.raises(OSError, match="No such device") as error:
                os.lseek(fd, size, os.SEEK_DATA)
            assert error.value.errno == errno.ENXIO
        finally:
            os.close(fd)


def test_a_tree_comes_over_and_back(mount, tmp_path):
    trees.make(tmp_path / "source", files=200, seed=1, size=20_000)
    subprocess.run(["cp", "-a", str(tmp_path / "source"), str(mount.place / "copy")], check=True)
    again(mount)
    subprocess.run(["diff", "-r", str(tmp_path / "source"), str(mount.place / "copy")], check=True)


def test_git(mount, tmp_path):
    def git(*args: str) -> None:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *args]
        done = subprocess.run(command, cwd=mount.place / "r", env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"},
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert (args, done.returncode, done.stderr if done.returncode else "") == (args, 0, "")

    (mount.place / "r").mkdir()
    git("init", "-q")
    trees.make(mount.place / "r" / "src", files=30, seed=2, size=5_000)
    git("add", ".")
    git("commit", "-qm", "one")
    (mount.place / "r" / "src" / "new").write_text("new")
    git("add", ".")
    git("commit", "-qm", "two")
    git("gc", "-q")
    git("fsck", "--strict")
    again(mount)
    git("fsck", "--strict")
    assert subprocess.run(["git", "status", "--porcelain"], cwd=mount.place / "r", capture_output=True, check=True,
                          env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}).stdout == b""  # fmt: skip


def test_sqlite(mount):
    with sqlite3.connect(mount.place / "db.sqlite") as db:
        db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)")
        for number in range(200):
            with db:
                db.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * number))
    db.close()
    again(mount)
    db = sqlite3.connect(mount.place / "db.sqlite")
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert db.execute("SELECT count(*), sum(length(text)) FROM t").fetchone() == (200, 199 * 200 // 2)
    db.close()


def test_save_patterns_of_editors_and_rsync(mount):
    file = mount.place / "text"
    file.write_text("one")
    for number in range(5):  # write a new file, rename it over the old one
        temporary = mount.place / f".text.{number}"
        temporary.write_text(f"version {number}")
        temporary.rename(file)
    backup = mount.place / "text~"  # rename the old one away, write the new one
    file.rename(backup)
    file.write_text("last")
    again(mount)
    assert (file.read_text(), backup.read_text()) == ("last", "version 4")
    assert sorted(path.name for path in mount.place.iterdir()) == ["text", "text~"]


def test_what_posix_promises_of_names(mount):
    place = mount.place
    (place / "d").mkdir()
    (place / "d" / "f").write_text("f")
    with pytest.raises(OSError, match="not empty") as error:
        (place / "d").rmdir()
    assert error.value.errno == errno.ENOTEMPTY
    with pytest.raises(FileExistsError):
        os.open(place / "d" / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with pytest.raises(IsADirectoryError):
        os.unlink(place / "d") if os.getuid() else (_ for _ in ()).throw(IsADirectoryError)
    with pytest.raises(NotADirectoryError):
        (place / "d" / "f" / "x").stat()
    (place / "e").mkdir()
    (place / "d").rename(place / "e")  # over an empty directory
    assert (place / "e" / "f").read_text() == "f"
    with pytest.raises(OSError, match="Invalid"):
        (place / "e").rename(place / "e" / "inside")
    with pytest.raises(OSError, match="too long") as error:
        (place / ("n" * 256)).write_text("")
    assert error.value.errno == errno.ENAMETOOLONG


def test_an_open_file_whose_name_is_removed_goes_on(mount):
    path = mount.place / "f"
    path.write_bytes(b"old")
    with path.open("r+b") as file:
        path.unlink()
        assert not path.exists()
        file.seek(3)
        file.write(b" and new")
        file.flush()
        file.seek(0)
        assert file.read() == b"old and new"
    again(mount)
    assert list(mount.place.iterdir()) == []


def test_links_modes_and_times_are_kept(mount):
    (mount.place / "f").write_text("f")
    os.symlink("f", mount.place / "link")
    os.chmod(mount.place / "f", 0o600)
    os.utime(mount.place / "f", ns=(1_500_000_000_000_000_000, 1_500_000_000_123_456_789))
    assert os.readlink(mount.place / "link") == "f"
    mount.umount()
    mount.mount()
    found = (mount.place / "f").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o600, 1_500_000_000_123_456_789)
    assert os.readlink(mount.place / "link") == "f"
    assert (mount.place / "link").read_text() == "f"


def test_the_state_of_a_file_is_an_attribute(mount):
    path = mount.place / "f"
    path.write_text("f")
    assert os.getxattr(path, "user.cftool.state") == b"dirty"
    again(mount)
    assert path.read_text() == "f"
    assert os.getxattr(path, "user.cftool.state") == b"clean"
    assert "user.cftool.version" in os.listxattr(path)


def test_after_kill_9_all_that_was_closed_is_there(mount):
    for number in range(50):
        (mount.place / f"f{number}").write_bytes(trees.content(str(number), 10_000))
    handle = (mount.place / "never-closed").open("wb", buffering=0)
    handle.write(b"half a file")
    mount.kill()
    with pytest.raises(OSError, match=r"not connected|abort"):
        handle.close()
    mount.mount()  # over the dead mount point
    assert sorted(path.name for path in mount.place.iterdir()) == sorted(f"f{number}" for number in range(50))
    again(mount)
    for number in range(50):
        assert (mount.place / f"f{number}").read_bytes() == trees.content(str(number), 10_000)


def test_a_second_mount_of_the_same_remote_is_refused(mount, tmp_path):
    (tmp_path / "second").mkdir()
    done = mount.command("mount", mount.address, tmp_path / "second")
    assert done.returncode == 9
    assert b"cache_id" in done.stderr
    assert not os.path.ismount(tmp_path / "second")


def test_a_full_umount_leaves_nothing_to_do(env, tmp_path, rclone_server):
    bucket = new_bucket(rclone_server, create=True)
    with mounted(f"lab:{bucket}/data", tmp_path / "mnt", env, "--cache", "1h") as mount:
        trees.make(mount.place / "tree", files=50, seed=3, size=1_000)
        expected = {name: (mount.place / "tree" / name).read_bytes() for name in trees.snapshot(mount.place / "tree")}
        mount.umount()
    client = boto3_client(rclone_server)
    for name, data in expected.items():
        assert client.get_object(Bucket=bucket, Key=f"data/tree/{name}")["Body"].read() == data


def test_read_only(env, tmp_path, rclone_server):
    bucket = new_bucket(rclone_server, create=True)
    boto3_client(rclone_server).put_object(Bucket=bucket, Key="f", Body=b"f")
    with mounted(f"lab:{bucket}", tmp_path / "mnt", env, "--read-only") as mount:
        assert (mount.place / "f").read_bytes() == b"f"
        with pytest.raises(OSError, match="ead-only") as error:
            (mount.place / "g").write_bytes(b"")
        assert error.value.errno == errno.EROFS


def test_edits_of_others_show_after_the_metadata_time(env, tmp_path, rclone_server):
    bucket = new_bucket(rclone_server, create=True)
    client = boto3_client(rclone_server)
    client.put_object(Bucket=bucket, Key="f", Body=b"one")
    with mounted(f"lab:{bucket}", tmp_path / "mnt", env, "--metadata-cache", "0") as mount:
        assert (mount.place / "f").read_bytes() == b"one"
        client.put_object(Bucket=bucket, Key="f", Body=b"three")
        deadline = 100
        while (mount.place / "f").read_bytes() != b"three":
            deadline -= 1
            assert deadline, "the edit does not show"
            os.listdir(mount.place)


def test_the_metadata_time_of_the_configuration_counts_for_a_mount(env, tmp_path, rclone_server):
    bucket = new_bucket(rclone_server, create=True)
    client = boto3_client(rclone_server)
    client.put_object(Bucket=bucket, Key="f", Body=b"one")
    config = Path(env["XDG_CONFIG_HOME"]) / "cftool" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[remotes.lab]\ntype = "s3"\n[remotes.lab.stack]\nmetadata_cache = 0\n')
    with mounted(f"lab:{bucket}", tmp_path / "mnt", env) as mount:
        assert os.listdir(mount.place) == ["f"]
        client.put_object(Bucket=bucket, Key="g", Body=b"two")
        assert sorted(os.listdir(mount.place)) == ["f", "g"]


def test_what_another_run_changes_shows_long_before_the_metadata_time(env, tmp_path, rclone_server):
    bucket = new_bucket(rclone_server, create=True)
    client = boto3_client(rclone_server)
    for name in ("d/f", "d/gone"):
        client.put_object(Bucket=bucket, Key=name, Body=b"one")
    with mounted(f"lab:{bucket}", tmp_path / "mnt", env, "--metadata-cache", "1h") as mount:
        folder = mount.place / "d"
        assert ((folder / "f").read_bytes(), sorted(os.listdir(folder))) == (b"one", ["f", "gone"])
        with pytest.raises(FileNotFoundError):
            (folder / "new").stat()
        (tmp_path / "three").write_bytes(b"three")
        for words in (("cp", tmp_path / "three", f"lab:{bucket}/d/f"), ("rm", f"lab:{bucket}/d/gone"),
                      ("cp", tmp_path / "three", f"lab:{bucket}/d/new")):  # fmt: skip
            done = mount.command(*words)
            assert done.returncode == 0, done.stderr.decode()
        deadline = time.monotonic() + PATIENCE
        while sorted(os.listdir(folder)) != ["f", "new"]:
            assert time.monotonic() < deadline, os.listdir(folder)
            time.sleep(0.1)
        assert ((folder / "f").read_bytes(), (folder / "new").read_bytes()) == (b"three", b"three")
