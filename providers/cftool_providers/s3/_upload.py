"""write and write_many: the loop of `http.uploads`, small files whole, large ones in parts (see `_multipart`).

A small file is one signed PUT; the server checks the body against the signature (or Content-MD5), and the ETag that
comes back is compared with our own MD5.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cftool.core.errors import IntegrityError, InvalidName, IsADirectory, StoreError, Unsupported
from cftool.core.types import NO_HASHES, Cap, Entry, Kind, Result, WriteItem
from cftool.disk.reader import Reader
from cftool.disk.sessions import Sessions
from cftool.http import uploads
from cftool.http.flat import split_path
from cftool.http.types import Body, Header, Request, Response
from cftool_providers.s3._conditions import Conditions
from cftool_providers.s3._multipart import Multipart
from cftool_providers.s3._objects import is_md5, opaque_etag, quote_etag, time_headers, to_base64, unquote_etag
from cftool_providers.s3._service import Service
from cftool_providers.s3._settings import MAX_OBJECT


class Uploader:
    """Makes the loops. Thread-safe: each call has its own."""

    def __init__(self, service: Service, sessions: Sessions, conditions: Conditions) -> None:
        self.service = service
        self.sessions = sessions
        self.conditions = conditions

    def run(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Results in order of completion."""
        return Loop(self, items).run()

    def condition_headers(self, item: WriteItem, bucket: str) -> tuple[Header, ...]:
        """The item's conditions as headers. Raises Unsupported where this bucket does not obey them."""
        if item.if_version is None and not item.if_absent:
            return ()
        obeyed = self.conditions.of(bucket)
        if item.if_absent:
            if Cap.IF_ABSENT not in obeyed:
                raise Unsupported("the service ignores conditions (if_absent)", op="write", path=item.path)
            return (("if-none-match", "*"),)
        if Cap.IF_VERSION not in obeyed:
            raise Unsupported("the service ignores conditions (if_version)", op="write", path=item.path)
        assert item.if_version is not None
        return (("if-match", quote_etag(item.if_version)),)


class Place(NamedTuple):
    """Where an item goes, and the headers of its conditions."""

    bucket: str
    key: str
    conditions: tuple[Header, ...]


class Loop(uploads.Loop[Place, Multipart]):
    """One run of write_many."""

    def __init__(self, uploader: Uploader, items: Iterable[WriteItem]) -> None:
        service = uploader.service
        super().__init__(service, items, whole=service.settings.part_size, largest=MAX_OBJECT)
        self.uploader = uploader
        self.service = service
        self._base_headers = (("content-type", "application/octet-stream"), *service.settings.object_headers())

    def place(self, item: WriteItem) -> Place:
        """Bucket and key."""
        bucket, key = split_path(item.path)
        if not bucket:
            raise InvalidName("is the root, which is a directory", op="write", path=item.path)
        if not key:
            raise IsADirectory("is a bucket; a file needs a key in it", op="write", path=item.path)
        conditions: tuple[Header, ...] = ()
        if item.if_absent or item.if_version is not None:
            conditions = self.uploader.condition_headers(item, bucket)
        return Place(bucket, key, conditions)

    def hash_for(self, size: int) -> str:
        """What a plain object's ETag is."""
        return "md5"

    def put(
        self, item: WriteItem, place: Place, body: bytes | Body, digest: tuple[str, str], reader: Reader | None
    ) -> Request:
        """PutObject."""
        return _Put(self, item, place, body, digest, reader).request()

    def file_headers(self, item: WriteItem) -> tuple[Header, ...]:
        """Headers that every new object gets."""
        return self._base_headers + time_headers(item.modified_ns)

    def _begin(self, waiting: tuple[WriteItem, Place]) -> Multipart:
        return Multipart(self, *waiting)


class _Put(uploads.Put[Place]):
    """One file in one request."""

    __slots__ = ("_region",)
    loop: Loop

    def request(self) -> Request:
        """PutObject."""
        loop, (bucket, key, conditions) = self.loop, self.place
        service = loop.service
        self._region = service.region(bucket)
        headers = loop.file_headers(self.item)
        if self.size > uploads.IN_MEMORY or service.settings.anonymous:  # what the signature does not cover
            headers += (("content-md5", to_base64(self.digest[1])),)
        return service.request(
            "PUT",
            "PutObject",
            bucket,
            key,
            headers=headers + conditions if conditions else headers,
            body=self.body,
            # Sent twice, a conditional write would be refused by what its first copy wrote.
            idempotent=not conditions,
            tag=self,
        )

    def learned(self, response: Response) -> bool:
        """Another region, or a bucket that was made."""
        service, bucket = self.loop.service, self.place.bucket
        return service.learn(bucket, response, response.body, self._region) or service.ensure_bucket(bucket, response)

    def refused(self, response: Response) -> StoreError:
        """As the service says it."""
        return self.loop.service.error(response, self.place.bucket, self.item.path)

    def stored(self, response: Response) -> Entry:
        """The ETag is the MD5, unless the service is known to make it otherwise."""
        item, headers, md5 = self.item, response.headers, self.digest[1]
        service, bucket = self.loop.service, self.place.bucket
        etag = unquote_etag(headers.get("etag"))
        hashes = NO_HASHES
        if etag == md5:
            hashes = {"md5": etag}
        elif is_md5(etag) and not opaque_etag(headers) and service.etag_is_md5(bucket):
            raise IntegrityError(
                f"the service stored other bytes than were sent: MD5 {etag}, not {md5}", op="write", path=item.path
            )
        else:
            service.note(bucket, headers)
        return Entry(item.path, Kind.FILE, self.size, item.modified_ns, None, etag, None, hashes)
