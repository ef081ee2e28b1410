"""The data files of a cache: made under another name, synced, published by a rename, removed when no row has them.

See DESIGN.md, "On the disk" and "Crash points". Used by the store under its lock; the descriptors are their users' own.
"""

import errno
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from cftool.core.errors import SourceChanged
from cftool.core.types import Source
from cftool.disk import copying, durability
from cftool.disk.errors import store_error, translated

_log = logging.getLogger("cftool.cache")
_PIECE = 1 << 20
_NEW = ".new"


class DataFiles:
    """The directory `data` of a cache."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        with translated("open", directory):
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Release the directory."""
        fd, self._fd = self._fd, -1  # the number may be another directory's soon
        os.close(fd)

    def path(self, number: int) -> str:
        """Where the content of that id lies."""
        return os.path.join(self._directory, f"{number:x}")

    def ids(self) -> Iterator[tuple[int, bool]]:
        """Ids of all files, and whether one is being made."""
        for name in os.listdir(self._fd):
            try:
                yield int(name.removesuffix(_NEW), 16), name.endswith(_NEW)
            except ValueError:  # nobody's
                continue

    def found(self) -> Iterator[tuple[int, bool, int]]:
        """The same with the bytes of each. What was given out may be removed meanwhile."""
        with os.scandir(self._fd) as entries:
            for entry in entries:
                try:
                    number, size = int(entry.name.removesuffix(_NEW), 16), entry.stat(follow_symlinks=False).st_size
                except (ValueError, FileNotFoundError):  # nobody's; gone
                    continue
                yield number, entry.name.endswith(_NEW), size

    # ---- making

    def create(self, number: int) -> int:
        """A new file that is in no row yet; its descriptor, for reading and writing."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with translated("write", self.path(number)):
            return os.open(f"{number:x}{_NEW}", flags, 0o600, dir_fd=self._fd)

    def publish(self, number: int, fd: int) -> None:
        """Give it its name; with all its bytes on the disk when this returns."""
        with translated("write", self.path(number)):
            os.fsync(fd)
            os.rename(f"{number:x}{_NEW}", f"{number:x}", src_dir_fd=self._fd, dst_dir_fd=self._fd)
            durability.sync_directory(self._fd)

    def publish_unsynced(self, number: int) -> None:
        """The same for what can be fetched again: no byte of it counts before the journal says so."""
        with translated("write", self.path(number)):
            os.rename(f"{number:x}{_NEW}", f"{number:x}", src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def discard(self, number: int, fd: int) -> None:
        """Give up a file that was not published."""
        os.close(fd)
        self._unlink(f"{number:x}{_NEW}")

    def remove(self, number: int) -> None:
        """Remove a file that is in no row any more."""
        self._unlink(f"{number:x}")

    def _unlink(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("the cache file %s cannot be removed: %s", name, error.strerror)

    def anonymous(self, data: bytes) -> int:
        """A file without a name, in memory where there are such: its descriptor, for who reads small content."""
        try:
            if hasattr(os, "memfd_create"):
                fd = os.memfd_create("cftool", os.MFD_CLOEXEC)
            else:
                with tempfile.TemporaryFile(dir=self._directory, buffering=0) as file:
                    fd = os.dup(file.fileno())
        except OSError as error:
            raise store_error(error, op="read") from error
        write_at(fd, data, 0)
        return fd

    # ---- using

    def open(self, number: int, *, write: bool = False) -> int:
        """A descriptor of published content. Raises StoreError."""
        flags = (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(f"{number:x}", flags, dir_fd=self._fd)
        except OSError as error:
            raise store_error(error, op="read", path=self.path(number)) from error

    def size(self, number: int) -> int | None:
        """Bytes; None where it is not there."""
        try:
            return os.stat(f"{number:x}", dir_fd=self._fd, follow_symlinks=False).st_size
        except FileNotFoundError:
            return None

    def set_one_aside(self, number: int, stamp: str) -> str | None:
        """Give a damaged file a name that is nobody's; its new path, None where it is not there."""
        name = f"{number:x}.damaged-{stamp}"
        try:
            os.rename(f"{number:x}", name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise store_error(error, op="rename", path=self.path(number)) from error
        return os.path.join(self._directory, name)

    def set_aside(self, stamp: str) -> str | None:
        """Move all files out of the way, because the journal that knew them is damaged; where to, None: none."""
        if not any(True for _ in self.ids()):
            return None
        target = f"{self._directory}.damaged-{stamp}"
        with translated("rename", self._directory):
            os.rename(self._directory, target)
            os.makedirs(self._directory, mode=0o700)
            old, self._fd = self._fd, os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.close(old)
        return target


def allocated(fd: int) -> int:
    """Bytes that a file takes on the disk."""
    return os.fstat(fd).st_blocks * 512


def fill(fd: int, source: Source, *, room: Callable[[int], None]) -> int:
    """Write all of `source` into a new file; `room` is asked before bytes are written. Returns the size.

    Raises SourceChanged where it is not what it said, and what the source or `room` raise.
    """
    if source.size is not None:
        room(source.size)
    if source.local_path is not None and source.size is not None:
        with source.open() as reader:
            copying.copy(reader.fileno(), fd, source.size)
        written = source.size
    else:
        with source.open() as reader:
            written = _pour(fd, reader, room if source.size is None else None)
    if source.size is not None and written != source.size:
        raise SourceChanged(f"the source has {written} bytes, not {source.size}", op="write")
    source.check()
    return written


def _pour(fd: int, reader: BinaryIO, room: Callable[[int], None] | None) -> int:
    at = 0
    while piece := reader.read(_PIECE):
        if room is not None:
            room(len(piece))
        write_at(fd, piece, at)
        at += len(piece)
    return at


def write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    """All of `data` at `offset`. Raises StoreError."""
    view = memoryview(data)
    try:
        while view:
            count = os.pwrite(fd, view, offset)
            view, offset = view[count:], offset + count
    except OSError as error:
        raise store_error(error, op="write") from error


class FileSource:
    """A data file as a Source for the store below. It cannot change: new content is a new file."""

    def __init__(self, path: str, size: int) -> None:
        self.local_path: str | None = path
        self.size: int | None = size

    def open(self) -> BinaryIO:
        """A reader at offset 0."""
        assert self.local_path is not None
        try:
            file = open(self.local_path, "rb", buffering=0)  # noqa: SIM115 - the caller closes it
        except OSError as error:
            raise store_error(error, op="read") from error
        if os.fstat(file.fileno()).st_size != self.size:
            file.close()
            raise SourceChanged("the cached file has another size than the journal says", op="read")
        return file

    def load(self) -> bytes:
        """All of it."""
        with self.open() as file:
            return file.read()

    def check(self) -> None:
        """It is still there, with its size."""
        assert self.local_path is not None
        try:
            size = os.stat(self.local_path).st_size
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise SourceChanged("the cached file was replaced meanwhile", op="read") from error
            raise store_error(error, op="read") from error
        if size != self.size:
            raise SourceChanged("the cached file has another size than the journal says", op="read")
