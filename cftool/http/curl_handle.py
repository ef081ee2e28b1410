"""One libcurl easy handle, and what it collects during an attempt. Used by `curl` (streams) and `curl_many`.

The options that make HTTP safe are set here, once per handle: nothing is followed, decoded, taken from the environment
or rewritten, and certificates are always verified. Only what differs between requests is set per attempt, because each
setopt costs. Invariant: no exception leaves a callback (libcurl would lose it); the first one is kept in `error`, the
transfer is aborted, and whoever drives the handle raises it.
"""

from collections import deque
from collections.abc import Callable, Iterable

import pycurl

from cftool.core.errors import ProtocolError, StoreError
from cftool.http import env, urls
from cftool.http.curl_errors import failure
from cftool.http.messages import (
    SINK_STATUSES,
    BodyReader,
    body_length,
    check_headers,
    check_name,
    encoded_body,
    encoding_problem,
    known_names,
    oversize_body,
    paced_body,
    parse_head,
)
from cftool.http.types import Header, Request, Response, Sink, TransportOptions

STREAM_BUFFER = 256 * 1024  # bytes that may wait for a slow reader before the connection is paused
_JOINED = 4  # pieces of 16 KiB that a stream's reader gets as one
_BATCH = 8  # pieces of 16 KiB per write_batch: measured best for pwritev
_RECEIVE_BUFFER = 256 * 1024
_UPLOAD_BUFFER = 2 * 1024 * 1024  # a third less CPU than 64 KiB on large bodies
_LARGE_BODY = 1024 * 1024
# Options that pycurl has no name for.
_SUPPRESS_CONNECT_HEADERS = 265
_DISALLOW_USERNAME_IN_URL = 278

_URL, _HTTPHEADER, _POSTFIELDS = pycurl.URL, pycurl.HTTPHEADER, pycurl.POSTFIELDS
_CUSTOMREQUEST = pycurl.CUSTOMREQUEST
_NO_BODY, _HEAD, _FIELDS, _UPLOAD = "get", "head", "fields", "upload"


