"""Server-side copies: copy, and set_modified, which is a copy onto itself with other metadata.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html. Up to 5 GiB in one request, above that in parts
(UploadPartCopy). Both may answer `200` with an error inside. The source is held by its ETag, so that what is copied is
what was looked at.
"""

import logging
from collections.abc import Mapping

from cftool.core.errors import IntegrityError, IsADirectory, NotFound, PreconditionFailed, ProtocolError, StoreError
from cftool.core.types import Entry
from cftool.http import xml as _xml
from cftool.http.flat import split_path
from cftool.http.types import Header, Request, Response
from cftool.http.urls import quote_path, quote_query
from cftool_providers.s3 import _errors, _objects
from cftool_providers.s3._listing import Lister
from cftool_providers.s3._multipart_calls import abort, complete_body, upload_id_of
from cftool_providers.s3._objects import MTIME, format_time, is_md5, quote_etag, unquote_etag
from cftool_providers.s3._service import Service
from cftool_providers.s3._settings import MAX_COPY, MIB

log = logging.getLogger("cftool.s3")

PART = 512 * MIB  # copied by the service itself: large parts cost nothing here
IN_FLIGHT = 8
# What a REPLACE would otherwise lose, besides the user metadata.
_KEPT = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
    "x-amz-storage-class",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
)


