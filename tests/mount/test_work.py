"""Real work in a mount over S3 and over WebDAV, looked at again after a new mount and through an empty cache."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from tests.command import Cftool
from tests.dav_servers import new_folder
from tests.mount.mounted import missing_fuse, mounted
from tests.mount.works import WORKS, picture
from tests.servers import new_bucket

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))]


@pytest.fixture(params=["s3", "webdav"])
def mount(request, tmp_path, moto_server, dav_server_of):
    """An empty mount. To WebDAV things go up while the work goes on, to S3 at the end. moto keeps empty directories."""
    server = moto_server if request.param == "s3" else dav_server_of("rclone")
    top = new_bucket(moto_server, create=True) if request.param == "s3" else new_folder()
    env = Cftool(tmp_path / "home").with_server(server).environment()
    delay = "1h" if request.param == "s3" else "0"
    with mounted(f"lab:{top}/data", tmp_path / "mnt", env, "--cache", delay) as found:
        yield found


def test_work_is_whole_at_once_after_a_new_mount_and_in_an_empty_cache(mount, tmp_path):
    for name, work in WORKS.items():
        (tmp_path / name).mkdir()
        (mount.place / name).mkdir()
        work.do(mount.place / name, tmp_path / name)
    check(mount.place, tmp_path)
    modes = seen(mount.place)
    mount.umount()
    mount.mount()
    assert seen(mount.place) == modes
    check(mount.place, tmp_path)
    expected = picture(mount.place)
    mount.umount()
    shutil.rmtree(Path(mount.env["XDG_STATE_HOME"]) / "cftool" / "cache")
    mount.mount()
    assert picture(mount.place) == expected
    check(mount.place, tmp_path)


def check(place: Path, outside: Path) -> None:
    for name, work in WORKS.items():
        work.check(place / name, outside / name)


def seen(root: Path) -> dict[str, tuple[int, ...]]:
    """What `ls -l` shows: in a cache that is still there modes are kept.

    Of times those of copied files, in whole seconds: WebDAV has no others.
    """
    found = {}
    for folder, directories, files in os.walk(root):
        for name in [*directories, *files]:
            path = Path(folder, name)
            status = path.lstat()
            shown = str(path.relative_to(root))
            time = int(status.st_mtime) if path.is_file() and shown.startswith("copies/copy/") else 0
            found[shown] = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_size, time)
    return found
