"""Times of files over a service whose listings do not tell them: a file's own, never that of its upload."""

import os

import pytest

from tests.command import Cftool
from tests.mount import services
from tests.mount.mounted import missing_fuse, mounted

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))]
OWN, SET = 1_300_000_000_123_456_789, 1_400_000_000_987_654_321


def shown(place):
    return {str(path.relative_to(place)): path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}


def test_a_file_keeps_its_own_time_whatever_becomes_of_it_here(tmp_path):
    with services.s3() as account:
        env = Cftool(tmp_path / "home", account.env).environment()
        with mounted(account.address, tmp_path / "mnt", env, "--cache", "1h", "--metadata-cache", "0") as mount:
            place = mount.place
            (place / "d").mkdir()
            for name in ("d/inside", "file", "renamed", "set"):
                (place / name).write_bytes(name.encode())
                os.utime(place / name, ns=(OWN, OWN))
            assert mount.command("cache", "flush").returncode == 0
            os.utime(place / "set", ns=(SET, SET))
            (place / "renamed").rename(place / "other")
            (place / "d").rename(place / "e")
            expected = {"e/inside": OWN, "file": OWN, "other": OWN, "set": SET}
            assert shown(place) == expected
            assert mount.command("cache", "flush").returncode == 0
            assert shown(place) == expected
            assert mount.command("cache", "clear").returncode == 0
            assert shown(place) == expected
            mount.umount()
            mount.mount()
            assert shown(place) == expected
            assert mount.command("cache", "clear").returncode == 0
            assert shown(place) == expected
            asked = account.asked.total()
            mount.umount()
            assert account.asked.total() == asked  # a remote that is away cannot hold it up
