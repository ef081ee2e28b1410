"""`cftool config create|list|show|remove|path`: the configuration file, without ever showing a secret."""

from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument

from cftool.cli.session import Session
from cftool.config import suggest
from cftool.core.errors import ConfigError
from cftool.core.provider import OAuthLogin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cftool.config.file import RemoteConfig
    from cftool.core.provider import Provider

_HIDDEN = "(hidden)"


def create(
    session: Session,
    name: Annotated[str, Argument(metavar="NAME")],
    type_: Annotated[str, Argument(metavar="TYPE")],
    settings: Annotated[list[str] | None, Argument(metavar="[KEY=VALUE]...")] = None,
) -> None:
    """Define the remote NAME of provider TYPE.

    A secret is best given by reference: secret_access_key='{ command = "pass show s3" }', or { env = "X" },
    { file = "F" }, { keyring = "service/user" }. With KEY=- it is asked for instead of standing in the command line.
    The settings of its stack (archive=true, metadata_cache=10m, ...) are given in the same way.
    """
    from cftool import registry
    from cftool.config import dirs, edit, values

    provider = registry.provider(type_)
    name = name.removesuffix(":")
    stack: dict[str, object] = {}
    given: dict[str, object] = {}
    for setting in settings or []:
        if (of_stack := values.stack_assignment(setting)) is not None:
            stack.update([of_stack])
        else:
            given.update([values.assignment(provider, _asked(session, provider, setting))])
    options = values.options_of(provider)
    missing = [key for key, option in options.items() if option.required and key not in given]
    if missing:
        raise ConfigError(f"{type_} needs {', '.join(f'{key}=…' for key in missing)}")
    plain = [key for key, value in given.items() if options[key].secret and isinstance(value, str)]
    path = dirs.config_path(session.env, session.common.config)
    edit.create(path, name, type_, given, stack=stack)
    _event(session, "created", name, path)
    follows = (
        f"cftool config login {name} is next" if needs_login(provider, given) else f"cftool config test {name} tries it"
    )
    session.messages.info(f"created {name}: in {path}; {follows}")
    if plain:
        session.messages.info(f"{', '.join(plain)} stands there in plain text; see cftool help config create")


def needs_login(provider: "Provider", given: "Mapping[str, object]") -> bool:
    """Whether `config login` comes next: the provider has one, and no other credentials were given."""
    how = provider.login
    if how is None or given.keys() & {"refresh_token", "access_token"}:
        return False
    return not given or not isinstance(how, OAuthLogin) or how.client_id in given


def list_(session: Session) -> None:
    """List the remotes and their types."""
    for name, remote in sorted(session.config.remotes.items()):
        if session.out.json:
            session.out.event("remote", {"name": name, "type": remote.type})
        else:
            session.out.line(f"{session.out.name(name)}:  {remote.type}")


def show(session: Session, name: Annotated[str | None, Argument(metavar="[NAME]")] = None) -> None:
    """Show one remote or all, secrets hidden."""
    config = session.config
    for each in sorted(config.remotes) if name is None else [name.removesuffix(":")]:
        remote = config.remote(each)
        if remote is None:
            raise ConfigError(suggest.unknown("remote", each, config.remotes))
        settings = {key: _shown(remote, key, value) for key, value in remote.values.items()}
        if session.out.json:
            session.out.event("remote", {"name": each, "type": remote.type, "options": settings})
            continue
        session.out.line(f"[remotes.{each}]")
        session.out.line(f"type = {_toml(remote.type)}")
        for key, value in settings.items():
            session.out.line(session.out.name(f"{key} = {_toml(value)}"))
        stack = {key: value for key, value in _fields(remote.stack) if value is not None}
        if stack:
            session.out.line(f"\n[remotes.{each}.stack]")
        for key, value in stack.items():
            session.out.line(session.out.name(f"{key} = {_toml(value)}"))
        session.out.line("")


def remove(session: Session, name: Annotated[str, Argument(metavar="NAME")]) -> None:
    """Remove the remote NAME from the configuration file; what it stores stays where it is."""
    from cftool.config import dirs, edit

    path = dirs.config_path(session.env, session.common.config)
    name = name.removesuffix(":")
    edit.remove(path, name)
    _event(session, "removed", name, path)
    session.messages.info(f"removed {name}: from {path}")


def path(session: Session) -> None:
    """Show where the configuration file is, or would be."""
    from cftool.config import dirs

    found = dirs.config_path(session.env, session.common.config)
    if session.out.json:
        session.out.event("config", {"path": found})
    else:
        session.out.line(session.out.name(found))


def _event(session: Session, what: str, name: str, path: str) -> None:
    if session.out.json:
        session.out.event("config", {"action": what, "name": name, "path": path})


def _asked(session: Session, provider: "Provider", setting: str) -> str:
    """`key=-` of a secret becomes `key=` what the user enters unseen."""
    key, _, text = setting.partition("=")
    option = provider.option(key)
    if option is None or not option.secret or text != "-":
        return setting
    from cftool.cli.prompts import ask_secret

    entered = ask_secret(session, f"{key}: ")
    if not entered:
        raise ConfigError(f"{key}: nothing was entered")
    return f"{key}={entered}"


def _shown(remote: "RemoteConfig", key: str, value: object) -> object:
    """`value`, or what stands for it: hidden where its option is secret, or where nobody knows whether it is."""
    from cftool import registry
    from cftool.config import values

    if isinstance(value, dict):
        return value  # a reference says where the secret is, not what
    try:
        option = values.options_of(registry.provider_of(remote)).get(key)
    except ConfigError:
        option = None
    return _HIDDEN if option is None or option.secret else value


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, str):
        import json

        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _fields(stack: Any) -> list[tuple[str, object]]:
    import dataclasses

    return [(field.name, getattr(stack, field.name)) for field in dataclasses.fields(stack)]
