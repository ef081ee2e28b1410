"""From an answer of the service to our exceptions, and to the retry policy's verdict.

https://docs.cloud.google.com/storage/docs/json_api/v1/status-codes,
https://docs.cloud.google.com/storage/docs/xml-api/reference-status. The reason of the JSON error or the code of the XML
one decides, the status where there is neither. A page that is neither (a proxy's, a captive portal's) is a
ProtocolError that names host and status: above all it never counts as "not found".
"""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IntegrityError,
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
from cftool.http import xml
from cftool.http.redact import redact
from cftool.http.types import Response, Stream, Verdict

_KEYS = "the service does not accept the HMAC key; check access_key_id and secret_access_key"
_LOGIN = (
    "the service does not accept the credentials; check service_account_file, or run gcloud auth"
    " application-default login"
)
_SLOW = "the service asks us to slow down"
_WORDS: Mapping[str, tuple[type[StoreError], str]] = {
    # XML codes
    "NoSuchBucket": (NotFound, "no such bucket"),
    "NoSuchKey": (NotFound, "no such object"),
    "AccessDenied": (PermissionDenied, "access denied"),
    "AuthenticationRequired": (LoginRequired, "the service wants credentials; configure them"),
    "InvalidSecurity": (LoginRequired, _KEYS),
    "InvalidAccessKeyId": (LoginRequired, _KEYS),
    "SignatureDoesNotMatch": (LoginRequired, _KEYS),
    "ExpiredToken": (LoginRequired, _LOGIN),
    "RequestTimeTooSkewed": (LoginRequired, "this machine's clock is too far off the service's; set it right"),
    "PreconditionFailed": (PreconditionFailed, "it is another version by now"),
    "BucketNotEmpty": (DirectoryNotEmpty, "the bucket is not empty"),
    "BucketAlreadyOwnedByYou": (AlreadyExists, "the bucket exists already"),
    "BucketNameUnavailable": (AlreadyExists, "the bucket's name belongs to somebody else"),
    "BucketAlreadyExists": (AlreadyExists, "the bucket's name belongs to somebody else"),
    "InvalidBucketName": (InvalidName, "the bucket has a name that the service does not allow"),
    "InvalidObjectName": (InvalidName, "the service cannot hold this name"),
    "KeyTooLong": (InvalidName, "the key is too long for the service"),
    "BadDigest": (IntegrityError, "the content did not arrive as it was sent (BadDigest)"),
    "InvalidDigest": (IntegrityError, "the content did not arrive as it was sent (InvalidDigest)"),
    "IncompleteBody": (IntegrityError, "the content did not arrive whole"),
    "EntityTooLarge": (TooLarge, "too large for the service"),
    "SlowDown": (RateLimited, _SLOW),
    "RateLimitExceeded": (RateLimited, _SLOW),
    "InternalError": (TemporaryError, "the service failed (InternalError)"),
    "ServiceUnavailable": (TemporaryError, "the service is not available"),
    "NotImplemented": (Unsupported, "the service does not do that"),
    "MethodNotAllowed": (Unsupported, "the service does not do that"),
    "UserProjectMissing": (PermissionDenied, "the bucket wants whoever asks to pay"),
    # JSON reasons
    "notFound": (NotFound, "no such object or bucket"),
    "authError": (LoginRequired, _LOGIN),
    "required": (LoginRequired, "the service wants credentials; configure them"),
    "forbidden": (PermissionDenied, "access denied"),
    "insufficientPermissions": (PermissionDenied, "access denied"),
    "accessNotConfigured": (PermissionDenied, "the project has the Cloud Storage API switched off"),
    "conditionNotMet": (PreconditionFailed, "it is another version by now"),
    "conflict": (AlreadyExists, "it exists already"),
    "rateLimitExceeded": (RateLimited, _SLOW),
    "userRateLimitExceeded": (RateLimited, _SLOW),
    "quotaExceeded": (QuotaExceeded, "the quota is used up"),
    "notImplemented": (Unsupported, "the service does not do that"),
    "uploadTooLarge": (TooLarge, "too large for the service"),
    "backendError": (TemporaryError, "the service failed (backendError)"),
    "internalError": (TemporaryError, "the service failed (internalError)"),
    "retentionPolicyNotMet": (PermissionDenied, "a retention policy forbids it"),
    "objectUnderActiveHold": (PermissionDenied, "a hold on the object forbids it"),
    "userProjectMissing": (PermissionDenied, "the bucket wants whoever asks to pay"),
    "parseError": (StoreError, "the service did not understand the request"),
}
_STATUSES: Mapping[int, tuple[type[StoreError], str]] = {
    401: (LoginRequired, _LOGIN),
    403: (PermissionDenied, "access denied"),
    404: (NotFound, "no such object or bucket"),
    409: (AlreadyExists, "it exists already"),
    412: (PreconditionFailed, "it is another version by now"),
    413: (TooLarge, "too large for the service"),
    429: (RateLimited, _SLOW),
}
_SLOWING = frozenset({"SlowDown", "RateLimitExceeded", "rateLimitExceeded", "userRateLimitExceeded"})
_SKEWED = frozenset({"RequestTimeTooSkewed", "ExpiredToken"})
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9._-]{1,100})\s*</Code>")
_REASON = re.compile(rb'"reason"\s*:\s*"([A-Za-z0-9._-]{1,100})"')
_DIGEST_WORDS = ("doesn't match calculated", "does not match the")


