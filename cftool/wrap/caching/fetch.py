"""Content that is being fetched: small files whole and verified, large ones block by block with read-ahead.

A `Fetching` belongs to one row of content and is shared by all who read that version. Blocks that two readers want are
fetched once. What is here counts in the journal only after it was synced (`save`); when the last block has arrived the
whole file is checked against the entry's hash. No lock of the store is held while the network is waited for.
"""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor

from cftool.core import hashing
from cftool.core.errors import IntegrityError, Interrupted, StoreError
from cftool.core.store import Store
from cftool.core.types import Entry
from cftool.wrap.caching.blocks import BLOCK, Blocks
from cftool.wrap.caching.files import write_at
from cftool.wrap.caching.stats import Stats

_log = logging.getLogger("cftool.cache")
_SAVE = 64 << 20  # bytes fetched between two saves


class Fetching:
    """See the module. `path` is where the store below has the file, `entry` what is fetched."""

    def __init__(
        self,
        store: Store,
        path: str,
        entry: Entry,
        fd: int,
        blocks: Blocks,
        *,
        stats: Stats,
        pool: Executor,
        window: int,
        save: Callable[[bytes | None], None],
    ) -> None:
        self._store = store
        self._path = path
        self.entry = entry
        self._fd = fd
        self.blocks = blocks
        self._stats = stats
        self._pool = pool
        self._window = window
        self._save = save
        self._ready = threading.Condition()
        self._in_flight: list[tuple[int, int]] = []
        self._unsaved = 0
        self._ahead = BLOCK  # how far to read ahead next time
        self._last_end = 0  # of the latest request: where the next one of a sequential reader begins
        self._failed: Exception | None = None
        self._hash_name = hashing.cheapest(entry.hashes)
        self._hasher = None if self._hash_name is None else hashing.new(self._hash_name)
        self._hashed = 0  # bytes from the start
        self._hash_lock = threading.Lock()
        self._checked = blocks.complete  # whether the whole was found right
        self._users = 0  # threads that have `fd` in use
        self._closed = False

    def ensure(self, start: int, end: int) -> None:
        """Have [start, end) here. Raises what the store below raises, IntegrityError where the whole is wrong."""
        end = min(end, self.blocks.size)
        self._read_ahead(start, end)
        while True:
            with self._ready:
                if self._failed is not None:
                    raise self._failed
                missing = self.blocks.missing(start, end)
                if missing is None and (self._checked or not self.blocks.complete):
                    return
                if missing is None:  # somebody is at it
                    self._ready.wait(1.0)
                    continue
                taken = self._overlapping(missing)
                if taken is None:
                    self._in_flight.append(missing)
                elif taken[0] > missing[0]:
                    missing = (missing[0], taken[0])
                    self._in_flight.append(missing)
                else:
                    self._ready.wait(1.0)
                    continue
            self._fetch(*missing)

    def has(self, start: int, end: int) -> bool:
        """Whether it can be read now, without the network."""
        with self._ready:
            here = self._failed is None and self.blocks.has(start, end)
            return here and (self._checked or not self.blocks.complete)

    def _overlapping(self, wanted: tuple[int, int]) -> tuple[int, int] | None:
        found = [taken for taken in self._in_flight if taken[0] < wanted[1] and wanted[0] < taken[1]]
        return min(found) if found else None

    def _read_ahead(self, start: int, end: int) -> None:
        """A reader that goes on where it was gets the next stretch fetched meanwhile, twice as far each time."""
        with self._ready:
            sequential = start == self._last_end or (start == 0 and self._last_end == 0)
            self._last_end = end
            if not sequential:
                self._ahead = BLOCK
                return
            stop = min(end + self._ahead, self.blocks.size)
            if end >= stop or self.blocks.missing(end, stop) is None:
                return
            self._ahead = min(2 * self._ahead, self._window)
            at = end - end % BLOCK
            stretches = []
            while at < stop:
                following = self.blocks.missing(at, stop)
                if following is None:
                    break
                piece = (following[0], min(following[1], following[0] + 4 * BLOCK))
                if self._overlapping(piece) is None:
                    stretches.append(piece)
                    self._in_flight.append(piece)
                at = piece[1]
        for piece in stretches:
            self._pool.submit(self._quietly, *piece)

    def _quietly(self, start: int, end: int) -> None:
        try:
            self._fetch(start, end)
        except StoreError as error:
            _log.info("reading ahead of %s failed: %s", self._path, error)

    def close(self) -> None:
        """Nobody reads any more. `fd` is closed when the last thread that fetches has let go of it."""
        with self._ready:
            self._closed = True
            unused = self._users == 0
        if unused:
            os.close(self._fd)

    def _fetch(self, start: int, end: int) -> None:
        """One stretch, which `_in_flight` has."""
        with self._ready:
            if self._closed:
                self._in_flight.remove((start, end))
                return
            self._users += 1
        try:
            self._fetch_open(start, end)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        with self._ready:
            self._users -= 1
            unused = self._closed and self._users == 0
        if unused:
            os.close(self._fd)

    def _fetch_open(self, start: int, end: int) -> None:
        try:
            with (
                self._stats.moving(self._stats.down) as moved,
                self._store.read(self._path, start=start, end=end, if_version=self.entry.version) as download,
            ):
                at = start
                for chunk in download:
                    if self._closed:
                        raise Interrupted("nobody reads it any more", op="read", path=self._path)
                    write_at(self._fd, chunk, at)
                    at += len(chunk)
                    moved(len(chunk))
                if at != end:
                    raise IntegrityError(f"{at - start} of {end - start} bytes came", op="read", path=self._path)
        except BaseException:
            with self._ready:
                self._in_flight.remove((start, end))
                self._ready.notify_all()
            raise
        with self._ready:
            self._in_flight.remove((start, end))
            self.blocks.add(start, end)
            self._unsaved += end - start
            complete = self.blocks.complete
            due = self._unsaved >= _SAVE
            self._ready.notify_all()
        if complete:
            try:
                self._verify()
            finally:
                with self._ready:
                    self._checked = True
                    self._ready.notify_all()
        else:
            self._hash_on()
        if complete or due:
            self.save()

    def _hash_on(self) -> None:
        """What is here from the start on is hashed while the rest is on its way, unless another thread is at it."""
        if self._hasher is None or not self._hash_lock.acquire(blocking=False):
            return
        try:
            while self.has(self._hashed, self._hashed + BLOCK) and self._hashed < self.blocks.size:
                self._hash_piece()
        finally:
            self._hash_lock.release()

    def _hash_piece(self) -> None:
        assert self._hasher is not None
        piece = os.pread(self._fd, BLOCK, self._hashed)
        if not piece:
            raise IntegrityError("the cache's file is shorter than what was fetched", op="read", path=self._path)
        self._hasher.update(piece)
        self._hashed += len(piece)

    def _verify(self) -> None:
        if self._hasher is None or self._hash_name is None:
            return
        with self._hash_lock:
            while self._hashed < self.blocks.size:
                self._hash_piece()
            found = self._hasher.hexdigest()
        if found != self.entry.hashes[self._hash_name]:
            error = IntegrityError(
                f"the content's {self._hash_name} is not the one that was listed", op="read", path=self._path
            )
            with self._ready:
                self._failed = error
                self._ready.notify_all()
            raise error

    @property
    def failed(self) -> bool:
        """Whether what was fetched turned out to be wrong: it is thrown away."""
        return self._failed is not None

    def save(self) -> None:
        """Sync what is here, and enter it into the journal."""
        with self._ready:
            if not self._unsaved or self._failed is not None or (self.blocks.complete and not self._checked):
                return
            self._unsaved = 0
            encoded = self.blocks.encode()
        os.fdatasync(self._fd)
        self._save(encoded)
