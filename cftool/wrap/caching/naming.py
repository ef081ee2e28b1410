"""Files and directories get other names: renames in the journal, and copies."""

from dataclasses import replace

from cftool.core import paths
from cftool.core.errors import (
    AlreadyExists,
    IsADirectory,
    NotADirectory,
    TemporaryError,
    Unsupported,
)
from cftool.core.types import Cap, Entry
from cftool.wrap.caching.changing import Changing
from cftool.wrap.caching.overlay import Shows
from cftool.wrap.caching.rows import Pending, State, What
from cftool.wrap.caching.uploads import UNKNOWN


class Naming(Changing):
    """See the module."""

    def move(self, src: str, dst: str) -> Entry:
        """Journalled; a file whose upload has not begun is uploaded under its new name only."""
        if src == dst:
            return self.stat(src)
        if not src or paths.is_within(dst, src):
            raise Unsupported("a directory cannot be moved into itself", op="move", path=src, store=self.name)
        entry = self.stat(src)
        if not entry.is_dir:
            self.may_hold(dst)
        there, base = self.look(dst)
        if base.version == UNKNOWN:
            raise TemporaryError("the remote cannot be asked", op="move", path=dst, store=self.name)
        if there is not None and (there.is_dir or entry.is_dir):
            self._may_replace(entry, there, dst)
        if there is None:
            self.make_parents(dst)
        only_local = entry.is_dir and self._only_local(src)
        with self.lock:
            for draft in self._drafts:
                draft.moves(src)
            row = self.overlay.last(src)
            if only_local:
                self._record([], local=self._moved(src, dst))
            elif row is not None and row.what is What.UPLOAD and row.untried:
                entry = self._renamed_upload(row, dst, self._fresh(dst, base)).entry()
            else:
                self._record_rename(src, dst, entry, there, self._fresh(dst, base))
            if entry.is_dir:
                self.settlements_move(src, dst)
            for draft in self._drafts:  # not where the journal could not be written
                draft.moved(src, dst)
        return entry.at(dst)  # not asked for: others may have renamed it again

    def _may_replace(self, entry: Entry, there: Entry, dst: str) -> None:
        if there.is_dir and not entry.is_dir:
            raise IsADirectory("a directory is there", op="move", path=dst, store=self.name)
        if entry.is_dir and not there.is_dir:
            raise NotADirectory("a file is there", op="move", path=dst, store=self.name)
        raise AlreadyExists("a directory is there", op="move", path=dst, store=self.name)

    def _renamed_upload(self, row: Pending, dst: str, base: str | None) -> Pending:
        """Under the lock: the content goes to the new name, and what the remote has of the old one goes."""
        now = self.times.wall()
        dropped = [row]
        renamed = replace(row, path=dst, base=base, after=None, state=State.DIRTY, attempts=0, next_try=0.0)
        last = self.overlay.last(dst)
        if last is not None and last.what in {What.UPLOAD, What.DELETE} and self._stands_in(last):
            dropped.append(last)
            renamed = replace(renamed, base=last.base, after=last.after)
        elif last is not None:
            renamed = replace(renamed, base=None, after=last.seq)
        else:
            renamed = self._after_rename(renamed)
        rows = [renamed]
        if row.base != "" or row.after is not None:
            rows.append(Pending(0, What.DELETE, row.path, base=row.base, after=row.after, created=now, due=now))
        else:
            self.settled(row.path, "")
        return self._record(rows, dropped=dropped, local=self._left(row.path))[0]

    def _record_rename(self, src: str, dst: str, entry: Entry, there: Entry | None, base: str | None) -> None:
        """Under the lock."""
        now = self.times.wall()
        dropped: list[Pending] = []
        after: int | None = None
        last = self.overlay.last(dst) or self.overlay.renamed(dst)
        if last is not None and last.untried and last.what is What.UPLOAD:
            dropped, base, after = [last], last.base, last.after
        elif last is not None:  # what it leaves there is known when it is done
            base, after = None, last.seq
        elif self.overlay.concerned(dst):
            base = None
        elif there is None:
            base = ""
        waited_for = [row.seq for row in self.overlay.touching(src)] + [row.seq for row in self.overlay.touching(dst)]
        row = Pending(
            0, What.RENAME, src, dst, is_dir=entry.is_dir, size=entry.size, modified_ns=entry.modified_ns, base=base,
            after=after, created=now, due=now,
        )  # fmt: skip
        gone = {row.seq for row in dropped}
        self._record(
            [row], dropped=dropped, due_now=[seq for seq in waited_for if seq not in gone], local=self._moved(src, dst)
        )

    def copy(self, src: str, dst: str) -> Entry:
        """Below, where neither side is pending there; else by the content that is here."""
        entry = self.stat(src)
        if entry.is_dir:
            raise IsADirectory("is a directory", op="copy", path=src, store=self.name)
        with self.lock:
            pending = self.overlay.touched(src) or self.overlay.touched(dst)
            if dst in self.overlay.local:
                raise IsADirectory("a directory is there", op="copy", path=dst, store=self.name)
        if not pending and Cap.COPY in self.inner.features.caps:
            return self.inner.copy(src, dst)
        handle = self.open(src)
        if handle is None:
            raise Unsupported("its content has no version: copy it by reading it", op="copy", path=src)
        with handle:
            return self.write(dst, handle.source(), modified_ns=entry.modified_ns)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Of a pending file in the journal; of another below, or by an upload where it has to be."""
        with self.lock:
            row = self.overlay.last(path)
            if row is not None and row.what is What.UPLOAD and row.untried:
                changed = replace(row, modified_ns=modified_ns)
                self.journal.update(changed)
                self.overlay.replace(changed)
                return changed.entry()
            found = self.overlay.find(path)
            untouched = found.shows is Shows.BELOW and found.path == path and not self.overlay.touched(path)
        if untouched and Cap.SET_MODIFIED in self.inner.features.caps:
            entry = self.inner.set_modified(path, modified_ns)
            with self.lock:
                self.journal.retimed(entry)
                self.settled(path, entry.version)  # for who has it open
            return entry
        handle = self.open(path)
        if handle is None:
            raise Unsupported("its time cannot be set", op="set_modified", path=path, store=self.name)
        with handle:
            return self.write(path, handle.source(), modified_ns=modified_ns)
