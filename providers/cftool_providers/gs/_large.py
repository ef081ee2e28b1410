"""One large file, or one of unknown size: a single session, or several in parallel whose objects are composed.

https://docs.cloud.google.com/storage/docs/composite-objects. A composed object has a CRC32C and no MD5, so only files
from `COMPOSE_FROM` on are cut, into at most 32 parts beside the target (`KEY.cftool-TOKEN.part-NN`), each with a
session of its own; they are deleted once the whole is there and verified. The record of an upload names its token, so
that a later run finds the parts that are whole, resumes the others, or removes them all; `cleanup` finds those of other
machines by their names.
"""

import logging
import math
import os
import re
from typing import TYPE_CHECKING

from cftool.core import hashing
from cftool.core.errors import (
    ConnectionFailed,
    IntegrityError,
    Interrupted,
    NotFound,
    ProtocolError,
    StoreError,
    TemporaryError,
    Unsupported,
)
from cftool.core.types import Entry, WriteItem
from cftool.disk.reader import Reader
from cftool.disk.records import fingerprint
from cftool.disk.sessions import Record
from cftool.http.flat import Expected
from cftool.http.types import Request
from cftool.http.uploads import explained
from cftool_providers.gs._api import NewObject
from cftool_providers.gs._service import Service
from cftool_providers.gs._session import Session, cancel, check_ended
from cftool_providers.gs._settings import MIB

if TYPE_CHECKING:
    from concurrent.futures import Future

    from cftool_providers.gs._upload import Loop

log = logging.getLogger("cftool.gs")

COMPOSE_FROM = 150 * MIB  # below this one session is as fast, and the object keeps its MD5
PART = 64 * MIB
MOST_PARTS = 32  # of one compose
SESSIONS = 8  # of one file at once
COMPOSED = "compose:"  # begins the id of a record that stands for parts
PART_NAME = re.compile(r"(.+)\.cftool-([0-9a-f]{16})\.part-(\d\d)", re.DOTALL)
_LONGEST_KEY = 1024 - len(".cftool-0123456789abcdef.part-00")
_KEPT = (TemporaryError, Interrupted)  # after one of these a later run may go on


def part_key(key: str, token: str, number: int) -> str:
    """The name of a part."""
    return f"{key}.cftool-{token}.part-{number:02}"


def delete_parts(service: Service, bucket: str, key: str, token: str) -> None:
    """Remove what is there of an upload's parts. Raises StoreError."""
    prefix = f"{key}.cftool-{token}.part-"
    asked = Expected(bucket, prefix, "", 1000)
    response = service.send(service.api.list_objects(asked, None, "", None))
    if response.status >= 300:
        raise service.error(response, f"{bucket}/{key}")
    for part in service.api.objects_listed(response, asked, "").keys:
        delete_one(service, bucket, part.key)


def delete_one(service: Service, bucket: str, key: str) -> None:
    """Delete an object; one that is gone is no error."""
    response = service.send(service.api.delete(bucket, key))
    if response.status >= 300:
        error = service.error(response, f"{bucket}/{key}")
        if not isinstance(error, NotFound):
            raise error


class _NoCompose(Exception):
    """The service is none that joins objects."""


