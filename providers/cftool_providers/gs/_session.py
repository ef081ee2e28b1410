"""One resumable upload session: a stretch of a source that becomes one object, chunk by chunk.

https://docs.cloud.google.com/storage/docs/performing-resumable-uploads. The service says after each chunk how far it
has got, which may be less than was sent; after a broken request it is asked. The last chunk carries the hash of the
whole, so that nothing is published that is not what was read. The address of a session is a secret that lets anybody
write: it is kept in the state directory (0600) and nowhere else, and only ever used at our own endpoint.

`open` and `_fetch` block and run in worker threads; the rest runs in the thread of the loop.
"""

import logging
import re
from typing import TYPE_CHECKING

from cftool.core import hashing
from cftool.core.errors import IntegrityError, ProtocolError, SourceChanged, StoreError, TemporaryError, TooLarge
from cftool.disk.reader import Reader
from cftool.disk.records import fingerprint
from cftool.disk.sessions import Record
from cftool.http.types import Body, Completion, Header, Request, Response
from cftool.http.urls import split
from cftool_providers.gs._api import NewObject
from cftool_providers.gs._objects import hash_header
from cftool_providers.gs._service import Service
from cftool_providers.gs._settings import MAX_OBJECT, MIB

if TYPE_CHECKING:
    from concurrent.futures import Future

    from cftool.core.types import Entry
    from cftool_providers.gs._large import Large

log = logging.getLogger("cftool.gs")

CHUNK = 64 * MIB  # of a source that can be read anywhere; a multiple of 256 KiB, as the service wants it
STREAM_CHUNK = 16 * MIB  # of one that cannot: it is kept in memory until it is stored
ATTEMPTS = 6  # in a row that bring nothing
_RANGE = re.compile(r"bytes=0-(\d{1,15})")
_GONE = frozenset({404, 410})


def session_url(service: Service, location: str | None, path: str) -> str:
    """The address of a session, at our own endpoint whatever host the answer names: credentials go nowhere else."""
    if not location:
        raise ProtocolError("the service began an upload and does not say where (Location)", path=path)
    scheme, authority, _ = split(service.settings.endpoint)
    own, _, target = split(location)
    if not own or "upload_id" not in target:
        raise ProtocolError("the service began an upload at an address that is none", path=path)
    return f"{scheme}://{authority}{target}"


def cancel(service: Service, url: str) -> None:
    """End a session; one that is over is no error."""
    response = service.send(Request("DELETE", url, op="upload.cancel"))
    if response.status >= 300 and response.status not in {404, 410, 499}:
        raise service.error(response)


def status_request(url: str, size: int | None, tag: object = None) -> Request:
    """Ask how far a session has got."""
    known = "*" if size is None else str(size)
    return Request("PUT", url, (("content-range", f"bytes */{known}"),), op="upload.status", tag=tag)


