"""A fake Dropbox (API v2): one stateful `handle(request) -> response`, strict about what it is sent.

It refuses what the real one is documented to refuse: other hosts, methods and content types, headers that are not
ASCII, arguments it does not know, offsets and sizes of upload sessions, long headers. `habits` are the limits; `plan`
queues answers for a route, or what goes wrong on the wire after the route did its work. `requests` counts by route,
`sent` how often content was committed. The tree is by path as the service compares it. https://www.dropbox.com/developers/documentation/http/documentation
"""

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from cftool.core import hashing
from cftool.testing.fake_dropbox_tree import (
    MIB,
    DropboxTree,
    Early,
    Habits,
    Node,
    bad,
    conflict,
    fold,
    json_answer,
    refusal,
    text_answer,
)
from cftool.testing.fake_oauth import FakeOAuth
from cftool.testing.http_fake import FakeRequest, FakeResponse, Fault, Wire

HOSTS = ("api.dropboxapi.com", "content.dropboxapi.com", "notify.dropboxapi.com")
_BLOCK = 4 * MIB
_BYTES = {"application/octet-stream", "text/plain; charset=dropbox-cors-hack"}

# route: (host, style, fields that must be there, fields that may)
_ROUTES: Mapping[str, tuple[int, str, str, str]] = {
    "files/get_metadata": (0, "rpc", "path", "include_deleted"),
    "files/list_folder": (0, "rpc", "path", "recursive limit include_deleted"),
    "files/list_folder/continue": (0, "rpc", "cursor", ""),
    "files/list_folder/get_latest_cursor": (0, "rpc", "path", "recursive limit include_deleted"),
    "files/list_folder/longpoll": (2, "rpc", "cursor", "timeout"),
    "files/create_folder_v2": (0, "rpc", "path", "autorename"),
    "files/delete_v2": (0, "rpc", "path", "parent_rev"),
    "files/delete_batch": (0, "rpc", "entries", ""),
    "files/delete_batch/check": (0, "rpc", "async_job_id", ""),
    "files/copy_v2": (0, "rpc", "from_path to_path", "autorename"),
    "files/move_v2": (0, "rpc", "from_path to_path", "autorename allow_ownership_transfer"),
    "files/copy_batch_v2": (0, "rpc", "entries", "autorename"),
    "files/move_batch_v2": (0, "rpc", "entries", "autorename allow_ownership_transfer"),
    "files/copy_batch/check_v2": (0, "rpc", "async_job_id", ""),
    "files/move_batch/check_v2": (0, "rpc", "async_job_id", ""),
    "files/upload": (1, "upload", "path", "mode autorename client_modified mute strict_conflict content_hash"),
    "files/upload_session/start": (1, "upload", "", "close session_type content_hash"),
    "files/upload_session/start_batch": (0, "rpc", "num_sessions", "session_type"),
    "files/upload_session/append_v2": (1, "upload", "cursor", "close content_hash"),
    "files/upload_session/append_batch": (1, "upload", "entries", "content_hash"),
    "files/upload_session/finish_batch_v2": (0, "rpc", "entries", ""),
    "files/download": (1, "download", "path", ""),
    "sharing/create_shared_link_with_settings": (0, "rpc", "path", "settings"),
    "sharing/list_shared_links": (0, "rpc", "", "path cursor direct_only"),
    "users/get_space_usage": (0, "rpc", "", ""),
    "users/get_current_account": (0, "rpc", "", ""),
}
_NO_ARGUMENT = {"users/get_space_usage", "users/get_current_account"}


@dataclass
class _Session:
    concurrent: bool
    pieces: dict[int, bytes] = field(default_factory=dict)
    closed: bool = False

    @property
    def size(self) -> int:
        return sum(map(len, self.pieces.values()))

    def content(self) -> bytes | None:
        data = b""
        for offset in sorted(self.pieces):
            if offset != len(data):
                return None
            data += self.pieces[offset]
        return data


