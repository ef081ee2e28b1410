"""`Client.send_many`: many operations at once, each with its own budget, none waiting for another.

Sits between the caller's `next_request` and the Transport's `attempts`: gives out what is due for its next attempt,
then what is new; takes completions back and lets only final ones through. While the remote is held (Retry-After)
nothing is given out. Sleeps itself, with the client's clock, when nothing is in flight.
"""

import contextlib
import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from cftool.core.errors import ConnectionFailed
from cftool.http.retry import Operation
from cftool.http.types import Completion, Header, Request

if TYPE_CHECKING:
    from cftool.http.client import Client

_TELL_PACER = 32  # completions that are reported together: its lock is shared


class _Flight(Operation):
    """An operation of a batch; `given` is the caller's request, `sent` the one that the transport knows."""

    __slots__ = ("given", "sent")

    def __init__(self, request: Request, now: float) -> None:
        super().__init__(now)
        self.given = self.sent = request


class Batch:
    """One `send_many`; used once."""

    def __init__(self, client: "Client", next_request: Callable[[], Request | float | None]) -> None:
        self._client = client
        self._clock = client.clock
        self._next_request = next_request
        self._flights: dict[int, _Flight] = {}  # in flight, by the identity of what was sent
        self._later: list[tuple[float, int, _Flight]] = []  # a heap: due time, a tie-break, who
        self._failed: deque[Completion] = deque()  # operations that ended without an attempt to complete
        self._sequence = 0
        self._share = client.pacer.join()
        self._done = 0

    def run(self) -> Iterator[Completion]:
        """See `Client.send_many`."""
        client = self._client
        try:
            while True:
                ended = True
                attempts = client.transport.send_many(self._attempt, partial(client.pacer.allowed, self._share))
                with contextlib.closing(attempts):  # type: ignore[type-var] # a generator in all transports
                    for completion in attempts:
                        final = self._final(completion)
                        if final is not None:
                            yield final
                        while self._failed:
                            yield self._failed.popleft()
                while self._failed:
                    ended = False  # what the caller does with these may bring new requests
                    yield self._failed.popleft()
                if ended and not self._later:
                    return
        finally:
            client.pacer.leave(self._share)

    # ---- what is sent next

    def _attempt(self) -> tuple[Request, Iterable[Header]] | float | None:
        """The transport has room."""
        client = self._client
        while True:
            client.check()
            flight = self._due(self._clock.monotonic())
            if isinstance(flight, _Flight):
                try:
                    headers = client.begin(flight.given, flight)
                except Exception as error:
                    self._failed.append(Completion(flight.given, error=error))
                    continue
                return self._depart(flight), headers
            if flight is None or self._flights:
                return flight
            if self._failed:  # nothing is in flight that would bring the control back to `run`
                return None
            client.wait(flight)

    def _due(self, now: float) -> _Flight | float | None:
        """Whose turn it is, or for how many seconds nobody's, or None: nobody's any more."""
        held = self._client.pacer.held(now)
        if held:
            return self._while_held(now, held)
        later = self._later
        if later and later[0][0] <= now:
            return heapq.heappop(later)[2]
        request = self._next_request()
        if isinstance(request, Request):
            return _Flight(request, now)
        if later:
            wait = max(0.0, later[0][0] - now)
            return wait if request is None else min(wait, request)
        return request

    def _while_held(self, now: float, held: float) -> float | None:
        """Nothing may be sent for `held` seconds: for how long to wait, or None where there is nothing to send."""
        client = self._client
        self._give_up_on(now, held)
        if self._later:
            return held
        # One request is taken ahead, to know whether there is anything to wait for at all.
        request = self._next_request()
        if not isinstance(request, Request):
            return None if request is None else min(held, request)
        if held > client.policy.budget:  # longer than any operation may take: it fails unsent
            self._failed.append(Completion(request, error=client.told_to_wait(held)))
            return 0.0
        self._put_off(_Flight(request, now), now)
        return held

    def _put_off(self, flight: _Flight, due: float) -> None:
        self._sequence += 1
        heapq.heappush(self._later, (due, self._sequence, flight))

    def _give_up_on(self, now: float, held: float) -> None:
        """Operations whose budget ends before the hold does."""
        client = self._client
        kept = []
        for item in self._later:
            if client.schedule.remaining(item[2], now) < held:
                self._failed.append(Completion(item[2].given, error=client.told_to_wait(held)))
            else:
                kept.append(item)
        if len(kept) < len(self._later):
            heapq.heapify(kept)
            self._later = kept

    def _depart(self, flight: _Flight) -> Request:
        request = flight.given
        if id(request) in self._flights:  # the same object twice at once: the transport must tell them apart
            request = replace(request)
        flight.sent = request
        self._flights[id(request)] = flight
        self._share.in_flight += 1
        return request

    # ---- what came back

    def _final(self, completion: Completion) -> Completion | None:
        """The completion for the caller, or None where there will be another attempt."""
        flight = self._flights.pop(id(completion.request))
        self._share.in_flight -= 1
        client, request, error = self._client, flight.given, completion.error
        delay: float | None
        try:
            if completion.response is not None:
                delay = client.after_answer(request, flight, completion.response)
            elif isinstance(error, ConnectionFailed):
                delay = client.after_failure(request, flight, error)
            else:
                return completion if completion.request is request else Completion(request, error=error)
        except Exception as final:
            return Completion(request, error=final)
        if delay is None:
            self._report()
            return completion if completion.request is request else Completion(request, completion.response)
        self._put_off(flight, self._clock.monotonic() + delay)
        return None

    def _report(self) -> None:
        """Tell the pacer of an answer, several at once."""
        self._done += 1
        if self._done >= _TELL_PACER:
            pacer = self._client.pacer
            pacer.succeeded(self._done, self._share.in_flight + 1 >= pacer.limit)
            self._done = 0
