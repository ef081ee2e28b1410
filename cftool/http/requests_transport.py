"""The Transport over the requests library: where pycurl has no wheel, and what `responses` mocks in tests.

Uses requests' HTTPAdapter alone: a Session would re-encode URLs, follow redirects, keep cookies, and read the
environment. About ten times the CPU of `curl` per request. `send_many` runs a thread per request in flight; bodies for
sinks travel to the caller's thread through a bounded queue, so that sinks are called there only.
"""

import http.client
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict

from cftool.core.errors import (
    ConnectionFailed,
    Interrupted,
    LoginRequired,
    PermissionDenied,
    ProtocolError,
    StoreError,
    TLSFailed,
    Unsupported,
)
from cftool.core.paths import printable
from cftool.core.provider import Pace
from cftool.http import env, urls
from cftool.http.forks import renew_after_fork
from cftool.http.messages import (
    HEADER_LIMIT,
    REPEATED,
    SINK_STATUSES,
    BodyReader,
    body_length,
    check_headers,
    encoded_body,
    encoding_problem,
    feed,
    oversize_body,
    paced_body,
)
from cftool.http.types import Completion, Header, Request, Response, TransportOptions

_PIECE = 16 * 1024  # as libcurl hands them out
_SEND_PIECE = 256 * 1024
_SLICE = 0.2  # seconds between two looks at the stop flag
_QUEUE = 64  # pieces between the workers and the caller: 1 MiB

_NETWORK = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)

Attempt = tuple[Request, Iterable[Header]]


