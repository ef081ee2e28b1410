"""stat, scan, walk and the feed of changes: list_folder and its cursors.

A recursive listing comes in no order, a child perhaps before its parent, and its paths may have the case of parents
wrong: paths are joined from names, by way of the parents' own entries. Complete means: the last page said so, no
cursor came twice, no entry came twice or went after it came, and every parent was there.
"""

from collections.abc import Iterator
from typing import Any

from cftool.core import paths
from cftool.core.errors import (
    DirectoryNotEmpty,
    ListingError,
    NotADirectory,
    NotFound,
    ProtocolError,
    StoreError,
)
from cftool.core.types import ChangeSet, Entry, Kind
from cftool_providers.dropbox import _entries, _errors
from cftool_providers.dropbox._api import Service, answer, api_path
from cftool_providers.dropbox._entries import Item, Page

_LIMIT = 2000  # entries of a page: the service's most


class Lister:
    """Thread-safe: each listing has its own state."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def stat(self, path: str) -> Entry:
        """One get_metadata; of the root nothing is asked, because nothing is told of it."""
        if not path:
            return Entry("", Kind.DIRECTORY)
        found = self._service.call("files/get_metadata", {"path": api_path(path)}, path=path)
        try:
            return _entries.entry(found, path)
        except ProtocolError as error:
            raise ProtocolError(f"Dropbox tells of {error.message}", op="stat", path=path) from None

    def find(self, path: str) -> Entry | None:
        """As stat; None where nothing is."""
        try:
            return self.stat(path)
        except NotFound:
            return None

    def pages(self, path: str, *, recursive: bool, limit: int = _LIMIT) -> Iterator[Page]:
        """All pages; the last one says that nothing follows."""
        arg: dict[str, Any] = {"path": api_path(path), "recursive": recursive, "limit": limit}
        found = _entries.page(self._service.call("files/list_folder", arg, path=path), path)
        seen = set()
        while True:
            if found.cursor in seen:
                raise ListingError("the listing comes back to where it was", path=path)
            yield found
            if not found.more:
                return
            seen.add(found.cursor)
            arg = {"cursor": found.cursor}
            response = self._service.client.send(self._service.request("files/list_folder/continue", arg))
            if response.status == 409 and "reset" in _errors.tags(_errors.body_error(response.body)):
                raise ListingError("Dropbox broke the listing off; begin again", path=path)
            found = _entries.page(answer(response, path), path)

    def scan(self, path: str) -> Iterator[Entry]:
        """One level."""
        depth = _depth(path)
        once = _Once(path)
        for page in self.pages(path, recursive=False):
            for item in page.items:
                if item.lower.count("/") != depth + 1:
                    raise ListingError("the listing holds an entry of another directory", path=path)
                once.base(item.lower, depth)
                if once.passes(item):
                    yield item.entry.at(paths.join(path, item.name))

    def walk(self, path: str) -> Iterator[Entry]:
        """All below, parents before what is in them."""
        tree = _Tree(path)
        for page in self.pages(path, recursive=True):
            for item in page.items:
                yield from tree.add(item)
        tree.end()

    def is_empty(self, path: str) -> bool:
        """Whether a directory holds nothing."""
        for page in self.pages(path, recursive=False, limit=1):
            if any(not item.deleted for item in page.items):
                return False
        return True

    def require_empty(self, path: str) -> None:
        """Raises DirectoryNotEmpty, NotADirectory, NotFound."""
        if not self.is_empty(path):
            raise DirectoryNotEmpty("is not empty", op="rmdir", path=path)

    # ---- changes

    def changes(self, cursor: str | None) -> ChangeSet:
        """What the cursor's listing would have told since."""
        if cursor is None:
            return ChangeSet((), self._latest())
        changed: dict[str, None] = {}
        names: dict[str, str | None] = {}  # of directories, by path as the service compares it; None: gone
        seen = set()
        while True:
            seen.add(cursor)
            request = self._service.request("files/list_folder/continue", {"cursor": cursor})
            response = self._service.client.send(request)
            if response.status == 400 or (
                response.status == 409 and "reset" in _errors.tags(_errors.body_error(response.body))
            ):
                return ChangeSet((), self._latest(), reset=True)
            found = answer(response, None)
            page = _entries.page(found, "")
            for item in page.items:
                if item.entry.is_dir and not item.deleted:
                    names[item.lower] = item.name
            for item, raw in zip(page.items, found["entries"], strict=True):
                changed[self._shown(item, raw, names)] = None
            if page.more and page.cursor in seen:
                raise ListingError("the changes come back to where they were", op="changes")
            cursor = page.cursor
            if not page.more:
                return ChangeSet(tuple(changed), cursor)

    def _shown(self, item: Item, raw: dict[str, Any], names: dict[str, str | None]) -> str:
        """The path with the case that its parents really have; of what is gone, as the service tells it."""
        found = [item.name]
        up = item.lower
        while up := up.rpartition("/")[0]:
            if up not in names:
                there = self._service.client.send(self._service.request("files/get_metadata", {"path": up}))
                gone = there.status == 409 and "not_found" in _errors.tags(_errors.body_error(there.body))
                names[up] = None if gone else str(answer(there, None).get("name"))
            name = names[up]
            if name is None:
                shown = raw.get("path_display")
                found = [(shown if isinstance(shown, str) else item.lower).removeprefix("/")]
                break
            found.insert(0, name)
        path = "/".join(found)
        if paths.problem(path) is not None:
            raise ListingError("the changes hold a path that is none", op="changes")
        return path

    def _latest(self) -> str:
        arg = {"path": "", "recursive": True}
        found = self._service.call("files/list_folder/get_latest_cursor", arg).get("cursor")
        if not isinstance(found, str) or not found:
            raise ListingError("Dropbox gave no cursor", op="changes")
        return found

    def wait(self, cursor: str, timeout: int) -> tuple[bool, float]:
        """Block until something changed, at most `timeout` seconds (30 to 480) and up to 90 more.

        Returns whether something did, and for how many seconds not to ask again. A cursor that is no good any more
        counts as a change: `changes` then says so.
        """
        try:
            found = self._service.watch({"cursor": cursor, "timeout": max(30, min(timeout, 480))})
        except StoreError as error:
            if "reset" in error.message:
                return True, 0.0
            raise
        changed, pause = found.get("changes"), found.get("backoff", 0)
        if not isinstance(changed, bool) or isinstance(pause, bool) or not isinstance(pause, int) or pause < 0:
            raise ProtocolError("Dropbox answered something else than whether anything changed", op="changes")
        return changed, float(min(pause, 3600))


