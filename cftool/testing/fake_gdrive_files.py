"""What the fake Drive holds and the calls of its API on files; `fake_gdrive` is the service around it.

Every call takes the decoded query and body and returns a response, or raises the `Refusal` that the service would.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from cftool.testing.fake_gdrive_query import BadParameter, Query, masked
from cftool.testing.http_fake import FakeRequest, FakeResponse

API = "www.googleapis.com"
LOGIN = "oauth2.googleapis.com"
ACCESS, REFRESH = "access-token-1", "refresh-token-1"
CLIENT_ID, CLIENT_SECRET = "client.apps.googleusercontent.com", "client-secret-1"
FOLDER = "application/vnd.google-apps.folder"
SHORTCUT = "application/vnd.google-apps.shortcut"
DOCUMENT = "application/vnd.google-apps.document"
MULTIPART_LIMIT = 5 * 1024 * 1024
GRAIN = 256 * 1024

_SHORTCUT_FIELDS = {"targetId": 1, "targetMimeType": 1, "targetResourceKey": 1}
_FILE_FIELDS: dict[str, Any] = dict.fromkeys(
    (
        "kind", "id", "name", "mimeType", "parents", "trashed", "explicitlyTrashed", "size", "md5Checksum",
        "sha1Checksum", "sha256Checksum", "modifiedTime", "createdTime", "headRevisionId", "webViewLink",
        "webContentLink", "driveId", "version", "description", "starred",
    ),
    1,
) | {"shortcutDetails": _SHORTCUT_FIELDS}  # fmt: skip
_LIST_FIELDS = {"kind": 1, "nextPageToken": 1, "incompleteSearch": 1, "files": _FILE_FIELDS}
_CHANGE = {"kind": 1, "fileId": 1, "removed": 1, "changeType": 1, "time": 1, "file": _FILE_FIELDS}
_CHANGE_FIELDS = {"kind": 1, "nextPageToken": 1, "newStartPageToken": 1, "changes": _CHANGE}
_ALL = {"fields", "alt", "supportsAllDrives"}
_WRITABLE = {"id", "name", "mimeType", "parents", "modifiedTime", "createdTime", "description", "shortcutDetails"}


@dataclass(eq=False)
class File:
    """One file, folder, document or shortcut of the fake."""

    drive: "Drive"
    id: str
    name: str
    mime: str
    parents: list[str]
    created: str
    modified: str
    content: bytes | None = None
    revision: int = 0
    explicitly_trashed: bool = False
    target: str = ""
    shared: bool = False

    def has_parent(self, parent: str) -> bool:
        """Whether it is in that folder; the alias of the root counts."""
        return (self.drive.root if parent == "root" else parent) in self.parents

    def in_trash(self) -> bool:
        """Whether it, or a folder above it, was put there."""
        if self.explicitly_trashed:
            return True
        above = (self.drive.files.get(parent) for parent in self.parents)
        return any(folder.in_trash() for folder in above if folder is not None)

    def resource(self) -> dict[str, Any]:
        """As the API shows it."""
        found: dict[str, Any] = {
            "kind": "drive#file",
            "id": self.id,
            "name": self.name,
            "mimeType": self.mime,
            "parents": list(self.parents),
            "trashed": self.in_trash(),
            "explicitlyTrashed": self.explicitly_trashed,
            "createdTime": self.created,
            "modifiedTime": self.modified,
            "webViewLink": f"https://drive.google.com/file/d/{self.id}/view?usp=drivesdk",
        }
        if self.content is not None:
            found |= {
                "size": str(len(self.content)),
                "md5Checksum": hashlib.md5(self.content, usedforsecurity=False).hexdigest(),
                "sha1Checksum": hashlib.sha1(self.content, usedforsecurity=False).hexdigest(),
                "sha256Checksum": hashlib.sha256(self.content).hexdigest(),
                "headRevisionId": f"{self.id}-r{self.revision}",
                "webContentLink": f"https://drive.google.com/uc?id={self.id}&export=download",
            }
        if self.mime == SHORTCUT:
            target = self.drive.files.get(self.target)
            found["shortcutDetails"] = {
                "targetId": self.target,
                "targetMimeType": target.mime if target else "application/octet-stream",
            }
        return found


@dataclass
class Session:
    """A resumable upload."""

    file_id: str
    new: bool
    metadata: dict[str, Any]
    mime: str
    size: int | None
    data: bytearray = field(default_factory=bytearray)
    done: dict[str, Any] | None = None
    fields: str = ""


@dataclass
class Plan:
    """What goes wrong with the coming calls of one kind."""

    op: str
    left: int
    after: int
    make: Callable[[], FakeResponse]
    late: bool


class Refusal(Exception):
    """An error of the API."""

    def __init__(self, status: int, reason: str, message: str, *, domain: str = "global", location: str = "") -> None:
        super().__init__(message)
        self.response = error(status, reason, message, domain=domain, location=location)


def error(
    status: int,
    reason: str,
    message: str,
    *,
    domain: str = "global",
    location: str = "",
    headers: tuple[tuple[str, str], ...] = (),
) -> FakeResponse:
    """An answer in the API's shape of errors."""
    first = {"domain": domain, "reason": reason, "message": message}
    if location:
        first |= {"locationType": "parameter", "location": location}
    body = {"error": {"errors": [first], "code": status, "message": message}}
    return FakeResponse(
        status, (("Content-Type", "application/json; charset=UTF-8"), *headers), json.dumps(body).encode()
    )


