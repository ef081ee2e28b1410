"""--links keep: symbolic links of a local tree as small files `name.rclonelink` that hold what the link leads to.

So rclone stores them, so that each reads what the other wrote. `KeepingStore` shows a local tree in this way, as source
and as destination: a store gets text files, a file of that name comes back as a link, and between two local trees links
are copied as links. What a link leads to is only ever a text here: nothing is opened, written or removed through one,
because all local paths are resolved by `disk.root`, which follows none.
"""

import io
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import BinaryIO, cast

from cftool.core import hashing
from cftool.core.download import VerifiedDownload
from cftool.core.errors import (
    IntegrityError,
    InvalidName,
    NotFound,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    Unsupported,
)
from cftool.core.store import Store
from cftool.core.types import Cap, Download, Entry, Features, Kind, Partial, Result, Source, Target, WriteItem
from cftool.core.wrapper import Wrapper
from cftool.disk import links as disk_links
from cftool.disk.root import Root
from cftool.disk.source import LocalSource, version_of
from cftool.transfer.follow import FollowingStore
from cftool.transfer.options import Links, Side

SUFFIX = ".rclonelink"
_LONGEST = 4095  # bytes of a path on Linux
# What works on names that it does not know for links is left out.
_HIDDEN = Cap.WALK | Cap.COPY | Cap.MOVE | Cap.MOVE_DIR


def shown(side: Side, links: Links) -> Side:
    """The side with its links as the run wants them; what is no local tree has none."""
    if side.local_root is None or links is Links.SKIP:
        return side
    kind = FollowingStore if links is Links.FOLLOW else KeepingStore
    return replace(side, store=kind(side.store, side.local_root))


class KeepingStore(Wrapper):
    """The tree at `root`, its links shown as files."""

    def __init__(self, inner: Store, root: str) -> None:
        super().__init__(inner)
        self._path = root
        self._lock = threading.Lock()
        self._opened: Root | None = None

    @property
    def features(self) -> Features:
        """The inner store's; the order of a recursive listing would be that of other names."""
        features = self.inner.features
        return replace(features, caps=features.caps & ~_HIDDEN)

    def close(self) -> None:
        """Close the own view of the tree and the inner store."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()
        self.inner.close()

    def _root(self, *, create: bool = False) -> Root:
        with self._lock:
            if self._opened is None:
                self._opened = Root(self._path, create=create)
            return self._opened

    # ---- reading

    def stat(self, path: str) -> Entry:
        """A link under its file's name, and under its own nothing."""
        if path.endswith(SUFFIX):
            try:
                link = self.inner.stat(path.removesuffix(SUFFIX))
            except NotFound:
                link = None
            if link is not None and link.kind is Kind.LINK:
                return self._link(path)
        entry = self.inner.stat(path)
        if entry.kind is Kind.LINK:
            raise NotFound("is a symbolic link, kept as a file of another name", op="stat", path=path)
        return _plain(entry)

    def scan(self, path: str) -> Iterator[Entry]:
        """One level. A plain file that is called like a link's file is no file that could be copied."""
        for entry in self.inner.scan(path):
            if entry.kind is Kind.LINK:
                try:
                    yield self._link(entry.path + SUFFIX)
                except NotFound:
                    continue  # gone meanwhile
            elif entry.path.endswith(SUFFIX) and self._is_link(entry.path.removesuffix(SUFFIX)):
                continue  # the link's file has the name
            else:
                yield _plain(entry)

    def _is_link(self, path: str) -> bool:
        try:
            return self.inner.stat(path).kind is Kind.LINK
        except StoreError:
            return False

    def _link(self, path: str) -> Entry:
        status = self._root().stat(path.removesuffix(SUFFIX))
        size = status.st_size
        return Entry(path, Kind.FILE, size, status.st_mtime_ns, None, version_of(status))

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """What the link leads to, or the inner store's file."""
        if not self._stands_for_link(path):
            return self.inner.read(path, start=start, end=end, if_version=if_version)
        entry = self.stat(path)
        if if_version is not None and if_version != entry.version:
            raise PreconditionFailed("is another version now", op="read", path=path)
        data = self.source(entry).load()[start:end]
        return VerifiedDownload(entry, iter((data,)), start=start, end=end)

    def _stands_for_link(self, path: str) -> bool:
        return path.endswith(SUFFIX) and self._is_link(path.removesuffix(SUFFIX))

    def source(self, entry: Entry, root: Root | None = None) -> Source:
        """The bytes of exactly what the listing saw."""
        held = root or self._root()
        if self._stands_for_link(entry.path):
            return LinkSource(held, entry)
        return LocalSource(held, entry.path, version=entry.version)

    # ---- writing

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """A link where the name says so."""
        if not path.endswith(SUFFIX):
            return self.inner.write(path, source, modified_ns=modified_ns, if_version=if_version, if_absent=if_absent)
        if source.size is not None and source.size > _LONGEST:
            raise _too_long(path)
        with source.open() as reader:
            data = reader.read(_LONGEST + 1)
        source.check()
        self.place(path, data, modified_ns)
        self._root().sync(path.removesuffix(SUFFIX))
        return self._link(path)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Files by the inner store, links one by one."""
        links: deque[Result] = deque()

        def files() -> Iterator[WriteItem]:
            for item in items:
                if item.path.endswith(SUFFIX):
                    links.append(self._written(item))
                else:
                    yield item

        for result in self.inner.write_many(files()):
            yield result
            while links:
                yield links.popleft()
        yield from links

    def _written(self, item: WriteItem) -> Result:
        try:
            entry = self.write(item.path, item.source, modified_ns=item.modified_ns)
        except StoreError as error:
            return Result(item.path, error=error, tag=item.tag)
        return Result(item.path, entry=entry, tag=item.tag)

    def place(self, path: str, data: bytes, modified_ns: int | None, root: Root | None = None) -> None:
        """Make the link that the file `path` stands for, durably, in place of a file or a link of its name."""
        if len(data) > _LONGEST:
            raise _too_long(path)
        if not data or b"\0" in data:
            raise InvalidName("holds nothing that a link can lead to", op="write", path=path)
        disk_links.place(root or self._root(create=True), path.removesuffix(SUFFIX), data, modified_ns)

    def target(self, root: Root, path: str, origin: str) -> Target:
        """Where a download of `path` goes."""
        if path.endswith(SUFFIX):
            return LinkTarget(self, root, path)
        return root.target(path, origin=origin)

    def delete(self, path: str) -> None:
        """A link by its file's name only: what has been replaced by a link meanwhile is gone."""
        name = path.removesuffix(SUFFIX)
        if name != path and self._is_link(name):
            self.inner.delete(name)
        elif name == path and self._is_link(path):
            raise NotFound("was replaced by a symbolic link", op="delete", path=path)
        else:
            self.inner.delete(path)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Of the link itself."""
        if not self._stands_for_link(path):
            return self.inner.set_modified(path, modified_ns)
        self.inner.set_modified(path.removesuffix(SUFFIX), modified_ns)
        return self._link(path)

    def move(self, src: str, dst: str) -> Entry:
        """Not supported."""
        raise Unsupported("what links are kept in cannot be moved within", op="move", path=src)


def _plain(entry: Entry) -> Entry:
    """An entry that is no link; a file with the name of a link's file would come back as one, and is left out."""
    if entry.kind is Kind.FILE and entry.path.endswith(SUFFIX):
        return Entry(entry.path, Kind.OTHER)
    return entry


