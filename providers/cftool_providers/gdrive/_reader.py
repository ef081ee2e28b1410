"""Bytes of a Source for resumable uploads: at any offset where the source can, in order where it cannot.

The MD5 of all that was given out runs along, so that a finished upload can be compared with what was read. One thread.
"""

import hashlib
import os
from collections.abc import Callable
from typing import BinaryIO

from cftool.core.errors import SourceChanged
from cftool.core.types import Source

_PIECE = 1024 * 1024


class Reader:
    """See the module. `random`: whether `pread` works, and the size is known."""

    def __init__(self, source: Source, check: Callable[[], None]) -> None:
        self._source = source
        self._check = check  # raises where the run is to end
        self._file: BinaryIO = source.open()
        self._fd: int | None = None
        self._hashed = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
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
        self._file.seek(offset)
        return self._file.read(size)

    def hash_up_to(self, end: int) -> None:
        """Take the bytes up to `end` into the hash. Raises SourceChanged where the source is shorter."""
        while self._hashed < end:
            self._check()
            piece = self.pread(min(_PIECE, end - self._hashed), self._hashed)
            if not piece:
                raise SourceChanged(f"the source has {self._hashed} bytes; {end} were expected", op="read")
            self._md5.update(piece)
            self._hashed += len(piece)

    def take(self, size: int) -> bytes:
        """The next `size` bytes in order; fewer only at the end."""
        pieces = []
        while size and (piece := self._file.read(min(size, _PIECE))):
            self._check()
            self._md5.update(piece)
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def md5(self) -> str:
        """Of all that was read."""
        return self._md5.hexdigest()

    def require_unchanged(self, size: int) -> None:
        """Raise SourceChanged where there is more than `size` bytes, or the source is another by now."""
        more = self.pread(1, size) if self.random else self._file.read(1)
        if more:
            raise SourceChanged(f"the source has more than the {size} bytes expected", op="read")
        self._source.check()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Counted:
    """A `pread` over [start, …) of a Reader that tells of each byte once, however often attempts read it."""

    def __init__(self, reader: Reader, progress: Callable[[int], None] | None) -> None:
        self._reader = reader
        self._progress = progress
        self._high = 0
        self.start = 0

    def pread(self, size: int, offset: int) -> bytes:
        """Bytes at `offset` of the stretch."""
        data = self._reader.pread(size, self.start + offset)
        self.reached(self.start + offset + len(data))
        return data

    def reached(self, end: int) -> None:
        """All before `end` is on its way, or there already."""
        if self._progress is not None and end > self._high:
            self._progress(end - self._high)
            self._high = end
