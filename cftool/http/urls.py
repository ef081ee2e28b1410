"""RFC 3986 percent-encoding, and the few questions that this package asks of a URL. No I/O, no normalisation.

Providers build every URL with these; nothing re-encodes it later, so that what is signed is what is sent. Text carries
bytes that are no UTF-8 as surrogate escapes (`core.paths`), and they are encoded as those bytes.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote_from_bytes

from cftool.core.errors import ConfigError

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*")
_USABLE = re.compile(r"https?://[A-Za-z0-9._~%:\[\]-]+(?:[/?][!\"$-~]*)?")


def quote(text: str, safe: str = "") -> str:
    """`text` with everything encoded but the unreserved characters (letters, digits, `-._~`) and `safe`."""
    return quote_from_bytes(text.encode("utf-8", "surrogateescape"), safe)


def quote_path(path: str) -> str:
    """`quote`, with slashes kept: for keys and paths, `//`, `.` and `..` untouched."""
    if _PLAIN.fullmatch(path) is not None:  # as most are: a fifth of the time
        return path
    return quote_from_bytes(path.encode("utf-8", "surrogateescape"), "/")


def quote_query(pairs: Iterable[tuple[str, str]]) -> str:
    """`name=value&…` in the given order; a space is `%20`, never a plus."""
    return "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)


def split(url: str) -> tuple[str, str, str]:
    """(scheme, authority, target) of an absolute URL; the target starts with a slash and is otherwise as it is."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "", "", url
    end = len(rest)
    for mark in "/?#":
        place = rest.find(mark)
        if 0 <= place < end:
            end = place
    target = rest[end:]
    return scheme.lower(), rest[:end], target if target.startswith("/") else "/" + target


def host_port(scheme: str, authority: str) -> tuple[str, int]:
    """Host (no brackets) and port, the scheme's where none is given. Raises ConfigError where the port is no number."""
    authority = authority.rpartition("@")[2]
    if authority.startswith("["):
        host, _, rest = authority[1:].partition("]")
        port = rest.lstrip(":")
    else:
        host, _, port = authority.partition(":")
    if not port:
        return host, _DEFAULT_PORTS.get(scheme, 0)
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigError(f"the port {port!r} is not a number below 65536")
    return host, int(port)


def host_header(scheme: str, authority: str) -> str:
    """The Host header that libcurl and http.client send for it: the default port left out."""
    name, separator, port = authority.rpartition(":")
    if separator and port.isdigit() and int(port) == _DEFAULT_PORTS.get(scheme):
        return name
    return authority


def check(url: str) -> None:
    """Raise ConfigError where `url` must not be sent, with the reason; one expression for the good case."""
    if _USABLE.fullmatch(url) is None:
        from cftool.http.redact import safe_url

        raise ConfigError(f"the URL {safe_url(url)} {_problem(url)}")


def _problem(url: str) -> str:
    scheme, authority, target = split(url)
    if scheme not in _DEFAULT_PORTS:
        return "is neither http nor https"
    if not authority:
        return "has no host"
    if "@" in authority:
        return "carries a user name or password; they belong into the options"
    if "#" in target:
        return "has a fragment"
    return "is not percent-encoded"
