"""One large file, or one of unknown size, in parts; part of the loop of `_upload`.

Worker threads do what blocks: find or make the upload (`_prepare`), read the next part of a stream (`_fetch`), complete
and verify (`_finish`), give up (`_fail`). The loop sends the parts. The content is protected twice: each part carries a
checksum that the server compares, and the whole has one too: CRC of the full object where the service is seen to keep
those, else our MD5 in the metadata, as rclone writes it. Before completion the source must prove itself unchanged.

Resuming: `disk.sessions` has the intent on disk before the upload exists. A later write of the same path from the same
unchanged file takes up an upload whose process died, and believes only parts whose checksum is that of the file.
"""

import logging
import math
from collections import deque
from typing import TYPE_CHECKING

from cftool.core import hashing
from cftool.core.errors import (
    ConnectionFailed,
    IntegrityError,
    Interrupted,
    NotFound,
    ProtocolError,
    SourceChanged,
    StoreError,
    TemporaryError,
    TooLarge,
)
from cftool.core.types import Entry, WriteItem
from cftool.disk.reader import Counted, Reader
from cftool.disk.records import fingerprint
from cftool.disk.sessions import Record
from cftool.http.types import Body, Completion, Header, Request, Response
from cftool.http.uploads import explained
from cftool.http.urls import quote_query
from cftool_providers.s3 import _objects
from cftool_providers.s3._multipart_calls import abort, list_parts, upload_id_of
from cftool_providers.s3._objects import is_md5, opaque_etag, to_base64, unquote_etag
from cftool_providers.s3._pages import Part
from cftool_providers.s3._publish import Finished, StoredPart
from cftool_providers.s3._settings import MAX_PARTS, MIB

if TYPE_CHECKING:
    from concurrent.futures import Future

    from cftool_providers.s3._upload import Loop, Place

log = logging.getLogger("cftool.s3")

IN_FLIGHT = 8  # parts of one file
BUFFERS = 64 * MIB  # of a stream's parts in memory
CREATE_ATTEMPTS = 3
_KEPT = (TemporaryError, Interrupted)  # after one of these a later run may go on
GROWTH = 1000  # parts after which the parts of a stream double in size


class _Part:
    """The tag of one part's request."""

    __slots__ = ("checksum", "end", "number", "start", "upload")

    def __init__(self, upload: "Multipart", number: int, start: int, end: int) -> None:
        self.upload = upload
        self.number = number
        self.start = start
        self.end = end
        self.checksum = ""

    def answered(self, completion: Completion) -> None:
        self.upload.stored(self, completion)