def _too_long(path: str) -> InvalidName:
    return InvalidName(f"is longer than the {_LONGEST} bytes that a link can hold", op="write", path=path)


class LinkSource:
    """What a link leads to, as the bytes of a file."""

    local_path: str | None = None

    def __init__(self, root: Root, entry: Entry) -> None:
        self._root = root
        self._entry = entry
        self.size = entry.size

    def open(self) -> BinaryIO:
        """A new reader."""
        return cast("BinaryIO", io.BytesIO(self.load()))

    def load(self) -> bytes:
        """The text, proven to be the listed link's."""
        path = self._entry.path.removesuffix(SUFFIX)
        try:
            data = disk_links.read(self._root, path)
        except NotFound:
            raise self._changed() from None
        self.check()
        if len(data) != self.size:
            raise self._changed()
        return data

    def check(self) -> None:
        """Raise SourceChanged where the link is not the listed one any more."""
        try:
            status = self._root.stat(self._entry.path.removesuffix(SUFFIX))
        except NotFound:
            raise self._changed() from None
        if version_of(status) != self._entry.version:
            raise self._changed()

    def _changed(self) -> SourceChanged:
        return SourceChanged("the link changed while it was read", op="read", path=self._entry.path)


class LinkTarget:
    """A download that becomes a link."""

    def __init__(self, store: KeepingStore, root: Root, path: str) -> None:
        self._store = store
        self._root = root
        self._path = path

    def save(self, data: bytes, entry: Entry) -> None:
        """Make the link of the file's content."""
        if entry.size is not None and entry.size != len(data):
            raise IntegrityError(f"{len(data)} bytes arrived, not {entry.size}", op="read", path=self._path)
        name = hashing.cheapest(entry.hashes)
        if name is not None and hashing.digest(name, data) != entry.hashes[name]:
            raise IntegrityError(f"the content's {name} is not {entry.hashes[name]}", op="read", path=self._path)
        self._store.place(self._path, data, entry.modified_ns, self._root)

    def begin(self, entry: Entry) -> Partial:
        """What is large enough for parts is no link."""
        del entry
        raise _too_long(self._path)
