"""The end of an upload: what is in sessions becomes files, many in one request; and what an answer means.

The whole content is verified by its hash before a file counts as written. An answer that got lost may have been a
success: the commit is repeated then, and where that finds the session used up, what is there decides.
"""

import logging
from dataclasses import field
from typing import Any

from cftool.core.dataclass import dataclass
from cftool.core.errors import (
    AlreadyExists,
    IntegrityError,
    NotFound,
    PreconditionFailed,
    ProtocolError,
    RateLimited,
    StoreError,
)
from cftool.core.types import Entry, Kind, WriteItem
from cftool_providers.dropbox import _entries, _errors, _jobs
from cftool_providers.dropbox._api import Service, api_path
from cftool_providers.dropbox._listing import Lister

log = logging.getLogger("cftool.dropbox")

ATTEMPTS = 4  # of a commit whose answers get lost


class SessionLost(StoreError):
    """The service does not know the session (any more), or not all that was sent to it."""


@dataclass(eq=False, slots=True)
class Pending:
    """A file whose bytes are in the session, on its way."""

    item: WriteItem
    session: str = ""
    size: int = 0
    digest: str = ""
    entry: Entry | None = None
    error: Exception | None = None
    ready: bool = field(default=False)  # all bytes are there


def commit_info(item: WriteItem) -> dict[str, Any]:
    """Where to, on which condition."""
    info: dict[str, Any] = {"path": api_path(item.path), "autorename": False, "mute": True}
    if item.if_version is not None:
        # Without strict_conflict a file that was deleted meanwhile would be made again.
        info |= {"mode": {".tag": "update", "update": item.if_version}, "strict_conflict": True}
    elif item.if_absent:
        info |= {"mode": {".tag": "add"}, "strict_conflict": True}
    else:
        info["mode"] = {".tag": "overwrite"}
    when = _entries.timestamp(item.modified_ns)
    if when is not None:
        info["client_modified"] = when
    return info


class Committer:
    """Thread-safe: no state."""

    def __init__(self, service: Service, lister: Lister) -> None:
        self._service = service
        self._lister = lister

    def finish(self, files: list[Pending]) -> None:
        """Commit all, and set `entry` or `error` of each."""
        todo, maybe = files, False
        lost = 0
        for pause in _jobs.patience(self._service):
            while True:
                try:
                    found = self._send(todo)
                    break
                except StoreError as error:
                    if _jobs.ends_all(error):
                        raise
                    lost += 1
                    if not _jobs.interrupted_by(error) or lost >= ATTEMPTS:
                        self._all(todo, error)
                        return
                    maybe = True
            again = []
            for one, each in zip(todo, found, strict=True):
                try:
                    success, value = _jobs.outcome(each)
                    if not success and _jobs.busy(value):
                        again.append(one)
                        continue
                    one.entry = self.verified(one, value) if success else self._refused(one, value, maybe=maybe)
                except StoreError as error:
                    one.error = error
            todo = again
            if not todo:
                return
            try:
                pause()
            except RateLimited as error:
                self._all(todo, error)

    @staticmethod
    def _all(files: list[Pending], error: StoreError) -> None:
        for one in files:
            one.error = type(error)(error.message, retry_after=error.retry_after)

    def _send(self, files: list[Pending]) -> list[Any]:
        entries = [
            {"cursor": {"session_id": one.session, "offset": one.size}, "commit": commit_info(one.item)}
            for one in files
        ]
        return _jobs.run(
            self._service,
            "files/upload_session/finish_batch_v2",
            "files/upload_session/finish_batch/check",
            {"entries": entries},
            count=len(files),
            idempotent=False,
        )

    def verified(self, one: Pending, found: object) -> Entry:
        """The entry of what was stored. Raises IntegrityError where it is not what was sent."""
        if not isinstance(found, dict):
            raise ProtocolError("Dropbox does not tell what it stored", op="write", path=one.item.path)
        entry = _entries.file({key: value for key, value in found.items() if key != ".tag"}, one.item.path)
        if entry.size != one.size or entry.hashes.get("dropbox", one.digest) != one.digest:
            raise IntegrityError("Dropbox stored other bytes than were sent", op="write", path=one.item.path)
        return entry

    def _refused(self, one: Pending, found: object, *, maybe: bool) -> Entry:
        known = _errors.tags(found)
        if known[:1] == ("lookup_failed",) or "concurrent_session_missing_data" in known:
            there = self._lister.find(one.item.path) if maybe else None
            if there is not None and self._is(one, there):
                return there
            raise SessionLost(f"Dropbox lost the upload ({'/'.join(known)})", op="write", path=one.item.path)
        return self.conflict(one, _errors.of(found, one.item.path), maybe=maybe)

    def conflict(self, one: Pending, error: StoreError, *, maybe: bool) -> Entry:
        """What a refusal means to who set the condition: an entry where what is there is what was to be written."""
        item = one.item
        conditional = item.if_version is not None or (item.if_absent and maybe)
        if isinstance(error, (AlreadyExists, NotFound)):
            there = self._lister.find(item.path) if conditional else None
            # With the condition met, too, the service takes the same content for a conflict.
            if there is not None and self._is(one, there):
                return there
            if item.if_version is not None:
                raise PreconditionFailed("it is another version by now", op="write", path=item.path)
        raise error

    @staticmethod
    def _is(one: Pending, there: Entry) -> bool:
        return there.kind is Kind.FILE and there.size == one.size and there.hashes.get("dropbox") == one.digest
