"""What pending changes make of the tree below: which path shows what. Pure; see DESIGN.md, "What is shown".

Between two renames the rows form a segment, in which each path is decided by its last row alone. A path is followed
from the newest segment to the oldest: a row decides it, or a rename maps it to where it came from, or the store below
has it.
"""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cftool.core import paths
from cftool.wrap.caching.rows import Pending, What


class Shows(enum.Enum):
    """What decides a path."""

    PENDING = "pending"  # a file or directory that only the journal has
    GONE = "gone"
    BELOW = "below"  # the store below, at `Found.path`


@dataclass(frozen=True, slots=True)
class Found:
    """The answer for one path. `path`: where the store below has it; `row`: the pending row.

    `implied`: pending files below it make it a directory, whatever the store below says.
    """

    shows: Shows
    path: str = ""
    row: Pending | None = None
    implied: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """A directory: what rows decide of its names, its implied directories, and where the store below has the rest."""

    decided: dict[str, Found]
    implied: set[str]
    below: str | None  # None: nowhere


_GONE = Found(Shows.GONE)


class _Above:
    """The directories above some paths: how many of these each has below it, and their names by directory."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._names: dict[str, set[str]] = {}

    def names(self, directory: str) -> set[str]:
        """Of the directories in `directory`; not to be changed."""
        return self._names.get(directory, _NONE)

    def change(self, path: str, by: int) -> None:
        """One more path, or one less."""
        while path:
            path = paths.parent(path)
            count = self.counts.get(path, 0) + by
            parent, _, name = path.rpartition("/")
            if count:
                self.counts[path] = count
                if path:
                    self._names.setdefault(parent, set()).add(name)
                continue
            del self.counts[path]
            if path:
                self._names[parent].discard(name)
                if not self._names[parent]:
                    del self._names[parent]


_NONE: set[str] = set()


class LocalDirs:
    """Directories that are only here, under the names that they are shown by. See DESIGN.md, "Local directories"."""

    def __init__(self, directories: Iterable[str] = ()) -> None:
        self._paths: set[str] = set()
        self._above = _Above()
        self.change(add=directories)

    def __contains__(self, path: str) -> bool:
        """Whether `path` is one, or is above one."""
        return path in self._above.counts

    def change(self, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Both are whole paths; what is no change is ignored."""
        for path in remove:
            if path in self._paths:
                self._paths.discard(path)
                self._above.change(paths.join(path, "."), -1)
        for path in add:
            if path and path not in self._paths:
                self._paths.add(path)
                self._above.change(paths.join(path, "."), 1)

    def names(self, directory: str) -> set[str]:
        """What is shown in `directory` because of them; not to be changed."""
        return self._above.names(directory)

    def below(self, path: str) -> list[str]:
        """Those at or below `path`."""
        return [each for each in self._paths if paths.is_within(each, path)] if path in self else []

    def lead(self, path: str) -> list[str]:
        """Those at or above `path`."""
        found = []
        while path:
            if path in self._paths:
                found.append(path)
            path = paths.parent(path)
        return found


@dataclass(slots=True)
class _Segment:
    """Rows between two renames; `moved` is the rename right before it."""

    moved: Pending | None = None
    there: dict[str, Pending] = field(default_factory=dict)  # uploads and new directories
    gone: dict[str, Pending] = field(default_factory=dict)  # removed, with all that was below it then
    children: dict[str, set[str]] = field(default_factory=dict)  # names that this segment decides, by directory
    above: _Above = field(default_factory=_Above)  # of what is there

    def add(self, row: Pending) -> None:
        path = row.path
        if row.what in {What.UPLOAD, What.MKDIR}:
            if path not in self.there:
                self.above.change(path, 1)
            self.there[path] = row
        else:
            if self.there.pop(path, None) is not None:
                self.above.change(path, -1)
            self.gone[path] = row
        parent, _, name = path.rpartition("/")
        self.children.setdefault(parent, set()).add(name)

    def drop(self, row: Pending) -> None:
        if self.there.get(row.path) is row:
            del self.there[row.path]
            self.above.change(row.path, -1)
        if self.gone.get(row.path) is row:
            del self.gone[row.path]
        if row.path not in self.there and row.path not in self.gone:
            parent, _, name = row.path.rpartition("/")
            names = self.children.get(parent)
            if names is not None:
                names.discard(name)
                if not names:
                    del self.children[parent]

    def removed(self, path: str) -> bool:
        """Whether what older segments and the store below have at `path` was removed here."""
        gone = self.gone
        if not gone:
            return False
        while path:
            if path in gone:
                return True
            path = paths.parent(path)
        return False


def _moved(path: str, src: str, dst: str) -> str | None:
    """`path` below `dst` as it was called below `src`; None where it is not below `dst`."""
    return src + path[len(dst) :] if paths.is_within(path, dst) else None


