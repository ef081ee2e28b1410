"""From the merged listings to actions: what is copied now, what is looked at more closely, what would be deleted.

`Plan.actions` is a generator that the executors pull from, so that nothing is planned further ahead than there is
room for. Deletions are only collected here; `run` asks the gate. A file that stands against a directory of the same
name is one `Replacement`, kept for after the gate. Everything that the source has in any form, be it a link that is
skipped or a name that failed, protects what the destination has under that name. Main thread only.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import AlreadyExists, InvalidName, IsADirectory, StoreError, TooLarge
from cftool.core.types import Cap, Entry, Kind
from cftool.transfer.actions import Action, Doomed, Replacement, Seen
from cftool.transfer.compare import Comparer, Finding, Verdict
from cftool.transfer.merge import Twins
from cftool.transfer.options import Links, Options, Side
from cftool.transfer.scan import Scan, is_mark
from cftool.transfer.select import chosen
from cftool.transfer.spool import Spool
from cftool.transfer.tally import Tally

if TYPE_CHECKING:
    from cftool.transfer.state import Row

_FILE, _DIRECTORY, _LINK = Kind.FILE, Kind.DIRECTORY, Kind.LINK
_TELL = 1000  # steps between Scanned events

Steps = Iterator[tuple[bytes, "Entry | Twins | None", "Entry | Twins | None", "Row | None"]]


@dataclass(slots=True)  # not frozen, which would take three times as long to make
class _Shadow:
    """A file on one side whose name may still turn up as a directory: at `limit`, before any key behind it."""

    limit: bytes
    action: Action | None = None  # a copy that waits
    doomed: Entry | None = None  # a deletion that waits


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the plan needs done elsewhere."""

    check: Callable[[bytes, Entry, Entry, "Row | None"], None]  # compare in a thread; comes back by `found`
    equal: Callable[[bytes, Entry, Entry, "Row | None"], None]  # record
    make_directory: Callable[[str], None]
    forget: Callable[[bytes], None]  # a row that neither side has a file for
    accepted: frozenset[int]  # numbers of the sources whose rows vouch for it
    same: Callable[[bytes, Entry, Entry], None] | None = None  # of mv: the source's may go; never by its size alone
    directory: Callable[[str], None] = lambda _path: None  # one that the source has
    keeps: Callable[[str], bool] = lambda _path: False  # what the destination has for itself: an old version


