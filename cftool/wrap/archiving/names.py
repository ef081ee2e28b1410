"""The names that the archive uses: its reserved directory, packs and objects in it, and names for conflicting files.

Pure functions. A name that does not match exactly is not ours.
"""

import re
import secrets
import time
from typing import NamedTuple

from cftool.core import paths

DIRECTORY = ".cftool-archive"
MANIFEST = ".cftool-manifest.json"
_PACK = re.compile(r"([0-9a-f]{10}-[0-9a-f]{16})-([1-9a-f][0-9a-f]{0,9})\.tar")
_OBJECT = re.compile(r"[0-9a-f]{10}-[0-9a-f]{16}\.object")
_ID = re.compile(r"[0-9a-f]{10}-[0-9a-f]{16}\.(?:0|[1-9][0-9]{0,8})")
_UNSAFE = re.compile(r"[^\w.-]+")
MAX_LAMPORT = (1 << 40) - 1
_PLAIN = " (conflict plain)"


class PackName(NamedTuple):
    """A pack's name, taken apart; `tail` is how many bytes from its manifest's header to its end."""

    name: str
    stem: str
    tail: int

    @property
    def lamport(self) -> int:
        """The count in the stem."""
        return int(self.stem[:10], 16)


def new_stem(lamport: int) -> str:
    """The stem of a new pack or object: nobody else has it."""
    return f"{min(lamport, MAX_LAMPORT):010x}-{secrets.token_hex(8)}"


def pack_name(stem: str, tail: int) -> str:
    """The name of a finished pack."""
    return f"{stem}-{tail:x}.tar"


def object_name(stem: str) -> str:
    """The name of a large file's object."""
    return f"{stem}.object"


def parse_pack(name: str) -> PackName | None:
    """None where it is no pack's name."""
    match = _PACK.fullmatch(name)
    return None if match is None else PackName(name, match[1], int(match[2], 16))


def is_container(name: str) -> bool:
    """Whether bytes of a file may lie under this name."""
    return _PACK.fullmatch(name) is not None or _OBJECT.fullmatch(name) is not None


def is_object(name: str) -> bool:
    """Whether it is a large file's object."""
    return _OBJECT.fullmatch(name) is not None


def is_id(text: str) -> bool:
    """Whether it is a record's id."""
    return _ID.fullmatch(text) is not None


def place(name: str) -> str:
    """The path of something in the reserved directory."""
    return f"{DIRECTORY}/{name}"


def reserved(path: str) -> bool:
    """Whether nothing above may name this path."""
    return paths.is_within(path, DIRECTORY)


def conflict(path: str, host: str, when_ns: int, record: str, attempt: int = 0) -> str:
    """The name of a file that another one of its name is shown before; the same on every machine."""
    parent, name = paths.parent(path), path.rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    if not stem:
        stem, dot, ending = name, "", ""
    date = time.strftime("%Y-%m-%d", time.gmtime(when_ns // 1_000_000_000))
    where = _UNSAFE.sub("_", host)[:40] or "unknown"
    more = f" {attempt + 1}" if attempt else ""
    number = record.rpartition(".")[2]
    return paths.join(parent, f"{stem} (conflict {where} {date} {record[11:17]}.{number}{more}){dot}{ending}")


def conflict_plain(path: str) -> str:
    """The name of a plain object whose path a record has. It comes after the path in the order of the merge."""
    return path + _PLAIN


def plain_of(path: str) -> str | None:
    """The path of which this is `conflict_plain`, or None."""
    base = path[: -len(_PLAIN)]
    return base if path.endswith(_PLAIN) and base and not base.endswith("/") else None
