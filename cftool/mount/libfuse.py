"""The second binding: libfuse through mfusepy (`cftool[fuse]`), where the kernel's protocol is not to be had directly.

Slower, without passthrough, and the kernel is not told of edits of others: it keeps nothing for longer than a second.
libfuse speaks of paths; they become nodes here, and everything else is `Vfs`. It knows none of a file that is open and
was removed or renamed over: that is read and written to, but has no status (ENOENT).
"""

import errno
import functools
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import mfusepy

from cftool.core.errors import CftoolError
from cftool.mount.binding import Place
from cftool.vfs import Vfs
from cftool.vfs.nodes import ROOT, Attr, Node, errno_of

_BLOCK = 4096
_VALID = 1.0  # seconds
_F = TypeVar("_F", bound=Callable[..., Any])


def _told(call: _F) -> _F:
    """Errors of stores as errno."""

    @functools.wraps(call)
    def wrapped(*args: Any) -> Any:
        try:
            return call(*args)
        except CftoolError as error:
            raise OSError(errno_of(error), str(error)) from error

    return cast("_F", wrapped)


class LibfuseBinding:
    """See the module; mounted in `run`."""

    def __init__(self, vfs: Vfs, place: Place) -> None:
        self._vfs = vfs
        self._place = place
        self.ready = threading.Event()

    def run(self) -> None:
        """Mount, and answer until the mount is taken away."""
        place = self._place
        options: dict[str, Any] = {"allow_other": True} if place.allow_other else {}
        if place.read_only:
            options["ro"] = True
        if not place.executable:
            options["noexec"] = True
        mfusepy.FUSE(
            Operations(self._vfs, self.ready), place.directory, foreground=True, fsname=place.name, subtype="cftool",
            default_permissions=True, hard_remove=True, use_ino=True, auto_cache=True,
            attr_timeout=_VALID, entry_timeout=_VALID, negative_timeout=0, **options,
        )  # fmt: skip

    def close(self) -> None:
        """Nothing is held."""


