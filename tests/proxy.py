"""An HTTP/1.1 proxy in front of a real server: counts, records, holds, breaks or rewrites what passes.

It is a reverse proxy (the client's endpoint URL names it) and passes `Host` and every header on as they came, so that
signatures stay valid. Each client connection has one thread and one upstream connection. Tests use it to interrupt a
run after an exact number of bytes, and to answer as broken servers and captive portals do.
"""

import contextlib
import dataclasses
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from tests.dav_servers import DavServer
from tests.servers import S3Server

PIECE = 256 * 1024


@dataclass(slots=True)
class Exchange:
    """One request and what became of it; `complete` once the whole answer was handed to the client."""

    method: str
    target: str
    headers: dict[str, str]
    sent: int = 0  # body bytes, client to server
    status: int = 0
    received: int = 0  # body bytes, server to client
    complete: bool = False

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the target."""
        return {
            name: values[0] for name, values in parse_qs(urlsplit(self.target).query, keep_blank_values=True).items()
        }

    @property
    def path(self) -> str:
        """The target without its parameters, as sent."""
        return urlsplit(self.target).path

    @property
    def is_listing(self) -> bool:
        """Whether objects of a bucket, or entries of a collection, are listed."""
        if self.method == "PROPFIND":
            return self.headers.get("depth") != "0"
        return self.method == "GET" and "list-type" in self.query

    @property
    def is_object_read(self) -> bool:
        """Whether the content of an object is asked for."""
        return (
            self.method == "GET"
            and self.path.count("/") >= 2
            and not self.query.keys() & {"list-type", "uploads", "uploadId"}
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, the server's or a made-up one."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Rules:
    """What the proxy does; may be changed while it runs.

    `answer` is asked first and may answer in the server's place; `rewrite` changes the server's answer where `wants`
    says so (only these are collected in memory). `hold_sent` and `hold_received` stop all traffic in that direction
    after so many body bytes: `Proxy.held` is set, and nothing passes before `Proxy.release`.
    """

    answer: Callable[[Exchange], Answer | None] = lambda exchange: None
    wants: Callable[[Exchange], bool] = lambda exchange: False
    rewrite: Callable[[Exchange, Answer], Answer] = lambda exchange, answer: answer
    hold_sent: int | None = None
    hold_received: int | None = None
    hold_on: Callable[[Exchange], bool] = lambda exchange: False


class _Gone(Exception):
    """The peer closed the connection."""


class _Wire:
    """A socket with a read buffer: heads by line, bodies by length."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""

    def fill(self) -> None:
        data = self.sock.recv(PIECE)
        if not data:
            raise _Gone
        self.buffer += data

    def head(self) -> tuple[str, list[tuple[str, str]]]:
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        raw, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        return first, [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def exactly(self, length: int) -> Iterator[bytes]:
        while length:
            if not self.buffer:
                self.fill()
            piece, self.buffer = self.buffer[:length], self.buffer[length:]
            length -= len(piece)
            yield piece

    def chunked(self) -> Iterator[bytes]:
        """The raw bytes of a chunked body, framing included, so that they can be passed on as they are."""
        while True:
            while b"\r\n" not in self.buffer:
                self.fill()
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            yield line + b"\r\n"
            size = int(line.partition(b";")[0], 16)
            yield from self.exactly(size + 2 if size else 0)
            if size == 0:
                while True:  # trailers, up to the empty line
                    while b"\r\n" not in self.buffer:
                        self.fill()
                    line, _, self.buffer = self.buffer.partition(b"\r\n")
                    yield line + b"\r\n"
                    if not line:
                        return

    def until_closed(self) -> Iterator[bytes]:
        with contextlib.suppress(_Gone):
            while True:
                if not self.buffer:
                    self.fill()
                piece, self.buffer = self.buffer, b""
                yield piece


class Proxy:
    """A running proxy; `server` is what clients are given in the place of the real one."""

    def __init__(self, upstream: S3Server | DavServer) -> None:
        target = urlsplit(upstream.url)
        assert target.hostname is not None
        assert target.port is not None
        self.upstream = (target.hostname, target.port)
        self.rules = Rules()
        self.exchanges: list[Exchange] = []
        self.sent = 0
        self.received = 0
        self.held = threading.Event()
        self._open = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._closed = False
        port = self._listener.getsockname()[1]
        self.server = dataclasses.replace(upstream, url=f"http://127.0.0.1:{port}{target.path}")
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *args: object) -> None:
        self._closed = True
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """Break every connection now."""
        self._open.set()
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def wait_until_held(self, process: "subprocess.Popen[bytes]") -> None:
        """Return once traffic is held; fail with what the client said where it ended before."""
        while not self.held.wait(0.05):
            if process.poll() is not None:
                said = process.stdout.read() if process.stdout is not None else b""
                raise AssertionError(f"ended with {process.returncode} before anything was held: {said!r}")

    def release(self) -> None:
        """Let traffic pass again, with no rules and all counts at zero; connections of before are broken."""
        self.rules = Rules()
        self.drop()
        with self._lock:
            self.sent = self.received = 0
            self.exchanges = []
        self.held.clear()
        self._open.clear()

    def count(self, matches: Callable[[Exchange], bool]) -> int:
        """How many requests so far match."""
        with self._lock:
            return sum(map(matches, self.exchanges))

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, socket.create_connection(self.upstream) as server:
                with self._lock:
                    self._sockets |= {client, server}
                for sock in (client, server):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                from_client, from_server = _Wire(client), _Wire(server)
                with contextlib.suppress(_Gone, OSError):
                    while self._exchange(from_client, from_server):
                        pass
                with self._lock:
                    self._sockets -= {client, server}
        except OSError:
            pass  # the real server is gone: the client sees a closed connection

    def _exchange(self, client: _Wire, server: _Wire) -> bool:
        """One request and its answer; False where the connection ends with it."""
        first, header_lines = client.head()
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value for name, value in header_lines}
        exchange = Exchange(method, target, headers)
        with self._lock:
            self.exchanges.append(exchange)
        if self.rules.hold_on(exchange):
            self._hold()
        if headers.get("expect", "").lower() == "100-continue":
            client.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            header_lines = [line for line in header_lines if line[0].lower() != "expect"]
        made_up = self.rules.answer(exchange)
        if made_up is None:
            server.sock.sendall(_head(first, header_lines))
        for piece in _request_body(client, headers):
            self._count(exchange, sent=len(piece))
            if made_up is None:
                server.sock.sendall(piece)
        if made_up is not None:
            self._reply(client, exchange, made_up)
            return True
        return self._pass_answer(client, server, exchange)

    def _pass_answer(self, client: _Wire, server: _Wire, exchange: Exchange) -> bool:
        first, header_lines = server.head()
        while first.split(" ", 2)[1] == "100":
            first, header_lines = server.head()
        exchange.status = int(first.split(" ", 2)[1])
        headers = {name.lower(): value for name, value in header_lines}
        body, by_close = _response_body(server, exchange, headers)
        if self.rules.wants(exchange):
            collected = b"".join(body)
            if headers.get("transfer-encoding", "").lower() == "chunked":
                collected = _dechunk(collected)
            kept = {
                name: value for name, value in headers.items() if name not in {"content-length", "transfer-encoding"}
            }
            self._reply(client, exchange, self.rules.rewrite(exchange, Answer(exchange.status, kept, collected)))
            return not by_close
        client.sock.sendall(_head(first, header_lines))
        for piece in body:
            self._count(exchange, received=len(piece))
            client.sock.sendall(piece)
        exchange.complete = True
        return not by_close

    def _reply(self, client: _Wire, exchange: Exchange, answer: Answer) -> None:
        exchange.status = answer.status
        # A made-up answer may state a length of its own: that is how a body that comes short is made.
        stated = {name.lower() for name in answer.headers}
        length = [] if "content-length" in stated else [("Content-Length", str(len(answer.body)))]
        client.sock.sendall(_head(f"HTTP/1.1 {answer.status} Made-Up", [*answer.headers.items(), *length]))
        self._count(exchange, received=len(answer.body))
        if exchange.method != "HEAD":
            client.sock.sendall(answer.body)
        if "content-length" in stated and int(answer.headers.get("content-length", -1)) != len(answer.body):
            raise _Gone
        exchange.complete = True

    def _count(self, exchange: Exchange, *, sent: int = 0, received: int = 0) -> None:
        exchange.sent += sent
        exchange.received += received
        with self._lock:
            self.sent += sent
            self.received += received
            rules = self.rules
            hold = (rules.hold_sent is not None and self.sent >= rules.hold_sent) or (
                rules.hold_received is not None and self.received >= rules.hold_received
            )
        if hold:
            self._hold()

    def _hold(self) -> None:
        self.held.set()
        self._open.wait()
        raise _Gone  # whoever waited here belongs to a run that is over


def _head(first: str, header_lines: list[tuple[str, str]]) -> bytes:
    return (first + "\r\n" + "".join(f"{name}: {value}\r\n" for name, value in header_lines) + "\r\n").encode("latin-1")


def _request_body(wire: _Wire, headers: dict[str, str]) -> Iterator[bytes]:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return wire.chunked()
    return wire.exactly(int(headers.get("content-length", 0)))


def _response_body(wire: _Wire, exchange: Exchange, headers: dict[str, str]) -> tuple[Iterator[bytes], bool]:
    """The body, and whether only the end of the connection ends it."""
    if exchange.method == "HEAD" or exchange.status in {204, 304}:
        return iter(()), False
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return wire.chunked(), False
    if "content-length" in headers:
        return wire.exactly(int(headers["content-length"])), headers.get("connection", "").lower() == "close"
    return wire.until_closed(), True


def _dechunk(raw: bytes) -> bytes:
    parts = []
    while True:
        line, _, raw = raw.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(raw[:size])
        raw = raw[size + 2 :]
