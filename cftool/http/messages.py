"""What both transports do alike with the parts of a message: header lines out, header blocks in, body rules.

No I/O. Everything from the server is foreign data: bounded by the transport, decoded here without loss.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from cftool.core.errors import InvalidName, ProtocolError, SourceChanged
from cftool.core.provider import Pace
from cftool.http.types import Body, Header, Request, Sink

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
SINK_STATUSES = frozenset({200, 206})
# Headers that come several times and mean all of it; of any other the last one counts.
REPEATED = frozenset({"set-cookie", "www-authenticate", "dav", "x-goog-hash"})
_AT_ONCE = 16 * 1024  # bytes of a body that are sent in one go whatever the pace
HEADER_LIMIT = 300 * 1024  # of a whole block; libcurl's own
# Header lines that came before, taken apart: most of an answer's are those of the answer before.
_seen: dict[bytes, tuple[str, str]] = {}
_SEEN, _SHORT = 500, 100  # so many, none longer than that many bytes
# What differs from answer to answer would only fill that up.
_UNIQUE = frozenset({"etag", "last-modified", "x-amz-request-id", "x-amz-id-2", "x-goog-generation"})
known_names: set[str] = set()  # that passed; a program uses a few dozen


def check_name(name: str) -> None:
    """Raise InvalidName for what is no header name."""
    if name not in known_names:
        if _TOKEN.fullmatch(name) is None:
            raise InvalidName(f"the header name {name!r} is not allowed in HTTP")
        if len(known_names) < 1000:  # names that come from a user's metadata must not fill the memory
            known_names.add(name)


def check_headers(headers: Iterable[Header]) -> None:
    """Raise InvalidName where a header could smuggle in another one."""
    for name, value in headers:
        check_name(name)
        if _CONTROL.search(value):
            raise InvalidName(f"the value of the header {name} holds a control character")


def parse_head(lines: list[bytes]) -> tuple[int, dict[str, str]] | None:
    """Status and headers of the first final block of raw header lines; None while none is complete.

    Interim answers (1xx) come before it, trailers after it. Values are UTF-8 where they are, else surrogate escapes.
    """
    status = 0
    headers: dict[str, str] = {}
    last = ""
    for raw in lines:
        pair = _seen.get(raw) if status else None
        if pair is not None:
            last, value = pair
            headers[last] = value
            continue
        if not status:
            status = _status(raw)
            continue
        line = raw.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if not line:
            if status >= 200:
                return status, headers
            status = 0
            headers = {}
            last = ""
            continue
        if line[0] in " \t" and last:  # a folded line goes on with the value above
            headers[last] += " " + line.strip()
            continue
        name, _, value = line.partition(":")
        last = name.strip().lower()
        value = value.strip()
        if last not in REPEATED:
            if (
                len(_seen) < _SEEN
                and len(raw) < _SHORT
                and last not in _UNIQUE
                and line[0] not in " \t"  # not what may continue another
            ):
                _seen[raw] = last, value
        elif last in headers:
            value = f"{headers[last]}, {value}"
        headers[last] = value
    return None


@lru_cache(maxsize=64)
def _status(raw: bytes) -> int:
    parts = raw.decode("utf-8", "surrogateescape").rstrip("\r\n").split(" ", 2)
    if not parts[0].startswith("HTTP/") or len(parts) < 2 or not (parts[1].isascii() and parts[1].isdigit()):
        raise ProtocolError("the server's answer does not begin with a status line")
    return int(parts[1][:3])


def encoding_problem(headers: Mapping[str, str]) -> str | None:
    """The Content-Encoding that was applied although none was asked for, or None."""
    encoding = headers.get("content-encoding")
    return encoding if encoding and encoding.lower() != "identity" else None


def encoded_body(encoding: str, host: str) -> ProtocolError:
    """The error for a body that came encoded."""
    return ProtocolError(f"{host} sent the body with Content-Encoding {encoding!r}, which was not asked for")


def oversize_body(limit: int, host: str) -> ProtocolError:
    """The error for a body that must not be collected."""
    return ProtocolError(f"the answer of {host} is larger than the {limit} bytes that such an answer may have")


def feed(sink: Sink, chunk: bytes) -> None:
    """One piece to a sink, by the method that it wants."""
    write_batch = getattr(sink, "write_batch", None)
    if write_batch is None:
        sink.write(chunk)
    else:
        write_batch([chunk])


class BodyReader:
    """Reads a Body in order, for one attempt; remembers where it is, so that a replay can seek back."""

    __slots__ = ("_body", "position")

    def __init__(self, body: Body) -> None:
        self._body = body
        self.position = 0

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the end only. Raises SourceChanged where the source came short."""
        size = min(size, self._body.length - self.position)
        if size <= 0:
            return b""
        data = self._body.pread(size, self.position)
        if len(data) != size:
            raise SourceChanged(
                f"the source gave {len(data)} bytes at offset {self.position} instead of {size}: it changed meanwhile"
            )
        self.position += len(data)
        return data


def paced_body(request: Request, pace: Pace | None) -> bytes | Body:
    """The request's body, one that is not small as a Body: only what is asked for in pieces can be held back."""
    body = request.body
    if pace is None or not isinstance(body, bytes):
        return body
    if len(body) <= _AT_ONCE:
        pace.up(len(body))
        return body
    return Body(len(body), lambda size, offset: body[offset : offset + size])


def body_length(request: Request) -> int:
    """The bytes that will be sent."""
    body = request.body
    return len(body) if isinstance(body, bytes) else body.length
