"""What pending changes make of the tree below: which path shows what. Pure; see DESIGN.md, "What is shown".

Between two renames the rows form a segment, in which each path is decided by its last row alone. A path is followed
from the newest segment to the oldest: a row decides it, or a rename maps it to where it came from, or the store below
has it.
"""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter

from cftool.core import paths
from cftool.wrap.caching.places import Below, Places
from cftool.wrap.caching.rows import Pending, State, What
from cftool.wrap.caching.schedule import Schedule

# A class's members are slow to get at, and every row of a large journal is looked at when it is opened.
_UPLOAD, _MKDIR, _RENAME, _FAILED = What.UPLOAD, What.MKDIR, What.RENAME, State.FAILED


class Shows(enum.Enum):
    """What decides a path."""

    PENDING = "pending"  # a file or directory that only the journal has
    GONE = "gone"
    BELOW = "below"  # the store below, at `Found.path`


@dataclass(frozen=True, slots=True)
class Found:
    """The answer for one path. `path`: where the store below has it; `row`: the pending row.

    `implied`: pending files below it make it a directory, whatever the store below says. `otherwise`: where the store
    below has it if a rename that was tried has happened there already.
    """

    shows: Shows
    path: str = ""
    row: Pending | None = None
    implied: bool = False
    otherwise: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A directory: what rows decide of its names, its implied directories, and where the store below has the rest."""

    decided: dict[str, Found]
    implied: set[str]
    below: str | None  # None: nowhere
    otherwise: str | None = None  # some of it may be there, as `Found.otherwise`


_GONE = Found(Shows.GONE)


class LocalDirs:
    """Directories that are only here, under the names that they are shown by. See DESIGN.md, "Local directories"."""

    def __init__(self, directories: Iterable[str] = ()) -> None:
        self._paths: set[str] = set()
        self._below = Below(self._paths)
        self.change(add=directories)

    def __contains__(self, path: str) -> bool:
        """Whether `path` is one, or is above one."""
        return path in self._paths or path in self._below

    def change(self, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Both are whole paths; what is no change is ignored."""
        for path in remove:
            if path in self._paths:
                self._paths.discard(path)
                self._below.remove(path)
        for path in add:
            if path and path not in self._paths:
                self._paths.add(path)
                self._below.add(path)

    def names(self, directory: str) -> set[str]:
        """What is shown in `directory` because of them."""
        return {_name(path, directory) for path in self._below.inside(directory)}

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


class _Segment:
    """Rows between two renames; `moved` is the rename right before it."""

    __slots__ = ("_gone_below", "above", "gone", "moved", "rows", "there")

    def __init__(self, moved: Pending | None = None) -> None:
        self.moved = moved
        self.there: dict[str, Pending] = {}  # uploads and new directories
        self.above = Below(self.there)
        self.gone: dict[str, Pending] = {}  # removed, with all that was below it then
        self._gone_below = Below(self.gone)
        self.rows: dict[int, Pending] = {}

    def add(self, row: Pending) -> None:
        path = row.path
        self.rows[row.seq] = row
        if row.what is _UPLOAD or row.what is _MKDIR:
            if path not in self.there:
                self.above.add(path)
            self.there[path] = row
        else:
            if self.there.pop(path, None) is not None:
                self.above.remove(path)
            if path not in self.gone:
                self._gone_below.add(path)
            self.gone[path] = row

    def replace(self, old: Pending, row: Pending) -> None:
        self.rows[row.seq] = row
        for rows in (self.there, self.gone):
            if rows.get(row.path) is old:
                rows[row.path] = row

    def drop(self, row: Pending) -> None:
        del self.rows[row.seq]
        if self.there.get(row.path) is row:
            del self.there[row.path]
            self.above.remove(row.path)
        if self.gone.get(row.path) is row:
            del self.gone[row.path]
            self._gone_below.remove(row.path)

    def directories(self, directory: str) -> set[str]:
        """Names in `directory` that something here is below."""
        return {_name(path, directory) for path in self.above.inside(directory) if path in self.above}

    def decided(self, directory: str) -> Iterator[tuple[str, Found]]:
        """Names in `directory` that rows of this segment decide."""
        for path in self.above.inside(directory):
            row = self.there.get(path)
            if row is not None:
                yield _name(path, directory), Found(Shows.PENDING, path, row)
        for path in self._gone_below.inside(directory):
            if path in self.gone and path not in self.there:
                yield _name(path, directory), _GONE

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


def _name(path: str, directory: str) -> str:
    return path[len(directory) + 1 :] if directory else path


def _moved(path: str, src: str, dst: str) -> str | None:
    """`path` below `dst` as it was called below `src`; None where it is not below `dst`."""
    return src + path[len(dst) :] if paths.is_within(path, dst) else None


