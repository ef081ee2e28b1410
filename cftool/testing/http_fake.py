"""Fake HTTP services for tests: one pure `handle(request) -> response`, and two ways to put it before a client.

`FakeServer` serves it on a real socket, plain or TLS, with keep-alive; `mocked` hands it to the `requests` transport
through `responses`, without sockets. `FakeProxy` is a CONNECT and forwarding proxy. A response may carry a `Fault`:
what goes wrong on the wire while it is sent. Calls of `handle` are serialised, so that a fake needs no lock.

Invariant: nothing here waits for longer than `PATIENCE`, and `close` ends every thread and socket.
"""

import contextlib
import enum
import http.client
import io
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, unquote

from cftool.testing.certificates import Authority

if TYPE_CHECKING:
    import ssl

__all__ = [
    "Authority",
    "FakeProxy",
    "FakeRequest",
    "FakeResponse",
    "FakeServer",
    "Fault",
    "Handler",
    "Mock",
    "Wire",
    "mocked",
]

PATIENCE = 20.0  # seconds on any socket or gate: a test that gets this far has failed anyway
_PIECE = 64 * 1024
_METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS")
_WEBDAV_METHODS = ("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH")


class Wire(enum.Enum):
    """What goes wrong on the wire, or how a good answer is framed."""

    RESET = "RST before any byte"
    CLOSE = "FIN before any byte"
    RESET_BODY = "RST after `at` bytes of the body"
    SHORT_BODY = "FIN after `at` bytes of the body, the length said more"
    CLOSE_DELIMITED = "no length, ended by FIN; with `at`, after that many bytes"
    EXTRA = "`data` after the end of the body"
    FLIP = "byte `at` of the body inverted"
    HANG = "silence after `at` bytes of the body; -1: before the headers"
    WAIT = "nothing until `gate` is set"
    CHUNKED = "chunked, well-formed"
    CHUNKED_CUT = "chunked, FIN in the middle of a chunk after `at` bytes"
    RAW = "`data` instead of HTTP"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; `at`, `data` and `gate` mean what `Wire` says."""

    wire: Wire
    at: int = 0
    data: bytes = b""
    gate: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class FakeRequest:
    """A request as it came over the wire: `target` is not decoded, `headers` have names in lower case."""

    method: str
    scheme: str
    host: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path, percent-encoded as it was sent."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query, percent-encoded as it was sent."""
        return self.target.partition("?")[2]

    @property
    def params(self) -> dict[str, str]:
        """The decoded query; a plus sign is a plus sign."""
        query = self.query.replace("+", "%2B")
        return dict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))

    @property
    def decoded_path(self) -> str:
        """The decoded path; bytes that are no UTF-8 as surrogate escapes."""
        return unquote(self.path, errors="surrogateescape")

    @property
    def url(self) -> str:
        """The whole address."""
        return f"{self.scheme}://{self.host}{self.target}"

    def header(self, name: str) -> str | None:
        """A header's value by lower-case name, or None."""
        return self.headers.get(name)


@dataclass(frozen=True, slots=True)
class FakeResponse:
    """An answer. Content-Length is added where it is missing; the body of an answer to HEAD is only measured."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    fault: Fault | None = None
    close: bool = False

    def header(self, name: str) -> str | None:
        """A header's value by name in any case, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


Handler = Callable[[FakeRequest], FakeResponse]
Early = Callable[[FakeRequest], FakeResponse | None]


