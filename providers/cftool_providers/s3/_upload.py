"""write and write_many: one loop of parallel requests, small files whole, large ones in parts (see `_multipart`).

A small file is one signed PUT; the server checks the body against the signature (or Content-MD5), and the ETag that
comes back is compared with our own MD5. What blocks, the beginning and the end of a large upload, runs in a few worker
threads meanwhile. Per file little Python runs here: it is what 5,000 small files cost.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator

from cftool.core.errors import (
    AlreadyExists,
    IntegrityError,
    InvalidName,
    IsADirectory,
    NotFound,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    TooLarge,
    Unsupported,
)
from cftool.core.types import NO_HASHES, Cap, Entry, Kind, Result, WriteItem
from cftool.disk.reader import Counted, Reader
from cftool.disk.sessions import Sessions
from cftool.http.rounds import Rounds
from cftool.http.types import Body, Completion, Header, Request, Response
from cftool_providers.s3._conditions import Conditions
from cftool_providers.s3._multipart import Multipart
from cftool_providers.s3._objects import is_md5, opaque_etag, quote_etag, time_headers, to_base64, unquote_etag
from cftool_providers.s3._service import Service, split_path
from cftool_providers.s3._settings import MAX_OBJECT

log = logging.getLogger("cftool.s3")

WHOLE = 512 * 1024  # up to this a file is loaded into memory and signed whole
MEMORY = 32 * 1024 * 1024  # bytes of loaded files in flight
WORKERS = 4  # threads
POLL = 0.01  # seconds between looks at the worker threads, where nothing else ends the wait

_Waiting = tuple[WriteItem, str, str, tuple[Header, ...]]


class Uploader:
    """Makes the loops. Thread-safe: each call has its own."""

    def __init__(self, service: Service, sessions: Sessions, conditions: Conditions) -> None:
        self.service = service
        self.sessions = sessions
        self.conditions = conditions

    def run(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Results in order of completion."""
        return _Loop(self, items).run()

    def condition_headers(self, item: WriteItem, bucket: str) -> tuple[Header, ...]:
        """The item's conditions as headers. Raises Unsupported where this bucket does not obey them."""
        if item.if_version is None and not item.if_absent:
            return ()
        obeyed = self.conditions.of(bucket)
        if item.if_absent:
            if Cap.IF_ABSENT not in obeyed:
                raise Unsupported("the service ignores conditions (if_absent)", op="write", path=item.path)
            return (("if-none-match", "*"),)
        if Cap.IF_VERSION not in obeyed:
            raise Unsupported("the service ignores conditions (if_version)", op="write", path=item.path)
        assert item.if_version is not None
        return (("if-match", quote_etag(item.if_version)),)


def condition_error(item: WriteItem, error: StoreError) -> StoreError:
    """What a refusal means to the one who set the condition."""
    if item.if_absent and isinstance(error, PreconditionFailed):
        return AlreadyExists("something is there already", op="write", path=item.path)
    if item.if_version is not None and isinstance(error, NotFound):
        return PreconditionFailed("it is gone by now", op="write", path=item.path)
    return error


class _Loop(Rounds[WriteItem, _Waiting, Multipart]):
    """One run of write_many."""

    def __init__(self, uploader: Uploader, items: Iterable[WriteItem]) -> None:
        super().__init__(
            uploader.service, items, memory=MEMORY, poll=POLL, threads=WORKERS, name="cftool-upload"
        )  # fmt: skip
        self.uploader = uploader
        self.service = uploader.service
        settings = self.service.settings
        self._base_headers = (("content-type", "application/octet-stream"), *settings.object_headers())
        self.content_md5 = settings.anonymous
        self._threshold = settings.part_size

    def done(self, item: WriteItem, entry: Entry | None, error: Exception | None) -> None:
        """An item has ended."""
        self._results.append(Result(item.path, entry, error, item.tag))

    @staticmethod
    def explain(item: WriteItem, error: StoreError) -> StoreError:
        """The error as the one who set a condition understands it."""
        return condition_error(item, error)

    def _begin(self, waiting: _Waiting) -> Multipart:
        return Multipart(self, *waiting)

    # ---- starting an item

    def _start(self, item: WriteItem) -> Request | None:
        """Its first request; None where it waits for its turn, or has failed already."""
        try:
            bucket, key = split_path(item.path)
            if not bucket:
                raise InvalidName("is the root, which is a directory", op="write", path=item.path)
            if not key:
                raise IsADirectory("is a bucket; a file needs a key in it", op="write", path=item.path)
            conditions: tuple[Header, ...] = ()
            if item.if_absent or item.if_version is not None:
                conditions = self.uploader.condition_headers(item, bucket)
            size = item.source.size
            if size is None or size > self._threshold:
                if size is not None and size > MAX_OBJECT:
                    raise TooLarge("is larger than 5 TiB, the service's largest object", op="write", path=item.path)
                self._waiting.append((item, bucket, key, conditions))
                return None
            return self._whole(item, bucket, key, conditions, size)
        except Exception as error:  # a source may raise what it likes: it is that item's failure alone
            self.done(item, None, error)
            return None

    def _whole(self, item: WriteItem, bucket: str, key: str, conditions: tuple[Header, ...], size: int) -> Request:
        if size <= WHOLE:
            data = item.source.load()
            if len(data) != size:
                raise SourceChanged(f"the source has {len(data)} bytes, not {size}", op="write", path=item.path)
            return self.put(item, bucket, key, conditions, data)
        reader = Reader(item.source, self.service.check)
        try:
            if not reader.random:
                data = reader.take(size)
                reader.require_end(size)
                item.source.check()
                reader.close()
                if len(data) != size:
                    raise SourceChanged(f"the source has {len(data)} bytes, not {size}", op="write", path=item.path)
                return self.put(item, bucket, key, conditions, data)
            md5 = reader.digest("md5", 0, size)
            reader.require_end(size)
            # From here on another content would not pass: the server compares it with Content-MD5.
            item.source.check()
        except BaseException:
            reader.close()
            raise
        return _Put(
            self, item, bucket, key, conditions, Body(size, Counted(reader, 0, item.progress).pread), md5, reader
        ).request()

    def put(self, item: WriteItem, bucket: str, key: str, conditions: tuple[Header, ...], data: bytes) -> Request:
        """The single PUT of what is in memory."""
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return _Put(self, item, bucket, key, conditions, data, md5, None).request()

    def file_headers(self, item: WriteItem) -> tuple[Header, ...]:
        """Headers that every new object gets."""
        return self._base_headers + time_headers(item.modified_ns)


