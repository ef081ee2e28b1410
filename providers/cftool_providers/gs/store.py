"""The Store of Google Cloud Storage: each method here in terms of the modules that know how.

Keeps no entries between calls; what it remembers is what the service was seen to do.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    StoreError,
)
from cftool.core.provider import Context, Secret
from cftool.core.sources import BytesSource
from cftool.core.store import Optionals
from cftool.core.types import (
    Cap,
    Download,
    Entry,
    Features,
    Kind,
    Leftover,
    NameRules,
    ReadItem,
    Result,
    Source,
    WalkOrder,
    WriteItem,
)
from cftool.disk.sessions import Sessions
from cftool.http.flat import split_path
from cftool.http.google import LONGEST_LINK
from cftool_providers.gs._conditions import Conditions
from cftool_providers.gs._copy import Copier
from cftool_providers.gs._delete import Deleter
from cftool_providers.gs._download import Downloader
from cftool_providers.gs._large import COMPOSED, PART_NAME, delete_parts
from cftool_providers.gs._listing import Lister
from cftool_providers.gs._objects import HASHES
from cftool_providers.gs._service import CONNECTIONS, Service
from cftool_providers.gs._session import cancel
from cftool_providers.gs._settings import MAX_OBJECT, settings
from cftool_providers.gs._upload import Uploader

_CAPS = (
    Cap.WALK | Cap.COPY | Cap.MOVE | Cap.SET_MODIFIED | Cap.WRITE_MANY | Cap.READ_MANY | Cap.DELETE_MANY
    | Cap.EMPTY_DIRS | Cap.IMPLICIT_DIRS | Cap.RANGES | Cap.LEFTOVERS | Cap.TREE
)  # fmt: skip
# Three to 63 characters of a bucket (222 with dots), a slash, 1,024 bytes of key.
_PATH_BYTES = 222 + 1 + 1024


def open_store(values: Mapping[str, str | int | float | bool | Secret | None], context: Context) -> "GsStore":
    """Check the options and make the store; nothing is sent before it is used."""
    return GsStore(Service(settings(values, context), context))


class GsStore(Optionals):
    """See core.store.Store."""

    def __init__(self, service: Service) -> None:
        self.name = service.name
        self._service = service
        self._lister = Lister(service)
        self._conditions = Conditions(service)
        state_dir = service.context.state_dir
        self._sessions = Sessions(state_dir, service.settings.identity, kind="gs-uploads")
        self._downloader = Downloader(service, self._lister)
        self._uploader = Uploader(service, self._sessions, self._conditions)
        self._deleter = Deleter(service)
        self._copier = Copier(service, self._downloader)
        self._caps = _CAPS if state_dir is None else _CAPS | Cap.RESUME
        if service.login.can_sign():
            self._caps |= Cap.LINK
        self._features = Features(
            caps=self._caps,
            identity=service.settings.identity,
            hashes=HASHES,
            time_precision_ns=1,
            listed_time=service.api.timed,
            size_limit=MAX_OBJECT,
            names=NameRules(
                opaque=True, utf8=True, top_files=False, path_bytes=_PATH_BYTES, forbidden=service.api.forbidden
            ),
            walk_order=WalkOrder.BYTES,
            connections=CONNECTIONS,
            verified_reads=True,
        )

    @property
    def features(self) -> Features:
        """Conditions appear where they were seen to work."""
        caps = self._caps | self._conditions.seen()
        if caps != self._features.caps:
            self._features = replace(self._features, caps=caps)
        return self._features

    def probe(self, path: str) -> Cap:
        """Google's own service is known; of an emulator, a small object that is removed again tells."""
        bucket = split_path(path)[0]
        return self._conditions.of(bucket) if bucket else self._conditions.seen()

    # ---- the protocol's order

    def stat(self, path: str) -> Entry:
        """The object's metadata; where there is none, a listing of one key tells whether it is a directory."""
        bucket, key = split_path(path)
        if not path:
            return Entry("", Kind.DIRECTORY)
        if not key:
            if not self._service.bucket_exists(bucket):
                raise NotFound("no such bucket", op="stat", path=path)
            return Entry(path, Kind.DIRECTORY, id=bucket)
        entry = self._downloader.head(path)
        return self._directory(path, bucket, key) if entry is None else entry

    def _directory(self, path: str, bucket: str, key: str) -> Entry:
        prefix = key + "/"
        page = self._lister.first(bucket, prefix, count=1)
        if not page.keys:
            raise NotFound("no such object, nor a directory", op="stat", path=path)
        first = page.keys[0]
        marker = first.key == prefix and first.size == 0
        return Entry(path, Kind.DIRECTORY, None, None, first.stored_ns if marker else None)

    def scan(self, path: str) -> Iterator[Entry]:
        """Pages of a listing with a delimiter."""
        return self._lister.scan(path)

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """One GET."""
        return self._downloader.read(path, start, end, if_version)

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """One request, or a session."""
        item = WriteItem(path, source, modified_ns, if_version, if_absent)
        result = next(iter(list(self._uploader.run([item]))))
        if result.error is not None:
            raise result.error
        assert result.entry is not None
        return result.entry

    def delete(self, path: str) -> None:
        """One DELETE; where the service has nothing, a listing tells whether it is a directory."""
        bucket, key = split_path(path)
        if not key:
            raise IsADirectory("is a bucket" if bucket else "is the root", op="delete", path=path)
        try:
            self._deleter.one(bucket, key, path)
        except NotFound:
            raise self._downloader.missing(path, "delete") from None

    def mkdir(self, path: str) -> Entry:
        """A bucket, or the marker of a directory: an empty object whose key ends with a slash. Parents likewise."""
        bucket, key = split_path(path)
        if not path:
            return Entry("", Kind.DIRECTORY)
        if not key:
            if not self._service.bucket_exists(bucket):
                self._service.create_bucket(bucket)
            return Entry(path, Kind.DIRECTORY)
        missing: list[str] = []
        try:
            if self._downloader.head(path) is not None:
                raise AlreadyExists("a file has that name", op="mkdir", path=path)
            while key:
                page = self._lister.first(bucket, key + "/", count=1)
                if page.keys:
                    if not missing and page.keys[0].key == key + "/" and page.keys[0].size:
                        raise AlreadyExists("a file has that name and a slash", op="mkdir", path=path)
                    break
                missing.append(key)
                key = key.rpartition("/")[0]
        except NotFound:  # the bucket is missing as well
            missing = [split_path(path)[1]]
        for each in reversed(missing):
            self.write(f"{bucket}/{each}/", BytesSource(b""))
        return Entry(path, Kind.DIRECTORY)

    def rmdir(self, path: str) -> None:
        """An empty bucket, or a directory's marker where nothing else is below."""
        bucket, key = split_path(path)
        if not path:
            raise InvalidName("is the root; it cannot be removed", op="rmdir", path=path)
        if not key:
            response = self._service.send(self._service.api.delete_bucket(bucket))
            if response.status >= 300:
                raise self._service.error(response, path)
            return
        prefix = key + "/"
        page = self._lister.first(bucket, prefix, count=2)
        if not page.keys:
            if self._downloader.head(path) is not None:
                raise NotADirectory("is a file", op="rmdir", path=path)
            raise NotFound("no such directory", op="rmdir", path=path)
        if len(page.keys) > 1 or page.keys[0].key != prefix or page.keys[0].size:
            raise DirectoryNotEmpty("is not empty", op="rmdir", path=path)
        try:
            self._deleter.one(bucket, prefix, path)
        except NotFound:
            pass  # somebody else was first

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    # ---- optional

    def walk(self, path: str) -> Iterator[Entry]:
        """Flat pages, in parallel where they are many and slow to come."""
        return self._lister.walk(path)

    def tree(self, path: str) -> Iterator[Entry]:
        """One listing of all keys that begin with this one; of the root, or a bucket, what `stat` and `walk` say."""
        if split_path(path)[1]:
            return self._lister.tree(path)
        return chain((self.stat(path),), self.walk(path))

    def copy(self, src: str, dst: str) -> Entry:
        """A rewrite, or a copy."""
        return self._copier.copy(src, dst)

    def move(self, src: str, dst: str) -> Entry:
        """Copy, then delete: never fewer than one of the two is there."""
        if src == dst:
            return self.stat(src)
        entry = self._copier.copy(src, dst)
        bucket, key = split_path(src)
        self._deleter.one(bucket, key, src)
        return entry

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """A patch of the metadata, or a copy onto itself."""
        return self._copier.set_modified(path, modified_ns)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Parallel requests in one loop."""
        return self._uploader.run(items)

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Parallel requests in one loop."""
        return self._downloader.run(items)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Batches, or parallel requests."""
        return self._deleter.run(entries)

    def link(self, path: str, *, expires: float | None = None) -> str:
        """A signed URL (V4), good for at most seven days."""
        if Cap.LINK not in self._caps:
            raise self._unsupported("link: it takes a service account's key or an HMAC key to sign one", path)
        bucket, key = split_path(path)
        if not key:
            raise IsADirectory("is a bucket" if bucket else "is the root", op="link", path=path)
        if self._downloader.head(path) is None:
            raise self._downloader.missing(path, "link")
        seconds = LONGEST_LINK if expires is None else max(1, min(int(expires), LONGEST_LINK))
        return self._service.login.sign(self._service.api.link(bucket, key), seconds)

    # ---- leftovers

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Sessions and parts of dead processes here; with `older_than`, parts of anybody.

        The service lists no sessions. One that nobody goes on with expires by itself within a week. The address of one
        is a secret: its digest is the id.
        """
        told: set[str] = set()
        for record in self._sessions.stale():
            upload_id, where, started = record.upload_id, record.intent.path, record.intent.started_ns
            record.close()
            if upload_id is not None and _at_or_below(where, path):
                told.add(upload_id)
                yield Leftover(where, _shown(upload_id), started, None, own=True)
        if older_than is None:
            return
        limit = time.time_ns() - int(older_than * 1_000_000_000)
        live = self._sessions.live()
        bucket, _ = split_path(path)
        for name in [bucket] if bucket else [entry.path for entry in self._lister.buckets()]:
            for leftover in self._parts(name, path):
                if leftover.id not in told | live and (leftover.started_ns or 0) < limit:
                    yield leftover

    def _parts(self, bucket: str, path: str) -> Iterator[Leftover]:
        """Parts of composed uploads, one leftover an upload, dated by its newest part."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        key = split_path(path)[1]
        below = f"{bucket}/{key.rpartition('/')[0]}" if "/" in key else bucket
        try:
            for entry in self._lister.walk(below):
                match = PART_NAME.fullmatch(split_path(entry.path)[1]) if not entry.is_dir else None
                if match is None or not _at_or_below(f"{bucket}/{match[1]}", path):
                    continue
                newest, size = found.get((match[1], match[2]), (0, 0))
                found[match[1], match[2]] = (max(newest, entry.stored_ns or 0), size + (entry.size or 0))
        except NotFound:
            return
        for (target, token), (newest, size) in found.items():
            yield Leftover(f"{bucket}/{target}", COMPOSED + token, newest, size, own=False)

    def remove_leftover(self, leftover: Leftover) -> None:
        """End the session or delete the parts, and our record of it."""
        bucket, key = split_path(leftover.path)
        if leftover.id.startswith(COMPOSED):
            delete_parts(self._service, bucket, key, leftover.id[len(COMPOSED) :])
        for record in self._sessions.stale(leftover.path):
            upload_id = record.upload_id
            if upload_id is not None and _shown(upload_id) != leftover.id:
                record.close()
                continue
            try:
                if upload_id is not None and not upload_id.startswith(COMPOSED):
                    cancel(self._service, upload_id)
            except StoreError:
                record.close()
                raise
            record.remove()


def _shown(upload_id: str) -> str:
    """What may be shown of an upload's id."""
    if upload_id.startswith(COMPOSED):
        return upload_id
    return "session:" + hashlib.sha256(upload_id.encode()).hexdigest()[:16]


def _at_or_below(path: str, directory: str) -> bool:
    return not directory or path == directory or path.startswith(directory + "/")
