"""XML as S3 and Google Cloud Storage speak it: read strictly with expat (no DTD, no entities, bounded depth).

No I/O. `parse` gives a small tree; names lose their namespace after it was checked. Whatever is not well-formed, or is
of a foreign namespace, is a ProtocolError: nothing of a doubtful answer is believed.
"""

import re
from typing import TYPE_CHECKING, NoReturn
from xml.parsers import expat

from cftool.core.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMESPACES = frozenset(
    {
        "",
        "http://s3.amazonaws.com/doc/2006-03-01/",
        "http://s3.amazonaws.com/doc/2006-03-01",
        "http://doc.s3.amazonaws.com/2006-03-01",
        "http://doc.s3.amazonaws.com/2006-03-01/",
    }
)
# What an element may carry from elsewhere (the type of a grantee or owner); ignored.
_FOREIGN = "http://www.w3.org/2001/XMLSchema-instance"
MAX_DEPTH = 16
_TEXT = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ud800-\\udfff\\ufffe\\uffff]")


class Node:
    """One element: its name, its own text, and the elements in it."""

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.children: list[Node] = []

    def all(self, name: str) -> "list[Node]":
        """The direct children of that name."""
        return [child for child in self.children if child.name == name]

    def find(self, name: str) -> "Node | None":
        """The only direct child of that name, or None; two are a ProtocolError."""
        found = self.all(name)
        if len(found) > 1:
            raise ProtocolError(f"the server's answer has {len(found)} elements {name} where one is right")
        return found[0] if found else None

    def value(self, name: str) -> str | None:
        """The text of the only direct child of that name, or None."""
        node = self.find(name)
        return None if node is None else node.text

    def __iter__(self) -> "Iterator[Node]":
        return iter(self.children)


class _Builder:
    def __init__(self) -> None:
        self.root: Node | None = None
        self._stack: list[Node] = []
        self._texts: list[list[str]] = []

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if namespace not in _NAMESPACES and namespace != _FOREIGN:
            raise ProtocolError(f"the server's answer has an element of the namespace {namespace[:100]!r}")
        if len(self._stack) >= MAX_DEPTH:
            raise ProtocolError("the server's answer is nested too deep")
        node = Node(local)
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
    raise ProtocolError("the server's answer declares a document type or entities; that is not read")


def parse(body: bytes, *roots: str) -> Node:
    """The root element, which must be one of `roots`. Raises ProtocolError."""
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator=" ")
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
        raise ProtocolError(f"the server's answer is not well-formed XML ({error})") from None
    root = builder.root
    if root is None or root.name not in roots:
        name = "nothing" if root is None else root.name
        raise ProtocolError(f"the server's answer is {name[:100]!r}, not {' or '.join(roots)}")
    return root


def escape(text: str) -> str:
    """`text` as element content; carriage returns survive as references. See `representable`."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("\r", "&#13;") if "\r" in text else text


def representable(text: str) -> bool:
    """Whether XML 1.0 can carry `text` at all: no control characters but tab and line ends, no lone surrogates."""
    return _TEXT.search(text) is None
