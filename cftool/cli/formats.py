"""Numbers and times as people write and read them: sizes, durations, counts, local and UTC times. Pure functions.

`parse_*` read what a flag says and raise ConfigError with the reason; the others make text. A size is in bytes, with
binary units (`10M` is 10 MiB, as `10 MiB` is), a duration in seconds, a time in nanoseconds since the epoch.
"""

import time
from functools import lru_cache

from cftool.config import sizes
from cftool.core.errors import ConfigError

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(count: int) -> str:
    """`3.4 MiB`; below 1 KiB `12 B`."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    unit = 0
    while value >= 1023.95 and unit < len(_UNITS) - 1:  # what would round to 1024.0 belongs to the next unit
        value /= 1024
        unit += 1
    return f"{value:.1f} {_UNITS[unit]}"


def short_size(count: int) -> str:
    """`3.4M`, for columns, as `ls -h` writes it."""
    number, unit = size(count).split(" ")
    return number if unit == "B" else number + unit[0]


def number(count: int) -> str:
    """`20,001`."""
    return f"{count:,}"


def plural(count: int, word: str) -> str:
    """`1 file`, `20,001 files`."""
    if count == 1:
        return f"1 {word}"
    return f"{count:,} {word[:-1] + 'ies' if word.endswith('y') else word + ('es' if word.endswith('s') else 's')}"


def duration(seconds: float) -> str:
    """`1.2 s`, `1m05s`, `2h03m`, `3d04h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def local_time(ns: int) -> str:
    """`2026-01-31 17:05:09` in the local time zone."""
    return _local(ns // 1_000_000_000)


@lru_cache(maxsize=4096)  # files of one directory share their seconds more often than not
def _local(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return f"@{seconds}"


def utc_time(ns: int) -> str:
    """RFC 3339 in UTC with as many digits as the time has: `2026-01-31T16:05:09.25Z`."""
    seconds, rest = divmod(ns, 1_000_000_000)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{_utc(seconds)}{fraction}Z"


@lru_cache(maxsize=4096)
def _utc(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return "9999-12-31T23:59:59" if seconds > 0 else "0001-01-01T00:00:00"


def parse_size(text: str, flag: str) -> int:
    """Bytes of `10M`, `1.5 GiB`, `512`."""
    try:
        return sizes.parse_size(text)
    except ValueError as error:
        raise ConfigError(f"{flag}: {error}") from error


def parse_duration(text: str, flag: str) -> float:
    """Seconds of `90`, `1h30m`, `7d`, `250ms`."""
    try:
        return sizes.parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{flag}: {error}") from error


def parse_count(text: str, flag: str, *, least: int = 0) -> int:
    """A whole number of at least `least`."""
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise ConfigError(f"{flag}: {text!r} is no whole number of {least} or more")
    return int(text)
