"""read and read_many. The answer's own metadata, in a header, says which revision came; nothing else is believed.

Small files come in parallel, whole and into memory, and are verified before they are saved. Large ones come in ranges,
in parallel, written as they arrive; at the end the content hash of the file is computed of what is there.
"""

import hashlib
import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from cftool.core import hashing
from cftool.core.download import VerifiedDownload
from cftool.core.errors import (
    ConnectionFailed,
    IntegrityError,
    IsADirectory,
    PreconditionFailed,
    ProtocolError,
)
from cftool.core.hashing import DROPBOX_BLOCK
from cftool.core.types import Entry, Kind, Partial, ReadItem, Result
from cftool.http.types import Completion, Request, Response, Stream
from cftool_providers.dropbox import _entries, _errors, _jobs
from cftool_providers.dropbox._api import Service, api_path, decoded
from cftool_providers.dropbox._listing import Lister
from cftool_providers.dropbox._reader import joined

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger("cftool.dropbox")

SMALL = 8 * 1024 * 1024  # up to this a file is collected in memory
MEMORY = 32 * 1024 * 1024  # of files in flight
PART = 16 * 1024 * 1024  # a multiple of the blocks of the hash
PARALLEL = 4
LARGE_AT_ONCE = 8  # large files that wait while small ones pass them
_BREAKS = 5  # of one range's body without a byte between them
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)


