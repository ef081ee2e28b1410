"""From an answer of the service to our exceptions, and to the retry policy's verdict.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html. The code of the <Error> element decides, the status
only where there is none (HEAD). An error page that is no XML (a proxy's, a captive portal's) is a ProtocolError that
names host and status: above all it never counts as "not found".
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IntegrityError,
    InvalidName,
    IsADirectory,
    LoginRequired,
    NotADirectory,
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
from cftool.http import xml as _xml
from cftool.http.types import Response, Stream, Verdict

_KEYS_WRONG = "the service does not accept the keys; check access_key_id and secret_access_key"
_KEYS_OLD = "the session has expired; log in again or renew the session token"

_CODES: Mapping[str, tuple[type[StoreError], str]] = {
    "NoSuchKey": (NotFound, "no such object"),
    "NoSuchBucket": (NotFound, "no such bucket"),
    "NoSuchUpload": (NotFound, "no such upload"),
    "NoSuchVersion": (NotFound, "no such version"),
    "AccessDenied": (PermissionDenied, "access denied"),
    "AllAccessDisabled": (PermissionDenied, "all access to it is disabled"),
    "AccountProblem": (PermissionDenied, "there is a problem with the account"),
    "UnauthorizedAccess": (PermissionDenied, "access denied"),
    "Forbidden": (PermissionDenied, "access denied"),
    "InvalidAccessKeyId": (LoginRequired, _KEYS_WRONG),
    "SignatureDoesNotMatch": (LoginRequired, _KEYS_WRONG),
    "InvalidSecurity": (LoginRequired, _KEYS_WRONG),
    "AuthorizationHeaderMalformed": (LoginRequired, "the service does not accept the signature; check region and keys"),
    "MissingSecurityHeader": (LoginRequired, "the service wants signed requests; configure keys"),
    "ExpiredToken": (LoginRequired, _KEYS_OLD),
    "InvalidToken": (LoginRequired, _KEYS_OLD),
    "TokenRefreshRequired": (LoginRequired, _KEYS_OLD),
    "RequestTimeTooSkewed": (LoginRequired, "this machine's clock is too far off the service's; set it right"),
    "RequestExpired": (LoginRequired, "this machine's clock is too far off the service's; set it right"),
    "NotSignedUp": (LoginRequired, "the account is not signed up for this service"),
    "PreconditionFailed": (PreconditionFailed, "it is another version by now"),
    "ConditionalRequestConflict": (PreconditionFailed, "it is being written by somebody else"),
    "BucketNotEmpty": (DirectoryNotEmpty, "the bucket is not empty"),
    "BucketAlreadyExists": (AlreadyExists, "the bucket's name belongs to somebody else"),
    "BucketAlreadyOwnedByYou": (AlreadyExists, "the bucket exists already"),
    "InvalidBucketName": (InvalidName, "the bucket has a name that the service does not allow"),
    "KeyTooLongError": (InvalidName, "the key is too long for the service"),
    "KeyTooLong": (InvalidName, "the key is too long for the service"),
    "XMinioInvalidObjectName": (InvalidName, "the service cannot hold this name"),
    "XMinioParentIsObject": (NotADirectory, "a file stands where the service needs a directory"),
    "XMinioObjectExistsAsDirectory": (IsADirectory, "a directory stands there already"),
    "InvalidURI": (InvalidName, "the service cannot hold this name"),
    "EntityTooLarge": (TooLarge, "too large for the service"),
    "QuotaExceeded": (QuotaExceeded, "the quota is used up"),
    "XMinioStorageFull": (QuotaExceeded, "the service's disks are full"),
    "XMinioAdminBucketQuotaExceeded": (QuotaExceeded, "the bucket's quota is used up"),
    "InsufficientStorage": (QuotaExceeded, "the service's disks are full"),
    "ServiceQuotaExceededException": (QuotaExceeded, "the quota is used up"),
    "TooManyBuckets": (QuotaExceeded, "the account has as many buckets as it may"),
    "BadDigest": (IntegrityError, "the content did not arrive as it was sent (BadDigest)"),
    "InvalidDigest": (IntegrityError, "the content did not arrive as it was sent (InvalidDigest)"),
    "XAmzContentSHA256Mismatch": (IntegrityError, "the content did not arrive as it was sent"),
    "XAmzContentChecksumMismatch": (IntegrityError, "the content did not arrive as it was sent"),
    "IncompleteBody": (IntegrityError, "the content did not arrive whole"),
    "InvalidObjectState": (Unsupported, "the object is archived; restore it first"),
    "ObjectLockConfigurationNotFoundError": (PermissionDenied, "the bucket has no object lock"),
    "NotImplemented": (Unsupported, "the service does not do that"),
    "MethodNotAllowed": (Unsupported, "the service does not do that"),
    "SlowDown": (RateLimited, "the service asks us to slow down"),
    "SlowDownRead": (RateLimited, "the service asks us to slow down"),
    "SlowDownWrite": (RateLimited, "the service asks us to slow down"),
    "Throttling": (RateLimited, "the service asks us to slow down"),
    "ThrottlingException": (RateLimited, "the service asks us to slow down"),
    "RequestLimitExceeded": (RateLimited, "the service asks us to slow down"),
    "TooManyRequests": (RateLimited, "the service asks us to slow down"),
    "InternalError": (TemporaryError, "the service failed (InternalError)"),
    "ServiceUnavailable": (TemporaryError, "the service is not available"),
    "RequestTimeout": (TemporaryError, "the service waited too long for the request"),
    "OperationAborted": (TemporaryError, "the service is busy with another change of it"),
    "Busy": (TemporaryError, "the service is busy"),
}
_STATUSES: Mapping[int, tuple[type[StoreError], str]] = {
    401: (LoginRequired, "the service wants signed requests; configure keys"),
    403: (PermissionDenied, "access denied"),
    412: (PreconditionFailed, "it is another version by now"),
    413: (TooLarge, "too large for the service"),
    429: (RateLimited, "the service asks us to slow down"),
    507: (QuotaExceeded, "the service's disks are full"),
}
_OF_BUCKET = frozenset({"NoSuchBucket", "InvalidBucketName", "BucketAlreadyExists"})
_SLOW = frozenset(code for code, (kind, _) in _CODES.items() if kind is RateLimited)
_AGAIN = frozenset({"InternalError", "RequestTimeout", "OperationAborted", "ServiceUnavailable", "Busy"})
_LOGIN = frozenset(
    {
        "ExpiredToken",
        "InvalidToken",
        "TokenRefreshRequired",
        "InvalidAccessKeyId",
        "RequestTimeTooSkewed",
        "RequestExpired",
        "RequestInTheFuture",
    }
)
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9._-]{1,100})\s*</Code>")
_ERROR = re.compile(rb"\A\s*(?:<\?xml[^>]*>\s*)?<Error[\s>]")


class ServiceError(NamedTuple):
    """What an <Error> says."""

    code: str
    message: str
    region: str | None
    endpoint: str | None


def is_error(body: bytes) -> bool:
    """Whether a body is an <Error> document, whatever the status."""
    return b"<Error" in body[:300] and _ERROR.match(body) is not None


def decode(body: bytes) -> ServiceError | None:
    """The <Error> in a body, or None where there is none."""
    if not is_error(body):
        return None
    try:
        root = _xml.parse(body, "Error")
        return ServiceError(
            (root.value("Code") or "").strip(),
            " ".join((root.value("Message") or "").split()),
            root.value("Region"),
            root.value("Endpoint"),
        )
    except ProtocolError:
        return None


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """The retry policy's question; see http.types.Classify."""
    del headers
    if status < 300:
        if not body or not is_error(body):
            return Verdict.ANSWER
        code = _code(body)
        return _of_code(code) if code in _SLOW or code in _AGAIN else Verdict.ANSWER
    if status < 400 or status in {404, 412}:
        return Verdict.ANSWER
    code = _code(body)
    if code is not None:
        verdict = _of_code(code)
        if verdict is not Verdict.ANSWER or status < 500:
            return verdict
    if status in {429, 503}:
        return Verdict.SLOW_DOWN
    if status == 400 and not body:
        return Verdict.AUTH  # HEAD: an expired session and a wrong region both look like this
    if status == 401:
        return Verdict.AUTH
    if status == 408 or (status >= 500 and status not in {501, 505, 507}):
        return Verdict.RETRY
    return Verdict.ANSWER


