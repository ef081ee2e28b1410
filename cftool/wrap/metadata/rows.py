"""Entries and paths as rows of the cache, and back. Pure; strict: a row that is not one raises Damaged.

Paths are blobs, so that any text that a path can be goes in and comes out: bytes that are not UTF-8, half characters.
Their order is that of bytes, which is what "all below a directory" is a range of.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any

from cftool.core import paths
from cftool.core.types import NO_HASHES, Entry, Features, Kind, NameRules

COLUMNS = "kind, size, modified, stored, version, id, hashes"
NOTHING: tuple[Any, ...] = (0, None, None, None, None, None, None)  # known: nothing is there
_KINDS = (None, Kind.FILE, Kind.DIRECTORY, Kind.LINK, Kind.OTHER)
_CODES = {kind: code for code, kind in enumerate(_KINDS)}
_LARGEST = 1 << 63


class Unkeepable(ValueError):
    """This entry does not fit into a row; it is not kept."""


class Damaged(ValueError):
    """This row does not come from here."""


def blob(path: str) -> bytes:
    """A path, or a name, for a column."""
    return path.encode("utf-8", "surrogatepass")


def text(value: object) -> str:
    """And back."""
    if not isinstance(value, bytes):
        raise Damaged("a path is no blob")
    try:
        return value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise Damaged("a path is no text") from None


class Keys:
    """The key under which all spellings of a path meet that the service may take for one; else the path itself.

    It may join more than the service does: then more is forgotten than needed. It answers nothing by itself.
    """

    def __init__(self, rules: NameRules) -> None:
        self._case = not rules.case_sensitive
        self._form = rules.unicode_form
        self.folds = self._case or self._form is not None

    def of(self, path: str) -> bytes:
        """The key of a path or of a name."""
        if not self.folds:
            return blob(path)
        form: Any = self._form or "NFC"
        folded = unicodedata.normalize(form, path)
        if self._case:
            folded = unicodedata.normalize(form, folded.casefold())
        return blob(folded)


def within(key: bytes, directory: bytes) -> bool:
    """Whether a key is that of `directory`, or of something below it."""
    return not directory or key == directory or key.startswith(directory + b"/")


def order(entry: Entry) -> bytes:
    """The order of the merge; names that no file can have somewhere in it."""
    try:
        return paths.entry_key(entry)
    except UnicodeEncodeError:
        return blob(entry.path)


def encode(entry: Entry | None) -> tuple[Any, ...]:
    """The columns of an entry. Raises Unkeepable."""
    if entry is None:
        return NOTHING
    _path, kind, size, modified, stored, version, handle, hashes = entry
    for number in (size, modified, stored):
        if number is not None and not -_LARGEST <= number < _LARGEST:
            raise Unkeepable("a number is too large")
    for word in (version, handle):
        if word is not None and not word.isascii():
            _encodable(word)
    return _CODES[kind], size, modified, stored, version, handle, _encode_hashes(hashes) if hashes else None


def _encodable(word: str) -> None:
    try:
        word.encode()
    except UnicodeEncodeError:
        raise Unkeepable("a version or id is no text") from None


def _encode_hashes(hashes: Mapping[str, str]) -> str:
    found = " ".join(f"{name}:{value}" for name, value in hashes.items())
    if found.count(":") != len(hashes) or len(found.split()) != len(hashes) or not found.isascii():
        raise Unkeepable("a hash is none")
    return found


def code(entry: Entry) -> int:
    """The column `kind` of an entry."""
    return _CODES[entry.kind]


def decode(path: str, row: tuple[Any, ...]) -> Entry | None:
    """The entry of `path` that the columns are; None: nothing is there. Raises Damaged."""
    kind, size, modified, stored, version, handle, hashes = row
    if type(kind) is not int or not 0 <= kind < len(_KINDS):
        raise Damaged("no kind")
    for number in (size, modified, stored):
        if number is not None and type(number) is not int:
            raise Damaged("a number is none")
    for word in (version, handle, hashes):
        if word is not None and type(word) is not str:
            raise Damaged("a word is none")
    found = _KINDS[kind]
    if found is None:
        if row != NOTHING:
            raise Damaged("nothing, with something")
        return None
    if size is not None and size < 0:
        raise Damaged("a negative size")
    return Entry(
        path, found, size, modified, stored, version, handle, NO_HASHES if hashes is None else _decode_hashes(hashes)
    )


def _decode_hashes(words: str) -> Mapping[str, str]:
    found = {}
    for word in words.split(" "):
        name, colon, value = word.partition(":")
        if not name or not colon or not value or ":" in value or name in found:
            raise Damaged("a hash is none")
        found[name] = value
    return found


def is_whole(entry: Entry, features: Features, *, stored: bool) -> bool:
    """Whether an entry of a listing tells all that a stat would. `stored`: whether the service tells that time."""
    if entry.is_dir:
        return True
    return (
        entry.size is not None
        and entry.version is not None
        and (features.time_precision_ns is None or (features.listed_time and entry.modified_ns is not None))
        and (not features.hashes or bool(entry.hashes))
        and (not stored or entry.stored_ns is not None)
    )


def agree(known: Entry, listed: Entry) -> bool:
    """Whether what a stat said can still be so by a later listing, which may know less."""
    return (known.kind, known.size, known.version) == (listed.kind, listed.size, listed.version)
