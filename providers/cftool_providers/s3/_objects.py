"""Objects as the service describes them in headers: times, hashes, versions, and the Entry made of them. No I/O.

Also what is read out of a local source to compare with it. Times travel in integers all the way: a float would lose the
last digits of a nanosecond.
"""

import base64
import binascii
import re
from collections.abc import Mapping

from cftool.core.errors import ProtocolError
from cftool.core.types import NO_HASHES, Entry, Kind
from cftool.http.dates import parse_http_date
from cftool.http.types import Header

MTIME = "x-amz-meta-mtime"
MD5 = "x-amz-meta-md5chksum"
CHECKSUMS = ("crc64nvme", "crc32c", "crc32", "sha256", "sha1")
HASHES = frozenset({"md5", *CHECKSUMS})
_BYTES = {"crc64nvme": 8, "crc32c": 4, "crc32": 4, "sha256": 32, "sha1": 20, "md5": 16}
_DIGEST = re.compile(r"[0-9a-f]{32}")
_SECONDS = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,18}))?")
CHECKSUM_MODE: tuple[Header, ...] = (("x-amz-checksum-mode", "ENABLED"),)  # have HEAD and GET tell the checksums
BILLION = 1_000_000_000


def format_time(ns: int) -> str:
    """Seconds with nine decimals, rclone's form."""
    seconds, rest = divmod(abs(ns), BILLION)
    return f"{'-' if ns < 0 else ''}{seconds}.{rest:09d}"


def parse_time(text: str | None) -> int | None:
    """Nanoseconds, or None for what is no such time."""
    found = _SECONDS.fullmatch(text.strip()) if text else None
    if found is None:
        return None
    sign, seconds, decimals = found.groups()
    ns = int(seconds) * BILLION + int((decimals or "0")[:9].ljust(9, "0"))
    return -ns if sign else ns


def time_headers(modified_ns: int | None) -> tuple[Header, ...]:
    """The user metadata that keeps the file's own time."""
    return () if modified_ns is None else ((MTIME, format_time(modified_ns)),)


def from_base64(text: str | None, size: int) -> str | None:
    """A checksum header as hex; None where it is no such checksum (of parts: `…-3`)."""
    if not text:
        return None
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == size else None


def to_base64(digest: str) -> str:
    """A hex digest as the service's headers want it."""
    return base64.b64encode(bytes.fromhex(digest)).decode("ascii")


def unquote_etag(text: str | None) -> str | None:
    """The ETag without its quotes; None where there is none."""
    if not text:
        return None
    return text.strip().removeprefix("W/").strip('"') or None


def quote_etag(version: str) -> str:
    """The ETag as conditions want it."""
    return f'"{version}"'


def is_md5(etag: str | None) -> bool:
    """Whether an ETag has the form of an MD5."""
    return etag is not None and _DIGEST.fullmatch(etag) is not None


def opaque_etag(headers: Mapping[str, str]) -> bool:
    """Whether encryption makes the ETag something else than the content's MD5."""
    encryption = headers.get("x-amz-server-side-encryption", "")
    return encryption.startswith("aws:kms") or "x-amz-server-side-encryption-customer-algorithm" in headers


def hashes(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Hashes of the whole content that the answer proves to know."""
    found: dict[str, str] = {}
    etag = unquote_etag(headers.get("etag"))
    if etag is not None and is_md5(etag) and not opaque_etag(headers):
        found["md5"] = etag
    elif (md5 := from_base64(headers.get(MD5), _BYTES["md5"])) is not None:
        found["md5"] = md5
    # Without a type: of an object stored in parts (its ETag has a dash) it is that of the parts' checksums.
    in_parts = etag is not None and "-" in etag
    if headers.get("x-amz-checksum-type", "COMPOSITE" if in_parts else "FULL_OBJECT").upper() == "FULL_OBJECT":
        for name in CHECKSUMS:
            text = headers.get("x-amz-checksum-" + name)
            if text is not None and (value := from_base64(text, _BYTES[name])) is not None:
                found[name] = value
    return found or NO_HASHES


def entry(path: str, headers: Mapping[str, str], *, size: int | None = None) -> Entry:
    """The file that the headers of HEAD or GET describe; `size` where Content-Length is of a range."""
    if size is None:
        size = content_length(headers)
        if size is None:
            raise ProtocolError("the answer does not say how large the object is", path=path)
    if not headers.get("etag"):
        # Every S3 gives one; a web page that a gateway answers with 200 does not, and would pass for a new version.
        raise ProtocolError("the answer has no ETag, so it is no object's", path=path)
    stored = parse_http_date(headers.get("last-modified") or "")
    return Entry(
        path,
        Kind.FILE,
        size,
        parse_time(headers.get(MTIME)),
        None if stored is None else int(stored) * BILLION,
        unquote_etag(headers.get("etag")),
        None,
        hashes(headers),
    )


def content_length(headers: Mapping[str, str]) -> int | None:
    """Content-Length, or None."""
    text = headers.get("content-length")
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


_RANGE = re.compile(r"bytes\s+(\d{1,15})-(\d{1,15})/(\d{1,15})")


def content_range(headers: Mapping[str, str]) -> tuple[int, int, int] | None:
    """(start, end exclusive, size of the object) that a 206 says, or None where it says nothing clear."""
    found = _RANGE.fullmatch((headers.get("content-range") or "").strip())
    return None if found is None else (int(found[1]), int(found[2]) + 1, int(found[3]))


def check_range(path: str, headers: Mapping[str, str], start: int, end: int) -> int:
    """The object's size, when the 206 is what was asked for ([start, end), end clipped); else ProtocolError."""
    got = content_range(headers)
    if got is None:
        raise ProtocolError("a part of the object was asked for; the answer does not say which it is", path=path)
    first, last, size = got
    if first != start or last != min(end, size) or not first < last <= size:
        raise ProtocolError(f"bytes {start}-{end - 1} were asked for, {first}-{last - 1} of {size} came", path=path)
    length = content_length(headers)
    if length is not None and length != last - first:
        raise ProtocolError(f"{last - first} bytes were announced, then {length}", path=path)
    return size
