"""What is shown, worked out from the records: the rules of DESIGN.md, "What is shown", and nothing else.

`update` brings the table `shown` up to date for the paths that a change touched, and for the directories above them.
The result depends on the records alone, not on the order in which their packs were read.
"""

import heapq
import os
import sqlite3
from typing import NamedTuple

from cftool.wrap.archiving import names, rows
from cftool.wrap.archiving.manifest import Record

# Of the copies of a record the one in the newest pack counts: compaction has moved its bytes.
_COUNTING = (
    "FROM records JOIN packs ON packs.number = records.pack WHERE packs.ignored = 0"
    " AND NOT EXISTS (SELECT 1 FROM dead WHERE dead.id = records.id)"
)
_HEADS = f"SELECT records.number, {rows.QUALIFIED} {_COUNTING} AND records.path = ? ORDER BY packs.name"


class _Row(NamedTuple):
    key: bytes
    path: bytes
    record: int | None


def touched(db: sqlite3.Connection, pack: int) -> set[bytes]:
    """The paths of a pack's records, and of those that it supersedes."""
    found = db.execute("SELECT path FROM records WHERE pack = ?", (pack,)).fetchall()
    found += db.execute(
        "SELECT records.path FROM dead JOIN records ON records.id = dead.id WHERE dead.pack = ?", (pack,)
    ).fetchall()
    return {path for (path,) in found}


def reconsidered(db: sqlite3.Connection) -> set[bytes]:
    """Say anew which packs are replaced; the paths for which that makes a difference."""
    if not db.execute("SELECT 1 FROM links UNION ALL SELECT 1 FROM packs WHERE ignored LIMIT 1").fetchone():
        return set()
    whole = (
        "SELECT 1 FROM links AS r WHERE r.name = packs.name AND r.kind = 'replaces' AND NOT EXISTS (SELECT 1 FROM links"
        " AS q WHERE q.pack = r.pack AND q.kind = 'requires' AND q.name NOT IN (SELECT name FROM packs))"
    )
    changed = db.execute(
        f"SELECT number, EXISTS ({whole}) AS now FROM packs WHERE ignored <> EXISTS ({whole})"  # noqa: S608 - constants
    ).fetchall()
    found: set[bytes] = set()
    for number, now in changed:
        db.execute("UPDATE packs SET ignored = ? WHERE number = ?", (now, number))
        found |= touched(db, number)
    return found


def update(db: sqlite3.Connection, paths: set[bytes]) -> None:
    """See the module."""
    todo = [(-path.count(b"/"), path) for path in paths]
    heapq.heapify(todo)
    waiting = set(paths)

    def look_at(path: bytes) -> None:
        if path and path not in waiting:
            waiting.add(path)
            heapq.heappush(todo, (-path.count(b"/"), path))

    while todo:
        path = heapq.heappop(todo)[1]
        waiting.discard(path)
        others = _show(db, path)
        if others is not None:
            look_at(path.rpartition(b"/")[0])
            for other in others:
                look_at(other)


def _show(db: sqlite3.Connection, path: bytes) -> list[bytes] | None:
    """Replace the rows of one path; None: they are right. Else the paths whose conflict names it took."""
    old = [_Row(*row) for row in db.execute("SELECT key, path, record FROM shown WHERE origin = ?", (path,))]
    new, displaced = _rows(db, path)
    if sorted(old) == sorted(new):
        return None
    db.executemany("DELETE FROM shown WHERE key = ?", [(row.key,) for row in old])
    for other in displaced:
        db.execute("DELETE FROM shown WHERE origin = ? AND path = ?", (other, path))
    db.executemany(
        "INSERT INTO shown (key, path, parent, origin, record) VALUES (?, ?, ?, ?, ?)",
        [(row.key, row.path, row.path.rpartition(b"/")[0], path, row.record) for row in new],
    )
    return displaced


def _rows(db: sqlite3.Connection, path: bytes) -> tuple[list[_Row], list[bytes]]:
    """What is to be shown of one path, and of which paths something else is shown under that name now."""
    directory, groups = _heads(db, path)
    has_children = db.execute("SELECT 1 FROM shown WHERE parent = ? LIMIT 1", (path,)).fetchone() is not None
    found: list[_Row] = []
    if directory is not None or has_children:
        found.append(_Row(path + b"/", path, directory))
    elif groups:
        found.append(_Row(path, path, groups.pop(0)[0]))
    found += [_conflict(db, path, number, record) for number, record in groups]
    displaced = []
    if found:
        query = "SELECT DISTINCT origin FROM shown WHERE path = ?1 AND origin <> ?1"
        displaced = [origin for (origin,) in db.execute(query, (path,))]
    return found, displaced


