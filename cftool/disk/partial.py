"""Large downloads: a sparse temp written in any order, and beside it the map of what is there, for a later run.

Both are named by a key of name, origin, version and size, so that a later run finds them and another version never
does, and both are locked while their owner lives: of two runs one writes there, the other into a temp of its own.

The map is a log of lines with a checksum each. `w A B` says that [A, B) was written: true for any death of the
process, and believed only in the same boot of the machine, where the page cache still holds it. `d A B` is appended
only after fdatasync, and is believed always. Either way a range that turns out to have holes is not believed.
"""

import contextlib
import errno
import functools
import hashlib
import logging
import os
import stat
import threading
import zlib
from typing import TYPE_CHECKING

from cftool.core.errors import IntegrityError, StoreError, Unsupported
from cftool.core.types import Entry, Partial
from cftool.disk import durability, temps
from cftool.disk.errors import translated
from cftool.disk.ranges import Ranges
from cftool.disk.writer import Draft, replaceable

if TYPE_CHECKING:
    from cftool.disk.root import Directory, Root

_RECORD = 256 * 1024  # what the map lags behind at most, per stream of the download
_DURABLE = 64 * 1024 * 1024  # bytes between two syncs of the data
_PIECES = 512  # per pwritev; the kernel takes 1,024
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_log = logging.getLogger("cftool.disk")


def begin(root: "Root", path: str, entry: Entry, origin: str = "") -> Partial:
    """Start or take up the download of `entry` to `path`. Without a known version nothing can be taken up."""
    size = entry.size
    if size is None:
        raise Unsupported("a download of unknown size cannot be resumed", op="write", path=path)
    with translated("write", path):
        directory, name = root.parent(path, create=True)
        root.check_name(path)
        old = replaceable(directory, name)
        mode = 0o666 if old is None else 0o600
        if entry.version is not None:
            key = _key(name, origin, entry.version, size)
            opened = _open_part(directory, key, mode)
            if opened is not None:
                fd, fresh = opened
                return _take_up(root, Draft(directory, name, path, temps.part_name(key), fd, old), key, size, fresh)
        temp, fd = temps.create(directory.fd, root.run_id, mode)
        return _start(root, Draft(directory, name, path, temp, fd, old), size, None)


def _key(name: str, origin: str, version: str, size: int) -> str:
    text = "\0".join((name, origin, version, str(size)))
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:32]


def _open_part(directory: "Directory", key: str, mode: int) -> tuple[int, bool] | None:
    """The locked resumable file and whether it is new; None where another process has it, or may have made it."""
    name = temps.part_name(key)
    while True:
        try:
            fd, fresh = os.open(name, _OPEN, dir_fd=directory.fd), False
        except FileNotFoundError:
            _forget_map(directory, key)
            try:
                fd, fresh = os.open(name, _OPEN | os.O_CREAT | os.O_EXCL, mode, dir_fd=directory.fd), True
            except FileExistsError:
                continue
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.EACCES, errno.EISDIR, errno.ENXIO}:
                return None
            raise
        try:
            locked = temps.lock(fd) is True and _is_ours(fd)
            if locked and temps.same_file(fd, name, directory.fd):
                return fd, fresh
        except BaseException:
            os.close(fd)
            raise
        if not locked:
            if fresh:
                temps.drop(name, fd, directory.fd)
            else:
                os.close(fd)
            return None
        os.close(fd)
        # It was published or swept between our open and our lock: the name is free, or another's. Look again.


def _is_ours(fd: int) -> bool:
    """Whether nobody else can have prepared the file: in a shared directory anyone can make a name that we will use."""
    status = os.fstat(fd)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1


def _forget_map(directory: "Directory", key: str) -> None:
    """Before a file is made anew its old map must be gone, durably: or it would vouch for bytes that never came."""
    try:
        os.unlink(temps.map_name(key), dir_fd=directory.fd)
    except FileNotFoundError:
        return
    durability.sync_directory(directory.fd)


def _take_up(root: "Root", one: Draft, key: str, size: int, fresh: bool) -> "LocalPartial":
    log = None
    try:
        log = _open_log(one, key, size)
        if not fresh and log is not None and os.fstat(one.fd).st_size == size:
            return LocalPartial(root, one, size, log, _without_holes(one.fd, log.load()))
    except BaseException:
        if log is not None:
            log.close()
        one.close()
        raise
    return _start(root, one, size, log)


