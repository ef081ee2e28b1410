"""Entries and listings in the tables: one row in, out or changed. All within a transaction of the caller.

A listing is a row of `listing`, whose entries are the rows of `listed` with its source and directory. Forgetting one
moves its name to `garbage`; `collect` removes the entries, some at a time. What is forgotten is forgotten for all
spellings of the path and for all views; what is kept is this view's alone.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from cftool.core import paths
from cftool.core.types import Entry
from cftool.wrap.metadata import rows
from cftool.wrap.metadata.rows import COLUMNS, Keys, blob

Row = tuple[Any, ...]
PAGE = 1000  # rows of a listing at a time
START: Row = (b"", b"", 0)  # before the first row of a listing


class Listing(NamedTuple):
    """One that is complete, and when it was asked for."""

    asked: float
    source: int


class Tables:
    """The tables as one view sees them."""

    def __init__(self, keys: Keys, view: str) -> None:
        self.keys = keys
        self.view = view

    # ---- entries

    def entry(self, db: sqlite3.Connection, path: str) -> tuple[float, Entry | None] | None:
        """When this very path was asked for, and what it is; None where it is not known."""
        found = db.execute(
            f"SELECT asked, {COLUMNS} FROM entry WHERE key = ? AND view = ? AND path = ?",
            (self.keys.of(path), self.view, blob(path)),
        ).fetchone()
        return None if found is None else (_time(found[0]), rows.decode(path, found[1:]))

    def keep_entry(self, db: sqlite3.Connection, path: str, entry: Entry | None, asked: float) -> None:
        """In the place of what was known. Raises Unkeepable."""
        row = (self.keys.of(path), self.view, blob(path), asked, *rows.encode(entry))
        db.execute(f"INSERT OR REPLACE INTO entry (key, view, path, asked, {COLUMNS}) VALUES ({_marks(11)})", row)

    def forget_entry(self, db: sqlite3.Connection, path: str) -> None:
        """All that any spelling or view says of it."""
        db.execute("DELETE FROM entry WHERE key = ?", (self.keys.of(path),))

    def forget_absence(self, db: sqlite3.Connection, path: str) -> None:
        """That nothing is there."""
        db.execute("DELETE FROM entry WHERE key = ? AND kind = 0", (self.keys.of(path),))

    def seen_as_directory(self, db: sqlite3.Connection, path: str) -> list[float]:
        """When any view asked for something that said that a directory is there."""
        directory, name = paths.parent(path), path.rpartition("/")[2]
        of = self.keys.of
        found = db.execute(
            "SELECT asked FROM entry WHERE key = ? AND path = ? AND kind = 2"
            " UNION ALL SELECT asked FROM listing, listed WHERE listing.key = ? AND path = ?"
            " AND listed.source = listing.source AND dir = path AND listed.key = ? AND name = ? AND kind = 2",
            (of(path), blob(path), of(directory), blob(directory), of(name), blob(name)),
        )
        return [_time(row[0]) for row in found]

    # ---- listings

    def listing(self, db: sqlite3.Connection, path: str) -> Listing | None:
        """The listing of this very path."""
        found = db.execute(
            "SELECT asked, source FROM listing WHERE key = ? AND view = ? AND path = ?",
            (self.keys.of(path), self.view, blob(path)),
        ).fetchone()
        if found is None:
            return None
        if type(found[1]) is not int:
            raise rows.Damaged("a source is none")
        return Listing(_time(found[0]), found[1])

    def keep_listing(self, db: sqlite3.Connection, path: str, asked: float, source: int) -> None:
        """The rows of `source` are the listing of `path` from now on."""
        key = self.keys.of(path)
        self._throw_away(db, "key = ? AND view = ? AND path = ?", (key, self.view, blob(path)))
        db.execute("INSERT INTO listing VALUES (?, ?, ?, ?, ?)", (key, self.view, blob(path), asked, source))

    def forget_listing(self, db: sqlite3.Connection, path: str) -> None:
        """Of all spellings and views."""
        self._throw_away(db, "key = ?", (self.keys.of(path),))

    def forget_tree(self, db: sqlite3.Connection, path: str) -> None:
        """Entries and listings of a path and of all below it."""
        self.forget_entry(db, path)
        self.forget_listing(db, path)
        low, high = _below(self.keys.of(path))
        db.execute("DELETE FROM entry WHERE key >= ? AND key < ?", (low, high))
        self._throw_away(db, "key >= ? AND key < ?", (low, high))

    def forget_children(self, db: sqlite3.Connection, path: str) -> None:
        """The listing of a directory, and the entries and listings of what is directly in it."""
        self.forget_listing(db, path)
        low, high = _below(self.keys.of(path))
        which = (low, high, len(low) + 1)
        direct = "key >= ? AND key < ? AND instr(substr(key, ?), x'2f') = 0"
        db.execute(f"DELETE FROM entry WHERE {direct}", which)
        self._throw_away(db, direct, which)

    def clear(self, db: sqlite3.Connection) -> None:
        """Everything."""
        for table in ("entry", "listing", "listed", "garbage"):
            db.execute(f"DELETE FROM {table}")

    @staticmethod
    def _throw_away(db: sqlite3.Connection, where: str, which: Row) -> None:
        found = db.execute(f"SELECT source, path FROM listing WHERE {where}", which).fetchall()
        if found:
            db.executemany("INSERT INTO garbage VALUES (?, ?)", found)
            db.execute(f"DELETE FROM listing WHERE {where}", which)

    # ---- what is in a listing

    def page(self, db: sqlite3.Connection, source: int, directory: str, after: Row) -> tuple[list[Entry], Row | None]:
        """Entries behind the place `after`, and the place to go on from; None at the end."""
        found = db.execute(
            f"SELECT key, name, {COLUMNS} FROM listed WHERE source = ? AND dir = ? AND (key, name, kind) > (?, ?, ?)"
            " ORDER BY key, name, kind LIMIT ?",
            (source, blob(directory), *after, PAGE),
        ).fetchall()
        entries = [_listed(directory, row[1], row[2:]) for row in found]
        return entries, found[-1][:3] if len(found) == PAGE else None

    def listed(self, db: sqlite3.Connection, source: int, path: str) -> list[Entry]:
        """What a listing has under this very name: nothing, one entry, or a file and a directory."""
        directory, name = paths.parent(path), path.rpartition("/")[2]
        found = db.execute(
            f"SELECT name, {COLUMNS} FROM listed WHERE source = ? AND dir = ? AND key = ? AND name = ?",
            (source, blob(directory), self.keys.of(name), blob(name)),
        )
        return [_listed(directory, row[0], row[1:]) for row in found]

    def below(self, db: sqlite3.Connection, source: int, directory: str) -> tuple[int, list[str]]:
        """How many entries a listing has, and the paths of its directories."""
        which = (source, blob(directory))
        count = db.execute("SELECT count(*) FROM listed WHERE source = ? AND dir = ?", which).fetchone()[0]
        found = db.execute("SELECT name FROM listed WHERE source = ? AND dir = ? AND kind = 2", which)
        return int(count), [paths.join(directory, rows.text(row[0])) for row in found]

    def is_empty(self, db: sqlite3.Connection, source: int, directory: str) -> bool:
        """Whether a listing has nothing."""
        found = db.execute("SELECT 1 FROM listed WHERE source = ? AND dir = ? LIMIT 1", (source, blob(directory)))
        return found.fetchone() is None

    def tells_stored(self, db: sqlite3.Connection, source: int, directory: str) -> bool | None:
        """Whether the service tells when it stored a file, by some of a listing; None where it has no file."""
        found = db.execute(
            "SELECT count(*), count(stored) FROM"
            " (SELECT stored FROM listed WHERE source = ? AND dir = ? AND kind = 1 LIMIT 20)",
            (source, blob(directory)),
        ).fetchone()
        return bool(found[1]) if found[0] else None

    def place_of(self, entry: Entry) -> Row:
        """Where an entry stands in the order of `page`."""
        return (self.keys.of(entry.name), blob(entry.name), rows.code(entry))

    def relist(self, db: sqlite3.Connection, path: str, entry: Entry | None) -> int | None:
        """Put `entry` into the listing of its directory, or take it out; of others, and in doubt, the listing goes.

        How many entries the listing had for the path; None where there is none. Raises Unkeepable.
        """
        directory, name = paths.parent(path), path.rpartition("/")[2]
        key = self.keys.of(directory)
        own = self.listing(db, directory)
        if own is None:
            self.forget_listing(db, directory)
            return None
        self._throw_away(db, "key = ? AND NOT (view = ? AND path = ?)", (key, self.view, blob(directory)))
        spelled = (own.source, blob(directory), self.keys.of(name))
        there = db.execute("SELECT name, kind FROM listed WHERE source = ? AND dir = ? AND key = ?", spelled).fetchall()
        row = None if entry is None else rows.encode(entry)
        same = [one for one in there if one[0] == blob(name) and (row is None or one[1] == row[0])]
        if len(same) != len(there) or len(there) > 1:
            self.forget_listing(db, directory)
            return len(there)
        db.execute("DELETE FROM listed WHERE source = ? AND dir = ? AND key = ?", spelled)
        if row is not None:
            db.execute(f"INSERT INTO listed VALUES ({_marks(11)})", (*spelled, blob(name), *row))
        return len(there)

    # ---- making a listing, and what is left of others

    def source(self, db: sqlite3.Connection, owner: str) -> int:
        """A number for the rows of a listing or walk under way."""
        made = db.execute("INSERT INTO source (owner) VALUES (?)", (owner,)).lastrowid
        assert made is not None
        return made

    def add(self, db: sqlite3.Connection, source: int, entries: Iterator[tuple[str, Entry]]) -> None:
        """Rows of it, each with its directory. Raises Unkeepable."""
        of = self.keys.of
        db.executemany(
            f"INSERT OR REPLACE INTO listed VALUES ({_marks(11)})",
            ((source, blob(d), of(e.name), blob(e.name), *rows.encode(e)) for d, e in entries),
        )

    def directories(self, db: sqlite3.Connection, source: int, after: Row) -> list[Row]:
        """Some directories of a walk: dir, key and name."""
        return db.execute(
            "SELECT dir, key, name FROM listed WHERE source = ? AND (dir, key, name) > (?, ?, ?) AND kind = 2"
            " ORDER BY dir, key, name LIMIT ?",
            (source, *after, PAGE),
        ).fetchall()

    def done(self, db: sqlite3.Connection, source: int, *, waste: bool = False) -> None:
        """It is under way no more; with `waste` all its rows go."""
        db.execute("DELETE FROM source WHERE id = ?", (source,))
        if waste:
            db.execute("DELETE FROM listing WHERE source = ?", (source,))
            db.execute("INSERT INTO garbage VALUES (?, NULL)", (source,))

    def waste(self, db: sqlite3.Connection, source: int, directory: str) -> None:
        """These rows are no listing."""
        db.execute("INSERT INTO garbage VALUES (?, ?)", (source, blob(directory)))

    @staticmethod
    def collect(db: sqlite3.Connection, limit: int = PAGE) -> bool:
        """Remove some of what was thrown away; whether there may be more."""
        found = db.execute("SELECT rowid, source, dir FROM garbage LIMIT 1").fetchone()
        if found is None:
            return False
        number, source, directory = found
        where, which = (
            ("source = ?", (source,)) if directory is None else ("source = ? AND dir = ?", (source, directory))
        )
        gone = db.execute(
            f"DELETE FROM listed WHERE (source, dir, key, name, kind) IN"
            f" (SELECT source, dir, key, name, kind FROM listed WHERE {where} LIMIT ?)",
            (*which, limit),
        ).rowcount
        if gone < limit:
            db.execute("DELETE FROM garbage WHERE rowid = ?", (number,))
        return True

    @staticmethod
    def forget_oldest(db: sqlite3.Connection) -> bool:
        """A quarter of all, what was asked for first; whether there was anything."""
        some = False
        for table in ("entry", "listing"):
            bound = db.execute(
                f"SELECT asked FROM {table} ORDER BY asked LIMIT 1 OFFSET (SELECT count(*) FROM {table}) / 4"
            ).fetchone()
            if bound is None:
                continue
            some = True
            if table == "entry":
                db.execute("DELETE FROM entry WHERE asked <= ?", bound)
            else:
                Tables._throw_away(db, "asked <= ?", bound)
        return some


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _below(key: bytes) -> tuple[bytes, bytes]:
    """The range of the keys below a directory: from the first on, and before what."""
    return (key + b"/", key + b"0") if key else (b"", b"\xff")


def _time(value: object) -> float:
    if type(value) is not float:
        raise rows.Damaged("a time is none")
    return value


def _listed(directory: str, name: object, row: Row) -> Entry:
    found = rows.text(name)
    if "/" in found:
        raise rows.Damaged("a name is none")
    entry = rows.decode(paths.join(directory, found), row)
    if entry is None:
        raise rows.Damaged("a listing has nothing in it")
    return entry
