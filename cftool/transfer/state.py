"""The state database of a pair: what was last seen equal on both sides, and which source it was.

One SQLite file a pair, named by the hash of both keys, in the state directory. A row is only a hint that saves work: it
counts where both sides still are what it says. What a deletion may rest on (the identity of the last source, the number
of its recorded paths) is kept here too, so everything is committed with synchronous FULL. Opened by `run` for each run;
one writer, because runs on one destination exclude each other or only add rows.

Rows are recorded under the number of the source they were seen on. Only sources that a run accepted count when a later
run asks how much of the last source is still there: otherwise copying from a wrong source would vouch for it.
"""

import hashlib
import os
from collections.abc import Iterator
from operator import itemgetter

from cftool.disk import sqlite

# Key, size, print of the source's entry, print of the destination's, number of the source.
Row = tuple[bytes, int | None, str, str, int]

_key = itemgetter(0)
_BATCH = 1024  # rows a transaction: each costs an fsync; what a killed run loses is compared anew
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    key BLOB PRIMARY KEY, size INTEGER, src TEXT NOT NULL, dst TEXT NOT NULL, source INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sources (
    number INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, accepted INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_SOURCES_SCHEMA = "CREATE TABLE IF NOT EXISTS last (name TEXT PRIMARY KEY, identity TEXT NOT NULL) WITHOUT ROWID"


def pair_path(state_dir: str, src_key: str, dst_key: str) -> str:
    """Where the database of a pair lies."""
    return os.path.join(state_dir, "pairs", _digest(src_key, dst_key) + ".sqlite")


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogateescape")).hexdigest()


class PairState:
    """The open database. All methods are for the run's main thread."""

    def __init__(self, path: str, *, identity: str, folding: str, read_only: bool = False) -> None:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._db = sqlite.open(path)
        self.damaged = self._db.damaged
        self.source = -1  # its number; a dry run knows none
        self.accepted: frozenset[int] = frozenset()
        self._puts: dict[bytes, tuple[bytes, int | None, str, str, int]] = {}
        self._drops: list[tuple[bytes]] = []
        self._usable = True
        try:
            if read_only:
                self._look(identity, folding)
            else:
                self._prepare(identity, folding)
        except BaseException:
            self._db.close()
            raise

    def _look(self, identity: str, folding: str) -> None:
        """For a dry run: what is there, where it is of our kind, and nothing changed."""
        self._usable = False
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if {"files", "sources", "meta"} <= tables:
            known = self._db.execute("SELECT value FROM meta WHERE name = 'folding'").fetchone()
            self._usable = known is not None and known[0] == folding
            self.accepted = self._accepted()
            number = self._db.execute("SELECT number FROM sources WHERE identity = ?", (identity,)).fetchone()
            self.source = -1 if number is None else number[0]

    def _accepted(self) -> frozenset[int]:
        return frozenset(number for (number,) in self._db.execute("SELECT number FROM sources WHERE accepted"))

    def _prepare(self, identity: str, folding: str) -> None:
        db = self._db
        db.executescript(_SCHEMA)
        db.execute("BEGIN IMMEDIATE")
        try:
            known = db.execute("SELECT value FROM meta WHERE name = 'folding'").fetchone()
            if known is None or known[0] != folding:  # keys of another kind would never meet
                db.execute("DELETE FROM files")
                db.execute("INSERT OR REPLACE INTO meta VALUES ('folding', ?)", (folding,))
            db.execute("INSERT OR IGNORE INTO sources (identity) VALUES (?)", (identity,))
            self.source = db.execute("SELECT number FROM sources WHERE identity = ?", (identity,)).fetchone()[0]
            self.accepted = self._accepted()
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def rows(self) -> Iterator[tuple[bytes, Row]]:
        """All rows in the order of their keys. Rows written meanwhile have keys that are behind already."""
        if not self._usable:
            return
        cursor = self._db.execute("SELECT key, size, src, dst, source FROM files ORDER BY key")
        while batch := cursor.fetchmany(512):
            yield from zip(map(_key, batch), batch, strict=True)

    def put(self, key: bytes, size: int | None, src: str, dst: str) -> None:
        """Record that both sides are equal."""
        self._puts[key] = (key, size, src, dst, self.source)
        if len(self._puts) >= _BATCH:
            self.flush()

    def is_current(self, row: Row, size: int | None, src: str, dst: str) -> bool:
        """Whether `put` would change nothing."""
        return row[1:] == (size, src, dst, self.source)

    def drop(self, key: bytes) -> None:
        """Forget a path that neither side has any more."""
        self._puts.pop(key, None)
        self._drops.append((key,))
        if len(self._drops) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Commit what was recorded so far."""
        if not self._puts and not self._drops:
            return
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("DELETE FROM files WHERE key = ?", self._drops)
            db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", self._puts.values())
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
        self._puts.clear()
        self._drops.clear()

    def accept(self) -> None:
        """The rows of this run's source may vouch for it from now on."""
        self.flush()
        self._db.execute("UPDATE sources SET accepted = 1 WHERE number = ? AND NOT accepted", (self.source,))

    def close(self) -> None:
        """Close; what was not flushed is lost, and compared anew by the next run."""
        self._db.close()


class LastSources:
    """Which source each pair of addresses had last time; one small database for all pairs."""

    def __init__(self, state_dir: str) -> None:
        path = os.path.join(state_dir, "pairs", "sources.sqlite")
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._db = sqlite.open(path)
        self.damaged = self._db.damaged
        self._db.execute(_SOURCES_SCHEMA)

    def get(self, address: str, dst_key: str) -> str | None:
        """The identity of last time, or None where there was no last time."""
        row = self._db.execute("SELECT identity FROM last WHERE name = ?", (_digest(address, dst_key),)).fetchone()
        return None if row is None else str(row[0])

    def set(self, address: str, dst_key: str, identity: str) -> None:
        """Remember."""
        self._db.execute("INSERT OR REPLACE INTO last VALUES (?, ?)", (_digest(address, dst_key), identity))

    def close(self) -> None:
        """Close."""
        self._db.close()