class _Adapter(HTTPAdapter):
    """An HTTPAdapter that sends the path as it is."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, blocksize=_SEND_PIECE, **kwargs)

    def request_url(self, request: Any, proxies: Any) -> str:
        """The request target; the original takes leading slashes away."""
        scheme, _, target = urls.split(str(request.url))
        proxy = (proxies or {}).get(scheme, "")
        return str(request.url) if scheme == "http" and proxy.startswith("http") else target


def _adapter(connections: int) -> _Adapter:
    return _Adapter(pool_connections=32, pool_maxsize=max(1, connections), max_retries=0)


class _Upload:
    """A Body as the file that urllib3 reads."""

    def __init__(self, reader: BodyReader, length: int, cancelled: Callable[[], bool], pace: Pace | None) -> None:
        self._reader = reader
        self._pace = pace
        self._cancelled = cancelled
        self._length = length
        self.error: Exception | None = None  # what reading raised: urllib3 would take it for the network's

    def __len__(self) -> int:
        return self._length

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._length if size is None or size < 0 else size
        try:
            _check(self._cancelled)
            if self._pace is None:
                return self._reader.read(wanted)
            data = self._reader.read(min(wanted, self._pace.piece()))
            self._pace.up(len(data))
            return data
        except Exception as error:
            self.error = error
            raise


class RequestsTransport:
    """See `Transport`."""

    def __init__(self, options: TransportOptions) -> None:
        self._options = options
        self.cancelled = options.cancelled
        self.pace = options.pace
        self._verify = options.ca_file or options.ca_path or True
        self._new()
        renew_after_fork(self)

    def _new(self) -> None:
        self._adapter = _adapter(self._options.connections)

    def after_fork(self) -> None:
        """New connections: the old ones belong to the parent as well."""
        self._new()

    def send(self, request: Request, headers: Iterable[Header]) -> "RequestsStream":
        """One attempt; returns when the headers of the answer are there."""
        prepared = self._prepare(request, list(headers))
        policy = self._options.policy
        place = _place(request)
        proxies = self._proxies(request.url)
        if request.url.startswith("http:") and proxies and _has_dots(request.url):
            raise Unsupported(f"a path with '.' or '..' cannot be sent to {place} through a proxy without curl")
        # A kept connection may turn out dead with the request on it: nothing to risk for what is sent only once.
        own = None if request.idempotent else _adapter(1)
        try:
            response = (own or self._adapter).send(
                prepared,
                stream=True,
                timeout=(policy.connect_timeout, policy.idle_timeout),
                verify=self._verify,
                proxies=proxies,
            )
            return RequestsStream(self, response, request, place, own)
        except BaseException as error:
            if own is not None:
                own.close()
            upload: Any = prepared.body
            if isinstance(upload, _Upload) and upload.error is not None:
                raise upload.error from None
            if not isinstance(error, _NETWORK):
                raise
            raise self._failure(error, place) from None

    def _prepare(self, request: Request, headers: list[Header]) -> requests.PreparedRequest:
        urls.check(request.url)
        check_headers(headers)
        scheme, authority, _ = urls.split(request.url)
        body = paced_body(request, self._options.pace)
        lines: dict[str, str | bytes] = {"User-Agent": self._options.user_agent, "Accept": "*/*"}
        # http.client asks for identity by itself, but as a header that nobody signed; None keeps it silent.
        lines["Accept-Encoding"] = "identity"
        lines["Host"] = urls.host_header(scheme, authority)
        for name, value in headers:
            known = next((key for key in lines if key.lower() == name.lower()), name)
            lines[known] = value if value.isascii() else value.encode("utf-8", "surrogateescape")
        length = body_length(request)
        data: bytes | _Upload | None = None
        if not isinstance(body, bytes):
            data = _Upload(BodyReader(body), body.length, self.cancelled, self._options.pace)
        elif body:
            data = body
        if data is not None or request.method in {"PUT", "POST", "PATCH"}:
            lines["Content-Length"] = str(length)
        prepared = requests.PreparedRequest()
        prepared.method = request.method
        prepared.url = request.url
        prepared.headers = CaseInsensitiveDict(lines)  # type: ignore[arg-type] # bytes are sent as they are
        prepared.body = data  # type: ignore[assignment] # any object with read()
        prepared.hooks = default_hooks()
        return prepared

    def _proxies(self, url: str) -> dict[str, str]:
        options = self._options
        if not options.proxies:
            return {}
        scheme, authority, _ = urls.split(url)
        if env.bypasses(*urls.host_port(scheme, authority), options.no_proxy):
            return {}
        proxy = options.proxies.get(scheme)
        return {scheme: proxy} if proxy else {}

    def _failure(self, error: Exception, place: str) -> StoreError:
        """What requests raised, as ours."""
        chain = list(_causes(error))
        if found := next((cause for cause in chain if isinstance(cause, StoreError)), None):
            return found
        text = printable(str(chain[-1]))
        if _is(chain, requests.exceptions.SSLError, urllib3.exceptions.SSLError):
            if "certificate" in str(error).lower():
                words = env.trust_words(str(self._verify), self._options.ca_origin)
                return TLSFailed(f"the TLS certificate of {place} was not accepted: {text}; trusted is {words}")
            early = "handshake" in text.lower() or "version number" in text.lower().replace("_", " ")
            return _broken(f"{place}: the TLS {'handshake' if early else 'connection'} failed ({text})", sent=not early)
        if refusal := _tunnel_refusal(chain, place):
            return refusal
        if _is(chain, requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidSchema):
            return Unsupported(f"the proxy for {place} cannot be used: {text}")
        return _connection_error(chain, place, text)

    def send_many(
        self, attempts: Callable[[], Attempt | float | None], concurrency: Callable[[], int]
    ) -> Iterator[Completion]:
        """Attempts in parallel, a thread each; sinks and completions in the caller's thread."""
        return _Threads(self).run(attempts, concurrency)

    def close(self) -> None:
        """Close idle connections."""
        self._adapter.close()


