"""write and write_many. A single small file is one request; many go together through upload sessions:

    start_batch (500 sessions)  ->  append_batch (about 100 files each, in parallel)  ->  finish_batch (all)

Large files, and streams that turn out to be large, are `_large`'s. What is loaded is bounded by bytes.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator

from cftool.core import hashing
from cftool.core.dataclass import dataclass
from cftool.core.errors import InvalidName, ProtocolError, SourceChanged, StoreError
from cftool.core.types import Entry, Result, WriteItem
from cftool.http.types import Completion, Request
from cftool_providers.dropbox import _entries, _errors, _jobs
from cftool_providers.dropbox._api import Service, answer
from cftool_providers.dropbox._commit import ATTEMPTS, Committer, Pending, SessionLost, commit_info
from cftool_providers.dropbox._large import Large
from cftool_providers.dropbox._listing import Lister
from cftool_providers.dropbox._sessions import Sessions

log = logging.getLogger("cftool.dropbox")

SMALL = 8 * 1024 * 1024  # up to this a file is loaded into memory
ROUND = 500  # files that are committed together; the service takes 1,000, but an interruption would cost as many
LARGE_AT_ONCE = 8  # large files that wait while small ones are gathered
FILES = 100  # of one append_batch; the header of the argument has some 17 KB then
GROUP = 8 * 1024 * 1024  # bytes after which an append_batch takes no further file
MEMORY = 24 * 1024 * 1024  # bytes under way after which nothing more is loaded
_POLL = 0.05
_SMALLER = frozenset({400, 413, 431})  # what an edge answers that does not take so long a header
_KEY = "files-per-append"


@dataclass(eq=False, slots=True)
class _Group:
    """One append_batch: files with their content."""

    files: list[Pending]
    body: bytes
    attempts: int = 0


class Uploader:
    """Thread-safe: each call has its own state."""

    def __init__(self, service: Service, lister: Lister, sessions: Sessions) -> None:
        self._service = service
        self._committer = Committer(service, lister)
        self._large = Large(service, self._committer, sessions)

    def write(self, item: WriteItem) -> Entry:
        """One file."""
        problem = _entries.name_problem(item.path)
        if problem is not None:
            raise InvalidName(f"the name {problem}", op="write", path=item.path)
        size = item.source.size
        if size is None or size > SMALL:
            found = self._large.write(item, SMALL)
            return found if isinstance(found, Entry) else self._whole(item, found)
        return self._whole(item, _load(item, size))

    def _whole(self, item: WriteItem, data: bytes) -> Entry:
        """All in one request."""
        one = Pending(item, size=len(data), digest=hashing.digest("dropbox", data))
        arg = {**commit_info(item), "content_hash": one.digest}
        conditional = item.if_absent or item.if_version is not None
        maybe = False
        for attempt in range(ATTEMPTS):
            request = self._service.upload("files/upload", arg, data, idempotent=not conditional)
            try:
                response = self._service.client.send(request)
                break
            except StoreError as error:
                if not conditional or not _jobs.interrupted_by(error) or attempt == ATTEMPTS - 1:
                    raise
                maybe = True
        if response.status == 409:
            refused = _errors.error(response, response.body, item.path)
            return self._committer.conflict(one, refused, maybe=maybe)
        entry = self._committer.verified(one, answer(response, item.path))
        if item.progress is not None:
            item.progress(one.size)
        return entry

    # ---- many

    def run(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Rounds of small files, the large ones between them."""
        waiting = iter(items)
        ended = False
        while not ended:
            small: list[WriteItem] = []
            large: list[WriteItem] = []
            while len(small) < ROUND and len(large) < LARGE_AT_ONCE:
                item = next(waiting, None)
                if item is None:
                    ended = True
                    break
                size = item.source.size
                (large if size is None or size > SMALL else small).append(item)
            if len(small) > 1:
                yield from self._round(small)
            else:
                large = small + large
            for item in large:
                yield self._one(item)

    def _one(self, item: WriteItem) -> Result:
        try:
            return Result(item.path, self.write(item), None, item.tag)
        except Exception as error:  # a source may raise what it likes: it is that item's failure alone
            if _jobs.ends_all(error):
                raise
            return Result(item.path, None, error, item.tag)

    def _round(self, items: list[WriteItem]) -> Iterator[Result]:
        files = [Pending(item) for item in items]
        good = []
        for one in files:
            problem = _entries.name_problem(one.item.path)
            if problem is None:
                good.append(one)
            else:
                one.error = InvalidName(f"the name {problem}", op="write", path=one.item.path)
        try:
            self._begin(good)
            _Appends(self._service, [one for one in good if one.error is None]).run()
        except StoreError as error:
            if _jobs.ends_all(error):
                raise
            for one in good:
                one.error = one.error or _own(error)
        ready = [one for one in good if one.ready and one.error is None]
        if ready:
            self._committer.finish(ready)
        for one in files:
            if isinstance(one.error, SessionLost):
                yield self._one(one.item)  # once more, alone
                continue
            if one.entry is not None and one.item.progress is not None:
                one.item.progress(one.size)
            yield Result(one.item.path, one.entry, one.error, one.item.tag)

    def _begin(self, files: list[Pending]) -> None:
        if not files:
            return
        found = self._service.call("files/upload_session/start_batch", {"num_sessions": len(files)})
        ids = found.get("session_ids")
        if (
            not isinstance(ids, list)
            or len(set(map(str, ids))) != len(files)
            or not all(isinstance(each, str) and each for each in ids)
        ):
            raise ProtocolError(f"Dropbox was asked for {len(files)} upload sessions and gave others", op="write")
        for one, session in zip(files, ids, strict=True):
            one.session = session


