"""delete, rmdir and delete_many. DELETE of a collection removes all in it, so that what is there is asked first.

A file's kind is asked just before it is deleted, a directory's entries just before it is removed; the moment between is
the window that the protocol leaves. Of a batch the files go first, then directories, the deepest first.
"""

from collections.abc import Iterable, Iterator

from cftool.core.errors import (
    DirectoryNotEmpty,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    StoreError,
    Unsupported,
)
from cftool.core.types import Entry, Result
from cftool.http.types import Response
from cftool_providers.webdav._api import Api
from cftool_providers.webdav._flows import Flow, Flows, Job
from cftool_providers.webdav._listing import Lister

_GONE = frozenset({404, 410})


class Deleter:
    """Thread-safe."""

    def __init__(self, api: Api, lister: Lister) -> None:
        self._api = api
        self._lister = lister

    def file(self, path: str) -> None:
        """See Store.delete."""
        if not path:
            raise IsADirectory("is the root", op="delete", path=path)
        if self._api.find(path).is_dir:
            raise IsADirectory("is a directory", op="delete", path=path)
        response = self._api.send(self._api.request("DELETE", path))
        self._require_gone(response, path)

    def directory(self, path: str) -> None:
        """See Store.rmdir."""
        if not path:
            raise InvalidName("is the root; it cannot be removed", op="rmdir", path=path)
        self._api.ready()
        if not self._lister.is_empty(path):
            raise DirectoryNotEmpty("is not empty", op="rmdir", path=path)
        response = self._api.send(self._api.request("DELETE", path, directory=True))
        if self._api.quirks.keeps_directories and response.status in {403, 405, 409}:
            raise Unsupported(f"{self._api.host} cannot delete directories", op="rmdir", path=path)
        self._require_gone(response, path)

    def _require_gone(self, response: Response, path: str) -> None:
        if response.status in _GONE or response.status in {200, 204}:
            return  # 404: gone meanwhile, or a repeated attempt
        if response.status == 207:  # says what could not be removed
            raise StoreError("the server could not remove all of it", op="delete", path=path)
        raise self._api.error(response, path)

    def run(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Results of delete_many in order of completion."""
        directories: list[Entry] = []
        items = iter(entries)

        def next_file() -> tuple[Flow, str, object] | None:
            for entry in items:
                if not entry.is_dir:
                    return self._file(entry), entry.path, None
                directories.append(entry)
            return None

        yield from Flows(self._api.client, next_file).run()
        by_depth: dict[int, list[Entry]] = {}
        for entry in directories:
            by_depth.setdefault(entry.path.count("/"), []).append(entry)
        for depth in sorted(by_depth, reverse=True):
            level = iter(by_depth[depth])

            def next_directory(level: Iterator[Entry] = level) -> tuple[Flow, str, object] | None:
                entry = next(level, None)
                return None if entry is None else (self._directory(entry), entry.path, None)

            yield from Flows(self._api.client, next_directory).run()

    def _file(self, entry: Entry) -> Flow:
        api, path = self._api, entry.path
        if not path:
            raise IsADirectory("is the root", op="delete", path=path)
        try:
            response: Response = yield api.find_request(path)
            if api.wants_slash(api.url(path), response) or api.found(response, path).is_dir:
                raise IsADirectory("is a directory by now", op="delete", path=path)
        except NotFound:
            return entry
        except StoreError as error:
            if response.status == 400 and (yield Job(lambda: api.exists(path))) is None:  # Apache: below a file
                return entry
            raise error from None
        response = yield from api.patiently(api.request("DELETE", path))
        self._require_gone(response, path)
        return entry

    def _directory(self, entry: Entry) -> Flow:
        try:
            yield Job(lambda: self.directory(entry.path))
        except (NotFound, NotADirectory) as error:
            if isinstance(error, NotADirectory):
                raise
        return entry
