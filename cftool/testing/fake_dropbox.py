"""A fake Dropbox (API v2): one stateful `handle(request) -> response`, strict about what it is sent.

It refuses what the real one is documented to refuse: other hosts, methods and content types, headers that are not
ASCII, arguments it does not know, offsets and sizes of upload sessions, long headers. `habits` are the limits; `plan`
queues answers for a route, or what goes wrong on the wire after the route did its work. `requests` counts by route,
`sent` how often content was committed. The tree is by path as the service compares it. https://www.dropbox.com/developers/documentation/http/documentation
"""

import json
import time
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from cftool.core import hashing
from cftool.testing.fake_oauth import FakeOAuth
from cftool.testing.http_fake import FakeRequest, FakeResponse, Fault, Wire

HOSTS = ("api.dropboxapi.com", "content.dropboxapi.com", "notify.dropboxapi.com")
MIB = 1024 * 1024
_BLOCK = 4 * MIB
_NEVER = {"desktop.ini", "thumbs.db", ".ds_store", "icon\r", ".dropbox", ".dropbox.attr"}
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


@dataclass(frozen=True)
class Habits:
    """Limits and ways. `polls`: how often a job is in progress before it is done; `page`: entries of a page at most."""

    page: int = 2000
    polls: int = 1
    header: int = 60_000  # bytes of an argument in a header; more is refused
    header_status: int = 431
    children_first: bool = False  # in recursive listings
    wrong_case: bool = False  # of parents in path_display
    body: int = 150 * MIB
    team: bool = False
    link_tells: bool = True  # a link that exists already comes with the refusal


@dataclass
class Node:
    """A file or folder; `content` is None for a folder."""

    name: str
    id: str
    content: bytes | None = None
    rev: str = ""
    client: str = ""
    server: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


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


class _Answer(Exception):
    def __init__(self, response: FakeResponse) -> None:
        self.response = response


def fold(path: str) -> str:
    """A path as the service compares it."""
    return unicodedata.normalize("NFC", path).lower()


