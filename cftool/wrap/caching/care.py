"""Looking after a cache: what it holds, dropping what is clean, and checking every row against its data file.

For the owner, who answers through its socket, and for who takes the lock where nobody owns the cache. Never deletes
what is damaged, and never what is not uploaded but where it is told to.
"""

import contextlib
import io
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from cftool.core import hashing, paths
from cftool.core.errors import StoreError
from cftool.disk import locks
from cftool.wrap.caching.files import DataFiles
from cftool.wrap.caching.journal import Journal
from cftool.wrap.caching.rows import DAMAGED, Content, Pending, State

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with the content of `path` ("" where nobody knows), and what was done about it."""

    path: str
    problem: str
    done: str

    def fields(self) -> dict[str, Any]:
        """For machines."""
        return {"path": self.path, "problem": self.problem, "done": self.done}


class Unowned:
    """A cache that nobody has open, for as long as it is looked after; Locked where somebody has."""

    def __init__(self, directory: str) -> None:
        self._lock = locks.Lock(directory, "owner")
        try:
            path = os.path.join(directory, "journal.sqlite")
            if not Journal.is_sound(path):
                raise StoreError(
                    "the cache's journal is damaged; it is set aside, with all content, when the cache is next opened",
                    op="open", path=path,
                )  # fmt: skip
            self.journal = Journal(path, identity=None)
            self.files = DataFiles(os.path.join(directory, "data"))
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Let go of it."""
        self.journal.close()
        self.files.close()
        self._lock.release()


def looked_at(directory: str) -> tuple[list[Pending], int, int]:
    """What is pending in a cache, all its bytes and those that are clean; nothing is locked or changed."""
    journal = Journal(os.path.join(directory, "journal.sqlite"), identity=None, look=True)
    try:
        rows, _ = journal.shown()
        return rows, *journal.summed()
    finally:
        journal.close()


def cleared(cache: Unowned, *, everything: bool) -> tuple[int, list[Pending]]:
    """Drop clean content, and with `everything` what is pending too; how many files, and what is lost for good."""
    clean = [number for number, _, is_clean in cache.journal.sizes() if is_clean]
    lost = cache.journal.pending() if everything else []
    numbers = clean + [row.content for row in lost if row.content is not None]
    cache.journal.forget(clean)
    if everything:
        cache.journal.give_up()
    for number in numbers:
        cache.files.remove(number)
    return len(clean), lost


def checked(
    journal: Journal, files: DataFiles, lock: contextlib.AbstractContextManager[Any], busy: Collection[int]
) -> Iterator[Finding]:
    """Check all content but what is `busy`; of what is damaged, clean content is set aside and forgotten."""
    with lock:
        contents = list(journal.contents())
        rows = {row.content: row for row in journal.pending() if row.content is not None}
        busy = {*busy, *journal.editing()}  # of a dead owner: the next one takes them as they are
    known = {content.id for content in contents}
    for content in contents:
        if content.id in busy:
            continue
        with lock:
            data = journal.inline.data(content.id)
        problem = _problem(content, files, data)
        if problem is None:
            continue
        with lock:
            if journal.content(content.id) != content:
                continue  # it was replaced while it was looked at
            row = rows.get(content.id)
            if row is not None:
                yield _pending_found(journal, row, problem)
            elif content.path is not None:
                yield _set_aside(journal, files, content, problem)
            else:
                yield Finding("", problem, "nothing needs it")
    for number, row in rows.items():
        if number not in known:
            with lock:
                yield _pending_found(journal, row, "its content is in no row")


def unknown(journal: Journal, files: DataFiles) -> Iterator[Finding]:
    """Data files that nobody knows; only where nobody owns the cache: an owner makes the file before the row."""
    known = {number for number, _, _ in journal.sizes()} - journal.inline.sizes().keys()
    for number, making in files.ids():
        if not making and number not in known:
            yield Finding("", f"the data file {number:x} is in no row", "it goes when the cache is next opened")


def _problem(content: Content, files: DataFiles, data: bytes | None) -> str | None:
    size = files.size(content.id) if data is None else len(data)
    if size is None:
        return "its data file is missing"
    if size != content.size:
        return f"its data file has {size} bytes, not {content.size}"
    name = hashing.cheapest(content.hashes)
    if content.path is None or content.blocks is not None or name is None:
        return None
    hasher = hashing.new(name)
    with open(files.path(content.id), "rb") if data is None else io.BytesIO(data) as file:
        while piece := file.read(_PIECE):
            hasher.update(piece)
    return None if hasher.hexdigest() == content.hashes[name] else f"its data file has another {name}"


def _pending_found(journal: Journal, row: Pending, problem: str) -> Finding:
    """Under the lock: the only copy of something stays where it is, and is not uploaded."""
    if row.error_kind != DAMAGED:
        journal.update(replace(row, state=State.FAILED, error_kind=DAMAGED, error=problem))
    return Finding(row.path, problem, "it is not uploaded; what is there of it stays in the cache")


def _set_aside(journal: Journal, files: DataFiles, content: Content, problem: str) -> Finding:
    """Under the lock: what is at the remote is fetched again."""
    aside = files.set_one_aside(content.id, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    journal.forget([content.id])
    done = "it will be fetched again"
    return Finding(
        content.path or "", problem, done if aside is None else f"{done}; it is now {paths.printable(aside)}"
    )
