"""The same mount over the second binding: what could differ is how the kernel is reached."""

import ctypes.util
import errno
import importlib.util
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests import trees
from tests.command import Cftool
from tests.mount.fsx import Fsx
from tests.mount.mounted import Mount, missing_fuse, mounted


def _missing() -> str | None:
    if importlib.util.find_spec("mfusepy") is None:
        return "mfusepy is not installed"
    if ctypes.util.find_library("fuse3") is None and ctypes.util.find_library("fuse") is None:
        return "libfuse is not installed"
    return missing_fuse()


pytestmark = [pytest.mark.real, pytest.mark.skipif(_missing() is not None, reason=str(_missing()))]


@pytest.fixture
def mount(tmp_path):
    (tmp_path / "remote").mkdir()
    env = {**Cftool(tmp_path / "home").environment(), "CFTOOL_MOUNT_BINDING": "libfuse"}
    with mounted(str(tmp_path / "remote"), tmp_path / "mnt", env, "--cache", "1h") as found:
        yield found


def again(mount: Mount) -> None:
    """Everything uploaded, and seen anew through an empty cache."""
    mount.umount()
    shutil.rmtree(Path(mount.env["XDG_STATE_HOME"]) / "cftool" / "cache")
    mount.mount()


def test_fsx(mount):
    fsx = Fsx(mount.place / "file", 4)
    fsx.run(2_000)
    again(mount)
    assert (mount.place / "file").read_bytes() == bytes(fsx.model)


def test_a_tree_comes_over_and_back(mount, tmp_path):
    trees.make(tmp_path / "source", files=50, seed=1, size=20_000)
    subprocess.run(["cp", "-a", str(tmp_path / "source"), str(mount.place / "copy")], check=True)
    again(mount)
    subprocess.run(["diff", "-r", str(tmp_path / "source"), str(mount.place / "copy")], check=True)
    shutil.rmtree(mount.place / "copy")
    assert os.listdir(mount.place) == []


def test_names_modes_times_links_and_attributes(mount):
    file = mount.place / "d" / "f"
    file.parent.mkdir()
    with pytest.raises(OSError, match="exist") as error:
        file.parent.mkdir()
    assert error.value.errno == errno.EEXIST
    file.write_text("f")
    with pytest.raises(OSError, match="not empty"):
        file.parent.rmdir()
    os.symlink("f", file.with_name("link"))
    os.chmod(file, 0o640)
    os.chown(file, 7, -1)
    os.utime(file, ns=(1_500_000_000_000_000_000, 1_500_000_000_123_456_789))
    found = file.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_mtime_ns) == (0o640, 7, 1_500_000_000_123_456_789)
    assert (os.readlink(file.with_name("link")), file.with_name("link").read_text()) == ("f", "f")
    assert os.getxattr(file, "user.cftool.state") == b"dirty"
    assert "user.cftool.state" in os.listxattr(file)
    file.parent.rename(mount.place / "e")
    with (mount.place / "e" / "f").open("r+b") as open_file:
        (mount.place / "e" / "f").unlink()
        open_file.write(b"gone on")
        open_file.seek(0)
        assert open_file.read() == b"gone on"
    assert os.listdir(mount.place / "e") == ["link"]
    assert os.statvfs(mount.place).f_namemax == 255


def test_after_kill_9_all_that_was_closed_is_there(mount):
    for number in range(10):
        (mount.place / f"f{number}").write_bytes(trees.content(str(number), 10_000))
    mount.kill()
    mount.mount()
    again(mount)
    for number in range(10):
        assert (mount.place / f"f{number}").read_bytes() == trees.content(str(number), 10_000)


def test_a_binding_that_is_not_there_is_told(tmp_path):
    (tmp_path / "mnt").mkdir()
    env = {**Cftool(tmp_path / "home").environment(), "CFTOOL_MOUNT_BINDING": "none"}
    done = Mount(str(tmp_path), tmp_path / "mnt", env).command("mount", tmp_path, tmp_path / "mnt")
    assert (done.returncode, done.stderr) == (2, b"cftool: there is no binding 'none'; there are kernel and libfuse\n")
