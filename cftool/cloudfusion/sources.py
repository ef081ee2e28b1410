"""File objects as Sources: whole, whatever their position, replayable for every attempt, and to be interrupted.

A file object has one position and may be no real file, while a Source is opened anew, from several threads too. So its
bytes are first put where that is possible: small ones in memory, large ones in a temporary file.
"""

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Protocol

from cftool.core.errors import Interrupted
from cftool.core.sources import BytesSource
from cftool.core.types import Source
from cftool.disk.source import LocalSource

_SMALL = 8 << 20  # bytes that are kept in memory
_PIECE = 1 << 20


class Event(Protocol):
    """What `interrupt_event` must have, as of `threading` or `multiprocessing`."""

    def is_set(self) -> bool:
        """Whether the upload is to end."""
        ...


class Readable(Protocol):
    """A binary file object."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; empty at the end only."""
        ...


@contextmanager
def of_fileobject(fileobject: Readable, event: Event | None) -> Iterator[Source]:
    """All that is in `fileobject`, from its beginning where it can seek, as a Source for the time of the context."""
    _rewind(fileobject)
    first = _read(fileobject, _SMALL + 1)
    if len(first) <= _SMALL:
        yield interruptible(BytesSource(first), event)
        return
    fd, path = tempfile.mkstemp(prefix="cftool-")
    try:
        with open(fd, "wb") as file:
            file.write(first)
            del first
            while piece := _read(fileobject, _PIECE):
                file.write(piece)
                _check(event)
        yield interruptible(LocalSource(path), event)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)


class OnceSource:
    """A file object for a reader that reads it once, in one thread: the cache's, which copies it."""

    local_path: str | None = None
    size: int | None = None

    def __init__(self, fileobject: Readable) -> None:
        self._fileobject = fileobject

    def open(self) -> BinaryIO:
        """From the beginning where it can seek."""
        _rewind(self._fileobject)
        return io.BufferedReader(_Raw(self._fileobject), _PIECE)

    def load(self) -> bytes:
        """All of it."""
        with self.open() as reader:
            return reader.read()

    def check(self) -> None:
        """What was read is what counts."""


class _Raw(io.RawIOBase):
    """A file object that stays open when this is closed."""

    def __init__(self, fileobject: Readable) -> None:
        self._fileobject = fileobject

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = _once(self._fileobject, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def interruptible(source: Source, event: Event | None) -> Source:
    """`source`, but for reads after `event` is set, which raise Interrupted: nothing is published then."""
    return source if event is None else _Interruptible(source, event)


class _Interruptible:
    """See `interruptible`; without a local path, so that every byte passes here."""

    local_path: str | None = None

    def __init__(self, inner: Source, event: Event) -> None:
        self._inner = inner
        self._event = event
        self.size: int | None = inner.size

    def open(self) -> BinaryIO:
        _check(self._event)
        return io.BufferedReader(_Watched(self._inner.open(), self._event), _PIECE)

    def load(self) -> bytes:
        _check(self._event)
        return self._inner.load()

    def check(self) -> None:
        _check(self._event)
        self._inner.check()


class _Watched(io.RawIOBase):
    """A reader that looks at an event before each step."""

    def __init__(self, inner: BinaryIO, event: Event) -> None:
        self._inner = inner
        self._event = event

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        _check(self._event)
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()
        super().close()


def _check(event: Event | None) -> None:
    if event is not None and event.is_set():
        raise Interrupted("the upload was interrupted", op="write")


def _rewind(fileobject: Readable) -> None:
    seekable = getattr(fileobject, "seekable", None)
    if seekable() if callable(seekable) else hasattr(fileobject, "seek"):
        fileobject.seek(0)  # type: ignore[attr-defined]  # it has


def _read(fileobject: Readable, size: int) -> bytes:
    """`size` bytes, fewer at the end only: `read` of a raw file, a pipe or a socket may give fewer at any time."""
    pieces = []
    while size > 0 and (piece := _once(fileobject, size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _once(fileobject: Readable, size: int) -> bytes:
    data: object = fileobject.read(size)
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise TypeError(f"the file object must be binary, and gives {type(data).__name__}: open it with mode 'rb'")
