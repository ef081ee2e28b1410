"""What a run is asked to do, and the two sides that it works on."""

import enum
from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING, Protocol

from cftool.core.dataclass import dataclass
from cftool.core.store import Store
from cftool.core.types import Entry
from cftool.core.wrapper import ask_always

if TYPE_CHECKING:
    from cftool.transfer.limits import Budget


class Select(Protocol):
    """Which entries take part. The default selects all; filters implement it."""

    def file(self, entry: Entry) -> bool:
        """Whether this file takes part."""
        ...

    def directory(self, path: str) -> bool:
        """Whether anything below this directory can take part."""
        ...


class Links(enum.Enum):
    """What is done with symbolic links of a local source."""

    SKIP = "skip"
    FOLLOW = "follow"
    KEEP = "keep"


class Verify(enum.Enum):
    """How what was written is verified: AUTO by hash or length as the service allows, READBACK by reading it again."""

    AUTO = "auto"
    READBACK = "readback"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a run: a store rooted at the directory concerned, and how to name it.

    `address` is for messages. `key` is the canonical identity (endpoint, account, path; for local paths the real path)
    by which locks and the state database know it. `local_root` is the directory's path where the side is local.
    `base` is the stack that `store` is a view of, and `base_path` the view's root in it: two sides of one service copy
    through it without the bytes passing here. None: they do not.

    Whatever layer of `store` answers from memory stops to: what is copied and deleted is decided by how it is now.
    """

    store: Store
    address: str
    key: str
    local_root: str | None = None
    base: Store | None = None
    base_path: str = ""

    def __post_init__(self) -> None:
        ask_always(self.store)
        if self.base is not None:
            ask_always(self.base)


@dataclass(frozen=True, slots=True)
class MaxDelete:
    """The limit of `--max-delete`: refused where deletions exceed `files` (default 100) and `share` (default 0.5).

    `--max-delete N` sets files=N, share=None; `--max-delete P%` sets share, files=None. None is no condition.
    """

    files: int | None = 100
    share: float | None = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """All flags that cp, mv, sync and check share, with cli.md's defaults; sizes in bytes, times in seconds."""

    dry_run: bool = False
    checksum: bool = False
    size_only: bool = False
    update: bool = False
    ignore_existing: bool = False
    existing: bool = False
    ignore_times: bool = False
    select: Select | None = None
    transfers: int | None = None
    checkers: int | None = None
    retries: int = 3
    links: Links = Links.SKIP
    verify: Verify = Verify.AUTO
    trash: str | None = None  # the trash, relative to the destination's root
    suffix: str | None = None  # what the names of old versions end with
    wait_lock: float = 0.0
    max_transfer: int | None = None
    max_duration: float | None = None
    budget: "Budget | None" = None  # what several runs of one command share of the two above
    # sync alone
    delete: bool = True
    max_delete: MaxDelete = field(default_factory=MaxDelete)
    force_delete: bool = False
    allow_empty_source: bool = False
    delete_excluded: bool = False
    track_renames: bool = False
    # check alone
    one_way: bool = False
    download: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the engine needs besides the sides: where state lives, the clock, and how to learn of Ctrl-C."""

    state_dir: str | None  # None: keep no state and take no locks (tests only)
    now: Callable[[], float]
    cancelled: Callable[[], bool] = lambda: False
