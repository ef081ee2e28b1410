"""The nodes that are known, by number: made, attached to a directory, taken from it, kept while somebody needs them.

No listing and no content: nothing here waits for the network. What was set of a path is kept in `Attributes` while the
tree changes. One lock guards all of it; it is not held while content is fetched or committed.
"""

import errno
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cftool.core import paths
from cftool.core.errors import InvalidName
from cftool.vfs.attributes import Attributes, Owned
from cftool.vfs.nodes import ROOT, Attr, Node, attr_of, check_name, error_of
from cftool.vfs.places import Places
from cftool.vfs.reports import ReportNodes, Reports
from cftool.wrap.caching.store import CachingStore

if TYPE_CHECKING:
    from cftool.core.types import NameRules


@dataclass(frozen=True, slots=True)
class VfsSettings:
    """Modes without type bits; `ttl` in seconds: how long a listing counts.

    `remote`: close and fsync return when the remote has what was written, and fail where it refuses it. `through`:
    removing, renaming and making directories wait as well. `patience`: so many seconds at most. `forget`: what was read
    is not kept.
    """

    file_mode: int = 0o644
    dir_mode: int = 0o755
    uid: int = 0
    gid: int = 0
    ttl: float = 60.0
    read_only: bool = False
    remote: bool = False
    through: bool = False
    forget: bool = False
    patience: float = 3600.0


