"""The open database of one cache: transactions, and what becomes of it when it cannot be used.

`look` answers from it or not at all, `learn` keeps or does not, `change` always succeeds: what could not be written
down about a change takes the whole database with it, for everybody, and a new one is begun. Where there can be no file
(no state directory, a read-only one, a system that does not tell its boot) it is in memory, for this process alone.
Nothing here knows what the rows mean.
"""

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from cftool.core import paths
from cftool.core.errors import CftoolError
from cftool.disk import sqlite
from cftool.wrap.metadata.place import FORMAT, Owner, Place
from cftool.wrap.metadata.rows import Damaged

_T = TypeVar("_T")
_log = logging.getLogger("cftool.metadata")
_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
# SQLite says with bytes of a damaged file what is wrong with it.
_ERRORS = (sqlite3.Error, OSError, CftoolError, Damaged, UnicodeDecodeError)

_MEMORY = "memory"
_ENTRY = "kind INTEGER, size INTEGER, modified INTEGER, stored INTEGER, version TEXT, id TEXT, hashes TEXT"
_SCHEMA = (
    f"""CREATE TABLE entry (key BLOB, view TEXT, path BLOB, asked REAL, {_ENTRY},
        PRIMARY KEY (key, view, path)) WITHOUT ROWID""",
    """CREATE TABLE listing (key BLOB, view TEXT, path BLOB, asked REAL, source INTEGER,
        PRIMARY KEY (key, view, path)) WITHOUT ROWID""",
    f"""CREATE TABLE listed (source INTEGER, dir BLOB, key BLOB, name BLOB, {_ENTRY},
        PRIMARY KEY (source, dir, key, name, kind)) WITHOUT ROWID""",
    "CREATE TABLE source (id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT)",
    "CREATE TABLE garbage (source INTEGER, dir BLOB)",
    """CREATE TABLE mark (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB, key BLOB, reach BLOB, tree INTEGER,
        owner TEXT, open INTEGER, until REAL)""",  # tree: see marks.py
    "CREATE INDEX open_marks ON mark (owner) WHERE open",
    "CREATE INDEX late_marks ON mark (until) WHERE until > 0",
    "CREATE TABLE feed (view TEXT PRIMARY KEY, cursor TEXT, since REAL, confirmed REAL)",
    f"PRAGMA user_version = {FORMAT}",
)


class Database:
    """Thread-safe. `limit` in bytes of what is kept; `begun` prepares a database that was just opened."""

    def __init__(self, directory: str | None, *, begun: Callable[[sqlite3.Connection], None] = lambda _: None) -> None:
        self._begun = begun
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._path: str | None = None
        self._inode = 0
        self._owner: Owner | None = None
        self._closed = False
        self._empty = 0  # pages of a database without rows
        self.number = 0  # another one with every database that is opened
        self._place: Place | None = None
        if directory is not None:
            try:
                self._place = Place(directory)
            except OSError as error:
                _log.info("%s cannot be used (%s): what is known is kept in memory", paths.printable(directory), error)

    # ---- for those who know what the rows mean

    def look(self, work: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """What `work` finds in one state of the database; `otherwise` where it cannot be looked at."""
        with self._lock:
            if self._closed:
                return otherwise
            try:
                return self._run("BEGIN", work)
            except _ERRORS as error:
                self._failed(error)
                return otherwise

    def learn(self, work: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """Write, where that works."""
        with self._lock:
            if self._closed:
                return otherwise
            try:
                return self._run("BEGIN IMMEDIATE", work)
            except _ERRORS as error:
                self._failed(error)
                return otherwise

    def change(self, work: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """Write, whatever it takes; `otherwise` only after `close`, when our death has said it already."""
        with self._lock:
            if self._closed:
                return otherwise
            for _ in range(2):
                try:
                    return self._run("BEGIN IMMEDIATE", work)
                except _ERRORS as error:
                    self._give_up(error)
            self._place = None
            return self._run("BEGIN IMMEDIATE", work)

    @property
    def owner(self) -> str:
        """Our sign of life, for rows that end with us."""
        with self._lock:
            if self._place is None:
                return _MEMORY
            if self._owner is None:
                self._owner = Owner(self._place.directory)
            return self._owner.token

    @property
    def token(self) -> str:
        """The same, where one was given already; else what nobody has."""
        if self._place is None:
            return _MEMORY
        return "-" if self._owner is None else self._owner.token

    @property
    def directory(self) -> str | None:
        """Where it lies; None where it is in memory."""
        return None if self._place is None else self._place.directory

    def used(self, connection: sqlite3.Connection) -> int:
        """Bytes that rows take."""
        return (_pages(connection) - self._empty) * int(connection.execute("PRAGMA page_size").fetchone()[0])

    @staticmethod
    def size(connection: sqlite3.Connection) -> int:
        """Bytes of the file."""
        count, page = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        return int(count * page)

    def compact(self) -> None:
        """Give the disk back what nothing is in, where nobody else is using it just now."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._ready().execute("VACUUM")

    def drop(self, error: Exception) -> None:
        """What is in it is wrong: give it up, and begin a new one."""
        with self._lock:
            self._give_up(error)

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            self._closed = True
            self._disconnect()
            if self._owner is not None:
                self._owner.close()
                self._owner = None

    # ---- the connection, with the lock held

    def _run(self, begin: str, work: Callable[[sqlite3.Connection], _T]) -> _T:
        connection = self._ready()
        connection.execute(begin)
        try:
            found = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        return found

    def _ready(self) -> sqlite3.Connection:
        if self._connection is not None and self._path is not None and not self._is_current():
            self._disconnect()
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _is_current(self) -> bool:
        assert self._path is not None
        try:
            return os.stat(self._path).st_ino == self._inode
        except FileNotFoundError:
            return False

    def _open(self) -> sqlite3.Connection:
        self.number += 1
        for _ in range(2):
            connection = None if self._place is None else self._open_file(self._place)
            if connection is not None:
                return connection
        self._place = None
        self._path = None
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._set_up(connection)
        return connection

    def _open_file(self, place: Place) -> sqlite3.Connection | None:
        """The current one; None where it was given up, or there can be none."""
        path = None
        try:
            path = place.current()
            connection = sqlite.open_unsynced(path)
            with _closed_on_error(connection):
                self._set_up(connection)
                self._inode = os.stat(path).st_ino
        except _ERRORS as error:
            if path is not None:
                self._set_aside(path, error)
            return None
        self._path = path
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone()[0] != FORMAT:
            for statement in _SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")
        self._empty = len(_SCHEMA) + 2
        self._begun(connection)

    def _failed(self, error: Exception) -> None:
        """Looking or learning went wrong: another time, where it is nothing that stays."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        if code & 0xFF in _PASSING:
            _log.info("the cache of metadata cannot be used just now: %s", error)
            return
        self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        path = self._path
        self._disconnect()
        if path is not None:
            self._set_aside(path, error)

    def _set_aside(self, path: str, error: Exception) -> None:
        _log.warning("%s is given up, and begun anew: %s", paths.printable(path), error)
        try:
            Place.drop(path)
        except OSError as failure:
            _log.warning("%s cannot be renamed: %s", paths.printable(path), failure.strerror)
            self._place = None

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._path = None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


@contextlib.contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _pages(connection: sqlite3.Connection) -> int:
    total = int(connection.execute("PRAGMA page_count").fetchone()[0])
    return total - int(connection.execute("PRAGMA freelist_count").fetchone()[0])
