"""What a run would delete or replace, kept under another name: `--trash` and `--suffix`.

The trash is `DIR/.cftool-trash/2026-01-31T16-05-09Z/PATH` below the destination's root: the layout says all that
`restore` needs, to any machine. A folder belongs to one run; two runs of one second get two. With a suffix the old file
stays beside the new one, as `NAME~`, then `NAME~.1`. Nothing older is ever overwritten.

A file that is replaced is copied or linked aside while it stays in place, so that its name is never without a whole
file; only where the store can do no more than move it is away until the new one is there, and put back if that fails.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from cftool.core import paths
from cftool.core.errors import AlreadyExists, ConfigError, Locked, NotADirectory, NotFound, Unsupported
from cftool.core.types import Cap, Entry, Kind
from cftool.disk import locks
from cftool.disk.root import Root
from cftool.transfer import relocate
from cftool.transfer.actions import Action
from cftool.transfer.execute import Executor, Outcome
from cftool.transfer.hidden import TRASH
from cftool.transfer.options import Links, Options, Side, Surroundings
from cftool.transfer.removal import Remover
from cftool.transfer.stages import After, Before
from cftool.transfer.tally import Tally
from cftool.transfer.threads import bounded

log = logging.getLogger("cftool.transfer")

FORMAT = "%Y-%m-%dT%H-%M-%SZ"
_NAMES = 1000  # folders of one second, files of one name


class Keeper:
    """Keeps old files of one destination for one run. `open` it with the run's stack; thread-safe."""

    def __init__(self, dst: Side, options: Options, around: Surroundings) -> None:
        self._dst, self._store = dst, dst.store
        self._around = around
        self._suffix = options.suffix
        self._base = options.trash or ""
        self._dry_run = options.dry_run
        self._stack: ExitStack | None = None
        self._root: Root | None = None
        self._folder: str | None = None
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[str | None, str]] = {}  # path: version kept last, and where the first is
        self._away: dict[str, str] = {}  # path: where it is while its name is free

    def open(self, stack: ExitStack) -> None:
        """What it holds is released by `stack`."""
        self._stack = stack
        if self._dst.local_root is not None and not self._dry_run:
            stack.callback(self._close)

    def _close(self) -> None:
        if self._root is not None:
            self._root.close()

    # ---- names

    def place(self, path: str) -> str:
        """A name that nothing has, for what is at `path` now."""
        if self._suffix is None:
            return paths.join(self._generation(), path)
        for number in range(_NAMES):
            name = path + self._suffix + (f".{number}" if number else "")
            if self._dry_run or not self._there(name):
                return name
        raise AlreadyExists(f"there are {_NAMES} old versions already", op="move", path=path)

    def _generation(self) -> str:
        """This run's folder, found with the first file."""
        with self._lock:
            if self._folder is None:
                self._folder = self._free_folder()
            return self._folder

    def _free_folder(self) -> str:
        stem = paths.join(self._base, time.strftime(FORMAT, time.gmtime(self._around.now())))
        for number in range(1, _NAMES):
            name = stem if number == 1 else f"{stem}-{number}"
            if self._dry_run or (self._claim(name) and not self._there(name)):
                return name
        raise AlreadyExists(f"there are {_NAMES} folders of this second already", op="move", path=stem)

    def _claim(self, name: str) -> bool:
        """Another run of this machine that looks for a folder in this very second takes another one."""
        if self._around.state_dir is None or self._stack is None:
            return True
        try:
            lock = locks.Lock(self._around.state_dir, f"{self._dst.key.rstrip('/')}/{name}")
        except Locked:
            return False
        self._stack.enter_context(lock)
        return True

    def _there(self, path: str) -> bool:
        try:
            self._store.stat(path)
        except (NotFound, NotADirectory):
            return False
        return True

    def is_kept(self, path: str) -> bool:
        """Whether `path` looks like an old version that --suffix made: sync leaves these alone."""
        if self._suffix is None:
            return False
        stem, dot, number = path.rpartition(".")
        return path.endswith(self._suffix) or (bool(dot) and number.isdigit() and stem.endswith(self._suffix))

    # ---- before a file is replaced

    def keep(self, action: Action) -> None:
        """Keep what `action` is going to replace; for `stages.Before`."""
        old = action.dst
        if old is None:
            if action.replaces:
                self._move_away(action.path)
            return
        with self._lock:
            kept = self._kept.get(old.path)
        if kept is not None and kept[0] is not None and kept[0] == old.version:
            return  # a second attempt
        to = self.place(old.path) if kept is None else self._another(kept[1])
        if not self._link(old.path, to):
            if Cap.COPY in self._store.features.caps:
                relocate.copied(self._store, old, to)
            else:
                relocate.relocate(self._store, old, to)
                action.dst = None
                with self._lock:
                    self._away[action.path] = to
        with self._lock:
            self._kept[old.path] = (old.version, to if kept is None else kept[1])

    def _another(self, name: str) -> str:
        """Where a file is kept that was replaced twice in one run."""
        for number in range(1, _NAMES):
            if not self._there(f"{name}.{number}"):
                return f"{name}.{number}"
        raise AlreadyExists(f"there are {_NAMES} old versions already", op="move", path=name)

    def _link(self, path: str, to: str) -> bool:
        """Give a local file a second name, which costs nothing; whether that works here."""
        if self._dst.local_root is None:
            return False
        with self._lock:
            if self._root is None:
                self._root = Root(self._dst.local_root)
        try:
            self._root.link(path, to)
        except Unsupported as error:
            log.debug("no hard links here, so it is copied: %s", error)
            return False
        return True

    def _move_away(self, path: str) -> None:
        """Something that is no file has the name of one: a link."""
        try:
            there = self._store.stat(path)
        except NotFound:
            return
        if there.kind is not Kind.DIRECTORY:
            self._store.move(path, self.place(path))

    def arrived(self, outcome: Outcome) -> Outcome:
        """Put back what was moved away for a file that did not come; for `stages.After`."""
        with self._lock:
            away = self._away.pop(outcome.action.path, None)
        if away is None or outcome.error is None:
            return outcome
        path = outcome.action.path
        with self._lock:
            self._kept.pop(path, None)
        if self._there(path):
            log.warning("%s: not replaced; the old one is kept as %s", paths.printable(path), paths.printable(away))
        else:
            outcome.action.dst = self._store.move(away, path)
        return outcome

    # ---- instead of a deletion

    def take(self, entry: Entry) -> str:
        """Move a file, or a directory with all below it, out of the way; where it is now."""
        to = self.place(entry.path)
        self.take_as(entry, to)
        return to

    def take_as(self, entry: Entry, to: str) -> None:
        """Move to exactly there, from whatever name."""
        if entry.kind is Kind.FILE:
            relocate.relocate(self._store, entry, to)
        else:
            self._store.move(entry.path, to)


