"""The manifest of a pack: its records as values, and the JSON that carries them, decoded strictly.

Whatever does not fit exactly is a ProtocolError: half a manifest would be a listing that lacks files.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from cftool.core import hashing, paths
from cftool.core.errors import ProtocolError
from cftool.core.types import NO_HASHES, Entry, Kind, NameRules
from cftool.wrap.archiving import names

FORMAT = 1
RULES = NameRules(utf8=False)
_MAX = 1 << 63  # what SQLite holds
_T = TypeVar("_T")


class Record(NamedTuple):
    """One thing that was done to one path; never changed. See DESIGN.md."""

    id: str
    path: str
    is_dir: bool
    bases: tuple[str, ...] = ()
    size: int = 0
    modified_ns: int | None = None
    stored_ns: int = 0
    version: str = ""
    hashes: Mapping[str, str] = NO_HASHES
    container: str = ""  # the pack or object that holds the bytes; "": the pack that is being made
    at: int = 0
    over: str | None = None
    host: str = ""

    def entry(self, path: str) -> Entry:
        """As it is shown under that path."""
        if self.is_dir:
            return Entry(path, Kind.DIRECTORY)
        return Entry(
            path, Kind.FILE, self.size, self.modified_ns, self.stored_ns, self.version or None, None, self.hashes
        )

    @property
    def content(self) -> tuple[int, str]:
        """Equal where the content is."""
        return self.size, self.hashes.get("sha256") or self.version


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that a pack says."""

    made_ns: int
    host: str
    entries: tuple[Record, ...]
    dead: tuple[tuple[str, int], ...] = ()
    replaces: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()


def encode(manifest: Manifest, stem: str) -> bytes:
    """As it is stored in the pack of that stem."""
    entries = [_fields(record, f"{stem}.{place}", manifest.host) for place, record in enumerate(manifest.entries)]
    document: dict[str, object] = {"format": FORMAT, "made_ns": manifest.made_ns, "host": manifest.host}
    optional = {"replaces": manifest.replaces, "requires": manifest.requires, "dead": manifest.dead}
    document |= {name: value for name, value in optional.items() if value}
    head = json.dumps(document, ensure_ascii=True)
    # One entry a line, for people who look.
    lines = ",\n".join(json.dumps(entry, ensure_ascii=True, separators=(",", ":")) for entry in entries)
    return f'{head[:-1]}, "entries": [\n{lines}\n]}}\n'.encode("ascii")


def _fields(record: Record, own: str, host: str) -> dict[str, object]:
    fields: dict[str, object] = {} if record.id == own else {"id": record.id}
    fields["path"] = record.path
    fields["kind"] = "dir" if record.is_dir else "file"
    if record.bases:
        fields["bases"] = record.bases
    if record.host != host:
        fields["host"] = record.host
    fields["stored_ns"] = record.stored_ns
    if record.is_dir:
        return fields
    fields |= {
        "size": record.size,
        "modified_ns": record.modified_ns,
        "version": record.version,
        "hashes": dict(record.hashes),
    }
    if record.container:
        fields["in"] = record.container
    fields["at"] = record.at
    if record.over is not None:
        fields["over"] = record.over
    return fields


def decode(data: bytes, pack: names.PackName, content: int) -> Manifest:
    """What `encode` made; `content` is where the bytes of the pack's own members end."""
    try:
        document = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the manifest is no JSON: {error}") from None
    fields = _Fields(document, "the manifest")
    if fields.number("format") != FORMAT:
        raise ProtocolError("the manifest is of a format that this version does not know; update cftool")
    host = fields.text("host")
    manifest = Manifest(
        fields.number("made_ns"),
        host,
        _entries(fields.take("entries", list), pack, host, content),
        tuple(_dead(pair) for pair in fields.optional("dead", list, [])),
        _packs(fields.optional("replaces", list, [])),
        _packs(fields.optional("requires", list, [])),
    )
    fields.end()
    return manifest


def _entries(found: list[object], pack: names.PackName, host: str, content: int) -> tuple[Record, ...]:
    records = tuple(
        _record(_Fields(each, "an entry"), f"{pack.stem}.{place}", pack.name, host, content)
        for place, each in enumerate(found)
    )
    if len({record.id for record in records}) != len(records):
        raise ProtocolError("two entries of the manifest have one id")
    return records


