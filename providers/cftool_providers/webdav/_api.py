"""One server: URLs, single requests, and what their answers say of files and directories.

All other modules here build requests with `Api.request` and never a URL by themselves. A redirect is never followed:
where it only adds the slash of a directory, on the same host, the request is made anew for our own URL with the slash;
any other is an error that names the place. Entries are made in one place, `entry`.
"""

import logging
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from cftool.core.errors import ListingError, NotADirectory, NotFound, ProtocolError, StoreError
from cftool.core.paths import join, parent, printable
from cftool.core.provider import Context
from cftool.core.types import NO_HASHES, Entry, Kind
from cftool.http.dates import parse_http_date
from cftool.http.open import open_client
from cftool.http.types import Body, Header, Request, Response, Sink, Stream
from cftool.http.urls import host_port, quote_path, split
from cftool_providers.webdav import _errors, _multistatus, _vendor
from cftool_providers.webdav._flows import Job, Step
from cftool_providers.webdav._multistatus import Row
from cftool_providers.webdav._names import Collection
from cftool_providers.webdav._settings import Settings
from cftool_providers.webdav._vendor import Profile, Quirks

log = logging.getLogger("cftool.webdav")

CONNECTIONS = 16  # a PHP server has about as many workers; the pace adapts
XML: Header = ("content-type", "application/xml; charset=utf-8")
QUOTA = (_multistatus.QUOTA_FREE, _multistatus.QUOTA_USED)
_PROPERTIES = (_multistatus.RESOURCETYPE, _multistatus.LENGTH, _multistatus.MODIFIED, _multistatus.ETAG)
_HASHES = {"MD5": ("md5", 32), "SHA1": ("sha1", 40), "SHA256": ("sha256", 64)}
CONTENDED = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds, while others are at the same file or directory
FRESH = 5.0  # seconds for which it counts what a listing said of a name
_LATE = (0.3, 0.6, 1.2)  # seconds between looks for what was written a moment ago
_LOOKS = frozenset({"OPTIONS", "PROPFIND"})  # only these may turn out to be about a directory
_LOCK_ATTEMPTS = 8
_NO_TOP = frozenset({404, 405, 410, 501})  # of the top directory: the address is not the right one
_FILE = Kind.FILE
_SLASH = frozenset({301, 302, 303, 307, 308})