class _Put:
    """One file in one request."""

    __slots__ = (
        "_attempts",
        "_body",
        "_bucket",
        "_conditions",
        "_item",
        "_key",
        "_loop",
        "_md5",
        "_reader",
        "_region",
        "_size",
    )

    def __init__(
        self,
        loop: _Loop,
        item: WriteItem,
        bucket: str,
        key: str,
        conditions: tuple[Header, ...],
        body: bytes | Body,
        md5: str,
        reader: Reader | None,
    ) -> None:
        self._loop = loop
        self._item = item
        self._bucket = bucket
        self._key = key
        self._conditions = conditions
        self._body = body
        self._md5 = md5
        self._reader = reader
        self._size = len(body) if isinstance(body, bytes) else body.length
        self._attempts = 0
        loop.small += 1
        if reader is None:
            loop.memory += self._size

    def request(self) -> Request:
        loop = self._loop
        self._region = loop.service.region(self._bucket)
        headers = loop.file_headers(self._item)
        if self._size > WHOLE or loop.content_md5:  # what the signature does not cover
            headers += (("content-md5", to_base64(self._md5)),)
        return loop.service.request(
            "PUT",
            "PutObject",
            self._bucket,
            self._key,
            headers=headers + self._conditions if self._conditions else headers,
            body=self._body,
            # Sent twice, a conditional write would be refused by what its first copy wrote.
            idempotent=not self._conditions,
            tag=self,
        )

    def answered(self, completion: Completion) -> None:
        response = completion.response
        if response is not None and response.status == 200:
            try:
                entry = self._entry(response)
            except StoreError as error:
                self._end(None, error)
            else:
                self._end(entry, None)
            return
        if response is None:
            self._end(None, completion.error)
            return
        self._attempts += 1
        service = self._loop.service
        try:
            if self._attempts < 4 and (
                service.learn(self._bucket, response, response.body, self._region)
                or service.ensure_bucket(self._bucket, response)
            ):
                self._loop.again(self.request())
                return
            refused = condition_error(self._item, service.error(response, self._bucket, self._item.path))
            if isinstance(refused, IntegrityError):
                self._item.source.check()  # where the source changed under the upload, that is the better answer
        except Exception as failure:  # of the second look at the source, or of making the bucket
            self._end(None, failure)
        else:
            self._end(None, refused)

    def _entry(self, response: Response) -> Entry:
        item, headers = self._item, response.headers
        etag = unquote_etag(headers.get("etag"))
        hashes = NO_HASHES
        if etag == self._md5:
            hashes = {"md5": etag}
        elif is_md5(etag) and not opaque_etag(headers) and self._loop.service.etag_is_md5(self._bucket):
            raise IntegrityError(
                f"the service stored other bytes than were sent: MD5 {etag}, not {self._md5}",
                op="write",
                path=item.path,
            )
        else:
            self._loop.service.note(self._bucket, headers)
        return Entry(item.path, Kind.FILE, self._size, item.modified_ns, None, etag, None, hashes)

    def _end(self, entry: Entry | None, error: Exception | None) -> None:
        loop = self._loop
        loop.small -= 1
        if self._reader is None:
            loop.memory -= self._size
        else:
            self._reader.close()
        loop.done(self._item, entry, error)
