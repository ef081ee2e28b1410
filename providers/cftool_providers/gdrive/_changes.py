"""changes: the service's feed, as paths. https://developers.google.com/workspace/drive/api/guides/manage-changes.

The feed tells ids. A path follows where this store has seen the id before, or where the file is newer than the cursor;
of any other it cannot be known under which path it was known to the caller: then everything has to be listed anew.
"""

import re
from typing import Any

from cftool.core import paths
from cftool.core.errors import NotFound, ProtocolError, StoreError
from cftool.core.types import ChangeSet
from cftool.http.dates import parse_http_date
from cftool.http.types import Request
from cftool_providers.gdrive import _errors, _files
from cftool_providers.gdrive._files import FIELDS, Item
from cftool_providers.gdrive._tree import Tree

_CURSOR = re.compile(r"gdrive1\.(\d+)\.([!-~]+)")
_FIELDS = f"nextPageToken,newStartPageToken,changes(fileId,removed,changeType,file({FIELDS}))"


class Feed:
    """Reads the changes of one store."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._service = tree.service

    def changes(self, cursor: str | None) -> ChangeSet:
        """See Store.changes."""
        if cursor is None:
            return ChangeSet((), self._start())
        match = _CURSOR.fullmatch(cursor)
        if match is None:
            return ChangeSet((), self._start(), reset=True)
        since, token = int(match[1]), match[2]
        try:
            found, following, now = self._read(token)
        except (NotFound, ProtocolError):
            return ChangeSet((), self._start(), reset=True)
        changed: dict[str, None] = {}
        climbed: dict[str, str | None] = {}
        for change in found:
            known = self._paths(change, since, climbed)
            if known is None:
                return ChangeSet((), _cursor(now, following), reset=True)
            changed.update(dict.fromkeys(known))
        return ChangeSet(tuple(changed), _cursor(now, following))

    def _params(self, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        drive = self._service.settings.drive
        params = (*more, ("supportsAllDrives", "true"))
        return params if drive is None else (*params, ("driveId", drive))

    def _start(self) -> str:
        request = self._service.request(
            "GET", "changes.getStartPageToken", "changes/startPageToken", self._params(("fields", "startPageToken"))
        )
        found, now = self._call(request)
        token = found.get("startPageToken")
        if not isinstance(token, str) or not token:
            raise ProtocolError("the service gave no token for its changes", op="changes")
        return _cursor(now, token)

    def _call(self, request: Request) -> tuple[dict[str, Any], int]:
        """The answer, and the service's own time."""
        response = self._service.send(request)
        if response.status >= 300:
            if response.status == 400:  # a token that is none of the service's
                raise NotFound(_errors.error(response.status, response.body).message, op="changes")
            raise _errors.error(response.status, response.body).at(op="changes")
        date = parse_http_date(response.header("date") or "")
        return _files.parse(response.body, response.headers), 0 if date is None else int(date)

    def _read(self, token: str) -> tuple[list[dict[str, Any]], str, int]:
        """All changes since, the token for those that follow, and when that was."""
        changes: list[dict[str, Any]] = []
        seen = {token}
        first = 0
        while True:
            params = self._params(
                ("pageToken", token),
                ("pageSize", "1000"),
                ("fields", _FIELDS),
                ("includeRemoved", "true"),
                ("includeItemsFromAllDrives", "true"),
                ("spaces", "drive"),
            )
            found, now = self._call(self._service.request("GET", "changes.list", "changes", params))
            first = first or now
            some = found.get("changes")
            if not isinstance(some, list) or not all(isinstance(one, dict) for one in some):
                raise ProtocolError("the service's changes are no list", op="changes")
            changes += some
            following, start = found.get("nextPageToken"), found.get("newStartPageToken")
            if isinstance(start, str) and start and following is None:
                return changes, start, first
            if not isinstance(following, str) or not following or following in seen:
                raise ProtocolError("the service's changes do not end", op="changes")
            seen.add(following)
            token = following

    # ---- ids to paths

    def _paths(self, change: dict[str, Any], since: int, climbed: dict[str, str | None]) -> list[str] | None:
        """What a change makes stale; None where that cannot be known."""
        if change.get("changeType", "file") != "file":
            return []
        handle = change.get("fileId")
        if not isinstance(handle, str):
            raise ProtocolError("a change names no file", op="changes")
        before = self._tree.path_of(handle)
        resource = change.get("file")
        if change.get("removed") is True or resource is None:
            return None if before is None else [before]
        one = _files.item(resource)
        now = None if one.trashed and before is not None else self._path(one, climbed)
        if before is None and not self._is_new(one, since):
            return None
        if one.is_folder and before is not None and before != now:
            self._tree.forget(before)
        if now is not None and not one.trashed:
            self._tree.saw(handle, now)
        return [path for path in dict.fromkeys((before, now)) if path is not None]

    @staticmethod
    def _is_new(one: Item, since: int) -> bool:
        created = _files.item_created_ns(one)
        return created is not None and since > 0 and created >= since * 1_000_000_000

    def _path(self, one: Item, climbed: dict[str, str | None]) -> str | None:
        """Where it is below the root; None where it is elsewhere."""
        for parent in one.parents:
            above = self._folder(parent, climbed, 0)
            if above is not None:
                return paths.join(above, _files.base_name(one, self._tree.exports))
        return None

    def _folder(self, handle: str, climbed: dict[str, str | None], depth: int) -> str | None:
        if handle == self._tree.root_id():
            return ""
        if handle in climbed:
            return climbed[handle]
        if depth > paths.MAX_DEPTH:
            raise ProtocolError("a folder is in itself", op="changes")
        climbed[handle] = None
        try:
            one = _files.item(self._tree.get(handle))
        except StoreError as error:
            if not isinstance(error, NotFound):
                raise
            return None
        if one.trashed:
            return None
        for parent in one.parents:
            above = self._folder(parent, climbed, depth + 1)
            if above is not None:
                climbed[handle] = paths.join(above, _files.base_name(one, self._tree.exports))
        return climbed[handle]


def _cursor(now: int, token: str) -> str:
    return f"gdrive1.{now}.{token}"
