"""Deleting: the second look at the source, batches through `delete_many`, and whole trees.

Files go first, then directories, deepest first. A directory that is not empty by then (a filter hides something in it,
or somebody just wrote there) stays, and that is no failure. Called by `run` after the gate, and by `api.remove_tree`.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from cftool.core import paths
from cftool.core.errors import (
    DirectoryNotEmpty,
    Interrupted,
    NotADirectory,
    NotFound,
    ProtocolError,
    StoreError,
    Unsupported,
)
from cftool.core.store import Store
from cftool.core.types import Cap, Entry, Kind
from cftool.transfer.options import Select, Side
from cftool.transfer.scan import How, Scan, Stopped
from cftool.transfer.spool import Keyed, Spool
from cftool.transfer.tally import Tally
from cftool.transfer.threads import bounded

log = logging.getLogger("cftool.transfer")

_LOOKED_UP = 10_000  # planned deletions that one round of listings answers for


def found_again(src: Side, tops: Iterable[Keyed], select: Select | None) -> str | None:
    """The first path that the source has after all, or None. Raises StoreError where that cannot be found out.

    `tops` are entries that only the destination has; whatever lies below them is covered, because nothing can exist
    below a directory that does not. `select`: what it leaves out of the source does not count (--delete-excluded).
    """
    entries = (entry for _key, entry in tops)
    if src.local_root is not None:
        return _found_locally(src, entries, select)
    while some := list(islice(entries, _LOOKED_UP)):
        found = _found_in_listings(src.store, some, select)
        if found is not None:
            return found
    return None


def _same(doomed: Entry, found: Entry, select: Select | None) -> bool:
    """Whether `found` is what `doomed` was planned as the lack of. A file against a directory is a replacement."""
    if doomed.is_dir is not found.is_dir:
        return False
    return select is None or (select.directory(found.path) if found.is_dir else select.file(found))


def _found_locally(src: Side, entries: Iterable[Entry], select: Select | None) -> str | None:
    for entry in entries:
        try:
            found = src.store.stat(entry.path)
        except (NotFound, NotADirectory):
            continue
        if _same(entry, found, select):
            return entry.path
    return None


def _found_in_listings(store: Store, entries: list[Entry], select: Select | None) -> str | None:
    by_parent: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        by_parent.setdefault(paths.parent(entry.path), {})[entry.path] = entry

    def look(parent: str) -> str | None:
        doomed = by_parent[parent]
        try:
            for found in store.scan(parent):
                entry = doomed.get(found.path)
                if entry is not None and _same(entry, found, select):
                    return found.path
        except (NotFound, NotADirectory):
            return None
        return None

    for done in bounded(look, by_parent, threads=max(1, store.features.connections)):
        if done.error is not None:
            raise done.error
        if done.value is not None:
            return done.value
    return None


class Remover:
    """Deletes entries of one store and tells of each."""

    def __init__(self, store: Store, tally: Tally, *, dry_run: bool, cancelled: Callable[[], bool]) -> None:
        self._store = store
        self._tally = tally
        self._dry_run = dry_run
        self._cancelled = cancelled
        self._left: list[Entry] = []  # directories that wait for their files, where the store has no batches

    def remove(
        self,
        keyed: Iterable[Keyed],
        *,
        gone: Callable[[bytes], None] = lambda _key: None,
        shown: Callable[[str], str] = lambda path: path,
    ) -> None:
        """Delete all; `gone` hears the key of each, `shown` gives the path to tell."""
        waiting: dict[str, Keyed] = {}

        def feed() -> Iterator[Entry]:
            for key, entry in keyed:
                if self._cancelled():
                    self._tally.stopped = "interrupted"
                    return
                if self._tally.locked_out:
                    return
                waiting[entry.path] = (key, entry)
                yield entry

        try:
            self._told(self._deleted(feed()), waiting, gone, shown)
        except Interrupted as error:
            self._tally.failed("", error)
            return  # what was under way may be gone or not
        except StoreError as error:
            self._tally.failed(shown(error.path) if error.path else "", error)
            if self._tally.locked_out:
                return  # nor can it be found out what became of the others
        for _key, entry in waiting.values():
            self._tally.failed(
                shown(entry.path),
                ProtocolError("whether it was deleted was never told", op="delete", path=entry.path),
            )

    def _told(
        self,
        answers: Iterator[tuple[str, Exception | None]],
        waiting: dict[str, Keyed],
        gone: Callable[[bytes], None],
        shown: Callable[[str], str],
    ) -> None:
        for path, error in answers:
            asked = waiting.pop(path, None)
            if asked is None:
                continue
            key, entry = asked
            if isinstance(error, DirectoryNotEmpty):
                log.info("%s is not empty and stays", paths.printable(path))
            elif error is not None and not isinstance(error, NotFound):
                self._tally.failed(shown(path), error)
            else:
                gone(key)
                self._tell(shown(path), entry)

    def _tell(self, path: str, entry: Entry) -> None:
        """That it is gone."""
        self._tally.deleted(path, is_dir=entry.is_dir, size=entry.size)

    def remove_at_once(self, entry: Entry) -> bool:
        """A directory with all below it in one step, told as one deletion; False where the service has no such step."""
        if Cap.DELETE_DIR not in self._store.features.caps:
            return False
        try:
            self._store.delete_dir(entry.path)
        except Unsupported:  # not of this one: entry by entry, then
            return False
        except StoreError as error:
            self._tally.failed(entry.path, error)
        else:
            self._tally.deleted(entry.path, is_dir=True, size=None)
        return True

    def remove_named(self, entry: Entry) -> None:
        """Remove a directory that was asked for by name and is empty by now; what keeps it is an error."""
        # A directory that exists while something is in it is gone already; only a bucket has a handle.
        implicit = Cap.IMPLICIT_DIRS in self._store.features.caps and entry.stored_ns is None and entry.id is None
        if implicit:
            return
        try:
            if not self._dry_run:
                self._store.rmdir(entry.path)
        except NotFound:  # its mark went with the rest, or somebody was faster
            log.debug("%s was gone already", paths.printable(entry.path))
        except StoreError as error:
            self._tally.failed(entry.path, error)
            return
        self._tally.deleted(entry.path, is_dir=True, size=None)

    def _deleted(self, entries: Iterator[Entry]) -> Iterator[tuple[str, Exception | None]]:
        store = self._store
        if self._dry_run:
            for entry in entries:
                yield entry.path, None
        elif Cap.DELETE_MANY in store.features.caps:
            for result in store.delete_many(entries):
                yield result.path, result.error
        else:
            for done in bounded(self._one, self._files(entries), threads=max(1, store.features.connections)):
                yield done.item.path, done.error
            # One after the other: a directory must find those in it gone.
            for entry in self._left:
                yield entry.path, self._one_directory(entry)

    def _files(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        self._left = []
        for entry in entries:
            if entry.is_dir:
                self._left.append(entry)
            else:
                yield entry

    def _one(self, entry: Entry) -> None:
        self._store.delete(entry.path)

    def _one_directory(self, entry: Entry) -> Exception | None:
        try:
            self._store.rmdir(entry.path)
        except StoreError as error:
            return error
        return None

    def remove_below(
        self,
        path: str,
        *,
        spool_dir: str | None,
        shown: Callable[[str], str] = lambda path: path,
        select: Select | None = None,
        top: bool = False,
    ) -> None:
        """Delete all below the directory `path`, which stays; files while it is listed, directories at the end.

        With `select` only the files that it takes, and no directory. `top`: what is at `path` goes as well, and it may
        be a file (Cap.TREE). Raises NotFound.
        """
        implicit = Cap.IMPLICIT_DIRS in self._store.features.caps
        directories = Spool(spool_dir)
        how = How(root=path, top=top, spool_dir=spool_dir, select=select)
        scan = Scan(self._store, how, name="to delete", cancelled=self._cancelled)

        def files() -> Iterator[Keyed]:
            try:
                for key, entry in scan:
                    if entry.kind is not Kind.DIRECTORY:
                        yield key, entry
                    elif select is None and not (implicit and entry.stored_ns is None):
                        directories.append(key, entry)
            except Stopped:
                self._tally.stopped = "interrupted"

        scan.start()
        try:
            if top:
                with contextlib.suppress(Stopped):  # which is met again
                    scan.first()
            self.remove(files(), shown=shown)
            for problem in scan.problems:
                self._tally.failed(shown(problem.path), problem.error)
            self.remove(reversed(directories), shown=shown)
        finally:
            scan.close()
            directories.close()