def _heads(db: sqlite3.Connection, path: bytes) -> tuple[int | None, list[tuple[int, Record]]]:
    """The number of the directory's record, and one record for each content, the first one having the name."""
    copies = {row[1]: row for row in db.execute(_HEADS, (path,))}
    directory: int | None = None
    contents: dict[tuple[int, str], tuple[int, Record]] = {}
    for _, (number, *columns) in sorted(copies.items()):  # by id: the highest comes last, and stays
        record = rows.record(columns)
        if record.is_dir:
            directory = number
        else:
            contents[record.content] = (number, record)
    return directory, sorted(contents.values(), key=lambda each: each[1].id, reverse=True)


def _conflict(db: sqlite3.Connection, path: bytes, number: int, record: Record) -> _Row:
    attempt = 0
    while True:
        name = os.fsencode(names.conflict(os.fsdecode(path), record.host, record.stored_ns, record.id, attempt))
        taken = db.execute("SELECT 1 FROM shown WHERE path = ? AND origin <> ?", (name, path)).fetchone()
        if taken is None:
            return _Row(name, name, number)
        attempt += 1


def stands_for(db: sqlite3.Connection, origin: bytes, record: Record) -> tuple[str, ...]:
    """The ids of all live records of `origin` that are this directory, or have this content."""
    copies = {row[1]: rows.record(row[1:]) for row in db.execute(_HEADS, (origin,))}
    return tuple(
        sorted(
            each.id
            for each in copies.values()
            if each.is_dir is record.is_dir and (each.is_dir or each.content == record.content)
        )
    )


# The newest copy of a record is the one that counts.
_NEWEST = (
    f"{_COUNTING} AND NOT EXISTS (SELECT 1 FROM records AS later JOIN packs AS its ON its.number = later.pack"  # noqa: S608
    " WHERE later.id = records.id AND its.ignored = 0 AND its.name > packs.name)"
)


def holds(db: sqlite3.Connection, name: str) -> bool:
    """Whether a record that counts has its bytes in this pack."""
    return db.execute(f"SELECT 1 {_NEWEST} AND records.container = ? LIMIT 1", (name,)).fetchone() is not None


def live_bytes(db: sqlite3.Connection) -> dict[str, int]:
    """By pack or object: bytes of members that count, headers included; what several records share counts once."""
    query = (
        "SELECT container, sum(size) FROM (SELECT records.container, max((records.size + 511) / 512 * 512"  # noqa: S608
        f" + CASE WHEN length(records.path) > 100 THEN 4096 ELSE 512 END) AS size {_NEWEST}"
        " GROUP BY records.container, records.at) GROUP BY container"
    )
    return dict(db.execute(query).fetchall())


def carried(db: sqlite3.Connection, packs: list[str]) -> list[Record]:
    """The records that count and that these packs carry, or hold the bytes of."""
    _choose(db, packs)
    found = db.execute(
        f"SELECT {rows.QUALIFIED} {_NEWEST} AND (packs.name IN chosen OR records.container IN chosen)"
        " ORDER BY records.path, records.id"
    )
    return [rows.record(row) for row in found.fetchall()]


def ends(db: sqlite3.Connection, packs: list[str]) -> list[tuple[str, int, bool]]:
    """The ends of records that these packs tell of; whether any other pack has the record."""
    _choose(db, packs)
    found = db.execute(
        "SELECT dead.id, min(dead.at_ns), EXISTS (SELECT 1 FROM records JOIN packs AS its ON its.number = records.pack"
        " WHERE records.id = dead.id AND its.name NOT IN chosen) FROM dead JOIN packs ON packs.number = dead.pack"
        " WHERE packs.name IN chosen GROUP BY dead.id ORDER BY dead.id"
    )
    return [(each, when, bool(elsewhere)) for each, when, elsewhere in found]


def lost(db: sqlite3.Connection, pack: int) -> tuple[int, int]:
    """What goes with a pack: files that no other pack has, and records that no other pack says have ended."""
    [files] = db.execute(
        f"SELECT count(DISTINCT records.id) {_COUNTING} AND records.pack = ?1 AND NOT records.is_dir"  # noqa: S608
        " AND NOT EXISTS (SELECT 1 FROM records AS copy WHERE copy.id = records.id AND copy.pack <> ?1)",
        (pack,),
    ).fetchone()
    [back] = db.execute(
        "SELECT count(DISTINCT dead.id) FROM dead WHERE dead.pack = ?1"
        " AND EXISTS (SELECT 1 FROM records JOIN packs ON packs.number = records.pack"
        " WHERE records.id = dead.id AND packs.ignored = 0 AND records.pack <> ?1)"
        " AND NOT EXISTS (SELECT 1 FROM dead AS other WHERE other.id = dead.id AND other.pack <> ?1)",
        (pack,),
    ).fetchone()
    return int(files), int(back)


def _choose(db: sqlite3.Connection, packs: list[str]) -> None:
    db.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (name TEXT PRIMARY KEY)")
    db.execute("DELETE FROM chosen")
    db.executemany("INSERT INTO chosen VALUES (?)", [(name,) for name in packs])
