"""Files of lines that a process holds by a kernel lock while it lives: what a killed run was at can be found again.

One file each, named by what it is about (service and path), the process and the time. The first line is on disk before
`create` returns, and each that is appended before `append` does. Whoever can lock a file knows that its process is
dead. What the lines say is their owners' business: `disk.sessions`, and the uploads of providers.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Mapping

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Held:
    """One file, held with its lock until `close` or `remove`."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name

    @property
    def name(self) -> str:
        """Of the file, without its directory."""
        return os.path.basename(self._name)

    def append(self, line: Mapping[str, object]) -> None:
        """One more line, on disk when this returns. Raises OSError."""
        os.lseek(self._fd, 0, os.SEEK_END)
        os.write(self._fd, json.dumps(line).encode() + b"\n")
        os.fsync(self._fd)

    def remove(self) -> None:
        """What it tells of is over."""
        with contextlib.suppress(OSError):
            os.unlink(self._name)
        self.close()

    def close(self) -> None:
        """Release the lock; the file stays for a later run."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Folder:
    """The files of one kind and service. Thread-safe: each call opens its own. Without a directory there are none."""

    def __init__(self, state_dir: str | None, kind: str, service: str) -> None:
        self.path = None if state_dir is None else os.path.join(state_dir, kind)
        self.service = service

    def create(self, about: str, first: Mapping[str, object]) -> tuple[int, str]:
        """A new file about a path: its descriptor, locked, and its name. Raises OSError."""
        assert self.path is not None
        name = os.path.join(self.path, f"{self._stem(about)}-{os.getpid()}-{time.monotonic_ns()}.json")
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        fd = os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            Held(fd, name).append(first)
            directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except BaseException:
            os.close(fd)
            raise
        return fd, name

    def names(self, about: str | None = None) -> list[str]:
        """All files, or those about a path."""
        if self.path is None:
            return []
        try:
            names = os.listdir(self.path)
        except OSError:
            return []
        stem = "" if about is None else self._stem(about)
        return [
            os.path.join(self.path, name) for name in sorted(names) if name.endswith(".json") and name.startswith(stem)
        ]

    @staticmethod
    def take(name: str, limit: int = 1 << 20) -> tuple[int, bytes] | None:
        """Its descriptor, locked, and its content; None where a process holds it, or it is gone."""
        try:
            fd = os.open(name, _FLAGS)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink == 0:  # removed while we waited for nothing
                raise OSError
            return fd, os.pread(fd, limit, 0)
        except OSError:
            os.close(fd)
            return None

    def _stem(self, about: str) -> str:
        return hashlib.sha256(f"{self.service}\0{about}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


def fingerprint(local_path: str | None) -> str:
    """What tells a local file from any other and from any change of itself; "" where it cannot be told."""
    if local_path is None:
        return ""
    try:
        status = os.stat(local_path)
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