class Copier:
    """Thread-safe."""

    def __init__(self, service: Service, lister: Lister) -> None:
        self._service = service
        self._lister = lister

    def copy(self, src: str, dst: str) -> Entry:
        """The file at `dst` is what was at `src`, time and other metadata included."""
        if not split_path(dst)[1]:
            raise IsADirectory("is a bucket; a file needs a key in it", op="copy", path=dst)
        headers = self._head(src, "copy")
        return self._run(src, dst, headers, ())

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Copy the file onto itself with the new time and everything else as it was."""
        headers = self._head(path, "set_modified")
        kept = tuple((name, headers[name]) for name in _KEPT if headers.get(name))
        meta = tuple(
            (name, value) for name, value in headers.items() if name.startswith("x-amz-meta-") and name != MTIME
        )
        replaced = (*kept, *meta, (MTIME, format_time(modified_ns)))
        md5 = _objects.hashes(headers).get("md5")
        if md5 is not None and _objects.MD5 not in headers and not is_md5(unquote_etag(headers.get("etag"))):
            replaced += ((_objects.MD5, _objects.to_base64(md5)),)
        return self._run(path, path, headers, replaced)

    # ---- parts

    def _head(self, path: str, op: str) -> Mapping[str, str]:
        bucket, key = split_path(path)
        if not key:
            raise IsADirectory("is a bucket" if bucket else "is the root", op=op, path=path)
        response = self._service.head(bucket, key)
        if response.status == 200:
            return response.headers
        if self._lister.first(bucket, key + "/", count=1).keys:
            raise IsADirectory("is a directory; only files are copied", op=op, path=path)
        raise NotFound("no such object", op=op, path=path)

    def _run(self, src: str, dst: str, source: Mapping[str, str], replaced: tuple[Header, ...]) -> Entry:
        entry = _objects.entry(src, source)
        assert entry.size is not None
        if entry.size > MAX_COPY:
            self._in_parts(src, dst, entry, source, replaced)
        else:
            self._whole(src, dst, entry, replaced)
        response = self._service.head(*split_path(dst))
        if response.status != 200:
            raise IntegrityError("the service said that it made the copy, and does not have it", op="copy", path=dst)
        made = _objects.entry(dst, response.headers)
        for name in made.hashes.keys() & entry.hashes.keys():
            if made.hashes[name] != entry.hashes[name]:
                raise IntegrityError(f"the copy has another {name} than its source", op="copy", path=dst)
        if made.size != entry.size:
            raise IntegrityError(f"the copy has {made.size} bytes, its source {entry.size}", op="copy", path=dst)
        return made

    def _source(self, src: str, entry: Entry) -> tuple[Header, ...]:
        headers: tuple[Header, ...] = (("x-amz-copy-source", "/" + quote_path(src)),)
        if entry.version is not None:
            headers += (("x-amz-copy-source-if-match", quote_etag(entry.version)),)
        return headers

    def _whole(self, src: str, dst: str, entry: Entry, replaced: tuple[Header, ...]) -> None:
        bucket, key = split_path(dst)
        headers = _merged(self._service.settings.object_headers(), self._source(src, entry), replaced)
        if replaced:
            headers += (("x-amz-metadata-directive", "REPLACE"),)
        for _ in range(2):
            response = self._service.send("PUT", "CopyObject", bucket, key, headers=headers)
            if response.status < 300 or not self._service.ensure_bucket(bucket, response):
                break
        self._require(response, dst, "CopyObjectResult")

    def _require(self, response: Response, path: str, *roots: str) -> _xml.Node:
        """The answer's document, where it is a success in deed."""
        bucket, _ = split_path(path)
        if response.status >= 300 or _errors.is_error(response.body):
            error = self._service.error(response, bucket, path)
            if isinstance(error, PreconditionFailed):
                raise PreconditionFailed("the source changed while it was copied", op="copy", path=path)
            raise error
        return _xml.parse(response.body.lstrip(), *roots)

    def _in_parts(
        self, src: str, dst: str, entry: Entry, source: Mapping[str, str], replaced: tuple[Header, ...]
    ) -> None:
        bucket, key = split_path(dst)
        # A multipart copy inherits nothing: the metadata must be given in any case.
        kept = replaced or tuple(
            (name, value) for name, value in source.items() if name in _KEPT[:7] or name.startswith("x-amz-meta-")
        )
        if _objects.MD5 not in dict(kept) and (md5 := entry.hashes.get("md5")) is not None:
            kept += ((_objects.MD5, _objects.to_base64(md5)),)
        headers = _merged(self._service.settings.object_headers(), kept, ())
        for _ in range(2):
            response = self._service.send(
                "POST", "CreateMultipartUpload", bucket, key, query="uploads=", headers=headers, idempotent=False
            )
            if response.status < 300 or not self._service.ensure_bucket(bucket, response):
                break
        if response.status >= 300:
            raise self._service.error(response, bucket, dst)
        upload_id = upload_id_of(response.body, key, dst)
        try:
            tags = self._copy_parts(src, dst, entry, upload_id)
            query = quote_query([("uploadId", upload_id)])
            body = complete_body([(number, tag, "") for number, tag in sorted(tags.items())])
            response = self._service.send("POST", "CompleteMultipartUpload", bucket, key, query=query, body=body)
            self._require(response, dst, "CompleteMultipartUploadResult")
        except BaseException:
            try:
                abort(self._service, bucket, key, upload_id, dst)
            except StoreError as error:
                log.warning("the upload of %s was not aborted: %s", dst, error.message)
            raise

    def _copy_parts(self, src: str, dst: str, entry: Entry, upload_id: str) -> dict[int, str]:
        bucket, key = split_path(dst)
        size = entry.size or 0
        pending = iter(list(enumerate(range(0, size, PART), 1)))
        busy = 0
        tags: dict[int, str] = {}

        def following() -> Request | None:
            nonlocal busy
            number, start = (0, 0) if busy >= IN_FLIGHT else next(pending, (0, 0))
            if not number:
                return None
            busy += 1
            end = min(start + PART, size)
            query = quote_query([("partNumber", str(number)), ("uploadId", upload_id)])
            headers = (*self._source(src, entry), ("x-amz-copy-source-range", f"bytes={start}-{end - 1}"))
            return self._service.request("PUT", "UploadPartCopy", bucket, key, query=query, headers=headers, tag=number)

        with self._service.many(following) as completions:
            for completion in completions:
                busy -= 1
                if completion.response is None:
                    raise completion.error or ProtocolError("no answer", path=dst)
                root = self._require(completion.response, dst, "CopyPartResult")
                tag = root.value("ETag")
                number = completion.request.tag
                if not tag or not isinstance(number, int):
                    raise ProtocolError("the answer to a part has no ETag", path=dst)
                tags[number] = tag
        return tags


def _merged(defaults: tuple[Header, ...], *more: tuple[Header, ...]) -> tuple[Header, ...]:
    """All headers, the later ones in place of the earlier."""
    merged = dict(defaults)
    for headers in more:
        merged.update(headers)
    return tuple(merged.items())
