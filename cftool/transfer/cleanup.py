"""Removes what killed runs left behind: temporary names in local trees, unfinished upload sessions at services.

`after_run` does it quietly at the end of a run that went well, where an earlier one left its mark (`Unfinished`), for
what is certainly ours and dead. `cleanup` is the command: it tells of each thing, and with `older_than` takes others'
sessions too. What a living process still holds is never touched: a temp's owner holds a kernel lock on it.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Iterable

from cftool.core import paths
from cftool.core.errors import NotADirectory, StoreError
from cftool.core.types import Cap
from cftool.disk import temps
from cftool.disk.root import Root
from cftool.transfer.events import Emit, Summary
from cftool.transfer.options import Options, Side, Surroundings
from cftool.transfer.tally import Tally

log = logging.getLogger("cftool.transfer")


def after_run(dst: Side, note: Callable[[str], None], *, file: str | None = None) -> bool:
    """Remove our own dead leftovers below the destination; whether that went well. A later run does it as well.

    `file`: only what belongs beside this one file.
    """
    try:
        if dst.local_root is not None:
            with Root(dst.local_root) as root:
                swept = temps.sweep(root, "" if file is None else paths.parent(file), recursive=file is None)
            if swept:
                note(f"{len(swept)} temporary {'file' if len(swept) == 1 else 'files'} of killed runs removed")
        elif Cap.LEFTOVERS in dst.store.features.caps:
            count = 0
            for leftover in dst.store.leftovers(file or "", older_than=None):
                if leftover.own:
                    dst.store.remove_leftover(leftover)
                    count += 1
            if count:
                note(f"{count} unfinished {'upload' if count == 1 else 'uploads'} of killed runs aborted")
    except StoreError as error:
        log.warning("leftovers of earlier runs could not be removed: %s", error)
        return False
    return True


def cleanup(
    side: Side, options: Options, around: Surroundings, emit: Emit, *, older_than: float | None = None
) -> Summary:
    """Remove leftovers at and below the side's root; each is told as Deleted. `older_than` in seconds.

    Raises NotFound where nothing is left of a root that is not there: the address may be a slip.
    """
    tally = Tally(emit, now=around.now, dry_run=options.dry_run)
    found = side.local_root is not None
    if side.local_root is not None:
        _local(side.local_root, tally, around)
    if Cap.LEFTOVERS in side.store.features.caps:
        for leftover in side.store.leftovers("", older_than=older_than):
            found = True
            if around.cancelled():
                tally.stopped = "interrupted"
                break
            try:
                if not options.dry_run:
                    side.store.remove_leftover(leftover)
            except StoreError as error:
                tally.failed(leftover.path, error)
            else:
                tally.deleted(leftover.path, is_dir=False, size=leftover.size)
    if not found:
        with contextlib.suppress(NotADirectory):  # a file, whose upload may have been killed
            next(iter(side.store.scan("")), None)  # as `ls` asks, which so says the same
    return tally.summary()


def _local(path: str, tally: Tally, around: Surroundings) -> None:
    with Root(path) as root:
        for temp in temps.find(root):
            if around.cancelled():
                tally.stopped = "interrupted"
                return
            if temp.in_use:
                continue
            try:
                if tally.dry_run or temps.remove(root, temp.path):
                    tally.deleted(temp.path, is_dir=False, size=temp.bytes)
            except StoreError as error:
                log.info("%s: %s", paths.printable(temp.path), error)
                tally.failed(temp.path, error)


class Unfinished:
    """The mark of a run that writes below `key`: held by a kernel lock, removed by a clean end, left by a kill.

    It tells the next run that there may be something to sweep, which costs a walk that other runs are spared.
    """

    def __init__(self, state_dir: str, key: str) -> None:
        directory = _marks(state_dir)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._path = os.path.join(directory, os.urandom(8).hex())
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(self._fd, os.fsencode(key))

    def end(self, *, clean: bool) -> None:
        """The run has ended; where not everything went well, the mark stays for the next."""
        if clean:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        os.close(self._fd)


def killed_runs(state_dir: str, key: str) -> list[str]:
    """Marks of runs at, below or above `key` whose process is gone."""
    try:
        names = os.listdir(_marks(state_dir))
    except FileNotFoundError:
        return []
    return [path for name in names if _is_dead(path := os.path.join(_marks(state_dir), name), key.rstrip("/"))]


def forget_runs(marks: Iterable[str]) -> None:
    """What they left was swept."""
    for path in marks:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _marks(state_dir: str) -> str:
    return os.path.join(state_dir, "unfinished")


def _is_dead(path: str, key: str) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False  # ended meanwhile
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Empty: killed between two system calls, before it could write anything else.
        where = os.fsdecode(os.read(fd, 1 << 16)).rstrip("/")
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return paths.is_within(where, key) or paths.is_within(key, where)
