"""Conveniences over any Store, as free functions: nobody implements them, so no provider or wrapper can forget one.

They choose by capability: the service's own way where the stack has it, else the same result by the required members.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO

from cftool.core import paths
from cftool.core.errors import (
    AlreadyExists,
    InvalidName,
    IsADirectory,
    ListingError,
    NotFound,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    TooLarge,
)
from cftool.core.sources import BytesSource
from cftool.core.store import Store
from cftool.core.types import Cap, Download, Entry, Kind, Result, WalkOrder

_BUFFER = 256 * 1024  # bytes that one read of a StoreSource asks its download for


def read_bytes(store: Store, path: str, *, limit: int | None = None) -> bytes:
    """The whole content, verified; TooLarge where it has more than `limit` bytes."""
    with store.read(path) as download:
        if limit is None:
            return download.read()
        data = download.read(limit + 1)
        if len(data) > limit:
            raise TooLarge(f"has more than {limit} bytes", op="read", path=path, store=store.name)
        return data


def write_bytes(
    store: Store, path: str, data: bytes | bytearray | memoryview, *, modified_ns: int | None = None
) -> Entry:
    """Store content that is in memory."""
    return store.write(path, BytesSource(data), modified_ns=modified_ns)


def exists(store: Store, path: str) -> bool:
    """Whether something is there. Only "not found" means no; any other error is raised."""
    try:
        store.stat(path)
    except NotFound:
        return False
    return True


def walk_anyhow(store: Store, path: str) -> Iterator[Entry]:
    """All below `path` in the order of the merge where that can be had: `walk` in byte order, else sorted scans.

    Scans hold the entries of one directory a level in memory; deeper than `paths.MAX_DEPTH` is a ListingError.
    """
    features = store.features
    if Cap.WALK in features.caps and features.walk_order is WalkOrder.BYTES:
        yield from store.walk(path)
        return
    levels = [iter(sorted(store.scan(path), key=paths.entry_key))]
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
            continue
        yield entry
        if entry.is_dir:
            if len(levels) >= paths.MAX_DEPTH:
                raise ListingError(
                    f"directories are nested more than {paths.MAX_DEPTH} deep", op="scan", path=path, store=store.name
                )
            levels.append(iter(sorted(store.scan(entry.path), key=paths.entry_key)))


def remove_tree(store: Store, path: str) -> Iterator[Result]:
    """Delete a file, or a directory with all below it: one Result each, deepest directories first, `path` itself last.

    Nothing is hidden: where one entry stays, its directories stay with it, and their results say so.
    """
    top = store.stat(path)
    if not top.is_dir:
        yield from _delete(store, iter([top]))
        return
    directories = [top] if path else []

    def files() -> Iterator[Entry]:
        for entry in walk_anyhow(store, path):
            if entry.is_dir:
                directories.append(entry)
            else:
                yield entry

    yield from _delete(store, files())
    # In the order of the merge a directory comes before what is below it, so that backwards is deepest first. One by
    # one: a batch of the service may run in any order.
    for directory in sorted(directories, key=paths.entry_key, reverse=True):
        yield _removed(store, directory)


def _delete(store: Store, entries: Iterator[Entry]) -> Iterator[Result]:
    if Cap.DELETE_MANY in store.features.caps:
        yield from store.delete_many(entries)
        return
    for entry in entries:
        yield _removed(store, entry)


def _removed(store: Store, entry: Entry) -> Result:
    try:
        if entry.is_dir:
            store.rmdir(entry.path)
        else:
            store.delete(entry.path)
    except NotFound:  # gone already, which is what was asked for
        return Result(entry.path, entry=entry)
    except StoreError as error:
        return Result(entry.path, error=error)
    return Result(entry.path, entry=entry)


def copy_anyhow(store: Store, src: str, dst: str) -> Entry:
    """Copy one file: by the service where it can, else through here. Time kept as far as the store keeps one."""
    if Cap.COPY in store.features.caps:
        return store.copy(src, dst)
    entry = store.stat(src)
    if entry.is_dir:
        raise IsADirectory("is a directory", op="copy", path=src, store=store.name)
    if src == dst:
        return entry
    return store.write(dst, StoreSource(store, entry), modified_ns=entry.modified_ns)


def move_anyhow(store: Store, src: str, dst: str, *, changed: Callable[[Entry], None] | None = None) -> Entry:
    """Move a file or a directory: by the service where it can, else copied, then removed. Never loses either.

    A directory moves only to a name where nothing is. Where it fails half-way, each file is at one of the two places.
    `changed` hears of each file below it that is another version under its new name.
    """
    caps = store.features.caps
    entry = store.stat(src)
    if src == dst:
        return entry
    if not entry.is_dir:
        if Cap.MOVE in caps:
            return store.move(src, dst)
        moved = copy_anyhow(store, src, dst)
        store.delete(src)
        return moved
    if paths.is_within(dst, src):
        raise InvalidName("cannot be moved into itself", op="move", path=src, store=store.name)
    if Cap.MOVE_DIR in caps:
        return store.move(src, dst)
    if exists(store, dst):
        raise AlreadyExists("is there already", op="move", path=dst, store=store.name)
    directories = [src]
    makes = Cap.EMPTY_DIRS in caps or Cap.IMPLICIT_DIRS not in caps
    if makes:
        store.mkdir(dst)
    # All names first: a listing that is read while its files move may show them again, or never.
    for below in list(walk_anyhow(store, src)):
        target = dst + below.path[len(src) :]
        if below.is_dir:
            directories.append(below.path)
            if makes:
                store.mkdir(target)
        else:
            moved = move_anyhow(store, below.path, target)
            if changed is not None and moved.version != below.version:
                changed(moved)
    for directory in reversed(directories):
        _rmdir_if_there(store, directory)
    return store.stat(dst) if Cap.EMPTY_DIRS in caps else Entry(dst, Kind.DIRECTORY)


def _rmdir_if_there(store: Store, path: str) -> None:
    # Where directories are implicit it went with its last file.
    with suppress(NotFound):
        store.rmdir(path)


def as_file(download: Download) -> BinaryIO:
    """A download as a file that is read in order; closing it closes the download."""
    return io.BufferedReader(DownloadReader(download), _BUFFER)


class StoreSource:
    """A file of a store as the Source of a write elsewhere; each `open` is a new download of the same version."""

    local_path: str | None = None

    def __init__(self, store: Store, entry: Entry) -> None:
        self.store = store
        self.entry = entry
        self.size: int | None = entry.size

    def open(self) -> BinaryIO:
        """A reader over a new download."""
        return as_file(self._download())

    def load(self) -> bytes:
        """The whole content of that version."""
        with self._download() as download:
            data = download.read()
        self.check()
        return data

    def _download(self) -> Download:
        try:
            return self.store.read(self.entry.path, if_version=self.entry.version)
        except (PreconditionFailed, NotFound) as error:
            raise self._changed() from error

    def check(self) -> None:
        """Compare with a stat of now."""
        try:
            now = self.store.stat(self.entry.path)
        except NotFound as error:
            raise self._changed() from error
        then = self.entry
        if (now.kind, now.size, now.version, now.modified_ns) != (then.kind, then.size, then.version, then.modified_ns):
            raise self._changed()

    def _changed(self) -> SourceChanged:
        return SourceChanged("changed while it was read", op="read", path=self.entry.path, store=self.store.name)


class DownloadReader(io.RawIOBase):
    """A Download as a raw file; closing it closes the download."""

    def __init__(self, download: Download) -> None:
        self.download = download

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """The next bytes, as far as they are here."""
        data = self.download.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the download."""
        if not self.closed:
            self.download.close()
        super().close()
