"""Two machines change one archive at once: calls of one run in the middle of calls of the other, faults among them.

Each has its own index; what they share is the store below and a clock. Whatever they do: both show the same tree, and
so does a third one; no content is gone but what somebody deleted or replaced who saw it; nothing comes back once no
machine showed it any more; no pack is damaged. Compaction runs at any time, its grace passes now and then.
"""

import contextlib
import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from cftool.core import ops
from cftool.core.errors import NotFound, StoreError
from cftool.core.sources import BytesSource
from cftool.core.types import WriteItem
from cftool.testing.faulty import Fault, FaultyStore
from cftool.wrap.archiving import ArchiveSettings, ArchivingStore, names
from cftool.wrap.prefix import PrefixStore
from cftool_providers.memory import MemoryStore, Space
from tests.sizes import FULL, SEED, Budget

PATHS = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a", "x"])
DIRECTORIES = st.sampled_from(["d", "d/e", "x", "y/z"])
THEIRS = st.one_of(st.none(), PATHS)  # None: the same
MACHINES = st.sampled_from([0, 1])
PROGRAMS, STEPS = (20, 200) if FULL else (20, 40)  # of one group; ten minutes of groups at release size
LARGE = 64  # bytes of a file that lies beside the packs
HOURS = st.sampled_from([1, 25])


class Interrupted(FaultyStore):
    """The store below, as one machine sees it: once armed, something else happens before a later call of it."""

    def __init__(self, space):
        super().__init__(MemoryStore(space), {})
        self.listed = False
        self.left = -1
        self.other = None

    def arm(self, calls, other):
        """`other` runs before the call that comes `calls` after this machine has looked for packs."""
        self.listed, self.left, self.other = False, calls, other

    def disarm(self):
        self.other = None
        self._faults.clear()

    def _now(self):
        if self.other is None or not self.listed:
            return
        if self.left:
            self.left -= 1
            return
        other, self.other = self.other, None
        other()

    def scan(self, path):
        self._now()
        yield from super().scan(path)
        self.listed = self.listed or path == names.DIRECTORY

    def stat(self, path):
        self._now()
        return super().stat(path)

    def read(self, path, **more):
        self._now()
        return super().read(path, **more)

    def write(self, path, source, **more):
        self._now()
        return super().write(path, source, **more)

    def delete(self, path):
        self._now()
        super().delete(path)

    def fault(self, op, fault):
        self._faults[op] = iter([fault])


def tree(store):
    """Content by path."""
    return {entry.path: ops.read_bytes(store, entry.path) for entry in store.walk("") if not entry.is_dir}


