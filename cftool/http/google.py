"""Access tokens of Google's services: service accounts, application default credentials. For `gs` and `gdrive`.

Keys of service accounts and gcloud's own login are traded for tokens by our Client (proxies, CA bundle, retries as for
everything else); of google-auth only the RS256 signature is used then. The rarer forms (workload identity, an
instance's own account) are left to google-auth whole. It is imported when a token is needed and not before.
https://developers.google.com/identity/protocols/oauth2/service-account, https://google.aip.dev/auth/4110,
https://docs.cloud.google.com/storage/docs/access-control/signed-urls (V4).
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any

from cftool.core.errors import ConfigError, LoginRequired, TemporaryError
from cftool.core.paths import printable
from cftool.core.provider import Context, Secret
from cftool.http import env as environment
from cftool.http.client import Client
from cftool.http.oauth import Grant, Token, refresh_grant, request_token
from cftool.http.open import open_client
from cftool.http.types import NoAuth, Verdict
from cftool.http.urls import host_header, quote_query, split

TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
AUTHORIZE_URL = "https://accounts.google.com/o/oauth2/v2/auth"
LONGEST_LINK = 7 * 24 * 3600  # seconds that a signed URL may be good for
_LIFE = 3600  # seconds: the longest that Google accepts for an assertion
_NOTHING = (
    "there are no Google credentials: set service_account_file or GOOGLE_APPLICATION_CREDENTIALS, "
    "run gcloud auth application-default login, or set anonymous = true"
)


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """The retry policy at a token endpoint; what it refuses is the grant's to explain."""
    del headers, body
    if status == 429:
        return Verdict.SLOW_DOWN
    return Verdict.RETRY if status == 408 or status >= 500 else Verdict.ANSWER


def login_client(context: Context, *, ca_bundle: str | None = None) -> Client:
    """A Client for token endpoints: it sends no credentials of its own, and has a pace of its own."""
    return open_client(
        context,
        auth=NoAuth(),
        classify=classify,
        ca_bundle=ca_bundle,
        connections=2,
        name=f"the login of {context.remote}" if context.remote else "",
    )


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
        signer = _signer(info)
        from google.auth import jwt

        assertion = jwt.encode(signer, claims)
        fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.decode("ascii") if isinstance(assertion, bytes) else assertion),
        ]
        return request_token(client, url, fields, wall=wall)

    return grant


def _signer(info: Mapping[str, Any]) -> Any:
    try:
        from google.auth import crypt
    except ImportError:
        raise ConfigError("service accounts need google-auth: pip install 'cftool[google]'") from None
    if not info.get("client_email"):
        raise ConfigError("the service account's key names no client_email")
    try:
        return crypt.RSASigner.from_service_account_info(info)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the service account's key cannot be used: {printable(str(error))[:200]}") from None


def default_file(env: Mapping[str, str]) -> str | None:
    """The file of application default credentials: the variable's, or where gcloud keeps it; None where none is."""
    named = env.get("GOOGLE_APPLICATION_CREDENTIALS")
    if named:
        return named
    home = env.get("HOME") or os.path.expanduser("~")
    folder = env.get("CLOUDSDK_CONFIG") or os.path.join(home, ".config", "gcloud")
    path = os.path.join(folder, "application_default_credentials.json")
    return path if os.path.exists(path) else None


