"""write and write_many: one loop of parallel requests, small files whole, large ones in sessions (see `_large`).

A small file is one request with its metadata and its hash, which the service compares; the hash that comes back is
compared as well. What blocks, the beginning and the end of a large upload, runs in a few worker threads meanwhile. Per
file little Python runs here: it is what 5,000 small files cost.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator

from cftool.core import hashing
from cftool.core.errors import (
    AlreadyExists,
    IntegrityError,
    InvalidName,
    IsADirectory,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    TooLarge,
    Unsupported,
)
from cftool.core.types import Cap, Entry, Result, WriteItem
from cftool.disk.reader import Counted, Reader
from cftool.disk.sessions import Sessions
from cftool.http.rounds import Rounds
from cftool.http.types import Body, Completion, Request
from cftool_providers.gs._api import NewObject
from cftool_providers.gs._conditions import Conditions
from cftool_providers.gs._large import Large
from cftool_providers.gs._service import Service, split_path
from cftool_providers.gs._settings import MAX_OBJECT, MIB

log = logging.getLogger("cftool.gs")

IN_MEMORY = 512 * 1024  # up to this a file is loaded into memory
MD5_UP_TO = MIB  # above this CRC32C costs less, where it can be computed at all
WHOLE = 16 * MIB  # up to this a file goes in one request
MEMORY = 32 * MIB  # bytes of loaded files in flight
WORKERS = 4  # threads
POLL = 0.01  # seconds between looks at the worker threads, where nothing else ends the wait

_Waiting = tuple[WriteItem, NewObject]


class Uploader:
    """Makes the loops. Thread-safe: each call has its own."""

    def __init__(self, service: Service, sessions: Sessions, conditions: Conditions) -> None:
        self.service = service
        self.sessions = sessions
        self.conditions = conditions

    def run(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Results in order of completion."""
        return Loop(self, items).run()

    def generation(self, item: WriteItem, bucket: str) -> str | None:
        """The item's condition. Raises Unsupported where the service does not obey it."""
        if item.if_version is None and not item.if_absent:
            return None
        obeyed = self.conditions.of(bucket)
        if item.if_absent:
            if Cap.IF_ABSENT not in obeyed:
                raise Unsupported("the service ignores conditions (if_absent)", op="write", path=item.path)
            return "0"
        if Cap.IF_VERSION not in obeyed:
            raise Unsupported("the service ignores conditions (if_version)", op="write", path=item.path)
        version = item.if_version or ""
        if not (version.isascii() and version.isdigit()) or int(version) == 0:
            raise PreconditionFailed("no object has that version", op="write", path=item.path)
        return version


def explain(item: WriteItem, error: StoreError) -> StoreError:
    """What a refusal means to the one who set the condition."""
    if item.if_absent and isinstance(error, PreconditionFailed):
        return AlreadyExists("something is there already", op="write", path=item.path)
    return error


