"""The packs on the remote: listed, read by their tails, written. Keeps the index equal to what is there.

Called by the store under its locks. A pack that cannot be understood makes `refresh` raise: a view without it would be
a listing that lacks files.
"""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from cftool.core import paths
from cftool.core.errors import IntegrityError, ListingError, NotADirectory, NotFound, ProtocolError, StoreError
from cftool.core.sources import BytesSource
from cftool.core.store import Store
from cftool.core.types import Cap, Entry
from cftool.wrap.archiving import manifest, names, tar
from cftool.wrap.archiving.index import Index, Lost
from cftool.wrap.archiving.manifest import Manifest, Record
from cftool.wrap.archiving.settings import ArchiveSettings

_log = logging.getLogger("cftool.archive")
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Listing:
    """What one look at the reserved directory found."""

    packs: dict[str, Entry]
    objects: dict[str, Entry]
    foreign: tuple[str, ...]


class Packs:
    """See the module."""

    def __init__(self, inner: Store, index: Index, settings: ArchiveSettings) -> None:
        self._inner = inner
        self._index = index
        self._settings = settings
        self._looked: float | None = None
        self._lock = Lock()  # one look at a time

    def listing(self) -> Listing:
        """Ask."""
        found: dict[str, Entry] = {}
        try:
            for entry in self._inner.scan(names.DIRECTORY):
                found[entry.name] = entry
        except NotFound:
            pass
        except NotADirectory as error:
            raise ListingError(
                f"{names.DIRECTORY} is a file; the archive needs that name", op="scan", path=names.DIRECTORY
            ) from error
        packs = {name: entry for name, entry in found.items() if names.parse_pack(name)}
        objects = {name: entry for name, entry in found.items() if names.is_object(name)}
        return Listing(packs, objects, tuple(sorted(found.keys() - packs.keys() - objects.keys())))

    def refresh(self, *, now: bool = False) -> None:
        """Bring the index up to date; without `now` only where the last listing is not fresh any more."""
        with self._lock:
            began = self._settings.clock()
            if not now and self._looked is not None and began - self._looked < self._settings.fresh:
                return
            self.take_in(self.listing())
            self._looked = began

    def take_in(self, listing: Listing) -> None:
        """Make the index say what these packs say."""
        known = {pack.name for pack in self._index.packs()}
        gone = [name for name in sorted(known - listing.packs.keys()) if self.is_gone(name)]
        fresh = [listing.packs[name] for name in sorted(listing.packs.keys() - known)]
        if len(fresh) < 2:
            for entry in fresh:
                self._take(entry)
        else:
            threads = max(1, min(_THREADS, self._inner.features.connections, len(fresh)))
            with ThreadPoolExecutor(threads, thread_name_prefix="cftool-archive") as pool:
                list(pool.map(self._take, fresh))
        # At the end: what replaces them is known by now.
        replaced = {name for name in gone if self._index.replaced(name)}
        if replaced:
            self._index.drop(replaced)
        lost = self._index.lose(name for name in gone if name not in replaced)
        if lost:
            raise missing(lost)

    def is_gone(self, name: str) -> bool:
        """A listing may be behind; only a replaced pack may vanish without a second look."""
        if self._index.replaced(name):
            return True
        try:
            self._inner.stat(names.place(name))
        except NotFound:
            return True
        return False

    def _take(self, entry: Entry) -> None:
        pack = names.parse_pack(entry.name)
        assert pack is not None
        try:
            found, size = self.read_manifest(pack, entry.size)
        except NotFound:  # removed since the listing
            return
        except (IntegrityError, ProtocolError) as error:
            raise damaged(pack.name, error) from error
        self._index.add(pack, size, self._stored(entry), found)

    def read_manifest(self, pack: names.PackName, size: int | None) -> tuple[Manifest, int]:
        """What a pack says, and its size. Raises IntegrityError, ProtocolError."""
        path = names.place(pack.name)
        if size is None:
            size = self._inner.stat(path).size
        if size is None or size < pack.tail:
            raise IntegrityError("the pack is shorter than its name says")
        with self._inner.read(path, start=size - pack.tail, end=size) as download:
            data = download.read()
        if len(data) != pack.tail:
            raise IntegrityError("the pack is shorter than its listing says")
        found = manifest.decode(tar.manifest_of(data), pack, size - pack.tail)
        return manifest.placed(found, pack.name), size

    def write(self, stem: str, found: Manifest, contents: Iterable[bytes]) -> str:
        """Put a pack on the remote and into the index; its name. `contents` are the blocks of the members, in order."""
        end = tar.tail(manifest.encode(found, stem), found.made_ns)
        name = names.pack_name(stem, len(end))
        data = b"".join((*contents, end))
        stored = self._inner.write(
            names.place(name),
            BytesSource(data),
            modified_ns=found.made_ns,
            if_absent=Cap.IF_ABSENT in self._inner.features.caps,
        )
        pack = names.parse_pack(name)
        assert pack is not None
        self._index.add(pack, len(data), self._stored(stored), manifest.placed(found, name))
        return name

    def _stored(self, entry: Entry) -> int:
        """The service's time of a pack; where it keeps none, when this machine saw it first: nobody else's clock."""
        return int(self._settings.now() * 1e9) if entry.stored_ns is None else entry.stored_ns

    def new_stem(self) -> str:
        """For a pack that supersedes what the index knows."""
        return names.new_stem(self._index.lamport() + 1)


