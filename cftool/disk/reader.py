"""Bytes of a Source for uploads: at any offset where the source can, in order where it cannot. Closed by its upload.

A local file is read with pread, from any thread and without a lock. What can only be read on (a pipe, a generator)
gives its bytes part by part, each kept in memory until it is stored.
"""

import os
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from cftool.core import hashing
from cftool.core.errors import SourceChanged
from cftool.core.types import Source

_PIECE = 1024 * 1024


class Counted:
    """A `pread` over [start, …) of a Reader that tells of each byte once, however often attempts read it."""

    __slots__ = ("_high", "_progress", "_reader", "_start")

    def __init__(self, reader: "Reader", start: int, progress: Callable[[int], None] | None) -> None:
        self._reader = reader
        self._start = start
        self._progress = progress
        self._high = 0

    def pread(self, size: int, offset: int) -> bytes:
        """Bytes at `offset` of the stretch."""
        data = self._reader.pread(size, self._start + offset)
        end = offset + len(data)
        if self._progress is not None and end > self._high:
            self._progress(end - self._high)
            self._high = end
        return data


class Reader:
    """See the module. `random` says whether `pread` works."""

    def __init__(self, source: Source, check: Callable[[], None] = lambda: None) -> None:
        self._check = check  # raises where the run is to end
        self._file: BinaryIO = source.open()
        self._lock = threading.Lock()
        self._fd: int | None = None
        self.random = False
        try:
            if source.local_path is not None:
                self._fd = self._file.fileno()
            self.random = source.size is not None and (self._fd is not None or self._file.seekable())
        except BaseException:
            self._file.close()
            raise

    def pread(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes at `offset`; fewer only at the end or where the file gives no more at once."""
        if self._fd is not None:
            return os.pread(self._fd, size, offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.read(size)

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """[start, end) in pieces; raises SourceChanged where the source is shorter."""
        at = start
        while at < end:
            self._check()
            piece = self.pread(min(_PIECE, end - at), at)
            if not piece:
                raise SourceChanged(f"the source has {at} bytes; {end} were expected", op="read")
            at += len(piece)
            yield piece

    def digest(self, name: str, start: int, end: int) -> str:
        """The hash of [start, end), as hex."""
        running = hashing.new(name)
        for piece in self.pieces(start, end):
            running.update(piece)
        return running.hexdigest()

    def take(self, size: int) -> bytes:
        """The next `size` bytes in order; fewer only at the end."""
        pieces = []
        while size and (piece := self._file.read(min(size, _PIECE))):
            self._check()
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def require_end(self, size: int) -> None:
        """Raise SourceChanged where there is more than `size` bytes."""
        if self.random:
            more = self.pread(1, size)
        else:
            more = self._file.read(1)
        if more:
            raise SourceChanged(f"the source has more than the {size} bytes expected", op="read")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
