"""Decoders of what the service says: pages of contents, files, folders, the account, tokens. No I/O.

A page is believed only where it proves itself: status and type, the root element, the start that was asked for, a clear
`hasMore`, as many entries as `start` and `end` make, every name fit to be one, and links that lead to this very
service, because credentials are sent there. Everything else is a ListingError.
"""

import calendar
import re
from typing import NamedTuple

from cftool.core.errors import ListingError, ProtocolError
from cftool.core.paths import component_problem
from cftool.http.types import Response
from cftool_providers.sugarsync import _xml

BASE = "https://api.sugarsync.com"
PAGE = 500  # entries; what the service gives by itself
MAX_BODY = 16 * 1024 * 1024
_REF = re.compile(re.escape(BASE) + r"/(file|folder)/:sc:([0-9]+):([0-9A-Za-z_-]{1,64})")
_USER_LINK = re.compile(re.escape(BASE) + r"/(?:user/)?([0-9]+)/folders/contents")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,15}")
_TOKEN = re.compile(re.escape(BASE) + r"/(?:app-)?authorization/[!-~]{1,4096}")


class Item(NamedTuple):
    """One entry of a folder. Of a folder only name and link are known. `present`: its content is on the server."""

    name: str
    ref: str
    is_dir: bool
    size: int = -1
    stored_ns: int | None = None
    present: bool = True

    @property
    def number(self) -> str:
        """The id without the account: `6552993_17252`."""
        return self.ref.rpartition(":")[2]


class Page(NamedTuple):
    """One page that proved itself sound."""

    items: list[Item]
    more: bool


class FileInfo(NamedTuple):
    """A file resource."""

    name: str
    parent: str
    size: int
    stored_ns: int
    present: bool
    public_link: str | None


class FolderInfo(NamedTuple):
    """A folder resource; the parent of a sync folder may be a workspace."""

    name: str
    parent: str | None


class Account(NamedTuple):
    """The user resource: links that hold for ever, and the storage in bytes."""

    user: str
    folders: str  # of the sync folders, without /contents
    deleted: str
    limit: int
    used: int


def page(response: Response, start: int, *, top: bool = False) -> Page:
    """Decode a 200 answer to a GET of contents; `top`: of the sync folders. Raises ListingError."""
    try:
        _check(response)
        root = _xml.parse(response.body, "collectionContents")
        items = [_item(node, top=top) for node in root.children]
        more = _flag(root, "hasMore")
        _check_count(root, start, len(items), more=more)
    except ListingError:
        raise
    except ProtocolError as error:
        raise ListingError(f"the listing cannot be trusted: {error.message}") from None
    refs = {item.ref for item in items}
    if len(refs) != len(items):
        raise ListingError("the listing names one entry twice")
    return Page(items, more)


def _check(response: Response) -> None:
    if response.status != 200:
        raise ListingError(f"a listing was answered with status {response.status}")
    kind = response.header("content-type")
    if kind is None or "xml" not in kind.lower():
        raise ListingError(f"a listing was answered with {(kind or 'no type')[:60]!r} in place of XML")
    if not response.body:
        raise ListingError("a listing was answered with an empty body")


def _check_count(root: _xml.Node, start: int, count: int, *, more: bool) -> None:
    said = _number(root.attributes.get("start"), "start")
    if said != start:
        raise ListingError(f"the listing begins at {said}; {start} was asked for")
    if more and not count:
        raise ListingError("the listing says that more follows, but has nothing")
    end = root.attributes.get("end", "")
    if not count and end in {"-1", str(start - 1), str(start)}:
        return
    if _number(end, "end") != start + count - 1:
        raise ListingError(f"the listing has {count} entries from {start} on and says that it ends at {end}")


def _item(node: _xml.Node, *, top: bool) -> Item:
    name = node.value("displayName")
    problem = component_problem(name)
    if problem is not None:
        raise ListingError(f"an entry of the listing has the name {name[:80]!r}, which {problem}")
    ref = node.value("ref")
    if node.name == "collection":
        if node.attributes.get("type") not in ({"syncFolder", "folder"} if top else {"folder"}):
            raise ListingError(f"the listing has a collection of the type {node.attributes.get('type', '')[:40]!r}")
        if node.value("contents") != f"{ref}/contents":
            raise ListingError("the contents of a folder in the listing are not its own")
        return Item(name, check_ref(ref, "folder"), is_dir=True)
    if node.name != "file" or top:
        raise ListingError(f"the listing has an element {node.name[:40]!r}")
    present = _truth(node.value("presentOnServer"))
    text = node.value("size").strip()
    size = -1 if text == "-1" and not present else _number(text, "size")
    return Item(name, check_ref(ref, "file"), False, size, time_ns(node.value("lastModified")), present)


