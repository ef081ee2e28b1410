"""The two bases of wrappers.

`Wrapper` forwards every member to the inner store: for wrappers that add a check or a resume (a test compares its
members with the Protocol's, so that none is forgotten). `StatefulWrapper` forwards nothing: each member is its own or
raises Unsupported, and its batch members default to its own single ones, so that no call can slip past a journal.
"""

from collections.abc import Iterable, Iterator

from cftool.core.errors import NotFound, StoreError
from cftool.core.store import Optionals, Store
from cftool.core.types import (
    Cap,
    ChangeSet,
    Download,
    Entry,
    Features,
    Leftover,
    ReadItem,
    Result,
    Source,
    Usage,
    WriteItem,
)


def layers(store: Store) -> Iterator[object]:
    """The wrappers of a stack, outermost first, and the provider's store."""
    layer: object = store
    while layer is not None:
        yield layer
        layer = getattr(layer, "inner", None)


def ask_always(store: Store) -> None:
    """No layer of this stack answers from memory any more: for who must see how it is now, as transfers must."""
    for layer in layers(store):
        turn = getattr(layer, "ask_always", None)
        if turn is not None:
            turn()


def look(store: Store, path: str) -> Entry:
    """As `stat`, and never from memory: before something is written over what is there, or removed."""
    ask = getattr(store, "look", None)
    found: Entry = store.stat(path) if ask is None else ask(path)
    return found


class Wrapper:
    """Forwards all of Store to `inner`; override what the wrapper is for."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.name = inner.name  # wrappers are invisible in messages

    @property
    def features(self) -> Features:
        """The inner store's features."""
        return self.inner.features

    def stat(self, path: str) -> Entry:
        """Forwarded."""
        return self.inner.stat(path)

    def scan(self, path: str) -> Iterator[Entry]:
        """Forwarded."""
        return self.inner.scan(path)

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """Forwarded."""
        return self.inner.read(path, start=start, end=end, if_version=if_version)

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """Forwarded."""
        return self.inner.write(path, source, modified_ns=modified_ns, if_version=if_version, if_absent=if_absent)

    def delete(self, path: str) -> None:
        """Forwarded."""
        self.inner.delete(path)

    def mkdir(self, path: str) -> Entry:
        """Forwarded."""
        return self.inner.mkdir(path)

    def rmdir(self, path: str) -> None:
        """Forwarded."""
        self.inner.rmdir(path)

    def close(self) -> None:
        """Forwarded."""
        self.inner.close()

    def walk(self, path: str) -> Iterator[Entry]:
        """Forwarded."""
        return self.inner.walk(path)

    def tree(self, path: str) -> Iterator[Entry]:
        """Forwarded."""
        return self.inner.tree(path)

    def copy(self, src: str, dst: str) -> Entry:
        """Forwarded."""
        return self.inner.copy(src, dst)

    def move(self, src: str, dst: str) -> Entry:
        """Forwarded."""
        return self.inner.move(src, dst)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Forwarded."""
        return self.inner.set_modified(path, modified_ns)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Forwarded."""
        return self.inner.write_many(items)

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Forwarded."""
        return self.inner.read_many(items)

    def delete_dir(self, path: str) -> None:
        """Forwarded."""
        self.inner.delete_dir(path)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Forwarded."""
        return self.inner.delete_many(entries)

    def changes(self, cursor: str | None) -> ChangeSet:
        """Forwarded."""
        return self.inner.changes(cursor)

    def usage(self) -> Usage:
        """Forwarded."""
        return self.inner.usage()

    def link(self, path: str, *, expires: float | None = None) -> str:
        """Forwarded."""
        return self.inner.link(path, expires=expires)

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Forwarded."""
        return self.inner.leftovers(path, older_than=older_than)

    def remove_leftover(self, leftover: Leftover) -> None:
        """Forwarded."""
        self.inner.remove_leftover(leftover)

    def probe(self, path: str) -> Cap:
        """Forwarded."""
        return self.inner.probe(path)


class StatefulWrapper(Optionals):
    """Forwards nothing but the name and `close`; batches run through the wrapper's own single members."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.name = inner.name

    def close(self) -> None:
        """Close the inner store."""
        self.inner.close()

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """Not supported unless the wrapper does."""
        raise self._unsupported("write", path)

    def delete(self, path: str) -> None:
        """Not supported unless the wrapper does."""
        raise self._unsupported("delete", path)

    def rmdir(self, path: str) -> None:
        """Not supported unless the wrapper does."""
        raise self._unsupported("rmdir", path)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """One `write` after the other."""
        for item in items:
            try:
                entry = self.write(
                    item.path,
                    item.source,
                    modified_ns=item.modified_ns,
                    if_version=item.if_version,
                    if_absent=item.if_absent,
                )
            except StoreError as error:
                yield Result(item.path, error=error, tag=item.tag)
            else:
                yield Result(item.path, entry=entry, tag=item.tag)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """One `delete` or `rmdir` after the other."""
        for entry in entries:
            try:
                if entry.is_dir:
                    self.rmdir(entry.path)
                else:
                    self.delete(entry.path)
            except NotFound:
                yield Result(entry.path, entry=entry)
            except StoreError as error:
                yield Result(entry.path, error=error)
            else:
                yield Result(entry.path, entry=entry)
