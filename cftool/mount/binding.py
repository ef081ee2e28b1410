"""The seam between `Vfs` and the ways to reach the kernel: its own protocol (`KernelBinding`), or libfuse.

A binding mounts, answers until the mount is taken away, and hears from `Vfs` what the kernel has to forget. `daemon`
knows nothing else of either.
"""

import contextlib
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cftool.core.errors import ConfigError
from cftool.mount import device
from cftool.mount.server import Server

if TYPE_CHECKING:
    from cftool.vfs import Vfs


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how to mount. `name`: what /proc/mounts shows. `passthrough`: the kernel may read cached files.

    `executable`: programs on it can be started.
    """

    directory: str
    name: str
    allow_other: bool = False
    read_only: bool = False
    passthrough: bool = True
    executable: bool = True


class Binding(Protocol):
    """`ready` is set when the kernel has greeted."""

    ready: threading.Event

    def run(self) -> None:
        """Answer, until the mount is taken away."""
        ...

    def close(self) -> None:
        """After `run`."""
        ...


class KernelBinding:
    """The kernel's own protocol over /dev/fuse: Linux, no library."""

    def __init__(self, vfs: "Vfs", place: Place) -> None:
        # Where nobody but the superuser comes in, whom no mode stops, the kernel need not ask for the modes of a
        # directory before each new name.
        permissions = place.allow_other or os.geteuid() != 0
        self._fd = device.mount(
            place.directory, place.name, allow_other=place.allow_other, read_only=place.read_only,
            permissions=permissions, executable=place.executable,
        )  # fmt: skip
        self._server = Server(vfs, self._fd, ttl=max(1, int(vfs.settings.ttl)), may_pass=place.passthrough)
        self.ready = self._server.ready

    def run(self) -> None:
        """Until the mount is taken away."""
        self._server.run()

    def close(self) -> None:
        """Let go of the connection: what still asks gets an error."""
        with contextlib.suppress(OSError):
            os.close(self._fd)


def bound(kind: str, vfs: "Vfs", place: Place) -> Binding:
    """A binding by its name: `kernel` or `libfuse`. Raises ConfigError where it cannot be had here."""
    if kind == "kernel":
        return KernelBinding(vfs, place)
    if kind == "libfuse":
        try:
            from cftool.mount.libfuse import LibfuseBinding
        except ImportError:
            raise ConfigError("the binding libfuse needs mfusepy: pip install 'cftool[fuse]'") from None
        except OSError as error:
            raise ConfigError(f"the binding libfuse needs the library itself: install libfuse3 ({error})") from None
        return LibfuseBinding(vfs, place)
    raise ConfigError(f"there is no binding {kind!r}; there are kernel and libfuse")