class Large:
    """See the module. All methods but the jobs run in the loop's thread."""

    def __init__(self, loop: "Loop", item: WriteItem, new: NewObject) -> None:
        self.loop = loop
        self.service = loop.service
        self.item = item
        self._new = new
        self._reader: Reader | None = None
        self._sessions: list[Session] = []
        self._token = ""  # of a composed upload
        self._record: Record | None = None
        self._small: bytes | None = None  # of a stream: all of it, where it fits into one request
        self._entry: Entry | None = None
        self._error: Exception | None = None
        self._over = False
        self._closing = False  # the running job is the last
        self._anew = False  # but for this: the service composes nothing, and one session does it again
        self._job: Future[None] | None = loop.submit(self._prepare)

    # ---- the loop's side

    def ended(self) -> bool:
        """Look at the workers; whether all is over and the result is out."""
        if not self._worked():
            return False
        if self._over:
            return True
        if self._closing and not self._anew:
            self._end()
            return True
        self._closing = self._anew = False
        if self._small is not None and self._error is None:
            self._over = True
            if self._reader is not None:
                self._reader.close()
            self.loop.again(self.loop.loaded(self.item, self._new, self._small))
            return True
        for session in self._sessions:
            self._error = self._error or session.error
        if self._error is not None:
            if not any(session.busy or session.job is not None for session in self._sessions):
                self._closing = True
                self._job = self.loop.submit(self._fail)
        elif self._sessions and all(session.entry is not None for session in self._sessions):
            self._closing = True
            self._job = self.loop.submit(self._finish)
        return False

    def _worked(self) -> bool:
        """Collect what the worker threads have done; False while the upload's own job runs."""
        for session in self._sessions:
            if session.job is not None and session.job.done():
                session.error = session.error or _failure(session.job)
                session.job = None
        if self._job is None:
            return True
        if not self._job.done():
            return False
        self._error = self._error or _failure(self._job)
        self._job = None
        return True

    def next_request(self) -> Request | None:
        """Something to send now, or None."""
        if self._job is not None or self._error is not None or self._closing:
            return None
        at_work = 0
        for session in self._sessions:
            if session.entry is not None:
                continue
            at_work += 1
            if at_work > SESSIONS:
                return None
            if not session.opened and session.job is None:
                session.job = self.loop.submit(session.open)
            request = session.next_request()
            if request is not None:
                return request
            if session.error is not None:
                return None
        return None

    def before_last(self, session: Session) -> None:
        """Nothing is published that the source does not stand by. Raises SourceChanged."""
        if not self._token and self._reader is not None:
            check_ended(self._reader, session.size, self.item.source.size, self.item.path)
            self.item.source.check()

    def _end(self) -> None:
        self._over = True
        if self._reader is not None:
            self._reader.close()
        error = self._error
        if isinstance(error, StoreError):
            error = explained(self.item, error)
        self.loop.done(self.item, self._entry if error is None else None, error)

    def abandon(self) -> None:
        """The loop is torn down: keep what can be resumed, give up the rest."""
        jobs = [self._job, *(session.job for session in self._sessions)]
        for job in jobs:
            if job is not None and not job.cancel():
                job.exception()  # waits for it
        if not self._over:
            self._error = self._error or ConnectionFailed("the upload was interrupted")
            self._fail()
        if self._reader is not None:
            self._reader.close()

    # ---- records of earlier runs

    def take(self, path: str, known: str, described: str) -> Record | None:
        """The record of a dead process that did the very same; others of that path are ended."""
        found: Record | None = None
        for record in self.loop.uploader.sessions.stale(path):
            intent = record.intent
            same = bool(known) and (intent.source, intent.headers) == (known, described)
            if found is None and same and record.upload_id is not None:
                found = record
            else:
                drop(self.service, record)
        return found

    # ---- jobs, in worker threads

    def _prepare(self) -> None:
        source = self.item.source
        reader = self._reader = Reader(source, self.service.check)
        size = source.size
        if reader.random and size is not None:
            if self._may_compose(size):
                self._plan_parts(reader, size)
            else:
                self._sessions = [Session(self, self._new, reader, 0, size)]
            return
        from cftool_providers.gs._upload import WHOLE

        first = reader.take(WHOLE + 1)
        if len(first) <= WHOLE:
            check_ended(reader, len(first), size, self.item.path)
            source.check()
            self._small = first
            return
        session = Session(self, self._new, reader, 0, None)
        session.feed(first)
        self._sessions = [session]

    def _may_compose(self, size: int) -> bool:
        return (
            size >= COMPOSE_FROM
            and hashing.available("crc32c")
            and len(self._new.key.encode()) <= _LONGEST_KEY
            # Parts of the colder classes cost what their shortest time of storage costs.
            and self.service.settings.storage_class in {"", "STANDARD"}
            and self.service.memory.get(self._memory_key()) != "none"
        )

    def _memory_key(self) -> str:
        return f"{self.service.settings.identity}:compose"

    def _plan_parts(self, reader: Reader, size: int) -> None:
        count = min(MOST_PARTS, math.ceil(size / PART))
        step = math.ceil(size / count / MIB) * MIB
        known = fingerprint(self.item.source.local_path) if self._new.generation is None else ""
        described = f"compose {self._new.modified_ns} {step}"
        record = self.take(self._new.path, known, described) if known else None
        resumed = record is not None and (record.upload_id or "").startswith(COMPOSED)
        if record is not None and not resumed:
            drop(self.service, record)
            record = None
        self._token = (record.upload_id or "")[len(COMPOSED) :] if record is not None else os.urandom(8).hex()
        if record is None:
            record = self.loop.uploader.sessions.begin(self._new.path, known, step, described)
            if record is not None:
                record.created(COMPOSED + self._token)
        self._record = record
        bucket, key = self._new.bucket, self._new.key
        sessions = []
        for number, start in enumerate(range(0, size, step)):
            new = NewObject(bucket, part_key(key, self._token, number))
            sessions.append(Session(self, new, reader, start, min(start + step, size)))
        if resumed:
            for session in sessions:
                session.find()
        self._sessions = sessions

    def _finish(self) -> None:
        """Compose and verify where there are parts."""
        if not self._token:
            [session] = self._sessions
            self._entry = session.entry
            return
        source, reader = self.item.source, self._reader
        assert reader is not None
        try:
            check_ended(reader, sum(session.size for session in self._sessions), source.size, self.item.path)
            source.check()
            self._entry = self._compose()
        except _NoCompose:
            self._settle(keep=False)
            self._token = ""
            self._sessions = [Session(self, self._new, reader, 0, source.size)]
            self._anew = True
            return
        except BaseException as error:
            self._settle(keep=isinstance(error, _KEPT))
            raise
        self._settle(keep=False)

    def _compose(self) -> Entry:
        whole, size = "", 0
        for session in self._sessions:
            whole = session.digest if not whole else hashing.combine("crc32c", whole, session.digest, session.size)
            size += session.size
        parts = [(session.new.key, (session.entry and session.entry.version) or "") for session in self._sessions]
        try:
            response = self.service.send(self.service.api.compose(self._new, parts))
            if response.status >= 300:
                error = self.service.error(response, self.item.path)
                if isinstance(error, (Unsupported, ProtocolError)):
                    self.service.memory.set(self._memory_key(), "none")
                    raise _NoCompose
                raise error
            entry = self.service.api.written(self._new, response, size)
            if "crc32c" not in entry.hashes:  # the XML API does not say it of what it composed
                entry = self._look()
        except TemporaryError:
            # It may have been done all the same, and only the answer got lost: the object tells.
            entry = self._look()
            if entry.size != size or entry.hashes.get("crc32c") != whole:
                raise
        if entry.size != size or entry.hashes.get("crc32c", whole) != whole:
            raise IntegrityError("the service composed another file than was sent", op="write", path=self.item.path)
        return entry

    def _look(self) -> Entry:
        response = self.service.describe(self._new.bucket, self._new.key)
        if response.status != 200:
            raise TemporaryError("the service did not compose the file", op="write", path=self.item.path)
        return self.service.api.described(self.item.path, response)

    def _fail(self) -> None:
        """After a failure: keep what a later run can resume, give up everything else."""
        self._settle(keep=isinstance(self._error, _KEPT))

    def _settle(self, *, keep: bool) -> None:
        record, self._record = self._record, None
        keep = keep and (not self._token or (record is not None and bool(record.intent.source)))
        try:
            for session in self._sessions:
                session.keep() if keep else session.give_up()
            if self._token and not keep:
                for session in self._sessions:
                    delete_one(self.service, session.new.bucket, session.new.key)
        except Interrupted:
            if record is not None:
                record.close()  # `leftovers` finds it
        except StoreError as error:
            log.warning("parts of the upload of %s are left behind: %s", self.item.path, error.message)
            if record is not None:
                record.close()
        else:
            if record is not None:
                record.close() if keep else record.remove()


def drop(service: Service, record: Record) -> None:
    """End what a record of a dead process stands for.

    One without an id may stand for a session that nobody can name; it expires by itself within a week.
    """
    upload_id, path = record.upload_id, record.intent.path
    try:
        if upload_id is not None and upload_id.startswith(COMPOSED):
            bucket, _, key = path.partition("/")
            delete_parts(service, bucket, key, upload_id[len(COMPOSED) :])
        elif upload_id is not None:
            cancel(service, upload_id)
    except StoreError as error:
        log.warning("an old upload of %s was not ended: %s", path, error.message)
        record.close()
    else:
        record.remove()


def _failure(job: "Future[None]") -> Exception | None:
    error = job.exception()
    if error is not None and not isinstance(error, Exception):
        raise error
    return error
