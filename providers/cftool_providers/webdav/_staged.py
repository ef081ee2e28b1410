"""What arrived, most under temporary names, looked at together: one listing of a directory, no request a file.

Of `_upload`, for servers whose answer to a PUT proves nothing. Files of one directory wait until none of its PUTs is
under way, or until there are `TOGETHER`; then one PROPFIND of depth 1 tells of all of them. Nobody waits for a file
that has not begun. What the listing does not tell (hidden names; it is too long, or in doubt) is asked for one by one.
"""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from cftool.core.paths import join
from cftool.http.types import Response
from cftool_providers.webdav import _multistatus
from cftool_providers.webdav._api import Api
from cftool_providers.webdav._flows import Flow, Flows, Gate

if TYPE_CHECKING:
    from cftool.core.types import Entry

log = logging.getLogger("cftool.webdav")

TOGETHER = 128
_FEWEST = 3  # below that a listing saves nothing
_SPARSE = 4  # entries of the directory for each that is looked for: beyond, single looks are cheaper


class Batch:
    """Files that are looked at together. `found`: what is there of their temporary and their final names."""

    __slots__ = ("finals", "found", "gate", "seen", "wanted")

    def __init__(self) -> None:
        self.gate = Gate()
        self.wanted: set[str] = set()
        self.finals: set[str] = set()
        self.found: dict[str, Entry] = {}
        self.seen = 0.0  # monotonic; when it was asked


class Staging:
    """Of one directory in one loop. `under_way` counts PUTs that began and have not ended."""

    __slots__ = ("_alone", "_api", "_batch", "_directory", "_flows", "_looking", "under_way")

    def __init__(self, api: Api, flows: Flows, directory: str) -> None:
        self._api = api
        self._flows = flows
        self._directory = directory
        self._batch = Batch()
        self._alone = False
        self._looking = False
        self.under_way = 0

    def arrived(self, temp: str, path: str) -> Batch | None:
        """A PUT ended well; the batch whose gate to wait at, or None where the file is looked at alone."""
        self.under_way -= 1
        if self._alone:
            return None
        batch = self._batch
        batch.wanted.add(temp)
        batch.finals.add(path)
        self._go()
        return batch

    def left(self) -> None:
        """A PUT ended in another way: it failed, or its answer proves enough."""
        self.under_way -= 1
        self._go()

    def _go(self) -> None:
        """Look, where nobody is to be waited for; one listing at a time, for the first tells whether it pays."""
        batch = self._batch
        waits = self.under_way > 0 and len(batch.wanted) < TOGETHER
        if self._looking or not batch.wanted or (waits and not self._alone):
            return
        self._batch = Batch()
        if self._alone or len(batch.wanted) < _FEWEST:
            self._flows.open(batch.gate)
        else:
            self._looking = True
            self._flows.spawn(self._look(batch))

    def _look(self, batch: Batch) -> Flow:
        try:
            request = self._api.find_request(self._directory, directory=True, depth="1")
            batch.seen = self._api.client.clock.monotonic()
            # Once: nobody is to wait for a listing that may fail for long, where single looks will do.
            response: Response = yield replace(request, idempotent=False, replayable=True)
            self._take(batch, response)
        except Exception as error:  # whatever it is: each file is looked at by itself then, and tells its own
            log.info("files are looked at one by one: %s", error)
            self._alone = True
        self._looking = False
        self._go()
        self._flows.open(batch.gate)
        return None

    def _take(self, batch: Batch, response: Response) -> None:
        api, directory = self._api, self._directory
        _multistatus.check_answer(response.status, response.headers, api.host)
        rows = _multistatus.decode(response.body, bare_names=api.quirks.bare_names)
        below = api.collection(directory).below
        left = len(batch.wanted)
        for row in rows:
            path = join(directory, below(row.href))
            if path in batch.wanted:
                batch.found[path] = api.entry(path, row)
                left -= 1
            elif path in batch.finals:
                batch.found[path] = api.entry(path, row)
        self._alone = len(rows) > _SPARSE * len(batch.wanted) or left > 0
