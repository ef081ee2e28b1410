"""Brings planned files to the destination, by the cheapest way that the two sides have in common.

    ServerSide    one service: it copies by itself, the bytes never pass here
    Upload        a local source, and a store that takes many files at once
    Download      a local destination, and a store that gives many files at once; published in groups
    Pool          anything else: one `write` a file, from several threads

An executor pulls actions from an iterator as it has room, in the main thread, and yields one `Outcome` for each, in any
order. An outcome without error means that the file is whole, verified and durable under its final name. Nothing is
repeated here: `http` has done what repeating can do, and `run` decides what is worth starting anew.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol, cast

from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import Interrupted, StoreError
from cftool.core.ops import StoreSource as OwnSource
from cftool.core.provider import never
from cftool.core.types import Cap, Entry, ReadItem, Result, Source, Target, WriteItem
from cftool.disk.listing import entry_of
from cftool.disk.root import Root
from cftool.disk.source import LocalSource
from cftool.disk.writer import LocalTarget
from cftool.transfer.actions import Action
from cftool.transfer.conditions import Conditions
from cftool.transfer.events import Emit, Started
from cftool.transfer.follow import FollowingStore
from cftool.transfer.links import KeepingStore
from cftool.transfer.options import Options, Side, Verify
from cftool.transfer.telling import StoreSource, TellingTarget, is_large, tell
from cftool.transfer.threads import bounded

log = logging.getLogger("cftool.transfer")

_NOTICED = 256 << 10  # bytes from which a smaller one counts on its way, where it is told of late
_FLUSH = 512  # downloads between two group commits: the price of a report that is too late, not of durability
_THREADS = 16  # where the store names no number of its own


@dataclass(frozen=True, slots=True)
class Outcome:
    """`entry` is what the destination has now, where it is known; `error` why the file is not there.

    `moved`: it was renamed, so that the source is gone.
    """

    action: Action
    entry: Entry | None = None
    error: Exception | None = None
    server_side: bool = False
    moved: bool = False


class Executor(Protocol):
    """One way of copying. `reads` tells a failed condition of the source's version from one of the destination's."""

    reads: bool

    def run(self, actions: Iterable[Action]) -> Iterator[Outcome]:
        """Copy; ends when `actions` has ended and everything begun is settled."""
        ...

    def close(self) -> None:
        """Release what was opened."""
        ...


def choose(src: Side, dst: Side, options: Options, emit: Emit, cancelled: Callable[[], bool] = never) -> Executor:
    """The executor for a pair of sides. `emit` hears of large files while they are under way."""
    have = dst.store.features
    if same_service(src, dst):
        return (Together if Cap.COPY_MANY in have.caps else ServerSide)(src, dst, options)
    if src.local_root is not None and Cap.WRITE_MANY in have.caps:
        return Upload(src, dst, options, emit)
    if dst.local_root is not None and Cap.READ_MANY in src.store.features.caps:
        return Download(src, dst, options, emit)
    return Pool(src, dst, options, emit, cancelled)


def same_service(src: Side, dst: Side) -> bool:
    """Whether one service holds both sides, under one account, and copies by itself."""
    a, b = src.base, dst.base
    return (
        a is not None
        and b is not None
        and b.features.remote  # local files go through `write_many`, which shares its syncs and copies in the kernel
        and bool(a.features.identity)
        and a.features.identity == b.features.identity
        and Cap.COPY in b.features.caps
    )


class Dry:
    """The executor of a dry run: all succeeds, nothing happens."""

    reads = False

    def run(self, actions: Iterable[Action]) -> Iterator[Outcome]:
        """As Executor says, and there are no entries."""
        for action in actions:
            yield Outcome(action)

    def close(self) -> None:
        """Nothing to release."""


class Upload:
    """Local files through the store's own `write_many`."""

    reads = False

    def __init__(self, src: Side, dst: Side, options: Options, emit: Emit) -> None:
        assert src.local_root is not None
        self._emit = emit
        self._root = Root(src.local_root)
        self._source = _sources(src, self._root, emit, never)  # stores that take many look for themselves
        self._store = dst.store
        self._slow = not dst.store.features.remote  # files of this machine are told of by the batch
        self._conditions = Conditions(dst.store, options)
        self._early: deque[Outcome] = deque()

    def run(self, actions: Iterable[Action]) -> Iterator[Outcome]:
        """As Executor says."""
        for result in self._store.write_many(self._items(actions)):
            yield _outcome(result)
            while self._early:
                yield self._early.popleft()
        while self._early:
            yield self._early.popleft()

    def _items(self, actions: Iterable[Action]) -> Iterator[WriteItem]:
        for action in actions:
            src = action.src
            try:
                source = self._source(src)
            except StoreError as error:
                self._early.append(Outcome(action, error=error))
                continue
            progress: Callable[[int], None] | None = None
            if is_large(src.size):
                self._emit(Started(src.path, src.size))
                progress = partial(tell, self._emit, src.path)
            elif self._slow and (src.size or 0) >= _NOTICED:
                progress = partial(tell, self._emit, "")
            if_version, if_absent = self._conditions.of(action)
            yield WriteItem(action.path, source, src.modified_ns, if_version, if_absent, action, progress)

    def close(self) -> None:
        """Close the tree."""
        self._root.close()


