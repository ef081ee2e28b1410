"""delete, rmdir, delete_dir, delete_many. The service deletes a folder with all in it: rmdir looks whether it is empty.

Files are deleted on the condition of their revision, where the caller knows it. Directories of a batch are looked at
together: one recursive listing of what holds them all, as long as that takes no more pages than there are directories.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from cftool.core import paths
from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    PreconditionFailed,
    StoreError,
)
from cftool.core.types import Entry, Result
from cftool_providers.dropbox import _errors, _jobs
from cftool_providers.dropbox._api import Service, api_path
from cftool_providers.dropbox._listing import Lister

_BATCH = 1000  # entries of one delete_batch: the service's most


class Deleter:
    """Thread-safe: no state."""

    def __init__(self, service: Service, lister: Lister) -> None:
        self._service = service
        self._lister = lister

    def delete(self, path: str) -> None:
        """Look, then delete the very revision that was seen."""
        if not path:
            raise IsADirectory("is the root", op="delete", path=path)
        entry = self._lister.stat(path)
        if entry.is_dir:
            raise IsADirectory("is a directory", op="delete", path=path)
        self._service_delete(_argument(entry), path)

    def rmdir(self, path: str) -> None:
        """Look whether it is empty, then delete it."""
        if not path:
            raise InvalidName("is the root; it cannot be removed", op="rmdir", path=path)
        self._lister.require_empty(path)
        self._service_delete({"path": api_path(path)}, path)

    def whole(self, path: str) -> None:
        """See Store.delete_dir. As a batch of one: the service may take its time for a large folder."""
        if not path:
            raise InvalidName("is the root; it cannot be removed", op="delete_dir", path=path)
        if not self._lister.stat(path).is_dir:
            raise NotADirectory("is a file", op="delete_dir", path=path)
        [error] = self._batch([{"path": api_path(path)}])
        if error is not None:
            raise error

    def one(self, entry: Entry) -> None:
        """Delete one file of a known revision."""
        self._service_delete(_argument(entry), entry.path)

    def _service_delete(self, arg: dict[str, Any], path: str) -> None:
        try:
            self._service.call("files/delete_v2", arg, path=path)
        except (AlreadyExists, IsADirectory) as error:
            raise _changed(error, path) from None

    # ---- many

    def run(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Batches in the order given: directories are looked at when what came before them is gone."""
        waiting = iter(entries)
        while batch := list(islice(waiting, _BATCH)):
            start = 0
            while start < len(batch):
                is_dir = batch[start].is_dir
                end = start + 1
                while end < len(batch) and batch[end].is_dir is is_dir:
                    end += 1
                run = batch[start:end]
                yield from self._directories(run) if is_dir else self._files(run)
                start = end

    def _files(self, files: list[Entry]) -> Iterator[Result]:
        answers = self._batch([_argument(entry) for entry in files])
        for entry, error in zip(files, answers, strict=True):
            refused = isinstance(error, (AlreadyExists, IsADirectory))
            yield _result(entry, _changed(error, entry.path) if refused else error)

    def _batch(self, args: list[dict[str, Any]]) -> list[Exception | None]:
        """What became of each; gone already is no error."""
        outcomes: list[Exception | None] = [None] * len(args)
        todo = list(range(len(args)))
        try:
            for pause in _jobs.patience(self._service):
                arg = {"entries": [args[index] for index in todo]}
                found = _jobs.run(
                    self._service,
                    "files/delete_batch",
                    "files/delete_batch/check",
                    arg,
                    count=len(todo),
                    idempotent=True,
                )
                again = []
                for index, each in zip(todo, found, strict=True):
                    success, value = _jobs.outcome(each)
                    if success:
                        continue
                    if _jobs.busy(value):
                        again.append(index)
                        continue
                    error = _errors.of(value, args[index]["path"].removeprefix("/"))
                    outcomes[index] = None if isinstance(error, NotFound) else error
                todo = again
                if not todo:
                    break
                pause()
        except StoreError as error:
            if _jobs.ends_all(error):
                raise
            for index in todo:
                outcomes[index] = _own(error)
        return outcomes

    # ---- directories

    def _directories(self, directories: list[Entry]) -> Iterator[Result]:
        """Those that hold nothing but one another go, each with those in it."""
        wanted = {entry.path for entry in directories}
        try:
            full = self._full(wanted)
        except StoreError as unseen:
            if _jobs.ends_all(unseen):
                raise
            for entry in directories:  # what cannot be looked at stays
                yield _result(entry, _own(unseen))
            return
        tops = [
            path
            for path in wanted
            if path not in full and not any(up in wanted and up not in full for up in _above(path))
        ]
        failures = (
            dict(zip(tops, self._batch([{"path": api_path(path)} for path in tops]), strict=True)) if tops else {}
        )
        for entry in directories:
            error: Exception | None = full.get(entry.path)
            if error is None:
                error = next((failures[up] for up in (entry.path, *_above(entry.path)) if up in failures), None)
            yield _result(entry, error)

    def _full(self, wanted: set[str]) -> dict[str, StoreError]:
        """Which of the directories may not go, and why."""
        full: dict[str, StoreError] = {}
        tops = [path for path in wanted if not any(up in wanted for up in _above(path))]
        looked_at = self._together(tops, wanted, full) if len(tops) > 1 else set()
        for top in tops:
            if top in looked_at:
                continue
            try:
                for found in self._lister.walk(top):
                    _note(found, wanted, full)
            except NotFound:
                continue  # gone already; the batch takes that as done
            except NotADirectory as error:
                full[top] = error
        return full

    def _together(self, tops: list[str], wanted: set[str], full: dict[str, StoreError]) -> set[str]:
        """Look at all of them in one listing; which of them it showed, none where it is longer than one for each.

        What it shows under a name in another case is not taken for what was asked for.
        """
        asked, seen = set(tops), set()
        budget = 500 * len(tops)  # entries: a quarter of a page for each
        noted: dict[str, StoreError] = {}
        try:
            for found in self._lister.walk(_common(tops)):
                budget -= 1
                if budget < 0:
                    return set()
                if found.is_dir and found.path in asked:
                    seen.add(found.path)
                _note(found, wanted, noted)
        except (NotFound, NotADirectory):
            return set()
        full.update(noted)
        return seen


def _note(found: Entry, wanted: set[str], full: dict[str, StoreError]) -> None:
    """An entry that stays keeps all above it."""
    if found.is_dir and found.path in wanted:
        return
    for up in _above(found.path):
        if up in wanted and up not in full:
            full[up] = DirectoryNotEmpty("is not empty", op="rmdir", path=up)


def _above(path: str) -> Iterator[str]:
    while path := paths.parent(path):
        yield path


def _common(tops: list[str]) -> str:
    """The deepest directory that holds all of them."""
    parents = [paths.parent(path).split("/") for path in tops]
    shared = []
    for names in zip(*parents, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return "/".join(shared)


def _argument(entry: Entry) -> dict[str, Any]:
    arg = {"path": api_path(entry.path)}
    return arg if entry.version is None else {**arg, "parent_rev": entry.version}


def _changed(error: Exception | None, path: str) -> StoreError:
    if isinstance(error, IsADirectory):
        return error
    return PreconditionFailed("it is another version by now", op="delete", path=path)


def _own(error: StoreError) -> StoreError:
    """One for each entry: layers above write the entry's path into it."""
    return type(error)(error.message, retry_after=error.retry_after)


def _result(entry: Entry, error: Exception | None) -> Result:
    return Result(entry.path, entry if error is None else None, error)
