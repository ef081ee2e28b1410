"""A quick row of the random kills that `make long` runs ten thousand times."""

import pytest

from tests.long.writer import kill_writers


@pytest.mark.crash
def test_killed_writers_leave_whole_files_and_lose_nothing_acknowledged(tmp_path):
    tally = kill_writers(tmp_path, kills=40, seed=1)
    assert (tally.kills, tally.wrong, tally.lost) == (40, 0, 0)
    # Otherwise the kills came too early to prove anything.
    assert tally.acknowledged > 0
    assert tally.temporaries > 0
