"""An address becomes a store: the one place where wrappers are put together.

Outermost first: Check, Prefix (a remote's `root`), Visiting (where a write-back cache of the remote has something that
is not uploaded yet), MetadataCaching (where it is asked for; else Noting, for those who have it), Archiving (where it
is asked for, at the remote's root), Resume, ReadOnly, provider. `open_cached` is for mounts, and with `open_visiting`
for programs (`cached`). `cli` and programs call `open_address`; a transfer works on `rooted` views of what that gives.
Whoever opens closes; closing a view closes the stack below it.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING

from cftool import registry
from cftool.config import values
from cftool.config.address import Address, parse
from cftool.config.file import Config, RemoteConfig, StackOptions, load
from cftool.config.memory import FileMemory
from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError, InvalidName, StoreError, TemporaryError
from cftool.core.provider import Context, Memory, NoMemory, Pace, Provider, Secret, never
from cftool.core.store import Store
from cftool.core.types import NameRules
from cftool.core.wrapper import StatefulWrapper
from cftool.wrap import caches
from cftool.wrap.check import CheckStore
from cftool.wrap.noting import NotingStore
from cftool.wrap.prefix import PrefixStore
from cftool.wrap.readonly import ReadOnlyStore
from cftool.wrap.resume import ResumeStore

if TYPE_CHECKING:
    from cftool.config.values import Value
    from cftool.wrap.caching.store import CachingStore

_MOUNT_METADATA = 60.0  # seconds, where nothing is said
_CREDENTIALS = ("AWS_", "BOTO_", "GOOGLE_", "GCE_", "CLOUDSDK_")  # variables of SDKs that decide who one is


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
    fresh: bool = False  # no answer comes from that cache, whatever is configured
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


@dataclass(frozen=True, slots=True)
class Metadata:
    """How a remote's metadata are cached: for `seconds`, 0: not, but those who do hear of changes.

    `directory`: where; None: in memory, and nobody hears. `view`: whose eyes see the remote (see DESIGN.md there).
    """

    seconds: float = 0.0
    directory: str | None = None
    view: str = ""


UNCACHED = Metadata()


def build(
    store: Store,
    *,
    root: str = "",
    read_only: bool = False,
    metadata: Metadata = UNCACHED,
    visit: Iterable[str] = (),
) -> Store:
    """The wrappers around a provider's store. `visit`: the directories of its caches that have something pending."""
    store = below_cache(store, read_only=read_only, metadata=replace(metadata, seconds=0) if visit else metadata)
    for directory in visit:
        from cftool.wrap.caching.visiting import VisitingStore  # seldom needed

        store = VisitingStore(store, directory)
    if root:
        store = PrefixStore(store, root)
    return CheckStore(store)


def below_cache(store: Store, *, read_only: bool, metadata: Metadata) -> Store:
    """The wrappers between a provider's store and the content cache."""
    if read_only:
        store = ReadOnlyStore(store)
    if store.features.remote and not isinstance(store, StatefulWrapper):  # an archive has Resume below it
        store = ResumeStore(store)
    if metadata.seconds:
        from cftool.wrap.metadata.store import MetadataCachingStore  # seldom wanted

        return MetadataCachingStore(store, ttl=metadata.seconds, directory=metadata.directory, view=metadata.view)
    if metadata.directory is not None and not read_only:
        return NotingStore(store, metadata.directory)
    return store


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
    provider = registry.provider_of(remote)
    layers = values.Layers(context.env, address.overrides, context.flags)
    settings = values.settings(provider, remote, layers, config)
    if provider.name == "local" and not remote.stack.archive:
        confined = settings.values.get("root")
        if confined is None:
            return _open_local(address, "/" + address.path, remote, context, follow=follow)
        return _open_confined(address, str(confined), remote, context)
    inner, root = _opened(provider, settings, remote, context, archive=bool(remote.stack.archive))
    seconds = _first(context.metadata_cache, remote.stack.metadata_cache)
    store = build(
        inner,
        root=root,
        read_only=context.read_only or bool(remote.stack.read_only),
        metadata=_metadata(inner, seconds, settings.values, context),
        visit=_pending_caches(context.state_dir, remote, inner.features.identity),
    )
    path = _canonical(address.path, store.features.names, address)
    return Opened(store, path, address, _key(store.features.identity, path))


