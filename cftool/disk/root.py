"""A local tree, held by a directory descriptor: every path is resolved below it, one component at a time.

No symbolic link is followed in any component, no `..` is accepted, so nothing outside the root is read, written or
removed, whoever swaps what meanwhile. Directories in use are kept open in a small cache; a cached one counts only while
the path still leads to it. `writer` publishes through it and reports back what is not durable yet. All public methods
raise StoreError.
"""

import contextlib
import errno
import logging
import os
import stat as stat_
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

from cftool.core import paths
from cftool.core.errors import AlreadyExists, InvalidName, IsADirectory, NotADirectory, StoreError, Unsupported
from cftool.core.types import NameRules, Target
from cftool.disk import durability, temps
from cftool.disk.errors import store_error, translated
from cftool.disk.group import Group
from cftool.disk.writer import LocalTarget, refuse_special

_HELD = 32  # open directories in the cache
_UNSYNCED = 4096  # published names whose directory is not synced yet; more are not left waiting
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH_ONLY = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANY_BYTES = NameRules(utf8=False)
# FAT answers EPERM, and so does Linux for files of other owners; with EXDEV the other name is on another disk.
_NO_LINKS = frozenset({errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS})
_log = logging.getLogger("cftool.disk")

Failure = tuple[str, Exception]


class Directory:
    """An open directory, closed when its last user lets go of it: eviction from the cache cannot pull it away."""

    __slots__ = ("_close", "fd", "key")

    def __init__(self, fd: int) -> None:
        """Takes the descriptor over, also where this fails."""
        self.fd = fd
        self._close: Callable[[int], None] = os.close  # held here: at exit the module may be gone first
        status = os.fstat(fd)
        self.key = (status.st_ino, status.st_dev)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):  # nothing was written through it
            self._close(self.fd)


