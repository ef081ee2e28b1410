"""Objects as the service describes them, in JSON and in headers: times, hashes, generations, and the Entry. No I/O.

Times travel in integers all the way: a float would lose the last digits of a nanosecond.
"""

import binascii
import re
import time
from collections.abc import Mapping
from typing import Any

from cftool.core.errors import ProtocolError
from cftool.core.types import NO_HASHES, Entry, Kind
from cftool.http.dates import epoch_seconds, parse_http_date
from cftool.http.types import Header

MTIME, GSUTIL_MTIME = "mtime", "goog-reserved-file-mtime"
HASHES = frozenset({"md5", "crc32c"})
BILLION = 1_000_000_000
_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,18}))?(?:[Zz]|([+-])(\d\d):(\d\d))")
_SECONDS = re.compile(r"-?\d{1,11}")
_GENERATION = re.compile(r"[0-9]{1,20}")


def format_time(ns: int) -> str:
    """RFC 3339 in UTC with as many decimals as it takes, rclone's form."""
    seconds, rest = divmod(ns, BILLION)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    decimals = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{decimals}Z"


def parse_time(text: object) -> int | None:
    """Nanoseconds, or None for what is no such time."""
    found = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    *fields, decimals, sign, hours, minutes = found.groups()
    year, month, day, hour, minute, second = map(int, fields)
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour <= 23 and minute <= 59 and second <= 60 and year):
        return None
    seconds = epoch_seconds(year, month, day, hour, minute, second)
    if sign:
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds += offset if sign == "-" else -offset
    return seconds * BILLION + (int(decimals[:9].ljust(9, "0")) if decimals else 0)


def own_time(metadata: Mapping[str, Any]) -> int | None:
    """The file's own time in an object's metadata: rclone's key, else gsutil's."""
    found = parse_time(metadata.get(MTIME))
    if found is not None:
        return found
    seconds = metadata.get(GSUTIL_MTIME)
    return int(seconds) * BILLION if isinstance(seconds, str) and _SECONDS.fullmatch(seconds) else None


def time_metadata(modified_ns: int | None) -> dict[str, str]:
    """The metadata that keeps the file's own time, for rclone and for gsutil."""
    if modified_ns is None:
        return {}
    return {MTIME: format_time(modified_ns), GSUTIL_MTIME: str(modified_ns // BILLION)}


def to_base64(digest: str) -> str:
    """A hex digest as the service wants it (CRC32C in big-endian order, which hex is)."""
    return binascii.b2a_base64(bytes.fromhex(digest), newline=False).decode("ascii")


def _digest(text: object, size: int, what: str) -> str:
    try:
        raw = binascii.a2b_base64(text, strict_mode=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != size:
        raise ProtocolError(f"the service gives a {what} that is none: {str(text)[:60]!r}")
    return raw.hex()


def json_hashes(item: Mapping[str, Any]) -> Mapping[str, str]:
    """Hashes of a resource."""
    md5, crc = item.get("md5Hash"), item.get("crc32c")
    if md5 is not None:
        digest = _digest(md5, 16, "MD5")
        return {"md5": digest} if crc is None else {"md5": digest, "crc32c": _digest(crc, 4, "CRC32C")}
    return NO_HASHES if crc is None else {"crc32c": _digest(crc, 4, "CRC32C")}


def header_hashes(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Hashes in `x-goog-hash: crc32c=…,md5=…`, which may come as one header or as two."""
    found: dict[str, str] = {}
    for part in headers.get("x-goog-hash", "").split(","):
        name, _, value = part.strip().partition("=")
        if name == "md5":
            found["md5"] = _digest(value, 16, "MD5")
        elif name == "crc32c":
            found["crc32c"] = _digest(value, 4, "CRC32C")
    return found or NO_HASHES


def generation(value: object) -> str:
    """A generation as text. Raises ProtocolError for what is none."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not _GENERATION.fullmatch(text):
        raise ProtocolError(f"the service gives a generation that is none: {str(value)[:40]!r}")
    return text


def size_of(value: object) -> int:
    """A size in bytes, which JSON gives as text. Raises ProtocolError."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ProtocolError(f"the service gives a size that is none: {str(value)[:40]!r}")
    return int(text)


def resource_entry(path: str, item: object) -> Entry:
    """The file that a resource of the JSON API describes. Raises ProtocolError."""
    if not isinstance(item, dict):
        raise ProtocolError("the answer is no object's description", path=path)
    name = item.get("name")
    if name != path.partition("/")[2]:
        raise ProtocolError(f"the answer describes {str(name)[:80]!r}, which was not asked for", path=path)
    metadata = item.get("metadata")
    return Entry(
        path,
        Kind.FILE,
        size_of(item.get("size")),
        own_time(metadata) if isinstance(metadata, dict) else None,
        parse_time(item.get("timeCreated")),
        generation(item.get("generation")),
        None,
        json_hashes(item),
    )


def header_entry(path: str, headers: Mapping[str, str], *, size: int | None = None, timed: bool) -> Entry:
    """The file that the headers of an answer describe; `size` where Content-Length is of a range or of nothing.

    `timed`: the answer carries the metadata (XML API), so that without one the file has no time of its own.
    """
    if size is None:
        text = headers.get("x-goog-stored-content-length") or headers.get("content-length")
        if text is None:
            raise ProtocolError("the answer does not say how large the object is", path=path)
        size = size_of(text.strip())
    version = headers.get("x-goog-generation")
    if version is None and not headers.get("etag") and not headers.get("x-goog-hash"):
        # A web page that a gateway answers with 200 has none of them, and would pass for a new version.
        raise ProtocolError("the answer has no generation, so it is no object's", path=path)
    stored = parse_http_date(headers.get("last-modified") or "")
    metadata = {name[12:]: value for name, value in headers.items() if name.startswith("x-goog-meta-")}
    return Entry(
        path,
        Kind.FILE,
        size,
        own_time(metadata),
        None if stored is None or not timed else int(stored) * BILLION,
        None if version is None else generation(version.strip()),
        None,
        header_hashes(headers),
    )


_RANGE = re.compile(r"bytes\s+(\d{1,15})-(\d{1,15})/(\d{1,15})")


def check_range(path: str, headers: Mapping[str, str], start: int, end: int | None) -> int:
    """The object's size, when the 206 is what was asked for ([start, end), clipped); else ProtocolError."""
    found = _RANGE.fullmatch((headers.get("content-range") or "").strip())
    if found is None:
        raise ProtocolError("a part of the object was asked for; the answer does not say which it is", path=path)
    first, last, size = int(found[1]), int(found[2]) + 1, int(found[3])
    if first != start or last != (size if end is None else min(end, size)) or not first < last <= size:
        raise ProtocolError(f"bytes {start}-{end} were asked for, {first}-{last} of {size} came", path=path)
    length = headers.get("content-length")
    if length is not None and length.strip() != str(last - first):
        raise ProtocolError(f"{last - first} bytes were announced, then {length[:20]}", path=path)
    return size


def hash_header(name: str, digest: str) -> Header:
    """Has the service compare what arrives."""
    return ("x-goog-hash", f"{name}={to_base64(digest)}")
