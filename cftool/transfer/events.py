"""What the engine tells while it works; `cli` shows it as progress, lines or JSON. Paths are relative to the roots."""

from collections.abc import Callable, Mapping
from dataclasses import field

from cftool.core.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Scanned:
    """Totals so far; `complete` once both listings have ended, before that the total is unknown."""

    files: int
    bytes: int
    to_copy: int
    to_copy_bytes: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Started:
    """A transfer began (files above the small-file size only)."""

    path: str
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """`bytes` more of `path` have been sent or received; `path` "" where small files are counted together."""

    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Copied:
    """A file is at the destination, whole and verified. `server_side`: its bytes did not pass here."""

    path: str
    bytes: int
    server_side: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """An entry was deleted at the destination (or by rm)."""

    path: str
    is_dir: bool = False
    bytes: int | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """An entry was moved within the destination, or to the trash."""

    path: str
    to: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class MadeDirectory:
    """A directory was made."""

    path: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """Not transferred, on purpose; `reason` is one of the words of REASONS. Equal files are counted, not told."""

    path: str
    reason: str


# "empty": a directory without files, where the destination has no such thing.
REASONS = ("link", "special", "excluded", "existing", "newer", "vanished", "limit", "empty")


@dataclass(frozen=True, slots=True)
class Differs:
    """Of `check`: `sign` is "+" only in A, "-" only in B, "*" differs, "!" error; `detail` says how (size, hash, …)."""

    path: str
    sign: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """An entry failed for good; `kind` as StoreError.kind."""

    path: str
    kind: str
    message: str
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know that is no error: a stale session aborted, a comparison by size only."""

    message: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The end. `errors` counts by kind; `withheld` deletions were planned and not done, `why` says why.

    `compared_by` counts files by what decided: size, state, time, hash, request, size_only.
    """

    copied: int = 0
    deleted: int = 0
    moved: int = 0
    checked: int = 0
    made_directories: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    seconds: float = 0.0
    compared_by: Mapping[str, int] = field(default_factory=dict)
    differences: int = 0
    to_do: int = 0  # of a dry run: actions that would be done
    withheld: int = 0
    why: str = ""
    stopped: str = ""  # "max-transfer", "max-duration", "interrupted"
    failures: tuple[Exception, ...] = ()  # one of each class, for the exit code


Event = (
    Scanned
    | Started
    | Progress
    | Copied
    | Deleted
    | Moved
    | MadeDirectory
    | Skipped
    | Differs
    | Failed
    | Note
    | Summary
)
Emit = Callable[[Event], None]