class Api:
    """See the module. Thread-safe."""

    def __init__(self, settings: Settings, context: Context) -> None:
        self.settings = settings
        self.context = context
        self.name = context.remote or "webdav"
        self.host = settings.host
        self.quirks: Quirks = _vendor.quirks_of(settings.host)
        self._top = settings.origin + settings.base
        self.client = open_client(
            context,
            auth=settings.auth(),
            classify=_errors.classify,
            connections=CONNECTIONS,
            name=self.name,
        )
        self._lock = threading.RLock()
        self._known = False
        self._profile = self._remembered()
        self._set_bodies()

    # ---- what the server is

    @property
    def profile(self) -> Profile:
        """What is known so far, without asking."""
        return self._profile

    def _remembered(self) -> Profile:
        text = self.context.memory.get(self._memory_key())
        found = None if text is None else Profile.loads(text)
        vendor = self.settings.vendor
        if found is not None and vendor in {"auto", found.vendor}:
            self._known = True
            return found
        if vendor not in {"auto", _vendor.OTHER}:
            self._known = True
            return _vendor.of_vendor(vendor)
        return Profile()

    def _memory_key(self) -> str:
        return f"{self.settings.identity}:profile-1"

    def learn(self, profile: Profile, *, remember: bool = True) -> None:
        """From now on, and in later runs, this is what the server is."""
        with self._lock:
            self._profile = profile
            self._known = True
            self._set_bodies()
        if remember:
            self.context.memory.set(self._memory_key(), profile.dumps())

    def ready(self) -> Profile:
        """What the server is; asked at the first contact, where it is not remembered."""
        if not self._known:
            with self._lock:
                if not self._known:
                    self._detect()
        return self._profile

    def _detect(self) -> None:
        options = _vendor.quietly(lambda: self.send(Request("OPTIONS", self._top, op="OPTIONS")))
        if options is None:
            return  # the request that this one goes before will say it better
        installation = self.settings.installation

        def status_page() -> Response | None:
            if installation is None:
                return None
            request = Request("GET", installation + "status.php", op="status.php", max_body=1 << 20)
            return _vendor.quietly(lambda: self.client.send(request))

        found = _vendor.detect(options, status_page)
        if found is not None and self.settings.vendor == _vendor.OTHER:
            found = Profile()
        if found is not None and not found.quota:
            found = replace(found, quota=self._tells_quota())
        if found is not None:
            log.info("%s is %s", self.host, found.vendor)
        self.learn(found or Profile(), remember=found is not None)

    def _tells_quota(self) -> bool:
        response = _vendor.quietly(lambda: self.send(self.quota_request()))
        if response is None or response.status != 207 or not self.quirks.usage:
            return False
        try:
            rows = _multistatus.decode(response.body, bare_names=self.quirks.bare_names)
        except ListingError:
            return False
        return any(row.found.get(name, "").strip().isdigit() for row in rows for name in QUOTA)

    def quota_request(self) -> Request:
        """PROPFIND for the quota properties of the top (RFC 4331)."""
        body = _multistatus.request_body((_multistatus.RESOURCETYPE, *QUOTA))
        return self.request("PROPFIND", "", headers=(("depth", "0"), XML), body=body)

    def _set_bodies(self) -> None:
        names: Iterable[str] = _PROPERTIES
        if self._profile.checksums:
            names = (*_PROPERTIES, _multistatus.CHECKSUMS)
        elif self.quirks.untyped:
            names = (*_PROPERTIES, _multistatus.CONTENT_TYPE)
        self._find_body = _multistatus.request_body(names)
        kind = (_multistatus.RESOURCETYPE,)
        self._kind = self._find_body if self.quirks.untyped else _multistatus.request_body(kind)

    # ---- URLs and requests

    def url(self, path: str, *, directory: bool = False) -> str:
        """The URL of a canonical path; a directory's ends with a slash."""
        if not path:
            return self._top
        return f"{self._top}{quote_path(path)}/" if directory else self._top + quote_path(path)

    def request(
        self,
        method: str,
        path: str,
        *,
        directory: bool = False,
        headers: tuple[Header, ...] = (),
        body: bytes | Body = b"",
        idempotent: bool = True,
        sink: Sink | None = None,
        max_body: int = 1 << 20,
        encoded: bool = False,
        replayable: bool = False,
    ) -> Request:
        """A request for a path below the top."""
        return Request(
            method,
            self.url(path, directory=directory),
            headers,
            body,
            method,
            idempotent,
            sink,
            None,
            max_body,
            None,
            encoded,
            replayable,
        )

    def send(self, request: Request) -> Response:
        """Send and collect; the slash of a directory is added where the server asks for it."""
        response = self.client.send(request)
        if response.status == 423:
            for delay in self.lock_delays():
                self.client.clock.sleep(delay)
                response = self.client.send(request)
                if response.status != 423:
                    break
        if request.method in _LOOKS and self.wants_slash(request.url, response):
            response = self.client.send(_with_slash(request))
        return response

    def lock_delays(self) -> Iterator[float]:
        """Seconds between attempts while somebody holds a lock: many servers hold one for the time of a request."""
        for step in range(_LOCK_ATTEMPTS):
            yield self.client.clock.random() * 0.05 * 2.0**step

    def patiently(self, request: Request) -> Generator[Step, Any, Response]:
        """Of a flow: send, and again while it is locked."""
        response: Response = yield request
        if response.status == 423:
            for delay in self.lock_delays():
                yield Job(partial(self.client.clock.sleep, delay))
                response = yield request
                if response.status != 423:
                    break
        return response

    def wants_slash(self, url: str, response: Response | Stream) -> bool:
        """Whether a redirect leads to the same place with a slash at its end: a directory's name."""
        if response.status not in _SLASH or url.endswith("/"):
            return False
        scheme, authority, target = split(url)
        location = response.header("location") or ""
        if location.startswith("/") and not location.startswith("//"):
            place = location
        else:
            their_scheme, their_authority, place = split(location)
            if their_scheme not in {"http", "https"}:
                return False
            try:
                # Behind a proxy a server may not know its own scheme and port; we stay at ours anyway.
                if host_port(their_scheme, their_authority)[0].lower() != host_port(scheme, authority)[0].lower():
                    return False
            except StoreError:
                return False
        return Collection(target).same(place) and place.endswith("/")

    def error(self, response: Response | Stream, path: str | None = None, body: bytes = b"") -> StoreError:
        """The exception for an answer that is no success."""
        if path == "" and response.status in _NO_TOP:
            return _errors.no_top(response.status, self._top)
        return _errors.error(response, body, host=self.host, path=path)

    # ---- one entry

    def find_request(self, path: str, *, directory: bool = False, depth: str = "0", max_body: int = 1 << 20) -> Request:
        """PROPFIND for what an Entry holds."""
        return self.request(
            "PROPFIND",
            path,
            directory=directory,
            headers=(("depth", depth), XML),
            body=self._find_body,
            max_body=max_body,
        )

    def kinds_request(self, directory: str, *, max_body: int) -> Request:
        """PROPFIND for what is a directory in this one, and nothing else: a third of what a whole listing costs."""
        headers = (("depth", "1"), XML)
        return self.request("PROPFIND", directory, directory=True, headers=headers, body=self._kind, max_body=max_body)

    def find(self, path: str, *, directory: bool = False) -> Entry:
        """What is at `path`. Raises NotFound, StoreError."""
        self.ready()
        response = self.send(self.find_request(path, directory=directory))
        if response.status == 404 and self.quirks.late and path:
            self.client.clock.sleep(_LATE[0])
            response = self.send(self.find_request(path, directory=directory))
        if response.status == 400 and path and not self._is_directory_above(path):
            # Apache says so of names below a file.
            raise NotADirectory("a file stands where a directory above it would have to be", path=path)
        return self.found(response, path)

    def _is_directory_above(self, path: str) -> bool:
        while above := parent(path):
            path = above
            response = self.send(self.find_request(path))
            if response.status != 400:
                return response.status != 207 or self.found(response, path).is_dir
        return True

    def found(self, response: Response, path: str) -> Entry:
        """The entry in the answer to `find_request` with depth 0."""
        if response.status in {404, 410} and path:
            raise NotFound("no such file or directory", path=path)
        if response.status != 207 and response.status >= 300:
            raise self.error(response, path)
        _multistatus.check_answer(response.status, response.headers, self.host)
        rows = _multistatus.decode(response.body, bare_names=self.quirks.bare_names)
        collection = self.collection(path)
        if len(rows) != 1:
            raise ListingError(f"{self.host} answered about {len(rows)} entries where it was asked for one", path=path)
        if collection.below(rows[0].href):
            raise ListingError(f"{self.host} answered about another name than it was asked for", path=path)
        if rows[0].status == 404:
            raise NotFound("no such file or directory", path=path)
        return self.entry(path, rows[0])

    def found_late(self, path: str) -> Entry:
        """What is at `path`, where it was written a moment ago: box.com and others show it later."""
        for delay in (*_LATE, None):
            try:
                return self.find(path)
            except NotFound:
                if delay is None:
                    raise
                log.info("%s does not show %s yet", self.host, printable(path))
                self.client.clock.sleep(delay)
        raise AssertionError  # the loop returns or raises

    def exists(self, path: str) -> Entry | None:
        """What is at `path`, or None."""
        try:
            return self.find(path)
        except (NotFound, NotADirectory):
            return None

    def collection(self, path: str) -> Collection:
        """For the hrefs of an answer about `path`."""
        base = self.settings.base
        return Collection(base + quote_path(path) if path else base)

    def is_directory(self, path: str, row: Row) -> bool:
        """Whether a row describes one. Raises ListingError where it describes nothing."""
        status = row.status
        if status is not None and not (200 <= status < 300 and row.found):
            raise ListingError(f"the listing has an error for one of its entries: {status}", path=path)
        return self._untyped(path, row) if row.collection is None else row.collection

    def entry(self, path: str, row: Row) -> Entry:
        """The entry that a row describes. Raises ListingError where it does not describe one."""
        collection = self.is_directory(path, row)
        found = row.found
        modified = found.get(_multistatus.MODIFIED)
        when = _nanoseconds(modified) if modified else None
        keeps = self._profile.times
        if collection:
            return Entry(path, Kind.DIRECTORY, None, None, when)
        size = found.get(_multistatus.LENGTH, "").strip()
        if not (size.isascii() and size.isdigit()):
            if size or row.failed.get(_multistatus.LENGTH, 404) != 404:
                raise ListingError(f"the listing has no usable size for one of its entries: {size[:40]!r}", path=path)
            size = ""
        checksums = found.get(_multistatus.CHECKSUMS)
        fields = (
            path,
            _FILE,
            int(size) if size else None,
            when if keeps else None,
            None if keeps else when,
            opaque(found.get(_multistatus.ETAG)),
            None,
            hashes(checksums) if checksums else NO_HASHES,
        )
        return tuple.__new__(Entry, fields)  # half the time: a listing makes very many

    def _untyped(self, path: str, row: Row) -> bool:
        if self.quirks.untyped and row.failed.get(_multistatus.RESOURCETYPE, 404) == 404:
            return row.href.endswith("/") or "directory" in row.found.get(_multistatus.CONTENT_TYPE, "")
        raise ListingError("the listing does not say whether one of its entries is a directory", path=path)

    # ---- directories

    def ensure_directory(self, path: str) -> bool:
        """Make a directory and those above it; whether it was made now. Raises NotADirectory where a file is there."""
        response = self.client.send(self.request("MKCOL", path, directory=True))
        if response.status == 201:
            return True
        # 405 is how it should say that something is there; 301, 400, 403 and 409 are how some do.
        there = self.exists(path)
        if there is not None:
            if not there.is_dir:
                raise NotADirectory("is a file", path=path)
            return False
        if path and self.exists(parent(path)) is None:
            self.ensure_directory(parent(path))
        elif path and not self.find(parent(path)).is_dir:
            raise NotADirectory("a file stands where a directory above it would have to be", path=path)
        for delay in (*CONTENDED, None):
            response = self.client.send(self.request("MKCOL", path, directory=True))
            if response.status == 201:
                return True
            there = self.exists(path)  # another thread, or another machine
            if there is not None and there.is_dir:
                return False
            # While somebody else makes the same directories, some servers say that it is there before they show it.
            if delay is None or there is not None or response.status not in {404, 405, 409}:
                break
            self.client.clock.sleep(delay * (0.5 + self.client.clock.random() / 2))
        raise self.error(response, path)

    # ---- copy and move

    def transport_headers(self, dst: str, *, directory: bool, overwrite: bool) -> tuple[Header, ...]:
        """Destination (always absolute: Apache refuses a path) and Overwrite."""
        return (("destination", self.url(dst, directory=directory)), ("overwrite", "T" if overwrite else "F"))

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def child(path: str, name: str) -> str:
    """The path of a relative name."""
    return join(path, name) if name else path


