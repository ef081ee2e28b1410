"""Every decoder of foreign data against inputs that hypothesis makes up, and against a loop of mutations.

The loop runs for minutes in `make long` (TEST_SIZE=full), from the seed that TEST_SEED gives.
"""

import logging
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS, Target
from tests.sizes import SEED, Budget

each_target = pytest.mark.parametrize("target", TARGETS, ids=[target.name.replace(" ", "-") for target in TARGETS])
# The machine may be busy; a slow example is no failure.
calm = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.fixture(autouse=True)
def _quiet():
    """Thousands of warnings of damaged files help nobody."""
    log = logging.getLogger("cftool")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)


@each_target
def test_the_good_inputs_are_taken(target: Target) -> None:
    taken = [target(seed) for seed in target.seeds]
    assert any(taken)


@each_target
def test_made_up_inputs_raise_only_what_is_declared(target: Target) -> None:
    @calm
    @given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
    def made_up(data: bytes) -> None:
        target(data)

    made_up()


@each_target
def test_mutated_inputs_raise_only_what_is_declared(target: Target) -> None:
    @calm
    @given(st.integers(0, len(target.seeds) - 1), st.integers(min_value=0, max_value=1 << 32))
    def mutated(seed: int, number: int) -> None:  # by number: an example is printed, and seeds may be large
        target(mutate(target.seeds[seed], random.Random(number), target.seeds))

    mutated()


@each_target
def test_a_long_loop_of_mutations(target: Target, record_property) -> None:
    """Inputs that were taken become seeds themselves, so that the loop drifts into what the decoder knows."""
    dice = random.Random(f"{SEED}/{target.name}")
    corpus = list(target.seeds)
    taken = 0
    budget = Budget(300, seconds=20)
    while budget.goes_on():
        data = mutate(dice.choice(corpus), dice, tuple(corpus[-8:]))
        if target(data):
            taken += 1
            if len(corpus) < 500:
                corpus.append(data)
            else:
                corpus[dice.randrange(len(target.seeds), 500)] = data
    record_property("inputs", budget.done)
    record_property("of these taken", taken)
    print(f"{target.name}: {budget.done:,} inputs, {taken:,} taken")
