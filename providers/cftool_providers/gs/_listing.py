"""scan, walk and the list of buckets; how pages become a tree, and when they come in parallel, is `http.flat`."""

from collections.abc import Callable, Iterator

from cftool.core.errors import ConfigError, ListingError, NotADirectory, NotFound
from cftool.core.types import Entry, Kind
from cftool.http.flat import Expected, Page, Tree, is_opaque, keys, named, serial, split_path
from cftool.http.types import Request, Response
from cftool_providers.gs._api import Key
from cftool_providers.gs._service import Service

# A listing of ten thousand is ten requests: what parallel ones would win there is less than what they ask in vain.
SERIAL_PAGES = 11


class Lister:
    """Lists the buckets of one service; `flat.Pages` of them. Thread-safe: it keeps nothing between calls."""

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
                    yield _file(f"{bucket}/{item.key}", item)
            for common in page.prefixes:
                if is_opaque(common):
                    for below in serial(self, bucket, common, ""):
                        for item in below.keys:
                            yield _file(f"{bucket}/{item.key}", item)
                else:
                    yield Entry(f"{bucket}/{common[:-1]}", Kind.DIRECTORY)
        if not found and prefix:
            raise self._nothing(path)

    def buckets(self) -> Iterator[Entry]:
        """The project's buckets as directories, in the order of the merge."""
        service = self._service
        project = service.project()
        if not project and service.json is not None and not service.settings.emulator:
            raise ConfigError("to list the buckets, set project (or GOOGLE_CLOUD_PROJECT); one of them is NAME:BUCKET")
        found: dict[str, int | None] = {}
        token = None
        while True:
            response = service.send(service.api.list_buckets(project or service.nobodys_project, token))
            if response.status >= 300:
                raise service.error(response, "")
            names, following = service.api.buckets_listed(response)
            if len({name for name, _ in names}) != len(names) or any(name in found for name, _ in names):
                raise ListingError("the list of buckets names one twice")
            found.update(names)
            if following is None:
                break
            if following == token or not names:
                raise ListingError("the list of buckets does not come to an end")
            token = following
        for name in sorted(found, key=lambda name: (name + "/").encode()):
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
        tree = Tree[Key](bucket, prefix, _file)
        for page in keys(self, bucket, prefix, at_least=SERIAL_PAGES):
            yield from tree.entries(page)
        if not tree.seen and prefix:
            raise self._nothing(path)

    def tree(self, path: str) -> Iterator[Entry]:
        """What is at `path`, and all below it."""
        return named(self, *split_path(path), _file)

    # ---- flat.Pages

    def first(self, bucket: str, prefix: str, *, count: int) -> Page[Key]:
        """The first few keys below a prefix."""
        return self.fetch(Expected(bucket, prefix, "", count), None)

    def fetch(self, asked: Expected, token: str | None) -> Page[Key]:
        """One page."""
        return self.decode(self._service.send(self.request(asked, token, "", None)), asked, "")

    def request(self, asked: Expected, token: str | None, after: str, tag: object) -> Request:
        """A request for one page, to be sent with others."""
        return self._service.api.list_objects(asked, token, after, tag)

    def decode(self, response: Response, asked: Expected, after: str) -> Page[Key]:
        """The page, or the error that the service answered with."""
        if response.status >= 300:
            error = self._service.error(response, f"{asked.bucket}/{asked.prefix}".rstrip("/"))
            if isinstance(error, NotFound) and not response.body:
                raise ListingError("a listing was answered with 404 and no word of what is missing")
            raise error
        return self._service.api.objects_listed(response, asked, after)

    def send_many(self, following: Callable[[], Request | None]) -> Iterator[tuple[Request, Response]]:
        """Send in parallel; the first failure ends it."""
        with self._service.many(following) as completions:
            for completion in completions:
                if completion.error is not None:
                    raise completion.error
                assert completion.response is not None
                yield completion.request, completion.response

    def _nothing(self, path: str) -> NotFound | NotADirectory:
        """Why there is nothing below: a file of that name, or nothing at all."""
        if self._service.describe(*split_path(path)).status == 200:
            return NotADirectory("is a file", path=path)
        return NotFound("no such directory: no object's key begins so", path=path)


def _file(path: str, row: Key) -> Entry:
    _, size, stored, modified, version, hashes = row
    return tuple.__new__(Entry, (path, Kind.FILE, size, modified, stored, version, None, hashes))
