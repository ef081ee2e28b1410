"""Sizes and durations as people write them in a configuration: `10M`, `1.5 GiB`, `5 GB`; `90`, `1h30m`, `7d`.

The units are rclone's: K, M, G … and Ki, KiB … are multiples of 1024, in either case of letters. KB, MB, GB …, which
rclone refuses, are multiples of 1000, as the standard has them. A bare number is bytes (rclone's flags take KiB).
Durations add up: s, m, h, d, w (7 d), M (30 d), y (365 d) and ms; a bare number is seconds.
"""

import math
import re

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(?:([kmgtpe])(ib?|b)?|(b))?", re.IGNORECASE | re.ASCII)
_POWERS = "kmgtpe"
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(ms|s|m|h|d|w|M|y)", re.ASCII)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+", re.ASCII)
_SECONDS = {
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
    "w": 604_800.0,
    "M": 2_592_000.0,
    "y": 31_536_000.0,
}
_LARGEST = 1 << 63


def parse_size(text: str) -> int:
    """Bytes, rounded down; ValueError with the reason in words."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size; write it as 500, 10M, 1.5 GiB or 5 GB")
    number, letter, ending, _byte = match.groups()
    unit = 1
    if letter:
        base = 1000 if ending in {"b", "B"} else 1024
        unit = base ** (_POWERS.index(letter.lower()) + 1)
    whole, _, fraction = number.partition(".")
    # In integers: a float would lose the last bytes of an exabyte.
    size: int = (int(whole or "0") * 10 ** len(fraction) + int(fraction or "0")) * unit // 10 ** len(fraction)
    if size >= _LARGEST:
        raise ValueError(f"{text!r} is larger than any file")
    return size


def parse_duration(text: str) -> float:
    """Seconds; ValueError with the reason in words."""
    stripped = text.strip()
    if _NUMBER.fullmatch(stripped):
        return _finite(float(stripped), text)
    total, at = 0.0, 0
    while at < len(stripped):
        match = _PART.match(stripped, at)
        if match is None:
            break
        total += float(match[1]) * _SECONDS[match[2]]
        at = match.end()
        while at < len(stripped) and stripped[at] == " ":
            at += 1
    if at == 0 or at < len(stripped):
        raise ValueError(f"{text!r} is no duration; write it as 90, 1h30m or 7d")
    return _finite(total, text)


def _finite(seconds: float, text: str) -> float:
    if not math.isfinite(seconds) or seconds > _SECONDS["y"] * 1000:
        raise ValueError(f"{text!r} is longer than a thousand years")
    return seconds
