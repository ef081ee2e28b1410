"""Deletes, new directories and renames at the store below; doing one again finds it done. DESIGN.md, "Crash points"."""

import logging
from collections.abc import Callable

from cftool.core import paths
from cftool.core.errors import (
    DirectoryNotEmpty,
    NotFound,
    Unsupported,
)
from cftool.core.ops import move_anyhow
from cftool.core.types import Entry
from cftool.wrap.caching.rows import LocalChange, Pending, What
from cftool.wrap.caching.settling import Settling

_log = logging.getLogger("cftool.cache")


class Others(Settling):
    """See the module."""

    def __init__(self) -> None:
        # Files that a rename of their directory made other versions, by its row: it may take several tries.
        self._remade: dict[int, list[Entry]] = {}

    def _other(self, row: Pending) -> None:
        store = self._store
        inner = store.inner
        moved: Entry | None = None
        base: str | None = ""
        only_here = False
        if row.what is What.MKDIR:
            try:
                base = inner.mkdir(row.path).version
            except Unsupported:
                if not store.implicit:
                    raise
                only_here = True
        elif row.what is What.RMDIR:
            self._rmdir(row)
        elif row.what is What.DELETE:
            self._delete(row)
        else:
            moved, base = self._rename(row)
        with store.lock:
            shown = store.overlay.shown(row) if only_here else None
            local = None if shown is None else LocalChange(add=(shown,))
            remade = self._remade.pop(row.seq, [])
            for number in store.journal.done(row, base=base, moved=moved, remade=remade, local=local):
                store.unlink(number)
            places = [store.overlay.now(row, place) for place in row.places]
            versions = [(store.overlay.now(row, entry.path), entry.version) for entry in remade]
            store.overlay.drop(row)
            if local is not None:
                store.overlay.local.change(add=local.add)
            self._based(row.seq, base)
            store.brought(row)
            for place in places:
                store.settled(place, base if place == places[-1] else "")
            for place, version in versions:
                store.settled(place, version)

    def _delete(self, row: Pending) -> None:
        there = self._there(row.path)
        if there is None:
            return
        if there.is_dir or row.base == "" or (row.base not in {None, there.version} and there.version is not None):
            self._store.stats.conflict()
            _log.warning("%s was changed at the remote meanwhile; it is not deleted", paths.printable(row.path))
            return
        try:
            self._store.inner.delete(row.path)
        except NotFound:
            pass

    def _rmdir(self, row: Pending) -> None:
        try:
            self._store.inner.rmdir(row.path)
        except NotFound:
            pass
        except DirectoryNotEmpty:
            self._store.stats.conflict()
            _log.warning("%s got new entries at the remote meanwhile; it stays", paths.printable(row.path))

    def _rename(self, row: Pending) -> tuple[Entry | None, str | None]:
        """The entry under the new name, where our clean content is its content; and what waits for it is based on.

        That is never what others put there, or what they put under the old name in the meantime: it meets their edit.
        """
        assert row.dst is not None
        inner = self._store.inner
        source = self._there(row.path)
        target = self._there(row.dst)
        if source is None:  # done by an earlier try, or removed by somebody
            if target is not None and row.attempts > 0 and self._is_as_it_was(row, target):
                return None, target.version
            return None, row.base or ""
        dst = row.dst
        if target is not None and not row.is_dir and row.base is not None and target.version not in {row.base, None}:
            dst = self._free_name(row.dst, set())
            self._store.stats.conflict()
            _log.warning(
                "%s was changed at the remote meanwhile; both are kept, ours as %s",
                paths.printable(row.dst), paths.printable(dst),
            )  # fmt: skip
        if row.is_dir and target is not None:
            self._merge(row, row.path, dst)
            return None, row.base or ""
        with self._store.lock:
            content = self._store.journal.clean(row.path)
        cached = content is not None and content.version == source.version
        known = cached or self._is_as_it_was(row, source)
        moved = move_anyhow(inner, row.path, dst, changed=self._remakes(row))
        if row.is_dir or dst != row.dst:
            return None, row.base or ""
        if moved.modified_ns is None:  # not every answer tells; the time moves with the file
            moved = moved._replace(modified_ns=source.modified_ns)
        return moved if cached else None, moved.version if known else ""

    def _is_as_it_was(self, row: Pending, source: Entry) -> bool:
        """Whether a file is still the one that was renamed here, by its size and time."""
        if source.size != row.size:
            return False
        precision = self._store.inner.features.time_precision_ns
        if precision is None or source.modified_ns is None or row.modified_ns is None:
            return True  # nothing tells
        return abs(source.modified_ns - row.modified_ns) <= precision

    def _remakes(self, row: Pending) -> Callable[[Entry], None] | None:
        """What hears of them, where their times would not be known otherwise."""
        return self._remade.setdefault(row.seq, []).append if self._store.journal.keeps_times else None

    def _merge(self, row: Pending, src: str, dst: str) -> None:
        """Move what is left of a directory into one that is there: the rest of an earlier try."""
        inner = self._store.inner
        for entry in list(inner.scan(src)):
            target = paths.join(dst, entry.name)
            if entry.is_dir and self._there(target) is not None:
                self._merge(row, entry.path, target)
            else:
                remakes = self._remakes(row)
                moved = move_anyhow(inner, entry.path, target, changed=remakes)
                if remakes is not None and not entry.is_dir and moved.version != entry.version:
                    remakes(moved)
        try:
            inner.rmdir(src)
        except NotFound:
            pass
