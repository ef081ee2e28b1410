"""read and read_many, by `http.downloads`.

Where the service has only an MD5, and no checksum that can be joined, a large file is read back for it.
"""

from cftool.core.errors import ProtocolError, StoreError
from cftool.core.types import Entry
from cftool.http import downloads
from cftool.http.flat import split_path
from cftool.http.types import Header, Request, Response, Sink, Stream
from cftool_providers.s3 import _objects
from cftool_providers.s3._listing import Lister
from cftool_providers.s3._objects import CHECKSUM_MODE, quote_etag, unquote_etag
from cftool_providers.s3._service import Service


class Downloader(downloads.Origin):
    """Versions are ETags, asked for with If-Match."""

    joinable = ("crc64nvme", "crc32c", "crc32")
    service: Service

    def __init__(self, service: Service, lister: Lister) -> None:
        super().__init__(service, lister)

    def head(self, path: str) -> Entry | None:
        """HeadObject."""
        response = self.service.head(*split_path(path))
        return _objects.entry(path, response.headers) if response.status == 200 else None

    def stream(self, bucket: str, key: str, headers: tuple[Header, ...], version: str | None) -> tuple[Stream, bytes]:
        """GetObject."""
        return self.service.stream("GetObject", bucket, key, headers=_headers(headers, version))

    def opened(self, stream: Stream, path: str, start: int, end: int | None, *, ranged: bool) -> Entry:
        """`rclone serve s3` answers ranges with 200 and a Content-Range."""
        headers = stream.headers
        self.service.note(split_path(path)[0], headers)
        size: int | None = None
        if ranged and (stream.status == 206 or "content-range" in headers):
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

    def get(
        self,
        entry: Entry,
        *,
        tag: object,
        part: tuple[int, int] | None = None,
        sink: Sink | None = None,
        max_body: int = downloads.MAX_BODY,
    ) -> Request:
        """GetObject."""
        headers: tuple[Header, ...] = () if part is None else (("range", f"bytes={part[0]}-{part[1] - 1}"),)
        bucket, key = split_path(entry.path)
        headers = _headers(headers, entry.version)
        return self.service.request(
            "GET", "GetObject", bucket, key, headers=headers, sink=sink, tag=tag, max_body=max_body, encoded=True
        )

    def got(self, path: str, response: Response) -> Entry:
        """An object's headers tell all that a listing does."""
        entry = _objects.entry(path, response.headers)
        self.service.note(split_path(path)[0], response.headers)
        return entry

    def part(self, path: str, response: Response, first: int, end: int) -> tuple[int, str | None]:
        """`rclone serve s3` answers ranges with 200 and a Content-Range."""
        size = _objects.check_range(path, response.headers, first, end)
        return size, unquote_etag(response.headers.get("etag"))

    def refused(self, response: Response | Stream, body: bytes, path: str) -> StoreError:
        """As the service says it."""
        return self.service.error(response, split_path(path)[0], path, body)

    def region(self, path: str) -> str:
        """That of the bucket."""
        return self.service.region(split_path(path)[0])

    def learn(self, path: str, response: Response, region: str) -> bool:
        """Whether the refusal told another region of the bucket."""
        return self.service.learn(split_path(path)[0], response, response.body, region)


def _headers(others: tuple[Header, ...], version: str | None) -> tuple[Header, ...]:
    headers = CHECKSUM_MODE + others
    return headers if version is None else (*headers, ("if-match", quote_etag(version)))
