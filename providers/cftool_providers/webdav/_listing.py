"""scan and walk: PROPFIND of one level, streamed; of a whole tree with depth infinity, or level by level in parallel.

A listing ends normally only when its XML is whole, the collection's own name is in it, every row was sound, none came
twice, and every entry's directory is there. Depth infinity proves nothing for a directory that shows no entries: sabre
answers with depth 1, others stop where they like. So each such directory is asked again, alone; what turns up there is
listed as well. Where infinity is refused or breaks off the tree is listed level by level, now and in later runs.
"""

import logging
from collections.abc import Iterator
from contextlib import closing

from cftool.core.errors import (
    ListingError,
    LoginRequired,
    NotADirectory,
    NotFound,
    ProtocolError,
    StoreError,
)
from cftool.core.paths import MAX_DEPTH, join, parent, printable
from cftool.core.types import Entry
from cftool.disk.temps import is_temp
from cftool.http.types import Completion, Request, Stream
from cftool_providers.webdav import _multistatus
from cftool_providers.webdav._api import Api
from cftool_providers.webdav._multistatus import Row
from cftool_providers.webdav._vendor import NEXTCLOUD, OWNCLOUD

log = logging.getLogger("cftool.webdav")

_COLLECTED = 4 * 1024 * 1024  # bytes of a level's listing that are collected; a larger one is streamed by itself
_REMEMBERED = 200_000  # entries of a walk that are told apart; the merge sees duplicates among more


class Lister:
    """Thread-safe: each call has its own state."""

    def __init__(self, api: Api) -> None:
        self._api = api

    # ---- one level

    def scan(self, path: str, *, hidden: bool = False) -> Iterator[Entry]:
        """Entries of one directory as they arrive; `hidden`: our temporary files too."""
        self._api.ready()
        stream = self._open(path, "1")
        level = _Level(self._api, path)
        try:
            for rows in self._rows(stream):
                for entry in level.entries(rows):
                    if hidden or not is_temp(entry.name):
                        yield entry
        finally:
            stream.close()
        level.finish()

    def _open(self, path: str, depth: str, *, once: bool = False) -> Stream:
        """The answer, as it begins. Raises NotFound, NotADirectory, ListingError."""
        from dataclasses import replace

        api = self._api
        request = api.find_request(path, directory=True, depth=depth)
        stream = api.client.stream(replace(request, idempotent=False) if once else request)
        try:
            if stream.status >= 300:
                raise self._refused(stream, path, stream.read_all(), depth)
            _multistatus.check_answer(stream.status, stream.headers, api.host)
        except BaseException:
            stream.close()
            raise
        return stream

    def _refused(self, stream: Stream, path: str, body: bytes, depth: str) -> StoreError:
        """Why a directory was not listed: perhaps it is none."""
        api = self._api
        error = api.error(stream, path, body)
        if depth == "infinity" and stream.status == 403:
            return error  # of the depth, most likely; asked with depth 1 it will say so where there is more to it
        if path and stream.status in {400, 403, 404, 405, 409}:
            try:
                if not api.find(path).is_dir:
                    return NotADirectory("is a file", path=path)
            except NotFound as missing:
                return missing
            except NotADirectory as missing:
                return NotFound("no such directory", path=missing.path)
        return error

    def _rows(self, stream: Stream) -> Iterator[list[Row]]:
        decoder = _multistatus.Decoder(bare_names=self._api.quirks.bare_names)
        some = False
        for chunk in stream.chunks():
            if chunk:
                some = True
                yield decoder.feed(chunk)
        if not some:
            raise ListingError("the listing is empty")
        yield decoder.close()

    # ---- all below

    def walk(self, path: str, *, hidden: bool = False) -> Iterator[Entry]:
        """Everything below, in no order."""
        profile = self._api.ready()
        entries: Iterator[Entry]
        if profile.vendor in {NEXTCLOUD, OWNCLOUD} or self._api.context.memory.get(self._key()) == "no":
            entries = self._levels([path])
        else:
            entries = self._infinite(path)
        return (entry for entry in entries if hidden or not is_temp(entry.name))

    def _key(self) -> str:
        return f"{self._api.settings.identity}:depth-infinity"

    def _no_infinity(self, why: str) -> None:
        log.info("%s: %s; directories are listed one by one", self._api.host, why)
        self._api.context.memory.set(self._key(), "no")

    def _infinite(self, path: str) -> Iterator[Entry]:
        try:
            # Once: a server that needs too long for the whole tree would need it again.
            stream = self._open(path, "infinity", once=True)
        except (NotFound, NotADirectory, LoginRequired):
            raise
        except StoreError as error:
            # 403 with propfind-finite-depth is how it should be refused; others time out, or know no infinity.
            self._no_infinity(f"depth infinity is refused ({error.message})")
            yield from self._levels([path])
            return
        tree = _Tree(self._api, path)
        try:
            try:
                for rows in self._rows(stream):
                    yield from tree.entries(rows)
            finally:
                stream.close()
            tree.finish()
        except NotADirectory:
            raise
        except StoreError as error:
            self._no_infinity(f"an answer of depth infinity broke off ({error.message})")
            if tree.seen is None:
                raise
            yield from self._rest(path, tree.seen)
            return
        if tree.childless:
            yield from self._look_again(tree)

    def _rest(self, path: str, seen: set[str]) -> Iterator[Entry]:
        """The tree level by level, without what was given out already; all of that must show again."""
        for entry in self._levels([path]):
            if entry.path in seen:
                seen.remove(entry.path)
            else:
                yield entry
        if seen:
            raise ListingError("the tree changed while it was listed", path=path)

    def _look_again(self, tree: "_Tree") -> Iterator[Entry]:
        found = False
        for entry in self._levels(sorted(tree.childless)):
            found = True
            yield entry
        if found:
            self._no_infinity("an answer of depth infinity leaves entries out")

    def _levels(self, roots: list[str]) -> Iterator[Entry]:
        """Depth 1 of each directory, many at once; deep ones first, so that little has to wait."""
        api = self._api
        first = set(roots)
        waiting = list(roots)
        asked: dict[int, str] = {}

        def following() -> Request | None:
            if not waiting:
                return None
            path = waiting.pop()
            request = api.find_request(path, directory=True, depth="1", max_body=_COLLECTED)
            asked[id(request)] = path
            return request

        with closing(api.client.send_many(following)) as completions:  # type: ignore[type-var] # a generator
            for completion in completions:
                path = asked.pop(id(completion.request))
                for entry in self._level(path, completion, given=path in first):
                    if entry.is_dir:
                        if entry.path.count("/") >= MAX_DEPTH:
                            raise ListingError(f"deeper than {MAX_DEPTH} directories; it seems to be a loop", path=path)
                        waiting.append(entry.path)
                    yield entry

    def _level(self, path: str, completion: Completion, *, given: bool) -> Iterator[Entry]:
        response = completion.response
        try:
            if response is None:
                if not isinstance(completion.error, ProtocolError):
                    raise completion.error or ProtocolError("no answer")
                yield from self.scan(path, hidden=True)  # most likely larger than what is collected
                return
            if response.status != 207:
                yield from self.scan(path, hidden=True)  # asked again, and told what is wrong
                return
            _multistatus.check_answer(response.status, response.headers, self._api.host)
            level = _Level(self._api, path)
            entries = level.entries(_multistatus.decode(response.body, bare_names=self._api.quirks.bare_names))
            level.finish()
        except ListingError as error:
            raise error.at(path=path) from None
        except (NotFound, NotADirectory) as error:
            if given:
                raise
            raise ListingError(f"{printable(path)} went away while it was listed", path=path) from error
        yield from entries

    # ---- emptiness

    def is_empty(self, path: str) -> bool:
        """Whether a directory has no entries at all, ours included. Raises NotFound, NotADirectory."""
        for _entry in self.scan(path, hidden=True):
            return False
        return True


