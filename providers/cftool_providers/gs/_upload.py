"""write and write_many: the loop of `http.uploads`, small files whole, large ones in sessions (see `_large`).

A small file is one request with its metadata and its hash, which the service compares; the hash that comes back is
compared as well.
"""

from collections.abc import Iterable, Iterator

from cftool.core import hashing
from cftool.core.errors import (
    IntegrityError,
    InvalidName,
    IsADirectory,
    PreconditionFailed,
    StoreError,
    Unsupported,
)
from cftool.core.types import Cap, Entry, Result, WriteItem
from cftool.disk.reader import Reader
from cftool.disk.sessions import Sessions
from cftool.http import uploads
from cftool.http.flat import split_path
from cftool.http.types import Body, Request, Response
from cftool_providers.gs._api import NewObject
from cftool_providers.gs._conditions import Conditions
from cftool_providers.gs._large import Large
from cftool_providers.gs._service import Service
from cftool_providers.gs._settings import MAX_OBJECT, MIB

MD5_UP_TO = MIB  # above this CRC32C costs less, where it can be computed at all
WHOLE = 16 * MIB  # up to this a file goes in one request


class Uploader:
    """Makes the loops. Thread-safe: each call has its own."""

    def __init__(self, service: Service, sessions: Sessions, conditions: Conditions) -> None:
        self.service = service
        self.sessions = sessions
        self.conditions = conditions

    def run(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Results in order of completion."""
        return Loop(self, items).run()

    def generation(self, item: WriteItem, bucket: str) -> str | None:
        """The item's condition. Raises Unsupported where the service does not obey it."""
        if item.if_version is None and not item.if_absent:
            return None
        obeyed = self.conditions.of(bucket)
        if item.if_absent:
            if Cap.IF_ABSENT not in obeyed:
                raise Unsupported("the service ignores conditions (if_absent)", op="write", path=item.path)
            return "0"
        if Cap.IF_VERSION not in obeyed:
            raise Unsupported("the service ignores conditions (if_version)", op="write", path=item.path)
        version = item.if_version or ""
        if not (version.isascii() and version.isdigit()) or int(version) == 0:
            raise PreconditionFailed("no object has that version", op="write", path=item.path)
        return version


class Loop(uploads.Loop[NewObject, Large]):
    """One run of write_many."""

    def __init__(self, uploader: Uploader, items: Iterable[WriteItem]) -> None:
        super().__init__(uploader.service, items, whole=WHOLE, largest=MAX_OBJECT)
        self.uploader = uploader
        self.service = uploader.service

    def place(self, item: WriteItem) -> NewObject:
        """Bucket, key, and all that is said of the object beside its bytes."""
        bucket, key = split_path(item.path)
        if not bucket:
            raise InvalidName("is the root, which is a directory", op="write", path=item.path)
        if not key:
            raise IsADirectory("is a bucket; a file needs a key in it", op="write", path=item.path)
        return NewObject(bucket, key, item.modified_ns, self.uploader.generation(item, bucket))

    def hash_for(self, size: int) -> str:
        """The one that costs least."""
        return "crc32c" if size > MD5_UP_TO and hashing.available("crc32c") else "md5"

    def put(
        self, item: WriteItem, place: NewObject, body: bytes | Body, digest: tuple[str, str], reader: Reader | None
    ) -> Request:
        """An upload with its metadata."""
        return _Put(self, item, place, body, digest, reader).request()

    def _begin(self, waiting: tuple[WriteItem, NewObject]) -> Large:
        return Large(self, *waiting)


class _Put(uploads.Put[NewObject]):
    """One file in one request."""

    __slots__ = ()
    loop: Loop

    def request(self) -> Request:
        """An upload with its metadata."""
        return self.loop.service.api.put(self.place, self.body, self.digest, self)

    def learned(self, response: Response) -> bool:
        """A bucket that was made."""
        return self.loop.service.ensure_bucket(self.place.bucket, response)

    def refused(self, response: Response) -> StoreError:
        """As the service says it."""
        return self.loop.service.error(response, self.item.path)

    def stored(self, response: Response) -> Entry:
        """What the service computed must be what we did."""
        entry, (name, digest) = self.loop.service.api.written(self.place, response, self.size), self.digest
        stored = entry.hashes.get(name, digest)
        if stored != digest:
            raise IntegrityError(
                f"the service stored other bytes than were sent: {name} {stored}, not {digest}",
                op="write",
                path=entry.path,
            )
        return entry
