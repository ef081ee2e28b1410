"""What a run reads from and writes to the state databases, and what becomes of it when they cannot be used.

A run goes on without state, because a row only saves work; but it has failed in part then, so that the gate holds
deletions back. A dry run reads and writes nothing. Called by `run`, in the main thread.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack

from cftool.core import paths
from cftool.core.errors import Locked, StoreError
from cftool.core.types import Entry
from cftool.disk.root import Root
from cftool.transfer.compare import Comparer
from cftool.transfer.merge import Folding
from cftool.transfer.options import Side
from cftool.transfer.scan import placed
from cftool.transfer.state import LastSources, PairState, Row, pair_path
from cftool.transfer.tally import Tally


class Records:
    """The state of one run. `other_source`: the source is not the one of last time, as far as that is known."""

    def __init__(
        self, src: Side, dst: Side, folding: Folding, state_dir: str | None, tally: Tally, comparer: Comparer
    ) -> None:
        self.other_source = False
        self._src, self._dst, self._folding = src, dst, folding
        self._state_dir = state_dir
        self._tally = tally
        self._comparer = comparer
        self._state: PairState | None = None
        self._last: LastSources | None = None
        self._identity = ""

    @property
    def accepted(self) -> frozenset[int]:
        """Numbers of the sources whose rows vouch for what was there."""
        return frozenset() if self._state is None else self._state.accepted

    @property
    def source(self) -> int:
        """The number of this run's source; -1 where nothing is recorded."""
        return -1 if self._state is None else self._state.source

    def open(self, stack: ExitStack) -> None:
        """Open the databases, to be closed by `stack`."""
        if self._state_dir is None:
            return
        dry = self._tally.dry_run
        path = pair_path(self._state_dir, self._src.key, self._dst.key)
        try:
            self._identity = self._identified()
            if dry and not os.path.exists(path):
                return
            self._state = PairState(path, identity=self._identity, folding=repr(self._folding), read_only=dry)
            stack.callback(self._state.close)
            self._last = LastSources(self._state_dir)
            stack.callback(self._last.close)
            known = self._last.get(self._name(), self._dst.key)
        except (StoreError, Locked, sqlite3.Error, OSError) as error:
            self._failed(error)
            return
        for damaged in (self._state.damaged, self._last.damaged):
            if damaged is not None:
                self._tally.note(f"a damaged state file was set aside as {paths.printable(damaged)}")
        self.other_source = known is not None and known != self._identity

    def _identified(self) -> str:
        try:
            return self.identify()
        except StoreError as error:
            raise placed(error, self._src.address) from None

    def identify(self) -> str:
        """For a remote the account and place; for a local tree its file system and root."""
        if self._src.local_root is None:
            return self._src.key
        with Root(self._src.local_root) as root:
            return root.identity()

    def _name(self) -> str:
        """What the user calls the source: for a local one its real path, for a remote one the address."""
        return self._src.key if self._src.local_root is not None else self._src.address

    def _failed(self, error: Exception) -> None:
        self._state = None
        self._tally.failed("", error if isinstance(error, StoreError) else StoreError(f"state database: {error}"))

    def rows(self) -> Iterator[tuple[bytes, Row]]:
        """The rows in the order of the merge; where they break off, the rest is compared by other means."""
        if self._state is None:
            return
        try:
            yield from self._state.rows()
        except sqlite3.Error as error:
            self._failed(error)

    def equal(self, key: bytes, src: Entry, dst: Entry, row: Row | None) -> None:
        """Record that both sides are the same, where both can be recognised again."""
        state = self._state
        if state is None or self._tally.dry_run:
            return
        print_src, print_dst = self._comparer.print_src(src), self._comparer.print_dst(dst)
        if print_src is None or print_dst is None:
            return
        if row is not None and state.is_current(row, src.size, print_src, print_dst):
            return
        try:
            state.put(key, src.size, print_src, print_dst)
        except sqlite3.Error as error:
            self._failed(error)

    def forget(self, key: bytes) -> None:
        """Neither side has this path any more."""
        if self._state is None or self._tally.dry_run:
            return
        try:
            self._state.drop(key)
        except sqlite3.Error as error:
            self._failed(error)

    def end(self, *, accept: bool, clean: bool, files: int) -> None:
        """Commit. With `accept` the source is the known one from now on, if the run was `clean` or it is the first.

        Clean: nothing failed or was withheld. A first source counts where it had any file.
        """
        if self._state is None or self._last is None or self._tally.dry_run:
            return
        try:
            self._state.flush()
            first = self._last.get(self._name(), self._dst.key) is None
            if accept and (clean or (first and files)):
                self._state.accept()
                self._last.set(self._name(), self._dst.key, self._identity)
        except sqlite3.Error as error:
            self._failed(error)