def _record(fields: "_Fields", own: str, pack: str, host: str, content: int) -> Record:
    path = fields.text("path")
    if not path or names.reserved(path) or paths.problem(path, RULES) is not None:
        raise ProtocolError("an entry of the manifest has a path that no file can have")
    kind = fields.text("kind")
    if kind not in {"file", "dir"}:
        raise ProtocolError("an entry of the manifest is of a kind that this version does not know")
    record = Record(
        _id(fields.optional("id", str, own)),
        path,
        kind == "dir",
        tuple(_id(each) for each in fields.optional("bases", list, [])),
        stored_ns=fields.number("stored_ns"),
        host=fields.optional("host", str, host),
    )
    if kind == "file":
        record = _file(fields, record, pack, content)
    fields.end()
    return record


def _file(fields: "_Fields", record: Record, pack: str, content: int) -> Record:
    container = fields.optional("in", str, pack)
    size, at = fields.number("size"), fields.number("at")
    if not names.is_container(container) or (container == pack and size and at + size > content):
        raise ProtocolError("an entry of the manifest names bytes that cannot be there")
    modified = fields.take("modified_ns", int, None)
    hashes: dict[str, str] = fields.take("hashes", dict)
    for name, value in hashes.items():
        if not isinstance(value, str) or len(value) != hashing.digits(name) or not _is_hex(value):
            raise ProtocolError("an entry of the manifest has a hash that is none")
    over = fields.optional("over", str, None)
    return record._replace(
        size=size,
        modified_ns=modified,
        version=fields.text("version"),
        hashes=hashes,
        container=container,
        at=at,
        over=over,
    )


def _is_hex(text: str) -> bool:
    return all(char in "0123456789abcdef" for char in text)


def _id(text: object) -> str:
    if not isinstance(text, str) or not names.is_id(text):
        raise ProtocolError("the manifest has an id that is none")
    return text


def _dead(pair: object) -> tuple[str, int]:
    match pair:
        case [text, int(when)] if not isinstance(when, bool) and 0 <= when < _MAX:
            return _id(text), when
    raise ProtocolError("the manifest has an end of a record that is none")


def _packs(found: Iterable[object]) -> tuple[str, ...]:
    packs = tuple(found)
    for name in packs:
        if not isinstance(name, str) or names.parse_pack(name) is None:
            raise ProtocolError("the manifest names a pack that is none")
    return packs  # type: ignore[return-value]  # each was looked at


class _Fields:
    """A JSON object that must have exactly the fields that are taken from it."""

    def __init__(self, found: object, what: str) -> None:
        if not isinstance(found, dict):
            raise ProtocolError(f"{what} is no object")
        self._left: dict[str, Any] = dict(found)
        self._what = what

    def take(self, name: str, kind: type[_T], *also: object) -> _T:
        """A field of that type, or one of the values in `also`."""
        if name not in self._left:
            raise ProtocolError(f"{self._what} has no {name}")
        value = self._left.pop(name)
        if any(value is each for each in also):
            return value  # type: ignore[no-any-return]  # the caller named it
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ProtocolError(f"{self._what} has a {name} of another type")
        if isinstance(value, int) and not -_MAX < value < _MAX:
            raise ProtocolError(f"{self._what} has a {name} that is out of range")
        return value

    def optional(self, name: str, kind: type[_T], default: Any) -> Any:
        """As `take`, or `default` where it is absent."""
        return self.take(name, kind) if name in self._left else default

    def number(self, name: str) -> int:
        """Not negative."""
        value = self.take(name, int)
        if value < 0:
            raise ProtocolError(f"{self._what} has a negative {name}")
        return value

    def text(self, name: str) -> str:
        """A string."""
        return self.take(name, str)

    def end(self) -> None:
        """Nothing else may be there."""
        if self._left:
            raise ProtocolError(f"{self._what} has fields that this version does not know")


def placed(manifest: Manifest, pack: str) -> Manifest:
    """As the pack of that name says it: its own members are in it."""
    return replace(
        manifest,
        entries=tuple(
            record if record.container or record.is_dir else record._replace(container=pack)
            for record in manifest.entries
        ),
    )
