"""read and read_many.

`read` streams one object, whole or a range, and believes it only when the answer says the very range, size and version
that were asked for. `read_many` is the loop of `http.downloads`. Where the service has only an MD5, and no checksum
that can be joined, a large file is read back for it.
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
from cftool.core.types import Entry, ReadItem, Result
from cftool.http import downloads
from cftool.http.types import Header, Request, Response, Sink, Stream
from cftool_providers.s3 import _objects
from cftool_providers.s3._listing import Lister
from cftool_providers.s3._objects import CHECKSUM_MODE, quote_etag, unquote_etag
from cftool_providers.s3._service import Service, split_path


class Downloader:
    """Thread-safe: each call has its own state. It is the loop's `downloads.Origin`."""

    joinable = ("crc64nvme", "crc32c", "crc32")

    def __init__(self, service: Service, lister: Lister) -> None:
        self.service = service
        self.lister = lister

    # ---- metadata

    def head(self, path: str) -> Entry | None:
        """The object, or None where the service has none. Raises StoreError."""
        response = self.service.head(*split_path(path))
        return _objects.entry(path, response.headers) if response.status == 200 else None

    # ---- one stream

    def read(self, path: str, start: int, end: int | None, if_version: str | None) -> VerifiedDownload:
        """See Store.read."""
        bucket, key = split_path(path)
        if not key:
            raise IsADirectory("is a bucket" if bucket else "is the root", op="read", path=path)
        if end is not None and end <= start:
            return self._nothing(path, start, if_version)
        headers: tuple[Header, ...] = CHECKSUM_MODE
        ranged = start > 0 or end is not None
        if ranged:
            headers += (("range", f"bytes={start}-{'' if end is None else end - 1}"),)
        if if_version is not None:
            headers += (("if-match", quote_etag(if_version)),)
        stream, body = self.service.stream("GetObject", bucket, key, headers=headers)
        if stream.status == 416 and ranged:
            return self._nothing(path, start, if_version)
        if stream.status >= 300:
            error = self.service.error(stream, bucket, path, body)
            raise self._missing(path) if isinstance(error, NotFound) else error
        try:
            entry = self._opened(stream, path, bucket, start, end, ranged=ranged)
            if if_version is not None and entry.version not in {None, if_version}:
                raise PreconditionFailed("it is another version by now", op="read", path=path)
        except BaseException:
            stream.close()
            raise
        return VerifiedDownload(entry, stream.chunks(), start=start, end=end, close=stream.close)

    def _opened(self, stream: Stream, path: str, bucket: str, start: int, end: int | None, *, ranged: bool) -> Entry:
        headers = stream.headers
        self.service.note(bucket, headers)
        size: int | None = None
        if ranged and (stream.status == 206 or "content-range" in headers):
            # `rclone serve s3` answers ranges with 200 and a Content-Range.
            got = _objects.content_range(headers)
            size = _objects.check_range(path, headers, start, got[2] if end is None and got is not None else end or 0)
        elif stream.status != 200:
            raise ProtocolError(f"the whole object was asked for; the answer has status {stream.status}", path=path)
        elif "content-range" in headers:
            raise ProtocolError("the whole object was asked for; a part of it came", path=path)
        entry = _objects.entry(path, headers, size=size)
        if ranged and size is None and (start or (entry.size or 0) > (end or 0)):
            raise ProtocolError("a part of the object was asked for; the service sent the whole", path=path)
        return entry

    def _nothing(self, path: str, start: int, if_version: str | None) -> VerifiedDownload:
        """An empty range: of an object that must be there all the same."""
        entry = self.head(path)
        if entry is None:
            raise self._missing(path)
        if if_version is not None and entry.version not in {None, if_version}:
            raise PreconditionFailed("it is another version by now", op="read", path=path)
        return VerifiedDownload(entry, iter(()), start=start, end=start)

    def _missing(self, path: str) -> StoreError:
        """Nothing has that key; perhaps it is a directory."""
        bucket, key = split_path(path)
        page = self.lister.first(bucket, key + "/", count=1)
        if page.keys:
            return IsADirectory("is a directory", op="read", path=path)
        return NotFound("no such object", op="read", path=path)

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
        """GetObject, with If-Match."""
        headers: tuple[Header, ...] = CHECKSUM_MODE
        if entry.version is not None:
            headers += (("if-match", quote_etag(entry.version)),)
        if part is not None:
            headers += (("range", f"bytes={part[0]}-{part[1] - 1}"),)
        bucket, key = split_path(entry.path)
        return self.service.request(
            "GET", "GetObject", bucket, key, headers=headers, sink=sink, tag=tag, max_body=max_body, encoded=True
        )

    def got(self, path: str, response: Response) -> Entry:
        """The object that came whole."""
        entry = _objects.entry(path, response.headers)
        self.service.note(split_path(path)[0], response.headers)
        return entry

    def part(self, path: str, response: Response, first: int, end: int) -> tuple[int, str | None]:
        """`rclone serve s3` answers ranges with 200 and a Content-Range."""
        size = _objects.check_range(path, response.headers, first, end)
        return size, unquote_etag(response.headers.get("etag"))

    def merged(self, listed: Entry, got: Entry) -> Entry:
        """An object's headers tell all that a listing does."""
        del listed
        return got

    def refused(self, response: Response, body: bytes, path: str) -> StoreError:
        """As the service says it."""
        return self.service.error(response, split_path(path)[0], path, body)

    def region(self, path: str) -> str:
        """That of the bucket."""
        return self.service.region(split_path(path)[0])

    def learn(self, path: str, response: Response, region: str) -> bool:
        """Whether the refusal told another region of the bucket."""
        return self.service.learn(split_path(path)[0], response, response.body, region)
