"""The ordered merge of two listings and the state rows: one step for each path that any of them knows.

All three streams must rise strictly in the order of `key_of`; `scan` proves it for the listings. Where a side folds
case or a Unicode form, the key is that of the folded path, and names that fold to one key come as `Twins`. Memory
does not grow with the streams. Called by `plan` and `verify`.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from cftool.core.dataclass import dataclass
from cftool.core.types import Entry, Features, Kind
from cftool.transfer.spool import Keyed

_DIRECTORY = Kind.DIRECTORY

KeyOf = Callable[[str, Kind], bytes]
Row = TypeVar("Row")
_END: tuple[None, None] = (None, None)


@dataclass(frozen=True, slots=True)
class Twins:
    """Several names of one side that the other side cannot tell apart."""

    entries: tuple[Entry, ...]


Step = tuple[bytes, Entry | Twins | None, Entry | Twins | None, Row | None]


def exact_key(path: str, kind: Kind) -> bytes:
    """`paths.sort_key`, for both sides telling every name from every other."""
    if kind is _DIRECTORY:
        return path.encode("utf-8", "surrogateescape") + b"/"
    # A key "a/" that is a file (object stores have them) comes right after the directory "a" and is not it.
    if path.endswith("/"):
        return path.encode("utf-8", "surrogateescape") + b"\0"
    return path.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Folding:
    """How names are compared, given what both sides can tell apart."""

    case: bool
    form: str | None

    @classmethod
    def of(cls, a: Features, b: Features) -> "Folding":
        """The coarser of both sides."""
        return cls(
            not (a.names.case_sensitive and b.names.case_sensitive), a.names.unicode_form or b.names.unicode_form
        )

    def __bool__(self) -> bool:
        return self.case or self.form is not None

    def key(self, path: str, kind: Kind) -> bytes:
        """The key under which names that either side takes for one meet."""
        folded = path
        if self.case:
            folded = folded.casefold()
        if self.form is not None:
            folded = unicodedata.normalize(self.form, folded)  # type: ignore[arg-type]  # NameRules names a form
        return exact_key(folded, kind)

    def key_of(self) -> KeyOf:
        """The cheapest function that does it."""
        return self.key if self else exact_key


def collapse(
    stream: Iterable[Keyed], out: Callable[[Entry], bool] = lambda _: False
) -> Iterator[tuple[bytes, Entry | Twins]]:
    """Neighbours of one key become one element; only for folding merges. What is `out` is nobody's twin."""
    last: bytes | None = None
    entries: list[Entry] = []
    for key, entry in stream:
        if key == last:
            entries.append(entry)
            continue
        if last is not None:
            yield last, entries[0] if len(entries) == 1 else _together(entries, out)
        last, entries = key, [entry]
    if last is not None:
        yield last, entries[0] if len(entries) == 1 else _together(entries, out)


def _together(entries: list[Entry], out: Callable[[Entry], bool]) -> Entry | Twins:
    taking_part = [entry for entry in entries if not out(entry)] or entries[:1]
    return taking_part[0] if len(taking_part) == 1 else Twins(tuple(taking_part))


def merge(
    a: Iterable[tuple[bytes, Entry | Twins]],
    b: Iterable[tuple[bytes, Entry | Twins]],
    rows: Iterable[tuple[bytes, Row]],
) -> Iterator[Step[Row]]:
    """Each key once, with what each stream has under it."""
    a, b, rows = iter(a), iter(b), iter(rows)
    key_a, in_a = next(a, _END)
    key_b, in_b = next(b, _END)
    key_row, row = next(rows, _END)
    while True:
        key = key_a
        if key is None or (key_b is not None and key_b < key):
            key = key_b
        if key is None or (key_row is not None and key_row < key):
            key = key_row
        if key is None:
            return
        out_a = out_b = out_row = None
        if key == key_a:
            out_a = in_a
        if key == key_b:
            out_b = in_b
        if key == key_row:
            out_row = row
        yield key, out_a, out_b, out_row
        # The streams advance only after the step was dealt with: what a listing reports beside its entries (a directory
        # that it could not read) is known before any later key is decided.
        if key == key_a:
            key_a, in_a = next(a, _END)
        if key == key_b:
            key_b, in_b = next(b, _END)
        if key == key_row:
            key_row, row = next(rows, _END)
