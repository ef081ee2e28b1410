"""read and read_many.

What a file is, is asked before its bytes: nothing in the answer with the bytes tells which revision they are of, so the
hash that the metadata named decides. Small files come in memory, many at once, large ones piece by piece into a target
that keeps what is there; a listed file is looked at again, a hundred in one batch, before it is fetched by its id.
Documents are exported whole, into memory: two exports need not be the same bytes, so none is ever continued.
"""

import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from queue import SimpleQueue
from typing import TYPE_CHECKING

from cftool.core import hashing
from cftool.core.download import VerifiedDownload
from cftool.core.errors import (
    IntegrityError,
    Interrupted,
    IsADirectory,
    NotFound,
    PreconditionFailed,
    ProtocolError,
    StoreError,
    Unsupported,
)
from cftool.core.types import Entry, Kind, Partial, ReadItem, Result
from cftool.http.types import Completion, Header, Request
from cftool_providers.gdrive import _errors, _files
from cftool_providers.gdrive._batch import BATCH, Answer, Call
from cftool_providers.gdrive._files import FIELDS, Item
from cftool_providers.gdrive._formats import export_of
from cftool_providers.gdrive._service import Service, file_path
from cftool_providers.gdrive._tree import Tree

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger("cftool.gdrive")

SMALL = 8 * 1024 * 1024  # up to this a file is collected in memory
MEMORY = 48 * 1024 * 1024  # of files in flight
PIECE = 64 * 1024 * 1024  # of a large file: what is asked for at once
EXPORT = 64 * 1024 * 1024  # no export is larger; the service says 10 MB
AHEAD = 300  # files that were looked at and wait
THREADS = 4
POLL = 0.01  # seconds between looks at the worker threads, where nothing else ends the wait
_SPAN = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Downloader:
    """Thread-safe: each call has its own state."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.service: Service = tree.service

    # ---- one stream

    def read(self, path: str, start: int, end: int | None, if_version: str | None) -> VerifiedDownload:
        """See Store.read."""
        if not path:
            raise IsADirectory("is the root", op="read", path=path)
        one = self.tree.find(path, "read")
        if one.is_folder:
            raise IsADirectory("is a folder", op="read", path=path)
        entry = _files.entry(one, path, self.tree.exports)
        if entry.kind is not Kind.FILE:
            what = "a shortcut to a folder, or to nothing" if entry.kind is Kind.LINK else "no file that has bytes"
            raise Unsupported(f"is {what}", op="read", path=path)
        if if_version is not None and entry.version != if_version:
            raise PreconditionFailed("it is another version by now", op="read", path=path)
        if one.is_document:
            data = self.export(one, path)[start:end]
            return VerifiedDownload(entry, iter((data,)), verify_hashes=False)
        return self.open(one, entry, start, end)

    def open(self, one: Item, entry: Entry, start: int, end: int | None) -> VerifiedDownload:
        """Bytes [start, end) of a file whose metadata is at hand."""
        size = entry.size
        if size is None:
            raise ProtocolError("the service tells no size of the file", op="read", path=entry.path)
        last = size if end is None else min(end, size)
        if start >= last:
            if size == 0 and start == 0:
                return VerifiedDownload(entry, iter(()))
            return VerifiedDownload(entry, iter(()), start=start, end=max(start, last), verify_hashes=False)
        ranged = start > 0 or last < size
        headers: tuple[Header, ...] = (("range", f"bytes={start}-{last - 1}"),) if ranged else ()
        stream = self.service.stream(self.media(one, headers=headers))
        try:
            if stream.status >= 300:
                error = _errors.error(stream.status, stream.read_all(), path=entry.path)
                raise error.at(op="read")
            if ranged:
                require_range(stream.status, stream.headers, start, last, size)
            elif stream.status != 200:
                raise ProtocolError(f"the whole file was asked for; the answer has status {stream.status}")
            require_media(stream.headers)
        except StoreError as error:
            stream.close()
            raise error.at(op="read", path=entry.path) from None
        except BaseException:
            stream.close()
            raise
        return VerifiedDownload(entry, stream.chunks(), start=start, end=end, close=stream.close)

    def media(
        self, one: Item, *, headers: tuple[Header, ...] = (), tag: object = None, max_body: int = SMALL
    ) -> Request:
        """The request for a file's bytes."""
        if one.points_to is not None and one.points_to[2]:
            headers += (("x-goog-drive-resource-keys", f"{one.points_to[0]}/{one.points_to[2]}"),)
        return self.media_of(one.content.id, headers=headers, tag=tag, max_body=max_body)

    def media_of(self, handle: str, *, headers: tuple[Header, ...], tag: object, max_body: int) -> Request:
        """The same, by the id of what holds the bytes."""
        params: tuple[tuple[str, str], ...] = (("alt", "media"),)
        if self.service.settings.abuse:
            params += (("acknowledgeAbuse", "true"),)
        return self.service.request(
            "GET",
            "files.download",
            file_path(handle),
            self.service.params(params),
            headers=headers,
            tag=tag,
            max_body=max_body,
        )

    def export(self, one: Item, path: str) -> bytes:
        """A document in the chosen format."""
        form = export_of(one.content.mime, self.tree.exports)
        assert form is not None
        response = self.service.send(
            self.service.request(
                "GET",
                "files.export",
                file_path(one.content.id, "/export"),
                (("mimeType", form[1]),),
                max_body=EXPORT,
            )
        )
        if response.status != 200:
            raise _errors.error(response.status, response.body, path=path).at(op="read")
        kind = (response.header("content-type") or "").partition(";")[0].strip().lower()
        if kind != form[1]:
            raise ProtocolError(f"the export came as {kind or 'nothing'}, not as {form[1]}", op="read", path=path)
        return response.body

    def run(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Results in order of completion."""
        return _Loop(self, items).run()


def require_media(headers: Mapping[str, str]) -> None:
    """An answer may be JSON because the file is; a page that wants a login is none of the API's."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/byteranges":
        raise ProtocolError("one range was asked for; several came")


def require_range(status: int, headers: Mapping[str, str], start: int, end: int, size: int) -> None:
    """Raise ProtocolError where the answer is not the range asked for, PreconditionFailed where not of the file."""
    if status != 206:
        raise ProtocolError(f"a part of the file was asked for; the answer has status {status}")
    match = _SPAN.fullmatch(headers.get("content-range", "").strip())
    if match is None:
        raise ProtocolError("the answer does not say which part of the file it is")
    if int(match[3]) != size:
        raise PreconditionFailed("it is another version by now")
    if (int(match[1]), int(match[2])) != (start, end - 1):
        raise ProtocolError("another part of the file came than was asked for")


class _Job:
    """One file in flight."""

    __slots__ = ("item", "one")

    def __init__(self, item: ReadItem, one: Item | None) -> None:
        self.item = item
        self.one = one


class _Loop:
    """One run of read_many."""

    def __init__(self, downloader: Downloader, items: Iterable[ReadItem]) -> None:
        self._down = downloader
        self._tree = downloader.tree
        self._service = downloader.service
        self._items = iter(items)
        self._ended = False
        self._small: deque[_Job] = deque()
        self._large: deque[_Job] = deque()
        self._results: deque[Result] = deque()
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._memory = 0
        self._flying = 0
        self._looking = 0  # files whose batch is under way
        self._fetching = 0  # large ones
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    def run(self) -> Iterator[Result]:
        """Until the items are used up and each has its result."""
        try:
            while True:
                with self._service.many(self._next) as completions:
                    for completion in completions:
                        self._answered(completion)
                        while self._results:
                            yield self._results.popleft()
                while self._results:
                    yield self._results.popleft()
                if self._ended and not (self._looking or self._fetching or self._small or self._large):
                    return
        finally:
            self._closed = True
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)

    def _in_thread(self, work: Callable[[], Callable[[], None]]) -> None:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="cftool-download")
        self._pool.submit(lambda: self._events.put(work()))

    # ---- what is sent next

    def _next(self) -> Request | float | None:
        while not self._events.empty():
            self._events.get()()
        while self._large and self._fetching < THREADS - 1:  # one thread is left for looking
            self._fetch(self._large.popleft())
        if not self._ended and self._looking + len(self._small) + len(self._large) < AHEAD:
            self._pull()
        if self._small and self._memory < MEMORY:
            return self._request(self._small.popleft())
        if self._results and not self._flying:
            return None  # nothing in flight would bring the results out: end this round for them
        return POLL if self._looking or self._fetching or not self._ended else None

    def _pull(self) -> None:
        """The next hundred files, looked at in one batch."""
        known: list[ReadItem] = []
        while len(known) < BATCH:
            item = next(self._items, None)
            if item is None:
                self._ended = True
                break
            if item.entry.id is None or item.entry.size is None:
                self._large.append(_Job(item, None))  # by its path, in a thread
                if len(self._large) >= BATCH:
                    break
            else:
                known.append(item)
        if known:
            self._looking += len(known)
            self._in_thread(lambda: self._look(known))

    def _look(self, items: list[ReadItem]) -> Callable[[], None]:
        params = self._service.params((("fields", FIELDS),))
        answers: list[Answer] = []
        failure: Exception | None = None
        try:
            calls = [Call("GET", file_path(item.entry.id or ""), params) for item in items]
            answers = self._service.batch(calls)
        except Exception as error:
            failure = error

        def settle() -> None:
            self._looking -= len(items)
            if failure is not None:
                for item in items:
                    self._done(item, error=_copy(failure, item.entry.path))
                return
            for item, answer in zip(items, answers, strict=True):
                try:
                    self._looked_at(item, answer)
                except StoreError as error:
                    self._done(item, error=error)

        return settle

    def _looked_at(self, item: ReadItem, answer: Answer) -> None:
        entry = item.entry
        one = _files.item(answer.json())
        if one.is_shortcut:
            self._large.append(_Job(item, None))
            return
        require_place(self._tree, one, entry.path)
        if _files.version_of(one) != entry.version or one.size != entry.size:
            raise PreconditionFailed("it is another version by now", op="read", path=entry.path)
        job = _Job(item, one)
        (self._small if (one.size or 0) <= SMALL else self._large).append(job)

    # ---- small ones

    def _request(self, job: _Job) -> Request:
        assert job.one is not None
        size = job.one.size or 0
        self._memory += size
        self._flying += 1
        return self._down.media(job.one, tag=job, max_body=max(size, 64 * 1024) + 1)

    def _answered(self, completion: Completion) -> None:
        job = completion.request.tag
        assert isinstance(job, _Job)
        assert job.one is not None
        self._flying -= 1
        self._memory -= job.one.size or 0
        response = completion.response
        try:
            if response is None:
                raise completion.error or ProtocolError("no answer")
            if response.status != 200:
                if response.status < 300:
                    raise ProtocolError(f"the whole file was asked for; the answer has status {response.status}")
                raise _errors.error(response.status, response.body)
            entry = _files.entry(job.one, job.item.entry.path, self._tree.exports)
            self._verify(job.one, entry, response.body)
            job.item.target.save(response.body, entry)
        except Exception as error:  # a target may raise what it likes: it is this item's failure alone
            self._done(job.item, error=error)
        else:
            self._done(job.item, entry=entry)

    def _verify(self, one: Item, entry: Entry, body: bytes) -> None:
        name = hashing.cheapest(entry.hashes)
        good = len(body) == entry.size and (name is None or hashing.digest(name, body) == entry.hashes[name])
        if good and name is not None:
            return
        now = _files.item(self._tree.get(one.id))
        if _files.version_of(now) != entry.version:
            raise PreconditionFailed("it changed while it was read", op="read", path=entry.path)
        if not good:
            raise IntegrityError(
                "the content is not the file's: its length or hash differs", op="read", path=entry.path
            )

    # ---- large ones, documents, shortcuts

    def _fetch(self, job: _Job) -> None:
        self._fetching += 1
        self._in_thread(lambda: self._fetched(job))

    def _fetched(self, job: _Job) -> Callable[[], None]:
        entry, failure = None, None
        try:
            entry = self._whole(job)
        except Exception as error:
            failure = error

        def settle() -> None:
            self._fetching -= 1
            self._done(job.item, entry=entry, error=failure)

        return settle

    def _whole(self, job: _Job) -> Entry:
        listed = job.item.entry
        if job.one is not None:
            return self._in_pieces(job, job.one, _files.entry(job.one, listed.path, self._tree.exports))
        if listed.size is not None and listed.size > SMALL:
            one = self._tree.find(listed.path, "read")
            entry = _files.entry(one, listed.path, self._tree.exports)
            if entry.version != listed.version or entry.size != listed.size:
                raise PreconditionFailed("it is another version by now", op="read", path=listed.path)
            return self._in_pieces(job, one, entry)
        with self._down.read(listed.path, 0, None, listed.version) as download:
            data = download.read()
            entry = download.entry
        job.item.target.save(data, entry)
        return entry

    def _in_pieces(self, job: _Job, one: Item, entry: Entry) -> Entry:
        partial = job.item.target.begin(entry)
        try:
            ranges = partial.missing(PIECE)
            for start, end in ranges:
                with closing(self._down.open(one, entry, start, end)) as download:
                    at = start
                    for chunk in download:
                        if self._closed:
                            raise Interrupted("given up")
                        partial.write_at(chunk, at)
                        at += len(chunk)
                partial.done(start, end)
            whole = len(ranges) == 1 and ranges[0] == (0, entry.size)  # then the download has verified itself
            if not whole:
                self._verify_partial(one, entry, partial)
            partial.commit(entry)
        finally:
            partial.close()
        return entry

    def _verify_partial(self, one: Item, entry: Entry, partial: Partial) -> None:
        name = hashing.cheapest(entry.hashes)
        if name is not None:
            running = hashing.new(name)
            at = 0
            while piece := partial.read_at(1024 * 1024, at):
                self._service.check()
                running.update(piece)
                at += len(piece)
            if running.hexdigest() == entry.hashes[name]:
                return
        now = _files.item(self._tree.get(one.content.id))
        if now.head != one.content.head:
            partial.discard()
            raise PreconditionFailed("it changed while it was read", op="read", path=entry.path)
        if name is not None:
            partial.discard()
            raise IntegrityError(f"the content's {name} is not the file's", op="read", path=entry.path)

    def _done(self, item: ReadItem, *, entry: Entry | None = None, error: Exception | None = None) -> None:
        if isinstance(error, Interrupted):
            raise error  # the run is to end: that is no failure of the file
        if isinstance(error, StoreError):
            error.at(op="read", path=item.entry.path)
        self._results.append(Result(item.entry.path, entry, error, item.tag))


def require_place(tree: Tree, one: Item, path: str) -> None:
    """Raise NotFound where what a listing saw at `path` is not there any more."""
    folder, _, name = path.rpartition("/")
    parent = tree.known(folder)
    moved = parent is not None and parent != "root" and bool(one.parents) and parent not in one.parents
    base = _files.base_name(one, tree.exports)
    if one.trashed or moved or (base != name and base != _files.untagged(name)):
        raise NotFound("it was moved, renamed or put into the trash meanwhile", op="read", path=path)


def _copy(error: Exception, path: str) -> Exception:
    if not isinstance(error, StoreError):
        return error
    return type(error)(error.message, op="read", path=path, store=error.store, retry_after=error.retry_after)
