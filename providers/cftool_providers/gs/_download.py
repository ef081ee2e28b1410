"""read and read_many.

`read` streams one object, whole or a range, and believes it only when the answer says the very range, size and
generation that were asked for. `read_many` is the loop of `http.downloads`.
"""

from collections.abc import Iterable, Iterator

from cftool.core.download import VerifiedDownload
from cftool.core.errors import (
    IsADirectory,
    NotFound,
    PreconditionFailed,
    ProtocolError,
    StoreError,
)
from cftool.core.types import Entry, Kind, ReadItem, Result
from cftool.http import downloads
from cftool.http.types import Header, Request, Response, Sink, Stream
from cftool_providers.gs._listing import Lister
from cftool_providers.gs._objects import check_range, generation, header_entry
from cftool_providers.gs._service import Service, split_path


class Downloader:
    """Thread-safe: each call has its own state. It is the loop's `downloads.Origin`."""

    joinable = ("crc32c",)

    def __init__(self, service: Service, lister: Lister) -> None:
        self.service = service
        self.lister = lister

    # ---- metadata

    def head(self, path: str) -> Entry | None:
        """The object, or None where the service has none. Raises StoreError."""
        response = self.service.describe(*split_path(path))
        return self.service.api.described(path, response) if response.status == 200 else None

    def missing(self, path: str, op: str = "read") -> StoreError:
        """Nothing has that key; perhaps it is a directory."""
        bucket, key = split_path(path)
        if self.lister.first(bucket, key + "/", count=1).keys:
            return IsADirectory("is a directory", op=op, path=path)
        return NotFound("no such object", op=op, path=path)

    # ---- one stream

    def read(self, path: str, start: int, end: int | None, if_version: str | None) -> VerifiedDownload:
        """See Store.read."""
        bucket, key = split_path(path)
        if not key:
            raise IsADirectory("is a bucket" if bucket else "is the root", op="read", path=path)
        if if_version is not None and not (if_version.isascii() and if_version.isdigit()):
            raise PreconditionFailed("no object has that version", op="read", path=path)
        if end is not None and end <= start:
            return self._nothing(path, start, if_version)
        ranged = start > 0 or end is not None
        headers: tuple[Header, ...] = ()
        if ranged:
            headers = (("range", f"bytes={start}-{'' if end is None else end - 1}"),)
        stream, body = self.service.stream(self.service.api.get(bucket, key, version=if_version, headers=headers))
        if stream.status == 416 and ranged:
            return self._nothing(path, start, if_version)
        if stream.status >= 300:
            raise self.refused(stream, body, path)
        try:
            entry = self._opened(stream, path, start, end, ranged=ranged)
            if if_version is not None and entry.version not in {None, if_version}:
                raise PreconditionFailed("it is another version by now", op="read", path=path)
        except BaseException:
            stream.close()
            raise
        return VerifiedDownload(entry, stream.chunks(), start=start, end=end, close=stream.close)

    def _opened(self, stream: Stream, path: str, start: int, end: int | None, *, ranged: bool) -> Entry:
        headers = stream.headers
        size: int | None = None
        if ranged and stream.status == 206:
            size = check_range(path, headers, start, end)
        elif stream.status != 200 or "content-range" in headers:
            raise ProtocolError(f"the whole object was asked for; the answer has status {stream.status}", path=path)
        entry = header_entry(path, headers, size=size, timed=self.service.xml is not None)
        if ranged and size is None and (start or (entry.size or 0) > (end or 0)):
            raise ProtocolError("a part of the object was asked for; the service sent the whole", path=path)
        return entry

    def _nothing(self, path: str, start: int, if_version: str | None) -> VerifiedDownload:
        """An empty range: of an object that must be there all the same."""
        entry = self.head(path)
        if entry is None:
            raise self.missing(path)
        if if_version is not None and entry.version not in {None, if_version}:
            raise PreconditionFailed("it is another version by now", op="read", path=path)
        return VerifiedDownload(entry, iter(()), start=start, end=start)

    def refused(self, response: Response | Stream, body: bytes, path: str) -> StoreError:
        """Why a GET failed. What the media address says of a missing object is plain text: the metadata decide."""
        error = self.service.error(response, path, body)
        if response.status == 404:
            return self.missing(path) if self.head(path) is None else error
        if response.status == 412 and not isinstance(error, PreconditionFailed):
            return PreconditionFailed("it is another version by now", op="read", path=path)
        return error

    # ---- many

    def run(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Results of read_many in order of completion."""
        return downloads.Loop(self, items).run()

    def is_object(self, path: str) -> bool:
        """A bucket is none."""
        return bool(split_path(path)[1])

    def get(
        self,
        entry: Entry,
        *,
        tag: object,
        part: tuple[int, int] | None = None,
        sink: Sink | None = None,
        max_body: int = downloads.MAX_BODY,
    ) -> Request:
        """The content, of this generation alone."""
        headers: tuple[Header, ...] = () if part is None else (("range", f"bytes={part[0]}-{part[1] - 1}"),)
        bucket, key = split_path(entry.path)
        return self.service.api.get(
            bucket, key, version=entry.version, headers=headers, sink=sink, tag=tag, max_body=max_body
        )

    def got(self, path: str, response: Response) -> Entry:
        """The object that came whole."""
        return header_entry(path, response.headers, timed=self.service.xml is not None)

    def part(self, path: str, response: Response, first: int, end: int) -> tuple[int, str | None]:
        """Size and generation of the object of which a part came."""
        if response.status != 206:
            raise ProtocolError("a part of the object was asked for; the service sent the whole", path=path)
        size = check_range(path, response.headers, first, end)
        version = response.headers.get("x-goog-generation")
        return size, None if version is None else generation(version.strip())

    def merged(self, listed: Entry, got: Entry) -> Entry:
        """Of times and hashes the headers of an answer may know less than a listing."""
        return Entry(
            listed.path,
            Kind.FILE,
            got.size,
            listed.modified_ns if got.modified_ns is None else got.modified_ns,
            listed.stored_ns if got.stored_ns is None else got.stored_ns,
            listed.version if got.version is None else got.version,
            None,
            got.hashes or listed.hashes,
        )

    def region(self, path: str) -> str:
        """All buckets are at one address."""
        del path
        return ""

    def learn(self, path: str, response: Response, region: str) -> bool:
        """No answer names another address."""
        del path, response, region
        return False
