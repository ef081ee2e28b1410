"""`-` as one side of a command: standard input to a file anywhere (cp, put), a file to standard output (cp, cat).

Input that ends within some MiB is held and sent with its size known; a regular file is read in place and can be sent
again after a failure; anything else is a stream that is read once, so a failure in the middle ends the command. Where
reading fails, what is raised is a StoreError in the middle of the write: nothing is published.
"""

import io
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from cftool.cli import exits
from cftool.core.errors import CftoolError, ConfigError, IsADirectory, NotFound, SourceChanged, StoreError, told_at
from cftool.core.sources import BytesSource

if TYPE_CHECKING:
    from cftool.cli.session import Session
    from cftool.core.types import Source

_HELD = 8 * 1024 * 1024  # bytes; what ends within them is sent as a file of known size
_CHUNK = 256 * 1024


class _Stream(io.RawIOBase):
    """What was read ahead, then the rest of the input."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head = memoryview(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override] # the buffer protocol has no name in 3.11
        wanted = memoryview(buffer).cast("B")
        if not self._head:
            with _reading():
                data = self._rest.read(len(wanted))
            wanted[: len(data)] = data
            return len(data)
        taken = self._head[: len(wanted)]
        wanted[: len(taken)] = taken
        self._head = self._head[len(taken) :]
        return len(taken)


class StreamSource:
    """A Source of unknown size that can be opened once."""

    size: int | None = None
    local_path: str | None = None

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._stream: _Stream | None = _Stream(head, rest)

    def open(self) -> BinaryIO:
        """The stream; a second time there is nothing to give."""
        stream, self._stream = self._stream, None
        if stream is None:
            raise SourceChanged("standard input can be read once only; run the command again", op="write")
        return io.BufferedReader(stream, _CHUNK)

    def load(self) -> bytes:
        """Everything; for small files only, which this one is not known to be."""
        with self.open() as stream:
            return stream.read()

    def check(self) -> None:
        """A stream cannot change behind our back."""


class _Range(io.RawIOBase):
    """A regular file from an offset on, by pread: independent of who else reads it."""

    def __init__(self, fd: int, offset: int) -> None:
        super().__init__()
        self._fd, self._at = fd, offset

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override] # the buffer protocol has no name in 3.11
        with _reading():
            count = os.preadv(self._fd, [buffer], self._at)
        self._at += count
        return count


class FileSource:
    """A Source over an open regular file, as `< file` gives it."""

    local_path: str | None = None

    def __init__(self, fd: int, offset: int) -> None:
        self._fd, self._offset = fd, offset
        self._seen = self._print()
        self.size: int | None = max(0, os.fstat(fd).st_size - offset)

    def open(self) -> BinaryIO:
        """A new reader."""
        return io.BufferedReader(_Range(self._fd, self._offset), _CHUNK)

    def load(self) -> bytes:
        """The bytes, proven unchanged."""
        data = self.open().read()
        self.check()
        return data

    def check(self) -> None:
        """Raise SourceChanged where the file is another one now."""
        if self._print() != self._seen:
            raise SourceChanged("the file on standard input changed while it was read", op="write")

    def _print(self) -> tuple[int, int, int]:
        found = os.fstat(self._fd)
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def receive(session: "Session", dst: str) -> int:
    """Standard input to the file `dst`; the exit code, after a summary."""
    from cftool.cli import run
    from cftool.transfer.events import Summary

    opened = session.open(dst)
    if opened.address.trailing_slash or not opened.path:
        raise IsADirectory("standard input needs the name of a file").at_place(dst)
    with suppress(NotFound), told_at(dst):
        if opened.store.stat(opened.path).is_dir:
            raise IsADirectory("is a directory; name a file", path=opened.path, store=opened.store.name)
    started = time.monotonic()
    try:
        entry = opened.store.write(opened.path, _source(), modified_ns=time.time_ns())
    except StoreError as error:
        code = session.report(error, dst)
        if session.out.json:
            failed = Summary(errors={error.kind: 1}, failures=(error,), seconds=time.monotonic() - started)
            run.tell(session, failed, code=code)
        return code
    name, size = opened.path.rpartition("/")[2], entry.size or 0
    if session.out.json:
        session.out.event("copy", {"path": name, "bytes": size, "server_side": False})
    run.tell(session, Summary(copied=1, bytes=size, seconds=time.monotonic() - started), code=exits.DONE)
    return exits.DONE


def send(session: "Session", src: str) -> None:
    """The file `src` to standard output."""
    from cftool.cli.cmd_cat import write

    session.read_only = True
    write(session, src)


def chunks() -> Iterator[bytes]:
    """Standard input to its end, as it comes."""
    stream = _standard_input()
    while True:
        with _reading():
            data: bytes = stream.read1(_CHUNK)  # type: ignore[attr-defined] # a BufferedReader, or a test's BytesIO
        if not data:
            return
        yield data


def _source() -> "Source":
    stream = _standard_input()
    try:
        fd = stream.fileno()
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return FileSource(fd, os.lseek(fd, 0, os.SEEK_CUR))
    except (OSError, ValueError):
        pass  # no descriptor of its own: read it as a stream
    with _reading():
        head = stream.read(_HELD)
    return BytesSource(head) if len(head) < _HELD else StreamSource(head, stream)


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise ConfigError("standard input is closed")
    return sys.stdin.buffer


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except CftoolError:
        raise
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise StoreError(f"standard input cannot be read: {why}", op="write") from error
