"""One large download in parallel ranges; part of the loop of `downloads`, by whose `Origin` it knows the service.

A worker thread asks for the object's metadata, opens the target, and at the end verifies and publishes. The loop's
thread feeds the bytes to the target as they arrive. A range counts as present only when it is whole; what an earlier,
killed run has written stays, and then the whole file is read back once for its hash.
"""

from collections import deque
from typing import TYPE_CHECKING

from cftool.core import hashing
from cftool.core.errors import IntegrityError, NotFound, PreconditionFailed, ProtocolError
from cftool.core.types import Entry, Partial, ReadItem
from cftool.http.types import Completion, Request, Response

if TYPE_CHECKING:
    from concurrent.futures import Future

    from cftool.http.downloads import Loop

MIB = 1024 * 1024
RANGE = 16 * MIB
IN_FLIGHT = 8  # ranges of one file
CHUNKS = 8  # pieces of 16 KiB that are written together
READ_BACK = 4 * MIB


def require_same(listed: Entry, got: Entry) -> None:
    """What came must be what was listed."""
    if listed.version is not None and got.version is not None and got.version != listed.version:
        raise PreconditionFailed("it is another version by now", op="read", path=listed.path)
    if listed.size is not None and got.size != listed.size:
        raise IntegrityError(
            f"the listing says {listed.size} bytes, the object has {got.size}", op="read", path=listed.path
        )


class Range:
    """Bytes [first, end): the request's tag, and the sink of what arrives. Sinks raise nothing: `error` holds it."""

    __slots__ = ("_at", "_chunks", "_hasher", "_large", "end", "error", "first")

    def __init__(self, large: "Large", first: int, end: int) -> None:
        self._large = large
        self.first = first
        self.end = end
        self.error: Exception | None = None
        self._at = first
        self._chunks: list[bytes] = []
        self._hasher: hashing.Hasher | None = None

    def start(self, response: Response) -> None:
        """Forget what an earlier attempt brought; check that this is the range."""
        self._at = self.first
        self._chunks = []
        self.error = None
        name = self._large.checksum
        self._hasher = None if name is None else hashing.new(name)
        try:
            self._large.check(self, response)
        except Exception as error:
            self.error = error

    def write(self, chunk: bytes) -> None:
        """The next piece."""
        self._chunks.append(chunk)
        if len(self._chunks) >= CHUNKS:
            chunks, self._chunks = self._chunks, []
            self.write_batch(chunks)

    def write_batch(self, chunks: list[bytes]) -> None:
        """The next pieces."""
        if self.error is not None:
            return
        try:
            size = sum(map(len, chunks))
            if self._at + size > self.end:
                raise IntegrityError("more bytes came than were asked for", op="read")
            if self._hasher is not None:
                for chunk in chunks:
                    self._hasher.update(chunk)
            self._large.write(chunks, self._at)
            self._at += size
        except Exception as error:  # of the disk, most likely
            self.error = error

    def finish(self) -> str | None:
        """The range's checksum, once it is whole; raises what went wrong."""
        if self._chunks:
            chunks, self._chunks = self._chunks, []
            self.write_batch(chunks)
        if self.error is not None:
            raise self.error
        if self._at != self.end:
            raise IntegrityError(f"{self._at - self.first} of {self.end - self.first} bytes came", op="read")
        return None if self._hasher is None else self._hasher.hexdigest()

    def answered(self, completion: Completion) -> None:
        """The request has ended."""
        self._large.answered(self, completion)


