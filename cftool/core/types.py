"""The values that travel between the layers: entries, features, sources, targets, batch items.

All are immutable. `Entry` is a NamedTuple and not a dataclass because a listing makes a million of them: a third of
the time and of the memory. Times are integer nanoseconds since the epoch (UTC), because rclone and local file
systems keep nanoseconds, which `datetime` cannot hold; `modified` and `stored` give aware datetimes for display.
"""

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import BinaryIO, NamedTuple, Protocol

from cftool.core.dataclass import dataclass

NO_HASHES: Mapping[str, str] = MappingProxyType({})


class Kind(enum.Enum):
    """What an entry is. LINK and OTHER (fifo, socket, device) come from local disks only and hold no bytes."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"


class Entry(NamedTuple):
    """One file or directory as the store has it. None means that this call does not know, never that it is zero.

    `path` is canonical and relative to the store that returned it. `size` in bytes. `modified_ns` is the file's own
    time; `stored_ns` the service's upload time. `version` changes whenever the content does (etag, rev, generation,
    or for local files inode:size:mtime:ctime); `id` is the service's own handle. `hashes` are lower-case hex by name
    (`md5`, `sha256`, `crc32`, `crc32c`, `crc64nvme`, …).
    """

    path: str
    kind: Kind
    size: int | None = None
    modified_ns: int | None = None
    stored_ns: int | None = None
    version: str | None = None
    id: str | None = None
    hashes: Mapping[str, str] = NO_HASHES

    @property
    def name(self) -> str:
        """The last component; for the root the empty string."""
        return self.path.rpartition("/")[2]

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.kind is Kind.DIRECTORY

    @property
    def modified(self) -> datetime | None:
        """The file's own time, aware, UTC, cut to microseconds."""
        return _datetime(self.modified_ns)

    @property
    def stored(self) -> datetime | None:
        """The service's upload time, aware, UTC."""
        return _datetime(self.stored_ns)

    def at(self, path: str) -> "Entry":
        """The same entry under another path; many times cheaper than `_replace`: a file passes here more than once."""
        _, kind, size, modified, stored, version, handle, hashes = self
        return tuple.__new__(Entry, (path, kind, size, modified, stored, version, handle, hashes))


