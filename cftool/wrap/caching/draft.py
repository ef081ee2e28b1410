"""New content of a file on its way: written at any place, in no row of the journal before `commit`.

`commit` makes all that was written so far durable and pending; it may be called again (fsync, then close). As long as
the draft is open its content is not uploaded. A draft that was never committed leaves nothing: a file that was never
closed nor synced is not published half-written.
"""

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from cftool.core import paths
from cftool.wrap.caching.rows import Base, Content, Pending, State

if TYPE_CHECKING:
    from cftool.wrap.caching.store import CachingStore

_STEP = 64 << 20  # bytes that are asked room for at once


class Draft:
    """See the module. `fd` may be read and written by its user, up to what `reserve` allowed."""

    def __init__(
        self, store: "CachingStore", path: str | None, number: int, fd: int, base: Base, *, published: bool = False
    ) -> None:
        self._store = store
        self.path = path  # None: the name was removed; the content goes with the draft
        self.number = number
        self.fd = fd
        self._base = base
        self._row: Pending | None = None
        self._published = published  # whether the file has its name
        self._reserved = os.fstat(fd).st_size

    def reserve(self, end: int) -> None:
        """Ask for room up to `end` before bytes are written there. Raises QuotaExceeded."""
        if end > self._reserved:
            self._store.make_room(end - self._reserved + _STEP if end - self._reserved < _STEP else end)
            self._reserved = end + _STEP

    def has_room(self, end: int) -> bool:
        """Whether `reserve` would have nothing to ask."""
        return end <= self._reserved

    @property
    def size(self) -> int:
        """Bytes as they stand now."""
        return os.fstat(self.fd).st_size

    def commit(self, modified_ns: int | None = None) -> Pending | None:
        """What is written is durable and will be uploaded; None where the name was removed meanwhile."""
        store = self._store
        if self._published:
            os.fsync(self.fd)
        else:
            store.files.publish(self.number, self.fd)
            self._published = True
        return store.together(lambda: self._enter(modified_ns))

    def _enter(self, modified_ns: int | None) -> Pending | None:
        """Under the lock."""
        store = self._store
        if self.path is None:
            return None
        status = os.fstat(self.fd)
        content = Content(self.number, None, status.st_size, allocated=status.st_blocks * 512)
        row = self._current()
        if row is None:
            self._row = store.record_upload(self.path, content, modified_ns or status.st_mtime_ns, self._base)
        else:
            self._row = store.grown(row, content, modified_ns or status.st_mtime_ns)
        return self._row

    def _current(self) -> Pending | None:
        """Under the lock: the row that has our content."""
        if self._row is None:
            return None
        return self._store.overlay.of_content(self.number)

    def moved(self, src: str, dst: str) -> None:
        """Under the store's lock: a path was renamed."""
        if self.path is not None and paths.is_within(self.path, src):
            self.path = dst + self.path[len(src) :]

    def removed(self) -> None:
        """The name is gone: nothing of this draft will be uploaded, whoever has it open goes on using it."""
        with self._store.lock:
            self.path = None

    def discard(self) -> None:
        """Close without a commit of what was written since the last one. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        if self._published:
            os.close(fd)
            with self._store.lock:
                if self._row is None or self._current() is None:
                    self._store.files.remove(self.number)
        else:
            self._store.files.discard(self.number, fd)
        self._store.forget_draft(self)

    def close(self, modified_ns: int | None = None) -> Pending | None:
        """Commit and close; durable when it returns."""
        try:
            return self.commit(modified_ns)
        finally:
            self.discard()


def grown_row(row: Pending, content: Content, modified_ns: int, due: float) -> Pending:
    """The row of content that was written to after its first commit."""
    return replace(
        row, size=content.size, modified_ns=modified_ns, due=due, state=State.DIRTY, attempts=0, next_try=0.0
    )