class _Listener:
    """A listening socket on the loopback, a thread for each connection; `close` ends all of it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()
        self._accepting = threading.Thread(target=self._accept, name=f"{name}-accept", daemon=True)
        self._accepting.start()

    @property
    def open_connections(self) -> int:
        """How many there are: what a client has sent before its end may still be at work."""
        with self._lock:
            return len(self._open)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._closed.is_set():
                    connection.close()
                    return
                self.connections += 1
                self._open.add(connection)
                thread = threading.Thread(target=self._run, args=(connection,), name=self._name, daemon=True)
                self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        try:
            self._connection(connection)
        except OSError:
            pass  # the client left, or the test is over
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _connection(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def _track(self, connection: socket.socket) -> None:
        """Have `close` interrupt this socket as well."""
        with self._lock:
            self._open.add(connection)

    def close(self) -> None:
        """End every connection and thread. Idempotent."""
        self._closed.set()
        # shutdown wakes a thread that waits in accept or recv; close alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections, threads = list(self._open), list(self._threads)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._accepting.join(PATIENCE)
        for thread in threads:
            thread.join(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class FakeServer(_Listener):
    """Serves `handle` on 127.0.0.1, HTTP/1.1 with keep-alive; with `tls`, under certificates for `hosts`.

    `early` is asked with the headers alone, before the body is read; what it returns is sent at once, and the
    connection ends, as servers do that refuse an upload: with `close` abruptly, the rest of the body unread.
    """

    def __init__(
        self,
        handle: Handler,
        *,
        tls: Authority | None = None,
        early: Early | None = None,
        hosts: tuple[str, ...] = ("127.0.0.1", "localhost"),
    ) -> None:
        self._handle = handle
        self._early = early
        self._tls: ssl.SSLContext | None = tls.server_context(hosts) if tls else None
        self._serial = threading.Lock()
        self.requests: list[FakeRequest] = []
        self.host = "localhost" if tls else "127.0.0.1"
        self.scheme = "https" if tls else "http"
        super().__init__("fake-server")

    @property
    def url(self) -> str:
        """The origin, without a trailing slash."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def _connection(self, connection: socket.socket) -> None:
        if self._tls is not None:
            plain = connection
            connection = self._tls.wrap_socket(plain, server_side=True)  # the plain object is detached by this
            self._track(connection)
        try:
            with connection.makefile("rb") as reader:
                while self._serve_one(connection, reader):
                    pass
            if self._tls is not None:
                _say_goodbye(connection)
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _serve_one(self, connection: socket.socket, reader: io.BufferedReader) -> bool:
        """Serve one request; False where the connection ends."""
        if reader.peek(1)[:1] == b"\x16":  # a TLS handshake on a plain port
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        head = _read_head(reader)
        if head is None:
            return False
        line, headers = head
        if line.count(" ") != 2:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        method, target, _ = line.split(" ")
        request = FakeRequest(method, self.scheme, headers.get("host", ""), target, headers)
        if self._early is not None and (answer := self._early(request)) is not None:
            self.requests.append(request)
            _answer(connection, request, answer)
            if not answer.close:
                _linger(connection)
            return False
        if headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = _read_body(reader, headers)
        if body is None:
            return False
        request = FakeRequest(method, self.scheme, request.host, target, headers, body)
        with self._serial:
            self.requests.append(request)
            answer = self._handle(request)
        if headers.get("connection", "").lower() == "close":
            answer = replace(answer, close=True)
        return _answer(connection, request, answer)


def _read_head(reader: io.BufferedReader) -> tuple[str, dict[str, str]] | None:
    line = reader.readline(_PIECE).decode("latin-1").rstrip("\r\n")
    if not line:
        return None
    headers: dict[str, str] = {}
    while text := reader.readline(_PIECE).decode("utf-8", "surrogateescape").rstrip("\r\n"):
        name, _, value = text.partition(":")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return line, headers


def _read_body(reader: io.BufferedReader, headers: Mapping[str, str]) -> bytes | None:
    """The body, None where the client left in the middle of it."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        length = int(headers.get("content-length", "0"))
        body = reader.read(length)
        return body if len(body) == length else None
    pieces = []
    while size := int(reader.readline(_PIECE).split(b";")[0] or b"0", 16):
        pieces.append(reader.read(size))
        reader.readline(_PIECE)
    while reader.readline(_PIECE).strip():
        pass
    return b"".join(pieces)


def _answer(connection: socket.socket, request: FakeRequest, response: FakeResponse) -> bool:
    """Send `response`; False where the connection ends with it."""
    fault = response.fault
    wire = fault.wire if fault is not None else None
    at = fault.at if fault is not None else 0
    if fault is not None:
        if wire is Wire.WAIT and fault.gate is not None:
            fault.gate.wait(PATIENCE)
        elif wire is Wire.RAW:
            connection.sendall(fault.data)
            return False
        elif wire is Wire.RESET:
            return _reset(connection)
        elif wire is Wire.CLOSE:
            return False
        elif wire is Wire.HANG and at < 0:
            return _hang(connection)
    head, framed = _framing(response, wire)
    body = b"" if request.method == "HEAD" or response.status in {204, 304} else response.body
    if wire is Wire.FLIP:
        body = _flipped(body, at)
    if wire in {Wire.CHUNKED, Wire.CHUNKED_CUT}:
        return _send_chunked(connection, head, body, at if wire is Wire.CHUNKED_CUT else None)
    if wire in {Wire.RESET_BODY, Wire.SHORT_BODY, Wire.HANG} or (wire is Wire.CLOSE_DELIMITED and at):
        connection.sendall(head + body[:at])
        if wire is Wire.RESET_BODY:
            return _reset(connection)
        return _hang(connection) if wire is Wire.HANG else False
    connection.sendall(head + body + (fault.data if fault is not None and wire is Wire.EXTRA else b""))
    return framed and not response.close


def _framing(response: FakeResponse, wire: Wire | None) -> tuple[bytes, bool]:
    """The header block, and whether the body's end can be seen without closing."""
    reason = http.client.responses.get(response.status, "Unknown")
    lines = [f"HTTP/1.1 {response.status} {reason}", *(f"{name}: {value}" for name, value in response.headers)]
    framed = True
    if wire in {Wire.CHUNKED, Wire.CHUNKED_CUT}:
        lines.append("Transfer-Encoding: chunked")
    elif wire is Wire.CLOSE_DELIMITED:
        framed = False
    elif response.header("content-length") is None and response.status not in {204, 304}:
        lines.append(f"Content-Length: {len(response.body)}")
    if response.close or not framed:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"), framed


