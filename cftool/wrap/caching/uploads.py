"""Uploads of pending content, each under its condition: never over an edit of others. DESIGN.md, "Conditions"."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from cftool.core import hashing, paths
from cftool.core.errors import (
    AlreadyExists,
    PreconditionFailed,
    StoreError,
    TemporaryError,
)
from cftool.core.types import Cap, Entry, Kind, Result, WriteItem
from cftool.wrap.caching.rows import Pending, State
from cftool.wrap.caching.settling import Settling

_log = logging.getLogger("cftool.cache")
UNKNOWN = "?"  # the base of a change that was made while the remote could not be asked


class Uploads(Settling):
    """See the module."""

    def _uploads(self, rows: list[Pending]) -> None:
        """All at once through the store below; each row is settled when its answer comes."""
        store, inner = self._store, self._store.inner
        with store.stats.moving(store.stats.up) as moved:
            if Cap.WRITE_MANY in inner.features.caps:
                self._batch(rows, moved)
            else:
                threads = store.settings.uploads or max(1, inner.features.connections)
                with ThreadPoolExecutor(threads, thread_name_prefix="cftool-upload") as pool:
                    for size in pool.map(self._single, rows):
                        moved(size)

    def _batch(self, rows: list[Pending], moved: Callable[[int], None]) -> None:
        unanswered = {row.seq: row for row in rows}

        def items() -> Iterator[WriteItem]:
            for row in rows:
                item = self._checked(row)
                if item is not None:
                    yield item
                else:  # looking at the remote has settled it
                    del unanswered[row.seq]

        error: Exception = TemporaryError("whether it was uploaded was never told", op="write")
        try:
            for result in self._store.inner.write_many(items()):
                assert isinstance(result.tag, int)
                row = unanswered.pop(result.tag)
                if result.error is None:
                    moved(row.size or 0)
                self._answered(row, result)
        except StoreError as told:
            error = told
        for row in unanswered.values():
            self._failed(row, error)

    def _single(self, row: Pending) -> int:
        """How many bytes were uploaded."""
        item = self._checked(row)
        if item is None:
            return 0
        try:
            entry = self._store.inner.write(
                item.path, item.source, modified_ns=item.modified_ns,
                if_version=item.if_version, if_absent=item.if_absent,
            )  # fmt: skip
        except StoreError as error:
            self._answered(row, Result(row.path, error=error))
            return 0
        self._answered(row, Result(row.path, entry=entry))
        return row.size or 0

    def _checked(self, row: Pending) -> WriteItem | None:
        """The upload with its condition; None where looking at the remote has settled it."""
        store = self._store
        assert row.content is not None
        assert row.size is not None
        if row.attempts and self._superseded(row):
            self._settle(row, lambda: self._resolve(row))
            return None
        source = store.source_of(row.content, row.size)
        caps = store.inner.features.caps
        plain = WriteItem(row.path, source, row.modified_ns, tag=row.seq)
        first_try = row.attempts == 0
        if row.base == "" and Cap.IF_ABSENT in caps and first_try:
            return replace(plain, if_absent=True)
        if row.base not in {"", None, UNKNOWN} and Cap.IF_VERSION in caps and first_try:
            return replace(plain, if_version=row.base)
        try:
            there = self._there(row.path)
            if not self._fits(row, there):
                assert there is not None
                self._collided(row, there)
                return None
        except StoreError as error:
            self._answered(row, Result(row.path, error=error))
            return None
        if there is None:
            return replace(plain, if_absent=True) if Cap.IF_ABSENT in caps else plain
        if there.version is not None and Cap.IF_VERSION in caps:
            return replace(plain, if_version=there.version)
        return plain

    def _superseded(self, row: Pending) -> bool:
        """Whether a later change of the same path only waits to learn what became of this one."""
        with self._store.lock:
            return bool(self._store.overlay.followers(row.seq))

    def _resolve(self, row: Pending) -> None:
        """An upload that may have arrived, and whose content nobody wants any more: find out, upload nothing."""
        there = self._there(row.path)
        if there is not None and there.version != row.base and self._is_ours(row, there):
            self._uploaded(row, there)
            return
        store = self._store
        assert row.content is not None
        with store.lock:
            store.journal.skip(row)
            store.overlay.drop(row)
            store.files.remove(row.content)
            self._based(row.seq, row.base)

    @staticmethod
    def _fits(row: Pending, there: Entry | None) -> bool:
        """Whether the remote is still what the change was based on."""
        if there is None:
            return True  # where it was deleted meanwhile, the newer content stands
        if there.version is None or row.base is None:
            return row.base != "" or there.kind is Kind.DIRECTORY
        return row.base == there.version

    def _answered(self, row: Pending, result: Result) -> None:
        error = result.error
        if error is None:
            assert result.entry is not None
            self._uploaded(row, result.entry)
        elif isinstance(error, PreconditionFailed | AlreadyExists):
            self._settle(row, lambda: self._refused(row, error))
        else:
            self._failed(row, error)

    def _refused(self, row: Pending, error: Exception) -> None:
        """The condition did not hold: somebody's edit, or our own upload whose answer was lost."""
        there = self._there(row.path)
        if there is None and row.attempts == 0:  # deleted meanwhile: the newer content stands
            self._single(replace(row, attempts=1))
        elif there is None:
            self._again(row, error)
        elif there.version is not None and there.version == row.base:
            self._again(row, error)  # it was refused for another reason, or has come back
        else:
            self._collided(row, there)

    def _again(self, row: Pending, error: Exception) -> None:
        self._failed(row, TemporaryError(str(error)))

    def _collided(self, row: Pending, there: Entry) -> None:
        """Another version is there: ours, of an earlier try, or somebody's, and then both are kept."""
        if self._is_ours(row, there):
            _log.info("%s: an earlier upload had arrived", paths.printable(row.path))
            self._uploaded(row, there)
            return
        store = self._store
        with store.lock:
            taken = {other.path for other in store.overlay.rows.values()}
        name = self._free_name(row.path, taken)
        moved = replace(row, path=name, base="", after=None, state=State.CONFLICTED, error_kind="conflict",
                        error=f"{row.path} was changed at the remote meanwhile", due=0.0, next_try=0.0,
                        attempts=0)  # fmt: skip
        base = row.base or ""  # what waited for this one is not based on what others put there
        with store.lock:
            with store.journal.together():
                store.journal.update(moved)
                store.journal.rebase(row.seq, base)
            store.overlay.call(row, moved)
            self._based(row.seq, base)
            store.settled(store.overlay.now(moved, row.path), base)
        store.stats.conflict()
        store.stats.error("conflict", moved.error)
        _log.warning(
            "%s was changed at the remote meanwhile; both are kept, ours as %s",
            paths.printable(row.path), paths.printable(name),
        )  # fmt: skip

    def _is_ours(self, row: Pending, there: Entry) -> bool:
        if there.kind is not Kind.FILE or there.size != row.size or row.content is None:
            return False
        name = hashing.cheapest(there.hashes)
        if self._store.size_of(row.content) != row.size:
            return False  # damaged: nobody can tell
        content = self._store.source_of(row.content, row.size or 0)
        if name is not None:
            with content.open() as file:
                hasher = hashing.new(name)
                while piece := file.read(1 << 20):
                    hasher.update(piece)
            return hasher.hexdigest() == there.hashes[name]
        with self._store.inner.read(row.path, if_version=there.version) as theirs, content.open() as ours:
            for chunk in theirs:
                if ours.read(len(chunk)) != chunk:
                    return False
            return not ours.read(1)

    def _uploaded(self, row: Pending, entry: Entry) -> None:
        store = self._store
        with store.lock:
            old = store.journal.uploaded(row, entry, used=store.times.wall())
            path = store.overlay.now(row, row.path)
            store.overlay.drop(row)
            store.unlink(old)
            self._based(row.seq, entry.version)
            store.settled(path, entry.version)
            store.arrived(row.path)
            store.trim()
        _log.info("uploaded %s", paths.printable(row.path))
