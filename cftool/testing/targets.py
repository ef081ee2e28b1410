"""A Target in memory, for tests of `read_many`: what was published under which path, and what was begun."""

import threading

from cftool.core.errors import IntegrityError
from cftool.core.types import Entry


class MemoryTarget:
    """Collects one download; `data` and `entry` are None until it is published. Thread-safe."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.entry: Entry | None = None
        self.begun = 0

    def save(self, data: bytes, entry: Entry) -> None:
        """Publish."""
        if entry.size is not None and len(data) != entry.size:
            raise IntegrityError(f"{len(data)} of {entry.size} bytes", path=entry.path)
        self.data = data
        self.entry = entry

    def begin(self, entry: Entry) -> "MemoryPartial":
        """Always from the start: this target keeps nothing of earlier attempts."""
        self.begun += 1
        return MemoryPartial(self, entry)


class MemoryPartial:
    """The Partial of a MemoryTarget."""

    def __init__(self, target: MemoryTarget, entry: Entry) -> None:
        if entry.size is None:
            raise IntegrityError("a partial download needs the size", path=entry.path)
        self._target = target
        self._entry = entry
        self._buffer = bytearray(entry.size)
        self._done: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def missing(self, part_size: int) -> list[tuple[int, int]]:
        """As the protocol says."""
        ranges: list[tuple[int, int]] = []
        at = 0
        for start, end in [*sorted(self._done), (len(self._buffer), len(self._buffer))]:
            while at < start:
                stop = min(start, at + part_size)
                ranges.append((at, stop))
                at = stop
            at = max(at, end)
        return ranges

    def write_at(self, data: bytes | memoryview, offset: int) -> None:
        """As the protocol says."""
        with self._lock:
            if offset + len(data) > len(self._buffer):
                raise IntegrityError("more bytes than the file has", path=self._entry.path)
            self._buffer[offset : offset + len(data)] = data

    def writev_at(self, chunks: list[bytes], offset: int) -> None:
        """As the protocol says."""
        self.write_at(b"".join(chunks), offset)

    def done(self, start: int, end: int) -> None:
        """As the protocol says."""
        with self._lock:
            self._done.append((start, end))

    def read_at(self, size: int, offset: int) -> bytes:
        """As the protocol says."""
        with self._lock:
            return bytes(self._buffer[offset : offset + size])

    def commit(self, entry: Entry) -> None:
        """Publish; refuses a file with holes."""
        if self.missing(len(self._buffer) or 1):
            raise IntegrityError("ranges are missing", path=entry.path)
        self._target.save(bytes(self._buffer), entry)

    def discard(self) -> None:
        """Forget all."""
        with self._lock:
            self._done.clear()

    def close(self) -> None:
        """Nothing is kept."""
