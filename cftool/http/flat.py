"""Listings of stores with flat keys (S3, Google Cloud Storage), as entries of a tree, in byte order.

A listing starts with plain pages, one after the other. Where many follow and each takes long to come, the key space is
cut at the directories that lie ahead, and the ranges between the cuts are listed 16 at a time. The cuts are only a
guess of where keys are: each range is listed flat, from a key to a key, so that what is missed by the guess is not
missed by the listing. Entries come out in byte order all the same, and at most `WINDOW` pages wait for their turn.
Providers say how a page is asked for and decoded (`Pages`); nothing here knows a protocol.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from cftool.core.errors import ListingError, NotFound
from cftool.core.types import Entry, Kind
from cftool.http.types import Request, Response

log = logging.getLogger("cftool.http")

PAGE = 1000
PARALLEL = 16  # requests at once
WINDOW = 48  # pages that may wait for their turn: about 20 MiB
RANGE_PAGES = 4  # pages that a range should have: with fewer, the part of a page at its end weighs too much
SERIAL_PAGES = 6  # so many pages come one after the other in any case
SERIAL_SECONDS = 0.15  # and as long as waiting for them has not cost more than this
SLOW_PAGE = 0.012  # seconds that a page must take for parallel requests to be of use
MAX_LEVELS = 8  # of directories above a key that are asked for cuts


def split_path(path: str) -> tuple[str, str]:
    """Bucket and key of a canonical path; the key is "" for the bucket itself."""
    bucket, _, key = path.partition("/")
    return bucket, key


class Row(Protocol):
    """One object of a page."""

    @property
    def key(self) -> str:
        """The whole key."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def stored_ns(self) -> int:
        """The upload time."""
        ...


K = TypeVar("K", bound=Row)


class Page(NamedTuple, Generic[K]):
    """One page that proved itself sound: keys and prefixes each strictly rising, all below the prefix."""

    keys: list[K]
    prefixes: list[str]
    token: str | None  # of the next page; None: this was the last


class Expected(NamedTuple):
    """What was asked for, to be found again in the answer."""

    bucket: str
    prefix: str
    delimiter: str
    max_keys: int


class Pages(Protocol[K]):
    """How one service's pages are had. `after` is exclusive: only keys greater than it."""

    def fetch(self, asked: Expected, token: str | None) -> Page[K]:
        """One page, now."""
        ...

    def request(self, asked: Expected, token: str | None, after: str, tag: object) -> Request:
        """A request for one page, to be sent with others."""
        ...

    def decode(self, response: Response, asked: Expected, after: str) -> Page[K]:
        """The page, or the error that the service answered with, raised."""
        ...

    def send_many(self, following: Callable[[], Request | None]) -> Iterator[tuple[Request, Response]]:
        """Send in parallel; the first failure ends it."""
        ...


def serial(
    pages: Pages[K], bucket: str, prefix: str, delimiter: str, *, begun: Page[K] | None = None
) -> Iterator[Page[K]]:
    """One page after the other, to the proven end. `begun`: the first is here already."""
    asked = Expected(bucket, prefix, delimiter, PAGE)
    progress = Progress(bucket)
    while True:
        page = pages.fetch(asked, progress.token) if begun is None else begun
        begun = None
        more = progress.take(page)
        yield page
        if not more:
            return


def keys(
    pages: Pages[K],
    bucket: str,
    prefix: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    at_least: int | None = None,
    begun: Page[K] | None = None,
) -> Iterator[list[K]]:
    """All keys below the prefix, in order, by pages; in parallel where that pays, after `at_least` pages one by one."""
    alone = SERIAL_PAGES if at_least is None else at_least
    began, waited = clock(), 0.0
    for count, page in enumerate(serial(pages, bucket, prefix, "", begun=begun), 1):
        waited += clock() - began
        yield page.keys
        slow = waited >= SERIAL_SECONDS and waited / count >= SLOW_PAGE
        if count >= alone and slow and page.token is not None and page.keys:
            log.debug("listing %s in parallel after %d pages in %.3f s", bucket, count, waited)
            yield from _Parallel(pages, bucket, prefix, page).pages()
            return
        began = clock()


