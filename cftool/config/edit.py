"""Changes to `config.toml` that keep its comments, order and layout; the new file is 0600 and replaces the old whole.

What is written was read back first: a change that would leave an unreadable file, or one that says something else than
meant, is refused and changes nothing. Changes follow one another, so that two programs at once lose none.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from cftool.config.address import valid_name
from cftool.config.file import STACK_TYPES, Reader, stack_options, typed_value
from cftool.core.errors import ConfigError, Locked
from cftool.core.paths import printable
from cftool.disk.errors import store_error

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_PATIENCE = 10.0  # seconds for another program's change, which takes milliseconds
_PAUSE = 0.02


def create(
    path: str,
    name: str,
    kind: str,
    values: Mapping[str, object],
    *,
    stack: Mapping[str, object] | None = None,
    replace: bool = False,
) -> None:
    """Add the remote `name` of type `kind`. `values` and `stack` as `values.assignment` gives them."""
    import tomlkit

    if not valid_name(name):
        raise ConfigError(f"a remote cannot be called {printable(name)!r}: letters, digits and _ . + @ - only")
    with _alone(path):
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
        if stack:
            stack_options({key: typed_value(value, STACK_TYPES[key]) for key, value in stack.items()})
            table["stack"] = dict(stack)
        remotes[name] = table
        _save(path, document)


def remove(path: str, name: str) -> None:
    """Take a remote out, with its `stack`."""
    with _alone(path):
        document = _load(path)
        remotes = document.get("remotes", {})
        if name not in remotes:
            raise ConfigError(f"there is no remote {name!r} in {printable(path)}")
        del remotes[name]
        if not remotes:
            del document["remotes"]
        _save(path, document)


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """From reading to writing nobody else changes the file: its directory is locked, which leaves no lock file behind.

    The kernel frees the lock at any death. Where it locks no directories (NFS), the later change wins.
    """
    directory = os.path.dirname(os.path.realpath(path))
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise store_error(error, op="write", path=path) from error
    try:
        deadline = time.monotonic() + _PATIENCE
        while _taken(held):
            if time.monotonic() > deadline:
                raise Locked(f"another program is changing {printable(path)}; try again")
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(held)


def _taken(directory: int) -> bool:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in {errno.EAGAIN, errno.EACCES}
    return False


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
    reader = Reader(path, data, exposed=False)
    reader.remotes()  # says what is wrong, with its line, better than an editor could
    return tomlkit.parse(reader.text)


def _save(path: str, document: "TOMLDocument") -> None:
    import tomlkit

    from cftool.disk.atomic import write_file

    data = tomlkit.dumps(document).encode("utf-8")
    reader = Reader(path, data, exposed=False)
    reader.remotes()
    if reader.document != document.unwrap():  # dotted keys are torn apart by a table between them
        raise ConfigError(
            f"{printable(path)} is laid out in a way that cannot be changed here; nothing was changed: edit it by hand"
        )
    write_file(path, data, 0o600)
