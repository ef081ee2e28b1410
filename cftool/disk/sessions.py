"""Records of upload sessions that are under way, in the state directory: what a killed run leaves can be found again.

One file an upload, locked by the kernel while its process lives, so that nobody aborts or resumes what is still being
written. The intent (key, source, part size, time) is on disk before the upload is created on the service; the upload's
id follows. A record whose id is missing stands for an upload that may or may not exist. `Sessions` is used by the
uploads and the `leftovers` of providers (`kind` is the directory of one); without a state directory it keeps nothing.
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict

from cftool.core.dataclass import dataclass
from cftool.disk.records import Folder, Held

log = logging.getLogger("cftool.disk")


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to be uploaded. `source` is the local file's fingerprint; "" where it cannot be recognised again."""

    service: str
    path: str
    source: str
    part_size: int
    headers: str  # everything else that the upload was created with: it must be the same to go on
    started_ns: int


class Record(Held):
    """One upload's file, held with its lock until `close` or `remove`."""

    def __init__(self, fd: int, name: str, intent: Intent, upload_id: str | None = None) -> None:
        super().__init__(fd, name)
        self.intent = intent
        self.upload_id = upload_id

    def created(self, upload_id: str) -> None:
        """The service made the upload; on disk when this returns."""
        self.upload_id = upload_id
        self.append({"id": upload_id})


class Sessions:
    """The records of one service. Thread-safe: each call opens its own files."""

    def __init__(self, state_dir: str | None, service: str, *, kind: str) -> None:
        self._folder = Folder(state_dir, kind, service)

    def begin(self, path: str, source: str, part_size: int, headers: str) -> Record | None:
        """Write down an intent, locked; None where there is no place for it."""
        folder = self._folder
        if folder.path is None:
            return None
        intent = Intent(folder.service, path, source, part_size, headers, time.time_ns())
        try:
            return Record(*folder.create(path, asdict(intent)), intent)
        except OSError as error:
            log.warning(
                "an upload cannot be recorded (%s): it cannot be resumed or cleaned up by itself", error.strerror
            )
            return None

    def stale(self, path: str | None = None) -> Iterator[Record]:
        """Records of dead processes, each locked by us now: the caller closes or removes it."""
        for name in self._folder.names(path):
            record = self._take(name)
            if record is None:
                continue
            if record.intent.service == self._folder.service and path in {None, record.intent.path}:
                yield record
            else:
                record.close()

    def live(self) -> set[str]:
        """Ids of uploads that some process of this machine is at."""
        found = set()
        for name in self._folder.names():
            record = self._take(name)
            if record is not None:
                record.close()
                continue
            with contextlib.suppress(OSError, ValueError), open(name, "rb") as file:
                _, upload_id = _decode(file.read())
                if upload_id is not None:
                    found.add(upload_id)
        return found

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
    """Intent and id; a last line that was cut by a crash counts as not written. Raises ValueError."""
    lines = data.split(b"\n")[:-1]
    if not lines:
        raise ValueError
    try:
        intent = Intent(**json.loads(lines[0]))
        upload_id = next((str(json.loads(line)["id"]) for line in lines[1:]), None)
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError from error
    texts = (intent.service, intent.path, intent.source, intent.headers)
    if not all(isinstance(text, str) for text in texts) or not isinstance(intent.part_size, int):
        raise ValueError
    return intent, upload_id
