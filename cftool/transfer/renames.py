"""`--track-renames`: a file that has another name at the source gets it at the destination too, without an upload.

New files are held back until both listings have ended. Then each is looked for among the files that would be deleted:
by content, where one good hash of both sides can be had; for a local source and a service without hashes by the inode
that the state database recorded. There the file has to be born before it was recorded, which a reused inode is not,
size and time have to be those of then to the nanosecond, and the destination's file the version of then.
One new file and one old file of a kind are a rename; where there are several of either, all are copied. A rename takes
a file away, so that the gate is asked first, as for a deletion. Called by `run`, in the main thread.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator

from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import NotADirectory, NotFound, SourceChanged, StoreError
from cftool.core.types import Cap, Entry, Kind
from cftool.disk.root import Root
from cftool.transfer import relocate
from cftool.transfer.actions import Action, Doomed
from cftool.transfer.compare import SHORT, Comparer, best_hash, hash_of
from cftool.transfer.options import Side
from cftool.transfer.spool import Keyed, Spool
from cftool.transfer.state import Row
from cftool.transfer.threads import bounded

log = logging.getLogger("cftool.transfer")

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rename:
    """`old` of the destination gets the name of `new`, which the source has."""

    old_key: bytes
    old: Entry
    key: bytes
    new: Entry


class Renames:
    """The renames of one run of sync."""

    def __init__(self, src: Side, dst: Side, comparer: Comparer, *, threads: int, spool_dir: str | None) -> None:
        self._src, self._dst = src, dst
        self._comparer = comparer
        self._threads = threads
        self._held = Spool(spool_dir)
        self._rows: dict[bytes, Row] = {}
        self._source = -1
        self.holding = True

    def close(self) -> None:
        """Give the space back."""
        self._held.close()

    # ---- while the listings are merged

    def hold(self, action: Action) -> bool:
        """Whether the file waits until all is listed: a new one that may be an old one."""
        new = action.dst is None and not action.replaces and not action.attempts
        if not (self.holding and new and action.src.size and action.path == action.src.path):
            return False
        self._held.append(action.key, action.src)
        return True

    def note(self, key: bytes, dst: Entry, row: Row) -> None:
        """What was recorded of a file that only the destination has now."""
        if dst.kind is Kind.FILE:
            self._rows[key] = row

    # ---- afterwards

    def found(self, doomed: Doomed, source: int) -> list[Rename]:
        """The renames. `source` is the number under which the state database knows this very source."""
        self._source = source
        olds: dict[int, list[Keyed]] = defaultdict(list)
        for key, entry in doomed.files:
            if entry.size:
                olds[entry.size].append((key, entry))
        news: dict[int, list[Keyed]] = defaultdict(list)
        for key, entry in self._held:
            if entry.size in olds:
                news[entry.size].append((key, entry))
        renames: list[Rename] = []
        for size, some in news.items():
            renames += self._of_one_size(some, olds[size])
        return renames

    def _of_one_size(self, news: list[Keyed], olds: list[Keyed]) -> list[Rename]:
        name = self._hash(news, olds)
        if name is None:
            return self._by_inode(news, olds)
        hashed = self._hashed(self._dst, olds, name)
        by_hash = _pairs(self._hashed(self._src, news, name), hashed)
        taken = {rename.key for rename in by_hash}
        unknown = [pair for value, pair in hashed if value is None]
        return by_hash + self._by_inode([pair for pair in news if pair[0] not in taken], unknown)

    def _by_inode(self, news: list[Keyed], olds: list[Keyed]) -> list[Rename]:
        if self._src.local_root is None or not news or not olds or not self._dst.store.features.remote:
            return []
        return [
            rename
            for rename in _pairs(
                [(_identity(entry.version), (key, entry)) for key, entry in news],
                [(self._recorded(key, entry), (key, entry)) for key, entry in olds],
            )
            if self._is_as_old(rename)
        ]

    def _is_as_old(self, rename: Rename) -> bool:
        """Whether the new name's file was there when the old one's was recorded: then it is that very file."""
        from cftool.disk.birth import born_ns  # ctypes: seldom wanted

        assert self._src.local_root is not None
        changed = self._rows[rename.old_key][2].split(":")[-1]
        with Root(self._src.local_root) as root:
            born = born_ns(root, rename.new.path)
        return born is not None and changed.isdigit() and born <= int(changed)

    def _recorded(self, key: bytes, old: Entry) -> str | None:
        """What the source's file was when it was last equal to `old`, if `old` is still that."""
        row = self._rows.get(key)
        if row is None or row[4] != self._source or row[3] != self._comparer.print_dst(old):
            return None
        return _identity(row[2])

    def _hash(self, news: list[Keyed], olds: list[Keyed]) -> str | None:
        """The hash by which both can be compared. What is not remote can be read, and has any."""
        known: set[str] | None = None
        for side, some in ((self._src, news), (self._dst, olds)):
            if side.store.features.remote:
                names = set().union(*(entry.hashes.keys() for _key, entry in some)) - SHORT
                known = names if known is None else known & names
        return "sha256" if known is None else best_hash(known)

    def _hashed(self, side: Side, some: list[Keyed], name: str) -> list[tuple[str | None, Keyed]]:
        def look(pair: Keyed) -> str | None:
            entry = pair[1]
            if name in entry.hashes or side.store.features.remote:
                return entry.hashes.get(name)
            return hash_of(side, entry, name)

        found: list[tuple[str | None, Keyed]] = []
        for done in bounded(look, some, threads=self._threads):
            if done.error is not None:
                log.info("%s: %s; no rename of it is looked for", paths.printable(done.item[1].path), done.error)
            found.append((done.value, done.item))
        return found

    def rest(self, renamed: Iterable[Rename], failed: Iterable[Rename] = ()) -> Iterator[Action]:
        """What was held back and is to be copied."""
        done = {rename.key for rename in renamed}
        again = {rename.key for rename in failed}
        for key, entry in self._held:
            if key not in done:
                action = Action(key, entry, None)
                action.attempts = int(key in again)  # what came of the rename may be in the way
                yield action


