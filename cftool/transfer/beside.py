"""What a run does in threads beside the merge: comparisons that need I/O, and empty directories.

The merge goes on while they run; their results are taken in by the main thread, where it feeds the executor. It may be
ahead of them by a bounded number only.
"""

import queue
from collections.abc import Callable
from dataclasses import replace

from cftool.core.errors import NotFound, PreconditionFailed, SourceChanged, StoreError, Unsupported
from cftool.core.types import Cap, Entry
from cftool.transfer.compare import Comparer, Finding
from cftool.transfer.options import Options, Side
from cftool.transfer.state import Row
from cftool.transfer.tally import Tally
from cftool.transfer.threads import Workers

_WAITING = 4096  # comparisons that the merge may be ahead of
_CHECKERS = 16
_POLL = 0.1  # seconds between looks at the stop flag

Found = Callable[[bytes, "Row | None", Finding], None]


class Beside:
    """The threads of one run. `found` is called in the main thread for every comparison that succeeded."""

    def __init__(
        self, src: Side, dst: Side, options: Options, comparer: Comparer, tally: Tally, *, stop: Callable[[], bool]
    ) -> None:
        self.checking = 0  # comparisons under way
        self.making = 0  # directories under way
        self.found: Found = lambda _key, _row, _finding: None
        self._src, self._dst, self._options = src, dst, options
        self._comparer = comparer
        self._tally = tally
        self._stop = stop
        self._checked: queue.SimpleQueue[tuple[bytes, Entry, Row | None, Finding | Exception]] = queue.SimpleQueue()
        self._made: queue.SimpleQueue[tuple[str, Exception | None]] = queue.SimpleQueue()
        self._workers: Workers | None = None

    def _pool(self) -> Workers:
        if self._workers is None:
            most = max(self._src.store.features.connections, self._dst.store.features.connections)
            self._workers = Workers(self._options.checkers or min(_CHECKERS, max(4, most)))
        return self._workers

    def close(self) -> None:
        """Wait for the calls that have begun, drop the others."""
        if self._workers is not None:
            self._workers.close()

    # ---- comparisons

    def check(self, key: bytes, src: Entry, dst: Entry, row: Row | None) -> None:
        """Compare a pair with whatever it takes."""
        while self.checking >= _WAITING and not self._stop():
            self.take_found(wait=True)
        self.checking += 1
        self._pool().submit(self._check, key, src, dst, row)

    def _check(self, key: bytes, src: Entry, dst: Entry, row: Row | None) -> None:
        try:
            finding = self._comparer.full(src, dst, row)
            if finding.set_time and not self._options.dry_run:
                finding = self._with_time(finding)
        except Exception as error:
            self._checked.put((key, src, row, error))
        else:
            self._checked.put((key, src, row, finding))

    def _with_time(self, finding: Finding) -> Finding:
        """Same content, another time: set it where that costs no second upload."""
        store = self._dst.store
        if Cap.SET_MODIFIED not in store.features.caps or finding.src.modified_ns is None:
            return finding
        try:
            return replace(finding, dst=store.set_modified(finding.dst.path, finding.src.modified_ns))
        except Unsupported:  # of this one file, as of an object in an archive: the content is what counts
            return finding

    def take_found(self, *, wait: bool) -> None:
        """Take in comparisons that have ended; with `wait` at least one, unless the run is stopped."""
        while self.checking:
            try:
                key, src, row, finding = self._checked.get(timeout=_POLL) if wait else self._checked.get_nowait()
            except queue.Empty:
                if wait and not self._stop():
                    continue
                return
            wait = False
            self.checking -= 1
            if isinstance(finding, Finding):
                self.found(key, row, finding)
            else:
                self._not_compared(src, finding)

    def _not_compared(self, src: Entry, error: Exception) -> None:
        if isinstance(error, NotFound | SourceChanged | PreconditionFailed):
            try:
                self._src.store.stat(src.path)
            except NotFound:
                self._tally.skipped(src.path, "vanished")
                return
            except StoreError as unknown:
                error = unknown
        self._tally.failed(src.path, error)

    # ---- empty directories

    def make_directory(self, path: str) -> None:
        """Make it some time."""
        if self._options.dry_run:
            self._tally.made_directory(path)
            return
        self.making += 1
        self._pool().submit(self._make, path)

    def _make(self, path: str) -> None:
        try:
            self._dst.store.mkdir(path)
        except Exception as error:
            self._made.put((path, error))
        else:
            self._made.put((path, None))

    def take_made(self, *, wait: bool) -> None:
        """Take in directories that were made."""
        while self.making:
            try:
                path, error = self._made.get() if wait else self._made.get_nowait()
            except queue.Empty:
                return
            self.making -= 1
            if error is None:
                self._tally.made_directory(path)
            elif isinstance(error, Unsupported):  # seen only now: what the server makes of a marker
                self._tally.skipped(path, "empty")
            else:
                self._tally.failed(path, error, copying=True)

    def finish(self) -> None:
        """Wait for all directories."""
        self.take_made(wait=True)