class _Once:
    """Refuses what comes twice, goes after it came, or is of another directory."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: set[int] = set()  # digests: a listing of a million entries is kept in some 60 MB
        self._base: str | None = None

    def passes(self, item: Item) -> bool:
        """Whether to yield it."""
        key = hash(item.lower)
        if key in self._seen:
            raise ListingError("the directory changed while it was listed; try again", path=self._path)
        if item.deleted:  # before it came: then it just is not there
            return False
        self._seen.add(key)
        return True

    def base(self, lower: str, depth: int) -> None:
        """All entries must be below one directory, of that many components."""
        base = "/".join(lower.split("/", depth + 1)[: depth + 1])
        if self._base is None:
            self._base = base
            if self._path.isascii() and base != api_path(self._path).lower():
                raise ListingError("the listing is that of another directory", path=self._path)
        elif base != self._base:
            raise ListingError("the listing holds an entry of another directory", path=self._path)


class _Tree:
    """Joins the paths of a recursive listing."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._depth = _depth(path)
        self._once = _Once(path)
        self._known: dict[str, str] = {}  # directory as the service compares it: its path here
        self._waiting: dict[str, list[Item]] = {}  # by parent

    def add(self, item: Item) -> Iterator[Entry]:
        """What can be told now: the entry, and what waited for it."""
        depth = item.lower.count("/")
        if depth > paths.MAX_DEPTH:
            raise ListingError("the listing is too deep to be true", path=self._path)
        if depth < self._depth:
            raise ListingError("the listing holds an entry of another directory", path=self._path)
        self._once.base(item.lower, self._depth)
        if depth == self._depth:  # the directory itself
            if not item.entry.is_dir or item.deleted:
                raise NotADirectory("is no directory any more", op="walk", path=self._path)
            return
        if not self._once.passes(item):
            return
        parent = item.lower.rpartition("/")[0]
        if depth == self._depth + 1:
            yield from self._placed(item, self._path)
        elif parent in self._known:
            yield from self._placed(item, self._known[parent])
        else:
            self._waiting.setdefault(parent, []).append(item)

    def _placed(self, item: Item, parent: str) -> Iterator[Entry]:
        stack = [(item, parent)]
        while stack:
            item, parent = stack.pop()
            entry = item.entry.at(paths.join(parent, item.name))
            yield entry
            if entry.is_dir:
                self._known[item.lower] = entry.path
                stack += [(child, entry.path) for child in self._waiting.pop(item.lower, ())]

    def end(self) -> None:
        """The listing is at its end: nobody may still wait."""
        if self._waiting:
            raise ListingError("the listing holds entries of a directory that it does not hold", path=self._path)


def _depth(path: str) -> int:
    return path.count("/") + 1 if path else 0
