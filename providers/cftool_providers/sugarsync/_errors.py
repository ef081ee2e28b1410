"""What the service's refusals mean: for the retry policy, and as exceptions. No I/O.

Status codes: the tables of https://www.sugarsync.com/dev/api/resource-ref.html. The body of an error is a web page;
what it says stands in its first `<h3>`.
"""

import html
import re
from collections.abc import Mapping

from cftool.core.errors import (
    LoginRequired,
    NotFound,
    PermissionDenied,
    ProtocolError,
    QuotaExceeded,
    RateLimited,
    StoreError,
    TemporaryError,
    TooLarge,
)
from cftool.core.paths import printable
from cftool.http.redact import redact
from cftool.http.types import Response, Stream, Verdict

_SAID = re.compile(rb"<h3>(.*?)</h3>", re.DOTALL | re.IGNORECASE)
_TAGS = re.compile(r"<[^>]*>")
_RETRY = frozenset({408, 500, 502, 504, 509})
_SLOW = frozenset({429, 503})
_FULL = re.compile(r"quota|storage (?:limit|space)|out of space|insufficient (?:storage|space)", re.IGNORECASE)


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """The retry policy's question; see http.types.Classify."""
    del headers, body
    if status in _SLOW:
        return Verdict.SLOW_DOWN
    if status in _RETRY:
        return Verdict.RETRY
    return Verdict.AUTH if status == 401 else Verdict.ANSWER


def said(body: bytes) -> str:
    """What an error page says, as one short line; "" where it says nothing."""
    found = _SAID.search(body[: 64 * 1024])
    if found is None:
        return ""
    # A page that echoes the request: what is between tags is known as a secret by its tags, the rest by its lines.
    text = html.unescape(_TAGS.sub(" ", redact(found[1].decode("utf-8", "replace"))))
    return printable(" ".join(redact(text).split())[:200])


def error(response: Response | Stream, body: bytes, *, op: str | None = None, path: str | None = None) -> StoreError:
    """The exception for an answer that is no success."""
    status, text = response.status, said(body)
    also = f": {text}" if text else ""
    if status == 401:
        return LoginRequired(f"the login is not accepted{also}; run cftool config login", op=op, path=path)
    if status == 404:
        return NotFound(f"not there{also}", op=op, path=path)
    if status == 507 or (400 <= status < 500 and _FULL.search(text)):
        return QuotaExceeded(f"the account's storage is full{also}", op=op, path=path)
    if status == 403:
        return PermissionDenied(f"not allowed{also}", op=op, path=path)
    if status == 413:
        return TooLarge(f"too large for the service{also}", op=op, path=path)
    if status in _SLOW:
        return RateLimited(f"the service asks us to slow down ({status}){also}", op=op, path=path)
    if status >= 500:
        return TemporaryError(f"the service failed ({status}){also}", op=op, path=path)
    if 400 <= status < 500:
        return StoreError(f"the service refused it ({status}){also}", op=op, path=path)
    return ProtocolError(f"the service answered {status}, which is no answer to this", op=op, path=path)
