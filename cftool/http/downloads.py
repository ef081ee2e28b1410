"""read and read_many of stores that serve an object by GET (S3, Google Cloud Storage).

`read` streams one object, whole or a range, and believes it only when the answer says the very range, size and version
that were asked for. `read_many` is a loop of parallel requests: small objects arrive in memory and are verified before
they are saved; large ones come in parallel ranges (see `ranged`), written as they arrive, each range with its own
checksum where those can be joined to that of the file; else the file is read back for its hash. Providers say what is
sent and what an answer means (`Origin`).
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

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
from cftool.http.flat import Page, split_path
from cftool.http.ranged import MIB, Large, require_same
from cftool.http.rounds import Rounds, Sender
from cftool.http.types import Completion, Header, Request, Response, Sink, Stream

SMALL = 8 * MIB  # up to this an object is collected in memory
MEMORY = 48 * MIB  # of objects in flight
WORKERS = 2  # threads
POLL = 0.02  # seconds between looks at the worker threads, where nothing else ends the wait
MAX_BODY = 64 * MIB  # of an answer that says why there is no range
ATTEMPTS = 4  # of one request, where each answer teaches where to send it


class Lister(Protocol):
    """Whoever knows what is below a prefix."""

    def first(self, bucket: str, prefix: str, *, count: int) -> Page[Any]:
        """The first few keys below a prefix."""
        ...


class Origin:
    """The service, as one stream and the loop see it. Thread-safe: each call has its own state.

    `joinable`: hashes whose values of neighbouring ranges make up that of both.
    """

    joinable: tuple[str, ...] = ()

    def __init__(self, service: Sender, lister: Lister) -> None:
        self.service = service
        self.lister = lister

    # ---- what the service says

    def head(self, path: str) -> Entry | None:
        """The object with all that its metadata tell, or None where the service has none. Raises StoreError."""
        raise NotImplementedError

    def stream(self, bucket: str, key: str, headers: tuple[Header, ...], version: str | None) -> tuple[Stream, bytes]:
        """GET, of this version alone where one is named; of an error the body, too."""
        raise NotImplementedError

    def opened(self, stream: Stream, path: str, start: int, end: int | None, *, ranged: bool) -> Entry:
        """The object whose content comes. Raises ProtocolError where it is not the range that was asked for."""
        raise NotImplementedError

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
        raise NotImplementedError

    def got(self, path: str, response: Response) -> Entry:
        """The object that came whole."""
        raise NotImplementedError

    def part(self, path: str, response: Response, first: int, end: int) -> tuple[int, str | None]:
        """Size and version of the object of which [first, end) came. Raises ProtocolError where it is another part."""
        raise NotImplementedError

    def merged(self, listed: Entry, got: Entry) -> Entry:
        """What is known of an object that was listed, and then asked for."""
        del listed
        return got

    def refused(self, response: Response | Stream, body: bytes, path: str) -> StoreError:
        """Why there was no content."""
        raise NotImplementedError

    def region(self, path: str) -> str:
        """What a request for the object is made for now."""
        del path
        return ""

    def learn(self, path: str, response: Response, region: str) -> bool:
        """Whether the refusal of a request made for `region` taught another one: it makes sense again."""
        del path, response, region
        return False

    # ---- one stream

    def read(self, path: str, start: int, end: int | None, if_version: str | None) -> VerifiedDownload:
        """See Store.read."""
        bucket, key = split_path(path)
        if not key:
            raise IsADirectory("is a bucket" if bucket else "is the root", op="read", path=path)
        if end is not None and end <= start:
            return self._nothing(path, start, if_version)
        ranged = start > 0 or end is not None
        headers = (("range", f"bytes={start}-{'' if end is None else end - 1}"),) if ranged else ()
        stream, body = self.stream(bucket, key, headers, if_version)
        if stream.status == 416 and ranged:
            return self._nothing(path, start, if_version)
        if stream.status >= 300:
            error = self.refused(stream, body, path)
            raise self.missing(path) if isinstance(error, NotFound) else error
        try:
            entry = self.opened(stream, path, start, end, ranged=ranged)
            _require_version(entry, if_version)
        except BaseException:
            stream.close()
            raise
        return VerifiedDownload(entry, stream.chunks(), start=start, end=end, close=stream.close)

    def _nothing(self, path: str, start: int, if_version: str | None) -> VerifiedDownload:
        """An empty range: of an object that must be there all the same."""
        entry = self.head(path)
        if entry is None:
            raise self.missing(path)
        _require_version(entry, if_version)
        return VerifiedDownload(entry, iter(()), start=start, end=start)

    def missing(self, path: str, op: str = "read") -> StoreError:
        """Nothing has that key; perhaps it is a directory."""
        bucket, key = split_path(path)
        if self.lister.first(bucket, key + "/", count=1).keys:
            return IsADirectory("is a directory", op=op, path=path)
        return NotFound("no such object", op=op, path=path)

    # ---- many

    def run(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Results of read_many in order of completion."""
        return Loop(self, items).run()


def _require_version(entry: Entry, version: str | None) -> None:
    if version is not None and entry.version not in {None, version}:
        raise PreconditionFailed("it is another version by now", op="read", path=entry.path)


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
        if not split_path(item.entry.path)[1]:
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
