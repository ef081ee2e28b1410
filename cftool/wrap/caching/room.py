"""Room in the cache: eviction above the soft limit, waiting above the hard one. DESIGN.md, "Limits"."""

import os
from dataclasses import replace

from cftool.core.errors import (
    QuotaExceeded,
)
from cftool.wrap.caching import small
from cftool.wrap.caching.owned import Owned
from cftool.wrap.caching.rows import State, What

_WIDE = 1 << 30  # bytes that have to be free for writes that are not seen
_LOOK = 0.5  # seconds that an answer to that counts
_GRANT = 4 << 20  # bytes that are asked for at once
_TRIMMED = 20_000  # rows of small content at once
_KEPT_FREE = 4 << 20  # bytes of the disk: without them the journal could not say what was brought to the remote


class Room(Owned):
    """See the module."""

    _wide = False
    _wide_until = float("-inf")

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

    def make_small_room(self, wanted: int) -> None:
        """The same for small content, of which much is asked for at once, and then given out."""
        with self._granting:
            self._granted -= wanted
            if self._granted >= 0:
                return
        self.make_room(wanted)
        with self.lock:
            left = min(self.settings.hard - self.journal.totals()[0], self.spare()) - wanted
        with self._granting:
            self._granted = max(0, min(_GRANT, left // 4))

    def has_small_room(self) -> bool:
        """Whether a small file can be written without asking."""
        return self._granted > small.LARGEST

    def make_room(self, wanted: int) -> None:
        """Evict above the soft limit; above the hard one wait for uploads, then QuotaExceeded before data is taken."""
        self.make_disk_room(0)
        deadline = self.times.monotonic() + self.settings.patience
        while True:
            with self.lock:
                total, clean = self.journal.totals()
                total += self._unseen()
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

    def _unseen(self) -> int:
        """Under the lock: bytes that the kernel has written by itself since the journal was told."""
        return sum(draft.unseen for draft in self.silent)

    def is_wide(self) -> bool:
        """Whether there is so much room that somebody may write unseen; looked at now and then.

        Who does so meets no limit but the disk's own end: DESIGN.md, "Limits".
        """
        now = self.times.monotonic()
        if now >= self._wide_until:
            with self.lock:
                used = self.journal.totals()[0] + self._unseen()
            left = min(self.settings.hard - used, self.spare())
            self._wide = left >= max(_WIDE, self.settings.hard // 4)
            self._wide_until = now + _LOOK
        return self._wide

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

    def trim(self) -> None:
        """Under the lock: the journal holds no more small content than it is to, as far as that is clean."""
        inline = self.journal.inline
        total = inline.total()
        if total <= small.FULL:
            return
        gone: list[int] = []
        self._save_uses()
        for number, size in inline.evictable(_TRIMMED):
            if total <= small.ENOUGH:
                break
            if number not in self._open:
                gone.append(number)
                total -= size
        self.throw_away(gone)

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