class Session:
    """Bytes [start, end) of `reader` to the object `new`; `end` None: a stream, to its end."""

    def __init__(self, large: "Large", new: NewObject, reader: Reader, start: int, end: int | None) -> None:
        self._large = large
        self._service = large.service
        self.new = new
        self._reader = reader
        self._start = start
        self._size = None if end is None else end - start
        self.entry: Entry | None = None
        self.error: Exception | None = None
        self.job: Future[None] | None = None
        self.busy = False
        self.opened = False
        self.record: Record | None = None
        self._url = ""
        self._algorithm = "crc32c" if hashing.available("crc32c") else "md5"
        self._hasher = hashing.new(self._algorithm)
        self._hashed = 0
        self._offset = 0  # that the service has
        self._sent = 0  # end of the chunk under way
        self._failures = 0
        self._ask = False
        self._asking = False  # what is under way is a question
        self._told = 0  # bytes that the progress knows of
        self._buffer = b""  # of a stream: not stored yet, from `_offset` on
        self._rest = b""  # read, and belonging to the next chunk

    @property
    def digest(self) -> str:
        """The hash of all bytes."""
        return self._hasher.hexdigest()

    @property
    def algorithm(self) -> str:
        """Whose hash it is."""
        return self._algorithm

    @property
    def size(self) -> int:
        """Bytes in all; of a stream, once it has ended."""
        return self._size or 0

    @property
    def _is_stream(self) -> bool:
        return not self._reader.random

    # ---- beginning, in a worker thread

    def open(self) -> None:
        """Take up what a dead process left, or begin."""
        known = self._known()
        record = self._large.take(self.new.path, known, self._describe()) if known else None
        if record is None or not self._resume(record):
            self._begin(known)
        self.opened = True

    def find(self) -> None:
        """Believe in a part that an earlier run has stored, where it has the bytes of the source."""
        response = self._service.describe(self.new.bucket, self.new.key)
        if response.status != 200:
            return
        entry = self._service.api.described(self.new.path, response)
        if entry.size != self.size:
            return
        self._hash_to(self.size)
        if entry.hashes.get(self._algorithm) == self.digest:
            self.entry, self.opened = entry, True
            for record in self._large.loop.uploader.sessions.stale(self.new.path):
                record.remove()  # of its session, which is over
            self._tell(self.size)
        else:
            self._hasher, self._hashed = hashing.new(self._algorithm), 0

    def _known(self) -> str:
        source = self._large.item.source
        return "" if self._is_stream or self.new.generation is not None else fingerprint(source.local_path)

    def _describe(self) -> str:
        new = self.new
        return f"session {new.modified_ns} {new.storage_class} {self._start} {self._size} {self._algorithm}"

    def _resume(self, record: Record) -> bool:
        url = record.upload_id or ""
        response = self._service.send(status_request(url, self._size))
        if response.status not in {200, 201, 308}:
            record.remove()  # it was cancelled, or has expired
            return False
        if response.status == 308:
            offset = self._range(response, self.size)
            self._hash_to(offset)
            self._offset = self._sent = offset
            self._url, self.record = url, record
            log.info("resuming the upload of %s: %d of %d bytes are there", self.new.path, offset, self.size)
        else:
            self._hash_to(self.size)
            try:
                self._publish(response)
            except IntegrityError:
                self._hasher, self._hashed = hashing.new(self._algorithm), 0
            record.remove()
            if self.entry is None:
                return False
        self._tell(self._hashed)
        return True

    def _begin(self, known: str) -> None:
        self._url = ""
        if self.record is None:
            self.record = self._large.loop.uploader.sessions.begin(self.new.path, known, CHUNK, self._describe())
        service = self._service
        for _ in range(2):
            response = service.send(service.api.start(self.new, self._size, None))
            if response.status < 300 or not service.ensure_bucket(self.new.bucket, response):
                break
        if response.status >= 300:
            raise service.error(response, self.new.path)
        self._url = session_url(service, response.header("location"), self.new.path)
        if self.record is not None:
            self.record.created(self._url)

    def _hash_to(self, end: int) -> None:
        for piece in self._reader.pieces(self._start + self._hashed, self._start + end):
            self._hasher.update(piece)
        self._hashed = max(self._hashed, end)

    # ---- a stream's next chunk, in a worker thread

    def feed(self, first: bytes) -> None:
        """What was read of the stream before it was known to be a large one."""
        self._rest = first

    def _fetch(self) -> None:
        size = STREAM_CHUNK + 1 - len(self._rest)
        data = self._rest + self._reader.take(size)
        if len(data) > STREAM_CHUNK:
            data, self._rest = data[:STREAM_CHUNK], data[STREAM_CHUNK:]
        else:
            self._rest = b""
            self._size = self._hashed + len(data)
        self._hasher.update(data)
        self._hashed += len(data)
        if self._hashed > MAX_OBJECT:
            raise TooLarge("is larger than 5 TiB, the service's largest object", path=self.new.path)
        self._buffer = data

    # ---- the loop's side

    def next_request(self) -> Request | None:
        """What to send now, or None."""
        if self.busy or self.entry is not None or self.error is not None or self.job is not None or not self.opened:
            return None
        try:
            self._asking, self._ask = self._ask, False
            if self._asking:
                request = status_request(self._url, self._size, self)
            elif self._is_stream:
                if not self._buffer:
                    self.job = self._large.loop.submit(self._fetch)
                    return None
                self._sent = self._offset + len(self._buffer)
                request = self._chunk(self._buffer)
            else:
                self._sent = min(self._offset + CHUNK, self.size)
                self._hash_to(self._sent)
                start = self._offset
                body = Body(self._sent - start, lambda size, offset: self._pread(size, start + offset))
                request = self._chunk(body)
        except Exception as error:  # of the source: it may raise what it likes
            self.error = error
            return None
        self.busy = True
        self._large.loop.parts += 1
        return request

    def _pread(self, size: int, offset: int) -> bytes:
        data = self._reader.pread(size, self._start + offset)
        self._tell(offset + len(data))
        return data

    def _chunk(self, body: bytes | Body) -> Request:
        last = self._sent == self._size
        total = "*" if self._size is None else str(self._size)
        headers: tuple[Header, ...] = (("content-range", f"bytes {self._offset}-{self._sent - 1}/{total}"),)
        if last:
            self._large.before_last(self)
            headers += (hash_header(self._algorithm, self.digest),)
        # Not repeated blindly: after a failure the service is asked how far it has got.
        return Request("PUT", self._url, headers, body, op="upload.chunk", idempotent=False, tag=self)

    def answered(self, completion: Completion) -> None:
        """A chunk or a question was answered, or not."""
        self.busy = False
        self._large.loop.parts -= 1
        try:
            if completion.response is None:
                raise completion.error or ProtocolError("no answer")
            self._take(completion.response)
        except TemporaryError as error:
            self._failures += 1
            self._ask = True
            if self._failures > ATTEMPTS:
                self.error = error
        except Exception as error:
            self.error = error

    def _take(self, response: Response) -> None:
        status = response.status
        if status in {200, 201}:
            if self._size is None:
                raise ProtocolError("the service ended an upload that was not at its end", path=self.new.path)
            self._publish(response)
        elif status == 308:
            offset = self._range(response, self._sent)
            if offset < self._offset and self._is_stream:
                raise TemporaryError("the service has lost a part of the upload", path=self.new.path)
            if offset > self._offset:
                self._failures = 0
            elif not self._asking:
                self._failures += 1
            if self._failures > ATTEMPTS:
                raise ProtocolError("the upload does not go on: the service stores nothing", path=self.new.path)
            if self._is_stream:
                self._tell(offset)
                self._buffer = self._buffer[offset - self._offset :]
            self._offset = offset
            if offset == self._size:  # all is there, and yet it is not over: asking ends it
                self._failures += 1
                self._ask = True
        elif status in _GONE and not self._is_stream and self._failures < ATTEMPTS:
            self._failures += 1
            self._offset = 0
            self.opened = False
            self.job = self._large.loop.submit(self._restart)
        elif status in _GONE:
            raise TemporaryError("the upload's session is gone", path=self.new.path)
        else:
            error = self._service.error(response, self.new.path)
            if isinstance(error, IntegrityError):
                self._large.item.source.check()  # where the source changed meanwhile, that is the better answer
            raise error

    def _restart(self) -> None:
        """The session has expired or was cancelled: begin anew."""
        if self.record is not None:
            self.record.remove()
            self.record = None
        self._begin(self._known())
        self.opened = True

    def _range(self, response: Response, most: int) -> int:
        """How many bytes the service has."""
        text = response.header("range")
        if text is None:
            return 0
        found = _RANGE.fullmatch(text.strip())
        offset = int(found[1]) + 1 if found else -1
        if not 0 <= offset <= most:
            raise ProtocolError(f"the service says {text[:40]!r} of an upload of {most} bytes", path=self.new.path)
        return offset

    def _publish(self, response: Response) -> None:
        size = self.size
        response.status = 200
        entry = self._service.api.written(self.new, response, size)
        stored = entry.hashes.get(self._algorithm)
        if stored is not None and stored != self.digest:
            raise IntegrityError(
                f"the service stored other bytes than were sent: {self._algorithm} {stored}, not {self.digest}",
                op="write",
                path=self.new.path,
            )
        if self._is_stream:
            self._tell(size)
        self.entry = entry
        record, self.record = self.record, None
        if record is not None:
            record.remove()

    def _tell(self, end: int) -> None:
        """Each byte once, however often it is sent."""
        if self._large.item.progress is not None and end > self._told:
            self._large.item.progress(end - self._told)
            self._told = end

    # ---- the end

    def keep(self) -> None:
        """Leave it to a later run."""
        if self.record is not None and self.record.intent.source and self._url:
            self.record.close()
        else:
            self.give_up()

    def give_up(self) -> None:
        """Cancel it, where it is not over. What cannot be cancelled stays on record."""
        record, self.record = self.record, None
        try:
            if self._url and self.entry is None:
                cancel(self._service, self._url)
        except StoreError as error:
            log.warning("the upload of %s was not cancelled: %s", self.new.path, error.message)
            if record is not None:
                record.close()
        else:
            if record is not None:
                record.remove()


def check_ended(reader: Reader, size: int, expected: int | None, path: str) -> None:
    """Raise SourceChanged where the source does not end there."""
    if expected is not None and size != expected:
        raise SourceChanged(f"the source has {size} bytes, not {expected}", op="write", path=path)
    reader.require_end(size)
