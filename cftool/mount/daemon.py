"""The life of a mount: made, answered, drained, taken away.

`serve` runs in the process that holds the mount, until it is unmounted or told to stop (SIGTERM, SIGINT): then what is
pending is uploaded, up to a deadline, and what is left is told; it stays in the journal, and the next mount goes on
with it. `detach` lets the caller return once the mount answers. A record in the state directory tells others which
cache a mount has, so that `umount` can ask for its uploads.
"""

import contextlib
import errno
import gc
import hashlib
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cftool.core.errors import CftoolError, ConfigError, StoreError
from cftool.core.paths import printable
from cftool.disk.atomic import write_file
from cftool.mount import device
from cftool.mount.binding import Binding, Place, bound
from cftool.mount.reports import reports
from cftool.vfs import Attributes, Vfs, VfsSettings
from cftool.wrap.caching.owner import Owner
from cftool.wrap.caching.rows import Pending
from cftool.wrap.caching.store import CachingStore

_T = TypeVar("_T")
_log = logging.getLogger("cftool.mount")
_POLL = 10.0  # seconds between two questions for what others changed
_PAUSE = 0.05  # seconds between two looks at whether a process has ended
_CHECK = 60.0  # seconds for the first answer
_LAST = 10.0  # seconds for a killed process to end, once nothing keeps it
_GARBAGE = 20_000  # objects until garbage is looked for: names and rows are none, and are made by the thousand


@dataclass(frozen=True, slots=True)
class MountSettings:
    """`drain`: seconds for uploads at the end, half of it for programs to close their files where they are in the way.

    `name`: what /proc/mounts shows. `executable`: whether programs on it can be started.

    `passthrough`: whether the kernel may read cached files by itself. `binding`: see there. `reports`: `.cftool/`.
    `poll`: gives what others have changed at the remote.
    """

    name: str
    allow_other: bool = False
    drain: float = 60.0
    root_path: str = ""
    passthrough: bool = True
    executable: bool = True
    binding: str = "kernel"
    reports: bool = False
    poll: Callable[[], frozenset[str]] | None = None
    vfs: VfsSettings = field(default_factory=VfsSettings)


def prepare(state_dir: str, place: str) -> str:
    """The mount point's real path. A mount whose process is dead is taken away first. Raises ConfigError."""
    give_up(state_dir, place)
    if device.stale(place):
        if device.mounted(place) is None:
            raise ConfigError(f"{printable(place)}: a dead mount of another program is there; unmount it first")
        _log.warning("%s: the mount of a process that is gone is taken away", printable(place))
        device.unmount(place, lazy=True)
    if not os.path.isdir(place):
        raise ConfigError(f"{printable(place)} is no directory; make it first")
    if device.mounted(place) is not None:
        raise ConfigError(f"{printable(place)}: something is mounted there already; cftool umount takes it away")
    return os.path.realpath(place)


def serve(
    store: CachingStore, place: str, settings: MountSettings, *, state_dir: str, ready: Callable[[], None]
) -> list[Pending]:
    """Mount and answer until the end; the changes that are still pending then. `ready` is called once."""
    gc.set_threshold(_GARBAGE, 20, 20)
    attributes = Attributes(os.path.join(store.directory, "attributes.sqlite"))
    vfs = Vfs(
        store,
        settings.vfs,
        attributes=attributes,
        root_path=settings.root_path,
        reports=reports(store) if settings.reports else None,
    )
    where = Place(
        place, settings.name, allow_other=settings.allow_other, read_only=settings.vfs.read_only,
        passthrough=settings.passthrough, executable=settings.executable,
    )  # fmt: skip
    binding = bound(settings.binding, vfs, where)
    loop = threading.Thread(target=binding.run, name="cftool-mount", daemon=True)
    owner = Owner(store)
    over = threading.Event()
    in_use = False
    try:
        loop.start()
        _answers(place, binding, loop)
        store.start()
        _remember(state_dir, place, store.directory)
        if settings.poll is not None:
            threading.Thread(target=_watch, args=(vfs, settings.poll, over), name="cftool-watch", daemon=True).start()
        with _asked_to_end() as stop:  # whoever hears that it is there may ask at once
            _notify("READY=1")
            ready()
            in_use = _wait(loop, place, stop)
    finally:
        deadline = time.monotonic() + settings.drain
        over.set()
        _notify("STOPPING=1")
        with contextlib.suppress(OSError):
            device.unmount(place, lazy=True)
        loop.join(min(_CHECK, settings.drain / 2) if in_use else _CHECK)
        binding.close()
        vfs.close(in_use=in_use and loop.is_alive())
        left = store.flush(timeout=max(0.0, deadline - time.monotonic()))
        owner.close()
        store.close()
        _forget(state_dir, place)  # last: `ended` goes by it
    for row in left:
        _log.warning("not uploaded yet: %s %s %s", row.what.value, printable(row.path), row.error)
    return left


