"""Logins: Basic (RFC 7617), Digest (RFC 7616) and Bearer (RFC 6750), as `http.types.Auth`.

Over TLS and to this machine itself the password goes out with the first request, as Basic. Over plain HTTP nothing goes
out before the server has said what it takes; where that is Digest the password itself never travels. Credentials belong
to one origin: a request to any other goes without.
"""

import base64
import hashlib
import logging
import os
import re
import threading
from collections.abc import Iterable

from cftool.core.dataclass import dataclass
from cftool.core.provider import Secret
from cftool.http.types import Header, Request, Response, Stream
from cftool.http.urls import host_port, split

log = logging.getLogger("cftool.webdav")

_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1|.*\.localhost", re.IGNORECASE)
_SCHEME = re.compile(
    r"(?:^|,)\s*([A-Za-z][A-Za-z0-9-]*)(?=\s+[A-Za-z0-9*_-]+\s*=|\s*$|\s*,|\s+[A-Za-z0-9+/=~._-]+\s*(?:,|$))"
)
_PARAM = re.compile(r'([A-Za-z0-9*_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
# By strength; the -sess forms are told by their suffix.
_ALGORITHMS = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}


@dataclass(frozen=True, slots=True)
class Challenge:
    """One Digest challenge."""

    realm: str
    nonce: str
    algorithm: str  # as the server wrote it, upper case
    opaque: str | None
    qop: bool  # whether `auth` is offered; without it the answer is that of RFC 2069
    stale: bool
    userhash: bool
    utf8: bool


class _OneOrigin:
    """Whether a request goes to the origin that the credentials are for."""

    def __init__(self, url: str) -> None:
        self._origin = _origin(url)
        self._prefix = url[: url.index("/", 8)] if "/" in url[8:] else url

    def owns(self, url: str) -> bool:
        return url.startswith(self._prefix + "/") or _origin(url) == self._origin


class Bearer(_OneOrigin):
    """A token that does not change."""

    def __init__(self, url: str, token: Secret) -> None:
        super().__init__(url)
        self._headers = (("authorization", "Bearer " + token.reveal()),)

    def headers(self, request: Request) -> Iterable[Header]:
        """The token."""
        return self._headers if self.owns(request.url) else ()

    def rejected(self, response: Response | Stream) -> bool:
        """Nothing to refresh."""
        del response
        return False


class Password(_OneOrigin):
    """User and password, as Basic or Digest, whichever the server takes. Thread-safe."""

    def __init__(self, url: str, user: str, password: Secret) -> None:
        super().__init__(url)
        self._user = user
        self._password = password
        scheme, authority, _ = split(url)
        self._safe = scheme == "https" or _LOOPBACK.fullmatch(host_port(scheme, authority)[0]) is not None
        self._lock = threading.Lock()
        self._challenge: Challenge | None = None
        self._count = 0
        self._session: tuple[str, str] = ("", "")  # nonce and cnonce of the -sess forms
        self._basic = self._basic_header() if self._safe else None

    def _basic_header(self) -> tuple[Header, ...]:
        text = f"{self._user}:{self._password.reveal()}".encode()
        return (("authorization", "Basic " + base64.b64encode(text).decode("ascii")),)

    def headers(self, request: Request) -> Iterable[Header]:
        """What the server asked for last; before that Basic, where it travels safely."""
        if not self.owns(request.url):
            return ()
        challenge = self._challenge
        if challenge is not None:
            return (("authorization", self._digest(challenge, request)),)
        return self._basic or ()

    def rejected(self, response: Response | Stream) -> bool:
        """Learn from the challenge. True where it asks for what was not tried yet, or renews a nonce."""
        header = response.header("www-authenticate") or ""
        offered = digest_challenges(header)
        with self._lock:
            if offered:
                known, self._challenge = self._challenge, offered[0]
                if known is None or known.nonce != offered[0].nonce:
                    self._count = 0
                # Also of a request that left before the first challenge came; the Client asks twice at most.
                return True
            if self._challenge is None and not self._safe and offers_basic(header):
                if self._basic is None:
                    log.warning(
                        "the password goes over plain HTTP: the server offers nothing better; use https if it can"
                    )
                    self._basic = self._basic_header()
                return True
        return False

    def _digest(self, challenge: Challenge, request: Request) -> str:
        with self._lock:
            self._count += 1
            count = f"{self._count:08x}"
            cnonce = os.urandom(8).hex()
            if challenge.algorithm.endswith("-SESS"):
                if self._session[0] != challenge.nonce:
                    self._session = (challenge.nonce, cnonce)
                cnonce = self._session[1]
        _, _, target = split(request.url)
        response = digest_response(
            challenge, self._user, self._password.reveal(), request.method, target, count, cnonce
        )
        user = self._user
        if challenge.userhash:
            user = _hash(challenge.algorithm, f"{user}:{challenge.realm}")
        fields = [
            _user_field(user, challenge),
            f'realm="{_escaped(challenge.realm)}"',
            f'nonce="{_escaped(challenge.nonce)}"',
            f'uri="{target}"',
            f'response="{response}"',
            f"algorithm={challenge.algorithm.replace('-SESS', '-sess')}",
        ]
        if challenge.opaque is not None:
            fields.append(f'opaque="{_escaped(challenge.opaque)}"')
        if challenge.qop:
            fields += ["qop=auth", f"nc={count}", f'cnonce="{cnonce}"']
        if challenge.userhash:
            fields.append("userhash=true")
        return "Digest " + ", ".join(fields)


