"""What the tests with threads share: a kernel that is none, threads that give way at random, and files with a history.

`Kernel` asks the file system as Linux does: changes of a directory one after the other, writes and cuts of a file too,
but an opening, a close and a release at any time; the release of a file late, by another thread, after the next
opening. Files that are lent to it it writes by itself. `GivesWay` stops a thread at random lines of what is tested, so
that another one gets in between what one looked at and what one does.
"""

import contextlib
import errno
import os
import queue
import random
import shutil
import sqlite3
import sys
import threading
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from cftool.core.errors import NotFound
from cftool.vfs.nodes import ROOT
from cftool.wrap.caching import CachingStore
from cftool_providers.memory import MemoryStore
from cftool_providers.memory.space import File, Space
from tests.trees import content
from tests.wrap.caching.kit import Clock, get, settings

PATIENCE = 120  # seconds, for anything that has to come
CFTOOL = os.path.join("cftool", "")
LOOKED_AT = (os.path.join(CFTOOL, "vfs", ""), os.path.join(CFTOOL, "wrap", "caching", ""))


class GivesWay:
    """A context manager: threads that begin within it give way now and then."""

    def __init__(self, seed, *, often=0.03, long=0.002):
        self._random = random.Random(seed).random
        self._often = often
        self._long = long
        self._known = {}

    def __enter__(self):
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        threading.settrace(self._called)
        return self

    def __exit__(self, *_):
        threading.settrace(None)
        sys.setswitchinterval(self._interval)

    def _called(self, frame, _event, _argument):
        code = frame.f_code
        known = self._known.get(code)
        if known is None:
            known = self._known[code] = any(place in code.co_filename for place in LOOKED_AT)
        return self._line if known else None

    def _line(self, _frame, event, _argument):
        if event == "line":
            found = self._random()
            if found < self._long:
                time.sleep(found)  # as long as others need for some steps
            elif found < self._often:
                time.sleep(0)
        return self._line


class Opened:
    """A file that a program has open."""

    def __init__(self, number, node, fd):
        self.number = number
        self.node = node
        self.fd = fd  # that was lent to the kernel


class Kernel:
    """See the module. `passes`: it takes files that it is lent."""

    def __init__(self, vfs, *, passes):
        self.vfs = vfs
        self.passes = passes
        self.inodes = defaultdict(threading.RLock)
        self.late = queue.SimpleQueue()  # to be released
        self.closing = queue.SimpleQueue()  # to be flushed with others

    # ---- files

    def open(self, directory, name, flags, *, create=False):
        while True:
            with self.inodes[directory]:
                try:
                    node = self.vfs.lookup(directory, name).id
                except OSError as error:
                    if error.errno != errno.ENOENT or not create:
                        raise
                    attr, number = self.vfs.create(directory, name, 0o644, flags)
                    return self._given(number, attr.id)
            try:
                with self.inodes[node] if flags & os.O_TRUNC else contextlib.nullcontext():
                    return self._given(self.vfs.open(node, flags), node)
            except OSError as error:
                self.vfs.forget(node, 1)
                if error.errno != errno.ESTALE:  # it has lost its name since
                    raise

    def _given(self, number, node):
        handle = self.vfs.handle(number)
        anew = self.passes and self.vfs.may_write_unseen(handle)
        backing = self.vfs.given(number, self._give, anew=anew)
        if backing is None:
            return Opened(number, node, None)
        handle.file.on_close = self._take_back
        return Opened(number, node, os.open(f"/proc/self/fd/{backing}", handle.flags & os.O_ACCMODE))

    def _give(self, fd):
        if not self.passes:
            return None
        return os.dup(fd)

    def _take_back(self, number):
        os.close(number)

    def write(self, opened, data, offset):
        with self.inodes[opened.node]:
            if opened.fd is None:
                self.vfs.write(opened.number, data, offset)
            else:
                os.pwrite(opened.fd, data, offset)

    def read(self, opened, size):
        return os.pread(opened.fd, size, 0) if opened.fd is not None else self.vfs.read(opened.number, size, 0)

    def fsync(self, opened):
        with self.inodes[opened.node]:
            self.vfs.fsync(opened.number)

    def flush(self, opened, *, together=False):
        if together and self.vfs.is_small(opened.number):
            answer = queue.SimpleQueue()
            self.closing.put((opened.number, answer))
            error = answer.get(timeout=PATIENCE)
            if error is not None:
                raise error
        else:
            self.vfs.flush(opened.number)

    def close(self, opened, *, together=False):
        """The release comes some time later."""
        self.flush(opened, together=together)
        self.late.put(opened)

    def cut(self, node, size):
        with self.inodes[node]:
            self.vfs.setattr(node, size=size)

    # ---- names

    def looked_up(self, directory, name):
        with self.inodes[directory]:
            return self.vfs.lookup(directory, name).id

    def unlink(self, directory, name):
        with self.inodes[directory]:
            node = self.vfs.lookup(directory, name).id
            with self.inodes[node]:
                self.vfs.unlink(directory, name)
            self.vfs.forget(node, 1)

    def rename(self, directory, name, new_directory, new_name):
        with contextlib.ExitStack() as locked:
            for each in sorted({directory, new_directory}):
                locked.enter_context(self.inodes[each])
            self.vfs.rename(directory, name, new_directory, new_name)

    # ---- threads of its own

    def releases(self, stopped, rng):
        """Late, and in another order."""
        held = []
        while True:
            with contextlib.suppress(queue.Empty):
                held.append(self.late.get(timeout=0.005))
            over = stopped.is_set() and self.late.empty()
            while held and (over or len(held) > rng.choice((0, 0, 1, 12))):
                opened = held.pop(rng.randrange(len(held)))
                if opened.fd is not None:
                    os.close(opened.fd)
                self.vfs.release(opened.number)
                self.vfs.forget(opened.node, 1)
            if over and not held:
                return

    def commits(self, stopped):
        """Closes of small files that come at the same time, by one thread."""
        while not (stopped.is_set() and self.closing.empty()):
            asked = []
            with contextlib.suppress(queue.Empty):
                asked.append(self.closing.get(timeout=0.005))
                while True:
                    asked.append(self.closing.get_nowait())
            if asked:
                errors = self.vfs.flush_together([number for number, _ in asked])
                for (_, answer), error in zip(asked, errors, strict=True):
                    answer.put(error)


