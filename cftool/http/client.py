"""What providers call: requests under one policy of retry, pacing, authentication, counting and logging.

A Client belongs to one remote. `send` and `stream` may be called from any thread, `send_many` runs in the thread that
iterates. The Transport sends attempts; what an answer means is the provider's `Classify`; whether and when there is
another attempt is decided here, in `_Policy`, alike for all three. A request that is not idempotent is repeated only
where it certainly did not arrive, or where the service refused it (SLOW_DOWN, AUTH). Nothing above repeats requests.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from cftool.core.errors import ConnectionFailed, Interrupted, LoginRequired, RateLimited, StoreError, TemporaryError
from cftool.core.paths import printable
from cftool.core.provider import never
from cftool.http import urls
from cftool.http.batch import Batch
from cftool.http.forks import renew_after_fork
from cftool.http.messages import SINK_STATUSES, feed
from cftool.http.pacing import Pacer, shared
from cftool.http.redact import redact, safe_url
from cftool.http.retry import AUTH_ATTEMPTS, FIRST_CONTACT_ATTEMPTS, Clock, Operation, Schedule, retry_after
from cftool.http.types import (
    Auth,
    Classify,
    Completion,
    Header,
    Policy,
    Request,
    Response,
    Stream,
    Transport,
    Verdict,
)

_log = logging.getLogger("cftool.http")
_SLICE = 0.2  # seconds between two looks at the stop flag
_PATIENCE = 10.0  # seconds of attempts after which people are told what is waited for
_HEAD_OF_BODY = 64 * 1024  # what a classifier sees, and what is kept of an error page


class _CountLock:
    """Guards all Counters: `counter[op] += 1` is not atomic, and clients of one remote share theirs."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """A lock that no vanished thread holds."""
        self.lock = threading.Lock()


_counting = _CountLock()


class Client:
    """See the module. `connections` is where the pace starts; it may rise to `ceiling`."""

    def __init__(
        self,
        transport: Transport,
        *,
        auth: Auth,
        classify: Classify,
        policy: Policy | None = None,
        requests: Counter[str] | None = None,
        connections: int = 64,
        ceiling: int | None = None,
        name: str = "",
        clock: Clock | None = None,
        pacer: Pacer | None = None,
        cancelled: Callable[[], bool] = never,
    ) -> None:
        self.requests: Counter[str] = Counter() if requests is None else requests
        self.name = name
        self.policy = policy or Policy()
        self.clock = clock or Clock()
        self.auth = auth
        self.transport = transport
        self.classify = classify
        self.schedule = Schedule(self.policy, self.clock)
        self.pacer = pacer or shared(name, connections, ceiling or connections, self.clock.monotonic)
        self.cancelled = cancelled
        self._answered = False  # whether any answer has come yet
        self._troubled = False  # whether it was told that requests fail for long

    # ---- the three ways to send

    def send(self, request: Request) -> Response:
        """The answer with its body collected (or fed to the request's sink)."""
        operation = Operation(self.clock.monotonic())
        while True:
            headers = self._enter(request, operation)  # what a login raises has had its own attempts
            try:
                response = self._exchange(request, headers)
            except ConnectionFailed as error:
                self.wait(self.after_failure(request, operation, error))
                continue
            delay = self.after_answer(request, operation, response)
            if delay is None:
                return response
            self.wait(delay)

    def stream(self, request: Request) -> Stream:
        """The answer with its body still to be pulled; of a status from 400 on, the first 64 KiB are read already."""
        operation = Operation(self.clock.monotonic())
        while True:
            headers = self._enter(request, operation)
            try:
                stream, response = self._open(request, headers)
            except ConnectionFailed as error:
                self.wait(self.after_failure(request, operation, error))
                continue
            try:
                delay = self.after_answer(request, operation, response)
            except BaseException:
                stream.close()
                raise
            if delay is None:
                return stream
            stream.close()
            self.wait(delay)

    def send_many(self, next_request: Callable[[], Request | float | None]) -> Iterator[Completion]:
        """Final outcomes in order of completion; `next_request` as `Transport.send_many` has `attempts`.

        A request that waits for its next attempt holds up no other.
        """
        return Batch(self, next_request).run()

    def close(self) -> None:
        """Close the transport's connections. Idempotent."""
        self.transport.close()

    # ---- one attempt

    def _exchange(self, request: Request, headers: Iterable[Header]) -> Response:
        try:
            stream = self.transport.send(request, headers)
            try:
                response = Response(stream.status, stream.headers)
                if request.sink is not None and stream.status in SINK_STATUSES:
                    request.sink.start(response)
                    for chunk in stream.chunks():
                        feed(request.sink, chunk)
                else:
                    response.body = stream.read_all(request.max_body)
            finally:
                stream.close()
        finally:
            self.pacer.exit()
        return response

    def _open(self, request: Request, headers: Iterable[Header]) -> tuple[Stream, Response]:
        try:
            stream = self.transport.send(request, headers)
            if stream.status < 400:
                return stream, Response(stream.status, stream.headers)
            try:
                body = _head_of(stream)
            finally:
                stream.close()
        finally:
            self.pacer.exit()
        response = Response(stream.status, stream.headers, body)
        return Collected(response), response

    def _enter(self, request: Request, operation: Operation) -> Iterable[Header]:
        """Wait until the remote may be asked, count the attempt, and make its headers."""
        while True:
            self.check()
            now = self.clock.monotonic()
            remaining = self.schedule.remaining(operation, now)
            held = self.pacer.held(now)
            if held > remaining:
                raise self.told_to_wait(held)
            if held:
                self.wait(held)
                continue
            if not self._room(max(0.0, remaining)):
                raise RateLimited(f"{self.name or 'the service'}: no room for another request within the time allowed")
            if not self.pacer.held(self.clock.monotonic()):
                break
            self.pacer.exit()
        try:
            return self.begin(request, operation)
        except BaseException:
            self.pacer.exit()
            raise

    def _room(self, seconds: float) -> bool:
        """Wait for room for one request."""
        if self.cancelled is never:
            return self.pacer.enter(seconds)
        while not self.pacer.enter(min(seconds, _SLICE)):
            self.check()
            seconds -= _SLICE
            if seconds <= 0:
                return False
        return True

    # ---- the policy, used by Batch as well

    def check(self) -> None:
        """Raise Interrupted where the run is to end."""
        if self.cancelled():
            raise Interrupted("interrupted", store=self.name or None)

    def begin(self, request: Request, operation: Operation) -> Iterable[Header]:
        """The headers of an attempt that starts now; it is counted."""
        headers = operation.credentials = self.auth.headers(request)
        operation.attempts += 1
        operation.began = self.clock.monotonic()
        with _counting.lock:
            self.requests[request.op] += 1
        return [*request.headers, *headers] if request.headers else headers

    def after_failure(self, request: Request, operation: Operation, error: ConnectionFailed) -> float:
        """Seconds until the next attempt after one without an answer; raises `error` where there is none."""
        now = self.clock.monotonic()
        if _log.isEnabledFor(logging.DEBUG):
            self._tell(request, operation, now, redact(error.message))
        if error.sent and not request.idempotent:
            raise error
        if not self._answered and not error.sent and operation.attempts >= FIRST_CONTACT_ATTEMPTS:
            raise error
        delay = self.schedule.delay(operation, now)
        if delay is None:
            raise error
        if now - operation.started >= _PATIENCE:
            self._tell_of_trouble(request, redact(error.message))
        return delay

    def after_answer(self, request: Request, operation: Operation, response: Response) -> float | None:
        """None where `response` is the answer, else seconds until the next attempt; raises where there is none."""
        self._answered = True
        status = response.status
        if _log.isEnabledFor(logging.DEBUG):
            self._tell(request, operation, self.clock.monotonic(), str(status))
        body = response.body
        verdict = self.classify(status, response.headers, body if len(body) <= _HEAD_OF_BODY else body[:_HEAD_OF_BODY])
        if verdict is Verdict.ANSWER:
            if status == 407:
                raise LoginRequired(f"the proxy on the way to {_place(request)} wants a user name and password (407)")
            return None
        if verdict is Verdict.AUTH:
            response.credentials = operation.credentials
            if operation.auth_attempts < AUTH_ATTEMPTS and self.auth.rejected(response):
                operation.auth_attempts += 1
                return 0.0
            return None
        return self._passing_fault(verdict, request, operation, response)

    def _passing_fault(self, verdict: Verdict, request: Request, operation: Operation, response: Response) -> float:
        now = self.clock.monotonic()
        wait = retry_after(response.header("retry-after"), self.clock.wall())
        if wait is not None:
            wait = min(wait, self.policy.retry_after_cap)
            self.pacer.hold(now + wait)
        if verdict is Verdict.SLOW_DOWN:
            self.pacer.slow_down(operation.began)
        repeatable = request.idempotent or verdict is Verdict.SLOW_DOWN  # a refusal: nothing was done
        delay = self.schedule.delay(operation, now, wait) if repeatable else None
        if delay is None:
            raise self._given_up(verdict, request, operation, response, wait)
        if now - operation.started >= _PATIENCE:
            self._tell_of_trouble(request, f"answers {response.status}")
        return delay

    def _given_up(
        self, verdict: Verdict, request: Request, operation: Operation, response: Response, wait: float | None
    ) -> StoreError:
        kind = RateLimited if verdict is Verdict.SLOW_DOWN or wait is not None else TemporaryError
        message = f"{_place(request)} answered {response.status} to {request.op or request.method}"
        if operation.attempts > 1:
            message += f", {operation.attempts} times"
        if wait is not None:
            message += f", and asks to wait {wait:.0f} s"
        if text := _words(response.body):
            message += f": {text}"
        return kind(message, retry_after=wait)

    def told_to_wait(self, seconds: float) -> RateLimited:
        """The error of an operation whose budget ends before the service may be asked again."""
        return RateLimited(
            f"{self.name or 'the service'} asks to wait {seconds:.0f} s, longer than an operation may take",
            retry_after=seconds,
        )

    def wait(self, delay: float) -> None:
        """Sleep, in slices where somebody may want the end meanwhile."""
        while delay > 0:
            self.check()
            part = delay if self.cancelled is never else min(delay, _SLICE)
            self.clock.sleep(part)
            delay -= part

    def _tell_of_trouble(self, request: Request, what: str) -> None:
        """Once, so that nobody takes long patience for a hang."""
        if not self._troubled:
            self._troubled = True
            place = _place(request)
            _log.warning("%s; it is tried again for a while", what if what.startswith(place) else f"{place}: {what}")

    def _tell(self, request: Request, operation: Operation, now: float, outcome: str) -> None:
        _log.debug(
            "%s %s %s: %s in %.3f s (attempt %d)",
            request.op,
            request.method,
            safe_url(request.url),
            outcome,
            now - operation.began,
            operation.attempts,
        )


class Collected:
    """A Stream over a body that is there already."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.headers = response.headers
        self._body = response.body

    def header(self, name: str) -> str | None:
        """A header's value by lower-case name, or None."""
        return self.headers.get(name)

    def chunks(self) -> Iterator[bytes]:
        """The body, in one piece."""
        body, self._body = self._body, b""
        if body:
            yield body

    def read_all(self, limit: int = 64 * 1024 * 1024) -> bytes:
        """The body; it is no longer than 64 KiB."""
        del limit
        return b"".join(self.chunks())

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> "Collected":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _head_of(stream: Stream) -> bytes:
    """The first 64 KiB of an error page; the rest of it is of no use to anybody."""
    pieces: list[bytes] = []
    size = 0
    for chunk in stream.chunks():
        pieces.append(chunk)
        size += len(chunk)
        if size >= _HEAD_OF_BODY:
            break
    return b"".join(pieces)[:_HEAD_OF_BODY]


def _place(request: Request) -> str:
    return printable(urls.split(request.url)[1])


def _words(body: bytes) -> str:
    """The text of an error page, for a message: no tags, no secrets, one short line."""
    import re

    text = re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8", "replace"))
    text = " ".join(redact(text).split())
    return printable(text if len(text) <= 200 else text[:200] + "…")
