"""Which rows touch a path: at it, above it or below it. An index by path, so that no question looks at every row."""

from collections.abc import Iterator

from cftool.core import paths

_NONE: set[str] = set()


class Above:
    """The directories above some paths, and their names by directory. Each counts what is right below it."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._names: dict[str, set[str]] = {}

    def __contains__(self, directory: str) -> bool:
        """Whether something is below it."""
        return directory in self._counts

    def names(self, directory: str) -> set[str]:
        """Of the directories in `directory`; not to be changed."""
        return self._names.get(directory, _NONE)

    def add(self, path: str) -> None:
        """One more path."""
        counts = self._counts
        while path:
            path = path.rpartition("/")[0]
            if path in counts:
                counts[path] += 1
                return
            counts[path] = 1
            if path:
                parent, _, name = path.rpartition("/")
                self._names.setdefault(parent, set()).add(name)

    def remove(self, path: str) -> None:
        """One less."""
        counts = self._counts
        while path:
            path = path.rpartition("/")[0]
            counts[path] -= 1
            if counts[path]:
                return
            del counts[path]
            if path:
                parent, _, name = path.rpartition("/")
                names = self._names[parent]
                names.discard(name)
                if not names:
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
            self._nodes.add(f"{place}/.")
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
            self._nodes.remove(f"{place}/.")

    def touching(self, path: str) -> Iterator[int]:
        """Numbers of rows at `path`, above it and below it, in no order; some may come twice."""
        above = path
        while above:
            above = paths.parent(above)
            yield from self._at.get(above, ())
        todo = [path] if not path or path in self._nodes else []
        while todo:
            place = todo.pop()
            yield from self._at.get(place, ())
            todo += [paths.join(place, name) for name in self._nodes.names(place)]
