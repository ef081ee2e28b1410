"""MetadataCaching: what `stat` and listings said, remembered over runs for a number of seconds.

It sees every change that is made through it, and those of other runs of cftool on this machine, and keeps itself right:
entries of uploads, deletions as negative entries, listings with both. What others change remotely shows after `ttl`
seconds, and where the service has a feed of changes, one request then confirms all that is known. Content is not kept.

Invariant: an answer is kept only where no change that touches it began or ended between its request and its end. A
change whose outcome is unknown (any error, any death) forgets what it could have touched.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from cftool.core import paths
from cftool.core.errors import Interrupted, NotFound, PreconditionFailed, StoreError
from cftool.core.store import Store
from cftool.core.types import (
    Cap,
    ChangeSet,
    Download,
    Entry,
    Features,
    Leftover,
    ReadItem,
    Result,
    Source,
    Usage,
    WriteItem,
)
from cftool.core.wrapper import StatefulWrapper
from cftool.wrap.metadata import place, rows
from cftool.wrap.metadata.cache import Cache
from cftool.wrap.metadata.feed import Feed
from cftool.wrap.metadata.gather import Gathering
from cftool.wrap.metadata.marks import Extent, Mark
from cftool.wrap.metadata.tables import START, Row

_Item = TypeVar("_Item", WriteItem, Entry)
_PREFETCH = 2000  # entries of a directory that is listed because two of its names were asked for
_PARENTS = 1000  # directories of which it is remembered that a name was asked for


class MetadataCachingStore(StatefulWrapper):
    """`ttl` in seconds of `clock`; `directory` is that of the remote's cache; None: in memory.

    `view` tells apart who sees the same remote with other eyes; changes concern all. `limit` bounds bytes.
    """

    def __init__(
        self,
        inner: Store,
        *,
        ttl: float,
        directory: str | None = None,
        view: str = "",
        clock: Callable[[], float] = place.now,
        limit: int | None = None,
    ) -> None:
        super().__init__(inner)
        features = inner.features
        implicit = Cap.IMPLICIT_DIRS in features.caps
        self._cache = Cache(directory, features, ttl=ttl, view=view, clock=clock, limit=limit, implicit=implicit)
        self._feed = Feed(inner, self._cache)
        self._answers = True
        self._lock = threading.Lock()
        self._missed: OrderedDict[str, str | None] = OrderedDict()  # by directory: the name, None: it is not listed

    @property
    def features(self) -> Features:
        """The inner store's."""
        return self.inner.features

    def close(self) -> None:
        """Of the cache too."""
        self._cache.close()
        self.inner.close()

    def ask_always(self) -> None:
        """From now on nothing is answered from the cache; what is heard and changed is kept in it all the same."""
        self._answers = False

    # ---- looking

    def stat(self, path: str) -> Entry:
        """From what an earlier stat, upload or complete listing said, else asked."""
        if not self._answers:
            return self.look(path)
        answer = self._cache.stat(path)
        if not answer.known and answer.stale and self._feed.confirm():
            answer = self._cache.stat(path)
        if not answer.known and self._is_second(path) and self._prefetched(paths.parent(path)):
            answer = self._cache.stat(path)
        if not answer.known:
            return self.look(path)
        if answer.entry is None:
            raise NotFound("not found", op="stat", path=path, store=self.name)
        return answer.entry

    def look(self, path: str) -> Entry:
        """As `stat`, but always asked: for who must know how it is now. Kept."""
        self._feed.begin()
        asked = self._cache.asked()
        try:
            found = self.inner.stat(path)
        except NotFound:
            self._cache.learn(path, None, asked)
            raise
        self._cache.learn(path, found, asked)
        return found

    def scan(self, path: str) -> Iterator[Entry]:
        """From an earlier complete listing, else asked; kept once it has ended."""
        if not self._answers:
            yield from self._asked_for(path, START)
            return
        found = self._cache.scan(path)
        if found.source is None and not found.gone and found.stale and self._feed.confirm():
            found = self._cache.scan(path)
        if found.gone:
            raise NotFound("not found", op="scan", path=path, store=self.name)
        place: Row | None = START
        if found.source is not None:
            while place is not None:
                page = self._cache.page(path, found.source, place)
                if page is None:
                    break  # forgotten meanwhile: the rest is asked for
                yield from page[0]
                place = page[1]
        if place is not None:
            yield from self._asked_for(path, place)

    def _asked_for(self, path: str, after: Row) -> Iterator[Entry]:
        """What the remote has behind the place `after`; all of it is kept."""
        self._feed.begin()
        gathering = Gathering(self._cache, path, self._cache.asked(), walk=False)
        try:
            for entry in self.inner.scan(path):
                gathering.add(entry)
                if after is START or self._cache.tables.place_of(entry) > after:
                    yield entry
        except NotFound:
            gathering.gone()
            raise
        except BaseException:
            gathering.abandon()
            raise
        gathering.finish()

    def walk(self, path: str) -> Iterator[Entry]:
        """From listings, where those of all directories are known, else asked; kept once it has ended."""
        if self._answers:
            found = self._cache.walk(path)
            if found.stale and self._feed.confirm():
                found = self._cache.walk(path)
            if found.source is not None:
                yield from self._walk_known(path)
                return
        self._feed.begin()
        gathering = Gathering(self._cache, path, self._cache.asked(), walk=True)
        try:
            for entry in self.inner.walk(path):
                gathering.add(entry)
                yield entry
        except BaseException:
            gathering.abandon()
            raise
        gathering.finish()

    def _walk_known(self, path: str) -> Iterator[Entry]:
        """Directory by directory in the order of the merge; what is forgotten meanwhile is asked for."""
        levels = [iter(sorted(self.scan(path), key=rows.order))]
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop()
                continue
            yield entry
            if entry.is_dir:
                try:
                    levels.append(iter(sorted(self.scan(entry.path), key=rows.order)))
                except NotFound:  # removed meanwhile, with all that was below it
                    continue

    def prefetch(self, path: str, *, limit: int = _PREFETCH) -> bool:
        """List a directory, so that its names are known; False where it has more than `limit`, and is not kept."""
        listing = self.scan(path)
        for count, _ in enumerate(listing, 1):
            if count > limit:
                listing.close()  # type: ignore[attr-defined]  # a generator
                return False
        return True

    def _is_second(self, path: str) -> bool:
        """Whether another name of this directory was asked for before, and its listing would tell all of both."""
        features = self.inner.features
        if not path or not (features.listed_time or features.time_precision_ns is None):
            return False
        directory = paths.parent(path)
        with self._lock:
            if directory not in self._missed:
                self._missed[directory] = path
                if len(self._missed) > _PARENTS:
                    self._missed.popitem(last=False)
                return False
            return self._missed[directory] not in {None, path}

    def _prefetched(self, directory: str) -> bool:
        try:
            found = self.prefetch(directory)
        except Interrupted:
            raise
        except StoreError:  # whoever asks for the name itself hears what is wrong
            found = False
        if not found:
            with self._lock:
                self._missed[directory] = None
        return found

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """Asked; content is not kept. Where the entry was stale it is forgotten."""
        try:
            return self.inner.read(path, start=start, end=end, if_version=if_version)
        except (NotFound, PreconditionFailed):
            self._cache.forget(path)
            raise

    # ---- what others changed

    def poll(self) -> frozenset[str]:
        """What others changed since the last call, as far as the service's feed and this machine's runs tell.

        Each path stands for itself and all below it, "" for everything. One request where there is a feed, else none.
        The first call only begins.
        """
        self._feed.begin()
        self._feed.confirm(at_once=True)
        return self._cache.others_changed()

    # ---- changing

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """Kept: the entry of an upload is what stat would say, or part of it."""
        with self._changing(path) as change:
            entry = self.inner.write(path, source, modified_ns=modified_ns, if_version=if_version, if_absent=if_absent)
            change.put.append(entry)
        return entry

    def delete(self, path: str) -> None:
        """Kept as a negative entry."""
        with self._changing(path, removes=True) as change:
            self.inner.delete(path)
            change.drop.append(path)

    def mkdir(self, path: str) -> Entry:
        """Kept where directories can be empty; elsewhere nothing was made."""
        with self._changing(path) as change:
            entry = self.inner.mkdir(path)
            if Cap.EMPTY_DIRS in self.features.caps:
                change.put.append(entry)
        return entry

    def rmdir(self, path: str) -> None:
        """Kept as a negative entry; the root stays."""
        with self._changing(path, removes=True) as change:
            self.inner.rmdir(path)
            if path:
                change.drop.append(path)

    def copy(self, src: str, dst: str) -> Entry:
        """Kept as an upload is."""
        with self._changing(dst) as change:
            entry = self.inner.copy(src, dst)
            change.put.append(entry)
        return entry

    def move(self, src: str, dst: str) -> Entry:
        """Kept; all that was known below either name is forgotten."""
        with self._changing(src, dst, extent=Extent.TREE, removes=True) as change:
            entry = self.inner.move(src, dst)
            if src != dst:
                change.drop.append(src)
            change.put.append(entry)
        return entry

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Kept."""
        with self._changing(path) as change:
            entry = self.inner.set_modified(path, modified_ns)
            change.put.append(entry)
        return entry

    def tree(self, path: str) -> Iterator[Entry]:
        """Asked, and nothing of it is kept: who asks so removes what there is."""
        return self.inner.tree(path)

    def delete_dir(self, path: str) -> None:
        """All that was known below is forgotten; the directory is kept as a negative entry."""
        with self._changing(path, extent=Extent.TREE, removes=True) as change:
            self.inner.delete_dir(path)
            change.drop.append(path)

    @contextmanager
    def _changing(self, *touched: str, extent: Extent = Extent.ONE, removes: bool = False) -> Iterator["_Change"]:
        change = _Change(self._cache.clock())
        begun = self._cache.begin(*touched, extent=extent, removes=removes)
        try:
            yield change
        finally:
            # After an error nothing is put or dropped: all that was touched is forgotten.
            self._cache.end(begun, put=change.put, drop=change.drop, asked=change.asked)

    # ---- batches

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Each result is kept as that of `write`."""
        return self._batch(items, lambda item: item.path, self.inner.write_many, removes=False)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Each result is kept as that of `delete`."""
        return self._batch(entries, lambda entry: entry.path, self.inner.delete_many, removes=True)

    def _batch(
        self,
        items: Iterable[_Item],
        path_of: Callable[[_Item], str],
        run: Callable[[Iterable[_Item]], Iterator[Result]],
        *,
        removes: bool,
    ) -> Iterator[Result]:
        under_way: dict[str, list[tuple[Mark, float]]] = {}
        overlapped: set[str] = set()  # paths that were under way twice: nobody knows which was the last

        def noted() -> Iterator[_Item]:
            for item in items:
                path = path_of(item)
                asked = self._cache.clock()
                begun = under_way.setdefault(path, [])
                begun += [(mark, asked) for mark in self._cache.begin(path, removes=removes)]
                if len(begun) > 1:
                    overlapped.add(path)
                yield item

        try:
            for result in run(noted()):
                self._ended(result, under_way, overlapped, removes=removes)
                yield result
        finally:
            # Where the batch ended early nobody knows which of these were done.
            self._cache.end([mark for begun in under_way.values() for mark, _ in begun])

    def _ended(
        self, result: Result, under_way: dict[str, list[tuple[Mark, float]]], overlapped: set[str], *, removes: bool
    ) -> None:
        begun = under_way.get(result.path)
        if not begun:
            self._cache.forget(result.path)
            return
        mark, asked = begun.pop(0)
        if result.entry is None or result.path in overlapped:
            self._cache.end([mark])
        elif removes:
            self._cache.end([mark], drop=[result.path], asked=asked)
        else:
            self._cache.end([mark], put=[result.entry], asked=asked)
        if not begun:
            del under_way[result.path]
            overlapped.discard(result.path)

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Asked; an entry that proved stale is forgotten."""
        for result in self.inner.read_many(items):
            if isinstance(result.error, NotFound | PreconditionFailed):
                self._cache.forget(result.path)
            yield result

    # ---- the rest: asked

    def changes(self, cursor: str | None) -> ChangeSet:
        """What changed is forgotten."""
        when = self._cache.clock()
        found = self.inner.changes(cursor)
        self._cache.feed_told(None, found, when)
        return found

    def usage(self) -> Usage:
        """Asked."""
        return self.inner.usage()

    def link(self, path: str, *, expires: float | None = None) -> str:
        """Asked."""
        return self.inner.link(path, expires=expires)

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Asked."""
        return self.inner.leftovers(path, older_than=older_than)

    def remove_leftover(self, leftover: Leftover) -> None:
        """Asked."""
        self.inner.remove_leftover(leftover)

    def probe(self, path: str) -> Cap:
        """Asked."""
        return self.inner.probe(path)


class _Change:
    """What came of a change that began at `asked`."""

    def __init__(self, asked: float) -> None:
        self.asked = asked
        self.put: list[Entry] = []
        self.drop: list[str] = []
