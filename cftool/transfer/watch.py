"""`sync --watch`: when to sync again. The sync itself is an ordinary one, gate and lock and all; this only waits.

A local source tells by itself (inotify); a service with a feed of changes is asked for it; of anything else the tree is
simply listed again each interval. A burst of changes is waited out. Nothing relies on what is heard: every run lists
both sides, so that a hint that was lost costs time and nothing else.
"""

import logging
import time
from collections.abc import Callable

from cftool.core.errors import StoreError
from cftool.core.types import Cap
from cftool.disk import temps
from cftool.disk.notify import Notify
from cftool.transfer.options import Side

log = logging.getLogger("cftool.transfer")

_SLICE = 0.25  # seconds between looks at the stop flag
_QUIET = 1.0  # seconds without a change that end a burst
_BURST = 15.0  # seconds after which a burst is not waited for any longer


class Watch:
    """Waits for changes of `src`. `interval` in seconds, for what does not tell by itself, and after a failure."""

    def __init__(
        self,
        src: Side,
        *,
        interval: float,
        cancelled: Callable[[], bool],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._src, self._interval = src, interval
        self._cancelled, self._sleep, self._clock = cancelled, sleep, clock
        self._notify: Notify | None = None
        self._cursor: str | None = None
        self.how = f"lists it every {interval:g} s"
        if src.local_root is not None:
            self._hear(src.local_root)
        elif Cap.CHANGES in src.store.features.caps:
            self._cursor = src.store.changes(None).cursor
            self.how = f"asks for its changes every {interval:g} s"

    def _hear(self, root: str) -> None:
        try:
            self._notify = Notify(root, hidden=temps.is_temp)
        except (OSError, AttributeError) as error:  # no inotify in this library, or no watch left
            log.warning("changes are not told here (%s); the source is listed every %g s", error, self._interval)
        else:
            self.how = "hears of changes at once"

    def close(self) -> None:
        """Stop."""
        if self._notify is not None:
            self._notify.close()

    def wait(self, *, failed: bool) -> bool:
        """Until it is time to sync again; False where the run is to end. `failed`: once more after the interval."""
        end = self._clock() + self._interval
        while not self._cancelled():
            if self._notify is not None:
                if self._heard(self._notify):
                    return not self._cancelled()
                if not failed:
                    continue
            else:
                self._sleep(_SLICE)
            if self._clock() >= end:
                if failed or self._asked():
                    return True
                end = self._clock() + self._interval
        return False

    def _heard(self, notify: Notify) -> bool:
        try:
            if not notify.wait(_SLICE):
                return False
            end = self._clock() + _BURST
            while self._clock() < end and not self._cancelled() and notify.wait(_QUIET):
                pass
        except OSError as error:
            log.warning("changes are no longer told (%s); the source is listed every %g s", error, self._interval)
            notify.close()
            self._notify = None
        return True

    def _asked(self) -> bool:
        if self._cursor is None:
            return True
        try:
            found = self._src.store.changes(self._cursor)
        except StoreError as error:
            log.warning("the changes could not be asked for: %s", error)
            return True
        self._cursor = found.cursor
        return bool(found.paths) or found.reset
