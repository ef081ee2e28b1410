"""What only a write can show, seen once an endpoint with small files of unique name that are removed again.

Whether X-OC-Mtime or a PROPPATCH really sets a file's time (some servers store the property beside it and say "OK"),
whether `Overwrite: F` is refused where something is there, and which conditions a write obeys. What a condition is
worth was seen only where the right one passed and a wrong one did not. Used by writes, and by `store.probe`.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from cftool.core.errors import LoginRequired, StoreError
from cftool.core.types import Entry
from cftool.http.types import Header
from cftool_providers.webdav import _multistatus
from cftool_providers.webdav._api import XML, Api
from cftool_providers.webdav._vendor import APACHE, NEXTCLOUD, OWNCLOUD, Profile

log = logging.getLogger("cftool.webdav")

_SOME_TIME = 1_000_000_000  # seconds; long before any server was asked
_OTHER_TIME = 1_100_000_000
_MICROSOFT = "urn:schemas-microsoft-com: "
# wsgidav takes the Destination apart as a URL only after it was unescaped.
ODD = ("?", "#", ";", "%41", "\t\n\r")
_WRONG = '"cftool-no-such-etag"'


def http_date(seconds: int) -> str:
    """`Sun, 09 Sep 2001 01:46:40 GMT`, whatever the locale."""
    when = datetime.fromtimestamp(seconds, UTC)
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[when.weekday()]
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return f"{day}, {when.day:02} {months[when.month - 1]} {when.year:04} {when:%H:%M:%S} GMT"


# Every way that some server is known to take a time by, the harmless ones first.
STYLES: dict[str, tuple[str, Callable[[int], str]]] = {
    "lastmodified": (_multistatus.DAV + "lastmodified", str),
    "getlastmodified": (_multistatus.MODIFIED, http_date),
    "win32": (_MICROSOFT + "Win32LastModifiedTime", http_date),
}


def patch_time_body(style: str, seconds: int) -> bytes:
    """The PROPPATCH that sets a file's time."""
    name, text = STYLES[style]
    return _multistatus.patch_body(name, text(seconds))


def probe(api: Api, first: str, second: str, third: str) -> Profile:
    """Find out what is not known of the server, with files at and below paths that nobody uses. Raises StoreError."""
    profile = api.profile
    made: tuple[tuple[str, bool], ...] = ((first, False), (second, False), (third, True))
    try:
        profile = _Probe(api, first, second, third).run(profile)
    except LoginRequired:
        made = ()  # nor would they be removed
        raise
    finally:
        for path, directory in made:
            try:
                response = api.client.send(api.request("DELETE", path, directory=directory))
            except StoreError as error:
                log.warning("a probe file could not be removed: %s", error.message)
            else:
                if response.status >= 300 and response.status != 404:
                    log.warning("a probe file could not be removed: %s", api.error(response, path).message)
    log.info("%s: %s", api.host, profile.dumps())
    api.learn(profile)
    return profile


class _Probe:
    def __init__(self, api: Api, first: str, second: str, third: str) -> None:
        self._api = api
        self._first = first
        self._second = second
        self._third = third

    def run(self, profile: Profile) -> Profile:
        self._must_put(self._first, ("x-oc-mtime", str(_SOME_TIME)))
        if profile.vendor not in {NEXTCLOUD, OWNCLOUD}:
            header = self._has_time(_SOME_TIME)
            profile = replace(profile, header_time=header, patch_time=self._patch_style())
        elif not profile.patch_time:
            profile = replace(profile, patch_time=self._patch_style())
        self._must_put(self._second)
        refused = self._move(overwrite=False) == 412
        profile = replace(profile, refuses_overwrite=refused, keeps_etag=self._keeps_etag())
        profile = replace(profile, move_version=self._version_by_move(), confused=self._confused())
        if profile.vendor == APACHE:
            # mod_dav looks at conditions when a request begins; of two writers at once both may pass.
            return replace(profile, probed=True)
        if profile.atomic:
            absent = self._put(("if-none-match", "*")) == 412
            return replace(profile, if_absent=absent, if_version=self._version_by_put(), probed=True)
        version = "if" if profile.move_version else ""
        return replace(profile, if_absent=refused, if_version=version, probed=True)

    def _confused(self) -> str:
        """Characters that do not survive in the Destination of a MOVE, tried inside of a directory of their own."""
        api, found = self._api, ""
        if api.client.send(api.request("MKCOL", self._third, directory=True)).status != 201:
            return found
        for number, chars in enumerate(ODD):
            self._must_put(self._second)
            place = f"{self._third}/{number}{chars}b"
            headers = api.transport_headers(place, directory=False, overwrite=False)
            status = api.client.send(api.request("MOVE", self._second, headers=headers, idempotent=False)).status
            if status in {200, 201, 204} and api.exists(place) is None:
                found += chars.replace("41", "")
        return found

    def _keeps_etag(self) -> bool:
        self._must_put(self._second)
        before = self._api.found_late(self._second)
        if self._move(overwrite=True) not in {200, 201, 204} or before.version is None:
            return False
        return self._entry()[2:] == before[2:]

    def _must_put(self, path: str, *headers: Header) -> None:
        response = self._api.send(self._api.request("PUT", path, headers=headers, body=b"probe"))
        if response.status >= 300:
            raise self._api.error(response, path)

    def _put(self, *headers: Header) -> int:
        request = self._api.request("PUT", self._first, headers=headers, body=b"probe", idempotent=False)
        return self._api.client.send(request).status

    def _entry(self) -> Entry:
        return self._api.found_late(self._first)

    def _has_time(self, seconds: int) -> bool:
        entry = self._entry()
        return seconds * 1_000_000_000 in {entry.modified_ns, entry.stored_ns}

    def _patch_style(self) -> str:
        for style in STYLES:
            body = patch_time_body(style, _OTHER_TIME)
            response = self._api.send(self._api.request("PROPPATCH", self._first, headers=(XML,), body=body))
            # The effect counts, not the answer.
            if response.status == 207 and self._has_time(_OTHER_TIME):
                return style
        return ""

    def _move(self, *headers: Header, overwrite: bool) -> int:
        api = self._api
        every = api.transport_headers(self._first, directory=False, overwrite=overwrite) + headers
        return api.client.send(api.request("MOVE", self._second, headers=every, idempotent=False)).status

    def _version_by_put(self) -> str:
        """By a condition on the file itself."""
        if self._put(("if-match", _WRONG)) == 412 and self._with_etag(lambda tag: self._put(("if-match", tag))):
            return "if-match"
        if self._put(("if", f"([{_WRONG}])")) == 412 and self._with_etag(lambda tag: self._put(("if", f"([{tag}])"))):
            return "if"
        return ""

    def _version_by_move(self) -> bool:
        """By a condition on what a MOVE would replace."""
        place = self._api.url(self._first)
        self._must_put(self._second)
        if self._move(("if", f"<{place}> ([{_WRONG}])"), overwrite=True) != 412:
            return False
        return self._with_etag(lambda tag: self._move(("if", f"<{place}> ([{tag}])"), overwrite=True))

    def _with_etag(self, attempt: Callable[[str], int]) -> bool:
        version = self._entry().version
        return version is not None and attempt(f'"{version}"') in {200, 201, 204}