class Root:
    """A held local tree. Context manager; `close` flushes."""

    def __init__(self, path: str, *, create: bool = False, run_id: str | None = None) -> None:
        """Open the directory `path`, which may itself lie behind links; `create` makes it and its parents."""
        self.path = os.path.realpath(path)
        # 12 hex digits, in the names of this run's temps.
        self.run_id = run_id or os.urandom(6).hex()
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._held: OrderedDict[str, Directory] = OrderedDict()
        self._unsynced: dict[str, list[str]] = {}  # directory: paths published in it since it was last synced
        self._unsynced_count = 0
        self._unsyncable: dict[str, StoreError] = {}  # published, but their directory's sync failed
        self._group: Group | None = None
        self._top: Directory | None = None
        with translated("open", ""):
            if create:
                _make_root(self.path)
            self._top = Directory(os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def __enter__(self) -> "Root":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            self.close()
        except StoreError as error:
            if kind is None:
                raise
            _log.warning("%s: %s", paths.printable(error.path or ""), error.message)

    def close(self) -> None:
        """Flush, and raise the first failure that no `flush` has told. Idempotent."""
        if self._top is None:
            return
        failures: list[Failure] = []
        try:
            failures = self.flush()
        finally:
            group, self._group = self._group, None
            if group is not None:
                group.close()
            with self._lock:
                self._held.clear()
                self._top = None
        for _, error in failures:
            raise error

    def identity(self) -> str:
        """What tells this tree from another mounted at the same place: file system and inode of the root."""
        with translated("identity", ""):
            status = os.fstat(self._opened().fd)
            fsid = os.fstatvfs(self._opened().fd).f_fsid
        return f"{fsid or status.st_dev:x}:{status.st_ino}"

    # ---- directories

    def directory(self, path: str, *, create: bool = False) -> Directory:
        """The directory `path`, open; `create` makes what is missing. Keep the object while its descriptor is used."""
        here = self._opened()
        if not path:
            return here
        _check(path)
        done = 0
        while done < len(path):
            start = done + 1 if done else 0
            end = path.find("/", start)
            end = len(path) if end < 0 else end
            here = self._child(here, path[:end], path[start:end], create=create)
            done = end
        return here

    def _child(self, parent: Directory, path: str, name: str, *, create: bool) -> Directory:
        with self._lock:
            held = self._held.get(path)
        try:
            if held is not None and _key(name, parent.fd) == held.key:
                return held
            child = _open_directory(name, parent.fd)
        except FileNotFoundError as error:
            if not create:
                raise store_error(error, path=path) from None
            child = self._make(parent, path, name)
        except OSError as error:
            raise _not_a_directory(error, path, name, parent.fd) from error
        with self._lock:
            self._held[path] = child
            self._held.move_to_end(path)
            if len(self._held) > _HELD:
                self._held.popitem(last=False)
        return child

    def _make(self, parent: Directory, path: str, name: str) -> Directory:
        if temps.is_temp(name):
            raise _reserved(path)
        with translated("mkdir", path):
            try:
                os.mkdir(name, 0o777, dir_fd=parent.fd)
            except FileExistsError:  # somebody else was faster
                pass
            # Also where another thread made it: that one may not have synced it yet.
            self.published(path)
            try:
                return _open_directory(name, parent.fd)
            except OSError as error:
                raise _not_a_directory(error, path, name, parent.fd) from error

    def parent(self, path: str, *, create: bool = False, recheck: bool = True) -> tuple[Directory, str]:
        """The open directory that holds `path`, and the last component: the way to every entry.

        `recheck=False` may give a directory that was moved away meanwhile: for temps, as `publish` looks again.
        """
        if not path:
            raise IsADirectory("is the root directory", path=path)
        _check(path)
        parent, _, name = path.rpartition("/")
        held = None if recheck else self._held.get(parent)
        return held or self.directory(parent, create=create), name

    # ---- reading

    def open_read(self, path: str) -> int:
        """A descriptor of a regular file. Links, pipes and devices raise Unsupported and are never opened for data."""
        directory, name = self.parent(path)
        with translated("read", path):
            try:
                # A pipe would block, a device may act, on being opened; O_NONBLOCK keeps the first from it, and
                # fstat finds out before anything is read. A terminal must not become ours.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                fd = os.open(name, flags, dir_fd=directory.fd)
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.ENXIO}:  # a link; a socket
                    raise _no_file(os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode) from None
                raise
            try:
                mode = os.fstat(fd).st_mode
                if not stat_.S_ISREG(mode):
                    raise _no_file(mode)
            except BaseException:
                os.close(fd)
                raise
        return fd

    def stat(self, path: str) -> os.stat_result:
        """The status of `path` itself, a link not followed."""
        if not path:
            with translated("stat", path):
                return os.fstat(self._opened().fd)
        directory, name = self.parent(path)
        try:
            return os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        except OSError as error:
            raise store_error(error, op="stat", path=path) from None

    def scan(self, path: str) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
        """Names and entries of a directory, our temps left out. The entries' `stat` works while the scan is open."""
        directory = self.directory(path)
        with translated("scan", path):
            # A descriptor of its own, because the read position belongs to the open file.
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory.fd)
            try:
                with os.scandir(fd) as entries:
                    for entry in entries:
                        if not temps.is_temp(entry.name):
                            yield entry.name, entry
            finally:
                os.close(fd)

    # ---- changing

    def mkdirs(self, path: str) -> None:
        """Make the directory and its parents. AlreadyExists where something else has the name."""
        try:
            self.directory(path, create=True)
        except NotADirectory as error:
            if error.path == path:
                raise AlreadyExists("exists and is no directory", op="mkdir", path=path) from None
            raise

    def unlink(self, path: str) -> None:
        """Remove a file or a link. IsADirectory for a directory."""
        self._settle()
        directory, name = self.parent(path)
        with translated("delete", path):
            try:
                os.unlink(name, dir_fd=directory.fd)
            except PermissionError:  # what some systems say of a directory
                if stat_.S_ISDIR(os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode):
                    raise IsADirectory("is a directory") from None
                raise

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        self._settle()
        directory, name = self.parent(path)
        with translated("rmdir", path):
            os.rmdir(name, dir_fd=directory.fd)
        with self._lock:
            self._held.pop(path, None)

    def rename(self, src: str, dst: str) -> None:
        """Rename within the tree; a file at `dst` is replaced, its missing parents are made. Durable with `flush`."""
        self._settle()
        self.check_name(dst)
        from_directory, from_name = self.parent(src)
        with translated("move", src):
            source = os.stat(from_name, dir_fd=from_directory.fd, follow_symlinks=False)
        to_directory, to_name = self.parent(dst, create=True)
        with translated("move", dst):
            if src != dst:
                refuse_special(to_directory.fd, to_name)
            os.rename(from_name, to_name, src_dir_fd=from_directory.fd, dst_dir_fd=to_directory.fd)
            if src != dst and not stat_.S_ISDIR(source.st_mode) and source.st_nlink > 1:
                # Two names of one file: rename(2) then does nothing at all. The directory is asked what names it has,
                # because one that folds case would find the new name under the old one.
                with os.scandir(from_directory.fd) as names:
                    left = any(name.name == from_name and name.inode() == source.st_ino for name in names)
                if left:
                    os.unlink(from_name, dir_fd=from_directory.fd)
        self.published(dst)
        self.published(src)

    def link(self, path: str, to: str) -> None:
        """Give a file a second name, durable on return. Raises AlreadyExists; Unsupported without hard links."""
        self._settle()
        self.check_name(to)
        from_directory, from_name = self.parent(path)
        to_directory, to_name = self.parent(to, create=True)
        with translated("link", to):
            try:
                os.link(
                    from_name,
                    to_name,
                    src_dir_fd=from_directory.fd,
                    dst_dir_fd=to_directory.fd,
                    follow_symlinks=False,
                )
            except OSError as error:
                if error.errno in _NO_LINKS:
                    raise Unsupported("no hard links here", op="link", path=path) from error
                raise
        self.published(to)
        self.sync(to)

    def check_name(self, path: str) -> None:
        """A new name must not look like a temp of ours: it would be hidden, and one day swept away."""
        if temps.is_temp(path.rpartition("/")[2]):
            raise _reserved(path)

    def target(self, path: str, *, origin: str = "", verify: bool = True) -> Target:
        """Where a download of `path` goes. `origin` names the source store, so that partial files of two never mix.

        `verify`: `save` checks the entry's hashes itself; False where the caller has done so.
        """
        return LocalTarget(self, path, origin=origin, verify=verify)

    # ---- durability

    @property
    def group(self) -> Group:
        """The group commit of this tree; made at the first use."""
        group = self._group
        if group is None:
            with self._lock:
                group = self._group = self._group or Group(self)
        return group

    def published(self, *changed: str) -> None:
        """Note that these entries of their directories changed and must be synced before it is reported."""
        with self._lock:
            for path in changed:
                self._unsynced.setdefault(path.rpartition("/")[0], []).append(path)
            self._unsynced_count += len(changed)

    def sync(self, path: str) -> None:
        """Make the published `path` durable, and the directories made for it. Raises what failed of them."""
        self.sync_directories()
        if not self._unsyncable:
            return
        with self._lock:
            # Its own is told once; that of a directory above concerns others as well.
            error = self._unsyncable.pop(path, None)
            above = [one for failed, one in self._unsyncable.items() if paths.is_within(path, failed)]
        for one in [error, *above]:
            if one is not None:
                raise one

    def sync_directories(self, *, only_if_many: bool = False) -> None:
        """Make all published entries durable. Failures are kept for `sync` and `flush`: any thread may come first."""
        if only_if_many and self._unsynced_count < _UNSYNCED:
            return
        with self._syncing:  # one after the other: who finds nothing left to do may rely on its being done
            with self._lock:
                todo = {directory: len(names) for directory, names in self._unsynced.items()}
            for directory, count in todo.items():
                problem = self._sync(directory)
                with self._lock:
                    # Only what was there before the sync began; other threads publish meanwhile.
                    names = self._unsynced[directory]
                    settled = names[:count]
                    del names[:count]
                    if not names:
                        del self._unsynced[directory]
                    self._unsynced_count -= count
                    if problem is not None:
                        self._unsyncable.update((path, problem) for path in settled)

    def _sync(self, directory: str) -> StoreError | None:
        try:
            durability.sync_directory(self.directory(directory).fd)
        except OSError as error:
            return store_error(error, op="write", path=directory)
        except StoreError:  # it is gone, and what was in it with it
            _log.debug("directory %s vanished before it was synced", paths.printable(directory))
        return None

    def flush(self) -> list[Failure]:
        """Make all that was given to the targets durable and published; (path, error) of what failed since then."""
        group = self._group
        failures = group.flush() if group is not None else []
        self.sync_directories()
        with self._lock:
            failures += self._unsyncable.items()
            self._unsyncable.clear()
        return failures

    def _settle(self) -> None:
        """Publish what is queued, so that a change now is later than a save before."""
        if self._group is not None:
            self._group.drain()

    def _opened(self) -> Directory:
        if self._top is None:
            raise StoreError("the tree was closed")
        return self._top


