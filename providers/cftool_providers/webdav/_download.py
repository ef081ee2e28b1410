"""read and read_many: a body is believed only where its headers say that it is the very file, range and version.

Versions are compared here, by the ETag of the answer: If-Match fails on Apache's weak ones, and some servers ignore it.
An answer without an ETag may be anybody's (a captive portal's), so that the server is asked about the file once more.
Small files arrive in memory and are verified before they are saved; large ones are written as they arrive, in ranges
where their version can be told, so that a later run goes on with what is there.
"""

import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import Any

from cftool.core import hashing
from cftool.core.download import VerifiedDownload
from cftool.core.errors import (
    IntegrityError,
    IsADirectory,
    NotADirectory,
    NotFound,
    PreconditionFailed,
    ProtocolError,
    StoreError,
)
from cftool.core.types import NO_HASHES, Entry, Kind, Partial, ReadItem, Result
from cftool.http.types import Header, Request, Response, Stream
from cftool_providers.webdav._api import Api, content_range, hashes, modified_of, opaque
from cftool_providers.webdav._flows import Flow, Flows, Gate, Job, Step

log = logging.getLogger("cftool.webdav")

MIB = 1024 * 1024
SMALL = 8 * MIB  # up to this a file is collected in memory
MEMORY = 48 * MIB  # of files in flight
LARGE = 4  # large files at once
RANGE = 16 * MIB
STREAMS = 4  # ranges of one file at once
READ_BACK = 4 * MIB
Part = Generator[Step, Any, Any]