class Plan:
    """The plan of one run of cp or sync."""

    def __init__(
        self,
        src: Side,
        dst: Side,
        options: Options,
        *,
        delete: bool,
        tally: Tally,
        comparer: Comparer,
        hooks: Hooks,
        scans: tuple[Scan, Scan],
        spool_dir: str | None,
    ) -> None:
        self.ready: deque[Action] = deque()
        self.seen = Seen()
        self.doomed = Doomed(Spool(spool_dir), Spool(spool_dir), Spool(spool_dir))
        self._options = options
        self._delete = delete
        self._tally = tally
        self._comparer = comparer
        self._hooks = hooks
        self._accepted = hooks.accepted
        self._src_scan, self._dst_scan = scans
        self._dst = dst.store
        self._spool_dir = spool_dir
        features = dst.store.features
        self._rules = features.names
        self._size_limit = features.size_limit
        self._makes_directories = Cap.EMPTY_DIRS in features.caps
        self._implicit = Cap.IMPLICIT_DIRS in features.caps
        self._shadows: list[_Shadow] = []
        self._hold: bytes | None = None  # below this key nothing is copied and nothing deleted
        # A source directory without entries so far, and what it belongs to: by the time that it is known to stay
        # empty, another may be replaced.
        self._empty: tuple[bytes, Entry, Replacement | None] | None = None
        self._top: bytes | None = None  # the topmost directory that only the destination has
        self._replacing: tuple[bytes, Replacement] | None = None
        self._told = 0

    def actions(self, steps: Steps) -> Iterator[Action]:
        """Actions as they are found; deferred ones come through `ready`."""
        ready, shadows = self.ready, self._shadows
        quick = self._comparer.quick
        tally = self._tally
        problems = (self._src_scan.problems, self._dst_scan.problems)
        for key, src, dst, row in steps:
            if shadows:
                if len(shadows) == 1 and key > shadows[0].limit:  # as nearly always
                    self._release(shadows.pop())
                else:
                    self._lift(key, src, dst)
            if self._hold is not None or self._empty is not None or problems[0] or problems[1]:
                self._between(key, src)
                if self._hold is not None:
                    self._held(src, dst)
                    continue
            if type(src) is Entry and type(dst) is Entry and src[1] is _FILE and dst[1] is _FILE:
                self._count_pair(src, row)
                verdict, by = quick(src, dst, row)
                self._decided(key, src, dst, row, verdict, by)
            elif dst is None and row is None and type(src) is Entry and src[1] is _FILE:  # of a first run, each
                self.seen.source_entries += 1
                self._source_file(key, src, None, None)
            else:
                self._step(key, src, dst, row)
            while ready:
                yield ready.popleft()
            self._told += 1
            if self._told >= _TELL:
                self._told = 0
                tally.scanned(complete=False)
        while shadows:
            self._release(shadows.pop())
        self._flush_empty(b"", None)
        while ready:
            yield ready.popleft()

    def close(self) -> None:
        """Give the space of what was collected back."""
        doomed = self.doomed
        for spool in (doomed.files, doomed.directories, doomed.tops, *(one.files for one in doomed.replacements)):
            spool.close()

    def found(self, key: bytes, row: "Row | None", finding: Finding) -> None:
        """A comparison in a thread has ended."""
        if finding.verdict is Verdict.EQUAL and finding.by != "size_only":
            self._count(finding.by)
            self._hooks.equal(key, finding.src, finding.dst, row)
            if self._hooks.same is not None:
                self._hooks.same(key, finding.src, finding.dst)
        else:
            self._decided(key, finding.src, finding.dst, row, finding.verdict, finding.by)

    # ---- pairs of files

    def _count_pair(self, src: Entry, row: "Row | None") -> None:
        seen = self.seen
        seen.source_files += 1
        seen.source_entries += 1
        seen.destination_files += 1
        seen.destination_entries += 1
        self._tally.files += 1
        self._tally.bytes_seen += src[2] or 0
        if row is not None and row[4] in self._accepted:
            seen.recorded += 1
            seen.recorded_seen += 1

    def _count(self, by: str) -> None:
        self._tally.checked += 1
        if by:
            self._tally.compared_by[by] += 1

    def _decided(self, key: bytes, src: Entry, dst: Entry, row: "Row | None", verdict: Verdict, by: str) -> None:
        if verdict is Verdict.CHECK:
            self._hooks.check(key, src, dst, row)
            return
        if verdict is Verdict.EQUAL and self._hooks.same is not None:
            if by == "size_only" and not self._options.size_only:
                verdict, by = Verdict.COPY, "forced"
            else:
                self._hooks.same(key, src, dst)
        self._count("" if by == "forced" else by)
        if verdict is Verdict.COPY:
            self._copy(Action(key, src, dst))
        elif verdict is Verdict.NEWER:
            self._tally.skipped(src.path, "newer")
        elif verdict is Verdict.EXISTING:
            self._tally.skipped(src.path, "existing")
        elif by not in {"state", "size_only"}:
            self._hooks.equal(key, src, dst, row)

    def _copy(self, action: Action) -> None:
        """Let an action go, unless the destination cannot hold it."""
        src = action.src
        reason = paths.problem(action.path, self._rules)
        if reason is not None:
            self._tally.failed(src.path, InvalidName(f"the name {reason}", op="write", path=src.path))
            return
        limit = self._size_limit
        if limit is not None and src.size is not None and src.size > limit:
            self._tally.failed(src.path, TooLarge(f"larger than {limit} bytes", op="write", path=src.path))
            return
        self._tally.to_copy += 1
        self._tally.to_copy_bytes += src.size or 0
        replacement = self._replacement_of(action.key)
        if replacement is not None:
            replacement.files.append(action.key, src)
        else:
            self.ready.append(action)

    # ---- everything else

    def _step(self, key: bytes, src: Entry | Twins | None, dst: Entry | Twins | None, row: "Row | None") -> None:
        seen = self.seen
        if row is not None and row[4] in self._accepted:
            seen.recorded += 1
            seen.recorded_seen += src is not None
        if row is not None and src is None and dst is None:
            self._hooks.forget(key)
        if isinstance(dst, Twins):
            dst = self._of_twins(key, src, dst)
        if isinstance(src, Twins):
            self._source_twins(key, src)
            if dst is not None:
                self._keep(dst)
            return
        if src is not None:
            if is_mark(src):
                self._tally.skipped_by["excluded"] += 1  # counted, not told: the filter says which
                if not self._options.delete_excluded:
                    self._shadow(_Shadow(key + b"/"))
                    self._count_destination(dst)
                    return
                src = None
            else:
                seen.source_entries += 1
        self._count_destination(dst)
        if src is None:
            if dst is not None:
                self._only_at_destination(key, dst)
        elif src.kind is _FILE:
            self._source_file(key, src, dst, row)
        elif src.kind is _DIRECTORY:
            self._hooks.directory(src.path)
            if dst is None:
                self._empty = (key, src, self._replacement_of(key))
        else:
            self._no_file(src)
            if dst is None:
                self._shadow(_Shadow(key + b"/"))

    def _no_file(self, src: Entry) -> None:
        if src.kind is _LINK and self._options.links is Links.FOLLOW:
            self._tally.failed(src.path, StoreError("the link leads nowhere", op="read", path=src.path))
        else:
            self._tally.skipped(src.path, "link" if src.kind is _LINK else "special")

    def _count_destination(self, dst: Entry | None) -> None:
        if dst is not None:
            self.seen.destination_entries += 1
            self.seen.destination_files += dst.kind is _FILE

    def _source_file(self, key: bytes, src: Entry, dst: Entry | None, row: "Row | None") -> None:
        self.seen.source_files += 1
        self._tally.files += 1
        self._tally.bytes_seen += src.size or 0
        if dst is not None and dst.kind is _FILE:  # one of twins
            verdict, by = self._comparer.quick(src, dst, row)
            self._decided(key, src, dst, row, verdict, by)
        elif self._options.existing and dst is None:
            self._tally.skipped(src.path, "existing")
        else:
            self._shadow(_Shadow(key + b"/", action=Action(key, src, None, replaces=dst is not None)))

    def _only_at_destination(self, key: bytes, dst: Entry) -> None:
        if not self._delete:
            return
        if dst.kind is _DIRECTORY:
            self._doom_directory(key, dst)
        elif dst.kind is _FILE:
            if self._hooks.keeps(dst.path):
                return
            if not self._options.delete_excluded and not chosen(self._dst, self._options.select, dst):
                self._tally.skipped_by["excluded"] += 1  # by its size or age: its name is in the selection
                return
            self._shadow(_Shadow(key + b"/", doomed=dst))
        else:
            self._keep(dst)

    def _keep(self, dst: Entry) -> None:
        """Links and special files at the destination are nobody's copy: they stay."""
        if dst.kind not in {_FILE, _DIRECTORY}:
            self._tally.skipped(dst.path, "link" if dst.kind is _LINK else "special")

    # ---- names that fold to one

    def _of_twins(self, key: bytes, src: Entry | Twins | None, dst: Twins) -> Entry | None:
        """The one of the destination's names that the source's meets; the others only the destination has."""
        names = [src.path] if isinstance(src, Entry) else []
        chosen = next((entry for entry in dst.entries if entry.path in names), dst.entries[0])
        for entry in dst.entries:
            if entry is not chosen:
                self.seen.destination_entries += 1
                self.seen.destination_files += entry.kind is _FILE
                if src is None or entry.kind is not _DIRECTORY:
                    self._only_at_destination(key, entry)
        return chosen

    def _source_twins(self, key: bytes, twins: Twins) -> None:
        names = [entry.path for entry in twins.entries]
        for entry in twins.entries:
            others = ", ".join(_told_apart(name, entry.path) for name in names if name != entry.path)
            self.seen.source_entries += 1
            self.seen.source_files += entry.kind is _FILE
            self._tally.failed(
                entry.path,
                AlreadyExists(f"the destination cannot tell it from {others}", op="write", path=entry.path),
            )
        if twins.entries[0].kind is _DIRECTORY:
            self._hold = key
        else:
            self._shadow(_Shadow(key + b"/"))

    # ---- directories

    def _between(self, key: bytes, src: Entry | Twins | None) -> None:
        """Before a step: leave what is behind, and enter what could not be listed."""
        if self._hold is not None and not key.startswith(self._hold):
            self._hold = None
        if self._empty is not None and src is not None:
            self._flush_empty(key, src)
        if self._hold is None:
            for scan in (self._src_scan, self._dst_scan):
                for problem in scan.problems:
                    if key.startswith(problem.key):
                        self._hold = problem.key

    def _flush_empty(self, key: bytes, following: Entry | Twins | None) -> None:
        """Make the directory that waits where `following` shows that nothing will come into it by itself."""
        if self._empty is None:
            return
        inside, directory, replacement = self._empty
        if following is not None and key.startswith(inside):
            # Links do not come over, so that their directory is made; one that the filter empties is not.
            if isinstance(following, Twins) or following.kind in {_FILE, _DIRECTORY} or is_mark(following):
                self._empty = None
            return
        self._empty = None
        if self._options.existing:
            return
        if not self._makes_directories:
            self._tally.skipped(directory.path, "empty")
            return
        reason = paths.problem(directory.path, self._rules)
        if reason is not None:
            self._tally.failed(directory.path, InvalidName(f"the name {reason}", op="mkdir", path=directory.path))
        elif replacement is not None:
            replacement.directories.append(directory.path)
        else:
            self._hooks.make_directory(directory.path)

    def _doom_directory(self, key: bytes, dst: Entry) -> None:
        self._doom(key, dst)
        if self._top is None or not key.startswith(self._top):
            self._top = key

    def _doom(self, key: bytes, dst: Entry) -> None:
        """Plan a deletion. What is below a directory that goes as a whole needs no look of its own."""
        doomed = self.doomed
        is_dir = dst.kind is _DIRECTORY
        covered = self._top is not None and key.startswith(self._top)
        if not covered:
            self._top = None
            doomed.tops.append(key, dst)
        if is_dir and self._implicit and dst.stored_ns is None:
            return  # goes with what is below it
        doomed.entry_count += 1
        doomed.file_count += not is_dir
        if self._replacement_of(key) is not None:
            return  # goes with the directory that is replaced
        if not is_dir:
            doomed.files.append(key, dst)
        else:
            doomed.directories.append(key, dst)

    def _held(self, src: Entry | Twins | None, dst: Entry | Twins | None) -> None:
        """Count what is left alone."""
        seen = self.seen
        for entry in _each(src):
            seen.source_entries += 1
            seen.source_files += entry.kind is _FILE
        for entry in _each(dst):
            seen.destination_entries += 1
            seen.destination_files += entry.kind is _FILE

    # ---- a file against a directory

    def _shadow(self, shadow: _Shadow) -> None:
        if self._rules.opaque:  # both may stand side by side
            self._release(shadow)
        else:
            self._shadows.append(shadow)

    def _release(self, shadow: _Shadow) -> None:
        """No directory of this name came."""
        if shadow.action is not None:
            self._copy(shadow.action)
        elif shadow.doomed is not None:
            self._doom(shadow.limit[:-1], shadow.doomed)

    def _lift(self, key: bytes, src: Entry | Twins | None, dst: Entry | Twins | None) -> None:
        """Release what is behind; where the very name comes as a directory, settle the conflict."""
        shadows = self._shadows
        while shadows and key > shadows[-1].limit:
            self._release(shadows.pop())
        if not shadows or key != shadows[-1].limit:
            return
        shadow = shadows.pop()
        if shadow.action is not None:
            self._file_over_directory(key, shadow.action, src, dst)
        elif shadow.doomed is not None:
            self._directory_over_file(key, shadow.doomed, src)
        elif dst is not None:
            self._hold = key  # a link, or a name that failed, at the source: the directory stays

    def _file_over_directory(
        self, key: bytes, action: Action, src: Entry | Twins | None, dst: Entry | Twins | None
    ) -> None:
        path = action.src.path
        if src is not None:
            self._tally.failed(
                path, IsADirectory("the source has a file and a directory of this name", op="write", path=path)
            )
        elif not self._delete or not isinstance(dst, Entry):
            self._tally.failed(path, IsADirectory("a directory stands at the destination", op="write", path=path))
            self._hold = key
        else:
            replacement = Replacement(dst, Spool(self._spool_dir))
            self.doomed.replacements.append(replacement)
            self._replacing = (action.key, replacement)
            self._copy(action)
            self._replacing = (key, replacement)

    def _replacement_of(self, key: bytes) -> Replacement | None:
        """The replacement under way that what is at or below `key` belongs to."""
        return self._replacing[1] if self._replacing is not None and key.startswith(self._replacing[0]) else None

    def _directory_over_file(self, key: bytes, old: Entry, src: Entry | Twins | None) -> None:
        if not isinstance(src, Entry):
            self._doom(key[:-1], old)
            return
        replacement = Replacement(old, Spool(self._spool_dir))
        self.doomed.replacements.append(replacement)
        self.doomed.entry_count += 1
        self.doomed.file_count += 1
        self._replacing = (key, replacement)


def _each(item: Entry | Twins | None) -> Iterable[Entry]:
    if item is None:
        return ()
    return item.entries if isinstance(item, Twins) else (item,)


def _told_apart(name: str, other: str) -> str:
    """`name` so that it does not look like `other`: two Unicode forms of the same letters are drawn alike."""
    from unicodedata import normalize  # few trees have such names

    if normalize("NFC", name) != normalize("NFC", other):
        return paths.printable(name)
    return f"{ascii(name)[1:-1]}, the same letters in another Unicode form"
