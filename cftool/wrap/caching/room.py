"""Room in the cache: eviction above the soft limit, waiting above the hard one. DESIGN.md, "Limits"."""

import os
from dataclasses import replace

from cftool.core.errors import (
    QuotaExceeded,
)
from cftool.wrap.caching.owned import Owned
from cftool.wrap.caching.rows import State, What

_KEPT_FREE = 4 << 20  # bytes of the disk: without them the journal could not say what was brought to the remote


class Room(Owned):
    """See the module."""

    def spare(self) -> int:
        """Bytes that may be written to the disk before it is as good as full."""
        status = os.statvfs(self.directory)
        return max(0, status.f_bavail * status.f_frsize - _KEPT_FREE)

    def make_disk_room(self, wanted: int) -> None:
        """Evict where the disk itself has not so many bytes; QuotaExceeded where that does not help."""
        if self.spare() > wanted:
            return
        with self.lock:
            self._evict(wanted + _KEPT_FREE)
        if self.spare() <= wanted:
            raise QuotaExceeded("the disk of the cache is full", op="write", store=self.name)

    def make_room(self, wanted: int) -> None:
        """Evict above the soft limit; above the hard one wait for uploads, then QuotaExceeded before data is taken."""
        self.make_disk_room(0)
        deadline = self.times.monotonic() + self.settings.patience
        while True:
            with self.lock:
                total, clean = self.journal.totals()
                if total + wanted > self.settings.soft and clean:
                    total -= self._evict(total + wanted - self.settings.soft)
                if total + wanted <= self.settings.hard:
                    return
                self._hurry()
                seen = self.waiting.count
            if not self.drain.running or not self.waiting.wait(deadline - self.times.monotonic(), seen):
                raise QuotaExceeded(
                    f"the cache is full ({total:,} of {self.settings.hard:,} bytes wait for their upload)",
                    op="write",
                    store=self.name,
                )

    def _evict(self, wanted: int) -> int:
        """Under the lock: remove clean content until `wanted` bytes are free; how many were freed."""
        self._save_uses()
        freed = 0
        gone: list[int] = []
        for content in self.journal.evictable(1000):
            if freed >= wanted:
                break
            if content.id in self._open:
                continue
            gone.append(content.id)
            freed += content.allocated
        if gone:
            self.throw_away(gone)
        return freed

    def throw_away(self, numbers: list[int]) -> None:
        """Clean content goes: rows first, then files."""
        with self.lock:
            self.journal.forget(numbers)
            for number in numbers:
                self.files.remove(number)

    def _hurry(self) -> None:
        """Under the lock: writers wait for room, so that nothing waits for its delay."""
        for row in list(self.overlay.rows.values()):
            if row.what is What.UPLOAD and row.due > 0 and row.state is State.DIRTY:
                self.overlay.replace(replace(row, due=0.0))
        self.waiting.wake()

    def clear(self, path: str = "", *, changed: bool = False) -> int:
        """Drop clean content at or below `path` that nobody has open; how many files. `changed`: others did that."""
        with self.lock:
            numbers = [number for number in self.journal.clean_within(path) if number not in self._open]
            self.throw_away(numbers)
            if changed:
                self.journal.forget_times(path)
        return len(numbers)