def rate_limited(reason: str = "userRateLimitExceeded", *, status: int = 403, wait: int | None = None) -> FakeResponse:
    """Too many requests, as 403 or 429, with or without Retry-After."""
    headers = () if wait is None else (("Retry-After", str(wait)),)
    return error(status, reason, "User Rate Limit Exceeded. Slow down.", domain="usageLimits", headers=headers)


def daily_limit() -> FakeResponse:
    """750 GB were uploaded today."""
    return error(403, "userRateLimitExceeded", "User rate limit exceeded.", domain="usageLimits")


def ok(found: object) -> FakeResponse:
    """A success."""
    return FakeResponse(200, (("Content-Type", "application/json; charset=UTF-8"),), json.dumps(found).encode())


def parts_of(body: bytes, boundary: bytes) -> list[tuple[dict[str, str], bytes]]:
    """Headers and bodies of a multipart body."""
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if pieces[0] or not pieces[-1].startswith(b"--"):
        raise Refusal(400, "badContent", "Malformed multipart body.")
    parts = []
    for piece in pieces[1:-1]:
        head, separator, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not separator:
            raise Refusal(400, "badContent", "Malformed multipart body.")
        lines = (line.partition(":") for line in head.decode().split("\r\n") if line)
        parts.append(({name.lower(): value.strip() for name, _, value in lines}, content))
    return parts