# The base has no types where mfusepy is not installed.
class Operations(mfusepy.Operations):  # type: ignore[misc]
    """What libfuse calls, from several threads."""

    use_ns = True

    def __init__(self, vfs: Vfs, ready: threading.Event) -> None:
        self._vfs = vfs
        self._ready = ready

    def init(self, path: str) -> None:
        """The kernel has greeted."""
        del path
        self._ready.set()

    # ---- paths

    def _node(self, path: str | None, handle: int | None = None) -> Node:
        """By handle where there is one: its name may be gone."""
        if handle is not None and handle in self._vfs.handles:
            return self._vfs.handle(handle).node
        node = self._vfs.node(ROOT)
        for name in (path or "").split("/"):
            if name:
                node = self._child(node, name)
        return node

    def _child(self, node: Node, name: str) -> Node:
        if not node.is_dir:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        child = self._vfs.child(node, name)
        if child is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return child

    def _parent(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        return self._node(above).id, name

    def _made(self, attr: Attr) -> None:
        """Nobody refers to nodes here but by path."""
        self._vfs.forget(attr.id, 1)

    @staticmethod
    def _who() -> dict[str, int]:
        uid, gid, _pid = mfusepy.fuse_get_context()
        return {"uid": uid, "gid": gid}

    # ---- names

    @_told
    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        """As stat."""
        attr = self._vfs.getattr(self._node(path, fh).id)
        return {
            "st_ino": attr.id, "st_mode": attr.mode, "st_nlink": attr.links, "st_uid": attr.uid, "st_gid": attr.gid,
            "st_size": attr.size, "st_blocks": -(-attr.size // 512), "st_blksize": _BLOCK,
            "st_atime": attr.atime_ns, "st_mtime": attr.mtime_ns, "st_ctime": attr.ctime_ns,
        }  # fmt: skip

    @_told
    def readlink(self, path: str) -> str:
        """The target."""
        return self._vfs.readlink(self._node(path).id)

    @_told
    def symlink(self, target: str, source: str) -> int:
        """`target` is the new name."""
        parent, name = self._parent(target)
        self._made(self._vfs.symlink(parent, name, source, **self._who()))
        return 0

    @_told
    def mkdir(self, path: str, mode: int) -> int:
        """As mkdir."""
        parent, name = self._parent(path)
        self._made(self._vfs.mkdir(parent, name, mode, **self._who()))
        return 0

    @_told
    def unlink(self, path: str) -> int:
        """As unlink."""
        self._vfs.unlink(*self._parent(path))
        return 0

    @_told
    def rmdir(self, path: str) -> int:
        """As rmdir."""
        self._vfs.rmdir(*self._parent(path))
        return 0

    @_told
    def rename(self, old: str, new: str) -> int:
        """As rename."""
        self._vfs.rename(*self._parent(old), *self._parent(new))
        return 0

    @_told
    def link(self, target: str, source: str) -> int:
        """There are none."""
        raise OSError(errno.EPERM, "there are no hard links here")

    @_told
    def chmod(self, path: str, mode: int) -> int:
        """As chmod."""
        self._vfs.setattr(self._node(path).id, mode=mode)
        return 0

    @_told
    def chown(self, path: str, uid: int, gid: int) -> int:
        """As chown; -1 leaves what is."""
        number = self._node(path).id
        self._vfs.unprivileged(number)
        self._vfs.setattr(number, uid=None if uid < 0 else uid, gid=None if gid < 0 else gid)
        return 0

    @_told
    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        """Nanoseconds."""
        now = time.time_ns()
        atime, mtime = (now, now) if times is None else times
        self._vfs.setattr(self._node(path).id, atime_ns=atime, mtime_ns=mtime)
        return 0

    @_told
    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """As truncate."""
        self._vfs.setattr(self._node(path, fh).id, size=length)
        return 0

    # ---- files

    @_told
    def create(self, path: str, mode: int, fi: int | None = None) -> int:
        """`fi`: the flags."""
        parent, name = self._parent(path)
        attr, handle = self._vfs.create(parent, name, mode, fi or os.O_WRONLY, **self._who())
        self._made(attr)
        return handle

    @_told
    def open(self, path: str, flags: int) -> int:
        """As open."""
        return self._vfs.open(self._node(path).id, flags)

    @_told
    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """As pread."""
        return self._vfs.read(fh, size, offset)

    @_told
    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """As pwrite."""
        return self._vfs.write(fh, data, offset)

    @_told
    def flush(self, path: str, fh: int) -> int:
        """A descriptor is closed."""
        self._vfs.flush(fh)
        return 0

    @_told
    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """As fsync."""
        self._vfs.fsync(fh)
        return 0

    @_told
    def release(self, path: str, fh: int) -> int:
        """The last descriptor is closed."""
        self._vfs.release(fh)
        return 0

    @_told
    def fallocate(self, path: str, mode: int, offset: int, size: int, fh: int) -> int:
        """As fallocate."""
        self._vfs.allocate(fh, offset, size, mode)
        return 0

    # ---- directories, and the rest

    @_told
    def opendir(self, path: str) -> int:
        """A listing that stays as it is."""
        return self._vfs.opendir(self._node(path).id)

    @_told
    def readdir(self, path: str, fh: int) -> Iterable[tuple[str, dict[str, int], int]]:
        """All at once."""
        return [(name, {"st_mode": node.mode, "st_ino": node.id}, 0) for name, node in self._vfs.readdir(fh)]

    @_told
    def releasedir(self, path: str, fh: int) -> int:
        """Done."""
        self._vfs.releasedir(fh)
        return 0

    @_told
    def statfs(self, path: str) -> dict[str, int]:
        """In blocks."""
        total, free = self._vfs.statfs()
        return {
            "f_bsize": _BLOCK, "f_frsize": _BLOCK, "f_blocks": total // _BLOCK, "f_bfree": free // _BLOCK,
            "f_bavail": free // _BLOCK, "f_files": 1 << 30, "f_ffree": 1 << 30, "f_namemax": 255,
        }  # fmt: skip

    @_told
    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """Our own, and no others."""
        if not name.startswith("user."):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        found = self._vfs.xattrs(self._node(path).id).get(name)
        if found is None:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        return found

    @_told
    def listxattr(self, path: str) -> list[str]:
        """Names."""
        return list(self._vfs.xattrs(self._node(path).id))
