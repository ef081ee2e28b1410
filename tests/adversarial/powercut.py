"""Power cuts, simulated: a child's system calls are recorded with ptrace, and replayed with unsynced effects lost.

`record` runs an action in a child and gives the operations below one directory in the order in which they took effect.
`Disk` says what a disk may hold after a power cut behind the k-th of them: what was synced, and of the rest nothing,
all names but no data, or any part of it. Directory operations count as durable only after an fsync of the directory.
Linux on x86-64.
"""

import ctypes
import os
import random
import signal
import struct
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cftool.testing import crash

_TRACEME, _GETREGS, _SYSCALL, _SETOPTIONS = 0, 12, 24, 0x4200
_OPTIONS = 0x1 | 0x8 | 0x2 | 0x4 | 0x00100000  # SYSGOOD, CLONE, FORK, VFORK, EXITKILL
_ALL = 0x40000000  # __WALL
_REGISTERS = struct.Struct("27Q")
_AT_FDCWD = -100
_O_CREAT = os.O_CREAT


class Op(NamedTuple):
    """One effect. `kind`: create, write, truncate, sync, rename, link, unlink, mkdir, rmdir, syncdir, ack."""

    kind: str
    file: int = 0  # our number of the inode
    place: str = ""  # a directory, relative to the root
    name: str = ""
    to_place: str = ""
    to_name: str = ""
    offset: int = 0
    data: bytes = b""


def record(root: Path, action: Callable[[Callable[[str], None]], object]) -> "Disk":
    """The operations of `action` below `root`; what it gives to its argument becomes an `ack`."""
    mark = root.parent / "acknowledged"
    mark.write_bytes(b"")
    child = crash._fork()
    if child == 0:
        _child(action, mark)
    tracer = _Tracer(child, root, mark)
    return Disk(tracer.run(), tracer.before)


