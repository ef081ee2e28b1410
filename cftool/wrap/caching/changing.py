"""Changing files and directories in place: conditions, rows of the journal. DESIGN.md, "Order", "Conditions"."""

import os
from dataclasses import replace

from cftool.core import paths
from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IsADirectory,
    NotADirectory,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    SourceChanged,
    TemporaryError,
)
from cftool.core.types import Cap, Entry, Kind, Source
from cftool.wrap.caching import files as data_files
from cftool.wrap.caching.local import Local
from cftool.wrap.caching.overlay import Shows
from cftool.wrap.caching.rows import VERSION_PREFIX, Base, Content, LocalChange, Pending, What, small_content
from cftool.wrap.caching.uploads import UNKNOWN


class Changing(Local):
    """See the module."""

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """In the journal, on this disk, when it returns; uploaded after the delay."""
        old, base = self._before_write(path, if_version=if_version, if_absent=if_absent)
        content = self._taken(source)

        def record() -> Pending:
            self._require(path, old, base, if_version=if_version, if_absent=if_absent)
            return self.record_upload(path, content, modified_ns, base)

        try:
            row = self.together(record)
        except BaseException:
            if content.data is None:
                self.files.remove(content.id)
            raise
        return row.entry()

    def _taken(self, source: Source) -> Content:
        """All of it is here: on the disk, or in memory where it is small. In no row yet."""
        if source.size is not None and self.may_be_inline(source.size):
            self.make_room(source.size)
            with source.open() as reader:
                data = reader.read(source.size + 1)
            if len(data) != source.size:
                raise SourceChanged(f"the source has {len(data)} bytes, not {source.size}", op="write")
            source.check()
            with self.lock:
                return small_content(self.new_id(), data)
        with self.lock:
            number = self.new_id()
            fd = self.files.create(number)
        try:
            size = data_files.fill(fd, source, room=self.make_room)
            self.files.publish(number, fd)
            content = Content(number, None, size, allocated=data_files.allocated(fd))
        except BaseException:
            self.files.discard(number, fd)
            raise
        os.close(fd)
        return content

    def may_be_inline(self, size: int) -> bool:
        """Whether new content of that size is to be in the journal."""
        if size > self.settings.inline:
            return False
        with self.lock:
            return self.journal.inline.has_room(size)

    def _before_write(self, path: str, *, if_version: str | None, if_absent: bool) -> tuple[Entry | None, Base]:
        """What is at `path`, and the base of a change to it."""
        if not path:
            raise IsADirectory("is a directory", op="write", path=path, store=self.name)
        self.may_hold(path)
        entry, base = self.look(path)
        if entry is not None and entry.is_dir:
            raise IsADirectory("is a directory", op="write", path=path, store=self.name)
        self._condition(path, entry, if_version=if_version, if_absent=if_absent)
        if entry is None:
            self.make_parents(path)
        return entry, base

    def may_hold(self, path: str) -> None:
        """Whether a file can be there at all; what never could be uploaded would be pending for ever."""
        if "/" not in path and not self.inner.features.names.top_files:
            raise PermissionDenied("no file can be beside buckets, only in one", op="write", path=path, store=self.name)

    def look(self, path: str) -> tuple[Entry | None, Base]:
        """The entry at `path` (None: nothing) and what a change of it is based on."""
        with self.lock:
            mark = self._settlements
        try:
            entry = self.stat(path)
        except NotFound:
            return None, Base("", mark)
        except TemporaryError:
            return None, Base(UNKNOWN, mark)
        if entry.version is None or entry.version.startswith(VERSION_PREFIX):
            return entry, Base(None, mark)
        return entry, Base(entry.version, mark)

    def _condition(self, path: str, entry: Entry | None, *, if_version: str | None, if_absent: bool) -> None:
        if if_absent and entry is not None:
            raise AlreadyExists("it exists already", op="write", path=path, store=self.name)
        if if_version is not None and (entry is None or entry.version != if_version):
            raise PreconditionFailed("it is another version by now", op="write", path=path, store=self.name)

    def _require(self, path: str, seen: Entry | None, base: Base, *, if_version: str | None, if_absent: bool) -> None:
        """Under the lock: a condition holds still, as far as this process could have changed it."""
        if if_version is None and not if_absent:
            return
        found = self.overlay.find(path)
        count, version = self._settled.get(path, (0, None))
        now = seen
        if found.shows is Shows.PENDING and found.row is not None:
            now = found.row.entry(path)
        elif found.shows is Shows.GONE or (count > base.mark and version == ""):
            now = None
        elif count > base.mark:  # uploaded since
            now = Entry(path, Kind.FILE, version=version)
        self._condition(path, now, if_version=if_version, if_absent=if_absent)

    def make_parents(self, path: str) -> None:
        """Journal the missing directories above `path`, where the store below has directories of their own."""
        features = self.inner.features
        if Cap.IMPLICIT_DIRS in features.caps and features.names.opaque:
            return  # nothing is in the way of anything
        missing: list[str] = []
        above = paths.parent(path)
        while above:
            try:
                entry = self.stat(above)
            except NotFound:
                missing.append(above)
            except TemporaryError:
                break  # the upload makes what is missing by then
            else:
                if not entry.is_dir:
                    raise NotADirectory("a file is in the way", op="write", path=path, store=self.name)
                break
            above = paths.parent(above)
        if not self.implicit:
            for directory in reversed(missing):
                self.mkdir(directory)

    def record_upload(self, path: str, content: Content, modified_ns: int | None, base: Base) -> Pending:
        """Under the lock: new content of `path`, merged with what was pending there. See DESIGN.md, "Order"."""
        now = self.times.wall()
        row = Pending(
            0, What.UPLOAD, path, content=content.id, size=content.size, base=self._fresh(path, base), created=now,
            due=now + self.settings.delay, modified_ns=modified_ns if modified_ns is not None else int(now * 1e9),
        )  # fmt: skip
        dropped: list[Pending] = []
        last = self.overlay.last(path)
        if last is not None and last.what in {What.UPLOAD, What.DELETE} and self._stands_in(last):
            dropped = [last]
            row = replace(row, base=last.base, after=last.after)
        elif last is not None:
            row = replace(row, base=None, after=last.seq)
        else:
            row = self._after_rename(row)
        return self._record([row], dropped=dropped, made=content)[0]

    def _stands_in(self, last: Pending) -> bool:
        """Under the lock: whether a new row may take the place of `last`, and be done later than that.

        Not where it is tried, nor where something waits for it: the directory above is removed, and made again.
        """
        return last.untried and all(row.seq <= last.seq for row in self.overlay.touching(last.path))

    def _after_rename(self, row: Pending) -> Pending:
        """What a pending rename brings to the path is known only when it is done."""
        other = self.overlay.renamed(row.path)
        if other is not None:
            return replace(row, base=None, after=other.seq)
        return replace(row, base=None) if self.overlay.concerned(row.path) else row

    def delete(self, path: str) -> None:
        """Journalled; a file that was never uploaded never will be."""
        entry, base = self.look(path)
        if base.version == UNKNOWN:
            raise TemporaryError("the remote cannot be asked", op="delete", path=path, store=self.name)
        if entry is None:
            raise NotFound("not found", op="delete", path=path, store=self.name)
        if entry.is_dir:
            raise IsADirectory("is a directory", op="delete", path=path, store=self.name)
        with self.lock:
            self._record_removal(What.DELETE, path, base)

    def _record_removal(self, what: What, path: str, base: Base) -> None:
        """Under the lock."""
        now = self.times.wall()
        row = Pending(0, what, path, base=self._fresh(path, base), created=now, due=now)
        local = self._left(path)
        last = self.overlay.last(path)
        dropped: list[Pending] = []
        if last is not None and last.untried and last.what in {What.UPLOAD, What.MKDIR}:
            dropped = [last]
            if last.base == "" and last.after is None:
                self._record([], dropped=dropped, local=local)
                self.settled(path, "")
                return
            row = replace(row, base=last.base, after=last.after)
        elif last is not None and last.what in {What.UPLOAD, What.MKDIR}:
            row = replace(row, base=None, after=last.seq)
        else:
            row = self._after_rename(row)
        self._record([row], dropped=dropped, local=local)

    def mkdir(self, path: str) -> Entry:
        """Journalled, parents first."""
        entry, base = self.look(path)
        if base.version == UNKNOWN:
            raise TemporaryError("the remote cannot be asked", op="mkdir", path=path, store=self.name)
        if entry is not None:
            if entry.is_dir:
                return entry
            raise AlreadyExists("a file is there", op="mkdir", path=path, store=self.name)
        self.make_parents(path)
        now = self.times.wall()
        with self.lock:
            if self.implicit and paths.parent(path) and Cap.EMPTY_DIRS not in self.inner.features.caps:
                self._record([], local=LocalChange(add=(path,)))
                return Entry(path, Kind.DIRECTORY)
            last = self.overlay.last(path)
            row = Pending(0, What.MKDIR, path, base="", created=now, due=now)
            if last is not None:
                row = replace(row, base=None, after=last.seq)
            [row] = self._record([row])
        return row.entry()

    def rmdir(self, path: str) -> None:
        """Journalled, where it is empty."""
        if not path:
            raise DirectoryNotEmpty("the root stays", op="rmdir", path=path, store=self.name)
        entry = self.stat(path)
        if not entry.is_dir:
            raise NotADirectory("not a directory", op="rmdir", path=path, store=self.name)
        if next(iter(self.scan(path)), None) is not None:
            raise DirectoryNotEmpty("is not empty", op="rmdir", path=path, store=self.name)
        only_local = self._only_local(path)
        with self.lock:
            if only_local:
                self._record([], local=self._left(path))
                return
            self._record_removal(What.RMDIR, path, Base(None, self._settlements))
