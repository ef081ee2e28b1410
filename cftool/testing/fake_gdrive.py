"""A Google Drive in memory: one stateful, pure `handle(request) -> response` for tests, strict as the service is.

It checks hosts, headers, parameters, queries, field masks, page tokens and the framing of uploads and batches, and
refuses what the service would refuse, in the service's words. Time is its own: a second for each request. What goes
wrong is told by `fail`; `requests` counts HTTP requests, `calls` the calls of the API, those of batches included.
"""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from urllib.parse import parse_qsl, unquote

from cftool.testing.fake_gdrive_files import (
    ACCESS,
    API,
    CLIENT_ID,
    CLIENT_SECRET,
    DOCUMENT,
    FOLDER,
    GRAIN,
    LOGIN,
    MULTIPART_LIMIT,
    REFRESH,
    SHORTCUT,
    Drive,
    File,
    Plan,
    Refusal,
    Session,
    daily_limit,
    error,
    ok,
    parts_of,
    rate_limited,
)
from cftool.testing.fake_gdrive_query import BadParameter
from cftool.testing.http_fake import FakeRequest, FakeResponse, Fault

__all__ = [
    "ACCESS",
    "API",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "DOCUMENT",
    "FOLDER",
    "GRAIN",
    "LOGIN",
    "REFRESH",
    "SHORTCUT",
    "FakeGDrive",
    "File",
    "daily_limit",
    "error",
    "rate_limited",
]


