"""`if_version` and `if_absent` of what a run writes: what was made there since the listing is not overwritten."""

import logging
import threading

from cftool.core.errors import Interrupted, StoreError
from cftool.core.store import Store
from cftool.core.types import Cap
from cftool.transfer.actions import Action
from cftool.transfer.options import Options

log = logging.getLogger("cftool.transfer")

_USES = 128  # writes between two looks at the capabilities


class Conditions:
    """Of the writes to one store. Thread-safe.

    Capabilities may appear while a run goes on (a server was seen to obey); asking for them costs more than a small
    file may, so it is done now and then. A local destination gets none: they would cost every file the shared sync.
    """

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        # What a filter hides at the destination looks absent and is not.
        self._may_be_absent = options.select is None
        self._uses = 0
        self._caps = Cap.NONE
        self._asked = False
        self._lock = threading.Lock()

    def of(self, action: Action) -> tuple[str | None, bool]:
        """For one write."""
        if self._uses % _USES == 0:
            features = self._store.features
            self._caps = features.caps if features.remote else Cap.NONE
        self._uses += 1
        if action.dst is not None:
            if Cap.IF_VERSION not in self._caps and not self._asked and action.dst.version is not None:
                self._ask()
            return (action.dst.version if Cap.IF_VERSION in self._caps else None), False
        return None, self._may_be_absent and Cap.IF_ABSENT in self._caps and not action.replaces and not action.attempts

    def _ask(self) -> None:
        """Before the first file is replaced: have the service show what it makes of conditions, once a run.

        It may cost requests, which a run that replaces nothing is spared.
        """
        with self._lock:
            if self._asked:
                return
            if self._store.features.remote:
                try:
                    self._store.probe("")
                except Interrupted:
                    raise
                except StoreError as error:
                    log.debug("whether conditions are obeyed could not be found out: %s", error)
                self._caps = self._store.features.caps
            self._asked = True
