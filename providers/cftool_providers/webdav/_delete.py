"""delete, rmdir, delete_dir and delete_many. DELETE of a collection removes all in it: what is there is asked first.

A file's kind is asked just before it is deleted, a directory's entries just before it is removed; the moment between is
the window that the protocol leaves. Of a batch the files go first, then directories, the deepest first; the kinds of
files of one directory are asked for together, and what such a listing said counts for a few seconds.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from cftool.core.errors import (
    DirectoryNotEmpty,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    StoreError,
    TemporaryError,
    Unsupported,
)
from cftool.core.paths import join, parent, printable
from cftool.core.types import Entry, Result
from cftool.http.types import Response
from cftool_providers.webdav import _multistatus
from cftool_providers.webdav._api import FRESH, Api
from cftool_providers.webdav._flows import Flow, Flows, Gate, Job
from cftool_providers.webdav._listing import Lister

log = logging.getLogger("cftool.webdav")

_GONE = frozenset({404, 410})
_TOGETHER = 128  # files whose kind one listing tells
_FEWEST = 3  # below that a listing saves nothing
_SPARSE = 4  # entries of the directory for each that is looked for: beyond, single looks are cheaper
_LISTED = 4 * 1024 * 1024  # bytes of such a listing
_KEEPS_FULL = frozenset({403, 405, 409, 501})  # to a DELETE of what is not empty: nothing was done


class Deleter:
    """Thread-safe."""

    def __init__(self, api: Api, lister: Lister) -> None:
        self.api = api
        self._lister = lister

    def file(self, path: str) -> None:
        """See Store.delete."""
        if not path:
            raise IsADirectory("is the root", op="delete", path=path)
        if self.api.find(path).is_dir:
            raise IsADirectory("is a directory", op="delete", path=path)
        response = self.api.send(self.api.request("DELETE", path))
        self.require_gone(response, path)

    def directory(self, path: str) -> None:
        """See Store.rmdir."""
        if not path:
            raise InvalidName("is the root; it cannot be removed", op="rmdir", path=path)
        self.api.ready()
        if not self._lister.is_empty(path):
            raise DirectoryNotEmpty("is not empty", op="rmdir", path=path)
        response = self.api.send(self.api.request("DELETE", path, directory=True))
        if self.api.quirks.keeps_directories and response.status in {403, 405, 409}:
            raise Unsupported(f"{self.api.host} cannot delete directories", op="rmdir", path=path)
        self.require_gone(response, path)

    def tree(self, path: str) -> None:
        """See Store.delete_dir. A DELETE of a collection is always of depth infinity (RFC 4918, 9.6.1)."""
        api = self.api
        if not path:
            raise InvalidName("is the root; it cannot be removed", op="delete_dir", path=path)
        if api.quirks.keeps_directories:
            raise Unsupported(f"{api.host} cannot delete directories", op="delete_dir", path=path)
        if not api.find(path).is_dir:
            raise NotADirectory("is a file", op="delete_dir", path=path)
        try:
            response = api.send(api.request("DELETE", path, directory=True))
        except TemporaryError as error:
            # A server that takes minutes for a large tree is not waited for in silence: what is left goes in pieces.
            log.info("%s did not remove a directory in one step: %s", api.host, error.message)
            self._in_pieces(path)
            return
        if response.status in _KEEPS_FULL:
            raise Unsupported(f"{api.host} does not remove what is not empty", op="delete_dir", path=path)
        self.require_gone(response, path)

    def _in_pieces(self, path: str) -> None:
        try:
            for result in self.run(self._lister.walk(path, hidden=True)):
                if result.error is not None:
                    raise result.error
            self.directory(path)
        except NotFound:
            return

    def require_gone(self, response: Response, path: str) -> None:
        if response.status in _GONE or response.status in {200, 204}:
            return  # 404: gone meanwhile, or a repeated attempt
        if response.status == 207:
            raise StoreError(f"the server could not remove all of it{self._kept(response)}", op="delete", path=path)
        raise self.api.error(response, path)

    def _kept(self, response: Response) -> str:
        """What a 207 says that could not be removed."""
        try:
            rows = _multistatus.decode(response.body, bare_names=self.api.quirks.bare_names)
        except StoreError:
            return ""
        kept = [f"{printable(row.href)} ({row.status})" for row in rows if row.status and row.status >= 400]
        return f": {kept[0]}" + (f" and {len(kept) - 1} more" if len(kept) > 1 else "") if kept else ""

    def run(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Results of delete_many in order of completion."""
        files = _Files(self, entries)
        yield from files.flows.run()
        directories = files.directories
        by_depth: dict[int, list[Entry]] = {}
        for entry in directories:
            by_depth.setdefault(entry.path.count("/"), []).append(entry)
        for depth in sorted(by_depth, reverse=True):
            level = iter(by_depth[depth])

            def next_directory(level: Iterator[Entry] = level) -> tuple[Flow, str, object] | None:
                entry = next(level, None)
                return None if entry is None else (self._directory(entry), entry.path, None)

            yield from Flows(self.api.client, next_directory).run()

    def _directory(self, entry: Entry) -> Flow:
        try:
            yield Job(lambda: self.directory(entry.path))
        except (NotFound, NotADirectory) as error:
            if isinstance(error, NotADirectory):
                raise
        return entry


