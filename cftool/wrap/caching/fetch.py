"""Content that is being fetched: small files whole and verified, large ones block by block with read-ahead.

A `Fetching` belongs to one row of content and is shared by all who read that version. Blocks that two readers want are
fetched once. What is here counts in the journal only after it was synced (`save`); when the last block has arrived the
whole file is checked against the entry's hash. No lock of the store is held while the network is waited for, and no
reader waits for the hashing or syncing of what is not the last block.
"""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor

from cftool.core import hashing
from cftool.core.errors import IntegrityError, Interrupted, StoreError
from cftool.core.paths import printable
from cftool.core.store import Store
from cftool.core.types import Entry
from cftool.wrap.caching.blocks import BLOCK, Blocks
from cftool.wrap.caching.files import write_at
from cftool.wrap.caching.stats import Stats

_log = logging.getLogger("cftool.cache")
_SAVE = 64 << 20  # bytes fetched between two saves
_STRETCH = 4 * BLOCK  # of what is read ahead: one request
_SLACK = 4  # requests by which a sequential reader may jump: the kernel asks for several at once, in any order


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
        self._position = 0  # of a sequential reader: the end of what he has asked for
        self._asked = 0  # up to here it was read ahead for him
        self._failed: Exception | None = None
        self._hash_name = hashing.cheapest(entry.hashes)
        self._hasher = None if self._hash_name is None else hashing.new(self._hash_name)
        self._hashed = 0  # bytes from the start
        self._hash_lock = threading.Lock()
        self._saving = threading.Lock()
        self._checked = blocks.complete  # whether the whole was found right
        self._users = 0  # threads that have `fd` in use
        self._closed = False

    def ensure(self, start: int, end: int) -> None:
        """Have [start, end) here. Raises what the store below raises, IntegrityError where the whole is wrong.

        Where it is closed meanwhile there is nothing to have: the reader looks at what took its place.
        """
        end = min(end, self.blocks.size)
        self._read_ahead(start, end)
        while True:
            with self._ready:
                if self._failed is not None:
                    raise self._failed
                missing = self.blocks.missing(start, end)
                if self._closed or (missing is None and (self._checked or not self.blocks.complete)):
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
            self._in_pool(self._tend)

    def ready(self, start: int, end: int) -> bool:
        """Whether a reader can have it now, without the network; what follows is read ahead for him."""
        ready = self.has(start, end)
        if ready and not self.blocks.complete:
            self._read_ahead(start, end)
        return ready

    def has(self, start: int, end: int) -> bool:
        """Whether it can be read now, without the network."""
        with self._ready:
            here = self._failed is None and self.blocks.has(start, end)
            return here and (self._checked or not self.blocks.complete)

    def _overlapping(self, wanted: tuple[int, int]) -> tuple[int, int] | None:
        found = [taken for taken in self._in_flight if taken[0] < wanted[1] and wanted[0] < taken[1]]
        return min(found) if found else None

    def _read_ahead(self, start: int, end: int) -> None:
        """A reader that goes on where it was gets the next stretches fetched meanwhile, twice as far each time."""
        with self._ready:
            slack = _SLACK * (end - start)
            if abs(start - self._position) > slack:
                self._position, self._ahead, self._asked = end, BLOCK, 0
                return
            self._position = max(self._position, end)
            stretches = self._next_stretches()
            self._in_flight += stretches
        for piece in stretches:
            self._in_pool(self._quietly, *piece)

    def _next_stretches(self) -> list[tuple[int, int]]:
        """Under the lock: what to ask for now. Not before it is much: each is a request."""
        at = max(self._asked, self._position - self._position % BLOCK)
        stop = min(self._position + self._ahead, self.blocks.size)
        least = min(_STRETCH, self._ahead // 2)
        if at >= stop or (stop - at < least and stop < self.blocks.size):
            return []
        self._ahead = min(2 * self._ahead, self._window)
        found: list[tuple[int, int]] = []
        while (missing := self.blocks.missing(at, stop)) is not None:
            piece = (missing[0], min(missing[1], missing[0] + _STRETCH))
            if found and piece[1] - piece[0] < least and piece[1] < self.blocks.size:
                break
            if self._overlapping(piece) is None:
                found.append(piece)
            at = piece[1]
        self._asked = max(at, self._asked)
        return found

    def _in_pool(self, work: Callable[..., None], *arguments: int) -> None:
        try:
            self._pool.submit(work, *arguments)
        except RuntimeError:  # the cache is being closed
            with self._ready:
                self._in_flight = [piece for piece in self._in_flight if piece != arguments]

    def _quietly(self, start: int, end: int) -> None:
        try:
            self._fetch(start, end)
        except StoreError as error:
            _log.info("reading ahead of %s failed: %s", printable(self._path), error)
        else:
            self._tend()

    def close(self) -> None:
        """Nobody reads any more. `fd` is closed when the last thread that fetches has let go of it."""
        with self._ready:
            self._closed = True
            unused = self._users == 0
        if unused:
            os.close(self._fd)

    def _fetch(self, start: int, end: int) -> None:
        """One stretch, which `_in_flight` has."""
        if not self._take():
            with self._ready:
                self._in_flight.remove((start, end))
            return
        try:
            self._fetch_open(start, end)
        finally:
            self._let_go()

    def _take(self) -> bool:
        """Whether `fd` may be used; `_let_go` afterwards."""
        with self._ready:
            if not self._closed:
                self._users += 1
            return not self._closed

    def _let_go(self) -> None:
        with self._ready:
            self._users -= 1
            unused = self._closed and self._users == 0
        if unused:
            os.close(self._fd)

    def _fetch_open(self, start: int, end: int) -> None:
        here = at = start
        try:
            with (
                self._stats.moving(self._stats.down) as moved,
                self._store.read(self._path, start=start, end=end, if_version=self.entry.version) as download,
            ):
                for chunk in download:
                    if self._closed:
                        raise Interrupted("nobody reads it any more", op="read", path=self._path)
                    write_at(self._fd, chunk, at)
                    at += len(chunk)
                    if at - here >= BLOCK and at < end:
                        moved(at - here)
                        here = self._arrived(here, at)
                moved(at - here)
                if at != end:
                    raise IntegrityError(f"{at - start} of {end - start} bytes came", op="read", path=self._path)
        except BaseException:
            with self._ready:
                self._in_flight.remove((start, end))
                self._ready.notify_all()
            raise
        with self._ready:
            self._in_flight.remove((start, end))
            self._arrived(here, end)
            complete = self.blocks.complete
        if complete:
            try:
                self._verify()
            finally:
                with self._ready:
                    self._checked = True
                    self._ready.notify_all()

    def _arrived(self, start: int, end: int) -> int:
        """The whole blocks from `start` on are here; where the next one begins. Those who wait for them go on."""
        end = end if end >= self.blocks.size else end - end % BLOCK
        with self._ready:
            self.blocks.add(start, end)
            self._unsaved += end - start
            self._ready.notify_all()
        return end

    def _tend(self) -> None:
        """What has arrived is hashed, and saved where it is much: nobody waits for that."""
        if not self._take():
            return
        try:
            self._hash_on()
            with self._ready:
                due = self._unsaved >= _SAVE or self.blocks.complete
            if due:
                self.save()
        except (StoreError, OSError) as error:  # it is fetched again some day
            _log.warning("what was fetched of %s is not kept: %s", printable(self._path), error)
        finally:
            self._let_go()

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
        """Sync what is here, and enter it into the journal; also what another thread is at is entered at the end.

        Not under the lock of the store: who holds the one for saving waits for that.
        """
        with self._saving:
            with self._ready:
                if not self._unsaved or self._failed is not None or (self.blocks.complete and not self._checked):
                    return
                self._unsaved = 0
                encoded = self.blocks.encode()
            os.fdatasync(self._fd)
            self._save(encoded)