class Downloader:
    """Thread-safe: each call has its own state."""

    def __init__(self, service: Service, lister: Lister) -> None:
        self.service = service
        self._lister = lister

    def read(self, path: str, start: int, end: int | None, if_version: str | None) -> VerifiedDownload:
        """See Store.read."""
        if not path:
            raise IsADirectory("is the root", op="read", path=path)
        if end is not None and end <= start:
            return self._nothing(path, start, if_version)
        ranged = start > 0 or end is not None
        request = self.service.download({"path": api_path(path)}, byte_range=(start, end) if ranged else None)
        stream = self.service.client.stream(request)
        try:
            if stream.status == 416 and ranged:
                stream.close()
                return self._nothing(path, start, if_version)
            if stream.status not in {200, 206}:
                raise _errors.error(stream, stream.read_all(), path)
            entry = _told(stream, path)
            if if_version is not None and entry.version != if_version:
                raise PreconditionFailed("it is another version by now", op="read", path=path)
            _require_range(stream, entry, start, end, ranged=ranged)
        except BaseException:
            stream.close()
            raise
        return VerifiedDownload(entry, stream.chunks(), start=start, end=end, close=stream.close)

    def _nothing(self, path: str, start: int, if_version: str | None) -> VerifiedDownload:
        """An empty range: of a file that must be there all the same."""
        entry = self._lister.stat(path)
        if entry.is_dir:
            raise IsADirectory("is a directory", op="read", path=path)
        if if_version is not None and entry.version != if_version:
            raise PreconditionFailed("it is another version by now", op="read", path=path)
        return VerifiedDownload(entry, iter(()), start=start, end=start)

    def run(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Results of read_many in order of completion."""
        waiting = iter(items)
        loop = _Small(self.service, waiting)
        while not loop.ended:
            yield from loop.run()
            while loop.large:
                yield self._large(loop.large.popleft())

    def _large(self, item: ReadItem) -> Result:
        try:
            return Result(item.entry.path, _Ranges(self.service, item).run(), None, item.tag)
        except Exception as error:  # a target may raise what it likes: it is this item's failure alone
            if _jobs.ends_all(error):
                raise
            return Result(item.entry.path, None, error, item.tag)


def _told(answer: Response | Stream, path: str) -> Entry:
    """The entry in the header of a download."""
    text = answer.header("dropbox-api-result")
    if text is None:
        raise ProtocolError("Dropbox sent content and did not say of what", op="read", path=path)
    entry = _entries.file(decoded(text, path), path)
    if entry.kind is not Kind.FILE:
        raise ProtocolError("Dropbox sent the content of what has none", op="read", path=path)
    return entry


def _require_range(answer: Response | Stream, entry: Entry, start: int, end: int | None, *, ranged: bool) -> None:
    """What came must be what was asked for."""
    size = entry.size or 0
    if not ranged:
        if answer.status != 200 or answer.header("content-range") is not None:
            raise ProtocolError("the whole file was asked for; a part of it came", op="read", path=entry.path)
        return
    if answer.status == 200:
        if start or (end is not None and end < size):
            raise ProtocolError("a part of the file was asked for; the whole came", op="read", path=entry.path)
        return
    match = _RANGE.fullmatch(answer.header("content-range") or "")
    wanted = (start, min(size, size if end is None else end) - 1, size)
    if match is None or tuple(map(int, match.groups())) != wanted:
        raise ProtocolError("another part of the file came than was asked for", op="read", path=entry.path)


def _require_same(listed: Entry, entry: Entry) -> None:
    if listed.version not in {None, entry.version}:
        raise PreconditionFailed("it is another version by now", op="read", path=listed.path)
    if listed.size not in {None, entry.size}:
        raise PreconditionFailed("it has another size by now", op="read", path=listed.path)


class _Small:
    """Small files in one loop of parallel requests; the large ones it meets are put into `large`."""

    def __init__(self, service: Service, items: Iterator[ReadItem]) -> None:
        self._service = service
        self._items = items
        self._bytes = 0
        self._results: deque[Result] = deque()
        self.ended = False
        self.large: deque[ReadItem] = deque()

    def run(self) -> Iterator[Result]:
        """Until the items are used up or enough large ones wait."""
        with self._service.many(self._next) as completions:
            for completion in completions:
                item = completion.request.tag
                assert isinstance(item, ReadItem)
                self._bytes -= item.entry.size or 0
                yield self._answered(completion, item)
                while self._results:
                    yield self._results.popleft()
        yield from self._results
        self._results.clear()

    def _next(self) -> Request | float | None:
        while not self.ended and len(self.large) < LARGE_AT_ONCE:
            if self._bytes >= MEMORY:
                return 0.05
            if self._results and not self._bytes:
                return None  # nothing in flight would bring the results out
            item = next(self._items, None)
            if item is None:
                self.ended = True
                return None
            size = item.entry.size
            if not item.entry.path:
                error = IsADirectory("is the root", op="read", path="")
                self._results.append(Result(item.entry.path, None, error, item.tag))
            elif size is None or size > SMALL:
                self.large.append(item)
            else:
                self._bytes += size
                return self._service.download(
                    {"path": api_path(item.entry.path)}, tag=item, max_body=max(size, 64 * 1024) + 1
                )
        return None

    def _answered(self, completion: Completion, item: ReadItem) -> Result:
        response, path = completion.response, item.entry.path
        try:
            if response is None:
                raise completion.error or ProtocolError("no answer", op="read")
            if response.status != 200:
                raise _errors.error(response, response.body, path)
            return Result(path, self._saved(item, response), None, item.tag)
        except Exception as error:  # a target may raise what it likes: it is this item's failure alone
            if _jobs.ends_all(error):
                raise
            return Result(path, None, error, item.tag)

    @staticmethod
    def _saved(item: ReadItem, response: Response) -> Entry:
        entry = _told(response, item.entry.path)
        _require_same(item.entry, entry)
        _require_range(response, entry, 0, None, ranged=False)
        if len(response.body) != entry.size:
            raise IntegrityError(f"{len(response.body)} of {entry.size} bytes came", op="read", path=entry.path)
        digest = entry.hashes.get("dropbox")
        if digest is not None and hashing.digest("dropbox", response.body) != digest:
            raise IntegrityError("the content's hash is not the file's", op="read", path=entry.path)
        item.target.save(response.body, entry)
        return entry


class _Ranges:
    """One large file."""

    def __init__(self, service: Service, item: ReadItem) -> None:
        self._service = service
        self._item = item
        self._entry = item.entry

    def run(self) -> Entry:
        """Fetch what is missing, verify, publish."""
        from concurrent.futures import ThreadPoolExecutor  # only large files need it

        item = self._item
        entry = self._entry = self._current()
        partial = item.target.begin(entry)
        try:
            try:
                with ThreadPoolExecutor(PARALLEL, thread_name_prefix="cftool-dropbox") as pool:
                    self._fetch_all(pool, partial)
                self._verify(partial)
            except (IntegrityError, PreconditionFailed):
                partial.discard()
                raise
            partial.commit(entry)
        finally:
            partial.close()
        return entry

    def _current(self) -> Entry:
        """The listed entry, or where it lacks what a partial needs, what is there."""
        listed = self._item.entry
        if listed.version is not None and listed.size is not None and listed.modified_ns is not None:
            return listed
        found = Lister(self._service).stat(listed.path)
        if found.is_dir:
            raise IsADirectory("is a directory", op="read", path=listed.path)
        _require_same(listed, found)
        return found

    def _fetch_all(self, pool: "ThreadPoolExecutor", partial: Partial) -> None:
        futures = [pool.submit(self._fetch, partial, start, end) for start, end in partial.missing(PART)]
        try:
            for future in futures:
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def _fetch(self, partial: Partial, start: int, end: int) -> None:
        """One range; a body that breaks goes on where it broke."""
        position, idle = [start], 0
        while position[0] < end:
            before = position[0]
            try:
                self._stream(partial, position, end)
            except ConnectionFailed as error:
                idle = 0 if position[0] > before else idle + 1
                if idle >= _BREAKS:
                    raise
                log.debug("a range broke off: %s", error.message)
            finally:
                if position[0] > before:
                    partial.done(before, position[0])

    def _stream(self, partial: Partial, position: list[int], end: int) -> None:
        start, path = position[0], self._entry.path
        request = self._service.download({"path": api_path(path)}, byte_range=(start, end))
        with closing(self._service.client.stream(request)) as stream:
            if stream.status not in {200, 206}:
                raise _errors.error(stream, stream.read_all(), path)
            entry = _told(stream, path)
            _require_same(self._entry, entry)
            _require_range(stream, entry, start, end, ranged=True)
            for chunk in stream.chunks():
                self._service.check()
                if position[0] + len(chunk) > end:
                    raise IntegrityError("more came than was asked for", op="read", path=path)
                partial.write_at(chunk, position[0])
                position[0] += len(chunk)
        if position[0] < end:
            raise ConnectionFailed("the content ended early", op="read", path=path)

    def _verify(self, partial: Partial) -> None:
        """The hash of what is there now, whichever run it came in."""
        size, digest = self._entry.size or 0, self._entry.hashes.get("dropbox")
        if digest is None:
            return
        blocks = []
        for at in range(0, size, DROPBOX_BLOCK):
            self._service.check()
            running = hashlib.sha256()
            position, stop = at, min(at + DROPBOX_BLOCK, size)
            while position < stop:
                piece = partial.read_at(stop - position, position)
                if not piece:
                    raise IntegrityError("what was written cannot be read back", op="read", path=self._entry.path)
                running.update(piece)
                position += len(piece)
            blocks.append(running.digest())
        if joined(blocks) != digest:
            raise IntegrityError("the content's hash is not the file's", op="read", path=self._entry.path)
