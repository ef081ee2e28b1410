"""Brings pending changes to the store below: in order, in batches, with retries; never over somebody else's edit.

One round (`step`) takes all rows that are due and touch nothing earlier, uploads as one batch, the rest one by one, and
settles each by itself. `Drain.start` runs rounds in a thread, woken by `Waiting`; `flush` runs them in the caller's.
DESIGN.md, "Order", "Conditions" and "Crash points", has the rules.
"""

import logging
import random
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from cftool.core import hashing, paths
from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IntegrityError,
    InvalidName,
    NotADirectory,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    QuotaExceeded,
    ReadOnly,
    SourceChanged,
    StoreError,
    TemporaryError,
    TooLarge,
    Unsupported,
)
from cftool.core.ops import move_anyhow
from cftool.core.types import Cap, Entry, Kind, Result, WriteItem
from cftool.wrap.caching.files import FileSource
from cftool.wrap.caching.names import conflict_name
from cftool.wrap.caching.rows import LocalChange, Pending, State, What

if TYPE_CHECKING:
    from cftool.wrap.caching.store import CachingStore

_log = logging.getLogger("cftool.cache")
UNKNOWN = "?"  # the base of a change that was made while the remote could not be asked
_BATCH = 1000  # rows of one round
_LONGEST = 300.0  # seconds between two tries
_QUOTA = 600.0
_PERMISSION = 300.0
_IDLE = 3600.0
# Nothing that waiting helps with: these stay until the content or the name changes, or `flush` is asked for.
_PERMANENT = (InvalidName, TooLarge, Unsupported, ReadOnly, NotADirectory)


class Waiting:
    """Wakes the drain when there is something new, and writers when there is room. Waits are bounded."""

    def __init__(self, lock: threading.RLock) -> None:
        self._changed = threading.Condition(lock)

    def wake(self) -> None:
        """Something changed."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Until something changes; False where `seconds` were over first."""
        if seconds <= 0:
            return False
        with self._changed:
            return self._changed.wait(min(seconds, _IDLE))


