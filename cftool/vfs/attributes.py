"""Modes and owners that programs set: kept beside the cache, because most services have no place for them.

One small SQLite file in the cache's directory, by path, moved and removed with what it describes. It holds nothing that
a file's content depends on: a lost row means the default mode again. Used by `Vfs` under its lock.
"""

import os
import sqlite3
from dataclasses import dataclass

_SCHEMA = """
CREATE TABLE IF NOT EXISTS attributes (
    path BLOB PRIMARY KEY, mode INTEGER, uid INTEGER, gid INTEGER
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Owned:
    """What was set of one path; None: never."""

    mode: int | None = None  # permission bits
    uid: int | None = None
    gid: int | None = None


class Attributes:
    """The table; `path` None keeps it in memory."""

    def __init__(self, path: str | None) -> None:
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL").fetchone()
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        rows = self._db.execute("SELECT path, mode, uid, gid FROM attributes")
        self._known = {os.fsdecode(path): Owned(mode, uid, gid) for path, mode, uid, gid in rows}

    def get(self, path: str) -> Owned | None:
        """What was set of `path`."""
        return self._known.get(path)

    def set(self, path: str, owned: Owned) -> None:
        """Remember."""
        self._known[path] = owned
        self._db.execute(
            "INSERT OR REPLACE INTO attributes VALUES (?, ?, ?, ?)",
            (os.fsencode(path), owned.mode, owned.uid, owned.gid),
        )

    def remove(self, path: str) -> None:
        """It is gone."""
        if self._known.pop(path, None) is not None:
            self._db.execute("DELETE FROM attributes WHERE path = ?", (os.fsencode(path),))

    def move(self, src: str, dst: str) -> None:
        """It and all below it have other names."""
        if not self._known:
            return
        moved = {path: dst + path[len(src) :] for path in self._known if path == src or path.startswith(src + "/")}
        self.remove(dst)
        for path, name in moved.items():
            owned = self._known[path]
            self.remove(path)
            self.set(name, owned)

    def close(self) -> None:
        """Close the file."""
        self._db.close()
