"""Where the cache of a service lies, which of its files is the current one, and who is alive. See DESIGN.md.

A file is for one boot of one machine: what a power cut may have torn is never read. A file that is given up is renamed
and its number never used again, because SQLite removes the log of what it has open by name.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import time

FORMAT = 1  # of the tables; other formats do not see these files
_BOOT = "/proc/sys/kernel/random/boot_id"
_OLD = 86400.0  # seconds after which a file of another boot is in nobody's use
_TOKEN = re.compile(r"[0-9a-f]{16}")
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def is_used(directory: str) -> bool:
    """Whether there is a cache in it of this boot."""
    try:
        return Place(directory).has_one()
    except OSError:
        return False


def boot_id() -> str:
    """What names this boot of this machine. Raises OSError where the system does not tell."""
    with open(_BOOT, encoding="ascii") as file:
        found = file.read().strip()
    if not found:
        raise OSError(errno.ENODATA, "the system does not tell its boot")
    return hashlib.sha256(found.encode()).hexdigest()[:8]


def now() -> float:
    """Seconds since the boot, the same for all processes, that no change of the clock moves."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Place:
    """One directory. Raises OSError where it cannot be had."""

    def __init__(self, directory: str) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        self.directory = directory
        self._lead = f"{boot_id()}-{FORMAT}-"

    def current(self) -> str:
        """The path of the database in use, which may have to be made; what is left of others is cleared away."""
        live, dropped = self._numbers()
        self._sweep(dropped)
        number = live if live > dropped else dropped + 1
        return os.path.join(self.directory, f"{self._lead}{number}.sqlite")

    def has_one(self) -> bool:
        """Whether there is a database in use."""
        live, dropped = self._numbers()
        return live > dropped

    def _numbers(self) -> tuple[int, int]:
        """The last database, and the last one that was given up; 0: none."""
        live, dropped = 0, 0
        for name in os.listdir(self.directory):
            number, ending = self._number(name)
            if ending == "sqlite":
                live = max(live, number)
            elif ending == "dropped":
                dropped = max(dropped, number)
        return live, dropped

    def _number(self, name: str) -> tuple[int, str]:
        stem, _, ending = name.partition(".")
        digits = stem.removeprefix(self._lead)
        return (int(digits), ending) if digits != stem and digits.isascii() and digits.isdigit() else (0, "")

    def _sweep(self, dropped: int) -> None:
        """Remove what earlier boots left, and what was given up before the last one."""
        for name in os.listdir(self.directory):
            path = os.path.join(self.directory, name)
            number, _ = self._number(name)
            with contextlib.suppress(OSError):
                if 0 < number < dropped or (not number and self._is_old(name, path)):
                    os.unlink(path)

    @staticmethod
    def _is_old(name: str, path: str) -> bool:
        if name.startswith("owner-"):
            return False
        return time.time() - os.stat(path, follow_symlinks=False).st_mtime > _OLD

    @staticmethod
    def drop(path: str) -> None:
        """Give a database up, for everybody. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):  # somebody else did
            os.rename(path, path.removesuffix("sqlite") + "dropped")


class Owner:
    """A sign of life that the kernel takes away with the process: a locked file of a name that nobody had before."""

    def __init__(self, directory: str) -> None:
        self.token = os.urandom(8).hex()
        self._path = _owner_path(directory, self.token)
        self._fd = os.open(self._path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def close(self) -> None:
        """Nothing is under way here any more."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        os.close(self._fd)


def is_alive(directory: str, token: str) -> bool:
    """Whether the process that gave this sign of life still runs."""
    if not _TOKEN.fullmatch(token):
        return False
    path = _owner_path(directory, token)
    try:
        fd = os.open(path, _FLAGS)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)
        return False
    finally:
        os.close(fd)


def _owner_path(directory: str, token: str) -> str:
    return os.path.join(directory, f"owner-{token}")
