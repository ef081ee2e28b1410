"""The Store of S3: each method here in terms of the modules that know how. See the package for the quirks.

Keeps no entries between calls; what it remembers is how to reach a bucket and what its server was seen to do.
"""

import logging
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
    Unsupported,
)
from cftool.core.provider import Context, Secret
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
from cftool.http.urls import quote_query
from cftool_providers.s3 import _pages
from cftool_providers.s3._conditions import Conditions
from cftool_providers.s3._copy import Copier
from cftool_providers.s3._delete import Deleter
from cftool_providers.s3._download import Downloader
from cftool_providers.s3._listing import Lister
from cftool_providers.s3._multipart_calls import abort
from cftool_providers.s3._objects import HASHES
from cftool_providers.s3._service import CONNECTIONS, Service
from cftool_providers.s3._settings import MAX_OBJECT, settings
from cftool_providers.s3._upload import Uploader

log = logging.getLogger("cftool.s3")

_CAPS = (
    Cap.WALK | Cap.COPY | Cap.MOVE | Cap.SET_MODIFIED | Cap.WRITE_MANY | Cap.READ_MANY | Cap.DELETE_MANY
    | Cap.EMPTY_DIRS | Cap.IMPLICIT_DIRS | Cap.RANGES | Cap.LEFTOVERS | Cap.LINK | Cap.TREE
)  # fmt: skip
# Three to 63 characters of a bucket, a slash, 1,024 bytes of key.
_PATH_BYTES = 63 + 1 + 1024
# An intent without an id may stand for an upload that began this long after it, by clocks that differ as long.
_LONGEST_LINK = 7 * 24 * 3600  # seconds
_INTENT_SPAN_NS = 15 * 60 * 1_000_000_000


def open_store(values: Mapping[str, str | int | float | bool | Secret | None], context: Context) -> "S3Store":
    """Check the options and make the store; nothing is sent before it is used."""
    return S3Store(Service(settings(values, context), context))


