"""Removing, copying and moving: of ours by records, of plain files by the store below, both in a safe order."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import islice

from cftool.core import ops, paths
from cftool.core.errors import AlreadyExists, InvalidName, IsADirectory, NotADirectory, NotFound, StoreError
from cftool.core.store import Store
from cftool.core.types import Cap, Entry, Result, WriteItem
from cftool.wrap.archiving.change import Change, Found
from cftool.wrap.archiving.index import Index, Node
from cftool.wrap.archiving.manifest import Record

_TOGETHER = 20_000  # records in one pack

Changes = Callable[[], AbstractContextManager[Change]]


def remove(
    changes: AbstractContextManager[Change], inner: Store, entries: list[Entry], *, missing: bool
) -> list[Result]:
    """Files and empty directories, in the order given; `missing`: what is not there is an error."""
    results: list[Result] = []
    ours: list[Entry] = []
    try:
        with changes as change:
            for entry in entries:
                try:
                    if _remove_one(change, inner, entry):
                        ours.append(entry)
                        continue
                except NotFound as error:
                    if missing:
                        results.append(Result(entry.path, error=error.at(op="delete", path=entry.path)))
                        continue
                except StoreError as error:
                    results.append(Result(entry.path, error=error))
                    continue
                results.append(Result(entry.path, entry=entry))
    except StoreError as error:
        told = {result.path for result in results}
        return results + [Result(entry.path, error=error) for entry in entries if entry.path not in told]
    return results + [Result(entry.path, entry=entry) for entry in ours]


def _remove_one(change: Change, inner: Store, entry: Entry) -> bool:
    """Whether it is gone only when the change is committed; else it is gone, and it was a plain one."""
    path = entry.path
    found = change.at(path)
    if found is None:
        raise NotFound("not found", path=path)
    if entry.is_dir and not found.is_dir:
        raise NotADirectory("is not a directory", path=path)
    if found.is_dir and (not entry.is_dir or not path):
        raise IsADirectory("is a directory", path=path)
    if found.record is not None and not found.is_dir:
        change.purge(found.record, path)
    if found.plain is not None and not found.is_dir:
        inner.delete(found.plain.path)
        change.plain.gone(found.plain.path)
        change.remove_name(path)
        return False
    change.remove(path, found)
    if found.is_dir:
        plain = change.plain.at(path)
        if plain is not None and plain.is_dir:
            try:
                inner.rmdir(path)
            except NotFound:
                pass
            change.plain.gone(path)
    return bool(found.ids)


def copy(change: Change, item: WriteItem, record: Record) -> None:
    """A file of ours under another name: a record that names the same bytes."""
    replaced = change.require(item.path, if_version=item.if_version, if_absent=item.if_absent)
    modified = record.modified_ns if item.modified_ns is None else item.modified_ns
    change.put(record._replace(path=item.path, modified_ns=modified), None, replaced)


def relocate(change: Change, found: Found, src: str, dst: str, *, keep: bool) -> None:
    """A file of ours, as a record that names the same bytes."""
    assert found.record is not None
    replaced = change.require(dst, if_version=None, if_absent=False)
    if not keep:
        change.purge(found.record, src)
        change.settle(src)
    change.put(found.record._replace(path=dst), None, replaced, () if keep else found.ids)


def move_directory(changes: Changes, inner: Store, index: Index, src: str, dst: str) -> None:
    """All below with it, to a name where nothing is."""
    if paths.is_within(dst, src):
        raise InvalidName("cannot be moved into itself", path=src)
    with changes() as change:
        if change.at(dst) is not None:
            raise AlreadyExists("is there already", path=dst)
        change.parents(dst)
        top = index.node(src)
        plain = change.plain.at(src)
        nodes = ([top] if top is not None else []) + list(index.below(src))
        for node in nodes:
            if node.record is not None:
                change.purge(node.record, node.path)
    if plain is not None and plain.is_dir:
        ops.move_anyhow(inner, src, dst)
    _move_nodes(changes, nodes, src, dst)
    if Cap.IMPLICIT_DIRS in inner.features.caps:
        with changes() as change:
            change.parents(src)
            change.mkdir(dst)


def _move_nodes(changes: Changes, nodes: list[Node], src: str, dst: str) -> None:
    pending = iter(nodes)
    while some := list(islice(pending, _TOGETHER)):
        with changes() as change:
            for node in some:
                change.move_node(node, dst + node.path[len(src) :])
