"""Store over a local tree, on the safety kernel of `cftool.disk`.

Differs from a service in this: `write` syncs file and directory before it returns, copies between local files stay in
the kernel and keep holes and permission bits, and `write_many` shares one sync among many small files. The root need
not exist before the first write.
"""

import io
import os
import threading
from collections.abc import Callable, Iterable, Iterator

from cftool.core.download import VerifiedDownload
from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IntegrityError,
    Interrupted,
    IsADirectory,
    PreconditionFailed,
    SourceChanged,
    StoreError,
)
from cftool.core.provider import Pace, never
from cftool.core.store import Optionals
from cftool.core.types import (
    Cap,
    Download,
    Entry,
    Features,
    Kind,
    NameRules,
    Result,
    Source,
    Usage,
    WalkOrder,
    WriteItem,
)
from cftool.disk import copying, group, listing, temps, writer
from cftool.disk.errors import translated
from cftool.disk.root import Root
from cftool.disk.source import LocalSource, version_of

_CHUNK = 1 << 20
_FEATURES = Features(
    caps=Cap.WALK
    | Cap.COPY
    | Cap.MOVE
    | Cap.MOVE_DIR
    | Cap.SET_MODIFIED
    | Cap.IF_ABSENT
    | Cap.WRITE_MANY
    | Cap.USAGE
    | Cap.EMPTY_DIRS
    | Cap.RANGES,
    identity="local",
    time_precision_ns=1,
    listed_time=True,
    names=NameRules(utf8=False, component_bytes=255, path_bytes=4095),
    walk_order=WalkOrder.BYTES,
    connections=4,
    remote=False,
)


