"""What is left of a mount whose process was killed is taken away, also where that process cannot end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cftool.mount import daemon
from tests.command import Cftool
from tests.mount.mounted import missing_fuse

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))]
ROOT = Path(__file__).parents[2]
PATIENCE = 60


def wait_for(what):
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        os.sched_yield()


def waits_in_the_kernel(pid):
    states = [Path(task, "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return any("State:\tD" in state for state in states)


@pytest.mark.parametrize("command", ["umount", "mount"])
def test_mount_of_a_killed_process_that_waits_for_its_own_answer_is_taken_away(tmp_path, command):
    cftool = Cftool(tmp_path / "home", {})
    env = cftool.environment()
    state = Path(env["XDG_STATE_HOME"], "cftool")
    place, served = tmp_path / "mnt", tmp_path / "served"
    for directory in (place, served):
        directory.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.mount.stuck", str(place), str(tmp_path / "cache"), str(state)], cwd=ROOT
    )
    reader = None
    try:
        wait_for(lambda: os.path.ismount(place))
        reader = subprocess.Popen(["cat", str(place / "file")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: waits_in_the_kernel(process.pid))
        process.send_signal(signal.SIGKILL)
        wait_for(lambda: daemon._left_of_a_dead(process.pid))
        if command == "umount":
            cftool.run("umount", place)
        else:
            cftool.run("mount", served, place)
            (place / "new").write_bytes(b"x")
            cftool.run("umount", place)
        assert not os.path.ismount(place)
        assert reader.wait(PATIENCE) != 0
    finally:
        process.kill()
        subprocess.run(["umount", "-fl", str(place)], stderr=subprocess.DEVNULL, check=False)
        process.wait(PATIENCE)
        if reader is not None:
            reader.wait(PATIENCE)
