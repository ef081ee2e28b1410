"""Many threads at one file system, as the kernel has them: no version that was acknowledged is lost, torn or emptied.

Writers bring version after version of their files, each time in another way, while others read, list, rename the
directory, and release late. All the time somebody looks at what a kill would leave. A seed makes the steps and where
threads give way; which of them comes first stays the machine's choice.
"""

import contextlib
import os
import random
import shutil
import threading
import time
import traceback

import pytest

from cftool.core.errors import IntegrityError, NotFound
from cftool.vfs import Attributes, Vfs, VfsSettings
from cftool.vfs.nodes import ROOT
from cftool.wrap.caching import CacheSettings, CachingStore
from cftool_providers.memory import MemoryStore
from tests.sizes import FULL, SEED, Budget
from tests.vfs.kernel import PATIENCE, GivesWay, History, Kernel, after_a_kill, shown
from tests.wrap.caching.kit import content_is_where_its_row_is

pytestmark = pytest.mark.timeout(7200 if FULL else 600)
STEPS = 60 if FULL else 25  # of each writer
WRITERS = 3
MINUTES = 10  # at release size
SMALL, LARGE = 3_000, 90_000


class Writer:
    """Has files of its own: in a directory that stays, and in one that others rename."""

    def __init__(self, world, number, rng):
        self.kernel = world.kernel
        self.rng = rng
        self.steps = [
            self.rewritten, self.rewritten, self.rewritten, self.begun_and_left, self.replaced, self.emptied, self.cut,
            self.removed, self.timed, self.appended, self.renamed_half_written, self.synced, self.read_back,
        ]  # fmt: skip
        self.files = [
            History(world.still, f"a{number}"),
            History(world.still, f"b{number}"),
            History(world.moving, f"c{number}"),
        ]
        self.log = History(world.still, f"log{number}", appended=True)
        self.kept = None  # a file that is open all the time

    def run(self):
        for _ in range(STEPS):
            step, file = self.rng.choice(self.steps), self.rng.choice(self.files)
            file.steps.append(f"{step.__name__} from {len(file.versions)}")
            step(file)
        if self.kept is not None:
            self.kernel.close(self.kept)

    def size(self):
        return self.rng.choice((SMALL, SMALL, LARGE))

    def closed(self, opened):
        """Now and then twice, as a program that has forked."""
        for _ in range(self.rng.choice((1, 1, 2))):
            self.kernel.flush(opened, together=self.rng.random() < 0.5)
        self.kernel.late.put(opened)

    def written(self, opened, data, start=0):
        middle = self.rng.randrange(start, len(data) + 1)
        for begin, end in ((start, middle), (middle, len(data))):
            self.kernel.write(opened, data[begin:end], begin)

    def made_durable(self, file):
        with file.becomes(file.now):
            opened = self.opened(file, os.O_RDWR)
            self.kernel.fsync(opened)
        self.kernel.late.put(opened)

    def opened(self, file, flags):
        return self.kernel.open(file.directory, file.name, flags, create=True)

    # ---- steps, each from one version that is acknowledged to another

    def rewritten(self, file):
        """The usual way, one time behind the other: the last end of each comes when the next one has begun."""
        size = self.size()
        for _ in range(self.rng.randrange(1, 5)):
            data = file.new(size)
            with file.becomes(data):
                opened = self.opened(file, os.O_WRONLY | os.O_TRUNC)
                self.written(opened, data)
                self.closed(opened)

    def begun_and_left(self, file):
        """Two programs: one empties the file and writes, and one that had it open ends in between."""
        if file.now is None:
            return
        other = self.kernel.open(file.directory, file.name, os.O_RDWR)
        self.kernel.flush(other)
        data = file.new(self.size())
        with file.becomes(data):
            opened = self.opened(file, os.O_WRONLY | os.O_TRUNC)
            self.kernel.late.put(other)
            self.written(opened, data)
            self.closed(opened)

    def replaced(self, file):
        """As editors save."""
        data = file.new(self.size())
        opened = self.kernel.open(file.directory, f"{file.name}.new", os.O_WRONLY | os.O_TRUNC, create=True)
        self.written(opened, data)
        self.kernel.flush(opened)
        with file.becomes(data):
            if self.rng.random() < 0.5:
                self.kernel.late.put(opened)
                opened = None
            self.kernel.rename(file.directory, f"{file.name}.new", file.directory, file.name)
        if opened is not None:
            self.kernel.late.put(opened)

    def emptied(self, file):
        with file.becomes(b""):
            self.closed(self.opened(file, self.rng.choice((os.O_RDONLY, os.O_RDWR)) | os.O_TRUNC))

    def cut(self, file):
        """By its path: durable at the latest when the file is next closed."""
        if file.now is None:
            return
        size = self.rng.choice((0, len(file.now) // 2, len(file.now) + 7))
        node = self.kernel.looked_up(file.directory, file.name)
        with file.becomes(file.now[:size].ljust(size, b"\0"), acknowledged=False):
            self.kernel.cut(node, size)
        self.kernel.vfs.forget(node, 1)

    def removed(self, file):
        """Somebody has it open meanwhile, and goes on writing."""
        if file.now is None:
            return
        opened = self.kernel.open(file.directory, file.name, os.O_RDWR)
        if self.rng.random() < 0.5:
            self.kernel.write(opened, b"never seen", 0) if file.now == b"" else None
        with file.becomes(None):
            self.kernel.unlink(file.directory, file.name)
        self.kernel.write(opened, b"to nobody", 0)
        self.kernel.close(opened)

    def timed(self, file):
        if file.now is None:
            return
        when = 1_600_000_000_000_000_000 + self.rng.randrange(10**15)
        node = self.kernel.looked_up(file.directory, file.name)
        self.kernel.vfs.setattr(node, mtime_ns=when)
        file.when = when
        self.kernel.vfs.forget(node, 1)

    def appended(self, file):
        """To a file that stays open, each record synced."""
        del file
        log = self.log
        if self.kept is None:
            self.kept = self.kernel.open(log.directory, log.name, os.O_RDWR | os.O_APPEND, create=True)
        before = log.now or b""
        for _ in range(self.rng.randrange(1, 4)):
            data = before + log.new(self.rng.choice((100, 20_000)))
            with log.becomes(data):
                self.written(self.kept, data, len(before))
                self.kernel.fsync(self.kept)
            before = data
        if self.rng.random() < 0.3:
            self.kernel.close(self.kept)
            self.kept = None

    def renamed_half_written(self, file):
        """Another name for a file that is being written anew: what was acknowledged goes with it, whole."""
        if file.now is None:
            return
        other = f"{file.name}.old"
        self.made_durable(file)
        before, data = file.now, file.new(self.size())
        opened = self.opened(file, os.O_WRONLY | os.O_TRUNC)
        self.kernel.write(opened, data[: len(data) // 2], 0)
        with file.becomes(None):
            self.kernel.rename(file.directory, file.name, file.directory, other)
        with file.becomes(before):
            self.kernel.rename(file.directory, other, file.directory, file.name)
        with file.becomes(data):
            self.kernel.write(opened, data[len(data) // 2 :], len(data) // 2)
            self.closed(opened)

    def synced(self, file):
        """And written anew behind the sync, through the same descriptor, by way of an empty file."""
        for _ in range(2):
            data = file.new(self.size())
            with file.becomes(data):
                opened = self.opened(file, os.O_WRONLY | os.O_TRUNC)
                self.written(opened, data)
                self.kernel.fsync(opened)
            self.timed(file)
            self.kernel.late.put(opened)

    def read_back(self, file):
        if file.now is None:
            return
        opened = self.kernel.open(file.directory, file.name, os.O_RDONLY)
        assert self.kernel.read(opened, 2 * LARGE) == file.now
        self.kernel.close(opened)


class World:
    """One file system, its writers, and those who disturb them."""

    def __init__(self, place, seed, *, passes):
        self.place = place
        self.rng = random.Random(seed)
        self.memory = MemoryStore()
        cache = CacheSettings(delay=0.0, patience=0.0, host="here")
        self.store = CachingStore(self.memory, str(place / "cache"), cache)
        self.store.is_wide = lambda: True
        settings = VfsSettings(uid=1, gid=1, ttl=0.02)
        self.vfs = Vfs(self.store, settings, attributes=Attributes(None))
        self.kernel = Kernel(self.vfs, passes=passes)
        self.still = self.vfs.mkdir(ROOT, "still", 0o755).id
        self.moving = self.vfs.mkdir(ROOT, "moving", 0o755).id
        self.writers = [Writer(self, number, self.a_random()) for number in range(WRITERS)]
        self.errors = []
        self.over = threading.Event()  # of the writers
        self.closed = threading.Event()  # and of those who disturb them
        self.looks = self.images = 0

    def a_random(self):
        return random.Random(self.rng.random())

    def histories(self):
        for writer in self.writers:
            yield from (*writer.files, writer.log)

    def run(self):
        writers = [self.thread(writer.run) for writer in self.writers]
        others = [
            self.thread(work, self.a_random())
            for work in (self.reads, self.reads, self.lists, self.moves, self.looks_at_store, self.looks_at_images)
        ]
        served = [
            self.thread(self.kernel.commits, self.closed),
            self.thread(self.kernel.releases, self.closed, self.a_random()),
        ]
        self.store.start()
        for thread in (*writers, *others, *served):
            thread.start()
        for threads, over in ((writers, self.over), (others, self.closed), (served, None)):
            for thread in threads:
                thread.join(PATIENCE)
                assert not thread.is_alive(), f"{thread.name} does not end"
            if over is not None:
                over.set()
        assert not self.errors, "\n\n".join(self.errors)

    def thread(self, work, *arguments):
        def run():
            try:
                work(*arguments)
            except BaseException:
                self.over.set()
                self.errors.append(traceback.format_exc())

        return threading.Thread(target=run, name=work.__qualname__, daemon=True)

    # ---- those who disturb

    def until_over(self):
        while not self.over.is_set():
            yield
            time.sleep(0)

    def reads(self, rng):
        """What is read of others may be half-written: that it can be read is all that there is to see."""
        files = list(self.histories())
        for _ in self.until_over():
            file = rng.choice(files)
            with contextlib.suppress(FileNotFoundError, NotFound):
                opened = self.kernel.open(file.directory, file.name, os.O_RDONLY)
                self.kernel.read(opened, 2 * LARGE)
                self.vfs.getattr(opened.node)
                self.vfs.xattrs(opened.node)
                self.kernel.close(opened)

    def lists(self, rng):
        for _ in self.until_over():
            directory = rng.choice((ROOT, self.still, self.moving))
            with self.kernel.inodes[directory]:
                number = self.vfs.opendir(directory)
                nodes = [node for name, node in self.vfs.readdir(number) if name[0] != "."]
                referred = [(node.id, 1) for node in nodes if self.refers(node)]
            self.vfs.releasedir(number)
            self.vfs.forget_many(referred)

    def refers(self, node):
        if node.gone:
            return False
        self.vfs.refer(node)
        return True

    def moves(self, rng):
        del rng
        while True:
            for old, new in (("moving", "moved"), ("moved", "moving")):
                self.kernel.rename(ROOT, old, ROOT, new)
                self.over.wait(0.001)
            if self.over.is_set():
                return

    # ---- those who look

    def looks_at_store(self, rng):
        """At what is published, while it goes on."""
        files = [file for file in self.histories() if file.directory == self.still]
        for _ in self.until_over():
            file = rng.choice(files)
            floor = file.floor
            with contextlib.suppress(IntegrityError):  # it was cut in place meanwhile, which nobody has acknowledged
                found = shown(self.store, f"still/{file.name}")
                assert file.may_be(found, floor), file.described(found, floor)
                self.looks += 1

    def looks_at_images(self, rng):
        del rng
        for _ in self.until_over():
            self.images += 1
            floors = [(file, file.floor) for file in self.histories()]
            image = self.place / f"image{self.images}"

            def look(store, floors=floors):
                for file, floor in floors:
                    if file.directory == self.still:
                        found = shown(store, f"still/{file.name}")
                    else:
                        found = shown(store, f"moving/{file.name}")
                        found = shown(store, f"moved/{file.name}") if found is None else found
                    assert file.may_be(found, floor), file.described(found, floor)

            after_a_kill(self.store, self.memory.space, image, look)

    def ends(self):
        """All is closed: what is shown, what the journal has and what the remote has is one and the same."""
        for file in self.histories():
            where = "still" if file.directory == self.still else "moving"
            assert shown(self.store, f"{where}/{file.name}") == file.now, file.name
            if file.now is not None:
                node = self.kernel.looked_up(file.directory, file.name)
                seen, entry = self.vfs.getattr(node), self.store.stat(f"{where}/{file.name}")
                assert (seen.size, seen.mtime_ns) == (entry.size, entry.modified_ns), file.name
                assert file.when in {None, seen.mtime_ns}, file.name
                self.vfs.forget(node, 1)
        self.vfs.close()
        assert self.store.flush() == []
        for file in self.histories():
            where = "still" if file.directory == self.still else "moving"
            assert shown(self.memory, f"{where}/{file.name}") == file.now, file.name
        there = {entry.name for entry in self.memory.walk("") if not entry.is_dir}
        assert there == {file.name for file in self.histories() if file.now is not None}
        assert self.store.stats.conflicts == 0
        assert self.store.check() == []
        assert content_is_where_its_row_is(self.store)
        self.store.close()


@pytest.mark.parametrize("passes", [False, True], ids=["", "lent"])
def test_no_version_that_was_acknowledged_is_lost_torn_or_emptied(tmp_path, record_property, passes):
    budget = Budget(1, seconds=MINUTES * 60 / 2)
    versions = looks = images = 0
    while budget.goes_on():
        seed = SEED + budget.done
        world = World(tmp_path / str(budget.done), seed, passes=passes)
        with GivesWay(seed):
            world.run()
        world.ends()
        versions += sum(file.floor for file in world.histories())
        looks, images = looks + world.looks, images + world.images
        shutil.rmtree(world.place)
    record_property("versions", versions)
    record_property("looks at the journal", looks)
    record_property("looks after a kill", images)