class Large:
    """See the module. All methods but the jobs run in the loop's thread."""

    def __init__(self, loop: "Loop", item: ReadItem) -> None:
        self._loop = loop
        self._item = item
        self._path = item.entry.path
        self._origin = loop.origin
        self._entry: Entry | None = None
        self._partial: Partial | None = None
        self._todo: deque[Range] = deque()
        self._digests: list[tuple[int, int, str]] = []  # first byte, length, checksum of each range of this run
        self.checksum: str | None = None  # of the ranges
        self._in_flight = 0
        self._error: Exception | None = None
        self._over = False
        self._closing = False
        self._job: Future[None] | None = loop.submit(self._prepare)

    @property
    def working(self) -> bool:
        """Whether a worker thread is at it."""
        return self._job is not None

    def ended(self) -> bool:
        """Look at the worker; whether all is over and the result is out."""
        job = self._job
        if job is not None:
            if not job.done():
                return False
            self._job = None
            error = job.exception()
            if isinstance(error, Exception):
                self._error = self._error or error
            elif error is not None:
                raise error
        if self._over:
            return True
        if self._in_flight:
            return False
        if self._error is not None or self._closing:
            self._over = True
            if self._partial is not None:
                self._partial.close()
            self._loop.done(self._item, self._entry if self._error is None else None, self._error)
            return True
        if not self._todo:
            self._closing = True
            self._job = self._loop.submit(self._publish)
        return False

    def next_request(self) -> Request | None:
        """A range to ask for now, or None."""
        if not self._todo or self._error is not None or self._in_flight >= IN_FLIGHT or self._job is not None:
            return None
        return self._request(self._todo.popleft())

    def _request(self, part: Range) -> Request:
        self._in_flight += 1
        self._loop.parts += 1
        assert self._entry is not None
        return self._origin.get(self._entry, part=(part.first, part.end), sink=part, tag=part)

    def check(self, part: Range, response: Response) -> None:
        """Whether the answer is this range of this version."""
        entry = self._entry
        assert entry is not None
        size, version = self._origin.part(self._path, response, part.first, part.end)
        if size != entry.size:
            raise IntegrityError(f"the object has {size} bytes now, not {entry.size}", op="read", path=self._path)
        if entry.version is not None and version not in {None, entry.version}:
            raise PreconditionFailed("it is another version by now", op="read", path=self._path)

    def write(self, chunks: list[bytes], offset: int) -> None:
        """Bytes of a range have come."""
        assert self._partial is not None
        self._partial.writev_at(chunks, offset)

    def answered(self, part: Range, completion: Completion) -> None:
        """A range has ended, well or not."""
        self._in_flight -= 1
        self._loop.parts -= 1
        response = completion.response
        try:
            if response is None:
                raise completion.error or ProtocolError("no answer")
            if response.status >= 300:
                raise self._origin.refused(response, response.body, self._path)
            digest = part.finish()
            assert self._partial is not None
            self._partial.done(part.first, part.end)
            if digest is not None:
                self._digests.append((part.first, part.end - part.first, digest))
        except Exception as error:
            self._error = self._error or error

    def abandon(self) -> None:
        """The loop is torn down: what is there stays for a later run."""
        job, self._job = self._job, None
        if job is not None and not job.cancel():
            job.exception()  # waits for it
        if self._partial is not None and not self._over:
            self._partial.close()

    # ---- jobs, in worker threads

    def _prepare(self) -> None:
        entry = self._origin.head(self._path)
        if entry is None:
            raise NotFound("no such object", op="read", path=self._path)
        require_same(self._item.entry, entry)
        entry = self._entry = self._origin.merged(self._item.entry, entry)
        partial = self._item.target.begin(entry)
        missing = partial.missing(RANGE)
        name = hashing.cheapest(name for name in entry.hashes if name in self._origin.joinable)
        if sum(end - start for start, end in missing) == entry.size:
            self.checksum = name  # nothing is there yet: the checksums of the ranges will make up the whole
        self._todo.extend(Range(self, start, end) for start, end in missing)
        self._partial = partial

    def _publish(self) -> None:
        entry, partial = self._entry, self._partial
        assert entry is not None
        assert partial is not None
        name = self.checksum or hashing.cheapest(entry.hashes)
        if name is not None:
            digest = self._joined(name) if self.checksum else self._read_back(name)
            if digest != entry.hashes[name]:
                partial.discard()
                raise IntegrityError(f"the content's {name} is not the object's", op="read", path=self._path)
        partial.commit(entry)

    def _joined(self, name: str) -> str:
        whole = ""
        for _, size, digest in sorted(self._digests):
            whole = digest if not whole else hashing.combine(name, whole, digest, size)
        return whole

    def _read_back(self, name: str) -> str:
        """The hash of what is in the target."""
        assert self._entry is not None
        assert self._partial is not None
        running = hashing.new(name)
        size, at = self._entry.size or 0, 0
        while at < size:
            self._origin.service.check()
            data = self._partial.read_at(min(READ_BACK, size - at), at)
            if not data:
                raise IntegrityError(f"only {at} of {size} bytes can be read back", op="read", path=self._path)
            running.update(data)
            at += len(data)
        return running.hexdigest()