def _send_chunked(connection: socket.socket, head: bytes, body: bytes, cut: int | None) -> bool:
    connection.sendall(head)
    end = len(body) if cut is None else min(cut, len(body))
    for start in range(0, end, _PIECE):
        piece = body[start : min(start + _PIECE, end)]
        connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    if cut is not None:
        connection.sendall(b"400\r\nonly a part of the 1024 bytes promised")
        return False
    connection.sendall(b"0\r\n\r\n")
    return True


def _flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :]


def _reset(connection: socket.socket) -> bool:
    """Have the coming close send RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def _say_goodbye(connection: Any) -> None:
    """End TLS as the standard wants it, unless a reset is to come: else every FIN looks like an attack."""
    lingering = connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
    if lingering == struct.pack("ii", 1, 0):
        return
    connection.settimeout(1.0)
    with contextlib.suppress(OSError, ValueError):
        connection.unwrap().close()


def _linger(connection: socket.socket) -> None:
    """Read what the client still sends: closing at once would answer with RST, which may overtake the response."""
    connection.settimeout(2.0)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(_PIECE):
            pass


def _hang(connection: socket.socket) -> bool:
    """Silence until the client leaves (or the server is closed)."""
    with contextlib.suppress(OSError):
        while connection.recv(_PIECE):
            pass
    return False


class FakeProxy(_Listener):
    """An HTTP proxy: CONNECT tunnels, and plain requests in absolute form. Records both.

    `auth` ("user:password") is demanded with 407; `refuse` is a status with which every request is refused;
    `resolve` maps "host:port" as the client says it to an address, so that any name leads to a fake server.
    """

    def __init__(
        self,
        *,
        auth: str | None = None,
        refuse: int | None = None,
        resolve: Mapping[str, tuple[str, int]] | None = None,
    ) -> None:
        self._auth = auth
        self._refuse = refuse
        self._resolve = dict(resolve or {})
        self.connected: list[str] = []
        self.forwarded: list[str] = []
        super().__init__("fake-proxy")

    @property
    def url(self) -> str:
        """The proxy's address, for HTTPS_PROXY and the like."""
        return f"http://127.0.0.1:{self.port}"

    def _connection(self, connection: socket.socket) -> None:
        with connection.makefile("rb", buffering=0) as raw:
            # Unbuffered: not one byte of what follows the header block may stay in a buffer of ours.
            head = _read_head(raw)  # type: ignore[arg-type]
        if head is None:
            return
        line, headers = head
        method, target, _ = line.split(" ", 2)
        (self.connected if method == "CONNECT" else self.forwarded).append(target)
        refusal = self._refusal(headers)
        if refusal is not None:
            connection.sendall(refusal)
            return
        if method == "CONNECT":
            place, opening, reply = target, b"", b"HTTP/1.1 200 Connection established\r\n\r\n"
        else:
            scheme, _, rest = target.partition("://")
            place, slash, path = rest.partition("/")
            place = place if ":" in place else f"{place}:{443 if scheme == 'https' else 80}"
            dropped = {"connection", "proxy-connection", "proxy-authorization"}
            lines = [f"{method} {slash}{path} HTTP/1.1", "connection: close"]
            lines += [f"{name}: {value}" for name, value in headers.items() if name not in dropped]
            opening, reply = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"), b""
        host, _, port = place.rpartition(":")
        try:
            upstream = socket.create_connection(self._resolve.get(place, (host.strip("[]"), int(port))), PATIENCE)
        except OSError:
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        with upstream:
            self._track(upstream)
            connection.sendall(reply)
            upstream.sendall(opening)
            back = threading.Thread(target=_pump, args=(upstream, connection), daemon=True)
            back.start()
            _pump(connection, upstream)
            back.join(PATIENCE)
            with self._lock:
                self._open.discard(upstream)

    def _refusal(self, headers: Mapping[str, str]) -> bytes | None:
        import base64

        status = self._refuse
        if self._auth is not None:
            wanted = "Basic " + base64.b64encode(self._auth.encode()).decode()
            if headers.get("proxy-authorization") != wanted:
                status = 407
        if status is None:
            return None
        challenge = 'Proxy-Authenticate: Basic realm="fake"\r\n' if status == 407 else ""
        return f"HTTP/1.1 {status} Refused\r\n{challenge}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Bytes from one socket to the other until either ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(_PIECE):
            target.sendall(data)
    for side, how in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with contextlib.suppress(OSError):
            side.shutdown(how)


