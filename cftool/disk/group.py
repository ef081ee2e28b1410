"""Group commit: finished temps collect, and are synced and renamed by the batch, so that small files share the cost.

Who saves never waits for a slow disk: there the batches go to one thread of ours. Where the disk is fast (a few syncs
tell), the saving thread publishes them itself, because two threads that take turns at tiny system calls cost twice
the time of one. Bounded in files and bytes; `flush` belongs to whoever reports success.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cftool.disk.writer import Draft, publish

if TYPE_CHECKING:
    from cftool.disk.root import Failure, Root

BATCH_FILES = 64
BATCH_BYTES = 8 * 1024 * 1024
_WAITING = 2  # batches: with the one being filled and the one being published, 256 open files at most
_PROBE_FILES = 8  # in a batch whose only purpose is to see how fast the disk is
_PROBE_AFTER = 32  # batches that the thread did, it is tried again
_FAST = 0.25e-3  # seconds a file: a batch then takes the saving thread 16 ms at most
_log = logging.getLogger("cftool.disk")


class Group:
    """The queue of one Root. Any thread may call."""

    def __init__(self, root: "Root", *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._root = root
        self._clock = clock
        self._adding = threading.Lock()
        self._batch: list[Draft] = []
        self._bytes = 0
        self._fast = False
        self._until_probe = 0
        self._failed_lock = threading.Lock()
        self._failures: list[Failure] = []
        self._jobs: queue.Queue[list[Draft] | Callable[[], None] | None] = queue.Queue(_WAITING)
        self._worker: threading.Thread | None = None

    def add(self, one: Draft) -> None:
        """Take over a finished draft."""
        with self._adding:
            self._batch.append(one)
            self._bytes += one.size
            # Large files are never published here: their sync takes long on any disk.
            probe = not self._until_probe and not self._fast
            if len(self._batch) >= (_PROBE_FILES if probe else BATCH_FILES) or self._bytes >= BATCH_BYTES:
                self._submit(here=(probe or self._fast) and self._bytes < BATCH_BYTES)

    def call(self, job: Callable[[], None]) -> None:
        """Have the thread do something between batches; dropped where it is behind."""
        with self._adding:
            self._start()
            try:
                self._jobs.put_nowait(job)
            except queue.Full:
                _log.debug("the writer thread is behind")

    def drain(self) -> None:
        """Publish all that was added; failures are kept for `flush`."""
        with self._adding:
            if self._batch:
                self._submit(here=self._fast and self._bytes < BATCH_BYTES)
        self._jobs.join()

    def flush(self) -> "list[Failure]":
        """Drain, and hand out the failures since the last time."""
        self.drain()
        with self._failed_lock:
            failures, self._failures = self._failures, []
        return failures

    def close(self) -> None:
        """End the thread, after what is queued."""
        self.drain()
        with self._adding:
            worker, self._worker = self._worker, None
            if worker is not None:
                self._jobs.put(None)
                worker.join()

    def _submit(self, *, here: bool) -> None:
        """Publish the batch, in this thread where `here` and nothing older is queued: a path may be saved twice."""
        batch, self._batch, self._bytes = self._batch, [], 0
        if here and not self._jobs.unfinished_tasks:
            began = self._clock()
            self._publish(batch)
            self._fast = (self._clock() - began) / len(batch) < _FAST
            self._until_probe = _PROBE_AFTER
            return
        self._start()
        self._until_probe = max(0, self._until_probe - 1)
        self._jobs.put(batch)  # waits while the thread is behind

    def _start(self) -> None:
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="cftool-disk", daemon=True)
            self._worker.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if callable(job):
                    job()
                else:
                    self._publish(job)
            except Exception:  # the thread must live, or `flush` would wait for ever
                _log.exception("the writer thread failed")
            finally:
                self._jobs.task_done()
        self._jobs.task_done()

    def _publish(self, batch: list[Draft]) -> None:
        try:
            failures = publish(self._root, batch)
            self._root.sync_directories(only_if_many=True)
        except Exception as error:  # whatever it is, no file of the batch may count as saved
            failures = [(one.path, error) for one in batch]
        if failures:
            with self._failed_lock:
                self._failures += failures
