"""Deletes, new directories and renames at the store below; doing one again finds it done. DESIGN.md, "Crash points"."""

import logging

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
            moved = self._rename(row)
            # Where it got another name, what waits for it is not based on what others put there.
            base = row.base or "" if moved is None else moved.version
        with store.lock:
            shown = store.overlay.shown(row) if only_here else None
            local = None if shown is None else LocalChange(add=(shown,))
            for number in store.journal.done(row, base=base, moved=moved, local=local):
                store.files.remove(number)
            store.overlay.drop(row)
            if local is not None:
                store.overlay.local.change(add=local.add)
            self._based(row.seq, base)
            for place in row.places:
                store.settled(place, base if place == row.places[-1] else "")

    def _delete(self, row: Pending) -> None:
        there = self._there(row.path)
        if there is None:
            return
        if there.is_dir or (row.base not in {None, "", there.version} and there.version is not None) or (
            row.base == "" and row.attempts == 0
        ):  # fmt: skip
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

    def _rename(self, row: Pending) -> Entry | None:
        assert row.dst is not None
        inner = self._store.inner
        source = self._there(row.path)
        target = self._there(row.dst)
        if source is None:  # done by an earlier try, or removed by somebody
            return target
        dst = row.dst
        if target is not None and not row.is_dir and row.base is not None and target.version not in {row.base, None}:
            dst = self._free_name(row.dst, set())
            self._store.stats.conflict()
            _log.warning(
                "%s was changed at the remote meanwhile; both are kept, ours as %s",
                paths.printable(row.dst), paths.printable(dst),
            )  # fmt: skip
        if row.is_dir and target is not None:
            self._merge(row.path, dst)
            return None
        moved = move_anyhow(inner, row.path, dst)
        if moved.modified_ns is None:  # not every answer tells; the time moves with the file
            moved = moved._replace(modified_ns=source.modified_ns)
        return moved if dst == row.dst and not row.is_dir else None

    def _merge(self, src: str, dst: str) -> None:
        """Move what is left of a directory into one that is there: the rest of an earlier try."""
        inner = self._store.inner
        for entry in list(inner.scan(src)):
            target = paths.join(dst, entry.name)
            if entry.is_dir and self._there(target) is not None:
                self._merge(entry.path, target)
            else:
                move_anyhow(inner, entry.path, target)
        try:
            inner.rmdir(src)
        except NotFound:
            pass