class _Level:
    """Checks the rows of one directory."""

    def __init__(self, api: Api, path: str) -> None:
        self._api = api
        self._path = path
        self._collection = api.collection(path)
        self._own = False
        self._names: set[str] = set()

    def entries(self, rows: list[Row]) -> list[Entry]:
        """The entries that the rows are. Raises ListingError, NotADirectory."""
        api, path, names, below = self._api, self._path, self._names, self._collection.below
        found = []
        for row in rows:
            name = below(row.href)
            if not name:
                self._take_own(row)
                continue
            if "/" in name:
                raise ListingError(f"the listing of one level names {printable(name)!r}", path=path)
            if name in names:
                raise ListingError(f"the listing names {printable(name)!r} twice", path=path)
            names.add(name)
            found.append(api.entry(join(path, name), row))
        return found

    def _take_own(self, row: Row) -> None:
        if self._own:
            raise ListingError("the listing names the directory itself twice", path=self._path)
        self._own = True
        if not self._api.entry(self._path, row).is_dir:
            raise NotADirectory("is a file", path=self._path)

    def finish(self) -> None:
        """The end: the directory itself must have been in it."""
        if not self._own:
            raise ListingError("the listing lacks the directory itself", path=self._path)


class _Tree:
    """Checks the rows of an answer of depth infinity."""

    def __init__(self, api: Api, path: str) -> None:
        self._api = api
        self._path = path
        self._collection = api.collection(path)
        self._own = False
        self._directories = {path}
        self._wanted: set[str] = set()  # directories that have entries, and were not named yet
        self.childless: set[str] = set()
        self.seen: set[str] | None = set()  # None: too many to remember

    def entries(self, rows: list[Row]) -> Iterator[Entry]:
        """The entries that the rows are. Raises ListingError, NotADirectory."""
        for row in rows:
            name = self._collection.below(row.href)
            entry = self._api.entry(join(self._path, name) if name else self._path, row)
            if not name:
                self._take_own(entry)
                continue
            self._take(entry)
            yield entry

    def _take_own(self, entry: Entry) -> None:
        if self._own:
            raise ListingError("the listing names the directory itself twice", path=self._path)
        self._own = True
        if not entry.is_dir:
            raise NotADirectory("is a file", path=self._path)

    def _take(self, entry: Entry) -> None:
        path = entry.path
        seen = self.seen
        if seen is not None:
            if path in seen:
                raise ListingError("the listing names something twice", path=path)
            seen.add(path)
            if len(seen) > _REMEMBERED:
                self.seen = None
        above = parent(path)
        self.childless.discard(above)
        if above not in self._directories:
            self._wanted.add(above)
        if entry.is_dir:
            self._directories.add(path)
            if path in self._wanted:
                self._wanted.discard(path)
            else:
                self.childless.add(path)

    def finish(self) -> None:
        """The end: nothing may hang in the air."""
        if not self._own:
            raise ListingError("the listing lacks the directory itself", path=self._path)
        if self._wanted:
            raise ListingError("the listing lacks a directory that has entries", path=min(self._wanted))
        if self.seen is not None and not self.seen:
            self.childless.add(self._path)  # an empty tree is worth a second look
