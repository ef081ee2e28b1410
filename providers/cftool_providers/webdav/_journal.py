"""What a run leaves on the server if it is killed, written down here first: temporary names and unfinished uploads.

One file a process and store in the state directory, locked by the kernel while the process lives; a file whose lock can
be had tells of a dead run, and its leftovers may be removed. Uploads in chunks have their own lines, so that a later
run can go on with them. Without a state directory nothing is kept.
"""

import contextlib
import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import field

from cftool.core.dataclass import dataclass

log = logging.getLogger("cftool.webdav")

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in chunks. `source`: the local file's fingerprint, "" where it cannot be recognised again."""

    id: str
    path: str
    source: str
    size: int
    chunk: int
    started_ns: int


_TYPES = {"id": str, "path": str, "source": str, "size": int, "chunk": int, "started_ns": int}


@dataclass(slots=True)
class Record:
    """What a dead run wrote down; its file is locked by us until `close` or `remove`."""

    run: str
    directories: set[str] = field(default_factory=set)
    uploads: dict[str, Upload] = field(default_factory=dict)
    name: str = ""
    fd: int = -1

    def remove(self) -> None:
        """Nothing of it is left."""
        with contextlib.suppress(OSError):
            os.unlink(self.name)
        self.close()

    def drop(self, upload_id: str) -> None:
        """One of its uploads is gone, or somebody else's business now."""
        self.uploads.pop(upload_id, None)
        with contextlib.suppress(OSError):
            os.lseek(self.fd, 0, os.SEEK_END)
            os.write(self.fd, json.dumps({"ended": upload_id}).encode() + b"\n")

    def close(self) -> None:
        """Leave it to a later run."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class Journal:
    """Of one store. Thread-safe."""

    def __init__(self, state_dir: str | None, service: str) -> None:
        self._directory = None if state_dir is None else os.path.join(state_dir, "webdav-runs")
        self._service = service
        self.run = os.urandom(6).hex()
        self._lock = threading.Lock()
        self._fd = -1
        self._directories: set[str] = set()
        self._uploads: dict[str, Upload] = {}
        self._paused: set[str] = set()  # of them: those nobody is at
        self._temps = 0  # that are on the server now
        self._number = 0
        self._unsure = False  # something may be left

    def temp_name(self) -> str:
        """A name that nobody else uses; hidden from listings as those of local disks are."""
        with self._lock:
            self._number += 1
            return f".cftool-{self.run}-{self._number:x}.tmp"

    def temp_begins(self, directory: str) -> None:
        """A temporary file is about to be made in a directory."""
        with self._lock:
            self._temps += 1
            if directory not in self._directories:
                self._directories.add(directory)
                self._write({"directory": directory})

    def temp_ended(self, *, gone: bool) -> None:
        """It is gone from there, or perhaps not."""
        with self._lock:
            self._temps -= 1
            self._unsure = self._unsure or not gone

    def upload_begins(self, upload: Upload) -> None:
        """An upload in chunks is about to be made, or taken over; on disk when this returns."""
        with self._lock:
            self._uploads[upload.id] = upload
            self._paused.discard(upload.id)
            line = {name: getattr(upload, name) for name in Upload.__dataclass_fields__}
            self._write({"upload": line}, durable=True)

    def upload_ended(self, upload_id: str) -> None:
        """It is complete or removed."""
        with self._lock:
            self._uploads.pop(upload_id, None)
            self._paused.discard(upload_id)
            self._write({"ended": upload_id})

    def upload_paused(self, upload_id: str) -> None:
        """It failed; another attempt may go on with it."""
        with self._lock:
            self._paused.add(upload_id)

    def unfinished(self, path: str, source: str, size: int, chunk: int) -> Upload | None:
        """An upload of exactly this that nobody is at, of this run or of a dead one: it is ours from now on."""
        if not source:
            return None
        wanted = (path, source, size, chunk)
        with self._lock:
            for upload in self._uploads.values():
                if upload.id in self._paused and (upload.path, upload.source, upload.size, upload.chunk) == wanted:
                    self._paused.discard(upload.id)
                    return upload
        for record in self.dead():
            try:
                for upload in list(record.uploads.values()):
                    if (upload.path, upload.source, upload.size, upload.chunk) == wanted:
                        self.upload_begins(upload)
                        record.drop(upload.id)
                        if not (record.uploads or record.directories):
                            record.remove()
                        return upload
            finally:
                record.close()
        return None

    def close(self) -> None:
        """The end of the run: the file goes where nothing is left behind."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd < 0:
                return
            if not (self._temps or self._uploads or self._unsure):
                with contextlib.suppress(OSError):
                    os.unlink(self._name())
            os.close(fd)

    def _name(self) -> str:
        assert self._directory is not None
        return os.path.join(self._directory, f"{self.run}.json")

    def _write(self, line: dict[str, object], *, durable: bool = False) -> None:
        if self._directory is None:
            return
        try:
            if self._fd < 0:
                self._open()
            os.write(self._fd, json.dumps(line).encode() + b"\n")
            if durable:
                os.fsync(self._fd)
        except OSError as error:
            log.warning("what a killed run would leave cannot be written down: %s", error.strerror)

    def _open(self) -> None:
        assert self._directory is not None
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        fd = os.open(self._name(), _FLAGS | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, json.dumps({"service": self._service}).encode() + b"\n")
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    # ---- of others

    def dead(self) -> Iterator[Record]:
        """Records of dead runs on this service, each locked by us: the caller closes or removes it."""
        for run in self._runs():
            record = self._take(run)
            if record is not None:
                yield record

    def live(self) -> set[str]:
        """Runs that some process of this machine is at, this one included."""
        found = {self.run}
        for run in self._runs():
            record = self._take(run)
            if record is None:
                found.add(run)
            else:
                record.close()
        return found

    def _runs(self) -> list[str]:
        if self._directory is None:
            return []
        try:
            names = os.listdir(self._directory)
        except OSError:
            return []
        return sorted(name[:-5] for name in names if name.endswith(".json") and name[:-5] != self.run)

    def _take(self, run: str) -> Record | None:
        assert self._directory is not None
        name = os.path.join(self._directory, f"{run}.json")
        try:
            fd = os.open(name, _FLAGS)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink == 0:
                raise OSError
            record = _decode(run, os.pread(fd, _LARGEST, 0), self._service)
        except OSError:
            record = None
        if record is None:
            os.close(fd)
            return None
        record.name, record.fd = name, fd
        return record


def _decode(run: str, data: bytes, service: str) -> Record | None:
    """What the lines say; a last line that was cut by a crash counts as not written."""
    record = Record(run)
    for number, text in enumerate(data.split(b"\n")[:-1]):
        try:
            line = json.loads(text)
            if number == 0:
                if line["service"] != service:
                    return None
            elif "directory" in line:
                record.directories.add(str(line["directory"]))
            elif "upload" in line:
                upload = Upload(**line["upload"])
                if any(type(getattr(upload, name)) is not kind for name, kind in _TYPES.items()):
                    raise ValueError
                record.uploads[upload.id] = upload
            else:
                record.uploads.pop(str(line["ended"]), None)
        except (ValueError, TypeError, KeyError, RecursionError):
            log.warning("the record %s of a run is damaged at line %d; it is left alone", run, number + 1)
            return None
    return record if data else None