class _Appends:
    """The append_batch requests of one round, in parallel."""

    def __init__(self, service: Service, files: list[Pending]) -> None:
        self._service = service
        self._waiting = deque(files)
        self._again: deque[_Group] = deque()
        self._bytes = 0  # under way
        known = service.context.memory.get(f"{service.identity}:{_KEY}")
        self._most = int(known) if known is not None and known.isdigit() and int(known) else FILES

    def run(self) -> None:
        """Until each file is in its session, or has failed."""
        while self._waiting or self._again:
            with self._service.many(self._next) as completions:
                for completion in completions:
                    self._answered(completion)

    def _next(self) -> Request | float | None:
        if self._again:
            return self._request(self._again.popleft())
        if self._bytes >= MEMORY:
            return _POLL
        group = self._load()
        return None if group is None else self._request(group)

    def _load(self) -> _Group | None:
        """The next files, with what they hold; those whose source fails are told and left out."""
        files: list[Pending] = []
        contents: list[bytes] = []
        size = 0
        while self._waiting and len(files) < self._most and size < GROUP:
            one = self._waiting.popleft()
            try:
                data = _load(one.item, one.item.source.size)
            except Exception as error:  # a source may raise what it likes: it is that item's failure alone
                if _jobs.ends_all(error):
                    raise
                one.error = error
                continue
            one.size, one.digest = len(data), hashing.digest("dropbox", data)
            files.append(one)
            contents.append(data)
            size += len(data)
        return _Group(files, b"".join(contents)) if files else None

    def _request(self, group: _Group) -> Request:
        self._bytes += len(group.body)
        entries = [
            {"cursor": {"session_id": one.session, "offset": 0}, "length": one.size, "close": True}
            for one in group.files
        ]
        arg = {"entries": entries, "content_hash": hashing.digest("dropbox", group.body)}
        group.attempts += 1
        return self._service.upload("files/upload_session/append_batch", arg, group.body, tag=group)

    def _answered(self, completion: Completion) -> None:
        group = completion.request.tag
        assert isinstance(group, _Group)
        self._bytes -= len(group.body)
        response = completion.response
        try:
            if response is None:
                raise completion.error or ProtocolError("no answer", op="write")
            if response.status in _SMALLER and len(group.files) > 1:
                self._halve(group)
                return
            known = _errors.tags(_errors.body_error(response.body)) if response.status == 409 else ()
            if known[:1] in {("content_hash_mismatch",), ("length_mismatch",)} and group.attempts < 3:
                self._again.append(group)  # damaged on its way; nothing of it was taken
                return
            found = answer(response, None).get("entries")
            if not isinstance(found, list) or len(found) != len(group.files):
                raise ProtocolError("Dropbox answered a batch with another number of results", op="write")
        except Exception as error:
            if _jobs.ends_all(error):
                raise
            for one in group.files:
                one.error = _own(error)
            return
        for one, each in zip(group.files, found, strict=True):
            self._told(one, each)

    def _halve(self, group: _Group) -> None:
        half = len(group.files) // 2
        cut = sum(one.size for one in group.files[:half])
        self._again.append(_Group(group.files[:half], group.body[:cut]))
        self._again.append(_Group(group.files[half:], group.body[cut:]))
        if half < self._most:
            self._most = half
            log.info("Dropbox does not take %d files in one request; %d from now on", len(group.files), half)
            self._service.context.memory.set(f"{self._service.identity}:{_KEY}", str(half))

    @staticmethod
    def _told(one: Pending, found: object) -> None:
        try:
            success, value = _jobs.outcome(found)
        except StoreError as error:
            one.error = error
            return
        known = _errors.tags(value)
        # Of an answer that got lost: the repeated request finds the bytes there, and the session closed.
        there = known[-1:] == ("closed",) or (
            known[-1:] == ("incorrect_offset",) and _errors.leaf(value).get("correct_offset") == one.size
        )
        if success or there:
            one.ready = True
        elif known[-1:] == ("not_found",):
            one.error = SessionLost("Dropbox lost the upload", op="write", path=one.item.path)
        else:
            one.error = _errors.of(value, one.item.path)


def _own(error: Exception) -> Exception:
    """One for each item: layers above write the item's path into it."""
    return type(error)(error.message, retry_after=error.retry_after) if isinstance(error, StoreError) else error


def _load(item: WriteItem, size: int | None) -> bytes:
    data = item.source.load()
    if size is not None and len(data) != size:
        raise SourceChanged(f"the source has {len(data)} bytes, not {size}", op="write", path=item.path)
    return data
