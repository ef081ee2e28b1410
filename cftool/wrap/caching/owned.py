"""A cache and its life: opened by one process alone, put in order after a crash, closed. DESIGN.md, "Open".

Has what the layers above share: ids of content, the lock's maps, and how a change gets into journal and overlay.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

from cftool.core import paths
from cftool.core.errors import (
    Locked,
)
from cftool.core.store import Store
from cftool.core.types import Source
from cftool.disk import locks
from cftool.disk.errors import translated
from cftool.wrap import caches
from cftool.wrap.caching import files as data_files
from cftool.wrap.caching.drain import Drain, Waiting
from cftool.wrap.caching.journal import Journal
from cftool.wrap.caching.looking import Looking
from cftool.wrap.caching.overlay import Overlay
from cftool.wrap.caching.rows import DAMAGED, Base, Content, LocalChange, Pending, State, What
from cftool.wrap.caching.settings import CacheSettings
from cftool.wrap.caching.small import InlineSource
from cftool.wrap.caching.stats import Stats
from cftool.wrap.caching.together import Together

if TYPE_CHECKING:
    from cftool.wrap.caching.draft import Draft
    from cftool.wrap.caching.fetch import Fetching
    from cftool.wrap.caching.store import CachingStore

_log = logging.getLogger("cftool.cache")
_T = TypeVar("_T")
_REMEMBERED = 10_000  # of our own latest changes


class Owned(Looking):
    """See the module. `directory` is the cache's own; Locked where another process owns it."""

    def __init__(self, inner: Store, directory: str, settings: CacheSettings | None = None) -> None:
        super().__init__(inner)
        self.settings = settings or CacheSettings()
        self.times = self.settings.times
        self.directory = directory
        self.stats = Stats(self.times.monotonic, self.times.wall)
        self.problems: list[str] = []  # what the opening found damaged, in words
        with translated("open", directory):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        try:
            self._ownership = locks.Lock(directory, "owner")
        except Locked as error:
            raise Locked(
                f"another process has the cache {os.path.basename(directory)} open; use that mount, or another cache_id"
            ) from error
        try:
            self.files = data_files.DataFiles(os.path.join(directory, "data"))
            self.journal = Journal(os.path.join(directory, "journal.sqlite"), identity=inner.features.identity)
            self.journal.keeps_times = inner.features.time_precision_ns is not None and not inner.features.listed_time
            self._recover()
        except BaseException:
            self._ownership.release()
            raise
        self.waiting = Waiting(self.lock)
        self._together = Together(self.lock, self._shared, settle=self._settle, undone=self._reread)
        self._unneeded: list[int] | None = None  # data files that go after the commit
        self._unsettled: list[Pending] = []  # new rows that the overlay is to get yet
        self.drain = Drain(cast("CachingStore", self))
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="cftool-fetch")
        self._open: dict[int, int] = {}  # content id: handles
        self._left_open: set[int] = set()  # of these those in no row
        self._fetching: dict[int, Fetching] = {}
        self._drafts: set[Draft] = set()
        self.silent: set[Draft] = set()  # those that the kernel writes to without telling
        self._uses: dict[int, float] = {}
        self._granting = threading.Lock()
        self._granted = 0  # bytes of small content that need not be asked room for
        self._settled: OrderedDict[str, tuple[int, str | None]] = OrderedDict()  # what we brought to the remote last
        self._closed = False

    def _recover(self) -> None:
        """What a crash left: see DESIGN.md, "Open"."""
        caches.say_whose(self.directory, self.inner.features.identity)
        if self.journal.fresh:
            self._begin()
        self.journal.restart()
        known = {number: size for number, size, _ in self.journal.sizes()}
        rows = self.journal.pending()
        there = self.journal.inline.sizes()
        inline = set(there)
        for number, making, size in self.files.found():
            if making:
                os.unlink(self.files.path(number) + ".new")
            elif number in known and number not in inline:
                there[number] = size
            else:
                self.files.remove(number)
        if editing := self.journal.editing():
            rows = [self._as_it_is(row, there, editing) for row in rows]
            self.journal.edited(editing)
        if there != known:
            self._forget_damaged(rows, known, there)
        for row in rows:
            if row.content is not None and there.get(row.content) != row.size:
                self._damaged(row)
        self.overlay = Overlay(self.journal.pending() if self.problems else rows, self.journal.local())
        self._next_id = max([self.journal.highest_id(), *known, 0]) + 1
        for problem in self.problems:
            _log.warning("%s: %s", self.name, problem)

    def _forget_damaged(self, rows: list[Pending], known: dict[int, int], there: dict[int, int]) -> None:
        """Clean content whose data file is not what the journal says is fetched again."""
        needed = {row.content for row in rows}
        lost = [number for number, size in known.items() if number not in needed and there.get(number) != size]
        self.journal.forget(lost)
        for number in lost:
            self.files.remove(number)

    def _as_it_is(self, row: Pending, there: dict[int, int], editing: set[int]) -> Pending:
        """Written to after its commit, and no further commit: it is what it is by now, as on any disk."""
        if row.content not in editing or there.get(row.content) in {None, row.size}:
            return row
        fd = self.files.open(row.content)
        try:
            status = os.fstat(fd)
        finally:
            os.close(fd)
        content = Content(row.content, None, status.st_size, allocated=status.st_blocks * 512)
        changed = replace(row, size=status.st_size, modified_ns=status.st_mtime_ns)
        self.journal.grow(changed, content)
        _log.info("%s: it was being written to; it has %d bytes", paths.printable(row.path), status.st_size)
        return changed

    def _begin(self) -> None:
        """A new journal. What is in `data` was known to one that is damaged, maybe since an earlier try: it is kept."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self.times.wall()))
        aside = self.files.set_aside(stamp)
        if self.journal.damaged is not None:
            self.problems.append(f"the journal, with small files, was damaged and is now {self.journal.damaged}")
        if aside:
            self.problems.append(f"content that no journal knows is in {aside}")
        self.journal.begin()

    def _damaged(self, row: Pending) -> None:
        self.journal.update(
            replace(row, state=State.FAILED, error_kind=DAMAGED, error="its content is not in the cache")
        )
        self.problems.append(f"{paths.printable(row.path)}: its content is damaged and is not uploaded")

    def start(self) -> None:
        """Upload in the background from now on."""
        self.drain.start()

    def close(self) -> None:
        """Stop; what is not uploaded stays in the journal. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.drain.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for fetching in list(self._fetching.values()):
            fetching.save()
        with self.lock:
            for draft in list(self._drafts):
                draft.discard()
            self._save_uses()
            self.journal.close()
            self.files.close()
            self._ownership.release()
        self.inner.close()

    def flush(self, path: str = "", *, timeout: float | None = None) -> list[Pending]:
        """Bring what is pending at, above and below `path` to the store below now; returns what is still pending."""
        return self.drain.flush(path, timeout=timeout)

    def upload(self, path: str, *, timeout: float) -> None:
        """Bring what is pending for `path` to the store below, and wait for it; at once where nothing is.

        Raises the error of the try that failed, TemporaryError after `timeout` seconds; what is not uploaded stays
        pending, and is tried again. What a remote edit made a conflict is uploaded under its other name.
        """
        self.drain.upload(path, timeout=timeout)

    def settled(self, path: str, version: str | None) -> None:
        """Under the lock: changes based on what was pending at `path` are based on this version now ("": nothing).

        It was brought to the remote; or it never will be under this name, and this is what it was based on itself.
        """
        self._settlements += 1
        self._settled[path] = (self._settlements, version)
        self._settled.move_to_end(path)
        while len(self._settled) > _REMEMBERED:
            self._settled.popitem(last=False)

    def settlements_move(self, src: str, dst: str) -> None:
        """Under the lock: a directory is renamed, with all that is below it."""
        for path in [path for path in self._settled if paths.is_within(path, src)]:
            self._settled[dst + path[len(src) :]] = self._settled[path]

    def brought(self, row: Pending) -> None:
        """Under the lock: a row that is no upload is done at the remote."""
        self._renames += row.what is What.RENAME

    def settlement(self, path: str) -> int:
        """Under the lock: a number that grows whenever we brought `path` to the remote."""
        return self._settled.get(path, (0, None))[0]

    def _fresh(self, path: str, base: Base) -> str | None:
        """Under the lock: the base as it is by now."""
        count, version = self._settled.get(path, (0, None))
        return version if count > base.mark else base.version

    def base_now(self, path: str, base: Base) -> Base:
        """Under the lock: the same, so that it stays right however many changes follow."""
        return Base(self._fresh(path, base), self._settlements)

    def _record(
        self,
        rows: list[Pending],
        *,
        dropped: list[Pending] = (),  # type: ignore[assignment]  # empty
        made: Content | None = None,
        due_now: list[int] = (),  # type: ignore[assignment]  # empty
        local: LocalChange | None = None,
    ) -> list[Pending]:
        """Under the lock: one transaction, then what is shown."""
        self._settle()
        added = self.journal.record(rows, dropped=dropped, made=made, due_now=due_now, local=local)
        patient = len(added) == 1 and not dropped and not due_now and added[0].state is State.DIRTY
        if patient and local is None and self._unneeded is not None and not self.overlay.failed:
            self._unsettled += added
            return added
        if local is not None:
            self.overlay.local.change(add=local.add, remove=local.remove)
        kept = {row.content for row in rows} if dropped else ()
        for old in dropped:
            self.overlay.drop(old)
            if old.content is not None and old.content not in kept:
                self.unlink(old.content)
        for row in added:
            self.overlay.add(row)
            if self.overlay.failed:
                self._try_again(row)
        for seq in due_now:
            self.overlay.replace(replace(self.overlay.rows[seq], due=0.0, next_try=0.0))
        self.waiting.wake(added[0].when if patient else None)
        return added

    def _try_again(self, new: Pending) -> None:
        """Under the lock: something was changed where a try had failed for good, and waits for that."""
        for place in new.places:
            for row in list(self.overlay.touching(place)):
                if row.state is State.FAILED:
                    again = replace(row, state=State.DIRTY, due=0.0, next_try=0.0)
                    self.journal.update(again)
                    self.overlay.replace(again)

    def _save_uses(self) -> None:
        if self._uses:
            self.journal.use([(when, number) for number, when in self._uses.items()])
            self._uses.clear()

    def size_of(self, number: int) -> int | None:
        """Bytes of a row's content as they are here; None where it is missing."""
        with self.lock:
            size = self.journal.inline.size(number)
        return self.files.size(number) if size is None else size

    def source_of(self, number: int, size: int) -> Source:
        """The content of a row."""
        with self.lock:
            if self.journal.inline.size(number) is None:
                return data_files.FileSource(self.files.path(number), size)
        inline = self.journal.inline

        def read() -> bytes | None:
            with self.lock:
                return inline.data(number)

        def measure() -> int | None:
            with self.lock:
                return inline.size(number)

        return InlineSource(size, read, measure)

    def new_id(self) -> int:
        """Under the lock."""
        self._next_id += 1
        return self._next_id - 1

    def unlink(self, number: int | None) -> None:
        """Under the lock: a data file that no row has any more goes, when nobody has it open: he may go on with it."""
        if number is None or any(draft.number == number for draft in self._drafts):
            return
        if number in self._open:
            self._left_open.add(number)
        elif self._unneeded is not None:
            self._unneeded.append(number)  # a crash before the commit brings its row back
        else:
            self.files.remove(number)

    def together(self, make: Callable[[], _T], told: Callable[[], None] | None = None) -> _T:
        """Call `make` under the lock, in one transaction with others who wait; on the disk when it returns.

        `told` is called as soon as it is, by any thread; it raises nothing, and asks nothing of the store.
        """
        return self._together.run(make, told)

    def all_together(
        self, makes: Iterable[Callable[[], _T]], told: Iterable[Callable[[], None]] = ()
    ) -> list[_T | Exception]:
        """The same of several: the result or the error of each."""
        return self._together.run_all(makes, told)

    def _settle(self) -> None:
        """Under the lock: what was recorded within a change is shown."""
        if self._unsettled:
            rows, self._unsettled = self._unsettled, []
            for row in rows:
                self.overlay.add(row)
                self.waiting.wake(row.when)

    @contextmanager
    def _shared(self, *, one: bool = False) -> Iterator[None]:
        """Under the lock: the transaction, and what may go when it is on the disk."""
        if self._unneeded is not None:
            yield  # within another one
            return
        unneeded = self._unneeded = []
        try:
            with self.journal.together(one=one):
                yield
        finally:
            self._unneeded = None
        for number in unneeded:
            self.files.remove(number)

    def _reread(self) -> None:
        """Under the lock: the transaction was not to be had, so that what is shown is what was before."""
        self._unsettled.clear()
        self._left_open -= {number for number, _, _ in self.journal.sizes()}
        for draft in self._drafts:
            draft.undone()
        self.overlay = Overlay(self.journal.pending(), self.journal.local())
