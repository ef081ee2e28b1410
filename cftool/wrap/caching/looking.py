"""Looking at a tree through its journal: `stat` and listings of the store below, with the pending changes laid over.

For the owner of a cache and for those who only visit it. One lock guards overlay and journal; it is never held while
the network is waited for.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace

from cftool.core import paths
from cftool.core.errors import (
    NotADirectory,
    NotFound,
    TemporaryError,
)
from cftool.core.store import Store
from cftool.core.types import Cap, Entry, Kind
from cftool.core.wrapper import StatefulWrapper
from cftool.wrap.caching.journal import Journal
from cftool.wrap.caching.overlay import Found, Listing, Overlay, Shows
from cftool.wrap.caching.rows import Content, What

_log = logging.getLogger("cftool.cache")
_LOOKS = 10  # at a directory that is renamed at the remote all the time


class Looking(StatefulWrapper):
    """See the module. Whoever inherits it gives `overlay` and `journal`."""

    overlay: Overlay
    journal: Journal
    alone = True  # whether nobody else may have made a directory that this journal makes

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.lock = threading.RLock()
        self._settlements = 0  # counts what was brought to the remote here
        self._renames = 0  # of that the renames

    @property
    def implicit(self) -> bool:
        """Whether directories of the store below come and go with what is in them."""
        return Cap.IMPLICIT_DIRS in self.inner.features.caps

    def _look(self) -> None:
        """Before the overlay is asked: for those who have to notice what others did."""

    def stat(self, path: str) -> Entry:
        """The pending entry, else that of the store below; of clean content where the store cannot be reached."""
        found, renames = self._found_when(path)
        while True:
            try:
                return self._entry(path, found)
            except NotFound:  # maybe it was brought there between our two looks, or to and fro
                before = (found, renames)
                found, renames = self._found_when(path)
                if (found, renames) == before:
                    raise

    def _found_when(self, path: str) -> tuple[Found, int]:
        """What decides a path, and how many renames were brought to the remote by then."""
        self._look()
        with self.lock:
            return self.overlay.find(path), self._renames

    def kept(self, path: str) -> Entry | None:
        """What is here of `path`, and of what is below it, without a question to the store below; None: nothing."""
        with self.lock:
            found = self.overlay.find(path)
            if found.shows is Shows.PENDING:
                assert found.row is not None
                return found.row.entry(path)
            content = self.journal.clean(found.path) if found.shows is Shows.BELOW else None
            if content is not None and content.blocks is None:
                return entry_of(content, path)
            below = found.implied or (found.shows is Shows.BELOW and self.journal.clean_within(found.path))
            return Entry(path, Kind.DIRECTORY) if below and content is None else None

    def _entry(self, path: str, found: Found) -> Entry:
        if found.shows is Shows.PENDING:
            assert found.row is not None
            return found.row.entry(path)
        if found.shows is Shows.BELOW:
            try:
                return self._below(found).at(path)
            except NotFound:
                if not found.implied:
                    raise
            except TemporaryError:
                with self.lock:
                    content = self.journal.clean(found.path)
                if content is None or content.blocks is not None:
                    raise
                _log.info("%s: the remote cannot be asked; the cached entry stands", paths.printable(path))
                return entry_of(content, path)
        if found.implied or not path:
            return Entry(path, Kind.DIRECTORY)
        raise NotFound("not found", op="stat", path=path, store=self.name)

    def _below(self, found: Found) -> Entry:
        """The entry of the store below, with its path there: the old one, or the new one of a rename under way."""
        try:
            return self.inner.stat(found.path)
        except NotFound:
            if found.otherwise is None:
                raise
            return self.inner.stat(found.otherwise)

    def _place(self, found: Found) -> str:
        """Where the store below has it."""
        return found.path if found.otherwise is None else self._below(found).path

    def scan(self, path: str) -> Iterator[Entry]:
        """The listing below with the pending changes laid over it."""
        self._look()
        with self.lock:
            found = self.overlay.find(path)
            listing = self.overlay.children(path)
            mark, renames = self._settlements, self._renames
        if found.shows is Shows.PENDING and found.row is not None and found.row.what is not What.MKDIR:
            raise NotADirectory("not a directory", op="scan", path=path, store=self.name)
        if found.shows is Shows.GONE and not found.implied and path:
            raise NotFound("not found", op="scan", path=path, store=self.name)
        seen: set[str] = set()
        missing: NotFound | None = None
        there = False  # under one of its two names
        below = listing.below
        if not self.alone and found.shows is Shows.PENDING and found.row is not None and found.row.path == path:
            below = path
        todo = _places(below, listing.otherwise)
        looked: set[str] = set()
        moves = renames
        for _attempt in range(_LOOKS):
            if not todo:
                break
            for place in todo:
                looked.add(place)
                try:
                    yield from self._scanned(path, place, listing, seen)
                    there = True
                except NotFound as error:
                    missing = error
                if seen and place == path and self.implicit:
                    self._not_needed(path, seen, mark)
            todo, moves, listing = self._moved_meanwhile(path, listing, looked, moves, missed=missing is not None)
        here = listing.decided or listing.implied or found.implied or found.shows is Shows.PENDING
        if missing is not None and not there and not seen and not here:
            if self._found_when(path) == (found, renames):
                raise missing
            yield from self.scan(path)  # it was brought there between our two looks
            return
        yield from self._decided(path, listing, seen)

    def _moved_meanwhile(
        self, path: str, listing: Listing, looked: set[str], renames: int, *, missed: bool
    ) -> tuple[list[str], int, Listing]:
        """Where else to look for a directory that was renamed at the remote while it was listed, maybe to and fro."""
        with self.lock:
            if renames == self._renames and not self.overlay.has_renames:
                return [], renames, listing
            now = self.overlay.children(path)
            again = missed and renames != self._renames
            todo = [place for place in _places(now.below, now.otherwise) if again or place not in looked]
            return todo, self._renames, replace(listing, below=now.below, otherwise=now.otherwise)

    def _scanned(self, path: str, place: str, listing: Listing, seen: set[str]) -> Iterator[Entry]:
        """What the store below has in a directory, but for what the rows decide."""
        with self.lock:
            times = self._times(place, listing)
        lead = len(place) + 1 if place else 0
        for below in self.inner.scan(place):
            entry = _with_time(below, times) if times else below
            name = entry.path[lead:]  # not `entry.name`: the key `a//b` is no other place of `a/b`
            if name in seen or name in listing.decided or (name in listing.implied and not entry.is_dir):
                continue
            seen.add(name)
            yield entry.at(paths.join(path, name))

    def _times(self, place: str, listing: Listing) -> dict[str, tuple[str | None, int]]:
        """Under the lock: own times by path; while a rename is under way, the journal has them under the old name."""
        found = self.journal.times(place)
        old = listing.below
        if old is not None and place == listing.otherwise:
            found = {place + path[len(old) :]: time for path, time in self.journal.times(old).items()} | found
        return found

    def _decided(self, path: str, listing: Listing, seen: set[str]) -> Iterator[Entry]:
        """What the rows make of a directory's names."""
        shown = set(seen)
        for name, one in listing.decided.items():
            child = paths.join(path, name)
            shown.add(name)
            if one.shows is Shows.GONE:
                if one.implied or name in listing.implied:
                    yield Entry(child, Kind.DIRECTORY)
                continue
            try:
                yield self._entry(child, one)
            except NotFound:
                with contextlib.suppress(NotFound):  # removed at the remote meanwhile
                    yield self.stat(child)  # as it is by now
        for name in listing.implied - shown:
            yield Entry(paths.join(path, name), Kind.DIRECTORY)

    def walk(self, path: str) -> Iterator[Entry]:
        """The store's own where nothing is pending there, else level by level, in the order that `features` says."""
        self._look()
        with self.lock:
            touched = path in self.overlay.local or self.overlay.touched(path)
        if not touched:
            yield from self.inner.walk(path)
            return
        for entry in sorted(self.scan(path), key=paths.entry_key):
            yield entry
            if entry.is_dir:
                yield from self.walk(entry.path)

    def _not_needed(self, directory: str, seen: set[str], mark: int) -> None:
        """The remote was seen to have something in it, which is shown."""


def entry_of(content: Content, path: str) -> Entry:
    """The remote entry that clean content equals."""
    return Entry(
        path, Kind.FILE, content.size, content.modified_ns, content.stored_ns, content.version, content.remote_id,
        content.hashes,
    )  # fmt: skip


def _with_time(entry: Entry, times: dict[str, tuple[str | None, int]]) -> Entry:
    """With the file's own time, where the listing has none and the very version is known here."""
    if entry.modified_ns is not None or entry.is_dir:
        return entry
    version, when = times.get(entry.path, (None, 0))
    return entry._replace(modified_ns=when) if version is not None and version == entry.version else entry


def _places(*places: str | None) -> list[str]:
    return [place for place in places if place is not None]