def damaged(name: str, error: StoreError) -> ListingError:
    """For the user: what it is, and what can be done."""
    return ListingError(
        f"the pack {paths.printable(name)} cannot be understood ({error.message}); to go on without its files, rename "
        "it in the store below",
        op="scan",
        path=names.place(name),
    )


def missing(lost: Sequence[Lost]) -> ListingError:
    """For the user: what somebody removed. Once: from the next look on the archive is what its packs say."""
    first, files, back = lost[0].name, sum(each.files for each in lost), sum(each.back for each in lost)
    more = f" and {len(lost) - 1} more were" if len(lost) > 1 else " was"
    words = [f"{files} files are gone" if files else "", f"{back} old ones have come back" if back else ""]
    return ListingError(
        f"the pack {paths.printable(first)}{more} removed by somebody: {', and '.join(filter(None, words))}; this is "
        "told once, and by the next cache fsck",
        op="scan",
        path=names.place(first),
    )


class Draft:
    """A pack that is being filled: records, and the blocks of their members."""

    def __init__(self, stem: str, host: str, now_ns: int) -> None:
        self.stem = stem
        self.host = host
        self.now_ns = now_ns
        self.records: list[Record] = []
        self.dead: list[tuple[str, int]] = []
        self.blocks: list[bytes] = []
        self.size = 0

    def next_id(self) -> str:
        """Of the record that is added next."""
        return f"{self.stem}.{len(self.records)}"

    def add(self, record: Record, data: bytes | None = None) -> Record:
        """With `data`: a member of this pack, whose place is filled in."""
        if data is not None:
            modified = record.stored_ns if record.modified_ns is None else record.modified_ns
            head = tar.header(record.path, len(data), modified)
            record = record._replace(container="", at=self.size + len(head))
            blocks = (head, data, tar.padding(len(data)))
            self.blocks += blocks
            self.size += sum(map(len, blocks))
        self.records.append(record)
        return record

    @property
    def empty(self) -> bool:
        """Whether there is nothing to say."""
        return not self.records and not self.dead

    def manifest(self, *, replaces: tuple[str, ...] = (), requires: tuple[str, ...] = ()) -> Manifest:
        """What the pack will say."""
        return Manifest(self.now_ns, self.host, tuple(self.records), tuple(self.dead), replaces, requires)
