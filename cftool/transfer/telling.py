"""Large files tell how far they have come: what executors put around sources and targets for that."""

from collections.abc import Callable
from typing import Any, BinaryIO, cast

from cftool.core import ops
from cftool.core.errors import Interrupted, PreconditionFailed, SourceChanged
from cftool.core.ops import DownloadReader
from cftool.core.provider import never
from cftool.core.store import Store
from cftool.core.types import Download, Entry, Partial, Target
from cftool.transfer.events import Emit, Progress

LARGE = 8 << 20  # bytes from which a file is told of while it is under way


def is_large(size: int | None) -> bool:
    """Whether a file of that size is told of while it is under way."""
    return (size or 0) >= LARGE


def tell(emit: Emit, path: str, count: int) -> None:
    """So many bytes more of a file have passed."""
    if count:
        emit(Progress(path, count))


class TellingTarget:
    """A Target that tells how far a large download has come."""

    def __init__(self, inner: Target, emit: Emit) -> None:
        self._inner = inner
        self._emit = emit

    def save(self, data: bytes, entry: Entry) -> None:
        """As the inner one."""
        self._inner.save(data, entry)
        self._emit(Progress(entry.path, len(data)))

    def begin(self, entry: Entry) -> Partial:
        """As the inner one; what is there from an earlier run counts at once."""
        partial = self._inner.begin(entry)
        size = entry.size or 0
        there = size - sum(end - start for start, end in partial.missing(max(size, 1)))
        if there:
            self._emit(Progress(entry.path, there))
        return _TellingPartial(partial, entry.path, self._emit)


class _TellingPartial:
    """Forwards all of Partial."""

    def __init__(self, inner: Partial, path: str, emit: Emit) -> None:
        self.missing = inner.missing
        self.write_at = inner.write_at
        self.writev_at = inner.writev_at
        self.read_at = inner.read_at
        self.commit = inner.commit
        self.discard = inner.discard
        self.close = inner.close
        self._done = inner.done
        self._path = path
        self._emit = emit

    def done(self, start: int, end: int) -> None:
        """As the inner one."""
        self._done(start, end)
        self._emit(Progress(self._path, end - start))


class _Reader(DownloadReader):
    """Tells how far it has come."""

    def __init__(self, download: Download, passed: Callable[[int], None]) -> None:
        super().__init__(download)
        self._passed = passed  # hears how far it has come; may raise
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        self._passed(self._at)
        data = self.download.read(size)
        self._at += len(data)
        self._passed(self._at)
        return data

    def readinto(self, buffer: Any, /) -> int:
        self._passed(self._at)
        count = super().readinto(buffer)
        self._at += count
        self._passed(self._at)
        return count


class StoreSource(ops.StoreSource):
    """A listed file of one store as the Source for another. That it has gone is NotFound here: the run looks why."""

    def __init__(
        self,
        store: Store,
        entry: Entry,
        emit: Emit = lambda _event: None,
        cancelled: Callable[[], bool] = never,
    ) -> None:
        super().__init__(store, entry)
        self._emit = emit
        self._cancelled = cancelled
        self._told = 0  # bytes that were told of: what is read again counts once

    def open(self) -> BinaryIO:
        """A new reader; raises SourceChanged where the file is another version by now."""
        return cast("BinaryIO", _Reader(self._download(), self._passed))

    def _download(self) -> Download:
        self._passed(0)
        try:
            download = self.store.read(self.entry.path, if_version=self.entry.version)
        except PreconditionFailed as error:
            raise SourceChanged("changed while it was copied", op="read", path=self.entry.path) from error
        if self.size is not None and download.entry.size not in {None, self.size}:
            download.close()
            raise SourceChanged("changed since it was listed", op="read", path=self.entry.path)
        return download

    def _passed(self, at: int) -> None:
        if self._cancelled():
            raise Interrupted("interrupted", op="read", path=self.entry.path)
        if at > self._told and is_large(self.size):
            self._emit(Progress(self.entry.path, at - self._told))
            self._told = at

    def check(self) -> None:
        """The download's end has proven it: exactly this version, whole."""
