"""Many requests at once in the calling thread: one loop, as many easy handles as are in use. Used by `curl` only.

An engine outlives a `send_many`: handles and connections are reused by the next. When the caller stops iterating, what
is in flight is dropped with its connections.
"""

import time
from collections.abc import Callable, Iterator

from cftool.core.errors import Interrupted
from cftool.core.provider import never
from cftool.http.curl_handle import Handle
from cftool.http.curl_loop import Loop
from cftool.http.types import Attempt, Completion, Request

SLICE = 0.2  # seconds between two looks at the stop flag


class Engine:
    """See `Transport.send_many`."""

    def __init__(self, loop: Loop, new_handle: Callable[[], Handle], cancelled: Callable[[], bool] = never) -> None:
        self.loop = loop
        self._cancelled = cancelled
        self._new_handle = new_handle
        self._idle: list[Handle] = []
        self._busy: set[Handle] = set()
        self._ask_at: float | None = 0.0  # when to ask for the next attempt; 0: with room; None: after a completion

    def run(
        self, attempts: Callable[[], Attempt | float | None], concurrency: Callable[[], int]
    ) -> Iterator[Completion]:
        """Completions as they come."""
        busy, step = self._busy, self.loop.step
        self._room()
        try:
            while True:
                if self._cancelled():
                    raise Interrupted("interrupted")
                if (failed := self._fill(attempts, concurrency)) is not None:
                    yield failed
                    continue
                if not busy:
                    if self._ask_at is None:
                        return
                    time.sleep(min(SLICE, max(0.0, self._ask_at - time.monotonic())))
                    continue
                for handle, code, text in step(self._wait()):
                    request = handle.request
                    assert request is not None
                    busy.discard(handle)
                    completion = _complete(handle, request, code, text)
                    self._idle.append(handle)
                    yield completion
                    self._room()
                    if (failed := self._fill(attempts, concurrency)) is not None:
                        yield failed
        finally:
            for handle in busy:
                self.loop.abort(handle)
                self._idle.append(handle)
            busy.clear()

    def _wait(self) -> float | None:
        """For how long nothing but the network has to be looked at."""
        longest = None if self._cancelled is never else SLICE
        if not self._ask_at:
            return longest
        wait = max(0.0, self._ask_at - time.monotonic())
        return wait if longest is None else min(wait, longest)

    def _room(self) -> None:
        """Ask for the next attempt as soon as there is room."""
        self._ask_at = 0.0

    def _fill(
        self, attempts: Callable[[], Attempt | float | None], concurrency: Callable[[], int]
    ) -> Completion | None:
        """Start as many attempts as are due; where one cannot even start, that is its completion, and more are due."""
        busy, idle = self._busy, self._idle
        if self._ask_at is None or (self._ask_at and self._ask_at > time.monotonic()):
            return None
        for _ in range(concurrency() - len(busy)):
            attempt = attempts()
            if attempt is None:
                self._ask_at = None
                return None
            if not isinstance(attempt, tuple):
                self._ask_at = time.monotonic() + max(0.0, attempt)
                return None
            handle = idle.pop() if idle else self._new_handle()
            try:
                handle.start(*attempt)
                self.loop.start(handle)
            except Exception as error:
                handle.request = None
                idle.append(handle)
                self._ask_at = 0.0
                return Completion(attempt[0], error=error)
            busy.add(handle)
        self._ask_at = 0.0
        return None

    def close(self) -> None:
        """Close the connections and free the handles."""
        if self.loop.foreign:
            return
        self.loop.close()
        for handle in (*self._idle, *self._busy):
            handle.close()


def _complete(handle: Handle, request: Request, code: int, text: str) -> Completion:
    try:
        return Completion(request, handle.outcome(code, text))
    except Exception as error:  # what is no Exception (KeyboardInterrupt in a callback) leaves the generator
        return Completion(request, error=error)
