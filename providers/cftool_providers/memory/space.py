"""The tree behind `memory:`: nodes, and the few operations that change it, each whole under one lock.

Knows nothing of Entry batches, downloads or capabilities; `store.MemoryStore` is the Store over it. Content is
immutable bytes, so that a reader keeps what it opened whatever happens to the name.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import field, replace
from itertools import count
from threading import RLock

from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IsADirectory,
    NotADirectory,
    NotFound,
    PreconditionFailed,
)
from cftool.core.types import Entry, Kind

_CHANGES_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class File:
    """Content and what is known about it; replaced as a whole, never changed."""

    data: bytes
    modified_ns: int
    stored_ns: int
    version: str
    id: str
    hashes: dict[str, str]

    def entry(self, path: str) -> Entry:
        """As the store shows it."""
        return Entry(
            path, Kind.FILE, len(self.data), self.modified_ns, self.stored_ns, self.version, self.id, self.hashes
        )


@dataclass(slots=True)
class Directory:
    """Names below one directory."""

    id: str
    children: "dict[str, File | Directory]" = field(default_factory=dict)

    def entry(self, path: str) -> Entry:
        """As the store shows it; a directory has no time here."""
        return Entry(path, Kind.DIRECTORY, id=self.id)


Node = File | Directory


class Space:
    """One tree. Thread-safe: every public method holds the lock from its first look to its last change."""

    def __init__(self, name: str, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.name = name
        self._now_ns = now_ns
        self._numbers = count(1)
        self._lock = RLock()
        self._root = Directory(id="root")
        self._changes: deque[tuple[int, str]] = deque(maxlen=_CHANGES_KEPT)
        self._first_change = 1
        self._next_change = 1

    def node(self, path: str) -> Node:
        """What is at `path`; raises NotFound, also below a file."""
        with self._lock:
            node: Node = self._root
            for name in path.split("/") if path else ():
                child = node.children.get(name) if isinstance(node, Directory) else None
                if child is None:
                    raise NotFound("not found", path=path)
                node = child
            return node

    def file(self, path: str) -> File:
        """The file at `path`."""
        node = self.node(path)
        if isinstance(node, Directory):
            raise IsADirectory("is a directory", path=path)
        return node

    def listing(self, path: str) -> list[Entry]:
        """Entries of one directory, in the order of the merge."""
        with self._lock:
            node = self.node(path)
            if isinstance(node, File):
                raise NotADirectory("is not a directory", path=path)
            entries = [child.entry(paths.join(path, name)) for name, child in node.children.items()]
        entries.sort(key=paths.entry_key)
        return entries

    def put(self, path: str, data: bytes, modified_ns: int | None, if_version: str | None, if_absent: bool) -> Entry:
        """Store a file and its missing parents."""
        # Outside the lock: hashing a large file must not stop the other threads.
        hashes = {name: hashlib.new(name, data, usedforsecurity=False).hexdigest() for name in ("md5", "sha256")}
        with self._lock:
            self._may_put(path, if_version, if_absent)
            now = self._now_ns()
            number = str(next(self._numbers))
            return self._place(
                path, File(data, now if modified_ns is None else modified_ns, now, number, number, hashes)
            )

    def _may_put(self, path: str, if_version: str | None, if_absent: bool) -> None:
        try:
            old: Node | None = self.node(path)
        except NotFound:
            old = None
        if isinstance(old, Directory):
            raise IsADirectory("is a directory", path=path)
        if if_absent and old is not None:
            raise AlreadyExists("is there already", path=path)
        if if_version is not None and (old is None or old.version != if_version):
            raise PreconditionFailed("is another version now", path=path)

    def _place(self, path: str, file: File) -> Entry:
        self._parents(path).children[path.rpartition("/")[2]] = file
        self._changed(path)
        return file.entry(path)

    def _parents(self, path: str) -> Directory:
        """The directory that holds `path`, made where it is missing."""
        node = self._root
        made = ""
        for name in path.split("/")[:-1]:
            made = paths.join(made, name)
            child = node.children.get(name)
            if child is None:
                child = node.children[name] = Directory(id=str(next(self._numbers)))
                self._changed(made)
            if isinstance(child, File):
                raise NotADirectory("a file stands where a directory is needed", path=made)
            node = child
        return node

    def mkdir(self, path: str) -> Entry:
        """Make a directory and its parents."""
        with self._lock:
            if not path:
                return self._root.entry("")
            directory = self._parents(path + "/")
            return directory.entry(path)

    def delete(self, path: str) -> None:
        """Delete one file."""
        with self._lock:
            self.file(path)
            self._take(path)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory; the root stays, as a mount point would."""
        with self._lock:
            if self.listing(path):
                raise DirectoryNotEmpty("is not empty", path=path)
            if path:
                self._take(path)

    def _take(self, path: str) -> Node:
        directory = self.node(paths.parent(path))
        assert isinstance(directory, Directory)
        self._changed(path)
        return directory.children.pop(path.rpartition("/")[2])

    def copy(self, src: str, dst: str) -> Entry:
        """Copy one file."""
        with self._lock:
            file = self.file(src)
            self._may_put(dst, None, False)
            number = str(next(self._numbers))
            return self._place(dst, replace(file, stored_ns=self._now_ns(), version=number, id=number))

    def move(self, src: str, dst: str) -> Entry:
        """Move a file or a directory; only a file replaces, and only a file."""
        with self._lock:
            node = self.node(src)
            if isinstance(node, File):
                self._may_put(dst, None, False)
            elif paths.is_within(dst, src):
                raise NotADirectory("a directory cannot be moved into itself", path=src)
            elif self._exists(dst):
                raise AlreadyExists("is there already", path=dst)
            parent = self._parents(dst)  # first: it fails where a file is in the way, and nothing is lost
            self._take(src)
            parent.children[dst.rpartition("/")[2]] = node
            self._changed(dst)
            return node.entry(dst)

    def _exists(self, path: str) -> bool:
        try:
            self.node(path)
        except NotFound:
            return False
        return True

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Set a file's own time; the content, and so the version, stays."""
        with self._lock:
            return self._place(path, replace(self.file(path), modified_ns=modified_ns))

    def used(self) -> int:
        """Bytes of all files."""
        with self._lock:
            total = 0
            stack: list[Directory] = [self._root]
            while stack:
                for child in stack.pop().children.values():
                    if isinstance(child, File):
                        total += len(child.data)
                    else:
                        stack.append(child)
            return total

    def _changed(self, path: str) -> None:
        if len(self._changes) == _CHANGES_KEPT:
            self._first_change += 1
        self._changes.append((self._next_change, path))
        self._next_change += 1

    def changes(self, since: int | None) -> tuple[list[str], int, bool]:
        """Paths changed from number `since` on, the number to ask with next, and whether some were forgotten."""
        with self._lock:
            if since is None:
                return [], self._next_change, False
            if not self._first_change <= since <= self._next_change:
                return [], self._next_change, True
            return [path for number, path in self._changes if number >= since], self._next_change, False
