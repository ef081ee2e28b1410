"""An address becomes a store: the one place where wrappers are put together.

Outermost first: Check, Prefix (a remote's `root`), MetadataCaching (where it is asked for), Resume, ReadOnly, provider.
`cli` and programs call `open_address`; a transfer works on `rooted` views of what that gives. Whoever opens closes;
closing a view closes the stack below it.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cftool import registry
from cftool.config import values
from cftool.config.address import Address
from cftool.config.file import Config, RemoteConfig
from cftool.config.memory import FileMemory
from cftool.core import paths
from cftool.core.errors import ConfigError, InvalidName
from cftool.core.provider import Context, Memory, NoMemory, Pace, never
from cftool.core.store import Store
from cftool.core.types import NameRules
from cftool.wrap.check import CheckStore
from cftool.wrap.prefix import PrefixStore
from cftool.wrap.readonly import ReadOnlyStore
from cftool.wrap.resume import ResumeStore


@dataclass(frozen=True, slots=True)
class OpenContext:
    """What the surroundings give to every store of a run; `flags` are options of the command line, for all remotes."""

    env: Mapping[str, str]
    requests: Counter[str] = field(default_factory=Counter)
    state_dir: str | None = None  # None: keep nothing
    connections: int | None = None
    read_only: bool = False
    transport: str | None = None
    metadata_cache: float | None = None  # seconds, 0 = off; None: as the remote's configuration says, else off
    flags: Mapping[str, str] = field(default_factory=dict)
    cancelled: Callable[[], bool] = never  # whether what is under way is to end
    pace: Pace | None = None  # what holds all transfers back
    deletes: bool = True  # whether what a listing does not name may be deleted for that (see Context)


@dataclass(frozen=True, slots=True)
class Opened:
    """A whole stack, and where in it the address points. `local_root`: that place as a local path, links resolved.

    `key` names the place for locks and state, whatever remote it was reached by.
    """

    store: Store
    path: str
    address: Address
    key: str
    local_root: str | None = None


def build(store: Store, *, root: str = "", read_only: bool = False, metadata_cache: float = 0) -> Store:
    """The wrappers around a provider's store."""
    if read_only:
        store = ReadOnlyStore(store)
    if store.features.remote:
        store = ResumeStore(store)
    if metadata_cache:
        from cftool.wrap.metadata_caching import MetadataCachingStore  # seldom wanted

        store = MetadataCachingStore(store, ttl=metadata_cache)
    if root:
        store = PrefixStore(store, root)
    return CheckStore(store)


def open_address(address: Address, config: Config, *, context: OpenContext, follow: bool = True) -> Opened:
    """Open what `address` names; no request is sent yet.

    `follow`: whether a symbolic link that a local path itself is stands for what it points to, as for every command but
    those that remove. Links in the directories above are always resolved.
    """
    if address.is_stdio:
        raise ConfigError("- is standard input or output, which is no place in a store")
    if address.remote is None:
        return _open_local(address, address.path, RemoteConfig("local", "local"), context, follow=follow)
    remote = config.remote(address.remote) or RemoteConfig(address.remote, address.remote)
    provider = registry.provider(remote.type or remote.name)
    layers = values.Layers(context.env, address.overrides, context.flags)
    settings = values.settings(provider, remote, layers, config)
    if remote.stack.archive:
        raise ConfigError(f"{remote.where()}: stack option 'archive' is not built yet; remove it or set it to false")
    if provider.name == "local":
        confined = settings.values.get("root")
        if confined is None:
            return _open_local(address, "/" + address.path, remote, context, follow=follow)
        return _open_confined(address, str(confined), remote, context)
    store = build(
        provider.open(settings.values, _context(remote.name, provider.name, context)),
        root=settings.root.strip("/"),
        read_only=context.read_only or bool(remote.stack.read_only),
        metadata_cache=_first(context.metadata_cache, remote.stack.metadata_cache),
    )
    path = _canonical(address.path, store.features.names, address)
    return Opened(store, path, address, _key(store.features.identity, path))


def rooted(opened: Opened, path: str | None = None) -> Store:
    """The same stack as a view of `path` (default: the address's own), which need not exist."""
    place = opened.path if path is None else path
    if not place:
        return opened.store
    inner = opened.store.inner if isinstance(opened.store, CheckStore) else opened.store
    return CheckStore(PrefixStore(inner, place))


def _open_local(address: Address, path: str, remote: RemoteConfig, context: OpenContext, *, follow: bool) -> Opened:
    real = _real(path, follow=follow)
    return _local(address, "/", real[1:], remote, context)


def _open_confined(address: Address, root: str, remote: RemoteConfig, context: OpenContext) -> Opened:
    real = os.path.realpath(root)
    path = _canonical(address.path, NameRules(utf8=False), address)
    target = os.path.join(real, path) if path else real
    if os.path.realpath(target) != target:
        raise ConfigError(f"{paths.printable(address.text)!r} leads through a symbolic link, out of what is confined")
    return _local(address, real, path, remote, context)


def _local(address: Address, root: str, path: str, remote: RemoteConfig, context: OpenContext) -> Opened:
    provider = registry.provider("local")
    place = os.path.join(root, path) if path else root
    store = build(
        provider.open({"root": root}, _context(remote.name, "local", context)),
        read_only=context.read_only or bool(remote.stack.read_only),
        metadata_cache=_first(context.metadata_cache, remote.stack.metadata_cache),
    )
    return Opened(store, path, address, place, place)


def _real(path: str, *, follow: bool) -> str:
    try:
        parent, name = os.path.split(path)
        if follow or name in {"", ".", ".."}:
            return os.path.realpath(path)
        return os.path.join(os.path.realpath(parent), name)
    except OSError as error:  # the current directory is gone, or links go in a circle
        raise ConfigError(f"{paths.printable(path)!r}: {error.strerror}") from None


def _context(remote: str, provider: str, context: OpenContext) -> Context:
    memory: Memory = NoMemory() if context.state_dir is None else FileMemory(context.state_dir, provider)
    return Context(
        remote=remote,
        env=context.env,
        state_dir=context.state_dir,
        memory=memory,
        requests=context.requests,
        connections=context.connections,
        cancelled=context.cancelled,
        transport=context.transport,
        pace=context.pace,
        deletes=context.deletes,
    )


def _canonical(path: str, rules: NameRules, address: Address) -> str:
    """A remote path as people type it: in hierarchies `a//b/./c` means `a/b/c`; `..` is refused, not guessed at."""
    if not rules.opaque:
        path = "/".join(name for name in path.split("/") if name not in {"", "."})
    try:
        return paths.check(path, rules)
    except InvalidName as error:
        raise ConfigError(f"{paths.printable(address.text)!r}: {error.message}") from None


def _first(*seconds: float | None) -> float:
    return next((value for value in seconds if value is not None), 0.0)


def _key(identity: str, path: str) -> str:
    return f"{identity}/{path}" if path else identity
