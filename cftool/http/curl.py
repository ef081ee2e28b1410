"""The Transport over libcurl (pycurl): the default. No thread of its own: whoever calls drives.

`send` takes a lane (a loop with one easy handle and its connections) from a last-in-first-out pool, so that any thread
may call and a connection that was just used is used again; the Stream drives its lane as its reader pulls, and gives
it back at the end. `send_many` takes an engine likewise. After a fork the child starts with empty pools and leaves the
parent's connections alone.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType

from cftool.core.errors import ConnectionFailed, Interrupted
from cftool.core.provider import never
from cftool.http import urls
from cftool.http.curl_handle import Handle
from cftool.http.curl_loop import Finished, Loop
from cftool.http.curl_many import SLICE, Engine
from cftool.http.env import bypasses
from cftool.http.forks import renew_after_fork
from cftool.http.messages import oversize_body
from cftool.http.types import Attempt, Completion, Header, Request, Response, TransportOptions

_LANE_CONNECTIONS = 4  # hosts that one lane stays connected to (an endpoint, and where it redirects to)


class CurlTransport:
    """See `Transport`."""

    def __init__(self, options: TransportOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._lanes: list[Lane] = []  # idle ones, the most recently used last
        self._engines: list[Engine] = []
        self._proxies: dict[str, str] = {}
        self._closed = False
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the parent's lanes to the parent; `curl_loop` keeps them from being finalised here."""
        self._lock = threading.Lock()
        self._lanes = []
        self._engines = []

    def send(self, request: Request, headers: Iterable[Header]) -> "CurlStream":
        """One attempt; returns when the headers of the answer are there."""
        lane = self._lane()
        try:
            lane.handle.start(request, headers, stream=True)
            lane.loop.start(lane.handle)
            response = lane.until_headers()
        except BaseException:
            lane.loop.abort(lane.handle)
            self._give_back(lane)
            raise
        return CurlStream(lane, response, self._give_back)

    def send_many(
        self, attempts: Callable[[], Attempt | float | None], concurrency: Callable[[], int]
    ) -> Iterator[Completion]:
        """Attempts in parallel, driven by the caller's iteration."""
        with self._lock:
            engine = self._engines.pop() if self._engines else None
        if engine is None:
            loop = self._loop(2 * self._options.connections)
            engine = Engine(loop, self._handle, self._options.cancelled)
        try:
            yield from engine.run(attempts, concurrency)
        finally:
            self._return(engine)

    def close(self) -> None:
        """Close what is idle now, and what is given back later at that moment."""
        with self._lock:
            self._closed = True
            lanes, self._lanes = self._lanes, []
            engines, self._engines = self._engines, []
        for lane in lanes:
            lane.close()
        for engine in engines:
            engine.close()

    def __del__(self) -> None:
        if hasattr(self, "_engines"):
            self.close()

    # ---- the pools

    def _lane(self) -> "Lane":
        with self._lock:
            if self._lanes:
                return self._lanes.pop()
        return Lane(self._loop(_LANE_CONNECTIONS), self._handle(), self._options.cancelled)

    def _give_back(self, lane: "Lane") -> None:
        if lane.loop.foreign:
            return
        with self._lock:
            if not self._closed and len(self._lanes) < self._options.connections:
                self._lanes.append(lane)
                return
        lane.close()

    def _return(self, engine: Engine) -> None:
        if engine.loop.foreign:
            return
        with self._lock:
            if not self._closed and not self._engines:
                self._engines.append(engine)
                return
        engine.close()

    def _loop(self, connections: int) -> Loop:
        return Loop(connections=connections, idle_timeout=self._options.policy.idle_timeout)

    def _handle(self) -> Handle:
        return Handle(self._options, self._proxy_for)

    def _proxy_for(self, url: str) -> str:
        """The proxy's URL, empty for none; remembered per origin."""
        if not self._options.proxies:
            return ""
        origin = url[: url.find("/", 8)] if url.find("/", 8) > 0 else url
        proxy = self._proxies.get(origin)
        if proxy is None:
            scheme, authority, _ = urls.split(url)
            direct = bypasses(*urls.host_port(scheme, authority), self._options.no_proxy)
            if len(self._proxies) > 1000:
                self._proxies.clear()
            proxy = self._proxies[origin] = "" if direct else self._options.proxies.get(scheme, "")
        return proxy


class Lane:
    """A loop with one handle."""

    __slots__ = ("_cancelled", "_slice", "handle", "loop")

    def __init__(self, loop: Loop, handle: Handle, cancelled: Callable[[], bool] = never) -> None:
        self.loop = loop
        self.handle = handle
        self._cancelled = cancelled
        self._slice = None if cancelled is never else SLICE

    def step(self) -> list[Finished]:
        """Drive for a while; raises Interrupted where the run is to end."""
        if self._cancelled():
            raise Interrupted("interrupted")
        return self.loop.step(self._slice, stream=self.handle)

    def until_headers(self) -> Response:
        """Drive until the header block is complete; raises the error of an attempt that ended before."""
        while True:
            for handle, code, text in self.step():
                return handle.outcome(code, text)
            if self.handle.error is None and (response := self.handle.headers_done()) is not None:
                return response

    def close(self) -> None:
        """Close the connections."""
        self.loop.close()
        self.handle.close()


class CurlStream:
    """See `Stream`. Bound to the process that made it."""

    def __init__(self, lane: Lane, response: Response, give_back: Callable[[Lane], None]) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._lane: Lane | None = lane
        self._give_back = give_back
        self._pid = os.getpid()
        self._ended = lane.handle.request is None  # the answer was complete with its headers
        self._error: BaseException | None = None

    def header(self, name: str) -> str | None:
        """A header's value by lower-case name, or None."""
        return self.headers.get(name)

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives; about 256 KiB wait here at most."""
        while (lane := self._lane) is not None:
            self._check_process()
            handle = lane.handle
            while chunk := handle.taken():
                yield chunk
                if self._lane is None:  # closed by the reader in between
                    return
            if self._error is not None:
                self._release()
                raise self._error
            if self._ended:
                self._release()
                return
            self._drive(lane)

    def _drive(self, lane: Lane) -> None:
        try:
            if lane.handle.paused:
                lane.loop.resume(lane.handle)
                if lane.handle.chunks:  # libcurl had more in hand: it may be paused again, and would wait in vain
                    return
            for handle, code, text in lane.step():
                self._ended = True
                handle.outcome(code, text)
        except Exception as error:
            self._error = error  # raised after what arrived before it

    def read_all(self, limit: int = 64 * 1024 * 1024) -> bytes:
        """The rest of the body."""
        pieces: list[bytes] = []
        size = 0
        for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                self.close()
                raise oversize_body(limit, "the server")
            pieces.append(chunk)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Give the connection back where the body is at its end, else drop it."""
        lane = self._lane
        if lane is not None and self._pid == os.getpid():
            lane.loop.abort(lane.handle)
            self._release()

    def _release(self) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.handle.chunks.clear()
            self._give_back(lane)

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise ConnectionFailed("the connection was opened by the parent process")

    def __enter__(self) -> "CurlStream":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_lane", None) is not None:
            self.close()