def _start(root: "Root", one: Draft, size: int, log: "_Log | None") -> "LocalPartial":
    try:
        os.ftruncate(one.fd, 0)
        if log is not None:
            log.reset()
        os.ftruncate(one.fd, size)
        return LocalPartial(root, one, size, log, Ranges())
    except BaseException:
        if log is not None:
            log.close()
        one.discard()
        raise


def _open_log(one: Draft, key: str, size: int) -> "_Log | None":
    """The map, locked; None where that is not to be had: the download then works, but is not resumable."""
    name = temps.map_name(key)
    try:
        fd = os.open(name, _OPEN | os.O_CREAT | os.O_APPEND, 0o600, dir_fd=one.directory.fd)
    except OSError as error:
        _log.debug("no map for a partial download: %s", error)
        return None
    try:
        if temps.lock(fd) is True and _is_ours(fd) and temps.same_file(fd, name, one.directory.fd):
            one.side = name
            # The device is not part of it: its number changes over a restart.
            return _Log(fd, f"cftool-map 1 {size} {os.fstat(one.fd).st_ino}")
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _without_holes(fd: int, ranges: Ranges) -> Ranges:
    """What of `ranges` really has data: a disk that was pulled, or a lying one, shows holes where data was written."""
    kept = Ranges()
    for start, end in ranges:
        position = start
        while position < end:
            try:
                data = os.lseek(fd, position, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left; EINVAL: a file system that cannot tell, so all is re-sent
                break
            hole = os.lseek(fd, data, os.SEEK_HOLE)
            if data < end:
                kept.add(data, min(hole, end))
            position = hole
    return kept


@functools.cache
def _boot() -> str:
    """What is different after every start of the machine; empty where the system does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class _Log:
    """The map's file. Every line ends in its own checksum; the first that is wrong ends the log."""

    def __init__(self, fd: int, header: str) -> None:
        self.fd = fd
        self._header = header

    def load(self) -> Ranges:
        """The ranges that may be believed; what cannot be read is cut off, or all of it where it is of another file."""
        size = os.fstat(self.fd).st_size
        lines = os.pread(self.fd, size, 0).split(b"\n")
        ranges = Ranges()
        good = 0
        boot = ""
        for number, line in enumerate(lines[:-1]):
            fields = _unsealed(line)
            if number == 0 and fields != self._header.split(" "):
                break
            if fields is None:
                break
            if fields[0] == "b":
                boot = fields[1]
            elif fields[0] == "d" or (fields[0] == "w" and boot and boot == _boot()):
                ranges.add(int(fields[1]), int(fields[2]))
            good += len(line) + 1
        if good == 0:
            self.reset()
            return Ranges()
        os.ftruncate(self.fd, good)
        if boot != _boot():
            self.append(f"b {_boot()}")
        return ranges

    def reset(self) -> None:
        os.ftruncate(self.fd, 0)
        self.append(self._header, f"b {_boot()}")

    def append(self, *records: str) -> None:
        """Append, in one write; a torn one is found by its checksum."""
        data = b"".join(_sealed(record) for record in records)
        if os.write(self.fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        os.close(self.fd)


def _sealed(record: str) -> bytes:
    data = record.encode("ascii")
    return data + b" %08x\n" % zlib.crc32(data)


def _unsealed(line: bytes) -> list[str] | None:
    data, _, seal = line.rpartition(b" ")
    if b"%08x" % zlib.crc32(data) != seal:
        return None
    return data.decode("ascii").split(" ")


class LocalPartial:
    """types.Partial over a draft. Any thread may call; `commit` counts only after `Root.flush`."""

    def __init__(self, root: "Root", one: Draft, size: int, log: _Log | None, ranges: Ranges) -> None:
        self._root = root
        self._draft: Draft | None = one
        self._path = one.path
        self._size = size
        self._log = log
        self._ranges = ranges
        self._recorded: dict[int, int] = dict(ranges)  # start: end, as the map has them
        self._undurable = 0
        self._failed: OSError | None = None  # of a sync: told once by the kernel, never to be forgotten by us
        self._lock = threading.Lock()  # ranges, map
        self._closing = threading.RLock()  # held while the descriptor must stay open for a sync, or is given away

    def missing(self, part_size: int) -> list[tuple[int, int]]:
        """The gaps, cut at multiples of `part_size`."""
        with self._lock:
            return self._ranges.missing(self._size, part_size)

    def write_at(self, data: bytes | memoryview, offset: int) -> None:
        """All of `data`, or raise."""
        self._bounds(offset, offset + len(data))
        with translated("write", self._path):
            fd = self._open().fd
            written = os.pwrite(fd, data, offset)
            while written < len(data):
                written += os.pwrite(fd, memoryview(data)[written:], offset + written)

    def writev_at(self, chunks: list[bytes], offset: int) -> None:
        """All of the pieces, with few system calls."""
        self._bounds(offset, offset + sum(map(len, chunks)))
        with translated("write", self._path):
            fd = self._open().fd
            for first in range(0, len(chunks), _PIECES):
                some = chunks[first : first + _PIECES]
                size = sum(map(len, some))
                written = os.pwritev(fd, some, offset)
                if written < size:
                    self.write_at(memoryview(b"".join(some))[written:], offset + written)
                offset += size

    def done(self, start: int, end: int) -> None:
        """Count a range as present; the map follows by at most 256 KiB for each run of neighbouring ranges."""
        self._bounds(start, end)
        if start == end:
            return
        with self._lock:
            first, last = self._ranges.add(start, end)
            if self._log is None:
                return
            self._record(first, last)
            if self._undurable < _DURABLE:
                return
            self._undurable = 0
        self._root.group.call(self._make_durable)

    def read_at(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file."""
        with translated("read", self._path):
            pieces = []
            while size and (piece := os.pread(self._open().fd, size, offset)):
                pieces.append(piece)
                size -= len(piece)
                offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def commit(self, entry: Entry) -> None:
        """Check that all is there, and queue sync and rename."""
        with self._closing, self._lock, translated("write", self._path):
            gaps = self._ranges.missing(self._size, max(self._size, 1))
            if entry.size != self._size or gaps:
                raise IntegrityError(f"{self._ranges.total()} of {entry.size} bytes are there")
            one = self._open()
            self._require_good(one)
            one.size = self._size
            try:
                one.finish(entry.modified_ns)
            except IntegrityError:
                self._give_up(one)
                raise
            self._draft = None
            self._close_log()
        self._root.group.add(one)

    def discard(self) -> None:
        """Remove the file and its map."""
        with self._closing, self._lock:
            if self._draft is not None:
                self._give_up(self._draft)

    def close(self) -> None:
        """Keep what is there for a later run, durably; remove it where nothing is, or where no run could find it."""
        with self._closing:
            one = self._draft
            if one is None:
                return
            if self._log is None or not self._ranges:
                self.discard()
                return
            self._make_durable()
            with self._lock, translated("write", self._path):
                self._require_good(one)
                self._draft = None
                self._close_log()
                one.close()

    def _record(self, first: int, last: int) -> None:
        """Append the merged range [first, last) to the map, unless too little of it is new."""
        assert self._log is not None
        new = last - self._recorded.get(first, first)
        if new < _RECORD and (first, last) != (0, self._size):
            return
        self._recorded[first] = last
        self._undurable += new
        try:
            self._log.append(f"w {first} {last}")
        except OSError as error:  # a full disk: the download may still fit, only a later run cannot go on from here
            _log.debug("the map of a partial download is given up: %s", error)
            self._close_log()

    def _make_durable(self) -> None:
        """Sync the data, then say so in the map. Runs in the writer's thread, and at the end."""
        with self._closing:
            one = self._draft
            if one is None or self._failed is not None:
                return
            with self._lock:
                ranges = list(self._ranges)
            try:
                os.fdatasync(one.fd)
            except OSError as error:
                self._failed = error
                return
            with self._lock:
                if self._log is None:
                    return
                try:
                    self._log.append(*(f"d {start} {end}" for start, end in ranges))
                    os.fdatasync(self._log.fd)
                except OSError as error:
                    _log.debug("the map of a partial download is given up: %s", error)
                    self._close_log()

    def _require_good(self, one: Draft) -> None:
        """Bytes that a sync could not bring to the disk are lost, whatever a second sync says."""
        if self._failed is not None:
            self._give_up(one)
            raise self._failed

    def _give_up(self, one: Draft) -> None:
        self._draft = None
        self._close_log()
        one.discard()

    def _close_log(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            with contextlib.suppress(OSError):
                log.close()

    def _open(self) -> Draft:
        if self._draft is None:
            raise StoreError("the partial file was closed")
        return self._draft

    def _bounds(self, start: int, end: int) -> None:
        if not 0 <= start <= end <= self._size:
            raise IntegrityError(
                f"the range {start} to {end} lies outside of the {self._size} bytes", op="write", path=self._path
            )
