"""The journal of a cache in SQLite: rows of content and of pending changes, and the transactions between them.

Every public method that changes something is one transaction, on the disk when it returns (synchronous FULL). The
owner opens it for writing, a visitor to look. Tables and crash points are in DESIGN.md. The lock is its user's.
"""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from cftool.core.errors import StoreError
from cftool.core.paths import printable
from cftool.core.types import Entry
from cftool.disk import sqlite
from cftool.wrap.caching import file_times, small, tables
from cftool.wrap.caching.rows import Content, LocalChange, Pending, State, What, decode_hashes, encode_hashes
from cftool.wrap.caching.transaction import Shared, SharedTransaction, Transaction

_log = logging.getLogger("cftool.cache")
FORMAT = 2
_KNOWN = {"1", "2"}  # 1 had no small content: it is there once the table is
# Members of an enum are slow to get at by its call, and so are their values by `value`.
_WHAT = {what.value: what for what in What}
_STATE = {state.value: state for state in State}
_CONTENT = "id, path, size, version, modified_ns, stored_ns, remote_id, hashes, blocks, used, allocated"
_PENDING = (
    "seq, kind, path, dst, is_dir, content, size, modified_ns, base, after, state, created, due, attempts, next_try,"
    " error_kind, error"
)

_WITHIN = "SELECT id FROM content WHERE path = ? OR (path > ? AND path < ?)"


def _within(path: str) -> tuple[bytes, bytes, bytes]:
    raw = os.fsencode(path)
    return raw, raw + b"/", raw + b"0"


