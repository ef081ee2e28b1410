"""`mount.cftool`, which mount(8) calls: its words become those of `cftool mount`."""

import os
import subprocess

import pytest

from cftool.cli.mount_helper import Refused, command
from tests.command import Cftool
from tests.mount.mounted import Mount, missing_fuse
from tests.servers import tool


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["r:p", "/mnt"], ["mount", "--quiet", "--", "r:p", "/mnt"]),
        (["r:p", "/mnt", "-o", "rw"], ["mount", "--quiet", "--", "r:p", "/mnt"]),
        (
            ["r:p", "/mnt", "-v", "-o", "ro,noauto,x-systemd.automount,_netdev,allow_other,cache_size=5G"],
            ["mount", "--verbose", "--read-only", "--allow-other", "--cache-size", "5G", "--", "r:p", "/mnt"],
        ),
        (
            ["r:p", "/mnt", "-t", "cftool", "-o", 'config="/a,b",cache-mode=off'],
            ["mount", "--quiet", "--config", "/a,b", "--cache-mode", "off", "--", "r:p", "/mnt"],
        ),
        (["r:p", "/mnt", "-r"], ["mount", "--quiet", "--read-only", "--", "r:p", "/mnt"]),
        (["-sn", "r:p", "/mnt"], ["mount", "--quiet", "--", "r:p", "/mnt"]),
        (["r:p", "/mnt", "-f"], []),
    ],
)
def test_what_mount_says_becomes_flags(arguments, expected):
    assert command(arguments) == expected


@pytest.mark.parametrize(
    "arguments",
    [["r:p"], [], ["r:p", "/a", "/b"], ["r:p", "/a", "-o"], ["r:p", "/a", "-N", "4"], ["r:p", "/a", "-o", "foo"],
     ["r:p", "/a", "-o", "cache"], ["r:p", "/a", "-o", "allow_other=1"]],
)  # fmt: skip
def test_what_is_not_understood_is_refused(arguments):
    with pytest.raises(Refused):
        command(arguments)


@pytest.mark.real
@pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))
def test_it_mounts(tmp_path):
    for name in ("remote", "mnt"):
        (tmp_path / name).mkdir()
    (tmp_path / "remote" / "f").write_text("f")
    env = Cftool(tmp_path / "home").environment()
    mount = Mount(str(tmp_path / "remote"), tmp_path / "mnt", env)
    words = [tool("mount.cftool"), mount.address, str(mount.place), "-o", "ro,noauto,cache_mode=read"]
    try:
        done = subprocess.run(words, env=env, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert ((mount.place / "f").read_text(), os.path.ismount(mount.place)) == ("f", True)
        with pytest.raises(OSError, match="Read-only"):
            (mount.place / "g").touch()
        mount.umount()
    finally:
        mount.gone()
    refused = subprocess.run([*words, "-o", "nonsense"], env=env, capture_output=True, check=False)
    assert (refused.returncode, refused.stderr) == (
        2, b"mount.cftool: the option 'nonsense' is not known; options are the flags of cftool mount\n",
    )  # fmt: skip
