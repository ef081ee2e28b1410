"""What becomes of a pending row: done, kept under another name, or tried again. Journal and overlay go together."""

import logging
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from cftool.core import paths
from cftool.core.errors import (
    IntegrityError,
    InvalidName,
    NotADirectory,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    ReadOnly,
    SourceChanged,
    StoreError,
    TemporaryError,
    TooLarge,
    Unsupported,
    kind_of,
)
from cftool.core.types import Entry
from cftool.core.wrapper import look
from cftool.wrap.caching.names import conflict_name
from cftool.wrap.caching.rows import DAMAGED, Pending, State

if TYPE_CHECKING:
    from cftool.wrap.caching.store import CachingStore

_log = logging.getLogger("cftool.cache")
_LONGEST = 300.0  # seconds between two tries
_QUOTA = 600.0
_PERMISSION = 300.0
# Nothing that waiting helps with: these stay until the content or the name changes, or `flush` is asked for.
_PERMANENT = (InvalidName, TooLarge, Unsupported, ReadOnly, NotADirectory)


class Settling:
    """See the module. Whoever inherits it gives the store."""

    _store: "CachingStore"

    def _there(self, path: str) -> Entry | None:
        """What the remote has now: a cache of metadata below is not believed, others may have written since."""
        try:
            return look(self._store.inner, path)
        except NotFound:
            return None

    def _changed(self, row: Pending, *, save: bool = True, **fields: object) -> Pending:
        """Under the lock: the row with other fields, in the journal and in what is shown."""
        changed = replace(row, **fields)  # type: ignore[arg-type]
        if save:
            self._store.journal.update(changed)
        self._store.overlay.replace(changed)
        return changed

    def _based(self, seq: int, base: str | None) -> None:
        """Under the lock: rows that waited for the result of `seq` know it now, as the journal does."""
        for other in self._store.overlay.followers(seq):
            self._store.overlay.replace(replace(other, base=base, after=None))

    def _free_name(self, path: str, taken: set[str]) -> str:
        """A conflict name that neither the remote nor a pending row has."""
        while True:
            name = conflict_name(path, self._store.settings.host, self._store.times.wall(), taken)
            if self._there(name) is None:
                return name
            taken.add(name)

    def _settle(self, row: Pending, action: "object") -> None:
        try:
            action()  # type: ignore[operator]
        except StoreError as error:
            self._failed(row, error)

    def _failed(self, row: Pending, error: Exception) -> None:
        """Say it, count it, and decide when to try again."""
        store = self._store
        kind = kind_of(error)
        text = paths.printable(str(error))
        attempts = row.attempts + 1
        permanent = isinstance(error, _PERMANENT)
        if row.content is not None and store.size_of(row.content) != row.size:
            permanent, kind = True, DAMAGED
        store.stats.error(kind, text)
        delay = _delay(error, attempts)
        with store.lock:
            current = store.overlay.rows.get(row.seq)
            if current is None:  # it is done: only what comes after it failed
                return
            self._changed(
                current, state=State.FAILED if permanent else State.DIRTY, attempts=attempts, error_kind=kind,
                error=text, next_try=store.times.wall() + delay,
            )  # fmt: skip
        _log.warning(
            "%s %s: %s; %s", row.what.value, paths.printable(row.path), text,
            "it stays in the cache" if permanent else f"tried again in {delay:.0f} s",
        )  # fmt: skip


def error_of(row: Pending) -> StoreError:
    """What the last try of a row failed with, or that there was none."""
    error = _KINDS.get(row.error_kind, TemporaryError)
    return error(row.error or "it is not uploaded yet", op="upload", path=row.path)


def _all(kind: type[StoreError]) -> Iterator[type[StoreError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _all(each)


_KINDS = {kind("").kind: kind for kind in _all(StoreError)} | {DAMAGED: IntegrityError}


def _delay(error: Exception, attempts: int) -> float:
    """Seconds until the next try."""
    if isinstance(error, QuotaExceeded):
        return _QUOTA
    if isinstance(error, PermissionDenied):
        return _PERMISSION
    longest = min(_LONGEST, 2.0**attempts)
    if isinstance(error, TemporaryError) and error.retry_after is not None:
        return max(error.retry_after, 1.0)
    if isinstance(error, IntegrityError | SourceChanged | TemporaryError):
        return random.uniform(longest / 2, longest)  # noqa: S311 - jitter
    return longest
