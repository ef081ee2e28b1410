"""Small content that is in the journal itself: the table `inline`. DESIGN.md, "Table `inline`".

Used by the journal and by who reads such content; every change is part of one of the journal's transactions.
"""

import io
import sqlite3
from collections.abc import Callable
from typing import BinaryIO

from cftool.core.errors import SourceChanged
from cftool.wrap.caching.rows import Content
from cftool.wrap.caching.transaction import Added

LARGEST = 64 << 10  # bytes of one file
MOST = 128 << 20  # bytes of all rows: above it small content is written as a file
FULL = 96 << 20  # above it what is clean goes, down to
ENOUGH = 64 << 20
SCHEMA = """
CREATE TABLE IF NOT EXISTS inline (
    content INTEGER PRIMARY KEY REFERENCES content (id) ON DELETE CASCADE, data BLOB NOT NULL
);
"""
# As the journal's other sums: what goes is counted by the connection, what comes here.
TOTALS = """
CREATE TEMP TABLE inlined AS SELECT coalesce(sum(length(data)), 0) AS bytes FROM main.inline;
CREATE TEMP TRIGGER inline_gone AFTER DELETE ON main.inline BEGIN
    UPDATE inlined SET bytes = bytes - length(old.data);
END;
CREATE TEMP TRIGGER inline_changed AFTER UPDATE OF data ON main.inline BEGIN
    UPDATE inlined SET bytes = bytes + length(new.data) - length(old.data);
END;
"""


class Inline:
    """The table; its lock is its user's."""

    def __init__(self, db: sqlite3.Connection, added: Added) -> None:
        self._db = db
        self._added = added
        self._known = MOST  # bytes of all rows at most, as far as is known without counting

    def is_there(self) -> bool:
        """Whether the journal has the table: one that only older programs had open has not."""
        return self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'inline'").fetchone() is not None

    def data(self, number: int) -> bytes | None:
        """The bytes of that content; None where it is a file."""
        row = self._db.execute("SELECT data FROM inline WHERE content = ?", (number,)).fetchone()
        return None if row is None else row[0]

    def size(self, number: int) -> int | None:
        """How many bytes; None where it is a file."""
        row = self._db.execute("SELECT length(data) FROM inline WHERE content = ?", (number,)).fetchone()
        return None if row is None else int(row[0])

    def sizes(self) -> dict[int, int]:
        """Of all rows."""
        return dict(self._db.execute("SELECT content, length(data) FROM inline"))

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more are not too many; they count from now on."""
        self._known += size
        if self._known > MOST:
            self._known = self.total() + size
        return self._known <= MOST

    def total(self) -> int:
        """Bytes of all rows; of the owner's journal only."""
        return int(self._db.execute("SELECT bytes FROM temp.inlined").fetchone()[0]) + self._added.inline

    def evictable(self, limit: int) -> list[tuple[int, int]]:
        """Id and bytes of what is clean, least recently used first."""
        return self._db.execute(
            "SELECT id, length(data) FROM content JOIN inline ON content.id = inline.content"
            " WHERE path IS NOT NULL ORDER BY used LIMIT ?",
            (limit,),
        ).fetchall()

    def add(self, made: Content) -> None:
        """Within a transaction, after the new row of `content`: its bytes."""
        assert made.data is not None
        self._db.execute("INSERT INTO inline VALUES (?, ?)", (made.id, made.data))
        self._added.inline += len(made.data)

    def put(self, made: Content) -> None:
        """The same where it may be there: its bytes, or that it is a file."""
        if made.data is None:
            self._db.execute("DELETE FROM inline WHERE content = ?", (made.id,))
        elif not self._db.execute("UPDATE inline SET data = ? WHERE content = ?", (made.data, made.id)).rowcount:
            self.add(made)


class InlineSource:
    """Small content as a Source for the store below. `read` gives its bytes, `measure` counts them; None: gone."""

    local_path: str | None = None

    def __init__(self, size: int, read: Callable[[], bytes | None], measure: Callable[[], int | None]) -> None:
        self.size: int | None = size
        self._read = read
        self._measure = measure

    def load(self) -> bytes:
        """All of it."""
        data = self._read()
        self._require(None if data is None else len(data))
        return data or b""

    def open(self) -> BinaryIO:
        """A reader at offset 0."""
        return io.BytesIO(self.load())

    def check(self) -> None:
        """It is still there, with its size."""
        self._require(self._measure())

    def _require(self, size: int | None) -> None:
        if size is None:
            raise SourceChanged("the cached content was replaced meanwhile", op="read")
        if size != self.size:
            raise SourceChanged("the cached content has another size than the journal says", op="read")
