"""One open file, shared by all handles of its node: the content as it was opened, or a draft once somebody writes.

The draft is made at the first change, not at the opening: programs open for writing what they only read. What was
written is durable in the journal after `commit` (close, fsync).

Clean and whole content that is opened for reading may be given to the kernel (`backing`), which then reads it without
asking. All who have the file open do so then, until the last of them closes it. Where one of them opens it for writing,
the content file itself becomes the draft, because the kernel goes on with that very file; what was written shows in the
file's time and size alone (`direct`).
"""

import errno
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from cftool.wrap.caching.rows import VERSION_PREFIX

if TYPE_CHECKING:
    from cftool.wrap.caching.draft import Draft
    from cftool.wrap.caching.handle import Handle
    from cftool.wrap.caching.rows import Pending
    from cftool.wrap.caching.store import CachingStore

_TICK = 20_000_000  # nanoseconds: two changes within may leave one and the same time


class OpenFile:
    """See the module. `handle` None: a new file."""

    def __init__(self, store: "CachingStore", handle: "Handle | None", draft: "Draft | None", size: int) -> None:
        self._store = store
        self.handle = handle
        self.draft = draft
        self._size = size
        self.users = 0
        self.changers = 0  # handles whose closing commits, and openings under way that will be such
        self.version: str | None = None  # of what was committed last
        self._dirty = draft is not None  # something was changed since the last commit
        self.backing: int | None = None  # the kernel's number for the file that it reads by itself
        self.on_close: Callable[[int], None] = _nothing  # hears of that number
        self._decided = False  # who reads it
        self._seen = (-1, -1)  # size and time of a direct file at its last commit; the time is too new to trust: -1
        self.removed = False  # its name is gone
        self.lock = threading.RLock()

    # ---- by the kernel alone

    def given(self, give: Callable[[int], int | None], *, writing: bool, anew: bool, path: str) -> int | None:
        """The kernel's number for a file that it is to use by itself, or None; the same for all who have it open.

        `anew`: who opens it begins with an empty file, and may write unseen.
        """
        with self.lock:
            if not self._decided:
                self._decided = True
                if anew and self.draft is not None:
                    self.backing = self.draft.lend(give)
                elif not writing and self._may_be_given():
                    assert self.handle is not None
                    self.backing = give(self.handle.fd)
            elif writing and self.backing is not None and self.draft is None:
                self._drafted(path)
            return self.backing

    def _may_be_given(self) -> bool:
        """Whole content that the remote has, so that it can become a draft without anything being lost."""
        handle = self.handle
        if self.draft is not None or handle is None or handle.copied or not handle.complete:
            return False
        return not (handle.entry.version or "").startswith(VERSION_PREFIX)

    @property
    def direct(self) -> bool:
        """Whether the kernel may write without telling."""
        return self.backing is not None and self.draft is not None

    def times(self) -> tuple[int, int]:
        """Size and time of change of a direct file as they stand."""
        assert self.draft is not None
        return self.draft.times()

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size if self.backing is None or self.draft is None else self.times()[0]

    @property
    def dirty(self) -> bool:
        """Whether something may have been changed since the last commit. Asked under the lock by who acts on it."""
        draft = self.draft  # which goes when it is closed
        if self._dirty or self.backing is None or draft is None or draft.times() == self._seen:
            return self._dirty
        return not draft.is_unchanged()

    # ---- reading

    @property
    def fd(self) -> int:
        """The descriptor that holds the content as far as it is here."""
        if self.draft is not None:
            return self.draft.fd
        assert self.handle is not None
        return self.handle.fd

    @property
    def is_local(self) -> bool:
        """Whether nothing of it was fetched that is to be kept at the end."""
        return self.handle is None or self.handle.fetching is None

    @property
    def is_free(self) -> bool:
        """Whether nobody is at it who may take his time, as far as one can know: it is being committed, or copied."""
        free = self.lock.acquire(blocking=False)
        if free:
            self.lock.release()
        return free

    def ready(self, start: int, end: int) -> bool:
        """Whether a read needs no network."""
        return self.draft is not None or self.handle is None or self.handle.has(start, end)

    def read(self, size: int, offset: int) -> bytes:
        """Bytes at `offset`; may wait for the network."""
        self._have(offset, offset + size)
        with self.lock:
            if self.draft is None:
                return os.pread(self.fd, size, offset)
            buffer = bytearray(max(0, min(size, self.size - offset)))
            return bytes(buffer[: self.draft.read_into(memoryview(buffer), offset)])

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """The same into a buffer; how many bytes."""
        self._have(offset, offset + len(buffer))
        with self.lock:
            if self.draft is not None:
                return self.draft.read_into(buffer, offset)
            return os.preadv(self.fd, [buffer], offset)

    def read_now(self, buffer: memoryview, offset: int) -> int:
        """The same where it is here and nobody is at it; -1 where not."""
        if not self.lock.acquire(blocking=False):
            return -1
        try:
            if self.draft is not None:
                return self.draft.read_into(buffer, offset)
            handle = self.handle
            if handle is None or not (handle.fetching is None or handle.ready(offset, offset + len(buffer))):
                return -1
            return os.preadv(handle.fd, [buffer], offset)
        finally:
            self.lock.release()

    def _have(self, start: int, end: int) -> None:
        handle = self.handle
        if self.draft is None and handle is not None:
            handle.ensure(start, end)

    def seek(self, offset: int, whence: int) -> int:
        """The next data, or the next hole. OSError ENXIO behind the end."""
        with self.lock:
            if self.draft is None or not self.draft.in_memory:
                return os.lseek(self.fd, offset, whence)
            if offset >= self.size:
                raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
            return offset if whence == os.SEEK_DATA else self.size

    # ---- changing

    def fetch(self) -> None:
        """All of it, before it becomes a draft: who reads meanwhile does not wait for that."""
        handle = self.handle
        if handle is not None and self.backing is None:
            handle.ensure(0, handle.entry.size or 0)

    def has_room(self, end: int) -> bool:
        """Whether a write up to `end` needs no room to be asked for, and no draft to be made."""
        return self.draft is not None and self.draft.has_room(end)

    def write(self, data: bytes | memoryview, offset: int, *, path: str) -> None:
        """Into the draft. Raises QuotaExceeded before data is accepted."""
        with self.lock:
            draft = self.draft or self._drafted(path)
            end = offset + len(data)
            draft.write(data, offset)
            self._size = max(self._size, end)
            self._dirty = True

    def truncate(self, size: int, *, path: str) -> None:
        """Cut or extend with zeros."""
        with self.lock:
            if size == 0 and not self.removed:
                self._begin_anew(path)
            draft = self._drafted(path)
            draft.truncate(size)
            self._size = size
            self._dirty = True

    def _begin_anew(self, path: str) -> None:
        """What was committed stays whole until the next commit: the kernel may keep a file open past its close."""
        draft = self.draft
        if draft is None:
            if self.backing is None:
                self._replace(self._store.edit(path, truncate=True, create=True))
        elif draft.is_committed_file:
            if self.backing is None:
                self.draft = self._store.edit(path, truncate=True, create=True)
                draft.discard()
            else:  # the kernel goes on with this very file
                draft.keep_copy()

    def allocate(self, offset: int, length: int, *, keep_size: bool, path: str) -> None:
        """Reserve space, as fallocate."""
        with self.lock:
            draft = self._drafted(path)
            if keep_size:
                draft.reserve(offset + length)
            else:
                draft.allocate(offset, length)
                self._size = max(self._size, offset + length)
            self._dirty = True

    def set_time(self, modified_ns: int) -> bool:
        """The file's time, to be published with the draft; False where there is none, or none any more."""
        with self.lock:
            if self.draft is None:
                return False
            self.draft.set_time(modified_ns)
            self._dirty = True
            return True

    def _drafted(self, path: str) -> "Draft":
        if self.draft is None:
            if self.backing is not None:
                assert self.handle is not None
                self._replace(self._store.adopt(self.handle, None if self.removed else path))
                self._seen = self.times()
            elif self.removed:
                self._replace(self._store.orphan(self.handle))
            else:
                self._replace(self._store.edit(path, create=True))
        assert self.draft is not None
        return self.draft

    def _replace(self, draft: "Draft") -> None:
        self.draft = draft
        handle, self.handle = self.handle, None
        if handle is not None:
            handle.close()

    # ---- making durable

    def commit(self, modified_ns: int, told: Callable[[], None] | None = None) -> int | None:
        """What was written is durable; the time that it was published with, None where there was nothing to do.

        `modified_ns` is the time that is shown; a direct file has its own. `told`: see `CachingStore.together`; not
        called where there was nothing to do.
        """
        with self.lock:
            change = self.change(modified_ns)
            if change is None:
                return None
            self.committed(change, self._store.together(change.enter, told))
            return change.modified_ns

    @property
    def is_new(self) -> bool:
        """Whether nothing of it was ever committed, and nothing else is under its name. Under the lock."""
        return self.draft is not None and self.draft.is_new

    def change(self, modified_ns: int) -> "_Change | None":
        """Under the lock, which is kept until `committed`: what `enter` is to make durable; None: nothing."""
        if self.draft is None or not self.dirty or self.removed:
            return None
        self._size, changed_ns = self.times()
        seen = self._as_seen()
        when = changed_ns if self.direct else modified_ns
        draft = self.draft
        draft.prepare()
        return _Change(lambda: draft.enter(when), when, seen)

    def _as_seen(self) -> tuple[int, int]:
        """See `_seen`."""
        size, changed_ns = self.times()
        fresh = time.time_ns() - changed_ns < _TICK  # a later change might have the same time
        return size, -1 if fresh else changed_ns

    def committed(self, change: "_Change", row: "Pending | None") -> None:
        """It is durable."""
        self.version = None if row is None else row.version
        self._dirty = False
        self._seen = change.seen

    @property
    def is_small(self) -> bool:
        """Whether nothing but the journal's commit makes it durable."""
        return self.draft is None or self.draft.is_small

    def begin_upload(self, path: str, shown_ns: int) -> Callable[[float], None]:
        """What was written is pending, as it is now; what is returned waits until the remote has it, so many seconds.

        It has the time that is shown, a direct file its own. To wait raises what `CachingStore.upload` raises, and does
        not need the lock: reads and writes go on.
        """
        with self.lock:
            draft = self.draft
            if self.removed:
                return _nothing_to_wait_for
            # What is pending of a draft itself waits for its end: that of which a copy goes is not waited for.
            if draft is None or not (self.dirty or draft.is_pending):
                return lambda timeout: self._store.upload(path, timeout=timeout)
            seen = self._size, changed_ns = self._marked_time(draft)
            copied = draft.copied(changed_ns if self.direct else shown_ns)
            self._dirty, self._seen = False, seen
        return lambda timeout: self._uploaded(draft, copied, timeout)

    def _marked_time(self, draft: "Draft") -> tuple[int, int]:
        """Size and time, before what is there is copied. A write of the kernel's shows, also in the same moment."""
        _size, changed_ns = self._as_seen()
        if self.direct and changed_ns == -1:
            draft.set_time(self.times()[1] + 1)
        return self.times()

    def _uploaded(self, draft: "Draft", path: str | None, timeout: float) -> None:
        try:
            draft.bring(path, timeout=timeout)
        except BaseException:
            with self.lock:
                self._dirty = True
            raise

    def settled(self) -> None:
        """What it holds is what the remote has: nothing is to be published."""
        self._dirty = False

    def put_aside(self) -> str | None:
        """What nobody closed nor synced gets a name of its own, which it returns; None: there is nothing such."""
        with self.lock:
            draft = self.draft
            if draft is None or self.removed or not self.dirty or draft.was_committed:
                return None
            if draft.size:
                return draft.put_aside()
            draft.removed()  # emptied, and no more: that is nothing to keep
            return None

    def unlinked_by(self, remove: Callable[[], object]) -> None:
        """`remove` takes its name at the store: nothing of it will be published. Where that fails nothing has happened.

        Nobody commits in between: the file would be there again, or the commit would be told and not done.
        """
        with self.lock:
            remove()
            self.removed = True
            if self.draft is not None:
                self.draft.removed()

    def close(self) -> None:
        """The last handle is closed; what was never committed goes."""
        with self.lock:
            if self.draft is not None:
                self.draft.discard()
                self.draft = None
            if self.handle is not None:
                self.handle.close()
                self.handle = None
            backing, self.backing = self.backing, None
            if backing is not None:
                self.on_close(backing)


class _Change(NamedTuple):
    """A commit that is to be done. `seen`: see `OpenFile._seen`."""

    enter: "Callable[[], Pending | None]"
    modified_ns: int
    seen: tuple[int, int]


def _nothing(number: int) -> None:
    del number


def _nothing_to_wait_for(seconds: float) -> None:
    del seconds