class ServiceError(NamedTuple):
    """What an error document says: its reason or code, and its message."""

    word: str
    message: str


def decode(body: bytes) -> ServiceError | None:
    """The error in a body, or None where there is none."""
    start = body[:300].lstrip()
    if start.startswith(b"{"):
        return _decode_json(body)
    if b"<Error" not in start:
        return None
    try:
        root = xml.parse(body, "Error")
        details = " ".join((root.value("Details") or "").split())
        message = " ".join((root.value("Message") or "").split())
        return ServiceError((root.value("Code") or "").strip(), f"{message} {details}".strip())
    except ProtocolError:
        return None


def _decode_json(body: bytes) -> ServiceError | None:
    try:
        found = json.loads(body)["error"]
        if not isinstance(found, dict):
            return None
        errors = found.get("errors")
        first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
        return ServiceError(str(first.get("reason") or ""), " ".join(str(found.get("message") or "").split()))
    except (ValueError, KeyError, TypeError):
        return None


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """The retry policy's question; see http.types.Classify."""
    del headers
    if status < 400 or status in {404, 412}:
        return Verdict.ANSWER
    if status in {429, 503}:
        return Verdict.SLOW_DOWN
    if status == 401:
        return Verdict.AUTH
    word = word_of(body)
    if word in _SLOWING:
        return Verdict.SLOW_DOWN
    if word in _SKEWED:
        return Verdict.AUTH
    if status == 408 or (status >= 500 and status not in {501, 505}):
        return Verdict.RETRY
    return Verdict.ANSWER


def word_of(body: bytes) -> str:
    """The code or reason, found without decoding the whole."""
    head = body[:4096]
    found = _CODE.search(head) or _REASON.search(head)
    return found[1].decode("ascii") if found else ""


def error(
    response: Response | Stream, body: bytes, *, host: str, path: str | None = None, op: str | None = None
) -> StoreError:
    """The exception for an answer that is no success."""
    status, wait = response.status, _retry_after(response)
    found = decode(body)
    if found is not None:
        return of_word(found.word, found.message, path, status=status, op=op, retry_after=wait)
    if body.strip() and status not in {401, 407, 429, 502, 503, 504}:
        start = body[:1000].lower()
        what = "an HTML page" if b"<html" in start or b"<!doctype html" in start else "a body that is no error of it"
        return ProtocolError(f"{host} answered {status} with {what}", op=op, path=path)
    if status == 404 and not body:
        return NotFound("no such object", op=op, path=path)  # only HEAD speaks so: the caller asked for one object
    kind, text = _STATUSES.get(status) or (
        TemporaryError if status >= 500 or status == 408 else ProtocolError,
        f"{host} answered {status}",
    )
    return kind(text, op=op, path=path, retry_after=wait)


def of_word(
    word: str,
    message: str,
    path: str | None,
    *,
    status: int,
    op: str | None = None,
    retry_after: float | None = None,
) -> StoreError:
    """The exception for a reason or code, of an answer or of one part of a batch."""
    said = printable(redact(message)[:200])
    if any(words in message for words in _DIGEST_WORDS):
        return IntegrityError(f"the content did not arrive as it was sent ({said})", op=op, path=path)
    kind, text = _WORDS.get(word) or (None, "")
    if word == "conflict" and "not empty" in message:
        kind, text = DirectoryNotEmpty, "the bucket is not empty"
    if kind is None and status == 400 and ("name" in message.lower()):
        kind, text = InvalidName, "the service cannot hold this name"
    if kind is None and status in _STATUSES:
        kind, text = _STATUSES[status]
    if kind is None:
        kind = TemporaryError if status >= 500 else StoreError
        text = printable(word[:60]) or f"status {status}"
    if said and kind in {PermissionDenied, InvalidName, StoreError, Unsupported, AlreadyExists, QuotaExceeded}:
        text = f"{text} ({said})"
    return kind(text, op=op, path=path, retry_after=retry_after)


def bucket_missing(response: Response) -> bool:
    """Whether a write was refused because its bucket is not there: of a new object nothing else can be missing."""
    if response.status != 404:
        return False
    found = decode(response.body)
    return found is not None and found.word in {"NoSuchBucket", "notFound", ""}


def _retry_after(response: Response | Stream) -> float | None:
    text = response.header("retry-after")
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
