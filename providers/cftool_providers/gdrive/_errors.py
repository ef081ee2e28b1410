"""What an answer that is no success means: for the retry policy (`classify`) and for the caller (`error`).

https://developers.google.com/workspace/drive/api/guides/handle-errors. The reason in the body decides, not the status:
403 stands for a rate limit, for a full account, for the daily limit of uploads and for a missing permission alike.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from cftool.core.errors import (
    AlreadyExists,
    InvalidName,
    LoginRequired,
    NotFound,
    PermissionDenied,
    ProtocolError,
    QuotaExceeded,
    RateLimited,
    StoreError,
    TemporaryError,
    TooLarge,
    Unsupported,
)
from cftool.core.paths import printable
from cftool.http.types import Verdict

_RATES = frozenset({"userRateLimitExceeded", "rateLimitExceeded", "sharingRateLimitExceeded"})
_DAILY = frozenset({"dailyLimitExceeded", "uploadLimitExceeded"})
# The service says of too many bytes a day what it says of too many requests a second, but for these very words.
_DAILY_WORDS = "User rate limit exceeded."
_FULL = frozenset(
    {
        "storageQuotaExceeded",
        "quotaExceeded",
        "teamDriveFileLimitExceeded",
        "activeItemCreationLimitExceeded",
        "numChildrenInNonRootLimitExceeded",
        "userAccountQuotaExceeded",
    }
)
IN_USE = "fileIdInUse"
NOT_DOWNLOADABLE = frozenset({"fileNotDownloadable"})


class Reason(NamedTuple):
    """The first error of an answer."""

    reason: str
    message: str
    location: str


def reason_of(body: bytes) -> Reason:
    """What the body says; empty texts where it is no error of the API's."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return Reason("", "", "")
    error = found.get("error") if isinstance(found, dict) else None
    if not isinstance(error, dict):
        return Reason("", "", "")
    first: object = error.get("errors")
    first = first[0] if isinstance(first, list) and first and isinstance(first[0], dict) else {}
    assert isinstance(first, dict)
    message = first.get("message") or error.get("message")
    return Reason(str(first.get("reason") or ""), str(message or ""), str(first.get("location") or ""))


def is_daily(reason: Reason) -> bool:
    """Whether the limit of uploads in a day is what refuses."""
    return reason.reason in _DAILY or (reason.reason == "userRateLimitExceeded" and reason.message == _DAILY_WORDS)


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """For the client's policy; 308 is the answer of an upload that is not complete yet."""
    del headers
    if status < 400:
        return Verdict.ANSWER
    if status == 401:
        return Verdict.AUTH
    if status == 429:
        return Verdict.SLOW_DOWN
    if status == 403:
        reason = reason_of(body)
        return Verdict.SLOW_DOWN if reason.reason in _RATES and not is_daily(reason) else Verdict.ANSWER
    if status in {408, 500, 502, 503, 504}:
        return Verdict.SLOW_DOWN if status == 503 else Verdict.RETRY
    return Verdict.ANSWER


def error(status: int, body: bytes, *, path: str | None = None) -> StoreError:
    """The exception for an answer that is no success, to be raised by the caller."""
    found = reason_of(body)
    said = printable(found.message)[:300] or f"the service answered {status}"
    if is_daily(found):
        return RateLimited(
            "Google's limit of uploads in a day (750 GB for each user) is reached; run this again in 24 hours, "
            f"it goes on where it stopped ({said})",
            path=path,
        )
    kind = _kind(status, found)
    if kind is None:
        return ProtocolError(f"the service answered {status}: {said}", path=path)
    if found.reason == "cannotDownloadAbusiveFile":
        said += "; acknowledge_abuse = true downloads it all the same"
    if found.reason in {"appNotAuthorizedToFile", "insufficientPermissions"}:
        said += "; log in again with the scope drive"
    return kind(said, path=path)


def _kind(status: int, found: Reason) -> type[StoreError] | None:
    reason = found.reason
    if reason in _FULL:
        return QuotaExceeded
    if reason in _RATES or status == 429:
        return RateLimited
    if reason == "exportSizeLimitExceeded":
        return TooLarge
    if status == 401:
        return LoginRequired
    if status == 403:
        return Unsupported if reason in NOT_DOWNLOADABLE else PermissionDenied
    if status in {404, 410}:
        return NotFound
    if status == 409:
        return AlreadyExists
    if status == 413:
        return TooLarge
    if status >= 500 or status == 408:
        return TemporaryError
    return InvalidName if status == 400 and found.location in {"name", "file.name"} else None