def _code(body: bytes) -> str | None:
    found = _CODE.search(body[:4096])
    return found[1].decode("ascii") if found else None


def _of_code(code: str | None) -> Verdict:
    if code in _SLOW:
        return Verdict.SLOW_DOWN
    if code in _AGAIN:
        return Verdict.RETRY
    return Verdict.AUTH if code in _LOGIN else Verdict.ANSWER


def error(
    response: Response | Stream, body: bytes, *, host: str, path: str | None = None, op: str | None = None
) -> StoreError:
    """The exception for an answer that is no success."""
    status = response.status
    found = decode(body)
    if found is not None and found.code:
        return of_code(found.code, found.message, path, status=status, op=op, retry_after=_retry_after(response))
    if body.strip():
        start = body[:1000].lower()
        what = "an HTML page" if b"<html" in start or b"<!doctype html" in start else "a body that is no S3 error"
        if status in {502, 503, 504, 429}:
            return TemporaryError(f"{host} answered {status}", op=op, path=path, retry_after=_retry_after(response))
        return ProtocolError(f"{host} answered {status} with {what}", op=op, path=path)
    if status == 404:
        # Without a body only HEAD speaks so: the caller asked for one object.
        return NotFound("no such object", op=op, path=path)
    kind, text = _STATUSES.get(status, (_by_status(status), f"{host} answered {status}"))
    return kind(text, op=op, path=path, retry_after=_retry_after(response))


def of_code(
    code: str,
    message: str,
    path: str | None,
    *,
    status: int = 400,
    op: str | None = None,
    retry_after: float | None = None,
) -> StoreError:
    """The exception for an error code, of an answer or of one key in a batch."""
    kind, text = _CODES.get(code, (None, ""))
    said = printable(" ".join(message.split())[:200])
    if kind is None:
        kind = _STATUSES[status][0] if status in _STATUSES else TemporaryError if status >= 500 else StoreError
        text = f"{printable(code[:60])}: {said}" if said else printable(code[:60])
    elif kind in {PermissionDenied, Unsupported, InvalidName} and said:
        text = f"{text} ({said})"
    error = kind(text, op=op, path=path, retry_after=retry_after)
    error.of_bucket = code in _OF_BUCKET
    return error


def _by_status(status: int) -> type[StoreError]:
    if status in _STATUSES:
        return _STATUSES[status][0]
    if status in {408, 500, 502, 503, 504}:
        return TemporaryError
    return ProtocolError


def _retry_after(response: Response | Stream) -> float | None:
    text = response.header("retry-after")
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
