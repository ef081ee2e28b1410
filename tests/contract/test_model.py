"""A state machine against a dict: random programs of calls over each stack of wrappers, faults among them.

The model is two plain containers: files with content and time, and directories. After every step the whole tree of the
store must equal them, by scan, by walk and by stat.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from cftool.core import ops, paths
from cftool.core.errors import ConnectionFailed, NotFound, StoreError
from cftool.core.sources import BytesSource
from cftool.core.types import Entry, Kind, ReadItem, WriteItem
from cftool.testing.faulty import Fault, FaultyStore
from cftool.testing.targets import MemoryTarget
from cftool_providers.memory import MemoryStore
from tests.contract.stacks import STACKS
from tests.sizes import FULL

PATHS = st.sampled_from(["a", "b", "a/x", "a/y", "a/x/1", "a/x/2", "b/z", "c/d/e", "c/d", "c", "a-", "a.b", "é"])
LOOKED_AT = ("a", "a/x/1", "b/x", "b/x/1", "c", "c/d", "c/d/x", "c/x", "c/x/2", "a-/z", "é", "é/x/2", "nothing")
DATA = st.one_of(st.binary(max_size=20), st.integers(0, 200_000).map(lambda n: bytes(n)))
TIMES = st.integers(0, 2_000_000_000_000_000_000)


class Model:
    """What a file system does, in the fewest words."""

    def __init__(self):
        self.files: dict[str, tuple[bytes, int]] = {}
        self.dirs: set[str] = set()

    def kind(self, path):
        if path in self.files:
            return Kind.FILE
        return Kind.DIRECTORY if path in self.dirs or path == "" else None

    def parents_ok(self, path):
        return all(parent not in self.files for parent in self.parents(path))

    @staticmethod
    def parents(path):
        found = []
        while path := paths.parent(path):
            found.append(path)
        return found

    def can_write(self, path):
        return self.kind(path) is not Kind.DIRECTORY and self.parents_ok(path)

    def write(self, path, data, when):
        self.files[path] = (data, when)
        self.dirs.update(self.parents(path))

    def empty(self, path):
        return not any(p.startswith(path + "/") for p in (*self.files, *self.dirs))

    def move(self, src, dst):
        lead = src + "/"
        renamed = {p: dst + p[len(src) :] for p in (*self.files, *self.dirs) if p == src or p.startswith(lead)}
        self.files = {renamed.get(p, p): v for p, v in self.files.items()}
        self.dirs = {renamed.get(p, p) for p in self.dirs}
        self.dirs.update(self.parents(dst))


class Machine(RuleBasedStateMachine):
    wrap = staticmethod(lambda store: store)

    @initialize()
    def open(self):
        self.faulty = FaultyStore(MemoryStore(), {})
        self.store = type(self).wrap(self.faulty)
        self.store.mkdir("")
        self.model = Model()

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()

    def fault(self, op, fault):
        self.faulty._faults[op] = iter([fault])

    def attempt(self, allowed, call):
        """Run a call that must work where `allowed`, and otherwise must be refused; returns whether it worked."""
        try:
            call()
        except StoreError:
            assert not allowed
            return False
        assert allowed
        return True

    @rule(path=PATHS, data=DATA, when=TIMES)
    def write(self, path, data, when):
        if self.attempt(
            self.model.can_write(path), lambda: self.store.write(path, BytesSource(data), modified_ns=when)
        ):
            self.model.write(path, data, when)

    @rule(path=PATHS, data=DATA, when=TIMES)
    def write_whose_answer_is_lost(self, path, data, when):
        """It is done, and the caller hears of an error: nothing may be remembered that is not so."""
        if not self.model.can_write(path):
            return
        self.fault("write", Fault(answer_lost=True))
        with pytest.raises(ConnectionFailed):
            self.store.write(path, BytesSource(data), modified_ns=when)
        self.model.write(path, data, when)

    @rule(path=PATHS, data=DATA)
    def write_that_fails(self, path, data):
        self.fault("write", Fault())
        with pytest.raises(StoreError):
            self.store.write(path, BytesSource(data))
        self.faulty._faults.clear()

    @rule(path=PATHS)
    def delete(self, path):
        if self.attempt(self.model.kind(path) is Kind.FILE, lambda: self.store.delete(path)):
            del self.model.files[path]

    @rule(path=PATHS)
    def delete_whose_answer_is_lost(self, path):
        if self.model.kind(path) is not Kind.FILE:
            return
        self.fault("delete", Fault(answer_lost=True))
        with pytest.raises(ConnectionFailed):
            self.store.delete(path)
        del self.model.files[path]

    @rule(path=PATHS)
    def mkdir(self, path):
        allowed = self.model.kind(path) is not Kind.FILE and self.model.parents_ok(path)
        if self.attempt(allowed, lambda: self.store.mkdir(path)):
            self.model.dirs.update({path, *self.model.parents(path)})

    @rule(path=PATHS)
    def rmdir(self, path):
        allowed = self.model.kind(path) is Kind.DIRECTORY and self.model.empty(path)
        if self.attempt(allowed, lambda: self.store.rmdir(path)):
            self.model.dirs.discard(path)

    @rule(src=PATHS, dst=PATHS)
    def copy(self, src, dst):
        allowed = self.model.kind(src) is Kind.FILE and (src == dst or self.model.can_write(dst))
        if self.attempt(allowed, lambda: ops.copy_anyhow(self.store, src, dst)):
            self.model.write(dst, *self.model.files[src])

    @rule(src=PATHS, dst=PATHS)
    def move(self, src, dst):
        kind = self.model.kind(src)
        if kind is Kind.DIRECTORY:
            free = self.model.kind(dst) is None and self.model.parents_ok(dst)
            allowed = src == dst or (free and not paths.is_within(dst, src))
        else:
            allowed = kind is Kind.FILE and (src == dst or self.model.can_write(dst))
        if self.attempt(allowed, lambda: ops.move_anyhow(self.store, src, dst)) and src != dst:
            self.model.files.pop(dst, None)
            self.model.move(src, dst)

    @rule(path=PATHS, when=TIMES)
    def set_modified(self, path, when):
        if self.attempt(self.model.kind(path) is Kind.FILE, lambda: self.store.set_modified(path, when)):
            self.model.files[path] = (self.model.files[path][0], when)

    @rule(items=st.lists(st.tuples(PATHS, DATA, TIMES), max_size=5), taken=st.integers(0, 5))
    def write_many(self, items, taken):
        results = self.store.write_many(
            WriteItem(p, BytesSource(d), when, tag=n) for n, (p, d, when) in enumerate(items)
        )
        for number, (path, data, when) in enumerate(items[:taken]):
            result = next(results)
            assert (result.tag, result.path) == (number, path)
            assert (result.error is None) == self.model.can_write(path)
            if result.error is None:
                self.model.write(path, data, when)
        results.close()

    @rule(path=PATHS, data=DATA, when=TIMES)
    def write_many_whose_answer_is_lost(self, path, data, when):
        if not self.model.can_write(path):
            return
        self.fault("write", Fault(answer_lost=True))
        [result] = self.store.write_many([WriteItem(path, BytesSource(data), when)])
        assert isinstance(result.error, ConnectionFailed)
        self.model.write(path, data, when)

    @rule(chosen=st.lists(PATHS, max_size=5, unique=True))
    def delete_many(self, chosen):
        entries = [Entry(p, self.model.kind(p) or Kind.FILE) for p in chosen]
        for result in self.store.delete_many(entries):
            kind = self.model.kind(result.path)
            allowed = kind is not Kind.DIRECTORY or self.model.empty(result.path)
            assert (result.error is None) == allowed
            if allowed:
                self.model.files.pop(result.path, None)
                self.model.dirs.discard(result.path)

    @rule(path=PATHS)
    def remove_tree(self, path):
        if self.model.kind(path) is None:
            with pytest.raises(NotFound):
                list(ops.remove_tree(self.store, path))
            return
        assert [r for r in ops.remove_tree(self.store, path) if r.error] == []
        self.model.files = {p: v for p, v in self.model.files.items() if not paths.is_within(p, path)}
        self.model.dirs = {p for p in self.model.dirs if not paths.is_within(p, path)}

    @rule(path=PATHS, start=st.integers(0, 30), length=st.one_of(st.none(), st.integers(0, 100_000)))
    def read(self, path, start, length):
        end = None if length is None else start + length
        got = []
        if self.attempt(
            self.model.kind(path) is Kind.FILE,
            lambda: got.append(self.store.read(path, start=start, end=end).read()),
        ):
            assert got == [self.model.files[path][0][start:end]]

    @rule()
    def read_many(self):
        targets = {p: MemoryTarget() for p in self.model.files}
        items = [ReadItem(self.store.stat(p), t) for p, t in targets.items()]
        assert [r.error for r in self.store.read_many(items)] == [None] * len(items)
        assert {p: t.data for p, t in targets.items()} == {p: v[0] for p, v in self.model.files.items()}

    @rule(at=st.integers(0, 5))
    def listing_that_breaks(self, at):
        """A cut listing is an error, and must not be remembered as a whole one."""
        self.fault("walk", Fault(at=at))
        try:
            list(self.store.walk(""))
        except ConnectionFailed:
            pass
        self.faulty._faults.clear()

    @rule(path=PATHS, when=TIMES)
    def scan_overlapped_by_a_change(self, path, when):
        """A listing that began before a change may show either; a later one shows the change."""
        self.store.changes("no cursor of ours")  # whatever remembers listings forgets them
        listing = self.store.scan("")
        next(listing, None)
        self.write(path, b"meanwhile", when)
        list(listing)

    @invariant()
    def tree_is_the_model(self):
        if not hasattr(self, "store"):
            return
        expected = {**dict.fromkeys(self.model.files, Kind.FILE), **dict.fromkeys(self.model.dirs, Kind.DIRECTORY)}
        scanned = {}
        todo = [""]
        while todo:
            for entry in self.store.scan(todo.pop()):
                scanned[entry.path] = entry
                if entry.is_dir:
                    todo.append(entry.path)
        assert {p: e.kind for p, e in scanned.items()} == expected
        for path, (data, when) in self.model.files.items():
            stat = self.store.stat(path)
            assert (stat.kind, stat.size, stat.modified_ns) == (Kind.FILE, len(data), when)
            assert stat == scanned[path]
        for path in LOOKED_AT:
            assert ops.exists(self.store, path) == (self.model.kind(path) is not None)

    @invariant()
    def walk_is_the_model(self):
        if hasattr(self, "store"):
            walked = list(self.store.walk(""))
            keys = [paths.entry_key(e) for e in walked]
            assert keys == sorted(keys)
            assert {e.path for e in walked} == {*self.model.files, *self.model.dirs}


# The others have a database, and take several times as long.
QUICK, SLOWEST = {"check", "prefix", "resume"}, {"metadata_caching_feed"}
CHOSEN = {**{name: STACKS[name] for name in STACKS if name != "readonly_reading"}}


@pytest.mark.parametrize("stack", CHOSEN)
def test_any_program_of_calls_gives_what_the_model_gives(stack):
    machine = type(f"Machine_{stack}", (Machine,), {"wrap": staticmethod(CHOSEN[stack])})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=100 if FULL or stack in QUICK else 10 if stack in SLOWEST else 25,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            print_blob=True,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
