"""A mount from its making to its end: as a service, in use, killed, full, and of an ordinary user."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.command import Cftool
from tests.mount.mounted import PATIENCE, Mount, missing_fuse, mounted
from tests.servers import tool

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return Cftool(tmp_path / "home").environment()


@pytest.fixture
def remote(tmp_path) -> Path:
    (tmp_path / "remote").mkdir()
    return tmp_path / "remote"


class Service:
    """`cftool mount --foreground` as systemd runs it; `heard` gives what it says there."""

    def __init__(self, mount: Mount, *flags: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0cftool-{os.getpid()}-{mount.place.parent.name}")
        self.socket.settimeout(PATIENCE)
        address = os.fsdecode(self.socket.getsockname()).replace("\0", "@")
        words = [tool("cftool"), "mount", mount.address, str(mount.place), "--foreground", "--cache", "1h", *flags]
        self.process = subprocess.Popen(
            words, env={**mount.env, "NOTIFY_SOCKET": address}, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def heard(self) -> bytes:
        return self.socket.recv(4096)

    def stopped(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, bytes]:
        """Its exit code and what it said."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.socket.close()


@pytest.fixture
def place(tmp_path, env, remote):
    """A mount point, where nothing is mounted yet; and nothing is left there."""
    (tmp_path / "mnt").mkdir()
    mount = Mount(str(remote), tmp_path / "mnt", env)
    yield mount
    mount.gone()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_tells_when_it_is_ready_and_uploads_before_it_ends(place, remote, number):
    with Service(place) as service:
        assert service.heard() == b"READY=1"
        assert os.path.ismount(place.place)
        (place.place / "f").write_bytes(b"f")
        code, said = service.stopped(number)
        assert (code, os.path.ismount(place.place)) == (0, False), said
        assert service.heard() == b"STOPPING=1"
    assert (remote / "f").read_bytes() == b"f"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_may_be_ended_as_soon_as_it_says_that_it_is_ready(place, number):
    with Service(place) as service:
        assert service.heard() == b"READY=1"
        code, said = service.stopped(number)
    assert (code, os.path.ismount(place.place)) == (0, False), said


def test_what_is_not_finished_when_a_service_has_to_end_is_put_aside(place, remote):
    (remote / "f").write_bytes(b"whole and old")
    with Service(place, "--drain", "2s") as service:
        assert service.heard() == b"READY=1"
        file = os.open(place.place / "f", os.O_WRONLY | os.O_TRUNC)
        os.write(file, b"half")
        code, said = service.stopped()
        with pytest.raises(OSError, match=r"not connected|abort"):
            os.close(file)
    assert (code, os.path.ismount(place.place)) == (0, False), said
    [aside] = [path for path in remote.iterdir() if path.name != "f"]
    assert ((remote / "f").read_bytes(), aside.read_bytes()) == (b"whole and old", b"half")
    assert f"f was not closed: what was written is kept as {aside.name}" in said.decode()


def test_what_a_service_cannot_upload_in_time_it_names(place, remote):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(remote)], check=True)
    try:
        with Service(place, "--drain", "1s") as service:
            assert service.heard() == b"READY=1"
            (place.place / "f").write_bytes(bytes(1_000_000))
            code, said = service.stopped()
    finally:
        subprocess.run(["umount", "-l", str(remote)], check=True)
    assert code == 5
    assert b"not uploaded: f" in said
    assert b"1 change not uploaded yet" in said


def test_a_mount_in_use_is_not_taken_away_but_with_lazy(env, tmp_path, remote):
    with mounted(str(remote), tmp_path / "mnt", env, "--cache", "1h") as mount:
        file = (mount.place / "f").open("wb", buffering=0)
        file.write(b"one")
        done = mount.command("umount", mount.place)
        assert done.returncode == 1
        assert b"not uploaded: f" in done.stderr  # the child that became it has closed the file, which commits
        assert b"is in use" in done.stderr
        assert os.path.ismount(mount.place)
        done = mount.command("umount", mount.place, "--lazy")
        assert done.returncode == 5, done.stderr
        assert not os.path.ismount(mount.place)
        file.write(b" and two")
        file.close()
        mount.ended()
    assert (remote / "f").read_bytes() == b"one and two"


def test_umount_of_what_is_no_mount_is_told(env, tmp_path, remote):
    done = Mount(str(remote), tmp_path, env).command("umount", tmp_path)
    assert (done.returncode, done.stderr) == (2, f"cftool: {tmp_path}: no mount of cftool is there\n".encode())


def test_after_umount_the_cache_is_let_go(env, tmp_path, remote):
    with mounted(str(remote), tmp_path / "mnt", env, "--cache", "1h") as mount:
        (mount.place / "f").write_bytes(b"f")
        assert mount.command("umount", mount.place).returncode == 0
        records = list(Path(env["XDG_STATE_HOME"], "cftool/mounts").iterdir())
        assert records == []  # it goes last
        mount.mount()


