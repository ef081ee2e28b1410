"""How much the harnesses do: TEST_SIZE=full (set by `make long`) is a release, anything else every merge."""

import os
import time

FULL = os.environ.get("TEST_SIZE") == "full"
SEED = int(os.environ.get("TEST_SEED", "20260101"))


class Budget:
    """A loop that ends after `count` rounds, or at release size after `seconds`."""

    def __init__(self, count: int, *, seconds: float) -> None:
        self.done = 0
        self._count = None if FULL else count
        self._end = time.monotonic() + seconds

    def goes_on(self) -> bool:
        """Whether there is another round; counts it."""
        if self.done >= self._count if self._count is not None else time.monotonic() > self._end:
            return False
        self.done += 1
        return True
