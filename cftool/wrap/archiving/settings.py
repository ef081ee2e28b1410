"""What an ArchivingStore may be told; the defaults are what `archive = true` means."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """Sizes in bytes, times in seconds."""

    large: int = 1 << 20  # a file with more than this is not packed
    pack_bytes: int = 8 << 20  # of content in one pack; all of it is in memory while it is made
    pack_files: int = 4_096  # in one batch; a manifest of 4,096 entries has about 1.5 MiB
    many: int = 16  # packs below 1 MiB that compaction leaves alone
    fresh: float = 1.0  # how long looking relies on the last listing of packs
    grace: float = _DAY  # from a replacement to the removal of what it replaces
    forget: float = 30 * _DAY  # how long a superseded record is remembered at least
    host: str = field(default_factory=lambda: os.uname().nodename)
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
