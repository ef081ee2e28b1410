"""Bytes of a Source for resumable uploads: at any offset where the source can, in order where it cannot.

The MD5 of all that was given out runs along, so that a finished upload can be compared with what was read. One thread.
"""

import hashlib
from collections.abc import Callable

from cftool.core.types import Source
from cftool.disk import reader


class Reader(reader.Reader):
    """See the module."""

    def __init__(self, source: Source, check: Callable[[], None]) -> None:
        super().__init__(source, check)
        self._source = source
        self._hashed = 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    def hash_up_to(self, end: int) -> None:
        """Take the bytes up to `end` into the hash. Raises SourceChanged where the source is shorter."""
        for piece in self.pieces(self._hashed, end):
            self._md5.update(piece)
            self._hashed += len(piece)

    def take(self, size: int) -> bytes:
        """The next `size` bytes in order; fewer only at the end."""
        data = super().take(size)
        self._md5.update(data)
        return data

    def md5(self) -> str:
        """Of all that was read."""
        return self._md5.hexdigest()

    def require_unchanged(self, size: int) -> None:
        """Raise SourceChanged where there is more than `size` bytes, or the source is another by now."""
        self.require_end(size)
        self._source.check()


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
