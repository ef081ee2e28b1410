"""What both APIs of the fake Google Cloud Storage share: objects, pages of listings, refusals, habits. No state."""

import base64
import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cftool.core import hashing
from cftool.testing.http_fake import FakeRequest, FakeResponse

START = 1_700_000_000
QUANTUM = 256 * 1024
JSON_TYPE = ("Content-Type", "application/json; charset=UTF-8")


@dataclass(frozen=True, slots=True)
class Habits:
    """What real services and emulators do differently, and what the service may do at any time."""

    page: int = 1000  # most entries of one page, whatever is asked for
    partial: bool = False  # a chunk of an upload is stored in part
    rewrite_rounds: int = 1  # calls until a rewrite is done
    conditions: bool = True  # emulators may ignore them
    compose: bool = True
    offset: bool = True  # startOffset and start-after are obeyed
    one_hash_header: bool = False
    batch_ids: bool = True


@dataclass(frozen=True, slots=True)
class Stored:
    """One object."""

    data: bytes
    generation: int
    when: float
    metadata: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/octet-stream"
    encoding: str = ""
    storage_class: str = "STANDARD"
    md5: str | None = None  # base64; None of what was composed
    crc32c: str = ""
    metageneration: int = 1


@dataclass(slots=True)
class Session:
    """One resumable upload."""

    bucket: str
    described: dict[str, object]
    condition: str | None
    data: bytearray = field(default_factory=bytearray)
    done: Stored | None = None


@dataclass(slots=True)
class Rule:
    """One fault that a test ordered."""

    op: str
    key: str | None
    times: int
    skip: int
    act: Callable[[FakeRequest, FakeResponse], FakeResponse] | None
    instead: FakeResponse | None


class Refused(Exception):
    """Either API says it in its own words."""

    def __init__(self, status: int, reason: str, code: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.status = status
        self.reason = reason
        self.code = code
        self.message = message or reason


def no_bucket() -> Refused:
    """What a missing bucket is answered with."""
    return Refused(404, "notFound", "NoSuchBucket", "The specified bucket does not exist.")


def no_object(bucket: str, key: str) -> Refused:
    """What a missing object is answered with."""
    return Refused(404, "notFound", "NoSuchKey", f"No such object: {bucket}/{key}")


def md5_of(data: bytes) -> str:
    """Base64, as the service speaks."""
    return base64.b64encode(hashlib.md5(data).digest()).decode()  # noqa: S324 - what the service uses


def crc_of(data: bytes) -> str:
    """Base64 of the big-endian CRC32C."""
    return base64.b64encode(bytes.fromhex(hashing.digest("crc32c", data))).decode()


def iso(when: float) -> str:
    """With milliseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(when))}.{int(when * 1000) % 1000:03d}Z"


def http_date(when: float) -> str:
    """Whole seconds."""
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(when))


def check_key(key: str) -> None:
    """The service's rules for names."""
    if not 0 < len(key.encode("utf-8", "surrogateescape")) <= 1024:
        raise Refused(400, "invalid", "KeyTooLong", "The maximum object name length is 1024 characters")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise Refused(400, "invalid", "InvalidObjectName", "The object name is not valid UTF-8") from None
    if "\r" in key or "\n" in key or key in {".", ".."} or key.startswith(".well-known/acme-challenge/"):
        raise Refused(400, "invalid", "InvalidObjectName", f"Disallowed object name: {key!r}")


def page_of(
    keys: Iterable[str], prefix: str, delimiter: str, count: int, *, after: str = "", at: str = "", token: str = ""
) -> tuple[list[str], list[str], str]:
    """Items, prefixes, and the last name where more follows. `after` is exclusive, `at` inclusive, `token` a name."""
    items: list[str] = []
    prefixes: list[str] = []
    last = ""

    def order(text: str) -> bytes:
        return text.encode("utf-8", "surrogateescape")

    for key in sorted((key for key in keys if key.startswith(prefix)), key=order):
        if (after and order(key) <= order(after)) or (at and order(key) < order(at)):
            continue
        place = key.find(delimiter, len(prefix)) if delimiter else -1
        name = key[: place + len(delimiter)] if place >= 0 else key
        if token and (order(name) <= order(token) or (token.endswith(delimiter or "\0") and key.startswith(token))):
            continue
        if prefixes and name == prefixes[-1]:
            continue
        if len(items) + len(prefixes) == count:
            return items, prefixes, last
        (prefixes if place >= 0 else items).append(name)
        last = name
    return items, prefixes, ""
