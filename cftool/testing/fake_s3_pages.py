"""What `fake_s3` stores and how it shows it: objects, the habits of services, and the pages of listings."""

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, quote_plus
from xml.sax.saxutils import escape

from cftool.testing.http_fake import FakeRequest, FakeResponse

_KEPT = ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires")
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True, slots=True)
class Habits:
    """What services do differently. The defaults are Amazon's."""

    conditions: bool = True  # False: If-Match and If-None-Match of a write are ignored
    full_checksums: bool = True  # False: checksum headers are neither checked nor kept
    kms: bool = False  # ETags are no MD5s, and the answers say so
    page: int = 1000
    omit_zero_count: bool = False  # `rclone serve s3`: no KeyCount in an empty listing
    plus_for_blank: bool = True  # Amazon escapes a blank as a plus sign, others as %20
    bare_etags: bool = False  # in listings
    indent: bool = False  # white space between the elements
    pretty_order: bool = False  # R2, GCS: Size before LastModified, which the fast decoder does not read
    encoding: bool = True  # False: encoding-type is ignored
    start_after: bool = True
    ranges_as_200: bool = False  # `rclone serve s3`
    initiate_root: str = "InitiateMultipartUploadResult"
    markers: bool = True  # False: `x/` is stored as `x`
    min_part: int = 5 * 1024 * 1024


@dataclass(slots=True)
class Stored:
    """One object."""

    data: bytes
    headers: dict[str, str]
    etag: str
    when: int
    sums: dict[str, str] = field(default_factory=dict)


