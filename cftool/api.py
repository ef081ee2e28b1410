"""`open_store` for programs: an address of the command line as a typed Store.

    from cftool.api import open_store, read_bytes

    with open_store("work:photos") as store:
        for entry in store.scan(""):
            print(entry.path, entry.size, entry.modified)
        data = read_bytes(store, "2024/beach.jpg")

Paths are relative to the address, `/`-separated, without a slash at either end; "" is the address itself. What each
member does and raises is on `core.store.Store`; `core.ops` has conveniences over it. All of it is thread-safe, and none
of it survives a fork.
"""

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn, Self, cast

from cftool import stack
from cftool.config import dirs
from cftool.config.file import StackOptions
from cftool.core.errors import CftoolError, ConfigError, NotFound, StoreError
from cftool.core.ops import copy_anyhow, exists, move_anyhow, read_bytes, remove_tree, walk_anyhow, write_bytes
from cftool.core.sources import BytesSource
from cftool.core.store import Store
from cftool.core.types import Cap, Entry, Features, Kind
from cftool.core.wrapper import Wrapper
from cftool.disk.source import LocalSource
from cftool.stack import OpenContext

if TYPE_CHECKING:
    from cftool.cached import Running

__all__ = [
    "BytesSource",
    "Cap",
    "CftoolError",
    "ConfigError",
    "Entry",
    "Features",
    "Kind",
    "LocalSource",
    "NotFound",
    "OpenStore",
    "Store",
    "StoreError",
    "copy_anyhow",
    "exists",
    "move_anyhow",
    "open_store",
    "read_bytes",
    "remove_tree",
    "walk_anyhow",
    "write_bytes",
]


class OpenStore(Wrapper):
    """A Store that is also a context manager, which closes it, and that can be told to `sync`."""

    def __init__(self, inner: Store, running: "Running | None" = None) -> None:
        super().__init__(inner)
        self._running = running
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def pending(self) -> list[str]:
        """Files that are in the cache only, in the order in which they were changed; without a cache: none."""
        self._check_open()
        return [] if self._running is None else self._running.dirty()

    def sync(self, *, timeout: float | None = None) -> None:
        """Return when the remote has everything; without a cache it always has.

        Raises `cached.NotUploaded`, a TemporaryError, whose `unsent` names what stays after one honest try, or after
        `timeout` seconds.
        """
        self._check_open()
        if self._running is not None:
            self._running.sync(timeout=timeout)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the store {self.name} is closed")

    def close(self) -> None:
        """Release connections and files; idempotent. What is pending stays in the cache and goes up with its next use.

        Any other call is a ValueError then, as of a closed file.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._running is not None:
                self._running.close()
            else:
                self.inner.close()
        finally:
            self.inner = cast("Store", _Closed(self.name))


class _Closed:
    """In place of a store that was closed: whatever is asked of it is a mistake of the program."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, name: str) -> NoReturn:
        raise ValueError(f"the store {self.name} is closed")


def open_store(
    address: str | os.PathLike[str],
    *,
    config: str | None = None,
    env: Mapping[str, str] | None = None,
    read_only: bool = False,
    cached: bool = False,
    cache_id: str | None = None,
    metadata_cache: float | None = None,
) -> OpenStore:
    """The store that `address` names: `remote:path`, a provider's own name as in `s3:bucket/path`, or a local path.

    A `pathlib.Path` is always local.

    `config` is the configuration file (default: `$CFTOOL_CONFIG`, else the user's), `env` the environment (default:
    `os.environ`), from which remotes, secrets, proxies and the directories of state come as for the command.

    `cached`: with the write-back cache of mounts. Then a write returns when it is safe on this disk, and goes up in the
    background, `cache` seconds of the remote's configuration later (60), or at `sync`. `cache_id` names the cache;
    the default is the remote's, which its mounts and `cftool cache` use too. A cache that another process has open is
    shared: what it has not uploaded yet is seen, and changes made here go to the remote at once.

    `metadata_cache`: seconds for which answers about entries are remembered, 0 for none; default: as the remote's
    configuration says.

    No request is sent yet. Raises ConfigError where the address or the configuration is not usable, StoreError.
    """
    if metadata_cache is not None and not 0 <= metadata_cache < math.inf:
        raise ConfigError(f"metadata_cache is out of range: {metadata_cache}")
    environment = os.environ if env is None else env
    place, known = stack.locate(_text(address), env=environment, config_file=config)
    context = OpenContext(
        env=environment,
        state_dir=dirs.state_dir(environment),
        read_only=read_only,
        metadata_cache=metadata_cache,
    )
    if cache_id is not None and not cached:
        raise ConfigError("a cache_id is for stores that are opened with cached=True")
    if not cached:
        return OpenStore(stack.rooted(stack.open_address(place, known, context=context)))
    from cftool.cached import Running

    flags = StackOptions(cache_id=cache_id, metadata_cache=metadata_cache)
    running = Running(place, known, context=context, flags=flags)
    return OpenStore(running.store, running)


def _text(address: str | os.PathLike[str]) -> str:
    """As it would be typed: a path whose first component has a colon is no remote."""
    if isinstance(address, str):
        return address
    text = os.fspath(address)
    if not isinstance(text, str):
        raise TypeError(f"an address is a str or a path of str, not {type(address).__name__}")
    return text if text.startswith("/") else f"./{text}"
