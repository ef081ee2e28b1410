"""Large uploads, and those whose size nobody knows: a session, then pieces of it, until the service has the whole.

https://developers.google.com/workspace/drive/api/guides/manage-uploads#resumable. Pieces are multiples of 256 KiB but
for the last; 308 and its Range say how far the service has come, and a piece whose answer was lost is asked after, not
sent again blindly. The last piece goes only after the source was seen to be unchanged: with it the file is published.
"""

import json
import logging
import re
import time
from typing import TYPE_CHECKING

from cftool.core.dataclass import dataclass
from cftool.core.errors import (
    NotFound,
    ProtocolError,
    RateLimited,
    SourceChanged,
    StoreError,
    TemporaryError,
)
from cftool.core.types import WriteItem
from cftool.disk.records import fingerprint
from cftool.http.retry import Operation
from cftool.http.types import Body, Header, Request, Response
from cftool.http.urls import split
from cftool_providers.gdrive import _files
from cftool_providers.gdrive._files import FIELDS, Item
from cftool_providers.gdrive._reader import Counted, Reader
from cftool_providers.gdrive._service import Service, file_path
from cftool_providers.gdrive._sessions import Intent, Record, Sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from cftool_providers.gdrive._upload import Place

log = logging.getLogger("cftool.gdrive")

GRAIN = 256 * 1024
PIECE = 32 * 1024 * 1024  # of a source that can be read anywhere
BUFFERED = 8 * 1024 * 1024  # of one that can only be read on
_RANGE = re.compile(r"bytes=0-(\d+)")
_SESSIONS = 3  # begun for one file before it fails


class _Lost(Exception):
    """The service does not know the session any more."""


@dataclass(slots=True)
class _Session:
    uri: str
    record: Record | None
    offset: int = 0


