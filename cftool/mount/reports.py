"""What the files below `.cftool/` say, of what `cache status` is told: lines of `name<TAB>value`, and JSON."""

import functools
import json
import time
from typing import TYPE_CHECKING, Any

from cftool.core.paths import printable
from cftool.vfs.reports import Reports
from cftool.wrap.caching import owner

if TYPE_CHECKING:
    from cftool.wrap.caching.store import CachingStore

_LISTS = frozenset({"pending", "errors", "problems"})


def reports(store: "CachingStore") -> Reports:
    """The files, by name."""
    return {
        "status.json": functools.partial(_status, store),
        "stats": functools.partial(_stats, store),
        "pending": functools.partial(_pending, store),
        "errors": functools.partial(_errors, store),
    }


def _status(store: "CachingStore") -> bytes:
    return json.dumps({"v": 1, **owner.status(store)}, indent=1).encode() + b"\n"


def _stats(store: "CachingStore") -> bytes:
    found = owner.status(store)
    return _lines((name, value) for name, value in found.items() if name not in _LISTS)


def _pending(store: "CachingStore") -> bytes:
    """State, kind, bytes, path, new path of a rename, why it is not done yet."""
    return _lines(
        (row["state"], row["what"], row["bytes"], row["path"], row["to"], row["error"])
        for row in map(owner.shown, store.pending())
    )


def _errors(store: "CachingStore") -> bytes:
    """How often, when last, kind, what it said; and what the opening found damaged."""
    found = owner.status(store)
    rows: list[tuple[Any, ...]] = [
        (one["count"], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one["last"])), kind, one["text"])
        for kind, one in found["errors"].items()
    ]
    return _lines([*rows, *((1, "", "damage", problem) for problem in found["problems"])])


def _lines(rows: Any) -> bytes:
    return b"".join(
        "\t".join("" if word is None else printable(str(word)) for word in row).encode("utf-8", "surrogateescape")
        + b"\n"
        for row in rows
    )
