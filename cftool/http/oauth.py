"""OAuth 2 access tokens that are refreshed in one place: for requests (`Tokens`, an `http.types.Auth`) and for login.

What is refreshed lives in the state directory (`TokenFile`), never in the configuration. Two processes may refresh at
once: the second waits for the first one's lock and takes what it wrote. Some services give a new refresh token with
each use and forget the old one (RFC 6749 section 6): the newest is on disk before it is used. A configured refresh
token that is not the one the file was made from starts the file anew; without one, `config login` has written it.
"""

import hashlib
import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlencode

from cftool.core.dataclass import dataclass
from cftool.core.errors import LoginRequired, ProtocolError, StoreError, TemporaryError
from cftool.core.paths import printable
from cftool.core.provider import Context, Secret
from cftool.disk import durability
from cftool.disk.atomic import write_file
from cftool.disk.locks import Lock
from cftool.http.client import Client
from cftool.http.open import open_client
from cftool.http.redact import redact
from cftool.http.types import Header, NoAuth, Policy, Request, Response, Stream, Verdict

_log = logging.getLogger("cftool.http")
_EARLY = 60.0  # seconds before its end from which a token is no longer used
_WAIT = 60.0  # seconds for another process that is refreshing
_LARGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. `expires`: epoch seconds, infinite where it does not. `refresh`: a new one, where one came."""

    access: Secret
    expires: float = math.inf
    refresh: Secret | None = None

    def usable(self, now: float) -> bool:
        """Whether it will do for a request that starts now."""
        return now < self.expires - _EARLY


Grant = Callable[[Secret | None], Token]
"""Trades the newest refresh token (None where the grant needs none) for an access token. Raises LoginRequired where
only the user can help, TemporaryError where trying later may."""


class TokenFile:
    """The tokens of one remote: `<state_dir>/tokens/<provider>-<remote>.json`, mode 0600."""

    def __init__(self, state_dir: str, provider: str, remote: str) -> None:
        name = "".join(char if char.isalnum() or char in "-_." else "_" for char in f"{provider}-{remote}")
        digest = hashlib.sha256(f"{provider}\0{remote}".encode("utf-8", "surrogateescape")).hexdigest()[:8]
        self._state_dir = state_dir
        self.path = os.path.join(state_dir, "tokens", f"{name[:80]}-{digest}.json")

    def lock(self) -> Lock:
        """Held by who refreshes."""
        return Lock(self._state_dir, f"tokens:{self.path}", wait=_WAIT)

    def load(self, source: str) -> Token | None:
        """What was saved under this `source`; None where nothing was, or where it is damaged: a login mends it."""
        try:
            with open(self.path, "rb") as file:
                found = json.loads(file.read(_LARGEST))
            if found["source"] != source:
                return None
            expires = float(found["expires"]) if found.get("expires") is not None else math.inf
            refresh = found.get("refresh_token")
            return Token(Secret(str(found["access_token"])), expires, None if refresh is None else Secret(str(refresh)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            _log.warning("the tokens in %s cannot be read (%s)", printable(self.path), type(error).__name__)
            return None

    def save(self, source: str, token: Token) -> None:
        """On disk when this returns. Raises StoreError."""
        record = {
            "source": source,
            "access_token": token.access.reveal(),
            "expires": None if math.isinf(token.expires) else token.expires,
            "refresh_token": None if token.refresh is None else token.refresh.reveal(),
        }
        try:
            durability.make_directories(os.path.dirname(self.path))
        except OSError as error:
            raise StoreError(f"cannot make {printable(os.path.dirname(self.path))}: {error.strerror}") from error
        write_file(self.path, json.dumps(record).encode(), 0o600)

    def remove(self) -> None:
        """Forget: a logout."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass


