"""Many small conversations with the server in one loop: each a generator that yields requests and gets responses.

A flow yields a Request and gets its Response (or has the error raised at that place), a Gate and goes on when it is
open, or a Job and gets what it returned in a worker thread. What it returns is its Result's entry, what it raises the
error. The loop (`Flows.run`) belongs to the thread that iterates; flows of one loop share what they like without locks.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from cftool.core.types import Entry, Result
from cftool.http.client import Client
from cftool.http.types import Request

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

POLL = 0.01  # seconds between looks at the worker threads, while requests are in flight
_PATIENCE = 0.1  # seconds between looks at whether the run is to end, while nothing is
_WORKERS = 4


class Gate:
    """Flows wait at it until it is opened; one that comes later passes at once."""

    __slots__ = ("is_open", "waiting")

    def __init__(self) -> None:
        self.is_open = False
        self.waiting: list[_Running] = []


class Job:
    """Something that blocks."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call


Step = Request | Gate | Job
Flow = Generator[Step, Any, Entry | None]


class _Running:
    __slots__ = ("flow", "path", "tag")

    def __init__(self, flow: Flow, path: str | None, tag: object) -> None:
        self.flow = flow
        self.path = path  # None: a helper, which has no result
        self.tag = tag


class Flows:
    """One loop. `begin` gives the next flow as (flow, path, tag), None when there are no more; `room` when to ask."""

    def __init__(
        self,
        client: Client,
        begin: Callable[[], tuple[Flow, str, object] | None],
        *,
        room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = client
        self._begin = begin
        self._room = room
        self._ended = False
        self._ready: deque[tuple[_Running, Request]] = deque()
        self._flights: dict[int, tuple[_Running, Request]] = {}
        self._jobs: dict[Future[object], _Running] = {}
        self._alive: set[_Running] = set()
        self._results: deque[Result] = deque()
        self._pool: ThreadPoolExecutor | None = None

    def run(self) -> Iterator[Result]:
        """Until all flows have ended; results in that order."""
        try:
            while True:
                with contextlib.closing(self._client.send_many(self._next)) as completions:  # type: ignore[type-var] # a generator
                    for completion in completions:
                        running, _ = self._flights.pop(id(completion.request))
                        self._go_on(running, completion.response, completion.error)
                        while self._results:
                            yield self._results.popleft()
                while self._results:
                    yield self._results.popleft()
                if self._ended and not self._alive:
                    return
        finally:
            self._give_up()

    def spawn(self, flow: Flow) -> None:
        """Start a helper; its errors are its own business."""
        self._go_on(self._enter(flow, None, None))

    def open(self, gate: Gate) -> None:
        """Let through who waits."""
        gate.is_open = True
        waiting, gate.waiting = gate.waiting, []
        for running in waiting:
            self._go_on(running)

    def _enter(self, flow: Flow, path: str | None, tag: object) -> _Running:
        running = _Running(flow, path, tag)
        self._alive.add(running)
        return running

    def _next(self) -> Request | float | None:
        while True:
            if self._jobs:
                self._look()
            if self._ready:
                running, request = self._ready.popleft()
                self._flights[id(request)] = (running, request)
                return request
            if self._ended or not self._room():
                break
            if self._results and not self._flights and not self._jobs:
                return None  # nothing in flight would bring the results out: end this round for them
            item = self._begin()
            if item is None:
                self._ended = True
                break
            self._go_on(self._enter(*item))
        if not self._jobs:
            return None
        if self._flights:
            return POLL
        from concurrent.futures import FIRST_COMPLETED, wait

        wait(self._jobs, timeout=_PATIENCE, return_when=FIRST_COMPLETED)
        return 0.0

    def _look(self) -> None:
        for future in [future for future in self._jobs if future.done()]:
            running = self._jobs.pop(future)
            error = future.exception()
            if isinstance(error, Exception):
                self._go_on(running, None, error)
            elif error is not None:
                raise error
            else:
                self._go_on(running, future.result())

    def _go_on(self, running: _Running, value: object = None, error: Exception | None = None) -> None:
        """Run a flow to its next step."""
        flow = running.flow
        try:
            while True:
                step = flow.send(value) if error is None else flow.throw(error)
                if isinstance(step, Request):
                    self._ready.append((running, step))
                    return
                if isinstance(step, Job):
                    self._jobs[self._submit(step.call)] = running
                    return
                if not step.is_open:
                    step.waiting.append(running)
                    return
                value, error = None, None
        except StopIteration as end:
            self._alive.discard(running)
            if running.path is not None:
                self._results.append(Result(running.path, end.value, None, running.tag))
        except Exception as failure:  # whatever a source or a target raises is that item's failure alone
            self._alive.discard(running)
            if running.path is not None:
                self._results.append(Result(running.path, None, failure, running.tag))

    def _submit(self, call: Callable[[], object]) -> "Future[object]":
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="cftool-webdav")
        return self._pool.submit(call)

    def _give_up(self) -> None:
        """The loop is torn down: what is under way ends where it is."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        alive, self._alive = self._alive, set()
        for running in alive:
            with contextlib.suppress(Exception):
                running.flow.close()


def run_one(client: Client, flow: Flow) -> Result:
    """One flow alone; its result."""
    flows: list[Flow] = [flow]
    [result] = list(Flows(client, lambda: (flows.pop(), "", None) if flows else None).run())
    return result
