"""A transaction of the journal, alone or as a part of one that several changes share (`Journal.together`).

No generators: there are several of these for each file that is closed.
"""

import sqlite3
from types import TracebackType

from cftool.core.errors import StoreError
from cftool.disk import sqlite

_ALONE = ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
_INSIDE = ("SAVEPOINT change", "RELEASE change", ("ROLLBACK TO change", "RELEASE change"))


class Added:
    """Bytes of rows that were inserted since the journal was opened; what is taken back counts no more."""

    __slots__ = ("clean", "everything", "inline")

    def __init__(self) -> None:
        self.clean = self.everything = self.inline = 0

    def all(self) -> tuple[int, int, int]:
        """For `put_back`."""
        return self.clean, self.everything, self.inline

    def put_back(self, before: tuple[int, int, int]) -> None:
        """As it was."""
        self.clean, self.everything, self.inline = before


class Shared:
    """What a transaction of `together` has in common with the changes within it, and all with each other."""

    __slots__ = ("added", "inside", "one", "spoiled")

    def __init__(self) -> None:
        self.inside = self.one = self.spoiled = False
        self.added = Added()


class Transaction:
    """One, or a part of one; a context manager."""

    __slots__ = ("_added", "_before", "_db", "_how", "_path", "_shared")

    def __init__(self, db: sqlite3.Connection, path: str, shared: Shared) -> None:
        self._db = db
        self._path = path
        self._shared = shared
        self._how: tuple[str, str, tuple[str, ...]] | None = None  # None: the one change of another one
        self._before = False

    def __enter__(self) -> sqlite3.Connection:
        shared = self._shared
        if shared.one:
            self._before, shared.spoiled = shared.spoiled, True  # until it is done
            return self._db
        self._added = shared.added.all()
        self._how = _INSIDE if shared.inside else _ALONE
        try:
            self._db.execute(self._how[0])
        except BaseException as error:
            self._undo(error)
            raise
        return self._db

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:
            self._undo(error)
        elif self._how is None:
            self._shared.spoiled = self._before
        else:
            try:
                self._db.execute(self._how[1])
            except BaseException as failed:
                self._undo(failed)
                raise

    def _undo(self, error: BaseException) -> None:
        """Nothing of it stays. Raises the store's error for one of SQLite."""
        if self._how is not None:
            self._shared.added.put_back(self._added)
        if self._how is not None and self._db.in_transaction:
            for statement in self._how[2]:  # executescript would commit first
                self._db.execute(statement)
        if isinstance(error, sqlite3.DatabaseError):
            raise sqlite.store_error_of(error, self._path) from error


class SharedTransaction:
    """One that several changes share, each a `Transaction`; `one`: there is one change only."""

    __slots__ = ("_one", "_outer", "_path", "_shared")

    def __init__(self, db: sqlite3.Connection, path: str, shared: Shared, *, one: bool) -> None:
        self._outer = Transaction(db, path, shared)
        self._path = path
        self._shared = shared
        self._one = one

    def __enter__(self) -> None:
        self._outer.__enter__()
        shared = self._shared
        shared.inside, shared.one, shared.spoiled = True, self._one, False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        shared = self._shared
        shared.inside = shared.one = False
        if error is None and shared.spoiled:
            spoiled = StoreError("the journal could not be written", op="write", path=self._path)
            self._outer.__exit__(StoreError, spoiled, None)
            raise spoiled
        self._outer.__exit__(kind, error, tb)
