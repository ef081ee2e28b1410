"""What a mount does when something is wrong: the remote is away, the disk is full, others edit the same file."""

import errno
import os
import signal
import socket
import subprocess
from contextlib import ExitStack, contextmanager

import pytest

from cftool.testing.fake_webdav import FakeWebDav, Habits
from cftool.testing.http_fake import FakeServer
from tests import trees
from tests.command import Cftool
from tests.dav_servers import DavServer
from tests.mount.mounted import Mount, missing_fuse, mounted
from tests.servers import free_port, running, tool

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))]


@pytest.fixture
def server(tmp_path):
    """A WebDAV server that is not there before it is entered, and may be entered again."""
    root, port = tmp_path / "root", free_port()
    root.mkdir()

    @contextmanager
    def up():
        command = [tool("rclone"), "serve", "webdav", "--addr", f"127.0.0.1:{port}", "--config", os.devnull, str(root)]
        with running(command, port):
            yield DavServer("rclone", f"http://127.0.0.1:{port}", root, times=True)

    return up


def environment(tmp_path, server):
    return Cftool(tmp_path / "home").with_server(server).environment()


def test_remote_that_is_away_stops_neither_reads_of_what_is_cached_nor_writes(tmp_path, server):
    with ExitStack() as stack:
        with server() as there:
            (there.root / "data").mkdir()
            (there.root / "data" / "known").write_bytes(b"known")
            env = environment(tmp_path, there)
            mount = stack.enter_context(mounted("lab:data", tmp_path / "mnt", env, "--cache", "0"))
            assert (mount.place / "known").read_bytes() == b"known"
        assert (mount.place / "known").read_bytes() == b"known"
        for number in range(5):
            (mount.place / f"new{number}").write_bytes(trees.content(str(number), 5_000))
        (mount.place / "new0").rename(mount.place / "renamed")
        assert (mount.place / "new3").read_bytes() == trees.content("3", 5_000)
        status = mount.command("cache", "status")
        assert b"new3" in status.stdout
        with server() as there:
            mount.umount()
            found = {path.name: path.read_bytes() for path in (there.root / "data").iterdir()}
        expected = {f"new{number}": trees.content(str(number), 5_000) for number in range(1, 5)}
        assert found == {**expected, "known": b"known", "renamed": trees.content("0", 5_000)}


def test_what_nobody_could_use_is_not_mounted_but_for_what_is_pending(tmp_path):
    fake = FakeWebDav(Habits(user="me", password="right"))
    fake.mkdir("data")
    fake.put("data/file", b"x")
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    with FakeServer(fake.handle) as server:
        remote = {"CFTOOL_LAB_TYPE": "webdav", "CFTOOL_LAB_URL": f"{server.url}/dav", "CFTOOL_LAB_USER": "me"}
        env = Cftool(tmp_path / "home").environment() | remote
        wrong, right = {**env, "CFTOOL_LAB_PASSWORD": "wrong"}, {**env, "CFTOOL_LAB_PASSWORD": "right"}
        for flags in ([], ["--foreground"]):
            done = Mount("lab:data", tmp_path, wrong).command("mount", "lab:data", nowhere, *flags)
            assert (done.returncode, done.stderr.count(b"\n")) == (4, 1), done.stderr
            assert done.stderr.startswith(b"cftool: lab:data: the server does not accept the login")
        done = Mount("lab:data", tmp_path, right).command("mount", "lab:data/file", nowhere)
        assert done.returncode == 1, done.stderr
        assert b"lab:data/file: " in done.stderr
        with mounted("lab:data", tmp_path / "mnt", right, "--cache", "1h") as mount:
            (mount.place / "new").write_bytes(b"pending")
            mount.kill()
            mount.env = wrong
            mount.mount()
            assert b"does not accept the login" in mount.said
            assert mount.command("cache", "status").stdout.count(b"upload data/new") == 1
            mount.kill()
            mount.env = right
            mount.mount()
            assert (mount.place / "new").read_bytes() == b"pending"


def test_edit_of_others_and_ours_are_both_kept(tmp_path, server):
    with server() as there:
        (there.root / "data").mkdir()
        (there.root / "data" / "file").write_bytes(b"old")
        with mounted("lab:data", tmp_path / "mnt", environment(tmp_path, there), "--cache", "1h") as mount:
            (mount.place / "file").write_bytes(b"ours")
            there.put("data/file", b"from somebody else")
            mount.umount()
            assert (
                "file was changed at the remote meanwhile; both are kept, ours as data/file (conf"
                in mount.log.read_text()
            )
        found = {path.name: path.read_bytes() for path in (there.root / "data").iterdir()}
    assert found.pop("file") == b"from somebody else"
    [(name, data)] = found.items()
    assert name.startswith("file (conflict ")
    assert data == b"ours"


def fill(place, taken):
    for number in range(32):
        (place / f"f{number:02d}").write_bytes(trees.content(str(number), 1_000_000))
        taken.append(number)


def test_full_disk_is_told_to_the_writer_and_loses_nothing_that_was_taken(tmp_path):
    state, served = tmp_path / "state", tmp_path / "served"
    state.mkdir()
    served.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(state)], check=True)
    try:
        env = {**Cftool(tmp_path / "home").environment(), "XDG_STATE_HOME": str(state)}
        with mounted(str(served), tmp_path / "mnt", env, "--cache", "1h") as mount:
            taken = []
            with pytest.raises(OSError, match="space") as error:
                fill(mount.place, taken)
            assert error.value.errno == errno.ENOSPC
            assert 8 <= len(taken) <= 16
            for number in taken:
                assert (mount.place / f"f{number:02d}").read_bytes() == trees.content(str(number), 1_000_000)
            (mount.place / f"f{len(taken):02d}").unlink(missing_ok=True)
            mount.umount()
        for number in taken:
            assert (served / f"f{number:02d}").read_bytes() == trees.content(str(number), 1_000_000)
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)


def test_ctrl_c_while_the_mount_is_made_leaves_none_behind(tmp_path):
    """The process that makes it is in a session of its own, where no terminal reaches it."""
    (tmp_path / "mnt").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        env = Cftool(tmp_path / "home").environment() | {"CFTOOL_AWAY_TYPE": "webdav", "CFTOOL_AWAY_URL": url}
        command = [tool("cftool"), "mount", "away:", str(tmp_path / "mnt")]
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        silent.settimeout(60)
        connection, _ = silent.accept()  # the first look at the remote, which is never answered
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)  # ends when nobody has standard error any more
        connection.close()
    assert (process.returncode, said) == (130, b"cftool: interrupted\n")
    assert not os.path.ismount(tmp_path / "mnt")
