"""VisitingStore: a remote whose cache another process owns, or nobody, and whose journal has something pending.

It reads the journal and lays it over what the store below says. Before it changes something at, above or below a
pending path, that path is brought to the remote: by the owner, asked through its socket, else by itself, which owns the
cache for as long as that takes. What it changes it changes at the remote. DESIGN.md, "Who may write".
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from cftool.core.download import VerifiedDownload
from cftool.core.errors import IsADirectory, Locked, NotFound, PreconditionFailed, StoreError, TemporaryError
from cftool.core.store import Store
from cftool.core.types import Cap, Download, Entry, Features, Leftover, Result, Source, Usage, WriteItem
from cftool.core.wrapper import Wrapper
from cftool.wrap.caching import owner
from cftool.wrap.caching.journal import Journal
from cftool.wrap.caching.looking import Looking
from cftool.wrap.caching.many import Batch
from cftool.wrap.caching.overlay import Found, Overlay, Shows
from cftool.wrap.caching.rows import VERSION_PREFIX, Pending, What, content_of
from cftool.wrap.caching.settings import CacheSettings

_PIECE = 1 << 20
_PATIENCE = 3600.0  # seconds in which the owner uploads what is in the way
_NOT_OURS = Cap.READ_MANY | Cap.CHANGES | Cap.RESUME | Cap.COPY_MANY | Cap.TREE
_TOLD = 1000  # paths of which the owner hears at once


class VisitingStore(Looking):
    """See the module. `directory` is the cache's."""

    alone = False  # another cache of the remote may be visited below

    def __init__(self, inner: Store, directory: str, settings: CacheSettings | None = None) -> None:
        super().__init__(inner)
        self._directory = directory
        self._settings = settings or CacheSettings()
        self._identity = inner.features.identity
        self.journal = Journal(os.path.join(directory, "journal.sqlite"), identity=self._identity, look=True)
        self._seen: int | None = None
        self._look()

    def _look(self) -> None:
        """Notice what the owner has done since."""
        with self.lock:
            changed = self.journal.changed()
            if changed != self._seen:
                rows, local = self.journal.shown()
                self.overlay = Overlay(rows, local)
                self._seen = changed

    def close(self) -> None:
        """Close the journal and the inner store."""
        self.journal.close()
        self.inner.close()

    @property
    def features(self) -> Features:
        """The inner store's; what could slip past the journal is not there."""
        inner = self.inner.features
        return replace(inner, caps=inner.caps & ~_NOT_OURS)

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """Pending content from the cache's own file, all else from the store below."""
        for _attempt in range(5):
            self._look()
            with self.lock:
                found = self.overlay.find(path)
            if found.shows is not Shows.PENDING:
                return self._read_below(path, found, start, end, if_version)
            assert found.row is not None
            if found.row.what is What.MKDIR:
                raise IsADirectory("is a directory", op="read", path=path, store=self.name)
            entry = found.row.entry(path)
            if if_version is not None and if_version != entry.version:
                raise PreconditionFailed("it is another version by now", op="read", path=path, store=self.name)
            with contextlib.suppress(FileNotFoundError):  # uploaded meanwhile, or replaced
                return self._read_here(found.row, entry, start, end)
        raise TemporaryError("it changes faster than it can be read", op="read", path=path, store=self.name)

    def _read_below(self, path: str, found: Found, start: int, end: int | None, if_version: str | None) -> Download:
        if found.shows is Shows.GONE:
            raise NotFound("not found", op="read", path=path, store=self.name)
        place = self._place(found)
        download = self.inner.read(place, start=start, end=end, if_version=if_version)
        if place == path:
            return download
        return VerifiedDownload(
            download.entry.at(path), iter(download), start=start, end=end, verify_hashes=False, close=download.close
        )

    def _read_here(self, row: Pending, entry: Entry, start: int, end: int | None) -> Download:
        assert row.content is not None
        with self.lock:
            inline = self.journal.inline
            small = inline.data(row.content) if inline.is_there() else None
        if small is not None:
            pieces = [piece] if (piece := small[start:end]) else []
            return VerifiedDownload(entry, iter(pieces), start=start, end=end, verify_hashes=False)
        file = open(os.path.join(self._directory, "data", f"{row.content:x}"), "rb", buffering=0)  # noqa: SIM115
        size = entry.size or 0
        stop = size if end is None else min(end, size)

        def chunks() -> Iterator[bytes]:
            at = start
            while at < stop and (piece := os.pread(file.fileno(), min(_PIECE, stop - at), at)):
                at += len(piece)
                yield piece

        return VerifiedDownload(entry, chunks(), start=start, end=end, verify_hashes=False, close=file.close)

    # ---- changing

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """At the remote. A condition on a pending version holds for what is uploaded of it."""
        if_version = self.condition(path, if_version, self.settle)
        with self._settled(path):
            return self.inner.write(path, source, modified_ns=modified_ns, if_version=if_version, if_absent=if_absent)

    def condition(self, path: str, if_version: str | None, make_way: Callable[[str], object]) -> str | None:
        """One on a pending version becomes one on what was uploaded of it. Raises PreconditionFailed."""
        if if_version is None or not if_version.startswith(VERSION_PREFIX):
            return if_version
        if self.stat(path).version == if_version:
            make_way(path)
        with self.lock:
            uploaded = self.journal.clean(path)
        # Its content became clean under this very path: it was no conflict, and nothing newer came.
        if uploaded is None or uploaded.id != content_of(if_version) or uploaded.version is None:
            raise PreconditionFailed("it is another version by now", op="write", path=path, store=self.name)
        if Cap.IF_VERSION in self.inner.features.caps:
            return uploaded.version
        if self.inner.stat(path).version != uploaded.version:
            raise PreconditionFailed("it is another version by now", op="write", path=path, store=self.name)
        return None

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """At the remote, by the store's own batches."""
        return Batch(self).write(items) if Cap.WRITE_MANY in self.inner.features.caps else super().write_many(items)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """At the remote, by the store's own batches."""
        batches = Cap.DELETE_MANY in self.inner.features.caps
        return Batch(self).delete(entries) if batches else super().delete_many(entries)

    def delete_dir(self, path: str) -> None:
        """At the remote."""
        with self._settled(path):
            self.inner.delete_dir(path)

    def delete(self, path: str) -> None:
        """At the remote."""
        with self._settled(path):
            self.inner.delete(path)

    def mkdir(self, path: str) -> Entry:
        """At the remote."""
        with self._settled(path):
            return self.inner.mkdir(path)

    def rmdir(self, path: str) -> None:
        """At the remote."""
        with self._settled(path):
            self.inner.rmdir(path)

    def copy(self, src: str, dst: str) -> Entry:
        """At the remote."""
        with self._settled(src, dst):
            return self.inner.copy(src, dst)

    def move(self, src: str, dst: str) -> Entry:
        """At the remote."""
        with self._settled(src, dst):
            return self.inner.move(src, dst)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """At the remote."""
        with self._settled(path):
            return self.inner.set_modified(path, modified_ns)

    @contextlib.contextmanager
    def _settled(self, *places: str) -> Iterator[None]:
        """Around a change of these paths: nothing is pending there before, and the owner hears of it afterwards."""
        asked = [place for place in places if self.settle(place)]
        try:
            yield
        finally:
            if asked:
                self.forget(asked)

    def forget(self, places: list[str]) -> None:
        """Tell the owner that these were changed at the remote."""
        with contextlib.suppress(OSError, StoreError):  # it finds out by itself, by the version
            for at in range(0, len(places), _TOLD):
                list(owner.ask(self._directory, {"do": "forget", "paths": places[at : at + _TOLD]}))

    def touched(self, path: str) -> bool:
        """Whether something is pending at, above or below `path`."""
        self._look()
        with self.lock:
            return self.overlay.touched(path)

    def settle(self, path: str) -> bool:
        """Bring what is pending at, above and below `path` to the remote; whether the owner did. TemporaryError."""
        for _attempt in range(5):
            if not self.touched(path):
                return False
            try:
                left = self._by_owner(path)
                asked = True
            except (ConnectionRefusedError, FileNotFoundError):
                try:
                    left = self._by_myself(path)
                except Locked:  # somebody has just become the owner
                    continue
                asked = False
            if left:
                raise TemporaryError(
                    f"an earlier change is not uploaded yet ({left}): cftool cache status tells more",
                    op="flush", path=path, store=self.name,
                )  # fmt: skip
            return asked
        raise TemporaryError("its cache is in use and nobody answers for it", op="flush", path=path, store=self.name)

    def _by_owner(self, path: str) -> str:
        """What is left, in words."""
        request = {"do": "flush", "path": path, "timeout": _PATIENCE}
        for answer in owner.ask(self._directory, request):
            for row in answer.get("pending", ()):
                return str(row["error"] or row["path"])
        return ""

    def _by_myself(self, path: str) -> str:
        from cftool.wrap.caching.store import CachingStore

        store = CachingStore(_Kept(self.inner), self._directory, self._settings)
        try:
            left = store.flush(path)
        finally:
            store.close()
        return left[0].error or left[0].path if left else ""

    # ---- passed on

    def usage(self) -> Usage:
        """Of the store below."""
        return self.inner.usage()

    def link(self, path: str, *, expires: float | None = None) -> str:
        """Of what is at the remote by then."""
        self.settle(path)
        return self.inner.link(path, expires=expires)

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Of the store below."""
        return self.inner.leftovers(path, older_than=older_than)

    def remove_leftover(self, leftover: Leftover) -> None:
        """Of the store below."""
        self.inner.remove_leftover(leftover)

    def probe(self, path: str) -> Cap:
        """Of the store below."""
        return self.inner.probe(path)


class _Kept(Wrapper):
    """A store that its user does not close."""

    def close(self) -> None:
        """It is its owner's."""


def anything_pending(directory: str) -> bool:
    """Whether a cache has changes that are not uploaded; one look at the disk where there is no cache."""
    path = os.path.join(directory, "journal.sqlite")
    return os.path.exists(path) and Journal.has_pending(path)
