"""What is known of a remote, and the rules of how it comes, stays right and goes. DESIGN.md has them in words.

`store.MetadataCachingStore` asks it before it asks the remote; `noting.NotingStore` only says what it changes. Every
method is one transaction, or some: nothing is kept outside of the database but who we are.
"""

import sqlite3
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from cftool.core import paths
from cftool.core.types import ChangeSet, Entry, Features, NameRules
from cftool.wrap.metadata import marks, place, rows
from cftool.wrap.metadata.database import Database
from cftool.wrap.metadata.marks import Extent, Mark
from cftool.wrap.metadata.rows import Keys, Unkeepable
from cftool.wrap.metadata.tables import START, Listing, Row, Tables

_T = TypeVar("_T")
_MANY = 5000  # changed paths of one answer, above which everything is forgotten at once
SORTED = 20_000  # entries of one directory that a walk may have in memory
LIMIT = 256 * 1024 * 1024
MEMORY_LIMIT = 64 * 1024 * 1024  # where there is no file


class Asked(NamedTuple):
    """When the remote was asked: in which database, after which mark, and at what time."""

    number: int
    seq: int
    when: float


class Answer(NamedTuple):
    """Of `stat`. `known`: `entry` is it, None: nothing is there. `stale`: it was known, and a feed may confirm it."""

    known: bool
    entry: Entry | None = None
    asked: Asked | None = None
    stale: bool = False


class Pages(NamedTuple):
    """Of `scan`: where the listing is, or that `gone`: nothing is there; neither: not known."""

    source: int | None = None
    gone: bool = False
    asked: Asked | None = None
    stale: bool = False


class FeedState(NamedTuple):
    """The cursor; what was asked for since `since` is confirmed as of `confirmed`."""

    cursor: str
    since: float
    confirmed: float


class _Dead(Exception):
    """No error: it makes the caller bury them and look again."""

    def __init__(self, owners: list[str]) -> None:
        super().__init__()
        self.owners = owners


