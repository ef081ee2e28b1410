"""stat, scan and walk: the index and the plain objects of the store below as one tree. DESIGN.md, "What is shown"."""

import heapq
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from cftool.core import paths
from cftool.core.errors import NotADirectory, NotFound
from cftool.core.store import Store
from cftool.core.types import Entry, Kind
from cftool.wrap.archiving import names
from cftool.wrap.archiving.change import in_conflict, plain_in_conflict
from cftool.wrap.archiving.index import Index, Node
from cftool.wrap.archiving.plain import Plain

_log = logging.getLogger("cftool.archive")


def stat(inner: Store, index: Index, path: str) -> Entry:
    """What is shown at a path."""
    if not path:
        return inner.stat("") if not index.packs() else Entry("", Kind.DIRECTORY)
    node = index.node(path)
    if node is not None:
        return node.entry()
    plain = Plain(inner, listing=False)
    found = plain.at(path)
    if found is not None:
        return found
    found = plain_in_conflict(index, plain, path)
    if found is None:
        raise NotFound("not found", op="stat", path=path)
    return found.at(path)


def scan(inner: Store, index: Index, path: str) -> Iterator[Entry]:
    """One level."""
    node = _directory(index, path)
    yield from (child.entry() for child in index.children(path))
    for entry in _there(node, path, inner, inner.scan):
        if not names.reserved(entry.path):
            yield from _beside(index, entry)


def _directory(index: Index, path: str) -> Node | None:
    """What we show at a path that is to be listed."""
    node = index.node(path) if path else None
    if node is not None and not node.is_dir:
        raise NotADirectory("is not a directory", op="scan", path=path)
    if not path and index.packs():
        return Node("", True, None, "")
    return node


def _there(node: Node | None, path: str, inner: Store, listed: Callable[[str], Iterator[Entry]]) -> Iterable[Entry]:
    """The plain entries of a directory; none where only we have it."""
    if names.reserved(path):
        raise NotFound("not found", op="scan", path=path)
    if node is not None and paths.problem(path, inner.features.names) is not None:
        return ()
    try:
        entries = listed(path)
        first = next(entries, None)
    except (NotFound, NotADirectory):
        if node is None:
            raise
        return ()
    return () if first is None else chain((first,), entries)


def _beside(index: Index, entry: Entry) -> Iterator[Entry]:
    """A plain entry under the name by which it is shown, if it is."""
    node = index.node(entry.path)
    if node is None:
        yield entry
    elif entry.is_dir:
        if not node.is_dir:
            _hidden(entry.path)
    elif in_conflict(node, entry):
        path = names.conflict_plain(entry.path)
        if index.node(path) is None:
            yield entry.at(path)


def _hidden(path: str) -> None:
    _log.warning("%s is a file here; the directory of that name in the store below is hidden", paths.printable(path))


def walk(inner: Store, index: Index, path: str) -> Iterator[Entry]:
    """All below, in the order of the merge."""
    node = _directory(index, path)
    ours = ((paths.entry_key(entry), entry) for entry in (child.entry() for child in index.below(path)))
    there = _there(node, path, inner, Plain(inner, listing=True).walk)
    for _, entry in heapq.merge(ours, _ordered(index, there), key=lambda each: each[0]):
        yield entry


def _ordered(index: Index, entries: Iterable[Entry]) -> Iterator[tuple[bytes, Entry]]:
    """Plain entries as they are shown, in order: a conflict name comes later than the name it was made of."""
    waiting: list[tuple[bytes, Entry]] = []
    hidden: str | None = None
    for entry in entries:
        if hidden is not None and paths.is_within(entry.path, hidden):
            continue
        key = paths.entry_key(entry)
        while waiting and waiting[0][0] < key:
            yield heapq.heappop(waiting)
        if entry.is_dir and _shadowed(index, entry.path):
            hidden = entry.path
            _hidden(hidden)
            continue
        for shown in _beside(index, entry):
            if shown is entry:
                yield key, entry
            else:
                heapq.heappush(waiting, (os.fsencode(shown.path), shown))
    while waiting:
        yield heapq.heappop(waiting)


def _shadowed(index: Index, path: str) -> bool:
    node = index.node(path)
    return node is not None and not node.is_dir