def keeper(dst: Side, options: Options, around: Surroundings) -> Keeper | None:
    """The keeper that the flags ask for. Raises ConfigError where the destination cannot keep anything by itself."""
    if options.trash is None and options.suffix is None:
        return None
    flag = "--suffix" if options.trash is None else "--trash"
    if options.trash is not None and options.suffix is not None:
        raise ConfigError("--trash and --suffix exclude each other")
    if options.links is Links.KEEP and dst.local_root is not None:
        raise ConfigError(f"{flag} does not go with --links keep where links are made")
    if not relocate.can(dst.store):
        raise ConfigError(f"{flag}: {dst.address} can neither move nor copy by itself")
    if options.suffix is not None and (not options.suffix or "/" in options.suffix or "\0" in options.suffix):
        raise ConfigError("--suffix: say what old names end with, such as ~ or .old; it has no slash")
    return Keeper(dst, options, around)


def trash_folder(text: str) -> str:
    """The trash that `--trash=DIR` means, relative to the destination's root; "" means the root. Raises ConfigError."""
    if ":" in text.partition("/")[0] or text.startswith("/"):
        raise ConfigError(f"--trash: {paths.printable(text)!r}: the trash is a directory below the destination")
    base = text.strip("/").removesuffix(TRASH).strip("/")
    if base and paths.problem(base) is not None:
        raise ConfigError(f"--trash: {paths.printable(text)!r}: the name {paths.problem(base)}")
    return paths.join(base, TRASH)


def kept_first(executor: Executor, keep: Keeper, *, threads: int) -> Executor:
    """`executor`, with what it replaces kept."""
    return After(Before(executor, keep.keep, threads=threads), keep.arrived, threads=1)


class KeepingRemover(Remover):
    """Moves files to where they are kept; directories, which are empty by then, go."""

    def __init__(self, dst: Side, tally: Tally, keep: Keeper, *, dry_run: bool, cancelled: Callable[[], bool]) -> None:
        super().__init__(dst.store, tally, dry_run=dry_run, cancelled=cancelled)
        self._keep = keep
        self._places: dict[str, str] = {}

    def _deleted(self, entries: Iterator[Entry]) -> Iterator[tuple[str, Exception | None]]:
        store = self._store
        if self._dry_run:
            for entry in entries:
                if not entry.is_dir:
                    self._places[entry.path] = self._keep.place(entry.path)
                yield entry.path, None
            return
        directories: list[Entry] = []

        def files() -> Iterator[Entry]:
            for entry in entries:
                if entry.is_dir:
                    directories.append(entry)
                else:
                    yield entry

        for done in bounded(self._take, files(), threads=max(1, store.features.connections)):
            yield done.item.path, done.error
        yield from super()._deleted(iter(directories))

    def _take(self, entry: Entry) -> None:
        self._places[entry.path] = self._keep.take(entry)

    def _tell(self, path: str, entry: Entry) -> None:
        to = self._places.pop(entry.path, None)
        if to is None:
            super()._tell(path, entry)
        else:
            self._tally.moved(path, to)
