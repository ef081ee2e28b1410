"""A state machine against a dict: any program of calls, faults among them, shows what the model shows.

Two rules of its own: the state of the machine is lost, and another machine looks. After every step the model of the
other wrappers compares the whole tree.
"""

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from cftool.core import ops
from cftool.testing.faulty import FaultyStore
from cftool.wrap.archiving import ArchiveSettings, ArchivingStore
from cftool_providers.memory import MemoryStore
from tests.contract.test_model import Machine, Model
from tests.sizes import FULL


class ArchiveMachine(Machine):
    large = 1000

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


@pytest.mark.parametrize("large", [1 << 20, 1000], ids=["small", "large"])
def test_any_program_gives_what_the_model_gives(large):
    run_state_machine_as_test(
        type("ArchiveMachine", (ArchiveMachine,), {"large": large}),
        settings=settings(
            max_examples=500 if FULL else 25, stateful_step_count=100 if FULL else 40,
            deadline=None, derandomize=True, print_blob=True, database=None,
            phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