def rename(src: Side, dst: Side, one: Rename) -> Entry:
    """Do one; what the destination has now. Raises StoreError where something is not as it was listed."""
    store, old, new = dst.store, one.old, one.new
    if not relocate.same_version(new, src.store.stat(new.path)):
        raise SourceChanged("changed since it was listed", op="stat", path=new.path)
    if not relocate.same_version(old, store.stat(old.path)):
        raise SourceChanged("changed since it was listed", op="stat", path=old.path)
    try:
        store.stat(new.path)
    except (NotFound, NotADirectory):
        pass
    else:
        raise SourceChanged("is there by now", op="move", path=new.path)
    made = relocate.relocate(store, old, new.path)
    relocate.prove(old, made)
    differs = new.modified_ns is not None and made.modified_ns is not None and made.modified_ns != new.modified_ns
    if differs and Cap.SET_MODIFIED in store.features.caps:
        assert new.modified_ns is not None
        try:
            made = store.set_modified(new.path, new.modified_ns)
        except StoreError as error:  # the content is there; the next run compares it by hash
            log.info("%s: its time could not be set: %s", paths.printable(new.path), error)
    return made


def _identity(version: str | None) -> str | None:
    """Inode, size and time of a local version. A time of whole seconds is one that tools give to many files."""
    inode, size, modified, *_changed = [*(version or "").split(":"), "", "", ""]
    if not modified.isdigit() or int(modified) % _SECOND == 0:
        return None
    return f"{inode}:{size}:{modified}"


def _pairs(news: list[tuple[str | None, Keyed]], olds: list[tuple[str | None, Keyed]]) -> list[Rename]:
    """Where exactly one of each has the same identity."""
    by_identity: dict[str, tuple[list[Keyed], list[Keyed]]] = defaultdict(lambda: ([], []))
    for number, some in enumerate((news, olds)):
        for identity, pair in some:
            if identity is not None:
                by_identity[identity][number].append(pair)
    return [
        Rename(old[0][0], old[0][1], new[0][0], new[0][1])
        for new, old in by_identity.values()
        if len(new) == 1 and len(old) == 1
    ]
