"""The Store protocol: providers implement it, wrappers implement it over an inner one, everything else uses it.

Rules, said once:

* Paths are canonical (`paths.check`) before they arrive: the Check wrapper sees to it. The root is "".
* A returned `Entry` is the stored truth, as a stat right after would give it.
* Every error is a `StoreError` subclass; nothing else leaves a store, except a programming error.
* A provider keeps no hidden cache of entries.
* `scan` and `walk` end normally only where the listing is proven complete. An exception in the middle means that
  nothing may be concluded from what was not seen. They are lazy: no page is fetched before it is needed.
* `write` publishes whole or not at all, creates missing parents, and verifies length and hash as far as the service
  allows before it returns.
* All methods may be called from several threads.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from cftool.core.errors import Unsupported
from cftool.core.types import (
    Cap,
    ChangeSet,
    Download,
    Entry,
    Features,
    Leftover,
    ReadItem,
    Result,
    Source,
    Usage,
    WriteItem,
)


class Store(Protocol):
    """One service account (or local tree) as files and directories. See the module for the rules of all methods."""

    name: str

    @property
    def features(self) -> Features:
        """What this stack is and can do."""
        ...

    def stat(self, path: str) -> Entry:
        """The entry, with everything that one request can know (the file's own time included). Raises NotFound."""
        ...

    def scan(self, path: str) -> Iterator[Entry]:
        """Entries of one directory, in no order. Raises NotFound, NotADirectory at the latest on the first step."""
        ...

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """Bytes [start, end) of a file; `end` past the last byte means up to it. Raises NotFound, IsADirectory.

        With `if_version`: raises PreconditionFailed where the file is another version now.
        """
        ...

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """Store a file, replacing an old one. Raises IsADirectory, SourceChanged, IntegrityError.

        `if_version` (Cap.IF_VERSION) and `if_absent` (Cap.IF_ABSENT): raises PreconditionFailed, AlreadyExists.
        """
        ...

    def delete(self, path: str) -> None:
        """Delete one file. Raises NotFound where the service says so, IsADirectory."""
        ...

    def mkdir(self, path: str) -> Entry:
        """Make a directory and its parents; no error where it is one already. Raises NotADirectory, AlreadyExists."""
        ...

    def rmdir(self, path: str) -> None:
        """Remove an empty directory. Raises NotFound, DirectoryNotEmpty, NotADirectory."""
        ...

    def close(self) -> None:
        """Release connections and files. Idempotent."""
        ...

    # ---- optional: a Cap in features says that it works on this stack, now; else Unsupported before any request

    def walk(self, path: str) -> Iterator[Entry]:
        """All below `path`, directories included, in `features.walk_order`. Raises as `scan`."""
        ...

    def tree(self, path: str) -> Iterator[Entry]:
        """What is at `path`, and of a directory then all below it as `walk`. Raises NotFound on the first step.

        Where a file and a directory have one name: the file, then the directory and what is below it.
        """
        ...

    def copy(self, src: str, dst: str) -> Entry:
        """Copy one file server-side, times and hashes kept."""
        ...

    def move(self, src: str, dst: str) -> Entry:
        """Move a file (Cap.MOVE) or a directory (Cap.MOVE_DIR); a file at `dst` is replaced."""
        ...

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Set the file's own time."""
        ...

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Write files as batches or with the native client's concurrency. `items` is pulled from as capacity allows."""
        ...

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Download many files to local targets, large ones in parallel ranges."""
        ...

    def delete_dir(self, path: str) -> None:
        """Delete a directory with all below it, in one step of the service. Raises NotFound, NotADirectory.

        Raises Unsupported, with nothing changed, where this very directory cannot go that way.
        """
        ...

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Delete files, and directories that are empty by then; of an entry, path and kind count.

        What is gone already is no error.
        """
        ...

    def changes(self, cursor: str | None) -> ChangeSet:
        """What changed since `cursor`; None asks for the cursor of now."""
        ...

    def usage(self) -> Usage:
        """Space used and free."""
        ...

    def link(self, path: str, *, expires: float | None = None) -> str:
        """A URL by which anybody may read the file: public, or signed for `expires` seconds where the service signs.

        Without `expires`: the longest that the service gives. The same link again where there is one already.
        """
        ...

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Upload sessions at or below `path` that ended early (Cap.LEFTOVERS).

        Without `older_than`: those of dead processes of this machine. With it (seconds): also everybody else's that
        began longer ago than that.
        """
        ...

    def remove_leftover(self, leftover: Leftover) -> None:
        """Abort it and free what it holds; no error where it is gone."""
        ...

    def probe(self, path: str) -> Cap:
        """Find out which conditional writes work at and below `path`, where only trying tells; `features` has it then.

        May write and remove a small file of its own. Where there is nothing to find out: no request, and NONE.
        """
        ...


class Optionals:
    """For providers: every optional method raises Unsupported. Inherit and override what the service has."""

    name: str

    def _unsupported(self, op: str, path: str | None = None) -> Unsupported:
        return Unsupported(f"{self.name} cannot do {op}", op=op, path=path, store=self.name)

    def walk(self, path: str) -> Iterator[Entry]:
        """Not supported."""
        raise self._unsupported("walk", path)

    def tree(self, path: str) -> Iterator[Entry]:
        """Not supported."""
        raise self._unsupported("tree", path)

    def copy(self, src: str, dst: str) -> Entry:
        """Not supported."""
        del dst
        raise self._unsupported("copy", src)

    def move(self, src: str, dst: str) -> Entry:
        """Not supported."""
        del dst
        raise self._unsupported("move", src)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Not supported."""
        del modified_ns
        raise self._unsupported("set_modified", path)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Not supported."""
        del items
        raise self._unsupported("write_many")

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Not supported."""
        del items
        raise self._unsupported("read_many")

    def delete_dir(self, path: str) -> None:
        """Not supported."""
        raise self._unsupported("delete_dir", path)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Not supported."""
        del entries
        raise self._unsupported("delete_many")

    def changes(self, cursor: str | None) -> ChangeSet:
        """Not supported."""
        del cursor
        raise self._unsupported("changes")

    def usage(self) -> Usage:
        """Not supported."""
        raise self._unsupported("usage")

    def link(self, path: str, *, expires: float | None = None) -> str:
        """Not supported."""
        del expires
        raise self._unsupported("link", path)

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Not supported."""
        del older_than
        raise self._unsupported("leftovers", path)

    def remove_leftover(self, leftover: Leftover) -> None:
        """Not supported."""
        raise self._unsupported("remove_leftover", leftover.path)

    def probe(self, path: str) -> Cap:
        """Nothing to find out."""
        del path
        return Cap.NONE