class Progress:
    """What one chain of pages has shown: each must go on, and none may repeat."""

    __slots__ = ("_bucket", "_empty", "_prefix", "last", "token")

    def __init__(self, bucket: str, last: str = "", token: str | None = None) -> None:
        self._bucket = bucket
        self._empty = False
        self._prefix = ""
        self.last = last
        self.token = token

    def take(self, page: "Page[K]") -> bool:
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


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class Tree(Generic[K]):
    """Puts the directories between the keys: each before the first key below it, once.

    `entry(path, row)` makes a file's entry.
    """

    def __init__(self, bucket: str, prefix: str, entry: Callable[[str, K], Entry]) -> None:
        self._root = f"{bucket}/"
        self._prefix = prefix
        self._entry = entry
        self._stack: list[str] = []  # keys of the directories above the last key, each with its slash
        self._top = prefix  # the innermost of them
        self.seen = False

    def entries(self, rows: Sequence[K]) -> Iterator[Entry]:
        """Entries of one page."""
        root, entry = self._root, self._entry
        if rows:
            self.seen = True
        for row in rows:
            key = row.key
            head, slash, name = key.rpartition("/")
            if head + slash != self._top or not name:
                yield from self._enter(key, row.size, row.stored_ns)
                if not name and row.size == 0 and not is_opaque(key):
                    continue
            yield entry(root + key, row)

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


def named(
    pages: Pages[K],
    bucket: str,
    key: str,
    entry: Callable[[str, K], Entry],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Entry]:
    """The object of this key, then the directory of this name with all below it, both from one listing.

    Of all keys that begin so, the key itself is the first. Others may lie between it and what is below its slash
    (`key-1`, `key.txt`): where the first page ends among them, the directory is listed by itself.
    """
    path, prefix, at = f"{bucket}/{key}", f"{key}/", len(key)
    first = pages.fetch(Expected(bucket, key, "", PAGE), None)
    is_file = bool(first.keys) and first.keys[0].key == key
    if is_file:
        yield entry(path, first.keys[0])
    if first.token is None or (first.keys and first.keys[-1].key[at : at + 1] >= "/"):
        listing = keys(pages, bucket, key, clock=clock, begun=first)
    else:
        listing = keys(pages, bucket, prefix, clock=clock)
    tree = Tree(bucket, prefix, entry)
    for page in listing:
        rows = [row for row in page if row.key.startswith(prefix)]
        if rows and not tree.seen:
            marked = rows[0].key == prefix and rows[0].size == 0
            yield Entry(path, Kind.DIRECTORY, None, None, rows[0].stored_ns if marked else None)
        yield from tree.entries(rows)
        if page and page[-1].key[at : at + 1] > "/":
            break  # past what is below the slash
    if not (is_file or tree.seen):
        raise NotFound("no such object, nor a directory", path=path)


def is_opaque(key: str) -> bool:
    """Whether a part of the key has no directories: from its first empty component on it is a name as it is."""
    return key.startswith("/") or "//" in key


def _opaque_from(key: str) -> int:
    """Where the part of a key begins that has no directories any more: its first empty component."""
    if key.startswith("/"):
        return 0
    place = key.find("//")
    return len(key) if place < 0 else place + 1


class _Range(Generic[K]):
    """Keys after `after` (exclusive) up to `stop` (inclusive; None: to the end)."""

    __slots__ = ("after", "busy", "done", "fetched", "pages", "progress", "stop")

    def __init__(self, bucket: str, after: str, stop: str | None, token: str | None = None) -> None:
        self.after = after
        self.stop = stop
        self.progress = Progress(bucket, after, token)
        self.pages: deque[list[K]] = deque()
        self.fetched = 0  # pages since it was last cut
        self.busy = False
        self.done = False

    def take(self, page: Page[K]) -> None:
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


class _Parallel(Generic[K]):
    """The rest of a listing after its first pages, in bursts of parallel requests.

    A burst ends before anything is given out: no request is under way while the consumer takes its time.
    """

    def __init__(self, lister: Pages[K], bucket: str, prefix: str, page: Page[K]) -> None:
        self._lister = lister
        self._asked = Expected(bucket, prefix, "", PAGE)
        last = page.keys[-1].key
        self._ranges: deque[_Range[K]] = deque([_Range[K](bucket, last, None, page.token)])
        heads = [key.key.rpartition("/")[0] for key in page.keys]
        self._depth = last.count("/")
        self._keys_per_directory = len(heads) / len(set(heads))
        self._cut_at = "\0"  # the directory that was last asked for cuts

    def pages(self) -> Iterator[list[K]]:
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

    def _cut(self, front: _Range[K]) -> None:
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
            page = self._lister.decode(response, request.tag, key)
            cuts.update(cut for cut in map(_bytes, page.prefixes) if cut > after and (stop is None or cut < stop))
        if cuts:
            self._split(front, [cut.decode("utf-8", "surrogateescape") for cut in sorted(cuts)])

    def _split(self, front: _Range[K], cuts: list[str]) -> None:
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
        following = [_Range[K](bucket, a, b) for a, b in zip(ends, [*ends[1:], front.stop], strict=True)]
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
            each.take(self._lister.decode(response, self._asked, each.after))
            waiting += len(each.pages) - before
