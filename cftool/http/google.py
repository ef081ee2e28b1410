"""Access tokens of Google's services: service accounts, application default credentials. For `gs` and `gdrive`.

google-auth signs and knows the forms of credentials (RS256 keys, workload identity, instance metadata); it is imported
when a token is needed and not before. A refresh token goes through `oauth.refresh_grant` and needs no library.
https://developers.google.com/identity/protocols/oauth2/service-account,
https://google-auth.readthedocs.io/en/stable/user-guide.html.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any

from cftool.core.errors import ConfigError, LoginRequired, TemporaryError
from cftool.core.paths import printable
from cftool.core.provider import Secret
from cftool.http.client import Client
from cftool.http.oauth import Grant, Token, request_token

TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
AUTHORIZE_URL = "https://accounts.google.com/o/oauth2/v2/auth"
_LIFE = 3600  # seconds: the longest that Google accepts for an assertion


def service_account_grant(
    client: Client,
    info: Mapping[str, Any],
    scopes: Sequence[str],
    *,
    subject: str | None = None,
    wall: Callable[[], float] = time.time,
) -> Grant:
    """From the JSON of a service account's key; `subject`: the user to act as. Raises ConfigError for a bad key."""
    url = str(info.get("token_uri") or TOKEN_URL)

    def grant(refresh: Secret | None) -> Token:
        del refresh
        try:
            from google.auth import crypt, jwt
        except ImportError:
            raise ConfigError("service accounts need google-auth: pip install 'cftool[google]'") from None
        now = int(wall())
        claims: dict[str, Any] = {
            "iss": info.get("client_email"),
            "scope": " ".join(scopes),
            "aud": url,
            "iat": now,
            "exp": now + _LIFE,
        }
        if subject:
            claims["sub"] = subject
        try:
            assertion = jwt.encode(crypt.RSASigner.from_service_account_info(info), claims)
        except ValueError as error:
            raise ConfigError(f"the service account's key cannot be used: {printable(str(error))}") from None
        fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.decode("ascii") if isinstance(assertion, bytes) else assertion),
        ]
        return request_token(client, url, fields, wall=wall)

    return grant


def default_grant(scopes: Sequence[str], *, env: Mapping[str, str]) -> Grant:
    """Application default credentials: the variable, gcloud's file, the instance's own service account."""
    found: list[Any] = []

    def grant(refresh: Secret | None) -> Token:
        del refresh
        try:
            import google.auth
            from google.auth import exceptions
            from google.auth.transport.requests import Request
        except ImportError:
            raise ConfigError(
                "application default credentials need google-auth: pip install 'cftool[google]'"
            ) from None
        try:
            if not found:
                path = env.get("GOOGLE_APPLICATION_CREDENTIALS")
                if path:
                    found.append(google.auth.load_credentials_from_file(path, scopes=list(scopes))[0])
                else:
                    found.append(google.auth.default(scopes=list(scopes))[0])
            credentials = found[0]
            credentials.refresh(Request())
        except exceptions.RefreshError as error:
            raise LoginRequired(
                f"Google refuses the default credentials: {printable(str(error.args[0]))[:200]}"
            ) from None
        except exceptions.DefaultCredentialsError:
            raise LoginRequired(
                "there are no Google credentials: set service_account_file or GOOGLE_APPLICATION_CREDENTIALS, "
                "run gcloud auth application-default login, or set anonymous = true"
            ) from None
        except exceptions.TransportError as error:
            raise TemporaryError(f"Google's login service cannot be reached: {printable(str(error))[:200]}") from None
        expiry = credentials.expiry
        end = float("inf") if expiry is None else expiry.replace(tzinfo=UTC).timestamp()
        return Token(Secret(credentials.token), end)

    return grant


def read_service_account(text: str) -> dict[str, Any]:
    """The JSON of a key file. Raises ConfigError where it is none."""
    try:
        info = json.loads(text)
    except ValueError:
        info = None
    if not isinstance(info, dict) or info.get("type") != "service_account":
        raise ConfigError("the service account's file holds no service account's key")
    return info