def _watch(vfs: Vfs, poll: Callable[[], frozenset[str]], over: threading.Event) -> None:
    """Hear of what others change, until it is over. After a failure names are asked for anew in their time."""
    while not over.is_set():
        try:
            vfs.others_changed(poll())
        except CftoolError as error:
            _log.info("what others changed cannot be had: %s", error)
        over.wait(_POLL)


def _answers(place: str, binding: Binding, loop: threading.Thread) -> None:
    """Wait for the kernel's greeting, and for one answer over the mount."""
    deadline = time.monotonic() + _CHECK
    while not binding.ready.wait(0.1):
        if not loop.is_alive() or time.monotonic() > deadline:
            raise StoreError("the mount was not made: the kernel did not greet it", op="mount")
    os.stat(place)


@contextlib.contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """Set by a signal that asks for the end."""
    stop = threading.Event()

    def asked(number: int, frame: object) -> None:
        del frame
        _log.info("signal %d: uploading what is pending, then unmounting", number)
        stop.set()

    old = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _wait(loop: threading.Thread, place: str, stop: threading.Event) -> bool:
    """Until the mount is taken away, or that is asked for; whether somebody is using it then."""
    while loop.is_alive() and not stop.is_set():
        loop.join(0.5)
    if stop.is_set():
        try:
            device.unmount(place)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _log.warning("%s is in use; it is taken away as soon as nobody uses it", printable(place))
            return True
    return False


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), where it asks to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice:
        notice.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def give_up(state_dir: str, place: str) -> None:
    """Where the process of the mount at `place` was killed, but cannot end: see to it that it does.

    A thread that was telling the kernel of a change may wait there for one who waits for an answer of this process.
    """
    pid = _recorded(state_dir, place, "pid", int)
    if pid is None or not _left_of_a_dead(pid):
        return
    device.abort(place)
    deadline = time.monotonic() + _LAST
    while _left_of_a_dead(pid) and time.monotonic() < deadline:
        time.sleep(_PAUSE)


def _left_of_a_dead(pid: int) -> int | None:
    """How many threads of a process that was killed are there still: its cache is locked as long. None: it lives."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            was_killed = file.read().rpartition(b") ")[2].startswith(b"Z")
        return len(os.listdir(f"/proc/{pid}/task")) - 1 if was_killed else None
    except OSError:
        return None


def cache_of(state_dir: str, place: str) -> str | None:
    """The directory of the cache that the mount at `place` has; None where that is not known."""
    return _recorded(state_dir, place, "cache", str)


def _recorded(state_dir: str, place: str, name: str, kind: type[_T]) -> _T | None:
    try:
        with open(_record(state_dir, place), "rb") as file:
            found = json.loads(file.read(65536))
    except (OSError, ValueError):
        return None
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, kind) else None


def ended(state_dir: str, place: str, *, patience: float) -> bool:
    """Wait until the process of a mount that was taken away has let go of its cache; False: not within `patience`."""
    deadline = time.monotonic() + patience
    while _held(state_dir, place):
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True


def _held(state_dir: str, place: str) -> bool:
    """Whether there is a process that has a mount at `place`, or had one and has not ended yet."""
    pid = _recorded(state_dir, place, "pid", int)
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return _left_of_a_dead(pid) != 0


def _record(state_dir: str, place: str) -> str:
    digest = hashlib.sha256(os.fsencode(os.path.abspath(place))).hexdigest()[:32]
    return os.path.join(state_dir, "mounts", digest + ".json")


def _remember(state_dir: str, place: str, directory: str) -> None:
    path = _record(state_dir, place)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    write_file(path, json.dumps({"cache": directory, "place": printable(place), "pid": os.getpid()}).encode())


def _forget(state_dir: str, place: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_record(state_dir, place))


def detach() -> tuple[bool, "Report"]:
    """Fork: (True, …) in the process that will serve, (False, …) in the one that the user waits for."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setsid()
        return True, Report(writing)
    os.close(writing)
    return False, Report(reading, child)


class Report:
    """What the serving process tells the waiting one, once."""

    def __init__(self, fd: int, child: int = 0) -> None:
        self._fd = fd
        self._child = child

    def send(self, **words: Any) -> None:
        """From the serving process: `ready`, or `error` and `code`. It lets go of the terminal then."""
        if self._fd < 0:
            return  # nobody waits any more
        with contextlib.suppress(OSError):
            os.write(self._fd, json.dumps(words).encode())
        os.close(self._fd)
        self._fd = -1
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        if nothing > 2:
            os.close(nothing)

    def wait(self) -> dict[str, Any]:
        """In the waiting process. Interrupted, it ends the serving one, which Ctrl-C does not reach, and its mount."""
        try:
            with os.fdopen(self._fd, "rb") as pipe:
                said = pipe.read()
        except KeyboardInterrupt:
            os.kill(self._child, signal.SIGTERM)
            os.waitpid(self._child, 0)
            raise
        if not said:
            return {"error": "the process of the mount ended before it answered", "code": 1}
        found: dict[str, Any] = json.loads(said)
        return found
