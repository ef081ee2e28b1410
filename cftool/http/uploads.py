"""write_many of stores that take an object in one request (S3, Google Cloud Storage): a loop of parallel requests.

A small file is loaded, hashed and sent; a somewhat larger one is read twice, for its hash and as it is sent; a large
one, and one of unknown size, waits until it is its turn (see `rounds`). The hash goes along, and the service compares.
What blocks of large ones runs in a few worker threads. Per small file little Python runs here: it is what 5,000 of them
cost. Providers say where an item goes (`PlaceT`), what is sent and what the answer means.
"""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from cftool.core import hashing
from cftool.core.errors import (
    AlreadyExists,
    IntegrityError,
    NotFound,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    TooLarge,
)
from cftool.core.types import Entry, Result, WriteItem
from cftool.disk.reader import Counted, Reader
from cftool.http.rounds import Large, Rounds, Sender
from cftool.http.types import Body, Completion, Request, Response

IN_MEMORY = 512 * 1024  # up to this a file is loaded
MEMORY = 32 * 1024 * 1024  # bytes of loaded files in flight
WORKERS = 4  # threads
POLL = 0.01  # seconds between looks at the worker threads, where nothing else ends the wait
ATTEMPTS = 4  # of one request, where each answer teaches how to send it

PlaceT = TypeVar("PlaceT")
LargeT = TypeVar("LargeT", bound=Large)


def explained(item: WriteItem, error: StoreError) -> StoreError:
    """What a refusal means to the one who set the condition."""
    if item.if_absent and isinstance(error, PreconditionFailed):
        return AlreadyExists("something is there already", op="write", path=item.path)
    if item.if_version is not None and isinstance(error, NotFound):
        return PreconditionFailed("it is gone by now", op="write", path=item.path)
    return error


class Loop(Rounds[WriteItem, tuple[WriteItem, PlaceT], LargeT]):
    """One run of write_many. Up to `whole` bytes a file goes in one request; the service takes `largest`."""

    def __init__(self, sender: Sender, items: Iterable[WriteItem], *, whole: int, largest: int) -> None:
        super().__init__(sender, items, memory=MEMORY, poll=POLL, threads=WORKERS, name="cftool-upload")
        self.check = sender.check
        self._whole = whole
        self._largest = largest

    def place(self, item: WriteItem) -> PlaceT:
        """Where it goes, on which conditions. Raises StoreError."""
        raise NotImplementedError

    def hash_for(self, size: int) -> str:
        """The hash that goes with so many bytes."""
        raise NotImplementedError

    def put(
        self, item: WriteItem, place: PlaceT, body: bytes | Body, digest: tuple[str, str], reader: Reader | None
    ) -> Request:
        """The single request; `digest`: the hash's name and value, `reader`: what the body reads from."""
        raise NotImplementedError

    def done(self, item: WriteItem, entry: Entry | None, error: Exception | None) -> None:
        """An item has ended."""
        self._results.append(Result(item.path, entry, error, item.tag))

    def loaded(self, item: WriteItem, place: PlaceT, data: bytes) -> Request:
        """The single request of what is in memory."""
        name = self.hash_for(len(data))
        return self.put(item, place, data, (name, hashing.digest(name, data)), None)

    def _start(self, item: WriteItem) -> Request | None:
        """Its first request; None where it waits for its turn, or has failed already."""
        try:
            place = self.place(item)
            size = item.source.size
            if size is not None and size <= self._whole:
                return self._one(item, place, size)
            if size is not None and size > self._largest:
                tib = self._largest >> 40
                raise TooLarge(f"is larger than {tib} TiB, the service's largest object", op="write", path=item.path)
        except Exception as error:  # a source may raise what it likes: it is that item's failure alone
            self.done(item, None, error)
        else:
            self._waiting.append((item, place))
        return None

    def _one(self, item: WriteItem, place: PlaceT, size: int) -> Request:
        if size <= IN_MEMORY:
            data = item.source.load()
        else:
            reader = Reader(item.source, self.check)
            try:
                if reader.random:
                    return self._streamed(item, place, reader, size)
                data = reader.take(size)
                reader.require_end(size)
                item.source.check()
            except BaseException:
                reader.close()
                raise
            reader.close()
        if len(data) != size:
            raise SourceChanged(f"the source has {len(data)} bytes, not {size}", op="write", path=item.path)
        return self.loaded(item, place, data)

    def _streamed(self, item: WriteItem, place: PlaceT, reader: Reader, size: int) -> Request:
        name = self.hash_for(size)
        digest = (name, reader.digest(name, 0, size))
        reader.require_end(size)
        # From here on another content would not pass: the service compares it with the hash.
        item.source.check()
        return self.put(item, place, Body(size, Counted(reader, 0, item.progress).pread), digest, reader)


class Put(Generic[PlaceT]):
    """One file in one request, whose tag it is."""

    __slots__ = ("attempts", "body", "digest", "item", "loop", "place", "reader", "size")

    def __init__(
        self,
        loop: Loop[PlaceT, Any],
        item: WriteItem,
        place: PlaceT,
        body: bytes | Body,
        digest: tuple[str, str],
        reader: Reader | None,
    ) -> None:
        self.loop = loop
        self.item = item
        self.place = place
        self.body = body
        self.digest = digest
        self.reader = reader
        self.size = len(body) if isinstance(body, bytes) else body.length
        self.attempts = 0
        loop.small += 1
        if reader is None:
            loop.memory += self.size

    def request(self) -> Request:
        """The request, as it is to be sent now."""
        raise NotImplementedError

    def learned(self, response: Response) -> bool:
        """Whether a refusal taught, or made, something so that another attempt makes sense."""
        raise NotImplementedError

    def refused(self, response: Response) -> StoreError:
        """Why there is no object."""
        raise NotImplementedError

    def stored(self, response: Response) -> Entry:
        """The object that is there now; raises IntegrityError where it is not what was sent."""
        raise NotImplementedError

    def answered(self, completion: Completion) -> None:
        """The request has ended."""
        loop, response = self.loop, completion.response
        entry, error = None, completion.error
        if response is not None:
            self.attempts += 1
            try:
                if response.status == 200:
                    entry = self.stored(response)
                elif self.attempts < ATTEMPTS and self.learned(response):
                    loop.again(self.request())
                    return
                else:
                    error = explained(self.item, self.refused(response))
                    if isinstance(error, IntegrityError):
                        self.item.source.check()  # where the source changed meanwhile, that is the better answer
            except Exception as failure:  # of the second look at the source, or of making the bucket
                error = failure
        loop.small -= 1
        if self.reader is None:
            loop.memory -= self.size
        else:
            self.reader.close()
        loop.done(self.item, entry, error)
