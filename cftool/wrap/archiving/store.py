"""ArchivingStore: small files as members of tar packs, everything else as the store below has it. See DESIGN.md.

A StatefulWrapper: each member is its own. Looking relies on a listing of packs for a second; every change lists anew,
plans against that (`change.py`) and writes one pack. One change of this object at a time; large uploads go beside it.
"""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import RLock

from cftool.core import ops
from cftool.core.errors import InvalidName, IsADirectory, NotFound, StoreError
from cftool.core.store import Store
from cftool.core.types import (
    Cap,
    ChangeSet,
    Download,
    Entry,
    Features,
    Kind,
    Leftover,
    NameRules,
    ReadItem,
    Result,
    Source,
    Usage,
    WalkOrder,
    WriteItem,
)
from cftool.core.wrapper import StatefulWrapper, layers
from cftool.wrap.archiving import looking, names, reading, trees
from cftool.wrap.archiving.change import Change, Found
from cftool.wrap.archiving.checking import Checked, Checking
from cftool.wrap.archiving.compaction import Compacted, Compaction
from cftool.wrap.archiving.index import Index
from cftool.wrap.archiving.large import Large
from cftool.wrap.archiving.manifest import Record
from cftool.wrap.archiving.packs import Packs
from cftool.wrap.archiving.plain import Plain
from cftool.wrap.archiving.settings import ArchiveSettings
from cftool.wrap.archiving.small import Small, take

_HASHES = frozenset({"md5", "sha256"})
_OWN = (
    Cap.WALK | Cap.COPY | Cap.MOVE | Cap.MOVE_DIR | Cap.IF_VERSION | Cap.IF_ABSENT | Cap.WRITE_MANY | Cap.READ_MANY
    | Cap.DELETE_MANY | Cap.EMPTY_DIRS | Cap.RANGES | Cap.COPY_MANY
)  # fmt: skip
_INNER = Cap.SET_MODIFIED | Cap.USAGE | Cap.LEFTOVERS | Cap.RESUME
_FEW = 4  # paths for which one stat each is cheaper than listings
_LARGE_TOGETHER = 64  # large files that one round of `write_many` hands on
_REMOVED_TOGETHER = 20_000  # ends of records in one pack


