"""What a plan decides, as data: files to copy, what is to go, what takes the place of what, and counts for the gate.

The plan makes them; executors, the gate's evidence and plan files take them.
"""

from collections.abc import Iterator
from dataclasses import field

from cftool.core.dataclass import dataclass
from cftool.core.types import Entry
from cftool.transfer.spool import Spool


class Action:
    """One file to copy. `path` is its name at the destination; `dst` what stands there now, if a file does."""

    __slots__ = ("attempts", "dst", "key", "path", "replaces", "src")

    def __init__(self, key: bytes, src: Entry, dst: Entry | None, *, path: str = "", replaces: bool = False) -> None:
        self.key = key
        self.src = src
        self.dst = dst
        self.path = path or (src.path if dst is None else dst.path)
        self.replaces = replaces  # something that is no file has the name: no condition can be put on it
        self.attempts = 0


@dataclass(slots=True)
class Replacement:
    """A file against a directory of one name. `files`: what is copied; `old`: what the destination has."""

    old: Entry
    files: Spool
    directories: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Doomed:
    """What the destination has and the source lacks. `tops` need to be looked up again, the rest is below them."""

    files: Spool
    directories: Spool
    tops: Spool
    file_count: int = 0
    entry_count: int = 0
    renamed: set[bytes] = field(default_factory=set)  # keys of files that have another name by now
    replacements: list[Replacement] = field(default_factory=list)

    def left(self) -> Iterator[tuple[bytes, Entry]]:
        """The files that are still to go."""
        return (pair for pair in self.files if pair[0] not in self.renamed)

    def take(self, key: bytes) -> None:
        """A file of it got another name."""
        self.renamed.add(key)
        self.entry_count -= 1
        self.file_count -= 1


@dataclass(slots=True)
class Seen:
    """Counts for the gate."""

    source_files: int = 0
    source_entries: int = 0
    destination_files: int = 0
    destination_entries: int = 0
    recorded: int = 0
    recorded_seen: int = 0
