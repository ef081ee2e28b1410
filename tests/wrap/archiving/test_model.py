"""A state machine against a dict: any program of calls, faults among them, shows what the model shows.

Two rules of its own: the state of the machine is lost, and another machine looks. After every step the model of the
other wrappers compares the whole tree.
"""

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from cftool.core import ops
from cftool.core.sources import BytesSource
from cftool.core.types import WriteItem
from cftool.testing.faulty import FaultyStore
from cftool.wrap.archiving import ArchiveSettings, ArchivingStore
from cftool_providers.memory import MemoryStore
from tests.contract.test_model import DATA, PATHS, TIMES, Machine, Model
from tests.sizes import FULL

PROGRAMS, STEPS = (1000, 200) if FULL else (25, 50)  # for each of two machines


class ArchiveMachine(Machine):
    large = 1 << 20

    @initialize()
    def open(self):
        self.folder = tempfile.mkdtemp(prefix="cftool-model-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.opened = 0
        self.faulty = FaultyStore(MemoryStore(), {})
        self.store = self.machine()
        self.model = Model()

    def machine(self):
        self.opened += 1
        state = os.path.join(self.folder, str(self.opened))
        return ArchivingStore(self.faulty, state, ArchiveSettings(fresh=0, large=self.large))

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    @rule()
    def the_state_of_the_machine_is_lost(self):
        self.store.index.close()
        self.store = self.machine()

    @rule()
    def another_machine_sees_the_same(self):
        other = self.machine()
        found = {e.path: ops.read_bytes(other, e.path) for e in other.walk("") if not e.is_dir}
        assert found == {path: data for path, (data, _) in self.model.files.items()}
        other.index.close()

    @rule(items=st.lists(st.tuples(PATHS, DATA, TIMES), max_size=6))
    def write_many(self, items):
        """A batch is one pack: all of it is taken, in order."""
        results = {r.tag: r for r in self.store.write_many(
            WriteItem(path, BytesSource(data), when, tag=n) for n, (path, data, when) in enumerate(items)
        )}  # fmt: skip
        small = [n for n, (_, data, _) in enumerate(items) if len(data) <= self.large]
        for number in (*small, *(n for n in range(len(items)) if n not in small)):
            path, data, when = items[number]
            allowed = self.model.can_write(path)
            assert (results[number].error is None) == allowed
            if allowed:
                self.model.write(path, data, when)


# Deletions are records here, which no call to delete below brings about; there are no changes to ask for.
for _name in ("delete_whose_answer_is_lost", "scan_overlapped_by_a_change"):
    setattr(ArchiveMachine, _name, None)


class LargeMachine(ArchiveMachine):
    """Large files among them. One whose answer is lost may be an object that no record names: then nothing changed."""

    large = 1000
    write_whose_answer_is_lost = None
    write_many_whose_answer_is_lost = None


@pytest.mark.timeout(14400 if FULL else 300)
@pytest.mark.parametrize("machine", [ArchiveMachine, LargeMachine])
def test_any_program_gives_what_the_model_gives(machine, record_property):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=PROGRAMS, stateful_step_count=STEPS,
            deadline=None, derandomize=True, print_blob=True, database=None,
            phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    record_property(f"programs of {STEPS} steps", PROGRAMS)