class FakeDropbox:
    """See the module."""

    def __init__(self, habits: Habits | None = None, oauth: FakeOAuth | None = None) -> None:
        self.habits = habits or Habits()
        self.oauth = oauth or FakeOAuth(client_id="key", path="/oauth2/token")
        self.nodes: dict[str, Node] = {}
        self.sessions: dict[str, _Session] = {}
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()  # how often the content for a path was committed
        self.busy = 0  # entries of batches that are refused because of too many writes
        self.namespaces = {"77"}
        self.links: dict[str, str] = {}
        self._plans: dict[str, deque[FakeResponse | Wire]] = {}
        self._journal: list[str] = []
        self._cursors: dict[str, tuple[str, bool, tuple[str, ...], int, int]] = {}
        self._jobs: dict[str, tuple[int, dict[str, Any]]] = {}
        self._count = 0

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
        except _Answer as early:
            done = early.response
        return done if answer is None else replace(done, fault=Fault(answer))

    def _route(self, route: str, request: FakeRequest) -> FakeResponse:
        if request.method != "POST" or request.scheme != "https" or not request.path.startswith("/2/"):
            return _text(404, "no such address")
        known = _ROUTES.get(route)
        if known is None or request.query:
            return _text(404, f"Unknown API function: {route!r}")
        host, style, required, optional = known
        if request.host.partition(":")[0] != HOSTS[host]:
            return _text(404, f"{route} is not at {request.host}")
        self._authorize(route, request)
        arg = self._argument(route, style, request)
        if route not in _NO_ARGUMENT:
            fields = set(required.split())
            if not isinstance(arg, dict) or not fields <= arg.keys() <= fields | set(optional.split()):
                return _bad(route, f"unexpected or missing fields in {sorted(arg)}")
        elif arg is not None:
            return _bad(route, "expected null")
        if style == "upload":
            self._check_body(route, arg, request.body)
        method: Callable[[Any, FakeRequest], Any] = getattr(self, "_" + route.partition("/")[2].replace("/", "_"))
        found = method(arg, request)
        return found if isinstance(found, FakeResponse) else _json(200, found)

    def _authorize(self, route: str, request: FakeRequest) -> None:
        if route.endswith("longpoll"):
            if request.header("authorization") is not None:
                raise _Answer(_bad(route, "unexpected Authorization"))
            return
        if not self.oauth.knows(request):
            expired = "-s3cr3t-" in (request.header("authorization") or "")
            raise _Answer(_refusal(401, {".tag": "expired_access_token" if expired else "invalid_access_token"}))
        root = request.header("dropbox-api-path-root")
        if root is not None:
            found = json.loads(root)
            if found.get(found.get(".tag")) not in self.namespaces:
                raise _Answer(_refusal(422, {".tag": "no_permission"}))

    def _argument(self, route: str, style: str, request: FakeRequest) -> Any:
        kind, header = request.header("content-type") or "", request.header("dropbox-api-arg")
        if style == "rpc":
            if kind not in {"application/json", "application/json; charset=utf-8"} or header is not None:
                raise _Answer(_bad(route, f"Bad HTTP Content-Type header: {kind!r}"))
            text: str | bytes = request.body
        else:
            if kind not in _BYTES or (style == "download" and request.body):
                raise _Answer(_bad(route, f"Bad HTTP Content-Type header: {kind!r}"))
            if header is None or not all(" " <= char < "\x7f" for char in header):
                raise _Answer(_bad(route, "HTTP header Dropbox-API-Arg: must be ASCII"))
            if len(header) > self.habits.header:
                raise _Answer(_text(self.habits.header_status, "header too large"))
            text = header
        try:
            return json.loads(text)
        except ValueError:
            raise _Answer(_bad(route, "could not decode input as JSON")) from None

    def _check_body(self, route: str, arg: dict[str, Any], body: bytes) -> None:
        if len(body) > self.habits.body:
            raise _Answer(_refusal(409, {".tag": "payload_too_large"}))
        wanted = arg.get("content_hash")
        if wanted is not None and wanted != hashing.digest("dropbox", body):
            raise _Answer(_refusal(409, {".tag": "content_hash_mismatch"}))
        del route

    # ---- the tree

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _stamp(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_767_225_600 + self._next()))

    def _display(self, lower: str) -> str:
        names: list[str] = []
        while lower:
            names.append(self.nodes[lower].name)
            lower = lower.rpartition("/")[0]
        return "".join(f"/{name}" for name in reversed(names))

    def _metadata(self, lower: str, *, tag: bool = True) -> dict[str, Any]:
        node = self.nodes[lower]
        shown = self._display(lower)
        if self.habits.wrong_case:
            parent, _, name = shown.rpartition("/")
            shown = f"{parent.upper()}/{name}"
        found: dict[str, Any] = {".tag": "folder" if node.content is None else "file"} if tag else {}
        found |= {"name": node.name, "path_lower": lower, "path_display": shown, "id": node.id}
        if node.content is not None:
            found |= {
                "client_modified": node.client,
                "server_modified": node.server,
                "rev": node.rev,
                "size": len(node.content),
                "is_downloadable": True,
                "content_hash": hashing.digest("dropbox", node.content),
            }
        return {**found, **node.extra}

    def _children(self, lower: str, *, recursive: bool) -> list[str]:
        found = [
            each
            for each in self.nodes
            if each.startswith(lower + "/") and (recursive or "/" not in each[len(lower) + 1 :])
        ]
        if self.habits.children_first:
            found.sort(key=lambda each: (-each.count("/"), each))
        return found

    def _path(self, route: str, path: object, *, root: bool = False) -> str:
        """A path argument, checked for its form."""
        if not isinstance(path, str) or not (path.startswith("/") or (root and not path)) or path == "/":
            raise _Answer(_bad(route, f"path: {path!r} did not match pattern"))
        return path

    def _malformed(self, path: str) -> dict[str, Any] | None:
        for name in path.split("/")[1:]:
            odd = name in {"", ".", ".."} or name.endswith(" ") or any(char in name for char in "\\\x7f\0")
            if odd or len(name.encode("utf-16-le", "surrogatepass")) > 510:
                return {".tag": "malformed_path"}
        return {".tag": "disallowed_name"} if path.rpartition("/")[2].lower() in _NEVER else None

    def _write_error(self, path: str) -> dict[str, Any] | None:
        """Why nothing can be made at `path`, but for what is there itself."""
        error = self._malformed(path)
        if error is not None:
            return error
        up = fold(path)
        while up := up.rpartition("/")[0]:
            if up in self.nodes and self.nodes[up].content is not None:
                return _conflict("file_ancestor")
        return None

    def _make(self, path: str, content: bytes | None, client: str) -> Node:
        names = path.split("/")[1:]
        for depth in range(1, len(names)):
            above = fold("/" + "/".join(names[:depth]))
            if above not in self.nodes:
                self.nodes[above] = Node(names[depth - 1], f"id:{self._next():022}")
                self._journal.append(above)
        lower = fold(path)
        old = self.nodes.get(lower)
        node = Node(
            names[-1] if old is None else old.name, f"id:{self._next():022}" if old is None else old.id, content
        )
        if content is not None:
            node.rev, node.server = f"{self._next():015x}", self._stamp()
            node.client = client or node.server
        self.nodes[lower] = node
        self._journal.append(lower)
        return node

    def _remove(self, lower: str) -> None:
        for each in [lower, *self._children(lower, recursive=True)]:
            del self.nodes[each]
        self._journal.append(lower)

    # ---- metadata and listings

    def _get_metadata(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        path = self._path("files/get_metadata", arg["path"])
        self._found(path)
        return self._metadata(fold(path))

    def _found(self, path: str, key: str = "path") -> Node:
        malformed = self._malformed(path)
        if malformed is not None and malformed[".tag"] == "malformed_path":
            raise _Answer(_refusal(409, {".tag": key, key: malformed}))
        node = self.nodes.get(fold(path))
        if node is None:
            raise _Answer(_refusal(409, {".tag": key, key: {".tag": "not_found"}}))
        return node

    def _list_folder(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        lower, recursive = self._listable(arg)
        limit = arg.get("limit", 500)
        if not isinstance(limit, int) or not 1 <= limit <= 2000:
            return _bad("files/list_folder", "limit: out of range")
        items = self._children(lower, recursive=recursive)
        if recursive and lower:
            items.insert(0, lower)
        return self._paged((lower, recursive, tuple(items), len(self._journal), limit))

    def _listable(self, arg: dict[str, Any]) -> tuple[str, bool]:
        path = self._path("files/list_folder", arg["path"], root=True)
        if path and self._found(path).content is not None:
            raise _Answer(_refusal(409, {".tag": "path", "path": {".tag": "not_folder"}}))
        return fold(path), bool(arg.get("recursive"))

    def _paged(self, state: tuple[str, bool, tuple[str, ...], int, int]) -> dict[str, Any]:
        lower, recursive, items, position, limit = state
        size = min(limit, self.habits.page)
        if not items and position < len(self._journal):
            inside = [
                each
                for each in dict.fromkeys(self._journal[position:])
                if each.startswith(lower + "/") and (recursive or "/" not in each[len(lower) + 1 :])
            ]
            entries = [self._metadata(each) if each in self.nodes else _deleted(each) for each in inside]
            position = len(self._journal)
        else:
            entries = [self._metadata(each) for each in items[:size] if each in self.nodes]
            items = items[size:]
        more = bool(items) or position < len(self._journal)
        return {
            "entries": entries,
            "cursor": self._cursor((lower, recursive, items, position, limit)),
            "has_more": more,
        }

    def _cursor(self, state: tuple[str, bool, tuple[str, ...], int, int]) -> str:
        name = f"cursor-{self._next()}"
        self._cursors[name] = state
        return name

    def _list_folder_continue(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        state = self._cursors.get(arg["cursor"])
        if state is None:
            return _refusal(409, {".tag": "reset"})
        return self._paged(state)

    def forget_cursors(self) -> None:
        """All cursors are reset."""
        self._cursors.clear()

    def _list_folder_get_latest_cursor(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        lower, recursive = self._listable(arg)
        return {"cursor": self._cursor((lower, recursive, (), len(self._journal), 500))}

    def _list_folder_longpoll(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        state = self._cursors.get(arg["cursor"])
        if not 30 <= arg.get("timeout", 30) <= 480:
            return _bad("files/list_folder/longpoll", "timeout: out of range")
        if state is None:
            return _refusal(409, {".tag": "reset"})
        return {"changes": state[3] < len(self._journal)}

    # ---- folders, deletions, copies

    def _create_folder_v2(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        path = self._path("files/create_folder_v2", arg["path"])
        error = self._write_error(path)
        node = self.nodes.get(fold(path))
        if node is not None:
            error = _conflict("folder" if node.content is None else "file")
        if error is not None:
            return _refusal(409, {".tag": "path", "path": error})
        self._make(path, None, "")
        found = self._metadata(fold(path))
        del found[".tag"]
        return {"metadata": found}

    def _delete_v2(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        found = self._deletion(arg)
        return found if isinstance(found, FakeResponse) else {"metadata": found}

    def _deletion(self, arg: dict[str, Any]) -> Any:
        path = self._path("files/delete_v2", arg["path"])
        lower = fold(path)
        node = self.nodes.get(lower)
        if node is None:
            return _refusal(409, {".tag": "path_lookup", "path_lookup": {".tag": "not_found"}})
        rev = arg.get("parent_rev")
        if rev is not None and rev != node.rev:
            kind = "folder" if node.content is None else "file"
            return _refusal(409, {".tag": "path_write", "path_write": _conflict(kind)})
        found = self._metadata(lower)
        self._remove(lower)
        return found

    def _delete_batch(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        entries = arg["entries"]
        if not isinstance(entries, list) or not 1 <= len(entries) <= 1000:
            return _bad("files/delete_batch", "entries: out of range")
        results = [self._batched(partial(self._deletion, each), wrap="metadata") for each in entries]
        return self._job({".tag": "complete", "entries": results})

    def _batched(self, act: Callable[[], Any], *, wrap: str, failure: str = "") -> dict[str, Any]:
        """One entry of a batch; `failure` is the union around its error."""
        if self.busy:
            self.busy -= 1
            return {".tag": "failure", "failure": {".tag": "too_many_write_operations"}}
        try:
            found = act()
        except _Answer as early:
            found = early.response
        if isinstance(found, FakeResponse):
            error = json.loads(found.body)["error"]
            return {".tag": "failure", "failure": {".tag": failure, failure: error} if failure else error}
        return {".tag": "success", wrap: found} if wrap else {".tag": "success", **found}

    def _job(self, result: dict[str, Any]) -> dict[str, Any]:
        name = f"job-{self._next()}"
        self._jobs[name] = (self.habits.polls, result)
        return {".tag": "async_job_id", "async_job_id": name}

    def _check(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        polls, result = self._jobs.get(arg["async_job_id"], (0, {}))
        if not result:
            return _refusal(409, {".tag": "invalid_async_job_id"})
        self._jobs[arg["async_job_id"]] = (polls - 1, result)
        return {".tag": "in_progress"} if polls > 0 else result

    _delete_batch_check = _copy_batch_check_v2 = _move_batch_check_v2 = _check

    def _copy_v2(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        found = self._relocation(arg, move=False)
        return found if isinstance(found, FakeResponse) else {"metadata": found}

    def _move_v2(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        found = self._relocation(arg, move=True)
        return found if isinstance(found, FakeResponse) else {"metadata": found}

    def _copy_batch_v2(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        return self._relocations(arg["entries"], move=False)

    def _move_batch_v2(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        return self._relocations(arg["entries"], move=True)

    def _relocations(self, entries: list[dict[str, Any]], *, move: bool) -> Any:
        if not isinstance(entries, list) or not 1 <= len(entries) <= 1000:
            return _bad("files/copy_batch_v2", "entries: out of range")
        places = Counter(fold(path) for each in entries for path in (each["from_path"], each["to_path"]))

        def one(each: dict[str, Any]) -> Any:
            if places[fold(each["from_path"])] > 1 or places[fold(each["to_path"])] > 1:
                return _refusal(409, {".tag": "duplicated_or_nested_paths"})
            return self._relocation(each, move=move)

        results = [self._batched(partial(one, each), wrap="success", failure="relocation_error") for each in entries]
        return self._job({".tag": "complete", "entries": results})

    def _relocation(self, arg: dict[str, Any], *, move: bool) -> Any:
        src, dst = (self._path("files/copy_v2", arg[name]) for name in ("from_path", "to_path"))
        source, target = fold(src), fold(dst)
        if source not in self.nodes:
            return _refusal(409, {".tag": "from_lookup", "from_lookup": {".tag": "not_found"}})
        if target.startswith(source + "/"):
            return _refusal(409, {".tag": "cant_move_folder_into_itself"})
        error = self._write_error(dst)
        there = self.nodes.get(target)
        if there is not None:
            error = _conflict("folder" if there.content is None else "file")
        if error is not None:
            return _refusal(409, {".tag": "to", "to": error})
        inside = [source, *self._children(source, recursive=True)]
        moved = [(dst + self._display(each)[len(src) :], self.nodes[each]) for each in inside]
        if move:
            self._remove(source)
        for path, node in moved:
            made = self._make(path, node.content, node.client)
            if move:
                made.id, made.rev, made.server = node.id, node.rev or made.rev, node.server
        return self._metadata(target)

    # ---- uploads and downloads

    def _commit(self, commit: dict[str, Any], content: bytes) -> dict[str, Any] | FakeResponse:
        known = {"path", "mode", "autorename", "client_modified", "mute", "strict_conflict", "content_hash"}
        if not commit.keys() <= known:
            return _bad("files/upload", f"unknown fields in {sorted(commit)}")
        path = self._path("files/upload", commit["path"])
        mode, strict = commit.get("mode", {".tag": "add"}), bool(commit.get("strict_conflict"))
        when = commit.get("client_modified", "")
        if when:
            time.strptime(when, "%Y-%m-%dT%H:%M:%SZ")
        error = self._write_error(path)
        node = self.nodes.get(fold(path))
        if error is None and node is not None and node.content is None:
            error = _conflict("folder")
        if error is None:
            tag = mode[".tag"]
            if node is not None and node.content == content and not strict:
                return self._metadata(fold(path), tag=False)  # nothing is written
            same = node is not None and node.content == content
            if node is None:
                clash = tag == "update" and strict
            else:
                clash = tag == "add" or (tag == "update" and (node.rev != mode["update"] or same))
            error = _conflict("file") if clash else None
        if error is not None:
            return _refusal(409, {".tag": "path", "path": error})
        self.sent[path[1:]] += 1
        self._make(path, content, when)
        return self._metadata(fold(path), tag=False)

    def _upload(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        found = self._commit(arg, request.body)
        if isinstance(found, FakeResponse) and found.status == 409:
            error = json.loads(found.body)["error"]
            return _refusal(409, {".tag": "path", "reason": error["path"], "upload_session_id": "x"})
        return found

    def _new_session(self, *, concurrent: bool) -> str:
        name = f"pid_upload_session:{self._next():080}"
        self.sessions[name] = _Session(concurrent)
        return name

    def _upload_session_start(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        concurrent = arg.get("session_type", {}).get(".tag") == "concurrent"
        if concurrent and (request.body or arg.get("close")):
            return _refusal(409, {".tag": "concurrent_session_data_not_allowed"})
        name = self._new_session(concurrent=concurrent)
        if request.body:
            self.sessions[name].pieces[0] = request.body
        return {"session_id": name}

    def _upload_session_start_batch(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        count = arg["num_sessions"]
        if not 1 <= count <= 1000:
            return _bad("files/upload_session/start_batch", "num_sessions: out of range")
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
        return _json(200, None) if error is None else _refusal(409, error)

    def _upload_session_append_batch(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        entries = arg["entries"]
        if not 1 <= len(entries) <= 1000:
            return _bad("files/upload_session/append_batch", "entries: out of range")
        if sum(each["length"] for each in entries) != len(request.body):
            return _refusal(409, {".tag": "length_mismatch"})
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
            return _bad("files/upload_session/finish_batch_v2", "entries: out of range")
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
            return _refusal(409, {".tag": "concurrent_session_missing_data"})
        elif cursor["offset"] != session.size:
            lookup = {".tag": "incorrect_offset", "correct_offset": session.size}
        if lookup is not None:
            return _refusal(409, {".tag": "lookup_failed", "lookup_failed": lookup})
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
            return _refusal(409, {".tag": "path", "path": {".tag": "not_file"}})
        if node.extra.get("is_downloadable") is False:
            return _refusal(409, {".tag": "unsupported_file"})
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
        return _refusal(409, error)

    def _link(self, lower: str) -> dict[str, Any]:
        return {".tag": "file", "url": self.links[lower], "name": self.nodes[lower].name, "path_lower": lower}

    def _list_shared_links(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        lower = fold(arg["path"])
        return {"links": [self._link(lower)] if lower in self.links else [], "has_more": False}


def _deleted(lower: str) -> dict[str, Any]:
    return {".tag": "deleted", "name": lower.rpartition("/")[2], "path_lower": lower, "path_display": lower}


def _conflict(kind: str) -> dict[str, Any]:
    return {".tag": "conflict", "conflict": {".tag": kind}}


def _json(status: int, answer: object) -> FakeResponse:
    return FakeResponse(status, (("Content-Type", "application/json"),), json.dumps(answer).encode())


def _refusal(status: int, error: dict[str, Any]) -> FakeResponse:
    return _json(status, {"error_summary": f"{error['.tag']}/...", "error": error})


def _text(status: int, text: str) -> FakeResponse:
    return FakeResponse(status, (("Content-Type", "text/plain; charset=utf-8"),), text.encode())


def _bad(route: str, text: str) -> FakeResponse:
    return _text(400, f'Error in call to API function "{route}": {text}')


def too_many(seconds: int = 0, reason: str = "too_many_requests") -> FakeResponse:
    """429, with Retry-After."""
    error = {"error_summary": f"{reason}/..", "error": {"reason": {".tag": reason}, "retry_after": seconds}}
    return FakeResponse(
        429, (("Content-Type", "application/json"), ("Retry-After", str(seconds))), json.dumps(error).encode()
    )
