"""`mount.cftool`, which mount(8) calls: its words become those of `cftool mount`."""

import os
import pwd
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
        (
            ["r:p", "/mnt", "-o", "rw,noexec,nosuid,nodev,user=me,uid=me,gid=1000,umask=022"],
            ["mount", "--quiet", "--noexec", "--uid", "me", "--gid", "1000", "--umask", "022", "--", "r:p", "/mnt"],
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


@pytest.mark.real
@pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))
def test_lines_of_fstab_are_mounted_as_they_say(tmp_path):
    for name in ("remote/d", "mnt"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "remote" / "f").write_text("#!/bin/sh\n")
    env = Cftool(tmp_path / "home").environment()
    mount = Mount(str(tmp_path / "remote"), tmp_path / "mnt", env)
    options = "rw,_netdev,noexec,nosuid,nodev,noatime,allow_other,uid=nobody,gid=1234,umask=027,cache=1h"
    words = [tool("mount.cftool"), mount.address, str(mount.place), "-o", options]
    try:
        done = subprocess.run(words, env=env, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        found = [(mount.place / name).stat() for name in ("", "d", "f")]
        nobody = pwd.getpwnam("nobody").pw_uid
        assert [(one.st_uid, one.st_gid, oct(one.st_mode & 0o777)) for one in found] == [
            (nobody, 1234, "0o750"), (nobody, 1234, "0o750"), (nobody, 1234, "0o640"),
        ]  # fmt: skip
        (mount.place / "f").chmod(0o777)
        with pytest.raises(PermissionError):
            subprocess.run([mount.place / "f"], check=False)
        mount.umount()
    finally:
        mount.gone()


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--uid", "nobody at all", "is not known here"), ("--gid", "4294967295", "is not known here"),
        ("--umask", "888", "is no mask"), ("--umask", "-1", "is no mask"),
    ],
)  # fmt: skip
def test_owners_and_masks_that_are_none_are_refused(tmp_path, flag, value, said):
    done = Cftool(tmp_path).run("mount", f"{flag}={value}", tmp_path, tmp_path / "mnt", code=2)
    assert f"{flag}: '{value}' {said}" in done.err