class Overlay:
    """The rows of a journal, in order. Not thread-safe: the owner of the rows locks."""

    def __init__(self, rows: Iterable[Pending] = (), local: Iterable[str] = ()) -> None:
        self._segments: list[_Segment] = [_Segment()]
        self.local = LocalDirs(local)
        self.rows: dict[int, Pending] = {}
        for row in rows:
            self.add(row)

    def __bool__(self) -> bool:
        return bool(self.rows)

    def add(self, row: Pending) -> None:
        """The newest row."""
        self.rows[row.seq] = row
        if row.what is What.RENAME:
            self._segments.append(_Segment(moved=row))
        else:
            self._segments[-1].add(row)

    def drop(self, row: Pending) -> None:
        """A row that is done, or was merged into another."""
        del self.rows[row.seq]
        if row.what is What.RENAME:
            # What it waited for is done, so the rest of the older segments has nothing to do with its paths.
            rest = list(self.rows.values())
            self._segments = [_Segment()]
            self.rows = {}
            for each in rest:
                self.add(each)
            return
        for segment in self._segments:
            segment.drop(row)

    def replace(self, row: Pending) -> None:
        """The same row with other fields that do not decide what is shown: its state, its times."""
        old = self.rows[row.seq]
        self.rows[row.seq] = row
        for segment in self._segments:
            for rows in (segment.there, segment.gone):
                if rows.get(row.path) is old:
                    rows[row.path] = row
            if segment.moved is old:
                segment.moved = row

    # ---- single paths

    def find(self, path: str) -> Found:
        """What decides `path`."""
        return self._followed(path, self._segments, implied=path in self.local)

    def find_without_local(self, path: str) -> Found:
        """The same as if there were no local directories."""
        return self._followed(path, self._segments)

    def _followed(self, path: str, segments: list[_Segment], *, implied: bool = False) -> Found:
        for segment in reversed(segments):
            row = segment.there.get(path)
            if row is not None:
                return Found(Shows.PENDING, path, row)
            implied = implied or path in segment.above.counts
            if segment.removed(path):
                return Found(Shows.GONE, implied=implied)
            moved = segment.moved
            if moved is None:
                continue
            assert moved.dst is not None
            earlier = _moved(path, moved.path, moved.dst)
            if earlier is not None:
                path = earlier
            elif paths.is_within(path, moved.path):
                return Found(Shows.GONE, implied=implied)
        return Found(Shows.BELOW, path, implied=implied)

    # ---- directories

    def children(self, directory: str) -> Listing:
        """What the rows make of a directory."""
        decided: dict[str, Found] = {}
        implied: set[str] = set(self.local.names(directory))
        for number in range(len(self._segments) - 1, -1, -1):
            segment = self._segments[number]
            implied |= segment.above.names(directory) - decided.keys()
            for name in segment.children.get(directory, ()):
                path = paths.join(directory, name)
                row = segment.there.get(path)
                if row is not None:
                    decided.setdefault(name, Found(Shows.PENDING, path, row))
                elif path in segment.gone:
                    decided.setdefault(name, _GONE)
            # Made here, or removed: nothing older is in it.
            if segment.removed(directory) or directory in segment.there:
                return Listing(decided, implied, None)
            moved = segment.moved
            if moved is None:
                continue
            assert moved.dst is not None
            earlier = _moved(directory, moved.path, moved.dst)
            if earlier is not None:
                directory = earlier
                continue
            if paths.is_within(directory, moved.path):
                return Listing(decided, implied, None)
            for path, is_there in ((moved.dst, True), (moved.path, False)):
                parent, _, name = path.rpartition("/")
                if parent == directory:
                    decided.setdefault(name, self._followed(moved.path, self._segments[:number]) if is_there else _GONE)
        return Listing(decided, implied, directory)

    # ---- what is in the way

    def touching(self, path: str) -> Iterator[Pending]:
        """Rows at `path`, above it or below it, oldest first."""
        for row in self.rows.values():
            if any(paths.is_within(place, path) or paths.is_within(path, place) for place in row.places):
                yield row

    def last(self, path: str) -> Pending | None:
        """The newest row of exactly this path that no rename came after; None where there is none."""
        segment = self._segments[-1]
        return segment.there.get(path) or segment.gone.get(path)

    def shown(self, row: Pending) -> str | None:
        """The name by which the directory that `row` makes is shown by now; None: it was removed since."""
        path = row.path
        for later in self.rows.values():
            if later.seq <= row.seq:
                continue
            if later.what is What.RENAME:
                assert later.dst is not None
                path = _moved(path, later.dst, later.path) or path
            elif later.what is What.RMDIR and paths.is_within(path, later.path):
                return None
        return path
