"""The Transport over the requests library: where pycurl has no wheel, and what `responses` mocks in tests.

Uses requests' HTTPAdapter alone: a Session would re-encode URLs, follow redirects, keep cookies, and read the
environment. About ten times the CPU of `curl` per request. `send_many` is in `requests_many`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict

from cftool.core.errors import (
    Interrupted,
    ProtocolError,
    StoreError,
    Unsupported,
)
from cftool.core.paths import printable
from cftool.core.provider import Pace
from cftool.http import env, requests_errors, urls
from cftool.http.forks import renew_after_fork
from cftool.http.messages import (
    HEADER_LIMIT,
    REPEATED,
    BodyReader,
    body_length,
    check_headers,
    encoded_body,
    encoding_problem,
    oversize_body,
    paced_body,
)
from cftool.http.requests_errors import NETWORK, broken
from cftool.http.requests_many import Threads
from cftool.http.types import Attempt, Completion, Header, Request, TransportOptions

_PIECE = 16 * 1024  # as libcurl hands them out
_SEND_PIECE = 256 * 1024


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
            if self._cancelled():
                raise Interrupted("interrupted")
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
            if not isinstance(error, NETWORK):
                raise
            raise self.failure(error, place) from None

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

    def failure(self, error: Exception, place: str) -> StoreError:
        """What requests raised about `place`, as ours."""
        return requests_errors.failure(error, place, trust=env.trust_words(str(self._verify), self._options.ca_origin))

    def send_many(
        self, attempts: Callable[[], Attempt | float | None], concurrency: Callable[[], int]
    ) -> Iterator[Completion]:
        """Attempts in parallel, a thread each; sinks and completions in the caller's thread."""
        return Threads(self.send, self.cancelled).run(attempts, concurrency)

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
        except NETWORK as error:
            self._drop()
            raise self._transport.failure(error, self._place) from None
        if self._transport.pace is not None:
            self._transport.pace.down(len(data))
        if self._left is not None:
            self._left -= len(data)
            if not data:
                self._drop()
                raise broken(f"{self._place}: the connection ended in the middle of the answer", sent=True)
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
