"""Many requests at once over the requests library: a thread each, all that is seen of it in the caller's.

The bodies of sinks travel to the caller's thread through a bounded queue, so that sinks are called there only.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from cftool.core.errors import Interrupted
from cftool.http.messages import SINK_STATUSES, feed
from cftool.http.types import Attempt, Completion, Header, Request, Response, Stream

_SLICE = 0.2  # seconds between two looks at the stop flag
_QUEUE = 64  # pieces between the workers and the caller: 1 MiB


class _Job:
    """One attempt of `send_many` in its thread; `cancelled` is set by the owner when nobody wants it any more."""

    __slots__ = ("cancelled", "headers", "request", "response")

    def __init__(self, request: Request, headers: Iterable[Header]) -> None:
        self.request = request
        self.headers = headers
        self.response: Response | None = None
        self.cancelled = False


class Threads:
    """One `send_many`: workers that wait for jobs, and the queue through which they answer."""

    def __init__(self, send: Callable[[Request, Iterable[Header]], Stream], cancelled: Callable[[], bool]) -> None:
        self._send = send
        self._cancelled = cancelled
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # (job, chunk of the sink's body | None at the start of it | the completion)
        self._events: queue.Queue[tuple[_Job, bytes | Completion | None]] = queue.Queue(_QUEUE)
        self._threads: list[threading.Thread] = []
        self._busy: set[_Job] = set()
        self._stopped = False

    def run(
        self, attempts: Callable[[], Attempt | float | None], concurrency: Callable[[], int]
    ) -> Iterator[Completion]:
        """Completions as they come."""
        ask_at: float | None = 0.0
        try:
            while True:
                if self._cancelled():
                    raise Interrupted("interrupted")
                if ask_at is not None and ask_at <= time.monotonic():
                    ask_at = self._fill(attempts, concurrency)
                if not self._busy:
                    if ask_at is None:
                        return
                    time.sleep(min(_SLICE, max(0.0, ask_at - time.monotonic())))
                    continue
                completion = self._next(_SLICE if not ask_at else min(_SLICE, max(0.0, ask_at - time.monotonic())))
                if completion is not None:
                    yield completion
                    ask_at = 0.0
        finally:
            self._stop()

    def _fill(self, attempts: Callable[[], Attempt | float | None], concurrency: Callable[[], int]) -> float | None:
        """Start what is due; when to ask again."""
        while len(self._busy) < concurrency():
            attempt = attempts()
            if attempt is None:
                return None
            if not isinstance(attempt, tuple):
                return time.monotonic() + max(0.0, attempt)
            job = _Job(*attempt)
            self._busy.add(job)
            self._jobs.put(job)
            if len(self._threads) < len(self._busy):
                thread = threading.Thread(target=self._work, name="cftool-http", daemon=True)
                self._threads.append(thread)
                thread.start()
        return 0.0

    def _next(self, timeout: float | None) -> Completion | None:
        """Serve one event: feed a sink, or return a completion."""
        try:
            job, event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if job.cancelled:
            return None
        if isinstance(event, Completion):
            self._busy.discard(job)
            return event
        sink = job.request.sink
        assert sink is not None
        assert job.response is not None
        try:
            if event is None:
                sink.start(job.response)
            else:
                feed(sink, event)
        except Exception as error:
            job.cancelled = True
            self._busy.discard(job)
            return Completion(job.request, error=error)
        return None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                completion = Completion(job.request, self._attempt(job))
            except Exception as error:
                completion = Completion(job.request, error=error)
            self._events.put((job, completion))

    def _attempt(self, job: _Job) -> Response:
        request = job.request
        stream = self._send(request, job.headers)
        try:
            response = job.response = Response(stream.status, stream.headers)
            if request.sink is None or stream.status not in SINK_STATUSES:
                response.body = stream.read_all(request.max_body)
                return response
            self._events.put((job, None))
            for chunk in stream.chunks():
                if job.cancelled or self._stopped:
                    break
                self._events.put((job, chunk))
            return response
        finally:
            stream.close()

    def _stop(self) -> None:
        """End the workers: those in the middle of an attempt end with it, and what they say is dropped."""
        self._stopped = True
        deadline = time.monotonic() + 1.0
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            while thread.is_alive():
                try:
                    self._events.get(timeout=0.05)  # one that waits for room in the queue must get on
                except queue.Empty:
                    pass
                if self._cancelled() and time.monotonic() > deadline:
                    return  # waiting for a silent server; a daemon thread holds up no end
