"""New content of a file on its way: written at any place, in no row of the journal before `commit`.

`commit` makes all that was written so far durable and pending; it may be called again (fsync, then close). As long as
the draft is open its content is not uploaded, but for what is `copied` of it. A draft that was never
committed leaves nothing, or is put aside: a file that was never closed nor synced is not published half-written.

Small content is collected in memory and goes into the journal itself. What grows above the limit, or is asked for its
descriptor, gets a file. The kernel may be given that file (`lend`), and then writes without telling; what is small all
the same goes into the journal, and the file is thrown away. Not thread-safe but for `removed` and `moved`: the user
locks.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cftool.core import paths
from cftool.disk import copying
from cftool.wrap.caching import files as data_files
from cftool.wrap.caching.names import conflict_name
from cftool.wrap.caching.rows import Base, Content, Pending, State, What, on_pages, small_content

if TYPE_CHECKING:
    from cftool.wrap.caching.store import CachingStore

_STEP = 64 << 20  # bytes that are asked room for at once


class Draft:
    """See the module. `fd` None: it begins empty, or with `small`, in memory."""

    def __init__(
        self,
        store: "CachingStore",
        path: str | None,
        number: int,
        fd: int | None,
        base: Base,
        *,
        published: bool = False,
        small: bytes = b"",
    ) -> None:
        self._store = store
        self.path = path  # None: the name was removed; the content goes with the draft
        self.number = number
        self._small: bytearray | None = bytearray(small) if fd is None else None
        self._fd = -1 if fd is None else fd
        self._closed = False
        self._base = base
        self._row: Pending | None = None
        self._published = published  # whether the file has its name
        self._silent = published  # the kernel may write without telling
        self._inlined: bytes | None = None  # what the journal has of a file that the kernel writes to
        self._entered = 0  # bytes on the disk that the journal knows of
        self._marked = False  # the journal knows that the file may not be what its row says
        self._copied: tuple[str, int] | None = None  # path and time of the copy that has all that is here
        self._reserved = 0 if fd is None else os.fstat(fd).st_size
        self._changed_ns = time.time_ns()  # of small content

    @property
    def fd(self) -> int:
        """Of the file, which is made if need be; to be read and written by its user, up to what `reserve` allowed."""
        if self._small is not None:
            self._spill()
        return self._fd

    def _spill(self) -> None:
        """From here on it is a file. What the journal has of it counts until the next commit."""
        assert self._small is not None
        files = self._store.files
        fd = files.create(self.number)
        try:
            data_files.write_at(fd, memoryview(self._small), 0)
            os.utime(fd, ns=(self._changed_ns, self._changed_ns))
        except BaseException:
            files.discard(self.number, fd)
            raise
        self._fd, self._small = fd, None

    def lend(self, give: Callable[[int], int | None]) -> int | None:
        """`give` gets the file, for the kernel to write to, and says its number there; None where it takes it not."""
        number = give(self.fd)
        if number is not None:
            self._silent = True
            with self._store.lock:
                self._store.silent.add(self)
        return number

    @property
    def unseen(self) -> int:
        """Bytes on the disk that the journal does not know of."""
        return 0 if self._fd < 0 else max(0, data_files.allocated(self._fd) - self._entered)

    # ---- room

    def reserve(self, end: int) -> None:
        """Before bytes are written up to `end`, or the file is cut there: ask for room. Raises QuotaExceeded."""
        if end > self._reserved and self._small is not None and end <= self._store.settings.inline:
            pages = on_pages(end)
            self._store.make_small_room(pages - self._reserved)
            self._reserved = pages
        elif end > self._reserved:
            step = min(_STEP, self._store.settings.hard // 16)
            self._store.make_disk_room(end - self.size)
            self._store.make_room(end - self._reserved + step if end - self._reserved < step else end)
            self._reserved = end + min(step, self._store.spare() // 4)  # others write at the same time
        self._copied = None
        if self._row is not None and self._published and not self._marked:
            with self._store.lock:
                self._mark()

    def _mark(self) -> None:
        self._store.journal.edit(self.number)
        self._marked = True

    def has_room(self, end: int) -> bool:
        """Whether `reserve` would have nothing to ask."""
        if self._small is not None:
            limit = self._store.settings.inline
            return end <= limit and (end <= self._reserved or self._store.has_small_room())
        return end <= self._reserved and (self._row is None or not self._published or self._marked)

    # ---- content

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """All of `data` at `offset`. Raises QuotaExceeded before anything is accepted."""
        end = offset + len(data)
        self.reserve(end)
        small = self._small
        if small is None or end > self._store.settings.inline:
            data_files.write_at(self.fd, data, offset)
            return
        if offset > len(small):
            small.extend(bytes(offset - len(small)))
        small[offset:end] = data
        self._changed_ns = time.time_ns()

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Bytes at `offset`; how many."""
        small = self._small
        if small is None:
            return os.preadv(self._fd, [buffer], offset)
        piece = small[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)

    def truncate(self, size: int) -> None:
        """Cut, or extend with zeros."""
        self.reserve(size)
        small = self._small
        if small is None or size > self._store.settings.inline:
            os.ftruncate(self.fd, size)
            return
        if size > len(small):
            small.extend(bytes(size - len(small)))
        del small[size:]
        self._changed_ns = time.time_ns()

    def allocate(self, offset: int, length: int) -> None:
        """Have room on the disk for these bytes; the content gets as long."""
        end = offset + length
        self.reserve(end)
        if self._small is not None and end <= self._store.settings.inline:
            self.truncate(max(end, len(self._small)))
        else:
            os.posix_fallocate(self.fd, offset, length)

    def set_time(self, modified_ns: int) -> None:
        """When it was changed."""
        if self._small is None:
            os.utime(self._fd, ns=(modified_ns, modified_ns))
        self._changed_ns = modified_ns

    def times(self) -> tuple[int, int]:
        """Size, and time of change, as they stand now."""
        if self._small is not None:
            return len(self._small), self._changed_ns
        status = os.fstat(self._fd)
        return status.st_size, status.st_mtime_ns

    @property
    def size(self) -> int:
        """Bytes as they stand now."""
        return self.times()[0]

    # ---- making durable

    def commit(self, modified_ns: int | None = None) -> Pending | None:
        """What is written is durable and will be uploaded; None where the name was removed meanwhile."""
        self.prepare()
        return self._store.together(lambda: self.enter(modified_ns))

    @property
    def is_small(self) -> bool:
        """Whether the journal's own commit is all that makes it durable."""
        return self._small is not None or self._may_be_taken_in()

    def prepare(self) -> None:
        """What is in a file is on the disk: before `enter`."""
        if self.is_small:
            return
        if self._published:
            os.fsync(self._fd)
        else:
            self._store.files.publish(self.number, self._fd)
            self._published = True

    def _may_be_taken_in(self) -> bool:
        """Whether it is small, though the kernel was given a file for it."""
        return self._silent and not self._published and self.size <= self._store.settings.inline

    def _content(self) -> Content:
        """The row of what is here."""
        limit = self._store.settings.inline
        data = None
        if self._small is not None:
            data = bytes(self._small)
        elif self._may_be_taken_in():
            data = os.pread(self._fd, limit + 1, 0)
        if data is not None and len(data) <= limit and self._store.may_be_inline(len(data)):
            self._inlined = None if self._small is not None else data
            return small_content(self.number, data)
        self._inlined = None
        if not self._published:  # it has grown meanwhile, or the journal is full of small content
            self._store.files.publish(self.number, self.fd)
            self._published = True
        status = os.fstat(self._fd)
        self._entered = status.st_blocks * 512
        return Content(self.number, None, status.st_size, allocated=self._entered)

    def is_unchanged(self) -> bool:
        """Whether what the journal has is what is here: known of small files that the kernel writes to."""
        inlined = self._inlined
        return inlined is not None and os.pread(self._fd, len(inlined) + 1, 0) == inlined

    def enter(self, modified_ns: int | None) -> Pending | None:
        """Under the store's lock, in a transaction: the rows of what is here."""
        store = self._store
        if self.path is None:
            return None
        try:
            content = self._content()
            when = self.times()[1] if modified_ns is None else modified_ns
            row = self._current()
            if row is None:
                self._row = store.record_upload(self.path, content, when, self._base)
            else:
                self._row = store.grown(row, content, when)
            if self._silent and self._published and not self._marked:
                self._mark()
        except BaseException:
            self._inlined = None
            raise
        self._copied = None  # what is pending is our own content again
        return self._row

    def undone(self) -> None:
        """Under the store's lock: what was entered is not on the disk, and is entered anew by the next `enter`."""
        self._inlined = None
        self._marked = self._marked and self.number in self._store.journal.editing()

    def _current(self) -> Pending | None:
        """Under the lock: the row that has our content."""
        if self._row is None:
            return None
        return self._store.overlay.of_content(self.number)

    def copied(self, modified_ns: int | None = None) -> str | None:
        """A copy of what is written so far is pending, durable as after `commit`: its path; None: the name is gone."""
        if self.path is None:
            return None
        when = self.times()[1] if modified_ns is None else modified_ns
        if self._silent or self._copied != (self.path, when):
            self._copy(when)
        return None if self._copied is None else self._copied[0]

    def bring(self, path: str | None, *, timeout: float) -> None:
        """Bring that copy to the remote, while the draft stays open: needs no lock of the user's.

        For fsync that means the remote. Raises as `CachingStore.upload`; the copy stays pending then. Nothing happens
        where the name was removed.
        """
        store = self._store
        while path is not None:
            store.upload(path, timeout=timeout)
            with store.lock:
                if self.path == path:
                    self._base = store.base_now(path, self._base)
                    return
                path = self.path  # it was renamed meanwhile, and may wait under that name

    @property
    def in_memory(self) -> bool:
        """Whether there is no file of it."""
        return self._small is not None

    @property
    def is_new(self) -> bool:
        """Whether nothing of it was ever committed, and its name was nobody's."""
        if self._row is not None or self.path is None:
            return False
        with self._store.lock:
            if self._store.base_now(self.path, self._base).version != "":
                return False
            last = self._store.overlay.last(self.path)
        return last is None or last.what is not What.UPLOAD

    @property
    def was_committed(self) -> bool:
        """Whether the journal has content of it."""
        return self._row is not None

    def put_aside(self) -> str | None:
        """Before the first commit: what is here gets a name beside its own, which it returns; None: it has none."""
        store = self._store
        with store.lock:
            if self.path is None:
                return None
            taken = {row.path for row in store.overlay.rows.values()}
            self.path = conflict_name(self.path, store.settings.host, store.times.wall(), taken, word="unfinished")
            self._base = store.nothing_there()
            return self.path

    @property
    def is_pending(self) -> bool:
        """Whether a row has this very content: as long as the draft is open, it is not uploaded."""
        with self._store.lock:
            return self._current() is not None

    @property
    def is_committed_file(self) -> bool:
        """Whether what the journal has of it is the very file that is written to."""
        return self._row is not None and self._published

    def keep_copy(self) -> None:
        """Before what is committed is written over: a copy of it is pending from here on, durable as after `commit`."""
        row = self._row
        if row is not None and row.modified_ns is not None and self.path is not None:
            self._copy(row.modified_ns)

    def _copy(self, modified_ns: int) -> None:
        store = self._store
        store.make_room(self.size)
        with store.lock:
            number = store.new_id()
        content = self._copied_small(number) or self._copied_file(number)
        row = None
        try:
            row = store.together(lambda: self._enter_copy(content, modified_ns))
        finally:
            if row is None and content.data is None:
                store.files.remove(number)
        self._copied = None if row is None else (row.path, modified_ns)

    def _copied_small(self, number: int) -> Content | None:
        small = self._small
        if small is None or not self._store.may_be_inline(len(small)):
            return None
        return small_content(number, bytes(small))

    def _copied_file(self, number: int) -> Content:
        files = self._store.files
        size = self.size
        fd = files.create(number)
        try:
            copying.copy(self.fd, fd, size)
            files.publish(number, fd)
            status = os.fstat(fd)
        except BaseException:
            files.discard(number, fd)
            raise
        os.close(fd)
        return Content(number, None, size, allocated=status.st_blocks * 512)

    def _enter_copy(self, content: Content, modified_ns: int) -> Pending | None:
        """Under the lock: the copy takes the place of our own content, which is in no row until the next commit."""
        store = self._store
        if self.path is None:
            return None
        row = self._current()
        self._row = self._inlined = None
        if row is None:
            return store.record_upload(self.path, content, modified_ns, self._base)
        return store.grown(row, content, modified_ns)

    # ---- its name, its end

    def moves(self, src: str) -> None:
        """Under the store's lock: a path is about to be renamed. What it is based on counts under the old one."""
        if self.path is not None and paths.is_within(self.path, src):
            base = self._store.base_now(self.path, self._base)
            unsure = base.version and self._store.overlay.concerned(self.path)
            self._base = replace(base, version=None) if unsure else base

    def moved(self, src: str, dst: str) -> None:
        """Under the store's lock: a path is renamed; what is renamed over has its name no more."""
        if self.path == dst:
            self.path = None
        elif self.path is not None and paths.is_within(self.path, src):
            self.path = dst + self.path[len(src) :]

    def removed(self) -> None:
        """The name is gone: nothing of this draft will be uploaded, whoever has it open goes on using it."""
        with self._store.lock:
            self.path = None

    def discard(self) -> None:
        """Close without a commit of what was written since the last one. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._silent:
            with self._store.lock:
                self._store.silent.discard(self)
        fd, self._fd = self._fd, -1
        if fd >= 0 and not self._published:
            self._store.files.discard(self.number, fd)
            fd = -1
        with self._store.lock:  # to the end: who drops our row meanwhile leaves the file to us
            try:
                if fd >= 0:
                    self._settled(fd)
            finally:
                self._store.forget_draft(self)
                if fd >= 0:
                    os.close(fd)

    def _settled(self, fd: int) -> None:
        """Under the lock: what the file has now is what its row says, and the journal need not doubt it any more."""
        store = self._store
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
