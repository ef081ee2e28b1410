"""delete, rmdir, delete_dir and delete_many: into the trash by default, a hundred calls in one batch.

A file that a listing saw is put into the trash by its id, and the answer says where it was: one that had been moved or
renamed meanwhile is taken out again. What is deleted for good is looked at before. A folder goes only when it was seen
to hold nothing but folders that go with it; deleting one at the service takes all below with it.
"""

import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from cftool.core import paths
from cftool.core.errors import (
    DirectoryNotEmpty,
    Interrupted,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    StoreError,
    Unsupported,
)
from cftool.core.types import Entry, Result
from cftool_providers.gdrive import _errors, _files
from cftool_providers.gdrive._batch import BATCH, Answer, Call
from cftool_providers.gdrive._download import require_place
from cftool_providers.gdrive._files import FIELDS, Item
from cftool_providers.gdrive._service import Service, file_path
from cftool_providers.gdrive._tree import Tree

if TYPE_CHECKING:
    from concurrent.futures import Future

log = logging.getLogger("cftool.gdrive")

FRESH = 15.0  # seconds for which it counts that a folder was seen in its place
BATCHES = 3  # at once


class Deleter:
    """Thread-safe: each call has its own state."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._service: Service = tree.service

    # ---- one

    def one(self, path: str) -> None:
        """See Store.delete."""
        if not path:
            raise IsADirectory("is the root", op="delete", path=path)
        found = self._tree.find(path, "delete")
        if found.is_folder:
            raise IsADirectory("is a folder", op="delete", path=path)
        self._require(self._service.batch([self._gone(found.id)])[0], path)

    def remove(self, found: Item) -> None:
        """Delete what was just looked at or made; no error where it is gone."""
        self._require(self._service.batch([self._gone(found.id)])[0], None)

    def rmdir(self, path: str) -> None:
        """See Store.rmdir."""
        if not path:
            raise InvalidName("is the root; it cannot be removed", op="rmdir", path=path)
        try:
            look, items = self._tree.look_into(path)
        except StoreError as error:
            raise error.at(op="rmdir", path=path) from None
        found = look.item
        if found is None:
            raise NotFound("there is no such folder", op="rmdir", path=path)
        if not found.is_folder:
            raise NotADirectory("is a file", op="rmdir", path=path)
        if items is None:
            items, _ = self._tree.children(found.id, pages=1)
        if items:
            raise DirectoryNotEmpty("is not empty", op="rmdir", path=path)
        self._tree.forget(path)
        self._require(self._service.batch([self._gone(found.id)])[0], path)

    def whole(self, path: str) -> None:
        """See Store.delete_dir: into the trash."""
        if not path:
            raise InvalidName("is the root; it cannot be removed", op="delete_dir", path=path)
        if not self._service.settings.trash:
            raise Unsupported("without the trash a folder goes entry by entry", op="delete_dir", path=path)
        found = self._tree.find(path, "delete_dir")
        if not found.is_folder:
            raise NotADirectory("is a file", op="delete_dir", path=path)
        self._tree.forget(path)
        self._require(self._service.batch([self._gone(found.id)])[0], path)

    @staticmethod
    def _require(answer: Answer, path: str | None) -> None:
        # It was there a moment ago: one that is gone now went by an earlier attempt, or by somebody else's hand.
        if answer.status >= 300 and answer.status != 404:
            raise _errors.error(answer.status, answer.body, path=path)

    def _gone(self, handle: str) -> Call:
        if self._service.settings.trash:
            params = self._service.params((("fields", FIELDS),))
            return Call("PATCH", file_path(handle), params, {"trashed": True})
        return Call("DELETE", file_path(handle), self._service.params())

    def _back(self, handle: str) -> Call:
        params = self._service.params((("fields", "id"),))
        return Call("PATCH", file_path(handle), params, {"trashed": False})

    # ---- many

    def run(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Results in order of completion; directories only after all files that came before them."""
        from concurrent.futures import ThreadPoolExecutor

        entries = iter(entries)
        flying: list[Future[list[Result]]] = []
        with ThreadPoolExecutor(BATCHES, thread_name_prefix="cftool-delete") as pool:
            try:
                while some := list(islice(entries, BATCH)):
                    cut = next((at for at, entry in enumerate(some) if entry.is_dir), len(some))
                    files, rest = some[:cut], some[cut:]
                    if files:
                        flying.append(pool.submit(self._files, files))
                    while flying and (rest or len(flying) >= BATCHES):
                        yield from _unless_interrupted(flying.pop(0).result())
                    if rest:
                        later = [entry for entry in rest if not entry.is_dir]
                        if later:
                            yield from _unless_interrupted(self._files(later))
                        yield from _unless_interrupted(self._directories([entry for entry in rest if entry.is_dir]))
                while flying:
                    yield from _unless_interrupted(flying.pop(0).result())
            finally:
                for future in flying:
                    future.cancel()

    # ---- files

    def _files(self, entries: list[Entry]) -> list[Result]:
        results: list[Result] = []
        try:
            self._look_at_parents(entries)
            known: list[Entry] = []
            for entry in entries:
                if entry.id is not None:
                    known.append(entry)
                else:
                    results.append(self._by_path(entry))
            results += self._in_trash(known) if self._service.settings.trash else self._for_good(known)
        except Exception as error:
            told = {result.path for result in results}
            results += [_failed(entry, _copy(error, entry.path)) for entry in entries if entry.path not in told]
        return results

    def _look_at_parents(self, entries: list[Entry]) -> None:
        """Where their folders are now, unless that was seen a moment ago."""
        for parent in {paths.parent(entry.path) for entry in entries if entry.id is not None}:
            if not self._tree.fresh(parent, FRESH):
                self._tree.look(parent)

    def _by_path(self, entry: Entry) -> Result:
        try:
            self.one(entry.path)
        except NotFound:
            pass
        except StoreError as error:
            return _failed(entry, error)
        return Result(entry.path, entry=entry)

    def _in_trash(self, entries: list[Entry]) -> list[Result]:
        if not entries:
            return []
        answers = self._service.batch([self._gone(entry.id or "") for entry in entries])
        results: list[Result] = []
        wrong: list[Entry] = []
        for entry, answer in zip(entries, answers, strict=True):
            try:
                if answer.status == 404:
                    raise NotFound("is gone already")
                one = _files.item(answer.json())
                if self._elsewhere(one._replace(trashed=False), entry):
                    wrong.append(entry)
                results.append(Result(entry.path, entry=entry))
            except NotFound:
                results.append(Result(entry.path, entry=entry))
            except StoreError as error:
                results.append(_failed(entry, error))
        if wrong:
            log.warning("%d files had been moved since they were listed; they stay", len(wrong))
            for entry, answer in zip(
                wrong, self._service.batch([self._back(entry.id or "") for entry in wrong]), strict=True
            ):
                if answer.status >= 300 and answer.status != 404:
                    failure = _errors.error(answer.status, answer.body)
                    failure.message = f"had been moved, and could not be taken out of the trash: {failure.message}"
                    results = [result for result in results if result.path != entry.path]
                    results.append(_failed(entry, failure))
        return results

    def _elsewhere(self, one: Item, entry: Entry) -> bool:
        parent = paths.parent(entry.path)
        if parent and self._tree.known(parent) is None:
            return True  # its folder is not there any more
        try:
            require_place(self._tree, one, entry.path)
        except NotFound:
            return True
        return False

    def _for_good(self, entries: list[Entry]) -> list[Result]:
        if not entries:
            return []
        params = self._service.params((("fields", FIELDS),))
        looks = self._service.batch([Call("GET", file_path(entry.id or ""), params) for entry in entries])
        results: list[Result] = []
        doomed: list[Entry] = []
        for entry, answer in zip(entries, looks, strict=True):
            try:
                if answer.status == 404 or self._elsewhere(_files.item(answer.json()), entry):
                    results.append(Result(entry.path, entry=entry))
                else:
                    doomed.append(entry)
            except StoreError as error:
                results.append(_failed(entry, error))
        if doomed:
            for entry, answer in zip(
                doomed, self._service.batch([self._gone(entry.id or "") for entry in doomed]), strict=True
            ):
                results.append(_result(entry, answer))
        return results

    # ---- folders

    def _directories(self, entries: list[Entry]) -> list[Result]:
        """Deepest first, as they come: a folder may go where all that it holds are folders that go, too."""
        results: list[Result] = []
        try:
            handles: dict[str, Entry] = {}
            for entry in entries:
                handle = self._handle(entry)
                if handle is None:
                    results.append(Result(entry.path, entry=entry))
                else:
                    handles[handle] = entry
            results += self._empty_ones(handles)
        except Exception as error:
            told = {result.path for result in results}
            results += [_failed(entry, _copy(error, entry.path)) for entry in entries if entry.path not in told]
        return results

    def _handle(self, entry: Entry) -> str | None:
        """The folder's id as it is now; None where it is gone."""
        if entry.id is not None and self._tree.fresh(entry.path, FRESH) and self._tree.known(entry.path) == entry.id:
            return entry.id
        if not entry.path:
            raise InvalidName("is the root; it cannot be removed", op="delete", path=entry.path)
        found = self._tree.look(entry.path).item
        if found is None or (entry.id is not None and found.id != entry.id):
            return None
        if not found.is_folder:
            raise NotADirectory("is a file by now", op="delete", path=entry.path)
        return found.id

    def _empty_ones(self, handles: dict[str, Entry]) -> list[Result]:
        if not handles:
            return []
        tree = self._tree
        calls = [Call("GET", "files", tree.list_params(tree.children_query((handle,)))) for handle in handles]
        results: list[Result] = []
        going: list[str] = []
        for handle, call, answer in zip(handles, calls, self._service.batch(calls), strict=True):
            entry = handles[handle]
            try:
                if answer.status == 404:
                    results.append(Result(entry.path, entry=entry))
                    continue
                if all(one.id in going for one in tree.rest(call, handle, answer)):
                    going.append(handle)
                else:
                    raise DirectoryNotEmpty("is not empty", op="delete", path=entry.path)
            except StoreError as error:
                results.append(_failed(entry, error))
        answers = self._service.batch([self._gone(handle) for handle in going])
        for handle, answer in zip(going, answers, strict=True):
            tree.forget(handles[handle].path)
            results.append(_result(handles[handle], answer))
        return results


def _unless_interrupted(results: list[Result]) -> list[Result]:
    """The results; where the run is to end, that is raised, for it is no failure of any entry."""
    for result in results:
        if isinstance(result.error, Interrupted):
            raise result.error
    return results


def _result(entry: Entry, answer: Answer) -> Result:
    if answer.status < 300 or answer.status == 404:
        return Result(entry.path, entry=entry)
    return _failed(entry, _errors.error(answer.status, answer.body))


def _failed(entry: Entry, error: Exception) -> Result:
    if isinstance(error, StoreError):
        error.at(op="delete", path=entry.path)
    return Result(entry.path, error=error)


def _copy(error: Exception, path: str) -> Exception:
    """An error of a whole batch, once for each of its paths."""
    if not isinstance(error, StoreError):
        return error
    return type(error)(error.message, op="delete", path=path, store=error.store, retry_after=error.retry_after)
