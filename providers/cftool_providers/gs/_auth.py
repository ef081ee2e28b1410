"""Who we are: OAuth tokens, HMAC signatures, or nobody; and who can sign a link.

Nothing is read or sent before the first request needs it, but the kind of the credentials, which decides whether links
can be made.
"""

from collections.abc import Iterable
from typing import Any

from cftool.core.errors import ConfigError
from cftool.core.provider import Context
from cftool.http import google
from cftool.http.client import Client
from cftool.http.oauth import TokenFile, Tokens
from cftool.http.sigv4 import GOOG, Credentials, SigV4
from cftool.http.types import Auth, Header, NoAuth, Request, Response, Stream
from cftool_providers.gs._settings import SCOPE, Settings

SESSION_OPS = frozenset({"upload.chunk", "upload.status", "upload.cancel"})


class Login:
    """Makes the Auth of one remote, and signs links. `close` ends what it opened."""

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._client: Client | None = None
        self._info: dict[str, Any] | None = None
        self._looked = False
        self._hmac: SigV4 | None = None
        if settings.hmac:
            keys = Credentials(settings.access_key_id, settings.secret_access_key)
            self._hmac = SigV4(lambda: keys, region="auto", dialect=GOOG)

    def auth(self) -> Auth:
        """For the client of the data."""
        settings = self._settings
        if self._hmac is not None:
            return _Signed(self._hmac)
        if settings.anonymous or (settings.emulator and not settings.service_account_file):
            return NoAuth()
        return _Lazy(self)

    def tokens(self) -> Tokens:
        """The OAuth side; reads the key file. Raises ConfigError, LoginRequired."""
        settings, context = self._settings, self._context
        info = self.service_account() if settings.service_account_file else None
        if info is not None:
            client = f"{info.get('client_email')}\0{info.get('private_key_id')}"
            grant = google.service_account_grant(self._login_client(), info, (SCOPE,))
        else:
            client = f"default\0{google.default_file(context.env)}"
            grant = google.default_grant((SCOPE,), env=context.env, client=self._login_client)
        file = TokenFile(context.state_dir, "gs", context.remote) if context.state_dir is not None else None
        return Tokens(grant, file=file, client=f"{client}\0{SCOPE}")

    def _login_client(self) -> Client:
        if self._client is None:
            self._client = google.login_client(self._context)
        return self._client

    def service_account(self) -> dict[str, Any] | None:
        """The key that signs, from the option or the default credentials; None where they are of another kind."""
        if not self._looked:
            settings = self._settings
            path = settings.service_account_file
            if path:
                found = google.read_credentials(path)
                if found["type"] != "service_account":
                    raise ConfigError(f"{path} holds no service account's key")
                self._info = found
            elif not (settings.hmac or settings.anonymous or settings.emulator):
                default = google.default_file(self._context.env)
                found = google.read_credentials(default) if default is not None else {}
                self._info = found if found.get("type") == "service_account" else None
            self._looked = True
        return self._info

    def project(self) -> str:
        """The project that the credentials belong to, or ""."""
        settings = self._settings
        if settings.hmac or settings.anonymous or settings.emulator:
            return ""
        info = self.service_account()
        return str(info.get("project_id") or "") if info is not None else ""

    def can_sign(self) -> bool:
        """Whether `sign` works."""
        if self._hmac is not None:
            return True
        try:
            return self.service_account() is not None
        except ConfigError:
            return False  # the first request says what is wrong

    def sign(self, url: str, seconds: int) -> str:
        """A URL by which anybody may GET it."""
        if self._hmac is not None:
            return self._hmac.presign("GET", url, seconds)
        info = self.service_account()
        assert info is not None
        return google.sign_url(info, "GET", url, seconds)

    def close(self) -> None:
        """Close the connections to the login service."""
        if self._client is not None:
            self._client.close()


class _Lazy:
    """Tokens that are looked for when the first request is sent."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._tokens: Tokens | None = None

    def headers(self, request: Request) -> Iterable[Header]:
        """The Authorization header."""
        if self._tokens is None:
            self._tokens = self._login.tokens()
        return self._tokens.headers(request)

    def rejected(self, response: Response | Stream) -> bool:
        """The token was refused: get another one."""
        return self._tokens is not None and self._tokens.rejected(response)


class _Signed:
    """HMAC signatures; the address of an upload session is its own credential, and is sent unsigned."""

    def __init__(self, signer: SigV4) -> None:
        self._signer = signer

    def headers(self, request: Request) -> Iterable[Header]:
        """The signature's headers."""
        return () if request.op in SESSION_OPS else self._signer.headers(request)

    def rejected(self, response: Response | Stream) -> bool:
        """Learn the clock's skew."""
        return self._signer.rejected(response)
