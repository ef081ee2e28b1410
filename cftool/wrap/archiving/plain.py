"""Plain objects of the store below, as the archive sees them: foreign files, and large files under their own names.

One `Plain` serves one change: what it has looked up it remembers, so that a batch costs a listing of a directory and no
request a file. On services that fold names it trusts listings alone: a stat answers for a twin.
"""

from collections.abc import Iterator

from cftool.core import ops, paths
from cftool.core.errors import NotADirectory, NotFound
from cftool.core.store import Store
from cftool.core.types import Cap, Entry, Features
from cftool.wrap.archiving import names


def folds(features: Features) -> bool:
    """Whether the service takes two names for one."""
    return not features.names.case_sensitive or features.names.unicode_form is not None


def fingerprint(entry: Entry) -> str:
    """Tells one content of a plain object from another, as far as the service lets us."""
    return entry.version or f"{entry.size}:{entry.modified_ns}:{entry.stored_ns}"


class Plain:
    """`listing`: ask by listings of directories, for many paths; else by stat."""

    def __init__(self, inner: Store, *, listing: bool) -> None:
        self._inner = inner
        features = inner.features
        self._rules = features.names
        self._listing = listing or folds(features)
        self._listed: dict[str, dict[str, Entry]] = {}
        self._known: dict[str, Entry | None] = {}

    def at(self, path: str) -> Entry | None:
        """What is there; None also where the service can hold no such name."""
        if not path or names.reserved(path) or paths.problem(path, self._rules) is not None:
            return None
        if self._listing:
            return self._level(paths.parent(path)).get(path)
        if path not in self._known:
            self._known[path] = self._stat(path)
        return self._known[path]

    def empty(self, path: str) -> bool:
        """Whether a plain directory has nothing in it."""
        return not any(not names.reserved(child) for child in self._level(path))

    def gone(self, path: str) -> None:
        """It was removed."""
        self._known[path] = None
        self._listed.get(paths.parent(path), {}).pop(path, None)

    def forget(self) -> None:
        """Ask anew."""
        self._listed.clear()
        self._known.clear()

    def _stat(self, path: str) -> Entry | None:
        try:
            return self._inner.stat(path)
        except (NotFound, NotADirectory):
            return None

    def _level(self, path: str) -> dict[str, Entry]:
        """One directory by path; nothing where there is none."""
        if path in self._listed:
            return self._listed[path]
        found: dict[str, Entry] = {}
        if self._is_directory(path):
            try:
                found = {entry.path: entry for entry in self._inner.scan(path)}
            except (NotFound, NotADirectory):
                found = {}
        self._listed[path] = found
        return found

    def _is_directory(self, path: str) -> bool:
        if not path or not self._listing:
            return True  # the listing will say
        entry = self._level(paths.parent(path)).get(path)
        return entry is not None and entry.is_dir

    def walk(self, path: str) -> Iterator[Entry]:
        """All below a plain directory in the order of the merge."""
        return (entry for entry in ops.walk_anyhow(self._inner, path) if not names.reserved(entry.path))

    def safe(self, path: str) -> bool:
        """Whether a large file may lie under its own name: see DESIGN.md."""
        features = self._inner.features
        return (
            not folds(features)
            and features.time_precision_ns is not None
            and paths.problem(path, features.names) is None
            and (Cap.EMPTY_DIRS in features.caps or Cap.IMPLICIT_DIRS in features.caps)
        )
