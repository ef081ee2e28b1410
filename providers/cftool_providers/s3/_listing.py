"""scan, walk and the list of buckets; how pages become a tree, and when they come in parallel, is `http.flat`."""

from collections.abc import Callable, Iterator

from cftool.core.errors import ListingError, NotADirectory, NotFound
from cftool.core.types import NO_HASHES, Entry, Kind
from cftool.http import flat
from cftool.http.flat import Expected, Page, Tree, is_opaque, keys, serial, split_path
from cftool.http.types import Request, Response
from cftool.http.urls import quote_query
from cftool_providers.s3 import _pages
from cftool_providers.s3._objects import is_md5
from cftool_providers.s3._pages import Key
from cftool_providers.s3._service import Service


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
        delimiter = "" if is_opaque(prefix) else "/"
        found = False
        for page in serial(self, bucket, prefix, delimiter):
            found = found or bool(page.keys or page.prefixes)
            for item in page.keys:
                if item.key != prefix or item.size:  # the directory's own marker is no entry of it
                    yield self._file(bucket, item)
            for common in page.prefixes:
                if is_opaque(common):
                    for below in serial(self, bucket, common, ""):
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

    def tree(self, path: str) -> Iterator[Entry]:
        """What is at `path`, and all below it."""
        bucket, key = split_path(path)
        return flat.named(self, bucket, key, self._entry_of(bucket), clock=self._service.clock)

    def _entry_of(self, bucket: str) -> Callable[[str, Key], Entry]:
        """How an object of the bucket becomes an entry; called for each of millions."""
        md5, new = self._service.etag_is_md5(bucket), tuple.__new__

        def entry(path: str, row: Key) -> Entry:
            _, size, stored, etag = row
            hashes = {"md5": etag} if md5 and etag is not None and is_md5(etag) else NO_HASHES
            return new(Entry, (path, Kind.FILE, size, None, stored, etag, None, hashes))

        return entry

    def _walk(self, path: str) -> Iterator[Entry]:
        bucket, key = split_path(path)
        prefix = key + "/" if key else ""
        tree = Tree(bucket, prefix, self._entry_of(bucket))
        for page in keys(self, bucket, prefix, clock=self._service.clock):
            yield from tree.entries(page)
        if not tree.seen and prefix:
            raise self._nothing(path)

    # ---- single requests

    def first(self, bucket: str, prefix: str, *, count: int) -> Page[Key]:
        """The first few keys below a prefix."""
        return self.fetch(Expected(bucket, prefix, "", count), None)

    def fetch(self, asked: Expected, token: str | None) -> Page[Key]:
        """One page."""
        response = self._service.send(
            "GET", "ListObjectsV2", asked.bucket, query=_query(asked, token, ""), max_body=_pages.MAX_BODY
        )
        return self.decode(response, asked, "")

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

    def decode(self, response: Response, asked: Expected, after: str) -> Page[Key]:
        """The page, or the error that the service answered with."""
        del after
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
        if self._service.head(bucket, key).status == 200:
            return NotADirectory("is a file", path=path)
        return NotFound("no such directory: no object's key begins so", path=path)


def _query(asked: Expected, token: str | None, after: str) -> str:
    pairs = []
    if token is not None:
        pairs.append(("continuation-token", token))
    if asked.delimiter:
        pairs.append(("delimiter", asked.delimiter))
    pairs += [("encoding-type", "url"), ("list-type", "2")]
    if asked.max_keys != flat.PAGE:
        pairs.append(("max-keys", str(asked.max_keys)))
    pairs.append(("prefix", asked.prefix))
    if after and token is None:
        pairs.append(("start-after", after))
    return quote_query(pairs)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
