"""Nodes: what the kernel calls inodes. They know their parent and name, so that a rename moves a whole tree at once."""

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from cftool.core import paths
from cftool.core.errors import StoreError

if TYPE_CHECKING:
    from cftool.vfs.openfile import OpenFile

ROOT = 1
LINK_SUFFIX = ".rclonelink"  # how rclone and cftool keep symbolic links on services that have none


class Node:
    """One file, directory or link. `parent` None: the root, or a file whose name is gone while it is open."""

    __slots__ = (
        "atime_ns", "changed", "changes", "children", "ctime_ns", "folders", "gid", "id", "is_dir", "loaded",
        "lookups", "mode", "mtime_ns", "name", "open", "parent", "rdev", "rewritten", "shown", "size", "small",
        "stored", "target", "uid", "version",
    )  # fmt: skip

    def __init__(self, number: int, parent: "Node | None", name: str, mode: int) -> None:
        self.id = number
        self.parent = parent
        self.name = name
        self.mode = mode  # with the type bits
        self.is_dir = stat.S_ISDIR(mode)
        self.uid = 0
        self.gid = 0
        self.rdev = 0
        self.size = 0
        self.mtime_ns = 0
        self.ctime_ns = 0
        self.atime_ns = 0
        self.version: str | None = None
        self.stored = ""  # the name at the store, where it differs from the one shown
        self.target: str | None = None  # of a link, once it was read
        self.children: dict[str, Node] | None = None
        self.folders = 0  # directories among them
        self.loaded = -1.0  # when the children were listed (monotonic); -1: never
        self.small = 0  # files in it that were small when they were closed, since one that was not
        self.changed = float("-inf")  # when others were heard to have changed it: older listings do not count
        self.changes = 0  # made here to the names, or to what a listing shows of them
        self.lookups = 0  # references that the kernel holds
        self.open: OpenFile | None = None
        self.shown: str | None = None  # the version of which the kernel may have pages
        self.rewritten = False  # past those pages

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_special(self) -> bool:
        """Whether it is a FIFO, a socket or a device: it is nowhere but here."""
        return not (self.is_dir or stat.S_ISREG(self.mode) or stat.S_ISLNK(self.mode))

    @property
    def path(self) -> str:
        """Where it is shown, from the root of the store; the root node's name is the path that is mounted."""
        names: list[str] = []
        node, parent = self, self.parent  # looked at once: others may take its name away meanwhile
        while parent is not None:
            names.append(node.name)
            node, parent = parent, parent.parent
        if node.name and node.id == ROOT:
            names.append(node.name)
        return "/".join(reversed(names))

    @property
    def place(self) -> str:
        """Where the store has it."""
        parent = self.parent
        if parent is None:
            return self.path
        return paths.join(parent.path, self.stored or self.name)

    @property
    def gone(self) -> bool:
        """Whether it has no name any more."""
        return self.parent is None and self.id != ROOT


class Attr(NamedTuple):
    """What `stat` shows; times in nanoseconds since the epoch."""

    id: int
    mode: int
    size: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    links: int = 1
    rdev: int = 0


def place_of(node: Node, gone: int) -> str:
    """As `Node.place`. OSError with the errno `gone` where others have taken its name."""
    place = node.place
    if node.gone:
        raise error_of(gone)
    return place


def attr_of(node: Node) -> Attr:
    """Of a node as it stands now, open files included. Under the tree's lock: what is open is not closed meanwhile."""
    file = node.open
    if file is not None and file.backing is not None and file.direct:
        size, node.mtime_ns = file.times()
        node.ctime_ns = max(node.ctime_ns, node.mtime_ns)
    else:
        size = node.size if file is None else file.size
    return Attr(
        node.id, node.mode, size, node.uid, node.gid, node.atime_ns, node.mtime_ns, node.ctime_ns, _links(node),
        node.rdev,
    )  # fmt: skip


def _links(node: Node) -> int:
    """A directory that was not listed shows one: that says that its directories are not counted."""
    if node.gone:
        return 0
    return 2 + node.folders if node.children is not None else 1


def error_of(number: int) -> OSError:
    """The error of an errno."""
    return OSError(number, os.strerror(number))


_OTHERS = {errno.EAGAIN: errno.ETIMEDOUT, errno.EINTR: errno.EIO}


def errno_of(error: Exception) -> int:
    """What a program is told. Not EAGAIN nor EINTR: libraries take these for the end of a file, or try for ever."""
    number = error.errno if isinstance(error, OSError | StoreError) else None
    return _OTHERS.get(number or errno.EIO, number or errno.EIO)


def check_name(name: str) -> None:
    """Raise OSError where no store could hold it."""
    if len(name) > 63 and len(os.fsencode(name)) > 255:
        raise error_of(errno.ENAMETOOLONG)
