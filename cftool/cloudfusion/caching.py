"""The wrappers: metadata cache, write-back cache, and write-back cache over archives.

    client = MetadataCachingStore(open_store("dropbox:"))
    client = TransparentMultiprocessingCachingStore(client, cache_id="session1")

Each takes over the store that it wraps. What the caching stores accept is safe on this disk when the call returns, and
goes up `cache_expiration_time` seconds after the last write to it, at `sync`, or when the cache is next opened.
"""

import logging
import math
import os
from dataclasses import asdict, replace
from typing import Any, cast

from cftool.cached import Running, with_metadata
from cftool.cloudfusion.errors import told
from cftool.cloudfusion.sources import Event, OnceSource, Readable, interruptible
from cftool.cloudfusion.store import Closed, Store
from cftool.cloudfusion.transparent import ExceptionStats, TransparentStore
from cftool.config.file import StackOptions
from cftool.core.store import Store as Core

_log = logging.getLogger("cftool.cloudfusion")
_MB = 1_000_000
_ARCHIVE_MB = 4  # what the documents say, and what was never obeyed


class MetadataCachingStore(Store):
    """Remembers what `get_metadata` and listings said for `cache_expiration_time` seconds, and knows its own changes.

    What others change shows after that time. It goes below the caching stores, not above them.
    """

    def __init__(self, store: Store, cache_expiration_time: float = 60) -> None:
        if isinstance(store, MultiprocessingCachingStore):
            raise TypeError("MetadataCachingStore goes below a caching store: wrap the store that the cache is over")
        place = _wrapped(store)._place  # noqa: SLF001 - one family
        seconds = _number("cache_expiration_time", cache_expiration_time)
        super().__init__(replace(place, context=replace(place.context, metadata_cache=seconds)))
        self._wrapped = store


class MultiprocessingCachingStore(Store):
    """Content and changes on the local disk; see the module.

    `cache_expiration_time` in seconds, `cache_size_in_mb` of 10^6 bytes: above it content goes that the remote has.
    `cache_id` names the cache, over restarts and crashes; the default is one that belongs to the account, which
    mounts use too. `cache_dir` is where caches lie; in the default one `cftool cache` finds them.

    Two processes may have one cache open: the first uploads, the second sees what is pending and stores past it.
    """

    _HARD = 10_000  # MB
    _ARCHIVE = False

    def __init__(
        self,
        store: Store,
        cache_expiration_time: float = 60,
        cache_size_in_mb: float = 2000,
        cache_id: str | None = None,
        cache_dir: str | None = None,
    ) -> None:
        self._begin(store, cache_expiration_time, cache_size_in_mb, None, cache_id, cache_dir)

    def _begin(
        self,
        store: Store,
        expiration: float,
        soft: float,
        hard: float | None,
        cache_id: str | None,
        cache_dir: str | None,
    ) -> None:
        place = _wrapped(store)._place  # noqa: SLF001 - one family
        soft = _number("cache_size_in_mb", soft)
        most = max(soft, self._HARD) if hard is None else _number("hard_cache_size_limit_in_mb", hard)
        flags = StackOptions(
            archive=self._ARCHIVE or None,
            cache=_number("cache_expiration_time", expiration),
            cache_size=int(min(soft, most) * _MB),
            hard_cache_size_limit=int(most * _MB),
            cache_id=cache_id,
        )
        self._flags = with_metadata(flags, place.context, place.address, place.config)
        self._caches = None if cache_dir is None else os.path.abspath(os.path.expanduser(cache_dir))
        Store.__init__(self, place)
        self._wrapped = store

    def _opened(self) -> Core:
        place = self._place
        self._running = Running(
            place.address, place.config, context=place.context, flags=self._flags, caches=self._caches
        )
        return self._running.store

    def store_fileobject(self, fileobject: Readable, path: str, interrupt_event: Event | None = None) -> int:
        """Store all that a binary file object has, from its beginning; returns when it is safe on this disk.

        What is in the way of the limit `hard_cache_size_limit_in_mb` is waited for, a minute at most; then
        StoreSpaceLimitError is raised.
        """
        with told(path):
            if not self._running.owns:
                return super().store_fileobject(fileobject, path, interrupt_event)
            return self._write(path, interruptible(OnceSource(fileobject), interrupt_event))

    def sync(self, timeout: float | None = None) -> None:
        """Return when the remote has everything that was changed here.

        Raises NotSynchronizedError after one honest try of each change, or after `timeout` seconds; its `unsent` names
        what stays, which is tried again in the background.
        """
        with told():
            self._running.sync(timeout=timeout)

    def close(self) -> None:
        """Stop uploading and release the cache; what is not uploaded stays in it for whoever opens it next."""
        if self._closed:
            return
        running, self._running = self._running, cast("Running", Closed(self.get_name()))
        try:
            with told():
                running.close()
        finally:
            super().close()

    def get_cache_expiration_time(self) -> float:
        """Seconds from the last write of a file to its upload."""
        return self._flags.cache or 0.0

    def get_configuration(self, config: object = None) -> dict[str, Any]:
        """How it was set up, as the `stack` table of a configuration says it: seconds and bytes."""
        said = {name: value for name, value in asdict(self._flags).items() if value is not None}
        own = {"archive": self._ARCHIVE, "cache_id": os.path.basename(self._running.directory)}
        return {**super().get_configuration(config), **said, **own}


