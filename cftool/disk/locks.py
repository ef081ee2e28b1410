"""Locks between runs on this machine: files in the state directory, locked by the kernel, freed by it at any death.

A lock file is named by the digest of its key and stays when the lock is gone (removing it would race with the next
run). What is in it only says who holds it. `lock_tree` takes a destination for a run: exclusive on it, shared on all
above, so that a run on a directory and one on something inside of it exclude each other, and two neighbours do not.
"""

import errno
import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable

from cftool.core import paths
from cftool.core.errors import Locked, StoreError
from cftool.disk.errors import store_error, translated

_FIRST_DELAY = 0.05
_MAX_DELAY = 1.0
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Lock:
    """One or more keys, held from the constructor to `release`; a context manager. Raises Locked, StoreError.

    `keys` are pairs of key and whether shared. All are had or none: while it waits, it holds nothing.
    """

    def __init__(
        self,
        state_dir: str,
        key: str,
        *,
        shared: bool = False,
        wait: float = 0.0,
        above: tuple[str, ...] = (),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.key = key
        self._held: list[int] = []
        self._directory = os.path.join(state_dir, "locks")
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
        except OSError as error:
            raise _unkept(error, state_dir) from error
        wanted = [*((one, True) for one in above), (key, shared)]
        deadline = clock() + wait
        delay = _FIRST_DELAY
        while (holder := self._try(wanted)) is not None:
            left = deadline - clock()
            if left <= 0 or cancelled():
                raise Locked(f"another run{holder} works on {paths.printable(key)}; wait for it with --wait-lock")
            sleep(min(delay, left))
            delay = min(2 * delay, _MAX_DELAY)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def release(self) -> None:
        """Give all up. Idempotent."""
        held, self._held = self._held, []
        for fd in reversed(held):
            os.close(fd)

    def _try(self, wanted: list[tuple[str, bool]]) -> str | None:
        """Take all; else take none and say who is in the way."""
        try:
            with translated("lock", self._directory):
                for key, shared in wanted:
                    holder = self._take(key, shared=shared)
                    if holder is not None:
                        self.release()
                        return holder
        except BaseException:
            self.release()
            raise
        return None

    def _take(self, key: str, *, shared: bool) -> str | None:
        name = hashlib.sha256(os.fsencode(key)).hexdigest()
        fd = os.open(os.path.join(self._directory, name), _FLAGS, 0o600)
        self._held.append(fd)
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            return _holder(fd)
        if not shared:
            _sign(fd, key)
        return None


def lock_tree(
    state_dir: str,
    key: str,
    *,
    wait: float = 0.0,
    shared: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    cancelled: Callable[[], bool] = lambda: False,
) -> Lock:
    """Lock `key`, and all keys above it (components by `/`) shared; wait up to `wait` seconds."""
    key = key.rstrip("/")
    parts = key.split("/")
    above = tuple("/".join(parts[:count]) for count in range(1, len(parts)))
    return Lock(state_dir, key, shared=shared, wait=wait, above=above, clock=clock, sleep=sleep, cancelled=cancelled)


def _unkept(error: OSError, state_dir: str) -> StoreError:
    """Why there can be no lock, and what helps."""
    found = store_error(error, op="lock", path=state_dir)
    found.message += "; locks and records are kept there, XDG_STATE_HOME names another place"
    return found


def _sign(fd: int, key: str) -> None:
    """Say who holds the lock. Only for the message of others: nothing depends on it, so a full disk is no matter."""
    who = {"pid": os.getpid(), "command": os.path.basename(sys.argv[0]) if sys.argv else "", "key": key}
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(who).encode("ascii"), 0)
    except OSError:
        pass


def _holder(fd: int) -> str:
    """In words, for the message; empty where unknown: a shared lock does not sign, and a dead holder's sign stays."""
    try:
        who = json.loads(os.pread(fd, 4096, 0))
        pid, command = int(who["pid"]), str(who["command"])
        os.kill(pid, 0)
    except PermissionError:  # it lives, as somebody else
        pass
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f" (process {pid}, {paths.printable(command) or 'unknown'})"
