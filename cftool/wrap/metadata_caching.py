"""MetadataCaching: what `stat` and listings said, remembered in memory for a run and a number of seconds.

It sees every change that is made through it and keeps itself right: entries of uploads, deletions as negative entries,
listings with both. What others change remotely shows after `ttl` seconds. `walk` always asks, and fills.

Invariant: an answer is kept only where no change began or ended here between its request and its end; it may be older
than a change otherwise. A change whose outcome is unknown (any error) forgets what it could have touched.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from cftool.core import paths
from cftool.core.errors import NotFound, PreconditionFailed
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

Listing = dict[str, Entry]  # by path
_Item = TypeVar("_Item", WriteItem, Entry)


class MetadataCachingStore(StatefulWrapper):
    """`ttl` in seconds of `clock`; `limit` bounds the entries that are kept, listed or not."""

    def __init__(
        self, inner: Store, *, ttl: float, clock: Callable[[], float] = time.monotonic, limit: int = 200_000
    ) -> None:
        super().__init__(inner)
        self._cache = _Cache(ttl, clock, limit, implicit=Cap.IMPLICIT_DIRS in inner.features.caps)

    @property
    def features(self) -> Features:
        """The inner store's."""
        return self.inner.features

    # ---- looking

    def stat(self, path: str) -> Entry:
        """From what an earlier stat, upload or complete listing said, else asked."""
        known, entry, generation = self._cache.entry(path)
        if known:
            if entry is None:
                raise NotFound("not found", op="stat", path=path, store=self.name)
            return entry
        try:
            found = self.inner.stat(path)
        except NotFound:
            self._cache.learn(path, None, generation)
            raise
        self._cache.learn(path, found, generation)
        return found

    def scan(self, path: str) -> Iterator[Entry]:
        """From an earlier complete listing, else asked; kept once it has ended."""
        known, generation = self._cache.listing(path)
        if known is not None:
            yield from known
            return
        collected: Listing = {}
        for entry in self.inner.scan(path):
            if len(collected) <= self._cache.limit:
                collected[entry.path] = entry
            yield entry
        self._cache.learn_listing(path, collected, generation)

    def walk(self, path: str) -> Iterator[Entry]:
        """Always asked; what it says of each directory is kept once it has ended."""
        generation = self._cache.generation
        limit = self._cache.limit
        listings: dict[str, Listing] = {path: {}}
        count = 0
        for entry in self.inner.walk(path):
            count += 1
            if count <= limit:
                listings.setdefault(paths.parent(entry.path), {})[entry.path] = entry
                if entry.is_dir:
                    listings.setdefault(entry.path, {})
            yield entry
        if count <= limit:
            for directory, listing in listings.items():
                self._cache.learn_listing(directory, listing, generation)

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """Asked; content is not kept. Where the entry was stale it is forgotten."""
        try:
            return self.inner.read(path, start=start, end=end, if_version=if_version)
        except (NotFound, PreconditionFailed):
            self._cache.forget(path)
            raise

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
        with self._changing(path):
            entry = self.inner.write(path, source, modified_ns=modified_ns, if_version=if_version, if_absent=if_absent)
            self._cache.put(entry)
        return entry

    def delete(self, path: str) -> None:
        """Kept as a negative entry."""
        with self._changing(path):
            self.inner.delete(path)
            self._cache.drop(path)

    def mkdir(self, path: str) -> Entry:
        """Kept where directories can be empty; elsewhere nothing was made."""
        with self._changing(path):
            entry = self.inner.mkdir(path)
            if Cap.EMPTY_DIRS in self.features.caps:
                self._cache.put(entry)
            else:
                self._cache.forget(path)
        return entry

    def rmdir(self, path: str) -> None:
        """Kept as a negative entry."""
        with self._changing(path):
            self.inner.rmdir(path)
            self._cache.drop(path)

    def copy(self, src: str, dst: str) -> Entry:
        """Kept as an upload is."""
        with self._changing(dst):
            entry = self.inner.copy(src, dst)
            self._cache.put(entry)
        return entry

    def move(self, src: str, dst: str) -> Entry:
        """Kept; all that was known below either name is forgotten."""
        with self._changing(src, dst, trees=True):
            entry = self.inner.move(src, dst)
            self._cache.forget_tree(src)
            self._cache.forget_tree(dst)
            self._cache.drop(src)
            self._cache.put(entry)
        return entry

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Kept."""
        with self._changing(path):
            entry = self.inner.set_modified(path, modified_ns)
            self._cache.put(entry)
        return entry

    @contextmanager
    def _changing(self, *touched: str, trees: bool = False) -> Iterator[None]:
        self._cache.advance()
        try:
            yield
        except BaseException:
            for path in touched:
                if trees:
                    self._cache.forget_tree(path)
                self._cache.forget(path)
            raise
        finally:
            self._cache.advance()

    # ---- batches

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Each result is kept as that of `write`."""
        return self._batch(items, lambda item: item.path, self.inner.write_many, self._cache.put)

    def delete_dir(self, path: str) -> None:
        """All that was known below is forgotten; the directory is kept as a negative entry."""
        with self._changing(path, trees=True):
            self.inner.delete_dir(path)
            self._cache.forget_tree(path)
            self._cache.drop(path)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Each result is kept as that of `delete`."""
        return self._batch(
            entries, lambda entry: entry.path, self.inner.delete_many, lambda entry: self._cache.drop(entry.path)
        )

    def _batch(
        self,
        items: Iterable[_Item],
        path_of: Callable[[_Item], str],
        run: Callable[[Iterable[_Item]], Iterator[Result]],
        keep: Callable[[Entry], None],
    ) -> Iterator[Result]:
        under_way: set[str] = set()

        def noted() -> Iterator[_Item]:
            for item in items:
                self._cache.advance()
                under_way.add(path_of(item))
                yield item

        try:
            for result in run(noted()):
                self._cache.advance()
                under_way.discard(result.path)
                if result.entry is not None:
                    keep(result.entry)
                else:
                    self._cache.forget(result.path)
                yield result
        finally:
            # Where the batch ended early nobody knows which of these were done.
            self._cache.advance()
            for path in list(under_way):
                self._cache.forget(path)

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Asked; an entry that proved stale is forgotten."""
        for result in self.inner.read_many(items):
            if isinstance(result.error, NotFound | PreconditionFailed):
                self._cache.forget(result.path)
            yield result

    # ---- the rest: asked

    def changes(self, cursor: str | None) -> ChangeSet:
        """What changed is forgotten."""
        found = self.inner.changes(cursor)
        if found.reset:
            self._cache.clear()
        for path in found.paths:
            self._cache.forget_tree(path)
            self._cache.forget(path)
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


