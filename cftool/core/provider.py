"""What a provider declares about itself: its options as data, and how to open it.

The wizard, `config create`, the rejection of unknown keys, redaction and the manual's tables all come from `options`.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import NoReturn, Protocol

from cftool.core.dataclass import dataclass
from cftool.core.store import Store
from cftool.core.types import NO_HASHES


class Secret:
    """A secret text that does not print, compare into a message, or pickle by accident. `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; only for the request that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never pickled")


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a provider. `type` is "str", "bool", "int", "size" (bytes, `10M`) or "duration" (seconds)."""

    name: str
    help: str
    default: str | int | float | bool | None = None
    required: bool = False
    secret: bool = False
    choices: tuple[str, ...] = ()
    type: str = "str"


class Memory(Protocol):
    """A small persistent map of one endpoint, in the state directory: what was learnt once and holds for years."""

    def get(self, key: str) -> str | None:
        """The remembered text, or None."""
        ...

    def set(self, key: str, value: str) -> None:
        """Remember; best effort, never raises for a full or read-only disk."""
        ...


def never() -> bool:
    """The default of `Context.cancelled`."""
    return False


class Pace(Protocol):
    """The pace of a run that is held back (--bwlimit). Each call returns when more may be moved; thread-safe."""

    def piece(self) -> int:
        """How many bytes to move at most between two calls."""
        ...

    def up(self, count: int) -> None:
        """So many bytes were sent, or copied on this machine."""
        ...

    def down(self, count: int) -> None:
        """So many bytes were received."""
        ...


class NoMemory:
    """Forgets everything: for tests and where there is no state directory."""

    def get(self, key: str) -> str | None:
        """Nothing."""
        del key
        return None

    def set(self, key: str, value: str) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the surroundings give a provider: never ambient state, always passed."""

    remote: str = ""  # the name in messages
    env: Mapping[str, str] = field(
        default_factory=lambda: NO_HASHES
    )  # the process environment (proxies, CA bundles, SDK variables)
    state_dir: str | None = None  # may not exist yet; None: keep nothing
    memory: Memory = field(default_factory=NoMemory)
    requests: Counter[str] = field(default_factory=Counter)  # by provider call, for the summary
    connections: int | None = None  # the user's --transfers, where given
    cancelled: Callable[[], bool] = never  # whether the run is to end: calls under way raise Interrupted soon
    transport: str | None = None  # "curl", "requests"; None: the best there is
    pace: Pace | None = None  # None: as fast as it goes
    deletes: bool = True  # whether what a listing does not name may be deleted for that: no shortcut in listings then


@dataclass(frozen=True, slots=True)
class OAuthLogin:
    """How `config login` gets a refresh token: OAuth 2 with an authorization code and PKCE (RFC 6749, 7636, 8252).

    `client_id` and `client_secret` name the provider's options. `parameters` are added to the address that the browser
    opens. `register` tells how to register an application; the loopback redirect is `http://127.0.0.1:PORT/` (a free
    port), or `http://localhost:PORT/` with the first of `ports` that is free where the service wants it registered.
    `shows_code`: asked without a redirect, the service shows the user a code to paste. What comes of it is in the
    remote's `http.oauth.TokenFile`, under the application's id and the option `refresh_token`, where that is set.
    """

    authorize_url: str
    token_url: str
    client_id: str
    client_secret: str | None
    scopes: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    ports: tuple[int, ...] = ()
    register: str = ""
    shows_code: bool = False


@dataclass(frozen=True, slots=True)
class PasswordLogin:
    """How `config login` gets a refresh token where user and password are traded for one; neither is kept.

    `ask` are the questions; `trade(values, answers, context)` sends them and returns the refresh token. `client_id` is
    the option whose value is `Tokens.client`; "": the provider's first one.
    """

    ask: tuple[Option, ...]
    trade: Callable[[Mapping[str, str | int | float | bool | Secret | None], Mapping[str, Secret], Context], Secret]
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as its entry point gives it (group `cftool.providers`)."""

    name: str
    summary: str
    docs: str  # the service's API documentation
    options: tuple[Option, ...]
    open: Callable[[Mapping[str, str | int | float | bool | Secret | None], Context], Store]
    login: OAuthLogin | PasswordLogin | None = None

    def option(self, name: str) -> Option | None:
        """The option of that name, or None."""
        return next((option for option in self.options if option.name == name), None)