class _Group:
    """Files of one directory whose kind is looked at together. `files`, `others`: what the listing showed."""

    __slots__ = ("entries", "files", "gate", "others", "seen")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.gate = Gate()
        self.files: set[str] = set()
        self.others: set[str] = set()
        self.seen = 0.0  # monotonic; when it was asked for


class _Files:
    """The files of one delete_many; the directories among the entries are left in `directories`."""

    def __init__(self, deleter: Deleter, entries: Iterable[Entry]) -> None:
        self._deleter = deleter
        self._api = deleter.api
        self._entries = iter(entries)
        self._ahead: Entry | None = None
        self._waiting: deque[tuple[Flow, str, object]] = deque()
        self._alone: set[str] = set()  # directories whose files are better looked at one by one
        self.directories: list[Entry] = []
        self.flows = Flows(self._api.client, self._begin)

    def _begin(self) -> tuple[Flow, str, object] | None:
        if not self._waiting:
            group = self._group()
            if not group.entries:
                return None
            directory = parent(group.entries[0].path)
            if len(group.entries) < _FEWEST or directory in self._alone:
                group.gate.is_open = True
            else:
                self.flows.spawn(self._look(directory, group))
            self._waiting.extend([(self._file(entry, group), entry.path, None) for entry in group.entries])
        return self._waiting.popleft()

    def _group(self) -> _Group:
        """The next files, as long as they are of one directory."""
        group = _Group()
        while len(group.entries) < _TOGETHER:
            entry = next(self._entries, None) if self._ahead is None else self._ahead
            self._ahead = None
            if entry is None:
                break
            if entry.is_dir:
                self.directories.append(entry)
            elif group.entries and parent(entry.path) != parent(group.entries[0].path):
                self._ahead = entry
                break
            else:
                group.entries.append(entry)
        return group

    def _look(self, directory: str, group: _Group) -> Flow:
        api = self._api
        group.seen = api.client.clock.monotonic()
        try:
            request = api.kinds_request(directory, max_body=_LISTED)
            # Once: nobody is to wait for a listing that may fail for long, where single looks will do.
            response: Response = yield replace(request, idempotent=False, replayable=True)
            _multistatus.check_answer(response.status, response.headers, api.host)
            rows = _multistatus.decode(response.body, bare_names=api.quirks.bare_names)
            below = api.collection(directory).below
            for row in rows:
                path = join(directory, below(row.href))
                (group.others if api.is_directory(path, row) else group.files).add(path)
            if len(rows) > _SPARSE * len(group.entries):
                self._alone.add(directory)
        except Exception as error:  # whatever it is: each file is looked at by itself then, and tells its own
            log.info("files are looked at one by one: %s", error)
            group.files.clear()
            self._alone.add(directory)
        self.flows.open(group.gate)
        return None

    def _file(self, entry: Entry, group: _Group) -> Flow:
        api, path = self._api, entry.path
        if not path:
            raise IsADirectory("is the root", op="delete", path=path)
        yield group.gate
        # A name that the listing does not show may be hidden from listings: it is asked for alone.
        fresh = api.client.clock.monotonic() - group.seen < FRESH
        if path not in group.files or not fresh:
            if path in group.others:
                raise IsADirectory("is a directory by now", op="delete", path=path)
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
        self._deleter.require_gone(response, path)
        return entry
