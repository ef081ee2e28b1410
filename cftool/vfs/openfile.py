"""One open file, shared by all handles of its node: the content as it was opened, or a draft once somebody writes.

The draft is made at the first change, not at the opening: programs open for writing what they only read. What was
written is durable in the journal after `commit` (close, fsync). Not thread-safe: the node's lock is its user's.
"""

import os
import threading
from typing import TYPE_CHECKING

from cftool.wrap.caching import files as data_files

if TYPE_CHECKING:
    from cftool.wrap.caching.draft import Draft
    from cftool.wrap.caching.handle import Handle
    from cftool.wrap.caching.store import CachingStore


class OpenFile:
    """See the module. `handle` None: a new file."""

    def __init__(self, store: "CachingStore", handle: "Handle | None", draft: "Draft | None", size: int) -> None:
        self._store = store
        self.handle = handle
        self.draft = draft
        self.size = size
        self.users = 0
        self.dirty = draft is not None  # something was changed since the last commit
        self.removed = False  # its name is gone
        self.explicit_time = False  # whether the time was set after the last write
        self.lock = threading.RLock()

    # ---- reading

    @property
    def fd(self) -> int:
        """The descriptor that holds the content as far as it is here."""
        if self.draft is not None:
            return self.draft.fd
        assert self.handle is not None
        return self.handle.fd

    def ready(self, start: int, end: int) -> bool:
        """Whether a read needs no network."""
        return self.draft is not None or self.handle is None or self.handle.has(start, end)

    def read(self, size: int, offset: int) -> bytes:
        """Bytes at `offset`; may wait for the network."""
        self._have(offset, offset + size)
        with self.lock:
            return os.pread(self.fd, size, offset)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """The same into a buffer; how many bytes."""
        self._have(offset, offset + len(buffer))
        with self.lock:
            return os.preadv(self.fd, [buffer], offset)

    def _have(self, start: int, end: int) -> None:
        handle = self.handle
        if self.draft is None and handle is not None:
            handle.ensure(start, end)

    # ---- changing

    def has_room(self, end: int) -> bool:
        """Whether a write up to `end` needs no room to be asked for, and no draft to be made."""
        return self.draft is not None and self.draft.has_room(end)

    def write(self, data: bytes | memoryview, offset: int, *, path: str) -> None:
        """Into the draft. Raises QuotaExceeded before data is accepted."""
        with self.lock:
            draft = self._drafted(path)
            end = offset + len(data)
            draft.reserve(end)
            data_files.write_at(draft.fd, data, offset)
            self.size = max(self.size, end)
            self.dirty = True
            self.explicit_time = False

    def truncate(self, size: int, *, path: str) -> None:
        """Cut or extend with zeros."""
        with self.lock:
            if self.draft is None and size == 0 and not self.removed:
                self._replace(self._store.edit(path, truncate=True, create=True))
            draft = self._drafted(path)
            draft.reserve(size)
            os.ftruncate(draft.fd, size)
            self.size = size
            self.dirty = True
            self.explicit_time = False

    def allocate(self, offset: int, length: int, *, keep_size: bool, path: str) -> None:
        """Reserve space, as fallocate."""
        with self.lock:
            draft = self._drafted(path)
            draft.reserve(offset + length)
            if not keep_size:
                os.posix_fallocate(draft.fd, offset, length)
                self.size = max(self.size, offset + length)
            self.dirty = True

    def set_time(self, modified_ns: int) -> None:
        """The file's time, to be published with the draft."""
        with self.lock:
            assert self.draft is not None
            os.utime(self.draft.fd, ns=(modified_ns, modified_ns))
            self.dirty = True
            self.explicit_time = True

    def _drafted(self, path: str) -> "Draft":
        if self.draft is None:
            if self.removed:
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

    def commit(self) -> int | None:
        """What was written is durable; the time that it was published with, None where there was nothing to do."""
        with self.lock:
            if self.draft is None or not self.dirty or self.removed:
                return None
            modified_ns = os.fstat(self.draft.fd).st_mtime_ns
            self.draft.commit(modified_ns)
            self.dirty = False
            return modified_ns

    def unlinked(self) -> None:
        """Its name is gone: nothing of it will be published."""
        with self.lock:
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
