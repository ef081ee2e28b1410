"""A clock that only tests move: passes for `time.time`, `time.monotonic`, `time.time_ns` and `time.sleep`."""


class FakeClock:
    """Starts at `start` seconds; `sleep` moves it and returns at once; `slept` lists what was asked for."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self.slept: list[float] = []

    def __call__(self) -> float:
        """The time now, in seconds."""
        return self._now

    def ns(self) -> int:
        """The time now, in nanoseconds."""
        return round(self._now * 1_000_000_000)

    def sleep(self, seconds: float) -> None:
        """Move on by `seconds`, and remember."""
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`."""
        if seconds < 0:
            raise ValueError("this clock does not go backwards")
        self._now += seconds
