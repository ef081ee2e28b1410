"""Decoders of listings: one page of ListObjectsV2, the list of buckets, parts and uploads. No I/O.

A page is believed only where it proves itself: right status and type, the root element, the bucket and the prefix that
were asked for, a clear IsTruncated with a token where it is true, as many items as KeyCount says, every key below the
prefix and in strictly rising order. Everything else is a ListingError. The usual layout is read by one expression (2 µs
a key); what it does not match, and all that surrounds the keys, is read by expat. Both give the same `Page`.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from cftool.core.errors import ListingError, ProtocolError
from cftool.http import xml as _xml
from cftool.http.dates import epoch_seconds
from cftool.http.flat import Expected, Page
from cftool.http.types import Response
from cftool_providers.s3._objects import BILLION, unquote_etag

MAX_BODY = 16 * 1024 * 1024  # 1,000 keys of 1,024 bytes, each byte escaped three times over, fit four times

# Contents as Amazon, MinIO, Ceph and most others order it. Groups: key, time, etag, size.
_QUOTE = rb'(?:"|&quot;|&#34;)?'
_CONTENTS = re.compile(
    rb"<Contents>\s*<Key>([^<>&]*)</Key>\s*<LastModified>([^<>&]*)</LastModified>\s*"
    rb"<ETag>" + _QUOTE + rb'([^<>&"]*)' + _QUOTE + rb"</ETag>\s*"
    rb"(?:<ChecksumAlgorithm>[^<>&]*</ChecksumAlgorithm>\s*)*(?:<ChecksumType>[^<>&]*</ChecksumType>\s*)?"
    rb"<Size>(\d{1,15})</Size>\s*(?:<StorageClass>[^<>&]*</StorageClass>\s*)?</Contents>\s*"
)
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:Z|\+00:?00)")


class Key(NamedTuple):
    """One object of a listing; the time in whole seconds as nanoseconds, as HEAD tells it."""

    key: str
    size: int
    stored_ns: int
    etag: str | None


def page(response: Response, asked: Expected) -> Page[Key]:
    """Decode a 200 answer to ListObjectsV2. Raises ListingError."""
    try:
        _check_type(response)
        root, keys = _split(response.body)
        return _checked(root, keys, asked)
    except ListingError:
        raise
    except ProtocolError as error:
        raise ListingError(f"the listing of {asked.bucket} cannot be trusted: {error.message}") from None


def _check_type(response: Response) -> None:
    if response.status != 200:
        raise ListingError(f"a listing was answered with status {response.status}")
    kind = response.header("content-type")
    if kind is not None and kind.strip() and "xml" not in kind.lower():
        raise ListingError(f"a listing was answered with {kind[:60]!r} in place of XML")
    if not response.body:
        raise ListingError("a listing was answered with an empty body")


def _split(body: bytes) -> tuple[_xml.Node, "list[tuple[bytes, bytes, bytes, bytes]] | None"]:
    """The document, and the contents where the fast way could take all of them out of it (None: they are in it)."""
    parts = _CONTENTS.split(body)
    if len(parts) > 1:
        rest = b"".join(parts[::5])
        if b"<Contents" not in rest:
            fast = list(zip(parts[1::5], parts[2::5], parts[3::5], parts[4::5], strict=True))
            return _xml.parse(rest, "ListBucketResult"), fast
    return _xml.parse(body, "ListBucketResult"), None


def _checked(root: _xml.Node, fast: "list[tuple[bytes, bytes, bytes, bytes]] | None", asked: Expected) -> Page[Key]:
    encoded = _encoding(root)
    _check_echo(root, asked, encoded=encoded)
    token = _token(root)
    if fast is not None:
        keys, odd = _fast_keys(fast, encoded=encoded)
    else:
        keys = [_slow_key(node, encoded=encoded) for node in root.all("Contents")]
        odd = True
    prefixes = [_prefix(node, encoded=encoded) for node in root.all("CommonPrefixes")]
    if prefixes and not asked.delimiter:
        raise ListingError(f"the listing of {asked.bucket} has common prefixes that were not asked for")
    _check_rising([key[0] for key in keys], asked, odd=odd)
    _check_rising(prefixes, asked, odd=True)
    if any(not prefix.endswith(asked.delimiter) or len(prefix) <= len(asked.prefix) for prefix in prefixes):
        raise ListingError(f"the listing of {asked.bucket} has a common prefix that is none")
    _check_count(root, len(keys) + len(prefixes), asked)
    return Page(keys, prefixes, token)


def _encoding(root: _xml.Node) -> bool:
    encoding = root.value("EncodingType")
    if encoding not in {None, "", "url"}:
        raise ListingError(f"the listing's keys are encoded as {encoding!r}; url was asked for")
    return encoding == "url"


def _check_echo(root: _xml.Node, asked: Expected, *, encoded: bool) -> None:
    name = root.value("Name")
    if name is None:
        raise ListingError(f"the listing of {asked.bucket} does not say of which bucket it is")
    if name != asked.bucket:
        raise ListingError(f"the listing is of the bucket {name[:80]!r}; {asked.bucket!r} was asked for")
    prefix = root.value("Prefix")
    if prefix is None:
        if asked.prefix:
            raise ListingError(f"the listing of {asked.bucket} does not say of which prefix it is")
    elif prefix != asked.prefix and not (encoded and _decode(prefix.encode()) == asked.prefix):
        raise ListingError(f"the listing is of the prefix {prefix[:80]!r}; {asked.prefix[:80]!r} was asked for")
    delimiter = root.value("Delimiter")
    if delimiter and delimiter != asked.delimiter and not (encoded and _decode(delimiter.encode()) == asked.delimiter):
        raise ListingError(f"the listing has the delimiter {delimiter[:20]!r}; it was not asked for")


def _token(root: _xml.Node) -> str | None:
    truncated = root.value("IsTruncated")
    if truncated is None or truncated.strip() not in {"true", "false"}:
        raise ListingError("the listing does not say whether it is complete (IsTruncated)")
    if truncated.strip() == "false":
        return None
    token = root.value("NextContinuationToken")
    if not token:
        raise ListingError("the listing says that more follows, but not how to get it (NextContinuationToken)")
    return token


def _check_count(root: _xml.Node, items: int, asked: Expected) -> None:
    count = root.value("KeyCount")
    if count is None:
        if items:  # `rclone serve s3` leaves it out where it is zero
            raise ListingError(f"the listing of {asked.bucket} does not say how many keys it has (KeyCount)")
    elif not (count.isascii() and count.isdigit()) or int(count) != items:
        raise ListingError(f"the listing of {asked.bucket} has {items} entries and says {count[:20]}")
    if items > asked.max_keys:
        raise ListingError(f"the listing of {asked.bucket} has {items} entries; {asked.max_keys} were asked for")


def _fast_keys(rows: list[tuple[bytes, bytes, bytes, bytes]], *, encoded: bool) -> tuple[list[Key], bool]:
    """The keys; and whether one has bytes that are no UTF-8, so that only an exact comparison gives the order."""
    odd = False
    keys: list[Key] = []
    seconds: dict[bytes, int] = {}
    new, append = tuple.__new__, keys.append
    for raw, time, etag, size in rows:
        if encoded and (b"%" in raw or b"+" in raw):
            raw = unquote_to_bytes(raw.replace(b"+", b" "))  # noqa: PLW2901 - the loop is hot
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            key = raw.decode("utf-8", "surrogateescape")
            odd = True
        stored = seconds.get(time[:19])
        if stored is None:
            stored = seconds[time[:19]] = _stored(time.decode("ascii", "replace"))
        append(new(Key, (key, int(size), stored, etag.decode("ascii", "replace") or None)))
    return keys, odd


def _slow_key(node: _xml.Node, *, encoded: bool) -> Key:
    raw, time, size = node.value("Key"), node.value("LastModified"), node.value("Size")
    if raw is None or time is None or size is None or not re.fullmatch(r"[0-9]{1,15}", size.strip()):
        raise ListingError("an entry of the listing lacks its key, its time or its size")
    key = _decode(raw.encode("utf-8", "surrogateescape")) if encoded else raw
    return Key(key, int(size), _stored(time.strip()), unquote_etag(node.value("ETag")))


def _prefix(node: _xml.Node, *, encoded: bool) -> str:
    raw = node.value("Prefix")
    if raw is None:
        raise ListingError("a common prefix of the listing is empty")
    return _decode(raw.encode("utf-8", "surrogateescape")) if encoded else raw


def _decode(raw: bytes) -> str:
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", "surrogateescape")


def _stored(text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ListingError(f"an entry of the listing has the time {text[:40]!r}")
    year, month, day, hour, minute, second = map(int, found.groups())
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour <= 23 and minute <= 59 and second <= 60):
        raise ListingError(f"an entry of the listing has the time {text[:40]!r}")
    return epoch_seconds(year, month, day, hour, minute, second) * BILLION


def _check_rising(names: list[str], asked: Expected, *, odd: bool) -> None:
    """Strictly rising by bytes and all below the prefix; for text without escapes code points rise as bytes do."""
    if not names:
        return
    order: list[str] | list[bytes] = [name.encode("utf-8", "surrogateescape") for name in names] if odd else names
    previous = order[0]
    for name in order[1:]:
        if name <= previous:  # type: ignore[operator]  # both of one type
            raise ListingError(
                f"the listing of {asked.bucket} is not in order: a key comes after one that is greater or equal"
            )
        previous = name
    # In rising order all between two keys with the prefix have it too.
    if not (names[0].startswith(asked.prefix) and names[-1].startswith(asked.prefix)):
        raise ListingError(f"the listing of {asked.bucket} has keys outside of the prefix {asked.prefix[:80]!r}")
    for name in names:
        if "\0" in name:
            raise ListingError(
                f"the listing of {asked.bucket} has the key {name[:80]!r} with a NUL, which no path can hold"
            )


def buckets(response: Response) -> tuple[list[tuple[str, int | None]], str | None]:
    """Names and times of all buckets, and the token of the next page. Raises ListingError."""
    try:
        _check_type(response)
        root = _xml.parse(response.body, "ListAllMyBucketsResult")
        holder = root.find("Buckets")
        if holder is None:
            raise ListingError("the list of buckets holds no list")
        found = [(_bucket_name(node), _optional_time(node.value("CreationDate"))) for node in holder.all("Bucket")]
    except ListingError:
        raise
    except ProtocolError as error:
        raise ListingError(f"the list of buckets cannot be trusted: {error.message}") from None
    return found, root.value("ContinuationToken") or None


def _bucket_name(node: _xml.Node) -> str:
    name = node.value("Name")
    if not name or "/" in name or "\0" in name or name in {".", ".."}:
        raise ListingError(f"the list of buckets has one that is called {name!r}")
    return name


def _optional_time(text: str | None) -> int | None:
    return None if not text else _stored(text.strip())


class Part(NamedTuple):
    """One stored part of a multipart upload."""

    number: int
    size: int
    etag: str
    checksums: dict[str, str]  # by our name of the algorithm; base64, as the service gives them


_PART_CHECKSUMS = {"ChecksumCRC64NVME": "crc64nvme", "ChecksumCRC32": "crc32", "ChecksumCRC32C": "crc32c"}


def parts(body: bytes, upload_id: str) -> tuple[list[Part], str | None]:
    """Parts of ListParts, and the marker of the next page. Raises ProtocolError."""
    root = _xml.parse(body, "ListPartsResult", "ListPartsResponse")  # the latter is what moto names it
    if root.value("UploadId") not in {None, upload_id}:
        raise ProtocolError("the list of parts is of another upload")
    found = []
    for node in root.all("Part"):
        number, size, etag = node.value("PartNumber"), node.value("Size"), node.value("ETag")
        if number is None or size is None or not etag or not number.isdigit() or not size.isdigit():
            raise ProtocolError("a part in the list lacks its number, its size or its ETag")
        checksums = {
            name: text for element, name in _PART_CHECKSUMS.items() if (text := node.value(element)) is not None
        }
        found.append(Part(int(number), int(size), etag.strip(), checksums))
    if (root.value("IsTruncated") or "false") != "true":
        return found, None
    marker = root.value("NextPartNumberMarker")
    if not marker or not found:
        raise ProtocolError("the list of parts says that more follow, but not how to get them")
    return found, marker


class Upload(NamedTuple):
    """One multipart upload that is not finished."""

    key: str
    upload_id: str
    started_ns: int | None


def uploads(body: bytes) -> tuple[list[Upload], tuple[str, str] | None]:
    """Uploads of ListMultipartUploads, and the markers (key, upload id) of the next page. Raises ProtocolError."""
    root = _xml.parse(body, "ListMultipartUploadsResult")
    encoded = root.value("EncodingType") == "url"
    return list(_uploads(root, encoded=encoded)), _markers(root, encoded=encoded)


def _uploads(root: _xml.Node, *, encoded: bool) -> Iterator[Upload]:
    for node in root.all("Upload"):
        key, upload_id, started = node.value("Key"), node.value("UploadId"), node.value("Initiated")
        if not key or not upload_id:
            raise ProtocolError("an upload in the list lacks its key or its id")
        yield Upload(_decode(key.encode()) if encoded else key, upload_id, _optional_time(started))


def _markers(root: _xml.Node, *, encoded: bool) -> tuple[str, str] | None:
    if (root.value("IsTruncated") or "false") != "true":
        return None
    key, upload_id = root.value("NextKeyMarker"), root.value("NextUploadIdMarker")
    if not key:
        raise ProtocolError("the list of uploads says that more follow, but not how to get them")
    return (_decode(key.encode()) if encoded else key), upload_id or ""
