"""Records of large uploads that are under way, in the state directory: a later run of any process goes on with them.

One file an upload, locked by the kernel while its process lives. The intent is on disk before the session is made, its
id after, then each part that the service has acknowledged, with its hash. Records of sessions that the service has
forgotten by now are removed. Without a state directory nothing is kept.
"""

import contextlib
import json
import logging
import os
import time
from dataclasses import asdict

from cftool.core.dataclass import dataclass
from cftool.disk.records import Folder, Held

log = logging.getLogger("cftool.dropbox")

_LIFE_NS = 6 * 24 * 3600 * 1_000_000_000  # a day less than the service keeps a session
_LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to be uploaded. `source` is the local file's fingerprint."""

    service: str
    path: str
    source: str
    part_size: int
    started_ns: int


class Record(Held):
    """One upload's file, held with its lock until `close` or `remove`."""

    def __init__(self, fd: int, name: str, intent: Intent) -> None:
        super().__init__(fd, name)
        self.intent = intent
        self.session: str | None = None
        self.parts: dict[int, str] = {}  # offset: hash

    def began(self, session: str) -> None:
        """The service made the session; parts of an earlier one do not count."""
        self.session, self.parts = session, {}
        self._note({"id": session})

    def stored(self, offset: int, digest: str) -> None:
        """The service has acknowledged a part."""
        self.parts[offset] = digest
        self._note({"at": offset, "hash": digest})

    def _note(self, line: dict[str, object]) -> None:
        try:
            self.append(line)
        except OSError as error:  # the upload itself goes on
            log.warning("the progress of an upload cannot be recorded: %s", error.strerror)

    def load(self, data: bytes) -> None:
        """What the lines after the intent say; one that a crash cut ends them."""
        for line in data.split(b"\n")[1:-1]:
            try:
                found = json.loads(line)
                if "id" in found:
                    self.session, self.parts = str(found["id"]), {}
                else:
                    self.parts[int(found["at"])] = str(found["hash"])
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                return


class Sessions:
    """The records of one account. Thread-safe: each call opens its own files."""

    def __init__(self, state_dir: str | None, service: str) -> None:
        self._folder = Folder(state_dir, "dropbox-uploads", service)

    def open(self, path: str, source: str, part_size: int) -> Record | None:
        """The record of a dead process for the same file, or a new one, locked; None where there is no place for it."""
        folder = self._folder
        if folder.path is None or not source:
            return None
        self._sweep()
        for name in folder.names(path):
            record = self._take(name)
            if record is None:
                continue
            young = record.intent.started_ns > time.time_ns() - _LIFE_NS
            if young and (record.intent.source, record.intent.part_size) == (source, part_size):
                return record
            record.remove()  # of another version of the source, or forgotten by the service
        intent = Intent(folder.service, path, source, part_size, time.time_ns())
        try:
            return Record(*folder.create(path, asdict(intent)), intent)
        except OSError as error:
            log.warning("an upload cannot be recorded (%s): it cannot be resumed", error.strerror)
            return None

    def _take(self, name: str) -> Record | None:
        """The record, locked; None where a process holds it, or it is gone, damaged or somebody else's."""
        taken = self._folder.take(name, _LARGEST)
        if taken is None:
            return None
        fd, data = taken
        try:
            record = Record(fd, name, Intent(**json.loads(data.split(b"\n")[0])))
            if record.intent.service != self._folder.service:
                raise ValueError
            record.load(data)
        except (ValueError, TypeError, RecursionError):
            os.close(fd)
            return None
        return record

    def _sweep(self) -> None:
        """Remove records of sessions that the service has forgotten."""
        limit = time.time_ns() - _LIFE_NS
        for name in self._folder.names():
            with contextlib.suppress(OSError):
                if os.stat(name).st_ctime_ns < limit:
                    os.unlink(name)
