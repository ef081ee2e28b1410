"""One side's listing, running ahead in its own thread: (key, entry) strictly rising, in chunks of a bounded queue.

Listings that do not come in the order of the merge are sorted in runs on disk. Directories that could not be read are
told with the chunk, before any later key is decided. An exception of the thread is raised in the thread that
iterates; only a listing that ended by itself is complete.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING

from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import Interrupted, ListingError, LoginRequired, StoreError, TemporaryError, Unnamed
from cftool.core.store import Store
from cftool.core.types import Cap, Entry, Features, Kind, WalkOrder
from cftool.transfer.hidden import TRASH, is_hidden
from cftool.transfer.merge import KeyOf, exact_key
from cftool.transfer.options import Select
from cftool.transfer.select import prunes, timed
from cftool.transfer.spool import Keyed, Sorter

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

log = logging.getLogger("cftool.transfer.scan")

_CHUNK = 512  # entries a queue item: a hand-over between threads costs as much as 50 entries
_AHEAD = 16  # chunks that wait in the queue
_POLL = 0.1  # seconds between looks at the stop flag while waiting
_DIRECTORIES = 8  # read at once, at most
_MEMO = 4096  # directories whose selection is remembered

# These concern the whole service: asking for the next directory would only fail again.
_GENERAL = (TemporaryError, LoginRequired, Interrupted)


_NOWHERE = b"\0"  # no key begins so

_MARK = "\0not selected"  # no service has a NUL in its ids


def is_mark(entry: Entry) -> bool:
    """Whether the entry only says that the source has a file here which the filter left out."""
    return entry.id == _MARK


class Stopped(Exception):
    """The run was interrupted while it waited for a listing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A directory that could not be listed; everything below `key` is unknown."""

    key: bytes
    path: str
    error: StoreError


@dataclass(slots=True)
class Chunk:
    """What one queue item holds."""

    entries: list[Keyed] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    last: bool = False
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class How:
    """How to list a side, all below `root`. `in_memory`: entries that are sorted without a file.

    `top`: `root` itself as well, as Store.tree has it (Cap.TREE).

    `mark`: files that the filter leaves out come as marks (`is_mark`) instead of not at all, because what the source
    has, selected or not, protects its namesake at the destination. `hide`: what lies in a trash is left out.
    """

    root: str = ""
    top: bool = False
    key_of: KeyOf = exact_key
    select: Select | None = None
    mark: bool = False
    hide: bool = False
    spool_dir: str | None = None
    in_memory: int = 20_000


class Scan:
    """The listing of a store's root: `start`, then `first` or iterate, then `close`. One consumer."""

    def __init__(
        self,
        store: Store,
        how: How,
        *,
        name: str,
        address: str | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self._address = address  # told with an error of the root itself, which has no other name
        self.complete = False  # ended by itself, with every directory read
        self.listed = False  # nothing more is asked for: what is left waits in the queue
        self.failed: BaseException | None = None
        self.problems: list[Problem] = []
        self._store = store
        self._how = how
        self._cancelled = cancelled
        self._queue: queue.Queue[Chunk] = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._first: Chunk | None = None
        self._thread = threading.Thread(target=self._run, name=f"scan {name}", daemon=True)

    def start(self) -> None:
        """Begin to list."""
        self._thread.start()

    def first(self) -> Chunk:
        """Wait for the first chunk, so that an error of the very beginning is raised here."""
        if self._first is None:
            self._first = self._take()
        return self._first

    def chunks(self) -> Iterator[list[Keyed]]:
        """The entries, some hundreds at a time."""
        chunk = self.first()
        while True:
            yield chunk.entries
            if chunk.last:
                self.complete = not self.problems
                return
            chunk = self._take()

    def __iter__(self) -> Iterator[Keyed]:
        for entries in self.chunks():
            yield from entries

    def close(self) -> None:
        """Stop the thread. One that is inside a request ends with the request; the process does not wait for it."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=2.0)

    def _take(self) -> Chunk:
        while self.failed is None:
            if self._cancelled():
                raise Stopped
            try:
                chunk = self._queue.get(timeout=_POLL)
            except queue.Empty:
                continue
            self.failed = chunk.error
            if self._address is not None and isinstance(chunk.error, StoreError):
                placed(chunk.error, self._address)
            break
        if self.failed is not None:
            raise self.failed
        self.problems += chunk.problems
        return chunk

    def _put(self, chunk: Chunk) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(chunk, timeout=_POLL)
            except queue.Full:
                continue
            return True
        return False

    def _run(self) -> None:
        beside = Chunk()
        try:
            for entries in Listing(self._store, self._how, beside).batches():
                beside.entries = entries
                if not self._put(replace(beside)):
                    return
                beside.problems = []
            beside.entries = []
            self.listed = True
            self._put(replace(beside, last=True))
        except BaseException as error:
            self._put(Chunk(error=error))


def placed(error: StoreError, address: str) -> StoreError:
    """`error`, told with the address that was typed where it concerns that very place."""
    if not error.path:
        error.place = address
    return error


class Listing:
    """The entries of one store below its root, filtered, keyed and in order; runs in the thread of `Scan`."""

    def __init__(self, store: Store, how: How, beside: Chunk) -> None:
        self._store = store
        self._how = how
        self._beside = beside
        self._memo: dict[str, bool] = {"": True}
        # A recursive listing would look into directories that the filter leaves out.
        self._walks = Cap.WALK in store.features.caps and not prunes(how.select)

    def batches(self) -> Iterator[list[Keyed]]:
        """Batches in rising order; raises ListingError where the order is broken."""
        exact = self._how.key_of is exact_key
        last: bytes | None = None
        last_path = ""
        for batch in self._ordered():
            for key, entry in batch:
                if last is not None and key <= last:
                    # Equal keys of two names are twins of a folding merge; a name listed twice proves a bad listing.
                    if exact or key < last or entry.path == last_path:
                        raise ListingError(
                            "the listing is not in order, or names something twice", op="walk", path=entry.path
                        )
                    last_path = entry.path
                elif not exact:
                    last_path = entry.path
                last = key
            yield batch

    def _ordered(self) -> Iterator[list[Keyed]]:
        if not _in_order(self._store, self._how):
            yield from self._sorted()
        elif self._walks:
            yield from self._walk(isolate=not self._store.features.remote)
        else:
            yield from _batched(self._by_scan(None))

    def _walk(self, *, isolate: bool) -> Iterator[list[Keyed]]:
        """The store's own walk. Where one directory of a local tree cannot be read, go on behind it by `scan`."""
        walk = self._store.tree(self._how.root) if self._how.top else self._store.walk(self._how.root)
        last: bytes | None = None
        while True:
            try:
                batch = self._some(walk)
            except StoreError as error:
                if not isolate or isinstance(error, _GENERAL) or not error.path:
                    raise
                log.debug("walk failed at %r, listing by directory", error.path)
                break
            if not batch:
                return
            keyed = [(exact_key(entry.path, entry.kind), entry) for entry in batch]
            last = keyed[-1][0]
            yield self._filtered(keyed)
        yield from _batched(self._by_scan(last))

    def _some(self, entries: Iterator[Entry]) -> list[Entry]:
        """The next of the store's own; an entry that has no name is told beside the others."""
        batch: list[Entry] = []
        try:
            batch.extend(islice(entries, _CHUNK))
        except Unnamed as error:
            self._beside.problems.append(Problem(_NOWHERE, error.path or "", error))
        return batch

    def _filtered(self, keyed: list[Keyed]) -> list[Keyed]:
        if self._how.select is None:
            if not self._how.hide:
                return keyed
            return [pair for pair in keyed if TRASH not in pair[1][0] or not is_hidden(pair[1][0])]
        taking_part = self._selected([entry for _key, entry in keyed])
        return [(exact_key(entry.path, entry.kind), entry) for entry in taking_part]

    def _selected(self, entries: list[Entry]) -> list[Entry]:
        """Those that take part, and the marks of the others."""
        if self._how.hide:
            entries = [entry for entry in entries if not is_hidden(entry[0])]
        if self._how.select is None:
            return entries
        select = self._how.select
        entries = timed(self._store, select, entries)
        return [taken for entry in entries if (taken := self._taken(entry, select)) is not None]

    def _sorted(self) -> Iterator[list[Keyed]]:
        key_of = self._how.key_of
        with Sorter(self._how.spool_dir, in_memory=self._how.in_memory) as sorter:
            if self._walks:
                walk = self._store.walk(self._how.root)
                while batch := self._some(walk):
                    for entry in self._selected(batch):
                        sorter.add(key_of(entry.path, entry.kind), entry)
            else:
                for _key, entry in self._by_scan(None):
                    sorter.add(key_of(entry.path, entry.kind), entry)
            yield from _batched(iter(sorter))

    def _by_scan(self, after: bytes | None) -> Iterator[Keyed]:
        """Directory by directory, depth first, in byte order; only what comes behind `after`."""
        ahead = Ahead(self._directory, self._store.features)
        try:
            yield from self._descend(ahead, after)
        finally:
            ahead.close()

    def _descend(self, ahead: "Ahead", after: bytes | None) -> Iterator[Keyed]:
        stack = [self._directory(self._how.root)]
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
                continue
            key, entry = item
            if after is None or key > after:
                yield item
            elif not after.startswith(key):
                continue
            if entry.kind is not Kind.DIRECTORY:
                continue
            if len(stack) >= paths.MAX_DEPTH:
                raise ListingError(f"deeper than {paths.MAX_DEPTH} directories", op="scan", path=entry.path)
            try:
                ahead.expect(stack[-1])
                stack.append(ahead.take(entry.path))
                ahead.expect(stack[-1])
            except _GENERAL:
                raise
            except StoreError as error:
                where = self._how.key_of(entry.path, Kind.DIRECTORY)
                self._beside.problems.append(Problem(where, entry.path, error))

    def _directory(self, path: str) -> "Level":
        """One directory, sorted; small ones are read to their end before the first entry is given out."""
        keyed: list[Keyed] = []
        entries = self._store.scan(path)
        while batch := self._some(entries):
            keyed += [(exact_key(entry.path, entry.kind), entry) for entry in self._selected(batch)]
            if len(keyed) >= self._how.in_memory:
                large = self._large(keyed, entries)
                # The first step reads it to its end, and raises what there is.
                return Level(chain((next(large),), large), ())
        keyed.sort(key=itemgetter(0))
        return Level(iter(keyed), [entry.path for _key, entry in keyed if entry.kind is Kind.DIRECTORY])

    def _large(self, keyed: list[Keyed], rest: Iterator[Entry]) -> Iterator[Keyed]:
        with Sorter(self._how.spool_dir, in_memory=self._how.in_memory) as sorter:
            for key, entry in keyed:
                sorter.add(key, entry)
            while batch := self._some(rest):
                for entry in self._selected(batch):
                    sorter.add(exact_key(entry.path, entry.kind), entry)
            yield from sorter

    def _taken(self, entry: Entry, select: Select) -> Entry | None:
        """The entry, its mark, or None."""
        if entry.kind is Kind.DIRECTORY:
            return entry if self._directory_selected(entry.path) else None
        if not self._directory_selected(paths.parent(entry.path)):
            return None
        if select.file(entry):
            return entry
        return entry._replace(kind=Kind.OTHER, id=_MARK) if self._how.mark else None

    def _directory_selected(self, path: str) -> bool:
        """Whether the filter takes the directory and all above it; a recursive listing names what is below one."""
        known = self._memo.get(path)
        if known is None:
            select = self._how.select
            assert select is not None
            known = self._directory_selected(paths.parent(path)) and select.directory(path)
            if len(self._memo) >= _MEMO:
                self._memo = {"": True}
            self._memo[path] = known
        return known


class Level:
    """One directory of a listing: an iterator of what is in it, and the directories among that, if they are known."""

    def __init__(self, entries: Iterator[Keyed], directories: Sequence[str]) -> None:
        self._entries = entries
        self.directories = deque(directories)

    def __next__(self) -> Keyed:
        item = next(self._entries)
        if self.directories and item[1].path == self.directories[0]:
            self.directories.popleft()
        return item


class Ahead:
    """Reads directories of a service before it is their turn, some at once: each costs a round trip. In order."""

    def __init__(self, read: Callable[[str], Level], features: Features) -> None:
        self._read = read
        self._threads = min(_DIRECTORIES, features.connections) if features.remote else 1
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: dict[str, Future[Level]] = {}

    def expect(self, level: Level) -> None:
        """The directories of this level come soon, unless there is enough to do."""
        if self._threads < 2 or not level.directories:
            return
        for path in islice(level.directories, 2 * self._threads):
            if len(self._under_way) >= 2 * self._threads:
                return
            if path not in self._under_way:
                if self._pool is None:
                    from concurrent.futures import ThreadPoolExecutor

                    self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="scan ahead")
                self._under_way[path] = self._pool.submit(self._read, path)

    def take(self, path: str) -> Level:
        """The directory, whose turn it is. Raises what reading it raised."""
        under_way = self._under_way.pop(path, None)
        return self._read(path) if under_way is None else under_way.result()

    def close(self) -> None:
        """Begin nothing more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _batched(items: Iterator[Keyed]) -> Iterator[list[Keyed]]:
    while batch := list(islice(items, _CHUNK)):
        yield batch


def _in_order(store: Store, how: How) -> bool:
    """Whether the listing comes in the order of the merge by itself."""
    features = store.features
    return how.key_of is exact_key and (Cap.WALK not in features.caps or features.walk_order is WalkOrder.BYTES)
