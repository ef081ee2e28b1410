"""How long the thread that reads waits awake for the next request."""

import os
import select

import pytest

from cftool.mount import loop
from cftool.mount.loop import Eager


class Asked:
    """Has a request at the `at`th look, and time that passes with every look at it."""

    def __init__(self, at=None):
        self.at = at
        self.looks = 0
        self.time = 0.0

    def poll(self, timeout):
        assert timeout == 0
        self.looks += 1
        return [1] if self.looks == self.at else []

    def now(self):
        self.time += loop._MOMENT / 10
        return self.time


def eager(asked, *, crowded=False):
    return Eager(asked, now=asked.now, is_crowded=lambda: crowded)


def test_a_request_that_comes_at_once_ends_the_wait():
    asked = Asked(at=3)
    eager(asked).linger()
    assert asked.looks == 3


def test_the_wait_ends_and_is_left_out_longer_each_time():
    asked = Asked()
    waits = eager(asked)
    looked = []
    for _ in range(40):
        before = asked.looks
        waits.linger()
        looked.append(asked.looks > before)
    assert [number for number, did in enumerate(looked) if did] == [0, 2, 6, 14, 30]
    assert asked.looks <= 5 * 11


def test_a_request_in_time_makes_it_eager_again():
    asked = Asked()
    waits = eager(asked)
    waits.linger()  # nothing came: left out once
    waits.linger()
    asked.at = asked.looks + 1
    waits.linger()
    asked.at = asked.looks + 2
    waits.linger()
    assert asked.looks == asked.at


def test_where_programs_wait_for_a_processor_it_never_waits_awake():
    asked = Asked()
    waits = eager(asked, crowded=True)
    for _ in range(5):
        waits.linger()
    assert asked.looks == 0


@pytest.mark.parametrize(("said", "crowded"), [("1", False), ("99999", True)])
def test_what_runs_is_counted_by_the_kernel(monkeypatch, tmp_path, said, crowded):
    file = tmp_path / "loadavg"
    file.write_text(f"0.10 0.20 0.30 {said}/400 1234\n")
    monkeypatch.setattr(loop, "_RUNNING", str(file))
    assert loop._is_crowded() is crowded
    file.write_text("nonsense")
    assert loop._is_crowded()
    file.unlink()
    assert loop._is_crowded()


def test_a_real_descriptor_is_asked():
    reading, writing = os.pipe()
    asked = select.poll()
    asked.register(reading, select.POLLIN)
    os.write(writing, b"x")
    Eager(asked, now=lambda: 1.0, is_crowded=lambda: False).linger()  # its moment would never be over
    os.close(reading)
    os.close(writing)