class _Cache:
    """Entries (None: nothing is there) and listings, each until its time. Thread-safe; the least recently used goes."""

    def __init__(self, ttl: float, clock: Callable[[], float], limit: int, *, implicit: bool) -> None:
        self.limit = limit
        self.generation = 0
        self._ttl = ttl
        self._clock = clock
        self._implicit = implicit  # directories vanish with their last file
        self._lock = Lock()
        self._entries: OrderedDict[str, tuple[float, Entry | None]] = OrderedDict()
        self._listings: OrderedDict[str, tuple[float, Listing]] = OrderedDict()
        self._listed = 0

    def advance(self) -> None:
        """A change begins or ends: answers to earlier requests must not be kept any more."""
        with self._lock:
            self.generation += 1

    def entry(self, path: str) -> tuple[bool, Entry | None, int]:
        """Whether it is known, what it is, and the generation to give to `learn`."""
        with self._lock:
            known = self._entries.get(path)
            if known is not None:
                if known[0] > self._clock():
                    self._entries.move_to_end(path)
                    return True, known[1], self.generation
                del self._entries[path]
            listing = self._fresh(paths.parent(path)) if path else None
            if listing is not None:
                listed = listing.get(path)
                # A listed file may know less than stat does; a directory, or nothing, is the same in both.
                if listed is None or listed.is_dir:
                    return True, listed, self.generation
            return False, None, self.generation

    def listing(self, path: str) -> tuple[list[Entry] | None, int]:
        """A snapshot, or None, and the generation to give to `learn_listing`."""
        with self._lock:
            listing = self._fresh(path)
            return None if listing is None else list(listing.values()), self.generation

    def _fresh(self, path: str) -> Listing | None:
        known = self._listings.get(path)
        if known is None:
            return None
        if known[0] <= self._clock():
            self._forget_listing(path)
            return None
        self._listings.move_to_end(path)
        return known[1]

    def learn(self, path: str, entry: Entry | None, generation: int) -> None:
        """Keep the answer of a stat that was asked at `generation`."""
        with self._lock:
            if generation == self.generation:
                self._keep(path, entry)

    def learn_listing(self, path: str, listing: Listing, generation: int) -> None:
        """Keep a complete listing that was begun at `generation`."""
        with self._lock:
            if generation != self.generation or len(listing) > self.limit:
                return
            self._forget_listing(path)
            self._listings[path] = (self._clock() + self._ttl, dict(listing))
            self._listed += len(listing) + 1
            self._shrink()

    def put(self, entry: Entry) -> None:
        """A change made this entry: it is the truth, and so are its parents.

        Where the service's answer did not tell when it stored it (S3), a stat would know more: then it is asked once.
        """
        with self._lock:
            if entry.stored_ns is None:
                self._entries.pop(entry.path, None)
            else:
                self._keep(entry.path, entry)
            if entry.path:
                self._relist(entry.path, entry)
                self._parents_exist(entry.path)

    def drop(self, path: str) -> None:
        """A change removed this entry."""
        with self._lock:
            self._keep(path, None)
            self._forget_listing(path)
            self._relist(path, None)
            if self._implicit:
                self._parents_may_be_gone(path)

    def forget(self, path: str) -> None:
        """Nothing is known of this path any more, nor whether its parents exist."""
        with self._lock:
            self._forget(path)
            while path:
                path = paths.parent(path)
                self._forget(path)

    def forget_tree(self, path: str) -> None:
        """Nothing is known of this path and of all below it any more."""
        with self._lock:
            self._forget(path)
            lead = path + "/" if path else ""
            for known in [p for p in self._entries if p.startswith(lead)]:
                del self._entries[known]
            for known in [p for p in self._listings if p.startswith(lead)]:
                self._forget_listing(known)

    def clear(self) -> None:
        """Nothing is known any more."""
        self.forget_tree("")

    # ---- with the lock held

    def _forget(self, path: str) -> None:
        self._entries.pop(path, None)
        self._forget_listing(path)
        if path:
            self._forget_listing(paths.parent(path))

    def _forget_listing(self, path: str) -> None:
        known = self._listings.pop(path, None)
        if known is not None:
            self._listed -= len(known[1]) + 1

    def _keep(self, path: str, entry: Entry | None) -> None:
        self._entries[path] = (self._clock() + self._ttl, entry)
        self._entries.move_to_end(path)
        self._shrink()

    def _relist(self, path: str, entry: Entry | None) -> None:
        """Put `entry` into the listing of its directory, or take it out."""
        known = self._listings.get(paths.parent(path))
        if known is None:
            return
        self._listed -= len(known[1])
        if entry is None:
            known[1].pop(path, None)
        else:
            known[1][path] = entry
        self._listed += len(known[1])

    def _parents_exist(self, path: str) -> None:
        while path:
            path = paths.parent(path)
            known = self._entries.get(path)
            if known is not None and known[1] is None:
                del self._entries[path]
            if path:
                listing = self._listings.get(paths.parent(path))
                if listing is not None:
                    if path in listing[1]:
                        return  # it was there before, and so were those above
                    self._forget_listing(paths.parent(path))  # a new directory, whose entry is not known

    def _parents_may_be_gone(self, path: str) -> None:
        while path:
            path = paths.parent(path)
            listing = self._listings.get(path)
            if listing is not None and listing[1]:
                return  # something else keeps it
            self._forget(path)

    def _shrink(self) -> None:
        while self._entries and len(self._entries) > self.limit:
            self._entries.popitem(last=False)
        while self._listings and self._listed > self.limit:
            self._forget_listing(next(iter(self._listings)))
