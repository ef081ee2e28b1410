"""Forcing data to the disk: for one file, for many at once, and for the entries of a directory.

Nothing here decides when; `writer` does. What a file system cannot do at all (directories that cannot be synced) is
passed over, a failure to write is never.
"""

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache

_WRITE = 2  # SYNC_FILE_RANGE_WRITE: start, do not wait
_NOT_POSSIBLE = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES})


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (OSError, AttributeError):  # not Linux
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int
    call: Callable[[int, int, int, int], int] = function
    return call


def start_writeback(fd: int) -> None:
    """Ask for the file's data to be written soon: many files then share one commit of the journal in their fsyncs.

    Only a hint: its failure is found by the fsync that must follow.
    """
    call = _sync_file_range()
    if call is not None:
        call(fd, 0, 0, _WRITE)


def make_directories(path: str, mode: int = 0o700) -> None:
    """Make a directory and its parents, each new one durable: what is written into it later must not go with it."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_directories(os.path.dirname(path), mode)
        make_directories(path, mode)
        return
    parent = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_directory(parent)
    finally:
        os.close(parent)


def sync_directory(fd: int) -> None:
    """Make the entries of an open directory durable."""
    try:
        reader = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    except OSError as error:
        if error.errno in _NOT_POSSIBLE or error.errno == errno.ENOENT:  # unreadable, or removed meanwhile
            return
        raise
    try:
        os.fsync(reader)
    except OSError as error:
        if error.errno not in _NOT_POSSIBLE:
            raise
    finally:
        os.close(reader)
