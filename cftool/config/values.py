"""What a provider is opened with: its options, typed, from every layer, the highest first.

    address  >  flag  >  CFTOOL_<REMOTE>_<OPTION>  >  file        (then, in the provider: SDK environment, default)

An option that nobody set is None: the provider looks into its SDK's environment before it takes its default. Only the
layer that wins is evaluated, so that a command for a secret runs only where its secret is used.
"""

import os
from collections.abc import Mapping
from dataclasses import field

from cftool.config import secrets
from cftool.config.file import STACK_TYPES, Config, RemoteConfig, env_name, typed_value
from cftool.config.sizes import parse_duration, parse_size
from cftool.config.suggest import unknown
from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError
from cftool.core.paths import printable
from cftool.core.provider import Option, Provider, Secret

Value = str | int | float | bool | Secret | None

ROOT = Option("root", "Confine the remote to this folder: nothing outside is shown, read or changed")
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class Settings:
    """`values` for `Provider.open`; `root` for the Prefix wrapper, "" where there is nothing to confine to."""

    values: Mapping[str, Value]
    root: str = ""


@dataclass(frozen=True, slots=True)
class Layers:
    """What overrides the file: the address's options, the command line's, and the environment."""

    env: Mapping[str, str]
    address: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)


def options_of(provider: Provider) -> dict[str, Option]:
    """All options of remotes of this type by name, `root` included, which every provider has."""
    return {ROOT.name: ROOT, **{option.name: option for option in provider.options}}


def settings(provider: Provider, remote: RemoteConfig, layers: Layers, config: Config | None = None) -> Settings:
    """Type, check and resolve. ConfigError names the option and where it was set."""
    options = options_of(provider)
    for key in remote.values:
        if key not in options:
            raise ConfigError(f"{remote.where(key)}: {_unknown(provider, key, remote.name)}")
    for source, given in (("address", layers.address), ("command line", layers.flags)):
        for key in given:
            if key not in options:
                raise ConfigError(f"{source}: {_unknown(provider, key, remote.name)}")
    _check_environment(remote, options, layers.env, config)
    _check_exposure(remote, options)
    values = {name: _value(option, remote, layers) for name, option in options.items()}
    for name, option in options.items():
        if option.required and values[name] is None:
            raise ConfigError(f"remote {remote.name!r}: the option {name!r} is missing ({option.help})")
    root = ""
    if provider.option(ROOT.name) is None:
        root = str(values.pop(ROOT.name) or "")
    return Settings(values, root)


def _unknown(provider: Provider, key: str, name: str) -> str:
    if key in STACK_TYPES:
        return f"{key!r} is no option of {provider.name}: it stands in the table [remotes.{name}.stack]"
    return unknown(f"option of {provider.name}", printable(key), options_of(provider))


def _value(option: Option, remote: RemoteConfig, layers: Layers) -> Value:
    name = option.name
    variable = env_name(remote.name, name)
    if name in layers.address:
        return _from_text(option, layers.address[name], f"address: option {name!r}")
    if name in layers.flags:
        return _from_text(option, layers.flags[name], f"command line: option {name!r}")
    if layers.env.get(variable):  # empty is unset, as for most programs
        return _from_text(option, layers.env[variable], f"${variable}")
    if name not in remote.values:
        return None
    raw, what = remote.values[name], f"{remote.where(name)}: option {name!r}"
    if isinstance(raw, Mapping) and option.type == "str":
        directory = os.path.dirname(os.path.abspath(remote.file))
        found = secrets.resolve(secrets.reference(raw, what), what, env=layers.env, directory=directory)
        return found if option.secret else _choice(option, found.reveal(), what)
    if option.secret and not isinstance(raw, str):
        secrets.reference(raw, what)  # raises: it says what a secret may be
    return _typed(option, raw, what)


def _from_text(option: Option, text: str, what: str) -> Value:
    try:
        return _wrap(option, from_text(option, text), what)
    except ValueError as error:
        raise ConfigError(f"{what} {error}") from None


