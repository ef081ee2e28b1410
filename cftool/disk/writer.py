"""Atomic writes: a temp in the directory of the final name, checked, synced, renamed, the directory synced.

`Draft` is one temp on its way, `publish` brings a batch of them under their names, and `LocalTarget` is the
types.Target that downloads write to; `group` collects the batches. The invariant: nothing gets its
final name before all of its bytes are on the disk, and a final name is only ever changed by that rename.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cftool.core import hashing, paths
from cftool.core.errors import AlreadyExists, IntegrityError, IsADirectory, NotADirectory, StoreError
from cftool.core.types import Entry, Partial
from cftool.disk import durability, temps
from cftool.disk.errors import store_error, translated

if TYPE_CHECKING:
    from cftool.disk.root import Directory, Failure, Root

PERMISSIONS = 0o777  # set-user-id, set-group-id and sticky are never carried over


class Draft:
    """A temp on its way to `path`. Whoever holds it must `publish` or `discard` it."""

    __slots__ = ("directory", "fd", "name", "old", "path", "published", "side", "size", "temp")

    def __init__(
        self, directory: "Directory", name: str, path: str, temp: str, fd: int, old: os.stat_result | None
    ) -> None:
        self.directory = directory
        self.name = name
        self.path = path
        self.temp = temp
        self.fd = fd
        self.old = old  # the regular file that it replaces
        self.size = 0
        self.side: str | None = None  # a file beside the temp that goes with it
        self.published: os.stat_result | None = None  # what it was under its final name, before anybody could touch it

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`."""
        written = os.write(self.fd, data)
        self.size += written
        if written < len(data):
            rest = memoryview(data)[written:]
            while rest:
                written = os.write(self.fd, rest)
                self.size += written
                rest = rest[written:]

    def finish(self, modified_ns: int | None) -> None:
        """Set time, owner and permissions, and prove the length, through the descriptor."""
        if self.old is not None:
            _keep_owner(self.fd, self.old)
            os.fchmod(self.fd, self.old.st_mode & PERMISSIONS)
        if modified_ns is not None:
            os.utime(self.fd, ns=(modified_ns, modified_ns))
        actual = os.fstat(self.fd).st_size
        if actual != self.size:
            raise IntegrityError(f"{actual} bytes are on the disk, not {self.size}", op="write", path=self.path)

    def close(self) -> None:
        """Close the descriptor, and with it the lock."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def discard(self) -> None:
        """Remove the temp; never raises: what cannot be removed is swept later."""
        for name in (self.temp, self.side):
            if name is not None:
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=self.directory.fd)
        with contextlib.suppress(OSError):
            self.close()


def replaceable(directory: "Directory", name: str) -> os.stat_result | None:
    """The regular file that has the name now. Raises IsADirectory or AlreadyExists, before anything is written."""
    status = _status(directory.fd, name)
    if status is None:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectory("is a directory")
    _refuse_special(status)
    return status if stat.S_ISREG(status.st_mode) else None


def refuse_special(directory_fd: int, name: str) -> None:
    """Raise AlreadyExists where a device, a FIFO or a socket has the name, which a rename would throw away.

    As root a copy to /dev/null would take the device from the whole machine. A symbolic link is replaced.
    """
    status = _status(directory_fd, name)
    if status is not None:
        _refuse_special(status)


def _refuse_special(status: os.stat_result) -> None:
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise AlreadyExists("a device, FIFO or socket has this name, and is not replaced")


def _status(directory_fd: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def draft(root: "Root", path: str, *, permissions: int = 0o666) -> Draft:
    """Begin to write `path`, its missing parents made. Raises OSError, StoreError.

    An old file keeps its permission bits, and its owner where we may give it back; a new one gets `permissions` less
    the umask.
    """
    try:
        return _draft(root, path, permissions, recheck=False)
    except FileNotFoundError:  # its directory was removed since it was opened
        return _draft(root, path, permissions, recheck=True)


def _draft(root: "Root", path: str, permissions: int, *, recheck: bool) -> Draft:
    directory, name = root.parent(path, create=True, recheck=recheck)
    if temps.is_temp(name):
        root.check_name(path)
    old = replaceable(directory, name)
    # Never wider than the old file, not even for the moment before `finish`.
    mode = permissions & PERMISSIONS if old is None else 0o600
    temp, fd = temps.create(directory.fd, root.run_id, mode)
    return Draft(directory, name, path, temp, fd, old)


def _keep_owner(fd: int, old: os.stat_result) -> None:
    """Give a replacement the old file's owner and group, where that is allowed: it matters for root only."""
    new = os.fstat(fd)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(fd, old.st_uid, old.st_gid)


