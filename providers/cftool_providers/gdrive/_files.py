"""File resources of the API as `Item`s, and items as entries: decoding, kinds, and the names under which they show.

https://developers.google.com/workspace/drive/api/reference/rest/v3/files. Strict: what lacks an id, a name or a type is
no file, and a page that holds one is no listing. No I/O here.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from cftool.core.errors import ListingError, ProtocolError
from cftool.core.types import NO_HASHES, Entry, Kind
from cftool_providers.gdrive._formats import FOLDER, PREFIX, SHORTCUT, export_of

FIELDS = (
    "id,name,mimeType,parents,trashed,size,md5Checksum,sha1Checksum,sha256Checksum,modifiedTime,createdTime,"
    "headRevisionId,shortcutDetails(targetId,targetMimeType,targetResourceKey)"
)
HASHES = frozenset({"md5", "sha1", "sha256"})
MILLISECOND = 1_000_000
# Full-width twins, and the picture of NUL, for what no path can hold.
_SLASH, _DOT, _NUL = "\uff0f", "\uff0e", "\u2400"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DIGESTS = (("md5", "md5Checksum", 32), ("sha1", "sha1Checksum", 40), ("sha256", "sha256Checksum", 64))
_HEX = re.compile(r"[0-9a-f]+")
_ID = re.compile(r"[A-Za-z0-9_-]+")
_TAGGED = re.compile(r"(?s)(.*) ~([0-9a-f]{8}|[0-9a-f]{16})(\.[^.]*)?")


class Item(NamedTuple):
    """One file resource. `target` is what a shortcut to a file points to, where that is there."""

    id: str
    name: str
    mime: str
    parents: tuple[str, ...]
    trashed: bool
    size: int | None
    modified_ns: int | None
    created: str
    head: str | None
    hashes: Mapping[str, str]
    points_to: tuple[str, str, str] | None = None  # id, type and resource key that a shortcut names
    target: "Item | None" = None

    @property
    def is_folder(self) -> bool:
        """Whether things can be in it."""
        return self.mime == FOLDER

    @property
    def is_shortcut(self) -> bool:
        """Whether it only points to something."""
        return self.mime == SHORTCUT

    @property
    def content(self) -> "Item":
        """What holds the bytes: the target of a shortcut, else itself."""
        return self.target or self

    @property
    def is_document(self) -> bool:
        """Whether what it holds has no bytes of its own."""
        mime = self.content.mime
        return mime.startswith(PREFIX) and mime not in {FOLDER, SHORTCUT}


def parse(body: bytes, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A JSON object. Raises ProtocolError for anything else that comes with a success status."""
    if headers is not None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ProtocolError(f"the service answered with {kind or 'no content type'}, not with JSON")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise ProtocolError("the service's answer is no JSON") from None
    if not isinstance(found, dict):
        raise ProtocolError("the service's answer is no JSON object")
    if "error" in found:
        raise ProtocolError("the service answered with success and an error")
    return found


def item(found: object) -> Item:
    """One file resource. Raises ProtocolError."""
    if not isinstance(found, dict):
        raise ProtocolError("a file resource is no object")
    handle, name, mime = found.get("id"), found.get("name"), found.get("mimeType")
    if not isinstance(handle, str) or _ID.fullmatch(handle) is None:
        raise ProtocolError("a file resource has no id")
    if not isinstance(name, str) or not isinstance(mime, str) or not mime:
        raise ProtocolError("a file resource has no name or no type")
    if not name.isascii():
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:  # half a character, which JSON can say and no path can hold
            raise ProtocolError(f"the name {name[:80]!r} is no Unicode text") from None
    parents = found.get("parents", [])
    if not isinstance(parents, list) or not all(isinstance(each, str) for each in parents):
        raise ProtocolError("the parents of a file are no list")
    head = found.get("headRevisionId")
    created = found.get("createdTime")
    if created is not None:
        _time(created)
    return Item(
        handle,
        name,
        mime,
        tuple(parents),
        found.get("trashed") is True,
        _size(found.get("size")) if not mime.startswith(PREFIX) else None,
        _time(found.get("modifiedTime")),
        str(created or ""),
        head if isinstance(head, str) and head else None,
        _hashes(found),
        _points_to(found) if mime == SHORTCUT else None,
    )


