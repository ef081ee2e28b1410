"""What is answered at once, from memory or from this disk, by the thread that reads: most of what a mount is asked.

Each handler looks whether its request is such, and answers it if so; otherwise it leaves it to `Server`, which does the
same without hurry. Here are the ways of files that are made, written, closed and looked up by the thousand: no object
is made on them that is not needed. Closing a small file waits for a commit: those are answered together (`Later`).
"""

import logging
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cftool.core.errors import CftoolError
from cftool.mount import protocol as fuse
from cftool.mount.loop import Request
from cftool.mount.protocol import Op
from cftool.vfs.reports import NAME as REPORTS

if TYPE_CHECKING:
    from cftool.mount.server import Server
    from cftool.vfs.vfs import Vfs

_log = logging.getLogger("cftool.mount")
_SHORT = 63  # of a name that is not too long in any case
_MEANWHILE = 32  # requests that are read while answers wait
_SLOW = 0.002  # seconds of a commit in which others are answered
_OURS = b"user.cftool."
_HANDLE = struct.Struct("<40xQ")  # of a whole request
_READ = struct.Struct("<40xQQII")  # fh, offset, size, flags; WRITE likewise
_CREATE = struct.Struct("<40xIIII")
_FORGET = struct.Struct("<40xQ")
_COUNT = struct.Struct("<40xI")
_ONE = struct.Struct("<QQ")
_WRITTEN = struct.Struct("<IiQII")
_DONE = struct.Struct("<IiQ")
_HEAD = _DONE.size
_pack_done = _DONE.pack_into
_FORGETS = 48  # where a batch begins


class Quick:
    """See the module. `serve` is what `Loop` asks."""

    def __init__(self, server: "Server", vfs: "Vfs", fd: int) -> None:
        self._server = server
        self._vfs = vfs
        self._fd = fd
        self._handles = vfs.handles
        self.later = Later(server, vfs)
        handlers: dict[int, Callable[[Request], bool]] = {
            Op.LOOKUP: self._lookup, Op.READ: self._read, Op.WRITE: self._write, Op.CREATE: self._create,
            Op.FLUSH: self._flush, Op.FSYNC: self._fsync, Op.RELEASE: self._release, Op.FORGET: self._forget,
            Op.BATCH_FORGET: self._batch_forget, Op.OPENDIR: self._opendir, Op.GETXATTR: self._getxattr,
            Op.LSEEK: self._lseek,
        }  # fmt: skip
        always = (
            Op.INIT, Op.GETATTR, Op.READDIR, Op.READDIRPLUS, Op.RELEASEDIR, Op.FSYNCDIR, Op.INTERRUPT, Op.LINK,
            Op.SETXATTR, Op.REMOVEXATTR,
        )  # fmt: skip
        self._handlers = handlers | dict.fromkeys(always, self._served)

    def serve(self, request: Request) -> bool:
        """Answer it, where that needs no waiting."""
        handler = self._handlers.get(request.op)
        if handler is None:
            return False
        try:
            return handler(request)
        except (OSError, CftoolError) as error:
            self._server.reply_error(request, error)
        except Exception:
            self._server.failed(request)
        return True

    def _served(self, request: Request) -> bool:
        self._server.answer(request)
        return True

    # ---- names

    def _lookup(self, request: Request) -> bool:
        listing = self._vfs.listing
        directory = self._vfs.nodes.get(request.node)
        if directory is None or not listing.is_listed(directory):
            return False
        name = request.name()
        if len(name) > _SHORT or self._vfs.is_report(directory.id) or name == REPORTS:
            return self._served(request)
        attr = listing.taken(directory, name)
        if attr is None:
            self._server.write(_DONE.pack(_HEAD + len(fuse.NO_ENTRY), 0, request.unique) + fuse.NO_ENTRY)
        else:
            self._server.write(fuse.entry_answer(request.unique, attr, self._server.ttl))
        return True

    def _forget(self, request: Request) -> bool:
        self._vfs.forget(request.node, _FORGET.unpack_from(request.buffer)[0])
        return True

    def _batch_forget(self, request: Request) -> bool:
        (count,) = _COUNT.unpack_from(request.buffer)
        self._vfs.forget_many(_ONE.iter_unpack(request.view[_FORGETS : _FORGETS + count * _ONE.size]))
        return True

    def _opendir(self, request: Request) -> bool:
        node = self._vfs.nodes.get(request.node)
        return (node is None or self._vfs.is_listed(node)) and self._served(request)

    def _getxattr(self, request: Request) -> bool:
        start = fuse.IN_SIZE + 8
        return bytes(request.view[start : start + len(_OURS)]) != _OURS and self._served(request)

    # ---- files

    def _read(self, request: Request) -> bool:
        number, offset, size, _flags = _READ.unpack_from(request.buffer)
        handle = self._handles.get(number)
        if handle is None:
            return self._served(request)
        answer = request.answer
        count = handle.file.read_now(answer[_HEAD : _HEAD + size], offset)
        if count < 0:
            return False
        _pack_done(request.room, 0, _HEAD + count, 0, request.unique)
        self._server.write(answer[: _HEAD + count])
        return True

    def _lseek(self, request: Request) -> bool:
        handle = self._handles.get(_HANDLE.unpack_from(request.buffer)[0])
        return (handle is None or handle.file.is_free) and self._served(request)

    def _write(self, request: Request) -> bool:
        number, offset, size, flags = _READ.unpack_from(request.buffer)
        handle = self._handles.get(number)
        if handle is None:
            return self._served(request)
        file = handle.file
        if not (file.has_room(offset + size) and file.is_free):
            return False
        if flags & fuse.WRITE_KILL_PRIV:
            self._vfs.unprivileged(request.node)
        count = self._vfs.write_to(handle, request.view[fuse.WRITE_DATA : fuse.WRITE_DATA + size], offset)
        self._server.write(_WRITTEN.pack(_WRITTEN.size, 0, request.unique, count, 0))
        if file.users > 1:
            self._server.told_readers(number)
        return True

    def _create(self, request: Request) -> bool:
        directory = self._vfs.nodes.get(request.node)
        if directory is None or not self._vfs.is_listed(directory) or not self._vfs.store.has_small_room():
            return False
        if not (self._nobody_commits() and self._vfs.is_steady()):
            return False
        attr, opened = self._server.created(request)
        self._server.write(fuse.entry_answer(request.unique, attr, self._server.ttl, fuse.OPEN_OUT.pack(*opened)))
        return True

    def _flush(self, request: Request) -> bool:
        (number,) = _HANDLE.unpack_from(request.buffer)
        handle = self._vfs.handles.get(number)
        if handle is None or not handle.changes:
            return self._served(request)
        return self._durable(request, number)

    def _fsync(self, request: Request) -> bool:
        return self._durable(request, _HANDLE.unpack_from(request.buffer)[0])

    def _durable(self, request: Request, number: int) -> bool:
        """Whether it is to be answered together with others."""
        if not self._vfs.is_small(number):
            return False
        self.later.add(request.unique, number)
        return True

    def _release(self, request: Request) -> bool:
        (number,) = _HANDLE.unpack_from(request.buffer)
        handle = self._vfs.handles.get(number)
        if handle is not None:
            if not (self._vfs.ends_at_once(handle) and self._nobody_commits()):
                return False
            self._vfs.release(number)
        self._server.write(_DONE.pack(_HEAD, 0, request.unique))
        return True

    def _nobody_commits(self) -> bool:
        """Whether the cache's lock is to be had at once, as far as one can know."""
        lock = self._vfs.store.lock
        free = lock.acquire(blocking=False)
        if free:
            lock.release()
        return free