class ArchivingStore(StatefulWrapper):
    """`directory`: where the index is kept; None: nowhere, it is read again by the next object."""

    def __init__(self, inner: Store, directory: str | None, settings: ArchiveSettings | None = None) -> None:
        super().__init__(inner)
        self.settings = settings or ArchiveSettings()
        self.index = Index(directory)
        self.packs = Packs(inner, self.index, self.settings)
        self._large = Large(inner, self.packs, self.settings)
        self._changing = RLock()
        self._seen: Features | None = None
        self._features = Features()

    @property
    def features(self) -> Features:
        """Ours for what lies in packs; what only the store below can do for its plain files is asked of it."""
        seen = self.inner.features
        if seen is not self._seen:
            self._seen = seen
            self._features = replace(
                seen,
                caps=_OWN | seen.caps & _INNER,
                identity=f"{seen.identity}#archive",
                hashes=seen.hashes | _HASHES,
                remote=True,  # wherever the packs are: many together cost one of them, and listings carry hashes
                time_precision_ns=seen.time_precision_ns or 1,
                listed_time=seen.listed_time or seen.time_precision_ns is None,
                names=NameRules(utf8=False),
                walk_order=WalkOrder.BYTES,
                verified_reads=False,
            )
        return self._features

    def close(self) -> None:
        """Close the index and the store below."""
        self.index.close()
        self.inner.close()

    # ---- looking

    def stat(self, path: str) -> Entry:
        """Of a file of ours: no request but the look for new packs."""
        self.packs.refresh()
        try:
            return looking.stat(self.inner, self.index, path)
        except NotFound:
            if not self._came_meanwhile(path):
                raise
        return looking.stat(self.inner, self.index, path)

    def _came_meanwhile(self, path: str) -> bool:
        """Whether a pack has by now what was not found.

        Who replaces a large file by a small one writes the pack first, and then removes the plain file: between our
        look at the packs and that at the plain file both may have been done.
        """
        if not path:
            return False
        self.packs.refresh(now=True)
        return self.index.node(path) is not None

    def scan(self, path: str) -> Iterator[Entry]:
        """Ours, then plain entries."""
        self.packs.refresh()
        yield from looking.scan(self.inner, self.index, path)

    def walk(self, path: str) -> Iterator[Entry]:
        """Both, merged."""
        self.packs.refresh()
        yield from looking.walk(self.inner, self.index, path)

    # ---- reading

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """One ranged request; a version that the index knows needs no look for new packs."""
        record = self._file(path)
        if record is None or if_version is None or record.version != if_version:
            self.packs.refresh()
            record = self._file(path)
        if record is None:
            try:
                return self._read_plain(path, start, end, if_version)
            except NotFound:
                if not self._came_meanwhile(path) or (record := self._file(path)) is None:
                    raise
        reading.refuse_version(record, path, if_version)
        try:
            return reading.read(self.inner, record, path, start, end)
        except NotFound:  # compaction elsewhere moved it
            self.packs.refresh(now=True)
        now = self._file(path)
        if now is None:
            return self._read_plain(path, start, end, if_version)
        reading.refuse_version(now, path, if_version)
        try:
            return reading.read(self.inner, now, path, start, end)
        except NotFound:
            raise reading.lost(now, path) from None

    def _file(self, path: str) -> Record | None:
        """The record of a file of ours; None: a plain file, or nothing."""
        node = self.index.node(path) if path else None
        if not path or (node is not None and node.is_dir):
            raise IsADirectory("is a directory", op="read", path=path)
        return None if node is None else node.record

    def _read_plain(self, path: str, start: int, end: int | None, if_version: str | None) -> Download:
        found = Change(self.inner, self.index, self.packs, self.settings).at(path)
        if found is None or found.plain is None:
            raise NotFound("not found", op="read", path=path)
        if found.is_dir:
            raise IsADirectory("is a directory", op="read", path=path)
        return reading.read_plain(self.inner, found.plain, path, start, end, if_version)

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Neighbours in a pack by one request; plain files as the store below does many."""
        self.packs.refresh()
        return reading.read_many(items, find=self._known, span=self._span, one=self._save, others=self._others)

    def _known(self, path: str) -> Record | None:
        node = self.index.node(path)
        return None if node is None or node.is_dir else node.record

    def _span(self, first: Record, size: int) -> bytes:
        if not size:
            return b""
        with self.inner.read(names.place(first.container), start=first.at, end=first.at + size) as download:
            return download.read()

    def _save(self, item: ReadItem) -> Entry:
        with self.read(item.entry.path, if_version=item.entry.version) as download:
            return reading.save(item, download)

    def _others(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Plain files; one that is shown under a conflict name goes the ordinary way."""
        direct: list[ReadItem] = []
        for item in items:
            if names.plain_of(item.entry.path) is None and Cap.READ_MANY in self.inner.features.caps:
                direct.append(item)
            else:
                yield reading.one_result(item, self._save)
        if direct:
            yield from self.inner.read_many(direct)

    # ---- writing

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """A small file: one pack, on the remote when this returns. A large one: see DESIGN.md."""
        item = WriteItem(path, source, modified_ns, if_version, if_absent)
        refuse_reserved(path)
        small = take(path, source, self.settings.large)
        if isinstance(small, Small):
            with self._change() as change:
                self._put(change, item, small)
            return change.entry(path)
        return self._write_large(replace(item, source=small))

    def _put(self, change: Change, item: WriteItem, small: Small | Record) -> None:
        if isinstance(small, Record):
            trees.copy(change, item, small)
            return
        replaced = change.require(item.path, if_version=item.if_version, if_absent=item.if_absent)
        modified = change.now_ns if item.modified_ns is None else item.modified_ns
        old = None if replaced is None else replaced.record
        if old is not None and old.content == (len(small.data), small.hashes["sha256"]):
            # The bytes are there: only the time may be new, and the version stays.
            change.put(old._replace(path=item.path, modified_ns=modified), None, replaced)
            return
        fresh = Record("", item.path, False, (), len(small.data), modified, hashes=small.hashes)
        change.put(fresh, small.data, replaced)

    def _write_large(self, item: WriteItem) -> Entry:
        found = self._looked_at(item)
        if self._large.by_name(item, found):
            entry = self.inner.write(
                item.path, item.source, modified_ns=item.modified_ns,
                if_version=item.if_version, if_absent=item.if_absent,
            )  # fmt: skip
            self._keep_directories([item.path])
            return entry
        record = self._large.store(item)
        with self._change() as change:
            replaced = change.require(item.path, if_version=item.if_version, if_absent=item.if_absent)
            change.put(record, None, replaced)
        return change.entry(item.path)

    def _looked_at(self, item: WriteItem) -> Found | None:
        """What a large file would replace; refuses before any byte is sent."""
        with self._change() as change:
            change.parents(item.path)
            found = change.require(item.path, if_version=item.if_version, if_absent=item.if_absent)
            change.abandon()
        return found

    def _keep_directories(self, files: Iterable[str]) -> None:
        """Directories must stay when their last file goes, as they do everywhere else in this tree."""
        if Cap.IMPLICIT_DIRS in self.inner.features.caps:
            with self._change(listing=True) as change:
                for path in files:
                    change.parents(path)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Rounds of at most one pack, and the large files among them as the store below does many."""
        pulled = iter(items)
        while True:
            small: list[tuple[WriteItem, Small | Record]] = []
            large: list[WriteItem] = []
            size = 0
            ended = True
            for item in pulled:
                try:
                    refuse_reserved(item.path)
                    taken = self._own(item.source) or take(item.path, item.source, self.settings.large)
                except StoreError as error:
                    yield Result(item.path, error=error, tag=item.tag)
                    continue
                if isinstance(taken, Small | Record):
                    small.append((item, taken))
                    size += len(taken.data) if isinstance(taken, Small) else 0
                else:
                    large.append(replace(item, source=taken))
                if (
                    size >= self.settings.pack_bytes
                    or len(small) >= self.settings.pack_files
                    or len(large) >= _LARGE_TOGETHER
                ):
                    ended = False
                    break
            if small:
                yield from self._write_small(small)
            if large:
                yield from self._write_larges(large)
            if ended:
                return

    def _own(self, source: Source) -> Record | None:
        """The record of a file of ours that is to be copied: of the version that the caller saw."""
        if not isinstance(source, ops.StoreSource) or self not in layers(source.store):
            return None
        node = self.index.node(source.entry.path)
        record = None if node is None else node.record
        return record if record is not None and record.version == source.entry.version else None

    def _own_plain(self, source: Source) -> str | None:
        """The path of a plain file that the store below can copy, and that is the version that the caller saw."""
        if not isinstance(source, ops.StoreSource) or self not in layers(source.store):
            return None
        if Cap.COPY not in self.inner.features.caps:
            return None
        plain = Plain(self.inner, listing=False).at(source.entry.path)
        same = plain is not None and (plain.version, plain.size) == (source.entry.version, source.entry.size)
        return source.entry.path if same else None

    def _write_small(self, items: list[tuple[WriteItem, Small | Record]]) -> Iterator[Result]:
        failed: list[Result] = []
        done: list[WriteItem] = []
        try:
            with self._change(listing=len(items) > _FEW) as change:
                for item, small in items:
                    try:
                        self._put(change, item, small)
                        done.append(item)
                    except StoreError as error:
                        failed.append(Result(item.path, error=error, tag=item.tag))
        except StoreError as error:
            for item, _ in items:
                yield Result(item.path, error=error, tag=item.tag)
            return
        yield from failed
        for item in done:
            if item.progress is not None:
                item.progress(change.entry(item.path).size or 0)
            yield Result(item.path, entry=change.entry(item.path), tag=item.tag)

    def _write_larges(self, items: list[WriteItem]) -> Iterator[Result]:
        direct: list[WriteItem] = []
        try:
            for item in items:
                if (path := self._own_plain(item.source)) is not None:
                    self._looked_at(item)
                    yield Result(item.path, entry=self.copy(path, item.path), tag=item.tag)
                    continue
                if Cap.WRITE_MANY in self.inner.features.caps and self._large.by_name(item, self._looked_at(item)):
                    direct.append(item)
                    continue
                yield Result(item.path, entry=self._write_large(item), tag=item.tag)
        except StoreError as error:
            yield Result(item.path, error=error, tag=item.tag)
            yield from self._write_larges(items[items.index(item) + 1 :])
        if direct:
            results = list(self.inner.write_many(direct))
            self._keep_directories([result.path for result in results if result.error is None])
            yield from results

    def mkdir(self, path: str) -> Entry:
        """A record."""
        refuse_reserved(path)
        if not path:
            self.inner.mkdir("")
            return self.stat("")
        with self._change() as change:
            change.mkdir(path)
        return self.stat(path)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Of a file of ours: a record; its bytes stay where they are."""
        with self._change() as change:
            found = change.file(path)
            if found.plain is not None:
                return self.inner.set_modified(found.plain.path, modified_ns).at(path)
            assert found.record is not None
            change.put(found.record._replace(path=path, modified_ns=modified_ns), None, found)
        return change.entry(path)

    # ---- removing

    def delete(self, path: str) -> None:
        """A record's end, or the plain file's."""
        [result] = self._removed([Entry(path, Kind.FILE)], missing=True)
        if result.error is not None:
            raise result.error

    def rmdir(self, path: str) -> None:
        """Of both sides."""
        if not path:
            raise InvalidName("is the root; it cannot be removed", op="rmdir", path=path)
        [result] = self._removed([Entry(path, Kind.DIRECTORY)], missing=True)
        if result.error is not None:
            raise result.error

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """One pack for many; plain files as the store below removes many."""
        pulled = iter(entries)
        while some := list(itertools.islice(pulled, _REMOVED_TOGETHER)):
            yield from self._removed(some)

    def _removed(self, entries: list[Entry], *, missing: bool = False) -> list[Result]:
        """In the order given; `missing`: what is not there is an error."""
        return trees.remove(self._change(listing=len(entries) > _FEW), self.inner, entries, missing=missing)

    # ---- copying and moving

    def copy(self, src: str, dst: str) -> Entry:
        """Of a file of ours: a record that names the same bytes."""
        return self._relocated(src, dst, keep=True)

    def move(self, src: str, dst: str) -> Entry:
        """Records; of plain files as the store below moves them."""
        return self._relocated(src, dst, keep=False)

    def _relocated(self, src: str, dst: str, *, keep: bool) -> Entry:
        refuse_reserved(dst)
        with self._changing:
            with self._change() as change:
                found = change.at(src)
                directory = not keep and found is not None and found.is_dir
                if not directory:
                    found = change.file(src)
                    if found.record is not None:
                        trees.relocate(change, found, src, dst, keep=keep)
            if directory:
                trees.move_directory(self._change, self.inner, self.index, src, dst)
                return self.stat(dst)
            assert found is not None
            if found.record is not None:
                return change.entry(dst)
            assert found.plain is not None
            return self._relocate_plain(found.plain, src, dst, keep=keep)

    def _relocate_plain(self, plain: Entry, src: str, dst: str, *, keep: bool) -> Entry:
        item = WriteItem(dst, ops.StoreSource(self.inner, plain), plain.modified_ns)
        if src == plain.path and self._large.by_name(item, self._looked_at(item)):
            act = ops.copy_anyhow if keep else ops.move_anyhow
            entry = act(self.inner, src, dst)
            self._keep_directories([src, dst])
            return entry
        entry = self._write_large(item)
        if not keep:
            self.inner.delete(plain.path)
        return entry

    # ---- the rest

    def compact(self) -> Compacted:
        """Write packs anew that are mostly dead or small, and remove what was replaced a day ago (the grace)."""
        with self._changing:
            return Compaction(self.inner, self.index, self.packs, self.settings).run()

    def check(self, *, download: bool = False) -> Checked:
        """Whether all packs are whole and all files there; `download`: by reading everything. Changes nothing."""
        return Checking(self.inner, self.index, self.packs, download=download).run()

    def usage(self) -> Usage:
        """Of the store below."""
        return self.inner.usage()

    def changes(self, cursor: str | None) -> ChangeSet:
        """Not supported: packs come and go, and what they show is another matter."""
        raise self._unsupported("changes", cursor)

    def link(self, path: str, *, expires: float | None = None) -> str:
        """Not supported: a link would lead to a pack."""
        del expires
        raise self._unsupported("link", path)

    def tree(self, path: str) -> Iterator[Entry]:
        """Not supported: a directory of the index costs no request."""
        raise self._unsupported("tree", path)

    def delete_dir(self, path: str) -> None:
        """Not supported: `delete_many` is one pack as well."""
        raise self._unsupported("delete_dir", path)

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Of large files, and at the root of packs."""
        return self.inner.leftovers(path, older_than=older_than)

    def remove_leftover(self, leftover: Leftover) -> None:
        """As the store below."""
        self.inner.remove_leftover(leftover)

    def probe(self, path: str) -> Cap:
        """What the store below obeys matters for large files; ours hold anyway."""
        return self.inner.probe(path)

    # ---- changes

    @contextmanager
    def _change(self, *, listing: bool = False) -> Iterator[Change]:
        """Against the packs as they are now; committed where the block ends well."""
        with self._changing:
            self.packs.refresh(now=True)
            change = Change(self.inner, self.index, self.packs, self.settings, listing=listing)
            yield change
            change.commit()


def refuse_reserved(path: str) -> None:
    """Nothing above may name what the archive needs for itself."""
    if names.reserved(path):
        raise InvalidName(f"{names.DIRECTORY} is reserved for the archive", path=path)
