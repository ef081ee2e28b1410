"""Records of resumable uploads that are under way, in the state directory: a later run goes on with them.

One file an upload, locked by the kernel while its process lives. The intent is on disk before the session is made at
the service; its URI follows. The URI lets whoever has it write into this one upload, so the files are 0600.
The service keeps a session for a week; records older than that are dropped. Without a state directory nothing is kept.
"""

import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict

from cftool.core.dataclass import dataclass
from cftool.disk.records import Folder, Held

log = logging.getLogger("cftool.gdrive")

LIFE_NS = 7 * 24 * 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Intent:
    """What is uploaded where. `source` is the local file's fingerprint; `handle` the id that the file has or will have.

    `new`: the file is made by this upload; `metadata` is what the session was created with.
    """

    service: str
    path: str
    source: str
    size: int
    parent: str
    handle: str
    new: bool
    metadata: str
    started_ns: int


class Record(Held):
    """One upload's file, held with its lock until `close` or `remove`. Its name is what `leftovers` tells.

    The URI itself is nobody's business.
    """

    def __init__(self, fd: int, name: str, intent: Intent, uri: str | None = None) -> None:
        super().__init__(fd, name)
        self.intent = intent
        self.uri = uri

    def created(self, uri: str) -> None:
        """The service made the session; on disk when this returns."""
        self.uri = uri
        self.append({"uri": uri})


class Sessions:
    """The records of one account. Thread-safe: each call opens its own files."""

    def __init__(self, state_dir: str | None, service: str) -> None:
        self._folder = Folder(state_dir, "gdrive-uploads", service)

    @property
    def service(self) -> str:
        """Whose they are."""
        return self._folder.service

    def begin(self, intent: Intent) -> Record | None:
        """Write down an intent, locked; None where there is no place for it or the source cannot be known again."""
        if self._folder.path is None or not intent.source:
            return None
        try:
            return Record(*self._folder.create(intent.path, asdict(intent)), intent)
        except OSError as error:
            log.warning("an upload cannot be recorded (%s): it cannot be resumed later", error.strerror)
            return None

    def stale(self, path: str | None = None) -> Iterator[Record]:
        """Records of dead processes, each locked by us now: the caller closes or removes it."""
        for name in self._folder.names(path):
            record = self._take(name)
            if record is None:
                continue
            if record.intent.started_ns < time.time_ns() - LIFE_NS:
                record.remove()
            elif record.intent.service == self._folder.service and path in {None, record.intent.path}:
                yield record
            else:
                record.close()

    def _take(self, name: str) -> Record | None:
        """The record, locked; None where a process holds it, or it is gone, or it is damaged."""
        taken = self._folder.take(name)
        if taken is None:
            return None
        fd, data = taken
        try:
            return Record(fd, name, *_decode(data))
        except ValueError:
            log.warning("the record %s of an upload is damaged; it is left alone", name)
            os.close(fd)
            return None


def _decode(data: bytes) -> tuple[Intent, str | None]:
    """Intent and URI; a last line that was cut by a crash counts as not written. Raises ValueError."""
    lines = data.split(b"\n")[:-1]
    if not lines:
        raise ValueError
    try:
        intent = Intent(**json.loads(lines[0]))
        uri = next((str(json.loads(line)["uri"]) for line in lines[1:]), None)
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError from error
    return intent, uri