class LocalStore(Optionals):
    """The tree at the absolute path `root`."""

    def __init__(
        self, root: str, *, name: str = "local", cancelled: Callable[[], bool] = never, pace: Pace | None = None
    ) -> None:
        self.name = name
        self._pace = pace
        self._cancelled = cancelled
        self._path = root
        self._lock = threading.Lock()
        self._root: Root | None = None
        self._closed = False

    @property
    def features(self) -> Features:
        """All of it, always."""
        return _FEATURES

    def stat(self, path: str) -> Entry:
        """An lstat."""
        return listing.stat_entry(self._tree(), path)

    def scan(self, path: str) -> Iterator[Entry]:
        """One scandir, with a stat for each file."""
        return listing.scan(self._tree(), path)

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """The open file; that it did not change is proven at the end of the stream."""
        root = self._tree()
        if not path:
            raise IsADirectory("is a directory", op="read", path=path)
        fd = root.open_read(path)
        try:
            with translated("read", path):
                entry = listing.entry_of(path, os.fstat(fd))
            if if_version is not None and if_version != entry.version:
                raise PreconditionFailed("is another version now", op="read", path=path)
            file = io.FileIO(fd, "rb", closefd=True)
        except BaseException:
            os.close(fd)
            raise
        chunks = _chunks(file, entry, start, end)
        return VerifiedDownload(entry, chunks, start=start, end=end, close=file.close)

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """Temp, check, sync, rename, sync of the directory."""
        if if_version is not None:
            raise self._unsupported("write with if_version", path)
        root = self._tree(create=True)
        with translated("write", path):
            one = self._draft(root, path, source, modified_ns, if_absent=if_absent)
        for _, error in writer.publish(root, [one], if_absent=if_absent):
            raise error
        root.sync(path)
        return self.stat(path)

    def delete(self, path: str) -> None:
        """An unlink; a link is removed, not what it leads to."""
        if not path:
            raise IsADirectory("is the root directory", op="delete", path=path)
        self._tree().unlink(path)

    def mkdir(self, path: str) -> Entry:
        """With all parents, and the root itself."""
        root = self._tree(create=True)
        root.mkdirs(path)
        root.sync(path)
        return Entry(path, Kind.DIRECTORY)

    def rmdir(self, path: str) -> None:
        """Empty directories only: what a run that is dead has left there, hidden, goes with it."""
        if not path:
            with translated("rmdir", path):
                os.rmdir(self._path)
            self._forget()
            return
        root = self._tree()
        try:
            root.rmdir(path)
        except DirectoryNotEmpty:
            if not temps.sweep(root, path, recursive=False):
                raise
            root.rmdir(path)

    def close(self) -> None:
        """Close the tree's descriptors."""
        self._forget()
        self._closed = True

    def walk(self, path: str) -> Iterator[Entry]:
        """Depth first, in byte order."""
        return listing.walk(self._tree(), path)

    def copy(self, src: str, dst: str) -> Entry:
        """A reflink where the file system has it."""
        root = self._tree()
        source = LocalSource(root, src)
        return self.write(dst, source, modified_ns=root.stat(src).st_mtime_ns)

    def move(self, src: str, dst: str) -> Entry:
        """A rename. Between two mounted file systems: Unsupported."""
        root = self._tree()
        if not src or not dst:
            raise self._unsupported("move of its root", src)
        root.rename(src, dst)
        root.sync(dst)
        return self.stat(dst)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Of a regular file; the access time stays."""
        root = self._tree()
        directory, name = root.parent(path)
        entry = self.stat(path)
        if entry.is_dir:
            raise IsADirectory("is a directory", op="set_modified", path=path)
        with translated("set_modified", path):
            accessed = os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_atime_ns
            os.utime(name, ns=(accessed, modified_ns), dir_fd=directory.fd, follow_symlinks=False)
        return self.stat(path)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Batches that share their syncs; results come once their batch is on the disk."""
        root = self._tree(create=True)
        batch: list[WriteItem] = []
        size = 0
        for item in items:
            batch.append(item)
            # Of unknown size: as if it were large.
            size += group.BATCH_BYTES if item.source.size is None else item.source.size
            if len(batch) >= group.BATCH_FILES or size >= group.BATCH_BYTES:
                yield from self._write_batch(root, batch)
                batch, size = [], 0
        if batch:
            yield from self._write_batch(root, batch)

    def usage(self) -> Usage:
        """Of the file system that holds the root; `free` is what this user may still use."""
        root = self._tree()
        with translated("usage", ""):
            found = os.fstatvfs(root.directory("").fd)
        unit = found.f_frsize
        return Usage(found.f_blocks * unit, (found.f_blocks - found.f_bfree) * unit, found.f_bavail * unit)

    # ---- the tree

    def _tree(self, *, create: bool = False) -> Root:
        with self._lock:
            if self._closed:
                raise StoreError("the store was closed", store=self.name)
            if self._root is None:
                self._root = Root(self._path, create=create)
            return self._root

    def _forget(self) -> None:
        with self._lock:
            root, self._root = self._root, None
        if root is not None:
            root.close()

    # ---- writing

    def _draft(
        self,
        root: Root,
        path: str,
        source: Source,
        modified_ns: int | None,
        *,
        if_absent: bool,
        progress: Callable[[int], None] | None = None,
    ) -> writer.Draft:
        """A finished temp with the source's content, the source proven unchanged. Raises OSError, StoreError."""

        def tick(count: int) -> None:
            if self._cancelled():
                raise Interrupted("interrupted")
            if progress is not None:
                progress(count)

        tick(0)
        with source.open() as reader:
            fd = _regular(reader)
            permissions = 0o666 if fd is None else os.fstat(fd).st_mode
            one = writer.draft(root, path, permissions=permissions)
            try:
                if if_absent and writer.exists(one):
                    raise AlreadyExists("exists already")
                if fd is not None and source.size is not None:
                    copying.copy(fd, one.fd, source.size, tick, pace=self._pace)
                    one.size = source.size
                else:
                    while data := reader.read(_CHUNK):
                        one.write(data)
                        tick(len(data))
                    if source.size is not None and one.size != source.size:
                        raise IntegrityError(f"the source gave {one.size} bytes, not {source.size}")
                source.check()
                one.finish(modified_ns)
            except BaseException:
                one.discard()
                raise
        return one

    def _write_batch(self, root: Root, batch: list[WriteItem]) -> Iterator[Result]:
        drafts: list[tuple[WriteItem, writer.Draft]] = []
        failed: list[Result] = []
        try:
            for item in batch:
                if item.if_version is not None or item.if_absent:
                    failed.append(self._write_one(item))
                    continue
                try:
                    with translated("write", item.path):
                        one = self._draft(
                            root, item.path, item.source, item.modified_ns, if_absent=False, progress=item.progress
                        )
                except StoreError as error:
                    failed.append(Result(item.path, error=error, tag=item.tag))
                else:
                    drafts.append((item, one))
            failures = dict(writer.publish(root, [one for _, one in drafts]))
            root.sync_directories()
        finally:
            for _, one in drafts:
                if one.fd >= 0:
                    one.discard()
        yield from failed
        for item, _ in drafts:
            yield self._result(root, item, failures.get(item.path))

    def _write_one(self, item: WriteItem) -> Result:
        try:
            entry = self.write(
                item.path,
                item.source,
                modified_ns=item.modified_ns,
                if_version=item.if_version,
                if_absent=item.if_absent,
            )
        except StoreError as error:
            return Result(item.path, error=error, tag=item.tag)
        return Result(item.path, entry=entry, tag=item.tag)

    def _result(self, root: Root, item: WriteItem, error: Exception | None) -> Result:
        entry = None
        if error is None:
            try:
                root.sync(item.path)
                entry = self.stat(item.path)
            except StoreError as gone:
                error = gone
        return Result(item.path, entry=entry, error=error, tag=item.tag)


def _regular(reader: object) -> int | None:
    """The descriptor where the reader is a plain local file at its start, so that the kernel can copy it."""
    if not isinstance(reader, io.FileIO):
        return None
    fd = reader.fileno()
    return fd if copying.is_regular(fd) else None


def _chunks(file: io.FileIO, entry: Entry, start: int, end: int | None) -> Iterator[bytes]:
    """The bytes; the last step proves that the file is still the version that `entry` says."""
    size = entry.size or 0
    stop = size if end is None else min(end, size)
    position = start
    with translated("read", entry.path):
        while position < stop:
            data = os.pread(file.fileno(), min(_CHUNK, stop - position), position)
            if not data:
                break
            position += len(data)
            if position >= stop:
                _require_unchanged(file, entry)
            yield data
        if position < stop:
            _require_unchanged(file, entry)


def _require_unchanged(file: io.FileIO, entry: Entry) -> None:
    if version_of(os.fstat(file.fileno())) != entry.version:
        raise SourceChanged("changed while it was read")
