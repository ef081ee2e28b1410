"""Noting: no answer comes from the cache, but what is changed through here is forgotten in it.

For runs that must see the truth, transfers above all, while others have the remote's metadata cached: a mount, or an
earlier run whose answers have not passed their time. Marks are made a directory at a time and held to the end, so that
thousands of files cost what one does; others keep nothing of these directories meanwhile.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from cftool.core import paths
from cftool.core.store import Store
from cftool.core.types import Cap, Entry, Result, Source, WriteItem
from cftool.core.wrapper import Wrapper

if TYPE_CHECKING:
    from cftool.wrap.metadata.cache import Cache
    from cftool.wrap.metadata.marks import Mark

_HELD = 500  # marks; then they end, and are made anew
_UNCACHED = 0.005  # seconds for which a batch does not look again whether there is a cache
_Item = TypeVar("_Item", WriteItem, Entry)


class NotingStore(Wrapper):
    """`directory` is that of the remote's cache, where there is one: nothing is made for this."""

    def __init__(self, inner: Store, directory: str, *, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(inner)
        self._now = now
        self._directory = directory
        self._cache: Cache | None = None
        self._lock = threading.Lock()
        self._marks: dict[tuple[str, bool], Mark] = {}

    def _note(self, *where: str, tree: bool = False, removes: bool = False) -> None:
        """Before something in these directories, or with `tree` below these paths, is changed."""
        with self._lock:
            new = [path for path in dict.fromkeys(where) if (path, tree) not in self._marks]
            cache = self._opened() if new else None
            if cache is None:
                return
            from cftool.wrap.metadata.marks import Extent

            if len(self._marks) > _HELD:
                self._end()
            extent = Extent.TREE if tree else Extent.CHILDREN
            begun = cache.begin(*new, extent=extent, removes=removes, forget=True)
            self._marks.update({(mark.path, tree): mark for mark in begun})

    def _opened(self) -> "Cache | None":
        """The cache, where somebody has one of this remote by now."""
        if self._cache is None and os.path.isdir(self._directory):
            from cftool.wrap.metadata import place
            from cftool.wrap.metadata.cache import Cache

            if place.is_used(self._directory):
                features = self.inner.features
                implicit = Cap.IMPLICIT_DIRS in features.caps
                self._cache = Cache(self._directory, features, ttl=float("inf"), implicit=implicit)
        return self._cache

    def _end(self) -> None:
        if self._cache is not None:
            self._cache.end(list(self._marks.values()))
        self._marks.clear()

    def close(self) -> None:
        """What was noted has ended."""
        with self._lock:
            self._end()
            if self._cache is not None:
                self._cache.close()
                self._cache = None
        self.inner.close()

    # ---- changes

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """Noted."""
        self._note(paths.parent(path))
        return self.inner.write(path, source, modified_ns=modified_ns, if_version=if_version, if_absent=if_absent)

    def delete(self, path: str) -> None:
        """Noted."""
        self._note(paths.parent(path), removes=True)
        self.inner.delete(path)

    def mkdir(self, path: str) -> Entry:
        """Noted."""
        self._note(paths.parent(path))
        return self.inner.mkdir(path)

    def rmdir(self, path: str) -> None:
        """Noted."""
        self._note(paths.parent(path), removes=True)
        self.inner.rmdir(path)

    def copy(self, src: str, dst: str) -> Entry:
        """Noted."""
        self._note(paths.parent(dst))
        return self.inner.copy(src, dst)

    def move(self, src: str, dst: str) -> Entry:
        """Noted."""
        self._note(src, dst, tree=True, removes=True)
        return self.inner.move(src, dst)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Noted."""
        self._note(paths.parent(path))
        return self.inner.set_modified(path, modified_ns)

    def delete_dir(self, path: str) -> None:
        """Noted."""
        self._note(path, tree=True, removes=True)
        self.inner.delete_dir(path)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Each is noted before it is handed on."""
        return self.inner.write_many(self._noted(items, removes=False))

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Each is noted before it is handed on."""
        return self.inner.delete_many(self._noted(entries, removes=True))

    def _noted(self, items: Iterable[_Item], *, removes: bool) -> Iterator[_Item]:
        """Notes of a batch. That nobody has a cache is believed for a moment: far less than a request is under way."""
        above, until = None, 0.0
        for item in items:
            directory = paths.parent(item.path)
            if self._cache is not None or directory != above or self._now() >= until:
                self._note(directory, removes=removes)
                above, until = directory, self._now() + _UNCACHED
            yield item
