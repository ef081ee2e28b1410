"""Batches on the wire: up to a hundred calls as multipart/mixed, each with its own answer. No I/O here.

https://developers.google.com/workspace/drive/api/guides/performance#batch-requests. Answers come in any order; an
answer to a batch that leaves a call out, or answers one twice, is none.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cftool.core.dataclass import dataclass
from cftool.core.errors import ProtocolError
from cftool.http.types import Response
from cftool.http.urls import quote_query
from cftool_providers.gdrive import _errors
from cftool_providers.gdrive._files import parse

BATCH = 100  # calls in one batch; the service takes no more
LONGEST = 7_900  # characters of a call's URL; the service takes 8,000 in a batch
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r?\n")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a batch; `path` below /drive/v3."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, object] | None = None


class Answer(NamedTuple):
    """The answer to a call of a batch."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """Of a success the JSON object; raises the error that it is otherwise."""
        if self.status != 200:
            raise _errors.error(self.status, self.body)
        return parse(self.body)


def url_length(call: Call) -> int:
    """Characters of the URL that it has in a batch."""
    return len(call.path) + len(quote_query(call.params)) + 12


def pack(calls: Sequence[Call], boundary: str) -> bytes:
    lines: list[bytes] = []
    for number, call in enumerate(calls):
        query = quote_query(call.params)
        head = f"{call.method} /drive/v3/{call.path}{'?' if query else ''}{query} HTTP/1.1"
        lines += [
            b"--" + boundary.encode(),
            b"Content-Type: application/http",
            b"Content-Transfer-Encoding: binary",
            f"Content-ID: <{number}>".encode(),
            b"",
            head.encode(),
        ]
        if call.body is None:
            lines += [b"", b""]
        else:
            data = json.dumps(call.body).encode()
            lines += [
                b"Content-Type: application/json; charset=UTF-8",
                f"Content-Length: {len(data)}".encode(),
                b"",
                data,
            ]
    return b"\r\n".join([*lines, b"--" + boundary.encode() + b"--", b""])


def unpack(response: Response, count: int) -> list[Answer]:
    """One answer for each call, by its Content-ID. Raises ProtocolError where one is missing, or there twice."""
    match = re.search(r'boundary="?([^";,]+)"?', response.header("content-type") or "")
    if match is None or not (response.header("content-type") or "").lower().startswith("multipart/mixed"):
        raise ProtocolError("the service's answer to a batch is none")
    found: dict[int, Answer] = {}
    pieces = re.split(rb"\r?\n--" + re.escape(match[1].encode()), b"\r\n" + response.body)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise ProtocolError("the service's answer to a batch is cut")
    for piece in pieces[1:-1]:
        head, _, inner = piece.lstrip(b"\r\n").partition(b"\r\n\r\n")
        number = re.search(rb"(?im)^content-id:\s*<?response-<?(\d+)>?>?\s*$", head)
        status = _STATUS.match(inner)
        if number is None or status is None:
            raise ProtocolError("a part of the answer to a batch is no answer")
        index = int(number[1])
        if index >= count or index in found:
            raise ProtocolError("a part of the answer to a batch answers nothing that was asked")
        found[index] = Answer(int(status[1]), _inner_body(inner[status.end() :]))
    if len(found) != count:
        raise ProtocolError(f"{count - len(found)} calls of a batch have no answer")
    return [found[number] for number in range(count)]


def _inner_body(rest: bytes) -> bytes:
    """The body of a part; where it tells its length, it must have it."""
    head, separator, body = (b"\r\n" + rest).partition(b"\r\n\r\n")
    if not separator:
        return b""
    length = re.search(rb"(?im)^content-length:\s*(\d+)\s*$", head)
    if length is None:
        return body
    if len(body) < int(length[1]):
        raise ProtocolError("a part of the answer to a batch is cut")
    return body[: int(length[1])]
