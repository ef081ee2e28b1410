"""Changes to `config.toml` that keep its comments, order and layout; the new file is 0600 and replaces the old whole.

What is written was read back first: a change that would leave an unreadable file is refused and changes nothing.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cftool.config.address import valid_name
from cftool.config.file import Reader
from cftool.core.errors import ConfigError
from cftool.core.paths import printable

if TYPE_CHECKING:
    from tomlkit import TOMLDocument


def create(path: str, name: str, kind: str, values: Mapping[str, object], *, replace: bool = False) -> None:
    """Add the remote `name` of type `kind`. `values` as `values.assignment` gives them."""
    import tomlkit

    if not valid_name(name):
        raise ConfigError(f"a remote cannot be called {printable(name)!r}: letters, digits and _ . + @ - only")
    document = _load(path)
    remotes = document.get("remotes")
    if remotes is None:
        remotes = document["remotes"] = tomlkit.table(is_super_table=True)
        remotes = document["remotes"]
    if name in remotes and not replace:
        raise ConfigError(f"the remote {name!r} is there already, in {printable(path)}")
    table = tomlkit.table()
    table["type"] = kind
    for key, value in values.items():
        table[key] = _inline(value) if isinstance(value, Mapping) else value
    remotes[name] = table
    _save(path, document)


def remove(path: str, name: str) -> None:
    """Take a remote out, with its `stack`."""
    document = _load(path)
    remotes = document.get("remotes", {})
    if name not in remotes:
        raise ConfigError(f"there is no remote {name!r} in {printable(path)}")
    del remotes[name]
    if not remotes:
        del document["remotes"]
    _save(path, document)


def _inline(value: Mapping[str, object]) -> object:
    import tomlkit

    table = tomlkit.inline_table()
    table.update(dict(value))
    return table


def _load(path: str) -> "TOMLDocument":
    import tomlkit

    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return tomlkit.document()
    except OSError as error:
        raise ConfigError(f"the configuration file {printable(path)!r} cannot be read: {error.strerror}") from None
    Reader(path, data, exposed=False).remotes()  # says what is wrong, with its line, better than an editor could
    return tomlkit.parse(data)


def _save(path: str, document: "TOMLDocument") -> None:
    import tomlkit

    from cftool.disk.atomic import write_file

    data = tomlkit.dumps(document).encode("utf-8")
    Reader(path, data, exposed=False).remotes()
    os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
    write_file(path, data, 0o600)
