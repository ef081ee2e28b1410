"""The rows of the journal as values. Their columns are explained in DESIGN.md. No I/O."""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cftool.core.types import NO_HASHES, Entry, Kind

_PAGE = 4096
DAMAGED = "damaged"  # the kind of error of a row whose content is not what it was
VERSION_PREFIX = "pending:"  # of what is not at the remote yet


class What(enum.Enum):
    """The kind of a pending row."""

    UPLOAD = "upload"
    DELETE = "delete"
    MKDIR = "mkdir"
    RMDIR = "rmdir"
    RENAME = "rename"


class State(enum.Enum):
    """How far a pending row is; `CLEAN` is of content that has none."""

    CLEAN = "clean"
    DIRTY = "dirty"
    UPLOADING = "uploading"
    CONFLICTED = "conflicted"
    FAILED = "failed"


@dataclass(slots=True)
class Pending:
    """One row of `pending`. Nobody changes one, but for its number when it is entered.

    Not frozen, because making one takes four times as long then.
    """

    seq: int
    what: What
    path: str
    dst: str | None = None
    is_dir: bool = False
    content: int | None = None
    size: int | None = None
    modified_ns: int | None = None
    base: str | None = None
    after: int | None = None
    state: State = State.DIRTY
    created: float = 0.0
    due: float = 0.0
    attempts: int = 0
    next_try: float = 0.0
    error_kind: str = ""
    error: str = ""

    @property
    def places(self) -> tuple[str, ...]:
        """The paths that it touches."""
        return (self.path,) if self.dst is None else (self.path, self.dst)

    @property
    def when(self) -> float:
        """Not before: epoch seconds."""
        return max(self.due, self.next_try)

    @property
    def untried(self) -> bool:
        """Whether nothing of it can be at the remote: neither on its way nor tried with an unknown end."""
        return self.attempts == 0 and self.state is not State.UPLOADING

    def entry(self, path: str | None = None) -> Entry:
        """What is shown of an upload or a new directory, under `path`."""
        shown = self.path if path is None else path
        if self.what is What.MKDIR:
            return Entry(shown, Kind.DIRECTORY)
        return Entry(shown, Kind.FILE, self.size, self.modified_ns, int(self.created * 1e9), self.version)

    @property
    def version(self) -> str:
        """What an upload is shown with: another one where the same content has grown."""
        return f"{VERSION_PREFIX}{self.seq}.{self.size}:{self.content}"


def content_of(version: str) -> int | None:
    """The content that a pending version is of; None where it is of none."""
    number = version.rpartition(":")[2]
    return int(number) if number.isdecimal() else None


@dataclass(frozen=True, slots=True)
class LocalChange:
    """Directories that are only here, by the names that they are shown by."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Base:
    """What a change is based on (see the column `base`), and when it was looked at (`CachingStore.settled`)."""

    version: str | None
    mark: int


@dataclass(slots=True)
class Content:
    """One row of `content`. Nobody changes one; not frozen, as above."""

    id: int
    path: str | None
    size: int
    version: str | None = None
    modified_ns: int | None = None
    stored_ns: int | None = None
    remote_id: str | None = None
    hashes: Mapping[str, str] = field(default_factory=lambda: NO_HASHES)
    blocks: bytes | None = None
    used: float = 0.0
    allocated: int = 0
    data: bytes | None = None  # of small content that is new or changed; what is read from the journal has it not

    def holds(self, entry: Entry) -> bool:
        """Whether it is the content of this very version."""
        return self.version is not None and self.version == entry.version and self.size == entry.size


def on_pages(size: int) -> int:
    """Bytes that small content takes in the journal."""
    return -(-size // _PAGE) * _PAGE


def small_content(number: int, data: bytes) -> Content:
    """Of a new row that has its bytes in the journal."""
    return Content(number, None, len(data), allocated=on_pages(len(data)), data=data)


def encode_hashes(hashes: Mapping[str, str]) -> str:
    """For the column."""
    return json.dumps(dict(hashes), sort_keys=True)


def decode_hashes(text: str) -> Mapping[str, str]:
    """Of the column; damaged text is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return NO_HASHES
    if not isinstance(found, dict):
        return NO_HASHES
    return {str(key): str(value) for key, value in found.items()}
