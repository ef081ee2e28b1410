"""Copying, moving and removing files and whole directories onto what may be there already, over any store.

What is replaced goes only once what replaces it is there; where something fails half-way, the source is still whole,
or each file of it is at one of the two places.
"""

from collections.abc import Iterator
from contextlib import suppress

from cftool.core import ops, paths
from cftool.core.errors import AlreadyExists, NotADirectory, NotFound, Unsupported
from cftool.core.store import Store
from cftool.core.types import Cap, Entry


def files(store: Store, path: str) -> Iterator[Entry]:
    """All files at any depth, in the fewest requests."""
    found = store.walk(path) if Cap.WALK in store.features.caps else ops.walk_anyhow(store, path)
    return (entry for entry in found if not entry.is_dir)


def remove(store: Store, path: str) -> None:
    """A directory and all below it. Raises NotADirectory, and the first error; what can be removed is by then."""
    if not store.stat(path).is_dir:
        raise NotADirectory("is a file", op="delete", path=path, store=store.name)
    if Cap.DELETE_DIR in store.features.caps:
        try:
            store.delete_dir(path)
        except Unsupported:  # this one
            pass
        else:
            return
    errors = [result.error for result in ops.remove_tree(store, path) if result.error is not None]
    if errors:
        raise errors[0]


def copy(store: Store, src: str, dst: str) -> None:
    """Onto what is at `dst`, where it is of the same kind. Raises NotFound, AlreadyExists."""
    entry = store.stat(src)
    _apart(store, "copy", src, dst)
    there = _replaceable(store, "copy", entry, dst)
    if not entry.is_dir:
        ops.copy_anyhow(store, src, dst)
    else:
        _mirror(store, src, dst, replacing=there is not None)


def move(store: Store, src: str, dst: str) -> None:
    """Onto what is at `dst`, where it is of the same kind. Raises NotFound, AlreadyExists."""
    entry = store.stat(src)
    if src == dst:
        return
    _apart(store, "move", src, dst)
    there = _replaceable(store, "move", entry, dst)
    if there is None or not entry.is_dir:
        ops.move_anyhow(store, src, dst)
    else:
        _mirror(store, src, dst, replacing=True)
        remove(store, src)


def _apart(store: Store, op: str, src: str, dst: str) -> None:
    if paths.is_within(dst, src) or paths.is_within(src, dst):
        raise AlreadyExists(f"{op} of a directory onto itself, into itself or onto what holds it", op=op, path=dst,
                            store=store.name)  # fmt: skip


def _replaceable(store: Store, op: str, entry: Entry, dst: str) -> Entry | None:
    """What is at `dst`; AlreadyExists where it is a file for a directory or the reverse."""
    try:
        there = store.stat(dst)
    except NotFound:
        return None
    if there.is_dir != entry.is_dir:
        kind = "directory" if there.is_dir else "file"
        raise AlreadyExists(f"a {kind} is there", op=op, path=dst, store=store.name)
    return there


def _mirror(store: Store, src: str, dst: str, *, replacing: bool) -> None:
    """Make the directory `dst` what `src` is: copy first, then remove what `src` does not have."""
    old = {entry.path: entry for entry in ops.walk_anyhow(store, dst)} if replacing else {}
    wanted: set[str] = set()
    _make(store, dst)
    # All names first: a listing that is read while files appear may show some of them again, or never.
    for entry in list(ops.walk_anyhow(store, src)):
        target = dst + entry.path[len(src) :]
        wanted.add(target)
        there = old.get(target)
        if there is not None and there.is_dir != entry.is_dir:
            _remove_one(store, there)
            old = {path: one for path, one in old.items() if not paths.is_within(path, target)}
        if entry.is_dir:
            _make(store, target)
        else:
            ops.copy_anyhow(store, entry.path, target)
    for entry in sorted(old.values(), key=paths.entry_key, reverse=True):
        if entry.path not in wanted:
            _remove_one(store, entry)


def _make(store: Store, path: str) -> None:
    caps = store.features.caps
    if Cap.EMPTY_DIRS in caps or Cap.IMPLICIT_DIRS not in caps:
        store.mkdir(path)


def _remove_one(store: Store, entry: Entry) -> None:
    with suppress(NotFound):  # gone already, which is what was asked for
        if entry.is_dir:
            remove(store, entry.path)
        else:
            store.delete(entry.path)
