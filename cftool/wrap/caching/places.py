"""Which rows touch a path: at it, above it or below it. An index by path, so that no question looks at every row."""

from collections.abc import Iterator

from cftool.core import paths

_NONE: set[str] = set()


class Above:
    """The directories above some paths: how many of these each has below it, and their names by directory."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._names: dict[str, set[str]] = {}

    def names(self, directory: str) -> set[str]:
        """Of the directories in `directory`; not to be changed."""
        return self._names.get(directory, _NONE)

    def change(self, path: str, by: int) -> None:
        """One more path, or one less."""
        counts = self.counts
        while path:
            path = paths.parent(path)
            count = counts.get(path, 0)
            counts[path] = count + by
            if count and count + by:
                continue
            if count + by == 0:
                del counts[path]
            if path:
                self._name(path, there=by > 0)

    def _name(self, path: str, *, there: bool) -> None:
        parent, _, name = path.rpartition("/")
        if there:
            self._names.setdefault(parent, set()).add(name)
            return
        self._names[parent].discard(name)
        if not self._names[parent]:
            del self._names[parent]


class Places:
    """Numbers of rows by the paths that they touch. Not thread-safe."""

    def __init__(self) -> None:
        self._at: dict[str, tuple[int, ...]] = {}
        self._nodes = Above()

    def add(self, number: int, place: str) -> None:
        """A row touches `place`."""
        old = self._at.get(place)
        if old is None:
            self._nodes.change(f"{place}/.", 1)
            self._at[place] = (number,)
        else:
            self._at[place] = (*old, number)

    def remove(self, number: int, place: str) -> None:
        """It is no more."""
        left = tuple(each for each in self._at[place] if each != number)
        if left:
            self._at[place] = left
        else:
            del self._at[place]
            self._nodes.change(f"{place}/.", -1)

    def touching(self, path: str) -> Iterator[int]:
        """Numbers of rows at `path`, above it and below it, in no order; some may come twice."""
        above = path
        while above:
            above = paths.parent(above)
            yield from self._at.get(above, ())
        todo = [path] if not path or path in self._nodes.counts else []
        while todo:
            place = todo.pop()
            yield from self._at.get(place, ())
            todo += [paths.join(place, name) for name in self._nodes.names(place)]
