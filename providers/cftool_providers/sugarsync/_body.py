"""The bytes of a Source as request bodies: small ones in memory, others read as the connection takes them.

The last byte is handed out only after the source was proven to be what it was at the start and to end there, because
the service publishes what it got whole. What has no size is put aside on the disk first: the service wants a length.
"""

import os
import tempfile
import threading
from collections.abc import Callable
from typing import BinaryIO

from cftool.core.errors import SourceChanged
from cftool.core.types import Source
from cftool.http.types import Body

SMALL = 1024 * 1024
_PIECE = 1024 * 1024


class Content:
    """One upload's bytes; `size` and `body` for the request. `check` raises where the run is to end."""

    def __init__(self, source: Source, progress: Callable[[int], None] | None, check: Callable[[], None]) -> None:
        self._source = source
        self._progress = progress
        self._check = check
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()
        self._high = 0
        self.body: bytes | Body
        if source.size is not None and source.size <= SMALL:
            data = source.load()
            if len(data) != source.size:
                raise SourceChanged(f"the source has {len(data)} bytes, not {source.size}", op="read")
            source.check()
            self.size = len(data)
            self.body = data
            self._tell(self.size)
            return
        self._file = source.open()
        try:
            if source.size is None or not (source.local_path is not None or self._file.seekable()):
                self._set_aside()
                self.size = self._length
            else:
                self.size = source.size
            if not self.size:
                self._prove()  # nobody will read
        except BaseException:
            self.close()
            raise
        self.body = Body(self.size, self._pread)

    def _set_aside(self) -> None:
        assert self._file is not None
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        length = 0
        try:
            while piece := self._file.read(_PIECE):
                self._check()
                spool.write(piece)
                length += len(piece)
            if self._source.size is not None and length != self._source.size:
                raise SourceChanged(f"the source has {length} bytes, not {self._source.size}", op="read")
            spool.flush()
        except BaseException:
            spool.close()
            raise
        self._file.close()
        self._file = spool
        self._length = length

    def _pread(self, size: int, offset: int) -> bytes:
        assert self._file is not None
        with self._lock:
            if self._source.local_path is not None:
                data = os.pread(self._file.fileno(), size, offset)
            else:
                self._file.seek(offset)
                data = self._file.read(size)
            end = offset + len(data)
            if end >= self.size:
                self._prove()
        self._tell(end)
        return data

    def _prove(self) -> None:
        assert self._file is not None
        self._file.seek(self.size)
        if self._file.read(1):
            raise SourceChanged(f"the source has more than the {self.size} bytes expected", op="read")
        self._source.check()

    def _tell(self, end: int) -> None:
        if self._progress is not None and end > self._high:
            self._progress(end - self._high)
            self._high = end

    def close(self) -> None:
        """Close the source."""
        if self._file is not None:
            self._file.close()
