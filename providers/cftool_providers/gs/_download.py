"""read and read_many.

`read` streams one object, whole or a range, and believes it only when the answer says the very range, size and
generation that were asked for. `read_many` is a loop of parallel requests: small objects arrive in memory and are
verified before they are saved; large ones come in parallel ranges (see `_ranges`).
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from cftool.core import hashing
from cftool.core.download import VerifiedDownload
from cftool.core.errors import (
    IntegrityError,
    IsADirectory,
    NotFound,
    PreconditionFailed,
    ProtocolError,
    StoreError,
)
from cftool.core.types import Entry, ReadItem, Result
from cftool.http.types import Completion, Header, Request, Response, Stream
from cftool_providers.gs._listing import Lister
from cftool_providers.gs._objects import check_range, header_entry
from cftool_providers.gs._ranges import Large, require_same
from cftool_providers.gs._service import Service, split_path
from cftool_providers.gs._settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ThreadPoolExecutor

SMALL = 8 * MIB  # up to this an object is collected in memory
MEMORY = 48 * MIB  # of objects in flight
LARGE = 4  # large files at once
RANGES = 16  # in flight, of all files together
QUEUE = 1000  # large files that wait while small ones pass them
POLL = 0.02  # seconds between looks at the worker threads, where nothing else ends the wait


class Downloader:
    """Thread-safe: each call has its own state."""

    def __init__(self, service: Service, lister: Lister) -> None:
        self.service = service
        self.lister = lister

    # ---- metadata

    def head(self, path: str) -> Entry | None:
        """The object, or None where the service has none. Raises StoreError."""
        response = self.service.describe(*split_path(path))
        return self.service.api.described(path, response) if response.status == 200 else None

    def missing(self, path: str, op: str = "read") -> StoreError:
        """Nothing has that key; perhaps it is a directory."""
        bucket, key = split_path(path)
        if self.lister.first(bucket, key + "/", count=1).keys:
            return IsADirectory("is a directory", op=op, path=path)
        return NotFound("no such object", op=op, path=path)

    # ---- one stream

    def read(self, path: str, start: int, end: int | None, if_version: str | None) -> VerifiedDownload:
        """See Store.read."""
        bucket, key = split_path(path)
        if not key:
            raise IsADirectory("is a bucket" if bucket else "is the root", op="read", path=path)
        if if_version is not None and not (if_version.isascii() and if_version.isdigit()):
            raise PreconditionFailed("no object has that version", op="read", path=path)
        if end is not None and end <= start:
            return self._nothing(path, start, if_version)
        ranged = start > 0 or end is not None
        headers: tuple[Header, ...] = ()
        if ranged:
            headers = (("range", f"bytes={start}-{'' if end is None else end - 1}"),)
        stream, body = self.service.stream(self.service.api.get(bucket, key, version=if_version, headers=headers))
        if stream.status == 416 and ranged:
            return self._nothing(path, start, if_version)
        if stream.status >= 300:
            raise self.refused(stream, body, path)
        try:
            entry = self._opened(stream, path, start, end, ranged=ranged)
            if if_version is not None and entry.version not in {None, if_version}:
                raise PreconditionFailed("it is another version by now", op="read", path=path)
        except BaseException:
            stream.close()
            raise
        return VerifiedDownload(entry, stream.chunks(), start=start, end=end, close=stream.close)

    def _opened(self, stream: Stream, path: str, start: int, end: int | None, *, ranged: bool) -> Entry:
        headers = stream.headers
        size: int | None = None
        if ranged and stream.status == 206:
            size = check_range(path, headers, start, end)
        elif stream.status != 200 or "content-range" in headers:
            raise ProtocolError(f"the whole object was asked for; the answer has status {stream.status}", path=path)
        entry = header_entry(path, headers, size=size, timed=self.service.xml is not None)
        if ranged and size is None and (start or (entry.size or 0) > (end or 0)):
            raise ProtocolError("a part of the object was asked for; the service sent the whole", path=path)
        return entry

    def _nothing(self, path: str, start: int, if_version: str | None) -> VerifiedDownload:
        """An empty range: of an object that must be there all the same."""
        entry = self.head(path)
        if entry is None:
            raise self.missing(path)
        if if_version is not None and entry.version not in {None, if_version}:
            raise PreconditionFailed("it is another version by now", op="read", path=path)
        return VerifiedDownload(entry, iter(()), start=start, end=start)

    def refused(self, response: Response | Stream, body: bytes, path: str) -> StoreError:
        """Why a GET failed. What the media address says of a missing object is plain text: the metadata decide."""
        error = self.service.error(response, path, body)
        if response.status == 404:
            return self.missing(path) if self.head(path) is None else error
        if response.status == 412 and not isinstance(error, PreconditionFailed):
            return PreconditionFailed("it is another version by now", op="read", path=path)
        return error

    # ---- many

    def run(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Results of read_many in order of completion."""
        return Loop(self, items).run()