def _make_root(path: str) -> None:
    """Make a root and its parents, each durable in its own parent."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        try:
            os.mkdir(directory)
        except FileExistsError:
            if not os.path.isdir(directory):
                raise NotADirectory(f"{paths.printable(directory)} is no directory") from None
        fd = os.open(os.path.dirname(directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            durability.sync_directory(fd)
        finally:
            os.close(fd)


def _open_directory(name: str, parent_fd: int) -> Directory:
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=parent_fd)
    except PermissionError:
        fd = os.open(name, _PATH_ONLY, dir_fd=parent_fd)  # may be passed through although it may not be listed
    return Directory(fd)


def _key(name: str, parent_fd: int) -> tuple[int, int]:
    status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    return (status.st_ino, status.st_dev)


def _not_a_directory(error: OSError, path: str, name: str, parent_fd: int) -> StoreError:
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        try:
            is_link = stat_.S_ISLNK(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode)
        except OSError:
            is_link = False
        text = "is a symbolic link, which is not followed" if is_link else "is not a directory"
        return NotADirectory(text, path=path)
    return store_error(error, path=path)


def _no_file(mode: int) -> StoreError:
    if stat_.S_ISDIR(mode):
        return IsADirectory("is a directory")
    what = "a symbolic link" if stat_.S_ISLNK(mode) else "a special file"
    return Unsupported(f"is {what} and has no content to read")


def _check(path: str) -> None:
    reason = paths.problem(path, _ANY_BYTES)
    if reason is not None:
        raise InvalidName(f"the name {reason}", path=path)


def _reserved(path: str) -> InvalidName:
    return InvalidName("the name is one of those that cftool gives to temporary files", path=path)
