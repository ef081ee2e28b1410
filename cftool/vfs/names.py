"""Making, renaming and removing names: directories, links, special files, and the names of files."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from cftool.core import paths
from cftool.core.errors import NotFound
from cftool.core.types import Cap
from cftool.vfs.durable import Durable
from cftool.vfs.listing import Listing
from cftool.vfs.nodes import LINK_SUFFIX, Attr, Node, attr_of, error_of, place_of
from cftool.vfs.openfile import OpenFile
from cftool.vfs.tree import Tree

_RENAME_NOREPLACE = 1


class Names:
    """See the module."""

    def __init__(self, tree: Tree, listing: Listing, files: Durable) -> None:
        self._tree = tree
        self._files = files
        self._listing = listing
        self._store = tree.store
        self._settings = tree.settings
        self._lock = tree.lock
        self._places = tree.places

    def mkdir(self, parent: int, name: str, mode: int, *, uid: int | None = None, gid: int | None = None) -> Attr:
        """EEXIST."""
        self._tree.changeable(parent)
        directory = self._tree.directory(parent)
        self._tree.may_be_called(directory, name)
        if self._listing.child(directory, name) is not None:
            raise error_of(errno.EEXIST)
        with self._places.keep(directory):
            path = paths.join(directory.path, name)
            self._store.mkdir(path)
            with self._lock:
                node = self._tree.attached(directory, name, stat.S_IFDIR | stat.S_IMODE(mode), uid, gid)
                node.children, node.loaded = {}, self._tree.clock()
                node.lookups += 1
                attr = attr_of(node)
        self._arrived(path)
        return attr

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
        with self._places.keep(directory):
            path = paths.join(directory.path, stored)
            entry = self._store.write(path, BytesSource(os.fsencode(target)))
            with self._lock:
                node = self._tree.attached(directory, name, stat.S_IFLNK | 0o777, uid, gid)
                node.stored, node.target, node.size = stored, target, len(os.fsencode(target))
                node.version = entry.version
                node.lookups += 1
                attr = attr_of(node)
        self._arrived(path)
        return attr

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
        with self._places.change(node, keep=[directory]):
            place = place_of(node, errno.ENOENT)
            try:
                self._store.rmdir(place)
            except NotFound:
                if Cap.IMPLICIT_DIRS not in self._store.features.caps:
                    raise
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
        with self._places.change(node, keep=[directory]):
            place = place_of(node, errno.ENOENT)
            self._unlink(node, place)
            self._tree.detach(directory, node)
        self._arrived(place)

    def _unlink(self, node: Node, place: str) -> None:
        """At the store. A file that was never committed is not there."""
        if node.is_special:
            return
        file = node.open
        if file is None:
            self._store.delete(place)
            return

        def delete() -> None:
            with contextlib.suppress(NotFound):
                self._store.delete(place)

        file.unlinked_by(delete)

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
        if there is not None:
            self._may_make_way(node, there)
        with self._places.change(*([node] if there is None else [node, there]), keep=[source, target], renames=True):
            place_of(node, errno.ENOENT)
            if there is not None and there.gone:
                there = None  # a listing has shown that others removed it
            old = node.path
            self._move(node, there, target, new_name)
            self._renamed(node, there, source, target, new_name)
        file = node.open
        # What is pending of an open file itself is not uploaded before its close, which waits for it then.
        self._arrived(*([old, node.place] if file is None or file.draft is None or not file.draft.is_pending else []))

    def _move(self, node: Node, there: Node | None, target: Node, new_name: str) -> None:
        """At the store."""
        place = paths.join(target.path, new_name + LINK_SUFFIX if node.is_link else new_name)
        apart = there is not None and not there.is_dir and there.is_link != node.is_link  # two names at the store
        if there is not None and there.is_dir:
            self._store.rmdir(there.place)
        elif there is not None and node.is_special:
            self._unlink(there, there.place)
        if node.is_special:
            return
        self._publish_before_rename(node)
        over = None if there is None or apart else there.open
        with self._noted(node, target, new_name):
            try:
                self._move_over(node.place, place, over)
            except NotFound:
                file = node.open
                if file is None or not self._files.publish(node, file):
                    raise
                self._move_over(node.place, place, over)  # others had removed what is being written anew here
        if there is not None and apart:  # last: where the rename fails it is there as before
            self._unlink(there, there.place)

    @contextlib.contextmanager
    def _noted(self, node: Node, target: Node, new_name: str) -> Iterator[None]:
        """Who dies in between finds modes and owners again under the name that the store has it by then."""
        old = node.path
        with self._lock:
            self._tree.attributes.about_to_move(old, paths.join(target.path, new_name), node.place)
        try:
            yield
        except Exception:
            with self._lock:
                self._tree.attributes.not_moved(old)
            raise

    def _move_over(self, old: str, new: str, over: OpenFile | None) -> None:
        if over is None:
            self._store.move(old, new)
        else:
            over.unlinked_by(lambda: self._store.move(old, new))

    def _renamed(self, node: Node, there: Node | None, source: Node, target: Node, new_name: str) -> None:
        """In the tree. No listing of these directories is taken meanwhile: see `Places.now`."""
        old, name = node.path, node.name
        with self._lock:
            if there is not None:
                self._tree.attributes.remove(there.path)
                there.parent = None
                self._tree.let_go(there)
            self._tree.attributes.move(old, paths.join(target.path, new_name))
            if source.children is not None and source.children.pop(name, None) is not None:
                source.folders -= node.is_dir
            node.parent, node.name = target, new_name
            node.stored = new_name + LINK_SUFFIX if node.is_link else ""
            node.ctime_ns = self._tree.wall_ns()
            if target.children is not None:
                replaced = target.children.get(new_name)
                target.folders += node.is_dir - (replaced is not None and replaced.is_dir)
                target.children[new_name] = node
            self._tree.touched(source)
            self._tree.touched(target)

    def _publish_before_rename(self, node: Node) -> None:
        """A new file that is still open gets into the journal under its old name first, so that it can be moved.

        Of one that is being written anew what was committed is moved: it is not published half-written.
        """
        file = node.open
        if file is not None:
            self._files.publish_new(node, file)

    def _may_make_way(self, node: Node, there: Node) -> None:
        """What is renamed over. ENOTEMPTY, EISDIR, ENOTDIR."""
        if there.is_dir:
            if not node.is_dir:
                raise error_of(errno.EISDIR)
            if self._listing.children(there):
                raise error_of(errno.ENOTEMPTY)
            return
        if node.is_dir:
            raise error_of(errno.ENOTDIR)

    def _arrived(self, *places: str) -> None:
        """Where changes do not wait: the remote has what is pending for these."""
        if self._settings.through:
            for place in places:
                self._store.upload(place, timeout=self._settings.patience)
