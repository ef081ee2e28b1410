"""One change: what is planned looks at the index, at plain objects and at what was planned before, and makes one pack.

The rules of the Store protocol are checked here (`IsADirectory`, conditions, parents), against the packs as they were
listed a moment ago. Nothing is written before `commit`; plain objects that a record replaces are removed after it.
"""

import logging
from typing import NamedTuple

from cftool.core import paths
from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IsADirectory,
    NotADirectory,
    NotFound,
    PreconditionFailed,
    StoreError,
)
from cftool.core.store import Store
from cftool.core.types import Cap, Entry
from cftool.wrap.archiving import names
from cftool.wrap.archiving.index import Index, Node, parents
from cftool.wrap.archiving.manifest import Record
from cftool.wrap.archiving.packs import Draft, Packs
from cftool.wrap.archiving.plain import Plain, fingerprint
from cftool.wrap.archiving.settings import ArchiveSettings

_log = logging.getLogger("cftool.archive")


class Found(NamedTuple):
    """What is at a path: a directory, a file of ours, or a plain file (then `record` is None and `plain` is not)."""

    is_dir: bool
    record: Record | None
    ids: tuple[str, ...]
    plain: Entry | None

    @property
    def version(self) -> str | None:
        """For conditions."""
        if self.record is not None:
            return self.record.version or None
        return None if self.plain is None else self.plain.version


