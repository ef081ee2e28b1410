"""Names under which the second of two versions is kept."""

import os
import time
from collections.abc import Container

from cftool.core import paths

_LONGEST = 255  # bytes, or UTF-16 units, that a name has almost everywhere
_LONGEST_EXTENSION = 32


def conflict_name(path: str, host: str, when: float, taken: Container[str], *, word: str = "conflict") -> str:
    """`NAME (conflict HOST DATE).EXT` beside `path`, numbered where that is `taken`. `when` in epoch seconds.

    NAME is cut where the whole would be longer than names may be.
    """
    stamp = time.strftime("%Y-%m-%d %H-%M-%S", time.gmtime(when))
    directory, _, name = path.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > _LONGEST_EXTENSION:  # no extension, or a dot file
        stem, dot, extension = name, "", ""
    label = f"{word} {host[:64]} {stamp}" if host else f"{word} {stamp}"
    count = 1
    while True:
        end = f" ({label}{f' {count}' if count > 1 else ''}){dot}{extension}"
        found = paths.join(directory, _cut(stem, _LONGEST - len(os.fsencode(end))) + end)
        if found not in taken:
            return found
        count += 1


def _cut(text: str, size: int) -> str:
    """The beginning of `text` with at most so many bytes, in whole characters."""
    while len(os.fsencode(text)) > size:
        text = text[: min(len(text) - 1, max(1, size))]
    return text