class Listing:
    """One page of ListObjectsV2, in the layout of the habits."""

    def __init__(self, habits: Habits, request: FakeRequest, bucket: str, objects: Mapping[str, Stored]) -> None:
        params = params_of(request)
        self._habits = habits
        self._bucket = bucket
        self._objects = objects
        self._prefix = params.get("prefix", "")
        self._delimiter = params.get("delimiter", "")
        self._size = min(int(params.get("max-keys", "1000")), self._habits.page)
        self._url = params.get("encoding-type") == "url" and self._habits.encoding
        token = params.get("continuation-token")
        self._after = untoken(token) if token else params.get("start-after", "") if self._habits.start_after else ""

    def answer(self) -> FakeResponse:
        """The page."""
        rows: list[tuple[str, Stored | None]] = []
        more = False
        for key in sorted(self._objects, key=key_bytes):
            if not key.startswith(self._prefix) or key_bytes(key) <= key_bytes(self._after):
                continue
            name, stored = self._rolled(key)
            if stored is None and (name == self._after or (rows and rows[-1][0] == name)):
                continue
            if len(rows) == self._size:
                more = True
                break
            rows.append((name, stored))
        space = "\n  " if self._habits.indent else ""
        parts = [f"<Name>{self._bucket}</Name>", self._text("Prefix", self._prefix), "<MaxKeys>1000</MaxKeys>"]
        if self._delimiter:
            parts.append(self._text("Delimiter", self._delimiter))
        if self._url:
            parts.append("<EncodingType>url</EncodingType>")
        parts.append(f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>")
        if rows or not self._habits.omit_zero_count:
            parts.append(f"<KeyCount>{len(rows)}</KeyCount>")
        if more:
            parts.append(f"<NextContinuationToken>{token_of(rows[-1][0])}</NextContinuationToken>")
        parts += [self._contents(key, stored) for key, stored in rows if stored is not None]
        parts += [
            f"<CommonPrefixes>{self._text('Prefix', name)}</CommonPrefixes>" for name, stored in rows if stored is None
        ]
        return answer_of(f'<ListBucketResult xmlns="{NAMESPACE}">{space}{space.join(parts)}</ListBucketResult>')

    def _rolled(self, key: str) -> tuple[str, Stored | None]:
        if self._delimiter:
            place = key.find(self._delimiter, len(self._prefix))
            if place >= 0:
                return key[: place + 1], None
        return key, self._objects[key]

    def _text(self, name: str, text: str) -> str:
        if self._url:
            raw = text.encode("utf-8", "surrogateescape")
            text = quote_plus(raw, safe="/") if self._habits.plus_for_blank else quote(raw, safe="/~")
        return f"<{name}>{escape(text)}</{name}>"

    def _contents(self, key: str, stored: Stored) -> str:
        tag = stored.etag if self._habits.bare_etags else f"&quot;{stored.etag}&quot;"
        parts = [
            self._text("Key", key),
            f"<LastModified>{iso(stored.when)}</LastModified>",
            f"<ETag>{tag}</ETag>",
            f"<Size>{len(stored.data)}</Size>",
            "<StorageClass>STANDARD</StorageClass>",
        ]
        if self._habits.pretty_order:
            parts[1], parts[3] = parts[3], parts[1]
        space = "\n    " if self._habits.indent else ""
        return f"<Contents>{space}{space.join(parts)}{space}</Contents>"


def params_of(request: FakeRequest) -> dict[str, str]:
    """The query, decoded."""
    # In a query a plus sign is a blank to real services: who means a plus sign must escape it.
    return dict(parse_qsl(request.query, keep_blank_values=True, errors="surrogateescape"))


def key_bytes(key: str) -> bytes:
    """A key in the service's order."""
    return key.encode("utf-8", "surrogateescape")


def token_of(key: str) -> str:
    """The continuation token after `key`."""
    return base64.b64encode(key_bytes(key) + b"?").decode()  # with `+`, `/` and `=`, as real ones


def untoken(token: str) -> str:
    """The key of a token."""
    return base64.b64decode(token)[:-1].decode("utf-8", "surrogateescape")


def escaped(text: str) -> str:
    """Text as element content."""
    return escape(text, {"\r": "&#13;", '"': "&quot;"})


def document(text: str) -> bytes:
    """A whole XML document."""
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode("utf-8", "surrogateescape")


def answer_of(text: str) -> FakeResponse:
    """200 with a document."""
    return FakeResponse(200, (("Content-Type", "application/xml"),), document(text))


def iso(when: int) -> str:
    """A time as XML has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(when))


def operation_of(request: FakeRequest, bucket: str, key: str) -> str:
    """The API's name of what a request asks for."""
    params, method = params_of(request), request.method
    copied = request.header("x-amz-copy-source") is not None
    if not bucket:
        return "ListBuckets"
    if not key:
        if method == "GET":
            return "ListMultipartUploads" if "uploads" in params else "ListObjectsV2"
        names = {"PUT": "CreateBucket", "HEAD": "HeadBucket", "DELETE": "DeleteBucket", "POST": "DeleteObjects"}
        return names[method]
    if "uploadId" in params:
        part = "UploadPartCopy" if copied else "UploadPart"
        return {"PUT": part, "GET": "ListParts", "DELETE": "AbortMultipartUpload", "POST": "CompleteMultipartUpload"}[
            method
        ]
    if method == "POST":
        return "CreateMultipartUpload"
    return {
        "PUT": "CopyObject" if copied else "PutObject",
        "GET": "GetObject",
        "HEAD": "HeadObject",
        "DELETE": "DeleteObject",
    }[method]


def metadata_of(request: FakeRequest) -> dict[str, str]:
    """The headers that are kept with an object."""
    kept = {n: v for n, v in request.headers.items() if n in _KEPT or n.startswith("x-amz-meta-")}
    for name in ("x-amz-storage-class", "x-amz-server-side-encryption"):
        if request.header(name) is not None:
            kept[name] = request.headers[name]
    return kept


def sum_headers(stored: Stored) -> list[tuple[str, str]]:
    """The stored checksums as headers."""
    headers = [(f"x-amz-checksum-{name}", value) for name, value in stored.sums.items()]
    return [*headers, ("x-amz-checksum-type", "FULL_OBJECT")] if headers else []


def to_base64(digest: str) -> str:
    """A hex digest as headers have it."""
    return base64.b64encode(bytes.fromhex(digest)).decode()


def with_headers(answer: FakeResponse, *headers: tuple[str, str]) -> FakeResponse:
    """The answer with more headers."""
    return FakeResponse(answer.status, (*answer.headers, *headers), answer.body, answer.fault, answer.close)
