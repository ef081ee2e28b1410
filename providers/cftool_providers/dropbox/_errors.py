"""What an answer that is no success means: for the retry policy (`classify`) and as an exception (`error`).

Errors of a route come with 409 as a tree of tags, `{"error": {".tag": "path", "path": {".tag": "not_found"}}}`; the
same trees stand in the entries of batches. https://www.dropbox.com/developers/documentation/http/documentation#error-handling
"""

import json
from collections.abc import Mapping

from cftool.core.errors import (
    AlreadyExists,
    IntegrityError,
    InvalidName,
    IsADirectory,
    LoginRequired,
    NotADirectory,
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
from cftool.http.redact import redact
from cftool.http.types import Response, Stream, Verdict

BUSY = "too_many_write_operations"
_DEPTH = 8  # of a tree of tags

_KINDS: Mapping[str, tuple[type[StoreError], str]] = {
    "not_found": (NotFound, "is not there"),
    "not_file": (IsADirectory, "is a directory"),
    "not_folder": (NotADirectory, "is a file"),
    "restricted_content": (PermissionDenied, "Dropbox does not give it out: its content is restricted"),
    "unsupported_content_type": (Unsupported, "Dropbox cannot do that with this kind of file"),
    "unsupported_file": (Unsupported, "has no content to download: it can only be exported"),
    "locked": (PermissionDenied, "is locked"),
    "malformed_path": (InvalidName, "Dropbox does not take this name"),
    "disallowed_name": (InvalidName, "Dropbox does not save files of this name"),
    "conflict/file": (AlreadyExists, "a file is there already"),
    "conflict/folder": (IsADirectory, "is a directory"),
    "conflict/file_ancestor": (NotADirectory, "a file stands where a directory is needed"),
    "conflict": (AlreadyExists, "something is there already"),
    "no_write_permission": (PermissionDenied, "may not be written"),
    "access_restricted": (PermissionDenied, "a team's administrator does not allow it"),
    "access_denied": (PermissionDenied, "may not be shared"),
    "email_not_verified": (PermissionDenied, "sharing needs a verified e-mail address of the account"),
    "not_authorized": (PermissionDenied, "the account's plan does not allow it"),
    "team_folder": (PermissionDenied, "is a team folder"),
    "operation_suppressed": (PermissionDenied, "is not allowed at this path"),
    "insufficient_space": (QuotaExceeded, "the Dropbox is full"),
    "insufficient_quota": (QuotaExceeded, "the Dropbox is full"),
    "too_many_files": (Unsupported, "has more files than Dropbox takes in one operation"),
    "too_large": (TooLarge, "is larger than Dropbox takes"),
    "payload_too_large": (TooLarge, "is larger than Dropbox takes in one request"),
    "content_hash_mismatch": (IntegrityError, "Dropbox received other bytes than were sent"),
    "length_mismatch": (IntegrityError, "Dropbox received fewer or more bytes than were sent"),
    "cant_move_folder_into_itself": (InvalidName, "cannot be moved into itself"),
    "internal_error": (TemporaryError, "Dropbox had an error of its own"),
    BUSY: (RateLimited, "Dropbox has too many writes at once in this account"),
}


def tags(error: object) -> tuple[str, ...]:
    """The tags of a tree, from its root; empty where it is no such tree."""
    found: list[str] = []
    while isinstance(error, Mapping) and len(found) < _DEPTH:
        tag = error.get(".tag")
        if not isinstance(tag, str):
            break
        found.append(tag)
        below = error.get(tag)
        error = error.get("reason") if below is None else below  # UploadWriteFailed has a field of that name
    return tuple(found)


def leaf(error: object) -> Mapping[str, object]:
    """The innermost object of a tree, for its fields."""
    last: Mapping[str, object] = {}
    depth = 0
    while isinstance(error, Mapping) and depth < _DEPTH:
        last = error
        below = error.get(str(error.get(".tag")))
        error = error.get("reason") if below is None else below
        depth += 1
    return last


def body_error(body: bytes) -> object:
    """The `error` of an answer's JSON, None where there is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found.get("error") if isinstance(found, dict) else None


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """For `http.Client`."""
    del headers
    if status < 400:
        return Verdict.ANSWER
    if status in {429, 503}:
        return Verdict.SLOW_DOWN
    if status >= 500:
        return Verdict.RETRY
    if status == 401:
        known = tags(body_error(body))
        return (
            Verdict.AUTH
            if not known or known[0] in {"expired_access_token", "invalid_access_token"}
            else (Verdict.ANSWER)
        )
    if status == 409:
        known = tags(body_error(body))
        if BUSY in known:
            return Verdict.SLOW_DOWN
        if known[:1] == ("internal_error",):
            return Verdict.RETRY
    return Verdict.ANSWER


def of(found: object, path: str | None) -> StoreError:
    """The exception for a tree of tags."""
    known = tags(found)
    for position in reversed(range(len(known))):
        kind = _KINDS.get("/".join(known[position : position + 2])) or _KINDS.get(known[position])
        if kind is not None:
            return kind[0](kind[1], path=path)
    return StoreError(f"Dropbox says {printable('/'.join(known) or 'nothing that can be understood')}", path=path)


def error(response: Response | Stream, body: bytes, path: str | None = None) -> StoreError:
    """The exception for an answer that is no success."""
    status = response.status
    found = body_error(body)
    known = tags(found)
    if status == 409 and known:
        return of(found, path)
    if status == 401:
        if known[:1] == ("missing_scope",):
            scope = printable(str(leaf(found).get("required_scope", "")))
            return PermissionDenied(
                f"the application lacks the permission {scope}: tick it in its settings at Dropbox, then log in again",
                path=path,
            )
        return LoginRequired(f"Dropbox refuses the login ({printable('/'.join(known)) or status})")
    if status == 403:
        return PermissionDenied(f"Dropbox does not allow it ({printable('/'.join(known)) or status})", path=path)
    if status == 422:
        return PermissionDenied("the namespace is not there, or not for this account: see the option namespace")
    said = printable(" ".join(redact(body[:500].decode("utf-8", "replace")).split()))[:200]
    return ProtocolError(f"Dropbox answered {status}: {said}", path=path)
