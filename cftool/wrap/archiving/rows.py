"""A Record as a row of the index, and back."""

import json
import os
from collections.abc import Sequence
from typing import Any

from cftool.wrap.archiving.manifest import Record

_NAMES = (
    *("id", "path", "is_dir", "bases", "size", "modified_ns", "stored_ns", "version", "hashes"),
    *("container", "at", "over", "host"),
)
COLUMNS = ", ".join(_NAMES)
QUALIFIED = ", ".join(f"records.{name}" for name in _NAMES)
MARKS = ", ".join("?" * len(_NAMES))


def of(record: Record) -> tuple[object, ...]:
    """The columns of a record."""
    return (
        record.id,
        os.fsencode(record.path),
        record.is_dir,
        " ".join(record.bases),
        record.size,
        record.modified_ns,
        record.stored_ns,
        _plain(record.version),
        json.dumps(dict(record.hashes)) if record.hashes else "",
        record.container,
        record.at,
        None if record.over is None else _plain(record.over),
        _plain(record.host),
    )


def _plain(text: str) -> str:
    """SQLite takes no half characters; whoever writes them gets others back."""
    return text.encode("utf-8", "replace").decode("utf-8")


def record(columns: Sequence[Any]) -> Record:
    """The record of a row that has `COLUMNS`."""
    each, path, is_dir, bases, size, modified, stored, version, hashes, container, at, over, host = columns
    return Record(
        each, os.fsdecode(path), bool(is_dir), tuple(bases.split()), size, modified, stored, version,
        json.loads(hashes) if hashes else {}, container, at, over, host,
    )  # fmt: skip
