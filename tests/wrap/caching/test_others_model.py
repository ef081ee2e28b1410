"""Random programs of ours while others edit at the remote: nothing that we never saw is lost, and nothing of ours.

What others wrote counts as seen from the first call of ours that asked the remote for that name: then it may be
replaced or deleted. Until then it must be somewhere at the remote, whatever was pending, failed, or was repeated.
"""

import os
import random
import shutil
import tempfile

import pytest

from cftool.core import ops
from cftool.core.errors import NotFound, StoreError
from cftool.testing.faulty import Fault, FaultyStore
from cftool.wrap.caching import CachingStore
from cftool.wrap.caching.overlay import Shows
from cftool_providers.memory import MemoryStore
from tests.sizes import FULL, SEED
from tests.wrap.caching.kit import Clock, crashed, get, put
from tests.wrap.caching.kit import settings as cache_settings

PROGRAMS, STEPS = (5_000, 25) if FULL else (100, 12)
NAMES = ("a", "b", "d/c")


class Program:
    """One run. `unseen`: what others wrote and we did not see; `log` says what happened."""

    def __init__(self, rng, folder):
        self.rng, self.folder = rng, folder
        self.memory = MemoryStore()
        self.remote = FaultyStore(self.memory, {})
        self.clock = Clock()
        self.store = self.opened()
        self.unseen = set()
        self.count = 0
        self.log = []

    def opened(self):
        return CachingStore(self.remote, self.folder, cache_settings(self.clock))

    def content(self, whose):
        self.count += 1
        return f"{whose} {self.count}".encode()

    def at_remote(self):
        return {e.path: get(self.memory, e.path) for e in ops.walk_anyhow(self.memory, "") if not e.is_dir}

    def sees(self, *names):
        """Before a call of ours: what nothing pending hides is looked at."""
        for name in names:
            found = self.store.overlay.find(name)
            if found.shows is Shows.BELOW:
                for place in (found.path, found.otherwise):
                    self.unseen.discard(self.at_remote().get(place))

    def step(self):
        rng = self.rng
        do = rng.choice(("write", "write", "edit", "delete", "move", "move", "theirs", "theirs", "drain", "crash"))
        name, other = rng.choice(NAMES), rng.choice(NAMES)
        self.log.append((do, name, other))
        if do == "theirs":
            content = self.content("theirs")
            self.unseen.discard(self.at_remote().get(name))  # they replace their own
            put(self.memory, name, content)
            self.unseen.add(content)
        elif do == "drain":
            self.drain()
        elif do == "crash":
            crashed(self.store)
            self.store = self.opened()
        else:
            try:
                self.ours(do, name, other)
            except StoreError as error:
                self.log.append(type(error).__name__)

    def ours(self, do, name, other):
        self.sees(name, *([other] if do == "move" else []))
        if do == "write":
            put(self.store, name, self.content("ours"))
        elif do == "edit":
            draft = self.store.edit(name, create=True)
            content = self.content("ours")
            os.ftruncate(draft.fd, 0)
            os.pwrite(draft.fd, content, 0)
            if self.rng.random() < 0.5:
                self.drain()
            draft.close()
        elif do == "delete":
            self.store.delete(name)
        elif name != other:
            self.store.move(name, other)

    def drain(self):
        """Some rows, with a fault now and then; others may edit while one is on its way."""
        rng = self.rng
        op = rng.choice(("write", "move", "delete", "stat"))
        self.remote._faults[op] = iter([rng.choice((None, Fault(), Fault(answer_lost=op != "stat")))])
        with self.store.lock:
            rows = self.store.drain._wanted("", set())[: rng.randrange(1, 3)]
        if rows:
            self.store.drain._do(rows)
        self.remote._faults.clear()

    def end(self):
        shown = {}
        for name in NAMES:
            try:
                shown[name] = get(self.store, name)
            except NotFound:
                continue
        for _ in range(3):
            if not self.store.flush():
                break
        assert self.store.pending() == []
        there = self.at_remote().values()
        assert set(shown.values()) <= set(there), f"ours: {shown}"
        assert self.unseen <= set(there), f"theirs: {self.unseen}"
        assert self.store.check() == []
        self.store.close()


def run(seed):
    folder = tempfile.mkdtemp(prefix="cftool-others-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    program = Program(random.Random(seed), folder)
    try:
        for _ in range(STEPS):
            program.step()
        program.end()
    except BaseException as error:
        error.add_note(f"seed {seed}: {program.log}; at the remote: {program.at_remote()}")
        raise
    finally:
        shutil.rmtree(folder)


@pytest.mark.timeout(7200 if FULL else 300)
def test_nothing_that_others_wrote_is_lost_unseen_and_nothing_of_ours(record_property):
    for number in range(PROGRAMS):
        run(f"{SEED} {number}")
    record_property(f"programs of {STEPS} steps", PROGRAMS)
