"""Getting a mount from the kernel and giving it back: mount(2) as root, fusermount3 as anybody else.

https://www.kernel.org/doc/html/latest/filesystems/fuse.html; fusermount3 hands the descriptor over a socket that
`_FUSE_COMMFD` names.
"""

import array
import ctypes
import errno
import os
import shutil
import socket
import subprocess
from typing import NamedTuple

from cftool.core.errors import ConfigError, PermissionDenied, StoreError
from cftool.core.paths import printable

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MNT_FORCE, _MNT_DETACH = 1, 2
_CONNECTIONS = "/sys/fs/fuse/connections"
TYPE = "fuse.cftool"
_FORBIDDEN = ("ermission denied", "not permitted", "only allowed", "no write access")  # in fusermount3's words


def mount(
    place: str,
    name: str,
    *,
    allow_other: bool = False,
    read_only: bool = False,
    permissions: bool = True,
    executable: bool = True,
) -> int:
    """Mount at the directory `place`; the descriptor of the connection. `name` is what /proc/mounts shows.

    Raises ConfigError where FUSE is not there, StoreError where the kernel refuses.
    """
    options = ["default_permissions"] if permissions else []
    if allow_other:
        options.append("allow_other")
    shown = "".join(char if char.isalnum() or char in ":/._-+@" else "_" for char in name) or "cftool"
    if os.geteuid() == 0:
        flags = (_MS_RDONLY if read_only else 0) | (0 if executable else _MS_NOEXEC)
        return _as_root(place, shown, options, flags)
    options += ["ro"] if read_only else []
    options += [] if executable else ["noexec"]
    return _through_helper(place, shown, options)


def _as_root(place: str, name: str, options: list[str], flags: int) -> int:
    try:
        fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"/dev/fuse cannot be opened: {error.strerror}; is the fuse module loaded?") from None
    text = ",".join([f"fd={fd}", "rootmode=40000", f"user_id={os.getuid()}", f"group_id={os.getgid()}", *options])
    flags |= _MS_NOSUID | _MS_NODEV
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.mount(name.encode(), os.fsencode(place), TYPE.encode(), ctypes.c_ulong(flags), text.encode())
    if done != 0:
        number = ctypes.get_errno()
        os.close(fd)
        raise StoreError(f"the kernel refuses the mount at {printable(place)}: {os.strerror(number)}", op="mount")
    return fd


def _through_helper(place: str, name: str, options: list[str]) -> int:
    helper = shutil.which("fusermount3") or shutil.which("fusermount")
    if helper is None:
        raise ConfigError("fusermount3 is needed to mount as an ordinary user: install the package fuse3")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    text = ",".join([*options, f"fsname={name}", "subtype=cftool"])
    with ours:
        with theirs:
            # S603: a fixed program with options that are made here.
            done = subprocess.Popen(  # noqa: S603
                [helper, "-o", text, "--", place],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
                stderr=subprocess.PIPE,
            )
        _, said = done.communicate()
        if done.returncode != 0:
            words = printable(said.decode("utf-8", "replace").strip().removeprefix(f"{helper}: "))
            kind = PermissionDenied if any(part in words for part in _FORBIDDEN) else StoreError
            raise kind(f"{os.path.basename(helper)} refuses the mount: {words}", op="mount")
        _data, ancillary, _flags, _address = ours.recvmsg(1, socket.CMSG_LEN(4))
    if not ancillary:
        raise StoreError("fusermount3 gave no connection to the kernel", op="mount")
    fd = array.array("i", ancillary[0][2])[0]
    os.set_inheritable(fd, False)
    return fd


def unmount(place: str, *, lazy: bool = False) -> None:
    """Take the mount away. Raises OSError (EBUSY where it is used), ConfigError without the helper."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(place), _MNT_DETACH if lazy else 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), place)
        return
    helper = shutil.which("fusermount3") or shutil.which("fusermount")
    if helper is None:
        raise ConfigError("fusermount3 is needed to unmount as an ordinary user: install the package fuse3")
    command = [helper, "-u", *(["-z"] if lazy else []), "--", place]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - as above
    if done.returncode != 0:
        raise OSError(errno.EBUSY, printable(done.stderr.decode("utf-8", "replace").strip()) or "busy", place)


def abort(place: str) -> None:
    """Have the kernel give up the connection of our mount at exactly `place`: all that waits for it fails, ENOTCONN.

    Asks the mount itself nothing. https://docs.kernel.org/filesystems/fuse.html, "Aborting a filesystem connection".
    """
    directory, name = os.path.split(os.path.abspath(place))
    found = _ours(os.path.join(os.path.realpath(directory), name))
    if found is None:
        return
    try:
        with open(f"{_CONNECTIONS}/{found.connection}/abort", "wb") as file:
            file.write(b"1")
    except OSError:  # that file system is not mounted here; this way it may be taken away as well
        if os.geteuid() == 0:
            ctypes.CDLL(None).umount2(os.fsencode(place), _MNT_FORCE)


def mounted(place: str) -> str | None:
    """The name of our mount at exactly `place`, or None where there is none of ours."""
    found = _ours(os.path.realpath(place) if not stale(place) else os.path.abspath(place))
    return None if found is None else found.name


class _Mounted(NamedTuple):
    name: str
    connection: int  # its number below `_CONNECTIONS`


def _ours(target: str) -> _Mounted | None:
    """Our mount at exactly this path. Asks the mount itself nothing. proc_pid_mountinfo(5)."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.rstrip("\n").split(" ") for line in file]
    except OSError:
        return None
    for row in reversed(rows):
        if _unescaped(row[4]) == target:
            kind, name = row[row.index("-") + 1 :][:2]
            return _Mounted(name, int(row[2].partition(":")[2])) if kind == TYPE else None
    return None


def stale(place: str) -> bool:
    """Whether a mount is there whose process is gone: every call on it fails with ENOTCONN."""
    try:
        os.getxattr(place, "user.alive")  # no cache of the kernel answers that, and no remote is asked
    except OSError as error:
        return error.errno in {errno.ENOTCONN, errno.ECONNABORTED}
    return False


def _unescaped(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