class Later:
    """Closes and syncs of small files, which are durable after one commit for all of them."""

    def __init__(self, server: "Server", vfs: "Vfs") -> None:
        self._server = server
        self._vfs = vfs
        self._asked: list[tuple[int, int]] = []  # request, handle
        self.count = 0
        self._meanwhile = 0  # requests since one waits
        self._took = 0.0  # seconds of a commit, of late

    def add(self, unique: int, handle: int) -> None:
        """One more."""
        self._asked.append((unique, handle))
        self.count += 1

    def passed(self) -> bool:
        """Who closes does not wait for any number of others."""
        self._meanwhile += 1
        return self._meanwhile > _MEANWHILE

    def is_slow(self) -> bool:
        """Whether a commit takes longer than others should wait."""
        if self._took > _SLOW or not all(self._vfs.is_free(handle) for _, handle in self._asked):
            return True
        free = self._vfs.store.lock.acquire(blocking=False)
        if free:
            self._vfs.store.lock.release()
        return not free

    def taken(self, *, early: bool = False) -> Callable[[], None]:
        """What commits and answers those that were added; others come anew. `early`: see `loop.Later`."""
        asked, self._asked = self._asked, []
        self.count = self._meanwhile = 0
        return lambda: self._finish(asked, early=early)

    def _finish(self, asked: list[tuple[int, int]], *, early: bool) -> None:
        began = time.monotonic()
        answers = [_Answer(self._server, unique) for unique, _ in asked]
        try:
            errors = self._vfs.flush_together([handle for _, handle in asked], answers if early else ())
        except Exception as failed:
            _log.exception("a commit had an error of its own")
            errors = [failed] * len(asked)
        self._took += (time.monotonic() - began - self._took) / 8
        for answer, error in zip(answers, errors, strict=True):
            if answer.given:
                continue
            if error is None:
                answer()
            else:
                self._server.reply(answer.unique, Op.FLUSH, error)


class _Answer:
    """That it is durable: once, as soon as it is."""

    __slots__ = ("_server", "given", "unique")

    def __init__(self, server: "Server", unique: int) -> None:
        self._server = server
        self.unique = unique
        self.given = False

    def __call__(self) -> None:
        self.given = True
        self._server.write(_DONE.pack(_HEAD, 0, self.unique))
