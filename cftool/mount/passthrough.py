"""Files that the kernel reads by itself: it is given the cache's own file, and no read of it comes here any more.

Linux 6.9 and newer, for the superuser, where the cache's disk is none that lies on another (no overlay). Where the
kernel refuses, files are read through the server: nothing else differs. Which files may be read so, `vfs` decides.
"""

import fcntl
import logging
import os
import struct
import threading

_log = logging.getLogger("cftool.mount")
_MAP = struct.Struct("<iIQ")  # descriptor, flags, padding: struct fuse_backing_map
_OPEN = 0x4010E501  # _IOW(229, 1, struct fuse_backing_map)
_CLOSE = 0x4004E502  # _IOW(229, 2, uint32_t)
STACK_DEPTH = 1


class Passthrough:
    """For the connection `fd`. Thread-safe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self.possible = False  # until the kernel's greeting says so

    def give(self, fd: int) -> int | None:
        """The kernel's number for an open file; None where it takes none."""
        if not self.possible:
            return None
        try:
            number: int = fcntl.ioctl(self._fd, _OPEN, bytearray(_MAP.pack(fd, 0, 0)), True)
            return number
        except OSError as error:
            with self._lock:
                if self.possible:
                    _log.info("the kernel does not read files by itself: %s", os.strerror(error.errno or 0))
                self.possible = False
            return None

    def take_back(self, number: int) -> None:
        """Nobody has it open any more."""
        try:
            fcntl.ioctl(self._fd, _CLOSE, bytearray(struct.pack("<I", number)), True)
        except OSError as error:
            _log.debug("giving a file back to the kernel: %s", error.strerror)  # the mount is gone
