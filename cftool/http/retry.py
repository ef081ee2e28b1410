"""When to try again: one budget per operation, full jitter, Retry-After. Arithmetic only: nothing here waits or sends.

`client` asks `Schedule.delay` after every attempt that did not answer; None means that the operation is over. The
clock, the sleep and the dice are in `Clock`, so that tests need no real time.
"""

import time
from collections.abc import Callable, Iterable

from cftool.core.dataclass import dataclass
from cftool.http.dates import parse_http_date
from cftool.http.types import Header, Policy

# A host that has never answered is more likely misspelt than restarting: about three seconds instead of the budget.
FIRST_CONTACT_ATTEMPTS = 5
AUTH_ATTEMPTS = 2


def _random() -> float:
    import random

    return random.random()  # noqa: S311 - jitter, not a secret


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance; seconds."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time  # seconds since the epoch
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = _random


class Operation:
    """The bookkeeping of one request through its attempts."""

    __slots__ = ("attempts", "auth_attempts", "began", "credentials", "started")

    def __init__(self, now: float) -> None:
        self.started = now  # of the first attempt
        self.began = now  # of the latest attempt
        self.attempts = 0
        self.auth_attempts = 0
        self.credentials: Iterable[Header] = ()  # of the latest attempt


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait by a Retry-After header (seconds or an HTTP date), `now` being the epoch time; None without."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])  # enough for 30 years; a longer number is no reason for a longer parse
    date = parse_http_date(value)
    return None if date is None else max(0.0, date - now)


class Schedule:
    """Delays under one Policy."""

    def __init__(self, policy: Policy, clock: Clock) -> None:
        self.policy = policy
        self._clock = clock

    def remaining(self, operation: Operation, now: float) -> float:
        """Seconds of the budget that are left."""
        return self.policy.budget - (now - operation.started)

    def delay(self, operation: Operation, now: float, wait: float | None = None) -> float | None:
        """Seconds until the next attempt, None where there is none; `wait` is what the service asked for."""
        policy = self.policy
        if operation.attempts >= policy.attempts:
            return None
        ceiling = min(policy.max_delay, policy.base_delay * 2.0 ** (operation.attempts - 1))
        delay = self._clock.random() * ceiling
        if wait is not None:
            # Jitter on top, so that not everybody who was sent away comes back in the same instant.
            delay = min(wait, policy.retry_after_cap) + self._clock.random() * policy.base_delay
        return delay if delay <= self.remaining(operation, now) else None
