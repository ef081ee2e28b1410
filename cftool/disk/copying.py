"""The content of one local file into another, by the cheapest way that the kernel offers, holes kept.

First a reflink, which shares the blocks; else copy_file_range for each stretch of data, which does not bring the bytes
into this process; else reading and writing. The caller proves afterwards that the source did not change.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable

from cftool.core.errors import SourceChanged
from cftool.core.provider import Pace

_FICLONE = 0x40049409
_CHUNK = 1 << 20
_RANGE = 64 << 20  # the kernel copies up to 2 GiB a call; smaller, so that Ctrl-C and progress are seen
_NOT_HERE = frozenset({errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM, errno.ENOTTY, errno.EBADF})


Tick = Callable[[int], None]


def copy(src: int, dst: int, size: int, tick: Tick = lambda _count: None, *, pace: Pace | None = None) -> None:
    """Make the empty file `dst` hold the `size` bytes of `src`. Raises OSError, and SourceChanged for a shorter one.

    `tick` hears of every stretch of bytes that was copied; what it raises ends the copy. `pace` holds back what is
    really copied: a reflink moves nothing.
    """
    if size == 0:
        return
    try:
        fcntl.ioctl(dst, _FICLONE, src)
    except OSError:  # no such call, or not between these two: whatever it is, the ways below will tell
        pass
    else:
        if os.fstat(dst).st_size != size:
            raise _changed()
        tick(size)
        return
    os.ftruncate(dst, size)
    for start, end in _data(src, size):
        if pace is None:
            _copy_range(src, dst, start, end, tick)
        else:
            _paced(src, dst, start, end, tick, pace)


def is_regular(fd: int) -> bool:
    """Whether `copy` may be used on it."""
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _data(fd: int, size: int) -> list[tuple[int, int]]:
    """The stretches that are no holes."""
    stretches = []
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            return [(0, size)]  # a file system that cannot tell
        if start >= size:
            break
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        stretches.append((start, end))
        position = end
    return stretches


def _copy_range(src: int, dst: int, start: int, end: int, tick: Tick) -> None:
    position = start
    while position < end:
        try:
            count = os.copy_file_range(src, dst, min(end - position, _RANGE), position, position)
        except (OSError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno not in _NOT_HERE:
                raise
            _read_and_write(src, dst, position, end, tick)
            return
        if count == 0:  # the end, or a file that claims to be longer than what it gives: a read tells which
            _read_and_write(src, dst, position, end, tick)
            return
        position += count
        tick(count)


def _paced(src: int, dst: int, start: int, end: int, tick: Tick, pace: Pace) -> None:
    position = start
    while position < end:
        following = min(end, position + pace.piece())
        _copy_range(src, dst, position, following, tick)
        pace.up(following - position)
        position = following


def _read_and_write(src: int, dst: int, start: int, end: int, tick: Tick) -> None:
    position = start
    while position < end:
        data = os.pread(src, min(_CHUNK, end - position), position)
        if not data:
            raise _changed()
        written = 0
        while written < len(data):
            written += os.pwrite(dst, memoryview(data)[written:], position + written)
        position += written
        tick(written)


def _changed() -> SourceChanged:
    return SourceChanged("changed while it was read", op="read")
