"""Requests to the three hosts of the API, and their answers as JSON: what every other module here sends through.

Knows addresses, headers, tokens and the root of paths; of what a route means it knows nothing. Thread-safe.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any

from cftool.core.errors import ConfigError, ProtocolError
from cftool.core.provider import Context, Secret
from cftool.http.oauth import Grant, Token, TokenFile, Tokens, open_token_client, refresh_grant
from cftool.http.open import open_client
from cftool.http.types import Auth, Body, Completion, Header, NoAuth, Request, Response, Sink, Stream
from cftool_providers.dropbox import _errors

if TYPE_CHECKING:
    from cftool.http.client import Client

Values = Mapping[str, str | int | float | bool | Secret | None]

API = "https://api.dropboxapi.com/2/"
CONTENT = "https://content.dropboxapi.com/2/"
NOTIFY = "https://notify.dropboxapi.com/2/"
TOKEN_URL = "https://api.dropboxapi.com/oauth2/token"  # noqa: S105 - an address
CONNECTIONS = 16
_JSON: Header = ("Content-Type", "application/json")
_BYTES: Header = ("Content-Type", "application/octet-stream")


class _Static:
    """A token that was given and cannot be renewed."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def headers(self, request: Request) -> tuple[Header, ...]:
        """The Authorization header."""
        del request
        return (("Authorization", f"Bearer {self._token.reveal()}"),)

    def rejected(self, response: Response | Stream) -> bool:
        """Nothing to renew."""
        del response
        return False


class Service:
    """One remote. Raises ConfigError for options that do not go together; sends nothing before it is used."""

    def __init__(self, values: Values, context: Context) -> None:
        self.name = context.remote or "dropbox"
        self.context = context
        self._namespace = _text(values, "namespace")
        self._root: str | None = None  # the header, once it is known
        self._making = threading.Lock()  # of clients
        self._asking = threading.Lock()  # for the root, which may need a client
        self._token_client: Client | None = None
        self.identity = _identity(values, self.name)
        self.client = open_client(
            context, auth=self._auth(values), classify=_errors.classify, connections=CONNECTIONS, name=self.name
        )
        self._watching: Client | None = None

    def _auth(self, values: Values) -> Auth:
        app_key, refresh, access = _text(values, "app_key"), values.get("refresh_token"), values.get("access_token")
        if isinstance(access, Secret) and not isinstance(refresh, Secret):
            return _Static(access)
        if not app_key:
            if isinstance(refresh, Secret):
                raise ConfigError("refresh_token needs the app_key that it was made for")
            raise ConfigError(
                f"{self.name} needs app_key (and then cftool config login {self.name}), or an access_token"
            )
        fields = [("client_id", app_key)]
        secret = values.get("app_secret")
        if isinstance(secret, Secret):
            fields.append(("client_secret", secret.reveal()))
        state = self.context.state_dir
        return Tokens(
            self._grant(fields),
            file=None if state is None else TokenFile(state, "dropbox", self.context.remote),
            client=app_key,
            refresh=refresh if isinstance(refresh, Secret) else None,
            login=f"cftool config login {self.name}",
        )

    def _grant(self, fields: list[tuple[str, str]]) -> Grant:
        def grant(refresh: Secret | None) -> Token:
            with self._making:
                if self._token_client is None:
                    self._token_client = open_token_client(self.context)
            return refresh_grant(self._token_client, TOKEN_URL, fields)(refresh)

        return grant

    # ---- requests

    def request(self, route: str, arg: object, *, idempotent: bool = True, tag: object = None) -> Request:
        """An RPC: argument and answer are JSON bodies."""
        return Request(
            "POST",
            API + route,
            (_JSON, *self.root()),
            _encoded(arg).encode("ascii"),
            _op(route),
            idempotent,
            tag=tag,
        )

    def upload(
        self, route: str, arg: object, body: bytes | Body, *, idempotent: bool = True, tag: object = None
    ) -> Request:
        """A request whose body is content; the argument is a header."""
        headers = (_BYTES, ("Dropbox-API-Arg", header_json(arg)), *self.root())
        return Request("POST", CONTENT + route, headers, body, _op(route), idempotent, tag=tag)

    def download(
        self,
        arg: object,
        *,
        byte_range: tuple[int, int | None] | None = None,
        sink: Sink | None = None,
        tag: object = None,
        max_body: int = 64 * 1024 * 1024,
    ) -> Request:
        """Content comes back; `byte_range` is [start, end)."""
        headers: tuple[Header, ...] = (_BYTES, ("Dropbox-API-Arg", header_json(arg)), *self.root())
        if byte_range is not None:
            start, end = byte_range
            headers += (("Range", f"bytes={start}-{'' if end is None else end - 1}"),)
        return Request(
            "POST", CONTENT + "files/download", headers, b"", "download", sink=sink, tag=tag, max_body=max_body
        )

    def root(self) -> tuple[Header, ...]:
        """The header that says what paths are relative to; none for the user's own space."""
        if not self._namespace:
            return ()
        with self._asking:
            if self._root is None:
                self._root = self._team_root() if self._namespace == "root" else self._namespace
        kind = "root" if self._namespace == "root" else "namespace_id"
        return (("Dropbox-API-Path-Root", header_json({".tag": kind, kind: self._root})),)

    def _team_root(self) -> str:
        request = Request(
            "POST", API + "users/get_current_account", (_JSON,), b"null", "get_current_account", max_body=1 << 20
        )
        account = answer(self.client.send(request), None)
        info = account.get("root_info")
        found = info.get("root_namespace_id") if isinstance(info, dict) else None
        if not isinstance(found, str) or not found:
            raise ProtocolError("Dropbox does not say which namespace is the account's root")
        return found

    def call(self, route: str, arg: object, *, path: str | None = None, idempotent: bool = True) -> dict[str, Any]:
        """An RPC's answer. Raises StoreError."""
        return answer(self.client.send(self.request(route, arg, idempotent=idempotent)), path)

    def many(self, following: Any) -> AbstractContextManager[Iterator[Completion]]:
        """Send in parallel; leaving the context early drops what is under way."""
        return closing(self.client.send_many(following))  # type: ignore[type-var] # it is a generator

    def watch(self, arg: object) -> dict[str, Any]:
        """The one route without credentials, which answers only when something changed or time is up."""
        with self._making:
            if self._watching is None:
                from cftool.http.types import Policy

                # The service adds up to 90 s to the 480 s that may be asked for.
                self._watching = open_client(
                    self.context,
                    auth=NoAuth(),
                    classify=_errors.classify,
                    policy=Policy(idle_timeout=600.0),
                    connections=1,
                    name=f"{self.name} longpoll",
                )
        request = Request(
            "POST",
            NOTIFY + "files/list_folder/longpoll",
            (_JSON,),
            _encoded(arg).encode("ascii"),
            "longpoll",
        )
        return answer(self._watching.send(request), None)

    def check(self) -> None:
        """Raise Interrupted where the run is to end."""
        self.client.check()

    def close(self) -> None:
        """Close the connections."""
        for client in (self.client, self._token_client, self._watching):
            if client is not None:
                client.close()