def opaque(etag: str | None) -> str | None:
    """An ETag without its quotes and its mark of weakness; None where there is none.

    A weak one is as good as the strong one for us: both change with the content, and it is we who compare.
    """
    if etag is None:
        return None
    etag = etag.strip()
    if etag.startswith(("W/", "w/")):
        etag = etag[2:]
    if len(etag) >= 2 and etag[0] == '"' == etag[-1]:
        etag = etag[1:-1]
    return etag or None


def hashes(text: str) -> Mapping[str, str]:
    """`SHA1:… MD5:…` as in oc:checksums and OC-Checksum; what is not understood is left out."""
    found = {}
    for word in text.split():
        name, _, value = word.partition(":")
        known = _HASHES.get(name.upper())
        if known is not None and len(value) == known[1]:
            found[known[0]] = value.lower()
    return found or NO_HASHES


@lru_cache(maxsize=4096)
def _nanoseconds(date: str) -> int | None:
    seconds = parse_http_date(date)
    return None if seconds is None else int(seconds) * 1_000_000_000


def modified_of(headers: Mapping[str, str]) -> int | None:
    """The Last-Modified of an answer, nanoseconds."""
    text = headers.get("last-modified")
    return None if text is None else _nanoseconds(text)


def _with_slash(request: Request) -> Request:
    return replace(request, url=request.url + "/")


def content_range(headers: Mapping[str, str]) -> tuple[int, int, int | None] | None:
    """First byte, end (exclusive) and whole size of a Content-Range; the size is None where it is `*`."""
    text = headers.get("content-range")
    if text is None:
        return None
    unit, _, rest = text.strip().partition(" ")
    span, _, total = rest.partition("/")
    first, _, last = span.partition("-")
    numbers = [first.strip(), last.strip(), total.strip().replace("*", "0")]
    if unit.lower() != "bytes" or not all(number.isascii() and number.isdigit() for number in numbers):
        raise ProtocolError(f"the server's Content-Range is {text[:80]!r}")
    return int(first), int(last) + 1, None if total.strip() == "*" else int(total)
