"""Making, renaming and removing names: directories, links, special files, and the names of files."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from cftool.core import paths
from cftool.core.errors import NotFound
from cftool.core.types import Cap
from cftool.vfs.files import Files
from cftool.vfs.listing import Listing
from cftool.vfs.nodes import LINK_SUFFIX, Attr, Node, attr_of, error_of
from cftool.vfs.tree import Tree

_RENAME_NOREPLACE = 1


class Names:
    """See the module."""

    def __init__(self, tree: Tree, listing: Listing, files: Files) -> None:
        self._tree = tree
        self._files = files
        self._listing = listing
        self._store = tree.store
        self._settings = tree.settings
        self._lock = tree.lock

    def mkdir(self, parent: int, name: str, mode: int, *, uid: int | None = None, gid: int | None = None) -> Attr:
        """EEXIST."""
        self._tree.changeable(parent)
        directory = self._tree.directory(parent)
        self._tree.may_be_called(directory, name)
        if self._listing.child(directory, name) is not None:
            raise error_of(errno.EEXIST)
        path = paths.join(directory.path, name)
        self._store.mkdir(path)
        self._arrived(path)
        with self._lock:
            node = self._tree.attached(directory, name, stat.S_IFDIR | stat.S_IMODE(mode), uid, gid)
            node.children, node.loaded = {}, self._tree.clock()
            node.lookups += 1
            return attr_of(node)

    def mknod(
        self, parent: int, name: str, mode: int, rdev: int, *, uid: int | None = None, gid: int | None = None
    ) -> Attr:
        """A FIFO, a socket or a device, on this machine only. EEXIST."""
        self._tree.changeable(parent)
        directory = self._tree.directory(parent)
        self._tree.may_be_called(directory, name)
        if self._listing.child(directory, name) is not None:
            raise error_of(errno.EEXIST)
        with self._lock:
            node = self._tree.attached(directory, name, mode, uid, gid, rdev=rdev)
            node.lookups += 1
            return attr_of(node)

    def symlink(self, parent: int, name: str, target: str, *, uid: int | None = None, gid: int | None = None) -> Attr:
        """Kept at the store as a small file, as rclone keeps links."""
        from cftool.core.sources import BytesSource

        self._tree.changeable(parent)
        directory = self._tree.directory(parent)
        self._tree.may_be_called(directory, name)
        if self._listing.child(directory, name) is not None:
            raise error_of(errno.EEXIST)
        stored = name + LINK_SUFFIX
        entry = self._store.write(paths.join(directory.path, stored), BytesSource(os.fsencode(target)))
        self._arrived(paths.join(directory.path, stored))
        with self._lock:
            node = self._tree.attached(directory, name, stat.S_IFLNK | 0o777, uid, gid)
            node.stored, node.target, node.size = stored, target, len(os.fsencode(target))
            node.version = entry.version
            node.lookups += 1
            return attr_of(node)

    def rmdir(self, parent: int, name: str) -> None:
        """ENOTEMPTY, ENOTDIR."""
        self._tree.changeable(parent)
        directory = self._tree.directory(parent)
        node = self._listing.existing(directory, name)
        self._tree.changeable(node.id)
        if not node.is_dir:
            raise error_of(errno.ENOTDIR)
        if self._listing.children(node):
            raise error_of(errno.ENOTEMPTY)
        try:
            self._store.rmdir(node.place)
        except NotFound:
            if Cap.IMPLICIT_DIRS not in self._store.features.caps:
                raise
        place = node.place
        self._tree.detach(directory, node)
        self._arrived(place)

    def unlink(self, parent: int, name: str) -> None:
        """The name goes; who has the file open goes on using it. EISDIR."""
        self._tree.changeable(parent)
        directory = self._tree.directory(parent)
        node = self._listing.existing(directory, name)
        self._tree.changeable(node.id)
        if node.is_dir:
            raise error_of(errno.EISDIR)
        self._unlink(node)
        place = node.place
        self._tree.detach(directory, node)
        self._no_more(node)
        self._arrived(place)

    def _no_more(self, node: Node) -> None:
        """Its name is gone, also for who opened it just before: later ones are told that it is (ESTALE)."""
        file = node.open
        if file is not None:
            file.unlinked()

    def _unlink(self, node: Node) -> None:
        """At the store. A file that was never committed is not there."""
        if node.is_special:
            return
        file = node.open
        if file is not None:
            file.unlinked()
        try:
            self._store.delete(node.place)
        except NotFound:
            if file is None:
                raise

    def rename(self, parent: int, name: str, new_parent: int, new_name: str, *, flags: int = 0) -> None:
        """Of anything, over a file or an empty directory as POSIX has it. `flags`: RENAME_NOREPLACE."""
        self._tree.changeable(parent, new_parent)
        if flags & ~_RENAME_NOREPLACE:
            raise error_of(errno.EINVAL)
        source, target = self._tree.directory(parent), self._tree.directory(new_parent)
        self._tree.may_be_called(target, new_name)
        node = self._listing.existing(source, name)
        there = self._listing.child(target, new_name)
        self._tree.changeable(node.id, *([] if there is None else [there.id]))
        if there is node:
            return
        if there is not None and flags & _RENAME_NOREPLACE:
            raise error_of(errno.EEXIST)
        if node.is_dir and paths.is_within(target.path, node.path):
            raise error_of(errno.EINVAL)
        old = node.path
        with self._moving(node, there):
            self._renamed(node, there, source, target, new_name)
        file = node.open
        # What is open is not uploaded before its close, which waits for it then.
        self._arrived(*([old, node.place] if file is None or file.draft is None else []))

    @contextlib.contextmanager
    def _moving(self, *nodes: Node | None) -> Iterator[None]:
        """Nobody opens these meanwhile: he would get what is, or is no more, under the name."""
        with self._lock:
            for node in filter(None, nodes):
                node.moving += 1
        try:
            yield
        finally:
            with self._lock:
                for node in filter(None, nodes):
                    node.moving -= 1
                self._tree.moved.notify_all()

    def _renamed(self, node: Node, there: Node | None, source: Node, target: Node, new_name: str) -> None:
        if there is not None:
            self._make_way(node, there)
        old, name = node.path, node.name
        stored = new_name + LINK_SUFFIX if node.is_link else ""
        if not node.is_special:
            self._publish_before_rename(node)
            with self._lock:
                self._tree.attributes.about_to_move(old, paths.join(target.path, new_name), node.place)
            try:
                self._store.move(node.place, paths.join(target.path, stored or new_name))
            except Exception:
                with self._lock:
                    self._tree.attributes.not_moved(old)
                raise
        with self._lock:
            if there is not None:
                self._tree.attributes.remove(there.path)
                there.parent = None
                self._tree.let_go(there)
            self._tree.attributes.move(old, paths.join(target.path, new_name))
            if source.children is not None and source.children.pop(name, None) is not None:
                source.folders -= node.is_dir
            node.parent, node.name, node.stored = target, new_name, stored
            node.ctime_ns = self._tree.wall_ns()
            if target.children is not None:
                replaced = target.children.get(new_name)
                target.folders += node.is_dir - (replaced is not None and replaced.is_dir)
                target.children[new_name] = node
            self._tree.touched(source)
            self._tree.touched(target)
        if there is not None:
            self._no_more(there)

    def _publish_before_rename(self, node: Node) -> None:
        """A new file that is still open gets into the journal under its old name first, so that it can be moved."""
        file = node.open
        if file is not None and file.dirty:
            self._files.publish(node, file)

    def _make_way(self, node: Node, there: Node) -> None:
        """What is renamed over."""
        if there.is_dir:
            if not node.is_dir:
                raise error_of(errno.EISDIR)
            if self._listing.children(there):
                raise error_of(errno.ENOTEMPTY)
            self._store.rmdir(there.place)
            return
        if node.is_dir:
            raise error_of(errno.ENOTDIR)
        if there.open is not None:
            there.open.unlinked()
        if there.is_link != node.is_link or node.is_special:  # the store does not have both under the same name
            self._unlink(there)

    def _arrived(self, *places: str) -> None:
        """Where changes do not wait: the remote has what is pending for these."""
        if self._settings.through:
            for place in places:
                self._store.upload(place, timeout=self._settings.patience)
