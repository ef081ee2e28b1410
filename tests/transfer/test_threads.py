"""Calls in threads: in their order or as they end, never further ahead than they may be."""

import threading

import pytest

from cftool.transfer.threads import bounded, in_order

LONG = 60.0  # seconds that no test takes


def test_what_ends_first_comes_first():
    others = threading.Event()

    def work(item):
        return item != 0 or others.wait(LONG)

    found = []
    for done in bounded(work, range(4), threads=4):
        found.append(done.item)
        if len(found) == 3:
            others.set()
    assert (sorted(found[:3]), found[3]) == ([1, 2, 3], 0)


def test_what_ends_last_comes_in_its_turn_and_holds_up_no_more_than_it_may():
    pulled, going = [], threading.Event()

    def items():
        for item in range(100):
            pulled.append(item)
            yield item

    def work(item):
        if item == 0:
            assert going.wait(LONG)
            assert len(pulled) <= 10
        elif item == 9:  # the last one that may be before the first has ended
            going.set()
        return -item

    done = list(in_order(work, items(), threads=4, ahead=10, settled=lambda _: False))
    assert [(one.item, one.value) for one in done] == [(item, -item) for item in range(100)]


def test_what_is_settled_is_in_no_thread_and_keeps_its_place():
    def work(item):
        if item == 5:
            raise ValueError("five")
        return threading.current_thread() is threading.main_thread()

    done = list(in_order(work, range(8), threads=2, ahead=100, settled=lambda item: item % 2 == 0))
    assert [one.item for one in done] == list(range(8))
    assert [one.value for one in done] == [None, False] * 2 + [None, None, None, False]
    assert [str(one.error) for one in done if one.error] == ["five"]


def test_nothing_new_begins_where_nobody_listens_any_more():
    begun = []
    results = in_order(begun.append, range(1000), threads=1, ahead=3, settled=lambda _: False)
    assert next(results).item == 0
    results.close()
    assert len(begun) <= 3


@pytest.mark.parametrize("ahead", [1, 2])
def test_nothing_runs_beside_where_nothing_may_be_ahead(ahead):
    done = list(in_order(str, range(5), threads=3, ahead=ahead, settled=lambda _: False))
    assert [one.value for one in done] == ["0", "1", "2", "3", "4"]
