"""Local directories as entries: one level, or all below in the order of the merge.

Links and special files are entries without a size; our temps are not shown. A directory that cannot be read is an
error: what is not seen must never look as if it were not there. What vanishes between being named and being looked at
has vanished, and is left out.
"""

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cftool.core.errors import ListingError, NotFound
from cftool.core.paths import MAX_DEPTH
from cftool.core.types import Entry, Kind
from cftool.disk import temps
from cftool.disk.errors import store_error
from cftool.disk.source import version_of

if TYPE_CHECKING:
    from cftool.disk.root import Root

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Looked up once: an enum's members cost a dictionary look-up each, and a listing makes a million entries.
_FILE, _DIR, _LINK, _OTHER = Kind.FILE, Kind.DIRECTORY, Kind.LINK, Kind.OTHER


def entry_of(path: str, status: os.stat_result) -> Entry:
    """The entry of an lstat result."""
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return Entry(path, _FILE, status.st_size, status.st_mtime_ns, None, version_of(status))
    if stat.S_ISDIR(mode):
        return Entry(path, _DIR)
    return Entry(path, _LINK if stat.S_ISLNK(mode) else _OTHER)


def scan(root: "Root", path: str) -> Iterator[Entry]:
    """One level, in no order."""
    prefix = path + "/" if path else ""
    for name, found in root.scan(path):
        entry = _entry(prefix + name, found)
        if entry is not None:
            yield entry


def walk(root: "Root", path: str) -> Iterator[Entry]:
    """All below `path` in the byte order of `paths.sort_key`. Holds one directory a level, and its names."""
    levels: list[_Level] = []
    try:
        directory = root.directory(path)
        try:
            levels.append(_Level(os.open(".", _DIRECTORY, dir_fd=directory.fd), path + "/" if path else ""))
        except OSError as error:
            raise store_error(error, op="walk", path=path) from error
        del directory
        while levels:
            level = levels[-1]
            below: str | None = None
            for found in level.rest:
                entry = _entry(level.prefix + found.name, found)
                if entry is None:
                    continue
                yield entry
                if entry[1] is _DIR:
                    below = found.name
                    break
            if below is None:
                levels.pop().close()
            else:
                _descend(levels, level, below)
    finally:
        for level in levels:
            level.close()


class _Level:
    """One directory of a walk: its descriptor, which the entries' `stat` needs, and the entries still to come."""

    __slots__ = ("fd", "prefix", "rest")

    def __init__(self, fd: int, prefix: str) -> None:
        self.fd = fd
        self.prefix = prefix
        try:
            self.rest = iter(_sorted(fd))
        except OSError as error:
            os.close(fd)
            raise store_error(error, op="walk", path=prefix[:-1]) from error
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        os.close(self.fd)


def _sorted(fd: int) -> "list[os.DirEntry[str]]":
    with os.scandir(fd) as entries:
        found = [entry for entry in entries if not (entry.name.startswith(temps.PREFIX) and temps.is_temp(entry.name))]
    keys = [entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in found]
    if not "".join(keys).isascii():  # text sorts as its UTF-8 does, but not as bytes that are none
        order = sorted(zip(map(os.fsencode, keys), range(len(keys)), strict=True))
        return [found[number] for _, number in order]
    return [found[number] for _, number in sorted(zip(keys, range(len(keys)), strict=True))]


def _descend(levels: list[_Level], level: _Level, name: str) -> None:
    path = level.prefix + name
    if len(levels) > MAX_DEPTH:
        raise ListingError(f"directories are nested deeper than {MAX_DEPTH}", op="walk", path=path)
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=level.fd)
    except FileNotFoundError:  # removed since it was named: nothing is in it
        return
    except OSError as error:
        raise store_error(error, op="walk", path=path) from error
    levels.append(_Level(fd, path + "/"))


def _entry(path: str, found: "os.DirEntry[str]") -> Entry | None:
    try:
        if found.is_file(follow_symlinks=False):
            status = found.stat(follow_symlinks=False)
            mtime = status.st_mtime_ns
            size = status.st_size
            return Entry(path, _FILE, size, mtime, None, f"{status.st_ino}:{size}:{mtime}:{status.st_ctime_ns}")
        if found.is_dir(follow_symlinks=False):
            return Entry(path, _DIR)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise store_error(error, op="walk", path=path) from error
    return Entry(path, _LINK if found.is_symlink() else _OTHER)


def stat_entry(root: "Root", path: str) -> Entry:
    """The entry of one path. A temp of ours is not there."""
    if temps.is_temp(path.rpartition("/")[2]):
        raise NotFound("no such file or directory", op="stat", path=path)
    return entry_of(path, root.stat(path))