class _Step(Protocol):
    """What a request's tag is: whoever gets the answer."""

    def answered(self, completion: Completion) -> None: ...


class Loop:
    """One run of read_many."""

    def __init__(self, downloader: Downloader, items: Iterable[ReadItem]) -> None:
        self.downloader = downloader
        self.service = downloader.service
        self.memory = 0
        self.ranges = 0
        self.small = 0  # in flight
        self._items = iter(items)
        self._ended = False
        self._results: deque[Result] = deque()
        self._waiting: deque[ReadItem] = deque()
        self._large: list[Large] = []
        self._pool: ThreadPoolExecutor | None = None

    def run(self) -> Iterator[Result]:
        """Until the items are used up and each has its result."""
        try:
            while True:
                with self.service.many(self._next) as completions:
                    for completion in completions:
                        step: _Step = completion.request.tag  # type: ignore[assignment] # set where requests are made
                        step.answered(completion)
                        while self._results:
                            yield self._results.popleft()
                while self._results:
                    yield self._results.popleft()
                if self._ended and not (self._large or self._waiting):
                    return
        finally:
            for each in self._large:
                each.abandon()
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)

    def done(self, item: ReadItem, entry: Entry | None, error: Exception | None) -> None:
        """An item has ended."""
        self._results.append(Result(item.entry.path, entry, error, item.tag))

    def submit(self, job: "Callable[[], None]") -> "Future[None]":
        """Run something that blocks in a worker thread."""
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(2, thread_name_prefix="cftool-download")
        return self._pool.submit(job)

    def _next(self) -> Request | float | None:
        if self._large or self._waiting:
            request = self._range()
            if request is not None:
                return request
        while self.memory < MEMORY and len(self._waiting) < QUEUE and not self._ended:
            if self._results and not self.small and not self._large:
                return None  # nothing in flight would bring the results out: end this round for them
            item = next(self._items, None)
            if item is None:
                self._ended = True
                break
            size = item.entry.size
            if not split_path(item.entry.path)[1]:
                self.done(item, None, IsADirectory("is no object", op="read", path=item.entry.path))
            elif size is None or size > SMALL:
                self._waiting.append(item)
            else:
                return _Small(self, item, size).request()
        if self._large or self._waiting:
            return self._range() or (POLL if any(each.working for each in self._large) else None)
        return None

    def _range(self) -> Request | None:
        self._large = [each for each in self._large if not each.ended()]
        while self._waiting and len(self._large) < LARGE:
            self._large.append(Large(self, self._waiting.popleft()))
        if self.ranges < RANGES:
            for each in self._large:
                request = each.next_range()
                if request is not None:
                    return request
        return None


class _Small:
    """One object in one request, in memory."""

    __slots__ = ("_item", "_loop", "_size")

    def __init__(self, loop: Loop, item: ReadItem, size: int) -> None:
        self._loop = loop
        self._item = item
        self._size = size
        loop.small += 1
        loop.memory += size

    def request(self) -> Request:
        """GET."""
        entry = self._item.entry
        return self._loop.service.api.get(
            *split_path(entry.path), version=entry.version, tag=self, max_body=max(self._size, 64 * 1024) + 1
        )

    def answered(self, completion: Completion) -> None:
        loop, item, response = self._loop, self._item, completion.response
        entry, error = None, completion.error
        if response is not None:
            try:
                if response.status != 200:
                    raise loop.downloader.refused(response, response.body, item.entry.path)
                entry = self._save(response)
            except Exception as failure:  # a target may raise what it likes: it is this item's failure alone
                error = failure
        loop.small -= 1
        loop.memory -= self._size
        loop.done(item, entry, error)

    def _save(self, response: Response) -> Entry:
        listed, body = self._item.entry, response.body
        if "content-range" in response.headers:
            raise ProtocolError("the whole object was asked for; a part of it came", path=listed.path)
        entry = header_entry(listed.path, response.headers, timed=self._loop.service.xml is not None)
        entry = require_same(listed, entry)
        if len(body) != entry.size:
            raise IntegrityError(f"{len(body)} of {entry.size} bytes came", op="read", path=listed.path)
        if entry.hashes and (name := hashing.mismatch(body, entry.hashes)) is not None:
            raise IntegrityError(f"the content's {name} is not the object's", op="read", path=listed.path)
        self._item.target.save(body, entry)
        return entry
