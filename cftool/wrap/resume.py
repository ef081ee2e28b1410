"""Resume: a download that breaks goes on at its offset, as long as the file is the same version.

The retries of single requests are `http`'s; here only bodies are continued. What was hashed before the break is hashed
on after it, so that a whole file is verified whole, however many pieces it came in. Without a version, or where ranges
are not served, nothing is resumed: pieces of two versions would make a file that never was.
"""

import logging
from collections.abc import Iterator

from cftool.core import hashing
from cftool.core.download import VerifiedDownload
from cftool.core.errors import IntegrityError, TemporaryError
from cftool.core.store import Store
from cftool.core.types import Cap, Download, Entry
from cftool.core.wrapper import Wrapper

_log = logging.getLogger("cftool.wrap.resume")
_TOTAL = 100  # breaks of one download; a server that drips a byte a connection is not waited for


class ResumeStore(Wrapper):
    """Reopens broken downloads, at most `attempts` times in a row without a byte of progress."""

    def __init__(self, inner: Store, *, attempts: int = 5) -> None:
        super().__init__(inner)
        self._attempts = attempts

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """As the inner store, and resumed."""
        first = self.inner.read(path, start=start, end=end, if_version=if_version)
        entry = first.entry
        if entry.version is None or Cap.RANGES not in self.inner.features.caps:
            return first
        joined = _Joined(self.inner, path, first, start, end, self._attempts)
        return VerifiedDownload(entry, joined.chunks(), start=start, end=end, verify_hashes=False, close=joined.close)


class _Joined:
    """The pieces of one download as one stream of chunks."""

    def __init__(self, store: Store, path: str, first: Download, start: int, end: int | None, attempts: int) -> None:
        self._store = store
        self._path = path
        self._entry: Entry = first.entry
        self._current = first
        self._at = start
        self._end = end
        self._attempts = attempts
        self._hasher: hashing.Hasher | None = None
        self._hashed = start  # the hasher has seen the file up to here
        size = self._entry.size
        self._whole = start == 0 and (end is None or (size is not None and end >= size))
        if self._whole and getattr(first, "hasher", None) is None:
            name = hashing.cheapest(self._entry.hashes)
            self._hasher = None if name is None else hashing.new(name)

    def close(self) -> None:
        self._current.close()

    def chunks(self) -> Iterator[bytes]:
        idle = total = 0
        while True:
            before = self._at
            try:
                for chunk in self._current:
                    self._at += len(chunk)
                    if self._hasher is not None:
                        self._hash(chunk)
                    yield chunk
                break
            except TemporaryError as error:
                idle = 1 if self._at > before else idle + 1
                total += 1
                if idle > self._attempts or total > _TOTAL:
                    raise
                self._reopen(error)
        self._verify()

    def _reopen(self, error: TemporaryError) -> None:
        if self._hasher is None and self._whole:
            # The first piece hashed for itself; from here on its hash is ours. It may be ahead of what it gave out.
            self._hasher = getattr(self._current, "hasher", None)
            self._hashed = getattr(self._current, "received", self._at)
        self._current.close()
        _log.info("resuming the download of %r at byte %d: %s", self._path, self._at, error)
        self._current = self._store.read(self._path, start=self._at, end=self._end, if_version=self._entry.version)

    def _hash(self, chunk: bytes) -> None:
        assert self._hasher is not None
        fresh = self._at - self._hashed  # of this chunk, from its end
        if fresh > 0:
            self._hasher.update(chunk[-fresh:])
            self._hashed = self._at

    def _verify(self) -> None:
        if self._hasher is None:
            return
        expected, actual = self._entry.hashes[self._hasher.name], self._hasher.hexdigest()
        if actual != expected:
            message = f"the content's {self._hasher.name} is {actual}, not {expected}"
            raise IntegrityError(message, op="read", path=self._path)