class Multipart:
    """See the module. All methods but the jobs run in the loop's thread."""

    def __init__(self, loop: "Loop", item: WriteItem, place: "Place") -> None:
        self._loop = loop
        self._service = loop.service
        self._item = item
        self._place = place
        self._bucket, self._key, self._conditions = place
        self._reader: Reader | None = None
        self._record: Record | None = None
        self._upload_id = ""
        self._algorithm: str | None = None
        self._md5 = ""  # of the whole, where no checksum can be had
        self._part_size = self._service.settings.part_size
        self._todo: deque[_Part] = deque()
        self._stored: dict[int, StoredPart] = {}  # by number
        self._in_flight = 0
        self._number = 0  # of the last part of a stream that was read
        self._offset = 0
        self._stream_ended = False
        self._buffers: deque[tuple[_Part, bytes]] = deque()
        self._buffered = 0
        self._sending = False
        self._rest = b""  # of a stream: read, and belonging to the next part
        self._small: bytes | None = None  # of a stream: all of it, where it fits into one request
        self._error: Exception | None = None
        self._entry: Entry | None = None
        self._over = False
        self._job: Future[None] | None = loop.submit(self._prepare)
        self._closing = False  # the running job is the last

    # ---- the loop's side

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
            if self._closing:
                self._end()
                return True
        if self._small is not None and self._error is None:
            self._over = True
            if self._reader is not None:
                self._reader.close()
            self._loop.again(self._loop.loaded(self._item, self._place, self._small))
        if self._over:
            return True
        if self._error is not None:
            if self._in_flight == 0:
                self._closing = True
                self._job = self._loop.submit(self._fail)
        elif self._sending and self._in_flight == 0 and not self._todo and not self._buffers and self._complete():
            self._closing = True
            self._job = self._loop.submit(self._finish)
        return False

    def _complete(self) -> bool:
        reader = self._reader
        return reader is not None and (reader.random or self._stream_ended)

    def next_request(self) -> Request | None:
        """A part to send now, or None."""
        if not self._sending or self._error is not None or self._closing or self._in_flight >= IN_FLIGHT:
            return None
        try:
            if self._reader is not None and not self._reader.random:
                return self._stream_part()
            if not self._todo:
                return None
            part = self._todo.popleft()
            return self._request(part, self._body(part))
        except Exception as error:  # of the source: it may raise what it likes
            self._error = error
            return None

    def _body(self, part: _Part) -> Body:
        reader = self._reader
        assert reader is not None
        start = part.start
        part.checksum = reader.digest(self._algorithm or "md5", start, part.end)
        return Body(part.end - start, Counted(reader, start, self._item.progress).pread)

    def _stream_part(self) -> Request | None:
        if (
            self._job is None
            and not self._stream_ended
            and self._buffered + self._size_at(self._number + 1) <= max(BUFFERS, 2 * self._size_at(self._number + 1))
        ):
            self._job = self._loop.submit(self._fetch)
        if not self._buffers:
            return None
        part, data = self._buffers.popleft()
        part.checksum = hashing.digest(self._algorithm or "md5", data)
        return self._request(part, data)

    def _request(self, part: _Part, body: bytes | Body) -> Request:
        if self._algorithm:
            header = (f"x-amz-checksum-{self._algorithm}", to_base64(part.checksum))
        else:
            header = ("content-md5", to_base64(part.checksum))
        self._in_flight += 1
        self._loop.parts += 1
        return self._service.request(
            "PUT",
            "UploadPart",
            self._bucket,
            self._key,
            query=quote_query([("partNumber", str(part.number)), ("uploadId", self._upload_id)]),
            headers=(header,),
            body=body,
            tag=part,
        )

    def stored(self, part: _Part, completion: Completion) -> None:
        """A part was answered."""
        self._in_flight -= 1
        self._loop.parts -= 1
        if self._reader is not None and not self._reader.random:
            self._buffered -= part.end - part.start
        response = completion.response
        try:
            if response is None:
                raise completion.error or ProtocolError("no answer")
            if response.status != 200:
                raise self._service.error(response, self._bucket, self._item.path)
            tag = self._check_part(part, response)
            self._stored[part.number] = StoredPart(tag, part.checksum, part.end - part.start)
            if self._item.progress is not None and self._reader is not None and not self._reader.random:
                self._item.progress(part.end - part.start)
        except Exception as error:
            self._error = self._error or error

    def _check_part(self, part: _Part, response: Response) -> str:
        """The part's ETag as it came, when what the answer says of the content is right."""
        tag = response.headers.get("etag")
        if not tag:
            raise ProtocolError("the answer to a part has no ETag", path=self._item.path)
        if self._algorithm:
            echo = response.headers.get(f"x-amz-checksum-{self._algorithm}")
            wrong = echo is not None and echo != to_base64(part.checksum)
        else:
            etag = unquote_etag(tag)
            wrong = is_md5(etag) and etag != part.checksum and not opaque_etag(response.headers)
            wrong = wrong and self._service.etag_is_md5(self._bucket)
        if wrong:
            raise IntegrityError(f"part {part.number} was stored with other bytes than were sent", path=self._item.path)
        return tag

    def _end(self) -> None:
        self._over = True
        if self._reader is not None:
            self._reader.close()
        error = self._error
        if isinstance(error, StoreError):
            error = explained(self._item, error)
        self._loop.done(self._item, self._entry if error is None else None, error)

    def abandon(self) -> None:
        """The loop is torn down: keep what can be resumed, abort the rest."""
        job, self._job = self._job, None
        if job is not None and not job.cancel():
            job.exception()  # waits for it
        if not self._over:
            self._error = self._error or ConnectionFailed("the upload was interrupted")
            try:
                self._fail()
            except StoreError as error:
                log.warning("the upload of %s was not aborted: %s", self._item.path, error.message)
        if self._reader is not None:
            self._reader.close()

    # ---- jobs, in worker threads

    def _prepare(self) -> None:
        source = self._item.source
        reader = self._reader = Reader(source, self._service.check)
        size = source.size
        if reader.random and size is not None:
            # So that the largest number of parts suffices; whole MiB, as all services take them.
            self._part_size = max(self._part_size, math.ceil(size / MAX_PARTS / MIB) * MIB)
            self._algorithm = self._known_algorithm()
            if self._algorithm is None:
                self._md5 = reader.digest("md5", 0, size)
            todo = self._plan(size)
            if not self._resume(todo):
                self._create()
            self._todo.extend(part for part in todo if part.number not in self._stored)
        else:
            first = reader.take(self._part_size + 1)
            if len(first) <= self._part_size:
                self._single(first)
                return
            self._algorithm = self._known_algorithm()
            self._create()
            self._buffer(first[: self._part_size])
            # The byte that showed that more follows begins the next part.
            self._rest = first[self._part_size :]
        self._sending = True

    def _single(self, data: bytes) -> None:
        """The stream fits into one request."""
        item = self._item
        if item.source.size is not None and item.source.size != len(data):
            raise SourceChanged(f"the source has {len(data)} bytes, not {item.source.size}", path=item.path)
        item.source.check()
        self._small = data

    def _fetch(self) -> None:
        """The next part of a stream."""
        reader = self._reader
        assert reader is not None
        size = self._size_at(self._number + 1)
        data = self._rest + reader.take(size - len(self._rest))
        self._rest = b""
        if len(data) < size:
            self._stream_ended = True
        if data:
            self._buffer(data)

    def _buffer(self, data: bytes) -> None:
        if self._number == MAX_PARTS:
            raise TooLarge("has more parts than the service takes", path=self._item.path)
        self._number += 1
        part = _Part(self, self._number, self._offset, self._offset + len(data))
        self._offset += len(data)
        self._buffered += len(data)
        self._buffers.append((part, data))

    def _size_at(self, number: int) -> int:
        """Bytes of a stream's part: doubling now and then, so that 10,000 parts hold the largest object."""
        return self._part_size << ((number - 1) // GROWTH)

    def _plan(self, size: int) -> list[_Part]:
        step = self._part_size
        return [
            _Part(self, number, start, min(start + step, size)) for number, start in enumerate(range(0, size, step), 1)
        ]

    def _known_algorithm(self) -> str | None:
        """The checksum to ask for; None where this service is known to keep none."""
        known = self._service.memory.get(self._memory_key())
        if known == "none":
            return None
        return "crc64nvme" if hashing.available("crc64nvme") else "crc32"

    def _memory_key(self) -> str:
        return f"{self._service.settings.identity}:full-object-checksum"

    def _create_headers(self) -> tuple[Header, ...]:
        headers = self._loop.file_headers(self._item)
        if self._algorithm:
            return (
                *headers,
                ("x-amz-checksum-algorithm", self._algorithm.upper()),
                ("x-amz-checksum-type", "FULL_OBJECT"),
            )
        return (*headers, (_objects.MD5, to_base64(self._md5))) if self._md5 else headers

    def _create(self) -> None:
        response = self._ask_create()
        self._upload_id = upload_id_of(response.body, self._key, self._item.path)
        if self._record is not None:
            self._record.created(self._upload_id)
        self._service.note(self._bucket, response.headers)
        if self._algorithm is None:
            return
        kept = response.headers.get("x-amz-checksum-algorithm", "").lower() == self._algorithm
        # A CRC64NVME is always of the full object; for the others the answer must say so.
        full = self._algorithm == "crc64nvme" or (
            response.headers.get("x-amz-checksum-type", "").upper() == "FULL_OBJECT"
        )
        if kept and full:
            return
        log.info("%s keeps no checksums of whole objects; MD5 is used", self._service.host())
        self._service.memory.set(self._memory_key(), "none")
        self._algorithm = None
        reader, size = self._reader, self._item.source.size
        if reader is not None and reader.random and size is not None:
            # The MD5 belongs into the metadata, which only a new upload can get.
            self._abort()
            self._md5 = reader.digest("md5", 0, size)
            self._create()

    def _ask_create(self) -> Response:
        headers = self._create_headers()
        source = self._item.source
        for attempt in range(1, CREATE_ATTEMPTS + 1):
            # A local file can be recognised by a later run, a stream cannot.
            known = fingerprint(source.local_path) if self._reader is not None and self._reader.random else ""
            if self._record is None:
                self._record = self._loop.uploader.sessions.begin(
                    self._item.path, known, self._part_size, self._describe(headers)
                )
            try:
                response = self._service.send(
                    "POST", "CreateMultipartUpload", self._bucket, self._key,
                    query="uploads=", headers=headers, idempotent=False,
                )  # fmt: skip
            except TemporaryError as error:
                if attempt == CREATE_ATTEMPTS:
                    raise
                if isinstance(error, ConnectionFailed) and self._record is not None:
                    self._record.close()  # it may exist: `leftovers` will find it by this record
                    self._record = None
                continue
            if response.status < 300:
                return response
            if not self._service.ensure_bucket(self._bucket, response):
                raise self._service.error(response, self._bucket, self._item.path)
        raise NotFound("the bucket is missing right after it was made", path=self._item.path)

    @staticmethod
    def _describe(headers: tuple[Header, ...]) -> str:
        return "\n".join(f"{name}: {value}" for name, value in headers)

    def _resume(self, todo: list[_Part]) -> bool:
        """Take up an upload of the same path by a dead process, where it is of the same file; abort it where not."""
        if self._conditions:
            return False  # what the other one was conditional on is not known
        known = fingerprint(self._item.source.local_path)
        headers = self._describe(self._create_headers())
        found = False
        for record in self._loop.uploader.sessions.stale(self._item.path):
            intent = record.intent
            same = (intent.source, intent.part_size, intent.headers) == (known, self._part_size, headers)
            if found or not known or not same or record.upload_id is None:
                self._drop(record)
            else:
                found = self._take_up(record, todo)
        return found

    def _drop(self, record: Record) -> None:
        """Abort what a record stands for; without an id it stays for `leftovers`."""
        if record.upload_id is None:
            record.close()
            return
        try:
            self._send_abort(record.upload_id)
        except StoreError as error:
            log.warning("an old upload of %s was not aborted: %s", self._item.path, error.message)
            record.close()
        else:
            record.remove()

    def _take_up(self, record: Record, todo: list[_Part]) -> bool:
        assert record.upload_id is not None
        assert self._reader is not None
        try:
            stored_parts = list_parts(self._service, self._bucket, self._key, record.upload_id)
        except NotFound:
            record.remove()  # it was completed, aborted, or has expired
            return False
        except ProtocolError as error:
            log.warning("an old upload of %s cannot be resumed: %s", self._item.path, error.message)
            self._drop(record)
            return False
        listed = {part.number: part for part in stored_parts}
        for part in todo:
            stored = listed.get(part.number)
            if stored is None or stored.size != part.end - part.start:
                continue
            digest = self._reader.digest(self._algorithm or "md5", part.start, part.end)
            if self._holds(stored, part, digest):
                self._stored[part.number] = StoredPart(stored.etag, digest, stored.size)
                if self._item.progress is not None:
                    self._item.progress(stored.size)
        self._upload_id, self._record = record.upload_id, record
        log.info("resuming the upload of %s: %d of %d parts are there", self._item.path, len(self._stored), len(todo))
        return True

    def _holds(self, stored: Part, part: _Part, digest: str) -> bool:
        """Whether a part that is listed has the bytes of the file: by our checksum, else by an ETag that is an MD5."""
        assert self._reader is not None
        if self._algorithm and (listed := stored.checksums.get(self._algorithm)) is not None:
            return listed == to_base64(digest)
        etag = unquote_etag(stored.etag)
        if not is_md5(etag) or (self._algorithm and not self._service.etag_is_md5(self._bucket)):
            return False
        return etag == (self._reader.digest("md5", part.start, part.end) if self._algorithm else digest)

    def _finish(self) -> None:
        """Complete and verify; nothing is published that the source does not stand by."""
        source, reader = self._item.source, self._reader
        assert reader is not None
        finished = Finished(
            self._service,
            self._item.path,
            self._upload_id,
            tuple(sorted(self._stored.items())),
            self._algorithm,
            self._md5,
            self._conditions,
        )
        try:
            if source.size is not None and finished.size != source.size:
                raise SourceChanged(f"the source has {finished.size} bytes, not {source.size}", path=self._item.path)
            reader.require_end(finished.size)
            source.check()
            self._entry = finished.publish()
        except BaseException as error:
            self._settle(keep=isinstance(error, _KEPT))
            raise
        if self._record is not None:
            self._record.remove()

    def _fail(self) -> None:
        """After a failure: keep what a later run can resume, abort everything else."""
        self._settle(keep=isinstance(self._error, _KEPT))

    def _settle(self, *, keep: bool) -> None:
        record = self._record
        if not self._upload_id:
            if record is not None:
                record.remove() if not keep else record.close()
        elif keep and record is not None and record.intent.source:
            record.close()
        else:
            try:
                self._abort()
            except Interrupted:
                if record is not None:
                    record.close()  # `leftovers` finds it
            except StoreError as error:
                log.warning("the upload of %s was not aborted: %s", self._item.path, error.message)
                if record is not None:
                    record.close()

    def _abort(self) -> None:
        self._send_abort(self._upload_id)
        self._upload_id = ""
        if self._record is not None:
            self._record.remove()
            self._record = None

    def _send_abort(self, upload_id: str) -> None:
        abort(self._service, self._bucket, self._key, upload_id, self._item.path)