class RequestsStream:
    """See `Stream`."""

    def __init__(
        self,
        transport: RequestsTransport,
        response: requests.Response,
        request: Request,
        place: str,
        own: _Adapter | None,
    ) -> None:
        self._transport = transport
        self._own = own  # an adapter for this request alone
        self._raw: Any = response.raw
        self._place = place
        self.status = response.status_code
        if self.status < 200:
            self._drop()
            raise ProtocolError(f"{place} sent an interim answer ({self.status}) that only curl can pass over")
        self.headers: Mapping[str, str] = self._headers()
        self._empty = request.method == "HEAD" or self.status in {204, 304}
        self._left = self._length()
        if not self._empty and not request.encoded and (encoding := encoding_problem(self.headers)) is not None:
            self._refuse(encoding)

    def _refuse(self, encoding: str) -> None:
        """A body that nobody can read: an error's status is what counts, anything else is refused."""
        if self._left == 0:
            return
        self._drop()
        if self.status < 400:
            raise encoded_body(encoding, self._place)
        self._empty = True

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        size = 0
        for name, value in self._raw.headers.items():
            size += len(name) + len(value)
            key = name.lower()
            text = value if value.isascii() else _utf8(value)
            headers[key] = f"{headers[key]}, {text}" if key in REPEATED and key in headers else text
        if size > HEADER_LIMIT:
            self._drop()
            raise ProtocolError(f"{self._place} sent a header block of {size} bytes")
        return headers

    def _length(self) -> int | None:
        """The bytes that Content-Length promises; http.client counts for itself, but `responses` does not."""
        text = self.headers.get("content-length")
        if self._empty:
            return 0
        if text is None or "transfer-encoding" in self.headers:
            return None
        lengths = {part.strip() for part in text.split(",")}
        if len(lengths) != 1 or not text.isascii() or not (length := lengths.pop()).isdigit():
            self._drop()
            raise ProtocolError(f"{self._place} sent the Content-Length {printable(text)!r}")
        return int(length)

    def header(self, name: str) -> str | None:
        """A header's value by lower-case name, or None."""
        return self.headers.get(name)

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives."""
        while self._raw is not None:
            if self._transport.cancelled():
                self._drop()
                raise Interrupted("interrupted")
            chunk = self._read()
            if not chunk:
                break
            yield chunk

    def _read(self) -> bytes:
        raw = self._raw
        wanted = _PIECE if self._left is None else min(_PIECE, self._left)
        if self._empty or (self._left == 0):
            self._end()
            return b""
        try:
            data: bytes = raw.read1(wanted, decode_content=False) if hasattr(raw, "read1") else raw.read(wanted)
        except _NETWORK as error:
            self._drop()
            raise self._transport._failure(error, self._place) from None  # noqa: SLF001 - one module, one mapping
        if self._transport.pace is not None:
            self._transport.pace.down(len(data))
        if self._left is not None:
            self._left -= len(data)
            if not data:
                self._drop()
                raise _broken(f"{self._place}: the connection ended in the middle of the answer", sent=True)
        elif not data:
            self._end()
        return data

    def read_all(self, limit: int = 64 * 1024 * 1024) -> bytes:
        """The rest of the body."""
        if self._left is not None and self._left > limit:
            self._drop()
            raise oversize_body(limit, self._place)
        pieces: list[bytes] = []
        size = 0
        for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                self._drop()
                raise oversize_body(limit, self._place)
            pieces.append(chunk)
        return b"".join(pieces)

    def close(self) -> None:
        """Give the connection back where the body is at its end, else drop it."""
        if self._raw is not None and (self._empty or self._left == 0):
            self._end()
        else:
            self._drop()

    def _end(self) -> None:
        """The body is complete: http.client wants one more read to know it, then the connection is free."""
        raw, self._raw = self._raw, None
        if raw is not None:
            try:
                raw.read(1, decode_content=False)
            except Exception:
                raw.close()
            self._release(raw)

    def _drop(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()
            self._release(raw)

    def _release(self, raw: Any) -> None:
        raw.release_conn()
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> "RequestsStream":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class _Job:
    """One attempt of `send_many` in its thread; `cancelled` is set by the owner when nobody wants it any more."""

    __slots__ = ("cancelled", "headers", "request", "response")

    def __init__(self, request: Request, headers: Iterable[Header]) -> None:
        self.request = request
        self.headers = headers
        self.response: Response | None = None
        self.cancelled = False


class _Threads:
    """One `send_many`: workers that wait for jobs, and the queue through which they answer."""

    def __init__(self, transport: RequestsTransport) -> None:
        self._transport = transport
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # (job, chunk of the sink's body | None at the start of it | the completion)
        self._events: queue.Queue[tuple[_Job, bytes | Completion | None]] = queue.Queue(_QUEUE)
        self._threads: list[threading.Thread] = []
        self._busy: set[_Job] = set()
        self._stopped = False

    def run(
        self, attempts: Callable[[], Attempt | float | None], concurrency: Callable[[], int]
    ) -> Iterator[Completion]:
        ask_at: float | None = 0.0
        try:
            while True:
                _check(self._transport.cancelled)
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
        stream = self._transport.send(request, job.headers)
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
                if self._transport.cancelled() and time.monotonic() > deadline:
                    return  # waiting for a silent server; a daemon thread holds up no end


def _check(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Interrupted("interrupted")


def _place(request: Request) -> str:
    scheme, authority, _ = urls.split(request.url)
    host, port = urls.host_port(scheme, authority)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _has_dots(url: str) -> bool:
    """Whether urllib3 would rewrite the path on its way through a forwarding proxy."""
    path = urls.split(url)[2].partition("?")[0]
    return any(part in {".", ".."} for part in path.split("/"))


def _utf8(value: str) -> str:
    """http.client decodes headers as Latin-1; they are UTF-8 where they are anything."""
    try:
        return value.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that it wraps, outermost first; libraries wrap in args, `reason` and `__cause__`."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        found = waiting.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        inner = [*found.args, getattr(found, "reason", None), found.__cause__, found.__context__]
        waiting += [item for item in inner if isinstance(item, BaseException)]


def _is(chain: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in chain)


def _broken(message: str, *, sent: bool) -> ConnectionFailed:
    error = ConnectionFailed(message)
    error.sent = sent
    return error


def _tunnel_refusal(chain: list[BaseException], place: str) -> StoreError | None:
    """The proxy answered CONNECT with an error; http.client has the status in a text only."""
    text = next((str(cause) for cause in chain if str(cause).startswith("Tunnel connection failed:")), "")
    if not text:
        return None
    status = text.partition(":")[2].split()[0]
    if status == "407":
        return LoginRequired(f"the proxy on the way to {place} wants a user name and password (407)")
    if status.startswith("4"):
        return PermissionDenied(f"the proxy refuses a connection to {place} ({status})")
    return _broken(f"{place}: the proxy could not connect ({status})", sent=False)


def _connection_error(chain: list[BaseException], place: str, text: str) -> StoreError:
    exceptions = urllib3.exceptions
    if _is(chain, exceptions.NameResolutionError, socket.gaierror):
        return _broken(f"{place}: the name does not resolve", sent=False)
    if _is(chain, exceptions.NewConnectionError, ConnectionRefusedError):
        return _broken(f"{place}: the connection was refused or there is no route", sent=False)
    if _is(chain, requests.exceptions.ConnectTimeout, exceptions.ConnectTimeoutError):
        return _broken(f"{place}: no connection in time", sent=False)
    if _is(chain, requests.exceptions.ReadTimeout, exceptions.ReadTimeoutError, TimeoutError):
        return _broken(f"{place}: no answer in time", sent=True)
    # RemoteDisconnected is a BadStatusLine as well as a reset.
    if _is(chain, http.client.RemoteDisconnected):
        return _broken(f"{place}: the server closed the connection without an answer", sent=True)
    if _is(chain, http.client.BadStatusLine, http.client.LineTooLong, exceptions.InvalidHeader):
        return ProtocolError(f"{place} does not answer as HTTP demands: {text}")
    if _is(chain, http.client.HTTPException) and not _is(chain, http.client.IncompleteRead):
        return ProtocolError(f"{place} does not answer as HTTP demands: {text}")
    if _is(chain, exceptions.IncompleteRead, http.client.IncompleteRead, exceptions.InvalidChunkLength):
        return _broken(f"{place}: the connection ended in the middle of the answer", sent=True)
    return _broken(f"{place}: the connection broke ({text})", sent=True)