class Drain:
    """See the module."""

    def __init__(self, store: "CachingStore") -> None:
        self._store = store
        self._one = threading.Lock()  # one round at a time
        self._thread: threading.Thread | None = None
        self._stopping = False

    # ---- the thread

    @property
    def running(self) -> bool:
        """Whether uploads happen by themselves."""
        return self._thread is not None

    def start(self) -> None:
        """Run rounds until `stop`."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="cftool-write-back", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread after what it is at; what is pending stays pending."""
        self._stopping = True
        self._store.waiting.wake()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._stopping:
            try:
                delay = self.step()
            except Exception:
                _log.exception("the write-back of %s had an error of its own; it goes on", self._store.name)
                delay = 60.0
            if delay > 0 and not self._stopping:
                self._store.waiting.wait(delay)

    # ---- rounds

    def step(self, *, force: bool = False, below: str | None = None) -> float:
        """One round; seconds until the next one may have something to do (0: at once).

        `force`: neither delay nor back-off count. `below`: only what `flush` needs of that path.
        """
        store = self._store
        with self._one:
            with store.lock:
                rows = self._eligible(store.times.wall(), force=force, below=below)
            if not rows:
                with store.lock:
                    return self._pause()
            self._do(rows)
        return 0.0

    def _eligible(self, now: float, *, force: bool, below: str | None) -> list[Pending]:
        """Under the lock: rows that may go now. A row is behind every earlier one that touches a path of its own."""
        found: list[Pending] = []
        busy: set[str] = set()
        above: set[str] = set()
        for row in self._store.overlay.rows.values():
            free = not any(_is_busy(place, busy, above) for place in row.places)
            for place in row.places:
                busy.add(place)
                while place := paths.parent(place):
                    if place in above:
                        break
                    above.add(place)
            if free and self._may_go(row, now, force=force, below=below):
                found.append(row)
                if len(found) >= _BATCH:
                    break
        return found

    def _may_go(self, row: Pending, now: float, *, force: bool, below: str | None) -> bool:
        if row.state is State.UPLOADING or self._store.being_edited(row):
            return False
        if below is not None and not any(
            paths.is_within(place, below) or paths.is_within(below, place) for place in row.places
        ):
            return False
        if force:
            return True
        return row.state is not State.FAILED and row.due <= now and row.next_try <= now

    def _pause(self) -> float:
        """Under the lock: seconds until the first row that waits for a time."""
        now = self._store.times.wall()
        times = [
            max(row.due, row.next_try) for row in self._store.overlay.rows.values() if row.state is not State.FAILED
        ]
        if not times:
            return _IDLE
        return max(min(times) - now, 0.5)  # what is due and blocked waits for what blocks it

    def _do(self, rows: list[Pending]) -> None:
        store = self._store
        with store.lock:
            rows = [row for row in rows if row.seq in store.overlay.rows]  # replaced meanwhile
            store.journal.start(rows)
            rows = [self._changed(row, state=State.UPLOADING, save=False) for row in rows]
        try:
            uploads = [row for row in rows if row.what is What.UPLOAD]
            if uploads:
                self._uploads(uploads)
            for row in rows:
                if row.what is not What.UPLOAD:
                    self._settle(row, lambda row=row: self._other(row))
        finally:
            with store.lock:
                for row in rows:
                    now = store.overlay.rows.get(row.seq)
                    if now is not None and now.state is State.UPLOADING:
                        self._changed(now, state=State.DIRTY)
            store.waiting.wake()

    def _changed(self, row: Pending, *, save: bool = True, **fields: object) -> Pending:
        """Under the lock: the row with other fields, in the journal and in what is shown."""
        changed = replace(row, **fields)  # type: ignore[arg-type]
        if save:
            self._store.journal.update(changed)
        self._store.overlay.replace(changed)
        return changed

    # ---- uploads

    def _uploads(self, rows: list[Pending]) -> None:
        """All at once through the store below; each row is settled when its answer comes."""
        by_seq = {row.seq: row for row in rows}
        inner = self._store.inner
        store = self._store
        with store.stats.moving(store.stats.up) as moved:
            if Cap.WRITE_MANY in inner.features.caps:
                answers: Iterator[Result] = inner.write_many(self._items(rows))
                for result in answers:
                    assert isinstance(result.tag, int)
                    row = by_seq.pop(result.tag)
                    if result.error is None:
                        moved(row.size or 0)
                    self._answered(row, result)
            else:
                threads = store.settings.uploads or max(1, inner.features.connections)
                with ThreadPoolExecutor(threads, thread_name_prefix="cftool-upload") as pool:
                    for row in pool.map(self._single, rows):
                        by_seq.pop(row.seq, None)
                        moved(row.size or 0)

    def _items(self, rows: Iterable[Pending]) -> Iterator[WriteItem]:
        """What is known to be wrong already is settled here and not sent."""
        for row in rows:
            ready = self._checked(row)
            if ready is not None:
                yield ready

    def _single(self, row: Pending) -> Pending:
        item = self._checked(row)
        if item is None:
            return row
        try:
            entry = self._store.inner.write(
                item.path, item.source, modified_ns=item.modified_ns,
                if_version=item.if_version, if_absent=item.if_absent,
            )  # fmt: skip
        except StoreError as error:
            self._answered(row, Result(row.path, error=error))
        else:
            self._answered(row, Result(row.path, entry=entry))
        return row

    def _checked(self, row: Pending) -> WriteItem | None:
        """The upload with its condition; None where looking at the remote has settled it."""
        store = self._store
        assert row.content is not None
        assert row.size is not None
        if row.attempts and self._superseded(row):
            self._settle(row, lambda: self._resolve(row))
            return None
        source = FileSource(store.files.path(row.content), row.size)
        caps = store.inner.features.caps
        plain = WriteItem(row.path, source, row.modified_ns, tag=row.seq)
        first_try = row.attempts == 0
        if row.base == "" and Cap.IF_ABSENT in caps and first_try:
            return replace(plain, if_absent=True)
        if row.base not in {"", None, UNKNOWN} and Cap.IF_VERSION in caps and first_try:
            return replace(plain, if_version=row.base)
        try:
            there = self._there(row.path)
            if not self._fits(row, there):
                assert there is not None
                self._collided(row, there)
                return None
        except StoreError as error:
            self._answered(row, Result(row.path, error=error))
            return None
        if there is None:
            return replace(plain, if_absent=True) if Cap.IF_ABSENT in caps else plain
        if there.version is not None and Cap.IF_VERSION in caps:
            return replace(plain, if_version=there.version)
        return plain

    def _superseded(self, row: Pending) -> bool:
        """Whether a later change of the same path only waits to learn what became of this one."""
        with self._store.lock:
            return any(other.after == row.seq for other in self._store.overlay.rows.values())

    def _resolve(self, row: Pending) -> None:
        """An upload that may have arrived, and whose content nobody wants any more: find out, upload nothing."""
        there = self._there(row.path)
        if there is not None and there.version != row.base and self._is_ours(row, there):
            self._uploaded(row, there)
            return
        store = self._store
        with store.lock:
            current = store.overlay.rows.get(row.seq)
            if current is not None:
                store.journal.skip(current)
                store.overlay.drop(current)
                if current.content is not None:
                    store.files.remove(current.content)
                self._based(current.seq, current.base)

    def _there(self, path: str) -> Entry | None:
        try:
            return self._store.inner.stat(path)
        except NotFound:
            return None

    @staticmethod
    def _fits(row: Pending, there: Entry | None) -> bool:
        """Whether the remote is still what the change was based on."""
        if there is None:
            return True  # where it was deleted meanwhile, the newer content stands
        if there.version is None or row.base is None:
            return row.base != "" or there.kind is Kind.DIRECTORY
        return row.base == there.version

    def _answered(self, row: Pending, result: Result) -> None:
        error = result.error
        if error is None:
            assert result.entry is not None
            self._uploaded(row, result.entry)
        elif isinstance(error, PreconditionFailed | AlreadyExists):
            self._settle(row, lambda: self._refused(row, error))
        elif isinstance(error, Exception):
            self._failed(row, error)

    def _refused(self, row: Pending, error: Exception) -> None:
        """The condition did not hold: somebody's edit, or our own upload whose answer was lost."""
        there = self._there(row.path)
        if there is None:
            self._again(row, error)
        elif there.version is not None and there.version == row.base:
            self._again(row, error)  # it was refused for another reason, or has come back
        else:
            self._collided(row, there)

    def _again(self, row: Pending, error: Exception) -> None:
        self._failed(row, TemporaryError(str(error)))

    def _collided(self, row: Pending, there: Entry) -> None:
        """Another version is there: ours, of an earlier try, or somebody's, and then both are kept."""
        if self._is_ours(row, there):
            _log.info("%s: an earlier upload had arrived", paths.printable(row.path))
            self._uploaded(row, there)
            return
        store = self._store
        with store.lock:
            taken = {other.path for other in store.overlay.rows.values()}
        name = self._free_name(row.path, taken)
        with store.lock:
            current = store.overlay.rows.get(row.seq)
            if current is None:
                return
            store.overlay.drop(current)
            moved = replace(current, path=name, base="", after=None, state=State.CONFLICTED, error_kind="conflict",
                            error=f"{row.path} was changed at the remote meanwhile", due=0.0, next_try=0.0,
                            attempts=0)  # fmt: skip
            store.journal.update(moved)
            store.overlay.add(moved)
        store.stats.conflict()
        store.stats.error("conflict", moved.error)
        _log.warning(
            "%s was changed at the remote meanwhile; both are kept, ours as %s",
            paths.printable(row.path), paths.printable(name),
        )  # fmt: skip

    def _free_name(self, path: str, taken: set[str]) -> str:
        """A conflict name that neither the remote nor a pending row has."""
        while True:
            name = conflict_name(path, self._store.settings.host, self._store.times.wall(), taken)
            if self._there(name) is None:
                return name
            taken.add(name)

    def _is_ours(self, row: Pending, there: Entry) -> bool:
        if there.kind is not Kind.FILE or there.size != row.size or row.content is None:
            return False
        name = hashing.cheapest(there.hashes)
        path = self._store.files.path(row.content)
        if name is not None:
            with open(path, "rb") as file:
                hasher = hashing.new(name)
                while piece := file.read(1 << 20):
                    hasher.update(piece)
            return hasher.hexdigest() == there.hashes[name]
        with self._store.inner.read(row.path, if_version=there.version) as theirs, open(path, "rb") as ours:
            for chunk in theirs:
                if ours.read(len(chunk)) != chunk:
                    return False
            return not ours.read(1)

    def _uploaded(self, row: Pending, entry: Entry) -> None:
        store = self._store
        with store.lock:
            current = store.overlay.rows.get(row.seq)
            if current is None:
                return
            old = store.journal.uploaded(current, entry, used=store.times.wall())
            store.overlay.drop(current)
            if old is not None:
                store.files.remove(old)
            self._based(row.seq, entry.version)
            store.settled(row.path, entry.version)
            store.arrived(row.path)
        _log.info("uploaded %s", paths.printable(row.path))

    def _based(self, seq: int, base: str | None) -> None:
        """Under the lock: rows that waited for the result of `seq` know it now, as the journal does."""
        for other in list(self._store.overlay.rows.values()):
            if other.after == seq:
                self._store.overlay.replace(replace(other, base=base, after=None))

    # ---- everything else

    def _other(self, row: Pending) -> None:
        store = self._store
        inner = store.inner
        moved: Entry | None = None
        base: str | None = ""
        only_here = False
        if row.what is What.MKDIR:
            try:
                base = inner.mkdir(row.path).version
            except Unsupported:
                if not store.implicit:
                    raise
                only_here = True
        elif row.what is What.RMDIR:
            self._rmdir(row)
        elif row.what is What.DELETE:
            self._delete(row)
        else:
            moved = self._rename(row)
            base = None if moved is None else moved.version
        with store.lock:
            current = store.overlay.rows.get(row.seq)
            if current is None:
                return
            shown = store.overlay.shown(current) if only_here else None
            local = None if shown is None else LocalChange(add=(shown,))
            for number in store.journal.done(current, base=base, moved=moved, local=local):
                store.files.remove(number)
            store.overlay.drop(current)
            if local is not None:
                store.overlay.local.change(add=local.add)
            self._based(row.seq, base)
            for place in row.places:
                store.settled(place, base if place == row.places[-1] else "")

    def _delete(self, row: Pending) -> None:
        there = self._there(row.path)
        if there is None:
            return
        if there.is_dir or (row.base not in {None, "", there.version} and there.version is not None) or (
            row.base == "" and row.attempts == 0
        ):  # fmt: skip
            self._store.stats.conflict()
            _log.warning("%s was changed at the remote meanwhile; it is not deleted", paths.printable(row.path))
            return
        try:
            self._store.inner.delete(row.path)
        except NotFound:
            pass

    def _rmdir(self, row: Pending) -> None:
        try:
            self._store.inner.rmdir(row.path)
        except NotFound:
            pass
        except DirectoryNotEmpty:
            self._store.stats.conflict()
            _log.warning("%s got new entries at the remote meanwhile; it stays", paths.printable(row.path))

    def _rename(self, row: Pending) -> Entry | None:
        assert row.dst is not None
        inner = self._store.inner
        source = self._there(row.path)
        target = self._there(row.dst)
        if source is None:  # done by an earlier try, or removed by somebody
            return target
        dst = row.dst
        if target is not None and not row.is_dir and target.version not in {row.base, None}:
            dst = self._free_name(row.dst, set())
            self._store.stats.conflict()
            _log.warning(
                "%s was changed at the remote meanwhile; both are kept, ours as %s",
                paths.printable(row.dst), paths.printable(dst),
            )  # fmt: skip
        if row.is_dir and target is not None:
            self._merge(row.path, dst)
            return None
        moved = move_anyhow(inner, row.path, dst)
        return moved if dst == row.dst and not row.is_dir else None

    def _merge(self, src: str, dst: str) -> None:
        """Move what is left of a directory into one that is there: the rest of an earlier try."""
        inner = self._store.inner
        for entry in list(inner.scan(src)):
            target = paths.join(dst, entry.name)
            if entry.is_dir and self._there(target) is not None:
                self._merge(entry.path, target)
            else:
                move_anyhow(inner, entry.path, target)
        try:
            inner.rmdir(src)
        except NotFound:
            pass

    # ---- failures

    def _settle(self, row: Pending, action: "object") -> None:
        try:
            action()  # type: ignore[operator]
        except StoreError as error:
            self._failed(row, error)

    def _failed(self, row: Pending, error: Exception) -> None:
        """Say it, count it, and decide when to try again."""
        store = self._store
        kind = error.kind if isinstance(error, StoreError) else type(error).__name__
        text = paths.printable(str(error))
        store.stats.error(kind, text)
        attempts = row.attempts + 1
        permanent = isinstance(error, _PERMANENT)
        delay = _delay(error, attempts)
        with store.lock:
            current = store.overlay.rows.get(row.seq)
            if current is None:
                return
            self._changed(
                current, state=State.FAILED if permanent else State.DIRTY, attempts=attempts, error_kind=kind,
                error=text, next_try=store.times.wall() + delay,
            )  # fmt: skip
        _log.warning(
            "%s %s: %s; %s", row.what.value, paths.printable(row.path), text,
            "it stays in the cache" if permanent else f"tried again in {delay:.0f} s",
        )  # fmt: skip

    # ---- flush

    def flush(self, path: str, *, timeout: float | None = None) -> list[Pending]:
        """Rounds without delays until nothing at, above or below `path` is left, fails, or `timeout` is over."""
        store = self._store
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with store.lock:
                left = list(store.overlay.touching(path))
                before = {row.seq: row.attempts for row in left}
            if not left or (deadline is not None and time.monotonic() > deadline):
                return left
            self.step(force=True, below=path)
            with store.lock:
                left = list(store.overlay.touching(path))
            if {row.seq: row.attempts for row in left} == before or any(
                row.attempts > before.get(row.seq, row.attempts) for row in left
            ):
                return left


def _delay(error: Exception, attempts: int) -> float:
    """Seconds until the next try."""
    if isinstance(error, QuotaExceeded):
        return _QUOTA
    if isinstance(error, PermissionDenied):
        return _PERMISSION
    longest = min(_LONGEST, 2.0**attempts)
    if isinstance(error, TemporaryError) and error.retry_after is not None:
        return max(error.retry_after, 1.0)
    if isinstance(error, IntegrityError | SourceChanged | TemporaryError):
        return random.uniform(longest / 2, longest)  # noqa: S311 - jitter
    return longest


def _is_busy(place: str, busy: set[str], above: set[str]) -> bool:
    """Whether an earlier row touches `place`, something above it or something below it."""
    if place in busy or place in above:
        return True
    while place := paths.parent(place):
        if place in busy:
            return True
    return False
