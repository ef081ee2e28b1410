"""A real mount for tests: the server in a child process over a store of this machine, at a directory of the test."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cftool.mount import daemon
from tests.servers import tool

PATIENCE = 300


def missing_fuse() -> str | None:
    """Why nothing can be mounted here, or None."""
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    if os.geteuid() != 0:
        return "mounting needs root here"
    return None


@dataclass
class Mount:
    """A mount that is there; `env` is the environment of its commands."""

    address: str
    place: Path
    env: dict[str, str]
    flags: tuple[str, ...] = ()
    log: Path = field(default=Path("/dev/null"))
    said: bytes = b""  # when it was mounted

    def command(self, *args: object) -> subprocess.CompletedProcess[bytes]:
        """A command of cftool in the mount's environment."""
        return subprocess.run(
            [tool("cftool"), *map(str, args)], env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip

    def mount(self) -> None:
        """Mount; the command returns when the mount answers."""
        done = self.command("mount", self.address, self.place, "--log-file", self.log, "-v", *self.flags)
        assert done.returncode == 0, done.stderr.decode()
        assert os.path.ismount(self.place)
        self.said = done.stderr

    def umount(self, *flags: str, code: int = 0) -> bytes:
        """Upload what is pending, and unmount."""
        done = self.command("umount", self.place, *flags)
        assert done.returncode == code, done.stderr.decode()
        assert not os.path.ismount(self.place)
        self.ended()
        return done.stderr

    def pids(self) -> list[int]:
        """The processes that hold the mount."""
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
                    if b"mount" in words and os.fsencode(self.place) in words:
                        found.append(int(entry.name))
        return found

    def ended(self) -> None:
        """Wait for the process of the mount."""
        deadline = time.monotonic() + PATIENCE
        while self.pids():
            assert time.monotonic() < deadline, "the process of the mount does not end"
            time.sleep(0.02)  # for a process, not for a result

    def kill(self) -> None:
        """kill -9; the mount point stays, dead."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.ended()
        daemon.give_up(os.path.join(self.env["XDG_STATE_HOME"], "cftool"), str(self.place))

    def gone(self) -> None:
        """Whatever is left: for the end of a test."""
        self.kill()
        subprocess.run(["umount", "-l", str(self.place)], stderr=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def mounted(address: str, place: Path, env: dict[str, str], *flags: str) -> Iterator[Mount]:
    """Mount for the time of the block; killed at its end where it is still there."""
    mount = Mount(address, place, env, flags, place.with_name(place.name + ".log"))
    place.mkdir()
    try:
        mount.mount()
        yield mount
    finally:
        mount.gone()
