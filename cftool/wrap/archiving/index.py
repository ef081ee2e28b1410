"""The index: what the packs say, in SQLite, and what is shown of it. A cache: the packs are the truth (DESIGN.md).

Only this module and `showing` touch the database. Every public method holds the lock and, where it changes something,
is one transaction. Paths are stored as bytes, so that any name fits and the order is that of the merge.
"""

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import NamedTuple

from cftool.core import paths
from cftool.core.types import Entry, Kind
from cftool.disk import sqlite
from cftool.disk.errors import store_error
from cftool.wrap.archiving import rows, showing
from cftool.wrap.archiving.manifest import Manifest, Record
from cftool.wrap.archiving.names import MAX_LAMPORT, PackName

_PAGE = 1_000
_FORMAT = 3
_TABLES = """
CREATE TABLE IF NOT EXISTS packs (
    number INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, lamport INTEGER NOT NULL, size INTEGER NOT NULL,
    made_ns INTEGER NOT NULL, stored_ns INTEGER NOT NULL, ignored INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS records (
    number INTEGER PRIMARY KEY, pack INTEGER NOT NULL, id TEXT NOT NULL, path BLOB NOT NULL, is_dir INTEGER NOT NULL,
    size INTEGER NOT NULL, modified_ns INTEGER, stored_ns INTEGER NOT NULL, version TEXT NOT NULL, hashes TEXT NOT NULL,
    container TEXT NOT NULL, at INTEGER NOT NULL, over TEXT, host TEXT NOT NULL, bases TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS records_by_path ON records (path);
CREATE INDEX IF NOT EXISTS records_by_id ON records (id);
CREATE INDEX IF NOT EXISTS records_by_pack ON records (pack);
CREATE INDEX IF NOT EXISTS records_by_container ON records (container);
CREATE TABLE IF NOT EXISTS dead (id TEXT NOT NULL, pack INTEGER NOT NULL, at_ns INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS dead_by_id ON dead (id);
CREATE INDEX IF NOT EXISTS dead_by_pack ON dead (pack);
CREATE TABLE IF NOT EXISTS links (pack INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS links_by_pack ON links (pack);
CREATE INDEX IF NOT EXISTS links_by_name ON links (name);
CREATE TABLE IF NOT EXISTS lost (name TEXT PRIMARY KEY, files INTEGER NOT NULL, back INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS strays (name TEXT PRIMARY KEY, seen_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS shown (
    key BLOB PRIMARY KEY, path BLOB NOT NULL, parent BLOB NOT NULL, origin BLOB NOT NULL, record INTEGER) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS shown_by_path ON shown (path);
CREATE INDEX IF NOT EXISTS shown_by_parent ON shown (parent, key);
CREATE INDEX IF NOT EXISTS shown_by_origin ON shown (origin);
CREATE INDEX IF NOT EXISTS shown_by_record ON shown (record);
"""


@dataclass(frozen=True, slots=True)
class Node:
    """What is shown at a path. `record` is None where it is a directory only because something is below it.

    `origin` is the path that its records have: another one where it is shown under a conflict name.
    """

    path: str
    is_dir: bool
    record: Record | None
    origin: str

    def entry(self) -> Entry:
        """As stat says it."""
        return Entry(self.path, Kind.DIRECTORY) if self.record is None else self.record.entry(self.path)


class Pack(NamedTuple):
    """A pack that the index knows; `ignored`: not 0 where another one replaces it."""

    number: int
    name: str
    size: int
    made_ns: int
    stored_ns: int
    ignored: int


class Lost(NamedTuple):
    """A pack that somebody removed: files that went with it, and replaced or removed ones that came back."""

    name: str
    files: int
    back: int


