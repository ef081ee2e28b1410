"""Bytes of a Source for large uploads: at any offset where the source can, in order where it cannot."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from cftool.core.errors import SourceChanged
from cftool.core.hashing import DROPBOX_BLOCK
from cftool.core.types import Source

_PIECE = 1024 * 1024


class Reader:
    """`random` says whether `pread` works; else `take` reads on. Closed by its upload."""

    def __init__(self, source: Source, check: Callable[[], None]) -> None:
        self._check = check  # raises where the run is to end
        self._file: BinaryIO = source.open()
        self._lock = threading.Lock()
        self._fd: int | None = None
        self.random = False
        try:
            if source.local_path is not None:
                self._fd = self._file.fileno()
            seekable = getattr(self._file, "seekable", None)  # a download has none
            self.random = source.size is not None and (
                self._fd is not None or (seekable is not None and bool(seekable()))
            )
        except BaseException:
            self._file.close()
            raise

    def pread(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes at `offset`."""
        if self._fd is not None:
            return os.pread(self._fd, size, offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.read(size)

    def blocks(self, start: int, end: int) -> list[bytes]:
        """The SHA-256 of each 4 MiB of [start, end), which begins at a multiple of that."""
        found = []
        for at in range(start, end, DROPBOX_BLOCK):
            running = hashlib.sha256()
            for piece in self._pieces(at, min(at + DROPBOX_BLOCK, end)):
                running.update(piece)
            found.append(running.digest())
        return found

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        at = start
        while at < end:
            self._check()
            piece = self.pread(min(_PIECE, end - at), at)
            if not piece:
                raise SourceChanged(f"the source has {at} bytes; {end} were expected", op="read")
            at += len(piece)
            yield piece

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
        if self.pread(1, size) if self.random else self._file.read(1):
            raise SourceChanged(f"the source has more than the {size} bytes expected", op="read")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def blocks_of(data: bytes) -> list[bytes]:
    """The SHA-256 of each 4 MiB of what is in memory."""
    view = memoryview(data)
    return [hashlib.sha256(view[at : at + DROPBOX_BLOCK]).digest() for at in range(0, len(data), DROPBOX_BLOCK)]


def joined(blocks: list[bytes]) -> str:
    """The content hash of what has these blocks."""
    return hashlib.sha256(b"".join(blocks)).hexdigest()