class FakeDropbox(DropboxTree):
    """See the module."""

    def __init__(self, habits: Habits | None = None, oauth: FakeOAuth | None = None) -> None:
        super().__init__(habits or Habits())
        self.oauth = oauth or FakeOAuth(client_id="key", path="/oauth2/token")
        self.sessions: dict[str, _Session] = {}
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()  # how often the content for a path was committed
        self.namespaces = {"77"}
        self.links: dict[str, str] = {}
        self._plans: dict[str, deque[FakeResponse | Wire]] = {}

    # ---- for tests

    def plan(self, route: str, *answers: FakeResponse | Wire) -> None:
        """What the route answers next; a Wire is what goes wrong after the work was done."""
        self._plans.setdefault(route, deque()).extend(answers)

    def files(self) -> dict[str, bytes]:
        """All files by their display path, without the slash in front."""
        return {
            self._display(lower)[1:]: node.content for lower, node in self.nodes.items() if node.content is not None
        }

    def put(self, path: str, content: bytes | None, **extra: Any) -> Node:
        """A file (or, without content, a folder) that somebody else makes."""
        node = self._make("/" + path, content, "2020-02-02T02:02:02Z")
        node.extra.update(extra)
        return node

    def remove(self, path: str) -> None:
        """Somebody else deletes it."""
        self._remove(fold("/" + path))

    # ---- HTTP

    def handle(self, request: FakeRequest) -> FakeResponse:
        """One request."""
        if request.path == self.oauth.path and request.host == HOSTS[0]:
            self.requests["oauth2/token"] += 1
            planned = self._plans.get("oauth2/token")
            if planned:
                refused = planned.popleft()
                assert isinstance(refused, FakeResponse)
                return refused
            return self.oauth.handle(request)
        route = request.path.removeprefix("/2/")
        self.requests[route] += 1
        planned = self._plans.get(route)
        answer: FakeResponse | Wire | None = planned.popleft() if planned else None
        if isinstance(answer, FakeResponse):
            return answer
        try:
            done = self._route(route, request)
        except Early as early:
            done = early.response
        return done if answer is None else replace(done, fault=Fault(answer))

    def _route(self, route: str, request: FakeRequest) -> FakeResponse:
        if request.method != "POST" or request.scheme != "https" or not request.path.startswith("/2/"):
            return text_answer(404, "no such address")
        known = _ROUTES.get(route)
        if known is None or request.query:
            return text_answer(404, f"Unknown API function: {route!r}")
        host, style, required, optional = known
        if request.host.partition(":")[0] != HOSTS[host]:
            return text_answer(404, f"{route} is not at {request.host}")
        self._authorize(route, request)
        arg = self._argument(route, style, request)
        if route not in _NO_ARGUMENT:
            fields = set(required.split())
            if not isinstance(arg, dict) or not fields <= arg.keys() <= fields | set(optional.split()):
                return bad(route, f"unexpected or missing fields in {sorted(arg)}")
        elif arg is not None:
            return bad(route, "expected null")
        if style == "upload":
            self._check_body(route, arg, request.body)
        method: Callable[[Any, FakeRequest], Any] = getattr(self, "_" + route.partition("/")[2].replace("/", "_"))
        found = method(arg, request)
        return found if isinstance(found, FakeResponse) else json_answer(200, found)

    def _authorize(self, route: str, request: FakeRequest) -> None:
        if route.endswith("longpoll"):
            if request.header("authorization") is not None:
                raise Early(bad(route, "unexpected Authorization"))
            return
        if not self.oauth.knows(request):
            expired = "-s3cr3t-" in (request.header("authorization") or "")
            raise Early(refusal(401, {".tag": "expired_access_token" if expired else "invalid_access_token"}))
        root = request.header("dropbox-api-path-root")
        if root is not None:
            found = json.loads(root)
            if found.get(found.get(".tag")) not in self.namespaces:
                raise Early(refusal(422, {".tag": "no_permission"}))

    def _argument(self, route: str, style: str, request: FakeRequest) -> Any:
        kind, header = request.header("content-type") or "", request.header("dropbox-api-arg")
        if style == "rpc":
            if kind not in {"application/json", "application/json; charset=utf-8"} or header is not None:
                raise Early(bad(route, f"Bad HTTP Content-Type header: {kind!r}"))
            text: str | bytes = request.body
        else:
            if kind not in _BYTES or (style == "download" and request.body):
                raise Early(bad(route, f"Bad HTTP Content-Type header: {kind!r}"))
            if header is None or not all(" " <= char < "\x7f" for char in header):
                raise Early(bad(route, "HTTP header Dropbox-API-Arg: must be ASCII"))
            if len(header) > self.habits.header:
                raise Early(text_answer(self.habits.header_status, "header too large"))
            text = header
        try:
            return json.loads(text)
        except ValueError:
            raise Early(bad(route, "could not decode input as JSON")) from None

    def _check_body(self, route: str, arg: dict[str, Any], body: bytes) -> None:
        if len(body) > self.habits.body:
            raise Early(refusal(409, {".tag": "payload_too_large"}))
        wanted = arg.get("content_hash")
        if wanted is not None and wanted != hashing.digest("dropbox", body):
            raise Early(refusal(409, {".tag": "content_hash_mismatch"}))
        del route

    # ---- uploads and downloads

    def _commit(self, commit: dict[str, Any], content: bytes) -> dict[str, Any] | FakeResponse:
        known = {"path", "mode", "autorename", "client_modified", "mute", "strict_conflict", "content_hash"}
        if not commit.keys() <= known:
            return bad("files/upload", f"unknown fields in {sorted(commit)}")
        path = self._path("files/upload", commit["path"])
        mode, strict = commit.get("mode", {".tag": "add"}), bool(commit.get("strict_conflict"))
        when = commit.get("client_modified", "")
        if when:
            time.strptime(when, "%Y-%m-%dT%H:%M:%SZ")
        error = self._write_error(path)
        node = self.nodes.get(fold(path))
        if error is None and node is not None and node.content is None:
            error = conflict("folder")
        if error is None:
            tag = mode[".tag"]
            if node is not None and node.content == content and not strict:
                return self._metadata(fold(path), tag=False)  # nothing is written
            same = node is not None and node.content == content
            if node is None:
                clash = tag == "update" and strict
            else:
                clash = tag == "add" or (tag == "update" and (node.rev != mode["update"] or same))
            error = conflict("file") if clash else None
        if error is not None:
            return refusal(409, {".tag": "path", "path": error})
        self.sent[path[1:]] += 1
        self._make(path, content, when)
        return self._metadata(fold(path), tag=False)

    def _upload(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        found = self._commit(arg, request.body)
        if isinstance(found, FakeResponse) and found.status == 409:
            error = json.loads(found.body)["error"]
            return refusal(409, {".tag": "path", "reason": error["path"], "upload_session_id": "x"})
        return found

    def _new_session(self, *, concurrent: bool) -> str:
        name = f"pid_upload_session:{self._next():080}"
        self.sessions[name] = _Session(concurrent)
        return name

    def _upload_session_start(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        concurrent = arg.get("session_type", {}).get(".tag") == "concurrent"
        if concurrent and (request.body or arg.get("close")):
            return refusal(409, {".tag": "concurrent_session_data_not_allowed"})
        name = self._new_session(concurrent=concurrent)
        if request.body:
            self.sessions[name].pieces[0] = request.body
        return {"session_id": name}

    def _upload_session_start_batch(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        count = arg["num_sessions"]
        if not 1 <= count <= 1000:
            return bad("files/upload_session/start_batch", "num_sessions: out of range")
        return {"session_ids": [self._new_session(concurrent=False) for _ in range(count)]}

    def _append(self, cursor: dict[str, Any], data: bytes, *, close: bool) -> dict[str, Any] | None:
        """The error of an append, or None."""
        session, offset = self.sessions.get(cursor["session_id"]), cursor["offset"]
        if session is None:
            return {".tag": "not_found"}
        if session.closed:
            return {".tag": "closed"}
        if session.concurrent:
            if offset % _BLOCK:
                return {".tag": "concurrent_session_invalid_offset"}
            if len(data) % _BLOCK and not close:
                return {".tag": "concurrent_session_invalid_data_size"}
        elif offset != session.size:
            return {".tag": "incorrect_offset", "correct_offset": session.size}
        if data:
            session.pieces[offset] = data
        session.closed = close
        return None

    def _upload_session_append_v2(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        error = self._append(arg["cursor"], request.body, close=bool(arg.get("close")))
        return json_answer(200, None) if error is None else refusal(409, error)

    def _upload_session_append_batch(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        entries = arg["entries"]
        if not 1 <= len(entries) <= 1000:
            return bad("files/upload_session/append_batch", "entries: out of range")
        if sum(each["length"] for each in entries) != len(request.body):
            return refusal(409, {".tag": "length_mismatch"})
        results, at = [], 0
        for each in entries:
            data = request.body[at : at + each["length"]]
            at += each["length"]
            error = self._append(each["cursor"], data, close=bool(each.get("close")))
            results.append({".tag": "success"} if error is None else {".tag": "failure", "failure": error})
        return {"entries": results}

    def _upload_session_finish_batch_v2(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        entries = arg["entries"]
        if not 1 <= len(entries) <= 1000:
            return bad("files/upload_session/finish_batch_v2", "entries: out of range")
        return {"entries": [self._batched(partial(self._finish, each), wrap="") for each in entries]}

    def _finish(self, each: dict[str, Any]) -> Any:
        cursor = each["cursor"]
        session = self.sessions.get(cursor["session_id"])
        lookup: dict[str, Any] | None = None
        if session is None:
            lookup = {".tag": "not_found"}
        elif not session.closed:
            lookup = {".tag": "not_closed"}
        elif session.concurrent and session.content() is None:
            return refusal(409, {".tag": "concurrent_session_missing_data"})
        elif cursor["offset"] != session.size:
            lookup = {".tag": "incorrect_offset", "correct_offset": session.size}
        if lookup is not None:
            return refusal(409, {".tag": "lookup_failed", "lookup_failed": lookup})
        assert session is not None
        content = session.content()
        assert content is not None
        found = self._commit(each["commit"], content)
        if not isinstance(found, FakeResponse):
            del self.sessions[cursor["session_id"]]
        return found

    def _download(self, arg: dict[str, Any], request: FakeRequest) -> FakeResponse:
        path = self._path("files/download", arg["path"])
        node = self._found(path)
        if node.content is None:
            return refusal(409, {".tag": "path", "path": {".tag": "not_file"}})
        if node.extra.get("is_downloadable") is False:
            return refusal(409, {".tag": "unsupported_file"})
        content = node.content
        told = json.dumps(self._metadata(fold(path), tag=False)).replace("\x7f", "\\u007f")
        headers: tuple[tuple[str, str], ...] = (
            ("Dropbox-API-Result", told), ("Content-Type", "application/octet-stream"), ("ETag", f'W/"{node.rev}"'),
        )  # fmt: skip
        wanted = request.header("range")
        if wanted is None:
            return FakeResponse(200, headers, content)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) + 1 if last else len(content), len(content))
        if start >= end:
            return FakeResponse(416, (("Content-Range", f"bytes */{len(content)}"),))
        headers += (("Content-Range", f"bytes {start}-{end - 1}/{len(content)}"),)
        return FakeResponse(206, headers, content[start:end])

    # ---- accounts and links

    def _get_space_usage(self, arg: object, request: FakeRequest) -> Any:
        del arg, request
        used = sum(len(node.content or b"") for node in self.nodes.values())
        if not self.habits.team:
            return {"used": used, "allocation": {".tag": "individual", "allocated": 2_000_000_000}}
        team = {"used": 5_000, "allocated": 9_000, "user_within_team_space_allocated": 0}
        return {"used": used, "allocation": {".tag": "team", **team}}

    def _get_current_account(self, arg: object, request: FakeRequest) -> Any:
        del arg, request
        root = {".tag": "team", "root_namespace_id": "77", "home_namespace_id": "78", "home_path": "/me"}
        return {"account_id": "dbid:1", "root_info": root}

    def _create_shared_link_with_settings(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        path = self._path("sharing/create_shared_link_with_settings", arg["path"])
        self._found(path)
        lower = fold(path)
        if lower not in self.links:
            expires = arg.get("settings", {}).get("expires", "")
            self.links[lower] = f"https://www.dropbox.com/scl/fi/{self._next()}/x?dl=0{expires and '&e=' + expires}"
            return self._link(lower)
        error: dict[str, Any] = {".tag": "shared_link_already_exists"}
        if self.habits.link_tells:
            error["shared_link_already_exists"] = {".tag": "metadata", "metadata": self._link(lower)}
        return refusal(409, error)

    def _link(self, lower: str) -> dict[str, Any]:
        return {".tag": "file", "url": self.links[lower], "name": self.nodes[lower].name, "path_lower": lower}

    def _list_shared_links(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        lower = fold(arg["path"])
        return {"links": [self._link(lower)] if lower in self.links else [], "has_more": False}


def too_many(seconds: int = 0, reason: str = "too_many_requests") -> FakeResponse:
    """429, with Retry-After."""
    error = {"error_summary": f"{reason}/..", "error": {"reason": {".tag": reason}, "retry_after": seconds}}
    return FakeResponse(
        429, (("Content-Type", "application/json"), ("Retry-After", str(seconds))), json.dumps(error).encode()
    )
