"""Files' own times that listings do not tell, of content that is not here (any more): a table of the journal.

Each belongs to one version and is shown of no other, so that a row too many does no harm; of a lost one the time of the
upload is shown. For stores whose listings have no times, and within the transactions of the journal.
"""

import os
import sqlite3
from collections.abc import Iterable

from cftool.core.types import Entry

_KEPT = 1_000_000  # rows; beyond that the oldest go
SCHEMA = """
CREATE TABLE IF NOT EXISTS file_time (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, version TEXT NOT NULL, modified_ns INTEGER NOT NULL
);
"""
_Row = tuple[bytes, str, int]


def exist(db: sqlite3.Connection) -> bool:
    """Whether there is the table: who only looks may find a journal without it."""
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'file_time'").fetchone() is not None


def rows_of(entry: Entry | None) -> list[_Row]:
    """What an entry tells; nothing where it does not tell all of it."""
    if entry is None or entry.version is None or entry.modified_ns is None:
        return []
    return [(os.fsencode(entry.path), entry.version, entry.modified_ns)]


def within(db: sqlite3.Connection, path: str, *tables: str) -> list[_Row]:
    """What the tables know of files below a directory, or at `path` itself."""
    raw = os.fsencode(path)
    low, high = (raw + b"/", raw + b"0") if path else (b"", b"\xff")
    found: list[_Row] = []
    for table in tables:
        query = (
            f"SELECT path, version, modified_ns FROM {table} WHERE (path = ? OR (path >= ? AND path < ?))"  # noqa: S608
            " AND version IS NOT NULL AND modified_ns IS NOT NULL"
        )
        found += db.execute(query, (raw, low, high)).fetchall()
    return found


def put(db: sqlite3.Connection, rows: Iterable[_Row]) -> None:
    """These count from now on."""
    db.executemany("INSERT OR REPLACE INTO file_time (path, version, modified_ns) VALUES (?, ?, ?)", rows)
    db.execute("DELETE FROM file_time WHERE id <= (SELECT max(id) FROM file_time) - ?", (_KEPT,))


def keep(db: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Of clean content that is about to go."""
    known = "path IS NOT NULL AND version IS NOT NULL AND modified_ns IS NOT NULL"
    query = f"SELECT path, version, modified_ns FROM content WHERE id = ? AND {known}"  # noqa: S608 - a constant
    put(db, [row for number in numbers for row in db.execute(query, (number,))])


def move(db: sqlite3.Connection, src: str, dst: str) -> None:
    """A directory has another name; its files are often what they were, under the same versions."""
    old, new = os.fsencode(src), os.fsencode(dst)
    rows = within(db, src, "file_time", "content")
    drop(db, src)
    drop(db, dst)
    put(db, [(new + path[len(old) :], version, when) for path, version, when in rows])


def drop(db: sqlite3.Connection, path: str) -> None:
    """Others have changed what is at or below `path`."""
    if path:
        raw = os.fsencode(path)
        db.execute("DELETE FROM file_time WHERE path = ? OR (path > ? AND path < ?)", (raw, raw + b"/", raw + b"0"))
    else:
        db.execute("DELETE FROM file_time")
