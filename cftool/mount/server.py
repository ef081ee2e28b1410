"""Answers the kernel: decodes requests, calls `Vfs`, writes answers. `Loop` reads them, and has the threads.

Answers carry long validity: what changes here is right at once, and what a new listing shows to be changed is taken out
of the kernel's caches (`Listing.on_change`). Requests are answered once; an error is its errno and a line in the log.
"""

import errno
import logging
import os
import stat
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cftool.core.errors import CftoolError
from cftool.core.paths import printable
from cftool.mount import passthrough
from cftool.mount import protocol as fuse
from cftool.mount.loop import MAX_WRITE, Loop, Request
from cftool.mount.protocol import Op
from cftool.mount.quick import Quick
from cftool.vfs import Vfs
from cftool.vfs.nodes import Attr, Node, errno_of

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("cftool.mount")
_CREATE = struct.Struct("<40xIIII").unpack_from  # of a whole request: flags, mode, umask, more flags
_SILENT = frozenset({Op.FORGET, Op.BATCH_FORGET, Op.INTERRUPT})
_INVALIDATES = 39  # of the protocol (Linux 6.6): a write past the kernel's pages drops those of other openings
_OVER = frozenset({errno.ENOENT, errno.ENODEV, errno.EBADF})  # the caller was interrupted, or all is over
_KINDS = {
    stat.S_IFDIR: 4, stat.S_IFREG: 8, stat.S_IFLNK: 10, stat.S_IFIFO: 1, stat.S_IFCHR: 2, stat.S_IFBLK: 6,
    stat.S_IFSOCK: 12,
}  # fmt: skip
_EXPECTED = frozenset({
    errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS, errno.ESTALE,
})  # fmt: skip


