"""Records of upload sessions that are under way, in the state directory: what a killed run leaves can be found again.

One file an upload, locked by the kernel while its process lives, so that nobody aborts or resumes what is still being
written. The intent (key, source, part size, time) is on disk before the upload is created on the service; the upload's
id follows. A record whose id is missing stands for an upload that may or may not exist. `Sessions` is used by the
uploads and the `leftovers` of providers (`kind` is the directory of one); without a state directory it keeps nothing.
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

log = logging.getLogger("cftool.disk")

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to be uploaded. `source` is the local file's fingerprint; "" where it cannot be recognised again."""

    service: str
    path: str
    source: str
    part_size: int
    headers: str  # everything else that the upload was created with: it must be the same to go on
    started_ns: int


class Record:
    """One upload's file, held with its lock until `close` or `remove`."""

    def __init__(self, fd: int, name: str, intent: Intent, upload_id: str | None = None) -> None:
        self._fd = fd
        self._name = name
        self.intent = intent
        self.upload_id = upload_id

    def created(self, upload_id: str) -> None:
        """The service made the upload; on disk when this returns."""
        self.upload_id = upload_id
        _append(self._fd, {"id": upload_id})

    def remove(self) -> None:
        """The upload is complete or aborted."""
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
    """The records of one service. Thread-safe: each call opens its own files."""

    def __init__(self, state_dir: str | None, service: str, *, kind: str) -> None:
        self._directory = None if state_dir is None else os.path.join(state_dir, kind)
        self._service = service

    def begin(self, path: str, source: str, part_size: int, headers: str) -> Record | None:
        """Write down an intent, locked; None where there is no place for it."""
        if self._directory is None:
            return None
        intent = Intent(self._service, path, source, part_size, headers, time.time_ns())
        stem = self._stem(path)
        name = os.path.join(self._directory, f"{stem}-{os.getpid()}-{time.monotonic_ns()}.json")
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            fd = os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _append(fd, asdict(intent))
            self._sync()
        except OSError as error:
            log.warning(
                "an upload cannot be recorded (%s): it cannot be resumed or cleaned up by itself", error.strerror
            )
            return None
        return Record(fd, name, intent)

    def stale(self, path: str | None = None) -> Iterator[Record]:
        """Records of dead processes, each locked by us now: the caller closes or removes it."""
        for name in self._names(None if path is None else self._stem(path)):
            record = self._take(name)
            if record is None:
                continue
            if record.intent.service == self._service and path in {None, record.intent.path}:
                yield record
            else:
                record.close()

    def live(self) -> set[str]:
        """Ids of uploads that some process of this machine is at."""
        found = set()
        for name in self._names(None):
            record = self._take(name)
            if record is not None:
                record.close()
                continue
            with contextlib.suppress(OSError, ValueError), open(name, "rb") as file:
                _, upload_id = _decode(file.read())
                if upload_id is not None:
                    found.add(upload_id)
        return found

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
            intent, upload_id = _decode(os.pread(fd, 1 << 20, 0))
        except OSError:
            os.close(fd)
            return None
        except ValueError:
            log.warning("the record %s of an upload is damaged; it is left alone", name)
            os.close(fd)
            return None
        return Record(fd, name, intent, upload_id)

    def _sync(self) -> None:
        assert self._directory is not None
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _decode(data: bytes) -> tuple[Intent, str | None]:
    """Intent and id; a last line that was cut by a crash counts as not written. Raises ValueError."""
    lines = data.split(b"\n")[:-1]
    if not lines:
        raise ValueError
    try:
        intent = Intent(**json.loads(lines[0]))
        upload_id = next((str(json.loads(line)["id"]) for line in lines[1:]), None)
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError from error
    texts = (intent.service, intent.path, intent.source, intent.headers)
    if not all(isinstance(text, str) for text in texts) or not isinstance(intent.part_size, int):
        raise ValueError
    return intent, upload_id


def fingerprint(local_path: str | None) -> str:
    """What tells a local file from any other and from any change of itself; "" where it cannot be told."""
    if local_path is None:
        return ""
    try:
        status = os.stat(local_path)
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
