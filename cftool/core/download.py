"""The one Download: chunks from anywhere, counted and hashed on their way, so that no short or false body passes.

Every provider's `read` returns it. Length is checked always; of the hashes that the entry carries the cheapest that can
be computed is checked where the whole file is read. The last chunk is handed out only after both were right, so even
a reader that takes exactly `size` bytes and stops has a verified file.
"""

from collections.abc import Callable, Iterator

from cftool.core import hashing
from cftool.core.errors import IntegrityError
from cftool.core.types import Entry


class VerifiedDownload:
    """See types.Download. `chunks` yields the bytes [start, end) of `entry`; `close` is called once.

    An entry without a size (of a service that streams) has its end where the chunks end, which they must prove.
    """

    def __init__(
        self,
        entry: Entry,
        chunks: Iterator[bytes],
        *,
        start: int = 0,
        end: int | None = None,
        verify_hashes: bool = True,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.entry = entry
        self._chunks = chunks
        self._close = close
        self._expected = _expected(entry.size, start, end)
        self._got = 0
        self._chunk = b""  # the last one, as far as `read` left some of it
        self._used = 0
        self._ended = False
        whole = start == 0 and (end is None or (entry.size is not None and end >= entry.size))
        name = hashing.cheapest(entry.hashes) if whole and verify_hashes and entry.hashes else None
        self.hasher = None if name is None else hashing.new(name)  # public: `wrap.resume` goes on with it after a break

    def __enter__(self) -> "VerifiedDownload":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        if rest := self._take(len(self._chunk)):
            yield rest
        while chunk := self._next():
            yield chunk

    def read(self, size: int = -1) -> bytes:
        """Like a file's `read`: exactly `size` bytes but at the end."""
        if size < 0:
            return b"".join(self)
        data = self._take(size)
        if len(data) == size:
            return data
        pieces = [data]
        missing = size - len(data)
        while missing and (chunk := self._next()):
            self._chunk, self._used = chunk, 0
            data = self._take(missing)
            pieces.append(data)
            missing -= len(data)
        return b"".join(pieces)

    @property
    def received(self) -> int:
        """Bytes that came in and were hashed; the last chunk of them may not have been handed out."""
        return self._got

    def _take(self, size: int) -> bytes:
        """Up to `size` bytes of what `read` left of the last chunk."""
        start = self._used
        if start == 0 and size >= len(self._chunk):
            data, self._chunk = self._chunk, b""
            return data
        data = self._chunk[start : start + size]
        self._used += len(data)
        if self._used == len(self._chunk):
            self._chunk, self._used = b"", 0
        return data

    def close(self) -> None:
        """Stop, and release what the chunks come from."""
        self._ended = True
        close, self._close = self._close, None
        if close is not None:
            close()

    def _next(self) -> bytes:
        """The next chunk, verified where it is the last; empty at the end."""
        if self._ended:
            return b""
        chunk = next((chunk for chunk in self._chunks if chunk), b"")
        self._got += len(chunk)
        if self.hasher is not None:
            self.hasher.update(chunk)
        if self._expected is None:
            if not chunk:
                self._finish()
        elif self._got > self._expected:
            raise self._error(f"more than the {self._expected} bytes expected arrived")
        elif self._got == self._expected:
            if chunk and next((more for more in self._chunks if more), b""):
                raise self._error(f"more than the {self._expected} bytes expected arrived")
            self._finish()
        elif not chunk:
            raise self._error(f"the content ended after {self._got} of {self._expected} bytes")
        return chunk

    def _finish(self) -> None:
        self._ended = True
        if self.hasher is not None:
            name, actual = self.hasher.name, self.hasher.hexdigest()
            if actual != self.entry.hashes[name]:
                raise self._error(f"the content's {name} is {actual}, not {self.entry.hashes[name]}")
        self.close()

    def _error(self, message: str) -> IntegrityError:
        self.close()
        return IntegrityError(message, op="read", path=self.entry.path)


def _expected(size: int | None, start: int, end: int | None) -> int | None:
    if size is None:
        return None
    return max(0, (size if end is None else min(end, size)) - start)