class Tree:
    """See the module."""

    def __init__(
        self,
        store: CachingStore,
        settings: VfsSettings,
        *,
        root_path: str = "",
        attributes: Attributes,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
        reports: Reports | None = None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.attributes = attributes
        self.clock = clock
        self.wall_ns = wall_ns
        self.lock = threading.RLock()
        self.places = Places(self.lock)
        self.handle_numbers = itertools.count(1)  # of files and of directories
        self._rules: tuple[NameRules, int | None] | None = None  # of a single name, and the longest path
        self._next = ROOT + 1
        root = Node(ROOT, None, root_path, stat.S_IFDIR | settings.dir_mode)
        root.uid, root.gid = settings.uid, settings.gid
        root.mtime_ns = root.ctime_ns = root.atime_ns = wall_ns()
        root.lookups = 1
        self.nodes: dict[int, Node] = {ROOT: root}
        self.reports: ReportNodes | None = None
        if reports is not None:
            self.reports = ReportNodes(root, reports, self.number, wall_ns())
            self.nodes |= {node.id: node for node in self.reports.nodes()}

    def node(self, number: int) -> Node:
        """By its number. ENOENT, ESTALE where the kernel knows more than we."""
        node = self.nodes.get(number)
        if node is None:
            raise error_of(errno.ESTALE)
        return node

    def directory(self, number: int) -> Node:
        """The same of a directory. ENOTDIR."""
        node = self.node(number)
        if not node.is_dir:
            raise error_of(errno.ENOTDIR)
        return node

    def is_report(self, *numbers: int) -> bool:
        """Whether one of these is no file of the remote, but made here."""
        return self.reports is not None and any(number in self.reports for number in numbers)

    def changeable(self, *numbers: int) -> None:
        """EROFS, also of what is not the remote's."""
        if self.settings.read_only or self.is_report(*numbers):
            raise error_of(errno.EROFS)

    def may_be_called(self, directory: Node, name: str) -> None:
        """ENAMETOOLONG, EINVAL where the store cannot hold the name."""
        check_name(name)
        if self._rules is None:  # asked for at every new name, and never another one
            names = self.store.features.names
            self._rules = (replace(names, path_bytes=None), names.path_bytes)
        rules, longest = self._rules
        reason = paths.problem(name, rules)
        if reason is not None:
            raise InvalidName(f"the name {reason}", path=name)
        path = paths.join(directory.path, name)
        if longest is not None and 4 * len(path) > longest and len(os.fsencode(path)) > longest:
            raise error_of(errno.ENAMETOOLONG)

    def number(self) -> int:
        """Of a new node."""
        self._next += 1
        return self._next - 1

    def made(self, parent: Node, name: str, mode: int) -> Node:
        """Under the lock."""
        node = Node(self.number(), parent, name, mode)
        node.uid, node.gid = self.settings.uid, self.settings.gid
        node.atime_ns = node.mtime_ns = node.ctime_ns = self.wall_ns()
        self.nodes[node.id] = node
        return node

    def special(self, parent: Node, name: str, owned: Owned) -> Node:
        """Under the lock: one that is in the table alone."""
        assert owned.mode is not None
        node = self.made(parent, name, owned.mode)
        node.rdev = owned.rdev or 0
        self.apply(node)
        return node

    def type_and_mode(self, is_dir: bool, *, link: bool) -> int:
        """Of what has none of its own."""
        if link:
            return stat.S_IFLNK | 0o777
        return stat.S_IFDIR | self.settings.dir_mode if is_dir else stat.S_IFREG | self.settings.file_mode

    def apply(self, node: Node) -> None:
        """What was set of its path once."""
        owned = self.attributes.get(node.path)
        if owned is None:
            return
        if owned.mode is not None:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(owned.mode)
        if owned.mtime_ns is not None:
            node.mtime_ns = owned.mtime_ns
        node.uid = node.uid if owned.uid is None else owned.uid
        node.gid = node.gid if owned.gid is None else owned.gid

    def attached(
        self, directory: Node, name: str, mode: int, uid: int | None, gid: int | None, *, rdev: int = 0
    ) -> Node:
        """Under the lock: a new node, its attributes remembered where they are not the defaults."""
        node = self.made(directory, name, mode)
        node.rdev = rdev
        node.uid = node.uid if uid is None else uid
        node.gid = node.gid if gid is None else gid
        if directory.children is not None:
            directory.children[name] = node
            directory.folders += node.is_dir
        self.touched(directory)
        self.keep_attributes(node)
        return node

    def detach(self, directory: Node, node: Node) -> None:
        """Its name is gone."""
        with self.lock:
            self.attributes.remove(node.path)
            if directory.children is not None and directory.children.get(node.name) is node:
                del directory.children[node.name]
                directory.folders -= node.is_dir
            node.parent = None
            node.ctime_ns = self.wall_ns()
            self.touched(directory)
            self.let_go(node)

    def touched(self, directory: Node) -> None:
        """Under the lock: a name in it was changed."""
        directory.changes += 1
        directory.mtime_ns = directory.ctime_ns = self.wall_ns()
        if self.attributes.nothing:
            return
        owned = self.attributes.get(directory.path)
        if owned is not None and owned.mtime_ns is not None:
            self.keep_attributes(directory)

    def keep_attributes(self, node: Node, *, mtime_ns: int | None = None) -> None:
        """Under the lock. `mtime_ns`: of a directory whose time was set, and that was not changed since."""
        default = self.settings.dir_mode if node.is_dir else self.settings.file_mode
        mode = stat.S_IMODE(node.mode)
        if node.is_special:
            self.attributes.set(node.path, Owned(node.mode, node.uid, node.gid, node.rdev, node.mtime_ns))
            return
        if node.is_link:
            mode = default
        if (mode, node.uid, node.gid, mtime_ns) == (default, self.settings.uid, self.settings.gid, None):
            if not self.attributes.nothing:
                self.attributes.remove(node.path)
        else:
            self.attributes.set(node.path, Owned(mode, node.uid, node.gid, mtime_ns=mtime_ns))

    def let_go(self, node: Node) -> None:
        """Under the lock: forget a node that nobody refers to."""
        if node.lookups <= 0 and node.open is None and node.gone:
            self.nodes.pop(node.id, None)

    def getattr(self, number: int) -> Attr:
        """As stat."""
        node = self.node(number)
        if self.reports is not None and (content := self.reports.content(node)) is not None:
            node.size = len(content)
        with self.lock:
            return attr_of(node)
