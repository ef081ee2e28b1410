"""scan and walk: pages in order, directories between the keys, and prefixes listed in parallel where that pays.

A listing starts with plain pages, one after the other. Where many follow and each takes long to come, the key space is
cut at the directories that lie ahead, and the ranges between the cuts are listed 16 at a time. The cuts are only a
guess of where keys are: each range is listed flat, from a key to a key, so that what is missed by the guess is not
missed by the listing. Entries come out in byte order all the same, and at most `WINDOW` pages wait for their turn.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator

from cftool.core.errors import ListingError, NotADirectory, NotFound
from cftool.core.types import NO_HASHES, Entry, Kind
from cftool.http.types import Request, Response
from cftool.http.urls import quote_query
from cftool_providers.s3 import _pages
from cftool_providers.s3._objects import is_md5
from cftool_providers.s3._pages import Expected, Key, Page
from cftool_providers.s3._service import Service, split_path

log = logging.getLogger("cftool.s3")

PAGE = 1000
PARALLEL = 16  # requests at once
WINDOW = 48  # pages that may wait for their turn: about 20 MiB
RANGE_PAGES = 4  # pages that a range should have: with fewer, the part of a page at its end weighs too much
SERIAL_PAGES = 6  # so many pages come one after the other in any case
SERIAL_SECONDS = 0.15  # and as long as waiting for them has not cost more than this
SLOW_PAGE = 0.012  # seconds that a page must take for parallel requests to be of use
MAX_LEVELS = 8  # of directories above a key that are asked for cuts


class Lister:
    """Lists the buckets of one service. Thread-safe: it keeps nothing between calls."""

    def __init__(self, service: Service) -> None:
        self._service = service

    # ---- one level

    def scan(self, path: str) -> Iterator[Entry]:
        """Entries of one directory."""
        if not path:
            yield from self.buckets()
            return
        bucket, key = split_path(path)
        prefix = key + "/" if key else ""
        # Below an empty component there are no directories: everything is a file of this one.
        delimiter = "" if _opaque(prefix) else "/"
        found = False
        for page in self._serial(bucket, prefix, delimiter):
            found = found or bool(page.keys or page.prefixes)
            for item in page.keys:
                if item.key != prefix or item.size:  # the directory's own marker is no entry of it
                    yield self._file(bucket, item)
            for common in page.prefixes:
                if _opaque(common):
                    for below in self._serial(bucket, common, ""):
                        for item in below.keys:
                            yield self._file(bucket, item)
                else:
                    yield Entry(f"{bucket}/{common[:-1]}", Kind.DIRECTORY)
        if not found and prefix:
            raise self._nothing(path)

    def buckets(self) -> Iterator[Entry]:
        """The buckets as directories, in the order of the merge."""
        found: dict[str, int | None] = {}
        token = None
        while True:
            query = quote_query([("continuation-token", token)]) if token else ""
            response = self._service.send("GET", "ListBuckets", "", query=query)
            if response.status >= 300:
                raise self._service.error(response, "", "")
            names, following = _pages.buckets(response)
            if len({name for name, _ in names}) != len(names) or any(name in found for name, _ in names):
                raise ListingError("the list of buckets names one twice")
            found.update(names)
            if following is None:
                break
            if following == token or not names:
                raise ListingError("the list of buckets does not come to an end")
            token = following
        for name in sorted(found, key=lambda name: _bytes(name + "/")):
            yield Entry(name, Kind.DIRECTORY, None, None, found[name])

    # ---- all levels

    def walk(self, path: str) -> Iterator[Entry]:
        """Everything below, in byte order."""
        if path:
            yield from self._walk(path)
            return
        for bucket in list(self.buckets()):
            yield bucket
            yield from self._walk(bucket.path)

    def _walk(self, path: str) -> Iterator[Entry]:
        bucket, key = split_path(path)
        prefix = key + "/" if key else ""
        tree = _Tree(bucket, prefix, md5=self._service.etag_is_md5(bucket))
        for page in self._pages(bucket, prefix):
            yield from tree.entries(page)
        if not tree.seen and prefix:
            raise self._nothing(path)

    def _pages(self, bucket: str, prefix: str) -> Iterator[list[Key]]:
        """All keys below the prefix, in order, by pages."""
        clock = self._service.clock
        began, waited = clock(), 0.0
        for count, page in enumerate(self._serial(bucket, prefix, ""), 1):
            waited += clock() - began
            yield page.keys
            slow = waited >= SERIAL_SECONDS and waited / count >= SLOW_PAGE
            if count >= SERIAL_PAGES and slow and page.token is not None and page.keys:
                log.debug("listing %s in parallel after %d pages in %.3f s", bucket, count, waited)
                yield from _Parallel(self, bucket, prefix, page).pages()
                return
            began = clock()

    def _serial(self, bucket: str, prefix: str, delimiter: str) -> Iterator[Page]:
        asked = Expected(bucket, prefix, delimiter, PAGE)
        progress = Progress(bucket)
        while True:
            page = self._fetch(asked, progress.token)
            more = progress.take(page)
            yield page
            if not more:
                return

    # ---- single requests

    def first(self, bucket: str, prefix: str, *, count: int) -> Page:
        """The first few keys below a prefix."""
        return self._fetch(Expected(bucket, prefix, "", count), None)

    def _fetch(self, asked: Expected, token: str | None) -> Page:
        response = self._service.send(
            "GET", "ListObjectsV2", asked.bucket, query=_query(asked, token, ""), max_body=_pages.MAX_BODY
        )
        return self.decode(response, asked)

    def request(self, asked: Expected, token: str | None, after: str, tag: object) -> Request:
        """A request for one page, to be sent with others."""
        return self._service.request(
            "GET",
            "ListObjectsV2",
            asked.bucket,
            query=_query(asked, token, after),
            max_body=_pages.MAX_BODY,
            tag=tag,
        )

    def send_many(self, following: Callable[[], Request | None]) -> Iterator[tuple[Request, Response]]:
        """Send in parallel; the first failure ends it."""
        with self._service.many(following) as completions:
            for completion in completions:
                if completion.error is not None:
                    raise completion.error
                assert completion.response is not None
                yield completion.request, completion.response

    def decode(self, response: Response, asked: Expected) -> Page:
        """The page, or the error that the service answered with."""
        if response.status >= 300:
            error = self._service.error(response, asked.bucket, f"{asked.bucket}/{asked.prefix}".rstrip("/"))
            if isinstance(error, NotFound) and not response.body:
                raise ListingError("a listing was answered with 404 and no word of what is missing")
            raise error
        return _pages.page(response, asked)

    def _file(self, bucket: str, item: Key) -> Entry:
        etag = item.etag
        md5 = etag is not None and is_md5(etag) and self._service.etag_is_md5(bucket)
        hashes = {"md5": etag} if md5 and etag is not None else NO_HASHES
        return Entry(f"{bucket}/{item.key}", Kind.FILE, item.size, None, item.stored_ns, etag, None, hashes)

    def _nothing(self, path: str) -> NotFound | NotADirectory:
        """Why there is nothing below: a file of that name, or nothing at all."""
        bucket, key = split_path(path)
        response = self._service.send("HEAD", "HeadObject", bucket, key)
        if response.status < 300:
            return NotADirectory("is a file", path=path)
        return NotFound("no such directory: no object's key begins so", path=path)


class Progress:
    """What one chain of pages has shown: each must go on, and none may repeat."""

    __slots__ = ("_bucket", "_empty", "_prefix", "last", "token")

    def __init__(self, bucket: str, last: str = "", token: str | None = None) -> None:
        self._bucket = bucket
        self._empty = False
        self._prefix = ""
        self.last = last
        self.token = token

    def take(self, page: Page) -> bool:
        """Whether more follows. Raises ListingError where the chain goes in circles or back."""
        keys, prefixes = page.keys, page.prefixes
        if (keys and self.last and _bytes(keys[0].key) <= _bytes(self.last)) or (
            prefixes and self._prefix and _bytes(prefixes[0]) <= _bytes(self._prefix)
        ):
            raise ListingError(f"the listing of {self._bucket} is not in order: a page repeats what came before")
        if keys:
            self.last = keys[-1].key
        if prefixes:
            self._prefix = prefixes[-1]
        if page.token is None:
            return False
        if page.token == self.token:
            raise ListingError(f"the listing of {self._bucket} does not go on: the same token came twice")
        empty = not keys and not prefixes
        if empty and self._empty:
            raise ListingError(f"the listing of {self._bucket} does not go on: two pages without entries in a row")
        self._empty = empty
        self.token = page.token
        return True


def _query(asked: Expected, token: str | None, after: str) -> str:
    pairs = []
    if token is not None:
        pairs.append(("continuation-token", token))
    if asked.delimiter:
        pairs.append(("delimiter", asked.delimiter))
    pairs += [("encoding-type", "url"), ("list-type", "2")]
    if asked.max_keys != PAGE:
        pairs.append(("max-keys", str(asked.max_keys)))
    pairs.append(("prefix", asked.prefix))
    if after and token is None:
        pairs.append(("start-after", after))
    return quote_query(pairs)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class _Tree:
    """Puts the directories between the keys: each before the first key below it, once."""

    def __init__(self, bucket: str, prefix: str, *, md5: bool) -> None:
        self._root = f"{bucket}/"
        self._prefix = prefix
        self._md5 = md5
        self._stack: list[str] = []  # keys of the directories above the last key, each with its slash
        self._top = prefix  # the innermost of them
        self.seen = False

    def entries(self, keys: list[Key]) -> Iterator[Entry]:
        """Entries of one page."""
        root, new, file, md5 = self._root, tuple.__new__, Kind.FILE, self._md5
        if keys:
            self.seen = True
        for key, size, stored, etag in keys:
            head, slash, name = key.rpartition("/")
            if head + slash != self._top or not name:
                yield from self._enter(key, size, stored)
                if not name and size == 0 and not _opaque(key):
                    continue
            hashes = {"md5": etag} if md5 and etag is not None and is_md5(etag) else NO_HASHES
            yield new(Entry, (root + key, file, size, None, stored, etag, None, hashes))

    def _enter(self, key: str, size: int, stored: int) -> Iterator[Entry]:
        """Leave directories that are over, enter new ones; the marker of one gives it its time."""
        stack, prefix = self._stack, self._prefix
        while stack and not key.startswith(stack[-1]):
            stack.pop()
        at = len(stack[-1]) if stack else len(prefix)
        end = _opaque_from(key)
        while (slash := key.find("/", at)) >= 0 and slash < end:
            here = key[: slash + 1]
            marker = len(here) == len(key)
            # An object `x/` with content is a file of that name, and takes the directory's place in the order.
            if not marker or size == 0:
                yield Entry(self._root + key[:slash], Kind.DIRECTORY, None, None, stored if marker else None)
            stack.append(here)
            at = slash + 1
        head, slash_, _ = key.rpartition("/")
        # Only where the key is right below the innermost directory may the next one skip this method.
        self._top = head + slash_ if head + slash_ == (stack[-1] if stack else prefix) else "\0"


def _opaque(key: str) -> bool:
    return key.startswith("/") or "//" in key


def _opaque_from(key: str) -> int:
    """Where the part of a key begins that has no directories any more: its first empty component."""
    if key.startswith("/"):
        return 0
    place = key.find("//")
    return len(key) if place < 0 else place + 1


class _Range:
    """Keys after `after` (exclusive) up to `stop` (inclusive; None: to the end)."""

    __slots__ = ("after", "busy", "done", "fetched", "pages", "progress", "stop")

    def __init__(self, bucket: str, after: str, stop: str | None, token: str | None = None) -> None:
        self.after = after
        self.stop = stop
        self.progress = Progress(bucket, after, token)
        self.pages: deque[list[Key]] = deque()
        self.fetched = 0  # pages since it was last cut
        self.busy = False
        self.done = False

    def take(self, page: Page) -> None:
        """Keep the page's keys as far as they are in the range."""
        self.busy = False
        self.fetched += 1
        self.done = not self.progress.take(page)
        keys, stop = page.keys, self.stop
        if keys and stop is not None and _bytes(keys[-1].key) >= _bytes(stop):
            self.done = True
            end = _bytes(stop)
            keys = [key for key in keys if _bytes(key.key) <= end]
        if keys:
            self.pages.append(keys)