class Change:
    """See the module. Made and committed under the store's lock for changes."""

    def __init__(
        self, inner: Store, index: Index, packs: Packs, settings: ArchiveSettings, *, listing: bool = False
    ) -> None:
        self._inner = inner
        self._implicit = Cap.IMPLICIT_DIRS in inner.features.caps
        self._index = index
        self._packs = packs
        self.plain = Plain(inner, listing=listing)
        self._draft = Draft(packs.new_stem(), settings.host, int(settings.now() * 1e9))
        self._planned: dict[str, Found | None] = {}  # None: removed
        self._born: dict[str, set[str]] = {}  # by directory: what is planned in it
        self._settled: set[str] = set()  # paths whose conflicts have records of their own
        self._over: list[Entry] = []  # plain objects to remove when the pack is there

    # ---- looking

    def at(self, path: str) -> Found | None:
        """What is there, after what is planned."""
        if path in self._planned:
            return self._planned[path]
        if not path:
            return Found(True, None, (), None)
        node = self._index.node(path)
        if node is not None:
            return Found(node.is_dir, node.record, self._index.ids(node), None)
        plain = self.plain.at(path) or plain_in_conflict(self._index, self.plain, path)
        return None if plain is None else Found(plain.is_dir, None, (), plain)

    def file(self, path: str) -> Found:
        """The file there; NotFound, IsADirectory."""
        found = self.at(path)
        if found is None:
            raise NotFound("not found", path=path)
        if found.is_dir:
            raise IsADirectory("is a directory", path=path)
        return found

    def is_empty(self, path: str) -> bool:
        """Whether a directory has nothing in it, after what is planned."""
        if any(self._planned.get(child) is not None for child in self._born.get(path, ())):
            return False
        for node in self._index.children(path):
            if node.path not in self._planned:
                return False
        plain = self.plain.at(path)
        return plain is None or not plain.is_dir or self.plain.empty(path)

    # ---- planning

    def require(self, path: str, *, if_version: str | None, if_absent: bool) -> Found | None:
        """What a file of that path replaces; raises where it may not."""
        found = self.at(path)
        if found is not None and found.is_dir:
            raise IsADirectory("is a directory", path=path)
        if if_absent and found is not None:
            raise AlreadyExists("is there already", path=path)
        if if_version is not None and (found is None or found.version != if_version):
            raise PreconditionFailed("is another version now", path=path)
        return found

    def parents(self, path: str) -> None:
        """Make what is missing above; NotADirectory where a file is in the way."""
        missing = []
        for above in parents(path):
            found = self.at(above)
            if found is not None and not found.is_dir:
                raise NotADirectory("a file stands where a directory is needed", path=above)
            if found is None or self._may_vanish(found):
                missing.append(above)
        for above in missing:
            self._directory(above)

    def _may_vanish(self, found: Found) -> bool:
        """Whether a directory is there only while something is in it: not what a caller of `mkdir` asked for."""
        return found.record is None and (found.plain is None or self._implicit)

    def _directory(self, path: str) -> None:
        self._put(Record("", path, True))

    def mkdir(self, path: str) -> None:
        """With parents; nothing where it is one already."""
        found = self.at(path)
        if found is not None and not found.is_dir:
            raise AlreadyExists("a file of this name exists", path=path)
        self.parents(path)
        if path and (found is None or self._may_vanish(found)):
            self._directory(path)

    def put(self, record: Record, data: bytes | None, replaced: Found | None, also: tuple[str, ...] = ()) -> Record:
        """A file. `replaced` is what `require` said; `also`: ids that it supersedes elsewhere."""
        self.parents(record.path)
        over = None
        if replaced is not None and replaced.plain is not None:
            over = fingerprint(replaced.plain)
            self._over.append(replaced.plain)
        elif replaced is not None and replaced.record is not None:
            over = replaced.record.over
        self.settle(record.path)
        bases = (*(() if replaced is None else replaced.ids), *also)
        return self._put(record._replace(over=over, bases=tuple(dict.fromkeys(bases))), data)

    def _put(self, record: Record, data: bytes | None = None) -> Record:
        draft = self._draft
        record = record._replace(id=draft.next_id(), host=draft.host, stored_ns=draft.now_ns)
        if record.is_dir is False and not record.version:
            digest = record.hashes.get("sha256", "")[:32] or str(len(draft.records))
            record = record._replace(version=f"{draft.stem}-{digest}")
        record = draft.add(record, data)
        self._planned[record.path] = Found(record.is_dir, record, (record.id,), None)
        self._born.setdefault(paths.parent(record.path), set()).add(record.path)
        return record

    def remove(self, path: str, found: Found) -> None:
        """A file, or an empty directory, which was found there; a plain one is the caller's to remove."""
        if found.is_dir and not self.is_empty(path):
            raise DirectoryNotEmpty("is not empty", path=path)
        self.settle(path)
        self._dead(found.ids)
        self._planned[path] = None

    def remove_name(self, path: str) -> None:
        """A plain file that the caller removed."""
        self._planned[path] = None

    def _dead(self, ids: tuple[str, ...]) -> None:
        self._draft.dead += [(each, self._draft.now_ns) for each in ids]

    def settle(self, path: str) -> None:
        """Files that are shown beside this one become files of these names: theirs must not change with it."""
        if path in self._settled or path in self._planned:
            return
        self._settled.add(path)
        for node in self._index.conflicts(path):
            assert node.record is not None
            self._put(node.record._replace(path=node.path, bases=self._index.ids(node)))

    def move_node(self, node: Node, dst: str) -> None:
        """A file or directory of ours, as part of a tree that moves to where nothing is."""
        ids = self._index.ids(node)
        record = node.record or Record("", node.path, True)
        self._put(record._replace(path=dst, bases=ids, over=None))
        self._planned[node.path] = None

    # ---- doing

    def purge(self, record: Record, path: str) -> None:
        """Remove the plain object that this record hides, before the record goes: nothing old may come to light."""
        if record.over is None:
            return
        self.plain.forget()
        plain = self.plain.at(path)
        if plain is not None and not plain.is_dir and fingerprint(plain) == record.over:
            self.remove_plain(plain)

    def remove_plain(self, entry: Entry) -> None:
        """A plain file; no error where it is gone."""
        try:
            self._inner.delete(entry.path)
        except NotFound:
            pass
        self.plain.gone(entry.path)

    def commit(self) -> None:
        """Write the pack, where there is anything to say, and then remove plain objects that it replaces."""
        if not self._draft.empty:
            self._packs.write(self._draft.stem, self._draft.manifest(), self._draft.blocks)
        for entry in self._over:
            try:
                self.plain.forget()
                now = self.plain.at(entry.path)
                if now is not None and fingerprint(now) == fingerprint(entry):
                    self.remove_plain(now)
            except StoreError as error:  # it is hidden, and goes with the next change of this path
                _log.warning("%s: what was replaced could not be removed: %s", paths.printable(entry.path), error)

    def entry(self, path: str) -> Entry:
        """What was planned there, as it is shown after `commit`."""
        found = self._planned[path]
        assert found is not None
        assert found.record is not None
        return found.record.entry(path)

    def abandon(self) -> None:
        """Nothing of it is to be done: only whether it could be was asked."""
        self._draft = Draft(self._draft.stem, self._draft.host, self._draft.now_ns)
        self._over.clear()

    @property
    def now_ns(self) -> int:
        """When it is made."""
        return self._draft.now_ns


def plain_in_conflict(index: Index, plain: Plain, path: str) -> Entry | None:
    """The plain file that is shown under this name because a record has its own."""
    base = names.plain_of(path)
    node = index.node(base) if base else None
    if base is None or node is None:
        return None
    found = plain.at(base)
    return found if found is not None and in_conflict(node, found) else None


def in_conflict(node: Node, found: Entry) -> bool:
    """Whether a plain object of a path that we show is a file that somebody wrote past us."""
    return not found.is_dir and (node.record is None or node.record.over != fingerprint(found))