class Loop(Rounds[WriteItem, _Waiting, Large]):
    """One run of write_many."""

    def __init__(self, uploader: Uploader, items: Iterable[WriteItem]) -> None:
        super().__init__(
            uploader.service, items, memory=MEMORY, poll=POLL, threads=WORKERS, name="cftool-upload"
        )  # fmt: skip
        self.uploader = uploader
        self.service = uploader.service

    def done(self, item: WriteItem, entry: Entry | None, error: Exception | None) -> None:
        """An item has ended."""
        if isinstance(error, StoreError):
            error = explain(item, error)
        self._results.append(Result(item.path, None if error is not None else entry, error, item.tag))

    def _begin(self, waiting: _Waiting) -> Large:
        return Large(self, *waiting)

    # ---- starting an item

    def _start(self, item: WriteItem) -> Request | None:
        """Its first request; None where it waits for its turn, or has failed already."""
        try:
            bucket, key = split_path(item.path)
            if not bucket:
                raise InvalidName("is the root, which is a directory", op="write", path=item.path)
            if not key:
                raise IsADirectory("is a bucket; a file needs a key in it", op="write", path=item.path)
            new = NewObject(bucket, key, item.modified_ns, self.uploader.generation(item, bucket))
            size = item.source.size
            if size is not None and size <= IN_MEMORY:
                data = item.source.load()
                if len(data) != size:
                    raise SourceChanged(f"the source has {len(data)} bytes, not {size}", op="write", path=item.path)
                return self.put(item, new, data)
            if size is None or size > WHOLE:
                if size is not None and size > MAX_OBJECT:
                    raise TooLarge("is larger than 5 TiB, the service's largest object", op="write", path=item.path)
                self._waiting.append((item, new))
                return None
            return self._whole(item, new, size)
        except Exception as error:  # a source may raise what it likes: it is that item's failure alone
            self.done(item, None, error)
            return None

    def _whole(self, item: WriteItem, new: NewObject, size: int) -> Request:
        reader = Reader(item.source, self.service.check)
        try:
            if not reader.random:
                data = reader.take(size)
                reader.require_end(size)
                item.source.check()
                reader.close()
                if len(data) != size:
                    raise SourceChanged(f"the source has {len(data)} bytes, not {size}", op="write", path=item.path)
                return self.put(item, new, data)
            name = cheapest(size)
            digest = (name, reader.digest(name, 0, size))
            reader.require_end(size)
            # From here on another content would not pass: the service compares it with the hash.
            item.source.check()
        except BaseException:
            reader.close()
            raise
        return _Put(self, item, new, Body(size, Counted(reader, 0, item.progress).pread), digest, reader).request()

    def put(self, item: WriteItem, new: NewObject, data: bytes) -> Request:
        """The single request of what is in memory."""
        if len(data) <= MD5_UP_TO:
            digest = ("md5", hashlib.md5(data, usedforsecurity=False).hexdigest())
        else:
            name = cheapest(len(data))
            digest = (name, hashing.digest(name, data))
        return _Put(self, item, new, data, digest, None).request()


def cheapest(size: int) -> str:
    """The hash to send with so many bytes."""
    return "crc32c" if size > MD5_UP_TO and hashing.available("crc32c") else "md5"


class _Put:
    """One file in one request."""

    __slots__ = ("_attempts", "_body", "_digest", "_item", "_loop", "_new", "_reader", "_size")

    def __init__(
        self,
        loop: Loop,
        item: WriteItem,
        new: NewObject,
        body: bytes | Body,
        digest: tuple[str, str],
        reader: Reader | None,
    ) -> None:
        self._loop = loop
        self._item = item
        self._new = new
        self._body = body
        self._digest = digest
        self._reader = reader
        self._size = len(body) if isinstance(body, bytes) else body.length
        self._attempts = 0
        loop.small += 1
        if reader is None:
            loop.memory += self._size

    def request(self) -> Request:
        return self._loop.service.api.put(self._new, self._body, self._digest, self)

    def answered(self, completion: Completion) -> None:
        response, service = completion.response, self._loop.service
        entry, error = None, completion.error
        if response is not None:
            self._attempts += 1
            try:
                if response.status >= 300:
                    if self._attempts < 3 and service.ensure_bucket(self._new.bucket, response):
                        self._loop.again(self.request())
                        return
                    error = service.error(response, self._item.path)
                    if isinstance(error, IntegrityError):
                        self._item.source.check()  # where the source changed meanwhile, that is the better answer
                else:
                    entry = service.api.written(self._new, response, self._size)
                    check_hash(entry, *self._digest)
            except Exception as failure:  # of the second look at the source, or of making the bucket
                error = failure
        loop = self._loop
        loop.small -= 1
        if self._reader is None:
            loop.memory -= self._size
        else:
            self._reader.close()
        loop.done(self._item, entry, error)


def check_hash(entry: Entry, name: str, digest: str) -> None:
    """What the service computed must be what we did."""
    stored = entry.hashes.get(name, digest)
    if stored != digest:
        raise IntegrityError(
            f"the service stored other bytes than were sent: {name} {stored}, not {digest}", op="write", path=entry.path
        )