class Overlay:
    """The rows of a journal, in order. Not thread-safe: the owner of the rows locks."""

    def __init__(self, rows: Iterable[Pending] = (), local: Iterable[str] = ()) -> None:
        self._segments: list[_Segment] = [_Segment()]
        self._segment_of: dict[int, _Segment] = {}
        self._followers: dict[int, list[int]] = {}  # rows by the row that they wait for (`after`)
        self._of_content: dict[int, int] = {}
        self.local = LocalDirs(local)
        self.rows: dict[int, Pending] = {}
        self.coming = 0  # bytes of all uploads
        self.failed: set[int] = set()  # rows that no later try can help by itself
        for row in rows:
            self._lay(row)

    # Who only looks at what is shown needs neither of these, and who opens a large journal not at once.

    @cached_property
    def schedule(self) -> Schedule:
        """When each row may be done."""
        return Schedule(self.rows)

    @cached_property
    def _places(self) -> Places:
        places = Places()
        for row in self.rows.values():
            for place in row.places:
                places.add(row.seq, place)
        return places

    def add(self, row: Pending) -> None:
        """The newest row."""
        places = self._places  # of those before
        self._lay(row)
        for place in row.places:
            places.add(row.seq, place)
        self.schedule.put(row)

    def _lay(self, row: Pending) -> None:
        """Over the others."""
        self.rows[row.seq] = row
        self._enter(row)
        if row.what is _RENAME:
            self._segments.append(_Segment(moved=row))
            self._segment_of[row.seq] = self._segments[-1]
        else:
            self._segments[-1].add(row)
            self._segment_of[row.seq] = self._segments[-1]

    def _enter(self, row: Pending) -> None:
        """What is known of a row by its fields."""
        if row.after is not None:
            self._followers.setdefault(row.after, []).append(row.seq)
        if row.content is not None:
            self._of_content[row.content] = row.seq
        if row.what is _UPLOAD:
            self.coming += row.size or 0
        if row.state is _FAILED:
            self.failed.add(row.seq)

    def _leave(self, row: Pending) -> None:
        if row.after is not None:
            followers = self._followers[row.after]
            followers.remove(row.seq)
            if not followers:
                del self._followers[row.after]
        if row.content is not None and self._of_content.get(row.content) == row.seq:
            del self._of_content[row.content]
        if row.what is What.UPLOAD:
            self.coming -= row.size or 0
        self.failed.discard(row.seq)

    def drop(self, row: Pending) -> None:
        """A row that is done, or was merged into another."""
        places = self._places
        old = self.rows.pop(row.seq)
        self._leave(old)
        for place in row.places:
            places.remove(row.seq, place)
            self.schedule.again(places.touching(place))
        segment = self._segment_of.pop(row.seq)
        if row.what is What.RENAME:
            self._joined(segment)
        else:
            segment.drop(old)

    def _joined(self, segment: _Segment) -> None:
        """Its rename is done: what that waited for is too, so that nothing older has to do with its paths."""
        number = next(n for n in range(len(self._segments) - 1, -1, -1) if self._segments[n] is segment)
        del self._segments[number]
        earlier = self._segments[number - 1]
        for seq, row in segment.rows.items():
            earlier.add(row)
            self._segment_of[seq] = earlier

    def replace(self, row: Pending) -> None:
        """The same row with other fields that do not decide what is shown: its state, its times."""
        old = self.rows[row.seq]
        self._leave(old)
        self.rows[row.seq] = row
        self._enter(row)
        self.schedule.put(row)
        segment = self._segment_of[row.seq]
        if segment.moved is old:
            segment.moved = row
        else:
            segment.replace(old, row)

    def call(self, old: Pending, row: Pending) -> None:
        """The same row with another path. It stays where it was in the order: renames that came after it count."""
        segment = self._segment_of[old.seq]
        self.drop(old)
        rows = sorted([*self.rows.items(), (row.seq, row)], key=itemgetter(0))
        self.rows.clear()
        self.rows.update(rows)
        self._enter(row)
        segment.add(row)
        self._segment_of[row.seq] = segment
        self._places.add(row.seq, row.path)
        self.schedule.put(row)

    def followers(self, seq: int) -> list[Pending]:
        """Rows that wait for the result of that one."""
        return [self.rows[number] for number in self._followers.get(seq, ())]

    def of_content(self, number: int) -> Pending | None:
        """The row that has that content."""
        seq = self._of_content.get(number)
        return None if seq is None else self.rows[seq]

    @property
    def has_renames(self) -> bool:
        """Whether one is pending."""
        return len(self._segments) > 1

    def renamed(self, path: str) -> Pending | None:
        """The newest rename that has `path` as one of its names, and that none of its directories came after."""
        for segment in reversed(self._segments):
            moved = segment.moved
            if moved is not None:
                if path in moved.places:
                    return moved
                if any(paths.is_within(path, place) for place in moved.places):
                    return None
        return None

    def concerned(self, path: str) -> bool:
        """Whether a row is of the very file that is called `path` now, whatever its directories were called then."""
        for segment in reversed(self._segments):
            moved = segment.moved
            if path in segment.there or path in segment.gone or (moved is not None and path in moved.places):
                return True
            if moved is None:
                continue
            assert moved.dst is not None
            earlier = _moved(path, moved.path, moved.dst)
            if earlier is None and paths.is_within(path, moved.path):
                return False
            path = path if earlier is None else earlier
        return False

    def now(self, row: Pending, path: str) -> str:
        """What `path` of a row is called by now: renames came after it."""
        if self.has_renames:
            own = self._segment_of[row.seq]
            later = iter(self._segments)
            while next(later) is not own:
                pass
            for segment in later:
                moved = segment.moved
                assert moved is not None
                assert moved.dst is not None
                path = _moved(path, moved.dst, moved.path) or path
        return path

    # ---- single paths

    def find(self, path: str) -> Found:
        """What decides `path`."""
        return self._followed(path, self._segments, implied=path in self.local)

    def find_without_local(self, path: str) -> Found:
        """The same as if there were no local directories."""
        return self._followed(path, self._segments)

    def _followed(self, path: str, segments: list[_Segment], *, implied: bool = False) -> Found:
        otherwise = None
        for segment in reversed(segments):
            row = segment.there.get(path)
            if row is not None:
                return Found(Shows.PENDING, path, row)
            implied = implied or path in segment.above
            if segment.removed(path):
                return Found(Shows.GONE, implied=implied)
            moved = segment.moved
            if moved is None:
                continue
            assert moved.dst is not None
            earlier = _moved(path, moved.path, moved.dst)
            if earlier is not None:
                otherwise = otherwise if moved.untried else path
                path = earlier
            elif paths.is_within(path, moved.path):
                return Found(Shows.GONE, implied=implied)
        return Found(Shows.BELOW, path, implied=implied, otherwise=otherwise)

    # ---- directories

    def children(self, directory: str) -> Listing:
        """What the rows make of a directory."""
        decided: dict[str, Found] = {}
        otherwise: str | None = None
        implied: set[str] = set(self.local.names(directory))
        for number in range(len(self._segments) - 1, -1, -1):
            segment = self._segments[number]
            implied |= segment.directories(directory) - decided.keys()
            for name, found in segment.decided(directory):
                decided.setdefault(name, found)
            # Made here, or removed: nothing older is in it.
            if segment.removed(directory) or directory in segment.there:
                return Listing(decided, implied, None)
            moved = segment.moved
            if moved is None:
                continue
            assert moved.dst is not None
            earlier = _moved(directory, moved.path, moved.dst)
            if earlier is not None:
                otherwise = otherwise if moved.untried else directory
                directory = earlier
                continue
            if paths.is_within(directory, moved.path):
                return Listing(decided, implied, None)
            for path, is_there in ((moved.dst, True), (moved.path, False)):
                parent, _, name = path.rpartition("/")
                if parent == directory:
                    decided.setdefault(name, self._arrived(moved, number) if is_there else _GONE)
        return Listing(decided, implied, directory, otherwise)

    def _arrived(self, moved: Pending, number: int) -> Found:
        """What the rename before that segment has brought to its new name."""
        found = self._followed(moved.path, self._segments[:number])
        return found if moved.untried else replace(found, otherwise=moved.dst)

    # ---- what is in the way

    def touching(self, path: str) -> Iterator[Pending]:
        """Rows at `path`, above it or below it, oldest first."""
        if not path:
            return iter(list(self.rows.values()))
        return (self.rows[number] for number in sorted(set(self._places.touching(path))))

    def needed(self, path: str) -> list[Pending]:
        """Those, and the earlier ones that they wait for, oldest first."""
        if not path:
            return list(self.rows.values())
        found: set[int] = set()
        todo = list(self._places.touching(path))
        while todo:
            number = todo.pop()
            if number not in found:
                found.add(number)
                for place in self.rows[number].places:
                    todo += [earlier for earlier in self._places.touching(place) if earlier < number]
        return [self.rows[number] for number in sorted(found)]

    def touched(self, path: str) -> bool:
        """Whether there are rows at `path`, above it or below it."""
        return any(True for _ in self._places.touching(path))

    def blocked(self, row: Pending) -> bool:
        """Whether an earlier row touches one of its paths."""
        return any(number < row.seq for place in row.places for number in self._places.touching(place))

    def last(self, path: str) -> Pending | None:
        """The newest row of exactly this path that no rename of it came after; None where there is none."""
        for segment in reversed(self._segments):
            row = segment.there.get(path) or segment.gone.get(path)
            if row is not None:
                return row
            moved = segment.moved
            if moved is not None and any(
                paths.is_within(path, place) or paths.is_within(place, path) for place in moved.places
            ):
                return None
        return None

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
