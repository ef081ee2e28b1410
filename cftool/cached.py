"""A write-back cache that a program has open by itself, without a mount: opened, served, uploaded, closed.

`api` and `cloudfusion` build on it. Who opens a cache first owns it: it uploads in the background and answers other
processes through the cache's socket, as a mount does. Who comes later visits: it sees all that is pending, and changes
the remote itself once what is pending at that place is there. Nothing of this survives a fork: open in each process.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from cftool import stack
from cftool.config.address import Address
from cftool.config.file import Config, StackOptions
from cftool.core import paths
from cftool.core.errors import ConfigError, Locked, TemporaryError
from cftool.stack import OpenContext
from cftool.wrap.caching import CachingStore, care, owner
from cftool.wrap.caching.rows import Pending, What
from cftool.wrap.check import CheckStore
from cftool.wrap.readonly import ReadOnlyStore

if TYPE_CHECKING:
    from cftool.core.store import Store

_NOBODY = (ConnectionRefusedError, FileNotFoundError)  # owns the cache
_BEGINNING = 10.0  # seconds that an owner may take to begin a new journal
_PAUSE = 0.05  # seconds between two tries
_LONG = 30 * 86_400.0  # seconds: no limit, for the socket


class Unsent(NamedTuple):
    """A change that the remote does not have: of `path`, relative to the address; `reason`: why, "" not tried yet."""

    path: str
    what: str
    reason: str


class NotUploaded(TemporaryError):
    """Something is not at the remote yet; it is safe in the cache, and tried again. `unsent` is all of it."""

    def __init__(self, unsent: tuple[Unsent, ...], *, store: str | None = None) -> None:
        first = unsent[0]
        more = f", and {len(unsent) - 1} more" if len(unsent) > 1 else ""
        reason = f": {first.reason}" if first.reason else ""
        name = paths.printable(first.path)
        super().__init__(f"not uploaded yet: {first.what} {name}{reason}{more}", op="flush", store=store)
        self.unsent = unsent

    def __reduce__(self) -> tuple[object, ...]:
        return (_again, (self.unsent, self.store))


def _again(unsent: tuple[Unsent, ...], store: str | None) -> NotUploaded:
    return NotUploaded(unsent, store=store)


class Running:
    """See the module. `store` is the view of what the address names.

    `flags` are those of a mount: sizes in bytes, times in seconds. `caches`: the directory that the cache's own
    lies in; by default that of the state, where `cftool cache` finds it. Raises ConfigError, StoreError.
    """

    def __init__(
        self, address: Address, config: Config, *, context: OpenContext, flags: StackOptions, caches: str | None = None
    ) -> None:
        if context.state_dir is None:
            raise ConfigError("a cache needs a state directory")
        if flags.archive:
            address = stack.confined(address, config, context=context)
        self._again = (address, config, context, flags, caches)
        self.store: Store
        self._cache: CachingStore | None = None
        self._owner: owner.Owner | None = None
        self._open()

    def _open(self) -> None:
        """As the owner, else as a visitor of the one that there is; who has only just begun is waited for."""
        address, config, context, flags, caches = self._again
        deadline = time.monotonic() + _BEGINNING
        while True:
            try:
                cached = stack.open_cached(address, config, context=context, flags=flags, caches=caches)
            except Locked:
                pass
            else:
                self._own(cached)
                return
            try:
                visited = stack.open_visiting(address, config, context=context, flags=flags, caches=caches)
            except TemporaryError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)
            else:
                self.store = stack.view(visited.store, visited.path)
                self.root, self.directory = visited.path, visited.directory
                return

    def _own(self, cached: stack.Cached) -> None:
        self._cache = cached.store
        self.root, self.directory = cached.path, cached.store.directory
        store: Store = ReadOnlyStore(cached.store) if cached.read_only else cached.store
        self.store = stack.view(CheckStore(store), cached.path)
        try:
            self._owner = owner.Owner(cached.store)
        except BaseException:
            cached.store.close()
            raise
        cached.store.start()

    @property
    def owns(self) -> bool:
        """Whether this process has the cache, and uploads."""
        return self._cache is not None

    def settings(self) -> StackOptions:
        """What it was opened with."""
        return self._again[3]

    def sync(self, *, timeout: float | None = None) -> None:
        """Bring all that is pending at and below the address to the remote now.

        Each change is tried, whatever its turn would be. Raises NotUploaded with what stays, after `timeout` seconds at
        the latest.
        """
        left = self._flushed(timeout)
        if left:
            unsent = (Unsent(self._inside(row["path"]) or "", row["what"], row["error"]) for row in left)
            raise NotUploaded(tuple(unsent), store=self.store.name)

    def _flushed(self, timeout: float | None) -> list[dict[str, Any]]:
        if self._cache is not None:
            return [owner.shown(row) for row in self._cache.flush(self.root, timeout=timeout)]
        deadline = time.monotonic() + (_LONG if timeout is None else timeout)
        while True:
            left = self._flushed_by_owner(deadline)
            if left is not None:
                return left
            try:
                return self._flushed_alone(timeout)
            except Locked:  # an owner that ends no longer answers, and has its cache until it has ended
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)

    def _flushed_by_owner(self, deadline: float) -> list[dict[str, Any]] | None:
        """What the owner could not upload; None where there is none any more."""
        request = {"do": "flush", "path": self.root, "timeout": max(0.0, deadline - time.monotonic())}
        with suppress(*_NOBODY):
            for answer in owner.ask(self.directory, request):
                if "pending" in answer:
                    rows: list[dict[str, Any]] = answer["pending"]
                    return rows
        return None

    def _flushed_alone(self, timeout: float | None) -> list[dict[str, Any]]:
        """The owner is gone: its cache is ours for as long as that takes."""
        address, config, context, flags, caches = self._again
        cache = stack.open_cached(address, config, context=context, flags=flags, caches=caches).store
        try:
            return [owner.shown(row) for row in cache.flush(self.root, timeout=timeout)]
        finally:
            cache.close()

    def dirty(self) -> list[str]:
        """What the remote does not have yet, or not under that name: paths relative to the address, in order."""
        rows = care.looked_at(self.directory)[0] if self._cache is None else self._cache.pending()
        inside = (self._inside(path) for path in dirty_files(rows))
        return [path for path in inside if path is not None]

    def _inside(self, path: str) -> str | None:
        """A path of the cache as one of the address; None where it is not below that."""
        if not self.root:
            return path
        return path[len(self.root) + 1 :] if path.startswith(self.root + "/") else None

    def status(self) -> dict[str, Any]:
        """What `cftool cache status --json` tells; of its owner where there is one."""
        if self._cache is not None:
            return owner.status(self._cache)
        with suppress(*_NOBODY):
            for said in owner.ask(self.directory, {"do": "status"}):
                return said
        rows, total, clean = care.looked_at(self.directory)
        return {"cache": os.path.basename(self.directory), "bytes": total, "clean_bytes": clean, "count": len(rows)}

    def close(self) -> None:
        """Stop; what is not uploaded stays in the cache for whoever opens it next. Idempotent."""
        if self._owner is not None:
            self._owner.close()
            self._owner = None
        self.store.close()


def dirty_files(rows: Iterable[Pending]) -> list[str]:
    """Files, and directories that were renamed, by the names that they are shown by, in the order of the changes."""
    found: dict[str, None] = {}
    for row in rows:
        if row.what is What.UPLOAD:
            found[row.path] = None
        elif row.what is What.DELETE:
            found.pop(row.path, None)
        elif row.what is What.RENAME and row.dst is not None:
            below = [path for path in found if paths.is_within(path, row.path)]
            for path in below:
                del found[path]
                found[row.dst + path[len(row.path) :]] = None
            found[row.dst] = None  # of a directory: all that was in it
    return list(found)


def with_metadata(flags: StackOptions, context: OpenContext, address: Address, config: Config) -> StackOptions:
    """`flags` with the metadata cache that `context` or else the remote asks for; where neither does there is none."""
    if flags.metadata_cache is not None:
        return flags
    remote = None if address.remote is None else config.remote(address.remote)
    seconds = context.metadata_cache
    if seconds is None and remote is not None:
        seconds = remote.stack.metadata_cache
    return replace(flags, metadata_cache=seconds or 0.0)
