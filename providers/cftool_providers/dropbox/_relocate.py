"""copy and move. Calls of several threads that wait at the same time travel together in one batch.

The service never replaces what is in the way. A file there is replaced in one step by writing the new content over it,
through here; a folder there is refused. Whether an unanswered request was obeyed is looked at afterwards.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import field
from typing import Any

from cftool.core.dataclass import dataclass
from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IsADirectory,
    NotFound,
    ProtocolError,
    StoreError,
    TemporaryError,
    Unsupported,
)
from cftool.core.types import Entry
from cftool_providers.dropbox import _entries, _errors, _jobs
from cftool_providers.dropbox._api import Service, answer, api_path
from cftool_providers.dropbox._listing import Lister

_BATCH = 1000  # entries: the service's most
_REPEAT = "duplicated_or_nested_paths"

Replace = Callable[[Entry, Entry], Entry]
"""Write the content of the first entry over the second; returns what is there then."""


@dataclass(eq=False, slots=True)
class _Call:
    src: str
    dst: str
    done: threading.Event = field(default_factory=threading.Event)
    found: Any = None  # the metadata, or the tree of tags
    error: Exception | None = None
    success: bool = False


class _Together:
    """One verb's calls: the first thread that comes sends what waits; who comes meanwhile waits for the next round."""

    def __init__(self, service: Service, verb: str) -> None:
        self._service = service
        self._verb = verb
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._waiting: deque[_Call] = deque()

    def call(self, src: str, dst: str) -> _Call:
        """The call, answered; `error` is set where no answer came."""
        one = _Call(src, dst)
        with self._lock:
            self._waiting.append(one)
        while not one.done.is_set():
            with self._sending:
                if one.done.is_set():
                    break
                with self._lock:
                    batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]
                self._send(batch)
        return one

    def _send(self, batch: list[_Call]) -> None:
        try:
            if len(batch) == 1:
                self._single(batch[0])
            else:
                self._many(batch)
        except StoreError as error:
            for one in batch:
                if not one.done.is_set():
                    # Each its own, because each will get its own path.
                    one.error = error if one is batch[0] else type(error)(error.message, retry_after=error.retry_after)
        finally:
            for one in batch:
                if not one.done.is_set() and one.error is None and one.found is None:
                    one.error = TemporaryError("it was given up together with others")
                one.done.set()

    def _single(self, one: _Call) -> None:
        response = self._service.client.send(
            self._service.request(f"files/{self._verb}_v2", _paths(one), idempotent=False)
        )
        found = _errors.body_error(response.body) if response.status == 409 else None
        if found is not None:
            one.found = found
            return
        one.found, one.success = answer(response, one.src).get("metadata"), True

    def _many(self, batch: list[_Call]) -> None:
        todo = batch
        route = f"files/{self._verb}_batch_v2"
        for pause in _jobs.patience(self._service):
            arg = {"entries": [_paths(one) for one in todo], "autorename": False}
            found = _jobs.run(
                self._service, route, f"files/{self._verb}_batch/check_v2", arg, count=len(todo), idempotent=False
            )
            again = []
            for one, each in zip(todo, found, strict=True):
                one.success, value = _jobs.outcome(each)
                if one.success:
                    one.found = value.get("success", value)
                elif _jobs.busy(value):
                    again.append(one)
                elif _REPEAT in _errors.tags(value):
                    self._single(one)
                else:
                    one.found = value
            todo = again
            if not todo:
                return
            pause()


def _paths(one: _Call) -> dict[str, Any]:
    return {"from_path": api_path(one.src), "to_path": api_path(one.dst)}


class Relocator:
    """Thread-safe."""

    def __init__(self, service: Service, lister: Lister, replace: Replace, delete: Callable[[Entry], None]) -> None:
        self._lister = lister
        self._replace = replace
        self._delete = delete
        self._copies = _Together(service, "copy")
        self._moves = _Together(service, "move")

    def copy(self, src: str, dst: str) -> Entry:
        """One file; a file at `dst` is replaced."""
        entry = self._lister.stat(src)
        if entry.is_dir:
            raise IsADirectory("is a directory", op="copy", path=src)
        one = self._copies.call(src, dst)
        try:
            return self._entry(one)
        except AlreadyExists:
            there = self._lister.stat(dst)
            if there.is_dir:
                raise IsADirectory("is a directory", op="copy", path=dst) from None
            if there.id == entry.id:
                raise _case_only("copy", src) from None
            return self._replace(entry, there)
        except TemporaryError as error:
            there_now = self._lister.find(dst) if _jobs.interrupted_by(error) else None
            if there_now is None or not _same(entry, there_now):
                raise
            return there_now

    def move(self, src: str, dst: str) -> Entry:
        """A file or a directory; a file at `dst` is replaced by a file."""
        one = self._moves.call(src, dst)
        try:
            return self._entry(one)
        except AlreadyExists:
            return self._move_over(src, dst)
        except IsADirectory:
            raise self._in_the_way(src, dst) from None
        except TemporaryError as error:
            there = self._lister.find(dst) if _jobs.interrupted_by(error) else None
            if there is None or self._lister.find(src) is not None:
                raise
            return there

    def _move_over(self, src: str, dst: str) -> Entry:
        entry, there = self._lister.stat(src), self._lister.stat(dst)
        if there.id == entry.id:
            raise _case_only("move", src)
        if entry.is_dir or there.is_dir:
            raise self._in_the_way(src, dst)
        moved = self._replace(entry, there)
        self._delete(entry)
        return moved

    def _in_the_way(self, src: str, dst: str) -> StoreError:
        entry, there = self._lister.find(src), self._lister.find(dst)
        if entry is None:
            return NotFound("is not there", op="move", path=src)
        if there is not None and there.id == entry.id:
            return _case_only("move", src)
        if entry.is_dir and there is not None and there.is_dir:
            return DirectoryNotEmpty("a directory is there already", op="move", path=dst)
        return IsADirectory("is a directory", op="move", path=dst)

    @staticmethod
    def _entry(one: _Call) -> Entry:
        if one.error is not None:
            raise one.error
        if not one.success:
            known = _errors.tags(one.found)
            if known[:1] == ("relocation_error",):
                known = known[1:]
            raise _errors.of(one.found, one.dst if known[:1] == ("to",) else one.src)
        if not isinstance(one.found, dict):
            raise ProtocolError("Dropbox does not tell what it made", path=one.dst)
        return _entries.entry(one.found, one.dst)


def _same(entry: Entry, other: Entry) -> bool:
    return entry.size == other.size and bool(entry.hashes) and entry.hashes == other.hashes


def _case_only(op: str, path: str) -> StoreError:
    return Unsupported(
        f"Dropbox cannot change the case of a name alone: {op} it to another name first", op=op, path=path
    )
