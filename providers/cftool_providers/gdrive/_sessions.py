"""Records of resumable uploads that are under way, in the state directory: a later run goes on with them.

One file an upload, locked by the kernel while its process lives. The intent is on disk before the session is made at
the service; its URI follows. The URI lets whoever has it write into this one upload, so the files are 0600.
The service keeps a session for a week; records older than that are dropped. Without a state directory nothing is kept.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

log = logging.getLogger("cftool.gdrive")

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
LIFE_NS = 7 * 24 * 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Intent:
    """What is uploaded where. `source` is the local file's fingerprint; `handle` the id that the file has or will have.

    `new`: the file is made by this upload; `metadata` is what the session was created with.
    """

    service: str
    path: str
    source: str
    size: int
    parent: str
    handle: str
    new: bool
    metadata: str
    started_ns: int


class Record:
    """One upload's file, held with its lock until `close` or `remove`."""

    def __init__(self, fd: int, name: str, intent: Intent, uri: str | None = None) -> None:
        self._fd = fd
        self._name = name
        self.intent = intent
        self.uri = uri

    @property
    def name(self) -> str:
        """Of the record, as `leftovers` tells it: the URI itself is nobody's business."""
        return os.path.basename(self._name)

    def created(self, uri: str) -> None:
        """The service made the session; on disk when this returns."""
        self.uri = uri
        _append(self._fd, {"uri": uri})

    def remove(self) -> None:
        """The upload is complete or given up."""
        with contextlib.suppress(OSError):
            os.unlink(self._name)
        self.close()

    def close(self) -> None:
        """Release the lock; the record stays for a later run."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _append(fd: int, line: dict[str, object]) -> None:
    os.lseek(fd, 0, os.SEEK_END)
    os.write(fd, json.dumps(line).encode() + b"\n")
    os.fsync(fd)


class Sessions:
    """The records of one account. Thread-safe: each call opens its own files."""

    def __init__(self, state_dir: str | None, service: str) -> None:
        self._directory = None if state_dir is None else os.path.join(state_dir, "gdrive-uploads")
        self._service = service

    @property
    def service(self) -> str:
        """Whose they are."""
        return self._service

    def begin(self, intent: Intent) -> Record | None:
        """Write down an intent, locked; None where there is no place for it or the source cannot be known again."""
        if self._directory is None or not intent.source:
            return None
        name = os.path.join(self._directory, f"{self._stem(intent.path)}-{os.getpid()}-{time.monotonic_ns()}.json")
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            fd = os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _append(fd, asdict(intent))
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            log.warning("an upload cannot be recorded (%s): it cannot be resumed later", error.strerror)
            return None
        return Record(fd, name, intent)

    def stale(self, path: str | None = None) -> Iterator[Record]:
        """Records of dead processes, each locked by us now: the caller closes or removes it."""
        for name in self._names(None if path is None else self._stem(path)):
            record = self._take(name)
            if record is None:
                continue
            if record.intent.started_ns < time.time_ns() - LIFE_NS:
                record.remove()
            elif record.intent.service == self._service and path in {None, record.intent.path}:
                yield record
            else:
                record.close()

    def _stem(self, path: str) -> str:
        text = f"{self._service}\0{path}".encode("utf-8", "surrogateescape")
        return hashlib.sha256(text).hexdigest()[:32]

    def _names(self, stem: str | None) -> list[str]:
        if self._directory is None:
            return []
        try:
            names = os.listdir(self._directory)
        except OSError:
            return []
        return [
            os.path.join(self._directory, name)
            for name in sorted(names)
            if name.endswith(".json") and (stem is None or name.startswith(stem))
        ]

    def _take(self, name: str) -> Record | None:
        """The record, locked; None where a process holds it, or it is gone, or it is damaged."""
        try:
            fd = os.open(name, _FLAGS)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink == 0:  # removed while we waited for nothing
                raise OSError
            intent, uri = _decode(os.pread(fd, 1 << 20, 0))
        except OSError:
            os.close(fd)
            return None
        except ValueError:
            log.warning("the record %s of an upload is damaged; it is left alone", name)
            os.close(fd)
            return None
        return Record(fd, name, intent, uri)


def _decode(data: bytes) -> tuple[Intent, str | None]:
    """Intent and URI; a last line that was cut by a crash counts as not written. Raises ValueError."""
    lines = data.split(b"\n")[:-1]
    if not lines:
        raise ValueError
    try:
        intent = Intent(**json.loads(lines[0]))
        uri = next((str(json.loads(line)["uri"]) for line in lines[1:]), None)
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError from error
    return intent, uri


def fingerprint(local_path: str | None) -> str:
    """What tells a local file from any other and from any change of itself; "" where it cannot be told."""
    if local_path is None:
        return ""
    try:
        status = os.stat(local_path)
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
