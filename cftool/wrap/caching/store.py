"""CachingStore: content on the local disk, writes accepted at once and uploaded later. The owner's side of a cache.

DESIGN.md has the tables, the states and what each crash leaves. Every change is in the journal, on the disk, before the
call returns; `drain` brings it to the store below, in a thread of its own between `start` and `close`, or at once by
`flush`. One lock guards journal, overlay and maps; it is never held while the network or a large copy is waited for.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from cftool.core import paths
from cftool.core.download import VerifiedDownload
from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IsADirectory,
    Locked,
    NotADirectory,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    TemporaryError,
    Unsupported,
)
from cftool.core.store import Store
from cftool.core.types import Cap, Download, Entry, Features, Kind, Leftover, Source, Usage
from cftool.core.wrapper import StatefulWrapper
from cftool.disk import locks
from cftool.disk.errors import translated
from cftool.wrap.caching import files as data_files
from cftool.wrap.caching.blocks import Blocks
from cftool.wrap.caching.draft import Draft, grown_row
from cftool.wrap.caching.drain import UNKNOWN, Drain, Waiting
from cftool.wrap.caching.fetch import Fetching
from cftool.wrap.caching.handle import Handle
from cftool.wrap.caching.journal import Journal
from cftool.wrap.caching.overlay import Found, Overlay, Shows
from cftool.wrap.caching.rows import VERSION_PREFIX, Base, Content, LocalChange, Pending, State, What
from cftool.wrap.caching.settings import CacheSettings
from cftool.wrap.caching.stats import Stats

_log = logging.getLogger("cftool.cache")
_PIECE = 1 << 20
_REMEMBERED = 10_000  # of our own latest changes
_OWN = Cap.MOVE | Cap.MOVE_DIR | Cap.IF_VERSION | Cap.IF_ABSENT | Cap.RANGES | Cap.COPY
_PASSED = Cap.USAGE | Cap.EMPTY_DIRS | Cap.IMPLICIT_DIRS | Cap.LINK | Cap.LEFTOVERS | Cap.SET_MODIFIED | Cap.WALK


class CachingStore(StatefulWrapper):
    """See the module. `directory` is the cache's own; Locked where another process owns it."""

    def __init__(self, inner: Store, directory: str, settings: CacheSettings | None = None) -> None:
        super().__init__(inner)
        self.settings = settings or CacheSettings()
        self.times = self.settings.times
        self.directory = directory
        self.lock = threading.RLock()
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
            self._recover()
        except BaseException:
            self._ownership.release()
            raise
        self.waiting = Waiting(self.lock)
        self.drain = Drain(self)
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="cftool-fetch")
        self._open: dict[int, int] = {}  # content id: handles
        self._fetching: dict[int, Fetching] = {}
        self._drafts: set[Draft] = set()
        self._uses: dict[int, float] = {}
        self._settled: OrderedDict[str, tuple[int, str | None]] = OrderedDict()  # what we brought to the remote last
        self._settlements = 0
        self._closed = False

    def _recover(self) -> None:
        """What a crash left: see DESIGN.md, "Open"."""
        if self.journal.damaged is not None:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self.times.wall()))
            aside = self.files.set_aside(stamp)
            self.problems.append(
                f"the journal was damaged and is now {self.journal.damaged}"
                + (f"; the content it knew is in {aside}" if aside else "")
            )
        self.journal.restart()
        known = {content.id: content for content in self.journal.contents()}
        rows = self.journal.pending()
        needed = {row.content for row in rows if row.content is not None}
        there: set[int] = set()
        for number, making in list(self.files.ids()):
            if making:
                os.unlink(self.files.path(number) + ".new")
            elif number not in known:
                self.files.remove(number)
            else:
                there.add(number)
        lost = [number for number in known if number not in there and number not in needed]
        lost += [
            number
            for number, content in known.items()
            if number in there and number not in needed and self.files.size(number) != content.size
        ]
        self.journal.forget(lost)
        for number in lost:
            self.files.remove(number)
        for row in rows:
            if row.content is not None and self.files.size(row.content) != row.size:
                damaged = replace(
                    row, state=State.FAILED, error_kind="damaged", error="its content is not in the cache"
                )
                self.journal.update(damaged)
                self.problems.append(f"{paths.printable(row.path)}: its content is damaged and is not uploaded")
        self.overlay = Overlay(self.journal.pending(), self.journal.local())
        self._next_id = max([self.journal.highest_id(), *known, 0]) + 1
        for problem in self.problems:
            _log.warning("%s: %s", self.name, problem)

    # ---- life

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
        with self.lock:
            for draft in list(self._drafts):
                draft.discard()
            for fetching in self._fetching.values():
                fetching.save()
            self._save_uses()
            self.journal.close()
            self.files.close()
            self._ownership.release()
        self.inner.close()

    def flush(self, path: str = "", *, timeout: float | None = None) -> list[Pending]:
        """Bring what is pending at, above and below `path` to the store below now; returns what is still pending."""
        return self.drain.flush(path, timeout=timeout)

    @property
    def implicit(self) -> bool:
        """Whether directories of the store below come and go with what is in them."""
        return Cap.IMPLICIT_DIRS in self.inner.features.caps

    @property
    def features(self) -> Features:
        """The inner store's, with what the cache adds and takes away."""
        inner = self.inner.features
        caps = (inner.caps & _PASSED) | _OWN
        if self.implicit:
            caps |= Cap.EMPTY_DIRS  # here, where nowhere else
        if inner.time_precision_ns is not None:
            caps |= Cap.SET_MODIFIED
        return replace(inner, caps=caps)

    # ---- looking

    def stat(self, path: str) -> Entry:
        """The pending entry, else that of the store below; of clean content where the store cannot be reached."""
        with self.lock:
            found = self.overlay.find(path)
        return self._entry(path, found)

    def _entry(self, path: str, found: Found) -> Entry:
        if found.shows is Shows.PENDING:
            assert found.row is not None
            return found.row.entry(path)
        if found.shows is Shows.BELOW:
            try:
                return self.inner.stat(found.path).at(path)
            except NotFound:
                if not found.implied:
                    raise
            except TemporaryError:
                with self.lock:
                    content = self.journal.clean(found.path)
                if content is None or content.blocks is not None:
                    raise
                _log.info("%s: the remote cannot be asked; the cached entry stands", paths.printable(path))
                return _entry_of(content, path)
        if found.implied or not path:
            return Entry(path, Kind.DIRECTORY)
        raise NotFound("not found", op="stat", path=path, store=self.name)

    def scan(self, path: str) -> Iterator[Entry]:
        """The listing below with the pending changes laid over it."""
        with self.lock:
            found = self.overlay.find(path)
            listing = self.overlay.children(path)
            mark = self._settlements
        if found.shows is Shows.PENDING and found.row is not None and found.row.what is not What.MKDIR:
            raise NotADirectory("not a directory", op="scan", path=path, store=self.name)
        if found.shows is Shows.GONE and not found.implied and path:
            raise NotFound("not found", op="scan", path=path, store=self.name)
        seen: set[str] = set()
        if listing.below is not None:
            try:
                for entry in self.inner.scan(listing.below):
                    name = entry.name
                    if name not in listing.decided and not (name in listing.implied and not entry.is_dir):
                        seen.add(name)
                        yield entry.at(paths.join(path, name))
                if seen and self.implicit:
                    self._not_needed(path, seen, mark)
            except NotFound:
                if not (listing.decided or listing.implied or found.implied or found.shows is Shows.PENDING):
                    raise
        for name, one in listing.decided.items():
            seen.add(name)
            if one.shows is not Shows.GONE:
                try:
                    yield self._entry(paths.join(path, name), one)
                except NotFound:  # removed at the remote meanwhile
                    if name in listing.implied:
                        yield Entry(paths.join(path, name), Kind.DIRECTORY)
            elif name in listing.implied:
                yield Entry(paths.join(path, name), Kind.DIRECTORY)
        for name in listing.implied - seen:
            yield Entry(paths.join(path, name), Kind.DIRECTORY)

    def walk(self, path: str) -> Iterator[Entry]:
        """The store's own where nothing is pending there, else level by level, in the order that `features` says."""
        with self.lock:
            touched = path in self.overlay.local or any(True for _ in self.overlay.touching(path))
        if not touched:
            yield from self.inner.walk(path)
            return
        for entry in sorted(self.scan(path), key=paths.entry_key):
            yield entry
            if entry.is_dir:
                yield from self.walk(entry.path)

    # ---- reading

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """From the disk where it is there, else fetched and kept."""
        handle = self.open(path, if_version=if_version)
        if handle is None:  # of unknown size, or without a version: nothing that could be kept
            with self.lock:
                found = self.overlay.find(path)
            return self.inner.read(found.path, start=start, end=end, if_version=if_version)
        entry = handle.entry
        assert entry.size is not None
        stop = entry.size if end is None else min(end, entry.size)

        def chunks() -> Iterator[bytes]:
            at = start
            while at < stop and (piece := handle.read(min(_PIECE, stop - at), at)):
                at += len(piece)
                yield piece

        return VerifiedDownload(entry, chunks(), start=start, end=end, verify_hashes=False, close=handle.close)

    def open(self, path: str, *, if_version: str | None = None) -> Handle | None:
        """The content as a handle for reads at any place; None where the store below gives no version or size.

        Raises NotFound, IsADirectory, PreconditionFailed.
        """
        for _attempt in range(5):
            entry = self.stat(path)
            if entry.is_dir:
                raise IsADirectory("is a directory", op="read", path=path, store=self.name)
            if if_version is not None and entry.version != if_version:
                raise PreconditionFailed("it is another version by now", op="read", path=path, store=self.name)
            if entry.version is None or entry.size is None:
                return None
            try:
                handle = self._handle(path, entry)
            except PreconditionFailed:  # changed at the remote between stat and read
                if if_version is not None:
                    raise
                continue
            if handle is not None:
                return handle
        raise TemporaryError("it changes faster than it can be read", op="read", path=path, store=self.name)

    def _handle(self, path: str, entry: Entry) -> Handle | None:
        """None: something changed between stat and now."""
        with self.lock:
            found = self.overlay.find(path)
            if found.shows is Shows.PENDING:
                row = found.row
                assert row is not None
                if row.content is None or row.entry(path).version != entry.version:
                    return None
                self.stats.hit()
                return self._opened(row.content, entry, None)
            if found.shows is Shows.GONE:
                return None
            content = self.journal.clean(found.path)
            if content is not None and content.holds(entry):
                if content.blocks is None:
                    self.stats.hit()
                    return self._opened(content.id, entry, None)
                fetching = self._fetching.get(content.id) or self._begun(content, entry)
                self.stats.hit()
                return self._opened(content.id, entry, fetching)
        self.stats.miss()
        assert entry.size is not None
        if entry.size <= self.settings.whole or Cap.RANGES not in self.inner.features.caps:
            return self._fetched_whole(path, found.path, entry)
        return self._fetched_in_parts(found.path, entry)

    def _opened(self, number: int, entry: Entry, fetching: Fetching | None) -> Handle:
        """Under the lock."""
        fd = self.files.open(number)
        self._open[number] = self._open.get(number, 0) + 1
        self._uses[number] = self.times.wall()
        return Handle(self, number, fd, entry, fetching)

    def released(self, number: int) -> None:
        """A handle was closed."""
        with self.lock:
            left = self._open.get(number, 1) - 1
            if left:
                self._open[number] = left
                return
            self._open.pop(number, None)
            fetching = self._fetching.pop(number, None)
        if fetching is None:
            return
        try:
            fetching.save()
        finally:
            os.close(fetching._fd)  # noqa: SLF001 - it was opened for it, here
        if fetching.failed:
            self.throw_away([number])

    def _begun(self, content: Content, entry: Entry) -> Fetching:
        """Under the lock: go on with content that is here in part."""
        fd = self.files.open(content.id, write=True)
        fetching = self._new_fetching(content.id, content.path or "", entry, fd, Blocks(content.size, content.blocks))
        self._fetching[content.id] = fetching
        return fetching

    def _new_fetching(self, number: int, path: str, entry: Entry, fd: int, blocks: Blocks) -> Fetching:
        def save(encoded: bytes | None) -> None:
            with self.lock:
                self.journal.progress(number, blocks=encoded, allocated=data_files.allocated(fd))

        return Fetching(
            self.inner, path, entry.at(path), fd, blocks,
            stats=self.stats, pool=self._pool, window=self.settings.window, save=save,
        )  # fmt: skip

    def _fetched_in_parts(self, below: str, entry: Entry) -> Handle:
        assert entry.size is not None
        self.make_room(0)
        with self.lock:
            content = self.journal.clean(below)
            if content is not None and content.holds(entry):  # somebody was faster
                fetching = self._fetching.get(content.id) or self._begun(content, entry)
                return self._opened(content.id, entry, fetching)
            number = self._new_id()
            fd = self.files.create(number)
            os.ftruncate(fd, entry.size)
            self.files.publish_unsynced(number)
            blocks = Blocks(entry.size)
            old = self.journal.keep_clean(
                number, entry.at(below), blocks=blocks.encode() or b"", used=self.times.wall(), allocated=0
            )
            self._fetching[number] = self._new_fetching(number, below, entry, fd, blocks)
            handle = self._opened(number, entry, self._fetching[number])
        self._unlink(old)
        return handle

    def _fetched_whole(self, path: str, below: str, entry: Entry) -> Handle:
        self.make_room(entry.size or 0)
        with self.lock:
            number = self._new_id()
            fd = self.files.create(number)
        try:
            with (
                self.stats.moving(self.stats.down) as moved,
                self.inner.read(below, if_version=entry.version) as download,
            ):
                at = 0
                for chunk in download:
                    data_files.write_at(fd, chunk, at)
                    at += len(chunk)
                    moved(len(chunk))
            self.files.publish(number, fd)
        except BaseException:
            self.files.discard(number, fd)
            raise
        with self.lock:
            os.close(fd)
            handle = self._opened(number, entry.at(path), None)
            old = self.journal.keep_clean(
                number, entry.at(below), blocks=None, used=self.times.wall(), allocated=data_files.allocated(handle.fd)
            )
        self._unlink(old)
        return handle

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
        """In the journal, on this disk, when it returns; uploaded after the delay."""
        old, base = self._before_write(path, if_version=if_version, if_absent=if_absent)
        with self.lock:
            number = self._new_id()
            fd = self.files.create(number)
        try:
            size = data_files.fill(fd, source, room=self.make_room)
            self.files.publish(number, fd)
            content = Content(number, None, size, allocated=data_files.allocated(fd))
        except BaseException:
            self.files.discard(number, fd)
            raise
        os.close(fd)
        with self.lock:
            try:
                self._require(path, old, base, if_version=if_version, if_absent=if_absent)
                row = self.record_upload(path, content, modified_ns, base)
            except BaseException:
                self.files.remove(number)
                raise
        return row.entry()

    def _before_write(self, path: str, *, if_version: str | None, if_absent: bool) -> tuple[Entry | None, Base]:
        """What is at `path`, and the base of a change to it."""
        if not path:
            raise IsADirectory("is a directory", op="write", path=path, store=self.name)
        entry, base = self.look(path)
        if entry is not None and entry.is_dir:
            raise IsADirectory("is a directory", op="write", path=path, store=self.name)
        self._condition(path, entry, if_version=if_version, if_absent=if_absent)
        if entry is None:
            self.make_parents(path)
        return entry, base

    def look(self, path: str) -> tuple[Entry | None, Base]:
        """The entry at `path` (None: nothing) and what a change of it is based on."""
        with self.lock:
            mark = self._settlements
        try:
            entry = self.stat(path)
        except NotFound:
            return None, Base("", mark)
        except TemporaryError:
            return None, Base(UNKNOWN, mark)
        if entry.version is None or entry.version.startswith(VERSION_PREFIX):
            return entry, Base(None, mark)
        return entry, Base(entry.version, mark)

    def settled(self, path: str, version: str | None) -> None:
        """Under the lock: we brought `path` to the remote; changes based on what was before are based on it now."""
        self._settlements += 1
        self._settled[path] = (self._settlements, version)
        self._settled.move_to_end(path)
        if len(self._settled) > _REMEMBERED:
            self._settled.popitem(last=False)

    def _fresh(self, path: str, base: Base) -> str | None:
        """Under the lock: the base as it is by now."""
        count, version = self._settled.get(path, (0, None))
        return version if count > base.mark else base.version

    def _condition(self, path: str, entry: Entry | None, *, if_version: str | None, if_absent: bool) -> None:
        if if_absent and entry is not None:
            raise AlreadyExists("it exists already", op="write", path=path, store=self.name)
        if if_version is not None and (entry is None or entry.version != if_version):
            raise PreconditionFailed("it is another version by now", op="write", path=path, store=self.name)

    def _require(self, path: str, seen: Entry | None, base: Base, *, if_version: str | None, if_absent: bool) -> None:
        """Under the lock: a condition holds still, as far as this process could have changed it."""
        if if_version is None and not if_absent:
            return
        found = self.overlay.find(path)
        count, version = self._settled.get(path, (0, None))
        now = seen
        if found.shows is Shows.PENDING and found.row is not None:
            now = found.row.entry(path)
        elif found.shows is Shows.GONE or (count > base.mark and version == ""):
            now = None
        elif count > base.mark:  # uploaded since
            now = Entry(path, Kind.FILE, version=version)
        self._condition(path, now, if_version=if_version, if_absent=if_absent)

    def make_parents(self, path: str) -> None:
        """Journal the missing directories above `path`, where the store below has directories of their own."""
        features = self.inner.features
        if Cap.IMPLICIT_DIRS in features.caps and features.names.opaque:
            return  # nothing is in the way of anything
        missing: list[str] = []
        above = paths.parent(path)
        while above:
            try:
                entry = self.stat(above)
            except NotFound:
                missing.append(above)
            except TemporaryError:
                break  # the upload makes what is missing by then
            else:
                if not entry.is_dir:
                    raise NotADirectory("a file is in the way", op="write", path=path, store=self.name)
                break
            above = paths.parent(above)
        if not self.implicit:
            for directory in reversed(missing):
                self.mkdir(directory)

    def record_upload(self, path: str, content: Content, modified_ns: int | None, base: Base) -> Pending:
        """Under the lock: new content of `path`, merged with what was pending there. See DESIGN.md, "Order"."""
        now = self.times.wall()
        row = Pending(
            0, What.UPLOAD, path, content=content.id, size=content.size, base=self._fresh(path, base), created=now,
            due=now + self.settings.delay, modified_ns=modified_ns if modified_ns is not None else int(now * 1e9),
        )  # fmt: skip
        dropped: list[Pending] = []
        last = self.overlay.last(path)
        if last is not None and last.untried and last.what in {What.UPLOAD, What.DELETE}:
            dropped = [last]
            row = replace(row, base=last.base, after=last.after)
        elif last is not None:
            row = replace(row, base=None, after=last.seq)
        else:
            row = self._after_rename(row)
        return self._record([row], dropped=dropped, made=content)[0]

    def _after_rename(self, row: Pending) -> Pending:
        """What a pending rename brings to the path is known only when it is done."""
        for other in reversed(self.overlay.rows.values()):
            if other.what is What.RENAME and row.path in other.places:
                return replace(row, base=None, after=other.seq)
        return row

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
        added = self.journal.record(rows, dropped=dropped, made=made, due_now=due_now, local=local)
        if local is not None:
            self.overlay.local.change(add=local.add, remove=local.remove)
        kept = {row.content for row in rows}
        successor = added[0].seq if added else None
        for old in dropped:
            self.overlay.drop(old)
            if old.content is not None and old.content not in kept:
                self._unlink(old.content)
            if successor is not None:
                for other in list(self.overlay.rows.values()):
                    if other.after == old.seq:
                        self.overlay.replace(replace(other, after=successor))
        for row in added:
            self.overlay.add(row)
        for seq in due_now:
            if seq in self.overlay.rows:
                self.overlay.replace(replace(self.overlay.rows[seq], due=0.0, next_try=0.0))
        self.waiting.wake()
        return added

    def delete(self, path: str) -> None:
        """Journalled; a file that was never uploaded never will be."""
        entry, base = self.look(path)
        if base.version == UNKNOWN:
            raise TemporaryError("the remote cannot be asked", op="delete", path=path, store=self.name)
        if entry is None:
            raise NotFound("not found", op="delete", path=path, store=self.name)
        if entry.is_dir:
            raise IsADirectory("is a directory", op="delete", path=path, store=self.name)
        with self.lock:
            self._record_removal(What.DELETE, path, base)

    def _record_removal(self, what: What, path: str, base: Base) -> None:
        """Under the lock."""
        now = self.times.wall()
        row = Pending(0, what, path, base=self._fresh(path, base), created=now, due=now)
        local = self._left(path)
        last = self.overlay.last(path)
        dropped: list[Pending] = []
        if last is not None and last.untried and last.what in {What.UPLOAD, What.MKDIR}:
            dropped = [last]
            if last.base == "" and last.after is None:
                self._record([], dropped=dropped, local=local)
                return
            row = replace(row, base=last.base, after=last.after)
        elif last is not None and last.what in {What.UPLOAD, What.MKDIR}:
            row = replace(row, base=None, after=last.seq)
        else:
            row = self._after_rename(row)
        self._record([row], dropped=dropped, local=local)

    def mkdir(self, path: str) -> Entry:
        """Journalled, parents first."""
        entry, base = self.look(path)
        if base.version == UNKNOWN:
            raise TemporaryError("the remote cannot be asked", op="mkdir", path=path, store=self.name)
        if entry is not None:
            if entry.is_dir:
                return entry
            raise AlreadyExists("a file is there", op="mkdir", path=path, store=self.name)
        self.make_parents(path)
        now = self.times.wall()
        with self.lock:
            if self.implicit and paths.parent(path) and Cap.EMPTY_DIRS not in self.inner.features.caps:
                self._record([], local=LocalChange(add=(path,)))
                return Entry(path, Kind.DIRECTORY)
            last = self.overlay.last(path)
            row = Pending(0, What.MKDIR, path, base="", created=now, due=now)
            if last is not None:
                row = replace(row, base=None, after=last.seq)
            [row] = self._record([row])
        return row.entry()

    def rmdir(self, path: str) -> None:
        """Journalled, where it is empty."""
        if not path:
            raise DirectoryNotEmpty("the root stays", op="rmdir", path=path, store=self.name)
        entry = self.stat(path)
        if not entry.is_dir:
            raise NotADirectory("not a directory", op="rmdir", path=path, store=self.name)
        if next(iter(self.scan(path)), None) is not None:
            raise DirectoryNotEmpty("is not empty", op="rmdir", path=path, store=self.name)
        only_local = self._only_local(path)
        with self.lock:
            if only_local:
                self._record([], local=self._left(path))
                return
            self._record_removal(What.RMDIR, path, Base(None, self._settlements))

    def move(self, src: str, dst: str) -> Entry:
        """Journalled; a file whose upload has not begun is uploaded under its new name only."""
        if src == dst:
            return self.stat(src)
        if not src or paths.is_within(dst, src):
            raise Unsupported("a directory cannot be moved into itself", op="move", path=src, store=self.name)
        entry = self.stat(src)
        there, base = self.look(dst)
        if base.version == UNKNOWN:
            raise TemporaryError("the remote cannot be asked", op="move", path=dst, store=self.name)
        if there is not None and (there.is_dir or entry.is_dir):
            self._may_replace(entry, there, dst)
        if there is None:
            self.make_parents(dst)
        only_local = entry.is_dir and self._only_local(src)
        with self.lock:
            for draft in self._drafts:
                draft.moved(src, dst)
            if only_local:
                self._record([], local=self._moved(src, dst))
                return entry.at(dst)
            row = self.overlay.last(src)
            if row is not None and row.what is What.UPLOAD and row.untried:
                return self._renamed_upload(row, dst, self._fresh(dst, base)).entry()
            self._record_rename(src, dst, entry, there, self._fresh(dst, base))
        return self.stat(dst)

    def _may_replace(self, entry: Entry, there: Entry, dst: str) -> None:
        if there.is_dir and not entry.is_dir:
            raise IsADirectory("a directory is there", op="move", path=dst, store=self.name)
        if entry.is_dir and not there.is_dir:
            raise NotADirectory("a file is there", op="move", path=dst, store=self.name)
        raise AlreadyExists("a directory is there", op="move", path=dst, store=self.name)

    def _renamed_upload(self, row: Pending, dst: str, base: str | None) -> Pending:
        """Under the lock: the content goes to the new name, and what the remote has of the old one goes."""
        now = self.times.wall()
        dropped = [row]
        renamed = replace(row, path=dst, base=base, after=None, state=State.DIRTY, attempts=0, next_try=0.0)
        last = self.overlay.last(dst)
        if last is not None and last.untried and last.what in {What.UPLOAD, What.DELETE}:
            dropped.append(last)
            renamed = replace(renamed, base=last.base, after=last.after)
        elif last is not None:
            renamed = replace(renamed, base=None, after=last.seq)
        rows = [renamed]
        if row.base != "" or row.after is not None:
            rows.append(Pending(0, What.DELETE, row.path, base=row.base, after=row.after, created=now, due=now))
        return self._record(rows, dropped=dropped, local=self._left(row.path))[0]

    def _record_rename(self, src: str, dst: str, entry: Entry, there: Entry | None, base: str | None) -> None:
        """Under the lock."""
        now = self.times.wall()
        dropped: list[Pending] = []
        last = self.overlay.last(dst)
        if last is not None and last.untried and last.what is What.UPLOAD:
            dropped, base = [last], last.base
        elif there is None:
            base = ""
        waited_for = [row.seq for row in self.overlay.touching(src)] + [row.seq for row in self.overlay.touching(dst)]
        row = Pending(
            0, What.RENAME, src, dst, is_dir=entry.is_dir, size=entry.size, modified_ns=entry.modified_ns, base=base,
            created=now, due=now,
        )  # fmt: skip
        gone = {row.seq for row in dropped}
        self._record(
            [row], dropped=dropped, due_now=[seq for seq in waited_for if seq not in gone], local=self._moved(src, dst)
        )

    # ---- directories that are only here: DESIGN.md, "Local directories"

    def _left(self, path: str) -> LocalChange | None:
        """Something was removed from its directory, which stays."""
        return LocalChange(add=(paths.parent(path),), remove=(path,)) if self.implicit else None

    def _moved(self, src: str, dst: str) -> LocalChange | None:
        """Under the lock: they move with a directory, and the directories of both names stay."""
        if not self.implicit:
            return None
        old = tuple(self.overlay.local.below(src))
        new = tuple(dst + path[len(src) :] for path in old)
        return LocalChange(add=(*new, paths.parent(src), paths.parent(dst)), remove=old)

    def _only_local(self, path: str) -> bool:
        """Whether neither the remote nor the journal has a directory of that name: it is only shown."""
        with self.lock:
            if path not in self.overlay.local:
                return False
            found = self.overlay.find_without_local(path)
        if found.implied or found.shows is not Shows.BELOW:
            return found.shows is Shows.GONE and not found.implied
        try:
            self.inner.stat(found.path)
        except NotFound:
            return True
        except TemporaryError:
            return False
        return False

    def arrived(self, path: str) -> None:
        """Under the lock: the remote has `path`, and so the directories above it, as long as it is shown there."""
        found = self.overlay.find_without_local(path)
        if found.shows is Shows.BELOW and found.path == path:
            self.localize(remove=tuple(self.overlay.local.lead(paths.parent(path))))

    def _not_needed(self, directory: str, seen: set[str], mark: int) -> None:
        """The remote was seen to have something in it, which is shown."""
        with self.lock:
            if self._settlements == mark and seen - self.overlay.children(directory).decided.keys():
                self.localize(remove=tuple(self.overlay.local.lead(directory)))

    def localize(self, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
        """Under the lock."""
        if add or remove:
            self.journal.localize(LocalChange(add, remove))
            self.overlay.local.change(add=add, remove=remove)

    def copy(self, src: str, dst: str) -> Entry:
        """Below, where neither side is pending there; else by the content that is here."""
        entry = self.stat(src)
        if entry.is_dir:
            raise IsADirectory("is a directory", op="copy", path=src, store=self.name)
        with self.lock:
            pending = any(True for path in (src, dst) for _ in self.overlay.touching(path))
        if not pending and Cap.COPY in self.inner.features.caps:
            return self.inner.copy(src, dst)
        handle = self.open(src)
        if handle is None:
            raise Unsupported("its content has no version: copy it by reading it", op="copy", path=src)
        with handle:
            return self.write(dst, handle.source(), modified_ns=entry.modified_ns)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Of a pending file in the journal; of another below, or by an upload where it has to be."""
        with self.lock:
            row = self.overlay.last(path)
            if row is not None and row.what is What.UPLOAD and row.untried:
                changed = replace(row, modified_ns=modified_ns)
                self.journal.update(changed)
                self.overlay.replace(changed)
                return changed.entry()
            found = self.overlay.find(path)
            untouched = found.shows is Shows.BELOW and found.path == path
        if untouched and Cap.SET_MODIFIED in self.inner.features.caps:
            return self.inner.set_modified(path, modified_ns)
        handle = self.open(path)
        if handle is None:
            raise Unsupported("its time cannot be set", op="set_modified", path=path, store=self.name)
        with handle:
            return self.write(path, handle.source(), modified_ns=modified_ns)

    def edit(self, path: str, *, truncate: bool = False, create: bool = False, absent: bool = False) -> Draft:
        """A draft of new content of `path` for writes at any place; nothing of it counts before `Draft.commit`.

        Raises NotFound without `create`, IsADirectory. `absent`: the caller has a listing that shows that neither the
        file nor a directory above it has to be asked for.
        """
        entry: Entry | None
        if absent:
            with self.lock:
                entry, base = None, Base("", self._settlements)
        else:
            entry, base = self._before_write(path, if_version=None, if_absent=False)
        if entry is None and not create:
            raise NotFound("not found", op="write", path=path, store=self.name)
        self.make_room(0)
        handle = None if entry is None or truncate else self.open(path)
        if entry is not None and not truncate and handle is None:
            raise Unsupported("its size is not known: it cannot be edited in place", op="write", path=path)
        with self.lock:
            number = self._new_id()
            fd = self.files.create(number)
        try:
            if handle is not None:
                with handle:
                    handle.copy_to(fd)
        except BaseException:
            self.files.discard(number, fd)
            raise
        draft = Draft(self, path, number, fd, base)
        with self.lock:
            self._drafts.add(draft)
        return draft

    def orphan(self, handle: Handle | None) -> Draft:
        """A draft without a name, for writes to a file that was removed while it is open."""
        with self.lock:
            number = self._new_id()
            fd = self.files.create(number)
        if handle is not None:
            handle.copy_to(fd)
        draft = Draft(self, "", number, fd, Base("", 0))
        draft.removed()
        with self.lock:
            self._drafts.add(draft)
        return draft

    def grown(self, row: Pending, content: Content, modified_ns: int) -> Pending:
        """Under the lock: a draft was written to after its first commit."""
        changed = grown_row(row, content, modified_ns, self.times.wall() + self.settings.delay)
        self.journal.grow(changed, content)
        self.overlay.replace(changed)
        self.waiting.wake()
        return changed

    def forget_draft(self, draft: Draft) -> None:
        """It was closed."""
        with self.lock:
            self._drafts.discard(draft)
        self.waiting.wake()

    def being_edited(self, row: Pending) -> bool:
        """Under the lock: whether a draft may still change the content of a row."""
        return any(draft.number == row.content for draft in self._drafts)

    # ---- passed on

    def usage(self) -> Usage:
        """Of the remote, with what is still to come counted as used."""
        usage = self.inner.usage()
        with self.lock:
            coming = sum(row.size or 0 for row in self.overlay.rows.values() if row.what is What.UPLOAD)
        used = None if usage.used is None else usage.used + coming
        free = None if usage.free is None else max(0, usage.free - coming)
        return Usage(usage.total, used, free)

    def link(self, path: str, *, expires: float | None = None) -> str:
        """Of what is at the remote: pending changes of the file are uploaded first."""
        with self.lock:
            pending = any(True for _ in self.overlay.touching(path))
        if pending and self.flush(path):
            raise TemporaryError("it is not uploaded yet", op="link", path=path, store=self.name)
        return self.inner.link(path, expires=expires)

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Of the store below."""
        return self.inner.leftovers(path, older_than=older_than)

    def remove_leftover(self, leftover: Leftover) -> None:
        """Of the store below."""
        self.inner.remove_leftover(leftover)

    def probe(self, path: str) -> Cap:
        """Of the store below."""
        return self.inner.probe(path)

    # ---- room

    def make_room(self, wanted: int) -> None:
        """Evict above the soft limit; above the hard one wait for uploads, then QuotaExceeded before data is taken."""
        deadline = self.times.monotonic() + self.settings.patience
        while True:
            with self.lock:
                total, clean = self.journal.totals()
                if total + wanted > self.settings.soft and clean:
                    total -= self._evict(total + wanted - self.settings.soft)
                if total + wanted <= self.settings.hard:
                    return
                self._hurry()
            if not self.drain.running or not self.waiting.wait(deadline - self.times.monotonic()):
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

    def _save_uses(self) -> None:
        if self._uses:
            self.journal.use([(when, number) for number, when in self._uses.items()])
            self._uses.clear()

    # ---- small things

    def _new_id(self) -> int:
        """Under the lock."""
        self._next_id += 1
        return self._next_id - 1

    def _unlink(self, number: int | None) -> None:
        """A data file that no row has any more; who has it open goes on reading."""
        if number is not None and not any(draft.number == number for draft in self._drafts):
            self.files.remove(number)

    def clear(self, path: str = "") -> int:
        """Drop clean content at or below `path` that nobody has open; how many files."""
        with self.lock:
            numbers = [
                content.id
                for content in self.journal.contents()
                if content.path is not None and paths.is_within(content.path, path) and content.id not in self._open
            ]
            self.throw_away(numbers)
        return len(numbers)

    def state_of(self, path: str) -> State:
        """Of one path, for its attribute."""
        with self.lock:
            found = self.overlay.find(path)
        return State.CLEAN if found.row is None else found.row.state

    def pending(self) -> list[Pending]:
        """All that the remote does not have yet, in order."""
        with self.lock:
            return list(self.overlay.rows.values())


def _entry_of(content: Content, path: str) -> Entry:
    return Entry(
        path, Kind.FILE, content.size, content.modified_ns, content.stored_ns, content.version, content.remote_id,
        content.hashes,
    )  # fmt: skip