class Mock:
    """What `mocked` yields: the requests that came."""

    def __init__(self) -> None:
        self.requests: list[FakeRequest] = []


@contextlib.contextmanager
def mocked(handle: Handler, origin: "str | re.Pattern[str]") -> Iterator[Mock]:
    """Every request of the `requests` library below `origin` goes to `handle` while the context is open."""
    import responses

    mock, serial = Mock(), threading.Lock()

    def callback(prepared: Any) -> Any:
        request = _from_prepared(prepared)
        with serial:
            mock.requests.append(request)
            answer = handle(request)
        return _for_responses(request, answer)

    pattern = origin if isinstance(origin, re.Pattern) else re.compile("^" + re.escape(origin) + r"(?=$|[/?])")
    with responses.RequestsMock(assert_all_requests_are_fired=False) as registry:
        for method in _METHODS + _WEBDAV_METHODS:
            registry.add_callback(method, pattern, callback=callback, content_type=None)
        yield mock


def _from_prepared(prepared: Any) -> FakeRequest:
    scheme, _, rest = str(prepared.url).partition("://")
    end = min((place for place in (rest.find("/"), rest.find("?")) if place >= 0), default=len(rest))
    host, target = rest[:end], rest[end:]
    headers = {
        str(name).lower(): value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
        for name, value in prepared.headers.items()
    }
    body = prepared.body or b""
    return FakeRequest(
        method=str(prepared.method),
        scheme=scheme,
        host=headers.get("host", host),
        target=target if target.startswith("/") else "/" + target,
        headers=headers,
        body=body.encode() if isinstance(body, str) else bytes(body),
    )


def _for_responses(request: FakeRequest, response: FakeResponse) -> Any:
    """The answer as `responses` wants it: (status, headers, body), or the exception of a dead connection."""
    from requests.exceptions import ConnectionError as Broken
    from requests.exceptions import ReadTimeout

    fault = response.fault
    wire, at = (fault.wire, fault.at) if fault is not None else (None, 0)
    if wire is Wire.RESET:
        return Broken(ConnectionResetError(104, "Connection reset by peer"))
    if wire is Wire.CLOSE:
        return Broken(http.client.RemoteDisconnected("Remote end closed connection without response"))
    if wire is Wire.RAW:
        return Broken(http.client.BadStatusLine("not HTTP"))
    if wire is Wire.HANG and at < 0:
        return ReadTimeout("Read timed out.")
    if fault is not None and wire is Wire.WAIT and fault.gate is not None:
        fault.gate.wait(PATIENCE)
    headers = list(response.headers)
    unframed = wire in {Wire.CHUNKED, Wire.CHUNKED_CUT, Wire.CLOSE_DELIMITED}
    if not unframed and response.header("content-length") is None and response.status not in {204, 304}:
        headers.append(("Content-Length", str(len(response.body))))
    if request.method == "HEAD" or response.status in {204, 304}:
        return response.status, headers, b""
    body = _flipped(response.body, at) if wire is Wire.FLIP else response.body
    if wire is Wire.CLOSE_DELIMITED and at:
        body = body[:at]
    error: Exception | None = None
    if wire is Wire.RESET_BODY:
        error = ConnectionResetError(104, "Connection reset by peer")
    elif wire is Wire.CHUNKED_CUT:
        error = http.client.IncompleteRead(b"")
    elif wire is Wire.HANG:
        error = TimeoutError("The read operation timed out")
    if error is not None or wire is Wire.SHORT_BODY:
        return response.status, headers, io.BufferedReader(_Broken(body[:at], error))
    return response.status, headers, body


class _Broken(io.RawIOBase):
    """A body that gives `data`, then raises `error` (None: just ends)."""

    def __init__(self, data: bytes, error: Exception | None) -> None:
        self._data = data
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._data and self._error is not None:
            raise self._error
        size = min(len(buffer), len(self._data))
        buffer[:size], self._data = self._data[:size], self._data[size:]
        return size
