"""Secrets by reference: where a secret option says how to get the secret instead of what it is.

    { command = "pass show s3" }          a string runs through /bin/sh -c, a list runs as it is
    { env = "NAME" }   { file = "PATH" }  a file that group or others can read is refused, as the configuration is
    { keyring = "service/user" }          with the extra `keyring`

Line ends at the end are cut, nothing else. A secret comes by pipe or file, never in an argument of ours, and is in no
message: errors tell the reference, and of a command its last words on standard error.
"""

import os
import stat
from collections.abc import Mapping

from cftool.config.dirs import expand
from cftool.config.suggest import unknown
from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError
from cftool.core.paths import printable
from cftool.core.provider import Secret

KINDS = ("command", "env", "file", "keyring")
_LARGEST = 1 << 20  # bytes: a service account's key file has 3 KB


@dataclass(frozen=True, slots=True)
class Reference:
    """A checked reference: one of KINDS, and its text (of a command also the list of arguments)."""

    kind: str
    value: str | tuple[str, ...]


def reference(value: object, what: str) -> Reference:
    """Check a table of the configuration; `what` begins the message, `file:line: option 'x'`."""
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ConfigError(f"{what}: a secret is a string or one of {{ {' | '.join(KINDS)} = … }}")
    ((kind, text),) = value.items()
    if kind not in KINDS:
        raise ConfigError(f"{what}: {unknown('kind of secret', str(kind), KINDS)}")
    if kind == "command" and isinstance(text, list) and text and all(isinstance(arg, str) for arg in text):
        return Reference(kind, tuple(text))
    if not isinstance(text, str) or not text:
        raise ConfigError(f"{what}: {kind} takes a text" + (" or a list of texts" if kind == "command" else ""))
    return Reference(kind, text)


def resolve(ref: Reference, what: str, *, env: Mapping[str, str], directory: str, timeout: float = 60.0) -> Secret:
    """The secret; ConfigError says why there is none. `directory`: where a relative file is looked for."""
    if ref.kind == "command":
        text = _command(ref.value, what, env, timeout)
    elif ref.kind == "env":
        assert isinstance(ref.value, str)
        text = env.get(ref.value, "")
    elif ref.kind == "file":
        assert isinstance(ref.value, str)
        text = _file(os.path.join(directory, expand(ref.value, env)), what)
    else:
        assert isinstance(ref.value, str)
        text = _keyring(ref.value, what)
    text = text.rstrip("\r\n")
    if not text:
        shown = "" if ref.kind == "command" else f" {printable(str(ref.value))!r}"
        raise ConfigError(f"{what}: the secret from {ref.kind}{shown} is empty")
    return Secret(text)


def _command(value: str | tuple[str, ...], what: str, env: Mapping[str, str], timeout: float) -> str:
    import subprocess

    argv = ["/bin/sh", "-c", value] if isinstance(value, str) else list(value)
    shown = printable((value.split() or [value])[0] if isinstance(value, str) else value[0])
    try:
        # Standard input may be the data of `put`: not the command's. What asks for a passphrase opens the terminal.
        # S603: the command is the user's own, out of a file that only the user can write.
        done = subprocess.run(  # noqa: S603
            argv, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{what}: the command {shown!r} gave no secret within {timeout:g} s") from None
    except OSError as error:
        raise ConfigError(f"{what}: the command {shown!r} cannot run: {error.strerror}") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        last = f": {printable(said[-1][:200])}" if said else ""
        raise ConfigError(f"{what}: the command {shown!r} failed with exit code {done.returncode}{last}")
    return _decoded(done.stdout, f"{what}: the command {shown!r}")


def _file(path: str, what: str) -> str:
    shown = printable(path)
    try:
        with open(path, "rb") as file:
            check_mode(os.fstat(file.fileno()), path, what)
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{what}: the secret's file {shown!r} cannot be read: {error.strerror}") from None
    return _decoded(data, f"{what}: the file {shown!r}")


def _keyring(value: str, what: str) -> str:
    service, slash, user = value.rpartition("/")
    if not slash or not service or not user:
        raise ConfigError(f'{what}: keyring takes "service/user"')
    try:
        import keyring
    except ImportError:
        raise ConfigError(f"{what}: the keyring needs an extra: pip install 'cftool[keyring]'") from None
    try:
        found = keyring.get_password(service, user)
    except Exception as error:  # the back end's own classes, of any desktop
        raise ConfigError(f"{what}: the keyring failed: {printable(str(error)[:200])}") from None
    if found is None:
        raise ConfigError(f"{what}: the keyring has no password of {printable(user)!r} for {printable(service)!r}")
    return str(found)


def _decoded(data: bytes, what: str) -> str:
    if len(data) > _LARGEST:
        raise ConfigError(f"{what} gives more than {_LARGEST} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{what} gives no UTF-8 text") from None


def readable_by_others(found: os.stat_result) -> bool:
    """Whether group or others can read a regular file. A pipe or a terminal (`<(pass …)`) is nobody else's."""
    return stat.S_ISREG(found.st_mode) and bool(found.st_mode & 0o044)


def check_mode(found: os.stat_result, path: str, what: str) -> None:
    """Refuse a file with secrets that others can read, and say what to run."""
    if readable_by_others(found):
        raise ConfigError(
            f"{what}: others can read {printable(path)!r}, which holds a secret: chmod 600 {quoted(path)}"
        )


def quoted(path: str) -> str:
    """`path` as a shell takes it, for a command that the user is to run."""
    from shlex import quote

    return quote(printable(path))
