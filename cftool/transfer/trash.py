"""What `sync --trash` kept: listed, emptied, and brought back. The layout, which is all there is to know, is `keep`'s.

Restoring copies out of the trash and leaves what is in it; what stands in the way is never overwritten in silence: it
is an error, or with `replace` it goes to the trash itself first. Nothing here needs state: any machine can do it.
"""

import calendar
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from cftool.core import ops, paths
from cftool.core.errors import AlreadyExists, NotADirectory, NotFound, StoreError
from cftool.core.store import Store
from cftool.core.types import Entry, Kind
from cftool.disk import locks
from cftool.transfer.actions import Action
from cftool.transfer.compare import SIZE_ONLY, Comparer, Verdict
from cftool.transfer.events import Emit, Summary
from cftool.transfer.execute import choose
from cftool.transfer.keep import FORMAT, keeper
from cftool.transfer.options import Options, Side, Surroundings
from cftool.transfer.removal import Remover
from cftool.transfer.staged import staged
from cftool.transfer.tally import Tally
from cftool.transfer.threads import bounded

_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)(?:-(\d+))?")


@dataclass(frozen=True, slots=True, order=True)
class Folder:
    """What one run kept. `when` in seconds since the epoch."""

    when: float
    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Old:
    """One old version: `path` is the name that it had, `entry` where it is, both relative to the destination's root."""

    folder: Folder
    path: str
    entry: Entry


def folders(store: Store, trash: str) -> list[Folder]:
    """The folders of a trash, oldest first; none where there is no trash. What has another kind of name is not ours."""
    found = []
    try:
        for entry in store.scan(trash):
            match = _NAME.fullmatch(entry.name) if entry.is_dir else None
            if match is not None:
                found.append(Folder(_seconds(match[1]), int(match[2] or 1), entry.name))
    except (NotFound, NotADirectory):
        return []
    return sorted(found)


def _seconds(stamp: str) -> float:
    try:
        return calendar.timegm(time.strptime(stamp, FORMAT))
    except ValueError:  # the 31st of February
        return 0.0


def is_older(folder: Folder, around: Surroundings, older_than: float | None) -> bool:
    """Whether it was made longer ago than that; None: always."""
    return older_than is None or around.now() - folder.when > older_than


def old_files(at: Side, trash: str, around: Surroundings, *, older_than: float | None = None) -> Iterator[Old]:
    """Everything in the trash, oldest folder first, in the order of the paths."""
    for folder in folders(at.store, trash):
        if is_older(folder, around, older_than):
            yield from _below(at.store, trash, folder, "")


def _below(store: Store, trash: str, folder: Folder, path: str) -> Iterator[Old]:
    """Files of one folder, at or below `path`."""
    lead = paths.join(trash, folder.name)
    start = paths.join(lead, path) if path else lead
    try:
        entry = store.stat(start)
        if entry.is_dir:
            for below in ops.walk_anyhow(store, start):
                if not below.is_dir:
                    yield Old(folder, below.path[len(lead) + 1 :], below)
        else:
            yield Old(folder, path, entry)
    except (NotFound, NotADirectory):
        return


def empty(
    at: Side, trash: str, options: Options, around: Surroundings, emit: Emit, *, older_than: float | None
) -> Summary:
    """Delete folders, each told with what was in it; holds the destination's lock."""
    tally = Tally(emit, now=around.now, dry_run=options.dry_run)
    with ExitStack() as stack:
        if around.state_dir is not None and not options.dry_run:
            lock = locks.lock_tree(around.state_dir, at.key, wait=options.wait_lock, cancelled=around.cancelled)
            stack.enter_context(lock)
        remover = Remover(at.store, tally, dry_run=options.dry_run, cancelled=around.cancelled)
        for folder in folders(at.store, trash):
            if is_older(folder, around, older_than):
                path = paths.join(trash, folder.name)
                remover.remove_below(path, spool_dir=None)
                if not tally.stopped and not tally.failures:
                    remover.remove_named(Entry(path, Kind.DIRECTORY))
    return tally.summary()


def find(store: Store, path: str, trash: str) -> tuple[str, str] | None:
    """The nearest directory at or above `path` whose trash has something of that name: its path, and the rest.

    The rest is empty where `path` has a trash itself: all that it holds is meant.
    """
    if folders(store, paths.join(path, trash) if path else trash):
        return path, ""
    root = path
    while root:
        root = paths.parent(root)
        rest = path[len(root) + 1 :] if root else path
        if any(True for _ in versions(store, paths.join(root, trash), rest)):
            return root, rest
    return None