def check_ref(ref: str, kind: str) -> str:
    """`ref` itself, where it is the link of a file or folder of this service; else ProtocolError."""
    found = _REF.fullmatch(ref)
    if found is None or found[1] != kind:
        raise ProtocolError(f"the service names {ref[:100]!r}, which is no {kind} of it")
    return ref


def _flag(node: _xml.Node, name: str) -> bool:
    return _truth(node.attributes.get(name, ""))


def _truth(text: str) -> bool:
    text = text.strip()
    if text not in {"true", "false"}:
        raise ProtocolError(f"the service says {text[:20]!r} where true or false is right")
    return text == "true"


def _number(text: str | None, name: str) -> int:
    text = (text or "").strip()
    if _NUMBER.fullmatch(text) is None:
        raise ProtocolError(f"the service says {text[:20]!r} for {name}")
    return int(text)


def time_ns(text: str) -> int:
    """Nanoseconds of a dateTime with an offset. Raises ProtocolError."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ProtocolError(f"the service says the time {text[:40]!r}")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    zone = found[8]
    offset = 0 if zone == "Z" else (int(zone[1:3]) * 60 + int(zone[4:6])) * (-60 if zone[0] == "-" else 60)
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour <= 23 and minute <= 59 and second <= 60):
        raise ProtocolError(f"the service says the time {text[:40]!r}")
    seconds = calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0)) - offset
    return seconds * 1_000_000_000 + int((found[7] or "0").ljust(9, "0"))


def file_info(response: Response) -> FileInfo:
    """Decode a file resource. Raises ProtocolError."""
    root = _resource(response, "file")
    present = _truth(root.value("presentOnServer"))
    text = root.value("size").strip()
    link = root.find("publicLink")
    public = None
    if link is not None and _flag(link, "enabled") and link.text.strip():
        public = link.text.strip()
    return FileInfo(
        root.value("displayName"),
        check_ref(root.value("parent"), "folder"),
        -1 if text == "-1" and not present else _number(text, "size"),
        time_ns(root.value("lastModified")),
        present,
        public,
    )


def folder_info(response: Response) -> FolderInfo:
    """Decode a folder resource. Raises ProtocolError."""
    root = _resource(response, "folder")
    return FolderInfo(root.value("displayName"), root.optional("parent"))


def account(response: Response) -> Account:
    """Decode the user resource. Raises ProtocolError."""
    root = _resource(response, "user")
    folders = root.value("syncfolders")
    user = _USER_LINK.fullmatch(folders)
    if user is None:
        raise ProtocolError(f"the service names {folders[:100]!r} as the place of the sync folders")
    quota = root.find("quota")
    if quota is None:
        raise ProtocolError("the service's answer lacks quota in user")
    return Account(
        user[1],
        folders.removesuffix("/contents"),
        check_ref(root.value("deleted"), "folder"),
        _number(quota.value("limit"), "limit"),
        _number(quota.value("usage"), "usage"),
    )


def authorization(response: Response) -> tuple[str, int]:
    """The access token and its end in nanoseconds. Raises ProtocolError."""
    root = _xml.parse(response.body, "authorization")
    return token(response, "authorization"), time_ns(root.value("expiration"))


def token(response: Response, kind: str) -> str:
    """The token in the Location of an answer: a link of this service. Raises ProtocolError."""
    place = response.header("location") or ""
    if _TOKEN.fullmatch(place) is None or not place.startswith(f"{BASE}/{kind}/"):
        raise ProtocolError("the service gave no token")
    return place


def location(response: Response, kind: str) -> str | None:
    """The link of what was just made, or None where the answer has none. Raises ProtocolError."""
    place = response.header("location")
    return None if not place else check_ref(place, kind)


def _resource(response: Response, root: str) -> _xml.Node:
    kind = response.header("content-type") or ""
    if "xml" not in kind.lower():
        raise ProtocolError(f"the service answered with {kind[:60]!r} in place of XML")
    return _xml.parse(response.body, root)
