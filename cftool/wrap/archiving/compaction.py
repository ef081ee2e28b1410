"""Compaction: packs that are mostly dead, or many and small, are written anew; what is replaced goes after the grace.

The steps, and what a crash between them leaves, are in DESIGN.md: C1 to C4. Called under the lock for changes of its
store; other machines go on meanwhile, and none of them sees a difference.
"""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from cftool.core.errors import IntegrityError, NotFound
from cftool.core.store import Store
from cftool.wrap.archiving import manifest, names, tar
from cftool.wrap.archiving.index import Index, Pack
from cftool.wrap.archiving.manifest import Manifest, Record
from cftool.wrap.archiving.packs import Draft, Listing, Packs
from cftool.wrap.archiving.settings import ArchiveSettings

_log = logging.getLogger("cftool.archive")
_SMALL = 1 << 20  # bytes of a pack
_ROUND = 256  # packs that one compaction takes up


@dataclass(frozen=True, slots=True)
class Compacted:
    """What was done. Packs that are `waiting` are replaced, and go after the grace."""

    packs: int
    rewritten: int
    made: int
    removed: int
    waiting: int


class Compaction:
    """See the module."""

    def __init__(self, inner: Store, index: Index, packs: Packs, settings: ArchiveSettings) -> None:
        self._inner = inner
        self._index = index
        self._packs = packs
        self._settings = settings

    def run(self) -> Compacted:
        """Remove what was replaced long enough ago, then replace what is worth it."""
        listing = self._packs.listing()
        self._packs.take_in(listing)
        removed = self._collect(listing)
        victims = self._victims()
        made = self._rewrite(victims) if victims else []
        waiting = sum(pack.ignored for pack in self._index.packs())
        return Compacted(len(listing.packs), len(victims), len(made), removed, waiting)

    # ---- C4

    def _collect(self, listing: Listing) -> int:
        gone = self._replaced(listing)
        for name in gone:
            self._delete(name)
        self._index.drop(gone)
        objects = self._strays(listing)
        for name in objects:
            self._delete(name)
        return len(gone) + len(objects)

    def _replaced(self, listing: Listing) -> list[str]:
        """Packs that nothing needs any more, and of which every machine had the time to hear so."""
        old = {pack.name for pack in self._index.packs() if pack.name in listing.packs and self._old(pack.stored_ns)}
        links = self._index.links()
        lacking = {pack for pack, kind, other in links if kind == "requires" and other not in listing.packs}
        found = {other for pack, kind, other in links if kind == "replaces" and pack in old - lacking}
        return sorted(name for name in found & listing.packs.keys() if not self._index.holds(name))

    def _strays(self, listing: Listing) -> list[str]:
        """Objects that no record names, and did not long ago: so none that is about to be named."""
        named = self._index.containers()
        unnamed = [name for name in listing.objects if name not in named]
        seen = self._index.strays(unnamed, int(self._settings.now() * 1e9))
        return [name for name in unnamed if self._old(listing.objects[name].stored_ns or seen[name])]

    def _old(self, when_ns: int) -> bool:
        return self._settings.now() - when_ns / 1e9 >= self._settings.grace

    def _delete(self, name: str) -> None:
        try:
            self._inner.delete(names.place(name))
        except NotFound:
            _log.info("%s is gone already", name)

    # ---- which

    def _victims(self) -> list[Pack]:
        blocked = self._blocked()
        packs = [pack for pack in self._index.packs() if not pack.ignored and pack.name not in blocked]
        live = self._index.live_bytes()
        dead = [pack for pack in packs if self._content(pack) and 2 * live.get(pack.name, 0) < self._content(pack)]
        small = [pack for pack in packs if pack.size < _SMALL]
        chosen = {pack.name: pack for pack in (*dead, *(small if len(small) > self._settings.many else ()))}
        return sorted(chosen.values())[:_ROUND]

    @staticmethod
    def _content(pack: Pack) -> int:
        parsed = names.parse_pack(pack.name)
        assert parsed is not None
        return pack.size - parsed.tail

    def _blocked(self) -> set[str]:
        """What says that packs are replaced that are still there, and what it relies on."""
        links = self._index.links()
        there = {pack.name for pack in self._index.packs()}
        busy = {pack for pack, kind, other in links if kind == "replaces" and other in there}
        return busy | {other for pack, _, other in links if pack in busy}

    # ---- C1 to C3

    def _rewrite(self, victims: list[Pack]) -> list[str]:
        gone = [pack.name for pack in victims]
        made: list[str] = []
        draft = self._draft()
        for record in self._index.carried(gone):
            data = self._content_of(record) if record.container in gone else None
            draft.add(record, data)
            if draft.size >= self._settings.pack_bytes or len(draft.records) >= self._settings.pack_files:
                made.append(self._written(draft))
                draft = self._draft()
        if draft.records:
            made.append(self._written(draft))
        for name in made:
            self._verify(name)
        end = self._draft()
        end.dead += self._still_dead(gone)
        found = end.manifest(replaces=tuple(gone), requires=tuple(made))
        self._packs.write(end.stem, found, ())
        return made

    def _draft(self) -> Draft:
        return Draft(self._packs.new_stem(), self._settings.host, int(self._settings.now() * 1e9))

    def _written(self, draft: Draft) -> str:
        return self._packs.write(draft.stem, draft.manifest(), draft.blocks)

    def _content_of(self, record: Record) -> bytes:
        if not record.size:
            return b""
        with self._inner.read(names.place(record.container), start=record.at, end=record.at + record.size) as download:
            data = download.read()
        _require(record, data)
        return data

    def _verify(self, name: str) -> None:
        with self._inner.read(names.place(name)) as download:
            data = download.read()
        pack = names.parse_pack(name)
        assert pack is not None
        content = len(data) - pack.tail
        found = manifest.placed(manifest.decode(tar.manifest_of(data[content:]), pack, content), name)
        for record in _members(found, name):
            _require(record, data[record.at : record.at + record.size])

    def _still_dead(self, gone: Iterable[str]) -> list[tuple[str, int]]:
        """Ends of records that must stay known: some pack that stays has the record, or may yet turn up with it."""
        now = self._settings.now()
        return [
            (each, when)
            for each, when, elsewhere in self._index.ends(gone)
            if elsewhere or now - when / 1e9 < self._settings.forget
        ]


def _members(found: Manifest, name: str) -> Iterable[Record]:
    return (record for record in found.entries if record.container == name and record.size)


def _require(record: Record, data: bytes) -> None:
    digest = record.hashes.get("sha256")
    if len(data) != record.size or (digest and hashlib.sha256(data).hexdigest() != digest):
        raise IntegrityError("a member of a pack is not what its manifest says", op="compact", path=record.path)


__all__ = ["Compacted", "Compaction"]