def exists(one: Draft) -> bool:
    """Whether something has the final name now: an early answer, which `publish` does not rely on."""
    try:
        os.stat(one.name, dir_fd=one.directory.fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def publish(root: "Root", drafts: Iterable[Draft], *, if_absent: bool = False) -> "list[Failure]":
    """Sync, then rename all; the failures. Every draft is closed, and its temp gone, in any case.

    The renames are durable only after `root.sync_directories`. With `if_absent` an existing name is AlreadyExists.
    """
    drafts = list(drafts)
    failures: list[Failure] = []
    published: list[str] = []
    try:
        for one in drafts:
            durability.start_writeback(one.fd)
        good = _each(drafts, failures, _sync)
        place = _link if if_absent else _rename
        moved = _moved_directories(root, good)
        if moved:
            good = _each(good, failures, lambda one: _require_directory(one, moved))
        _each(good, failures, lambda one: place(one, published))
    finally:
        root.published(*published)
        for one in drafts:
            if one.fd >= 0:  # an interrupt in the middle
                one.discard()
    return failures


def _each(drafts: list[Draft], failures: "list[Failure]", action: Callable[[Draft], None]) -> list[Draft]:
    """Those for which `action` worked; the others are told and thrown away."""
    good = []
    for one in drafts:
        try:
            action(one)
        except OSError as error:
            one.discard()
            failures.append((one.path, store_error(error, op="write", path=one.path)))
        except StoreError as error:
            one.discard()
            failures.append((one.path, error.at(op="write", path=one.path)))
        else:
            good.append(one)
    return good


def _moved_directories(root: "Root", drafts: list[Draft]) -> dict[str, StoreError]:
    """The directories to which their path does not lead any more: somebody swapped them since the temp was made."""
    moved: dict[str, StoreError] = {}
    checked: set[tuple[str, int]] = set()
    for one in drafts:
        parent = paths.parent(one.path)
        if (parent, one.directory.fd) in checked:
            continue
        checked.add((parent, one.directory.fd))
        try:
            if root.directory(parent).key != one.directory.key:
                moved[parent] = NotADirectory("was replaced by another directory meanwhile", path=parent)
        except StoreError as error:
            moved[parent] = error
    return moved


def _sync(one: Draft) -> None:
    os.fsync(one.fd)


def _rename(one: Draft, published: list[str]) -> None:
    fd = one.directory.fd
    os.rename(one.temp, one.name, src_dir_fd=fd, dst_dir_fd=fd)
    published.append(one.path)
    _settle(one)


def _link(one: Draft, published: list[str]) -> None:
    """As `_rename`, but the name must be free: link(2) refuses where rename(2) replaces."""
    fd = one.directory.fd
    os.link(one.temp, one.name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
    published.append(one.path)
    with contextlib.suppress(OSError):
        os.unlink(one.temp, dir_fd=fd)
    _settle(one)


def _require_directory(one: Draft, moved: dict[str, StoreError]) -> None:
    error = moved.get(paths.parent(one.path))
    if error is not None:
        raise type(error)(f"its directory {error.message}", op="write", path=one.path)


def _settle(one: Draft) -> None:
    """It has its name: keep what it is now, and let go."""
    if one.side is not None:
        with contextlib.suppress(OSError):
            os.unlink(one.side, dir_fd=one.directory.fd)
    try:
        try:
            one.published = os.fstat(one.fd)
        finally:
            one.close()
    except OSError:  # it was synced: nothing is left that a failing close could lose
        pass


class LocalTarget:
    """types.Target over a local tree. `save` and `commit` of its partials count only after `Root.flush`."""

    __slots__ = ("_draft", "origin", "path", "root", "verify")

    def __init__(self, root: "Root", path: str, *, origin: str = "", verify: bool = True) -> None:
        self.root = root
        self.path = path
        self.origin = origin
        self.verify = verify
        self._draft: Draft | None = None

    def save(self, data: bytes, entry: Entry) -> None:
        """Check, write the temp, queue it."""
        if entry.size is not None and entry.size != len(data):
            raise IntegrityError(f"{len(data)} bytes arrived, not {entry.size}", op="read", path=self.path)
        if self.verify and entry.hashes:
            self._verify(data, entry)
        with translated("write", self.path):
            one = draft(self.root, self.path)
            try:
                one.write(data)
                one.finish(entry.modified_ns)
            except BaseException:
                one.discard()
                raise
        self._draft = one
        self.root.group.add(one)

    @property
    def published(self) -> os.stat_result | None:
        """What a file that was saved was when it got its final name, once `Root.flush` has said that it did."""
        return None if self._draft is None else self._draft.published

    def begin(self, entry: Entry) -> Partial:
        """See partial.LocalPartial."""
        from cftool.disk.partial import begin

        return begin(self.root, self.path, entry, self.origin)

    def _verify(self, data: bytes, entry: Entry) -> None:
        name = hashing.mismatch(data, entry.hashes)
        if name is not None:
            raise IntegrityError(f"the content's {name} is not {entry.hashes[name]}", op="read", path=self.path)
