"""Records of large uploads that are under way, in the state directory: a later run of any process goes on with them.

One file an upload, locked by the kernel while its process lives. The intent is on disk before the session is made, its
id after, then each part that the service has acknowledged, with its hash. Records of sessions that the service has
forgotten by now are removed. Without a state directory nothing is kept.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import time
from dataclasses import asdict, dataclass

log = logging.getLogger("cftool.dropbox")

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_LIFE_NS = 6 * 24 * 3600 * 1_000_000_000  # a day less than the service keeps a session
_LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to be uploaded. `source` is the local file's fingerprint."""

    service: str
    path: str
    source: str
    part_size: int
    started_ns: int


class Record:
    """One upload's file, held with its lock until `close` or `remove`."""

    def __init__(self, fd: int, name: str, intent: Intent) -> None:
        self._fd = fd
        self._name = name
        self.intent = intent
        self.session: str | None = None
        self.parts: dict[int, str] = {}  # offset: hash

    def began(self, session: str) -> None:
        """The service made the session; parts of an earlier one do not count."""
        self.session, self.parts = session, {}
        self._append({"id": session})

    def stored(self, offset: int, digest: str) -> None:
        """The service has acknowledged a part."""
        self.parts[offset] = digest
        self._append({"at": offset, "hash": digest})

    def _append(self, line: dict[str, object]) -> None:
        try:
            os.lseek(self._fd, 0, os.SEEK_END)
            os.write(self._fd, json.dumps(line).encode() + b"\n")
            os.fsync(self._fd)
        except OSError as error:  # the upload itself goes on
            log.warning("the progress of an upload cannot be recorded: %s", error.strerror)

    def load(self, data: bytes) -> None:
        """What the lines after the intent say; one that a crash cut ends them."""
        for line in data.split(b"\n")[1:-1]:
            try:
                found = json.loads(line)
                if "id" in found:
                    self.session, self.parts = str(found["id"]), {}
                else:
                    self.parts[int(found["at"])] = str(found["hash"])
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                return

    def remove(self) -> None:
        """The upload is complete, or can never be."""
        with contextlib.suppress(OSError):
            os.unlink(self._name)
        self.close()

    def close(self) -> None:
        """Release the lock; the record stays for a later run."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Sessions:
    """The records of one account. Thread-safe: each call opens its own files."""

    def __init__(self, state_dir: str | None, service: str) -> None:
        self._directory = None if state_dir is None else os.path.join(state_dir, "dropbox-uploads")
        self._service = service

    def open(self, path: str, source: str, part_size: int) -> Record | None:
        """The record of a dead process for the same file, or a new one, locked; None where there is no place for it."""
        if self._directory is None or not source:
            return None
        stem = hashlib.sha256(f"{self._service}\0{path}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            self._sweep()
            for name in sorted(os.listdir(self._directory)):
                if name.startswith(stem):
                    record = self._take(os.path.join(self._directory, name))
                    if record is None:
                        continue
                    young = record.intent.started_ns > time.time_ns() - _LIFE_NS
                    if young and (record.intent.source, record.intent.part_size) == (source, part_size):
                        return record
                    record.remove()  # of another version of the source, or forgotten by the service
            return self._new(stem, Intent(self._service, path, source, part_size, time.time_ns()))
        except OSError as error:
            log.warning("an upload cannot be recorded (%s): it cannot be resumed", error.strerror)
            return None

    def _new(self, stem: str, intent: Intent) -> Record:
        assert self._directory is not None
        name = os.path.join(self._directory, f"{stem}-{os.getpid()}-{time.monotonic_ns()}.json")
        fd = os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, json.dumps(asdict(intent)).encode() + b"\n")
            os.fsync(fd)
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except BaseException:
            os.close(fd)
            raise
        return Record(fd, name, intent)

    def _take(self, name: str) -> Record | None:
        """The record, locked; None where a process holds it, or it is gone, damaged or somebody else's."""
        try:
            fd = os.open(name, _FLAGS)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            data = os.pread(fd, _LARGEST, 0)
            record = Record(fd, name, Intent(**json.loads(data.split(b"\n")[0])))
            if os.fstat(fd).st_nlink == 0 or record.intent.service != self._service:
                raise ValueError
            record.load(data)
        except (OSError, ValueError, TypeError, RecursionError):
            os.close(fd)
            return None
        return record

    def _sweep(self) -> None:
        """Remove records of sessions that the service has forgotten."""
        assert self._directory is not None
        limit = time.time_ns() - _LIFE_NS
        for name in os.listdir(self._directory):
            path = os.path.join(self._directory, name)
            with contextlib.suppress(OSError):
                if name.endswith(".json") and os.stat(path).st_ctime_ns < limit:
                    os.unlink(path)


def fingerprint(local_path: str | None) -> str:
    """What tells a local file from any other and from any change of itself; "" where it cannot be told."""
    if local_path is None:
        return ""
    try:
        status = os.stat(local_path)
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
