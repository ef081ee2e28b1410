"""A state machine against a dict: any program of calls, uploads and crashes shows what the model shows, and ends there.

The model of the project's other wrappers runs on, with rules of its own: rounds of uploads, crashes (the store is left
as it is and opened again), faults of the remote. At the end all is flushed, and the store below holds the model.
"""

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from cftool.core import ops
from cftool.core.types import Kind
from cftool.testing.faulty import Fault, FaultyStore
from cftool.wrap.caching import CachingStore
from cftool_providers.memory import MemoryStore
from tests.contract.test_model import Machine
from tests.sizes import FULL
from tests.wrap.caching.kit import Clock, FlatMemory, crashed
from tests.wrap.caching.kit import settings as cache_settings

PROGRAMS, STEPS = (500, 200) if FULL else (40, 50)  # for each of four stacks
LEFT_OUT = (
    "write_whose_answer_is_lost", "write_that_fails", "delete_whose_answer_is_lost", "write_many_whose_answer_is_lost",
    "listing_that_breaks", "scan_overlapped_by_a_change", "write_many", "delete_many", "read_many", "walk_is_the_model",
)  # fmt: skip


class CacheMachine(Machine):
    whole = 8 << 20
    memory_kind = MemoryStore

    @initialize()
    def open(self):
        super_store = type(self).memory_kind()
        self.folder = tempfile.mkdtemp(prefix="cftool-model-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.clock = Clock()
        self.memory = super_store
        self.faulty = FaultyStore(super_store, {})
        self.store = self.reopened()
        self.model = type(self).new_model()

    @staticmethod
    def new_model():
        from tests.contract.test_model import Model

        return Model()

    def reopened(self):
        return CachingStore(self.faulty, self.folder, cache_settings(self.clock, whole=self.whole))

    def teardown(self):
        if hasattr(self, "store"):
            try:
                self.end()
            finally:
                self.store.close()
                shutil.rmtree(self.folder)

    def end(self):
        self.faulty._faults.clear()
        self.clock.now += 1e6
        assert self.store.flush() == []
        assert self.store.stats.conflicts == 0
        files = {e.path: ops.read_bytes(self.memory, e.path) for e in self.walk() if e.kind is Kind.FILE}
        assert files == {path: data for path, (data, _) in self.model.files.items()}
        there = {e.path for e in self.walk() if e.is_dir}
        if type(self).memory_kind is FlatMemory:
            assert there == {above for path in self.model.files for above in self.model.parents(path)}
        else:
            assert there == self.model.dirs

    def walk(self):
        return list(ops.walk_anyhow(self.memory, ""))

    @rule(seconds=st.sampled_from([0.0, 1.0, 30.0, 61.0, 10_000.0]))
    def time_passes_and_uploads_happen(self, seconds):
        self.clock.now += seconds
        for _ in range(20):
            if self.store.drain.step() > 0:
                break

    @rule()
    def flush(self):
        assert self.store.flush() == []

    @rule(op=st.sampled_from(["write", "delete", "mkdir", "rmdir", "move"]), lost=st.booleans())
    def remote_fault_while_flushing(self, op, lost):
        self.faulty._faults[op] = iter([Fault(answer_lost=lost)])
        self.store.flush()
        self.faulty._faults.clear()

    @rule()
    def crash(self):
        """What the process knew is gone; what the journal knows is not."""
        crashed(self.store)
        self.store = self.reopened()
        assert self.store.problems == []

    @rule()
    def clean_content_goes(self):
        self.store.clear()


for _name in LEFT_OUT:
    setattr(CacheMachine, _name, None)


@pytest.mark.timeout(7200 if FULL else 300)
@pytest.mark.parametrize("whole", [8 << 20, 1000], ids=["whole", "in parts"])
@pytest.mark.parametrize("memory", [MemoryStore, FlatMemory])
def test_any_program_with_crashes_gives_what_the_model_gives(whole, memory, record_property):
    machine = type("CacheMachine", (CacheMachine,), {"whole": whole, "memory_kind": memory})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=PROGRAMS, stateful_step_count=STEPS,
            deadline=None, derandomize=True, print_blob=True, database=None,
            phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    record_property(f"programs of {STEPS} steps", PROGRAMS)