def _size(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    raise ProtocolError("the size of a file is no number")


def _time(value: object) -> int | None:
    """RFC 3339 to nanoseconds."""
    if value is None:
        return None
    try:
        when = datetime.fromisoformat(value)  # type: ignore[arg-type] # what is no text raises TypeError
        return ((when - _EPOCH) // _MICROSECOND) * 1000
    except (ValueError, TypeError, OverflowError):
        raise ProtocolError("the time of a file is no time") from None


def item_created_ns(one: Item) -> int | None:
    """When it was created; clients may say what they like when they create a file."""
    return _time(one.created) if one.created else None


def time_text(ns: int) -> str:
    """Nanoseconds as the API takes them: milliseconds, UTC, rounded down."""
    when = _EPOCH + timedelta(microseconds=ns // MILLISECOND * 1000)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03}Z"


def _hashes(found: Mapping[str, Any]) -> Mapping[str, str]:
    hashes: dict[str, str] = {}
    for name, field, digits in _DIGESTS:
        value = found.get(field)
        if value is None:
            continue
        text = value.lower() if isinstance(value, str) else ""
        if len(text) != digits or _HEX.fullmatch(text) is None:
            raise ProtocolError(f"the {name} of a file is none")
        hashes[name] = text
    return hashes or NO_HASHES


def _points_to(found: Mapping[str, Any]) -> tuple[str, str, str] | None:
    details = found.get("shortcutDetails")
    if not isinstance(details, dict) or not isinstance(details.get("targetId"), str):
        return None
    return details["targetId"], str(details.get("targetMimeType") or ""), str(details.get("targetResourceKey") or "")


class Page(NamedTuple):
    """One page of files.list."""

    items: list[Item]
    following: str | None


def page(found: Mapping[str, Any], parents: Iterable[str], seen: set[str]) -> Page:
    """A page of a query over `parents`; `seen` are the tokens so far. Raises ListingError where it may be wrong.

    The alias `root` among the parents stands for an id that is not known yet.
    """
    files = found.get("files")
    if not isinstance(files, list):
        raise ListingError("a page of a listing has no files", op="scan")
    if found.get("incompleteSearch", False) is not False:
        raise ListingError("the service says that it did not search everything (incompleteSearch)", op="scan")
    token = found.get("nextPageToken")
    if token is not None:
        if not isinstance(token, str) or not token:
            raise ListingError("a page of a listing has a token that is none", op="scan")
        if token in seen:
            raise ListingError("a listing goes in circles: a page token came twice", op="scan")
        seen.add(token)
    asked = frozenset(parents)
    items: list[Item] = []
    for each in files:
        try:
            one = item(each)
        except ProtocolError as error:
            raise ListingError(f"a listing cannot be believed: {error.message}", op="scan") from None
        if one.trashed:
            raise ListingError("a listing of what is not in the trash names something that is", op="scan")
        if "root" not in asked and asked.isdisjoint(one.parents):
            raise ListingError("a listing names something of another folder", op="scan")
        items.append(one)
    return Page(items, token)


# ---- names


def base_name(one: Item, exports: Sequence[str]) -> str:
    """The name under which it shows where nothing else has that name."""
    name = one.name
    if "/" in name or "\0" in name or name in {"", ".", ".."}:
        name = _shown(name)
    if one.is_document and (form := export_of(one.content.mime, exports)) is not None:
        return f"{name}.{form[0]}"
    return name


def _shown(name: str) -> str:
    if name in {".", ".."}:
        return name.replace(".", _DOT)
    return name.replace("/", _SLASH).replace("\0", _NUL) or _NUL


def tagged(name: str, handle: str, *, folder: bool, digits: int = 8) -> str:
    """The name of a later one of several that have the same."""
    tag = hashlib.sha256(handle.encode()).hexdigest()[:digits]
    stem, dot, extension = name.rpartition(".")
    if folder or not stem or not dot:
        return f"{name} ~{tag}"
    return f"{stem} ~{tag}.{extension}"


def untagged(name: str) -> str | None:
    """The name without the mark of a duplicate; None where it has none."""
    match = _TAGGED.fullmatch(name)
    return None if match is None or not match[1] else match[1] + (match[3] or "")


def _age(one: Item) -> tuple[str, str]:
    return one.created, one.id


def named(items: Iterable[Item], exports: Sequence[str]) -> dict[str, Item]:
    """All children of one folder by the name under which they show; none is lost, none merged."""
    by_name: dict[str, Item] = {}
    groups: dict[str, list[Item]] = {}
    for one in items:
        base = base_name(one, exports)
        first = by_name.setdefault(base, one)
        if first is not one:
            groups.setdefault(base, [first]).append(one)
    for base, group in groups.items():
        group.sort(key=_age)
        by_name[base] = group[0]
    for base, group in groups.items():
        for one in group[1:]:
            name = tagged(base, one.id, folder=one.is_folder)
            if name in by_name:
                name = tagged(base, one.id, folder=one.is_folder, digits=16)
            if by_name.setdefault(name, one) is not one:
                raise ListingError("two files cannot be told apart by their names", op="scan")
    return by_name


def pick(items: Iterable[Item], name: str, exports: Sequence[str]) -> Item | None:
    """Of the children that `candidates(name)` asks for, the one that shows as `name`."""
    items = list(items)
    plain = [one for one in items if base_name(one, exports) == name]
    if plain:
        return min(plain, key=_age)
    base = untagged(name)
    if base is None:
        return None
    for one in items:
        if base_name(one, exports) == base and name in {
            tagged(base, one.id, folder=one.is_folder, digits=digits) for digits in (8, 16)
        }:
            return one
    return None


def candidates(name: str, exports: Sequence[str]) -> list[str]:
    """The names that a file may really have which shows as `name`."""
    found: dict[str, None] = {}
    for shown in (name, untagged(name)):
        if shown is None:
            continue
        stem, dot, extension = shown.rpartition(".")
        for each in (shown, stem if dot and extension in exports else None):
            if not each:
                continue
            found[each] = None
            if _SLASH in each or _NUL in each:
                found[each.replace(_SLASH, "/")] = None
                found[each.replace(_NUL, "\0")] = None
                found[each.replace(_SLASH, "/").replace(_NUL, "\0")] = None
            if each in {_DOT, 2 * _DOT}:
                found[each.replace(_DOT, ".")] = None
            if each == _NUL:
                found[""] = None
    return list(found)


# ---- entries


def kind_of(one: Item, exports: Sequence[str]) -> Kind:
    """What it is to a store: see the package for documents and shortcuts."""
    if one.is_folder:
        return Kind.DIRECTORY
    if one.is_shortcut and one.target is None:
        return Kind.LINK
    if one.is_document and export_of(one.content.mime, exports) is None:
        return Kind.OTHER
    return Kind.FILE


def version_of(one: Item) -> str | None:
    """What changes with the content: the revision, of a document its time."""
    real = one.content
    if real.head is not None:
        return real.head
    if one.is_document:
        return f"doc-{real.modified_ns}"
    return real.hashes.get("md5")


def entry(one: Item, path: str, exports: Sequence[str]) -> Entry:
    """The entry of an item under its path."""
    kind = kind_of(one, exports)
    if kind is Kind.DIRECTORY:
        return Entry(path, kind, None, None, None, None, one.id)
    if kind is Kind.LINK:
        return Entry(path, kind, None, one.modified_ns, None, None, one.id)
    real = one.content
    return Entry(path, kind, real.size, real.modified_ns, None, version_of(one), one.id, real.hashes)