class History:
    """All that one path is to show, from the first version to the last that was begun; None: nothing is there.

    One thread alone adds to it. `appended`: what follows a version may be there in part.
    """

    def __init__(self, directory, name, *, appended=False):
        self.directory = directory
        self.name = name
        self.appended = appended
        self.versions = [None]
        self.floor = 0  # the last one that was acknowledged
        self.when = None  # the time that was set since
        self.steps = []  # for who looks for the reason of a failure

    @property
    def now(self):
        return self.versions[-1]

    @contextlib.contextmanager
    def becomes(self, data, *, acknowledged=True):
        """At the end."""
        self.versions.append(data)
        self.when = None
        yield
        if acknowledged:
            self.floor = len(self.versions) - 1

    def new(self, size):
        """The whole of another version."""
        number = len(self.versions)
        return f"{self.name} {number} {size:06}\n".encode() + content(f"{self.name}/{number}", size)

    def may_be(self, found, floor):
        """Whether it is one of those that may stand there since `floor` was the last that was acknowledged."""
        allowed = self.versions[floor:]
        if found in allowed:
            return True
        least = allowed[0] or b""
        return (
            self.appended
            and found is not None
            and any(each is not None and each.startswith(found) and found.startswith(least) for each in allowed)
        )

    def described(self, found, floor):
        if found is None:
            what = "nothing is there"
        else:
            what = f"{len(found)} bytes that begin with {found[:40]!r}"
        sizes = [None if each is None else (each[:20], len(each)) for each in self.versions[floor:]]
        last = ", ".join(self.steps[-6:])
        return f"{self.name}: {what}; acknowledged was version {floor}, allowed are {sizes}; the last steps: {last}"


def image(store, space, directory: Path):
    """What a kill of the process would leave of a cache, in a new directory, and the remote as it is then."""
    (directory / "data").mkdir(parents=True)
    with store.lock, contextlib.closing(sqlite3.connect(directory / "journal.sqlite")) as copy:
        store.journal._db.backup(copy)
        data = Path(store.directory, "data")
        for name in os.listdir(data):
            with contextlib.suppress(FileNotFoundError):  # in no row
                (directory / "data" / name).write_bytes((data / name).read_bytes())
        with space._lock:
            remote = Space(space.name)
            remote._root = copied(space._root)
            return remote


def copied(node):
    """Files never change."""
    if isinstance(node, File):
        return node
    return replace(node, children={name: copied(child) for name, child in node.children.items()})


def after_a_kill(store, space, directory: Path, look) -> None:
    """`look` at what the next process would show of it."""
    remote = MemoryStore(image(store, space, directory))
    found = CachingStore(remote, str(directory), settings(Clock()))
    try:
        assert found.problems == []
        look(found)
    finally:
        found.close()
    shutil.rmtree(directory)  # where it failed it stays, to be looked at


def shown(store, path):
    """What a store has there."""
    try:
        return get(store, path)
    except NotFound:
        return None


__all__ = ["PATIENCE", "ROOT", "GivesWay", "History", "Kernel", "after_a_kill", "shown"]