def source_of(client: str, refresh: Secret | None) -> str:
    """What a token file was made from: the application's id and the configured refresh token (None: a login)."""
    text = f"{client}\0{'login' if refresh is None else refresh.reveal()}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class Tokens:
    """The Auth of a remote whose access token is refreshed. Thread-safe.

    `refresh`: the configured refresh token, or None where `config login` has left one in `file` or `grant` needs none.
    `login`: what to tell the user where a login is needed, `cftool config login NAME`.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        file: TokenFile | None,
        client: str,
        refresh: Secret | None = None,
        login: str = "",
        wall: Callable[[], float] = time.time,
        header: Callable[[Secret], Header] = lambda token: ("Authorization", f"Bearer {token.reveal()}"),
    ) -> None:
        self._grant = grant
        self._file = file
        self._refresh = refresh
        self._source = source_of(client, refresh)
        self._login = login
        self._wall = wall
        self._header = header
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._unsaved: Token | None = None  # newer than the file: it could not be written
        self._refused: Secret | None = None  # an access token that the service did not take

    # ---- http.types.Auth

    def headers(self, request: Request) -> Iterable[Header]:
        """The Authorization header; refreshes first where the token is about to end."""
        del request
        return (self._header(self.token().access),)

    def rejected(self, response: Response | Stream) -> bool:
        """A token was refused: the next one is another.

        Of many requests that are refused together the first has it renewed; what the others bore is not in use any
        more.
        """
        bore = tuple(getattr(response, "credentials", ()))
        with self._lock:
            if self._token is not None and bore in {(), (self._header(self._token.access),)}:
                self._refused = self._token.access
                self._token = None
        return True

    # ---- for providers that need the token itself

    def token(self) -> Token:
        """A usable token. Raises LoginRequired, TemporaryError."""
        with self._lock:
            if self._token is None or not self._good(self._token):
                self._token = self._renewed()
            return self._token

    def _good(self, token: Token) -> bool:
        return token.usable(self._wall()) and token.access != self._refused

    def _renewed(self) -> Token:
        if self._file is None:
            return self._granted(None)
        saved = self._file.load(self._source)
        if saved is not None and self._good(saved):
            return saved
        with self._file.lock():
            saved = self._file.load(self._source)  # another process may have been at it meanwhile
            if saved is not None and self._good(saved):
                return saved
            token = self._unsaved
            if token is None or not self._good(token):
                token = self._unsaved = self._granted(saved)
            self._file.save(self._source, token)
            self._unsaved = None
            return token

    def _granted(self, saved: Token | None) -> Token:
        # The file before our own: another process may have used ours up, and saved what it got for it.
        newest = self._unsaved or saved or self._token
        refresh = (newest.refresh if newest is not None else None) or self._refresh
        try:
            token = self._grant(refresh)
        except LoginRequired as error:
            if self._login and self._login not in error.message:
                # Raised anew for its message alone: what it came from may hold what was sent.
                raise LoginRequired(f"{error.message}; run {self._login}") from None
            raise
        return Token(token.access, token.expires, token.refresh or refresh)


def open_token_client(context: Context, *, ca_bundle: str | None = None) -> Client:
    """A client for token endpoints. Its pace is its own: a request of the remote waits for what is sent here."""
    return open_client(
        context,
        auth=NoAuth(),
        classify=_classify,
        ca_bundle=ca_bundle,
        policy=Policy(budget=120.0, attempts=6),
        connections=2,
        name=f"{context.remote} login",
    )


def _classify(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    del headers, body
    return Verdict.RETRY if status == 429 or status >= 500 else Verdict.ANSWER


def refresh_grant(
    client: Client, url: str, fields: Iterable[tuple[str, str]], *, wall: Callable[[], float] = time.time
) -> Grant:
    """The grant of RFC 6749 section 6: `fields` are the client's id and secret. `client` sends without credentials."""
    own = tuple(fields)

    def grant(refresh: Secret | None) -> Token:
        if refresh is None:
            raise LoginRequired("there is no login yet")
        return request_token(
            client, url, [("grant_type", "refresh_token"), ("refresh_token", refresh.reveal()), *own], wall=wall
        )

    return grant


def request_token(
    client: Client, url: str, fields: Iterable[tuple[str, str]], *, wall: Callable[[], float] = time.time
) -> Token:
    """POST to a token endpoint. Raises LoginRequired (RFC 6749 section 5.2), TemporaryError, ProtocolError."""
    response = client.send(
        Request(
            "POST",
            url,
            (("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")),
            urlencode(list(fields)).encode("ascii"),
            op="token",
            idempotent=True,  # asked twice it gives two tokens, of which one is used
        )
    )
    return decode_token(response, wall())


def decode_token(response: Response, now: float) -> Token:
    """The token in the answer of a token endpoint (RFC 6749 section 5.1)."""
    try:
        found = json.loads(response.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        if response.status >= 500:
            raise TemporaryError(f"the login service answered {response.status}")
        raise ProtocolError(f"the login service answered {response.status}, and no JSON")
    if response.status >= 400 or "error" in found:
        said = printable(redact(str(found.get("error_description") or found.get("error") or response.status)))
        if response.status >= 500 or response.status == 429:
            raise TemporaryError(f"the login service answered {response.status}: {said[:200]}")
        raise LoginRequired(f"the login is not valid any more: {said[:200]}")
    access = found.get("access_token")
    if not isinstance(access, str) or not access:
        raise ProtocolError("the login service gave no access token")
    expires = found.get("expires_in")
    try:
        end = math.inf if expires is None else now + float(expires)
    except (TypeError, ValueError, OverflowError):
        raise ProtocolError("the login service gave an end of the token that is no number") from None
    refresh = found.get("refresh_token")
    return Token(Secret(access), end, Secret(refresh) if isinstance(refresh, str) and refresh else None)