class Server:
    """See the module. `ttl` in seconds: how long names and attributes count for the kernel.

    `may_pass`: whether the kernel may read cached files by itself, where it can.
    """

    def __init__(self, vfs: Vfs, fd: int, *, ttl: int = 3600, may_pass: bool = True) -> None:
        self.vfs = vfs
        self.fd = fd
        self.ttl = ttl
        self.ready = threading.Event()
        self._may_pass = may_pass
        self._past_the_pages = False  # whether who only writes a new file may do so past the kernel's own pages
        self._passthrough = passthrough.Passthrough(fd)
        self._notices = ThreadPoolExecutor(1, thread_name_prefix="cftool-notify")
        self._table: dict[int, Callable[[Request], bytes | memoryview | None]] = {
            Op.LOOKUP: self._lookup, Op.GETATTR: self._getattr, Op.SETATTR: self._setattr,
            Op.READLINK: self._readlink, Op.SYMLINK: self._symlink, Op.MKNOD: self._mknod, Op.MKDIR: self._mkdir,
            Op.UNLINK: self._unlink, Op.RMDIR: self._rmdir, Op.RENAME: self._rename, Op.RENAME2: self._rename2,
            Op.LINK: self._link, Op.OPEN: self._open, Op.READ: self._read, Op.WRITE: self._write,
            Op.STATFS: self._statfs, Op.RELEASE: self._release, Op.FSYNC: self._fsync, Op.FLUSH: self._flush,
            Op.OPENDIR: self._opendir, Op.READDIR: self._readdir, Op.READDIRPLUS: self._readdirplus,
            Op.RELEASEDIR: self._releasedir, Op.FSYNCDIR: self._fsyncdir, Op.CREATE: self._create,
            Op.FALLOCATE: self._fallocate, Op.GETXATTR: self._getxattr, Op.LISTXATTR: self._listxattr,
            Op.SETXATTR: self._setxattr, Op.REMOVEXATTR: self._setxattr, Op.FORGET: self._forget,
            Op.BATCH_FORGET: self._batch_forget, Op.DESTROY: self._destroy, Op.INIT: self._init, Op.LSEEK: self._lseek,
        }  # fmt: skip
        vfs.listing.on_change = self._changed
        vfs.listing.on_stale = self._stale

    # ---- the loop

    def run(self) -> None:
        """Until the mount is taken away."""
        try:
            quick = Quick(self, self.vfs, self.fd)
            Loop(self.fd, serve=self.answer, quick=quick.serve, later=quick.later).run()
        finally:
            self._notices.shutdown(wait=True)

    def answer(self, request: Request) -> None:
        """Whatever it takes."""
        try:
            handler = self._table.get(request.op)
            if handler is None:
                raise OSError(errno.ENOSYS, "")
            body = handler(request)
        except (OSError, CftoolError) as error:
            self.reply_error(request, error)
            return
        except Exception:
            self.failed(request)
            return
        if body is not None and request.op not in _SILENT:
            self._send(request.unique, 0, body)

    def failed(self, request: Request) -> None:
        """After an error that nobody expects: the mount goes on."""
        _log.exception("an operation of the mount had an error of its own")
        self._send(request.unique, errno.EIO)

    def reply_error(self, request: Request, error: Exception) -> None:
        """What went wrong."""
        self.reply(request.unique, request.op, error)

    def reply(self, unique: int, op: int, error: Exception) -> None:
        """What went wrong with a request."""
        number = errno_of(error)
        if number not in _EXPECTED:
            name = Op(op).name.lower() if op in Op._value2member_map_ else str(op)
            _log.warning("%s: %s", name, printable(str(error)))
        if op not in _SILENT:
            self._send(unique, number)

    def _send(self, unique: int, error: int, body: bytes | memoryview = b"") -> None:
        self.write(fuse.OUT_HEADER.pack(fuse.OUT_SIZE + len(body), -error, unique), body)

    def write(self, answer: bytes | memoryview, body: bytes | memoryview = b"") -> None:
        """A whole answer, in one or two pieces."""
        try:
            if body:
                os.writev(self.fd, (answer, body))
            else:
                os.write(self.fd, answer)
        except OSError as failed:
            if failed.errno not in _OVER:
                _log.warning("an answer to the kernel failed: %s", failed.strerror)

    def _init(self, request: Request) -> bytes:
        major, minor, readahead, flags = fuse.INIT_IN.unpack_from(bytes(request.data) + bytes(4))[:4]
        if major != 7 or minor < 23:
            raise OSError(errno.EPROTO, "the kernel speaks another version of the protocol")
        wanted = (
            fuse.ASYNC_READ | fuse.ATOMIC_O_TRUNC | fuse.BIG_WRITES | fuse.DO_READDIRPLUS | fuse.READDIRPLUS_AUTO
            | fuse.ASYNC_DIO | fuse.PARALLEL_DIROPS | fuse.MAX_PAGES | fuse.CACHE_SYMLINKS | fuse.EXPLICIT_INVAL_DATA
            | fuse.HANDLE_KILLPRIV_V2 | fuse.INIT_EXT
        )  # fmt: skip
        more = struct.unpack_from("<I", request.data, 16)[0] if flags & fuse.INIT_EXT else 0
        more &= fuse.PASSTHROUGH if self._may_pass else 0
        self._passthrough.possible = bool(more)
        self._past_the_pages = minor >= _INVALIDATES
        self.ready.set()
        return fuse.INIT_OUT.pack(
            7, min(minor, 40), max(readahead, 1 << 20), flags & wanted, 64, 48, MAX_WRITE, 1,
            MAX_WRITE // 4096, 0, more, passthrough.STACK_DEPTH if more else 0, 0,
        )  # fmt: skip

    # ---- telling the kernel

    def _changed(self, node: Node) -> None:
        """A new listing showed another content or none: out of the kernel's caches.

        From a thread of its own: the kernel may wait for an answer that only the caller could give.
        """
        parent = None if node.parent is None else node.parent.id
        self._notices.submit(self._notify, node.id, parent, node.name, link=node.is_link)

    def _stale(self, node: Node) -> None:
        """Others may have changed it: the kernel asks for the name again. Its content goes when that shows a change."""
        if node.parent is not None:
            self._notices.submit(self._forget_name, node.parent.id, node.name)

    def _forget_name(self, parent: int, name: str) -> None:
        raw = os.fsencode(name)
        self._notice(fuse.NOTIFY_INVAL_ENTRY, struct.pack("<QII", parent, len(raw), 0) + raw + b"\0")

    def _notify(self, number: int, parent: int | None, name: str, *, link: bool) -> None:
        # Of a file the attributes alone: its pages go at the next opening (`Vfs.unchanged`). To take them away the
        # kernel waits for each that is being read: where the process is killed then, nobody can answer any more.
        self._notice(fuse.NOTIFY_INVAL_INODE, struct.pack("<Qqq", number, 0 if link else -1, 0))
        if parent is not None:
            self._forget_name(parent, name)

    def _notice(self, code: int, body: bytes) -> None:
        try:
            os.writev(self.fd, [fuse.OUT_HEADER.pack(fuse.OUT_SIZE + len(body), code, 0), body])
        except OSError:
            pass  # the kernel does not know it (any more)

    # ---- names

    def _entry(self, attr: Attr) -> bytes:
        return fuse.pack_entry(attr, self.ttl)

    def _lookup(self, request: Request) -> bytes:
        try:
            return self._entry(self.vfs.lookup(request.node, request.name()))
        except FileNotFoundError:
            return fuse.NO_ENTRY

    def _forget(self, request: Request) -> None:
        self.vfs.forget(request.node, fuse.HANDLE.unpack_from(request.data)[0])

    def _batch_forget(self, request: Request) -> None:
        (count,) = struct.unpack_from("<I", request.data)
        for number in range(count):
            self.vfs.forget(*struct.unpack_from("<QQ", request.data, 8 + 16 * number))

    def _getattr(self, request: Request) -> bytes:
        return fuse.pack_attr_out(self.vfs.getattr(request.node), self.ttl)

    def _setattr(self, request: Request) -> bytes:
        (valid, _pad, _fh, size, _lock, atime, mtime, _ctime, atime_ns, mtime_ns, _ctime_ns, mode, _unused, uid, gid,
         _rest) = fuse.SETATTR_IN.unpack_from(request.data)  # fmt: skip
        now = time.time_ns()
        if valid & (fuse.SET_UID | fuse.SET_GID | fuse.SET_KILL_PRIV) and not valid & fuse.SET_MODE:
            self.vfs.unprivileged(request.node)
        attr = self.vfs.setattr(
            request.node,
            mode=mode if valid & fuse.SET_MODE else None,
            uid=uid if valid & fuse.SET_UID else None,
            gid=gid if valid & fuse.SET_GID else None,
            size=size if valid & fuse.SET_SIZE else None,
            atime_ns=_time(valid, fuse.SET_ATIME, fuse.SET_ATIME_NOW, now, atime, atime_ns),
            mtime_ns=_time(valid, fuse.SET_MTIME, fuse.SET_MTIME_NOW, now, mtime, mtime_ns),
        )
        return fuse.pack_attr_out(attr, self.ttl)

    def _readlink(self, request: Request) -> bytes:
        return os.fsencode(self.vfs.readlink(request.node))

    def _symlink(self, request: Request) -> bytes:
        name, target = request.names(0)
        return self._entry(self.vfs.symlink(request.node, name, target, uid=request.uid, gid=request.gid))

    def _mknod(self, request: Request) -> bytes:
        mode, rdev, umask, _pad = struct.unpack_from("<IIII", request.data)
        if not stat.S_ISREG(mode):
            name = request.name(16)
            return self._entry(
                self.vfs.mknod(request.node, name, mode & ~umask, rdev, uid=request.uid, gid=request.gid)
            )
        attr, handle = self.vfs.create(
            request.node, request.name(16), mode & ~umask, os.O_WRONLY | os.O_EXCL, uid=request.uid, gid=request.gid
        )
        try:
            self.vfs.flush(handle)
        finally:
            self.vfs.release(handle)
        return self._entry(attr)

    def _mkdir(self, request: Request) -> bytes:
        mode, umask = struct.unpack_from("<II", request.data)
        name = request.name(8)
        return self._entry(self.vfs.mkdir(request.node, name, mode & ~umask, uid=request.uid, gid=request.gid))

    def _unlink(self, request: Request) -> bytes:
        self.vfs.unlink(request.node, request.name())
        return b""

    def _rmdir(self, request: Request) -> bytes:
        self.vfs.rmdir(request.node, request.name())
        return b""

    def _rename(self, request: Request) -> bytes:
        (target,) = fuse.HANDLE.unpack_from(request.data)
        self.vfs.rename(request.node, request.names(8)[0], target, request.names(8)[1])
        return b""

    def _rename2(self, request: Request) -> bytes:
        target, flags = struct.unpack_from("<QI", request.data)
        old, new = request.names(16)
        self.vfs.rename(request.node, old, target, new, flags=flags)
        return b""

    def _link(self, request: Request) -> bytes:
        raise OSError(errno.EPERM, "there are no hard links here")

    # ---- files

    def _open(self, request: Request) -> bytes:
        flags, more = struct.unpack_from("<II", request.data)
        handle = self.vfs.open(request.node, flags)
        if more & fuse.OPEN_KILL_PRIV:
            self.vfs.unprivileged(request.node)
        return fuse.OPEN_OUT.pack(*self._opened(handle))

    def _opened(self, number: int) -> fuse.Opened:
        """Who reads the file, and whether what the kernel has of it is still right."""
        handle = self.vfs.handle(number)
        file, node = handle.file, handle.node
        try:
            anew = self._passthrough.possible and self.vfs.may_write_unseen(handle)
            backing = self.vfs.given(number, self._passthrough.give, anew=anew)
        except BaseException:
            self.vfs.release(number)
            raise
        if backing is not None:
            file.on_close = self._passthrough.take_back
            return number, fuse.FOPEN_PASSTHROUGH, backing
        if self._past_the_pages and handle.only_writes_anew:
            handle.past_the_pages = True
            return number, fuse.FOPEN_DIRECT_IO, 0
        if self.vfs.is_report(node.id):  # of a size that the kernel cannot know
            return number, fuse.FOPEN_DIRECT_IO, 0
        return number, fuse.FOPEN_KEEP_CACHE if self.vfs.unchanged(node) else 0, 0

    def _create(self, request: Request) -> bytes:
        attr, opened = self.created(request)
        return self._entry(attr) + fuse.OPEN_OUT.pack(*opened)

    def created(self, request: Request) -> tuple[Attr, fuse.Opened]:
        """What CREATE is answered with."""
        flags, mode, umask, more = _CREATE(request.buffer)
        attr, handle = self.vfs.create(
            request.node, request.name(16), mode & ~umask, flags, uid=request.uid, gid=request.gid
        )
        if more & fuse.OPEN_KILL_PRIV:
            self.vfs.unprivileged(attr.id)
        return attr, self._opened(handle)

    def _read(self, request: Request) -> memoryview:
        handle, offset, size, *_ = fuse.READ_IN.unpack_from(request.data)
        into = request.answer[:size]
        return into[: self.vfs.read_into(handle, into, offset)]

    def _write(self, request: Request) -> bytes:
        handle, offset, size, flags, *_ = fuse.READ_IN.unpack_from(request.data)
        data = request.data[fuse.READ_IN.size : fuse.READ_IN.size + size]
        if flags & fuse.WRITE_KILL_PRIV:
            self.vfs.unprivileged(request.node)
        count = self.vfs.write(handle, data, offset)
        self.told_readers(handle)
        return fuse.WRITE_OUT.pack(count, 0)

    def told_readers(self, number: int) -> None:
        """After a write past the kernel's pages: who has the file open too may have read an old page meanwhile."""
        handle = self.vfs.handles.get(number)
        if handle is not None and handle.past_the_pages and handle.file.users > 1:
            self._notices.submit(self._notice, fuse.NOTIFY_INVAL_INODE, struct.pack("<Qqq", handle.node.id, 0, 0))

    def _flush(self, request: Request) -> bytes:
        self.vfs.flush(fuse.HANDLE.unpack_from(request.data)[0])
        return b""

    def _fsync(self, request: Request) -> bytes:
        self.vfs.fsync(fuse.HANDLE.unpack_from(request.data)[0])
        return b""

    def _release(self, request: Request) -> bytes:
        self.vfs.release(fuse.HANDLE.unpack_from(request.data)[0])
        return b""

    def _fallocate(self, request: Request) -> bytes:
        handle, offset, length, mode, _pad = struct.unpack_from("<QQQII", request.data)
        self.vfs.allocate(handle, offset, length, mode)
        return b""

    def _lseek(self, request: Request) -> bytes:
        handle, offset, whence, _pad = struct.unpack_from("<QQII", request.data)
        found = self.vfs.handle(handle)
        if not found.file.ready(0, found.file.size):
            raise OSError(errno.ENOSYS, "")
        return struct.pack("<Q", found.file.seek(offset, whence))

    # ---- directories

    def _opendir(self, request: Request) -> bytes:
        return fuse.OPEN_OUT.pack(self.vfs.opendir(request.node), 0, 0)

    def _readdir(self, request: Request) -> bytes:
        handle, offset, size, *_ = fuse.READ_IN.unpack_from(request.data)
        pieces, length = [], 0
        for number, (name, node) in enumerate(self.vfs.readdir(handle)[offset:], offset + 1):
            piece = fuse.pack_dirent(node.id, number, os.fsencode(name), _KINDS[stat.S_IFMT(node.mode)])
            if length + len(piece) > size:
                break
            pieces.append(piece)
            length += len(piece)
        return b"".join(pieces)

    def _readdirplus(self, request: Request) -> bytes:
        handle, offset, size, *_ = fuse.READ_IN.unpack_from(request.data)
        pieces, length = [], 0
        empty = bytes(fuse.ENTRY.size + fuse.ATTR.size)
        for number, (name, node) in enumerate(self.vfs.readdir(handle)[offset:], offset + 1):
            raw = os.fsencode(name)
            piece = fuse.pack_dirent(node.id, number, raw, _KINDS[stat.S_IFMT(node.mode)])
            if length + len(piece) + len(empty) > size:
                break
            # The kernel takes no reference to `.`, `..`, nor to what has lost its name meanwhile.
            counts = raw not in {b".", b".."} and not node.gone
            pieces += [self._entry(self.vfs.refer(node)) if counts else empty, piece]
            length += len(piece) + len(empty)
        return b"".join(pieces)

    def _releasedir(self, request: Request) -> bytes:
        self.vfs.releasedir(fuse.HANDLE.unpack_from(request.data)[0])
        return b""

    def _fsyncdir(self, request: Request) -> bytes:
        del request  # every change of a directory is in the journal before it is answered
        return b""

    def _statfs(self, request: Request) -> bytes:
        del request
        total, free = self.vfs.statfs()
        block = 4096
        return fuse.STATFS.pack(total // block, free // block, free // block, 1 << 30, 1 << 30, block, 255, block, 0)

    # ---- extended attributes

    def _getxattr(self, request: Request) -> bytes:
        size, _pad = struct.unpack_from("<II", request.data)
        name = request.name(8)
        if not name.startswith("user."):  # who asks for one of these of each file learns to ask no more
            raise OSError(errno.EOPNOTSUPP, "")
        if not name.startswith("user.cftool."):
            raise OSError(errno.ENODATA, "")
        value = self.vfs.xattrs(request.node).get(name)
        if value is None:
            raise OSError(errno.ENODATA, "")
        return _sized(value, size)

    def _listxattr(self, request: Request) -> bytes:
        size, _pad = struct.unpack_from("<II", request.data)
        return _sized(b"".join(name.encode() + b"\0" for name in self.vfs.xattrs(request.node)), size)

    def _setxattr(self, request: Request) -> bytes:
        del request
        raise OSError(errno.EOPNOTSUPP, "")

    def _destroy(self, request: Request) -> bytes:
        del request
        return b""


def _time(valid: int, flag: int, now_flag: int, now: int, seconds: int, nanoseconds: int) -> int | None:
    if not valid & flag:
        return None
    return now if valid & now_flag else seconds * 1_000_000_000 + nanoseconds


def _sized(value: bytes, size: int) -> bytes:
    if size == 0:
        return struct.pack("<II", len(value), 0)
    if len(value) > size:
        raise OSError(errno.ERANGE, "")
    return value