class Drive:
    """The state, and the calls. `shared_drive`: its id, which is its root's too, where there is one."""

    def __init__(self, *, shared_drive: str | None = None, page: int = 1000) -> None:
        self.root = "0AFakeRootOfMyDrive"
        self.page = page
        self.shared_drive = shared_drive
        self.files: dict[str, File] = {}
        self.sessions: dict[str, Session] = {}
        self.requests: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.log: list[FakeRequest] = []
        self.access = {ACCESS}
        self.revoked = False
        self.blind: set[str] = set()  # folders of which queries over several parents know nothing
        self.incomplete = False
        self.lost_tokens: set[str] = set()
        self.permissions: dict[str, list[dict[str, str]]] = {}
        self.exports: dict[str, bytes] = {}
        self.abusive: set[str] = set()
        self.spoil: Callable[[str, dict[str, Any]], object] | None = None  # what a listing answers instead
        self._ids: set[str] = set()
        self._now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self._serial = 0
        self._tokens: dict[str, tuple[str, list[str]]] = {}
        self._changes: list[str] = []
        self._plans: list[Plan] = []
        self.files[self.root] = File(self, self.root, "My Drive", FOLDER, [], self._time(), self._time())
        if shared_drive is not None:
            self.files[shared_drive] = File(
                self, shared_drive, "Team", FOLDER, [], self._time(), self._time(), shared=True
            )

    # ---- parts of requests

    def _params(self, request: FakeRequest) -> dict[str, str]:
        pairs = parse_qsl(request.query.replace("+", "%2B"), keep_blank_values=True, strict_parsing=bool(request.query))
        params = dict(pairs)
        if len(params) != len(pairs):
            raise Refusal(400, "invalid", "A parameter is there twice")
        return params

    def _json(self, request: FakeRequest) -> dict[str, Any]:
        if not request.body:
            return {}
        kind = (request.header("content-type") or "").partition(";")[0]
        if kind.lower() != "application/json":
            raise Refusal(400, "badContent", "Unsupported content with type: " + kind)
        return self._parsed(request.body)

    @staticmethod
    def _parsed(data: bytes) -> dict[str, Any]:
        try:
            found = json.loads(data)
        except ValueError:
            raise Refusal(400, "parseError", "Parse Error") from None
        assert isinstance(found, dict)
        return found

    def _allow(self, params: Mapping[str, str], *names: str) -> None:
        unknown = params.keys() - _ALL - set(names)
        if unknown:
            self.complaints.append(f"unknown parameters {sorted(unknown)}")
            raise Refusal(400, "invalidParameter", f"Unknown parameter {min(unknown)}")

    def _of_all_drives(self, params: Mapping[str, str]) -> None:
        if params.get("supportsAllDrives") != "true":
            self.complaints.append("a call without supportsAllDrives")
            raise Refusal(404, "notFound", "File not found: .", location="fileId")

    def _file(self, params: Mapping[str, str], handle: str) -> File:
        self._of_all_drives(params)
        file = self.files.get(self.root if handle == "root" else handle)
        if file is None:
            raise Refusal(404, "notFound", f"File not found: {handle}.", location="fileId")
        return file

    def _answer(self, file: File, params: Mapping[str, str]) -> FakeResponse:
        fields = params.get("fields", "kind,id,name,mimeType")
        return ok(masked(file.resource(), fields, _FILE_FIELDS))

    def _time(self) -> str:
        return self._now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{self._serial % 1000:03}Z"

    def _when(self, text: object) -> str:
        if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", text):
            raise Refusal(400, "invalid", "Invalid value for field modifiedTime", location="modifiedTime")
        head, _, fraction = text.rstrip("Z").partition(".")
        return f"{head}.{(fraction + '000')[:3]}Z"

    # ---- making and changing

    def _new_handle(self) -> str:
        self._serial += 1
        return "1" + hashlib.sha256(str(self._serial).encode()).hexdigest()[:32]

    def _make(self, name: str, mime: str, parent: str, content: bytes | None, target: str = "") -> File:
        handle = self._new_handle()
        self._now += timedelta(milliseconds=1)
        file = File(self, handle, name, mime, [parent], self._time(), self._time(), target=target)
        if mime not in {FOLDER, SHORTCUT} and not mime.startswith("application/vnd.google-apps."):
            file.content = content or b""
        self.files[handle] = file
        self._changes.append(handle)
        return file

    def _create(
        self, params: Mapping[str, str], body: dict[str, Any], content: bytes | None, mime: str = ""
    ) -> FakeResponse:
        self._allow(params, *(("uploadType",) if content is not None else ()))
        self._of_all_drives(params)
        self._check_body(body)
        handle = body.get("id")
        if handle is None:
            handle = self._new_handle()
        elif handle in self.files:
            raise Refusal(409, "fileIdInUse", "A file already exists with the provided ID.")
        elif handle not in self._ids:
            raise Refusal(400, "invalid", "The provided file ID is not usable.", location="file.id")
        parents = body.get("parents", ["root"])
        if len(parents) != 1:
            raise Refusal(400, "invalid", "A file has one parent", location="file.parents")
        parent = self._file(params, parents[0])
        if parent.mime != FOLDER:
            raise Refusal(403, "parentNotAFolder", "The specified parent is not a folder.")
        name = str(body.get("name", "Untitled"))
        mime = str(body.get("mimeType") or mime or "application/octet-stream")
        if content is None and mime not in {FOLDER, SHORTCUT} and not mime.startswith("application/vnd."):
            content = b""
        self._serial += 1
        now = self._time()
        when = self._when(body["modifiedTime"]) if "modifiedTime" in body else now
        file = File(self, handle, name, mime, [parent.id], now, when, content)
        self.files[handle] = file
        self._changes.append(handle)
        return self._answer(file, params)

    def _check_body(self, body: Mapping[str, Any], *more: str) -> None:
        unknown = body.keys() - _WRITABLE - set(more)
        if unknown:
            self.complaints.append(f"fields that cannot be written: {sorted(unknown)}")
            raise Refusal(403, "fieldNotWritable", "The resource body includes fields which are not directly writable.")

    def _update(
        self, params: Mapping[str, str], body: dict[str, Any], handle: str, content: bytes | None
    ) -> FakeResponse:
        more = ("uploadType",) if content is not None else ("addParents", "removeParents")
        self._allow(params, *more)
        file = self._file(params, handle)
        self._check_body(body, "trashed")
        if body.keys() & {"id", "parents"}:
            raise Refusal(403, "fieldNotWritable", "The parents field is not directly writable in update requests.")
        if file.parents == []:
            raise Refusal(403, "insufficientFilePermissions", "The user does not have sufficient permissions.")
        if "removeParents" in params and set(params["removeParents"].split(",")) - set(file.parents):
            raise Refusal(400, "invalid", "The file is not in that folder", location="removeParents")
        if "addParents" in params:
            parent = self._file(params, params["addParents"])
            above: File | None = parent
            while above is not None:
                if above is file:
                    raise Refusal(403, "cannotMoveFolderIntoItself", "The folder would be in itself.")
                above = self.files.get(above.parents[0]) if above.parents else None
            file.parents = [parent.id]
        if "name" in body:
            file.name = body["name"]
        if content is not None:
            file.content = content
            file.revision += 1
            file.modified = self._time()
        if "modifiedTime" in body:
            file.modified = self._when(body["modifiedTime"])
        if "trashed" in body:
            file.explicitly_trashed = body["trashed"]
        self._changes.append(handle)
        return self._answer(file, params)

    def _delete(self, params: Mapping[str, str], handle: str) -> FakeResponse:
        self._allow(params)
        self._file(params, handle)
        doomed = [handle]
        while doomed:
            one = doomed.pop()
            doomed += [file.id for file in self.files.values() if one in file.parents]
            self.files.pop(one, None)
            self._changes.append(one)
        return FakeResponse(204)

    def _copy(self, params: Mapping[str, str], body: dict[str, Any], handle: str) -> FakeResponse:
        self._allow(params)
        source = self._file(params, handle)
        if source.mime in {FOLDER, SHORTCUT}:
            raise Refusal(403, "cannotCopyFile", "This file cannot be copied by the user.")
        if source.content is None and "id" in body:
            raise Refusal(400, "generatedIdNotSupported", "A generated id is not supported for documents.")
        made = {"name": f"Copy of {source.name}", "mimeType": source.mime, **body}
        answer = self._create({**params}, made, source.content)
        if answer.status == 200 and source.content is None:
            copy = self.files[list(self.files)[-1]]
            self.exports[copy.id] = self.exports.get(source.id, b"")
        return answer

    def _generate(self, params: Mapping[str, str]) -> FakeResponse:
        self._allow(params, "count", "space", "type")
        count = int(params.get("count", "10"))
        if not 1 <= count <= 1000:
            raise BadParameter("count")
        ids = [self._new_handle() for _ in range(count)]
        self._ids.update(ids)
        return ok({"kind": "drive#generatedIds", "space": "drive", "ids": ids})

    # ---- reading

    def _get(self, params: Mapping[str, str], handle: str) -> FakeResponse:
        self._allow(params)
        return self._answer(self._file(params, handle), params)

    def _list(self, params: Mapping[str, str]) -> FakeResponse:
        self._allow(
            params, "q", "pageSize", "pageToken", "spaces", "corpora", "driveId", "includeItemsFromAllDrives", "orderBy"
        )
        self._of_all_drives(params)
        if params.get("corpora") == "drive" and params.get("driveId") != self.shared_drive:
            raise Refusal(404, "notFound", "Shared drive not found", location="driveId")
        if "driveId" in params and params.get("corpora") != "drive":
            raise Refusal(403, "teamDriveIdRequiresCorpora", "driveId needs corpora=drive", location="corpora")
        size = int(params.get("pageSize", "100"))
        if not 1 <= size <= 1000:
            raise BadParameter("pageSize")
        size = min(size, self.page)
        text = params.get("q", "")
        query = Query(text)
        for parent in query.parents:
            self._file(params, parent)
        if "pageToken" in params:
            asked, rest = self._tokens.get(params["pageToken"], ("", []))
            if asked != text:
                raise BadParameter("pageToken")
        else:
            blind = {self.root if one == "root" else one for one in self.blind} if len(query.parents) > 1 else set()
            rest = [
                file.id
                for file in self.files.values()
                if query.matches(file)
                and file.parents
                and not blind.intersection(file.parents)
                and self._visible(file, params)
            ]
        page, rest = rest[:size], rest[size:]
        found: dict[str, Any] = {
            "kind": "drive#fileList",
            "incompleteSearch": self.incomplete,
            "files": [self.files[one].resource() for one in page if one in self.files],
        }
        if rest:
            token = f"page-{len(self._tokens)}"
            self._tokens[token] = (text, rest)
            found["nextPageToken"] = token
        shown: object = masked(found, params.get("fields", "kind,nextPageToken,incompleteSearch,files"), _LIST_FIELDS)
        if self.spoil is not None:
            assert isinstance(shown, dict)
            shown = self.spoil(text, shown)
        return shown if isinstance(shown, FakeResponse) else ok(shown)

    def _visible(self, file: File, params: Mapping[str, str]) -> bool:
        top = file
        while top.parents and top.parents[0] in self.files:
            top = self.files[top.parents[0]]
        if top.shared:
            return params.get("includeItemsFromAllDrives") == "true"
        return params.get("corpora") != "drive"

    def _media(self, request: FakeRequest, params: Mapping[str, str], handle: str) -> FakeResponse:
        self._allow(params, "acknowledgeAbuse")
        file = self._file(params, handle)
        if file.content is None:
            raise Refusal(
                403, "fileNotDownloadable", "Only files with binary content can be downloaded.", location="alt"
            )
        if handle in self.abusive and params.get("acknowledgeAbuse") != "true":
            raise Refusal(403, "cannotDownloadAbusiveFile", "This file has been identified as malware or spam.")
        headers = [("Content-Type", file.mime)]
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("range") or "")
        if match is None:
            return FakeResponse(200, tuple(headers), file.content)
        start = int(match[1])
        end = min(int(match[2]) + 1 if match[2] else len(file.content), len(file.content))
        if start >= len(file.content):
            raise Refusal(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
        headers.append(("Content-Range", f"bytes {start}-{end - 1}/{len(file.content)}"))
        return FakeResponse(206, tuple(headers), file.content[start:end])

    def _export(self, params: Mapping[str, str], handle: str) -> FakeResponse:
        self._allow(params, "mimeType")
        file = self._file({**params, "supportsAllDrives": "true"}, handle)
        if file.content is not None or file.mime in {FOLDER, SHORTCUT}:
            raise Refusal(403, "fileNotExportable", "Export only supports Docs Editors files.")
        if "supportsAllDrives" in params:
            self.complaints.append("files.export takes no supportsAllDrives")
        data = self.exports.get(handle, b"")
        if len(data) > 10_000_000:
            raise Refusal(403, "exportSizeLimitExceeded", "This file is too large to be exported.")
        return FakeResponse(200, (("Content-Type", params["mimeType"]),), data)

    def _about(self, params: Mapping[str, str]) -> FakeResponse:
        self._allow(params)
        if not params.get("fields"):
            raise Refusal(400, "required", "The 'fields' parameter is required for this method.", location="fields")
        used = sum(len(file.content or b"") for file in self.files.values())
        quota = {"limit": str(15 * 1024**3), "usage": str(used), "usageInDrive": str(used), "usageInDriveTrash": "0"}
        return ok(
            masked({"storageQuota": quota}, params["fields"], {"storageQuota": dict.fromkeys(quota, 1), "user": 1})
        )

    def _permit(self, params: Mapping[str, str], body: dict[str, Any], handle: str) -> FakeResponse:
        self._allow(params)
        self._file(params, handle)
        if body.keys() != {"role", "type"}:
            raise Refusal(400, "badRequest", "Bad Request")
        self.permissions.setdefault(handle, []).append({k: str(v) for k, v in body.items()})
        return ok({"id": "anyoneWithLink"})

    # ---- changes

    def _start_token(self, params: Mapping[str, str]) -> FakeResponse:
        self._allow(params, "driveId")
        return ok({"startPageToken": str(len(self._changes) + 1)})

    def _changed(self, params: Mapping[str, str]) -> FakeResponse:
        self._allow(params, "pageToken", "pageSize", "includeRemoved", "includeItemsFromAllDrives", "spaces", "driveId")
        token = params.get("pageToken", "")
        if not token.isdigit() or not 1 <= int(token) <= len(self._changes) + 1:
            raise BadParameter("pageToken")
        start = int(token) - 1
        size = min(int(params.get("pageSize", "100")), self.page)
        some = self._changes[start : start + size]
        changes = []
        for handle in dict.fromkeys(some):
            file = self.files.get(handle)
            change: dict[str, Any] = {"changeType": "file", "fileId": handle, "removed": file is None}
            if file is not None:
                change["file"] = file.resource()
            changes.append(change)
        found: dict[str, Any] = {"changes": changes}
        following = str(start + len(some) + 1)
        found["newStartPageToken" if start + size >= len(self._changes) else "nextPageToken"] = following
        return ok(masked(found, params.get("fields", "changes"), _CHANGE_FIELDS))
