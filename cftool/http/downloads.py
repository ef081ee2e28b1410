"""read_many of stores that serve an object by GET (S3, Google Cloud Storage): a loop of parallel requests.

Small objects arrive in memory and are verified before they are saved; large ones come in parallel ranges (see
`ranged`), written as they arrive, each range with its own checksum where those can be joined to that of the file; else
the file is read back for its hash. Providers say what is sent and what an answer means (`Origin`).
"""

from collections.abc import Iterable
from typing import Protocol

from cftool.core import hashing
from cftool.core.errors import IntegrityError, IsADirectory, ProtocolError, StoreError
from cftool.core.types import Entry, ReadItem, Result
from cftool.http.ranged import MIB, Large, require_same
from cftool.http.rounds import Rounds, Sender
from cftool.http.types import Completion, Request, Response, Sink

SMALL = 8 * MIB  # up to this an object is collected in memory
MEMORY = 48 * MIB  # of objects in flight
WORKERS = 2  # threads
POLL = 0.02  # seconds between looks at the worker threads, where nothing else ends the wait
MAX_BODY = 64 * MIB  # of an answer that says why there is no range
ATTEMPTS = 4  # of one request, where each answer teaches where to send it


class Origin(Protocol):
    """The service as the loop sees it. Thread-safe."""

    @property
    def joinable(self) -> tuple[str, ...]:
        """Hashes whose values of neighbouring ranges make up that of both."""
        ...

    @property
    def service(self) -> Sender:
        """What sends."""
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


class Loop(Rounds[ReadItem, ReadItem, Large]):
    """One run of read_many."""

    def __init__(self, origin: Origin, items: Iterable[ReadItem]) -> None:
        super().__init__(
            origin.service, items, memory=MEMORY, poll=POLL, threads=WORKERS, name="cftool-download"
        )  # fmt: skip
        self.origin = origin

    def done(self, item: ReadItem, entry: Entry | None, error: Exception | None) -> None:
        """An item has ended."""
        self._results.append(Result(item.entry.path, entry, error, item.tag))

    def _start(self, item: ReadItem) -> Request | None:
        size = item.entry.size
        if not self.origin.is_object(item.entry.path):
            self.done(item, None, IsADirectory("is no object", op="read", path=item.entry.path))
            return None
        if size is None or size > SMALL:
            self._waiting.append(item)
            return None
        return _Small(self, item, size).request()

    def _begin(self, waiting: ReadItem) -> Large:
        return Large(self, waiting)

    def _is_working(self) -> bool:
        return any(each.working for each in self._large)


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
