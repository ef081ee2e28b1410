"""The options of a remote, checked: where the server is, and how to log in. No I/O."""

import logging
import re
from collections.abc import Mapping
from dataclasses import field

from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError
from cftool.core.provider import Secret
from cftool.http.types import Auth, NoAuth
from cftool.http.urls import host_port, quote, split

log = logging.getLogger("cftool.webdav")

_SCHEMES = {"http": "http", "https": "https", "dav": "http", "davs": "https", "webdav": "http", "webdavs": "https"}
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_NEXTCLOUD_FILES = re.compile(r"(?P<root>.*/(?:remote|public)\.php/dav)/files/(?P<user>[^/]+)(?:/|$)")
_OWNCLOUD_FAMILY = re.compile(r"(?P<root>.*)/(?:remote|public)\.php/")


@dataclass(frozen=True, slots=True)
class Settings:
    """`origin` and `base` make every URL: `https://host:port`, and the encoded path of the top with its slash."""

    origin: str
    base: str
    host: str
    user: str
    vendor: str
    password: Secret | None = field(repr=False, default=None)
    token: Secret | None = field(repr=False, default=None)

    @property
    def identity(self) -> str:
        """One name for this server, account and top directory."""
        user = f"{quote(self.user)}@" if self.user else ""
        return f"webdav://{user}{self.origin.partition('://')[2]}{self.base.rstrip('/')}"

    @property
    def uploads(self) -> str | None:
        """URL of the directory that holds Nextcloud's chunked uploads; None where the address does not tell it."""
        match = _NEXTCLOUD_FILES.match(self.base)
        return None if match is None else f"{self.origin}{match['root']}/uploads/{match['user']}/"

    @property
    def installation(self) -> str | None:
        """URL of an installation of the ownCloud family, by the look of the address."""
        match = _OWNCLOUD_FAMILY.match(self.base)
        return None if match is None else f"{self.origin}{match['root']}/"

    def auth(self) -> Auth:
        """How requests are authorised."""
        from cftool_providers.webdav._auth import Bearer, Password

        if self.token is not None:
            if self.origin.startswith("http://"):
                log.warning("the token goes over plain HTTP to %s; use https where the server can", self.host)
            return Bearer(self.origin + "/", self.token)
        if self.user:
            return Password(self.origin + "/", self.user, self.password or Secret(""))
        return NoAuth()


def settings(values: Mapping[str, str | int | float | bool | Secret | None]) -> Settings:
    """Check the options. Raises ConfigError."""
    url = _text(values, "url").strip()
    if not url:
        raise ConfigError("webdav needs url, the address of the server's top directory")
    token, password = _secret(values, "bearer_token"), _secret(values, "password")
    user = _text(values, "user")
    if token is not None and (user or password is not None):
        raise ConfigError("bearer_token and user with password exclude each other")
    if password is not None and not user:
        raise ConfigError("password is set, but user is not")
    if ":" in user:
        raise ConfigError("user has a colon, which HTTP logins cannot carry")
    origin, base, host = _place(url)
    return Settings(origin, base, host, user, _text(values, "vendor") or "auto", password, token)


def _place(url: str) -> tuple[str, str, str]:
    scheme, authority, target = split(url)
    known = _SCHEMES.get(scheme)
    if known is None:
        raise ConfigError("url must begin with https:// or http://")
    if "@" in authority:
        raise ConfigError("url carries a user name or password; they belong into the options user and password")
    if not authority:
        raise ConfigError("url has no host")
    if "?" in target or "#" in target:
        raise ConfigError("url has a query or a fragment; the top directory's address has neither")
    host, port = host_port(known, authority)
    if not host or not re.fullmatch(r"[A-Za-z0-9._~%:-]+", host):
        raise ConfigError("url has no usable host name; write names in other scripts in their xn-- form")
    segments = [segment for segment in target.split("/") if segment]
    if any(segment in {".", ".."} for segment in segments):
        raise ConfigError("url has a component '.' or '..'")
    base = "".join("/" + _encoded(segment) for segment in segments) + "/"
    written = f"[{host}]" if ":" in host else host.lower()
    if port != _DEFAULT_PORTS[known]:
        written += f":{port}"
    return f"{known}://{written}", base, host.lower()


def _encoded(segment: str) -> str:
    """A path segment as people paste it: what is escaped stays, what needs it is escaped."""
    parts = _ESCAPE.split(segment)
    escapes = [*(match.upper() for match in _ESCAPE.findall(segment)), ""]
    return "".join(quote(part, "!$&'()*+,;=:@") + escape for part, escape in zip(parts, escapes, strict=True))


def _text(values: Mapping[str, str | int | float | bool | Secret | None], name: str) -> str:
    value = values.get(name)
    return "" if value is None else str(value)


def _secret(values: Mapping[str, str | int | float | bool | Secret | None], name: str) -> Secret | None:
    value = values.get(name)
    if isinstance(value, Secret):
        return value if value.reveal() else None
    return Secret(str(value)) if value else None
