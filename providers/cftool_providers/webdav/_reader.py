"""The bytes of a Source as a request's body: at any offset, as often as asked for, and never one too many.

The last piece is given out only after the source has proven that it ends there and did not change meanwhile: a server
that publishes at completion then never sees the end of a wrong file. A source of unknown size goes to a temporary file
first, because HTTP servers want the length before the body.
"""

import os
import threading
from collections.abc import Callable
from typing import IO, BinaryIO

from cftool.core import hashing
from cftool.core.errors import SourceChanged
from cftool.core.types import Source
from cftool.http.types import Body

_PIECE = 1024 * 1024
_IN_MEMORY = 16 * 1024 * 1024  # bytes of a source of unknown size that need no file


class Reader:
    """See the module. Thread-safe; closed by its upload."""

    def __init__(self, source: Source, directory: str | None = None) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._file: IO[bytes] | BinaryIO = source.open()
        self._fd: int | None = None
        self._at = 0
        try:
            if source.size is None:
                self.size = self._spool(directory)
            else:
                self.size = source.size
                if source.local_path is not None:
                    self._fd = self._file.fileno()
            self._seekable = self._fd is None and self._file.seekable()
        except BaseException:
            self._file.close()
            raise

    def _spool(self, directory: str | None) -> int:
        import tempfile

        if directory is not None:
            os.makedirs(directory, mode=0o700, exist_ok=True)
        file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=directory)  # noqa: SIM115 - closed by `close`
        try:
            while piece := self._file.read(_PIECE):
                file.write(piece)
            size = file.tell()
        except BaseException:
            file.close()
            raise
        self._file.close()
        self._file = file
        self._at = size
        return size

    def body(self, start: int = 0, end: int | None = None, *, progress: Callable[[int], None] | None = None) -> Body:
        """[start, end) as a request's body. `progress` is told of each byte once, however often attempts read it."""
        end = self.size if end is None else end
        told = 0

        def pread(size: int, offset: int) -> bytes:
            nonlocal told
            data = self.pread(size, start + offset)
            reached = offset + len(data)
            if progress is not None and reached > told:
                progress(reached - told)
                told = reached
            return data

        return Body(end - start, pread)

    def pread(self, size: int, offset: int) -> bytes:
        """`size` bytes where the source has them. Raises SourceChanged where its end is not where it was said."""
        data = self._read(size, offset)
        if offset + len(data) >= self.size:
            self._require_end(offset + len(data))
        return data

    def _read(self, size: int, offset: int) -> bytes:
        if self._fd is not None:
            return os.pread(self._fd, size, offset)
        with self._lock:
            if offset != self._at:
                self._seek(offset)
            pieces = []
            while size and (piece := self._file.read(min(size, _PIECE))):
                pieces.append(piece)
                size -= len(piece)
                self._at += len(piece)
        return b"".join(pieces)

    def _seek(self, offset: int) -> None:
        if self._seekable:
            self._file.seek(offset)
        else:
            self._file.close()
            self._file = self._source.open()
            left = offset
            while left and (piece := self._file.read(min(left, _PIECE))):
                left -= len(piece)
        self._at = offset

    def _require_end(self, end: int) -> None:
        if end > self.size or self._read(1, end):
            raise SourceChanged(f"the source has more than the {self.size} bytes expected", op="read")
        self._source.check()

    def digest(self, name: str) -> str:
        """The hash of all, as hex. Raises SourceChanged where the source is shorter."""
        running = hashing.new(name)
        at = 0
        while at < self.size:
            piece = self._read(min(_PIECE, self.size - at), at)
            if not piece:
                raise SourceChanged(f"the source has {at} bytes; {self.size} were expected", op="read")
            running.update(piece)
            at += len(piece)
        return running.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