def _datetime(ns: int | None) -> datetime | None:
    if ns is None:
        return None
    seconds, rest = divmod(ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


class Cap(enum.Flag):
    """What works on this stack, now. Absent: the call raises `Unsupported` before any request."""

    NONE = 0
    WALK = enum.auto()  # walk()
    COPY = enum.auto()  # copy() within the store, without the bytes passing here
    MOVE = enum.auto()  # move() of files
    MOVE_DIR = enum.auto()  # move() of directories
    SET_MODIFIED = enum.auto()  # set_modified() without sending the content again
    IF_VERSION = (
        enum.auto()
    )  # write(if_version=…) is refused by the server where the version differs: seen, not assumed
    IF_ABSENT = enum.auto()  # write(if_absent=True) likewise
    WRITE_MANY = enum.auto()  # write_many() is faster than many write()
    READ_MANY = enum.auto()
    DELETE_MANY = enum.auto()
    DELETE_DIR = enum.auto()  # delete_dir(): a directory with all below it, in one step
    CHANGES = enum.auto()
    USAGE = enum.auto()
    EMPTY_DIRS = enum.auto()  # a directory without entries can be made and is listed
    IMPLICIT_DIRS = enum.auto()  # a directory exists while something is below it: no mkdir before, no rmdir after
    RANGES = enum.auto()  # read(start, end) costs what it returns
    LEFTOVERS = enum.auto()  # leftovers() and remove_leftover()
    LINK = enum.auto()  # link()
    COPY_MANY = enum.auto()  # write_many() of `ops.StoreSource`s of this very store: as copy(), and all in one step
    TREE = enum.auto()  # tree(): one listing where stat() and walk() would be two
    RESUME = enum.auto()  # an interrupted upload or download of one file goes on in a later process


class WalkOrder(enum.Enum):
    """The order of `walk`. BYTES: of `paths.sort_key`; the merge relies on it and checks it."""

    BYTES = "bytes"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class NameRules:
    """Which names a store can hold. `opaque`: keys without structure (S3), where `a//b` is a name of its own."""

    opaque: bool = False
    utf8: bool = True  # False: any bytes, shown as surrogate escapes
    component_bytes: int | None = None
    path_bytes: int | None = None
    forbidden: str = ""  # characters, besides `/` and NUL
    no_end: str = ""  # characters with which no component ends
    case_sensitive: bool = True
    unicode_form: str | None = None  # the form under which two names are one: "NFC", or None
    top_files: bool = True  # False: files are in directories of the root (buckets) only


@dataclass(frozen=True, slots=True)
class Features:
    """What a stack is and can do; constant for its life, except that caps may appear once they were seen to work."""

    caps: Cap = Cap.NONE
    identity: str = ""  # what every run and machine calls this same service, account and root by: locks, state
    hashes: frozenset[str] = frozenset()  # that a listing or stat may carry
    time_precision_ns: int | None = None  # of modified_ns; None: the store keeps no time of the file's own
    listed_time: bool = False  # whether a listing carries modified_ns
    size_limit: int | None = None
    names: NameRules = field(default_factory=NameRules)
    walk_order: WalkOrder = WalkOrder.NONE
    connections: int = 1  # calls that may usefully run at once
    remote: bool = True  # False: reading costs no network
    verified_reads: bool = False  # what `read_many` saves at once has been compared with the entry's hashes


class Source(Protocol):
    """Bytes to write; replayable: `open` and `load` may be called for every attempt, also from several threads.

    `size` is None where it is not known before the end. `local_path` lets a native client read the file itself.
    """

    size: int | None
    local_path: str | None

    def open(self) -> BinaryIO:
        """A new reader at offset 0; for a local file a real one, with `fileno`."""
        ...

    def load(self) -> bytes:
        """The whole content, for small files; the source is proven unchanged while it was read."""
        ...

    def check(self) -> None:
        """Raise `SourceChanged` where the source is not what it was when this object was made.

        Called after the last byte was read and before anything is published.
        """
        ...


class Partial(Protocol):
    """A file on its way to its final name, written in any order; survives the process where the target can."""

    def missing(self, part_size: int) -> list[tuple[int, int]]:
        """The ranges [start, end) that are not there yet, none longer than `part_size`, in order."""
        ...

    def write_at(self, data: bytes | memoryview, offset: int) -> None:
        """Write at `offset`; what was written counts as present only after `done`."""
        ...

    def writev_at(self, chunks: list[bytes], offset: int) -> None:
        """Write several pieces that follow each other."""
        ...

    def done(self, start: int, end: int) -> None:
        """Say that [start, end) is whole and verified as far as it can be."""
        ...

    def read_at(self, size: int, offset: int) -> bytes:
        """Read back, for a hash of the whole file."""
        ...

    def commit(self, entry: Entry) -> None:
        """Publish under the final name, with `entry.modified_ns`; all of `entry.size` must be there."""
        ...

    def discard(self) -> None:
        """Remove what was written: it was found to be wrong, or of another version."""
        ...

    def close(self) -> None:
        """Give up for now; what is there stays for a later run where the target can keep it."""
        ...


class Target(Protocol):
    """Where a download goes: one path of a local tree, published atomically."""

    def save(self, data: bytes, entry: Entry) -> None:
        """Publish small content at once: old bytes or new bytes under the final name, never a mixture."""
        ...

    def begin(self, entry: Entry) -> Partial:
        """Start, or take up again, a large download of exactly `entry` (its size and version)."""
        ...


@dataclass(frozen=True, slots=True)
class WriteItem:
    """One file of `write_many`; the fields mean what they mean for `write`."""

    path: str
    source: Source
    modified_ns: int | None = None
    if_version: str | None = None
    if_absent: bool = False
    tag: object = None  # the caller's own, comes back in the Result
    progress: Callable[[int], None] | None = None  # hears of bytes on their way, each once, from any thread


@dataclass(frozen=True, slots=True)
class ReadItem:
    """One file of `read_many`: `entry` as a listing gave it; its version and size must still hold."""

    entry: Entry
    target: Target
    tag: object = None


@dataclass(frozen=True, slots=True)
class Result:
    """Of one item of a batch, in order of completion: `entry` or `error`, never both. One failure stops no other."""

    path: str
    entry: Entry | None = None
    error: Exception | None = None
    tag: object = None


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a run that ended early left on the service: an upload session that nobody will finish by itself.

    `path` is the file it was for; `id` the service's handle. `own`: this machine's records name it, and the process
    that made it is dead. `size`: bytes stored so far, where known.
    """

    path: str
    id: str
    started_ns: int | None = None
    size: int | None = None
    own: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Space in bytes; None where the service does not say."""

    total: int | None = None
    used: int | None = None
    free: int | None = None


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Answer of `changes`: paths that changed since the cursor, and the next cursor; `reset`: list everything anew."""

    paths: tuple[str, ...]
    cursor: str
    reset: bool = False


class Download(Protocol):
    """An open download: context manager and iterator of chunks; `entry` is what is being read.

    The stream ends normally only when all bytes asked for have arrived and, for a whole file, every hash that the
    entry carries (and that we can compute) was right; otherwise the last step raises `IntegrityError`.
    """

    entry: Entry

    def __enter__(self) -> "Download": ...
    def __exit__(self, *exc: object) -> None: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def read(self, size: int = -1) -> bytes:
        """Like a file's `read`: empty at the end only."""
        ...

    def close(self) -> None:
        """Stop; a connection with bytes left is dropped, not drained."""
        ...
