"""Multistatus answers (RFC 4918 section 13): one strict decoder, fed as the bytes arrive.

expat with document types and entities forbidden, which is all that defusedxml adds to the parsers that it wraps: those
make a tree of the whole answer first, in a fifth more CPU time, where a million entries must not fill the memory.
Nothing is guessed: what is no `DAV: multistatus`, is cut, nests oddly, or reports an error for an entry raises
ListingError. It knows neither paths nor entries; `_names` and `_api` make those of it. Used for every 207 there is.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, NoReturn
from xml.parsers import expat

from cftool.core.errors import ListingError

DAV = "DAV: "
OWNCLOUD = "http://owncloud.org/ns "
RESOURCETYPE = DAV + "resourcetype"
LENGTH = DAV + "getcontentlength"
MODIFIED = DAV + "getlastmodified"
ETAG = DAV + "getetag"
CONTENT_TYPE = DAV + "getcontenttype"
QUOTA_FREE = DAV + "quota-available-bytes"
QUOTA_USED = DAV + "quota-used-bytes"
CHECKSUMS = OWNCLOUD + "checksums"

_COLLECTION = DAV + "collection"
_PROP, _STATUS = DAV + "prop", DAV + "status"
_INNER_PARTS = frozenset({"in propstat", "prop", "status"})
_CHECKSUM = OWNCLOUD + "checksum"
# depth of the elements: multistatus 1, response 2, href/propstat/status 3, prop/status 4, a property 5, what is in it 6
_RESPONSE, _PART, _INNER, _PROPERTY, _VALUE = 2, 3, 4, 5, 6
_DEEPEST = 64
_XML_TYPES = frozenset({"application/xml", "text/xml"})
_PARTS = {DAV + "href": "in href", DAV + "status": "in status", DAV + "propstat": "in propstat"}
_OWN_CHARACTERS = frozenset({"utf-8", "us-ascii", "iso-8859-1"})


class Row(NamedTuple):
    """One response. `found`: texts of the properties with status 200; `failed`: statuses of the others.

    `status` is that of the response as a whole, None where it has properties. `collection`: whether the resource type
    says so; None where it was not told.
    """

    href: str
    status: int | None
    collection: bool | None
    found: Mapping[str, str]
    failed: Mapping[str, int]


def check_answer(status: int, headers: Mapping[str, str], host: str) -> None:
    """Raise ListingError where an answer that should be a multistatus is none by its status and content type."""
    if status != 207:
        raise ListingError(f"{host} answered a listing with status {status}; only 207 is a listing")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _XML_TYPES and not kind.endswith("+xml"):
        raise ListingError(f"{host} answered a listing with {kind[:60] or 'no content type'!r}, not with XML")


class Decoder:
    """Feed it pieces; each `feed` gives the rows that are complete, `close` proves that the answer is whole.

    `bare_names`: elements without a namespace count as DAV's (4shared).
    """

    def __init__(self, *, bare_names: bool = False) -> None:
        self._bare = bare_names
        self._depth = 0
        self._rows: list[Row] = []
        self._ended = False
        # of the response that is open
        self._href: str | None = None
        self._status: int | None = None
        self._collection: bool | None = None
        self._found: dict[str, str] = {}
        self._failed: dict[str, int] = {}
        self._parts = 0
        # of the propstat that is open
        self._in_part = ""
        self._props: dict[str, str] = {}
        self._is_collection = False
        self._part_status: int | None = None
        self._property = ""
        self._text: list[str] = []
        self._taking = False
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = _forbidden
        parser.EntityDeclHandler = _forbidden
        parser.UnparsedEntityDeclHandler = _forbidden
        parser.ExternalEntityRefHandler = _forbidden

    def feed(self, data: bytes) -> list[Row]:
        """The next bytes, and the rows that they completed. Raises ListingError."""
        self._parse(data, last=False)
        rows, self._rows = self._rows, []
        return rows

    def close(self) -> list[Row]:
        """The end of the answer. Raises ListingError where it came too early."""
        self._parse(b"", last=True)
        rows, self._rows = self._rows, []
        return rows

    def _parse(self, data: bytes, *, last: bool) -> None:
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            if not self._depth and not self._ended:
                raise ListingError(f"the listing is no XML ({error})") from None
            raise ListingError(f"the listing is cut or damaged ({error})") from None
        except ValueError as error:  # an encoding that Python has not
            raise ListingError(f"the listing is no readable XML ({error})") from None

    # ---- expat's handlers

    @staticmethod
    def _declaration(_version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _OWN_CHARACTERS:
            raise ListingError(f"the listing is encoded as {encoding[:40]!r}")

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        depth = self._depth = self._depth + 1
        if self._bare and " " not in name:
            name = DAV + name
        if depth == _PROPERTY:
            if self._in_part == "prop":
                if name in self._props:
                    raise ListingError(f"the listing gives {_local(name)} twice for one entry")
                self._property = name
                self._props[name] = ""
                self._text = []
                self._taking = True
        elif depth == _VALUE:
            if self._property == RESOURCETYPE:
                if name == _COLLECTION:
                    self._is_collection = True
            elif name != _CHECKSUM:
                self._taking = False
        elif depth == _INNER:
            self._start_inner(name)
        elif depth == _PART:
            self._start_part(name)
        elif depth == _RESPONSE:
            self._start_response(name)
        elif depth == 1:
            if name != DAV + "multistatus":
                raise ListingError(f"the listing is {name[:100]!r}, not a multistatus")
        elif depth > _DEEPEST:
            raise ListingError("the listing is nested too deep")

    def _start_response(self, name: str) -> None:
        self._in_part = ""
        if name == DAV + "response":
            self._href = self._status = self._collection = None
            self._found, self._failed, self._parts = {}, {}, 0
            self._in_part = "response"
        elif name not in {DAV + "responsedescription", DAV + "sync-token"}:
            raise ListingError(f"the listing has an element {_local(name)} where only responses are right")

    def _start_part(self, name: str) -> None:
        if self._in_part != "response" and not self._in_part.startswith("in "):
            return
        part = self._in_part = _PARTS.get(name, "in other")
        self._text = []
        if part == "in propstat":
            self._taking = False
            self._props, self._is_collection, self._part_status = {}, False, None
            self._parts += 1
        else:
            self._taking = part != "in other"

    def _start_inner(self, name: str) -> None:
        self._text = []
        self._taking = False
        if self._in_part in _INNER_PARTS:
            self._in_part = "in propstat"
            if name == _PROP:
                self._in_part = "prop"
            elif name == _STATUS:
                self._in_part = "status"
                self._taking = True

    def _data(self, text: str) -> None:
        if self._taking:
            self._text.append(text)

    def _end(self, _name: str) -> None:
        depth = self._depth
        self._depth = depth - 1
        if depth == _PROPERTY:
            if self._property:
                self._props[self._property] = "".join(self._text)
                self._property = ""
                self._taking = False
        elif depth == _VALUE:
            if self._property:
                self._taking = True
        elif depth == _INNER:
            part = self._in_part
            if part == "status":
                self._part_status = _status("".join(self._text))
                self._in_part = "in propstat"
            elif part == "prop":
                self._in_part = "in propstat"
            self._taking = False
        elif depth == _PART:
            self._end_part()
        elif depth == _RESPONSE:
            if self._in_part:
                self._end_response()
        elif depth == 1:
            self._ended = True

    def _end_part(self) -> None:
        part = self._in_part
        if part == "in href":
            if self._href is not None:
                raise ListingError("the listing has a response about several names")
            self._href = "".join(self._text).strip()
        elif part == "in status":
            self._status = _status("".join(self._text))
        elif part == "in propstat":
            self._end_propstat()
        self._taking = False

    def _end_propstat(self) -> None:
        status = self._part_status
        if status is None:
            raise ListingError("the listing has properties without a status")
        if 200 <= status < 300:
            for name, text in self._props.items():
                if name in self._found:
                    raise ListingError(f"the listing gives {_local(name)} twice for one entry")
                self._found[name] = text
            if RESOURCETYPE in self._props:
                self._collection = self._is_collection
        else:
            for name in self._props:
                self._failed[name] = status

    def _end_response(self) -> None:
        if not self._href:
            raise ListingError("the listing has a response without a name")
        if not self._parts and self._status is None:
            raise ListingError("the listing has a response that says nothing")
        self._rows.append(Row(self._href, self._status, self._collection, self._found, self._failed))


def decode(body: bytes, *, bare_names: bool = False) -> list[Row]:
    """All rows of a body that is here whole. Raises ListingError."""
    if not body.strip():
        raise ListingError("the listing is empty")
    decoder = Decoder(bare_names=bare_names)
    return decoder.feed(body) + decoder.close()


def request_body(names: Iterable[str]) -> bytes:
    """The body of a PROPFIND for exactly these properties (as the constants above write them)."""
    parts = []
    for name in names:
        namespace, _, local = name.rpartition(" ")
        parts.append(f"<d:{local}/>" if namespace == "DAV:" else f'<{local} xmlns="{namespace}"/>')
    props = "".join(parts)
    head = '<?xml version="1.0" encoding="utf-8"?><d:propfind xmlns:d="DAV:"><d:prop>'
    return f"{head}{props}</d:prop></d:propfind>".encode()


def patch_body(name: str, value: str) -> bytes:
    """The body of a PROPPATCH that sets one property; `value` is plain text."""
    namespace, _, local = name.rpartition(" ")
    text = value.replace("&", "&amp;").replace("<", "&lt;")
    return (
        '<?xml version="1.0" encoding="utf-8"?><d:propertyupdate xmlns:d="DAV:"><d:set><d:prop>'
        f'<{local} xmlns="{namespace}">{text}</{local}></d:prop></d:set></d:propertyupdate>'
    ).encode()


def _local(name: str) -> str:
    return name.rpartition(" ")[2][:60]


@lru_cache(maxsize=64)
def _status(text: str) -> int:
    """The number in `HTTP/1.1 200 OK`."""
    parts = text.split(None, 2)
    if len(parts) < 2 or not parts[0].upper().startswith("HTTP/") or not (parts[1].isascii() and parts[1].isdigit()):
        raise ListingError(f"the listing has a status that is none: {text[:60]!r}")
    return int(parts[1][:4])


def _forbidden(*_: object) -> NoReturn:
    raise ListingError("the listing declares a document type or entities; that is not read")