def _child(action: Callable[[Callable[[str], None]], object], mark: Path) -> None:
    code = 70
    try:
        ctypes.CDLL(None).ptrace(_TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        fd = os.open(mark, os.O_WRONLY | os.O_APPEND)
        action(lambda text: os.write(fd, text.encode()))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


class _Tracer:
    def __init__(self, child: int, root: Path, mark: Path) -> None:
        self._child = child
        self._root = os.path.realpath(root)
        self._mark = os.path.realpath(mark)
        self._ops: list[Op] = []
        self._inside: set[int] = set()  # threads between entry and return
        self._numbers: dict[int, int] = {}  # of inodes
        self._next = 0
        self._names: dict[tuple[str, str], int] = {}
        self.before: dict[str, bytes] = {}  # files that are there already, in the order of their numbers
        self._ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self._ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
        for directory, _, names in os.walk(self._root):
            for name in names:
                path = os.path.join(directory, name)
                self._names[self._split(path)] = self._number(os.stat(path).st_ino)
                self.before[os.path.relpath(path, self._root)] = Path(path).read_bytes()

    def run(self) -> list[Op]:
        os.waitpid(self._child, 0)
        self._ptrace(_SETOPTIONS, self._child, None, _OPTIONS)
        self._ptrace(_SYSCALL, self._child, None, None)
        while True:
            try:
                tid, status = os.waitpid(-1, _ALL)
            except ChildProcessError:
                raise AssertionError("the child vanished") from None
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                if tid == self._child:
                    assert os.waitstatus_to_exitcode(status) == 0, "the action failed in the child"
                    return self._ops
                continue
            received = os.WSTOPSIG(status)
            passed = None
            if received == signal.SIGTRAP | 0x80:
                self._stop(tid)
            elif received not in {signal.SIGTRAP, signal.SIGSTOP}:
                passed = received
            self._ptrace(_SYSCALL, tid, None, passed)

    def _stop(self, tid: int) -> None:
        buffer = ctypes.create_string_buffer(_REGISTERS.size)
        self._ptrace(_GETREGS, tid, None, ctypes.addressof(buffer))
        registers = _REGISTERS.unpack(buffer.raw)
        number, result = registers[15], ctypes.c_long(registers[10]).value
        args = [ctypes.c_long(registers[at]).value for at in (14, 13, 12, 7, 9, 8)]
        if tid not in self._inside:
            self._inside.add(tid)
            return
        self._inside.discard(tid)
        handler = _HANDLERS.get(number)
        if handler is not None and result >= 0:
            handler(self, tid, args, result)

    # ---- reading the child

    def _bytes(self, tid: int, address: int, size: int) -> bytes:
        with open(f"/proc/{tid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(size)

    def _text(self, tid: int, address: int) -> str:
        data = b""
        while b"\0" not in data:
            data += self._bytes(tid, address + len(data), 64)
        return os.fsdecode(data.partition(b"\0")[0])

    def _path(self, tid: int, directory: int, address: int) -> str:
        text = self._text(tid, address)
        if text.startswith("/"):
            return os.path.normpath(text)
        base = os.readlink(
            f"/proc/{tid}/cwd" if ctypes.c_int(directory).value == _AT_FDCWD else self._fd(tid, directory)
        )
        return os.path.normpath(os.path.join(base, text))

    @staticmethod
    def _fd(tid: int, fd: int) -> str:
        return f"/proc/{tid}/fd/{ctypes.c_int(fd).value}"

    def _split(self, path: str) -> tuple[str, str]:
        place, _, name = os.path.relpath(path, self._root).rpartition("/")
        return place, name

    def _below(self, path: str) -> bool:
        return path.startswith(self._root + "/")

    def _number(self, inode: int, *, new: bool = False) -> int:
        if new or inode not in self._numbers:
            self._next += 1
            self._numbers[inode] = self._next
        return self._numbers[inode]

    def _file(self, tid: int, fd: int) -> int | None:
        """Our number of the regular file behind a descriptor, where it is below the root."""
        link = self._fd(tid, fd)
        path = os.readlink(link).removesuffix(" (deleted)")
        return self._number(os.stat(link).st_ino) if self._below(path) and os.path.isfile(link) else None

    # ---- what calls do

    def _openat(self, tid: int, directory: int, address: int, flags: int, fd: int) -> None:
        path = self._path(tid, directory, address)
        if not self._below(path):
            return
        key = self._split(path)
        inode = os.stat(self._fd(tid, fd)).st_ino
        if flags & _O_CREAT and key not in self._names:
            self._names[key] = self._number(inode, new=True)
            self._ops.append(Op("create", self._names[key], *key))
        elif flags & os.O_TRUNC:
            self._ops.append(Op("truncate", self._number(inode)))

    def _write(self, tid: int, fd: int, offset: int | None, data: bytes) -> None:
        link = self._fd(tid, fd)
        path = os.readlink(link)
        if path == self._mark:
            self._ops.append(Op("ack", data=data))
            return
        file = self._file(tid, fd)
        if file is None:
            return
        if offset is None:
            offset = self._position(tid, fd) - len(data)  # where it stands after the write
        self._ops.append(Op("write", file, offset=offset, data=data))

    @staticmethod
    def _position(tid: int, fd: int) -> int:
        with open(f"/proc/{tid}/fdinfo/{ctypes.c_int(fd).value}") as info:
            return int(info.readline().split()[1])

    def _copied(self, tid: int, fd: int, place: int, size: int) -> None:
        """What the kernel copied by itself is read from where it is now; `place`: of the offset in memory, or 0."""
        end = struct.unpack("q", self._bytes(tid, place, 8))[0] if place else self._position(tid, fd)
        with open(self._fd(tid, fd), "rb") as file:
            file.seek(end - size)
            self._write(tid, fd, end - size, file.read(size))

    def _vector(self, tid: int, address: int, count: int, size: int) -> bytes:
        data = b""
        for at in range(count):
            base, length = struct.unpack("QQ", self._bytes(tid, address + 16 * at, 16))
            data += self._bytes(tid, base, length)
        return data[:size]

    def _truncate(self, tid: int, fd: int, size: int) -> None:
        file = self._file(tid, fd)
        if file is not None:
            self._ops.append(Op("truncate", file, offset=size))

    def _sync(self, tid: int, fd: int) -> None:
        link = self._fd(tid, fd)
        path = os.readlink(link)
        if os.path.isdir(link):
            if path == self._root or self._below(path):
                relative = os.path.relpath(path, self._root)
                self._ops.append(Op("syncdir", place="" if relative == "." else relative))
            return
        file = self._file(tid, fd)
        if file is not None:
            self._ops.append(Op("sync", file))

    def _rename(self, old: str, new: str, *, link: bool = False) -> None:
        if not self._below(new):
            return
        source, target = self._split(old), self._split(new)
        if not link and source not in self._names:  # a directory
            raise AssertionError(f"a directory was renamed: {old}")
        file = self._names[source] if link else self._names.pop(source)
        self._names[target] = file
        self._ops.append(Op("link" if link else "rename", file, *source, *target))

    def _unlink(self, path: str) -> None:
        if self._below(path) and self._names.pop(self._split(path), None) is not None:
            self._ops.append(Op("unlink", 0, *self._split(path)))

    def _mkdir(self, path: str) -> None:
        if self._below(path):
            self._ops.append(Op("mkdir", 0, *self._split(path)))


def _two(call: str, old: tuple[int, int], new: tuple[int, int], *, link: bool = False) -> Callable[..., None]:
    del call

    def handle(tracer: _Tracer, tid: int, args: list[int], _result: int) -> None:
        at = [_AT_FDCWD, *args]  # place 0: the working directory
        paths = [tracer._path(tid, at[directory], at[address]) for directory, address in (old, new)]
        tracer._rename(paths[0], paths[1], link=link)

    return handle


_HANDLERS: dict[int, Callable[[_Tracer, int, list[int], int], None]] = {
    1: lambda t, tid, a, r: t._write(tid, a[0], None, t._bytes(tid, a[1], r)),
    18: lambda t, tid, a, r: t._write(tid, a[0], a[3], t._bytes(tid, a[1], r)),
    20: lambda t, tid, a, r: t._write(tid, a[0], None, t._vector(tid, a[1], a[2], r)),
    296: lambda t, tid, a, r: t._write(tid, a[0], a[3], t._vector(tid, a[1], a[2], r)),
    40: lambda t, tid, a, r: t._copied(tid, a[0], 0, r),
    326: lambda t, tid, a, r: t._copied(tid, a[2], a[3], r),
    2: lambda t, tid, a, r: t._openat(tid, _AT_FDCWD, a[0], a[1], r),
    257: lambda t, tid, a, r: t._openat(tid, a[0], a[1], a[2], r),
    77: lambda t, tid, a, _r: t._truncate(tid, a[0], a[1]),
    74: lambda t, tid, a, _r: t._sync(tid, a[0]),
    75: lambda t, tid, a, _r: t._sync(tid, a[0]),
    82: _two("rename", (0, 1), (0, 2)),
    264: _two("renameat", (1, 2), (3, 4)),
    316: _two("renameat2", (1, 2), (3, 4)),
    86: _two("link", (0, 1), (0, 2), link=True),
    265: _two("linkat", (1, 2), (3, 4), link=True),
    87: lambda t, tid, a, _r: t._unlink(t._path(tid, _AT_FDCWD, a[0])),
    263: lambda t, tid, a, _r: t._unlink(t._path(tid, a[0], a[1])),
    83: lambda t, tid, a, _r: t._mkdir(t._path(tid, _AT_FDCWD, a[0])),
    258: lambda t, tid, a, _r: t._mkdir(t._path(tid, a[0], a[1])),
}

_NAMES = frozenset({"create", "rename", "link", "unlink", "mkdir"})


@dataclass(frozen=True)
class Cut:
    """One state of the disk: behind `after` operations, in the way that `how` says."""

    after: int
    how: str
    acknowledged: tuple[str, ...]


class Disk:
    """What may be there after a cut. `before`: the content of files below the root at the start."""

    def __init__(self, ops: list[Op], before: dict[str, bytes]) -> None:
        self.ops = ops
        self._before = before

    def cuts(self, to: Path, *, chances: int, seed: int) -> Iterator[Cut]:
        """Make each state below `to`, one after the other; `chances` random ones behind each operation."""
        dice = random.Random(seed)
        ways = ["all lost", "names kept", *("chance" for _ in range(chances))]
        for after in range(len(self.ops) + 1):
            done = self.ops[:after]
            acknowledged = "".join(op.data.decode() for op in done if op.kind == "ack").split()
            for how in ways:
                self._make(to, self._survivors(done, how, dice))
                yield Cut(after, how, tuple(acknowledged))

    @staticmethod
    def _survivors(done: list[Op], how: str, dice: random.Random) -> list[Op]:
        """The operations that the disk has, in order."""
        synced: set[int] = set()
        synced_places: set[str] = set()
        kept: list[Op] = []
        # Of each directory a first stretch of what was not synced survives: file systems log names in order.
        unsynced = [op for op in done if op.kind in _NAMES]
        stretch = dice.randrange(len(unsynced) + 1) if how == "chance" else 0 if how == "all lost" else len(unsynced)
        alive = {id(op) for op in unsynced[:stretch]}
        for op in reversed(done):
            if op.kind == "sync":
                synced.add(op.file)
            elif op.kind == "syncdir":
                synced_places.add(op.place)
            elif op.kind in _NAMES:
                place = op.to_place if op.kind in {"rename", "link"} else op.place
                if place in synced_places or id(op) in alive:
                    kept.append(op)
            elif op.kind in {"write", "truncate"}:
                if op.file in synced:
                    kept.append(op)
                elif how == "chance" and dice.randrange(2):
                    size = dice.choice((len(op.data), len(op.data) // 2, len(op.data) // 512 * 512))
                    kept.append(op._replace(data=op.data[:size]))
        return kept[::-1]

    def _make(self, to: Path, ops: list[Op]) -> None:
        for directory, folders, names in os.walk(to, topdown=False):
            for name in names:
                os.unlink(os.path.join(directory, name))
            for name in folders:
                os.rmdir(os.path.join(directory, name))
        to.mkdir(exist_ok=True)
        contents: dict[int, bytearray] = {}
        names: dict[tuple[str, str], int] = {}
        for number, (path, data) in enumerate(self._before.items(), 1):
            names[os.path.dirname(path), os.path.basename(path)] = number
            contents[number] = bytearray(data)
        folders = {str(parent) for path in self._before for parent in Path(path).parents if parent.name}
        for op in ops:
            _apply(op, contents, names, folders)
        for folder in folders:
            (to / folder).mkdir(parents=True, exist_ok=True)
        for (place, name), number in names.items():
            if place in folders or not place:
                (to / place / name).write_bytes(contents.get(number, b""))


def _apply(op: Op, contents: dict[int, bytearray], names: dict[tuple[str, str], int], folders: set[str]) -> None:
    key, target = (op.place, op.name), (op.to_place, op.to_name)
    if op.kind == "write":
        data = contents.setdefault(op.file, bytearray())
        data.extend(bytes(max(0, op.offset - len(data))))
        data[op.offset : op.offset + len(op.data)] = op.data
    elif op.kind == "truncate":
        data = contents.setdefault(op.file, bytearray())
        del data[op.offset :]
        data.extend(bytes(op.offset - len(data)))
    elif op.kind == "create":
        names[key] = op.file
    elif op.kind == "rename":
        names.pop(key, None)
        names[target] = op.file
    elif op.kind == "link":
        names[target] = op.file
    elif op.kind == "unlink":
        names.pop(key, None)
    elif op.kind == "mkdir":
        folders.add("/".join(part for part in key if part))
