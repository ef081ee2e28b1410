"""read and read_many, by `http.downloads`."""

from cftool.core.download import VerifiedDownload
from cftool.core.errors import NotFound, PreconditionFailed, ProtocolError, StoreError
from cftool.core.types import Entry, Kind
from cftool.http import downloads
from cftool.http.flat import split_path
from cftool.http.types import Header, Request, Response, Sink, Stream
from cftool_providers.gs._listing import Lister
from cftool_providers.gs._objects import check_range, generation, header_entry
from cftool_providers.gs._service import Service


class Downloader(downloads.Origin):
    """Versions are generations."""

    joinable = ("crc32c",)
    service: Service

    def __init__(self, service: Service, lister: Lister) -> None:
        super().__init__(service, lister)

    def head(self, path: str) -> Entry | None:
        """The metadata."""
        response = self.service.describe(*split_path(path))
        return self.service.api.described(path, response) if response.status == 200 else None

    def read(self, path: str, start: int, end: int | None, if_version: str | None) -> VerifiedDownload:
        """A version that is no generation is nobody's."""
        if if_version is not None and not (if_version.isascii() and if_version.isdigit()):
            raise PreconditionFailed("no object has that version", op="read", path=path)
        return super().read(path, start, end, if_version)

    def stream(self, bucket: str, key: str, headers: tuple[Header, ...], version: str | None) -> tuple[Stream, bytes]:
        """The content."""
        return self.service.stream(self.service.api.get(bucket, key, version=version, headers=headers))

    def opened(self, stream: Stream, path: str, start: int, end: int | None, *, ranged: bool) -> Entry:
        """What the headers say of the object."""
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

    def refused(self, response: Response | Stream, body: bytes, path: str) -> StoreError:
        """What the media address says of a missing object is plain text: the metadata decide."""
        error = self.service.error(response, path, body)
        if response.status == 404:
            return NotFound("no such object", op="read", path=path) if self.head(path) is None else error
        if response.status == 412 and not isinstance(error, PreconditionFailed):
            return PreconditionFailed("it is another version by now", op="read", path=path)
        return error