class Journal:
    """See the module. `identity` names the remote: a cache is used for no other. None: whichever it is of."""

    def __init__(self, path: str, *, identity: str | None, look: bool = False) -> None:
        self.path = path
        self._db = self._visit(path) if look else sqlite.open(path)
        self.fresh = False  # nothing is in it yet, not even `begin`
        self.keeps_times = False  # of files whose content goes: set for stores whose listings have none
        self._shared = Shared()
        self.inline = small.Inline(self._db, self._shared.added)
        self._identity = identity
        self.damaged = None if look else self._db.damaged  # type: ignore[attr-defined]
        try:
            if not look:
                self._db.executescript(tables.SCHEMA + small.SCHEMA + file_times.SCHEMA)
            self._has_times = file_times.exist(self._db)
            self._check(identity, look=look)
            if not look:
                self._db.executescript(tables.TOTALS + small.TOTALS)
        except BaseException:
            self._db.close()
            raise

    @staticmethod
    def _visit(path: str) -> sqlite3.Connection:
        db = sqlite3.connect(f"file:{_quoted(path)}?mode=ro", timeout=5.0, isolation_level=None, uri=True,
                             check_same_thread=False)  # fmt: skip
        db.execute("PRAGMA query_only = ON")
        return db

    def _check(self, identity: str | None, *, look: bool) -> None:
        known = dict(self._db.execute("SELECT name, value FROM meta").fetchall())
        if not known:
            if look or identity is None:
                raise StoreError("the cache's journal is not begun yet", op="open", path=self.path)
            self.fresh = True
            return
        if known.get("format") not in _KNOWN:
            raise StoreError("the cache was written by another version of cftool", op="open", path=self.path)
        if identity is not None and known.get("identity") != identity:
            raise StoreError(
                f"the cache belongs to another remote ({known.get('identity')}); choose another cache_id",
                op="open",
                path=self.path,
            )
        if not look and known["format"] != str(FORMAT):
            with self._transaction() as db:
                db.execute("UPDATE meta SET value = ? WHERE name = 'format'", (str(FORMAT),))

    def begin(self) -> None:
        """A fresh journal counts from now on; what lay about without one was put away before."""
        with self._transaction() as db:
            db.executemany("INSERT INTO meta VALUES (?, ?)", [("format", str(FORMAT)), ("identity", self._identity)])
        self.fresh = False

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def together(self, *, one: bool = False) -> SharedTransaction:
        """What is changed within is on the disk when this ends, all or nothing; each change in itself as well.

        `one`: there is one change only, so that where it fails all does.
        """
        return SharedTransaction(self._db, self.path, self._shared, one=one)

    def _transaction(self) -> Transaction:
        return Transaction(self._db, self.path, self._shared)

    # ---- reading

    def changed(self) -> int:
        """A number that differs after somebody else's commit."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def pending(self) -> list[Pending]:
        """All pending rows, oldest first."""
        return [_pending(*row) for row in self._db.execute(f"SELECT {_PENDING} FROM pending ORDER BY seq")]  # noqa: S608

    def shown(self) -> tuple[list[Pending], list[str]]:
        """Pending rows and local directories of one moment, for who only looks."""
        try:
            self._db.execute("BEGIN")
            try:
                return self.pending(), self.local()
            finally:
                self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise sqlite.store_error_of(error, self.path) from error

    @classmethod
    def is_sound(cls, path: str) -> bool:
        """Whether SQLite finds the file at `path` whole; it is not set aside where not."""
        try:
            with contextlib.closing(cls._visit(path)) as db:
                return bool(db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
        except sqlite3.Error:
            return False

    @classmethod
    def has_pending(cls, path: str) -> bool:
        """Whether the journal at `path` has a pending row; a damaged one, or none, has not."""
        try:
            with contextlib.closing(cls._visit(path)) as db:
                return db.execute("SELECT 1 FROM pending LIMIT 1").fetchone() is not None
        except sqlite3.Error as error:
            _log.warning("%s cannot be read, so that what it holds is not shown: %s", printable(path), error)
            return False

    def local(self) -> list[str]:
        """The directories that are only here."""
        return [os.fsdecode(path) for (path,) in self._db.execute("SELECT path FROM local_dir")]

    def contents(self) -> Iterator[Content]:
        """All rows of content."""
        return map(_content, self._db.execute(f"SELECT {_CONTENT} FROM content").fetchall())  # noqa: S608

    def sizes(self) -> list[tuple[int, int, bool]]:
        """Of all content: id, bytes of the whole file, and whether it is clean."""
        return self._db.execute("SELECT id, size, path IS NOT NULL FROM content").fetchall()

    def content(self, number: int) -> Content | None:
        """One row of content."""
        row = self._db.execute(f"SELECT {_CONTENT} FROM content WHERE id = ?", (number,)).fetchone()  # noqa: S608
        return None if row is None else _content(row)

    def clean(self, path: str) -> Content | None:
        """The clean content of a path of the store below."""
        query = f"SELECT {_CONTENT} FROM content WHERE path = ?"  # noqa: S608 - a constant
        row = self._db.execute(query, (os.fsencode(path),)).fetchone()
        return None if row is None else _content(row)

    def clean_within(self, path: str) -> list[int]:
        """The ids of clean content at or below `path`."""
        if not path:
            rows = self._db.execute("SELECT id FROM content WHERE path IS NOT NULL")
        else:
            rows = self._db.execute(_WITHIN, _within(path))
        return [int(number) for (number,) in rows]

    def times(self, directory: str) -> dict[str, tuple[str | None, int]]:
        """Version and own time of files below a directory, by path: what listings of S3 do not tell."""
        tables = ("file_time", "content") if self._has_times else ("content",)
        rows = file_times.within(self._db, directory, *tables)
        return {os.fsdecode(path): (version, when) for path, version, when in rows}

    def totals(self) -> tuple[int, int]:
        """Bytes on this disk: all, and those of clean content."""
        row = self._db.execute("SELECT everything, clean FROM temp.totals").fetchone()
        added = self._shared.added
        return int(row[0]) + added.everything, int(row[1]) + added.clean

    def summed(self) -> tuple[int, int]:
        """The same for who only looks, by adding it all up."""
        row = self._db.execute(
            "SELECT coalesce(sum(allocated), 0), coalesce(sum(CASE WHEN path IS NOT NULL THEN allocated END), 0)"
            " FROM content"
        ).fetchone()
        return int(row[0]), int(row[1])

    def evictable(self, limit: int) -> list[Content]:
        """Clean content, least recently used first."""
        query = f"SELECT {_CONTENT} FROM content WHERE path IS NOT NULL ORDER BY used LIMIT ?"  # noqa: S608
        return [_content(row) for row in self._db.execute(query, (limit,))]

    # ---- content

    def highest_id(self) -> int:
        """The largest id that content ever had here, as far as the journal knows."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'content'").fetchone()
        return 0 if row is None else int(row[0])

    def keep_clean(self, number: int, entry: Entry, *, blocks: bytes | None, used: float, allocated: int) -> int | None:
        """The content of a remote entry, whole or partly; returns the id of what it replaces, whose file can go."""
        path = os.fsencode(entry.path)
        with self._transaction() as db:
            old = db.execute("SELECT id FROM content WHERE path = ? AND id <> ?", (path, number)).fetchone()
            db.execute("DELETE FROM content WHERE path = ?", (path,))
            _insert_content(db, number, path, entry, blocks, used, allocated)
            self._shared.added.everything += allocated
            self._shared.added.clean += allocated
        return None if old is None else int(old[0])

    def progress(self, number: int, *, blocks: bytes | None, allocated: int) -> None:
        """More of partly fetched content is here, synced."""
        with self._transaction() as db:
            db.execute("UPDATE content SET blocks = ?, allocated = ? WHERE id = ?", (blocks, allocated, number))

    def use(self, numbers: Iterable[tuple[float, int]]) -> None:
        """When content was used last: (epoch seconds, id). Lost uses cost nothing."""
        with self._transaction() as db:
            db.executemany("UPDATE content SET used = ? WHERE id = ?", numbers)

    def forget(self, numbers: Iterable[int]) -> None:
        """Remove rows of clean content; their files go afterwards."""
        gone = list(numbers)
        with self._transaction() as db:
            if self.keeps_times:
                file_times.keep(db, gone)
            db.executemany("DELETE FROM content WHERE id = ? AND path IS NOT NULL", [(number,) for number in gone])

    def retimed(self, entry: Entry) -> None:
        """The time of a file was set at the remote."""
        if self.keeps_times:
            with self._transaction() as db:
                for row in file_times.rows_of(entry):
                    db.execute("UPDATE content SET modified_ns = ? WHERE path = ? AND version = ?", (row[2], *row[:2]))
                    file_times.put(db, [row])

    def forget_times(self, path: str) -> None:
        """Others have changed what is at or below it."""
        with self._transaction() as db:
            file_times.drop(db, path)

    # ---- pending changes

    def record(
        self,
        rows: Iterable[Pending],
        *,
        dropped: Iterable[Pending] = (),
        made: Content | None = None,
        due_now: Iterable[int] = (),
        local: LocalChange | None = None,
    ) -> list[Pending]:
        """Add `rows` in order, with numbers of their own, in the place of `dropped`; `made`: new content of theirs."""
        added: list[Pending] = []
        with self._transaction() as db:
            if made is not None:
                self._insert_pending_content(db, made)
            gone = list(dropped)
            kept = set()
            for row in rows:
                cursor = db.execute(
                    "INSERT INTO pending (kind, path, dst, is_dir, content, size, modified_ns, base, after, state,"
                    " created, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        row.what._value_, os.fsencode(row.path), None if row.dst is None else os.fsencode(row.dst),
                        row.is_dir, row.content, row.size, row.modified_ns, row.base, row.after, row.state._value_,
                        row.created, row.due,
                    ),
                )  # fmt: skip
                row.seq = int(cursor.lastrowid or 0)
                added.append(row)
                kept.add(row.content)
            if gone:
                self._drop(db, gone, kept)
            if due_now:
                db.executemany("UPDATE pending SET due = 0, next_try = 0 WHERE seq = ?", [(seq,) for seq in due_now])
            if local is not None:
                self._localize(db, local)
        return added

    def localize(self, change: LocalChange) -> None:
        """Directories that are only here: more, or fewer."""
        with self._transaction() as db:
            self._localize(db, change)

    @staticmethod
    def _localize(db: sqlite3.Connection, change: LocalChange) -> None:
        db.executemany("DELETE FROM local_dir WHERE path = ?", [(os.fsencode(path),) for path in change.remove])
        db.executemany("INSERT OR IGNORE INTO local_dir VALUES (?)", [(os.fsencode(p),) for p in change.add if p])

    @staticmethod
    def _drop(db: sqlite3.Connection, rows: list[Pending], kept: set[int | None]) -> None:
        for row in rows:
            db.execute("DELETE FROM pending WHERE seq = ?", (row.seq,))
            if row.content is not None and row.content not in kept:
                db.execute("DELETE FROM content WHERE id = ? AND path IS NULL", (row.content,))

    def update(self, row: Pending) -> None:
        """State, times, attempts, errors, path and base of a row."""
        with self._transaction() as db:
            self._update(db, row)

    @staticmethod
    def _update(db: sqlite3.Connection, row: Pending) -> None:
        db.execute(
            "UPDATE pending SET path = ?, base = ?, after = ?, state = ?, due = ?, attempts = ?, next_try = ?,"
            " error_kind = ?, error = ?, modified_ns = ? WHERE seq = ?",
            (
                os.fsencode(row.path), row.base, row.after, row.state.value, row.due, row.attempts, row.next_try,
                row.error_kind, row.error, row.modified_ns, row.seq,
            ),
        )  # fmt: skip

    def rebase(self, seq: int, base: str) -> None:
        """Rows that waited for the result of that one are based on this."""
        with self._transaction() as db:
            db.execute("UPDATE pending SET base = ?, after = NULL WHERE after = ?", (base, seq))

    def grow(self, row: Pending, content: Content) -> None:
        """Content was written to after its row was made."""
        with self._transaction() as db:
            db.execute(
                "UPDATE content SET size = ?, allocated = ? WHERE id = ?",
                (content.size, content.allocated, content.id),
            )
            self.inline.put(content)
            db.execute("UPDATE pending SET size = ? WHERE seq = ?", (content.size, row.seq))
            self._update(db, row)

    def swap(self, row: Pending, content: Content) -> None:
        """A row gets `content`, which is new, in the place of what it had; see `update` for the rest of it."""
        with self._transaction() as db:
            old = db.execute("SELECT content FROM pending WHERE seq = ?", (row.seq,)).fetchone()
            self._insert_pending_content(db, content)
            db.execute("UPDATE pending SET content = ?, size = ? WHERE seq = ?", (content.id, content.size, row.seq))
            db.execute("DELETE FROM content WHERE id = ? AND path IS NULL", old)
            self._update(db, row)

    def editing(self) -> set[int]:
        """Content of pending rows whose data file may have changed since its row was written."""
        return {int(number) for (number,) in self._db.execute("SELECT content FROM editing")}

    def edit(self, number: int) -> None:
        """From now on the data file of that content is written to."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO editing VALUES (?)", (number,))

    def edited(self, numbers: Iterable[int]) -> None:
        """No more: the rows of these are right."""
        with self._transaction() as db:
            db.executemany("DELETE FROM editing WHERE content = ?", [(number,) for number in numbers])

    def start(self, rows: Iterable[Pending]) -> None:
        """These are being done."""
        with self._transaction() as db:
            db.executemany("UPDATE pending SET state = 'uploading' WHERE seq = ?", [(row.seq,) for row in rows])

    def uploaded(self, row: Pending, entry: Entry, *, used: float) -> int | None:
        """An upload is at the remote: its content is clean from now on. Returns the id of the content it replaces."""
        path = os.fsencode(entry.path)
        with self._transaction() as db:
            old = db.execute("SELECT id FROM content WHERE path = ?", (path,)).fetchone()
            db.execute("DELETE FROM content WHERE path = ?", (path,))
            db.execute("DELETE FROM pending WHERE seq = ?", (row.seq,))
            db.execute(
                "UPDATE content SET path = ?, size = ?, version = ?, modified_ns = ?, stored_ns = ?, remote_id = ?,"
                " hashes = ?, used = ? WHERE id = ?",
                (
                    path, row.size, entry.version, entry.modified_ns, entry.stored_ns, entry.id,
                    encode_hashes(entry.hashes), used, row.content,
                ),
            )  # fmt: skip
            db.execute("UPDATE pending SET base = ?, after = NULL WHERE after = ?", (entry.version, row.seq))
        return None if old is None else int(old[0])

    def done(
        self,
        row: Pending,
        *,
        base: str | None = "",
        moved: Entry | None = None,
        remade: Iterable[Entry] = (),
        local: LocalChange | None = None,
    ) -> list[int]:
        """A change other than an upload is at the remote; `base` is what stands there now for who waited for it.

        Clean content at or below its paths is forgotten, but for the content of a file that was renamed to `moved`.
        `remade`: files that went with their directory and are other versions now. Returns the ids whose files can go.
        """
        places = [place for place in row.places if row.what is not What.MKDIR]
        with self._transaction() as db:
            keep = None
            if self.keeps_times and row.what is What.RENAME and row.dst is not None:
                file_times.move(db, row.path, row.dst)
                file_times.put(db, [known for entry in (moved, *remade) for known in file_times.rows_of(entry)])
            if moved is not None:
                found = db.execute("SELECT id FROM content WHERE path = ?", (os.fsencode(row.path),)).fetchone()
                keep = None if found is None else int(found[0])
            gone = []
            for place in places:
                gone += db.execute(_WITHIN, _within(place)).fetchall()
            numbers = [int(number) for (number,) in gone if number != keep]
            db.executemany("DELETE FROM content WHERE id = ?", [(number,) for number in numbers])
            if keep is not None and moved is not None:
                db.execute(
                    "UPDATE content SET path = ?, version = ?, modified_ns = ?, stored_ns = ?, remote_id = ?,"
                    " hashes = ? WHERE id = ?",
                    (
                        os.fsencode(moved.path), moved.version, moved.modified_ns, moved.stored_ns, moved.id,
                        encode_hashes(moved.hashes), keep,
                    ),
                )  # fmt: skip
            db.execute("DELETE FROM pending WHERE seq = ?", (row.seq,))
            db.execute("UPDATE pending SET base = ?, after = NULL WHERE after = ?", (base, row.seq))
            if local is not None:
                self._localize(db, local)
        return numbers

    def give_up(self) -> None:
        """All that is pending is lost, and directories that are only here."""
        with self._transaction() as db:
            db.execute("DELETE FROM pending")
            db.execute("DELETE FROM content WHERE path IS NULL")
            db.execute("DELETE FROM local_dir")

    def skip(self, row: Pending) -> None:
        """An upload that a later change of its path stands in for: that one is based on what it was based on."""
        with self._transaction() as db:
            db.execute("DELETE FROM pending WHERE seq = ?", (row.seq,))
            db.execute("DELETE FROM content WHERE id = ? AND path IS NULL", (row.content,))
            db.execute("UPDATE pending SET base = ?, after = ? WHERE after = ?", (row.base, row.after, row.seq))

    def restart(self) -> None:
        """What was on its way when the last owner died is to be done again."""
        with self._transaction() as db:
            db.execute("UPDATE pending SET state = 'dirty', attempts = max(attempts, 1) WHERE state = 'uploading'")

    def _insert_pending_content(self, db: sqlite3.Connection, made: Content) -> None:
        db.execute("INSERT INTO content (id, size, allocated) VALUES (?, ?, ?)", (made.id, made.size, made.allocated))
        self._shared.added.everything += made.allocated
        if made.data is not None:
            self.inline.add(made)


def _insert_content(
    db: sqlite3.Connection, number: int, path: bytes, entry: Entry, blocks: bytes | None, used: float, allocated: int
) -> None:
    db.execute(
        f"INSERT INTO content ({_CONTENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            number, path, entry.size, entry.version, entry.modified_ns, entry.stored_ns, entry.id,
            encode_hashes(entry.hashes), blocks, used, allocated,
        ),
    )  # fmt: skip


def _pending(
    seq: int, kind: str, path: bytes, dst: bytes | None, is_dir: int, content: int | None, size: int | None,
    modified: int | None, base: str | None, after: int | None, state: str, *times: Any,
) -> Pending:  # fmt: skip
    return Pending(
        seq, _WHAT[kind], os.fsdecode(path), None if dst is None else os.fsdecode(dst), is_dir != 0, content, size,
        modified, base, after, _STATE[state], *times,
    )  # fmt: skip


def _content(row: tuple[Any, ...]) -> Content:
    number, path, size, version, modified, stored, remote_id, hashes, *rest = row
    return Content(
        number, None if path is None else os.fsdecode(path), size, version, modified, stored, remote_id,
        decode_hashes(hashes), *rest,
    )  # fmt: skip


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(os.fsencode(os.path.abspath(path)))
