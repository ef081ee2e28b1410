"""The kernel's FUSE protocol, version 7: structures, numbers and flags. No I/O.

Source: the kernel's own header, https://www.kernel.org/doc/html/latest/filesystems/fuse.html and
include/uapi/linux/fuse.h. All integers are little-endian on the machines this runs on; sizes are fixed by the ABI.
"""

import struct
from enum import IntEnum

from cftool.vfs.nodes import Attr

IN_HEADER = struct.Struct("<IIQQIIIHH")  # len, opcode, unique, nodeid, uid, gid, pid, extensions, padding
OUT_HEADER = struct.Struct("<IiQ")  # len, error, unique
INIT_IN = struct.Struct("<IIIII")  # major, minor, max_readahead, flags, more flags where INIT_EXT is among them
INIT_OUT = struct.Struct("<IIIIHHIIHHIII20x")  # …, more flags, how deep a file that the kernel reads itself may lie
ENTRY = struct.Struct("<QQQQII")  # nodeid, generation, entry_valid, attr_valid, and their nanoseconds
ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
ATTR_HEAD = struct.Struct("<QII")
OPEN_OUT = struct.Struct("<QIi")
READ_IN = struct.Struct("<QQIIQII")  # fh, offset, size, flags, lock_owner, open flags, padding; WRITE_IN likewise
WRITE_OUT = struct.Struct("<II")
SETATTR_IN = struct.Struct("<IIQQQQQQIIIIIIII")
DIRENT = struct.Struct("<QQII")  # ino, offset, name length, type
STATFS = struct.Struct("<QQQQQIIII24x")
HANDLE = struct.Struct("<Q")
IN_SIZE = IN_HEADER.size  # 40
OUT_SIZE = OUT_HEADER.size  # 16
WRITE_DATA = IN_SIZE + READ_IN.size  # where the data of a WRITE begins


Opened = tuple[int, int, int]  # of `struct fuse_open_out`: handle, flags, the kernel's number for a file of its own


class Op(IntEnum):
    """Operations that are answered; the kernel learns from ENOSYS what is not there and asks no more."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46


# Flags of INIT.
ASYNC_READ = 1 << 0
ATOMIC_O_TRUNC = 1 << 3
BIG_WRITES = 1 << 5
AUTO_INVAL_DATA = 1 << 12
DO_READDIRPLUS = 1 << 13
READDIRPLUS_AUTO = 1 << 14
ASYNC_DIO = 1 << 15
PARALLEL_DIROPS = 1 << 18
MAX_PAGES = 1 << 22
CACHE_SYMLINKS = 1 << 23
EXPLICIT_INVAL_DATA = 1 << 25
HANDLE_KILLPRIV_V2 = 1 << 28
INIT_EXT = 1 << 30
PASSTHROUGH = 1 << (37 - 32)  # of the second word

FOPEN_DIRECT_IO = 1
FOPEN_KEEP_CACHE = 2
FOPEN_PASSTHROUGH = 1 << 7

# Whoever writes or opens may not keep the bits that lend rights.
WRITE_KILL_PRIV = 1 << 2
OPEN_KILL_PRIV = 1 << 0
SET_KILL_PRIV = 1 << 11

NOTIFY_INVAL_INODE = 2
NOTIFY_INVAL_ENTRY = 3

# Which fields of SETATTR count.
SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_ATIME, SET_MTIME = 1, 2, 4, 8, 16, 32
SET_ATIME_NOW, SET_MTIME_NOW = 128, 256

_SECOND = 1_000_000_000
_NEGATIVE = 1  # seconds that a missing name counts
_ENTRY_ANSWER = struct.Struct(OUT_HEADER.format + ENTRY.format[1:] + ATTR.format[1:])
NO_ENTRY = ENTRY.pack(0, 0, _NEGATIVE, 0, 0, 0) + bytes(ATTR.size)


def pack_attr(attr: Attr) -> bytes:
    """`struct fuse_attr`."""
    return ATTR.pack(
        attr.id, attr.size, -(-attr.size // 512),
        attr.atime_ns // _SECOND, attr.mtime_ns // _SECOND, attr.ctime_ns // _SECOND,
        attr.atime_ns % _SECOND, attr.mtime_ns % _SECOND, attr.ctime_ns % _SECOND,
        attr.mode, attr.links, attr.uid, attr.gid, attr.rdev, 4096, 0,
    )  # fmt: skip


def pack_entry(attr: Attr, ttl: int) -> bytes:
    """`struct fuse_entry_out`: name and attributes count for `ttl` seconds."""
    return ENTRY.pack(attr.id, 0, ttl, ttl, 0, 0) + pack_attr(attr)


def entry_answer(unique: int, attr: Attr, ttl: int, more: bytes = b"") -> bytes:
    """A whole answer with it, and with `more` after it."""
    return _ENTRY_ANSWER.pack(
        _ENTRY_ANSWER.size + len(more), 0, unique,
        attr.id, 0, ttl, ttl, 0, 0,
        attr.id, attr.size, -(-attr.size // 512),
        attr.atime_ns // _SECOND, attr.mtime_ns // _SECOND, attr.ctime_ns // _SECOND,
        attr.atime_ns % _SECOND, attr.mtime_ns % _SECOND, attr.ctime_ns % _SECOND,
        attr.mode, attr.links, attr.uid, attr.gid, attr.rdev, 4096, 0,
    ) + more  # fmt: skip


def pack_attr_out(attr: Attr, ttl: int) -> bytes:
    """`struct fuse_attr_out`."""
    return ATTR_HEAD.pack(ttl, 0, 0) + pack_attr(attr)


def pack_dirent(number: int, offset: int, name: bytes, kind: int) -> bytes:
    """`struct fuse_dirent`, padded."""
    return DIRENT.pack(number, offset, len(name), kind) + name + bytes(-len(name) & 7)
