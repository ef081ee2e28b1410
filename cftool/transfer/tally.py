"""What a run has done so far: emits the events and counts them for the summary. Main thread only."""

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from cftool.core.errors import Interrupted, LoginRequired, NotADirectory, PermissionDenied, StoreError
from cftool.transfer.events import (
    Copied,
    Deleted,
    Differs,
    Emit,
    Failed,
    MadeDirectory,
    Moved,
    Note,
    Scanned,
    Skipped,
    Summary,
)

if TYPE_CHECKING:
    from cftool.transfer.options import Side

NEITHER = "neither time nor hash is known on both sides"
AS_ASKED = "as --size-only says"
_SIDES = {
    "write": "at the destination",
    "mkdir": "at the destination",
    "move": "at the source or the destination",  # a rename is refused without telling by which
}


class Tally:
    """Counters and events of one run."""

    def __init__(
        self, emit: Emit, *, now: Callable[[], float], dry_run: bool = False, why_by_size: str = NEITHER
    ) -> None:
        self.emit = emit
        self._why_by_size = why_by_size
        self.dry_run = dry_run
        self.now = now
        self.started = now()
        self.files = 0  # of the source, selected
        self.bytes_seen = 0
        self.to_copy = 0
        self.to_copy_bytes = 0
        self.checked = 0
        self.compared_by: Counter[str] = Counter()
        self.skipped_by: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.failures = 0
        self.differences = 0
        self.stopped = ""
        self.locked_out = False  # a side does not accept the login any more: whatever else is asked of it fails alike
        self.withheld = 0
        self.why = ""
        self._copied = self._deleted = self._moved = self._made = 0
        self._bytes = 0
        self._classes: dict[type[Exception], Exception] = {}
        self._notes: set[str] = set()
        self._whole: set[tuple[str, str]] = set()

    def scanned(self, *, complete: bool) -> None:
        """Tell the totals."""
        self.emit(Scanned(self.files, self.bytes_seen, self.to_copy, self.to_copy_bytes, complete))

    def copied(self, path: str, size: int | None, *, server_side: bool = False) -> None:
        """A file is there."""
        self._copied += 1
        self._bytes += size or 0
        self.emit(Copied(path, size or 0, server_side, self.dry_run))

    def deleted(self, path: str, *, is_dir: bool, size: int | None) -> None:
        """An entry is gone."""
        self._deleted += 1
        self.emit(Deleted(path, is_dir, size, self.dry_run))

    def moved(self, path: str, to: str) -> None:
        """An entry has another name."""
        self._moved += 1
        self.emit(Moved(path, to, self.dry_run))

    def made_directory(self, path: str) -> None:
        """A directory was made."""
        self._made += 1
        self.emit(MadeDirectory(path, self.dry_run))

    def skipped(self, path: str, reason: str) -> None:
        """Not transferred, on purpose."""
        self.skipped_by[reason] += 1
        self.emit(Skipped(path, reason))

    def failed(self, path: str, error: Exception, *, copying: bool = False) -> None:
        """An entry failed for good. One that was given up because the run is to end did not: the run was stopped.

        A login that is not accepted concerns no entry but the whole remote, and is told once.
        `copying`: `path` is at both sides, and the message is to tell which of them is meant.
        """
        if isinstance(error, Interrupted):
            self.stopped = self.stopped or "interrupted"
            return
        kind = error.kind if isinstance(error, StoreError) else "error"
        message = error.message if isinstance(error, StoreError) else str(error) or type(error).__name__
        if copying:
            message += side_of(error)
        if isinstance(error, LoginRequired):
            self.locked_out, path = True, ""
            error.place = error.place or (f"{error.store}:" if error.store else None)
        if not path:  # what several parts of a run meet at the root is one error
            if (kind, message) in self._whole:
                return
            self._whole.add((kind, message))
        self.failures += 1
        self.errors[kind] += 1
        self._classes.setdefault(type(error), error)
        self.emit(Failed(path, kind, message, error))

    def differs(self, path: str, sign: str, detail: str = "") -> None:
        """Of `check`."""
        self.differences += 1
        self.emit(Differs(path, sign, detail))

    def note(self, message: str) -> None:
        """Say something once."""
        if message not in self._notes:
            self._notes.add(message)
            self.emit(Note(message))

    def summary(self) -> Summary:
        """The last event."""
        size_only = self.compared_by["size_only"]
        if size_only:
            files = "file was" if size_only == 1 else "files were"
            self.note(f"{size_only} {files} compared by size alone: {self._why_by_size}")
        done = self._copied + self._deleted + self._moved + self._made
        summary = Summary(
            copied=self._copied,
            deleted=self._deleted,
            moved=self._moved,
            checked=self.checked,
            made_directories=self._made,
            skipped=_frozen(self.skipped_by),
            errors=_frozen(self.errors),
            bytes=self._bytes,
            seconds=max(0.0, self.now() - self.started),
            compared_by=_frozen(self.compared_by),
            differences=self.differences,
            to_do=done if self.dry_run else 0,
            withheld=self.withheld,
            why=self.why,
            stopped=self.stopped,
            failures=tuple(self._classes.values()),
        )
        self.emit(summary)
        return summary


def of_all(error: Exception, dst: "Side") -> StoreError | None:
    """`error`, as it is told once, where no file at all can be written to the destination because of it."""
    if not isinstance(error, StoreError) or not error.of_bucket or error.op != "write" or not dst.base_path:
        return None
    error.path = ""
    return error.at_place(dst.address)


def side_of(error: Exception) -> str:
    """At which side of a copy something stood in the way, as it continues the message; of other errors nothing."""
    if isinstance(error, NotADirectory) and error.op in {"write", "mkdir"}:
        return ": a file stands above it at the destination"
    if not isinstance(error, PermissionDenied) or isinstance(error, LoginRequired):
        return ""
    side = _SIDES.get(error.op or "")
    return f" {side}" if side else ""


def _frozen(counter: Counter[str]) -> Mapping[str, int]:
    return MappingProxyType({name: count for name, count in counter.items() if count})
