"""The limit of requests at once: halved, climbing back, exploring; shared by name; waited for."""

import threading

import pytest

from cftool.http.pacing import Pacer, shared
from cftool.testing.clock import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


def rounds(pacer, clock, rate, count, seconds=1.0):
    """`count` windows in which `rate(limit)` answers come, the limit always in use; the limit after each."""
    limits = []
    for _ in range(count):
        clock.advance(seconds)
        pacer.succeeded(rate(pacer.limit), saturated=True)
        limits.append(pacer.limit)
    return limits


def test_it_rises_while_the_throughput_rises_and_stops_at_the_ceiling(clock):
    pacer = Pacer(64, 128, clock)
    rounds(pacer, clock, lambda limit: limit * 10, 20)
    assert pacer.limit == 128


def test_at_first_it_doubles_from_round_to_round(clock):
    """At 100 ms a round of 16 takes 100 ms: within a second the limit is eight times as high."""
    pacer = Pacer(16, 128, clock)
    rounds(pacer, clock, lambda limit: limit, 9, seconds=0.1)
    assert pacer.limit == 128


def test_doubling_ends_with_the_first_that_does_not_pay(clock):
    pacer = Pacer(64, 1024, clock)
    limits = rounds(pacer, clock, lambda limit: min(limit, 150), 12, seconds=0.1)
    assert max(limits) == 256
    assert limits[-1] == 128


def test_a_round_without_an_answer_in_time_is_no_round(clock):
    pacer = Pacer(64, 128, clock)
    rounds(pacer, clock, lambda limit: 3, 20, seconds=0.001)
    assert pacer.limit == 64


def test_a_refusal_ends_the_doubling(clock):
    pacer = Pacer(64, 1024, clock)
    clock.advance(1)
    pacer.slow_down(clock())
    pacer.limit = 64
    rounds(pacer, clock, lambda limit: limit, 9, seconds=0.1)
    assert pacer.limit == 64


def test_it_goes_back_and_rests_where_more_does_not_help(clock):
    pacer = Pacer(64, 128, clock)
    rounds(pacer, clock, lambda limit: 1000, 4)
    assert pacer.limit == 64
    limits = rounds(pacer, clock, lambda limit: 1000, 60)
    assert max(limits) == 72
    assert limits.count(72) <= 4
    assert pacer.limit in {64, 72}


def test_it_does_not_rise_where_the_limit_is_not_what_binds(clock):
    pacer = Pacer(64, 128, clock)
    for _ in range(50):
        clock.advance(1.0)
        pacer.succeeded(1000, saturated=False)
    assert pacer.limit == 64


def test_one_cut_per_round_however_many_were_refused(clock):
    pacer = Pacer(64, 64, clock)
    began = clock()
    clock.advance(1)
    for _ in range(64):
        pacer.slow_down(began)
    assert pacer.limit == 32
    pacer.slow_down(clock() + 0.5)
    assert pacer.limit == 16


def test_it_climbs_back_by_one_per_round(clock):
    pacer = Pacer(8, 8, clock)
    pacer.slow_down(clock())
    pacer.succeeded(4, saturated=False)
    assert pacer.limit == 5
    pacer.succeeded(4, saturated=False)
    assert pacer.limit == 5
    pacer.succeeded(1, saturated=False)
    assert pacer.limit == 6


def test_a_hold_ends_by_itself_and_is_never_shortened(clock):
    pacer = Pacer(1, 1, clock)
    assert pacer.held(clock()) == 0
    pacer.hold(clock() + 10)
    pacer.hold(clock() + 5)
    assert pacer.held(clock()) == 10
    clock.advance(11)
    assert pacer.held(clock()) == 0


def test_pacers_are_shared_by_name_and_clock(clock):
    one = shared("work", 4, 8, clock)
    assert shared("work", 64, 128, clock) is one
    assert shared("other", 4, 8, clock) is not one
    assert shared("", 4, 8, clock) is not shared("", 4, 8, clock)
    assert shared("work", 4, 8, FakeClock()) is not one


def test_batches_share_the_limit_and_each_gets_at_least_one(clock):
    pacer = Pacer(8, 8, clock)
    first, second = pacer.join(), pacer.join()
    first.in_flight = 6
    assert pacer.allowed(second) == 2
    first.in_flight = 8
    assert pacer.allowed(second) == 1
    pacer.leave(first)
    assert pacer.allowed(second) == 8


def test_singles_wait_for_room(clock):
    pacer = Pacer(1, 1, clock)
    assert pacer.enter(0)
    assert not pacer.enter(0)
    entered = threading.Event()
    thread = threading.Thread(target=lambda: pacer.enter(20) and entered.set())
    thread.start()
    pacer.exit()
    thread.join()
    assert entered.is_set()


def test_a_forked_child_forgets_what_others_have_in_flight(clock):
    pacer = Pacer(2, 2, clock)
    pacer.enter(0)
    pacer.join().in_flight = 2
    pacer.after_fork()
    assert pacer.allowed(pacer.join()) == 2
    assert pacer.enter(0)
    assert pacer.enter(0)
