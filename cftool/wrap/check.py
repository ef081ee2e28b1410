"""Check: the outermost wrapper. Paths are canonical and the capability is there before any I/O; errors say where.

Listings pass as they are: a provider's decoder has checked every name of an answer, and a million entries are not
looked at twice. Also caught here, because a provider built on copy-and-delete would lose the file: `move` onto itself
and of a directory into itself.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from typing import TypeVar

from cftool.core import paths
from cftool.core.errors import InvalidName, IsADirectory, StoreError, TooLarge, Unsupported
from cftool.core.store import Store
from cftool.core.types import (
    Cap,
    ChangeSet,
    Download,
    Entry,
    Leftover,
    ReadItem,
    Result,
    Source,
    Usage,
    WriteItem,
)
from cftool.core.wrapper import Wrapper
from cftool.wrap.downloads import WrappedDownload

_Listed = TypeVar("_Listed")
_Item = TypeVar("_Item", WriteItem, ReadItem, Entry)


class CheckStore(Wrapper):
    """Refuses what cannot work, before the inner store hears of it."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        features = inner.features
        self._rules = features.names
        self._size_limit = features.size_limit

    def stat(self, path: str) -> Entry:
        """Checked."""
        with self._around("stat", path):
            return self.inner.stat(path)

    def scan(self, path: str) -> Iterator[Entry]:
        """Checked at the call, not at the first step."""
        with self._around("scan", path):
            return self._listing(self.inner.scan(path), "scan", path)

    def walk(self, path: str) -> Iterator[Entry]:
        """Checked at the call, not at the first step."""
        with self._around("walk", path, Cap.WALK):
            return self._listing(self.inner.walk(path), "walk", path)

    def tree(self, path: str) -> Iterator[Entry]:
        """Checked at the call, not at the first step."""
        with self._around("tree", path, Cap.TREE):
            return self._listing(self.inner.tree(path), "tree", path)

    def _listing(self, entries: Iterator[_Listed], op: str, path: str) -> Iterator[_Listed]:
        try:
            yield from entries
        except StoreError as error:
            self._adjust(op, path, error)
            raise

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """Checked, the errors of the stream included."""
        if start < 0 or (end is not None and end < start):
            raise ValueError(f"no range: start {start}, end {end}")
        with self._around("read", path):
            download = self.inner.read(path, start=start, end=end, if_version=if_version)
            return WrappedDownload(download, download.entry, partial(self._adjust, "read", path))

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """Checked, the size and the conditions included."""
        with self._around("write", path):
            self._writable(path, source, if_version, if_absent)
            return self.inner.write(path, source, modified_ns=modified_ns, if_version=if_version, if_absent=if_absent)

    def delete(self, path: str) -> None:
        """Checked."""
        with self._around("delete", path):
            self.inner.delete(path)

    def mkdir(self, path: str) -> Entry:
        """Checked."""
        with self._around("mkdir", path):
            return self.inner.mkdir(path)

    def rmdir(self, path: str) -> None:
        """Checked."""
        with self._around("rmdir", path):
            self.inner.rmdir(path)

    def copy(self, src: str, dst: str) -> Entry:
        """Checked; onto itself it changes nothing."""
        with self._around("copy", src, Cap.COPY, dst):
            return self._same_file(src) if src == dst else self.inner.copy(src, dst)

    def move(self, src: str, dst: str) -> Entry:
        """Checked; onto itself it changes nothing, below itself it is refused as rename(2) does."""
        with self._around("move", src, Cap.MOVE, dst):
            if src == dst:
                return self.inner.stat(src)
            if paths.is_within(dst, src) and not self._rules.opaque:
                raise InvalidName("cannot be moved into itself", path=src)
            return self.inner.move(src, dst)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Checked."""
        with self._around("set_modified", path, Cap.SET_MODIFIED):
            return self.inner.set_modified(path, modified_ns)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """An item that cannot work is answered here; the others go on."""
        self._need(Cap.WRITE_MANY, "write_many")

        def check(item: WriteItem) -> None:
            self._writable(item.path, item.source, item.if_version, item.if_absent)

        return self._batch("write", items, attrgetter("path"), self.inner.write_many, check)

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """An item that cannot work is answered here; the others go on."""
        self._need(Cap.READ_MANY, "read_many")
        return self._batch("read", items, attrgetter("entry.path"), self.inner.read_many)

    def delete_dir(self, path: str) -> None:
        """Checked; the root is never deleted."""
        with self._around("delete_dir", path, Cap.DELETE_DIR):
            if not path:
                raise InvalidName("is the root; it cannot be removed", path=path)
            self.inner.delete_dir(path)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """An item that cannot work is answered here; the others go on."""
        self._need(Cap.DELETE_MANY, "delete_many")
        return self._batch("delete", entries, attrgetter("path"), self.inner.delete_many)

    def changes(self, cursor: str | None) -> ChangeSet:
        """Checked."""
        with self._around("changes", "", Cap.CHANGES):
            return self.inner.changes(cursor)

    def usage(self) -> Usage:
        """Checked."""
        with self._around("usage", "", Cap.USAGE):
            return self.inner.usage()

    def link(self, path: str, *, expires: float | None = None) -> str:
        """Checked."""
        with self._around("link", path, Cap.LINK):
            return self.inner.link(path, expires=expires)

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Checked at the call, not at the first step."""
        with self._around("leftovers", path, Cap.LEFTOVERS):
            return self._listing(self.inner.leftovers(path, older_than=older_than), "leftovers", path)

    def remove_leftover(self, leftover: Leftover) -> None:
        """Checked."""
        with self._around("remove_leftover", leftover.path, Cap.LEFTOVERS):
            self.inner.remove_leftover(leftover)

    def probe(self, path: str) -> Cap:
        """Checked; it needs no capability."""
        with self._around("probe", path):
            return self.inner.probe(path)

    # ---- helpers

    def _same_file(self, path: str) -> Entry:
        entry = self.inner.stat(path)
        if entry.is_dir:
            raise IsADirectory("is a directory", path=path)
        return entry

    def _path(self, path: str) -> str:
        return paths.check(path, self._rules)

    def _need(self, cap: Cap, op: str, path: str | None = None) -> None:
        if cap not in self.inner.features.caps:
            raise Unsupported(f"{self.name} cannot do {op}", op=op, path=path, store=self.name)

    def _writable(self, path: str, source: Source, if_version: str | None, if_absent: bool) -> None:
        if not path:
            raise InvalidName("is the root, which is a directory", path=path)
        if if_version is not None:
            self._need(Cap.IF_VERSION, "conditional writes", path)
        if if_absent:
            self._need(Cap.IF_ABSENT, "conditional writes", path)
        if self._size_limit is not None and source.size is not None and source.size > self._size_limit:
            raise TooLarge(f"has {source.size} bytes; {self.name} takes up to {self._size_limit}", path=path)

    @contextmanager
    def _around(self, op: str, path: str, cap: Cap = Cap.NONE, other: str | None = None) -> Iterator[None]:
        """Path(s) and capability first; then whatever the block raises gets its context."""
        try:
            self._path(path)
            if other is not None:
                self._path(other)
            if cap:
                self._need(cap, op, path)
            yield
        except StoreError as error:
            self._adjust(op, path, error)
            raise

    def _adjust(self, op: str, path: str, error: StoreError) -> None:
        error.at(op=op, path=path, store=self.name)
        # For the traceback of a program: the message says what, and not where.
        error.__notes__ = [f"{error.op} of {paths.printable(error.path or '')!r} in the store {error.store}"]

    def _batch(
        self,
        op: str,
        items: Iterable[_Item],
        path_of: Callable[[_Item], str],
        run: Callable[[Iterable[_Item]], Iterator[Result]],
        check: Callable[[_Item], None] = lambda _item: None,
    ) -> Iterator[Result]:
        # The inner store pulls the items, perhaps from a thread of its own: what it must not see is put aside here,
        # and comes out between its results.
        refused: deque[Result] = deque()

        def sound() -> Iterator[_Item]:
            for item in items:
                path = path_of(item)
                try:
                    self._path(path)
                    check(item)
                except StoreError as error:
                    error.at(op=op, path=path, store=self.name)
                    refused.append(Result(path, error=error, tag=getattr(item, "tag", None)))
                else:
                    yield item

        for result in run(sound()):
            while refused:
                yield refused.popleft()
            if isinstance(result.error, StoreError):
                self._adjust(op, result.path, result.error)
            yield result
        yield from refused
