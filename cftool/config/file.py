"""The configuration: remotes of `config.toml` and of the environment, read and checked in form.

    [remotes.work]              type, root and the provider's options
    [remotes.work.stack]        wrappers, see `StackOptions`

What an option means is known to its provider alone: `values` types the options when a remote is opened. Errors name
file and line. The file is not changed here (`edit`), and nothing of it is logged.
"""

import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import astuple, field
from typing import TypeVar

from cftool.config import dirs
from cftool.config.address import valid_name
from cftool.config.secrets import readable_by_others
from cftool.config.sizes import parse_duration, parse_size
from cftool.config.suggest import unknown
from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError
from cftool.core.paths import printable

_LARGEST = 4 << 20
_Number = TypeVar("_Number", int, float)
_QUOTED = r"'([^']*)'"
_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")


@dataclass(frozen=True, slots=True)
class StackOptions:
    """`[remotes.x.stack]`; None where nothing is said."""

    metadata_cache: float | None = None  # seconds; 0 = off
    archive: bool | None = None
    cache: float | None = None  # seconds
    cache_size: int | None = None  # bytes
    hard_cache_size_limit: int | None = None  # bytes
    cache_id: str | None = None
    read_only: bool | None = None

    def over(self, other: "StackOptions") -> "StackOptions":
        """What is said here, else there."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return StackOptions(*(theirs if own is None else own for own, theirs in pairs))

    def checked(self) -> "StackOptions":
        """Itself; ConfigError where two settings contradict each other."""
        soft, hard = self.cache_size, self.hard_cache_size_limit
        if soft is not None and hard is not None and hard < soft:
            raise ConfigError(
                "hard_cache_size_limit is below cache_size: writers would fail before anything makes room"
            )
        return self


STACK_TYPES = {
    "metadata_cache": "duration",
    "archive": "bool",
    "cache": "duration",
    "cache_size": "size",
    "hard_cache_size_limit": "size",
    "cache_id": "str",
    "read_only": "bool",
}


def stack_options(typed: Mapping[str, object]) -> StackOptions:
    """The options, each of its type by now. Raises ConfigError where they contradict each other."""
    return StackOptions(**typed).checked()  # type: ignore[arg-type]  # as STACK_TYPES says


@dataclass(frozen=True, slots=True)
class RemoteConfig:
    """One remote as it was written; `values` are as TOML has them, without `type` and `stack`."""

    name: str
    type: str | None  # None: the environment sets options of a provider's own name
    values: Mapping[str, object] = field(default_factory=dict)
    stack: StackOptions = field(default_factory=StackOptions)
    file: str = ""  # "" where the remote comes from the environment alone
    lines: Mapping[str, int] = field(default_factory=dict)
    exposed: bool = False  # group or others can read the file

    def where(self, key: str | None = None) -> str:
        """`file:line: ` for a message about `key`, as far as known."""
        if not self.file:
            return f"remote {self.name!r}"
        line = self.lines.get(key or "", self.lines.get(""))
        return f"{printable(self.file)}:{line}" if line else printable(self.file)


@dataclass(frozen=True, slots=True)
class Config:
    """All remotes by name. `path` is the file that was read, or would have been."""

    path: str
    env: Mapping[str, str]
    remotes: Mapping[str, RemoteConfig] = field(default_factory=dict)

    def remote(self, name: str) -> RemoteConfig | None:
        """A remote of the file or of the environment, `CFTOOL_<NAME>_TYPE` included."""
        found = self.remotes.get(name)
        if found is None and env_name(name, "type") in self.env:
            found = RemoteConfig(name, self.env[env_name(name, "type")])
        return found

    def known(self, providers: Collection[str] = ()) -> "KnownNames":
        """What `address.parse` takes for `remotes`: configured remotes and the providers' own names."""
        return KnownNames(self, providers)


class KnownNames(Collection[str]):
    """Names of remotes. Contains also what only the environment defines, under any spelling that maps to it."""

    def __init__(self, config: Config, providers: Collection[str]) -> None:
        self._config = config
        self._providers = providers  # asked last: those of other distributions are looked for only then

    def __contains__(self, name: object) -> bool:
        configured = isinstance(name, str) and self._config.remote(name) is not None
        return configured or name in self._providers

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._config.remotes, *self._providers]))

    def __len__(self) -> int:
        return len(set(self))


