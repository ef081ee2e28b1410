"""A set of byte ranges [start, end): what is there of a file, and what is missing. Pure arithmetic."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """Disjoint ranges in order; neighbours and overlaps merge. Not thread-safe."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(list(self._starts), list(self._ends), strict=True)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def add(self, start: int, end: int) -> tuple[int, int]:
        """Add a range; the merged range that now holds it."""
        first = bisect_left(self._ends, start)  # the first that ends at or after our start
        last = bisect_right(self._starts, end)  # one past the last that starts at or before our end
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        return start, end

    def total(self) -> int:
        """Bytes in the set."""
        return sum(self._ends) - sum(self._starts)

    def missing(self, size: int, part_size: int) -> list[tuple[int, int]]:
        """What [0, size) lacks, cut at multiples of `part_size`."""
        gaps = []
        position = 0
        for start, end in [*self, (size, size)]:
            while position < start:
                stop = min(start, (position // part_size + 1) * part_size)
                gaps.append((position, stop))
                position = stop
            position = end
        return gaps
