"""What the server is, and what it was seen to do: found out once an endpoint, then remembered.

`detect` asks (OPTIONS, and status.php of the ownCloud family), `quirks_of` goes by the host's name. What only a write
can show (times, conditions, whether `Overwrite: F` is obeyed) is `_probe`'s. A Profile is a value; `_api` holds it.
"""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict, fields

from cftool.core.dataclass import dataclass
from cftool.core.errors import StoreError
from cftool.http.types import Response

log = logging.getLogger("cftool.webdav")

NEXTCLOUD, OWNCLOUD, APACHE, RCLONE, OTHER = "nextcloud", "owncloud", "apache", "rclone", "other"
_RCLONE = re.compile(r"rclone/v(\d+)\.(\d+)")
_FIRST_RCLONE_WITH_TIMES = (1, 66)


@dataclass(frozen=True, slots=True)
class Profile:
    """What a server does. The defaults promise nothing."""

    vendor: str = OTHER
    atomic: bool = False  # a PUT shows only when it is complete
    header_time: bool = False  # X-OC-Mtime with a PUT sets the file's own time
    patch_time: str = ""  # which PROPPATCH sets it; see `_probe.STYLES`
    checksums: bool = False  # OC-Checksum is kept and listed
    quota: bool = False  # tells how much space there is
    refuses_overwrite: bool = False  # MOVE and COPY with `Overwrite: F` were seen to be refused
    if_absent: bool = False  # a condition that nothing is there was seen to be obeyed
    if_version: str = ""  # the header whose condition was seen to be obeyed: "if-match", "if", or none
    move_version: bool = False  # a MOVE obeys a condition on what it would replace
    confused: str = ""  # characters that a MOVE was seen to lose from the new name
    keeps_etag: bool = False  # a file that is MOVEd keeps ETag and time
    probed: bool = False  # a write has shown the last eight

    @property
    def times(self) -> bool:
        """Whether files keep a time of their own."""
        return self.header_time or bool(self.patch_time)

    def dumps(self) -> str:
        """As text, for the memory."""
        return json.dumps(asdict(self))

    @staticmethod
    def loads(text: str) -> "Profile | None":
        """From the memory; None where it is of another shape."""
        try:
            found = json.loads(text)
            if {name: type(value) for name, value in found.items()} != _TYPES:
                return None
            return Profile(**found)
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None


_TYPES = {field.name: type(field.default) for field in fields(Profile)}


@dataclass(frozen=True, slots=True)
class Quirks:
    """What hosts do their own way; see the package."""

    bare_names: bool = False  # elements without a namespace are DAV's
    untyped: bool = False  # resourcetype may be missing
    late: bool = False  # 404 for what is there already: ask once more
    usage: bool = True  # the quota is true
    usage_tries: int = 1  # of a quota request that is answered with 400
    keeps_directories: bool = False  # cannot delete them


_BY_HOST: dict[str, Quirks] = {
    "gmx.net": Quirks(untyped=True, usage=False),
    "gmx.com": Quirks(untyped=True, usage=False),
    "gmx.de": Quirks(untyped=True, usage=False),
    "t-online.de": Quirks(usage_tries=4),
    "box.com": Quirks(late=True),
    "box.net": Quirks(late=True),
    "yandex.ru": Quirks(late=True),
    "yandex.com": Quirks(late=True),
    "4shared.com": Quirks(bare_names=True, keeps_directories=True),
}


def quirks_of(host: str) -> Quirks:
    """By the host's name."""
    for name, quirks in _BY_HOST.items():
        if host == name or host.endswith("." + name):
            return quirks
    return Quirks()


def of_vendor(vendor: str) -> Profile:
    """What is known of a kind of server by its documentation and source."""
    if vendor == NEXTCLOUD:
        return Profile(NEXTCLOUD, atomic=True, header_time=True, patch_time="lastmodified", checksums=True, quota=True)
    if vendor == OWNCLOUD:
        return Profile(OWNCLOUD, atomic=True, header_time=True, checksums=True, quota=True)
    if vendor == APACHE:
        return Profile(APACHE, atomic=True)
    if vendor == RCLONE:
        return Profile(RCLONE, header_time=True)
    return Profile()


def detect(options: Response, status_page: Callable[[], Response | None]) -> Profile | None:
    """From the answer to OPTIONS of the top; None where it proves nothing. `status_page` asks for status.php."""
    if options.status >= 300:
        return None
    tokens = {token.strip().lower() for token in (options.header("dav") or "").split(",")}
    server = options.header("server") or ""
    page = status_page()
    product = _product(page)
    if "nextcloud" in product:
        return of_vendor(NEXTCLOUD)
    if any(name in product for name in ("owncloud", "infinite scale", "opencloud")):
        return of_vendor(OWNCLOUD)
    if any(token.startswith(("nextcloud-", "nc-")) for token in tokens):
        return of_vendor(NEXTCLOUD)
    if "<http://apache.org/dav/propset/fs/1>" in tokens:
        return of_vendor(APACHE)
    if found := _RCLONE.match(server):
        new = (int(found[1]), int(found[2])) >= _FIRST_RCLONE_WITH_TIMES
        return of_vendor(RCLONE) if new else Profile()
    return Profile() if "1" in tokens else None


def _product(response: Response | None) -> str:
    if response is None or response.status != 200:
        return ""
    try:
        found = json.loads(response.body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(found, dict) or "installed" not in found:
        return ""
    return f"{found.get('productname', '')} {found.get('product', '')}".lower()


def quietly(ask: Callable[[], Response]) -> Response | None:
    """The answer, or None where there is none: it was only an attempt to know more."""
    try:
        return ask()
    except StoreError as error:
        log.debug("the server's kind cannot be asked: %s", error.message)
        return None
