"""An open content file for reads at any place: of the disk alone, or fetched as it is read."""

import os
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from cftool.core.types import Entry
from cftool.disk import copying
from cftool.wrap.caching.fetch import Fetching
from cftool.wrap.caching.files import FileSource

if TYPE_CHECKING:
    from cftool.core.types import Source


class Owner(Protocol):
    """What a handle needs of its store."""

    def released(self, number: int) -> None:
        """A handle on that content was closed."""
        ...


class Handle:
    """One open file. `entry` is what it shows; the content never changes under it. A context manager."""

    def __init__(
        self, owner: Owner, number: int, fd: int, entry: Entry, fetching: Fetching | None, *, copied: bool = False
    ) -> None:
        self._owner = owner
        self.number = number
        self.fd = fd
        self.entry = entry
        self.fetching = fetching
        self.copied = copied  # `fd` is a copy: the content is in the journal
        self.mark = 0  # of the settlements before `entry` was looked at

    def read(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes at `offset`; fewer at the end only. Raises what fetching raises."""
        self.ensure(offset, offset + size)
        return os.pread(self.fd, size, offset)

    def ensure(self, start: int, end: int) -> None:
        """Have the bytes in the file behind `fd`."""
        if self.fetching is not None:
            self.fetching.ensure(start, end)

    def has(self, start: int, end: int) -> bool:
        """Whether the bytes are there without waiting for the network."""
        return self.fetching is None or self.fetching.has(start, end)

    def ready(self, start: int, end: int) -> bool:
        """The same for who reads them now: what follows is fetched ahead for him."""
        return self.fetching is None or self.fetching.ready(start, end)

    @property
    def complete(self) -> bool:
        """Whether all of it is on this disk."""
        return self.fetching is None or self.fetching.blocks.complete

    def copy_to(self, fd: int) -> None:
        """All of it into the new, empty file `fd`, by a reflink where the disk can."""
        size = self.entry.size or 0
        self.ensure(0, size)
        copying.copy(self.fd, fd, size)

    def source(self) -> "Source":
        """The content as a Source; the handle stays open while it is used."""
        size = self.entry.size or 0
        self.ensure(0, size)
        return FileSource(f"/proc/self/fd/{self.fd}", size)

    def close(self) -> None:
        """Release it. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
            self._owner.released(self.number)

    def __enter__(self) -> "Handle":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
