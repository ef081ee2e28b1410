"""What a cache is configured with; the names are those of the configuration's `stack` table."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cftool.config.file import StackOptions
from cftool.wrap.caching.small import LARGEST


@dataclass(frozen=True, slots=True)
class Times:
    """Time, for tests to replace. `wall` in seconds since the epoch, `monotonic` for waits."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Sizes in bytes, times in seconds.

    `delay`: from the last write of a file to its upload. `soft`: clean files are evicted above it. `hard`: writers wait
    above it, for `patience` at most, and then fail before their data is accepted. `whole`: files up to this size are
    fetched and verified whole before a byte is shown, larger ones in ranges. `window`: how far is read ahead at most.
    `inline`: what is written up to this size, `small.LARGEST` at most, is kept in the journal.
    """

    delay: float = 60.0
    soft: int = 5_000_000_000
    hard: int = 10_000_000_000
    patience: float = 60.0
    whole: int = 8 << 20
    window: int = 16 << 20
    inline: int = LARGEST
    uploads: int = 0  # at once; 0: as many as the store below likes
    host: str = ""  # in the names of conflict files
    times: Times = field(default_factory=Times)


def settings_of(said: StackOptions, *, host: str) -> CacheSettings:
    """Of one limit alone the other is made: never is the hard one below the soft one."""
    made = CacheSettings(host=host)
    soft, hard = said.cache_size, said.hard_cache_size_limit
    if soft is None:
        soft = made.soft if hard is None else min(made.soft, hard // 2)
    if hard is None:
        hard = max(made.hard, 2 * soft)
    return replace(made, delay=made.delay if said.cache is None else said.cache, soft=soft, hard=hard)