class Resumable:
    """One upload; used once, by one thread."""

    def __init__(
        self,
        service: Service,
        sessions: Sessions,
        item: WriteItem,
        place: "Place",
        mime: str,
        check: "Callable[[], None]",
    ) -> None:
        self._check = check  # raises where the upload is to be given up
        self._service = service
        self._sessions = sessions
        self._item = item
        self._place = place
        self._mime = mime
        self._size = item.source.size
        self._done: Item | None = None

    def run(self) -> tuple[Item, str]:
        """What the service has now, and the MD5 of what was sent."""
        reader = Reader(self._item.source, self._check)
        try:
            for attempt in range(_SESSIONS):
                session = self._resumed() if not attempt else None
                try:
                    if session is None and self._done is None:
                        session = self._begun(reader)
                    return self._through(reader, session)
                except _Lost:
                    log.info("the session of an upload is gone; it begins anew")
                    if not reader.random:
                        break
            raise TemporaryError("the service forgot the upload while it was under way", path=self._item.path)
        finally:
            reader.close()

    # ---- the session

    def _metadata(self) -> dict[str, object]:
        return self._place.metadata(self._item)

    def _intent(self) -> Intent:
        place = self._place
        return Intent(
            self._sessions.service,
            self._item.path,
            fingerprint(self._item.source.local_path) if self._size is not None else "",
            self._size or 0,
            place.parent,
            place.handle,
            place.new,
            json.dumps({**self._metadata(), "id": ""}, sort_keys=True),
            time.time_ns(),
        )

    def _resumed(self) -> _Session | None:
        """A session of a dead process for the very same upload, with what the service has of it."""
        wanted = self._intent()
        if not wanted.source:
            return None
        found: _Session | None = None
        for record in self._sessions.stale(self._item.path):
            intent = record.intent
            same = (intent.source, intent.size, intent.parent, intent.new, intent.metadata) == (
                wanted.source,
                wanted.size,
                wanted.parent,
                wanted.new,
                wanted.metadata,
            ) and (intent.new or intent.handle == wanted.handle)
            if found is not None or self._done is not None:
                record.close()
                continue
            if not same or record.uri is None or not _ours(record.uri):
                record.remove()  # of another version of the file, or of no session at all
                continue
            session = _Session(record.uri, record)
            try:
                self._ask(session)
            except _Lost:
                record.remove()
                continue
            except BaseException:
                record.close()
                raise
            if intent.new:
                self._place.handle = intent.handle
            found = session
            log.info("an upload goes on at byte %d", session.offset)
        return found

    def _begun(self, reader: Reader) -> _Session:
        place = self._place
        record = self._sessions.begin(self._intent())
        headers: tuple[Header, ...] = (
            ("content-type", "application/json; charset=UTF-8"),
            ("x-upload-content-type", self._mime),
        )
        if self._size is not None:
            headers += (("x-upload-content-length", str(self._size)),)
        request = self._service.upload(
            "POST" if place.new else "PATCH",
            "upload.start",
            "files" if place.new else file_path(place.handle),
            self._service.params((("uploadType", "resumable"), ("fields", FIELDS))),
            headers=headers,
            body=json.dumps(self._metadata()).encode(),
        )
        try:
            response = self._service.send(request)
            if response.status >= 300:
                raise self._service.upload_error(response.status, response.body, self._item.path)
            uri = response.header("location") or ""
            if not _ours(uri):
                raise ProtocolError("the service gave no session for the upload", path=self._item.path)
        except BaseException:
            if record is not None:
                record.remove()
            raise
        if record is not None:
            record.created(uri)
        return _Session(uri, record)

    # ---- the pieces

    def _through(self, reader: Reader, session: _Session | None) -> tuple[Item, str]:
        """Send what is missing."""
        try:
            if session is not None:
                if reader.random:
                    self._send_random(reader, session)
                else:
                    self._send_in_order(reader, session)
            elif self._size is not None:
                reader.hash_up_to(self._size)
        except _Lost:
            if session is not None and session.record is not None:
                session.record.remove()
            raise
        except SourceChanged:
            if session is not None:
                self._give_up(session)
            raise
        except BaseException:
            if session is not None and session.record is not None:
                session.record.close()
            raise
        if session is not None and session.record is not None:
            session.record.remove()
        assert self._done is not None
        return self._done, reader.md5()

    def _send_random(self, reader: Reader, session: _Session) -> None:
        size = self._size
        assert size is not None
        counted = Counted(reader, self._item.progress)
        counted.reached(session.offset)
        while self._done is None:
            start = session.offset
            end = min(size, start + PIECE)
            reader.hash_up_to(end)
            if end == size:
                reader.require_unchanged(size)
            counted.start = start
            self._put(session, Body(end - start, counted.pread) if end > start else b"", start, end, str(size))
        if self._done is not None:
            reader.hash_up_to(size)

    def _send_in_order(self, reader: Reader, session: _Session) -> None:
        counted = Counted(reader, self._item.progress)
        size = self._size
        data, start = reader.take(BUFFERED), 0
        while self._done is None:
            following = reader.take(BUFFERED) if len(data) == BUFFERED else b""
            end = start + len(data)
            last = not following
            if last:
                if size is not None and end != size:
                    raise SourceChanged(f"the source has {end} bytes, not {size}", op="read")
                reader.require_unchanged(end)
            while self._done is None and (session.offset < end or last):
                if session.offset < start:
                    raise TemporaryError("the service lost a piece that cannot be read again", path=self._item.path)
                rest = data[session.offset - start :]
                self._put(session, rest, session.offset, end, str(end) if last else "*")
            counted.reached(end)
            data, start = following, end

    def _put(self, session: _Session, body: bytes | Body, start: int, end: int, total: str) -> None:
        """Send [start, end), and again what of it does not arrive; returns with `session.offset` moved, or done."""
        client = self._service.client
        operation = Operation(client.clock.monotonic())
        span = f"bytes {start}-{end - 1}/{total}" if end > start else f"bytes */{total}"
        while True:
            self._check()
            operation.attempts += 1
            operation.began = client.clock.monotonic()
            request = Request(
                "PUT",
                session.uri,
                (("content-type", self._mime), ("content-range", span)),
                body,
                "upload.chunk",
                idempotent=False,  # whether it arrived is asked first
            )
            failure: StoreError | None = None
            try:
                self._understood(session, self._service.send(request), end)
            except TemporaryError as error:
                if isinstance(error, RateLimited):  # the client has waited for it already
                    raise
                failure = error
            if failure is None and (self._done is not None or session.offset != start):
                return
            delay = client.schedule.delay(operation, client.clock.monotonic())
            if delay is None:
                raise failure or TemporaryError("the service takes no more of the upload", path=self._item.path)
            client.wait(delay)
            self._ask(session)
            if self._done is not None or session.offset != start:
                return

    def _ask(self, session: _Session) -> None:
        """How far the service has come."""
        total = "*" if self._size is None else str(self._size)
        request = Request(
            "PUT", session.uri, (("content-range", f"bytes */{total}"),), b"", "upload.status", idempotent=True
        )
        self._understood(session, self._service.send(request), None)

    def _understood(self, session: _Session, response: Response, sent: int | None) -> None:
        status = response.status
        if status in {200, 201}:
            self._done = _files.item(_files.parse(response.body, response.headers))
            return
        if status == 308:
            told = response.header("range")
            match = _RANGE.fullmatch(told.strip()) if told is not None else None
            if told is not None and match is None:
                raise ProtocolError(f"the service says of the upload that it has {told!r}", path=self._item.path)
            offset = 0 if match is None else int(match[1]) + 1
            if (sent is not None and offset > sent) or (self._size is not None and offset > self._size):
                raise ProtocolError("the service has more of the upload than was sent", path=self._item.path)
            session.offset = offset
            return
        if status in {404, 410}:
            raise _Lost
        raise self._service.upload_error(status, response.body, self._item.path)

    def _give_up(self, session: _Session) -> None:
        """Nobody will finish it: tell the service, which forgets it in a week anyway."""
        try:
            cancel(self._service, session.uri)
        except StoreError as error:
            log.debug("an upload could not be cancelled: %s", error)
        if session.record is not None:
            session.record.remove()


def cancel(service: Service, uri: str) -> None:
    """Delete a session; one that is gone is none to delete. Raises StoreError."""
    response = service.send(Request("DELETE", uri, op="upload.cancel"))
    # 499 is what the service answers to a session that it cancelled.
    if response.status >= 300 and response.status not in {404, 410, 499}:
        error = service.upload_error(response.status, response.body, "")
        if not isinstance(error, NotFound):
            raise error


def _ours(uri: str) -> bool:
    """Whether an address is the service's own: the credentials go with every request to it."""
    scheme, authority, target = split(uri)
    host = authority.lower()
    return (
        scheme == "https"
        and (host == "www.googleapis.com" or host.endswith(".googleapis.com"))
        and target.startswith(("/upload/drive/v3/files", "/resumable/upload/drive/v3/files"))
        and "upload_id=" in target
        and re.fullmatch(r"[!-~]+", uri) is not None
    )