def versions(store: Store, trash: str, path: str) -> Iterator[Old]:
    """All old versions at and below `path`, the newest folder first."""
    for folder in reversed(folders(store, trash)):
        yield from _below(store, trash, folder, path)


def chosen(olds: Iterable[Old], when: float | None) -> list[Old]:
    """Of each path one version: the newest, or what was there at `when`: the first that went away since then.

    `olds` come with the newest folder first.
    """
    best: dict[str, Old] = {}
    for old in olds:
        if when is None:
            best.setdefault(old.path, old)
        elif old.folder.when >= when:
            best[old.path] = old
    return [best[path] for path in sorted(best)]


class Restore:
    """One run of restore: `path` of the tree `at` to `target` of the tree `to`."""

    def __init__(
        self, at: Side, path: str, to: Side, target: str, options: Options, around: Surroundings, emit: Emit
    ) -> None:
        self._at, self._path, self._to, self._target = at, path, to, target
        self._options, self._around = options, around
        self._tally = Tally(emit, now=around.now, dry_run=options.dry_run)
        self._keep = keeper(to, options, around)
        self._comparer = Comparer(at, to, options)

    def go(self, trash: str, *, when: float | None = None, replace: bool = False) -> Summary:
        """Raises NotFound where the trash has nothing of that name and time."""
        olds = chosen(versions(self._at.store, trash, self._path), when)
        if not olds:
            since = "" if when is None else " from then on"
            raise NotFound(f"the trash has nothing of this name{since}", op="restore", path=self._path)
        with ExitStack() as stack:
            state_dir = self._around.state_dir
            if state_dir is not None and not self._options.dry_run:
                key = f"{self._to.key.rstrip('/')}/{self._target}"
                wait, cancelled = self._options.wait_lock, self._around.cancelled
                stack.enter_context(locks.lock_tree(state_dir, key, wait=wait, shared=True, cancelled=cancelled))
            if self._keep is not None:
                self._keep.open(stack)
            actions = self._actions(olds, replace=replace)
            self._copy(actions)
        return self._tally.summary()

    def _actions(self, olds: list[Old], *, replace: bool) -> Iterator[Action]:
        cut = len(self._path) + 1 if self._path else 0
        threads = max(1, self._to.store.features.connections)
        wanted = [
            Action(
                b"", old.entry, None, path=paths.join(self._target, old.path[cut:]) if old.path[cut:] else self._target
            )
            for old in olds
        ]
        for done in bounded(self._look, wanted, threads=threads):
            action = done.item
            if done.error is not None:
                self._tally.failed(action.path, done.error)
            elif done.value:
                self._tally.checked += 1
            elif action.replaces and not replace:
                self._tally.failed(
                    action.path,
                    AlreadyExists(
                        "is there, and is not what the trash has; --force replaces it, and keeps it in the trash",
                        op="restore",
                        path=action.path,
                    ),
                )
            else:
                action.replaces = action.replaces and action.dst is None
                yield action

    def _look(self, action: Action) -> bool:
        """See what is in the way; whether it is the very same already."""
        try:
            there = self._to.store.stat(action.path)
        except NotFound:
            return False
        action.replaces = True
        if there.kind is not Kind.FILE:
            raise AlreadyExists(f"a {there.kind.value} of this name is there", op="restore", path=action.path)
        action.dst = there
        verdict, _by = self._comparer.quick(action.src, there, None)
        if verdict is Verdict.CHECK:
            finding = self._comparer.full(action.src, there)
            return finding.verdict is Verdict.EQUAL and finding.by != SIZE_ONLY
        return verdict is Verdict.EQUAL

    def _copy(self, actions: Iterator[Action]) -> None:
        tally = self._tally
        if self._options.dry_run:
            for action in actions:
                tally.copied(action.path, action.src.size)
            return
        executor = choose(self._at, self._to, self._options, tally.emit, self._around.cancelled)
        executor = staged(executor, self._at, self._to, self._options, self._keep)
        try:
            for outcome in executor.run(actions):
                if outcome.error is not None:
                    tally.failed(outcome.action.path, outcome.error)
                else:
                    tally.copied(outcome.action.path, outcome.action.src.size, server_side=outcome.server_side)
        except StoreError as error:
            tally.failed("", error)
        finally:
            executor.close()
