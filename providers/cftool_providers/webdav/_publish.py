"""From a temporary name to the file's own: MOVE, and what is there where it was refused or its answer got lost.

A MOVE goes with `Overwrite: F` first, because `T` would replace a directory as well; where something is there, that is
looked at, and only a file gives up its place. Flows of the loop of `_upload`.
"""

import logging
from collections.abc import Generator
from functools import partial
from typing import Any

from cftool.core.errors import (
    AlreadyExists,
    IntegrityError,
    IsADirectory,
    NotADirectory,
    PreconditionFailed,
    StoreError,
    TemporaryError,
)
from cftool.core.paths import parent
from cftool.core.types import Entry, WriteItem
from cftool.http.types import Header, Response
from cftool_providers.webdav import _errors
from cftool_providers.webdav._api import CONTENDED, Api
from cftool_providers.webdav._flows import Job, Step

log = logging.getLogger("cftool.webdav")

DONE = frozenset({200, 201, 204})
Part = Generator[Step, Any, Any]


class Publisher:
    """Of one server. Keeps nothing."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def publish(self, item: WriteItem, temp: str, staged: Entry, *, replaces: bool) -> Part:
        """From the temporary name, once it was seen to be whole, to its own. `replaces`: where a file is."""
        api, path = self._api, item.path
        done = False
        if replaces and not item.if_absent and item.if_version is None:
            response: Response = yield from self._move(temp, path, overwrite=True)
            done = response.status in DONE
            if not done:
                raise (yield Job(lambda: self.refused(item, response)))
        elif item.if_version is None and api.profile.refuses_overwrite:
            response = yield from self._move(temp, path, overwrite=False)
            done = response.status in DONE
            if response.status == 412 and item.if_absent:
                raise AlreadyExists("something is there already", op="write", path=path)
            # Apache answers 301 where a directory has that name.
            if not done and response.status not in {301, 412}:
                raise (yield Job(lambda: self.refused(item, response)))
        if not done:
            yield from self._replace(item, temp)
        if api.profile.keeps_etag:
            return staged.at(path)
        entry: Entry = yield from self.look(path)
        # Another size than the one that was moved there is somebody else's doing, a moment later.
        return entry if entry.size == staged.size else staged.at(path)._replace(version=None)

    def _replace(self, item: WriteItem, temp: str) -> Part:
        """MOVE over what is there, which must be no directory."""
        api, path = self._api, item.path
        response: Response = yield api.find_request(path)
        if api.wants_slash(api.url(path), response):
            raise IsADirectory("is a directory", op="write", path=path)
        if response.status not in {404, 410} and api.found(response, path).is_dir:
            raise IsADirectory("is a directory", op="write", path=path)
        condition: tuple[Header, ...] = ()
        if item.if_version is not None:
            condition = (("if", f'<{api.url(path)}> (["{item.if_version}"])'),)
        response = yield from self._move(temp, path, *condition, overwrite=True)
        if response.status == 412:
            raise PreconditionFailed("it is another version by now", op="write", path=path)
        if response.status not in DONE:
            raise (yield Job(lambda: self.refused(item, response)))

    def _move(self, temp: str, path: str, *headers: Header, overwrite: bool) -> Part:
        """MOVE; where its answer got lost, what is there tells whether it was done."""
        api = self._api
        every = api.transport_headers(path, directory=False, overwrite=overwrite) + headers
        # A second copy of one that replaces would destroy what the first put there. Of one that does not, the second
        # is refused, so that it may travel on a kept connection: a handshake less for each file.
        request = api.request("MOVE", temp, headers=every, idempotent=False, replayable=not overwrite)
        clock = api.client.clock
        contended = {409} if headers else {404, 409}  # with a condition, 404 says that it is not met
        failures = 0
        for delay in (*CONTENDED, None):
            response: Response | None = None
            try:
                response = yield from api.patiently(request)
                # Apache says so too where somebody else replaces the same file just now, done or not.
                if response.status not in contended:
                    if not overwrite and response.status not in DONE and (yield from self._is_gone(temp)):
                        return Response(201, {})
                    return response
            except TemporaryError:
                failures += 1
                if failures == 3:
                    raise
            staged = yield Job(lambda: api.exists(temp))
            if staged is None:
                if (yield Job(lambda: api.exists(path))) is not None:
                    return Response(201, {})  # nobody else moves our temporary file
                if response is not None:
                    return response
            if delay is not None:
                yield Job(partial(clock.sleep, delay * (0.5 + clock.random() / 2)))
        return response

    def _is_gone(self, temp: str) -> Part:
        """Whether a MOVE that was refused was done before: the refusal was of a second copy of it."""
        response: Response = yield self._api.find_request(temp)
        return response.status in {404, 410} and (yield Job(lambda: self._api.exists(temp))) is None

    def drop(self, temp: str) -> Part:
        """Remove a temporary file; whether it is gone."""
        try:
            response: Response = yield self._api.request("DELETE", temp)
        except StoreError as error:
            log.info("a temporary file stays for now: %s", error.message)
            return False
        return response.status < 300 or response.status in {404, 410}

    def look(self, path: str) -> Part:
        """The entry as the server has it now."""
        api = self._api
        response: Response = yield api.find_request(path)
        if response.status == 404:
            return (yield Job(lambda: api.found_late(path)))
        return api.found(response, path)

    def refused(self, item: WriteItem, response: Response) -> StoreError:
        """Why a write was refused: what is there tells it better than the status does."""
        api, path = self._api, item.path
        if _errors.is_checksum_refusal(response):
            item.source.check()  # where the source changed under the upload, that is the better answer
            return IntegrityError("the server received other bytes than were sent", op="write", path=path)
        if response.status == 412:
            if item.if_absent:
                return AlreadyExists("something is there already", op="write", path=path)
            return PreconditionFailed("it is another version by now", op="write", path=path)
        if response.status == 404 and item.if_version is not None:
            return PreconditionFailed("it is gone by now", op="write", path=path)
        if response.status in {300, 301, 302, 307, 308, 400, 403, 404, 405, 409, 501}:
            there = api.exists(path)
            if there is not None and there.is_dir:
                return IsADirectory("is a directory", op="write", path=path)
            above = parent(path)
            while above:
                there = api.exists(above)
                if there is not None:
                    if not there.is_dir:
                        return NotADirectory("a file stands where a directory above it would have to be", path=path)
                    break
                above = parent(above)
        return api.error(response, path)