class S3Store(Optionals):
    """See core.store.Store."""

    def __init__(self, service: Service) -> None:
        self.name = service.name
        self._service = service
        self._lister = Lister(service)
        self._conditions = Conditions(service)
        self._sessions = Sessions(service.context.state_dir, service.settings.identity, kind="s3-uploads")
        self._downloader = Downloader(service, self._lister)
        self._uploader = Uploader(service, self._sessions, self._conditions)
        self._deleter = Deleter(service, self._lister)
        self._copier = Copier(service, self._lister)
        self._features = Features(
            caps=_CAPS,
            identity=service.settings.identity,
            hashes=HASHES,
            time_precision_ns=1,
            listed_time=False,
            size_limit=MAX_OBJECT,
            names=NameRules(opaque=True, utf8=True, top_files=False, path_bytes=_PATH_BYTES),
            walk_order=WalkOrder.BYTES,
            connections=CONNECTIONS,
            verified_reads=True,
        )

    @property
    def features(self) -> Features:
        """Conditions appear when they were seen to work, empty directories go where they were seen not to."""
        caps = _CAPS | self._conditions.seen()
        if self._service.context.state_dir is not None:
            caps |= Cap.RESUME
        if self._no_markers():
            caps &= ~Cap.EMPTY_DIRS
        if caps != self._features.caps:
            self._features = replace(self._features, caps=caps)
        return self._features

    def probe(self, path: str) -> Cap:
        """Find out, with a small object that is removed again, which conditions the bucket of `path` obeys."""
        bucket = split_path(path)[0]
        return self._conditions.of(bucket) if bucket else Cap.NONE

    # ---- the protocol's order

    def stat(self, path: str) -> Entry:
        """One HEAD; where there is no such object, one listing of one key tells whether it is a directory."""
        bucket, key = split_path(path)
        if not path:
            return Entry("", Kind.DIRECTORY)
        if not key:
            response = self._service.send("HEAD", "HeadBucket", bucket)
            if response.status == 404:
                raise NotFound("no such bucket", op="stat", path=path)
            if response.status >= 300:
                raise self._service.error(response, bucket, path)
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
        """Pages of ListObjectsV2 with a delimiter."""
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
        """One PUT, or a multipart upload."""
        item = WriteItem(path, source, modified_ns, if_version, if_absent)
        result = next(iter(list(self._uploader.run([item]))))
        if result.error is not None:
            raise result.error
        assert result.entry is not None
        return result.entry

    def delete(self, path: str) -> None:
        """HEAD and DELETE: the service alone would not say that nothing was there."""
        bucket, key = split_path(path)
        if not key:
            raise IsADirectory("is a bucket" if bucket else "is the root", op="delete", path=path)
        if self.stat(path).is_dir:
            raise IsADirectory("is a directory", op="delete", path=path)
        self._deleter.one(bucket, key, path)

    def mkdir(self, path: str) -> Entry:
        """A bucket, or the marker of a directory: an empty object whose key ends with a slash. Parents likewise."""
        bucket, key = split_path(path)
        if not path:
            return Entry("", Kind.DIRECTORY)
        if not key:
            if not self._service.bucket_exists(bucket):
                self._service.create_bucket(bucket)
            return Entry(path, Kind.DIRECTORY)
        if self._downloader.head(path) is not None:
            raise AlreadyExists("a file has that name", op="mkdir", path=path)
        missing: list[str] = []
        try:
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
            self._put_marker(f"{bucket}/{each}")
        return Entry(path, Kind.DIRECTORY)

    def _put_marker(self, path: str) -> None:
        bucket, key = split_path(path)
        if self._no_markers():
            raise self._unsupported("mkdir: its directories exist only while something is in them", path)
        for _ in range(2):
            response = self._service.send(
                "PUT", "PutObject", bucket, key + "/", headers=self._service.settings.object_headers()
            )
            if response.status < 300 or not self._service.ensure_bucket(bucket, response):
                break
        if response.status >= 300:
            raise self._service.error(response, bucket, path)
        self._require_marker(path)

    def _no_markers(self) -> bool:
        return self._service.memory.get(self._markers_key()) == "none"

    def _markers_key(self) -> str:
        return f"{self._service.settings.identity}:directory-markers"

    def _require_marker(self, path: str) -> None:
        """Once an endpoint: `rclone serve s3`, for one, makes a plain file of the marker, without its slash."""
        if self._service.memory.get(self._markers_key()) is not None:
            return
        bucket, key = split_path(path)
        page = self._lister.first(bucket, key + "/", count=1)
        if page.keys and page.keys[0].key == key + "/":
            self._service.memory.set(self._markers_key(), "kept")
            return
        self._service.memory.set(self._markers_key(), "none")
        self._deleter.one(bucket, key, path)  # nothing was there before: this is what the marker became
        raise self._unsupported("mkdir: its directories exist only while something is in them", path)

    def rmdir(self, path: str) -> None:
        """An empty bucket, or a directory's marker where nothing else is below."""
        bucket, key = split_path(path)
        if not path:
            raise InvalidName("is the root; it cannot be removed", op="rmdir", path=path)
        if not key:
            response = self._service.send("DELETE", "DeleteBucket", bucket)
            if response.status >= 300:
                raise self._service.error(response, bucket, path)
            return
        prefix = key + "/"
        page = self._lister.first(bucket, prefix, count=2)
        if not page.keys:
            if self._downloader.head(path) is not None:
                raise NotADirectory("is a file", op="rmdir", path=path)
            raise NotFound("no such directory", op="rmdir", path=path)
        if len(page.keys) > 1 or page.keys[0].key != prefix or page.keys[0].size:
            raise DirectoryNotEmpty("is not empty", op="rmdir", path=path)
        self._deleter.one(bucket, prefix, path)

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    # ---- optional

    def walk(self, path: str) -> Iterator[Entry]:
        """Flat pages of ListObjectsV2, in parallel where they are many and slow to come."""
        return self._lister.walk(path)

    def tree(self, path: str) -> Iterator[Entry]:
        """One listing of all keys that begin with this one; of the root, or a bucket, what `stat` and `walk` say."""
        if split_path(path)[1]:
            return self._lister.tree(path)
        return chain((self.stat(path),), self.walk(path))

    def copy(self, src: str, dst: str) -> Entry:
        """CopyObject, or UploadPartCopy above 5 GiB."""
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
        """A copy onto itself."""
        return self._copier.set_modified(path, modified_ns)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Parallel requests in one loop."""
        return self._uploader.run(items)

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Parallel requests in one loop."""
        return self._downloader.run(items)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """DeleteObjects by the thousand."""
        return self._deleter.run(entries)

    def link(self, path: str, *, expires: float | None = None) -> str:
        """A presigned GET, for 7 days at most; of an anonymous remote the plain URL, which is public or no use.

        https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
        """
        bucket, key = split_path(path)
        if not key:
            raise IsADirectory("is a bucket; links are of files" if bucket else "is the root", op="link", path=path)
        seconds = _LONGEST_LINK if expires is None else int(expires)
        if not 1 <= seconds <= _LONGEST_LINK:
            raise Unsupported("links of S3 last from one second to 7 days", op="link", path=path, store=self.name)
        settings = self._service.settings
        if settings.anonymous and expires is not None:
            raise Unsupported("without keys a link cannot be made to expire", op="link", path=path, store=self.name)
        # Asked first: a link to nothing helps nobody, and the answer teaches the bucket's region, which is signed for.
        if self._downloader.head(path) is None:
            self._directory(path, bucket, key)
            raise IsADirectory("is a directory; links are of files", op="link", path=path)
        if settings.session_token or settings.role_arn:
            log.warning("the keys are temporary: the link of %s ends when they do", path)
        return self._service.link(bucket, key, seconds)

    # ---- leftovers

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Multipart uploads that nobody finishes: of dead processes here; with `older_than`, of anybody."""
        told: set[str] = set()
        for record in self._sessions.stale():
            with_id = record.upload_id
            record_path, started = record.intent.path, record.intent.started_ns
            record.close()
            if not _at_or_below(record_path, path):
                continue
            if with_id is not None:
                told.add(with_id)
                yield Leftover(record_path, with_id, started, None, own=True)
                continue
            for upload in self._uploads(*split_path(record_path)):
                near = upload.started_ns is not None and abs(upload.started_ns - started) < _INTENT_SPAN_NS
                if (
                    f"{split_path(record_path)[0]}/{upload.key}" == record_path
                    and near
                    and upload.upload_id not in told
                ):
                    told.add(upload.upload_id)
                    yield Leftover(record_path, upload.upload_id, upload.started_ns, None, own=True)
        if older_than is None:
            return
        live = self._sessions.live()
        limit = time.time_ns() - int(older_than * 1_000_000_000)
        bucket, key = split_path(path)
        for name in [bucket] if bucket else [entry.path for entry in self._lister.buckets()]:
            for upload in self._uploads(name, key):
                where = f"{name}/{upload.key}"
                old = upload.started_ns is not None and upload.started_ns < limit
                if old and _at_or_below(where, path) and upload.upload_id not in told | live:
                    yield Leftover(where, upload.upload_id, upload.started_ns, None, own=False)

    def remove_leftover(self, leftover: Leftover) -> None:
        """AbortMultipartUpload, and our record of it."""
        bucket, key = split_path(leftover.path)
        abort(self._service, bucket, key, leftover.id, leftover.path)
        for record in self._sessions.stale(leftover.path):
            if record.upload_id in {None, leftover.id}:
                record.remove()
            else:
                record.close()

    def _uploads(self, bucket: str, prefix: str) -> Iterator[_pages.Upload]:
        marker: tuple[str, str] | None = None
        while True:
            pairs = [("encoding-type", "url")]
            if marker is not None:
                pairs += [("key-marker", marker[0]), ("upload-id-marker", marker[1])]
            pairs += [("prefix", prefix), ("uploads", "")]
            response = self._service.send("GET", "ListMultipartUploads", bucket, query=quote_query(pairs))
            if response.status >= 300:
                error = self._service.error(response, bucket, bucket)
                if isinstance(error, NotFound):
                    return
                raise error
            found, following = _pages.uploads(response.body)
            yield from found
            if following is None:
                return
            if following == marker:
                raise StoreError("the list of uploads does not come to an end", op="leftovers", path=bucket)
            marker = following


def _at_or_below(path: str, directory: str) -> bool:
    return not directory or path == directory or path.startswith(directory + "/")