def answer(response: Response, path: str | None) -> dict[str, Any]:
    """The JSON object of a success; every other answer is raised."""
    if response.status != 200:
        raise _errors.error(response, response.body, path)
    kind = (response.header("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProtocolError(f"Dropbox answered with {kind or 'no content type'} instead of JSON", path=path)
    return decoded(response.body, path)


def decoded(body: bytes | str, path: str | None) -> dict[str, Any]:
    """A JSON object. Raises ProtocolError."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise ProtocolError("Dropbox answered with JSON that cannot be read", path=path) from None
    if not isinstance(found, dict):
        raise ProtocolError("Dropbox answered with JSON that is no object", path=path)
    return found


def _encoded(arg: object) -> str:
    return json.dumps(arg, separators=(",", ":"))


def header_json(arg: object) -> str:
    """JSON that a header may carry: ASCII, and DEL escaped as well."""
    return _encoded(arg).replace("\x7f", "\\u007f")


def api_path(path: str) -> str:
    """A canonical path as the service takes it: the root is empty."""
    return f"/{path}" if path else ""


def _op(route: str) -> str:
    """`files/upload_session/append_batch` is counted as `upload_session/append_batch`."""
    return route.partition("/")[2]


def _text(values: Values, name: str) -> str:
    value = values.get(name)
    if isinstance(value, Secret):
        value = value.reveal()
    return str(value or "").strip()


def _identity(values: Values, remote: str) -> str:
    """By the token that was configured, which every machine has; of a login, by application and remote.

    The account's id would be better, but costs a request before anything is done.
    """
    token = values.get("refresh_token") or values.get("access_token")
    text = token.reveal() if isinstance(token, Secret) else f"{_text(values, 'app_key')}\0{remote}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:20]
    namespace = _text(values, "namespace")
    return f"dropbox:{digest}" + (f":{namespace}" if namespace else "")
