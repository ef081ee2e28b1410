"""How the account is entered: a refresh token for user and password, access tokens for the refresh token.

https://www.sugarsync.com/dev/api/method/create-refresh-token.html and create-auth-token.html. Tokens are links, given
in the Location of the answer; an access token lasts about an hour and goes into Authorization as it is. The refresh
token stays as it is for good.
"""

import time
from collections.abc import Callable, Mapping

from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError, LoginRequired, ProtocolError
from cftool.core.provider import Context, Secret
from cftool.http.client import Client
from cftool.http.dates import parse_http_date
from cftool.http.oauth import Grant, Token, TokenFile, Tokens
from cftool.http.open import open_client
from cftool.http.types import NoAuth, Request, Response
from cftool_providers.sugarsync import _errors, _pages, _xml
from cftool_providers.sugarsync._pages import BASE

Values = Mapping[str, str | int | float | bool | Secret | None]
XML = (("Content-Type", "application/xml; charset=UTF-8"),)


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """One remote's configuration."""

    app_id: str
    access_key_id: str
    private_access_key: Secret
    refresh_token: Secret | None
    hard_delete: bool


def settings(values: Values) -> Settings:
    """Check the options; raises ConfigError."""

    def text(name: str) -> str:
        value = values.get(name)
        return (value.reveal() if isinstance(value, Secret) else str(value or "")).strip()

    for name in ("app_id", "access_key_id", "private_access_key"):
        if not text(name):
            raise ConfigError(f"sugarsync needs {name}; https://www.sugarsync.com/developer has it")
    refresh = text("refresh_token")
    if refresh and not refresh.startswith(f"{BASE}/app-authorization/"):
        raise ConfigError(f"refresh_token is none: it begins with {BASE}/app-authorization/")
    return Settings(
        text("app_id"),
        text("access_key_id"),
        Secret(text("private_access_key")),
        Secret(refresh) if refresh else None,
        bool(values.get("hard_delete")),
    )


def trade(values: Values, answers: Mapping[str, Secret], context: Context) -> Secret:
    """The refresh token for a user's name and password. Raises LoginRequired, TemporaryError."""
    own = settings(values)
    client = open_client(context, auth=NoAuth(), classify=_errors.classify, name=context.remote)
    try:
        response = client.send(
            Request(
                "POST",
                f"{BASE}/app-authorization",
                XML,
                _xml.document(
                    "appAuthorization",
                    (
                        ("username", answers["user"].reveal().strip()),
                        ("password", answers["password"].reveal()),
                        ("application", own.app_id),
                        ("accessKeyId", own.access_key_id),
                        ("privateAccessKey", own.private_access_key.reveal()),
                    ),
                ),
                op="login",
                idempotent=True,  # asked twice it gives two tokens, of which one is used
            )
        )
    finally:
        client.close()
    if response.status >= 300:
        raise _refused(response, "user name, password or keys are not accepted")
    return Secret(_pages.token(response, "app-authorization"))


def grant(client: Client, own: Settings, wall: Callable[[], float] = time.time) -> Grant:
    """Access tokens for a refresh token. `client` sends without credentials."""

    def access(refresh: Secret | None) -> Token:
        if refresh is None:
            raise LoginRequired("there is no login yet")
        response = client.send(
            Request(
                "POST",
                f"{BASE}/authorization",
                XML,
                _xml.document(
                    "tokenAuthRequest",
                    (
                        ("accessKeyId", own.access_key_id),
                        ("privateAccessKey", own.private_access_key.reveal()),
                        ("refreshToken", refresh.reveal()),
                    ),
                ),
                op="token",
                idempotent=True,
            )
        )
        if response.status >= 300:
            raise _refused(response, "the login is not valid any more")
        token, end = _pages.authorization(response)
        # By the service's own clock: ours may be wrong by more than a token lasts.
        then = parse_http_date(response.header("date") or "")
        now = wall()
        return Token(Secret(token), now + (end / 1e9 - (now if then is None else then)))

    return access


def _refused(response: Response, text: str) -> Exception:
    error = _errors.error(response, response.body)
    if response.status in {400, 401, 403, 404}:
        said = _errors.said(response.body)
        return LoginRequired(f"{text} ({said})" if said else text)
    return error if response.status >= 400 else ProtocolError(f"the login service answered {response.status}")


def tokens(client: Client, own: Settings, context: Context) -> Tokens:
    """The Auth of a remote."""
    file = None if context.state_dir is None else TokenFile(context.state_dir, "sugarsync", context.remote)
    return Tokens(
        grant(client, own),
        file=file,
        client="",  # a login is of the account, whatever application asked for it
        refresh=own.refresh_token,
        login=f"cftool config login {context.remote or 'sugarsync'}",
        header=lambda token: ("Authorization", token.reveal()),
    )
