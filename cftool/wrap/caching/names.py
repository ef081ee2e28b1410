"""Names under which the second of two versions is kept."""

import time
from collections.abc import Container

from cftool.core import paths


def conflict_name(path: str, host: str, when: float, taken: Container[str], *, word: str = "conflict") -> str:
    """`NAME (conflict HOST DATE).EXT` beside `path`, numbered where that is `taken`. `when` in epoch seconds."""
    stamp = time.strftime("%Y-%m-%d %H-%M-%S", time.gmtime(when))
    directory, _, name = path.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    if not stem:  # no extension, or a dot file
        stem, dot, extension = name, "", ""
    label = f"{word} {host} {stamp}" if host else f"{word} {stamp}"
    found = paths.join(directory, f"{stem} ({label}){dot}{extension}")
    count = 2
    while found in taken:
        found = paths.join(directory, f"{stem} ({label} {count}){dot}{extension}")
        count += 1
    return found
