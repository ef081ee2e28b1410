"""Our temporary files: their names, who owns one, and the removal of those whose owner is dead.

A temp lies in the directory of its final name, so that a rename publishes it. Its maker holds the kernel's lock (flock)
on it for as long as it lives; the kernel frees the lock at any death. So a temp whose lock can be had is nobody's, and
one whose lock cannot be had, or whose file system knows no locks, is never touched. Three kinds of names, all hidden
from listings: `.cftool-RUN-N.tmp` (one write), `.cftool-KEY.part.tmp` and `.cftool-KEY.map.tmp` (a resumable one).
"""

import contextlib
import errno
import fcntl
import itertools
import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cftool.core import paths
from cftool.core.errors import NotFound, StoreError

if TYPE_CHECKING:
    from cftool.disk.root import Root

PREFIX = ".cftool-"
SUFFIX = ".tmp"
_NAME = re.compile(r"\.cftool-(?:[0-9a-f]{12}-[0-9a-f]{1,12}|[0-9a-f]{32}\.(?:part|map))\.tmp")
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL})
_LINK_SECONDS = 3600.0  # a link cannot be locked, so its age has to tell that nobody works on it
_counter = itertools.count()
_log = logging.getLogger("cftool.disk")


class Temp(NamedTuple):
    """A temporary file as `find` sees it; `in_use`: its owner lives (or that cannot be known)."""

    path: str
    bytes: int
    modified_ns: int
    in_use: bool
    partial: bool


def is_temp(name: str) -> bool:
    """Whether a file of this name is one of ours: hidden, never synced, and no name for anything else."""
    return name.startswith(PREFIX) and _NAME.fullmatch(name) is not None


def part_name(key: str) -> str:
    """The name of the resumable file with this key (32 hex digits)."""
    return f"{PREFIX}{key}.part{SUFFIX}"


def map_name(key: str) -> str:
    """The name of the map of what is there of it."""
    return f"{PREFIX}{key}.map{SUFFIX}"


def create(directory_fd: int, run_id: str, mode: int) -> tuple[str, int]:
    """A new, empty, locked temp: name and descriptor. `run_id`: 12 hex digits. Raises OSError."""
    while True:
        name = f"{PREFIX}{run_id}-{next(_counter):x}{SUFFIX}"
        try:
            fd = os.open(name, _NEW, mode, dir_fd=directory_fd)
        except FileExistsError:  # the run id is random, but nothing relies on it
            continue
        try:
            # A sweep may have come in the instant before it was locked: then it is given up.
            if lock(fd) is not False and os.fstat(fd).st_nlink:
                return name, fd
        except BaseException:
            drop(name, fd, directory_fd)
            raise
        drop(name, fd, directory_fd)


def link(directory_fd: int, run_id: str, target: bytes) -> str:
    """A new temp that is a symbolic link: its name. It has no lock, and is for an instant only."""
    while True:
        name = f"{PREFIX}{run_id}-{next(_counter):x}{SUFFIX}"
        with contextlib.suppress(FileExistsError):
            os.symlink(target, os.fsencode(name), dir_fd=directory_fd)
            return name


def drop(name: str, fd: int, directory_fd: int) -> None:
    """Remove a temp that was just made, and close it."""
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=directory_fd)
    os.close(fd)


def lock(fd: int) -> bool | None:
    """Take the temp's lock: True; False where another holds it; None where the file system has no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def same_file(fd: int, name: str, directory_fd: int) -> bool:
    """Whether the name still leads to the open file: it may have been published or removed before the lock was had."""
    try:
        there = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev)


def find(root: "Root", path: str = "", *, recursive: bool = True) -> Iterator[Temp]:
    """All temps below `path`. Directories that cannot be read are passed over, with a warning."""
    for directory, name in _names(root, path, recursive=recursive):
        temp = _look(root, directory, name)
        if temp is not None:
            yield temp


def sweep(root: "Root", path: str = "", *, recursive: bool = True, keep_partials: bool = False) -> list[str]:
    """Remove the temps below `path` that dead processes left; what was removed.

    `keep_partials` leaves those that a later run can take up again.
    """
    removed = []
    for directory, name in _names(root, path, recursive=recursive):
        if keep_partials and _is_partial(name):
            continue
        temp = paths.join(directory, name)
        if remove(root, temp):
            removed.append(temp)
    return removed


def remove(root: "Root", path: str) -> bool:
    """Remove one temp; False where it is in use, gone, or not ours to remove."""
    parent, _, name = path.rpartition("/")
    if not is_temp(name):
        raise ValueError(f"{path!r} is no temporary file of ours")
    try:
        directory = root.directory(parent)
        if _dead_link(name, directory.fd):
            os.unlink(name, dir_fd=directory.fd)
            return True
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory.fd)
    except (OSError, StoreError) as error:
        _log.debug("temporary file %s left: %s", paths.printable(path), error)
        return False
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or lock(fd) is not True or not same_file(fd, name, directory.fd):
            return False
        os.unlink(name, dir_fd=directory.fd)
    except OSError as error:
        _log.debug("temporary file %s left: %s", paths.printable(path), error)
        return False
    finally:
        os.close(fd)
    return True


def _dead_link(name: str, directory_fd: int) -> bool:
    status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    return stat.S_ISLNK(status.st_mode) and time.time() - status.st_ctime > _LINK_SECONDS


def _is_partial(name: str) -> bool:
    return name.endswith((".part.tmp", ".map.tmp"))


def _look(root: "Root", directory: str, name: str) -> Temp | None:
    path = paths.join(directory, name)
    try:
        holder = root.directory(directory)
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=holder.fd)
    except (OSError, StoreError):  # gone, or of another user
        return None
    try:
        status = os.fstat(fd)
        in_use = lock(fd) is not True
    finally:
        os.close(fd)  # and with it our lock
    return Temp(path, status.st_blocks * 512, status.st_mtime_ns, in_use, _is_partial(name))


def _names(root: "Root", path: str, *, recursive: bool) -> Iterator[tuple[str, str]]:
    """(directory, name) of everything that is named like a temp of ours."""
    todo = [path]
    while todo:
        directory = todo.pop()
        try:
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root.directory(directory).fd)
        except (FileNotFoundError, NotFound):
            continue  # so there is nothing in it
        except (OSError, StoreError) as error:
            _log.warning("no search for temporary files in %s: %s", paths.printable(directory) or ".", error)
            continue
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if is_temp(entry.name):
                        yield directory, entry.name
                    elif recursive and entry.is_dir(follow_symlinks=False):
                        todo.append(paths.join(directory, entry.name))
        finally:
            os.close(fd)