class Download:
    """Into a local tree through the store's own `read_many`; told as copied only after the group is on the disk."""

    reads = True

    def __init__(self, src: Side, dst: Side, options: Options, emit: Emit) -> None:
        assert dst.local_root is not None
        self._verify = options.verify is not Verify.NONE and not src.store.features.verified_reads
        self._emit = emit
        self._origin = src.key
        self._root = Root(dst.local_root, create=True)
        self._store = src.store
        self._links = dst.store if isinstance(dst.store, KeepingStore) else None
        self._targets: dict[int, LocalTarget] = {}  # of small files that are under way, by the action's identity

    def run(self, actions: Iterable[Action]) -> Iterator[Outcome]:
        """As Executor says."""
        early: deque[Outcome] = deque()
        done: list[Result] = []
        try:
            for result in self._store.read_many(self._items(actions, early)):
                if result.error is not None:
                    self._targets.pop(id(result.tag), None)
                    yield _outcome(result)
                else:
                    done.append(result)
                if len(done) >= _FLUSH:
                    yield from self._settle(done)
                    done = []
                while early:
                    yield early.popleft()
        except Interrupted:
            yield from self._settle(done)  # these are whole
            raise
        yield from self._settle(done)
        yield from early

    def _items(self, actions: Iterable[Action], early: deque[Outcome]) -> Iterator[ReadItem]:
        for action in actions:
            try:
                target = self._target(action.path)
                if is_large(action.src.size):
                    self._emit(Started(action.src.path, action.src.size))
                    target = TellingTarget(target, self._emit)
                elif self._links is None and isinstance(target, LocalTarget):
                    self._targets[id(action)] = target
            except StoreError as error:
                early.append(Outcome(action, error=error))
                continue
            yield ReadItem(action.src, target, action)

    def _target(self, path: str) -> Target:
        if self._links is not None:
            return self._links.target(self._root, path, self._origin)
        return self._root.target(path, origin=self._origin, verify=self._verify)

    def _settle(self, done: list[Result]) -> Iterator[Outcome]:
        failures = dict(self._root.flush())
        for result in done:
            action = cast("Action", result.tag)
            error = failures.get(action.path) if failures else None
            target = self._targets.pop(id(action), None)
            if error is None:
                # As it was when it got its name: what somebody made of it since is nothing that was copied.
                status = None if target is None else target.published
                if status is not None:
                    yield Outcome(action, entry_of(action.path, status))
                    continue
                try:
                    links = self._links
                    entry = links.stat(action.path) if links else local_entry(self._root, action.path)
                    yield Outcome(action, entry)
                    continue
                except StoreError as caught:
                    error = caught
            yield Outcome(action, error=error)

    def close(self) -> None:
        """Close the tree."""
        try:
            self._root.close()
        except StoreError as error:  # of files that a run which broke off never asked about
            log.warning("%s: %s", paths.printable(error.path or ""), error)