class FakeGDrive(Drive):
    """See the module."""

    # ---- for tests

    def fail(
        self,
        op: str,
        response: FakeResponse | Callable[[], FakeResponse],
        *,
        times: int = 1,
        after: int = 0,
        late: bool = False,
    ) -> None:
        """Answer calls of `op` with this instead, `times` times, after the first `after`; `late`: it is done first."""
        make = response if callable(response) else lambda: response
        self._plans.append(Plan(op, times, after, make, late))

    def lose(self, op: str, fault: Fault, *, times: int = 1, after: int = 0) -> None:
        """Do what is asked, and lose the answer."""
        self.fail(op, FakeResponse(200, (), b"", fault), times=times, after=after, late=True)

    def add(
        self,
        path: str,
        content: bytes | None = b"content",
        *,
        mime: str = "application/octet-stream",
        parent: str | None = None,
        target: str = "",
    ) -> File:
        """Put a file where it belongs behind everybody's back, with the folders above it; duplicates are made."""
        folder = parent or self.shared_drive or self.root
        *above, name = path.split("/") if parent is None else [path]
        for each in above:
            found = [f for f in self.files.values() if folder in f.parents and f.name == each and f.mime == FOLDER]
            folder = (found[0] if found else self._make(each, FOLDER, folder, None)).id
        return self._make(name, mime, folder, content, target)

    def folder(self, path: str) -> File:
        """Likewise a folder."""
        return self.add(path, None, mime=FOLDER)

    def find(self, path: str) -> list[File]:
        """All that have this path and are not in the trash."""
        found = [self.files[self.shared_drive or self.root]]
        for name in path.split("/") if path else []:
            found = [
                f
                for f in self.files.values()
                if f.name == name and not f.in_trash() and any(above.id in f.parents for above in found)
            ]
        return found

    def tree(self) -> dict[str, bytes | None]:
        """Everything that is not in the trash, by path; duplicates show as `name` and `name#2`."""
        found: dict[str, bytes | None] = {}

        def below(folder: str, path: str) -> None:
            for file in sorted(self.files.values(), key=lambda f: (f.created, f.id)):
                if folder in file.parents and not file.in_trash():
                    where = f"{path}{file.name}"
                    while where in found:
                        where += "#2"
                    found[where] = file.content
                    if file.mime == FOLDER:
                        below(file.id, where + "/")

        below(self.shared_drive or self.root, "")
        return found

    def change(self, file: File) -> None:
        """Note that a file was changed by hand."""
        self._changes.append(file.id)

    # ---- the one entrance

    def handle(self, request: FakeRequest) -> FakeResponse:
        """Answer."""
        self._now += timedelta(seconds=1)
        self.log.append(request)
        host = request.host.partition(":")[0]
        try:
            if request.scheme != "https":
                raise Refusal(403, "sslRequired", "SSL is required to perform this operation.")
            if host == LOGIN:
                return self._login(request)
            if host != API:
                return FakeResponse(404, (), b"no such host")
            if request.path == "/batch/drive/v3":
                return self._batch(request)
            answer = self._one(request, count=True)
        except Refusal as refusal:
            answer = refusal.response
        date = format_datetime(self._now, usegmt=True)
        return FakeResponse(answer.status, (*answer.headers, ("Date", date)), answer.body, answer.fault, answer.close)

    def _one(self, request: FakeRequest, *, count: bool) -> FakeResponse:
        """One call, from outside or out of a batch."""
        op, run = self._route(request)
        self.calls[op] += 1
        if count:
            self.requests[op] += 1
        plan = self._planned(op)
        if plan is not None and not plan.late:
            return plan.make()
        try:
            if op != "upload.chunk":  # the session's address is a secret of its own
                self._authorized(request)
            answer = run()
        except BadParameter as bad:
            answer = error(400, "invalid", "Invalid Value", location=bad.parameter)
        except Refusal as refusal:
            answer = refusal.response
        if plan is not None and answer.status < 400:
            return plan.make()
        return answer

    def _planned(self, op: str) -> Plan | None:
        for plan in self._plans:
            if plan.op in {op, "*"}:
                if plan.after:
                    plan.after -= 1
                    continue
                plan.left -= 1
                if plan.left <= 0:
                    self._plans.remove(plan)
                return plan
        return None

    def _authorized(self, request: FakeRequest) -> None:
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        if scheme != "Bearer" or token not in self.access:
            raise Refusal(401, "authError", "Invalid Credentials", location="Authorization")

    def _route(self, request: FakeRequest) -> tuple[str, Callable[[], FakeResponse]]:
        method, path = request.method, request.path
        params = self._params(request)
        if path.startswith("/upload/drive/v3/files"):
            return self._upload_route(request, params)
        if not path.startswith("/drive/v3/"):
            raise Refusal(404, "notFound", "Not Found")
        parts = [unquote(part) for part in path[len("/drive/v3/") :].split("/")]
        body = self._json(request) if method in {"POST", "PATCH"} else {}
        match (method, *parts):
            case ("GET", "about"):
                return "about.get", lambda: self._about(params)
            case ("GET", "files", "generateIds"):
                return "files.generateIds", lambda: self._generate(params)
            case ("GET", "files"):
                return "files.list", lambda: self._list(params)
            case ("POST", "files"):
                return "files.create", lambda: self._create(params, body, None)
            case ("GET", "changes", "startPageToken"):
                return "changes.getStartPageToken", lambda: self._start_token(params)
            case ("GET", "changes"):
                return "changes.list", lambda: self._changed(params)
            case ("GET", "files", handle):
                if params.get("alt") == "media":
                    return "files.download", lambda: self._media(request, params, handle)
                return "files.get", lambda: self._get(params, handle)
            case ("PATCH", "files", handle):
                return "files.update", lambda: self._update(params, body, handle, None)
            case ("DELETE", "files", handle):
                return "files.delete", lambda: self._delete(params, handle)
            case ("GET", "files", handle, "export"):
                return "files.export", lambda: self._export(params, handle)
            case ("POST", "files", handle, "copy"):
                return "files.copy", lambda: self._copy(params, body, handle)
            case ("POST", "files", handle, "permissions"):
                return "permissions.create", lambda: self._permit(params, body, handle)
        raise Refusal(404, "notFound", "Not Found")

    # ---- uploads

    def _upload_route(self, request: FakeRequest, params: dict[str, str]) -> tuple[str, Callable[[], FakeResponse]]:
        rest = unquote(request.path[len("/upload/drive/v3/files") :]).lstrip("/")
        if "upload_id" in params:
            return "upload.chunk", lambda: self._chunk(request, params["upload_id"])
        kind = params.get("uploadType")
        if (request.method, bool(rest)) not in {("POST", False), ("PATCH", True)}:
            raise Refusal(404, "notFound", "Not Found")
        if kind == "multipart":
            op = "upload.update" if rest else "upload.create"
            return op, lambda: self._multipart(request, params, rest)
        if kind == "resumable":
            return "upload.start", lambda: self._begin(request, params, rest)
        raise Refusal(400, "badRequest", "Bad Request", location="uploadType")

    def _multipart(self, request: FakeRequest, params: dict[str, str], handle: str) -> FakeResponse:
        match = re.fullmatch(r"multipart/related; boundary=([\w-]+)", request.header("content-type") or "")
        if match is None:
            raise Refusal(400, "badContent", "Unsupported content type")
        if len(request.body) > MULTIPART_LIMIT + 16_384:
            raise Refusal(413, "uploadTooLarge", "Request Too Large")
        parts = parts_of(request.body, match[1].encode())
        if len(parts) != 2 or "application/json" not in parts[0][0].get("content-type", ""):
            raise Refusal(400, "badContent", "Malformed multipart body.")
        metadata, (headers, content) = self._parsed(parts[0][1]), parts[1]
        mime = headers.get("content-type", "")
        if not mime:
            raise Refusal(400, "badContent", "Malformed multipart body.")
        if handle:
            return self._update(params, metadata, handle, content)
        return self._create(params, metadata, content, mime)

    def _begin(self, request: FakeRequest, params: dict[str, str], handle: str) -> FakeResponse:
        self._allow(params, "uploadType")
        metadata = self._json(request)
        if handle:
            self._file(params, handle)
        else:
            if metadata.get("id") in self.files:
                raise Refusal(409, "fileIdInUse", "A file already exists with the provided ID.")
            self._file(params, metadata.get("parents", ["root"])[0])
        length = request.header("x-upload-content-length")
        upload = f"session-{len(self.sessions)}"
        self.sessions[upload] = Session(
            handle,
            not handle,
            metadata,
            request.header("x-upload-content-type") or "application/octet-stream",
            None if length is None else int(length),
            fields=params.get("fields", ""),
        )
        path = f"/upload/drive/v3/files{'/' if handle else ''}{handle}"
        place = f"https://{API}{path}?uploadType=resumable&upload_id={upload}"
        return FakeResponse(200, (("Location", place),))

    def _chunk(self, request: FakeRequest, upload: str) -> FakeResponse:
        session = self.sessions.get(upload)
        if session is None:
            raise Refusal(404, "notFound", "Not Found")
        if request.method == "DELETE":
            del self.sessions[upload]
            return FakeResponse(499)
        if request.method != "PUT":
            raise Refusal(405, "badRequest", "Method Not Allowed")
        if session.done is not None:
            return ok(session.done)
        span = request.header("content-range") or ""
        query = re.fullmatch(r"bytes \*/(\d+|\*)", span)
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", span)
        total = (query or match or ["", "*", "*", "*"])[1 if query else 3]
        if query is None:
            if match is None or int(match[2]) - int(match[1]) + 1 != len(request.body):
                raise Refusal(400, "badRequest", "Invalid Content-Range")
            start, end = int(match[1]), int(match[2]) + 1
            if start != len(session.data):
                raise Refusal(503, "backendError", "The range does not follow what was received")
            if end % GRAIN and total == "*":
                raise Refusal(400, "badRequest", "A piece must be a multiple of 256 KiB")
            kept = request.body if str(end) == total else request.body[: len(request.body) // GRAIN * GRAIN]
            session.data += kept
        if total != "*" and session.size not in {None, int(total)}:
            raise Refusal(400, "badRequest", "The length is not the one promised")
        if total != "*" and int(total) == len(session.data):
            return self._complete(session)
        headers = (("Range", f"bytes=0-{len(session.data) - 1}"),) if session.data else ()
        return FakeResponse(308, headers)

    def _complete(self, session: Session) -> FakeResponse:
        params = {"supportsAllDrives": "true", "uploadType": "resumable"}
        if session.fields:
            params["fields"] = session.fields
        content = bytes(session.data)
        if session.new:
            answer = self._create(params, session.metadata, content, session.mime)
        else:
            answer = self._update(params, session.metadata, session.file_id, content)
        session.done = json.loads(answer.body)
        return answer

    # ---- batches

    def _batch(self, request: FakeRequest) -> FakeResponse:
        self.requests["batch"] += 1
        self.calls["batch"] += 1
        plan = self._planned("batch")
        if plan is not None and not plan.late:
            return plan.make()
        self._authorized(request)
        match = re.fullmatch(r"multipart/mixed; boundary=([\w-]+)", request.header("content-type") or "")
        if request.method != "POST" or match is None:
            raise Refusal(400, "badRequest", "The batch is none")
        parts = parts_of(request.body, match[1].encode())
        if not 1 <= len(parts) <= 100:
            raise Refusal(400, "tooManyParts", "The batch request may have 100 calls")
        pieces = []
        for headers, data in parts:
            if headers.get("content-type") != "application/http":
                raise Refusal(400, "badRequest", "Failed to parse batch request")
            answer = self._inner(request, data)
            name = headers.get("content-id", "<>").strip("<>")
            head = "".join(f"{key}: {value}\r\n" for key, value in answer.headers)
            pieces.append(
                f"--batch_x\r\nContent-Type: application/http\r\nContent-ID: <response-{name}>\r\n\r\n"
                f"HTTP/1.1 {answer.status} X\r\n{head}Content-Length: {len(answer.body)}\r\n\r\n".encode()
                + answer.body
                + b"\r\n"
            )
        # The order of the answers is nobody's promise.
        body = b"".join(reversed(pieces)) + b"--batch_x--\r\n"
        answer = FakeResponse(200, (("Content-Type", "multipart/mixed; boundary=batch_x"),), body)
        return plan.make() if plan is not None else answer

    def _inner(self, outer: FakeRequest, data: bytes) -> FakeResponse:
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        match = re.fullmatch(r"(GET|PATCH|POST|DELETE) (/drive/v3/\S+) HTTP/1\.1", first)
        if match is None or len(match[2]) > 8000:
            raise Refusal(400, "badRequest", "Failed to parse batch request")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        headers.setdefault("authorization", outer.header("authorization") or "")
        if "content-length" in headers:
            body = body[: int(headers["content-length"])]
        if "alt=media" in match[2]:
            raise Refusal(400, "badRequest", "Media is not supported in batches")
        try:
            return self._one(FakeRequest(match[1], "https", API, match[2], headers, body), count=False)
        except Refusal as refusal:
            return refusal.response

    # ---- tokens

    def _login(self, request: FakeRequest) -> FakeResponse:
        self.requests["token"] += 1
        plan = self._planned("token")
        if plan is not None:
            return plan.make()
        form = dict(parse_qsl(request.body.decode()))
        good = (
            request.method == "POST"
            and request.path == "/token"
            and form.get("grant_type") == "refresh_token"
            and form.get("client_id") == CLIENT_ID
            and form.get("client_secret") == CLIENT_SECRET
            and form.get("refresh_token") == REFRESH
        )
        if self.revoked or not good:
            said = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
            return FakeResponse(400, (("Content-Type", "application/json"),), json.dumps(said).encode())
        token = f"access-token-{len(self.access) + self.requests['token']}"
        self.access.add(token)
        return ok({"access_token": token, "expires_in": 3599, "token_type": "Bearer", "scope": "drive"})
