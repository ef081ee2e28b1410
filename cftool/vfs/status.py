"""What is said of a node beside its content: modes, owners, times, links' targets, extended attributes, free space."""

import errno
import os
import stat

from cftool.core.errors import NotFound, TemporaryError, Unsupported
from cftool.core.types import Cap
from cftool.vfs.files import Files
from cftool.vfs.nodes import ROOT, Attr, Node, attr_of, error_of
from cftool.vfs.tree import Tree
from cftool.wrap.caching.rows import State


class Status:
    """See the module."""

    def __init__(self, tree: Tree, files: Files) -> None:
        self._tree = tree
        self._files = files
        self._store = tree.store
        self._lock = tree.lock

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
        self._tree.changeable(number)
        node = self._tree.node(number)
        if size is not None:
            self._files.truncate(node, size)
        if mtime_ns is not None:
            self._set_time(node, mtime_ns)
        with self._lock:
            if mode is not None:
                node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
            node.uid = node.uid if uid is None else uid
            node.gid = node.gid if gid is None else gid
            node.atime_ns = node.atime_ns if atime_ns is None else atime_ns
            node.ctime_ns = self._tree.wall_ns()
            keeps = (mode, uid, gid) != (None, None, None) or (mtime_ns is not None and node.is_dir)
            if not node.gone and keeps and node.id != ROOT:
                owned = self._tree.attributes.get(node.path)
                known = mtime_ns if owned is None or mtime_ns is not None else owned.mtime_ns
                self._tree.keep_attributes(node, mtime_ns=known if node.is_dir else None)
            return attr_of(node)

    def unprivileged(self, number: int) -> None:
        """Somebody who may not keep them has changed a file: its bits that lend the rights of its owners go."""
        node = self._tree.node(number)
        with self._lock:
            kept = node.mode & ~stat.S_ISUID
            if kept & stat.S_IXGRP:
                kept &= ~stat.S_ISGID
            if kept != node.mode and not node.is_dir:
                node.mode = kept
                if not node.gone:
                    self._tree.keep_attributes(node)

    def _set_time(self, node: Node, mtime_ns: int) -> None:
        drafted = self._files.set_time(node, mtime_ns)
        if not (drafted or node.is_dir or node.gone or node.is_special):
            try:
                entry = self._store.set_modified(node.place, mtime_ns)
            except Unsupported:
                pass  # shown until the next listing: the service keeps no times
            else:
                node.version = entry.version
                if node.parent is not None:
                    node.parent.changes += 1
        node.mtime_ns = mtime_ns

    def xattrs(self, number: int) -> dict[str, bytes]:
        """`user.cftool.state`, `.version` and `.hash.NAME` of a file."""
        node = self._tree.node(number)
        if node.is_dir or node.gone or node.is_special or self._tree.is_report(number):
            return {}
        found = {"user.cftool.state": self._state(node).value.encode()}
        if node.version:
            found["user.cftool.version"] = os.fsencode(node.version)
        try:
            hashes = self._store.stat(node.place).hashes
        except (NotFound, TemporaryError):
            hashes = {}
        for name, value in hashes.items():
            found[f"user.cftool.hash.{name}"] = value.encode()
        return found

    def _state(self, node: Node) -> State:
        if node.open is not None and node.open.dirty:
            return State.DIRTY
        return self._store.state_of(node.place)

    def readlink(self, number: int) -> str:
        """The target of a link."""
        node = self._tree.node(number)
        if not node.is_link:
            raise error_of(errno.EINVAL)
        if node.target is None:
            with self._store.read(node.place) as download:
                node.target = os.fsdecode(download.read(65536))
        return node.target

    def statfs(self) -> tuple[int, int]:
        """Bytes in all and free; of a service that does not say, more than anybody has."""
        total, free = 1 << 50, 1 << 50
        if Cap.USAGE in self._store.features.caps:
            try:
                usage = self._store.usage()
            except (TemporaryError, Unsupported):
                return total, free
            free = free if usage.free is None else usage.free
            if usage.total is not None:
                total = usage.total
            elif usage.used is not None:
                total = usage.used + free
        return total, min(free, total)