class Index:
    """The database of one remote, opened at the first use. `directory` None: kept for the life of this object."""

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._lock = RLock()
        self._db: sqlite.Connection | None = None
        self._path = ""

    def close(self) -> None:
        """Idempotent; a later call opens it again."""
        with self._lock:
            db, self._db = self._db, None
            if db is not None:
                db.close()
            folder, self._folder = self._folder, None
            if folder is not None:
                folder.cleanup()

    # ---- packs

    def packs(self) -> list[Pack]:
        """All, in the order of their names."""
        with self._reading() as db:
            found = db.execute("SELECT number, name, size, made_ns, stored_ns, ignored FROM packs ORDER BY name")
            return [Pack(*row) for row in found]

    def lamport(self) -> int:
        """The highest count of any pack."""
        with self._reading() as db:
            return int(db.execute("SELECT coalesce(max(lamport), 0) FROM packs").fetchone()[0])

    def add(self, pack: PackName, size: int, stored_ns: int, manifest: Manifest) -> None:
        """Take in a pack; nothing where it is known already."""
        with self._changing() as db:
            if db.execute("SELECT 1 FROM packs WHERE name = ?", (pack.name,)).fetchone():
                return
            added = db.execute(
                "INSERT INTO packs (name, lamport, size, made_ns, stored_ns) VALUES (?, ?, ?, ?, ?)",
                (pack.name, min(pack.lamport, MAX_LAMPORT), size, manifest.made_ns, stored_ns),
            )
            number = added.lastrowid
            dead = [*manifest.dead]
            for record in manifest.entries:
                dead += [(base, manifest.made_ns) for base in record.bases]
            db.executemany(
                f"INSERT INTO records ({rows.COLUMNS}, pack) VALUES ({rows.MARKS}, ?)",  # noqa: S608 - constants
                [(*rows.of(record), number) for record in manifest.entries],
            )
            db.executemany("INSERT INTO dead VALUES (?, ?, ?)", [(each, number, when) for each, when in dead])
            links = [(number, "replaces", name) for name in manifest.replaces]
            links += [(number, "requires", name) for name in manifest.requires]
            db.executemany("INSERT INTO links VALUES (?, ?, ?)", links)
            assert number is not None
            showing.update(db, {*showing.touched(db, number), *showing.reconsidered(db)})

    def drop(self, names: Iterable[str]) -> None:
        """Forget packs that are gone from the remote, with all that they said."""
        with self._changing() as db:
            touched: set[bytes] = set()
            for name in names:
                row = db.execute("SELECT number FROM packs WHERE name = ?", (name,)).fetchone()
                if row is None:
                    continue
                touched |= showing.touched(db, row[0])
                for table in ("records", "dead", "links"):
                    db.execute(f"DELETE FROM {table} WHERE pack = ?", row)  # noqa: S608 - constants
                db.execute("DELETE FROM packs WHERE number = ?", row)
            showing.update(db, touched | showing.reconsidered(db))

    def lose(self, names: Iterable[str]) -> list[Lost]:
        """Forget packs that nothing replaces; those that took something with them, which `lost` tells of later."""
        found = []
        for name in names:  # one after the other: of two that have the same the second one loses it
            with self._changing() as db:
                [number] = db.execute("SELECT number FROM packs WHERE name = ?", (name,)).fetchone() or [-1]
                files, back = showing.lost(db, number)
                if files or back:
                    found.append(Lost(name, files, back))
                    db.execute("INSERT OR REPLACE INTO lost VALUES (?, ?, ?)", found[-1])
            self.drop([name])
        return found

    def lost(self, *, told: bool = False) -> list[Lost]:
        """What `lose` found since the last time that this was `told`."""
        with self._changing() as db:
            found = [Lost(*row) for row in db.execute("SELECT name, files, back FROM lost ORDER BY name")]
            if told:
                db.execute("DELETE FROM lost")
            return found

    def replaced(self, name: str) -> bool:
        """Whether some pack says that it replaces this one."""
        with self._reading() as db:
            return bool(db.execute("SELECT 1 FROM links WHERE kind = 'replaces' AND name = ?", (name,)).fetchone())

    # ---- what is shown

    def node(self, path: str) -> Node | None:
        """What is shown at `path`, None: nothing of ours."""
        with self._reading() as db:
            found = db.execute(
                f"SELECT shown.key, shown.origin, {rows.QUALIFIED} FROM shown"  # noqa: S608 - constants
                " LEFT JOIN records ON records.number = shown.record WHERE shown.path = ?",
                (os.fsencode(path),),
            ).fetchone()
            return None if found is None else _node(path, *found)

    def ids(self, node: Node) -> tuple[str, ...]:
        """The records that it stands for; superseding them makes it go."""
        if node.record is None:
            return ()
        with self._reading() as db:
            return showing.stands_for(db, os.fsencode(node.origin), node.record)

    def conflicts(self, path: str) -> list[Node]:
        """What is shown under other names because something else has this one."""
        with self._reading() as db:
            found = db.execute(
                f"SELECT shown.path, shown.key, shown.origin, {rows.QUALIFIED} FROM shown"  # noqa: S608 - constants
                " JOIN records ON records.number = shown.record WHERE shown.origin = ?1 AND shown.path <> ?1",
                (os.fsencode(path),),
            ).fetchall()
            return [_node(os.fsdecode(row[0]), *row[1:]) for row in found]

    def children(self, path: str) -> Iterator[Node]:
        """One level below, in order; read in pages, so that it may change meanwhile."""
        return self._pages("shown.parent = ?", os.fsencode(path), b"")

    def below(self, path: str) -> Iterator[Node]:
        """All below, in the order of the merge; read in pages."""
        if not path:
            return self._pages("shown.key > ?", b"", b"")
        lead = os.fsencode(path)
        return self._pages("shown.key < ?", lead + b"0", lead + b"/")  # "0" comes right behind "/"

    def _pages(self, condition: str, value: bytes, after: bytes) -> Iterator[Node]:
        while True:
            with self._reading() as db:
                page = db.execute(
                    f"SELECT shown.path, shown.key, shown.origin, {rows.QUALIFIED} FROM shown"  # noqa: S608 - constants
                    f" LEFT JOIN records ON records.number = shown.record WHERE {condition} AND shown.key > ?"
                    f" ORDER BY shown.key LIMIT {_PAGE}",
                    (value, after),
                ).fetchall()
            for path, key, origin, *columns in page:
                yield _node(os.fsdecode(path), key, origin, *columns)
            if len(page) < _PAGE:
                return
            after = page[-1][1]

    # ---- for compaction

    def links(self) -> list[tuple[str, str, str]]:
        """(pack, "replaces" or "requires", pack named)."""
        with self._reading() as db:
            return db.execute(
                "SELECT packs.name, kind, links.name FROM links JOIN packs ON packs.number = links.pack"
            ).fetchall()

    def containers(self) -> set[str]:
        """What any record, superseded or not, says to hold its bytes."""
        with self._reading() as db:
            return {each for (each,) in db.execute("SELECT DISTINCT container FROM records")}

    def strays(self, names: Iterable[str], now_ns: int) -> dict[str, int]:
        """When each of these, which no record names, was first seen to be so; what else was seen is forgotten."""
        with self._changing() as db:
            known = dict(db.execute("SELECT name, seen_ns FROM strays"))
            found = {name: known.get(name, now_ns) for name in names}
            db.execute("DELETE FROM strays")
            db.executemany("INSERT INTO strays VALUES (?, ?)", found.items())
            return found

    def holds(self, name: str) -> bool:
        """Whether a pack has the bytes of a record that counts."""
        with self._reading() as db:
            return showing.holds(db, name)

    def live_bytes(self) -> dict[str, int]:
        """By pack or object: how many bytes of it records that count have."""
        with self._reading() as db:
            return showing.live_bytes(db)

    def carried(self, names: Iterable[str]) -> Iterator[Record]:
        """The records that count and that these packs carry or hold the bytes of, in the order of their paths."""
        with self._reading() as db:
            return iter(showing.carried(db, list(names)))

    def ends(self, names: Iterable[str]) -> list[tuple[str, int, bool]]:
        """The ends of records that these packs tell of: id, when, and whether any other pack has the record."""
        with self._reading() as db:
            return showing.ends(db, list(names))

    # ---- the database

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._opened()
            except sqlite3.DatabaseError as error:
                raise sqlite.store_error_of(error, self._path) from error

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            directory = self._directory
            if directory is None:
                self._folder = tempfile.TemporaryDirectory(prefix="cftool-archive-")
                directory = self._folder.name
            try:
                os.makedirs(directory, mode=0o700, exist_ok=True)
            except OSError as error:
                found = store_error(error, op="open", path=directory)
                found.message += "; the archive's index is kept there, XDG_STATE_HOME names another place"
                raise found from error
            self._path = os.path.join(directory, "index.sqlite")
            db = sqlite.open(self._path, timeout=60.0)
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    @staticmethod
    def _prepare(db: sqlite3.Connection) -> None:
        # What a power cut takes is read from the packs again; it stays whole all the same.
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("BEGIN IMMEDIATE")  # another process may be at it
        if db.execute("PRAGMA user_version").fetchone()[0] != _FORMAT:
            # Of another version of cftool: built anew.
            for table in ("packs", "records", "dead", "links", "lost", "strays", "shown"):
                db.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in _TABLES.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {_FORMAT}")
        db.execute("COMMIT")


def _node(path: str, key: bytes, origin: bytes, *columns: object) -> Node:
    record = None if columns[0] is None else rows.record(columns)
    return Node(path, key.endswith(b"/"), record, os.fsdecode(origin))


def parents(path: str) -> list[str]:
    """The directories above, the topmost first; without the root."""
    found = []
    while path := paths.parent(path):
        found.append(path)
    return found[::-1]