class Handle:
    """An easy handle. `start` prepares an attempt, `outcome` says how it ended; one thread at a time."""

    __slots__ = (
        "_batch",
        "_collected",
        "_feed",
        "_fresh",
        "_large",
        "_limit",
        "_method",
        "_mode",
        "_options",
        "_pairs",
        "_proxy",
        "_proxy_for",
        "_setopt",
        "_write_batch",
        "chunks",
        "curl",
        "error",
        "head",
        "paused",
        "progress",
        "quiet_since",
        "request",
        "response",
        "stream",
        "waiting",
    )

    def __init__(self, options: TransportOptions, proxy_for: Callable[[str], str]) -> None:
        self.curl = pycurl.Curl()
        self._setopt = self.curl.setopt
        self._options = options
        self._proxy_for = proxy_for
        self.head: list[bytes] = []
        self.chunks: deque[bytes] = deque()  # of a stream: what its reader has not taken yet
        self.waiting = 0  # bytes in chunks
        self.stream = False
        self.paused = False
        self.request: Request | None = None
        self.response: Response | None = None
        self.error: BaseException | None = None
        self.progress = 0.0
        self.quiet_since = 0.0
        self._collected: list[bytes] = []
        self._limit = 0
        self._feed: Sink | None = None
        self._write_batch: Callable[[list[bytes]], None] | None = None
        self._batch: list[bytes] = []
        self._mode = _NO_BODY
        self._method = "GET"
        self._proxy = ""
        self._pairs: list[Header] | None = None  # that the handle has now
        self._fresh = False
        self._large = False
        self._configure()

    def _configure(self) -> None:
        setopt, options = self._setopt, self._options
        setopt(pycurl.NOSIGNAL, 1)
        setopt(pycurl.TCP_NODELAY, 1)
        setopt(pycurl.TCP_KEEPALIVE, 1)
        setopt(pycurl.PATH_AS_IS, 1)
        setopt(pycurl.FOLLOWLOCATION, 0)
        setopt(pycurl.MAXREDIRS, 0)
        setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        setopt(pycurl.HTTP09_ALLOWED, 0)
        setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
        setopt(_DISALLOW_USERNAME_IN_URL, 1)
        setopt(_SUPPRESS_CONNECT_HEADERS, 1)
        setopt(pycurl.PROXY, "")  # an empty one keeps libcurl from reading the environment
        setopt(pycurl.NOPROXY, "")
        setopt(pycurl.USERAGENT, options.user_agent)
        setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(options.policy.connect_timeout * 1000)))
        setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
        setopt(pycurl.SSL_VERIFYPEER, 1)
        setopt(pycurl.SSL_VERIFYHOST, 2)
        setopt(pycurl.PROXY_SSL_VERIFYPEER, 1)
        setopt(pycurl.PROXY_SSL_VERIFYHOST, 2)
        # What is not set must not fall back to the path that libcurl was built with.
        for name, value in (("CAINFO", options.ca_file), ("CAPATH", options.ca_path)):
            for option in (getattr(pycurl, name), getattr(pycurl, "PROXY_" + name)):
                if value is None:
                    self.curl.unsetopt(option)
                else:
                    setopt(option, value)
        setopt(pycurl.BUFFERSIZE, _RECEIVE_BUFFER)
        setopt(pycurl.HEADERFUNCTION, self.head.append)
        setopt(pycurl.WRITEFUNCTION, self._write)

    # ---- an attempt

    def start(self, request: Request, headers: Iterable[Header], *, stream: bool = False) -> None:
        """Prepare `request` with exactly these headers. Raises ConfigError, InvalidName for what must not be sent."""
        setopt, url = self._setopt, request.url
        urls.check(url)
        pairs = list(headers)
        lines = None if pairs == self._pairs else self._lines(pairs)
        self.head.clear()
        self._collected.clear()
        self.chunks.clear()
        self.waiting = 0
        self.request, self.response, self.error = request, None, None
        self.stream, self.paused = stream, False
        self._limit = request.max_body
        self._feed = self._write_batch = None
        self._body(request)
        setopt(_URL, url)
        if lines is not None:  # else the handle has them from the attempt before
            self._pairs = None
            setopt(_HTTPHEADER, lines)
            self._pairs = pairs
        proxy = self._proxy_for(url)
        if proxy != self._proxy:
            setopt(pycurl.PROXY, proxy)
            self._proxy = proxy
        # libcurl repeats a request by itself where a kept connection turns out dead, a POST as well.
        fresh = not (request.idempotent or request.replayable)
        if fresh != self._fresh:
            setopt(pycurl.FRESH_CONNECT, int(fresh))
            self._fresh = fresh

    def _lines(self, pairs: list[Header]) -> list[str] | list[bytes]:
        lines = []
        for name, value in pairs:
            if name not in known_names:
                check_name(name)
            lines.append(f"{name}: {value}" if value else f"{name};")  # "name;" sends an empty one
        text = "\t".join(lines).lower()
        lines.append("Expect:")
        if "content-type:" not in text:
            lines.append("Content-Type:")
        if text.isascii() and text.replace("\t", "").isprintable():
            return lines
        check_headers(pairs)
        return [line.encode("utf-8", "surrogateescape") for line in lines]

    def _body(self, request: Request) -> None:
        """Set method and body; what the handle was set to before decides what must be undone."""
        setopt, body, method = self._setopt, paced_body(request, self._options.pace), request.method
        if not isinstance(body, bytes):
            mode = _UPLOAD
        elif method == "HEAD":
            mode = _HEAD
        elif body or method in {"PUT", "POST", "PATCH"}:
            mode = _FIELDS
        else:
            mode = _NO_BODY
        if mode != self._mode:
            if self._mode == _HEAD:
                setopt(pycurl.NOBODY, 0)
            elif self._mode == _UPLOAD:
                setopt(pycurl.UPLOAD, 0)
            if mode == _HEAD:
                setopt(pycurl.NOBODY, 1)
            elif mode == _NO_BODY:
                setopt(pycurl.HTTPGET, 1)
            self._mode, self._method = mode, ""
        if method != self._method:
            # Always by name: the method that libcurl would infer from the mode is another one.
            setopt(_CUSTOMREQUEST, method)
            self._method = method
        if isinstance(body, bytes):
            if mode == _FIELDS:
                setopt(_POSTFIELDS, body)
                large = len(body) >= _LARGE_BODY
            else:
                large = False
        else:
            large = body.length >= _LARGE_BODY
            reader = BodyReader(body)
            setopt(pycurl.UPLOAD, 1)
            setopt(pycurl.INFILESIZE_LARGE, body.length)
            setopt(pycurl.READFUNCTION, self._reader(reader))
            setopt(pycurl.SEEKFUNCTION, self._seeker(reader))
        if large != self._large:
            setopt(pycurl.UPLOAD_BUFFERSIZE, _UPLOAD_BUFFER if large else 64 * 1024)
            self._large = large

    def _reader(self, reader: BodyReader) -> Callable[[int], bytes | int]:
        pace = self._options.pace

        def read(size: int) -> bytes | int:
            try:
                if pace is None:
                    return reader.read(size)
                data = reader.read(min(size, pace.piece()))
                pace.up(len(data))
                return data
            except BaseException as error:
                self._keep(error)
                return int(pycurl.READFUNC_ABORT)

        return read

    def _seeker(self, reader: BodyReader) -> Callable[[int, int], int]:
        def seek(offset: int, origin: int) -> int:
            if origin != 0:
                return int(pycurl.SEEKFUNC_FAIL)
            reader.position = offset
            return int(pycurl.SEEKFUNC_OK)

        return seek

    def _keep(self, error: BaseException) -> None:
        """Remember the first error of a callback."""
        if self.error is None:
            self.error = error

    # ---- the answer

    def _write(self, chunk: bytes) -> int | None:
        """Take `chunk` of the body. None: taken; PAUSE: keep it; 0: abort."""
        try:
            if self.response is None:
                self._begin()
            if self.stream:
                if self.waiting >= STREAM_BUFFER:
                    self.paused = True
                    return int(pycurl.WRITEFUNC_PAUSE)
                self.chunks.append(chunk)
                self.waiting += len(chunk)
            elif self._feed is None:
                self._limit -= len(chunk)
                if self._limit < 0:
                    raise self._oversize()
                self._collected.append(chunk)
            elif self._write_batch is None:
                self._feed.write(chunk)
            else:
                self._batch.append(chunk)
                if len(self._batch) >= _BATCH:
                    self._flush()
            if self._options.pace is not None:
                self._options.pace.down(len(chunk))
        except BaseException as error:
            self._keep(error)
            return 0
        return None

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if batch and self._write_batch is not None:
            self._write_batch(batch)

    def _oversize(self) -> ProtocolError:
        assert self.request is not None
        return oversize_body(self.request.max_body, self.place())

    def _begin(self, *, empty: bool = False) -> Response:
        """The headers are complete: parse them, and decide where the body goes. `empty`: there is none."""
        head = parse_head(self.head)
        if head is None:
            raise ProtocolError(f"{self.place()} sent no complete header block")
        status, headers = head
        response = self.response = Response(status, headers)
        request = self.request
        assert request is not None
        if not empty and not request.encoded and (encoding := encoding_problem(headers)) is not None:
            if status < 400:
                raise encoded_body(encoding, self.place())
            # An error page that nobody can read: its status is what counts.
            self.stream = False
            self._feed = _Drop()
            return response
        if request.sink is not None and status in SINK_STATUSES and not self.stream:
            request.sink.start(response)
            self._feed = request.sink
            self._write_batch = getattr(request.sink, "write_batch", None)
            self._batch = []
        return response

    def taken(self) -> bytes:
        """Of a stream: all that waits for its reader, as one piece; who reads has much to do for each."""
        chunks = self.chunks
        if len(chunks) < 2:
            self.waiting = 0
            return chunks.popleft() if chunks else b""
        data = b"".join([chunks.popleft() for _ in range(min(len(chunks), _JOINED))])
        self.waiting -= len(data)
        return data

    @property
    def ready(self) -> bool:
        """Whether a stream's reader has something to do: pieces, a pause to end, or a header block to look at."""
        return bool(self.chunks) or self.paused or (self.response is None and self._block_ended())

    def _block_ended(self) -> bool:
        return bool(self.head) and self.head[-1] in {b"\r\n", b"\n"}

    def headers_done(self) -> Response | None:
        """For a stream: the response as soon as its header block is complete."""
        if self.response is None and self._block_ended():
            head = parse_head(self.head)
            if head is not None:
                return Response(*head)
        return self.response

    def outcome(self, code: int, text: str) -> Response:
        """The response of an attempt that libcurl ended with `code`; raises the error instead where there is one."""
        if self.error is None and code == 0:
            response = self.response or self._begin(empty=True)
            if self._batch:
                self._flush()
            collected = self._collected
            if collected:
                response.body = collected[0] if len(collected) == 1 else b"".join(collected)
            self._release()
            return response
        error = self.error or self.failure(code, text)
        self._release()
        raise error

    def failure(self, code: int, text: str) -> StoreError:
        """The error for libcurl's result `code`."""
        getinfo = self.curl.getinfo
        return failure(
            code,
            text,
            place=self.place(),
            began=getinfo(pycurl.PRETRANSFER_TIME_T) > 0 or getinfo(pycurl.REQUEST_SIZE) > 0,
            connect_code=int(getinfo(pycurl.HTTP_CONNECTCODE)),
            trust=trust(self._options),
            proxy=self._proxy,
        )

    def _release(self) -> None:
        """Let go of what the attempt held: 64 idle handles must not keep 64 bodies."""
        request, self.request = self.request, None
        self._feed = self._write_batch = None
        self._batch = []
        self._collected.clear()
        if request is not None and self._mode == _UPLOAD:
            self._setopt(pycurl.READFUNCTION, _nothing)
            self._setopt(pycurl.SEEKFUNCTION, _nowhere)
        elif request is not None and self._mode == _FIELDS and body_length(request) > STREAM_BUFFER:
            self._setopt(_POSTFIELDS, b"")

    def place(self) -> str:
        """`host:port` of the request, for messages."""
        if self.request is None:
            return "the server"
        scheme, authority, _ = urls.split(self.request.url)
        host, port = urls.host_port(scheme, authority)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def moved(self) -> float:
        """Bytes that have passed in both directions during this attempt."""
        getinfo = self.curl.getinfo
        return float(
            getinfo(pycurl.SIZE_UPLOAD_T)
            + getinfo(pycurl.SIZE_DOWNLOAD_T)
            + getinfo(pycurl.HEADER_SIZE)
            + getinfo(pycurl.REQUEST_SIZE)
        )

    def close(self) -> None:
        """Free the handle; it must not be in a multi any more."""
        self.curl.close()


class _Drop:
    """A sink that takes what nobody wants."""

    def start(self, response: Response) -> None:
        """Nothing."""

    def write(self, chunk: bytes) -> None:
        """Nothing."""


def _nothing(size: int) -> bytes:
    del size
    return b""


def _nowhere(offset: int, origin: int) -> int:
    del offset, origin
    return int(pycurl.SEEKFUNC_FAIL)


def trust(options: TransportOptions) -> str:
    """Which authorities are trusted and which setting named them, in words."""
    return env.trust_words(options.ca_file or options.ca_path or "", options.ca_origin)
