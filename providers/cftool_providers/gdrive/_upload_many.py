"""write_many: the iterating thread sends small files, worker threads look at folders and send large ones.

A folder is looked at before its first file is sent, and again every few seconds in a long run; what it holds then
decides between a new file and a new revision. Of a folder that we made ourselves it is known. See `_upload` for a file.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from queue import SimpleQueue
from typing import TYPE_CHECKING

from cftool.core.dataclass import dataclass
from cftool.core.errors import Interrupted, NotADirectory, StoreError
from cftool.core.types import Entry, Result, WriteItem
from cftool.http.types import Completion, Request
from cftool_providers.gdrive._files import Item
from cftool_providers.gdrive._upload import ATTEMPTS, Moved, Place, Uploader, is_small, load, require_possible

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

MEMORY = 32 * 1024 * 1024  # bytes of loaded files in flight
WAITING = 128  # files that wait for their folders: begun, when somebody wants the end
THREADS = 8  # folders that are looked at, and large files, at once
LARGE = 4
PAGES = 4  # of a folder that are read to know its files; in a larger one each file is asked for by name
FRESH = 15.0  # seconds for which a look at a folder counts in a long run
POLL = 0.01  # seconds between looks at the worker threads, where nothing else ends the wait


def write_many(uploader: Uploader, items: Iterable[WriteItem]) -> Iterator[Result]:
    """Results in order of completion."""
    return _Loop(uploader, items).run()


@dataclass(slots=True, eq=False)
class _Folder:
    """A folder that files are written to. `names` is None where it is too large to be known whole."""

    path: str
    handle: str = ""
    names: dict[str, Item] | None = None
    looked: float = float("-inf")
    working: bool = False
    used: int = 0  # folders in it that were asked for
    lock: threading.Lock = field(default_factory=threading.Lock)
    busy: dict[str, int] = field(default_factory=dict)
    waiting: "deque[_Job]" = field(default_factory=deque)
    error: StoreError | None = None


@dataclass(slots=True, eq=False)
class _Job:
    """One file of write_many."""

    item: WriteItem
    folder: _Folder
    name: str
    place: Place | None = None
    data: bytes = b""
    attempts: int = 0


class _Loop:
    """One run of write_many. The iterating thread sends; worker threads look at folders and send large files."""

    def __init__(self, uploader: Uploader, items: Iterable[WriteItem]) -> None:
        self._up = uploader
        self._tree = uploader.tree
        self._service = uploader.service
        self._now = uploader.service.client.clock.monotonic
        self._items = iter(items)
        self._ended = False
        self._folders: dict[str, _Folder] = {}
        self._ready: deque[_Job] = deque()
        self._large: deque[_Job] = deque()
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._results: deque[Result] = deque()
        self._waiting = 0
        self._memory = 0
        self._flying = 0
        self._threads = 0  # jobs of worker threads
        self._sending_large = 0
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
                if self._ended and not (self._threads or self._ready or self._large or self._waiting):
                    return
        finally:
            self._closed = True
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)

    def _check(self) -> None:
        """For worker threads: whether anybody still wants what they do."""
        self._service.check()
        if self._closed:
            raise Interrupted("given up")

    def _in_thread(self, work: Callable[[], Callable[[], None]]) -> None:
        """Run something that blocks; what it returns is called in the iterating thread."""
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="cftool-upload")
        self._threads += 1
        self._pool.submit(lambda: self._events.put(work()))

    # ---- what is sent next

    def _next(self) -> Request | float | None:
        self._take_events()
        while True:
            while self._large and self._sending_large < LARGE:
                self._send_large(self._large.popleft())
            while self._ready and self._memory < MEMORY:
                request = self._request(self._ready.popleft())
                if request is not None:
                    return request
            if self._results and not self._flying:
                return None  # nothing in flight would bring the results out: end this round for them
            full = self._waiting + len(self._large) >= WAITING or bool(self._ready)
            if full or self._ended or not self._pull():
                break
        return POLL if self._threads else None

    def _take_events(self) -> None:
        while not self._events.empty():
            self._threads -= 1
            self._events.get()()

    def _pull(self) -> bool:
        item = next(self._items, None)
        if item is None:
            self._ended = True
            return False
        try:
            require_possible(item)
        except StoreError as error:
            self._done(item, error=error)
            return True
        folder, _, name = item.path.rpartition("/")
        self._route(_Job(item, self._folder(folder), name))
        return True

    def _folder(self, path: str) -> _Folder:
        return self._folders.setdefault(path, _Folder(path))

    def _route(self, job: _Job) -> None:
        """To the ready ones, or to those that wait for their folder, or for a namesake that is under way."""
        folder = job.folder
        if job.name in folder.busy or folder.working or self._now() - folder.looked > FRESH:
            folder.waiting.append(job)
            self._waiting += 1
            if not folder.working and job.name not in folder.busy:
                folder.working = True
                self._in_thread(lambda: self._look(folder))
            return
        folder.busy[job.name] = 1
        (self._ready if is_small(job.item) else self._large).append(job)

    def _release(self, folder: _Folder) -> None:
        """The folder was looked at, or a name in it is free again."""
        jobs, folder.waiting = folder.waiting, deque()
        self._waiting -= len(jobs)
        for job in jobs:
            if folder.error is not None:
                self._done(job.item, error=_copy(folder.error, job.item.path))
            else:
                self._route(job)
        folder.error = None

    # ---- folders, in worker threads

    def _look(self, folder: _Folder) -> Callable[[], None]:
        """Find or make the folder, and find out what it holds."""
        error: StoreError | None = None
        try:
            handle, names = self._found(folder)
        except StoreError as caught:
            error = caught
        except Exception as caught:  # a mistake of ours is no reason to wait for ever
            error = StoreError(f"{type(caught).__name__}: {caught}")

        def settle() -> None:
            folder.working = False
            if error is None:
                folder.handle, folder.names, folder.looked = handle, names, self._now()
            else:
                folder.error = error
            self._release(folder)

        return settle

    def _found(self, folder: _Folder) -> tuple[str, dict[str, Item] | None]:
        tree = self._tree
        names, parent = self._siblings(folder)
        if names is None:
            handle, made = tree.ensure(folder.path)
        else:
            known = names.get(folder.path.rpartition("/")[2])
            if known is None:
                handle, made = tree.make(folder.path, parent)
            elif known.is_folder:
                handle, made = known.id, False
                tree.remember(folder.path, handle)
            else:
                raise NotADirectory("a file has that name", path=folder.path)
        if made:
            return handle, {}
        items, whole = tree.children(handle, pages=PAGES)
        return handle, tree.named(items) if whole else None

    def _siblings(self, folder: _Folder) -> tuple[dict[str, Item] | None, str]:
        """What the folder above holds, and its id, where several folders are wanted in it: one look for all of them."""
        if not folder.path or folder.handle:
            return None, ""
        path = folder.path.rpartition("/")[0]
        parent = self._folders.setdefault(path, _Folder(path))
        with parent.lock:
            parent.used += 1
            if self._now() - parent.looked > FRESH:
                if parent.used == 1:
                    return None, ""
                parent.handle, parent.names = self._found(parent)
                parent.looked = self._now()
            return parent.names, parent.handle

    # ---- requests

    def _request(self, job: _Job) -> Request | None:
        """The request of a small file; None where it has failed already, or waits again."""
        try:
            if not self._placed(job):
                return None
            job.data = load(job.item)
            assert job.place is not None
            request = self._up.small(job.item, job.place, job.data, job)
        except Exception as error:  # a source may raise what it likes: it is that item's failure alone
            self._end(job, error=error)
            return None
        self._memory += len(job.data)
        self._flying += 1
        return request

    def _placed(self, job: _Job) -> bool:
        folder = job.folder
        if folder.names is None:
            if job.place is None:
                self._in_thread(lambda: self._asked(job))
                return False
            return True
        job.place = self._up.place(folder.handle, job.item.path, folder.names.get(job.name))
        return True

    def _asked(self, job: _Job) -> Callable[[], None]:
        """Ask for one name in a folder that is too large to be known."""
        try:
            look = self._tree.look(job.item.path)
            place = self._up.place(look.folders[-1], job.item.path, look.item)
        except Exception as error:
            failure = error
            return lambda: self._end(job, error=failure)

        def settle() -> None:
            job.place = place
            (self._ready if is_small(job.item) else self._large).append(job)

        return settle

    def _send_large(self, job: _Job) -> None:
        try:
            if not self._placed(job):
                return
        except Exception as error:
            self._end(job, error=error)
            return
        self._sending_large += 1
        self._in_thread(lambda: self._large_sent(job))

    def _large_sent(self, job: _Job) -> Callable[[], None]:
        made, failure = None, None
        try:
            assert job.place is not None
            made = self._up.large(job.item, job.place, self._check)
        except Exception as error:
            failure = error

        def settle() -> None:
            self._sending_large -= 1
            self._settled(job, made, failure)

        return settle

    # ---- answers

    def _answered(self, completion: Completion) -> None:
        job = completion.request.tag
        assert isinstance(job, _Job)
        self._flying -= 1
        self._memory -= len(job.data)
        made, failure = None, completion.error
        if completion.response is not None:
            try:
                assert job.place is not None
                made = self._up.understood(job.item, job.place, completion.response, job.data)
            except Exception as error:
                failure = error
        job.data = b""
        self._settled(job, made, failure)

    def _settled(self, job: _Job, made: Item | None, failure: Exception | None) -> None:
        if isinstance(failure, Moved):
            job.attempts += 1
            job.folder.looked = float("-inf")
            if job.attempts < ATTEMPTS:
                job.folder.busy.pop(job.name, None)
                job.place = None
                self._tree.forget(job.folder.path)
                self._route(job)
                return
            failure = failure.error
        if made is None:
            self._end(job, error=failure)
            return
        try:
            assert job.place is not None
            entry = self._up.finished(job.item, job.place, made)
        except Exception as error:
            self._end(job, error=error)
            return
        if job.folder.names is not None:
            job.folder.names[job.name] = made
        self._end(job, entry=entry)

    def _end(self, job: _Job, *, entry: Entry | None = None, error: Exception | None = None) -> None:
        job.folder.busy.pop(job.name, None)
        self._done(job.item, entry=entry, error=error)
        if job.folder.waiting and not job.folder.working:
            self._release(job.folder)

    def _done(self, item: WriteItem, *, entry: Entry | None = None, error: Exception | None = None) -> None:
        if isinstance(error, Interrupted):
            raise error  # the run is to end: that is no failure of the file
        if error is not None and isinstance(error, StoreError):
            error.at(op="write", path=item.path)
        self._results.append(Result(item.path, entry, error, item.tag))


def _copy(error: StoreError, path: str) -> StoreError:
    """An error of a whole folder, once for each of its files."""
    return type(error)(error.message, op="write", path=path, store=error.store, retry_after=error.retry_after)
