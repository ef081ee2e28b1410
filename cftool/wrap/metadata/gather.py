"""A listing or a walk on its way into the cache: some rows at a time, and complete only once it has ended normally.

Until then its rows belong to no listing, so that nobody sees them. What a change has touched meanwhile is not kept;
of a walk that means the directories concerned. Memory does not grow with the listing.
"""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from cftool.core import paths
from cftool.core.types import Entry
from cftool.wrap.metadata import rows
from cftool.wrap.metadata.cache import Asked, Cache
from cftool.wrap.metadata.rows import Unkeepable
from cftool.wrap.metadata.tables import PAGE, Row

_T = TypeVar("_T")
_BATCH = 500  # entries a transaction


class Gathering:
    """Give it each entry, then `finish`; or `abandon` it. Does nothing where `asked` is None."""

    def __init__(self, cache: Cache, root: str, asked: Asked | None, *, walk: bool) -> None:
        self._cache = cache
        self._tables = cache.tables
        self._root = root
        self._asked = asked
        self._walk = walk
        self._source: int | None = None
        self._buffer: list[tuple[str, Entry]] = []
        self._usable = asked is not None

    def add(self, entry: Entry) -> None:
        """One more."""
        if self._usable:
            self._buffer.append((paths.parent(entry.path) if self._walk else self._root, entry))
            if len(self._buffer) >= _BATCH:
                self._usable = bool(self._try(self._flush))

    def finish(self) -> None:
        """That was all of it."""
        after: Row | None = (b"", b"", b"")
        first = True
        while self._usable and after is not None:
            found = self._try(lambda db, at=after, new=first: self._end(db, at, new))  # type: ignore[misc]
            self._usable, after = found if found is not None else (False, None)
            first = False
        if not self._usable:
            self.abandon()

    def abandon(self) -> None:
        """It has not ended, or cannot be kept: what there is of it goes."""
        self._usable = False
        self._buffer.clear()
        source, self._source = self._source, None
        if source is not None and self._is_same():
            self._cache.database.learn(lambda db: self._wasted(db, source), None)

    def gone(self) -> None:
        """There is no such directory."""
        self.abandon()
        self._cache.learn(self._root, None, self._asked)

    def _try(self, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
        before = self._source
        found = self._cache.database.learn(work, None)
        if found is None:
            self._source = before  # a number that was rolled back may be given to somebody else
        return found

    def _is_same(self) -> bool:
        return self._asked is not None and self._asked.number == self._cache.database.number

    # ---- within a transaction

    def _wasted(self, db: sqlite3.Connection, source: int) -> None:
        self._tables.done(db, source, waste=True)
        self._cache.shrink(db)

    def _flush(self, db: sqlite3.Connection) -> bool:
        """Write what has come; False where it is too much, or cannot be kept."""
        if not self._is_same():
            return False
        if self._source is None:
            self._source = self._tables.source(db, self._cache.database.owner)
        try:
            self._tables.add(db, self._source, iter(self._buffer))
        except Unkeepable:
            return False
        self._buffer.clear()
        return not self._cache.is_full(db)

    def _end(self, db: sqlite3.Connection, after: Row, first: bool) -> tuple[bool, Row | None]:
        """The rest, and some directories; where to go on."""
        if first and not self._flush(db):
            return False, None
        assert self._source is not None
        if first:
            self._listed(db, self._root)
        found = self._tables.directories(db, self._source, after) if self._walk else []
        for directory, _key, name in found:
            self._listed(db, paths.join(rows.text(directory), rows.text(name)))
        if len(found) == PAGE:
            return True, found[-1]
        self._tables.done(db, self._source)
        self._cache.shrink(db)
        return True, None

    def _listed(self, db: sqlite3.Connection, directory: str) -> None:
        assert self._source is not None
        assert self._asked is not None
        if self._cache.may_keep(db, self._asked, directory):
            self._tables.keep_listing(db, directory, self._asked.when, self._source)
            self._tables.forget_absence(db, directory)
        else:
            self._tables.waste(db, self._source, directory)
