"""read_many of stores that serve an object by GET (S3, Google Cloud Storage): a loop of parallel requests.

Small objects arrive in memory and are verified before they are saved; large ones come in parallel ranges (see
`ranged`), written as they arrive, each range with its own checksum where those can be joined to that of the file; else
the file is read back for its hash. Providers say what is sent and what an answer means (`Origin`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from cftool.core import hashing
from cftool.core.errors import IntegrityError, IsADirectory, ProtocolError, StoreError
from cftool.core.types import Entry, ReadItem, Result
from cftool.http.ranged import MIB, Large, require_same
from cftool.http.types import Completion, Request, Response, Sink

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

SMALL = 8 * MIB  # up to this an object is collected in memory
MEMORY = 48 * MIB  # of objects in flight
LARGE = 4  # large files at once
RANGES = 16  # in flight, of all files together
QUEUE = 1000  # large files that wait while small ones pass them
POLL = 0.02  # seconds between looks at the worker threads, where nothing else ends the wait
MAX_BODY = 64 * MIB  # of an answer that says why there is no range
ATTEMPTS = 4  # of one request, where each answer teaches where to send it


class Origin(Protocol):
    """The service as the loop sees it. Thread-safe."""

    @property
    def joinable(self) -> tuple[str, ...]:
        """Hashes whose values of neighbouring ranges make up that of both."""
        ...

    def many(self, following: Callable[[], Request | float | None]) -> AbstractContextManager[Iterator[Completion]]:
        """Send in parallel."""
        ...

    def check(self) -> None:
        """Raise Interrupted where the run is to end."""
        ...

    def is_object(self, path: str) -> bool:
        """Whether such a path can be a file's."""
        ...

    def head(self, path: str) -> Entry | None:
        """The object with all that its metadata tell, or None where the service has none. Raises StoreError."""
        ...

    def get(
        self,
        entry: Entry,
        *,
        tag: object,
        part: tuple[int, int] | None = None,
        sink: Sink | None = None,
        max_body: int = MAX_BODY,
    ) -> Request:
        """A GET of this version alone, whole or [first, end) of it."""
        ...

    def got(self, path: str, response: Response) -> Entry:
        """The object that came whole."""
        ...

    def part(self, path: str, response: Response, first: int, end: int) -> tuple[int, str | None]:
        """Size and version of the object of which [first, end) came. Raises ProtocolError where it is another part."""
        ...

    def merged(self, listed: Entry, got: Entry) -> Entry:
        """What is known of an object that was listed, and then asked for."""
        ...

    def refused(self, response: Response, body: bytes, path: str) -> StoreError:
        """Why there was no content."""
        ...

    def region(self, path: str) -> str:
        """What a request for the object is made for now."""
        ...

    def learn(self, path: str, response: Response, region: str) -> bool:
        """Whether the refusal of a request made for `region` taught another one: it makes sense again."""
        ...


class _Step(Protocol):
    """What a request's tag is: whoever gets the answer."""

    def answered(self, completion: Completion) -> None: ...


class Loop:
    """One run of read_many."""

    def __init__(self, origin: Origin, items: Iterable[ReadItem]) -> None:
        self.origin = origin
        self.memory = 0
        self.ranges = 0
        self.small = 0  # in flight
        self._items = iter(items)
        self._ended = False
        self._again: deque[Request] = deque()
        self._results: deque[Result] = deque()
        self._waiting: deque[ReadItem] = deque()
        self._large: list[Large] = []
        self._pool: ThreadPoolExecutor | None = None

    def run(self) -> Iterator[Result]:
        """Until the items are used up and each has its result."""
        try:
            while True:
                with self.origin.many(self._next) as completions:
                    for completion in completions:
                        step: _Step = completion.request.tag  # type: ignore[assignment] # set where requests are made
                        step.answered(completion)
                        while self._results:
                            yield self._results.popleft()
                while self._results:
                    yield self._results.popleft()
                if self._ended and not (self._again or self._large or self._waiting):
                    return
        finally:
            for each in self._large:
                each.abandon()
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)

    def done(self, item: ReadItem, entry: Entry | None, error: Exception | None) -> None:
        """An item has ended."""
        self._results.append(Result(item.entry.path, entry, error, item.tag))

    def again(self, request: Request) -> None:
        """Send this before anything new."""
        self._again.append(request)

    def submit(self, job: Callable[[], None]) -> "Future[None]":
        """Run something that blocks in a worker thread."""
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(2, thread_name_prefix="cftool-download")
        return self._pool.submit(job)

    def _next(self) -> Request | float | None:
        if self._again:
            return self._again.popleft()
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
            if not self.origin.is_object(item.entry.path):
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
        if self._again:
            return self._again.popleft()
        if self.ranges < RANGES:
            for each in self._large:
                request = each.next_range()
                if request is not None:
                    return request
        return None


class _Small:
    """One object in one request, in memory."""

    __slots__ = ("_attempts", "_item", "_loop", "_region", "_size")

    def __init__(self, loop: Loop, item: ReadItem, size: int) -> None:
        self._loop = loop
        self._item = item
        self._size = size
        self._attempts = 0
        loop.small += 1
        loop.memory += size

    def request(self) -> Request:
        """GET."""
        origin, entry = self._loop.origin, self._item.entry
        self._region = origin.region(entry.path)
        return origin.get(entry, tag=self, max_body=max(self._size, 64 * 1024) + 1)

    def answered(self, completion: Completion) -> None:
        loop, item, response = self._loop, self._item, completion.response
        entry, error = None, completion.error
        if response is not None:
            self._attempts += 1
            path = item.entry.path
            try:
                if response.status != 200:
                    if self._attempts < ATTEMPTS and loop.origin.learn(path, response, self._region):
                        loop.again(self.request())
                        return
                    raise loop.origin.refused(response, response.body, path)
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
        got = self._loop.origin.got(listed.path, response)
        require_same(listed, got)
        entry = self._loop.origin.merged(listed, got)
        if len(body) != entry.size:
            raise IntegrityError(f"{len(body)} of {entry.size} bytes came", op="read", path=listed.path)
        if entry.hashes and (name := hashing.mismatch(body, entry.hashes)) is not None:
            raise IntegrityError(f"the content's {name} is not the object's", op="read", path=listed.path)
        self._item.target.save(body, entry)
        return entry
