"""Which rows touch a path: at it, above it or below it. An index by path, so that no question looks at every row."""

from collections.abc import Collection, Container, Iterator

from cftool.core import paths


class Below:
    """What lies in each of the directories above some paths. The paths are in `members`, which its owner keeps."""

    def __init__(self, members: Container[str]) -> None:
        self._members = members
        self._inside: dict[str, set[str]] = {}

    def __contains__(self, directory: str) -> bool:
        """Whether something is below it."""
        return directory in self._inside

    def inside(self, directory: str) -> Collection[str]:
        """What is right in it: paths, and directories that they are below. Not to be changed."""
        return self._inside.get(directory, ())

    def add(self, path: str) -> None:
        """A new member."""
        inside = self._inside
        while path:
            directory = path.rpartition("/")[0]
            there = inside.get(directory)
            if there is not None:  # those above it are known
                there.add(path)
                return
            inside[directory] = {path}
            path = directory

    def remove(self, path: str) -> None:
        """It is a member no more."""
        inside = self._inside
        while path and path not in inside and path not in self._members:
            directory = path.rpartition("/")[0]
            there = inside[directory]
            there.discard(path)
            if there:
                return
            del inside[directory]
            path = directory


class Places:
    """Numbers of rows by the paths that they touch. Not thread-safe."""

    def __init__(self) -> None:
        self._at: dict[str, tuple[int, ...]] = {}
        self._below = Below(self._at)

    def add(self, number: int, place: str) -> None:
        """A row touches `place`."""
        old = self._at.get(place)
        if old is None:
            self._at[place] = (number,)
            self._below.add(place)
        else:
            self._at[place] = (*old, number)

    def remove(self, number: int, place: str) -> None:
        """It is no more."""
        left = tuple(each for each in self._at[place] if each != number)
        if left:
            self._at[place] = left
        else:
            del self._at[place]
            self._below.remove(place)

    def touching(self, path: str) -> Iterator[int]:
        """Numbers of rows at `path`, above it and below it, in no order; some may come twice."""
        above = path
        while above:
            above = paths.parent(above)
            yield from self._at.get(above, ())
        todo = [path]
        while todo:
            place = todo.pop()
            yield from self._at.get(place, ())
            todo += self._below.inside(place)
