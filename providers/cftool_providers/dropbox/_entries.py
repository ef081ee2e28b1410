"""Metadata of the service as entries, and pages of listings. Everything here is foreign data: decoded strictly.

A page that may be wrong is a ListingError, never a shorter listing. https://www.dropbox.com/developers/documentation/http/documentation#files-list_folder
"""

import calendar
import re
import time
from collections.abc import Mapping
from typing import Any

from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import ListingError, ProtocolError
from cftool.core.types import NO_HASHES, Entry, Kind

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")
_REV = re.compile(r"[0-9a-f]{9,64}")
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a page. `lower`: the whole path as the service compares it; `deleted`: it was there, and is not."""

    name: str
    lower: str
    entry: Entry  # its path is the name alone
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of list_folder."""

    items: list[Item]
    cursor: str
    more: bool


def page(found: Mapping[str, Any], path: str) -> Page:
    """Decode an answer. Raises ListingError."""
    entries, cursor, more = found.get("entries"), found.get("cursor"), found.get("has_more")
    if not isinstance(entries, list) or not isinstance(more, bool) or not isinstance(cursor, str) or not cursor:
        raise ListingError("the listing lacks its entries, its cursor, or whether more follows", path=path)
    try:
        return Page([_item(each) for each in entries], cursor, more)
    except ProtocolError as error:
        raise ListingError(f"the listing holds {error.message}", path=path) from None


def _item(found: object) -> Item:
    if not isinstance(found, Mapping):
        raise ProtocolError("an entry that is none")
    tag, name, lower = found.get(".tag"), found.get("name"), found.get("path_lower")
    if not isinstance(name, str):
        raise ProtocolError("an entry without a name")
    reason = paths.component_problem(name)
    if reason is None:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            reason = "is no Unicode text"
    if reason is not None:
        raise ProtocolError(f"the name {paths.printable(name)!r}, which {reason}")
    if not isinstance(lower, str) or not lower.startswith("/") or lower.endswith("/") or "//" in lower:
        raise ProtocolError(f"no path of {paths.printable(name)!r}")
    last = lower.rpartition("/")[2]
    if name.isascii() and name.lower() != last:
        raise ProtocolError(f"the name {paths.printable(name)!r} under the path {paths.printable(lower)!r}")
    if tag == "deleted":
        return Item(name, lower, Entry(name, Kind.FILE), deleted=True)
    return Item(name, lower, entry(found, name))


def entry(found: Mapping[str, Any], path: str) -> Entry:
    """The entry of a FileMetadata or FolderMetadata. Raises ProtocolError."""
    tag = found.get(".tag")
    if tag == "folder":
        return Entry(path, Kind.DIRECTORY, id=_text(found, "id"))
    if tag != "file":
        raise ProtocolError(f"an entry of the kind {paths.printable(str(tag))!r}")
    return file(found, path)


def file(found: Mapping[str, Any], path: str) -> Entry:
    """The entry of a FileMetadata, whose tag may be missing where nothing else can come."""
    if found.get(".tag", "file") != "file":
        raise ProtocolError("something else than a file")
    size = found.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ProtocolError("a file without a size")
    rev = _text(found, "rev")
    if not _REV.fullmatch(rev):
        raise ProtocolError("a file without a revision")
    digest = found.get("content_hash")
    if digest is not None and not (isinstance(digest, str) and _HASH.fullmatch(digest)):
        raise ProtocolError("a file with a content hash that is none")
    kind = Kind.FILE
    if "symlink_info" in found:
        kind = Kind.LINK
    elif found.get("is_downloadable", True) is not True:
        kind = Kind.OTHER
    return Entry(
        path,
        kind,
        size if kind is Kind.FILE else None,
        _time(found, "client_modified"),
        _time(found, "server_modified"),
        rev,
        _text(found, "id"),
        NO_HASHES if digest is None else {"dropbox": digest},
    )


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not value:
        raise ProtocolError(f"an entry without {name}")
    return value


def _time(found: Mapping[str, Any], name: str) -> int:
    match = _TIME.fullmatch(_text(found, name))
    if match is None:
        raise ProtocolError(f"a time that is none in {name}")
    year, month, day, hour, minute, second = map(int, match.groups())
    if not (year and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        raise ProtocolError(f"a time that is none in {name}")
    return calendar.timegm((year, month, day, hour, minute, second)) * _SECOND


def timestamp(modified_ns: int | None) -> str | None:
    """A time as the service takes it, cut to the second; None where it cannot be said in its four digits."""
    if modified_ns is None:
        return None
    try:
        found = time.gmtime(modified_ns // _SECOND)
    except (OverflowError, OSError, ValueError):
        return None
    if not 1 <= found.tm_year <= 9999:
        return None
    return "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*found[:6])


def name_problem(path: str) -> str | None:
    """Why the service would not save a file of this name, as far as it says so beforehand; else None."""
    for name in path.split("/"):
        if len(name.encode("utf-16-le", "surrogatepass")) > 2 * 255:
            return "has a component of more than 255 characters"
    if path.rpartition("/")[2].lower() in _NEVER_SAVED:
        return "is one of those that Dropbox never saves"
    return None


# https://help.dropbox.com/sync/files-not-syncing
_NEVER_SAVED = frozenset({"desktop.ini", "thumbs.db", ".ds_store", "icon\r", ".dropbox", ".dropbox.attr"})
