"""The file system: every operation by node and handle, as POSIX names it. Raises OSError and StoreError (with `errno`).

Directories are listed whole, once in `ttl` seconds, and kept; what is changed here is right at once. Local content and
all that the journal knows is answered without the network. One lock guards the tree; it is not held while content is
fetched or committed. `on_change` hears of nodes that a new listing showed to be others: for the kernel's caches.
"""

import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from cftool.core import paths
from cftool.core.errors import InvalidName, NotFound, TemporaryError, Unsupported
from cftool.core.types import Cap, Entry
from cftool.vfs.attributes import Attributes, Owned
from cftool.vfs.nodes import LINK_SUFFIX, ROOT, Attr, Node, attr_of, check_name
from cftool.vfs.openfile import OpenFile
from cftool.vfs.reports import NAME, ReportNodes, Reports
from cftool.wrap.caching import files as data_files
from cftool.wrap.caching.rows import State
from cftool.wrap.caching.store import CachingStore

_RENAME_NOREPLACE = 1
_LISTINGS = 5  # of a directory that is changed while it is listed
_log = logging.getLogger("cftool.vfs")


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


@dataclass(slots=True)
class FileHandle:
    """One `open`."""

    node: Node
    file: OpenFile
    flags: int
    made: bool = False  # it made the file, or emptied it: also what was opened for reading only can do that

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self.flags & os.O_ACCMODE != os.O_RDONLY

    @property
    def changes(self) -> bool:
        """Whether its closing makes what was written durable."""
        return self.made or self.writable


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Vfs:
    """See the module."""

    def __init__(
        self,
        store: CachingStore,
        settings: VfsSettings | None = None,
        *,
        root_path: str = "",
        attributes: Attributes | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
        reports: Reports | None = None,
    ) -> None:
        self.store = store
        self.settings = settings or VfsSettings()
        self.attributes = attributes or Attributes(None)
        self._clock = clock
        self._wall_ns = wall_ns
        self.lock = threading.RLock()
        self._next = ROOT + 1
        root = Node(ROOT, None, root_path, stat.S_IFDIR | self.settings.dir_mode)
        root.uid, root.gid = self.settings.uid, self.settings.gid
        root.mtime_ns = root.ctime_ns = root.atime_ns = wall_ns()
        root.lookups = 1
        self.nodes: dict[int, Node] = {ROOT: root}
        self.handles: dict[int, FileHandle] = {}
        self._listings: dict[int, list[tuple[str, Node]]] = {}
        self._next_handle = 1
        self.on_change: Callable[[Node], None] = _ignore
        self.on_stale: Callable[[Node], None] = _ignore  # its name and attributes are to be asked for again
        self.reports: ReportNodes | None = None
        if reports is not None:
            self.reports = ReportNodes(root, reports, self._number, wall_ns())
            self.nodes |= {node.id: node for node in self.reports.nodes()}

    def _number(self) -> int:
        self._next += 1
        return self._next - 1

    def close(self) -> None:
        """Commit what is open, and let go of it."""
        for number in list(self.handles):
            self.release(number)
        self.attributes.close()

    # ---- the tree

    def node(self, number: int) -> Node:
        """By its number. ENOENT, ESTALE where the kernel knows more than we."""
        node = self.nodes.get(number)
        if node is None:
            raise _error(errno.ESTALE)
        return node

    def _directory(self, number: int) -> Node:
        node = self.node(number)
        if not node.is_dir:
            raise _error(errno.ENOTDIR)
        return node

    def is_listed(self, node: Node) -> bool:
        """Whether what is known of a directory's names counts still."""
        if node.children is None or node.loaded < node.changed:
            return False
        return self._clock() - node.loaded < self.settings.ttl

    def others_changed(self, changed: Iterable[str]) -> None:
        """What others have changed at the remote, each with all below it, "" for everything: asked for anew."""
        now = self._clock()
        with self.lock:
            root = self.nodes[ROOT]
            for path in changed:
                if paths.is_within(path, root.path):
                    self._forget_below(self._known(path[len(root.path) :].strip("/")), now)
                elif paths.is_within(root.path, path):
                    self._forget_below(root, now)

    def _known(self, path: str) -> Node:
        """Under the lock: the node of a path below the root, or of the nearest directory above it that is known."""
        node = self.nodes[ROOT]
        for name in path.split("/"):
            child = (node.children or {}).get(name) or (node.children or {}).get(name.removesuffix(LINK_SUFFIX))
            if child is None:
                break
            node = child
        return node

    def _forget_below(self, node: Node, now: float) -> None:
        """Under the lock: its directory, and all directories below it; the kernel forgets the names."""
        if node.parent is not None:
            node.parent.changed = now
        todo = [node]
        while todo:
            node = todo.pop()
            if node.lookups > 0 and node.parent is not None:
                self.on_stale(node)
            if node.is_dir and not self.is_report(node.id):
                node.changed = now
                todo += (node.children or {}).values()

    def children(self, node: Node) -> dict[str, Node]:
        """Of a directory: listed where that was never done, or too long ago."""
        for _attempt in range(_LISTINGS):
            with self.lock:
                known = node.children
                if known is not None and self.is_listed(node):
                    return known
                if node.gone:
                    return known or {}
                place, seen = node.place, node.changes
            began = self._clock()
            try:
                entries = list(self.store.scan(place))
            except TemporaryError:
                if known is not None:  # the remote is away: what is known goes on
                    return known
                raise
            except NotFound:
                if node.id != ROOT:
                    raise
                entries = []  # an object store's root that nothing is below yet
            with self.lock:
                if node.children is not known and node.children is not None and node.loaded >= began:
                    return node.children  # somebody else listed it meanwhile
                if node.changes == seen:  # otherwise the listing may be older than what was done meanwhile
                    self._take_listing(node, entries, began)
                    assert node.children is not None
                    return node.children
        if known is not None:  # it changes here all the time: what is done here is known anyway
            return known
        raise TemporaryError("it changes faster than it can be listed", op="list", path=place, store=self.store.name)

    def _take_listing(self, node: Node, entries: list[Entry], began: float) -> None:
        """Under the lock: nodes of names that are still there stay the same nodes."""
        old = node.children or {}
        new: dict[str, Node] = {}
        place = node.place
        for entry in entries:
            name, link = _shown(entry)
            if paths.component_problem(name) is not None or entry.path != paths.join(place, entry.name):
                # A key of an object store, such as `a//b`: for one of these the kernel refuses the whole directory.
                if node.children is None:
                    _log.warning("%s: not shown, for no file can have this name", entry.path)
                continue
            child = old.get(name)
            if child is None or child.is_dir != entry.is_dir or child.is_link != link:
                child = self._made(node, name, self._mode(entry.is_dir, link=link))
                child.stored = entry.name if link else ""
                self._apply(child)
            elif child.version != entry.version and child.open is None and not entry.is_dir:
                self.on_change(child)
            self._update(child, entry)
            new[name] = child
        for name, owned in self.attributes.specials(node.path):
            if name not in new:
                child = old.get(name)
                new[name] = child if child is not None and child.is_special else self._special(node, name, owned)
        for name, child in old.items():
            if new.get(name) is not child:
                if child.open is not None and name not in new and not child.open.removed:
                    new[name] = child  # open here and not yet published, or removed at the remote: its user goes on
                    continue
                child.parent = None
                self.on_change(child)
                self._let_go(child)
        node.children = new
        node.folders = sum(child.is_dir for child in new.values())
        node.loaded = began

    def _special(self, parent: Node, name: str, owned: Owned) -> Node:
        """Under the lock: one that is in the table alone."""
        assert owned.mode is not None
        node = self._made(parent, name, owned.mode)
        node.rdev = owned.rdev or 0
        self._apply(node)
        return node

    def _mode(self, is_dir: bool, *, link: bool) -> int:
        if link:
            return stat.S_IFLNK | 0o777
        return stat.S_IFDIR | self.settings.dir_mode if is_dir else stat.S_IFREG | self.settings.file_mode

    def _made(self, parent: Node, name: str, mode: int) -> Node:
        """Under the lock."""
        node = Node(self._number(), parent, name, mode)
        node.uid, node.gid = self.settings.uid, self.settings.gid
        node.atime_ns = node.mtime_ns = node.ctime_ns = self._wall_ns()
        self.nodes[node.id] = node
        return node

    def _apply(self, node: Node) -> None:
        """What was set of this path once."""
        owned = self.attributes.get(node.path)
        if owned is None:
            return
        if owned.mode is not None:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(owned.mode)
        if owned.mtime_ns is not None:
            node.mtime_ns = owned.mtime_ns
        node.uid = node.uid if owned.uid is None else owned.uid
        node.gid = node.gid if owned.gid is None else owned.gid

    @staticmethod
    def _update(node: Node, entry: Entry) -> None:
        node.version = entry.version
        if entry.size is not None:
            node.size = entry.size
        when = entry.modified_ns if entry.modified_ns is not None else entry.stored_ns
        if when is not None and (node.open is None or not node.open.dirty):
            node.mtime_ns = node.ctime_ns = when
            node.atime_ns = max(node.atime_ns, when)

    def child(self, parent: Node, name: str) -> Node | None:
        """By name, or None."""
        if name == NAME and self.reports is not None and parent.id == ROOT:
            return self.reports.directory
        return self.children(parent).get(name)

    def _existing(self, parent: Node, name: str) -> Node:
        found = self.child(parent, name)
        if found is None:
            raise _error(errno.ENOENT)
        return found

    def _let_go(self, node: Node) -> None:
        """Under the lock: forget a node that nobody refers to."""
        if node.lookups <= 0 and node.open is None and node.gone:
            self.nodes.pop(node.id, None)

    def _changeable(self, *numbers: int) -> None:
        """EROFS, also of what is not the remote's."""
        if self.settings.read_only or self.is_report(*numbers):
            raise _error(errno.EROFS)

    def is_report(self, *numbers: int) -> bool:
        """Whether one of these is no file of the remote, but made here."""
        return self.reports is not None and any(number in self.reports for number in numbers)

    def _may_be_called(self, directory: Node, name: str) -> None:
        """ENAMETOOLONG, EINVAL where the store cannot hold the name."""
        check_name(name)
        names = self.store.features.names
        reason = paths.problem(name, replace(names, path_bytes=None))
        if reason is not None:
            raise InvalidName(f"the name {reason}", path=name)
        longest = names.path_bytes
        if longest is not None and len(os.fsencode(paths.join(directory.path, name))) > longest:
            raise _error(errno.ENAMETOOLONG)

    def _touched(self, directory: Node) -> None:
        """Under the lock: a name in it was changed."""
        directory.changes += 1
        directory.mtime_ns = directory.ctime_ns = self._wall_ns()
        owned = self.attributes.get(directory.path)
        if owned is not None and owned.mtime_ns is not None:
            self._keep_attributes(directory)

    # ---- looking

    def lookup(self, parent: int, name: str) -> Attr:
        """The kernel refers to the node until `forget`. ENOENT."""
        directory = self._directory(parent)
        check_name(name)
        with self.lock:
            if name == ".":
                node = directory
            elif name == "..":
                node = directory.parent or directory
            else:
                node = self._existing(directory, name)
            node.lookups += 1
        return self.getattr(node.id)

    def forget(self, number: int, count: int) -> None:
        """The kernel has dropped `count` references."""
        with self.lock:
            node = self.nodes.get(number)
            if node is not None:
                node.lookups -= count
                self._let_go(node)

    def getattr(self, number: int) -> Attr:
        """As stat."""
        node = self.node(number)
        if self.reports is not None and (content := self.reports.content(node)) is not None:
            node.size = len(content)
        with self.lock:
            return attr_of(node)

    def readlink(self, number: int) -> str:
        """The target of a link."""
        node = self.node(number)
        if not node.is_link:
            raise _error(errno.EINVAL)
        if node.target is None:
            with self.store.read(node.place) as download:
                node.target = os.fsdecode(download.read(65536))
        return node.target

    def statfs(self) -> tuple[int, int]:
        """Bytes in all and free; of a service that does not say, more than anybody has."""
        total, free = 1 << 50, 1 << 50
        if Cap.USAGE in self.store.features.caps:
            try:
                usage = self.store.usage()
            except (TemporaryError, Unsupported):
                return total, free
            free = free if usage.free is None else usage.free
            if usage.total is not None:
                total = usage.total
            elif usage.used is not None:
                total = usage.used + free
        return total, min(free, total)

    # ---- directories

    def opendir(self, number: int) -> int:
        """A handle whose listing does not change while it is read."""
        node = self._directory(number)
        children = self.children(node)
        with self.lock:
            handle = self._next_handle
            self._next_handle += 1
            self._listings[handle] = [(".", node), ("..", node.parent or node), *children.items()]
            return handle

    def readdir(self, handle: int) -> list[tuple[str, Node]]:
        """All names and nodes, in an order that stays."""
        return self._listings[handle]

    def refer(self, node: Node) -> Attr:
        """For readdirplus: the kernel refers to one more node."""
        with self.lock:
            node.lookups += 1
            return attr_of(node)

    def releasedir(self, handle: int) -> None:
        """Done."""
        self._listings.pop(handle, None)

    def mkdir(self, parent: int, name: str, mode: int, *, uid: int | None = None, gid: int | None = None) -> Attr:
        """EEXIST."""
        self._changeable(parent)
        directory = self._directory(parent)
        self._may_be_called(directory, name)
        if self.child(directory, name) is not None:
            raise _error(errno.EEXIST)
        path = paths.join(directory.path, name)
        self.store.mkdir(path)
        self._arrived(path)
        with self.lock:
            node = self._attached(directory, name, stat.S_IFDIR | stat.S_IMODE(mode), uid, gid)
            node.children, node.loaded = {}, self._clock()
            node.lookups += 1
            return attr_of(node)

    def _attached(
        self, directory: Node, name: str, mode: int, uid: int | None, gid: int | None, *, rdev: int = 0
    ) -> Node:
        """Under the lock: a new node, its attributes remembered where they are not the defaults."""
        node = self._made(directory, name, mode)
        node.rdev = rdev
        node.uid = node.uid if uid is None else uid
        node.gid = node.gid if gid is None else gid
        if directory.children is not None:
            directory.children[name] = node
            directory.folders += node.is_dir
        self._touched(directory)
        self._keep_attributes(node)
        return node

    def _keep_attributes(self, node: Node, *, mtime_ns: int | None = None) -> None:
        """Under the lock. `mtime_ns`: of a directory whose time was set, and that was not changed since."""
        default = self.settings.dir_mode if node.is_dir else self.settings.file_mode
        mode = stat.S_IMODE(node.mode)
        path = node.path
        if node.is_special:
            self.attributes.set(path, Owned(node.mode, node.uid, node.gid, node.rdev, node.mtime_ns))
            return
        if node.is_link:
            mode = default
        if (mode, node.uid, node.gid, mtime_ns) == (default, self.settings.uid, self.settings.gid, None):
            self.attributes.remove(path)
        else:
            self.attributes.set(path, Owned(mode, node.uid, node.gid, mtime_ns=mtime_ns))

    def mknod(
        self, parent: int, name: str, mode: int, rdev: int, *, uid: int | None = None, gid: int | None = None
    ) -> Attr:
        """A FIFO, a socket or a device, on this machine only. EEXIST."""
        self._changeable(parent)
        directory = self._directory(parent)
        self._may_be_called(directory, name)
        if self.child(directory, name) is not None:
            raise _error(errno.EEXIST)
        with self.lock:
            node = self._attached(directory, name, mode, uid, gid, rdev=rdev)
            node.lookups += 1
            return attr_of(node)

    def rmdir(self, parent: int, name: str) -> None:
        """ENOTEMPTY, ENOTDIR."""
        self._changeable(parent)
        directory = self._directory(parent)
        node = self._existing(directory, name)
        self._changeable(node.id)
        if not node.is_dir:
            raise _error(errno.ENOTDIR)
        if self.children(node):
            raise _error(errno.ENOTEMPTY)
        try:
            self.store.rmdir(node.place)
        except NotFound:
            if Cap.IMPLICIT_DIRS not in self.store.features.caps:
                raise
        place = node.place
        self._detach(directory, node)
        self._arrived(place)

    def _detach(self, directory: Node, node: Node) -> None:
        with self.lock:
            self.attributes.remove(node.path)
            if directory.children is not None and directory.children.get(node.name) is node:
                del directory.children[node.name]
                directory.folders -= node.is_dir
            node.parent = None
            node.ctime_ns = self._wall_ns()
            self._touched(directory)
            self._let_go(node)

    # ---- names

    def unlink(self, parent: int, name: str) -> None:
        """The name goes; who has the file open goes on using it. EISDIR."""
        self._changeable(parent)
        directory = self._directory(parent)
        node = self._existing(directory, name)
        self._changeable(node.id)
        if node.is_dir:
            raise _error(errno.EISDIR)
        self._unlink(node)
        place = node.place
        self._detach(directory, node)
        self._arrived(place)

    def _unlink(self, node: Node) -> None:
        """At the store. A file that was never committed is not there."""
        if node.is_special:
            return
        file = node.open
        if file is not None:
            file.unlinked()
        try:
            self.store.delete(node.place)
        except NotFound:
            if file is None:
                raise

    def symlink(self, parent: int, name: str, target: str, *, uid: int | None = None, gid: int | None = None) -> Attr:
        """Kept at the store as a small file, as rclone keeps links."""
        from cftool.core.sources import BytesSource

        self._changeable(parent)
        directory = self._directory(parent)
        self._may_be_called(directory, name)
        if self.child(directory, name) is not None:
            raise _error(errno.EEXIST)
        stored = name + LINK_SUFFIX
        entry = self.store.write(paths.join(directory.path, stored), BytesSource(os.fsencode(target)))
        self._arrived(paths.join(directory.path, stored))
        with self.lock:
            node = self._attached(directory, name, stat.S_IFLNK | 0o777, uid, gid)
            node.stored, node.target, node.size = stored, target, len(os.fsencode(target))
            node.version = entry.version
            node.lookups += 1
            return attr_of(node)

    def rename(self, parent: int, name: str, new_parent: int, new_name: str, *, flags: int = 0) -> None:
        """Of anything, over a file or an empty directory as POSIX has it. `flags`: RENAME_NOREPLACE."""
        self._changeable(parent, new_parent)
        if flags & ~_RENAME_NOREPLACE:
            raise _error(errno.EINVAL)
        source, target = self._directory(parent), self._directory(new_parent)
        self._may_be_called(target, new_name)
        node = self._existing(source, name)
        there = self.child(target, new_name)
        self._changeable(node.id, *([] if there is None else [there.id]))
        if there is node:
            return
        if there is not None and flags & _RENAME_NOREPLACE:
            raise _error(errno.EEXIST)
        if node.is_dir and paths.is_within(target.path, node.path):
            raise _error(errno.EINVAL)
        if there is not None:
            self._make_way(node, there)
        old = node.path
        stored = new_name + LINK_SUFFIX if node.is_link else ""
        if not node.is_special:
            self._publish_before_rename(node)
            self.store.move(node.place, paths.join(target.path, stored or new_name))
        with self.lock:
            if there is not None:
                self.attributes.remove(there.path)
                there.parent = None
                self._let_go(there)
            self.attributes.move(old, paths.join(target.path, new_name))
            if source.children is not None and source.children.pop(name, None) is not None:
                source.folders -= node.is_dir
            node.parent, node.name, node.stored = target, new_name, stored
            node.ctime_ns = self._wall_ns()
            if target.children is not None:
                replaced = target.children.get(new_name)
                target.folders += node.is_dir - (replaced is not None and replaced.is_dir)
                target.children[new_name] = node
            self._touched(source)
            self._touched(target)
        self._arrived(old, node.place)

    def _publish_before_rename(self, node: Node) -> None:
        """A new file that is still open gets into the journal under its old name first, so that it can be moved."""
        file = node.open
        if file is not None and file.dirty:
            file.commit(node.mtime_ns)

    def _make_way(self, node: Node, there: Node) -> None:
        """What is renamed over."""
        if there.is_dir:
            if not node.is_dir:
                raise _error(errno.EISDIR)
            if self.children(there):
                raise _error(errno.ENOTEMPTY)
            self.store.rmdir(there.place)
            return
        if node.is_dir:
            raise _error(errno.ENOTDIR)
        if there.open is not None:
            there.open.unlinked()
        if there.is_link != node.is_link or node.is_special:  # the store does not have both under the same name
            self._unlink(there)

    # ---- files

    def create(
        self, parent: int, name: str, mode: int, flags: int, *, uid: int | None = None, gid: int | None = None
    ) -> tuple[Attr, int]:
        """Make and open. EEXIST with O_EXCL."""
        self._changeable(parent)
        directory = self._directory(parent)
        self._may_be_called(directory, name)
        found = self.child(directory, name)
        if found is not None:
            if flags & os.O_EXCL:
                raise _error(errno.EEXIST)
            handle = self.open(found.id, flags)
            with self.lock:
                found.lookups += 1
                return attr_of(found), handle
        draft = self.store.edit(paths.join(directory.path, name), create=True, absent=True)
        file = OpenFile(self.store, None, draft, 0)
        with self.lock:
            node = self._attached(directory, name, stat.S_IFREG | stat.S_IMODE(mode), uid, gid)
            node.open = file
            node.lookups += 1
            return attr_of(node), self._handle(node, file, flags, made=True)

    def _handle(self, node: Node, file: OpenFile, flags: int, *, made: bool = False) -> int:
        """Under the lock."""
        file.users += 1
        number = self._next_handle
        self._next_handle += 1
        self.handles[number] = FileHandle(node, file, flags, made)
        return number

    def open(self, number: int, flags: int) -> int:
        """A handle. EISDIR, EROFS."""
        node = self.node(number)
        if node.is_dir:
            raise _error(errno.EISDIR)
        writing = flags & os.O_ACCMODE != os.O_RDONLY
        if writing or flags & os.O_TRUNC:
            self._changeable(number)
        with self.lock:
            file = node.open
            if file is not None:
                file.users += 1
        if file is None:
            file = self._opened(node, truncate=bool(flags & os.O_TRUNC))
        elif flags & os.O_TRUNC:
            file.truncate(0, path=node.place)
            node.mtime_ns = node.ctime_ns = self._wall_ns()
        with self.lock:
            file.users -= 1
            return self._handle(node, file, flags, made=bool(flags & os.O_TRUNC))

    def _opened(self, node: Node, *, truncate: bool) -> OpenFile:
        """Open the content; two who do so at once share one."""
        if self.reports is not None and (content := self.reports.content(node)) is not None:
            file = self._made_here(content)
        elif truncate:
            file = OpenFile(self.store, None, self.store.edit(node.place, truncate=True, create=True), 0)
        else:
            handle = self.store.open(node.place)
            if handle is None:
                file = self._unsized(node)
            else:
                file = OpenFile(self.store, handle, None, handle.entry.size or 0)
        with self.lock:
            if node.open is None:
                node.open = file
                node.size = file.size
                file.users += 1
                if truncate:
                    node.mtime_ns = node.ctime_ns = self._wall_ns()
                return file
            other = node.open
            other.users += 1
        file.close()
        return other

    def _made_here(self, content: bytes) -> OpenFile:
        draft = self.store.orphan(None)
        data_files.write_at(draft.fd, content, 0)
        file = OpenFile(self.store, None, draft, len(content))
        file.settled()
        return file

    def _unsized(self, node: Node) -> OpenFile:
        """A file whose size shows only when it is read (an exported document): read it whole, once."""
        draft = self.store.orphan(None)
        at = 0
        with self.store.read(node.place) as download:
            for chunk in download:
                draft.reserve(at + len(chunk))
                os.pwrite(draft.fd, chunk, at)
                at += len(chunk)
        file = OpenFile(self.store, None, draft, at)
        file.settled()
        return file

    def handle(self, number: int) -> FileHandle:
        """By number. EBADF."""
        found = self.handles.get(number)
        if found is None:
            raise _error(errno.EBADF)
        return found

    def read(self, number: int, size: int, offset: int) -> bytes:
        """May wait for the network; see `OpenFile.ready`."""
        return self.handle(number).file.read(size, offset)

    def read_into(self, number: int, buffer: memoryview, offset: int) -> int:
        """The same into a buffer."""
        return self.handle(number).file.read_into(buffer, offset)

    def write(self, number: int, data: bytes | memoryview, offset: int) -> int:
        """Bytes written: all of them. ENOSPC before anything is accepted."""
        handle = self.handle(number)
        file = handle.file
        node = handle.node
        if handle.flags & os.O_APPEND:
            offset = file.size
        file.write(data, offset, path="" if file.draft is not None else node.place)
        node.mtime_ns = node.ctime_ns = self._wall_ns()
        return len(data)

    def allocate(self, number: int, offset: int, length: int, mode: int) -> None:
        """As fallocate; only reserving is supported."""
        handle = self.handle(number)
        if mode & ~1:
            raise _error(errno.EOPNOTSUPP)
        handle.file.allocate(offset, length, keep_size=bool(mode & 1), path=handle.node.place)
        handle.node.mtime_ns = self._wall_ns()

    def flush(self, number: int) -> None:
        """A descriptor is being closed: what was written is durable in the journal when this returns."""
        handle = self.handle(number)
        if handle.changes:
            self._commit(handle.node, handle.file)

    def fsync(self, number: int) -> None:
        """As flush, whoever wrote."""
        handle = self.handle(number)
        self._commit(handle.node, handle.file)

    def _arrived(self, *places: str) -> None:
        """Where changes do not wait: the remote has what is pending for these."""
        if self.settings.through:
            for place in places:
                self.store.upload(place, timeout=self.settings.patience)

    def _commit(self, node: Node, file: OpenFile) -> None:
        if self.settings.remote and not node.gone and not self.is_report(node.id):
            try:
                file.upload(node.place, timeout=self.settings.patience)
            finally:
                with self.lock:
                    node.size = file.size
                    node.rewritten = True
        when = file.commit(node.mtime_ns)  # the time that is shown: programs remember it
        if when is not None:
            with self.lock:
                node.size = file.size
                node.shown = file.version
                if file.direct:
                    node.mtime_ns = node.ctime_ns = when
                    node.rewritten = True
                if node.parent is not None:
                    node.parent.changes += 1

    def release(self, number: int) -> None:
        """The last reference to a handle is gone."""
        handle = self.handles.pop(number, None)
        if handle is None:
            return
        node, file = handle.node, handle.file
        try:
            if handle.changes:
                self._commit(node, file)
        finally:
            with self.lock:
                file.users -= 1
                last = file.users == 0
                if last:
                    node.size = file.size
                    node.open = None
                    self._let_go(node)
            if last:
                file.close()
                if self.settings.forget and not node.gone:
                    self.store.clear(node.place)

    def setattr(
        self,
        number: int,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        size: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
    ) -> Attr:
        """chmod, chown, truncate, utimens."""
        self._changeable(number)
        node = self.node(number)
        if size is not None:
            self._truncate(node, size)
        if mtime_ns is not None:
            self._set_time(node, mtime_ns)
        with self.lock:
            if mode is not None:
                node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
            node.uid = node.uid if uid is None else uid
            node.gid = node.gid if gid is None else gid
            node.atime_ns = node.atime_ns if atime_ns is None else atime_ns
            node.ctime_ns = self._wall_ns()
            keeps = (mode, uid, gid) != (None, None, None) or (mtime_ns is not None and node.is_dir)
            if not node.gone and keeps and node.id != ROOT:
                owned = self.attributes.get(node.path)
                known = mtime_ns if owned is None or mtime_ns is not None else owned.mtime_ns
                self._keep_attributes(node, mtime_ns=known if node.is_dir else None)
            return attr_of(node)

    def unprivileged(self, number: int) -> None:
        """Somebody who may not keep them has changed a file: its bits that lend the rights of its owners go."""
        node = self.node(number)
        with self.lock:
            kept = node.mode & ~stat.S_ISUID
            if kept & stat.S_IXGRP:
                kept &= ~stat.S_ISGID
            if kept != node.mode and not node.is_dir:
                node.mode = kept
                if not node.gone:
                    self._keep_attributes(node)

    def unchanged(self, node: Node) -> bool:
        """Whether what the kernel has of an open file's content is what it is now: asked once at each opening."""
        with self.lock:
            file = node.open
            if file is None or file.draft is not None:
                return not node.rewritten
            version = None if file.handle is None else file.handle.entry.version
            same = version is not None and version == node.shown and not node.rewritten
            node.shown, node.rewritten = version, False
            return same

    def _truncate(self, node: Node, size: int) -> None:
        if node.is_dir:
            raise _error(errno.EISDIR)
        if size > self._largest():
            raise _error(errno.EFBIG)
        file = node.open
        if file is None:  # by path: open, cut, publish
            number = self.open(node.id, os.O_WRONLY | (os.O_TRUNC if size == 0 else 0))
            try:
                self.handles[number].file.truncate(size, path=node.place)
                node.mtime_ns = node.ctime_ns = self._wall_ns()
                self.flush(number)
            finally:
                self.release(number)
            return
        file.truncate(size, path=node.place)
        node.mtime_ns = node.ctime_ns = self._wall_ns()
        if not any(handle.node is node and handle.changes for handle in list(self.handles.values())):
            self._commit(node, file)  # by path: nobody's close will do it

    def _largest(self) -> int:
        limit = self.store.features.size_limit
        return (1 << 63) - 1 if limit is None else limit

    def _set_time(self, node: Node, mtime_ns: int) -> None:
        file = node.open
        if file is not None and file.draft is not None:
            file.set_time(mtime_ns)
        elif not node.is_dir and not node.gone and not node.is_special:
            try:
                entry = self.store.set_modified(node.place, mtime_ns)
            except Unsupported:
                pass  # shown until the next listing: the service keeps no times
            else:
                node.version = entry.version
                if node.parent is not None:
                    node.parent.changes += 1
        node.mtime_ns = mtime_ns

    # ---- extended attributes

    def xattrs(self, number: int) -> dict[str, bytes]:
        """`user.cftool.state`, `.version` and `.hash.NAME` of a file."""
        node = self.node(number)
        if node.is_dir or node.gone or node.is_special or self.is_report(number):
            return {}
        found = {"user.cftool.state": self._state(node).value.encode()}
        if node.version:
            found["user.cftool.version"] = os.fsencode(node.version)
        try:
            hashes = self.store.stat(node.place).hashes
        except (NotFound, TemporaryError):
            hashes = {}
        for name, value in hashes.items():
            found[f"user.cftool.hash.{name}"] = value.encode()
        return found

    def _state(self, node: Node) -> State:
        if node.open is not None and node.open.dirty:
            return State.DIRTY
        return self.store.state_of(node.place)


def _ignore(node: Node) -> None:
    del node


def _shown(entry: Entry) -> tuple[str, bool]:
    """The name under which an entry is shown, and whether it is a link."""
    name = entry.name
    if not entry.is_dir and name.endswith(LINK_SUFFIX) and name != LINK_SUFFIX:
        return name.removesuffix(LINK_SUFFIX), True
    return name, False
