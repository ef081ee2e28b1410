"""Which blocks of a partly fetched file are here: a bitmap, and the ranges that are missing. Pure."""

BLOCK = 1 << 20


class Blocks:
    """`size` bytes in blocks of 1 MiB; the last one may be shorter. Not thread-safe."""

    def __init__(self, size: int, raw: bytes | None = b"") -> None:
        self.size = size
        self.count = -(-size // BLOCK)
        if raw is None:
            self._bits = (1 << self.count) - 1
        else:
            self._bits = int.from_bytes(raw, "little") & ((1 << self.count) - 1)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self._bits == (1 << self.count) - 1

    def encode(self) -> bytes | None:
        """For the journal; None where nothing is missing."""
        return None if self.complete else self._bits.to_bytes(-(-self.count // 8), "little")

    def add(self, start: int, end: int) -> None:
        """The bytes [start, end) are here: the blocks that lie whole in them are."""
        first = -(-start // BLOCK)
        last = self.count if end >= self.size else end // BLOCK
        if last > first:
            self._bits |= ((1 << (last - first)) - 1) << first

    def has(self, start: int, end: int) -> bool:
        """Whether all of [start, end) is here."""
        return self.missing(start, end) is None

    def missing(self, start: int, end: int) -> tuple[int, int] | None:
        """The first stretch of whole blocks that is missing for [start, end), or None."""
        end = min(end, self.size)
        if start >= end:
            return None
        first, last = start // BLOCK, -(-end // BLOCK)
        number = first
        while number < last and self._bits >> number & 1:
            number += 1
        if number == last:
            return None
        stop = number
        while stop < last and not self._bits >> stop & 1:
            stop += 1
        return number * BLOCK, min(stop * BLOCK, self.size)

    def present(self) -> int:
        """Bytes that are here."""
        full = self._bits.bit_count() * BLOCK
        if self.count and self._bits >> (self.count - 1) & 1:
            full -= self.count * BLOCK - self.size
        return full
