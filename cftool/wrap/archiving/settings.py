"""What an ArchivingStore may be told; the defaults are what `archive = true` means."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """Sizes in bytes, times in seconds."""

    large: int = 1 << 20  # a file with more than this is not packed
    pack_bytes: int = 8 << 20  # of content in one pack; all of it is in memory while it is made
    pack_files: int = 4_096  # in one batch; a manifest of 4,096 entries has about 1.5 MiB
    fresh: float = 1.0  # how long looking relies on the last listing of packs
    host: str = field(default_factory=lambda: os.uname().nodename)
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