def _typed(option: Option, raw: object, what: str) -> Value:
    try:
        return _wrap(option, typed_value(raw, option.type), what)
    except ValueError as error:
        raise ConfigError(f"{what} {error}") from None


def _wrap(option: Option, value: str | float, what: str) -> Value:
    if option.secret:
        return Secret(str(value)) if value != "" else None
    return _choice(option, value, what)


def _choice(option: Option, value: str | float, what: str) -> str | int | float | bool:
    if option.choices and value not in option.choices:
        raise ConfigError(f"{what}: {unknown('value', printable(str(value)), option.choices)}")
    return value


def from_text(option: Option, text: str) -> str | int | float | bool:
    """An option's value as a text of the environment, an address or the command line says it; ValueError in words."""
    if option.type == "str":
        return text
    if option.type == "bool":
        low = text.strip().lower()
        if low in _TRUE or low in _FALSE:
            return low in _TRUE
        raise ValueError(f"takes true or false, not {printable(text)!r}")
    if option.type == "int":
        try:
            return int(text)
        except ValueError:
            raise ValueError(f"takes a whole number, not {printable(text)!r}") from None
    return parse_size(text) if option.type == "size" else parse_duration(text)


def assignment(provider: Provider, text: str) -> tuple[str, object]:
    """`key=value` of `config create`, checked, as it goes into the file. A secret may be given as `{ env = "X" }`."""
    key, equals, value = text.partition("=")
    options = options_of(provider)
    if key not in options:
        raise ConfigError(unknown(f"option of {provider.name}", printable(key), [*options, *STACK_TYPES]))
    return _assigned(options[key], equals, value)


def stack_assignment(text: str) -> tuple[str, object] | None:
    """`key=value` of `config create` that goes into the table `stack`; None where it is an option of the provider."""
    key, equals, value = text.partition("=")
    if key not in STACK_TYPES:
        return None
    return _assigned(Option(key, "", type=STACK_TYPES[key]), equals, value)


def _assigned(option: Option, equals: str, value: str) -> tuple[str, object]:
    key = option.name
    if not equals:
        raise ConfigError(f"option {key!r}: write {key}=VALUE")
    if option.type == "str" and value.startswith("{"):
        return key, _inline_table(key, value)
    try:
        typed = from_text(option, value)
    except ValueError as error:
        raise ConfigError(f"option {key!r} {error}") from None
    if not option.secret:
        _choice(option, typed, f"option {key!r}")
    # Sizes and durations stay as people write them.
    return key, value if option.type in {"size", "duration"} else typed


def _inline_table(key: str, text: str) -> dict[str, object]:
    import tomllib

    what = f"option {key!r}"
    try:
        table = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise ConfigError(f'{what}: a reference is written {{ env = "NAME" }}') from None
    secrets.reference(table, what)
    assert isinstance(table, dict)
    return table


def _check_environment(
    remote: RemoteConfig, options: Mapping[str, Option], env: Mapping[str, str], config: Config | None
) -> None:
    """A variable that sets nothing is a mistyped one; what belongs to a remote with a longer name is its own."""
    prefix = env_name(remote.name, "")
    others = [env_name(name, "") for name in (config.remotes if config else ()) if name != remote.name]
    known = {env_name(remote.name, name): name for name in options} | {env_name(remote.name, "type"): "type"}
    for variable in env:
        if not variable.startswith(prefix) or variable in known:
            continue
        if not any(len(other) > len(prefix) and variable.startswith(other) for other in others):
            wrong = variable[len(prefix) :].lower()
            raise ConfigError(f"${variable}: {unknown(f'option of the remote {remote.name!r}', wrong, options)}")


def _check_exposure(remote: RemoteConfig, options: Mapping[str, Option]) -> None:
    plain = [key for key, value in remote.values.items() if options[key].secret and isinstance(value, str) and value]
    if remote.exposed and plain:
        raise ConfigError(
            f"{remote.where(plain[0])}: others can read this file, which holds the secret {plain[0]!r}:"
            f" chmod 600 {secrets.quoted(remote.file)}"
        )
