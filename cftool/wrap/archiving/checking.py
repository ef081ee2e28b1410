"""Checking an archive: whether each pack is what its manifest says, and whether the bytes of each file are there.

Looks at the packs themselves and not at what the index remembers of them; that serves only to tell that a pack is gone.
Changes nothing: what is wrong, and what nothing needs, is told and left alone. Other machines may go on meanwhile.
"""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from cftool.core import paths
from cftool.core.errors import IntegrityError, NotFound, ProtocolError
from cftool.core.store import Store
from cftool.core.types import Entry
from cftool.wrap.archiving import names, reading
from cftool.wrap.archiving.index import Index
from cftool.wrap.archiving.manifest import Manifest, Record
from cftool.wrap.archiving.packs import Listing, Packs

_THREADS = 8
_CHUNK = 1 << 20  # bytes of an object that are in memory at once


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or something in the reserved directory, and what is wrong with it, or why it is not needed."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What was looked at. `unused`: not ours, or left by a change that did not end; no harm is done."""

    packs: int
    files: int
    found: tuple[Found, ...]
    unused: tuple[Found, ...]


class Checking:
    """See the module. `download`: every pack and object is read, and each file compared with its hash."""

    def __init__(self, inner: Store, index: Index, packs: Packs, *, download: bool) -> None:
        self._inner = inner
        self._index = index
        self._packs = packs
        self._download = download
        self._found: list[Found] = []
        self._contents: dict[str, int] = {}  # of what may hold files: how many bytes of it

    def run(self) -> Checked:
        """Do it."""
        known = [pack.name for pack in self._index.packs()]
        listing = self._packs.listing()
        for name in known:
            if name not in listing.packs and not self._index.replaced(name) and self._packs.is_gone(name):
                lost = sum(not record.is_dir for record in self._index.carried([name]))
                self._tell(names.place(name), f"is gone, and {lost} files of it with it")
        for pack in self._index.lost(told=True):
            back = f", and {pack.back} that were replaced or removed have come back" if pack.back else ""
            self._tell(names.place(pack.name), f"was removed by somebody, and {pack.files} files of it with it{back}")
        with closing(Index(None)) as fresh:
            self._read_all(listing, fresh)
            for name, entry in listing.objects.items():
                self._contents[name] = -1 if entry.size is None else entry.size
            files = sum(self._look(path, record) for path, record in _files(fresh))
            unused = tuple(_unused(listing, fresh))
        return Checked(len(listing.packs), files, tuple(sorted(self._found, key=lambda each: each.path)), unused)

    def _tell(self, path: str, problem: str) -> None:
        self._found.append(Found(path, problem))

    # ---- packs

    def _read_all(self, listing: Listing, fresh: Index) -> None:
        threads = max(1, min(_THREADS, self._inner.features.connections))

        def read(entry: Entry) -> None:
            self._guarded(entry, lambda: self._read(entry, fresh))

        with ThreadPoolExecutor(threads, thread_name_prefix="cftool-archive") as pool:
            list(pool.map(read, listing.packs.values()))

    def _guarded(self, entry: Entry, act: Callable[[], None]) -> None:
        try:
            act()
        except NotFound:  # removed since the listing, which a compaction may do; what still needs it will be told
            self._contents.pop(entry.name, None)
        except (IntegrityError, ProtocolError) as error:
            self._contents.pop(entry.name, None)
            self._tell(entry.path, f"cannot be relied on: {error.message}")

    def _read(self, entry: Entry, fresh: Index) -> None:
        pack = names.parse_pack(entry.name)
        assert pack is not None
        found, size = self._packs.read_manifest(pack, entry.size)
        self._contents[entry.name] = size - pack.tail
        fresh.add(pack, size, entry.stored_ns or 0, found)
        if self._download:
            self._read_members(entry, found)

    def _read_members(self, entry: Entry, found: Manifest) -> None:
        """Each against its hash; and all of it as `tar` reads it, which may be what somebody will have to rely on."""
        with self._inner.read(entry.path) as download:
            data = download.read()
        members = [record for record in found.entries if record.container == entry.name]
        for record in members:
            problem = _problem(record, data[record.at : record.at + record.size])
            if problem:
                self._tell(entry.path, f"is damaged: {paths.printable(record.path)} {problem}")
        try:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
                there = {member.offset_data for member in tar}
        except tarfile.TarError as error:
            self._tell(entry.path, f"is damaged: tar cannot read it ({error})")
        else:
            if not there >= {record.at for record in members}:
                self._tell(entry.path, "is damaged: tar does not find all members")

    # ---- files

    def _look(self, path: str, record: Record) -> int:
        """Whether what is said to hold the bytes does; 1, for counting."""
        size = self._contents.get(record.container)
        if size is None:
            if record.size:
                self._tell(path, f"{names.place(record.container)}, which holds its content, is gone or damaged")
        elif names.is_object(record.container):
            self._look_at_object(path, record, size)
        elif record.at + record.size > size:
            self._tell(path, f"{names.place(record.container)}, which holds its content, is too short for it")
        return 1

    def _look_at_object(self, path: str, record: Record, size: int) -> None:
        if size not in {-1, record.size}:
            self._tell(path, f"{names.place(record.container)}, its content, has {size} bytes, not {record.size}")
        elif self._download:
            try:
                with reading.read(self._inner, record, path, 0, None) as download:
                    while download.read(_CHUNK):
                        pass
            except (IntegrityError, NotFound) as error:
                self._tell(path, f"{names.place(record.container)}, its content, is damaged: {error.message}")


def _problem(record: Record, data: bytes) -> str:
    for kind, value in record.hashes.items():
        if kind in hashlib.algorithms_available and hashlib.new(kind, data, usedforsecurity=False).hexdigest() != value:
            return f"has another {kind}"
    return ""


def _files(fresh: Index) -> Iterator[tuple[str, Record]]:
    """What is shown, and where its bytes are said to be."""
    for node in fresh.below(""):
        if node.record is not None and not node.is_dir:
            yield node.path, node.record


def _unused(listing: Listing, fresh: Index) -> Iterator[Found]:
    for name in listing.foreign:
        yield Found(names.place(name), "is not the archive's")
    named = fresh.containers()
    for name in sorted(listing.objects.keys() - named):
        yield Found(names.place(name), "is an object that no file needs; compaction removes it after a day")


__all__ = ["Checked", "Checking", "Found"]
