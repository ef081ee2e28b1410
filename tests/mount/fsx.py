"""File system exerciser, after the idea of Apple's and the xfstests' fsx: random operations on one file, each checked.

An independent program of the same kind: the file of a mount beside a bytearray. Reads, writes, appends, truncates up
and down, mapped reads and writes, close and open, fsync, rename and back. Any difference ends it with its number.
"""

import mmap
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

LARGEST = 256 * 1024


@dataclass
class Fsx:
    """One file and its model; `operations` counts by kind."""

    path: Path
    seed: int
    model: bytearray = field(default_factory=bytearray)
    operations: dict[str, int] = field(default_factory=dict)

    def run(self, count: int, *, mapped: bool = True, seconds: float = float("inf")) -> None:
        """So many operations, or fewer where the time is over; AssertionError where the file is not the model."""
        end = time.monotonic() + seconds
        self.rng = random.Random(self.seed)
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT)
        steps = [self.read, self.read, self.write, self.write, self.append, self.truncate, self.reopen, self.sync]
        steps += [self.rename, self.whole] + ([self.mapped_read, self.mapped_write] if mapped else [])
        try:
            for self.number in range(count):
                if time.monotonic() > end:
                    break
                step = self.rng.choice(steps)
                self.operations[step.__name__] = self.operations.get(step.__name__, 0) + 1
                step()
            self.whole()
        finally:
            os.close(self.fd)

    def span(self) -> tuple[int, int]:
        start = self.rng.randrange(LARGEST)
        return start, self.rng.randrange(1, min(65536, LARGEST - start) + 1)

    def same(self, found: bytes, start: int, length: int) -> None:
        expected = bytes(self.model[start : start + length])
        assert found == expected, (
            f"seed {self.seed}, operation {self.number}: {len(found)} bytes at {start}, expected {len(expected)};"
            f" first difference at {_difference(found, expected)}"
        )

    def read(self) -> None:
        start, length = self.span()
        self.same(os.pread(self.fd, length, start), start, length)

    def whole(self) -> None:
        assert os.fstat(self.fd).st_size == len(self.model), f"seed {self.seed}, operation {self.number}: size"
        self.same(os.pread(self.fd, LARGEST + 1, 0), 0, LARGEST + 1)

    def put(self, start: int, data: bytes) -> None:
        if start > len(self.model):
            self.model.extend(bytes(start - len(self.model)))
        self.model[start : start + len(data)] = data

    def write(self) -> None:
        start, length = self.span()
        data = self.rng.randbytes(length)
        assert os.pwrite(self.fd, data, start) == length
        self.put(start, data)

    def append(self) -> None:
        data = self.rng.randbytes(self.rng.randrange(1, 4096))
        if len(self.model) + len(data) > LARGEST:
            return
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
        self.put(len(self.model), data)

    def truncate(self) -> None:
        size = self.rng.randrange(LARGEST)
        if self.rng.random() < 0.5:
            os.ftruncate(self.fd, size)
        else:
            os.truncate(self.path, size)
        if size < len(self.model):
            del self.model[size:]
        else:
            self.model.extend(bytes(size - len(self.model)))

    def reopen(self) -> None:
        os.close(self.fd)
        self.fd = os.open(self.path, os.O_RDWR)

    def sync(self) -> None:
        os.fsync(self.fd)

    def rename(self) -> None:
        other = self.path.with_name(self.path.name + ".other")
        os.rename(self.path, other)
        os.rename(other, self.path)

    def mapped_read(self) -> None:
        if not self.model:
            return
        with mmap.mmap(self.fd, len(self.model), prot=mmap.PROT_READ) as memory:
            start = self.rng.randrange(len(self.model))
            length = self.rng.randrange(1, 8192)
            self.same(memory[start : start + length], start, length)

    def mapped_write(self) -> None:
        if not self.model:
            return
        with mmap.mmap(self.fd, len(self.model)) as memory:
            start = self.rng.randrange(len(self.model))
            data = self.rng.randbytes(min(self.rng.randrange(1, 8192), len(self.model) - start))
            memory[start : start + len(data)] = data
            memory.flush()
        self.put(start, data)


def _difference(found: bytes, expected: bytes) -> int:
    return next(
        (at for at, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), min(len(found), len(expected))
    )
