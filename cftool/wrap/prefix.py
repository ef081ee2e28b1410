"""Prefix: a view of one directory as if it were the whole store. `work:` with a root, and the sides of a transfer.

Paths go in with the prefix and come out without it: of entries, results, leftovers and errors, and for a Target.
The directory need not exist: then its root is not found, and the first write makes it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

from cftool.core import paths
from cftool.core.errors import IsADirectory, ListingError, StoreError, Unnamed
from cftool.core.store import Store
from cftool.core.types import (
    Cap,
    ChangeSet,
    Download,
    Entry,
    Features,
    Kind,
    Leftover,
    Partial,
    ReadItem,
    Result,
    Source,
    Target,
    Usage,
    WriteItem,
)
from cftool.core.wrapper import StatefulWrapper
from cftool.wrap.downloads import WrappedDownload


class PrefixStore(StatefulWrapper):
    """`inner` at and below `prefix`, which is a canonical path there, and not the root."""

    def __init__(self, inner: Store, prefix: str) -> None:
        super().__init__(inner)
        if not prefix:
            raise ValueError("the prefix is the root")
        self.prefix = paths.check(prefix, inner.features.names)
        self._lead = prefix + "/"
        self._cut = len(self._lead)
        self._seen = inner.features
        self._features = self._view(self._seen)

    @property
    def features(self) -> Features:
        """The inner store's; the identity says which directory, and its length no longer counts for names."""
        seen = self.inner.features
        if seen is not self._seen:  # a capability appeared
            self._seen, self._features = seen, self._view(seen)
        return self._features

    def _view(self, features: Features) -> Features:
        names = replace(features.names, top_files=True)
        if names.path_bytes is not None:
            used = len(self._lead.encode("utf-8", "surrogateescape"))
            names = replace(names, path_bytes=max(0, names.path_bytes - used))
        return replace(features, identity=f"{features.identity}/{self.prefix}", names=names)

    # ---- paths in and out

    def _in(self, path: str) -> str:
        return self._lead + path if path else self.prefix

    def _file_in(self, path: str, op: str) -> str:
        # The prefix itself is a directory to everybody who sees this view, whatever the inner store has there.
        if not path:
            raise IsADirectory("is the root", op=op, path=path, store=self.name)
        return self._lead + path

    def _out(self, path: str) -> str:
        # Outside means above: a bucket that is missing, a parent that is a file. It concerns the root of this view.
        return path[self._cut :] if path.startswith(self._lead) else ""

    def _adjust(self, error: StoreError) -> None:
        if error.path is not None:
            error.path = self._out(error.path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            self._adjust(error)
            raise

    # ---- entries

    def stat(self, path: str) -> Entry:
        """Mapped."""
        inner = self._in(path)
        with self._errors():
            return self.inner.stat(inner).at(path)

    def scan(self, path: str) -> Iterator[Entry]:
        """Mapped."""
        with self._errors():
            return self._entries(self.inner.scan(self._in(path)), skip_unnamed=False)

    def walk(self, path: str) -> Iterator[Entry]:
        """Mapped; a directory with the empty name directly below the root is left out, what it holds is not."""
        with self._errors():
            return self._entries(self.inner.walk(self._in(path)), skip_unnamed=True)

    def tree(self, path: str) -> Iterator[Entry]:
        """Mapped; of the root only the directory, whatever else has its name."""
        if not path:
            return chain((self.stat(path),), self.walk(path))
        with self._errors():
            return self._entries(self.inner.tree(self._in(path)), skip_unnamed=True)

    def _entries(self, entries: Iterator[Entry], *, skip_unnamed: bool) -> Iterator[Entry]:
        # A million entries pass here: no call for each, and the tuple is made directly.
        lead, cut, new = self._lead, self._cut, tuple.__new__
        unnamed = False
        try:
            for path, kind, size, modified, stored, version, handle, hashes in entries:
                if not path.startswith(lead):
                    raise ListingError(f"an entry lies outside of {paths.printable(self.prefix)!r}", path=path)
                if len(path) == cut:
                    # Opaque keys such as `bucket//x` or `bucket/`: seen from `bucket` the first component has no name.
                    unnamed = unnamed or not skip_unnamed or kind is not Kind.DIRECTORY
                    continue
                yield new(Entry, (path[cut:], kind, size, modified, stored, version, handle, hashes))
        except StoreError as error:
            self._adjust(error)
            raise
        if unnamed:
            raise Unnamed(f"{paths.printable(lead)} is an entry itself, which has no name in this directory: left out")

    # ---- content

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """Mapped, the download's entry and errors included."""
        inner = self._file_in(path, "read")
        with self._errors():
            download = self.inner.read(inner, start=start, end=end, if_version=if_version)
        return WrappedDownload(download, download.entry.at(path), self._adjust)

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """Mapped."""
        inner = self._file_in(path, "write")
        with self._errors():
            return self.inner.write(
                inner, source, modified_ns=modified_ns, if_version=if_version, if_absent=if_absent
            ).at(path)

    def delete(self, path: str) -> None:
        """Mapped."""
        inner = self._file_in(path, "delete")
        with self._errors():
            self.inner.delete(inner)

    def mkdir(self, path: str) -> Entry:
        """Mapped; of the root it makes the directory that this is a view of."""
        with self._errors():
            return self.inner.mkdir(self._in(path)).at(path)

    def rmdir(self, path: str) -> None:
        """Mapped; of the root it removes the directory that this is a view of."""
        with self._errors():
            self.inner.rmdir(self._in(path))

    def copy(self, src: str, dst: str) -> Entry:
        """Mapped."""
        source, target = self._file_in(src, "copy"), self._file_in(dst, "copy")
        with self._errors():
            return self.inner.copy(source, target).at(dst)

    def move(self, src: str, dst: str) -> Entry:
        """Mapped; the root stays where it is."""
        source, target = self._file_in(src, "move"), self._file_in(dst, "move")
        with self._errors():
            return self.inner.move(source, target).at(dst)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Mapped."""
        inner = self._file_in(path, "set_modified")
        with self._errors():
            return self.inner.set_modified(inner, modified_ns).at(path)

    # ---- batches

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Mapped; the tag comes back as it went."""
        mapped = (
            WriteItem(self._in(i.path), i.source, i.modified_ns, i.if_version, i.if_absent, i.tag, i.progress)
            for i in items
        )
        return self._results(self.inner.write_many(mapped))

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Mapped; the target is told of entries without the prefix."""
        lead, out = self._lead, self._out
        mapped = (
            ReadItem(i.entry.at(lead + i.entry[0] if i.entry[0] else self.prefix), _Target(i.target, out), i.tag)
            for i in items
        )
        return self._results(self.inner.read_many(mapped))

    def delete_dir(self, path: str) -> None:
        """Mapped; the root stays where it is."""
        inner = self._file_in(path, "delete_dir")
        with self._errors():
            self.inner.delete_dir(inner)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Mapped."""
        return self._results(self.inner.delete_many(e.at(self._in(e.path)) for e in entries))

    def _results(self, results: Iterator[Result]) -> Iterator[Result]:
        lead, cut = self._lead, self._cut
        try:
            for result in results:
                path, entry, error = result.path, result.entry, result.error
                out = path[cut:] if path.startswith(lead) else ""
                if entry is not None:
                    entry = entry.at(out if entry[0] == path else self._out(entry[0]))
                if isinstance(error, StoreError):
                    self._adjust(error)
                yield Result(out, entry, error, result.tag)
        except StoreError as error:
            self._adjust(error)
            raise

    # ---- the rest

    def changes(self, cursor: str | None) -> ChangeSet:
        """Mapped; what changed elsewhere is left out."""
        with self._errors():
            found = self.inner.changes(cursor)
        if self.prefix in found.paths or any(paths.is_within(self.prefix, path) for path in found.paths):
            return ChangeSet((), found.cursor, reset=True)  # the root itself, or one above: anything may be new
        return ChangeSet(
            tuple(self._out(path) for path in found.paths if path.startswith(self._lead)), found.cursor, found.reset
        )

    def usage(self) -> Usage:
        """Of the whole account: services do not say it of a directory."""
        with self._errors():
            return self.inner.usage()

    def link(self, path: str, *, expires: float | None = None) -> str:
        """Mapped."""
        with self._errors():
            return self.inner.link(self._in(path), expires=expires)

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Mapped."""
        with self._errors():
            for leftover in self.inner.leftovers(self._in(path), older_than=older_than):
                yield replace(leftover, path=self._out(leftover.path))

    def remove_leftover(self, leftover: Leftover) -> None:
        """Mapped."""
        with self._errors():
            self.inner.remove_leftover(replace(leftover, path=self._in(leftover.path)))

    def probe(self, path: str) -> Cap:
        """Mapped."""
        with self._errors():
            return self.inner.probe(self._in(path))


class _Target:
    """A Target that hears paths of the view."""

    def __init__(self, inner: Target, out: Callable[[str], str]) -> None:
        self._inner = inner
        self._out = out

    def save(self, data: bytes, entry: Entry) -> None:
        self._inner.save(data, entry.at(self._out(entry.path)))

    def begin(self, entry: Entry) -> Partial:
        return _Partial(self._inner.begin(entry.at(self._out(entry.path))), self._out)


class _Partial:
    """The Partial of it; all but `commit` passes through."""

    def __init__(self, inner: Partial, out: Callable[[str], str]) -> None:
        self._inner = inner
        self._out = out

    def missing(self, part_size: int) -> list[tuple[int, int]]:
        return self._inner.missing(part_size)

    def write_at(self, data: bytes | memoryview, offset: int) -> None:
        self._inner.write_at(data, offset)

    def writev_at(self, chunks: list[bytes], offset: int) -> None:
        self._inner.writev_at(chunks, offset)

    def done(self, start: int, end: int) -> None:
        self._inner.done(start, end)

    def read_at(self, size: int, offset: int) -> bytes:
        return self._inner.read_at(size, offset)

    def commit(self, entry: Entry) -> None:
        self._inner.commit(entry.at(self._out(entry.path)))

    def discard(self) -> None:
        self._inner.discard()

    def close(self) -> None:
        self._inner.close()
