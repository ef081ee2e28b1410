"""Another name within one store, without the bytes passing here; at every instant the file is under one of the two.

By `move` where the store has it; else copied, the copy proven, and the old name deleted only while it still is the
version that was copied. Called by `keep`, `renames` and `moving`.
"""

from cftool.core import paths
from cftool.core.errors import IntegrityError, NotFound, SourceChanged, Unsupported
from cftool.core.store import Store
from cftool.core.types import Cap, Entry, Kind


def can(store: Store) -> bool:
    """Whether files of this store can have another name without passing here."""
    return bool(store.features.caps & (Cap.MOVE | Cap.COPY))


def relocate(store: Store, entry: Entry, to: str) -> Entry:
    """Give the file `entry` the name `to`; what it is there."""
    if Cap.MOVE in store.features.caps:
        return store.move(entry.path, to)
    made = copied(store, entry, to)
    drop(store, entry)
    return made


def copied(store: Store, entry: Entry, to: str) -> Entry:
    """Copy within the store, and prove that what arrived is what left."""
    if Cap.COPY not in store.features.caps:
        raise Unsupported("the store can neither move nor copy by itself", op="copy", path=entry.path)
    made = store.copy(entry.path, to)
    prove(entry, made)
    return made


def prove(entry: Entry, made: Entry) -> None:
    """Raise IntegrityError where `made` cannot be a copy of `entry`."""
    same = made.kind is Kind.FILE and (entry.size is None or made.size is None or made.size == entry.size)
    common = entry.hashes.keys() & made.hashes.keys()
    if not same or any(entry.hashes[name] != made.hashes[name] for name in common):
        raise IntegrityError(
            f"the copy {paths.printable(made.path)} is not what was copied", op="copy", path=entry.path
        )


def drop(store: Store, entry: Entry) -> None:
    """Delete `entry`, if it is still the version that was seen. One that is gone is no error."""
    try:
        now = store.stat(entry.path)
        if not same_version(entry, now):
            raise SourceChanged("changed after it was copied, and stays", op="delete", path=entry.path)
        store.delete(entry.path)
    except NotFound:
        return


def same_version(then: Entry, now: Entry) -> bool:
    """Whether both are one version of one file, by everything that both know; nothing in common is no proof."""
    if then.kind is not now.kind:
        return False
    if then.kind is Kind.DIRECTORY:
        return True
    if then.version is not None and now.version is not None:
        # A service's version need not change with the file's own time, which says nothing of the content.
        return then.version == now.version
    pairs = [
        (then.size, now.size),
        (then.modified_ns, now.modified_ns),
        (then.stored_ns, now.stored_ns),
    ]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return len(known) > 1 and all(a == b for a, b in known)
