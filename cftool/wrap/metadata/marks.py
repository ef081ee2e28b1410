"""Marks: which changes are under way and which have ended, by every process that uses the cache.

A mark is made before a change is sent and ended, under a new number, after what came of it is in the tables, in the
same transaction. Whoever asks the remote notes the newest number before; what he heard is kept only where no mark that
touches it is open, or has ended since. An open mark of a dead process stands for a change whose end nobody knows: what
it touches is forgotten, and for a while not kept, because the service may still be at it.
"""

import enum
import sqlite3
from typing import NamedTuple

from cftool.wrap.metadata.rows import Damaged, blob, text, within

_COLUMNS = "id, path, key, reach, tree"
KEPT = 2000  # ended marks; an answer that is older than these is not kept
GRACE = 60.0  # seconds in which a service may still do what a dead process asked for


class Extent(enum.IntEnum):
    """What a change may touch, besides its path and the directories above it up to `reach`."""

    ONE = 0
    TREE = 1  # all below the path
    CHILDREN = 2  # what is directly in the path


class Mark(NamedTuple):
    """One row. `path` and `reach` as text too: `reach` is the highest directory whose listing may change."""

    id: int
    path: str
    key: bytes
    reach: bytes
    extent: Extent

    def touches(self, key: bytes) -> bool:
        """Whether what is known of the path of `key`, or of its listing, may change with it."""
        if within(self.key, key) and within(key, self.reach):
            return True
        if self.extent is Extent.TREE:
            return within(key, self.key)
        return self.extent is Extent.CHILDREN and bool(key) and key.rpartition(b"/")[0] == self.key


def mark_of(row: tuple[object, ...]) -> Mark:
    """One of number, path, key, reach and extent. Raises Damaged."""
    number, path, key, reach, extent = row
    if type(number) is not int or not isinstance(key, bytes) or not isinstance(reach, bytes):
        raise Damaged("no mark")
    try:
        return Mark(number, text(path), key, reach, Extent(extent))  # type: ignore[arg-type]  # it says ValueError
    except ValueError:
        raise Damaged("no mark") from None


def newest(db: sqlite3.Connection) -> int:
    """The number of the last mark that was ever made."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'mark'").fetchone()
    if row is None:
        return 0
    if type(row[0]) is not int:
        raise Damaged("a number is none")
    return row[0]


def begin(db: sqlite3.Connection, mark: Mark, owner: str) -> Mark:
    """Make one, open."""
    row = (blob(mark.path), mark.key, mark.reach, mark.extent, owner)
    made = db.execute(
        "INSERT INTO mark (path, key, reach, tree, owner, open, until) VALUES (?, ?, ?, ?, ?, 1, 0)", row
    ).lastrowid
    assert made is not None
    return mark._replace(id=made)


def end(db: sqlite3.Connection, mark: Mark, owner: str, *, until: float = 0.0) -> None:
    """End it; one of a database that is gone by now, or of nobody, is told as well."""
    db.execute("DELETE FROM mark WHERE id = ? AND owner = ? AND open", (mark.id, owner))
    row = (blob(mark.path), mark.key, mark.reach, mark.extent, owner, until)
    db.execute("INSERT INTO mark (path, key, reach, tree, owner, open, until) VALUES (?, ?, ?, ?, ?, 0, ?)", row)


def prune(db: sqlite3.Connection, now: float) -> None:
    """Let go of what no answer under way can depend on."""
    db.execute("DELETE FROM mark WHERE id <= ? AND NOT open AND until <= ?", (newest(db) - KEPT, now))


def in_the_way(db: sqlite3.Connection, since: int, now: float) -> list[Mark] | None:
    """What must not touch an answer that was asked for at number `since`; None: it is too old to tell."""
    if newest(db) - since > KEPT:
        return None
    found = db.execute(
        f"SELECT {_COLUMNS} FROM mark WHERE id > ?1 UNION SELECT {_COLUMNS} FROM mark WHERE open"
        f" UNION SELECT {_COLUMNS} FROM mark WHERE until > 0 AND until > ?2",
        (since, now),
    )
    return [mark_of(row) for row in found]


def others(db: sqlite3.Connection, owner: str) -> list[str]:
    """Who else has changes under way."""
    found = db.execute("SELECT DISTINCT owner FROM mark WHERE open AND owner <> ?", (owner,))
    return [str(row[0]) for row in found]


def of(db: sqlite3.Connection, owner: str) -> list[Mark]:
    """The open marks of somebody."""
    return [mark_of(row) for row in db.execute(f"SELECT {_COLUMNS} FROM mark WHERE open AND owner = ?", (owner,))]


def ended(db: sqlite3.Connection, since: int, owner: str) -> frozenset[str]:
    """The paths of the changes of others that ended after number `since`."""
    found = db.execute("SELECT path FROM mark WHERE id > ? AND NOT open AND owner <> ?", (since, owner))
    return frozenset(text(row[0]) for row in found)
