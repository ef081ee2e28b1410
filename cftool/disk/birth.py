"""When a local file came into being, which no number of `os.stat` says: Linux' statx(2), asked through the C library.

An inode number alone does not tell a file from one that was made after it was deleted; the birth time does. None where
the kernel, the library or the file system does not know it.
"""

import ctypes
import os
import struct
from collections.abc import Callable
from functools import lru_cache

from cftool.core.errors import StoreError
from cftool.disk.root import Root

_NOFOLLOW, _BTIME = 0x100, 0x800  # AT_SYMLINK_NOFOLLOW, STATX_BTIME
_SIZE, _MASK, _BORN = 256, 0, 80  # of struct statx, and the offsets of stx_mask and stx_btime in it


@lru_cache(maxsize=1)
def _statx() -> Callable[..., int] | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p)
    return function


def born_ns(root: Root, path: str) -> int | None:
    """Nanoseconds since the epoch at which the file `path` of the tree was made."""
    statx = _statx()
    if statx is None:
        return None
    try:
        directory, name = root.parent(path)
    except StoreError:
        return None
    buffer = ctypes.create_string_buffer(_SIZE)
    if statx(directory.fd, os.fsencode(name), _NOFOLLOW, _BTIME, buffer) != 0:
        return None
    (mask,) = struct.unpack_from("=I", buffer, _MASK)
    if not mask & _BTIME:
        return None
    seconds, rest = struct.unpack_from("=qI", buffer, _BORN)
    return int(seconds) * 1_000_000_000 + int(rest)