def test_a_mount_and_its_end_are_events(place, remote):
    done = place.command("mount", remote, place.place, "--json", "--cache", "1h")
    assert json.loads(done.stdout) == {"v": 1, "event": "mounted", "path": str(remote), "place": str(place.place)}
    with (place.place / "f").open("wb", buffering=0) as file:
        file.write(b"one")
        done = place.command("umount", place.place, "--json", "--lazy")
    said = json.loads(done.stdout)
    assert (said["event"], said["place"], said["count"]) == ("unmounted", str(place.place), 1)
    assert [row["path"] for row in said["pending"]] == ["f"]


def test_a_cache_has_the_name_of_a_directory(env, tmp_path, remote):
    done = Mount(str(remote), tmp_path, env).command("mount", remote, tmp_path, "--cache-id", "../x")
    assert (done.returncode, os.path.ismount(tmp_path)) == (2, False)
    assert b"the cache_id " in done.stderr


def test_another_cache_is_another_mount_and_told_what_the_first_holds(env, tmp_path, remote):
    (remote / "f").write_text("f")
    with mounted(str(remote), tmp_path / "one", env, "--cache", "1h") as one:
        (one.place / "new").write_text("new")
        with mounted(str(remote), tmp_path / "two", env, "--cache-id", "second") as two:
            assert [(mount.place / "f").read_text() for mount in (one, two)] == ["f", "f"]
            assert b"holds changes that are neither uploaded nor shown here" in two.said
            assert not (two.place / "new").exists()
            two.umount()
        assert b"holds changes" not in one.said
        one.umount()
    assert (remote / "new").read_text() == "new"


def test_clean_files_leave_above_the_soft_limit(env, tmp_path, remote):
    limits = ("--cache-size", "3M", "--hard-cache-size-limit", "100M")
    for number in range(6):
        (remote / f"f{number}").write_bytes(bytes([number]) * 1_000_000)
    with mounted(str(remote), tmp_path / "mnt", env, "--cache", "1h", *limits) as mount:
        for number in range(6):
            assert (mount.place / f"f{number}").read_bytes() == bytes([number]) * 1_000_000
        [cache] = (Path(env["XDG_STATE_HOME"]) / "cftool" / "cache").iterdir()
        assert len(os.listdir(cache / "data")) <= 4
        mount.umount()


def test_above_the_hard_limit_writers_wait_for_uploads_that_do_not_wait_for_their_time(env, tmp_path, remote):
    limits = ("--cache-size", "4M", "--hard-cache-size-limit", "8M")
    with mounted(str(remote), tmp_path / "mnt", env, "--cache", "1h", *limits) as mount:
        for number in range(16):
            (mount.place / f"f{number}").write_bytes(bytes([number]) * 1_000_000)
        assert len(list(remote.iterdir())) >= 4
        mount.umount()
    assert sorted(path.name for path in remote.iterdir()) == sorted(f"f{number}" for number in range(16))


def _helper_missing() -> str | None:
    if shutil.which("fusermount3") is None and shutil.which("fusermount") is None:
        return "fusermount3 is not installed"
    if shutil.which("setpriv") is None or shutil.which("unshare") is None:
        return "util-linux is not whole"
    look = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", tool("cftool"), "--version"]
    if subprocess.run(look, capture_output=True, check=False).returncode != 0:
        return "nobody may not run what is installed here"
    return None


# As nobody, in a mount namespace of its own, where /dev/fuse is everybody's as udev makes it.
_UNPRIVILEGED = """
set -eu
mknod "$1/fuse" c 10 229 && chmod 666 "$1/fuse" && mount --bind "$1/fuse" /dev/fuse
as="setpriv --reuid 65534 --regid 65534 --clear-groups"
$as "$2" mount "$1/remote" "$1/mnt" --cache 1h
$as sh -c 'echo written > "$1/mnt/f"; cat "$1/mnt/f"; ls "$1/mnt"; stat -c %u "$1/mnt/f"' - "$1"
$as "$2" umount "$1/mnt"
$as cat "$1/remote/f"
"""


@pytest.fixture
def everybody():
    """A directory that everybody may reach, which those of pytest are not."""
    place = Path(tempfile.mkdtemp(prefix="cftool-mount-"))
    place.chmod(0o755)
    for name in ("remote", "mnt", "home"):
        (place / name).mkdir()
        os.chown(place / name, 65534, 65534)
    yield place
    shutil.rmtree(place)


@pytest.mark.skipif(_helper_missing() is not None, reason=str(_helper_missing()))
def test_an_ordinary_user_mounts_with_the_help_of_fusermount(everybody):
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", _UNPRIVILEGED, "-", str(everybody), tool("cftool")],
        env=Cftool(everybody / "home").environment(), capture_output=True, timeout=PATIENCE * 2, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"written\nf\n65534\nwritten\n"
