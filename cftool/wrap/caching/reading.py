"""Reading through the cache: from the disk where the version is here, else fetched whole or in parts, and kept."""

import os
from collections.abc import Iterator

from cftool.core.download import VerifiedDownload
from cftool.core.errors import (
    IsADirectory,
    NotFound,
    PreconditionFailed,
    SourceChanged,
    TemporaryError,
)
from cftool.core.types import Cap, Download, Entry
from cftool.wrap.caching import files as data_files
from cftool.wrap.caching import small
from cftool.wrap.caching.blocks import Blocks
from cftool.wrap.caching.fetch import Fetching
from cftool.wrap.caching.handle import Handle
from cftool.wrap.caching.overlay import Shows
from cftool.wrap.caching.room import Room
from cftool.wrap.caching.rows import Content

_PIECE = 1 << 20


class Reading(Room):
    """See the module."""

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """From the disk where it is there, else fetched and kept."""
        handle = self.open(path, if_version=if_version)
        if handle is None:  # of unknown size, or without a version: nothing that could be kept
            with self.lock:
                found = self.overlay.find(path)
            return self.inner.read(self._place(found), start=start, end=end, if_version=if_version)
        entry = handle.entry
        assert entry.size is not None
        stop = entry.size if end is None else min(end, entry.size)

        def chunks() -> Iterator[bytes]:
            at = start
            while at < stop and (piece := handle.read(min(_PIECE, stop - at), at)):
                at += len(piece)
                yield piece

        return VerifiedDownload(entry, chunks(), start=start, end=end, verify_hashes=False, close=handle.close)

    def open(self, path: str, *, if_version: str | None = None) -> Handle | None:
        """The content as a handle for reads at any place; None where the store below gives no version or size.

        Raises NotFound, IsADirectory, PreconditionFailed.
        """
        for _attempt in range(5):
            with self.lock:
                mark = self._settlements
            entry = self.stat(path)
            if entry.is_dir:
                raise IsADirectory("is a directory", op="read", path=path, store=self.name)
            if if_version is not None and entry.version != if_version:
                raise PreconditionFailed("it is another version by now", op="read", path=path, store=self.name)
            if entry.version is None or entry.size is None:
                return None
            try:
                handle = self._handle(path, entry)
            except NotFound:  # it was brought elsewhere between stat and read: the next stat says
                continue
            except (PreconditionFailed, SourceChanged):  # at the remote, between stat and read or during that
                if if_version is not None:
                    raise
                continue
            if handle is not None:
                handle.mark = mark
                return handle
        raise TemporaryError("it changes faster than it can be read", op="read", path=path, store=self.name)

    def _handle(self, path: str, entry: Entry) -> Handle | None:
        """None: something changed between stat and now."""
        with self.lock:
            found = self.overlay.find(path)
            if found.shows is Shows.PENDING:
                row = found.row
                assert row is not None
                if row.content is None or row.entry(path).version != entry.version:
                    return None
                self.stats.hit()
                return self._opened(row.content, entry, None)
            if found.shows is Shows.GONE:
                return None
            content = self.journal.clean(found.path)
            if content is not None and content.holds(entry):
                if content.blocks is None:
                    self.stats.hit()
                    return self._opened(content.id, entry, None)
                fetching = self._fetching.get(content.id) or self._begun(content, entry)
                self.stats.hit()
                return self._opened(content.id, entry, fetching)
        self.stats.miss()
        assert entry.size is not None
        place = self._place(found)
        if entry.size <= self.settings.whole or Cap.RANGES not in self.inner.features.caps:
            return self._fetched_whole(path, place, entry)
        return self._fetched_in_parts(place, entry)

    def _opened(self, number: int, entry: Entry, fetching: Fetching | None) -> Handle:
        """Under the lock."""
        data = None
        if fetching is None and (entry.size or 0) <= small.LARGEST:
            data = self.journal.inline.data(number)
        fd = self.files.open(number) if data is None else self.files.anonymous(data)
        self._open[number] = self._open.get(number, 0) + 1
        self._uses[number] = self.times.wall()
        return Handle(self, number, fd, entry, fetching, copied=data is not None)

    def released(self, number: int) -> None:
        """A handle was closed."""
        with self.lock:
            left = self._open.get(number, 1) - 1
            if left:
                self._open[number] = left
                return
            self._open.pop(number, None)
            fetching = self._fetching.pop(number, None)
            if number in self._left_open:
                self._left_open.discard(number)
                self.unlink(number)
        if fetching is None:
            return
        try:
            fetching.save()
        finally:
            fetching.close()
        if fetching.failed:
            self.throw_away([number])

    def _begun(self, content: Content, entry: Entry) -> Fetching:
        """Under the lock: go on with content that is here in part."""
        fd = self.files.open(content.id, write=True)
        fetching = self._new_fetching(content.id, content.path or "", entry, fd, Blocks(content.size, content.blocks))
        self._fetching[content.id] = fetching
        return fetching

    def _new_fetching(self, number: int, path: str, entry: Entry, fd: int, blocks: Blocks) -> Fetching:
        def save(encoded: bytes | None) -> None:
            with self.lock:
                self.journal.progress(number, blocks=encoded, allocated=data_files.allocated(fd))

        return Fetching(
            self.inner, path, entry.at(path), fd, blocks,
            stats=self.stats, pool=self._pool, window=self.settings.window, save=save,
        )  # fmt: skip

    def _fetched_in_parts(self, below: str, entry: Entry) -> Handle:
        assert entry.size is not None
        self.make_room(0)
        with self.lock:
            content = self.journal.clean(below)
            if content is not None and content.holds(entry):  # somebody was faster
                fetching = self._fetching.get(content.id) or self._begun(content, entry)
                return self._opened(content.id, entry, fetching)
            number = self.new_id()
            fd = self.files.create(number)
            os.ftruncate(fd, entry.size)
            self.files.publish_unsynced(number)
            blocks = Blocks(entry.size)
            old = self.journal.keep_clean(
                number, entry.at(below), blocks=blocks.encode() or b"", used=self.times.wall(), allocated=0
            )
            self._fetching[number] = self._new_fetching(number, below, entry, fd, blocks)
            handle = self._opened(number, entry, self._fetching[number])
            self.unlink(old)
        return handle

    def _fetched_whole(self, path: str, below: str, entry: Entry) -> Handle:
        self.make_room(entry.size or 0)
        with self.lock:
            number = self.new_id()
            fd = self.files.create(number)
        try:
            with (
                self.stats.moving(self.stats.down) as moved,
                self.inner.read(below, if_version=entry.version) as download,
            ):
                at = 0
                for chunk in download:
                    data_files.write_at(fd, chunk, at)
                    at += len(chunk)
                    moved(len(chunk))
            self.files.publish(number, fd)
        except BaseException:
            self.files.discard(number, fd)
            raise
        with self.lock:
            os.close(fd)
            handle = self._opened(number, entry.at(path), None)
            old = self.journal.keep_clean(
                number, entry.at(below), blocks=None, used=self.times.wall(), allocated=data_files.allocated(handle.fd)
            )
            self.unlink(old)
        return handle