class Cache:
    """One remote as one view knows it. `ttl` in seconds of `clock`, which all users of a directory share."""

    def __init__(
        self,
        directory: str | None,
        features: Features,
        *,
        ttl: float,
        view: str = "",
        clock: Callable[[], float] = place.now,
        limit: int | None = None,
        implicit: bool = False,
    ) -> None:
        self.ttl = ttl
        self.clock = clock
        self._rules: NameRules = features.names
        self._implicit = implicit  # directories vanish with their last file
        self.tables = Tables(Keys(features.names), view)
        self.database = Database(directory, begun=self._begun)
        default = MEMORY_LIMIT if self.database.directory is None else LIMIT
        self.limit = default if limit is None else limit
        self._seen: tuple[int, int] | None = None  # up to which mark `others_changed` has told: database and number
        self._features = features
        self._stored: bool | None = None  # whether the service tells when it stored a file, where that was seen

    def close(self) -> None:
        """Idempotent."""
        self.database.close()

    # ---- looking

    def stat(self, path: str) -> Answer:
        """What is known of a path."""
        return self._look(lambda db: self._stat(db, path), Answer(known=False))

    def _stat(self, db: sqlite3.Connection, path: str) -> Answer:
        feed = self._feed(db)
        entry = self.tables.entry(db, path)
        listing = self.tables.listing(db, paths.parent(path)) if path else None
        stale = False
        if entry is not None and not self._fresh(entry[0], feed):
            stale = self._covered(entry[0], feed)
            entry = None
        if listing is not None and not self._fresh(listing.asked, feed):
            stale = stale or self._covered(listing.asked, feed)
            listing = None
        if listing is not None:
            found = self._by_listing(db, path, listing, entry)
            if found is not None:
                return found
        elif entry is not None:
            return Answer(known=True, entry=entry[1])
        return Answer(known=False, asked=self._asked(db), stale=stale)

    def _by_listing(
        self, db: sqlite3.Connection, path: str, listing: Listing, entry: tuple[float, Entry | None] | None
    ) -> Answer | None:
        """The later of both decides; where it is a listing that knows less, what was known, if it still can be so."""
        if entry is not None and entry[0] >= listing.asked:
            return Answer(known=True, entry=entry[1])
        listed = self.tables.listed(db, listing.source, path)
        if not listed:
            # Another spelling may be listed, and be the same to the service.
            return None if self.tables.keys.folds else Answer(known=True)
        if len(listed) > 1:
            return None
        stored = self._tells_stored(db, paths.parent(path))
        if rows.is_whole(listed[0], self._features, stored=stored):
            return Answer(known=True, entry=listed[0])
        if entry is not None and entry[1] is not None and rows.agree(entry[1], listed[0]):
            return Answer(known=True, entry=entry[1])
        return None

    def _tells_stored(self, db: sqlite3.Connection, directory: str) -> bool:
        """Whether a stat tells when the service stored a file; where nobody has seen one, it may."""
        if self._stored is None:
            listing = self.tables.listing(db, directory)
            self._stored = None if listing is None else self.tables.tells_stored(db, listing.source, directory)
        return self._stored is not False

    def scan(self, path: str) -> Pages:
        """Where the listing of a directory is to be had."""
        return self._look(lambda db: self._scan(db, path), Pages())

    def _scan(self, db: sqlite3.Connection, path: str) -> Pages:
        feed = self._feed(db)
        listing = self.tables.listing(db, path)
        if listing is not None and self._fresh(listing.asked, feed):
            return Pages(listing.source)
        entry = self.tables.entry(db, path)
        if entry is not None and entry[1] is None and self._fresh(entry[0], feed):
            return Pages(gone=True)
        stale = listing is not None and self._covered(listing.asked, feed)
        return Pages(asked=self._asked(db), stale=stale)

    def walk(self, path: str) -> Pages:
        """Whether the listings of a directory and of all below it are known: then `source` is that of the top."""
        return self._look(lambda db: self._walk(db, path), Pages())

    def _walk(self, db: sqlite3.Connection, path: str) -> Pages:
        feed = self._feed(db)
        top: int | None = None
        stale = False
        todo = [path]
        while todo:
            directory = todo.pop()
            listing = self.tables.listing(db, directory)
            if listing is None:
                return Pages()
            if not self._fresh(listing.asked, feed):
                if not self._covered(listing.asked, feed):
                    return Pages()
                stale = True
            count, below = self.tables.below(db, listing.source, directory)
            if count > SORTED:
                return Pages()
            top = listing.source if top is None else top
            todo += below
        return Pages(stale=True) if stale else Pages(top)

    def page(self, path: str, source: int, after: Row = START) -> tuple[list[Entry], Row | None] | None:
        """Some entries of a listing (see Tables.page); None where it is not that listing any more."""

        def work(db: sqlite3.Connection) -> tuple[list[Entry], Row | None] | None:
            listing = self.tables.listing(db, path)
            if listing is None or listing.source != source:
                return None
            return self.tables.page(db, source, path, after)

        return self._look(work, None)

    def asked(self) -> Asked | None:
        """To be called before the remote is asked for something that is to be kept."""
        return self._look(self._asked, None)

    def _asked(self, db: sqlite3.Connection) -> Asked:
        return Asked(self.database.number, marks.newest(db), self.clock())

    def _look(self, work: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        def looked(db: sqlite3.Connection) -> _T:
            self._check_dead(db)
            return work(db)

        while True:
            try:
                return self.database.look(looked, otherwise)
            except _Dead as found:
                owners = found.owners
            self.database.change(lambda db, dead=owners: self._bury(db, dead), None)  # type: ignore[misc]

    def _fresh(self, asked: float, feed: FeedState | None) -> bool:
        since = asked
        if feed is not None and feed.since <= asked:
            since = max(asked, feed.confirmed)
        return 0 <= self.clock() - since < self.ttl

    @staticmethod
    def _covered(asked: float, feed: FeedState | None) -> bool:
        return feed is not None and feed.since <= asked

    # ---- keeping what the remote said

    def learn(self, path: str, entry: Entry | None, asked: Asked | None) -> None:
        """The answer of a stat; None: nothing is there."""

        def work(db: sqlite3.Connection) -> None:
            if not self.may_keep(db, asked, path):
                return
            assert asked is not None
            if entry is None or not entry.is_dir:
                self.tables.forget_listing(db, path)
            if entry is not None and not entry.is_dir:
                self._stored = entry.stored_ns is not None
            listing = self.tables.listing(db, paths.parent(path)) if path else None
            try:
                self.tables.keep_entry(db, path, entry, asked.when)
                if listing is not None and listing.asked <= asked.when:
                    self.tables.relist(db, path, entry)
            except Unkeepable:
                self._forget(db, path)
            self.shrink(db)

        self.database.learn(work, None)

    def may_keep(self, db: sqlite3.Connection, asked: Asked | None, path: str) -> bool:
        """Whether no change can have made this answer an old one."""
        if asked is None or asked.number != self.database.number:
            return False
        found = marks.in_the_way(db, asked.seq, self.clock())
        if found is None:
            return False
        key = self.tables.keys.of(path)
        return not any(mark.touches(key) for mark in found)

    # ---- changing

    def begin(
        self, *where: str, extent: Extent = Extent.ONE, removes: bool = False, forget: bool = False
    ) -> list[Mark]:
        """A change of these paths is about to be sent; `forget` what it touches now already."""

        def work(db: sqlite3.Connection) -> list[Mark]:
            owner = self.database.owner
            begun = [self._begin(db, path, extent, owner, removes=removes) for path in where]
            for mark in begun if forget else ():
                self._forget_extent(db, mark)
                self._forget(db, mark.path, mark.reach)
            return begun

        return self.database.change(work, [])

    def _begin(self, db: sqlite3.Connection, path: str, extent: Extent, owner: str, *, removes: bool) -> Mark:
        lowest = path if extent is Extent.CHILDREN else paths.parent(path)
        reach = "" if self._implicit and removes else self._reach(db, lowest)
        of = self.tables.keys.of
        return marks.begin(db, Mark(0, path, of(path), of(reach), extent), owner)

    def _reach(self, db: sqlite3.Connection, lowest: str) -> str:
        """The nearest directory that is known to be there: a change in it leaves those above it as they are."""
        feed = self._feed(db)
        while lowest and not any(self._fresh(asked, feed) for asked in self.tables.seen_as_directory(db, lowest)):
            lowest = paths.parent(lowest)
        return lowest

    def end(
        self, begun: Iterable[Mark], *, put: Iterable[Entry] = (), drop: Iterable[str] = (), asked: float = 0.0
    ) -> None:
        """These changes have ended, and this came of them; what is neither `put` nor `drop` is not known any more."""

        def work(db: sqlite3.Connection) -> None:
            told = {*drop, *(entry.path for entry in put)}
            for mark in begun:
                self._forget_extent(db, mark)
                if mark.path not in told:
                    self._forget(db, mark.path, mark.reach)
            for path in drop:
                self._drop(db, path, asked)
            for entry in put:
                self._put(db, entry, asked)
            for mark in begun:
                marks.end(db, mark, self.database.owner)
            marks.prune(db, self.clock())
            self.shrink(db)

        self.database.change(work, None)

    def forget(self, *where: str) -> None:
        """What is known of these, and whether the directories above are there, may be wrong."""

        def work(db: sqlite3.Connection) -> None:
            for path in where:
                self._forget(db, path)
                self._tell(db, path, Extent.ONE)

        self.database.change(work, None)

    def clear(self) -> None:
        """Everything may be wrong."""
        self.database.change(self._clear, None)

    def others_changed(self) -> frozenset[str]:
        """What changed since the last call, but by us; "" stands for everything, each path for all below it."""

        def work(db: sqlite3.Connection) -> frozenset[str]:
            before, newest = self._seen, marks.newest(db)
            self._seen = (self.database.number, newest)
            if before is None:
                return frozenset()
            if before[0] != self.database.number or newest - before[1] > marks.KEPT:
                return frozenset({""})
            return marks.ended(db, before[1], self.database.token)

        return self._look(work, frozenset({""}))

    # ---- the feed

    def feed(self) -> FeedState | None:
        """What is known of the feed."""
        return self._look(self._feed, None)

    def _feed(self, db: sqlite3.Connection) -> FeedState | None:
        row = db.execute("SELECT cursor, since, confirmed FROM feed WHERE view = ?", (self.tables.view,)).fetchone()
        if row is None:
            return None
        if type(row[0]) is not str or type(row[1]) is not float or type(row[2]) is not float:
            raise rows.Damaged("a cursor is none")
        return FeedState(*row)

    def feed_begun(self, cursor: str) -> None:
        """From now on, changes are told behind this cursor."""
        now = float(self.clock())
        row = (self.tables.view, cursor, now, now)
        self.database.learn(lambda db: db.execute("INSERT OR IGNORE INTO feed VALUES (?, ?, ?, ?)", row), None)

    def feed_ended(self) -> None:
        """The cursor is of no use."""
        self.database.change(lambda db: db.execute("DELETE FROM feed WHERE view = ?", (self.tables.view,)), None)

    def feed_told(self, before: str | None, found: ChangeSet, when: float) -> None:
        """Asked at `when` behind the cursor `before`, the service said this."""

        def work(db: sqlite3.Connection) -> None:
            if found.reset or len(found.paths) > _MANY or "" in found.paths:
                self._clear(db)
            else:
                for path in found.paths:
                    self.tables.forget_tree(db, path)
                    self._forget(db, path)
                    self._tell(db, path, Extent.TREE)
            if before is None:
                return
            own = (found.cursor, float(when), self.tables.view, before)
            db.execute("UPDATE feed SET cursor = ?, confirmed = ? WHERE view = ? AND cursor = ?", own)
            if found.reset:
                since = (float(self.clock()), self.tables.view, found.cursor)
                db.execute("UPDATE feed SET since = ? WHERE view = ? AND cursor = ?", since)
            marks.prune(db, self.clock())

        self.database.change(work, None)

    # ---- the rules, within a transaction

    def _put(self, db: sqlite3.Connection, entry: Entry, asked: float) -> None:
        """A change made this entry: it is the truth, and so are its parents.

        Where the service's answer did not tell when it stored it (S3), a stat would know more: then it is asked once.
        """
        path = entry.path
        if entry.is_dir:
            self.tables.forget_entry(db, path)
        else:
            self.tables.forget_tree(db, path)
        try:
            if entry.is_dir or entry.stored_ns is not None or not self._tells_stored(db, paths.parent(path)):
                self.tables.keep_entry(db, path, entry, asked)
            if path:
                self.tables.relist(db, path, entry)
        except Unkeepable:
            self._forget(db, path)
        self._parents_exist(db, path)

    def _drop(self, db: sqlite3.Connection, path: str, asked: float) -> None:
        """A change removed this entry."""
        self.tables.forget_tree(db, path)
        listed = self.tables.relist(db, path, None) if path else None
        # Of opaque keys a file and a directory may have had this name: only a listing says that there was one.
        if not self._rules.opaque or listed == 1:
            self.tables.keep_entry(db, path, None, asked)
        if self._implicit:
            self._parents_may_be_gone(db, path)

    def _parents_exist(self, db: sqlite3.Connection, path: str) -> None:
        while path:
            path = paths.parent(path)
            self.tables.forget_absence(db, path)
            if path:
                above = paths.parent(path)
                listing = self.tables.listing(db, above)
                if listing is None:
                    self.tables.forget_listing(db, above)
                elif any(one.is_dir for one in self.tables.listed(db, listing.source, path)):
                    return  # it was there before, and so were those above
                else:
                    self.tables.forget_listing(db, above)  # a new directory, whose entry is not known

    def _parents_may_be_gone(self, db: sqlite3.Connection, path: str) -> None:
        while path:
            path = paths.parent(path)
            listing = self.tables.listing(db, path)
            if listing is not None and not self.tables.is_empty(db, listing.source, path):
                return  # something else keeps it
            self._forget_one(db, path)

    def _forget(self, db: sqlite3.Connection, path: str, reach: bytes = b"") -> None:
        """Nothing is known of this path any more, nor whether its parents exist, up to the key `reach`."""
        self._forget_one(db, path)
        while path and self.tables.keys.of(path) != reach:
            path = paths.parent(path)
            self._forget_one(db, path)

    def _forget_one(self, db: sqlite3.Connection, path: str) -> None:
        self.tables.forget_entry(db, path)
        self.tables.forget_listing(db, path)
        if path:
            self.tables.forget_listing(db, paths.parent(path))

    def _clear(self, db: sqlite3.Connection) -> None:
        self.tables.clear(db)
        self._tell(db, "", Extent.TREE)

    def _tell(self, db: sqlite3.Connection, path: str, extent: Extent) -> None:
        """A change of somebody else has ended: for answers under way, and for `others_changed`."""
        marks.end(db, Mark(0, path, self.tables.keys.of(path), b"", extent), "")

    # ---- the dead, and what is too much

    def _check_dead(self, db: sqlite3.Connection) -> None:
        directory = self.database.directory
        if directory is None:
            return
        dead = [one for one in marks.others(db, self.database.token) if not place.is_alive(directory, one)]
        if dead:
            raise _Dead(dead)

    def _bury(self, db: sqlite3.Connection, owners: list[str]) -> None:
        for owner in owners:
            for mark in marks.of(db, owner):
                self._forget_extent(db, mark)
                self._forget(db, mark.path)
                marks.end(db, mark, owner, until=self.clock() + marks.GRACE)

    def _begun(self, db: sqlite3.Connection) -> None:
        """A database was opened: listings that nobody will end go."""
        owners = [str(row[0]) for row in db.execute("SELECT DISTINCT owner FROM source")]
        directory = self.database.directory
        dead = [one for one in owners if directory is not None and not place.is_alive(directory, one)]
        if dead:
            db.execute("BEGIN IMMEDIATE")
            for owner in dead:
                for (source,) in db.execute("SELECT id FROM source WHERE owner = ?", (owner,)).fetchall():
                    self.tables.done(db, source, waste=True)
            db.execute("COMMIT")

    def _forget_extent(self, db: sqlite3.Connection, mark: Mark) -> None:
        if mark.extent is Extent.TREE:
            self.tables.forget_tree(db, mark.path)
        elif mark.extent is Extent.CHILDREN:
            self.tables.forget_children(db, mark.path)

    def shrink(self, db: sqlite3.Connection) -> None:
        """Remove what was thrown away, some at a time; where it is too much all the same, what is oldest."""
        more = self.tables.collect(db)
        while self.database.used(db) > self.limit:
            if not more and not self.tables.forget_oldest(db):
                return  # it is in listings under way
            more = self.tables.collect(db)

    def is_full(self, db: sqlite3.Connection) -> bool:
        """Whether there is no room, even with all else forgotten."""
        self.shrink(db)
        return self.database.used(db) > self.limit