class _Transparent(MultiprocessingCachingStore, TransparentStore):
    """What both transparent stores tell."""

    def get_dirty_files(self) -> list[str]:
        """Paths of the files that the remote does not have yet as they are here."""
        with told():
            return ["/" + path for path in self._running.dirty()]

    def _status(self) -> dict[str, Any]:
        with told():
            return self._running.status()

    def get_cachesize(self) -> float:
        """What the cache takes on the disk, in MB."""
        return float(self._status()["bytes"]) / _MB

    def get_hard_limit(self) -> float:
        """The size, in MB, above which stores wait."""
        return (self._flags.hard_cache_size_limit or 0) / _MB

    def exceeds_hard_limit(self) -> bool:
        """Whether the cache is that large."""
        return self.get_cachesize() > self.get_hard_limit()

    def get_downloaded(self) -> float:
        """What was downloaded since the cache was opened, in MB."""
        return float(self._status().get("downloaded", 0)) / _MB

    def get_uploaded(self) -> float:
        """What was uploaded since the cache was opened, in MB."""
        return float(self._status().get("uploaded", 0)) / _MB

    def get_download_rate(self) -> float:
        """MB a second, over the time in which at least one download ran."""
        return float(self._status().get("download_rate", 0)) / _MB

    def get_upload_rate(self) -> float:
        """MB a second, over the time in which at least one upload ran."""
        return float(self._status().get("upload_rate", 0)) / _MB

    def get_cache_hits(self) -> int:
        """How often content was asked for that was in the cache."""
        return int(self._status().get("hits", 0))

    def get_cache_misses(self) -> int:
        """How often content was asked for that had to be fetched."""
        return int(self._status().get("misses", 0))

    def get_exception_stats(self) -> dict[str, ExceptionStats]:
        """Errors of uploads, by kind; empty where all went well."""
        errors = self._status().get("errors", {})
        return {kind: ExceptionStats(kind, one["text"], one["count"], one["last"]) for kind, one in errors.items()}

    def get_status_information(self) -> str:
        """All of it in words."""
        said = self._status()
        lines = [
            f"cache: {said['cache']}, {said['bytes'] / _MB:.1f} MB",
            f"not uploaded: {said['count']}",
            f"uploaded: {said.get('uploaded', 0) / _MB:.1f} MB at {said.get('upload_rate', 0) / _MB:.3f} MB/s",
            f"downloaded: {said.get('downloaded', 0) / _MB:.1f} MB at {said.get('download_rate', 0) / _MB:.3f} MB/s",
            f"hits: {said.get('hits', 0)}, misses: {said.get('misses', 0)}, conflicts: {said.get('conflicts', 0)}",
        ]
        lines += [f"problem: {problem}" for problem in said.get("problems", ())]
        return "\n".join(lines)


class TransparentMultiprocessingCachingStore(_Transparent):
    """MultiprocessingCachingStore that tells what is not uploaded, sizes, rates and errors.

    `hard_cache_size_limit_in_mb`: above it stores wait for uploads, and fail after a minute; `cache_size_in_mb` counts
    up to there. By default it is 10,000, or `cache_size_in_mb` where that is more.
    """

    def __init__(
        self,
        store: Store,
        cache_expiration_time: float = 60,
        cache_size_in_mb: float = 2000,
        hard_cache_size_limit_in_mb: float | None = None,
        cache_id: str | None = None,
        cache_dir: str | None = None,
    ) -> None:
        self._begin(store, cache_expiration_time, cache_size_in_mb, hard_cache_size_limit_in_mb, cache_id, cache_dir)


class ChunkMultiprocessingCachingStore(MultiprocessingCachingStore):
    """MultiprocessingCachingStore over archives: small files go up many to an object, and are read from there.

    Any machine that opens the same place so sees them as files. `max_archive_size_in_mb` is accepted for the sake of
    old programs, and the log says that it means nothing; an archive has 8 MB at most.
    """

    _HARD = 3_000
    _ARCHIVE = True

    def __init__(
        self,
        store: Store,
        cache_expiration_time: float = 60,
        cache_size_in_mb: float = 2000,
        cache_id: str | None = None,
        max_archive_size_in_mb: float = _ARCHIVE_MB,
        cache_dir: str | None = None,
    ) -> None:
        _not_obeyed(max_archive_size_in_mb)
        self._begin(store, cache_expiration_time, cache_size_in_mb, self._HARD, cache_id, cache_dir)


class TransparentChunkMultiprocessingCachingStore(_Transparent, ChunkMultiprocessingCachingStore):
    """ChunkMultiprocessingCachingStore that tells what is not uploaded, sizes, rates and errors."""

    def __init__(
        self,
        store: Store,
        cache_expiration_time: float = 60,
        cache_size_in_mb: float = 2000,
        hard_cache_size_limit_in_mb: float | None = None,
        cache_id: str | None = None,
        max_archive_size_in_mb: float = _ARCHIVE_MB,
        cache_dir: str | None = None,
    ) -> None:
        _not_obeyed(max_archive_size_in_mb)
        self._begin(store, cache_expiration_time, cache_size_in_mb, hard_cache_size_limit_in_mb, cache_id, cache_dir)


def _number(name: str, value: float) -> float:
    """A size or a time. Raises ValueError for what is none."""
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} is out of range: {value}")
    return number


def _not_obeyed(size: float) -> None:
    if size != _ARCHIVE_MB:
        _log.warning("max_archive_size_in_mb has no meaning any more: an archive has 8 MB at most")


def _wrapped(store: Store) -> Store:
    if not isinstance(store, Store) or isinstance(store, MultiprocessingCachingStore):
        raise TypeError("wrap a store of open_store, of a provider's class, or a MetadataCachingStore")
    return store