class Downloader:
    """Thread-safe: each call has its own state."""

    def __init__(self, api: Api) -> None:
        self.api = api

    # ---- one stream

    def read(self, path: str, start: int, end: int | None, if_version: str | None) -> VerifiedDownload:
        """See Store.read."""
        api = self.api
        if not path:
            raise IsADirectory("is the root", op="read", path=path)
        api.ready()
        if end is not None and end <= start:
            return self._nothing(path, start, if_version)
        ranged = start > 0 or end is not None
        headers: tuple[Header, ...] = ()
        if ranged:
            headers = (("range", f"bytes={start}-{'' if end is None else end - 1}"),)
        stream = self._open(path, headers)
        if stream.status == 416 and ranged:
            stream.close()
            return self._nothing(path, start, if_version)
        try:
            known = if_version is not None  # then the caller knows the size, too
            entry, skip = self._opened(stream, path, start, end, ranged=ranged, known=known)
            _require_version(entry, if_version)
        except BaseException:
            stream.close()
            raise
        chunks = stream.chunks()
        if skip:
            chunks = _cut(chunks, skip, entry.size, end)
        return VerifiedDownload(entry, chunks, start=start, end=end, close=stream.close)

    def _open(self, path: str, headers: tuple[Header, ...]) -> Stream:
        api = self.api
        request = api.request("GET", path, headers=headers, encoded=True)
        stream = api.client.stream(request)
        if stream.status in {200, 206, 416}:
            return stream
        body = stream.read_all()
        stream.close()
        entry = self._instead(path, stream, body)
        # It is there, although the server said that it is not: box.com shows what is new a little later.
        api.client.clock.sleep(0.5)
        stream = api.client.stream(request)
        if stream.status not in {200, 206}:
            body = stream.read_all()
            stream.close()
            raise api.error(stream, entry.path, body)
        return stream

    def _instead(self, path: str, answer: Stream | Response, body: bytes) -> Entry:
        """Why a GET was refused. Returns only where it was a 404 for what is there."""
        error = self.api.error(answer, path, body)
        if answer.status < 300 or answer.status in {401, 429} or answer.status >= 502:
            raise error
        try:
            entry = self.api.find(path)
        except (NotFound, NotADirectory):
            raise NotFound("no such file", op="read", path=path) from None
        if entry.is_dir:
            raise IsADirectory("is a directory", op="read", path=path)
        if answer.status != 404:
            raise error
        return entry

    def _opened(
        self, stream: Stream, path: str, start: int, end: int | None, *, ranged: bool, known: bool
    ) -> tuple[Entry, int]:
        """The entry, and how many bytes of the body come before what was asked for, plus one; 0: none to cut."""
        headers = stream.headers
        if stream.status == 206:
            if not ranged:
                raise ProtocolError("the whole file was asked for; a part of it came", path=path)
            size = _checked_range(headers, start, end, path)
            return self._entry(path, headers, size, known=known), 0
        length = headers.get("content-length")
        size = int(length) if length is not None and length.isdigit() else None
        entry = self._entry(path, headers, size, known=known)
        return entry, (start + 1 if ranged else 0)  # the server knows no ranges: the whole file comes

    def _entry(self, path: str, headers: "dict[str, str] | Any", size: int | None, *, known: bool) -> Entry:
        version = opaque(headers.get("etag"))
        profile = self.api.profile
        checksums = headers.get("oc-checksum") if profile.checksums else None
        # Without a checksum nothing but a look beside it tells whether this is all of the file.
        if version is None or size is None or not (known or checksums):
            return self._require_same(Entry(path, Kind.FILE, size, version=version))
        when = modified_of(headers)
        return Entry(
            path,
            Kind.FILE,
            size,
            when if profile.times else None,
            None if profile.times else when,
            version,
            None,
            hashes(checksums) if checksums else NO_HASHES,
        )

    def _require_same(self, offered: Entry) -> Entry:
        """What is there by the properties, which must be what a GET offered."""
        path, size, version = offered.path, offered.size, offered.version
        entry = self.api.find(path)
        if entry.is_dir:
            raise IsADirectory("is a directory", op="read", path=path)
        if size is not None and entry.size is not None and size != entry.size:
            raise IntegrityError(f"{size} bytes were offered; the file has {entry.size}", op="read", path=path)
        if version is not None and entry.version not in {None, version}:
            raise PreconditionFailed("it changed while it was opened", op="read", path=path)
        return entry

    def _nothing(self, path: str, start: int, if_version: str | None) -> VerifiedDownload:
        """An empty range: of a file that must be there all the same."""
        entry = self.api.find(path)
        if entry.is_dir:
            raise IsADirectory("is a directory", op="read", path=path)
        _require_version(entry, if_version)
        return VerifiedDownload(entry, iter(()), start=start, end=start)

    # ---- many

    def run(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Results of read_many in order of completion."""
        return _Loop(self, items).flows.run()

    def refused(self, path: str, response: Response) -> StoreError:
        """Why a GET was refused."""
        try:
            self._instead(path, response, response.body)
        except StoreError as error:
            return error
        return self.api.error(response, path)


class _Loop:
    """One run of read_many."""

    def __init__(self, downloader: Downloader, items: Iterable[ReadItem]) -> None:
        self._downloader = downloader
        self._api = downloader.api
        self._items = iter(items)
        self._memory = 0
        self._large = 0
        self._ready = False
        self.flows = Flows(self._api.client, self._begin, room=lambda: self._memory < MEMORY and self._large < LARGE)

    def _begin(self) -> tuple[Flow, str, object] | None:
        if not self._ready:
            self._api.ready()
            self._ready = True
        item = next(self._items, None)
        if item is None:
            return None
        entry = item.entry
        small = entry.size is not None and entry.size <= SMALL
        return (self._small(item) if small else self._one_large(item)), entry.path, item.tag

    # ---- in memory

    def _small(self, item: ReadItem) -> Flow:
        entry = item.entry
        size = entry.size or 0
        self._memory += size
        try:
            request = self._api.request("GET", entry.path, max_body=max(size, 64 * 1024) + 1, encoded=True)
            response: Response = yield request
            if response.status != 200:
                raise (yield Job(lambda: self._downloader.refused(entry.path, response)))
            headers = response.headers
            if entry.version is None or entry.version != opaque(headers.get("etag")):
                yield from self._same(entry, response)
            body = response.body
            if len(body) != size:
                raise IntegrityError(f"{len(body)} of {size} bytes came", op="read", path=entry.path)
            found = self._with_hashes(entry, response) if "oc-checksum" in headers else entry
            if found.hashes and (name := hashing.mismatch(body, found.hashes)) is not None:
                raise IntegrityError(f"the content's {name} is not the file's", op="read", path=entry.path)
            item.target.save(body, found)
        finally:
            self._memory -= size
        return found

    def _with_hashes(self, entry: Entry, response: Response) -> Entry:
        if entry.hashes or not self._api.profile.checksums:
            return entry
        return entry._replace(hashes=hashes(response.headers["oc-checksum"]))

    def _same(self, listed: Entry, response: Response) -> Part:
        """Raise where the answer is not about what was listed."""
        version = opaque(response.headers.get("etag"))
        if version is None:
            now: Response = yield self._api.find_request(listed.path)
            found = self._api.found(now, listed.path)
            if found.is_dir:
                raise IsADirectory("is a directory by now", op="read", path=listed.path)
            if found.size is not None and listed.size is not None and found.size != listed.size:
                raise PreconditionFailed("it is another version by now", op="read", path=listed.path)
            version = found.version
        if listed.version is not None:
            if version != listed.version:
                raise PreconditionFailed("it is another version by now", op="read", path=listed.path)
            return
        when, known = modified_of(response.headers), (listed.stored_ns or listed.modified_ns)
        if when is not None and known is not None and when != known:
            raise PreconditionFailed("it is another version by now", op="read", path=listed.path)

    # ---- to the target as it arrives

    def _one_large(self, item: ReadItem) -> Flow:
        self._large += 1
        partial: Partial | None = None
        try:
            entry: Entry = yield Job(lambda: self._current(item.entry))
            if entry.size is None:
                raise ProtocolError("the server does not tell the file's size", op="read", path=entry.path)
            partial = yield Job(lambda: item.target.begin(entry))
            assert partial is not None
            if entry.version is None:
                partial.discard()  # what an earlier run left may be of another version
            todo = deque(partial.missing(RANGE if entry.version is not None else max(entry.size, 1)))
            yield from self._ranges(entry, partial, todo)
            yield Job(lambda: self._publish(entry, partial))
        finally:
            self._large -= 1
            if partial is not None:
                partial.close()
        return entry

    def _current(self, listed: Entry) -> Entry:
        entry = self._api.find(listed.path)
        if entry.is_dir:
            raise IsADirectory("is a directory", op="read", path=listed.path)
        if listed.version is not None and entry.version != listed.version:
            raise PreconditionFailed("it is another version by now", op="read", path=listed.path)
        if listed.size is not None and entry.size != listed.size:
            raise PreconditionFailed("it is another version by now", op="read", path=listed.path)
        return entry

    def _ranges(self, entry: Entry, partial: Partial, todo: deque[tuple[int, int]]) -> Part:
        """All that is missing, by several helpers."""
        if not todo:
            return
        gate = Gate()
        errors: list[Exception] = []
        left = min(STREAMS, len(todo))

        def helper() -> Flow:
            nonlocal left
            try:
                while todo and not errors:
                    start, end = todo.popleft()
                    yield from self._range(entry, partial, start, end)
            except Exception as error:
                errors.append(error)
            finally:
                left -= 1
                if not left:
                    self.flows.open(gate)
            return None

        for _ in range(left):
            self.flows.spawn(helper())
        yield gate
        if errors:
            raise errors[0]

    def _range(self, entry: Entry, partial: Partial, start: int, end: int) -> Part:
        whole = start == 0 and end == entry.size
        sink = _Sink(entry, partial, start, end)
        headers: tuple[Header, ...] = () if whole else (("range", f"bytes={start}-{end - 1}"),)
        request: Request = self._api.request("GET", entry.path, headers=headers, sink=sink, encoded=True)
        response: Response = yield request
        if response.status not in {200, 206}:
            raise (yield Job(lambda: self._downloader.refused(entry.path, response)))
        sink.finish()
        if sink.unsure:
            yield from self._same(entry, response)
        partial.done(start, end)

    @staticmethod
    def _publish(entry: Entry, partial: Partial) -> None:
        name = hashing.cheapest(entry.hashes)
        if name is not None and _digest(name, partial, entry) != entry.hashes[name]:
            partial.discard()
            raise IntegrityError(f"the content's {name} is not the file's", op="read", path=entry.path)
        partial.commit(entry)


class _Sink:
    """Writes a range to its place. Raises nothing while bytes come: `finish` does."""

    __slots__ = ("_at", "_end", "_entry", "_error", "_partial", "_skip", "_start", "unsure")

    def __init__(self, entry: Entry, partial: Partial, start: int, end: int) -> None:
        self._entry = entry
        self._partial = partial
        self._start = start
        self._end = end
        self._at = start
        self._skip = 0
        self._error: Exception | None = None
        self.unsure = False  # the answer did not say which version it is

    def start(self, response: Response) -> None:
        """Forget what an earlier attempt brought; check that this is the range."""
        self._at = self._start
        self._skip = 0
        self._error = None
        try:
            self._check(response)
        except Exception as error:
            self._error = error

    def _check(self, response: Response) -> None:
        entry, headers = self._entry, response.headers
        version = opaque(headers.get("etag"))
        self.unsure = version is None
        if version is not None and entry.version is not None and version != entry.version:
            raise PreconditionFailed("it is another version by now", op="read", path=entry.path)
        whole = self._start == 0 and self._end == entry.size
        if response.status == 206:
            size = _checked_range(headers, self._start, self._end, entry.path)
            if size not in {None, entry.size}:
                raise PreconditionFailed("it is another version by now", op="read", path=entry.path)
        elif not whole:
            self._skip = self._start  # the server knows no ranges
        length = headers.get("content-length")
        if response.status == 200 and length is not None and length.isdigit() and int(length) != entry.size:
            raise IntegrityError(f"{length} bytes were offered, not {entry.size}", op="read", path=entry.path)

    def write(self, chunk: bytes) -> None:
        """The next piece."""
        self.write_batch([chunk])

    def write_batch(self, chunks: list[bytes]) -> None:
        """The next pieces."""
        if self._error is not None:
            return
        try:
            if self._skip or self._at + sum(map(len, chunks)) > self._end:
                chunks = self._trimmed(b"".join(chunks))
            if chunks:
                self._partial.writev_at(chunks, self._at)
                self._at += sum(map(len, chunks))
        except Exception as error:  # of the disk, most likely
            self._error = error

    def _trimmed(self, data: bytes) -> list[bytes]:
        """What of a whole file belongs to the range. More than the file has is an error."""
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        data = data[skipped : skipped + self._end - self._at]
        return [data] if data else []

    def finish(self) -> None:
        """The range must be whole; raises what went wrong."""
        if self._error is not None:
            raise self._error
        if self._at != self._end:
            raise IntegrityError(
                f"{self._at - self._start} of {self._end - self._start} bytes came", op="read", path=self._entry.path
            )


def _checked_range(headers: "dict[str, str] | Any", start: int, end: int | None, path: str) -> int | None:
    """The size of the whole file; raises ProtocolError where the answer is another range than was asked for."""
    got = content_range(headers)
    if got is None:
        raise ProtocolError("a part of the file was asked for; the answer does not say which part it is", path=path)
    first, last, size = got
    wanted = last if end is None else (end if size is None else min(end, size))
    if first != start or last != wanted or (end is None and size is not None and last != size):
        raise ProtocolError(f"bytes {start} to {end} were asked for; {first} to {last} came", path=path)
    return size


def _cut(chunks: Iterator[bytes], skip: int, size: int | None, end: int | None) -> Iterator[bytes]:
    """Of a whole file, what was asked for; `skip` is one more than the offset."""
    offset = skip - 1
    at = 0
    stop = end if size is None or end is None else min(end, size)
    for chunk in chunks:
        first, last = max(offset - at, 0), len(chunk) if stop is None else min(len(chunk), stop - at)
        at += len(chunk)
        if first < last:
            yield chunk[first:last]
        if stop is not None and at >= stop:
            return


def _require_version(entry: Entry, if_version: str | None) -> None:
    if if_version is not None and entry.version not in {None, if_version}:
        raise PreconditionFailed("it is another version by now", op="read", path=entry.path)


def _digest(name: str, partial: Partial, entry: Entry) -> str:
    """The hash of what is in the target."""
    running = hashing.new(name)
    size, at = entry.size or 0, 0
    while at < size:
        data = partial.read_at(min(READ_BACK, size - at), at)
        if not data:
            raise IntegrityError(f"only {at} of {size} bytes can be read back", op="read", path=entry.path)
        running.update(data)
        at += len(data)
    return running.hexdigest()