def env_name(remote: str, option: str) -> str:
    """The variable that overrides an option: `work-2`, `region` -> CFTOOL_WORK_2_REGION."""
    return "CFTOOL_" + re.sub(r"[^A-Za-z0-9]", "_", f"{remote}_{option}").upper()


def load(path: str | None, env: Mapping[str, str]) -> Config:
    """Read the configuration. `path` is what `--config` says: such a file must exist, the default one need not."""
    chosen = dirs.config_path(env, path)
    remotes = _read(chosen, required=bool(path or env.get("CFTOOL_CONFIG")))
    for variable, value in sorted(env.items()):
        match = re.fullmatch(r"CFTOOL_([A-Z0-9_]+)_TYPE", variable)
        if match is None:
            continue
        named = [name for name in remotes if env_name(name, "type") == variable]
        for name in named:
            old = remotes[name]
            remotes[name] = RemoteConfig(name, value, old.values, old.stack, old.file, old.lines, old.exposed)
        if not named and valid_name(name := match[1].lower()):
            remotes[name] = RemoteConfig(name, value)
    return Config(chosen, env, remotes)


def _read(path: str, *, required: bool) -> dict[str, RemoteConfig]:
    try:
        with open(path, "rb") as file:
            exposed = readable_by_others(os.fstat(file.fileno()))
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        if required:
            raise ConfigError(f"the configuration file {printable(path)!r} does not exist") from None
        return {}
    except OSError as error:
        raise ConfigError(f"the configuration file {printable(path)!r} cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise ConfigError(f"the configuration file {printable(path)!r} is larger than {_LARGEST} bytes")
    return Reader(path, data, exposed).remotes()


class Reader:
    """One file on its way to RemoteConfigs; knows on which line a key stands, for messages."""

    def __init__(self, path: str, data: bytes, exposed: bool) -> None:
        import tomllib

        self.path = path
        self.exposed = exposed
        try:
            self.text = data.decode("utf-8-sig")  # some editors begin a file with a byte order mark
            self.document = tomllib.loads(self.text)
        except UnicodeDecodeError:
            raise ConfigError(f"{printable(path)}: is no UTF-8 text") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{printable(path)}{_plainly(str(error))}") from None
        except RecursionError:
            raise ConfigError(f"{printable(path)}: is nested too deeply") from None

    def fail(self, message: str, line: int | None = None) -> ConfigError:
        """The error for `line` of this file."""
        return ConfigError(f"{printable(self.path)}{f':{line}' if line else ''}: {message}")

    def remotes(self) -> dict[str, RemoteConfig]:
        """All remotes, checked."""
        lines = self._lines()
        for key in self.document:
            if key != "remotes":
                raise self.fail(unknown("section", key, ["remotes"]), lines.get((key,)))
        tables = self.document.get("remotes", {})
        if not isinstance(tables, dict):
            raise self.fail("remotes is a table: [remotes.NAME]", lines.get(("remotes",)))
        return {name: self._remote(name, table, lines) for name, table in tables.items()}

    def _remote(self, name: str, table: object, lines: Mapping[tuple[str, ...], int]) -> RemoteConfig:
        line = lines.get(("remotes", name))
        if not valid_name(name):
            raise self.fail(
                f"a remote cannot be called {printable(name)!r}: letters, digits and _ . + @ - only, no sign first",
                line,
            )
        if not isinstance(table, dict):
            raise self.fail(f"the remote {name!r} is a table: [remotes.{name}]", line)
        own = {key[2]: number for key, number in lines.items() if key[:2] == ("remotes", name) and len(key) > 2}
        values = dict(table)
        kind = values.pop("type", None)
        stack = values.pop("stack", {})
        if kind is not None and not isinstance(kind, str):
            raise self.fail(f"type of the remote {name!r} is a text, the provider's name", own.get("type", line))
        if kind is None:
            raise self.fail(f'the remote {name!r} has no type: write type = "s3", or another provider', line)
        if not isinstance(stack, dict):
            raise self.fail(f"stack of the remote {name!r} is a table: [remotes.{name}.stack]", own.get("stack", line))
        options = self._stack(name, stack, lines, line)
        if line:
            own[""] = line
        return RemoteConfig(name, kind, values, options, self.path, own, self.exposed)

    def _stack(
        self, name: str, table: Mapping[str, object], lines: Mapping[tuple[str, ...], int], line: int | None
    ) -> StackOptions:
        typed: dict[str, object] = {}
        for key, value in table.items():
            at = lines.get(("remotes", name, "stack", key), line)
            if key not in STACK_TYPES:
                raise self.fail(unknown("stack option", key, STACK_TYPES), at)
            try:
                typed[key] = typed_value(value, STACK_TYPES[key])
            except ValueError as error:
                raise self.fail(f"stack option {key!r} of the remote {name!r}: {error}", at) from None
        try:
            return stack_options(typed)
        except ConfigError as error:
            at = lines.get(("remotes", name, "stack", "hard_cache_size_limit"), line)
            raise self.fail(f"the remote {name!r}: {error}", at) from None

    def _lines(self) -> dict[tuple[str, ...], int]:
        """Where keys stand, as far as a look at line beginnings tells: only for messages."""
        found: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(self.text.splitlines(), 1):
            header = _TABLE.match(line)
            if header is not None:
                table = _dotted(header[1])
                for depth in range(1, len(table) + 1):
                    found.setdefault(table[:depth], number)
                found[table] = number
            elif "=" in line and not line.lstrip().startswith("#"):
                found.setdefault((*table, *_dotted(line.partition("=")[0])), number)
        return found


def _plainly(message: str) -> str:
    """`Expected '=' … (at line 3, column 7)` as `:3:7: Expected '=' …`; in our words where the parser's say little."""
    found = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    place = f":{found[1]}:{found[2]}" if found else ""
    said = message[: found.start()] if found else message
    twice = re.fullmatch(r"Cannot declare \((.+?),?\) twice", said)
    if twice is not None:
        said = f"[{'.'.join(re.findall(_QUOTED, twice[1]))}] stands there twice"
    elif said == "Cannot overwrite a value":
        said = "the key of this line stands there twice"
    elif said == "Invalid value":
        said = 'Invalid value (a text stands in quotes: "…")'
    elif said == r"Illegal character '\n'":
        said = "the line ends before its text does"
    return f"{place}: {said}"


def _dotted(text: str) -> tuple[str, ...]:
    parts = re.findall(r"\"([^\"]*)\"|'([^']*)'|([^.\s\"']+)", text)
    return tuple(next(filter(None, part), "") for part in parts)


def typed_value(value: object, kind: str) -> str | int | float | bool:
    """`value`, from TOML or as text, as an option of type `kind`; ValueError in words.

    TOML's own types are not bent: `"true"` is no bool and 5 no text there. A text from the environment or an address
    goes through `values.from_text`.
    """
    if kind == "bool":
        if isinstance(value, bool):
            return value
        raise ValueError("takes true or false (without quotes)")
    if isinstance(value, bool):
        raise ValueError(f"takes {_ARTICLES[kind]}, not true or false")  # noqa: TRY004 - one class for callers
    if kind == "str" and isinstance(value, str):
        return value
    if kind in {"int", "size"} and isinstance(value, int):
        return _not_negative(value) if kind == "size" else value
    if kind == "duration" and isinstance(value, int | float):
        return float(_not_negative(value))  # a large int is no float
    if kind == "size" and isinstance(value, str):
        return parse_size(value)
    if kind == "duration" and isinstance(value, str):
        return parse_duration(value)
    raise ValueError(f"takes {_ARTICLES[kind]}")


_ARTICLES = {
    "str": 'a text ("…")',
    "int": "a whole number (without quotes)",
    "size": 'a size (bytes, or "10M")',
    "duration": 'a duration (seconds, or "1h30m")',
}


def _not_negative(value: _Number) -> _Number:
    if not 0 <= value < sys.maxsize:
        raise ValueError("is out of range")
    return value
