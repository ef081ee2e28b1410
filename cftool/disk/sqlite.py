"""Opening a SQLite file so that what was committed is on the disk, and so that a damaged one is set aside, not used.

For the state database and the journals. Write-ahead log, synchronous FULL: a commit survives a power cut. A file that
SQLite finds damaged is renamed to `NAME.damaged-TIME`, with its log, and a new one is begun: never deleted, and told.
"""

import contextlib
import errno
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable

from cftool.core import paths
from cftool.core.errors import Locked, StoreError
from cftool.disk import durability
from cftool.disk.errors import store_error, translated

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_log = logging.getLogger("cftool.disk")


class Connection(sqlite3.Connection):
    """In autocommit mode: transactions are begun and ended in SQL. Usable from any thread, one at a time."""

    damaged: str | None = None  # where the old file went, for the user to be told
    created = False  # whether the file is new, for whatever reason


def open(  # noqa: A001 - called as sqlite.open
    path: str,
    *,
    timeout: float = 5.0,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Connection:
    """Open or create the database. `timeout` seconds bound every wait for others. Raises Locked, StoreError."""
    damaged: list[str] = []
    with translated("open", path), _alone(path, clock() + timeout, clock, sleep):
        try:
            connection = _open(path, timeout, now, damaged) or _open(path, timeout, now, damaged)
        except sqlite3.DatabaseError as error:
            raise store_error_of(error, path) from error
    if connection is None:
        raise StoreError("the database is damaged, and so is a new one: is the disk?", op="open", path=path)
    connection.damaged = damaged[0] if damaged else None
    return connection


def open_unsynced(path: str, *, timeout: float = 5.0) -> Connection:
    """Open or create a database whose loss costs nothing: nothing is synced, nothing checked, nothing set aside.

    Commits survive the death of the process, not a power cut. Raises Locked, StoreError, and what SQLite raises.
    """
    with translated("open", path), _alone(path, time.monotonic() + timeout, time.monotonic, time.sleep):
        created = _prepare(path)
        connection = sqlite3.connect(path, timeout, isolation_level=None, check_same_thread=False, factory=Connection)
        try:
            connection.created = created
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = OFF")
        except BaseException:
            connection.close()
            raise
    return connection


def _open(path: str, timeout: float, now: Callable[[], float], damaged: list[str]) -> Connection | None:
    """The open database; None where it is damaged and was set aside."""
    created = _prepare(path)
    connection = sqlite3.connect(path, timeout, isolation_level=None, check_same_thread=False, factory=Connection)
    try:
        connection.created = created
        try:
            _set_up(connection)
        except UnicodeDecodeError as error:  # SQLite says what is wrong with bytes of the damaged file
            raise _corrupt("the file is damaged") from error
    except BaseException as error:
        try:
            if not isinstance(error, sqlite3.DatabaseError) or error.sqlite_errorcode & 0xFF not in _DAMAGED:
                raise
            # Before SQLite closes it: that would remove its log.
            damaged.append(_set_aside(path, now()))
        finally:
            connection.close()
        _log.warning("%s is damaged (%s) and was renamed to %s", paths.printable(path), error, damaged[-1])
        return None
    return connection


def _set_up(connection: Connection) -> None:
    # A file system that cannot share the log (some network ones) stays with the rollback journal: as safe, slower.
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    answer = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != ("ok",):
        raise _corrupt(str(answer[0]) if answer else "quick_check gave no answer")


def _corrupt(words: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(words)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _prepare(path: str) -> bool:
    """Make sure that the file is there and for us alone, before SQLite opens it; whether it was made."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        created = False
    else:
        created = True
    try:
        status = os.fstat(fd)
        if status.st_mode & 0o077:
            os.fchmod(fd, 0o600)
        if created:
            _sync_parent(path)
        return status.st_size == 0
    finally:
        os.close(fd)


def _set_aside(path: str, now: float) -> str:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    name = f"{path}.damaged-{stamp}"
    count = 1
    while os.path.lexists(name):
        count += 1
        name = f"{path}.damaged-{stamp}-{count}"
    # The log first: between the two renames a new log could not be mistaken for one of the damaged file.
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + suffix, name + suffix)
    _sync_parent(path)
    return name


def _sync_parent(path: str) -> None:
    fd = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        durability.sync_directory(fd)
    finally:
        os.close(fd)


class _alone:  # noqa: N801 - a context, used once
    """Only one process at a time opens, checks, or sets aside: else one could set aside what another just made."""

    def __init__(self, path: str, deadline: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._path = path
        self._deadline = deadline
        self._clock = clock
        self._sleep = sleep
        self._fd = -1

    def __enter__(self) -> None:
        self._fd = os.open(self._path + ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            while not self._try():
                if self._clock() >= self._deadline:
                    raise Locked(f"{paths.printable(self._path)} is being opened by another run for too long")
                self._sleep(0.05)
        except BaseException:
            os.close(self._fd)
            raise

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            return False
        return True


def store_error_of(error: sqlite3.DatabaseError, path: str) -> StoreError:
    """What an error of SQLite means in our error tree."""
    code = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS, sqlite3.SQLITE_PERM: errno.EACCES}
    number = code.get(error.sqlite_errorcode & 0xFF)
    if number is None:
        return StoreError(f"the database cannot be used: {error}", op="open", path=path)
    return store_error(OSError(number, os.strerror(number)), op="open", path=path)