class TwoMachines(RuleBasedStateMachine):
    programs = steps = 0  # of all groups

    @initialize()
    def open(self):
        TwoMachines.programs += 1
        self.folder = tempfile.mkdtemp(prefix="cftool-two-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.space = Space("memory", now_ns=lambda: int(self.clock() * 1e9))
        self.now = 1_700_000_000.0
        self.belows = [Interrupted(self.space) for _ in range(2)]
        self.stores = [self.machine(f"m{n}", below) for n, below in enumerate(self.belows)]
        self.count = 0
        self.owed = set()  # contents that must be shown
        self.gone = set()  # contents that must never be shown again
        self.made = set()  # all contents

    def machine(self, name, below):
        state = os.path.join(self.folder, name)
        return ArchivingStore(below, state, ArchiveSettings(fresh=0, large=LARGE, many=2, host=name, now=self.clock))

    def clock(self):
        """A little later at each look, and with jumps of hours."""
        self.now += 0.001
        return self.now

    def teardown(self):
        if hasattr(self, "stores"):
            for store in self.stores:
                store.close()
            shutil.rmtree(self.folder)

    def content(self, size=10):
        """Of its own: no two writes have one."""
        self.count += 1
        data = (b"%d " % self.count) * size
        self.made.add(data)
        return data

    def attempt(self, which, act, *, added=(), taken=()):
        """A call that may fail: then what it was to replace may be gone, and what it was to add may be there."""
        self.owed -= set(taken)
        try:
            act(self.stores[which])
        except StoreError:
            return False
        self.owed |= set(added)
        return True

    # ---- what one does

    def write(self, which, path, *, large=False):
        data = self.content(40 if large else 10)
        there = tree(self.stores[which]).get(path)
        taken = () if there is None else (there,)
        self.attempt(which, lambda store: ops.write_bytes(store, path, data), added=(data,), taken=taken)

    def delete(self, which, path):
        there = tree(self.stores[which]).get(path)
        if there is not None:
            self.attempt(which, lambda store: store.delete(path), taken=(there,))

    def move(self, which, src, dst):
        shown = tree(self.stores[which])
        if src in shown and src != dst:
            # The content that moves stays: where the move fails it is at one place or the other.
            taken = (shown[dst],) if dst in shown else ()
            self.attempt(which, lambda store: store.move(src, dst), taken=taken)

    def move_directory(self, which, src, dst):
        if src not in tree(self.stores[which]):  # else it is a file by now
            self.attempt(which, lambda store: store.move(src, dst))

    def compact(self, which):
        self.attempt(which, lambda store: store.compact())

    # ---- alone

    @rule(which=MACHINES, path=PATHS, large=st.booleans())
    def one_writes(self, which, path, large):
        self.write(which, path, large=large)

    @rule(which=MACHINES, paths=st.lists(PATHS, min_size=2, max_size=4, unique=True))
    def one_writes_many(self, which, paths):
        shown = tree(self.stores[which])
        contents = {path: self.content() for path in paths}
        self.owed -= {shown[path] for path in paths if path in shown}
        for result in self.stores[which].write_many(WriteItem(p, BytesSource(d)) for p, d in contents.items()):
            if result.error is None:
                self.owed.add(contents[result.path])

    @rule(which=MACHINES, path=PATHS)
    def one_deletes(self, which, path):
        self.delete(which, path)

    @rule(which=MACHINES, path=PATHS, fault=st.sampled_from([Fault(), Fault(answer_lost=True)]))
    def one_writes_and_hears_of_a_failure(self, which, path, fault):
        self.belows[which].fault("write", fault)
        self.write(which, path)
        self.belows[which].disarm()

    @rule(which=MACHINES, op=st.sampled_from(["write", "delete", "read"]), lost=st.booleans())
    def one_compacts_and_fails(self, which, op, lost):
        self.belows[which].fault(op, Fault(answer_lost=lost))
        self.compact(which)
        self.belows[which].disarm()

    @rule(which=MACHINES, hours=HOURS)
    def one_compacts_later(self, which, hours):
        self.now += hours * 3600
        self.compact(which)

    @rule(which=MACHINES)
    def the_index_of_one_is_lost(self, which):
        self.stores[which].index.close()
        shutil.rmtree(os.path.join(self.folder, f"m{which}"), ignore_errors=True)

    # ---- both at once

    def at_once(self, which, calls, other, act):
        """`other` in the middle of what `which` does, which had seen nothing of it."""
        self.belows[which].arm(calls, lambda: other(1 - which))
        try:
            act()
        finally:
            self.belows[which].disarm()

    @rule(which=MACHINES, path=PATHS, theirs=THEIRS, calls=st.integers(0, 1), delete=st.booleans())
    def both_change_files(self, which, path, theirs, calls, delete):
        other = self.delete if delete else self.write
        there = tree(self.stores[which]).get(path)
        data = self.content()
        taken = () if there is None else (there,)
        self.at_once(
            which, calls, lambda machine: other(machine, theirs or path),
            lambda: self.attempt(which, lambda store: ops.write_bytes(store, path, data), added=(data,), taken=taken),
        )  # fmt: skip

    @rule(which=MACHINES, path=PATHS, calls=st.integers(0, 1), theirs=THEIRS)
    def one_deletes_what_the_other_writes(self, which, path, calls, theirs):
        there = tree(self.stores[which]).get(path)
        if there is None:
            return
        self.at_once(
            which, calls, lambda machine: self.write(machine, theirs or path),
            lambda: self.attempt(which, lambda store: store.delete(path), taken=(there,)),
        )  # fmt: skip

    @rule(which=MACHINES, src=DIRECTORIES, dst=DIRECTORIES, calls=st.integers(0, 2), theirs=PATHS)
    def a_directory_moves_while_the_other_writes(self, which, src, dst, calls, theirs):
        self.at_once(
            which, calls, lambda machine: self.write(machine, theirs), lambda: self.move_directory(which, src, dst)
        )

    @rule(which=MACHINES, src=PATHS, dst=PATHS, calls=st.integers(0, 1), theirs=THEIRS)
    def a_file_moves_while_the_other_writes(self, which, src, dst, calls, theirs):
        shown = tree(self.stores[which])
        if src not in shown or src == dst or len(shown[src]) > LARGE:
            return  # a large one is looked at twice
        taken = (shown[dst],) if dst in shown else ()
        self.at_once(
            which, calls, lambda machine: self.write(machine, theirs or dst),
            lambda: self.attempt(which, lambda store: store.move(src, dst), taken=taken),
        )  # fmt: skip

    @rule(which=MACHINES, calls=st.integers(0, 8), theirs=PATHS, hours=HOURS, delete=st.booleans())
    def one_compacts_while_the_other_changes(self, which, calls, theirs, hours, delete):
        self.now += hours * 3600
        other = self.delete if delete else self.write
        self.at_once(which, calls, lambda machine: other(machine, theirs), lambda: self.compact(which))

    @rule(which=MACHINES, calls=st.integers(0, 8), hours=HOURS)
    def both_compact(self, which, calls, hours):
        self.now += hours * 3600
        self.at_once(which, calls, self.compact, lambda: self.compact(which))

    @rule(which=MACHINES, calls=st.integers(0, 8), src=PATHS, dst=PATHS, hours=HOURS)
    def one_compacts_while_the_other_moves(self, which, calls, src, dst, hours):
        self.now += hours * 3600
        self.at_once(which, calls, lambda machine: self.move(machine, src, dst), lambda: self.compact(which))

    # ---- what holds

    @invariant()
    def nothing_is_lost_and_all_see_the_same(self):
        if not hasattr(self, "stores"):
            return
        first, second = (tree(store) for store in self.stores)
        assert first == second
        shown = set(first.values())
        assert self.owed <= shown
        assert not shown & self.gone
        self.gone |= self.made - shown
        TwoMachines.steps += 1

    @rule()
    def a_third_machine_sees_the_same_and_finds_nothing_damaged(self):
        third = self.machine("third", MemoryStore(self.space))
        assert tree(third) == tree(self.stores[0])
        assert third.check(download=True).found == ()
        third.close()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(os.path.join(self.folder, "third"))


@pytest.mark.timeout(7200 if FULL else 600)
def test_two_machines_end_with_what_both_wrote(record_property):
    groups = Budget(1, seconds=600)
    while groups.goes_on():
        run_state_machine_as_test(
            seed(f"{SEED} {groups.done}")(TwoMachines),
            settings=settings(
                max_examples=PROGRAMS, stateful_step_count=STEPS, deadline=None, print_blob=True, database=None,
                phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip
    record_property(f"programs of up to {STEPS} steps", TwoMachines.programs)
    record_property("steps", TwoMachines.steps)


@pytest.mark.parametrize("calls", range(4))
@pytest.mark.parametrize("look", [ops.read_bytes, lambda store, path: store.stat(path).size])
def test_a_large_file_that_another_machine_replaces_by_a_small_one_is_there_all_the_while(tmp_path, look, calls):
    space = Space("memory")
    belows = [Interrupted(space) for _ in range(2)]
    stores = [
        ArchivingStore(below, str(tmp_path / f"{n}"), ArchiveSettings(fresh=0, large=LARGE, host=f"m{n}"))
        for n, below in enumerate(belows)
    ]
    large, small = b"large " * LARGE, b"small"
    ops.write_bytes(stores[1], "a", large)
    ops.write_bytes(stores[1], "b", b"a pack")
    belows[0].arm(calls, lambda: ops.write_bytes(stores[1], "a", small))
    assert look(stores[0], "a") in {large, small, len(large), len(small)}
    belows[0].disarm()
    for store in stores:
        store.close()


def test_what_no_machine_has_is_not_found(tmp_path):
    store = ArchivingStore(PrefixStore(MemoryStore(), "nowhere"), str(tmp_path), ArchiveSettings(fresh=0))
    for look, path in ((store.read, "none"), (store.stat, "none"), (store.stat, "")):
        with pytest.raises(NotFound):
            look(path)
    store.close()
