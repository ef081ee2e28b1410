"""What most services have no place for, kept beside the cache: modes, owners, times of directories, special files.

One small SQLite file in the cache's directory, by path, moved and removed with what it describes. It holds nothing that
a file's content depends on: a lost row means the default mode again, or a FIFO less. Used by `Vfs` under its lock.
"""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_SCHEMA = """
CREATE TABLE IF NOT EXISTS attributes (
    path BLOB PRIMARY KEY, mode INTEGER, uid INTEGER, gid INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS moving (src BLOB PRIMARY KEY, dst BLOB, place BLOB) WITHOUT ROWID;
"""
_LATER = ("rdev", "mtime_ns")  # columns that an older file has not


@dataclass(frozen=True, slots=True)
class Owned:
    """What was set of one path; None: never."""

    mode: int | None = None  # permission bits; with the type bits where it is a special file
    uid: int | None = None
    gid: int | None = None
    rdev: int | None = None  # of a special file
    mtime_ns: int | None = None  # of a directory

    @property
    def special(self) -> bool:
        """Whether it is a FIFO, a socket or a device: they are nowhere but here."""
        return self.mode is not None and stat.S_IFMT(self.mode) != 0


class Attributes:
    """The table; `path` None keeps it in memory."""

    def __init__(self, path: str | None) -> None:
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")  # the cache has one owner: the file is not locked each time
        self._db.execute("PRAGMA journal_mode = WAL").fetchone()
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        there = {row[1] for row in self._db.execute("PRAGMA table_info(attributes)")}
        for column in _LATER:
            if column not in there:
                self._db.execute(f"ALTER TABLE attributes ADD COLUMN {column} INTEGER")
        rows = self._db.execute("SELECT path, mode, uid, gid, rdev, mtime_ns FROM attributes")
        self._known = {os.fsdecode(path): Owned(*rest) for path, *rest in rows}
        self._special = {path for path, owned in self._known.items() if owned.special}

    @property
    def nothing(self) -> bool:
        """Whether nothing was ever set: then nobody need know a path."""
        return not self._known

    def get(self, path: str) -> Owned | None:
        """What was set of `path`."""
        return self._known.get(path)

    def specials(self, directory: str) -> Iterator[tuple[str, Owned]]:
        """Names of the special files in a directory."""
        start = directory + "/" if directory else ""
        for path in self._special:
            if path.startswith(start) and "/" not in path[len(start) :]:
                yield path[len(start) :], self._known[path]

    def set(self, path: str, owned: Owned) -> None:
        """Remember."""
        self._known[path] = owned
        if owned.special:
            self._special.add(path)
        self._db.execute(
            "INSERT OR REPLACE INTO attributes (path, mode, uid, gid, rdev, mtime_ns) VALUES (?, ?, ?, ?, ?, ?)",
            (os.fsencode(path), owned.mode, owned.uid, owned.gid, owned.rdev, owned.mtime_ns),
        )

    def remove(self, path: str) -> None:
        """It is gone."""
        self._special.discard(path)
        if self._known.pop(path, None) is not None:
            self._db.execute("DELETE FROM attributes WHERE path = ?", (os.fsencode(path),))

    def move(self, src: str, dst: str) -> None:
        """It and all below it have other names."""
        if not self._known:
            self.not_moved(src)  # that of what was renamed over was the last one
            return
        moved = {path: dst + path[len(src) :] for path in self._known if path == src or path.startswith(src + "/")}
        self._db.execute("BEGIN")
        self.remove(dst)
        for path, name in moved.items():
            owned = self._known[path]
            self.remove(path)
            self.set(name, owned)
        self.not_moved(src)
        self._db.execute("COMMIT")

    def about_to_move(self, src: str, dst: str, place: str) -> None:
        """Before the store renames `place`, which is shown as `src`: who dies before `move` leaves a note of it."""
        if self._known:
            self._db.execute(
                "INSERT OR REPLACE INTO moving (src, dst, place) VALUES (?, ?, ?)",
                tuple(os.fsencode(path) for path in (src, dst, place)),
            )

    def not_moved(self, src: str) -> None:
        """The store did not."""
        self._db.execute("DELETE FROM moving WHERE src = ?", (os.fsencode(src),))

    def settle(self, is_there: Callable[[str], bool]) -> None:
        """At the beginning: of renames that were not seen to end, whether they were done."""
        rows = self._db.execute("SELECT src, dst, place FROM moving").fetchall()
        for src, dst, place in ([os.fsdecode(path) for path in row] for row in rows):
            if not is_there(place):
                self.move(src, dst)
        if rows:
            self._db.execute("DELETE FROM moving")

    def close(self) -> None:
        """Close the file."""
        self._db.close()
