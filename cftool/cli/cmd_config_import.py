"""`cftool config import-rclone`: the remotes of an rclone configuration, as far as cftool has their providers.

What cannot be taken over is named, each remote and each setting that may matter. rclone's file is not changed.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from typer import Argument

from cftool.cli import exits
from cftool.cli.session import Session
from cftool.core.errors import ConfigError
from cftool.core.paths import printable

if TYPE_CHECKING:
    from configparser import Error, RawConfigParser

    from cftool.core.provider import Provider

_TYPES = {"google cloud storage": "gs", "drive": "gdrive"}
# rclone's name of a setting: ours. The same name needs no line.
_NAMES: Mapping[str, Mapping[str, str]] = {
    "s3": {"endpoint": "endpoint_url", "sse_kms_key_id": "kms_key_id"},
    "gs": {"project_number": "project"},
    "dropbox": {"client_id": "app_key", "client_secret": "app_secret", "root_namespace": "namespace"},
    "gdrive": {"team_drive": "shared_drive"},
    "webdav": {"pass": "password"},
}
_OBSCURED = frozenset({"pass"})
# These say how rclone works, not what it talks to.
_WITHOUT_MEANING = frozenset({"type", "provider", "env_auth", "token", "scope", "description", "location_constraint"})
_REMEMBERED = frozenset({"authorization", "authorization_expiry", "user", "root_id", "deleted_id"})  # of SugarSync


def import_rclone(session: Session, file: Annotated[str | None, Argument(metavar="[FILE]")] = None) -> int:
    """Take over the remotes of an rclone configuration (default: rclone's own place).

    Passwords that rclone obscures are written in plain text: see `config create` for better ways.
    """
    from cftool.config import dirs, edit

    source = file or _default(session.env)
    parser = _read(source)
    path = dirs.config_path(session.env, session.common.config)
    taken = session.taken()
    code = exits.DONE
    for name in parser.sections():
        try:
            if name in taken:
                raise ConfigError("there is a remote of that name already")
            provider, values, left = _converted(dict(parser[name]))
            edit.create(path, name, provider.name, values)
        except ConfigError as error:
            session.messages.error(f"{name}: not taken over: {error}")
            code = exits.FAILED
            continue
        if session.out.json:
            session.out.event("config", {"action": "imported", "name": name, "type": provider.name})
        session.messages.info(f"{name}: a remote of type {provider.name}")
        if left:
            session.messages.warn(f"{name}: these settings are not taken over: {', '.join(left)}")
        _hint(session, name, provider, values)
    return code


def _default(env: Mapping[str, str]) -> str:
    from cftool.config.dirs import home_dir

    configured = env.get("RCLONE_CONFIG")
    if configured:
        return configured
    base = env.get("XDG_CONFIG_HOME") or os.path.join(home_dir(env), ".config")
    return os.path.join(base, "rclone", "rclone.conf")


def _read(path: str) -> "RawConfigParser":
    from configparser import Error, RawConfigParser

    parser = RawConfigParser(delimiters=("=",), strict=False, default_section="\0")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise ConfigError(f"{printable(path)} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{printable(path)} is no UTF-8 text, so no configuration of rclone") from None
    if text.lstrip().startswith("# Encrypted rclone configuration") or "RCLONE_ENCRYPT_V" in text[:500]:
        raise ConfigError(f"{printable(path)} is encrypted: rclone config encryption remove, then try again")
    try:
        parser.read_string(text)
    except Error as error:
        raise ConfigError(f"{printable(path)}{_line(error)}: neither [NAME] nor KEY = VALUE") from None
    if not parser.sections():
        raise ConfigError(f"{printable(path)} has no remotes")
    return parser


def _line(error: "Error") -> str:
    """Where in the file it is wrong, as `:LINE`; "" where the parser does not tell."""
    found = getattr(error, "lineno", None) or next((line for line, _ in getattr(error, "errors", ())), None)
    return f":{found}" if found else ""


def _converted(found: Mapping[str, str]) -> "tuple[Provider, dict[str, object], list[str]]":
    """Provider, settings, and the names of those that have no counterpart. Raises ConfigError."""
    from cftool import registry
    from cftool.config import values
    from cftool.config.obscured import reveal

    kind = found.get("type", "")
    kind = _TYPES.get(kind, kind)
    if kind not in registry.names():
        raise ConfigError(f"cftool has no provider of the type {printable(kind)!r}")
    provider = registry.provider(kind)
    options = values.options_of(provider)
    settings: dict[str, object] = {}
    left: list[str] = []
    for key, text in found.items():
        name = _NAMES.get(kind, {}).get(key, key)
        if not text or key in _WITHOUT_MEANING or (kind == "sugarsync" and key in _REMEMBERED):
            continue
        if key == "force_path_style" and kind == "s3":
            settings["addressing_style"] = "path" if text.lower() == "true" else "virtual"
        elif name in options and name != values.ROOT.name:
            try:
                plain = reveal(text) if key in _OBSCURED else text
            except ValueError as error:
                raise ConfigError(f"{key}: {error}") from None
            settings[name] = values.assignment(provider, f"{name}={plain}")[1]
        else:
            left.append(printable(key))
    _take_token(provider, found.get("token", ""), settings)
    return provider, settings, left


def _take_token(provider: "Provider", text: str, settings: dict[str, object]) -> None:
    """The refresh token, where it belongs to the user's own application: rclone's nobody else can use."""
    import json

    from cftool.core.provider import OAuthLogin

    how = provider.login
    if not text or not isinstance(how, OAuthLogin) or how.client_id not in settings:
        return
    try:
        refresh = json.loads(text).get("refresh_token")
    except (ValueError, AttributeError, RecursionError):
        return
    if isinstance(refresh, str) and refresh and provider.option("refresh_token") is not None:
        settings["refresh_token"] = refresh


def _hint(session: Session, name: str, provider: "Provider", settings: Mapping[str, object]) -> None:
    from cftool.core.provider import OAuthLogin

    how = provider.login
    if how is None or "refresh_token" in settings or "service_account_file" in settings:
        return
    if isinstance(how, OAuthLogin) and how.client_id not in settings:
        session.messages.info(
            f"{name}: its login was rclone's own; it needs {how.client_id}, then a login. {how.register}"
        )
    else:
        session.messages.info(f"{name}: cftool config login {name} is next")
