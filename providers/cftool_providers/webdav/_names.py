"""From the href of a multistatus row to a name below the collection that was asked for; the only place that does it.

An href is foreign: an absolute URL or an absolute path, escaped one way or another. It is taken apart at its slashes
first and unescaped after, so that an escaped slash shows as what it is. What leads elsewhere, or to a name that can be
none, is a ListingError: the listing is not believed, and nothing is left out of it. No href is ever requested.
"""

from urllib.parse import unquote

from cftool.core.errors import ListingError
from cftool.core.paths import MAX_DEPTH, component_problem, printable


class Collection:
    """The collection at `raw`, an encoded absolute path as we request it, with or without a slash at its end."""

    __slots__ = ("_parts", "_raw", "_size")

    def __init__(self, raw: str) -> None:
        self._raw = raw if raw.endswith("/") else raw + "/"
        self._size = len(self._raw)
        self._parts = [_decoded(part) for part in self._raw.strip("/").split("/") if part]

    def below(self, href: str) -> str:
        """The path relative to the collection, "" for itself. Raises ListingError."""
        if href.startswith(self._raw):
            # As nearly every server writes it: below our own spelling of the collection.
            name = href[self._size :].removesuffix("/")
            if "/" not in name and "?" not in name and "#" not in name:
                if "%" in name:
                    name = unquote(name, errors="surrogateescape")
                if component_problem(name) is None:
                    return name
                if href == self._raw:
                    return ""
        return self._slow(href)

    def same(self, path: str) -> bool:
        """Whether a path, escaped in whatever way, is the collection itself."""
        try:
            return not self._slow(path)
        except ListingError:
            return False

    def _slow(self, href: str) -> str:
        path = _path_of(href)
        parts = path.split("/")[1:]
        if parts[-1] == "":
            parts.pop()
        names = [_decoded(part) for part in parts]
        if names[: len(self._parts)] != self._parts:
            raise ListingError(f"the listing names {_shown(href)}, which is outside of what was asked for")
        names = names[len(self._parts) :]
        if len(names) > MAX_DEPTH:
            raise ListingError(f"the listing goes deeper than {MAX_DEPTH} directories; it seems to be a loop")
        for name in names:
            reason = component_problem(name)
            if reason is not None:
                raise ListingError(f"the listing has a name that {reason}: {_shown(href)}")
        return "/".join(names)


def _path_of(href: str) -> str:
    """The path of an href, still escaped."""
    if not href.startswith("/"):
        scheme, separator, rest = href.partition("://")
        slash = rest.find("/")
        if not separator or scheme.lower() not in {"http", "https"} or slash < 1:
            raise ListingError(f"the listing names {_shown(href)}, which is no address")
        href = rest[slash:]
    if "//" in href:
        raise ListingError(f"the listing has an empty name in {_shown(href)}")
    if "?" in href or "#" in href:
        raise ListingError(f"the listing names {_shown(href)}, which has a query or is not escaped")
    return href


def _decoded(part: str) -> str:
    return unquote(part, errors="surrogateescape") if "%" in part else part


def _shown(href: str) -> str:
    return repr(printable(href[:200]))
