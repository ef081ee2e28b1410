"""New content of a file on its way: written at any place, in no row of the journal before `commit`.

`commit` makes all that was written so far durable and pending; it may be called again (fsync, then close). As long as
the draft is open its content is not uploaded, but for the copy that `upload` makes of it. A draft that was never
committed leaves nothing: a file that was never closed nor synced is not published half-written.
"""

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from cftool.core import paths
from cftool.disk import copying
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
        self._silent = published  # the kernel may write without telling
        self._marked = False  # the journal knows that the file may not be what its row says
        self._copied: tuple[str, int] | None = None  # path and time of the copy that has all that is here
        self._reserved = os.fstat(fd).st_size

    def reserve(self, end: int) -> None:
        """Before bytes are written up to `end`, or the file is cut there: ask for room. Raises QuotaExceeded."""
        if end > self._reserved:
            step = min(_STEP, self._store.settings.hard // 16)
            self._store.make_disk_room(end - os.fstat(self.fd).st_size)
            self._store.make_room(end - self._reserved + step if end - self._reserved < step else end)
            self._reserved = end + min(step, self._store.spare() // 4)  # others write at the same time
        self._copied = None
        if self._row is not None and not self._marked:
            with self._store.lock:
                self._mark()

    def _mark(self) -> None:
        self._store.journal.edit(self.number)
        self._marked = True

    def has_room(self, end: int) -> bool:
        """Whether `reserve` would have nothing to ask."""
        return end <= self._reserved and (self._row is None or self._marked)

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
        if self._silent and not self._marked:
            self._mark()
        return self._row

    def _current(self) -> Pending | None:
        """Under the lock: the row that has our content."""
        if self._row is None:
            return None
        return self._store.overlay.of_content(self.number)

    def upload(self, modified_ns: int | None = None, *, timeout: float) -> None:
        """Bring what is written so far to the remote, while the draft stays open. For fsync that means the remote.

        A copy of it becomes pending, durable as after `commit`, and is uploaded at once. Raises as
        `CachingStore.upload`; the copy stays pending then. Nothing happens where the name was removed.
        """
        store = self._store
        if self.path is None:
            return
        when = os.fstat(self.fd).st_mtime_ns if modified_ns is None else modified_ns
        if self._silent or self._copied != (self.path, when):
            self._copy(when)
        if self._copied is None:
            return  # removed meanwhile
        path = self._copied[0]
        store.upload(path, timeout=timeout)
        with store.lock:
            if self.path == path:
                self._base = store.base_now(path, self._base)

    def _copy(self, modified_ns: int) -> None:
        store = self._store
        size = self.size
        store.make_room(size)
        with store.lock:
            number = store.new_id()
            fd = store.files.create(number)
        try:
            copying.copy(self.fd, fd, size)
            store.files.publish(number, fd)
            status = os.fstat(fd)
        except BaseException:
            store.files.discard(number, fd)
            raise
        os.close(fd)
        content = Content(number, None, size, allocated=status.st_blocks * 512)
        row = None
        try:
            row = store.together(lambda: self._enter_copy(content, modified_ns))
        finally:
            if row is None:
                store.files.remove(number)
        self._copied = None if row is None else (row.path, modified_ns)

    def _enter_copy(self, content: Content, modified_ns: int) -> Pending | None:
        """Under the lock: the copy takes the place of our own content, which is in no row until the next commit."""
        store = self._store
        if self.path is None:
            return None
        row = self._current()
        self._row = None
        if row is None:
            return store.record_upload(self.path, content, modified_ns, self._base)
        return store.grown(row, content, modified_ns)

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
            self._settled(fd)
            os.close(fd)
        else:
            self._store.files.discard(self.number, fd)
        self._store.forget_draft(self)

    def _settled(self, fd: int) -> None:
        """What the file has now is what its row says, and the journal need not doubt it any more."""
        store = self._store
        with store.lock:
            row = self._current()
            if row is None:
                store.files.remove(self.number)
            elif self._marked and os.fstat(fd).st_size != row.size:
                os.fsync(fd)
                self._enter_as_is(row, fd)
            if self._marked:
                store.journal.edited([self.number])

    def _enter_as_is(self, row: Pending, fd: int) -> None:
        status = os.fstat(fd)
        content = Content(self.number, None, status.st_size, allocated=status.st_blocks * 512)
        self._store.grown(row, content, status.st_mtime_ns)

    def close(self, modified_ns: int | None = None) -> Pending | None:
        """Commit and close; durable when it returns."""
        try:
            return self.commit(modified_ns)
        finally:
            self.discard()


def grown_row(row: Pending, content: Content, modified_ns: int, due: float) -> Pending:
    """The row of content that was written to after its first commit, or that has another copy of it."""
    return replace(
        row, content=content.id, size=content.size, modified_ns=modified_ns, due=due, state=State.DIRTY, attempts=0,
        next_try=0.0,
    )  # fmt: skip
