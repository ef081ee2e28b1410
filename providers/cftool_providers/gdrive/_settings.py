"""The options of a Drive remote, checked, and the credentials that they come to. Nothing is sent here."""

import hashlib
from collections.abc import Callable, Mapping

from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError, LoginRequired
from cftool.core.provider import Context, Secret
from cftool.http import google, oauth
from cftool.http.client import Client
from cftool.http.types import Auth
from cftool_providers.gdrive import EXPORT_FORMATS, SCOPE
from cftool_providers.gdrive._formats import known_extensions

Values = Mapping[str, str | int | float | bool | Secret | None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options say. `root` is a folder's id, or the alias `root` of My Drive."""

    root: str
    drive: str | None
    trash: bool
    exports: tuple[str, ...]
    abuse: bool
    identity: str


def settings(values: Values, context: Context) -> Settings:
    """Raises ConfigError."""
    drive = _text(values, "shared_drive")
    root = _text(values, "root_folder_id") or drive or "root"
    for option, given in (("root_folder_id", root), ("shared_drive", drive)):
        if given is not None and not given.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"{option}: {given!r} is no id; it is the last part of the folder's address in a browser")
    chosen = values.get("export_formats")
    words = (EXPORT_FORMATS if chosen is None else str(chosen)).split(",")
    exports = tuple(word.strip().lower().lstrip(".") for word in words if word.strip())
    for word in exports:
        if word not in known_extensions():
            raise ConfigError(f"export_formats: Google exports nothing as {word!r}; {', '.join(known_extensions())}")
    if _text(values, "impersonate") and not _text(values, "service_account_file"):
        raise ConfigError("impersonate needs service_account_file")
    place = root if root != "root" else f"my-drive:{_account(values, context)}"
    return Settings(
        root=root,
        drive=drive,
        trash=values.get("use_trash") is not False,
        exports=exports,
        abuse=values.get("acknowledge_abuse") is True,
        identity=f"gdrive:{place}",
    )


def _text(values: Values, name: str) -> str | None:
    value = values.get(name)
    return None if value is None or value == "" else str(value)


def _secret(values: Values, name: str) -> Secret | None:
    value = values.get(name)
    if isinstance(value, str):
        return Secret(value) if value else None
    return value if isinstance(value, Secret) else None


def _file(values: Values, context: Context) -> str | None:
    """The key file that counts, if any."""
    if _text(values, "client_id"):
        return _text(values, "service_account_file")
    return _text(values, "service_account_file") or context.env.get("GOOGLE_APPLICATION_CREDENTIALS") or None


def _account(values: Values, context: Context) -> str:
    """What tells one account from another without asking: not the token itself, but what only it gives."""
    subject = _text(values, "impersonate")
    if subject:
        return subject.lower()
    refresh = _secret(values, "refresh_token")
    path = _file(values, context)
    if path is not None:
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read(1 << 20)
        except (OSError, ValueError):
            text = path
    elif refresh is not None:
        text = refresh.reveal()
    else:
        kept = _token_file(context)
        client = _text(values, "client_id") or ""
        saved = None if kept is None else kept.load(oauth.source_of(client, None))
        text = saved.refresh.reveal() if saved is not None and saved.refresh is not None else f"login {context.remote}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _token_file(context: Context) -> oauth.TokenFile | None:
    if context.state_dir is None:
        return None
    return oauth.TokenFile(context.state_dir, "gdrive", context.remote or "gdrive")


def auth(values: Values, context: Context, plain: Callable[[], Client]) -> Auth:
    """The credentials; `plain` makes the client that asks for tokens. Raises ConfigError."""
    path = _file(values, context)
    name = context.remote or "gdrive"
    login = f"cftool config login {name}"
    if path is not None:
        return _from_file(path, values, context, plain)
    client_id, client_secret = _text(values, "client_id"), _secret(values, "client_secret")
    if client_id is None:
        return oauth.Tokens(_nobody(name), file=None, client="")
    fields = [("client_id", client_id)]
    if client_secret is not None:
        fields.append(("client_secret", client_secret.reveal()))
    return oauth.Tokens(
        oauth.refresh_grant(plain(), google.TOKEN_URL, fields),
        file=_token_file(context),
        client=client_id,
        refresh=_secret(values, "refresh_token"),
        login=login,
    )


def _from_file(path: str, values: Values, context: Context, plain: Callable[[], Client]) -> Auth:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(1 << 20)
    except (OSError, ValueError) as error:
        raise ConfigError(f"service_account_file: {path}: {getattr(error, 'strerror', None) or error}") from None
    if not _text(values, "service_account_file") and '"service_account"' not in text:
        # $GOOGLE_APPLICATION_CREDENTIALS may hold any other form of credentials, too.
        return oauth.Tokens(google.default_grant((SCOPE,), env=context.env), file=None, client="default")
    grant = google.service_account_grant(
        plain(), google.read_service_account(text), (SCOPE,), subject=_text(values, "impersonate")
    )
    return oauth.Tokens(grant, file=None, client="service-account")


def _nobody(name: str) -> oauth.Grant:
    def grant(refresh: Secret | None) -> oauth.Token:
        del refresh
        raise LoginRequired(
            f"{name} has no credentials: set client_id and client_secret and run cftool config login {name}, "
            "or set service_account_file"
        )

    return grant
