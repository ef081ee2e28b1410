"""read, read_many and delete_many.

A file is read by its link, after its folder's listing was seen to have that very version under the path; the length is
checked, and there is nothing else to check. Deleting moves to the Deleted Files, one request a file.
"""

import re
from collections.abc import Iterable, Iterator

from cftool.core import paths
from cftool.core.download import VerifiedDownload
from cftool.core.errors import (
    IntegrityError,
    Interrupted,
    IsADirectory,
    NotADirectory,
    NotFound,
    PreconditionFailed,
    ProtocolError,
    StoreError,
)
from cftool.core.types import Entry, Partial, ReadItem, Result
from cftool.http.types import Header, Stream
from cftool_providers.sugarsync import _errors
from cftool_providers.sugarsync._pages import Item
from cftool_providers.sugarsync._pool import bounded
from cftool_providers.sugarsync._service import CONNECTIONS, Service
from cftool_providers.sugarsync._tree import BATCH_AGE, Tree, entry_of

_SMALL = 4 * 1024 * 1024  # up to this a file is collected in memory
_PART = 32 * 1024 * 1024  # of a large file, in one request
_RANGE = re.compile(r"bytes\s+([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})")


class Reader:
    """Thread-safe."""

    def __init__(self, service: Service, tree: Tree) -> None:
        self._service = service
        self._tree = tree

    def read(self, path: str, start: int, end: int | None, if_version: str | None) -> VerifiedDownload:
        """See Store.read."""
        entry = self.found(path, max_age=0.0)
        if if_version is not None and entry.version != if_version:
            raise PreconditionFailed("it is another version by now", op="read", path=path)
        size = entry.size or 0
        stop = size if end is None else min(end, size)
        if stop <= start:
            return VerifiedDownload(entry, iter(()), start=start, end=start)
        stream = self._open(entry, start, stop)
        return VerifiedDownload(entry, stream.chunks(), start=start, end=stop, close=stream.close)

    def found(self, path: str, *, max_age: float) -> Entry:
        """The file at `path`."""
        if "/" not in path and (not path or self._tree.item(path)):
            raise IsADirectory("is a directory", op="read", path=path)
        item = self._tree.item(path, max_age=max_age)
        if item.is_dir:
            raise IsADirectory("is a directory", op="read", path=path)
        return entry_of(path, item)

    def _open(self, entry: Entry, start: int, end: int) -> Stream:
        """The stream of exactly [start, end); the answer must say so."""
        assert entry.id is not None
        size = entry.size or 0
        whole = start == 0 and end == size
        headers: tuple[Header, ...] = () if whole else (("Range", f"bytes={start}-{end - 1}"),)
        stream, body = self._service.data(entry.id, headers)
        if not 200 <= stream.status < 300:
            raise _errors.error(stream, body, op="read", path=entry.path)
        try:
            self._check(stream, entry, start, end, whole=whole)
        except BaseException:
            stream.close()
            raise
        return stream

    @staticmethod
    def _check(stream: Stream, entry: Entry, start: int, end: int, *, whole: bool) -> None:
        length = stream.header("content-length")
        if length is not None and not (length.isascii() and length.isdigit() and int(length) == end - start):
            raise IntegrityError(
                f"{end - start} bytes were expected, {length[:20]} announced", op="read", path=entry.path
            )
        said = _RANGE.fullmatch((stream.header("content-range") or "").strip())
        if whole:
            if stream.status != 200 or stream.header("content-range") is not None:
                raise ProtocolError("the whole file was asked for; a part of it came", op="read", path=entry.path)
        elif stream.status != 206 or said is None:
            raise ProtocolError("a part of the file was asked for; the whole came", op="read", path=entry.path)
        elif (int(said[1]), int(said[2]) + 1) != (start, end) or int(said[3]) != entry.size:
            raise ProtocolError(
                f"bytes {start}-{end - 1} of {entry.size} were asked for; {said[0][:60]} came",
                op="read",
                path=entry.path,
            )

    # ---- many

    def run(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Results of read_many, in the order in which they end."""
        return _uninterrupted(bounded(self._fetch, items, CONNECTIONS))

    def _fetch(self, item: ReadItem) -> Result:
        path = item.entry.path
        try:
            self._service.check()
            entry = self.found(path, max_age=BATCH_AGE)
            if item.entry.version is not None and entry.version != item.entry.version:
                raise PreconditionFailed("changed since it was listed", op="read", path=path)
            if (entry.size or 0) <= _SMALL:
                with VerifiedDownload(entry, *self._chunks(entry)) as download:
                    item.target.save(download.read(), entry)
            else:
                self._large(item.target.begin(entry), entry)
        except Exception as error:  # a target may raise what it likes: it is this file's failure alone
            return Result(path, error=error, tag=item.tag)
        return Result(path, entry, tag=item.tag)

    def _chunks(self, entry: Entry) -> tuple[Iterator[bytes]]:
        if not entry.size:
            return (iter(()),)
        assert entry.id is not None
        return (iter((self._service.content(entry.id, entry.size).body,)),)

    def _large(self, partial: Partial, entry: Entry) -> None:
        try:
            for start, end in partial.missing(_PART):
                at = start
                with self._open(entry, start, end) as stream:  # type: ignore[attr-defined]  # all streams are
                    for chunk in stream.chunks():
                        self._service.check()
                        if at + len(chunk) > end:
                            raise IntegrityError("more bytes came than were asked for", op="read", path=entry.path)
                        partial.write_at(chunk, at)
                        at += len(chunk)
                if at != end:
                    raise IntegrityError(f"the content ended {end - at} bytes early", op="read", path=entry.path)
                partial.done(start, end)
            partial.commit(entry)
        finally:
            partial.close()


def _uninterrupted(results: Iterator[Result]) -> Iterator[Result]:
    """Results; that the run is to end is no result of one file."""
    for result in results:
        if isinstance(result.error, Interrupted):
            raise result.error
        yield result


class Deleter:
    """Thread-safe."""

    def __init__(self, service: Service, tree: Tree) -> None:
        self._service = service
        self._tree = tree

    def one(self, path: str) -> None:
        """Delete one file. Raises NotFound, IsADirectory."""
        item = self._tree.item(path)
        if item.is_dir:
            raise IsADirectory("is a directory", op="delete", path=path)
        self._service.trash(item)
        self._tree.contents(paths.parent(path), max_age=BATCH_AGE).drop(item)

    def run(self, entries: Iterable[Entry], rmdir: "Rmdir") -> Iterator[Result]:
        """Files at once, directories one by one after all files before them."""
        later: list[Entry] = []

        def files() -> Iterator[Entry]:
            for entry in entries:
                if entry.is_dir:
                    later.append(entry)
                else:
                    yield entry

        yield from _uninterrupted(bounded(self._delete, files(), CONNECTIONS))
        for entry in later:
            try:
                rmdir(entry.path)
            except (NotFound, NotADirectory):
                yield Result(entry.path, entry)
            except StoreError as error:
                yield Result(entry.path, error=error)
            else:
                yield Result(entry.path, entry)

    def _delete(self, entry: Entry) -> Result:
        try:
            self._service.check()
            contents = self._tree.contents(paths.parent(entry.path), max_age=BATCH_AGE)
            item: Item | None = contents.find(entry.path.rpartition("/")[2])
            if item is None:
                return Result(entry.path, entry)
            if item.is_dir:
                raise IsADirectory("is a directory", op="delete", path=entry.path)
            if entry.version is not None and entry_of(entry.path, item).version != entry.version:
                raise PreconditionFailed("changed since it was listed", op="delete", path=entry.path)
            self._service.trash(item)
        except (NotFound, NotADirectory):  # it, or a folder above it
            return Result(entry.path, entry)
        except Exception as error:
            return Result(entry.path, error=error)
        return Result(entry.path, entry)


class Rmdir:
    """Removes folders: empty ones, and whole ones into the Deleted Files."""

    def __init__(self, service: Service, tree: Tree) -> None:
        self._service = service
        self._tree = tree

    def __call__(self, path: str) -> None:
        """See Store.rmdir."""
        from cftool.core.errors import DirectoryNotEmpty, InvalidName

        if not path:
            raise InvalidName("is the root; it cannot be removed", op="rmdir", path=path)
        ref = self._tree.folder(path)
        contents = self._tree.fresh(path, ref)
        if contents.shown:
            raise DirectoryNotEmpty("is not empty", op="rmdir", path=path)
        if contents.hidden and "/" in path:
            # Uploads that nobody finished, or that somebody is at: they stay with their folder, to be restored.
            self._service.trash(Item(path.rpartition("/")[2], ref, is_dir=True))
        else:
            for item in contents.hidden:
                self._service.trash(item)
            self._service.remove(ref)
        self._tree.forget(path)

    def whole(self, path: str) -> None:
        """See Store.delete_dir. Removing it for good would orphan what is in it, so that it always can come back."""
        ref = self._tree.folder(path)
        self._service.trash(Item(path.rpartition("/")[2], ref, is_dir=True))
        self._tree.forget(path)