class _Parallel:
    """The rest of a listing after its first pages, in bursts of parallel requests.

    A burst ends before anything is given out: no request is under way while the consumer takes its time.
    """

    def __init__(self, lister: Lister, bucket: str, prefix: str, page: Page) -> None:
        self._lister = lister
        self._asked = Expected(bucket, prefix, "", PAGE)
        last = page.keys[-1].key
        self._ranges: deque[_Range] = deque([_Range(bucket, last, None, page.token)])
        heads = [key.key.rpartition("/")[0] for key in page.keys]
        self._depth = last.count("/")
        self._keys_per_directory = len(heads) / len(set(heads))
        self._cut_at = "\0"  # the directory that was last asked for cuts

    def pages(self) -> Iterator[list[Key]]:
        """The pages in order."""
        self._cut(self._ranges[0])
        while self._ranges:
            front = self._ranges[0]
            while front.pages:
                yield front.pages.popleft()
            if front.done:
                self._ranges.popleft()
                continue
            if front.fetched > 2 * RANGE_PAGES:
                self._cut(front)
            self._burst()

    def _cut(self, front: _Range) -> None:
        """Ask which directories follow at each level above the last key, and cut the front range there."""
        key, prefix = front.progress.last, self._asked.prefix
        front.fetched = 0
        here = key.rpartition("/")[0]
        if here == self._cut_at:
            return  # still in the directory that had no cuts to offer, or has them behind it
        self._cut_at = here
        levels = [prefix]
        at = len(prefix)
        while (slash := key.find("/", at)) >= 0 and len(levels) < MAX_LEVELS:
            at = slash + 1
            levels.append(key[:at])
        queries = [Expected(self._asked.bucket, level, "/", PAGE) for level in levels]
        requests = deque(self._lister.request(asked, None, key, asked) for asked in queries)
        after, stop = _bytes(key), None if front.stop is None else _bytes(front.stop)
        cuts: set[bytes] = set()
        for request, response in self._lister.send_many(lambda: requests.popleft() if requests else None):
            assert isinstance(request.tag, Expected)
            page = self._lister.decode(response, request.tag)
            cuts.update(cut for cut in map(_bytes, page.prefixes) if cut > after and (stop is None or cut < stop))
        if cuts:
            self._split(front, [cut.decode("utf-8", "surrogateescape") for cut in sorted(cuts)])

    def _split(self, front: _Range, cuts: list[str]) -> None:
        """Give the front range's end to new ranges of about RANGE_PAGES pages each."""
        group = max(1, int(RANGE_PAGES * PAGE / self._keys_per_directory))
        ends: list[str] = []
        small = 0
        for cut in cuts:
            # Directories at the depth of those seen are grouped; what is above them may hold anything.
            small = small + 1 if cut.count("/") >= self._depth else group
            if small >= group or not ends:
                ends.append(cut)
                small = 0
        bucket = self._asked.bucket
        following = [_Range(bucket, a, b) for a, b in zip(ends, [*ends[1:], front.stop], strict=True)]
        front.stop = ends[0]
        self._ranges.popleft()
        self._ranges.extendleft(reversed([front, *following]))

    def _burst(self) -> None:
        """Fetch until the window is full or nothing more can be asked for."""
        ranges = self._ranges
        front = ranges[0]
        waiting = sum(len(each.pages) for each in ranges)
        busy = 0

        def following() -> Request | None:
            nonlocal busy
            if busy >= PARALLEL:
                return None
            for each in ranges:
                if each.done or each.busy:
                    continue
                if waiting + busy >= WINDOW and (each is not front or each.pages):
                    return None
                each.busy = True
                busy += 1
                return self._lister.request(self._asked, each.progress.token, each.after, each)
            return None

        for request, response in self._lister.send_many(following):
            each = request.tag
            assert isinstance(each, _Range)
            busy -= 1
            before = len(each.pages)
            each.take(self._lister.decode(response, self._asked))
            waiting += len(each.pages) - before
