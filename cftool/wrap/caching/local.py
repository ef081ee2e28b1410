"""Directories that are only here. DESIGN.md, "Local directories"."""

from cftool.core import paths
from cftool.core.errors import (
    NotFound,
    TemporaryError,
)
from cftool.wrap.caching.overlay import Shows
from cftool.wrap.caching.reading import Reading
from cftool.wrap.caching.rows import LocalChange


class Local(Reading):
    """See the module."""

    def _left(self, path: str) -> LocalChange | None:
        """Something was removed from its directory, which stays."""
        return LocalChange(add=(paths.parent(path),), remove=(path,)) if self.implicit else None

    def _moved(self, src: str, dst: str) -> LocalChange | None:
        """Under the lock: they move with a directory, and the directories of both names stay."""
        if not self.implicit:
            return None
        old = tuple(self.overlay.local.below(src))
        new = tuple(dst + path[len(src) :] for path in old)
        return LocalChange(add=(*new, paths.parent(src), paths.parent(dst)), remove=old)

    def _only_local(self, path: str) -> bool:
        """Whether neither the remote nor the journal has a directory of that name: it is only shown."""
        with self.lock:
            if path not in self.overlay.local:
                return False
            found = self.overlay.find_without_local(path)
        if found.implied or found.shows is not Shows.BELOW:
            return found.shows is Shows.GONE and not found.implied
        try:
            self._below(found)
        except NotFound:
            return True
        except TemporaryError:
            return False
        return False

    def arrived(self, path: str) -> None:
        """Under the lock: the remote has `path`, and so the directories above it, as long as it is shown there."""
        found = self.overlay.find_without_local(path)
        if found.shows is Shows.BELOW and found.path == path:
            self.localize(remove=tuple(self.overlay.local.lead(paths.parent(path))))

    def _not_needed(self, directory: str, seen: set[str], mark: int) -> None:
        """The remote was seen to have something in it, which is shown."""
        with self.lock:
            if self._settlements == mark and seen - self.overlay.children(directory).decided.keys():
                self.localize(remove=tuple(self.overlay.local.lead(directory)))

    def localize(self, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
        """Under the lock."""
        if add or remove:
            self.journal.localize(LocalChange(add, remove))
            self.overlay.local.change(add=add, remove=remove)