def read_credentials(path: str) -> dict[str, Any]:
    """The JSON of a credentials file of any type. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(1 << 20))
    except OSError as error:
        raise ConfigError(f"the credentials in {printable(path)} cannot be read: {error.strerror}") from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("type"), str):
        raise ConfigError(f"{printable(path)} holds no Google credentials")
    return found


def default_grant(
    scopes: Sequence[str],
    *,
    env: Mapping[str, str],
    client: Callable[[], Client] | None = None,
    wall: Callable[[], float] = time.time,
) -> Grant:
    """Application default credentials: the variable, gcloud's file, the instance's own service account.

    `client` is asked for where a plain request to a token endpoint does it; without it google-auth sends all.
    """
    found: list[Grant] = []

    def search() -> Grant:
        path = default_file(env)
        if path is not None and client is not None:
            info = read_credentials(path)
            if info["type"] == "service_account":
                return service_account_grant(client(), info, scopes, wall=wall)
            if info["type"] == "authorized_user":
                return _user_grant(client(), info, path, wall)
        return _library_grant(scopes, env, path)

    def grant(refresh: Secret | None) -> Token:
        if not found:
            found.append(search())
        return found[0](refresh)

    return grant


def _user_grant(client: Client, info: Mapping[str, Any], path: str, wall: Callable[[], float]) -> Grant:
    """What `gcloud auth application-default login` leaves."""
    words = [info.get(name) for name in ("refresh_token", "client_id", "client_secret")]
    if not all(isinstance(word, str) and word for word in words):
        raise ConfigError(f"{printable(path)} lacks a part of the login; run gcloud auth application-default login")
    own = Secret(str(words[0]))
    url = str(info.get("token_uri") or TOKEN_URL)
    grant = refresh_grant(client, url, [("client_id", str(words[1])), ("client_secret", str(words[2]))], wall=wall)

    def with_own(refresh: Secret | None) -> Token:
        try:
            return grant(refresh or own)
        except LoginRequired as error:
            raise LoginRequired(f"{error.message}; run gcloud auth application-default login") from None

    return with_own


def _library_grant(scopes: Sequence[str], env: Mapping[str, str], path: str | None) -> Grant:
    credentials: list[Any] = []

    def grant(refresh: Secret | None) -> Token:
        del refresh
        try:
            import google.auth
            import requests
            from google.auth import exceptions
            from google.auth.transport.requests import Request
        except ImportError:
            raise ConfigError(
                "application default credentials need google-auth: pip install 'cftool[google]'"
            ) from None
        session = requests.Session()
        session.verify = environment.ca_bundle(env, None)[0]
        try:
            if not credentials:
                wanted = list(scopes)
                if path is not None:
                    credentials.append(google.auth.load_credentials_from_file(path, scopes=wanted)[0])
                else:
                    credentials.append(google.auth.default(scopes=wanted)[0])
            credentials[0].refresh(Request(session=session))
        except exceptions.DefaultCredentialsError:
            raise LoginRequired(_NOTHING) from None
        except exceptions.TransportError as error:
            raise TemporaryError(f"Google's login service cannot be reached: {_said(error)}") from None
        except exceptions.GoogleAuthError as error:
            if getattr(error, "retryable", False):
                raise TemporaryError(f"Google's login service failed: {_said(error)}") from None
            raise LoginRequired(f"Google refuses the default credentials: {_said(error)}") from None
        finally:
            session.close()
        token, expiry = credentials[0].token, credentials[0].expiry
        if not token:
            raise LoginRequired("Google's default credentials gave no access token")
        return Token(Secret(token), float("inf") if expiry is None else expiry.replace(tzinfo=UTC).timestamp())

    return grant


def _said(error: Exception) -> str:
    """One line; an answer's body, which may come as a second argument, stays out."""
    return printable(" ".join(str(error.args[0] if error.args else error).split()))[:200]


def read_service_account(text: str) -> dict[str, Any]:
    """The JSON of a key file. Raises ConfigError where it is none."""
    try:
        info = json.loads(text)
    except ValueError:
        info = None
    if not isinstance(info, dict) or info.get("type") != "service_account":
        raise ConfigError("the service account's file holds no service account's key")
    return info


def sign_url(
    info: Mapping[str, Any], method: str, url: str, expires_seconds: int, *, wall: Callable[[], float] = time.time
) -> str:
    """`url` (of the XML API) signed with a service account's key: anybody may use it until it expires."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(wall()))
    signer = _signer(info)
    scheme, authority, target = split(url)
    path, _, query = target.partition("?")
    scope = f"{stamp[:8]}/auto/storage/goog4_request"
    added = quote_query(
        [
            ("X-Goog-Algorithm", "GOOG4-RSA-SHA256"),
            ("X-Goog-Credential", f"{info['client_email']}/{scope}"),
            ("X-Goog-Date", stamp),
            ("X-Goog-Expires", str(expires_seconds)),
            ("X-Goog-SignedHeaders", "host"),
        ]
    )
    whole = "&".join(sorted([*query.split("&"), *added.split("&")] if query else added.split("&")))
    canonical = f"{method}\n{path}\n{whole}\nhost:{host_header(scheme, authority)}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(canonical.encode("ascii")).hexdigest()
    signature = signer.sign(f"GOOG4-RSA-SHA256\n{stamp}\n{scope}\n{digest}".encode("ascii")).hex()
    return f"{scheme}://{authority}{path}?{whole}&X-Goog-Signature={signature}"
