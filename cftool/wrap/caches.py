"""Which caches a remote has. Each says in its file `identity` whose it is, whatever name it was given.

For `stack.py`, on the way of every command: nothing slow is imported, and where there is no cache at all the question
is one look at the disk. A local cache is of one directory; its identity ends with the path.
"""

import os
from collections.abc import Callable, Iterator

from cftool.core import paths
from cftool.core.store import Store

_FILE = "identity"
_JOURNAL = "journal.sqlite"
_LONGEST = 1 << 16
LOCAL = "local"


def say_whose(directory: str, identity: str) -> None:
    """Before a cache accepts anything; on the disk when it returns."""
    from cftool.disk.atomic import write_file  # only an owner needs it

    if whose(directory) != identity:
        write_file(os.path.join(directory, _FILE), identity.encode("utf-8", "surrogateescape"))


def whose(directory: str) -> str | None:
    """The identity of the remote that a cache is of; None where it does not say."""
    try:
        with open(os.path.join(directory, _FILE), "rb", buffering=0) as file:
            return file.read(_LONGEST).decode("utf-8", "surrogateescape")
    except OSError:
        return None


def every(state_dir: str) -> Iterator[str]:
    """The directories of all caches, in the order of their names."""
    base = os.path.join(state_dir, "cache")
    try:
        names = sorted(os.listdir(base))
    except OSError:
        return
    for name in names:
        if os.path.exists(os.path.join(base, name, _JOURNAL)):
            yield os.path.join(base, name)


def of(state_dir: str, identity: str, default: str) -> list[str]:
    """The caches of one remote; `default` is one where it is there and does not say that it is another's."""
    return [each for each in every(state_dir) if whose(each) in ((identity, None) if each == default else (identity,))]


def pending(found: list[str]) -> list[str]:
    """Those with changes that are not uploaded yet."""
    if not found:
        return []
    from cftool.wrap.caching.visiting import anything_pending

    return [directory for directory in found if anything_pending(directory)]


def local_root(identity: str | None) -> str | None:
    """The directory that a local cache is of, without the first slash; None where it is no local one."""
    if identity == LOCAL:
        return ""
    return identity[len(LOCAL) + 1 :] if identity is not None and identity.startswith(f"{LOCAL}/") else None


def bring_local(state_dir: str, place: str, tree: Callable[[], Store]) -> None:
    """What caches of local directories hold of `place`, an absolute path, gets there. `tree` opens all of this disk.

    Commands look at local trees past any store, so that laying the journal over would not show it to them. Raises
    TemporaryError where something cannot be brought.
    """
    path = place.strip("/")
    for directory in every(state_dir):
        root = local_root(whose(directory))
        if root is None or not (paths.is_within(path, root) or paths.is_within(root, path)):
            continue
        if not pending([directory]):
            continue
        from cftool.wrap.caching.visiting import VisitingStore
        from cftool.wrap.prefix import PrefixStore

        disk = tree()
        store = VisitingStore(PrefixStore(disk, root) if root else disk, directory)
        try:
            store.settle(path[len(root) :].strip("/") if paths.is_within(path, root) else "")
        finally:
            store.close()
