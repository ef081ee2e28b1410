"""Lists of entries that may outgrow memory: kept in memory up to a bound, then in an unlinked temporary file.

`Spool` keeps the order in which entries came and gives them back forwards or backwards; `Sorter` gives them back
sorted. Used for planned deletions, for listings that do not come in the order of the merge, and for large
directories. Nothing of it survives the process, and nothing of it has a name on disk.
"""

import heapq
import marshal
from collections.abc import Iterator
from operator import itemgetter
from typing import IO, Any, Self

from cftool.core.types import NO_HASHES, Entry, Kind

Keyed = tuple[bytes, Entry]

_KINDS = {kind.value: kind for kind in Kind}
_BLOCK = 512  # records a block of the file: what a reader holds of it
_IN_MEMORY = 20_000  # records, of a few hundred bytes each

# What marshal can write: key and the fields of Entry, the kind and the hashes as plain values.
Packed = tuple[Any, ...]


def pack(key: bytes, entry: Entry) -> Packed:
    """A record of plain values."""
    path, kind, size, modified, stored, version, handle, hashes = entry
    return (key, path, kind.value, size, modified, stored, version, handle, dict(hashes) if hashes else None)


def unpack(record: Packed) -> Keyed:
    """The record's key and entry."""
    key, path, kind, size, modified, stored, version, handle, hashes = record
    return key, Entry(path, _KINDS[kind], size, modified, stored, version, handle, hashes or NO_HASHES)


class _File:
    """Blocks of records in an unlinked file."""

    def __init__(self, directory: str | None) -> None:
        import tempfile  # seldom needed

        # Closed by the owner; without a name, so that a killed run leaves nothing.
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115

    def append(self, records: list[Packed]) -> list[int]:
        """Write records as blocks; returns the offset of each block."""
        offsets = []
        self._file.seek(0, 2)
        for start in range(0, len(records), _BLOCK):
            offsets.append(self._file.tell())
            marshal.dump(records[start : start + _BLOCK], self._file)
        return offsets

    def block(self, offset: int) -> list[Packed]:
        """One block."""
        self._file.seek(offset)
        records: list[Packed] = marshal.load(self._file)  # noqa: S302 - our own file, without a name
        return records

    def close(self) -> None:
        self._file.close()


class Spool:
    """A list of (key, entry) in the order of `append`, iterable many times."""

    def __init__(self, directory: str | None = None, *, in_memory: int = _IN_MEMORY) -> None:
        self._directory = directory
        self._limit = in_memory
        self._tail: list[Packed] = []
        self._file: _File | None = None
        self._offsets: list[int] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, key: bytes, entry: Entry) -> None:
        """Add one at the end."""
        self._tail.append(pack(key, entry))
        self._length += 1
        if len(self._tail) >= self._limit:
            if self._file is None:
                self._file = _File(self._directory)
            self._offsets += self._file.append(self._tail)
            self._tail = []

    def __iter__(self) -> Iterator[Keyed]:
        if self._file is not None:
            for offset in self._offsets:
                yield from map(unpack, self._file.block(offset))
        yield from map(unpack, self._tail)

    def __reversed__(self) -> Iterator[Keyed]:
        yield from map(unpack, reversed(self._tail))
        if self._file is not None:
            for offset in reversed(self._offsets):
                yield from map(unpack, reversed(self._file.block(offset)))

    def close(self) -> None:
        """Give the space back."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._tail, self._offsets = [], []


class Sorter:
    """Sorts (key, entry) by key, then path, in runs on disk. `add` all, then iterate once; a context manager."""

    def __init__(self, directory: str | None = None, *, in_memory: int = _IN_MEMORY) -> None:
        self._directory = directory
        self._limit = in_memory
        self._run: list[Packed] = []
        self._file: _File | None = None
        self._runs: list[list[int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def add(self, key: bytes, entry: Entry) -> None:
        """Take one."""
        self._run.append(pack(key, entry))
        if len(self._run) >= self._limit:
            if self._file is None:
                self._file = _File(self._directory)
            self._run.sort(key=_order)
            self._runs.append(self._file.append(self._run))
            self._run = []

    def __iter__(self) -> Iterator[Keyed]:
        self._run.sort(key=_order)
        if self._file is None:
            return map(unpack, self._run)
        streams: list[Iterator[Packed]] = [self._stream(self._file, offsets) for offsets in self._runs]
        return map(unpack, heapq.merge(*streams, self._run, key=_order))

    @staticmethod
    def _stream(file: _File, offsets: list[int]) -> Iterator[Packed]:
        for offset in offsets:
            yield from file.block(offset)


_order = itemgetter(0, 1)  # key, then path: names that fold to one key keep a fixed order
