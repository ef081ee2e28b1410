"""Takes in the content of a file that may be small: all of it in memory, or found to be large and left to a stream."""

import hashlib
import io
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple, cast

from cftool.core.errors import SourceChanged
from cftool.core.types import Source
from cftool.disk.errors import translated


class Small(NamedTuple):
    """Content, with the hashes that its record carries."""

    data: bytes
    hashes: Mapping[str, str]


def take(path: str, source: Source, limit: int) -> "Small | Source":
    """The content where it has at most `limit` bytes, else a source of it. The source is proven unchanged."""
    if source.size is not None and source.size > limit:
        return source
    with translated("write", path):
        if source.size is not None:
            data = source.load()
            if len(data) != source.size:
                raise SourceChanged(f"the source has {len(data)} bytes, not {source.size}", path=path)
        else:
            reader = source.open()
            data = _read(reader, limit + 1)
            if len(data) > limit:
                return Begun(source, data, reader)
            reader.close()
            source.check()
    hashes = {name: hashlib.new(name, data, usedforsecurity=False).hexdigest() for name in ("md5", "sha256")}
    return Small(data, hashes)


def _read(reader: BinaryIO, size: int) -> bytes:
    pieces = []
    while size and (data := reader.read(size)):
        pieces.append(data)
        size -= len(data)
    return b"".join(pieces)


class Begun:
    """A source of unknown size whose beginning was read: the first `open` goes on with it, a later one begins anew."""

    size: int | None = None

    def __init__(self, source: Source, head: bytes, reader: BinaryIO) -> None:
        self.local_path = source.local_path
        self._source = source
        self._begun: tuple[bytes, BinaryIO] | None = (head, reader)

    def open(self) -> BinaryIO:
        """As the Source says."""
        begun, self._begun = self._begun, None
        if begun is None:
            return self._source.open()
        return cast("BinaryIO", io.BufferedReader(_Joined(*begun), 256 * 1024))

    def load(self) -> bytes:
        """All of it."""
        with self.open() as reader:
            data = reader.read()
        self.check()
        return data

    def check(self) -> None:
        """As the source says."""
        self._source.check()


class _Joined(io.RawIOBase):
    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head = memoryview(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._rest.close()
        super().close()
