"""The tree of the fake Dropbox: metadata, listings with their cursors, folders, deletions, copies and moves, and jobs.

Base of `fake_dropbox.FakeDropbox`, which has the HTTP side and the content. Each method that is named like a route
takes its argument, checked for its fields, and the request, and gives what the route answers.
"""

import json
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cftool.core import hashing
from cftool.testing.http_fake import FakeRequest, FakeResponse

MIB = 1024 * 1024
_NEVER = {"desktop.ini", "thumbs.db", ".ds_store", "icon\r", ".dropbox", ".dropbox.attr"}


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


class Early(Exception):
    """The answer is known already."""

    def __init__(self, response: FakeResponse) -> None:
        self.response = response


def fold(path: str) -> str:
    """A path as the service compares it."""
    return unicodedata.normalize("NFC", path).lower()


class DropboxTree:
    """See the module."""

    def __init__(self, habits: Habits) -> None:
        self.habits = habits
        self.nodes: dict[str, Node] = {}
        self.busy = 0  # entries of batches that are refused because of too many writes
        self._journal: list[str] = []
        self._cursors: dict[str, tuple[str, bool, tuple[str, ...], int, int]] = {}
        self._jobs: dict[str, tuple[int, dict[str, Any]]] = {}
        self._count = 0

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
            raise Early(bad(route, f"path: {path!r} did not match pattern"))
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
                return conflict("file_ancestor")
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
            raise Early(refusal(409, {".tag": key, key: malformed}))
        node = self.nodes.get(fold(path))
        if node is None:
            raise Early(refusal(409, {".tag": key, key: {".tag": "not_found"}}))
        return node

    def _list_folder(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        lower, recursive = self._listable(arg)
        limit = arg.get("limit", 500)
        if not isinstance(limit, int) or not 1 <= limit <= 2000:
            return bad("files/list_folder", "limit: out of range")
        items = self._children(lower, recursive=recursive)
        if recursive and lower:
            items.insert(0, lower)
        return self._paged((lower, recursive, tuple(items), len(self._journal), limit))

    def _listable(self, arg: dict[str, Any]) -> tuple[str, bool]:
        path = self._path("files/list_folder", arg["path"], root=True)
        if path and self._found(path).content is not None:
            raise Early(refusal(409, {".tag": "path", "path": {".tag": "not_folder"}}))
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
            entries = [self._metadata(each) if each in self.nodes else deleted(each) for each in inside]
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
            return refusal(409, {".tag": "reset"})
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
            return bad("files/list_folder/longpoll", "timeout: out of range")
        if state is None:
            return refusal(409, {".tag": "reset"})
        return {"changes": state[3] < len(self._journal)}

    # ---- folders, deletions, copies

    def _create_folder_v2(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        path = self._path("files/create_folder_v2", arg["path"])
        error = self._write_error(path)
        node = self.nodes.get(fold(path))
        if node is not None:
            error = conflict("folder" if node.content is None else "file")
        if error is not None:
            return refusal(409, {".tag": "path", "path": error})
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
            return refusal(409, {".tag": "path_lookup", "path_lookup": {".tag": "not_found"}})
        rev = arg.get("parent_rev")
        if rev is not None and rev != node.rev:
            kind = "folder" if node.content is None else "file"
            return refusal(409, {".tag": "path_write", "path_write": conflict(kind)})
        found = self._metadata(lower)
        self._remove(lower)
        return found

    def _delete_batch(self, arg: dict[str, Any], request: FakeRequest) -> Any:
        del request
        entries = arg["entries"]
        if not isinstance(entries, list) or not 1 <= len(entries) <= 1000:
            return bad("files/delete_batch", "entries: out of range")
        results = [self._batched(partial(self._deletion, each), wrap="metadata") for each in entries]
        return self._job({".tag": "complete", "entries": results})

    def _batched(self, act: Callable[[], Any], *, wrap: str, failure: str = "") -> dict[str, Any]:
        """One entry of a batch; `failure` is the union around its error."""
        if self.busy:
            self.busy -= 1
            return {".tag": "failure", "failure": {".tag": "too_many_write_operations"}}
        try:
            found = act()
        except Early as early:
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
            return refusal(409, {".tag": "invalid_async_job_id"})
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
            return bad("files/copy_batch_v2", "entries: out of range")
        places = Counter(fold(path) for each in entries for path in (each["from_path"], each["to_path"]))

        def one(each: dict[str, Any]) -> Any:
            if places[fold(each["from_path"])] > 1 or places[fold(each["to_path"])] > 1:
                return refusal(409, {".tag": "duplicated_or_nested_paths"})
            return self._relocation(each, move=move)

        results = [self._batched(partial(one, each), wrap="success", failure="relocation_error") for each in entries]
        return self._job({".tag": "complete", "entries": results})

    def _relocation(self, arg: dict[str, Any], *, move: bool) -> Any:
        src, dst = (self._path("files/copy_v2", arg[name]) for name in ("from_path", "to_path"))
        source, target = fold(src), fold(dst)
        if source not in self.nodes:
            return refusal(409, {".tag": "from_lookup", "from_lookup": {".tag": "not_found"}})
        if target.startswith(source + "/"):
            return refusal(409, {".tag": "cant_move_folder_into_itself"})
        error = self._write_error(dst)
        there = self.nodes.get(target)
        if there is not None:
            error = conflict("folder" if there.content is None else "file")
        if error is not None:
            return refusal(409, {".tag": "to", "to": error})
        inside = [source, *self._children(source, recursive=True)]
        moved = [(dst + self._display(each)[len(src) :], self.nodes[each]) for each in inside]
        if move:
            self._remove(source)
        for path, node in moved:
            made = self._make(path, node.content, node.client)
            if move:
                made.id, made.rev, made.server = node.id, node.rev or made.rev, node.server
        return self._metadata(target)


def deleted(lower: str) -> dict[str, Any]:
    """The entry of what is gone."""
    return {".tag": "deleted", "name": lower.rpartition("/")[2], "path_lower": lower, "path_display": lower}


def conflict(kind: str) -> dict[str, Any]:
    """The tree of tags of what is in the way."""
    return {".tag": "conflict", "conflict": {".tag": kind}}


def json_answer(status: int, answer: object) -> FakeResponse:
    """An answer in JSON."""
    return FakeResponse(status, (("Content-Type", "application/json"),), json.dumps(answer).encode())


def refusal(status: int, error: dict[str, Any]) -> FakeResponse:
    """An answer with a tree of tags."""
    return json_answer(status, {"error_summary": f"{error['.tag']}/...", "error": error})


def text_answer(status: int, text: str) -> FakeResponse:
    """An answer in plain text."""
    return FakeResponse(status, (("Content-Type", "text/plain; charset=utf-8"),), text.encode())


def bad(route: str, text: str) -> FakeResponse:
    """The answer to what the service cannot read."""
    return text_answer(400, f'Error in call to API function "{route}": {text}')
