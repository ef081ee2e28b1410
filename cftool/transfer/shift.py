"""Renames from one side of a run to the other, where both are one service or both are this machine's disks.

A rename takes whatever has the name at that moment, whole, and nothing is lost at any instant. What cannot be renamed
raises Unsupported (another disk), and is copied by whoever asked. Used by `moving`.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from cftool.core import paths
from cftool.core.errors import AlreadyExists, StoreError, Unsupported
from cftool.core.types import Cap, Entry, Kind
from cftool.disk.listing import entry_of
from cftool.disk.root import Root
from cftool.transfer.actions import Action
from cftool.transfer.execute import Executor, Outcome
from cftool.transfer.options import Side
from cftool.transfer.threads import bounded


class Shift:
    """Renames between `src` and `dst`; thread-safe. `whole`: directories too."""

    def __init__(self, src: Side, dst: Side) -> None:
        self._src, self._dst = src, dst
        both = src.store.features.caps & dst.store.features.caps
        self._local = src.local_root is not None and dst.local_root is not None
        self._works = Cap.MOVE in both and (self._local or _one_service(src, dst))
        self.whole = self._works and Cap.MOVE_DIR in both
        self._root: Root | None = Root("/") if self._works and self._local else None

    def __bool__(self) -> bool:
        return self._works

    def file(self, src: str, dst: str) -> Entry:
        """Rename a file, replacing one at `dst`; what it is there. "" means the side's own directory, as a whole."""
        return self._move(_full(self._src, src), _full(self._dst, dst)).at(dst)

    directory = file

    def spelling(self, src: str, dst: str) -> None:
        """Rename where both names are one to the store: at once, or in two steps where it says that `dst` is taken."""
        old, new = _full(self._src, src), _full(self._dst, dst)
        try:
            self._move(old, new)
        except AlreadyExists:
            between = paths.join(paths.parent(new), f".cftool-{os.urandom(6).hex()}")
            self._move(old, between)
            try:
                self._move(between, new)
            except StoreError:
                self._move(between, old)
                raise

    def _move(self, old: str, new: str) -> Entry:
        if self._root is not None:
            self._root.rename(old, new)
            self._root.sync(new)
            return entry_of(new, self._root.stat(new))
        assert self._dst.base is not None
        return self._dst.base.move(old, new)

    def close(self) -> None:
        """Close what was opened."""
        if self._root is not None:
            self._root.close()


def _full(side: Side, path: str) -> str:
    base = (side.base_path if side.local_root is None else side.local_root).strip("/")
    return paths.join(base, path) if path else base


def _one_service(src: Side, dst: Side) -> bool:
    a, b = src.base, dst.base
    return (
        a is not None
        and b is not None
        and b.features.remote
        and bool(a.features.identity)
        and a.features.identity == b.features.identity
    )


class Renaming:
    """An executor that renames, and hands what cannot be renamed to `other`; see `execute.Executor`."""

    reads = False

    def __init__(self, shift: Shift, other: Callable[[], Executor], *, threads: int) -> None:
        self._shift = shift
        self._other = other
        self._opened: Executor | None = None
        self._threads = threads
        self._works = True

    def run(self, actions: Iterable[Action]) -> Iterator[Outcome]:
        """As Executor says."""
        source = iter(actions)
        again: list[Action] = []
        if self._works:
            for done in bounded(self._one, self._while_it_works(source), threads=self._threads):
                if isinstance(done.error, Unsupported):
                    self._works = False
                    again.append(done.item)
                else:
                    yield Outcome(done.item, done.value, done.error, True, done.error is None)
        rest = chain(again, source)
        first = next(rest, None)
        if first is not None:
            if self._opened is None:
                self._opened = self._other()
            self.reads = self._opened.reads
            yield from self._opened.run(chain((first,), rest))

    def _while_it_works(self, source: Iterator[Action]) -> Iterator[Action]:
        for action in source:
            yield action
            if not self._works:
                return

    def _one(self, action: Action) -> Entry:
        if action.src.kind is not Kind.FILE:
            raise Unsupported("only files are renamed", op="move", path=action.src.path)
        return self._shift.file(action.src.path, action.path)

    def close(self) -> None:
        """Close what was opened."""
        self._shift.close()
        if self._opened is not None:
            self._opened.close()