def _opened(
    provider: Provider, settings: values.Settings, remote: RemoteConfig, context: OpenContext, *, archive: bool
) -> tuple[Store, str]:
    """The provider's store, or the archive of small files over it, and which directory of it the remote is."""
    root, options = settings.root.strip("/"), settings.values
    if not archive:
        return _provider_store(provider, options, remote, context), root
    if provider.name == "local":
        root = os.path.realpath(str(options["root"])).strip("/") if options.get("root") else ""
        options = {"root": "/"}
    inner = _provider_store(provider, options, remote, context)
    if not root and (inner.features.names.opaque or provider.name == "local"):
        inner.close()
        raise ConfigError(f"{remote.where()}: 'archive' needs a root that holds files: set root to a bucket or folder")
    return archived(inner, root, context, read_only=context.read_only or bool(remote.stack.read_only)), ""


def _provider_store(
    provider: Provider, options: "Mapping[str, Value]", remote: RemoteConfig, context: OpenContext
) -> Store:
    try:
        return provider.open(options, provider_context(remote.name, provider.name, context))
    except ConfigError as error:  # of two remotes on the command line, which
        raise ConfigError(f"{remote.where()}: {error}") from None


def archived(store: Store, root: str, context: OpenContext, *, read_only: bool = False) -> Store:
    """Small files in tar packs below the directory `root` of a provider's store."""
    from cftool.wrap.archiving import ArchivingStore  # seldom wanted

    if root:
        store = PrefixStore(store, root)
    if read_only:
        store = ReadOnlyStore(store)
    if store.features.remote:
        store = ResumeStore(store)
    digest = hashlib.sha256(store.features.identity.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    directory = None if context.state_dir is None else os.path.join(context.state_dir, "archive", digest)
    return ArchivingStore(store, directory)


@dataclass(frozen=True, slots=True)
class Cached:
    """A stack with the write-back cache, which this process owns, and where in it the address points.

    `read_only`: what is below refuses changes, so that the cache must take none.
    """

    store: "CachingStore"
    path: str
    address: Address
    poll: Callable[[], frozenset[str]] | None = None  # what others changed: MetadataCachingStore.poll
    read_only: bool = False
    metadata: float = _MOUNT_METADATA  # seconds that what is known of the remote counts


def open_cached(
    address: Address, config: Config, *, context: OpenContext, flags: StackOptions, caches: str | None = None
) -> Cached:
    """Open `address` with the cache, as a mount does. `flags` win over the remote's configuration.

    `caches`: the directory of this and other caches, where it is not that of the state. Raises Locked where another
    process has this cache open.
    """
    from cftool.wrap.caching import CachingStore
    from cftool.wrap.caching.settings import settings_of

    provider, path, said, options = _cacheable(address, config, context, flags.archive)
    seconds = _first(flags.metadata_cache, said.metadata_cache, _MOUNT_METADATA)
    read_only = context.read_only or bool(flags.read_only or said.read_only)
    metadata = _metadata(provider, seconds, options, replace(context, fresh=False))
    below = below_cache(provider, read_only=read_only, metadata=metadata)
    directory = _cache_of(
        address, provider, context, said.cache_id if flags.cache_id is None else flags.cache_id, caches
    )
    try:
        cache = settings_of(flags.over(said).checked(), host=os.uname().nodename)
        poll = getattr(below, "poll", None)
        return Cached(CachingStore(below, directory, cache), path, address, poll, read_only, seconds)
    except BaseException:
        below.close()
        raise


@dataclass(frozen=True, slots=True)
class Visited:
    """A stack that sees what is pending in a cache of another process; `directory` is the cache's."""

    store: Store
    path: str
    directory: str


def open_visiting(
    address: Address, config: Config, *, context: OpenContext, flags: StackOptions, caches: str | None = None
) -> Visited:
    """Open `address` beside the process that has its cache open; the arguments are those of `open_cached`.

    Raises TemporaryError where that one has only just begun, so that there is nothing to look at yet.
    """
    provider, path, said, options = _cacheable(address, config, context, flags.archive)
    directory = _cache_of(
        address, provider, context, said.cache_id if flags.cache_id is None else flags.cache_id, caches
    )
    try:
        _require_begun(directory, provider.name)
        read_only = context.read_only or bool(flags.read_only or said.read_only)
        return Visited(
            build(
                provider, read_only=read_only, metadata=_metadata(provider, 0.0, options, context), visit=[directory]
            ),
            path,
            directory,
        )
    except BaseException:
        provider.close()
        raise


def confined(address: Address, config: Config, *, context: OpenContext) -> Address:
    """The same place as the root of its remote: where archives lie that belong to this address alone."""
    if address.remote is None or _is_local(address, config):
        return address  # a local tree begins where it is opened
    remote = config.remote(address.remote) or RemoteConfig(address.remote, address.remote)
    kind = registry.provider_of(remote)
    settings = values.settings(kind, remote, values.Layers(context.env, address.overrides, context.flags), config)
    root = paths.join(settings.root.strip("/"), address.path).strip("/")
    return replace(address, path="", overrides={**address.overrides, values.ROOT.name: root}) if root else address


def _require_begun(directory: str, name: str) -> None:
    import sqlite3

    from cftool.wrap.caching import care

    try:
        care.looked_at(directory)
    except (StoreError, sqlite3.Error) as error:
        raise TemporaryError(
            f"the cache cannot be looked at: {error}", op="open", path=directory, store=name
        ) from error


def cache_of(address: Address, config: Config, *, context: OpenContext) -> str:
    """Where the cache of an address lies, whether there is one or not."""
    provider, _, said, _ = _cacheable(address, config, context)
    provider.close()
    return _cache_of(address, provider, context, said.cache_id)


def metadata_of(address: Address, config: Config, *, context: OpenContext) -> str | None:
    """Where the metadata of the service of an address are cached, whether they are or not; None: in memory."""
    provider, *_ = _cacheable(address, config, context)
    try:
        return _metadata(provider, 0.0, {}, context).directory
    finally:
        provider.close()


def caches_of(address: Address, config: Config, *, context: OpenContext) -> list[str]:
    """The caches that the remote of an address has, under whatever `cache_id`."""
    provider, _, said, _ = _cacheable(address, config, context)
    provider.close()
    assert context.state_dir is not None
    default = _cache_of(address, provider, context, said.cache_id)
    return caches.of(context.state_dir, provider.features.identity, default)


def _cache_of(
    address: Address, provider: Store, context: OpenContext, cache_id: str | None, base: str | None = None
) -> str:
    assert context.state_dir is not None
    problem = None if cache_id is None else paths.component_problem(cache_id)
    if problem is not None:  # it is the name of a directory
        raise ConfigError(f"the cache_id {problem}")
    directory = cache_directory(context.state_dir, address.remote or "local", provider.features.identity, cache_id)
    return directory if base is None else os.path.join(base, os.path.basename(directory))


def _cacheable(
    address: Address, config: Config, context: OpenContext, archive: bool | None = None
) -> "tuple[Store, str, StackOptions, Mapping[str, Value]]":
    """The provider's store below a cache, the path of the address in it, what its configuration says, its options."""
    known = None if address.remote is None else config.remote(address.remote)
    configured = bool(known and known.stack.archive)
    if address.remote is None or (_is_local(address, config) and not configured):
        opened = open_address(address, config, context=replace(context, state_dir=None))
        assert opened.local_root is not None
        opened.store.close()
        provider = registry.provider("local").open({"root": "/"}, provider_context("local", "local", context))
        if place := opened.local_root.strip("/"):
            provider = PrefixStore(provider, place)  # its identity says which directory
        if archive:
            provider = archived(provider, "", context)
        return provider, "", StackOptions() if known is None else known.stack, {}
    remote = config.remote(address.remote) or RemoteConfig(address.remote, address.remote)
    kind = registry.provider_of(remote)
    settings = values.settings(kind, remote, values.Layers(context.env, address.overrides, context.flags), config)
    if archive and not configured:  # asked for by a program: at the place that it names
        place = paths.join(settings.root.strip("/"), _canonical(address.path, NameRules(), address)).rstrip("/")
        provider, _ = _opened(kind, replace(settings, root=place), remote, context, archive=True)
        return provider, "", remote.stack, settings.values
    provider, root = _opened(kind, settings, remote, context, archive=configured)
    path = paths.join(root, _canonical(address.path, provider.features.names, address)).rstrip("/")
    return provider, path, remote.stack, settings.values


def cache_directory(state_dir: str, remote: str, identity: str, cache_id: str | None) -> str:
    """Where the cache of a remote lies; the same over restarts, another for another account or endpoint."""
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return os.path.join(state_dir, "cache", cache_id or f"{remote}-{digest}")


def metadata_directory(state_dir: str, identity: str) -> str:
    """Where the metadata of a service are cached: for all remotes that lead to it, so that each hears of changes."""
    kind = re.split(r"[^a-z0-9]", identity, maxsplit=1)[0] or "remote"
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return os.path.join(state_dir, "metadata", f"{kind}-{digest}")


def _metadata(store: Store, seconds: float, options: Mapping[str, "Value"], context: OpenContext) -> Metadata:
    """Of a service; a local tree, which everybody changes, is remembered for a run at most."""
    if context.fresh:
        seconds = 0.0
    if context.state_dir is None or not store.features.remote:
        return Metadata(seconds)
    directory = metadata_directory(context.state_dir, store.features.identity)
    return Metadata(seconds, directory, _view(options, context.env) if seconds else "")


def _view(options: Mapping[str, "Value"], env: Mapping[str, str]) -> str:
    """Who looks: others may be refused what these credentials are shown, or shown something else."""
    said = [(name, value.reveal() if isinstance(value, Secret) else value) for name, value in options.items()]
    known = [(name, env[name]) for name in env if name.startswith(_CREDENTIALS)]
    return hashlib.sha256(repr((sorted(said), sorted(known))).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _pending_caches(state_dir: str | None, remote: RemoteConfig, identity: str) -> list[str]:
    """The caches of a remote that have something pending; one look at the disk where there is no cache at all."""
    if state_dir is None:
        return []
    default = cache_directory(state_dir, remote.name, identity, remote.stack.cache_id)
    return caches.pending(caches.of(state_dir, identity, default))


def _is_local(address: Address, config: Config) -> bool:
    assert address.remote is not None
    remote = config.remote(address.remote)
    return (remote.type if remote is not None else address.remote) == "local"


def rooted(opened: Opened, path: str | None = None) -> Store:
    """The same stack as a view of `path` (default: the address's own), which need not exist."""
    return view(opened.store, opened.path if path is None else path)


def view(store: Store, path: str) -> Store:
    """A stack as a view of one directory of it, which need not exist."""
    inner = store.inner if isinstance(store, CheckStore) else store
    return CheckStore(PrefixStore(inner, path)) if path else store


def locate(text: str, *, env: Mapping[str, str], config_file: str | None = None) -> tuple[Address, Config]:
    """What a text like `remote:path` names, and the configuration for it; of a local path none is read."""
    if ":" not in text.partition("/")[0]:
        return parse(text, remotes=()), Config("", env)
    config = load(config_file, env)
    return parse(text, remotes=config.known(registry.installed())), config


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
    if context.state_dir is not None:
        caches.bring_local(
            context.state_dir, place, lambda: provider.open({"root": "/"}, provider_context("local", "local", context))
        )
    inner = provider.open({"root": root}, provider_context(remote.name, "local", context))
    store = build(
        inner,
        read_only=context.read_only or bool(remote.stack.read_only),
        metadata=_metadata(inner, _first(context.metadata_cache, remote.stack.metadata_cache), {}, context),
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


def provider_context(remote: str, provider: str, context: OpenContext) -> Context:
    """What a provider is opened with, or asked for a login."""
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