class _Threads:
    """Runs one call a file in threads."""

    reads = False
    server_side = False

    def __init__(self, threads: int) -> None:
        self._count = max(1, threads)

    def copy(self, action: Action) -> Entry:
        """Copy one file, in a thread."""
        raise NotImplementedError

    def run(self, actions: Iterable[Action]) -> Iterator[Outcome]:
        """As Executor says."""
        for done in bounded(self.copy, actions, threads=self._count):
            yield Outcome(done.item, done.value, done.error, self.server_side and done.error is None)

    def close(self) -> None:
        """Nothing to release: threads end with `run`."""


class ServerSide(_Threads):
    """The service copies from itself to itself."""

    server_side = True

    def __init__(self, src: Side, dst: Side, options: Options) -> None:
        super().__init__(options.transfers or max(dst.store.features.connections, 4))
        assert dst.base is not None
        self._store = dst.base
        self._from, self._to = src.base_path, dst.base_path

    def copy(self, action: Action) -> Entry:
        """One server-side copy; the entry comes back under its path at the destination."""
        made = self._store.copy(paths.join(self._from, action.src.path), paths.join(self._to, action.path))
        return made.at(action.path)


class Together:
    """The service copies from itself to itself, many in one step."""

    reads = False

    def __init__(self, src: Side, dst: Side, options: Options) -> None:
        assert dst.base is not None
        self._store = dst.base
        self._from, self._to = src.base_path, dst.base_path
        self._conditions = Conditions(dst.base, options)

    def run(self, actions: Iterable[Action]) -> Iterator[Outcome]:
        """As Executor says."""
        for result in self._store.write_many(map(self._item, actions)):
            action = cast("Action", result.tag)
            made = None if result.entry is None else result.entry.at(action.path)
            yield Outcome(action, made, result.error, result.error is None)

    def _item(self, action: Action) -> WriteItem:
        there = action.src.at(paths.join(self._from, action.src.path))
        if_version, if_absent = self._conditions.of(action)
        target = paths.join(self._to, action.path)
        source = OwnSource(self._store, there)
        return WriteItem(target, source, action.src.modified_ns, if_version, if_absent, action)

    def close(self) -> None:
        """Nothing to release."""


class Pool(_Threads):
    """One `write` a file."""

    def __init__(
        self, src: Side, dst: Side, options: Options, emit: Emit, cancelled: Callable[[], bool] = never
    ) -> None:
        a, b = src.store.features, dst.store.features
        threads = [f.connections for f in (a, b) if f.remote]
        super().__init__(options.transfers or min(threads, default=_THREADS))
        self._src, self._dst = src.store, dst.store
        self._conditions = Conditions(dst.store, options)
        self._root = None if src.local_root is None else Root(src.local_root)
        self._emit = emit
        self._cancelled = cancelled
        self._source = _sources(src, self._root, emit, cancelled)

    def copy(self, action: Action) -> Entry:
        """Write from the source's bytes."""
        if self._cancelled():
            raise Interrupted("interrupted")
        src = action.src
        source = self._source(src)
        if is_large(src.size):
            self._emit(Started(src.path, src.size))
        if_version, if_absent = self._conditions.of(action)
        return self._dst.write(
            action.path, source, modified_ns=src.modified_ns, if_version=if_version, if_absent=if_absent
        )

    def close(self) -> None:
        """Close the tree."""
        if self._root is not None:
            self._root.close()


def _outcome(result: Result) -> Outcome:
    return Outcome(cast("Action", result.tag), result.entry, result.error)


def _sources(src: Side, root: Root | None, emit: Emit, cancelled: Callable[[], bool]) -> Callable[[Entry], Source]:
    """How an entry of the listing becomes the source of exactly the file that the listing saw."""
    if isinstance(src.store, FollowingStore | KeepingStore):
        return src.store.source
    if root is not None:
        return lambda entry: LocalSource(root, entry.path, version=entry.version, size=entry.size)
    return lambda entry: StoreSource(src.store, entry, emit, cancelled)


def local_entry(root: Root, path: str) -> Entry:
    """The entry of a local file as a listing would show it."""
    return entry_of(path, root.stat(path))
