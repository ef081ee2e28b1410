"""A file against a directory of the same name: the old one is moved aside first, and removed last.

Called by `run` after the gate has allowed it. Between the two moves nothing of the old is lost: where the new does not
arrive whole, a directory goes back to its place, and a file stays under the name that the error tells.
"""

import os
from collections.abc import Callable, Iterable, Iterator

from cftool.core import paths
from cftool.core.errors import Interrupted, NotFound, StoreError, Unsupported
from cftool.core.store import Store
from cftool.core.types import Cap, Entry
from cftool.transfer.actions import Action, Replacement
from cftool.transfer.execute import Executor, Outcome
from cftool.transfer.keep import Keeper
from cftool.transfer.removal import Remover
from cftool.transfer.tally import Tally

Settled = Callable[..., None]


class Replacer:
    """Does the replacements of one run."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        remover: Remover,
        tally: Tally,
        *,
        spool_dir: str | None,
        keep: Keeper | None = None,
    ) -> None:
        self._store = store
        self._executor = executor
        self._remover = remover
        self._tally = tally
        self._spool_dir = spool_dir
        self._keep = keep

    def replace_all(self, replacements: Iterable[Replacement], settled: Settled) -> bool:
        """Do all; whether all succeeded."""
        before = self._tally.failures
        for replacement in replacements:
            self._one(replacement, settled)
        return self._tally.failures == before and self._tally.stopped != "interrupted"

    def _one(self, replacement: Replacement, settled: Settled) -> None:
        old = replacement.old
        if self._tally.dry_run:
            self._remove(old, old.path)
            self._copy(replacement, settled)
            return
        aside = _aside(old.path)
        try:
            if (Cap.MOVE_DIR if old.is_dir else Cap.MOVE) not in self._store.features.caps:
                raise Unsupported("cannot move the old one aside", op="move", path=old.path)
            self._store.move(old.path, aside)
        except StoreError as error:
            self._tally.failed(old.path, error)
            return
        if self._copy(replacement, settled):
            self._remove(old, aside)
        else:
            self._put_back(old, aside)

    def _copy(self, replacement: Replacement, settled: Settled) -> bool:
        before = self._tally.failures
        wanted = len(replacement.files)
        done = 0
        try:
            for outcome in self._executor.run(_actions(replacement)):
                done += outcome.error is None
                settled(_last_attempt(outcome), reads=self._executor.reads)
        except Interrupted as error:
            self._tally.failed("", error)
            return False
        for path in replacement.directories:
            try:
                if not self._tally.dry_run:
                    self._store.mkdir(path)
            except StoreError as error:
                self._tally.failed(path, error)
            else:
                self._tally.made_directory(path)
        return self._tally.failures == before and self._tally.stopped != "interrupted" and done == wanted

    def _remove(self, old: Entry, path: str) -> None:
        moved = old.at(path)
        if self._keep is not None:
            self._take(old, moved, self._keep)
            return
        if old.is_dir:
            self._remover.remove_below(
                path, spool_dir=self._spool_dir, shown=lambda below: old.path + below[len(path) :]
            )
        self._remover.remove([(b"", moved)], shown=lambda _path: old.path)

    def _take(self, old: Entry, moved: Entry, keep: Keeper) -> None:
        """Keep it, as a whole, under a name of the one that it had."""
        try:
            to = keep.place(old.path)
            if not self._tally.dry_run:
                keep.take_as(moved, to)
        except StoreError as error:
            self._tally.failed(old.path, error)
        else:
            self._tally.moved(old.path, to)

    def _put_back(self, old: Entry, aside: str) -> None:
        try:
            self._store.stat(old.path)
        except NotFound:
            try:
                self._store.move(aside, old.path)
            except StoreError as error:
                self._tally.failed(old.path, error)
            else:
                return
        except StoreError:
            pass
        self._tally.failed(old.path, StoreError(f"could not be replaced; the old one is kept as {aside}"))


def _actions(replacement: Replacement) -> Iterator[Action]:
    for key, entry in replacement.files:
        yield Action(key, entry, None)


def _last_attempt(outcome: Outcome) -> Outcome:
    """Not to be tried anew: nothing is there yet that a second run would not do."""
    outcome.action.attempts = 1 << 30
    return outcome


def _aside(path: str) -> str:
    """A name beside `path` that nobody has; short, whatever the old one's length."""
    name = path.rpartition("/")[2]
    return paths.join(paths.parent(path), f"replaced-{os.urandom(4).hex()}-{name[:40]}")
