"""The loop under read_many and write_many of stores that have a request for an object (S3, Google Cloud Storage).

A small item is one request. Large ones wait while small ones pass them, then are several requests, a few items at once;
what blocks of them, the beginning and the end, runs in a few worker threads meanwhile. Per small item little Python
runs here: it is what 5,000 of them cost. A round ends where results wait and nothing in flight would bring them out.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from cftool.core.types import Result
from cftool.http.types import Completion, Request

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

LARGE = 4  # large items at once
PARTS = 16  # requests of large items in flight, of all together
QUEUE = 1000  # large items that wait while small ones pass them


class Sender(Protocol):
    """The service. Thread-safe."""

    def many(self, following: Callable[[], Request | float | None]) -> AbstractContextManager[Iterator[Completion]]:
        """Send in parallel."""
        ...

    def check(self) -> None:
        """Raise Interrupted where the run is to end."""
        ...


class Step(Protocol):
    """What a request's tag is: whoever gets the answer."""

    def answered(self, completion: Completion) -> None:
        """The request has ended."""
        ...


class Large(Protocol):
    """A large item. All is called in the loop's thread."""

    def ended(self) -> bool:
        """Look at the worker threads; whether all is over and the result is out."""
        ...

    def next_request(self) -> Request | None:
        """What to send now, or None."""
        ...

    def abandon(self) -> None:
        """The loop is torn down."""
        ...


ItemT = TypeVar("ItemT")
WaitingT = TypeVar("WaitingT")
LargeT = TypeVar("LargeT", bound=Large)


class Rounds(Generic[ItemT, WaitingT, LargeT]):
    """One run. `memory`: bytes of small items in flight, at most; `poll`: seconds between looks at the worker threads.

    Subclasses say how an item is begun, which may put it into `waiting`, and what becomes of what has waited.
    """

    def __init__(
        self, sender: Sender, items: Iterable[ItemT], *, memory: int, poll: float, threads: int, name: str
    ) -> None:
        self.memory = 0  # of small items in flight
        self.small = 0  # small items in flight
        self.parts = 0  # requests of large items in flight
        self._many = sender.many
        self._items = iter(items)
        self._ended = False
        self._again: deque[Request] = deque()
        self._results: deque[Result] = deque()
        self._waiting: deque[WaitingT] = deque()
        self._large: list[LargeT] = []
        self._pool: ThreadPoolExecutor | None = None
        self._most_memory, self._poll, self._threads, self._name = memory, poll, threads, name

    def _start(self, item: ItemT) -> Request | None:
        """Its first request; None where it waits for its turn, or has failed already."""
        raise NotImplementedError

    def _begin(self, waiting: WaitingT) -> LargeT:
        """A large item whose turn it is."""
        raise NotImplementedError

    def _is_working(self) -> bool:
        """Whether worker threads may change what is to be sent."""
        return bool(self._large)

    def run(self) -> Iterator[Result]:
        """Until the items are used up and each has its result."""
        try:
            while True:
                with self._many(self._next) as completions:
                    for completion in completions:
                        step: Step = completion.request.tag  # type: ignore[assignment] # set where requests are made
                        step.answered(completion)
                        while self._results:
                            yield self._results.popleft()
                while self._results:
                    yield self._results.popleft()
                if self._ended and not (self._again or self._large or self._waiting):
                    return
        finally:
            for each in self._large:
                each.abandon()
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, job: Callable[[], None]) -> "Future[None]":
        """Run something that blocks in a worker thread."""
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)
        return self._pool.submit(job)

    def again(self, request: Request) -> None:
        """Send this before anything new."""
        self._again.append(request)

    def _next(self) -> Request | float | None:
        if self._again:
            return self._again.popleft()
        if self._large or self._waiting:
            request = self._of_large()
            if request is not None:
                return request
        while self.memory < self._most_memory and len(self._waiting) < QUEUE and not self._ended:
            if self._results and not self.small and not self._large:
                return None  # nothing in flight would bring the results out: end this round for them
            item = next(self._items, None)
            if item is None:
                self._ended = True
                break
            request = self._start(item)
            if request is not None:
                return request
        if self._large or self._waiting:
            return self._of_large() or (self._poll if self._is_working() else None)
        return None

    def _of_large(self) -> Request | None:
        """What a large item wants to send next, where it may."""
        # Let them see what their worker threads have done; forget those that ended.
        self._large = [each for each in self._large if not each.ended()]
        while self._waiting and len(self._large) < LARGE:
            self._large.append(self._begin(self._waiting.popleft()))
        if self._again:
            return self._again.popleft()
        if self.parts < PARTS:
            for each in self._large:
                request = each.next_request()
                if request is not None:
                    return request
        return None
