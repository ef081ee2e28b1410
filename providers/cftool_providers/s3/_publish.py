"""The last step of a multipart upload: complete it, and make sure that what is there now is what was sent.

The answer to CompleteMultipartUpload may get lost, or be an error under `200`; repeating it is safe, because a second
one finds the upload gone, and then the object itself tells whether it is ours: by size and checksum, or by the ETag
that our parts make.
"""

from cftool.core import hashing
from cftool.core.dataclass import dataclass
from cftool.core.errors import IntegrityError, NotFound, PreconditionFailed, ProtocolError, TemporaryError
from cftool.core.types import Entry
from cftool.http import xml as _xml
from cftool.http.flat import split_path
from cftool.http.types import Header
from cftool.http.urls import quote_query
from cftool_providers.s3 import _errors, _objects
from cftool_providers.s3._multipart_calls import complete_body
from cftool_providers.s3._objects import is_md5, to_base64, unquote_etag
from cftool_providers.s3._service import Service

_ELEMENTS = {"crc64nvme": "ChecksumCRC64NVME", "crc32": "ChecksumCRC32"}


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that the service has: its ETag as it came, its checksum (hex), its bytes."""

    tag: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A multipart upload whose parts are all there. `algorithm` None: `md5` (or "") is of the whole."""

    service: Service
    path: str
    upload_id: str
    parts: tuple[tuple[int, StoredPart], ...]  # by number, in order
    algorithm: str | None
    md5: str
    conditions: tuple[Header, ...]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for _, part in self.parts)

    def publish(self) -> Entry:
        """Complete; returns what HEAD tells of the object. Raises StoreError."""
        checksum = self._whole()
        try:
            tag = self._complete(checksum)
        except (TemporaryError, ProtocolError, NotFound, PreconditionFailed):
            # It may have been done all the same, and only the answer got lost: the object tells.
            entry = self._head()
            if entry is None or not self._is_ours(entry, checksum):
                raise
            return entry
        entry = self._head()
        if entry is None:
            raise IntegrityError("the service said that it stored the file, and does not have it", path=self.path)
        if entry.size != self.size or self._contradicts(entry, checksum) or not self._expected_tag(tag):
            raise IntegrityError("the service stored another file than was sent", path=self.path)
        return entry

    def _whole(self) -> str:
        """The checksum of the whole from those of the parts."""
        if self.algorithm is None:
            return ""
        whole = ""
        for _, part in self.parts:
            whole = hashing.combine(self.algorithm, whole, part.digest, part.size) if whole else part.digest
        return whole

    def _complete(self, checksum: str) -> str | None:
        element = _ELEMENTS.get(self.algorithm or "")
        rows = [
            (number, part.tag, f"<{element}>{to_base64(part.digest)}</{element}>" if element else "")
            for number, part in self.parts
        ]
        headers: tuple[Header, ...] = (("content-type", "application/xml"), *self.conditions)
        if self.algorithm:
            headers += (
                (f"x-amz-checksum-{self.algorithm}", to_base64(checksum)),
                ("x-amz-checksum-type", "FULL_OBJECT"),
                ("x-amz-mp-object-size", str(self.size)),
            )
        bucket, key = split_path(self.path)
        response = self.service.send(
            "POST",
            "CompleteMultipartUpload",
            bucket,
            key,
            query=quote_query([("uploadId", self.upload_id)]),
            headers=headers,
            body=complete_body(rows),
        )
        if response.status != 200 or _errors.is_error(response.body):
            raise self.service.error(response, bucket, self.path)
        root = _xml.parse(response.body.lstrip(), "CompleteMultipartUploadResult")
        if element and (echo := root.value(element)) is not None and echo != to_base64(checksum):
            raise IntegrityError("the service computed another checksum of the whole file", path=self.path)
        return unquote_etag(root.value("ETag"))

    def _head(self) -> Entry | None:
        response = self.service.head(*split_path(self.path))
        return _objects.entry(self.path, response.headers) if response.status == 200 else None

    def _is_ours(self, entry: Entry, checksum: str) -> bool:
        """Whether the object is proven to be what these parts make."""
        if entry.size != self.size or self._contradicts(entry, checksum):
            return False
        ours = self._multipart_etag()
        if ours is not None and entry.version == ours:
            return True
        if self.algorithm:
            return entry.hashes.get(self.algorithm) == checksum
        return bool(self.md5) and entry.hashes.get("md5") == self.md5

    def _contradicts(self, entry: Entry, checksum: str) -> bool:
        if self.algorithm and entry.hashes.get(self.algorithm, checksum) != checksum:
            return True
        return bool(self.md5) and entry.hashes.get("md5", self.md5) != self.md5

    def _expected_tag(self, tag: str | None) -> bool:
        """Whether the ETag is what our parts make, where it can be told."""
        ours = self._multipart_etag()
        if ours is None or tag is None or not tag.endswith(f"-{len(self.parts)}") or not is_md5(tag.partition("-")[0]):
            return True
        return tag == ours

    def _multipart_etag(self) -> str | None:
        """The MD5 of the parts' MD5s, as Amazon makes it; None where the parts' ETags are no MD5s of ours."""
        if self.algorithm or not self.service.etag_is_md5(split_path(self.path)[0]):
            return None
        if any(unquote_etag(part.tag) != part.digest for _, part in self.parts):
            return None
        joined = b"".join(bytes.fromhex(part.digest) for _, part in self.parts)
        return f"{hashing.digest('md5', joined)}-{len(self.parts)}"
