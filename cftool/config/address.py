"""`remote:path` and its relatives are parsed here, once.

    name:path                         a remote; `name:/path` and `name://path`, as URLs have it, mean the same
    name,option=value,flag:path       with options overridden for this use; values that hold `,` `:` or `/` in quotes
    ./a:b   /abs/a:b   dir/a:b        a local path: a colon counts only before the first slash
    -                                 standard input or output

Quotes are `"` or `'`; inside them the quote itself is written twice. No I/O, no configuration: the names of the remotes
come in, an unknown one is a ConfigError with the nearest known one.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import field

from cftool.config.suggest import hint
from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError
from cftool.core.paths import printable

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]*", re.ASCII)
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BARE = re.compile(r"[^,:/\"']*")
_SECRET = re.compile(
    r"""(,[a-z_]*(?:secret|password|token|private_access)[a-z_]*=)(?:"(?:[^"]|"")*"|'(?:[^']|'')*'|[^,:\s]+)"""
)


@dataclass(frozen=True, slots=True)
class Address:
    """What an argument names. `remote` None: a local path (or standard input and output, where `is_stdio`).

    `path` is without its last slash, which `trailing_slash` remembers; a remote's is without its first one too.
    """

    text: str
    remote: str | None
    path: str
    overrides: Mapping[str, str] = field(default_factory=dict)
    trailing_slash: bool = False
    is_stdio: bool = False


def shown(text: str) -> str:
    """`text` without the secrets that an address in it sets: for messages, logs and --json."""
    return _SECRET.sub(r"\1***", text) if "=" in text else text


def valid_name(name: str) -> bool:
    """Whether a remote may be called so."""
    return _NAME.fullmatch(name) is not None


def parse(text: str, *, remotes: Collection[str]) -> Address:
    """The address that `text` is. `remotes`: the configured ones and the providers' own names."""
    if not text:
        raise ConfigError("an address is empty; the current directory is written .")
    if "\0" in text:
        raise ConfigError(f"an address contains a NUL: {printable(text)}")
    if text == "-":
        return Address(text, None, "-", is_stdio=True)
    head = _remote_part(text, remotes)
    if head is None:
        trailing = len(text) > 1 and text.endswith("/")
        return Address(text, None, text.rstrip("/") or "/", trailing_slash=trailing)
    name, overrides, at = head
    if name not in remotes:
        near = hint(name, remotes)
        raise ConfigError(
            f"unknown remote {name!r} in {printable(text)!r}{near or ': `cftool config list` shows those there are'}"
            f" (a local file of that name is written ./{printable(text)})"
        )
    path = text[at:]
    trailing = path.endswith("/")
    # One slash at either end means nothing, and two in front are those of a URL: the aws tools and s5cmd want them.
    # In stores with opaque keys all others are part of the name.
    path = path[2:] if path.startswith("//") else path.removeprefix("/")
    return Address(text, name, path.removesuffix("/"), overrides, trailing)


def _remote_part(text: str, remotes: Collection[str]) -> tuple[str, dict[str, str], int] | None:
    """The remote's name, its overrides, and where the path begins; None where `text` is a local path."""
    match = _NAME.match(text)
    if match is None:
        if text.partition("/")[0].startswith(":"):
            raise ConfigError(
                f"the remote's name is missing in {printable(text)!r}; a provider's own name needs no configuration,"
                f" and no colon in front: {printable(text.lstrip(':'))}"
            )
        if ":" in text.partition("/")[0]:
            raise ConfigError(f"{_no_name(text)} (a local file of that name is written ./{printable(text)})")
        return None
    at = match.end()
    following = text[at : at + 1]
    if following == ":":
        return match[0], {}, at + 1
    if following == ",":
        return _overrides(text, match[0], at, remotes)
    if ":" in text.partition("/")[0]:
        raise ConfigError(f"{_no_name(text)} (a local file of that name is written ./{printable(text)})")
    return None


def _no_name(text: str) -> str:
    name = text.partition(":")[0]
    return f"{printable(name)!r} can be no remote's name: letters, digits and _ . + @ - only"


def _overrides(text: str, name: str, at: int, remotes: Collection[str]) -> tuple[str, dict[str, str], int] | None:
    """Parse from the comma at `at`. A text that breaks the rules is a local path only where no colon says otherwise."""
    overrides: dict[str, str] = {}
    try:
        while text[at : at + 1] == ",":
            at = _override(text, at + 1, overrides)
        if text[at : at + 1] == ":":
            return name, overrides, at + 1
        problem = (
            f"a colon is missing after the options at {printable(text[at:])!r}" if at < len(text) else "ends early"
        )
    except ValueError as error:
        problem = str(error)
    # `report,v2/x` is a local path; `s3,endpoint_url=http://h:bucket` a mistake that must not create a local file.
    if ":" in text.partition("/")[0] or (name in remotes and ":" in text and overrides):
        raise ConfigError(
            f'{printable(text)!r}: {problem}; options are written name,option=value,option2="quoted: value":path'
            f" (a local file of that name is written ./{printable(text)})"
        )
    return None


def _override(text: str, at: int, overrides: dict[str, str]) -> int:
    """Read one option, and return where it ends."""
    match = _OPTION.match(text, at)
    if match is None:
        raise ValueError(f"an option's name is expected at {printable(text[at:])!r}")
    key = match[0]
    at = match.end()
    value = "true"
    if text[at : at + 1] == "=":
        at += 1
        if text[at : at + 1] in {'"', "'"}:
            value, at = _quoted(text, at)
        else:
            bare = _BARE.match(text, at)
            assert bare is not None  # the pattern matches the empty text
            value, at = bare[0], bare.end()
            if text.startswith("://", at):
                raise ValueError(f"the URL of {key!r} needs quotes")
    if key in overrides:
        raise ValueError(f"the option {key!r} is given twice")
    overrides[key] = value
    return at


def _quoted(text: str, at: int) -> tuple[str, int]:
    quote = text[at]
    parts: list[str] = []
    while True:
        end = text.find(quote, at + 1)
        if end < 0:
            raise ValueError(f"the quote {quote} is not closed")
        parts.append(text[at + 1 : end])
        if text[end + 1 : end + 2] != quote:
            return quote.join(parts), end + 1
        at = end + 1
