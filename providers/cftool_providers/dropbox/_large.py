"""One large file, in a concurrent upload session: parts in parallel, the last one, which closes it, after all others.

Every part carries its content hash, which the service compares; their blocks joined give that of the file, which the
commit compares. Before the commit the source must prove itself unchanged. A local file's upload that broke off goes on
in a later run (`_sessions`): a part counts as stored only where its hash is still that of the file.
"""

import logging
import threading
from typing import TYPE_CHECKING

from cftool.core.errors import Interrupted, ProtocolError, SourceChanged, TemporaryError, TooLarge
from cftool.core.types import Entry, WriteItem
from cftool.disk.reader import Counted
from cftool.disk.records import fingerprint
from cftool.http.types import Body
from cftool_providers.dropbox import _errors
from cftool_providers.dropbox._api import Service, answer
from cftool_providers.dropbox._commit import Committer, Pending, SessionLost
from cftool_providers.dropbox._reader import Reader, blocks_of, joined
from cftool_providers.dropbox._sessions import Record, Sessions

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

log = logging.getLogger("cftool.dropbox")

PART = 8 * 1024 * 1024  # a multiple of 4 MiB, as concurrent sessions want it
PARALLEL = 4
LARGEST = 2**41 - 2**22  # bytes of a file
_KEPT = (TemporaryError, Interrupted)  # after one of these a later run may go on


class Large:
    """Thread-safe: each call has its own state."""

    def __init__(self, service: Service, committer: Committer, sessions: Sessions) -> None:
        self._service = service
        self._committer = committer
        self._sessions = sessions

    def write(self, item: WriteItem, small: int) -> Entry | bytes:
        """The entry; or the content, where a stream turns out to have no more than `small` bytes."""
        size = item.source.size
        if size is not None and size > LARGEST:
            raise TooLarge("is larger than Dropbox takes", op="write", path=item.path)
        for attempt in range(2):
            reader = Reader(item.source, self._service.check)
            try:
                if reader.random and size is not None:
                    return self._file(item, reader, size)
                return self._stream(item, reader, small)
            except SessionLost as error:
                if attempt:
                    raise
                log.info("%s; it is sent anew", error.message)
            finally:
                reader.close()
        raise AssertionError("unreachable")

    # ---- a file that can be read anywhere

    def _file(self, item: WriteItem, reader: Reader, size: int) -> Entry:
        record = self._sessions.open(item.path, fingerprint(item.source.local_path), PART)
        try:
            entry = self._sent(item, reader, size, record)
        except BaseException as error:
            if record is not None:
                if isinstance(error, _KEPT) or not isinstance(error, Exception):
                    record.close()
                else:
                    record.remove()
            raise
        if record is not None:
            record.remove()
        return entry

    def _sent(self, item: WriteItem, reader: Reader, size: int, record: Record | None) -> Entry:
        session = record.session if record is not None else None
        if session is None:
            session = self._start()
            if record is not None:
                record.began(session)
        blocks: dict[int, list[bytes]] = {}
        recording = threading.Lock()

        def send(start: int) -> None:
            end = min(start + PART, size)
            blocks[start] = reader.blocks(start, end)
            digest = joined(blocks[start])
            if record is not None and record.parts.get(start) == digest:
                if item.progress is not None:
                    item.progress(end - start)
                return
            body = Body(end - start, Counted(reader, start, item.progress).pread)
            self._append(session, start, body, digest, close=end == size)
            if record is not None:
                with recording:
                    record.stored(start, digest)

        starts = list(range(0, size, PART))
        with _pool() as pool:
            _all([pool.submit(send, start) for start in starts[:-1]])
        send(starts[-1])
        reader.require_end(size)
        return self._commit(item, session, size, [block for start in starts for block in blocks[start]])

    # ---- a stream

    def _stream(self, item: WriteItem, reader: Reader, small: int) -> Entry | bytes:
        first = reader.take(small + 1)
        if len(first) <= small:
            self._require(item, len(first))
            item.source.check()
            return first
        session = self._start()
        blocks: list[bytes] = []
        offset = 0
        rest = first
        running: set[Future[None]] = set()
        with _pool() as pool:
            try:
                while True:
                    data = rest + reader.take(PART + 1 - len(rest))
                    if len(data) <= PART:
                        break
                    # One byte is ahead: it shows that this part is not the last.
                    data, rest = data[:PART], data[PART:]
                    own = blocks_of(data)
                    blocks += own
                    running.add(pool.submit(self._piece, item, session, offset, data, joined(own)))
                    offset += len(data)
                    while len(running) > PARALLEL:
                        running = _fewer(running)
            except BaseException:
                for future in running:
                    future.cancel()
                raise
            _all(list(running))
        own = blocks_of(data)
        size = offset + len(data)
        self._require(item, size)
        self._piece(item, session, offset, data, joined(own), close=True)
        return self._commit(item, session, size, blocks + own)

    def _piece(
        self, item: WriteItem, session: str, offset: int, data: bytes, digest: str, *, close: bool = False
    ) -> None:
        self._append(session, offset, data, digest, close=close)
        if item.progress is not None:
            item.progress(len(data))

    @staticmethod
    def _require(item: WriteItem, size: int) -> None:
        if item.source.size not in {None, size}:
            raise SourceChanged(f"the source has {size} bytes, not {item.source.size}", op="write", path=item.path)

    # ---- requests

    def _start(self) -> str:
        arg = {"session_type": {".tag": "concurrent"}}
        response = self._service.client.send(self._service.upload("files/upload_session/start", arg, b""))
        session = answer(response, None).get("session_id")
        if not isinstance(session, str) or not session:
            raise ProtocolError("Dropbox began an upload session and did not name it", op="write")
        return session

    def _append(self, session: str, offset: int, body: bytes | Body, digest: str, *, close: bool) -> None:
        arg = {"cursor": {"session_id": session, "offset": offset}, "close": close, "content_hash": digest}
        for attempt in range(3):
            response = self._service.client.send(self._service.upload("files/upload_session/append_v2", arg, body))
            if response.status == 200:
                return
            known = _errors.tags(_errors.body_error(response.body)) if response.status == 409 else ()
            if known[:1] == ("closed",):
                return  # by an attempt whose answer got lost; the commit finds out whether all is there
            if known[:1] in {("not_found",), ("incorrect_offset",)}:
                raise SessionLost(f"Dropbox lost the upload ({known[0]})", op="write")
            if known[:1] != ("content_hash_mismatch",) or attempt == 2:
                raise _errors.error(response, response.body)

    def _commit(self, item: WriteItem, session: str, size: int, blocks: list[bytes]) -> Entry:
        item.source.check()
        one = Pending(item, session, size, joined(blocks))
        self._committer.finish([one])
        if one.error is not None:
            raise one.error
        assert one.entry is not None
        return one.entry


def _pool() -> "ThreadPoolExecutor":
    from concurrent.futures import ThreadPoolExecutor  # only large files need it

    return ThreadPoolExecutor(PARALLEL, thread_name_prefix="cftool-dropbox")


def _fewer(futures: "set[Future[None]]") -> "set[Future[None]]":
    """Wait until one is done; its failure is raised. Those that still run."""
    from concurrent.futures import FIRST_COMPLETED, wait

    done, running = wait(futures, return_when=FIRST_COMPLETED)
    _all(list(done))
    return running


def _all(futures: "list[Future[None]]") -> None:
    """Wait for all; the first failure keeps what has not begun from beginning, and is raised."""
    failed: BaseException | None = None
    try:
        for future in futures:
            if failed is not None:
                future.cancel()
                continue
            failed = future.exception()
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    if failed is not None:
        raise failed
