"""The service's feed of changes in place of new listings: one request says what of all that is known is old.

The cursor lies in the cache. It is fetched before the first thing that is kept, so that every change after that is told
behind it; what was asked for before is left to its time to live. A feed that fails costs nothing but what it saves.
"""

import logging
import threading

from cftool.core.errors import Interrupted, StoreError, TemporaryError
from cftool.core.store import Store
from cftool.core.types import Cap
from cftool.wrap.metadata.cache import Cache

_log = logging.getLogger("cftool.metadata")


class Feed:
    """The feed of `inner` (Cap.CHANGES), one question at a time. Interrupted goes through; other errors are logged."""

    def __init__(self, inner: Store, cache: Cache) -> None:
        self._inner = inner
        self._cache = cache
        self._lock = threading.Lock()
        self._not_before = 0.0  # after a failure

    @property
    def _works(self) -> bool:
        return Cap.CHANGES in self._inner.features.caps and self._cache.clock() >= self._not_before

    def begin(self) -> None:
        """Before something is asked for that is to be kept: have a cursor."""
        if not self._works or self._cache.feed() is not None:
            return
        with self._lock:
            if self._cache.feed() is None:
                try:
                    found = self._inner.changes(None)
                except Interrupted:
                    raise
                except StoreError as error:
                    self._failed(error)
                else:
                    self._cache.feed_begun(found.cursor)

    def confirm(self, *, at_once: bool = False) -> bool:
        """Ask what changed, and forget it; whether what is left is confirmed. Not again within the time to live."""
        if not self._works:
            return False
        called = self._cache.clock()
        with self._lock:
            state = self._cache.feed()
            if state is None:
                return False
            now = self._cache.clock()
            if state.confirmed > called or (not at_once and 0 <= now - state.confirmed < self._cache.ttl):
                return True  # somebody else just did
            try:
                found = self._inner.changes(state.cursor)
            except Interrupted:
                raise
            except StoreError as error:
                self._failed(error)
                return False
            self._cache.feed_told(state.cursor, found, now)
            return True

    def _failed(self, error: StoreError) -> None:
        _log.info("the changes cannot be had, and things are asked for one by one: %s", error)
        self._not_before = self._cache.clock() + self._cache.ttl
        if not isinstance(error, TemporaryError):
            self._cache.feed_ended()