def digest_response(
    challenge: Challenge, user: str, password: str, method: str, target: str, count: str, cnonce: str
) -> str:
    """The `response` field (RFC 7616 section 3.4.1)."""
    name = challenge.algorithm
    first = _hash(name, f"{user}:{challenge.realm}:{password}")
    if name.endswith("-SESS"):
        first = _hash(name, f"{first}:{challenge.nonce}:{cnonce}")
    second = _hash(name, f"{method}:{target}")
    if not challenge.qop:
        return _hash(name, f"{first}:{challenge.nonce}:{second}")
    return _hash(name, f"{first}:{challenge.nonce}:{count}:{cnonce}:auth:{second}")


def _hash(algorithm: str, text: str) -> str:
    name = _ALGORITHMS[algorithm.removesuffix("-SESS")]
    return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()


def _user_field(user: str, challenge: Challenge) -> str:
    if user.isascii() or challenge.userhash:
        return f'username="{_escaped(user)}"'
    if challenge.utf8 and challenge.qop:
        from cftool.http.urls import quote

        return f"username*=UTF-8''{quote(user)}"
    return f'username="{_escaped(user)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def digest_challenges(header: str) -> list[Challenge]:
    """The Digest challenges that can be answered, strongest first."""
    found = []
    for scheme, params in challenges(header):
        if scheme != "digest" or "nonce" not in params:
            continue
        algorithm = params.get("algorithm", "MD5").upper()
        if not _available(algorithm):
            continue
        qop = params.get("qop")
        offered = {one.strip().lower() for one in (qop or "auth").split(",")}
        if "auth" not in offered:
            continue  # auth-int would hash every body
        found.append(
            Challenge(
                realm=params.get("realm", ""),
                nonce=params["nonce"],
                algorithm=algorithm,
                opaque=params.get("opaque"),
                qop=qop is not None,
                stale=params.get("stale", "").lower() == "true",
                userhash=params.get("userhash", "").lower() == "true",
                utf8=params.get("charset", "").upper() == "UTF-8",
            )
        )
    order = list(_ALGORITHMS)
    return sorted(found, key=lambda one: order.index(one.algorithm.removesuffix("-SESS")))


def _available(algorithm: str) -> bool:
    name = _ALGORITHMS.get(algorithm.removesuffix("-SESS"))
    return name is not None and name in hashlib.algorithms_available


def offers_basic(header: str) -> bool:
    """Whether Basic is among the challenges."""
    return any(scheme == "basic" for scheme, _ in challenges(header))


def challenges(header: str) -> list[tuple[str, dict[str, str]]]:
    """Scheme (lower case) and parameters of each challenge in a WWW-Authenticate header, joined or not."""
    # Quoted strings may hold commas and words that look like schemes: they are hidden while the schemes are found.
    hidden = re.sub(r'"(?:[^"\\]|\\.)*"', lambda match: '"' + "x" * (len(match[0]) - 2) + '"', header)
    starts = [(match.start(1), match.end(1), match[1].lower()) for match in _SCHEME.finditer(hidden)]
    found = []
    for number, (_, end, scheme) in enumerate(starts):
        until = starts[number + 1][0] if number + 1 < len(starts) else len(header)
        params = {
            match[1].lower(): re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
            for match in _PARAM.finditer(header[end:until])
        }
        found.append((scheme, params))
    return found


def _origin(url: str) -> tuple[str, str, int]:
    scheme, authority, _ = split(url)
    host, port = host_port(scheme, authority)
    return scheme, host.lower(), port
