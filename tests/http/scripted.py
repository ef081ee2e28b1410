"""A transport that answers from a script, and a client around it whose clock is a test's."""

from collections import Counter
from collections.abc import Callable

from cftool.core.errors import ConnectionFailed
from cftool.http.client import Client, Collected
from cftool.http.retry import Clock
from cftool.http.types import Completion, NoAuth, Policy, Response, Verdict
from cftool.testing.clock import FakeClock


def lost(host: str = "host:1", *, sent: bool = True) -> ConnectionFailed:
    error = ConnectionFailed(f"{host}: the connection broke")
    error.sent = sent
    return error


class Scripted:
    """`script` gives, per request, a Response or an exception; it may be a list or a function of the request."""

    def __init__(self, script, clock: FakeClock, seconds: float = 0.0):
        self._script = script if callable(script) else lambda request, items=list(script): items.pop(0)
        self._clock = clock
        self._seconds = seconds
        self.sent = []  # (time, request, headers)
        self.most = 0
        self.closed = False

    def _answer(self, request, headers):
        self.sent.append((self._clock(), request, tuple(headers)))
        self._clock.advance(self._seconds)
        answer = self._script(request)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def send(self, request, headers):
        return Collected(self._answer(request, headers))

    def send_many(self, attempts, concurrency):
        flying = []
        asked = None
        while True:
            while len(flying) < concurrency():
                asked = attempts()
                if not isinstance(asked, tuple):
                    break
                flying.append(asked)
                self.most = max(self.most, len(flying))
            if not flying:
                if asked is None:
                    return
                raise AssertionError("a client never leaves the sleeping to the transport while nothing flies")
            request, headers = flying.pop(0)
            try:
                yield Completion(request, self._answer(request, headers))
            except Exception as error:
                yield Completion(request, error=error)

    def close(self):
        self.closed = True


VERDICTS = {500: Verdict.RETRY, 502: Verdict.RETRY, 503: Verdict.SLOW_DOWN, 429: Verdict.SLOW_DOWN, 401: Verdict.AUTH}


def classify(status, headers, body):
    if b"InternalError" in body:
        return Verdict.RETRY
    return VERDICTS.get(status, Verdict.ANSWER)


def make(script, *, policy=None, dice: Callable[[], float] = lambda: 1.0, auth=None, seconds=0.0, clock=None, **fields):
    """(client, transport, clock)."""
    clock = clock or FakeClock()
    transport = Scripted(script, clock, seconds)
    client = Client(
        transport,
        auth=auth or NoAuth(),
        classify=classify,
        policy=policy or Policy(),
        requests=Counter(),
        clock=Clock(monotonic=clock, wall=clock, sleep=clock.sleep, random=dice),
        **fields,
    )
    return client, transport, clock


def answer(status, body=b"", **headers):
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
