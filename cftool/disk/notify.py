"""Hears of changes below a local directory: Linux' inotify(7), asked through the C library.

A hint and no record: what changed is found by listing. Every directory has a watch of its own; those made later get
theirs when their making is heard of. Raises OSError where there is no inotify, or no watch is left.
"""

import ctypes
import os
import select
import struct
from collections.abc import Callable

_CLOSE_WRITE, _ATTRIB, _MOVED, _CREATE, _DELETE, _SELF = 0x8, 0x4, 0xC0, 0x100, 0x200, 0xC00
_ONLYDIR, _DONT_FOLLOW = 0x0100_0000, 0x0200_0000
_OVERFLOW, _IGNORED, _ISDIR = 0x4000, 0x8000, 0x4000_0000
_WATCHED = _CLOSE_WRITE | _ATTRIB | _MOVED | _CREATE | _DELETE | _SELF | _ONLYDIR | _DONT_FOLLOW
_HEAD = struct.Struct("iIII")
_BUFFER = 1 << 16


class Notify:
    """Watches the tree at `root`; `hidden` names are not heard of. Close it."""

    def __init__(self, root: str, *, hidden: Callable[[str], bool] = lambda _name: False) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._add_watch = library.inotify_add_watch
        self._add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        self._hidden = hidden
        self._paths: dict[int, str] = {}
        self._fd = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify is not to be had")
        try:
            self._watch(root)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _watch(self, path: str) -> None:
        """The directory and all below it; what is gone by then is no error."""
        stack = [path]
        while stack:
            here = stack.pop()
            number = self._add_watch(self._fd, os.fsencode(here), _WATCHED)
            if number < 0:
                code = ctypes.get_errno()
                if here != path and not os.path.isdir(here):
                    continue
                raise OSError(code, os.strerror(code), here)
            self._paths[number] = here
            try:
                with os.scandir(here) as entries:
                    stack.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
            except OSError:  # gone, or not to be read: the listing tells
                continue

    def wait(self, seconds: float) -> bool:
        """Whether something changed, within so many seconds at most."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(max(0, int(seconds * 1000))):
            return False
        return self._take(os.read(self._fd, _BUFFER))

    def _take(self, data: bytes) -> bool:
        at = 0
        changed = False
        while at < len(data):
            number, mask, _cookie, length = _HEAD.unpack_from(data, at)
            name = os.fsdecode(data[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0"))
            at += _HEAD.size + length
            if mask & _IGNORED:
                self._paths.pop(number, None)
            elif mask & _OVERFLOW:
                changed = True
            elif not (name and self._hidden(name)):
                changed = True
                if mask & _ISDIR and mask & (_CREATE | _MOVED) and number in self._paths:
                    self._watch_new(os.path.join(self._paths[number], name))
        return changed

    def _watch_new(self, path: str) -> None:
        if os.path.isdir(path) and not os.path.islink(path):
            self._watch(path)
