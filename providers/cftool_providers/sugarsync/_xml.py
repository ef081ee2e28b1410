"""XML as SugarSync speaks it: read strictly with expat (no DTD, no entities, bounded depth), written by hand.

No I/O. `parse` gives a small tree. Whatever is not well-formed, or has a namespace, is a ProtocolError: nothing of a
doubtful answer is believed.
"""

import re
from typing import NoReturn
from xml.parsers import expat

from cftool.core.errors import ProtocolError

MAX_DEPTH = 12
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
_SPECIAL = re.compile('[&<>"\r\n\t]')


class Node:
    """One element: its name, attributes, own text, and the elements in it."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.text = ""
        self.children: list[Node] = []

    def find(self, name: str) -> "Node | None":
        """The only direct child of that name, or None; two are a ProtocolError."""
        found = [child for child in self.children if child.name == name]
        if len(found) > 1:
            raise ProtocolError(f"the service's answer has {len(found)} elements {name} where one is right")
        return found[0] if found else None

    def value(self, name: str) -> str:
        """The text of the only direct child of that name; none is a ProtocolError."""
        node = self.find(name)
        if node is None or node.children:
            raise ProtocolError(f"the service's answer lacks {name} in {self.name}")
        return node.text

    def optional(self, name: str) -> str | None:
        """The text of the only direct child of that name, or None."""
        return None if self.find(name) is None else self.value(name)


class _Builder:
    def __init__(self) -> None:
        self.root: Node | None = None
        self._stack: list[Node] = []
        self._texts: list[list[str]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if ":" in name or "xmlns" in attributes:
            raise ProtocolError(f"the service's answer has an element of a namespace, {name[:100]!r}")
        if len(self._stack) >= MAX_DEPTH:
            raise ProtocolError("the service's answer is nested too deep")
        node = Node(name, attributes)
        if self._stack:
            self._stack[-1].children.append(node)
        else:
            self.root = node
        self._stack.append(node)
        self._texts.append([])

    def end(self, _name: str) -> None:
        self._stack.pop().text = "".join(self._texts.pop())

    def data(self, text: str) -> None:
        self._texts[-1].append(text)


def _forbidden(*_: object) -> NoReturn:
    raise ProtocolError("the service's answer declares a document type or entities; that is not read")


def parse(body: bytes, root: str) -> Node:
    """The root element, which must be called `root`. Raises ProtocolError."""
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _forbidden
    parser.EntityDeclHandler = _forbidden
    parser.UnparsedEntityDeclHandler = _forbidden
    parser.ExternalEntityRefHandler = _forbidden
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # LookupError: an encoding that nobody knows
        raise ProtocolError(f"the service's answer is not well-formed XML ({error})") from None
    found = builder.root
    if found is None or found.name != root:
        name = "nothing" if found is None else found.name
        raise ProtocolError(f"the service's answer is {name[:100]!r}, not {root}")
    return found


def escape(text: str) -> str:
    """`text` as element content or attribute; white space survives as references."""
    return _SPECIAL.sub(lambda match: _ENTITIES[match[0]], text)


def document(root: str, pairs: tuple[tuple[str, str], ...] = (), *, attribute: tuple[str, str] | None = None) -> bytes:
    """A flat document in UTF-8, as the service demands it: `root` with one element for each pair."""
    extra = "" if attribute is None else f' {attribute[0]}="{escape(attribute[1])}"'
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in pairs)
    return f"{_HEAD}<{root}{extra}>{inner}</{root}>".encode()
