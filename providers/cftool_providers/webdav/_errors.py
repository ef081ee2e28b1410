"""From an answer of the server to our exceptions, and to the retry policy's verdict.

https://www.rfc-editor.org/rfc/rfc4918#section-11. The status decides; the body only adds words where it is sabre's or
Apache's XML. A redirect is never followed here: it is told where it leads, so that the user can put the right `url`.
"""

import re
from collections.abc import Mapping

from cftool.core.errors import (
    InvalidName,
    LoginRequired,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    ProtocolError,
    QuotaExceeded,
    RateLimited,
    StoreError,
    TemporaryError,
    TooLarge,
    Unsupported,
)
from cftool.core.paths import printable
from cftool.http.redact import safe_url
from cftool.http.types import Response, Stream, Verdict

_KINDS: Mapping[int, tuple[type[StoreError], str]] = {
    400: (ProtocolError, "the server does not understand the request"),
    401: (LoginRequired, "the server does not accept the login; check user and password, or bearer_token"),
    402: (QuotaExceeded, "the account is out of its allowance"),
    403: (PermissionDenied, "access denied"),
    404: (NotFound, "no such file or directory"),
    405: (Unsupported, "the server does not do that here"),
    409: (ProtocolError, "the server sees a conflict: a directory above is missing, or is a file"),
    410: (NotFound, "no such file or directory"),
    411: (ProtocolError, "the server wants the length first"),
    412: (PreconditionFailed, "it is another version by now, or is there already"),
    413: (TooLarge, "too large for the server"),
    414: (InvalidName, "the name is too long for the server"),
    423: (TemporaryError, "is locked by somebody else"),
    424: (TemporaryError, "something that it depends on failed"),
    429: (RateLimited, "the server asks us to slow down"),
    431: (InvalidName, "the name is too long for the server"),
    501: (Unsupported, "the server does not do that"),
    507: (QuotaExceeded, "the account or the server's disk is full"),
}
_MESSAGE = re.compile(rb"<(?:s:message|d:responsedescription|message)>([^<]{1,300})<")
_CHECKSUM = re.compile(rb"checksum", re.IGNORECASE)


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """The retry policy's question; see http.types.Classify. A lock (423) is waited for by `_api`, for a short time."""
    del headers, body
    if status < 400 or status in {404, 409, 412, 423}:
        return Verdict.ANSWER
    if status == 401:
        return Verdict.AUTH
    if status in {429, 503}:
        return Verdict.SLOW_DOWN
    if status in {408, 425} or (status >= 500 and status not in {501, 505, 507, 508}):
        return Verdict.RETRY
    return Verdict.ANSWER


def error(response: Response | Stream, body: bytes = b"", *, host: str, path: str | None = None) -> StoreError:
    """The exception for an answer that is no success."""
    status = response.status
    if isinstance(response, Response):
        body = response.body
    if 300 <= status < 400:
        place = safe_url(response.header("location") or "")[:200]
        return ProtocolError(
            f"{host} redirects to {place or 'nowhere'} ({status}); put that address into url", path=path
        )
    kind, text = _KINDS.get(status, (TemporaryError if status >= 500 else ProtocolError, f"{host} answered {status}"))
    if said := words(body):
        text = f"{text} ({said})"
    elif status in {400, 405, 409, 411, 501}:
        text = f"{text} ({status})"
    return kind(text, path=path, retry_after=_retry_after(response))


def no_top(status: int, top: str) -> StoreError:
    """The exception where the top directory itself is not there, or no WebDAV: the option `url` is wrong."""
    hint = "check url; Nextcloud's ends in /remote.php/dav/files/USER"
    if status in {404, 410}:
        return NotFound(f"there is no directory {safe_url(top)} ({hint})", path="")
    return Unsupported(f"{safe_url(top)} does not speak WebDAV, it answers {status} ({hint})", path="")


def is_checksum_refusal(response: Response) -> bool:
    """Whether the server says that what it stored does not match the checksum sent along (ownCloud)."""
    return response.status == 400 and _CHECKSUM.search(response.body[:4096]) is not None


def words(body: bytes) -> str:
    """The server's own explanation, one line, safe to show; empty where there is none."""
    found = _MESSAGE.search(body[:8192])
    if found is None:
        return ""
    return printable(" ".join(found[1].decode("utf-8", "replace").split())[:200])


def _retry_after(response: Response | Stream) -> float | None:
    text = response.header("retry-after")
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
