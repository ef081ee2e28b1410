"""What a provider hands to HTTP and gets back. No I/O here.

A `Request` is immutable and may be sent several times: its body is bytes or a `Body` that opens anew, and its
signature is made per attempt by `Auth`. A Transport sends one attempt and knows nothing of retries; `client.Client`
adds those, pacing, counting and redaction.
"""

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Protocol

from cftool.core.dataclass import dataclass
from cftool.core.provider import Pace, never

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Body:
    """A large request body: `length` bytes, read by `pread(size, offset)` as the connection takes them.

    `pread` may be called for any offset, again and out of order between attempts; fewer bytes than asked for before
    the end is an error that the transport reports as `SourceChanged`.
    """

    length: int
    pread: Callable[[int, int], bytes]


class Sink(Protocol):
    """Where a response body goes as it arrives, in `send_many`; called in the owner thread, so it must not block long.

    Only bodies of a success status (200, 206) go to the sink; others are collected into `Response.body`.
    """

    def start(self, response: "Response") -> None:
        """A new attempt begins: status and headers are there. Forget what an earlier attempt wrote."""
        ...

    def write(self, chunk: bytes) -> None:
        """The next piece, at most 16 KiB."""
        ...


class BatchSink(Sink, Protocol):
    """A Sink that takes several pieces at once, for `pwritev`; `write` is not called where this is there."""

    def write_batch(self, chunks: list[bytes]) -> None:
        """The next pieces, about 128 KiB together; the list is the sink's to keep."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `url` is complete and already percent-encoded; nothing re-encodes it.

    `op` names the provider's call in counts and logs (`PutObject`). `idempotent`: may be sent again although an earlier
    attempt may have arrived; where False the transport uses a fresh connection, because libcurl replays silently on a
    stale one, and the client repeats only what certainly did not arrive. `replayable`: it may travel on a kept
    connection all the same, for the caller can tell what a silent replay leaves. `tag` is the caller's own.
    `max_body` bounds what is collected in memory, in bytes; more is a ProtocolError.
    """

    method: str
    url: str
    headers: tuple[Header, ...] = ()
    body: bytes | Body = b""
    op: str = ""
    idempotent: bool = True
    sink: Sink | None = None
    tag: object = None
    max_body: int = 64 * 1024 * 1024
    payload_hash: str | None = None  # for SigV4: hex sha256 of the body, or UNSIGNED-PAYLOAD; None: the signer decides
    encoded: bool = False  # a Content-Encoding of the answer belongs to the object (S3): take the bytes as they are
    replayable: bool = False


class Response:
    """Status, headers (names in lower case, last one wins but for repeated Set-Cookie), and the collected body.

    `credentials`: what `Auth.headers` gave for the attempt, set before `Auth.rejected` is asked.
    """

    __slots__ = ("body", "credentials", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.credentials: Iterable[Header] = ()

    def header(self, name: str) -> str | None:
        """A header's value by lower-case name, or None."""
        return self.headers.get(name)


class Stream(Protocol):
    """An open response whose body is pulled. Context manager; `close` before the end drops the connection."""

    status: int
    headers: Mapping[str, str]

    def header(self, name: str) -> str | None:
        """A header's value by lower-case name, or None."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces; raises ConnectionFailed where it breaks off."""
        ...

    def read_all(self, limit: int = 64 * 1024 * 1024) -> bytes:
        """The rest of the body; more than `limit` is a ProtocolError."""
        ...

    def close(self) -> None:
        """Give the connection back where the body is at its end, else drop it."""
        ...


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished request of `send_many`: a response of any status, or the error of an attempt that got none."""

    request: Request
    response: Response | None = None
    error: Exception | None = None


Attempt = tuple[Request, Iterable[Header]]  # with exactly these headers, auth included


class Transport(Protocol):
    """Sends attempts. Follows no redirect, stores no cookie, reads no netrc, decodes no content encoding.

    Raises ConnectionFailed (with `.sent`: whether the request may have reached the server), ProtocolError for what is
    no HTTP, SourceChanged where a Body came short, Interrupted where the run is to end.
    """

    def send(self, request: Request, headers: Iterable[Header]) -> Stream:
        """One attempt with exactly these headers (auth included), body pulled by the caller. Any thread may call."""
        ...

    def send_many(
        self, attempts: Callable[[], Attempt | float | None], concurrency: Callable[[], int]
    ) -> Iterator[Completion]:
        """Attempts in parallel, driven by the thread that iterates; completions in any order.

        `attempts()` is asked whenever a connection is free: it gives the next attempt, or a float (nothing now: ask
        again after that many seconds or after the next completion), or None (no more unless something completes;
        with nothing in flight: the end). `concurrency()` is how many may be in flight now.
        """
        ...

    def close(self) -> None:
        """Close all connections. Idempotent; after a fork only the process that made them closes them."""
        ...


class Auth(Protocol):
    """Makes the credential headers of one attempt."""

    def headers(self, request: Request) -> Iterable[Header]:
        """Headers to add (all the request's own are signed with them). May refresh a token first; thread-safe."""
        ...

    def rejected(self, response: Response | Stream) -> bool:
        """The service refused the credentials: refresh them. True where trying once more makes sense."""
        ...


class NoAuth:
    """No credentials."""

    def headers(self, request: Request) -> Iterable[Header]:
        """None."""
        del request
        return ()

    def rejected(self, response: Response | Stream) -> bool:
        """Nothing to refresh."""
        del response
        return False


class Verdict(enum.Enum):
    """What an answer means for the retry policy."""

    ANSWER = "answer"  # the provider's to interpret, success or not
    RETRY = "retry"  # a passing fault
    SLOW_DOWN = "slow down"  # a passing fault that also lowers the pace of the whole remote
    AUTH = "auth"  # ask Auth.rejected


Classify = Callable[[int, Mapping[str, str], bytes], Verdict]
"""Given status, headers and the body's first 64 KiB: what to do. Provider-specific; asked for every answer.

The body is empty for a success status where it goes to a Sink or a Stream.
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds of one operation. All in seconds but `attempts`."""

    connect_timeout: float = 10.0
    idle_timeout: float = 60.0  # no byte in either direction
    budget: float = 300.0  # from the first attempt to the start of the last; Retry-After beyond it gives up at once
    attempts: int = 10
    base_delay: float = 0.2  # full jitter: uniform(0, min(max_delay, base_delay * 2**n))
    max_delay: float = 30.0
    retry_after_cap: float = 900.0


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """From the environment and the remote: `proxies` as {scheme: url}, `no_proxy` hosts, `ca_file` a PEM bundle."""

    proxies: Mapping[str, str] = field(default_factory=dict)
    no_proxy: str = ""
    ca_file: str | None = None
    ca_path: str | None = None
    ca_origin: str = ""  # which setting or variable named ca_file, for messages
    connections: int = 64
    user_agent: str = "cftool"
    policy: Policy = field(default_factory=Policy)
    cancelled: Callable[[], bool] = never  # looked at while something is under way; then Interrupted is raised
    pace: Pace | None = None  # hears of every body, both ways, and holds it back
