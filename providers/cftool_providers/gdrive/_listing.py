"""scan and walk: one folder, or all below it by queries over many parents, several of them at once.

A query over several parents proves nothing about a parent for which it returned no item: each such parent is asked
alone before its group is shown. Where one then has children, the service was seen to leave things out: only single
parents are asked from then on, and the others of that group anew. A run that may delete asks single parents only.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import field

from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import ListingError, NotADirectory, NotFound, StoreError
from cftool.core.types import Entry
from cftool.http.types import Completion, Request
from cftool_providers.gdrive import _errors, _files
from cftool_providers.gdrive._files import Item
from cftool_providers.gdrive._tree import Tree, _once

GROUP = 50  # parents in one query: about 2,500 characters
_SMALLEST = 10
_LANES = 4  # queries that the waiting folders are spread over


class Lister:
    """`grouped`: whether queries over several parents may be used. Thread-safe."""

    def __init__(self, tree: Tree, *, grouped: bool) -> None:
        self._tree = tree
        self._grouped = grouped

    def scan(self, path: str) -> Iterator[Entry]:
        """One folder; everything of it is known before the first entry is given, because names may be shared."""
        for name, one in self._tree.named(self.items(path)).items():
            where = paths.join(path, name)
            if one.is_folder:
                self._tree.remember(where, one.id)
            else:
                self._tree.saw(one.id, where)
            yield _files.entry(one, where, self._tree.exports)

    def items(self, path: str) -> list[Item]:
        """The children of the folder at `path`. Raises NotFound, NotADirectory."""
        tree = self._tree
        try:
            if not path:
                return tree.children(tree.root)[0]
            look, items = tree.look_into(path)
            if look.item is None:
                raise NotFound("there is no such folder", op="scan", path=path)
            if not look.item.is_folder:
                raise NotADirectory("is no folder", op="scan", path=path)
            return tree.children(look.item.id)[0] if items is None else tree.resolved(items)
        except StoreError as error:
            raise error.at(op="scan", path=path) from None

    def walk(self, path: str) -> Iterator[Entry]:
        """All below, in no order."""
        top = self.items(path)
        yield from _Walk(self._tree, grouped=self._grouped).run(path, top)


@dataclass(slots=True, eq=False)
class _Group:
    """Folders that are shown together: ids to paths, and what is in each as far as it is known."""

    parents: dict[str, tuple[str, int]]
    items: dict[str, list[Item]] = field(default_factory=dict)
    open: int = 0  # queries that are not answered yet
    alone: set[str] = field(default_factory=set)  # asked by themselves, or about to be
    doubted: bool = False


@dataclass(slots=True, eq=False)
class _Query:
    """One query, page by page."""

    group: _Group
    parents: tuple[str, ...]
    items: list[Item] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    token: str | None = None


class _Walk:
    """One walk."""

    def __init__(self, tree: Tree, *, grouped: bool) -> None:
        self._tree = tree
        self._grouped = grouped
        self._folders: deque[tuple[str, str, int]] = deque()
        self._queries: deque[_Query] = deque()
        self._seen: set[str] = set()

    def run(self, path: str, top: list[Item]) -> Iterator[Entry]:
        """The entries below `path`, whose children are `top`."""
        yield from self._shown(path, 0, top)
        while self._folders or self._queries:
            with self._tree.service.many(self._next) as completions:
                for completion in completions:
                    group = self._answered(completion)
                    if group is not None:
                        yield from self._finished(group)

    def _shown(self, path: str, depth: int, items: list[Item]) -> Iterator[Entry]:
        tree = self._tree
        if depth >= paths.MAX_DEPTH:
            raise ListingError(f"deeper than {paths.MAX_DEPTH} folders", op="walk", path=path)
        for name, one in tree.named(items).items():
            where = paths.join(path, name)
            if one.is_folder:
                if one.id in self._seen:
                    raise ListingError("a folder is in two places, or in itself", op="walk", path=where)
                self._seen.add(one.id)
                tree.remember(where, one.id)
                self._folders.append((one.id, where, depth + 1))
            else:
                tree.saw(one.id, where)
            yield _files.entry(one, where, tree.exports)

    # ---- queries

    def _next(self) -> Request | None:
        if not self._queries:
            if not self._folders:
                return None
            self._queries.append(self._new_query())
        query = self._queries.popleft()
        tree = self._tree
        params = tree.list_params(tree.children_query(query.parents), query.token)
        return tree.service.request("GET", "files.list", "files", params, tag=query)

    def _new_query(self) -> _Query:
        """The next folders in one query, all the more where many wait."""
        size = 1
        if self._grouped and self._tree.grouping:
            size = min(GROUP, max(_SMALLEST, -(-len(self._folders) // _LANES)))
        parents: dict[str, tuple[str, int]] = {}
        while self._folders and len(parents) < size:
            handle, path, depth = self._folders.popleft()
            parents[handle] = (path, depth)
        group = _Group(parents, open=1)
        return _Query(group, tuple(parents))

    def _answered(self, completion: Completion) -> _Group | None:
        """The group, where this was the last that was missing of it."""
        query = completion.request.tag
        assert isinstance(query, _Query)
        response = completion.response
        where = query.group.parents[query.parents[0]][0]
        try:
            if response is None:
                raise completion.error or ListingError("no answer")
            if response.status != 200:
                raise _errors.error(response.status, response.body)
            found = _files.page(_files.parse(response.body, response.headers), query.parents, query.tokens)
        except StoreError as error:
            # What was there a moment ago and is not any more: the listing is of no one moment, and proves nothing.
            if isinstance(error, NotFound):
                raise ListingError("a folder vanished while it was listed", op="walk", path=where) from None
            raise error.at(op="walk", path=where) from None
        query.items += found.items
        if found.following is not None:
            query.token = found.following
            self._queries.append(query)
            return None
        return self._settled(query)

    def _settled(self, query: _Query) -> _Group | None:
        group = query.group
        group.open -= 1
        items = _once(query.items)
        if len(query.parents) == 1:
            (parent,) = query.parents
            group.items[parent] = items
            if items and len(group.parents) > 1 and not group.doubted:
                self._doubt(group)
        else:
            for one in items:
                for parent in one.parents:
                    if parent in group.parents:
                        group.items.setdefault(parent, []).append(one)
            for parent in group.parents:
                if parent not in group.items:
                    self._ask_alone(group, parent)
        return group if not group.open else None

    def _doubt(self, group: _Group) -> None:
        """A parent has children that the query over several did not name: what it said of the others is no proof."""
        self._tree.grouping = False
        group.doubted = True
        for parent in group.parents:
            if parent not in group.alone:
                self._ask_alone(group, parent)

    def _ask_alone(self, group: _Group, parent: str) -> None:
        group.alone.add(parent)
        group.open += 1
        self._queries.append(_Query(group, (parent,)))

    def _finished(self, group: _Group) -> Iterator[Entry]:
        for parent, (path, depth) in group.parents.items():
            yield from self._shown(path, depth, self._tree.resolved(group.items.get(parent, [])))
