"""Random operations on one file of a mount beside a model of it, and what is at the remote afterwards."""

import shutil
from pathlib import Path

import pytest

from tests.command import Cftool
from tests.mount.fsx import Fsx
from tests.mount.mounted import missing_fuse, mounted
from tests.servers import new_bucket
from tests.sizes import FULL

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse())),
    pytest.mark.timeout(7200 if FULL else 600),
]
OPERATIONS = 1_000_000 if FULL else 4_000
MINUTES = 30  # of each at release size, should the machine be slow


@pytest.mark.parametrize(("remote", "seed"), [("s3", 1), ("local", 2), ("local", 3)])
def test_the_file_is_its_model(tmp_path, moto_server, remote, seed, record_property):
    (tmp_path / "served").mkdir()
    address = str(tmp_path / "served") if remote == "local" else f"lab:{new_bucket(moto_server, create=True)}/data"
    env = Cftool(tmp_path / "home").with_server(moto_server).environment()
    with mounted(address, tmp_path / "mnt", env, "--cache", "1h") as mount:
        fsx = Fsx(mount.place / "file", seed)
        fsx.run(OPERATIONS, seconds=MINUTES * 60 if FULL else float("inf"))
        mount.umount()
        shutil.rmtree(Path(env["XDG_STATE_HOME"]) / "cftool" / "cache")
        mount.mount()  # everything is seen anew, through an empty cache
        assert (mount.place / "file").read_bytes() == bytes(fsx.model)
    record_property("operations", sum(fsx.operations.values()))
