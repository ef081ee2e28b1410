"""Looking after a cache of metadata, for `cftool cache`: how large it is, and emptying it while others use it."""

import sqlite3

from cftool.core.dataclass import dataclass
from cftool.core.types import Features
from cftool.wrap.metadata import place
from cftool.wrap.metadata.cache import Cache


@dataclass(frozen=True, slots=True)
class Size:
    """`entries` that are known one by one or listed, in how many listings; bytes of the file."""

    bytes: int = 0
    entries: int = 0
    listings: int = 0


def measured(directory: str) -> Size:
    """Of one cache; nothing is in one that was not used since the boot."""
    return _looked_at(directory, clear=False)


def cleared(directory: str) -> Size:
    """What was in it, which is forgotten."""
    return _looked_at(directory, clear=True)


def _looked_at(directory: str, *, clear: bool) -> Size:
    if not place.is_used(directory):
        return Size()
    cache = Cache(directory, Features(), ttl=0)

    def work(db: sqlite3.Connection) -> Size:
        counts = [
            int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in ("entry", "listed", "listing")
        ]
        return Size(cache.database.size(db), counts[0] + counts[1], counts[2])

    try:
        found = cache.database.look(work, Size())
        if clear:
            cache.clear()
            cache.database.compact()
    finally:
        cache.close()
    return found
