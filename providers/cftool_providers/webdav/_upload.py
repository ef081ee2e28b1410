"""write and write_many: one loop of flows (`_flows`), one flow a file.

Where the server publishes a PUT at its completion, that is the upload. Elsewhere the file goes to a temporary name in
its own directory, its length is looked at (`_staged`), and it is MOVEd (`_publish`). The first file of a directory goes
alone, so that a missing directory is made once. Nothing is told as written before the server has said the file's
length, or published it on its own responsibility (Nextcloud compares lengths itself).
"""

import hashlib
import logging
import threading
from collections.abc import Iterable, Iterator

from cftool.core.errors import (
    IntegrityError,
    InvalidName,
    IsADirectory,
    LoginRequired,
    NotFound,
    PermissionDenied,
    ProtocolError,
    SourceChanged,
    Unsupported,
)
from cftool.core.paths import join, parent
from cftool.core.types import NO_HASHES, Entry, Kind, Result, WriteItem
from cftool.http.types import Body, Header, Request, Response
from cftool_providers.webdav import _probe
from cftool_providers.webdav._api import FRESH, XML, Api, opaque
from cftool_providers.webdav._chunks import CHUNKED_FROM, Chunks
from cftool_providers.webdav._flows import Flow, Flows, Gate, Job, run_one
from cftool_providers.webdav._journal import Journal
from cftool_providers.webdav._publish import DONE, Part, Publisher
from cftool_providers.webdav._reader import Reader
from cftool_providers.webdav._staged import Batch, Staging
from cftool_providers.webdav._vendor import NEXTCLOUD, OWNCLOUD, Profile

log = logging.getLogger("cftool.webdav")

WHOLE = 512 * 1024  # up to this a file is loaded into memory
MEMORY = 32 * 1024 * 1024  # bytes of loaded files in flight
FILES = 256  # flows at once, waiting ones included
_MISSING_DIRECTORY = frozenset({403, 404, 409})
_FIRST_TIME = 24 * 60 * 60  # Nextcloud takes an earlier time for a mistake and refuses the upload
_OCTETS: Header = ("content-type", "application/octet-stream")


class Uploader:
    """Makes the loops. Thread-safe: each call has its own."""

    def __init__(self, api: Api, journal: Journal) -> None:
        self.api = api
        self.journal = journal
        self.chunks = Chunks(api, journal)
        self._lock = threading.Lock()

    def run(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Results in order of completion."""
        return _Loop(self, items).run()

    def write(self, item: WriteItem) -> Entry:
        """One file."""
        [result] = list(self.run([item]))
        if result.error is not None:
            raise result.error
        assert result.entry is not None
        return result.entry

    def set_modified(self, path: str, seconds: int) -> Entry:
        """A PROPPATCH, and a look at its effect."""
        style = self.prepare(parent(path)).patch_time
        if not style:
            raise Unsupported("the server keeps no times that can be set", op="set_modified", path=path)
        if self.api.find(path).is_dir:
            raise IsADirectory("is a directory", path=path)
        body = _probe.patch_time_body(style, seconds)
        response = self.api.send(self.api.request("PROPPATCH", path, headers=(XML,), body=body))
        if response.status != 207:
            raise self.api.error(response, path)
        entry = self.api.find(path)
        if entry.modified_ns != seconds * 1_000_000_000:
            raise ProtocolError("the server did not take the time", path=path)
        return entry

    def prepare(self, directory: str) -> Profile:
        """What the server was seen to do; if that is not known, seen now, in a directory that is written to anyway."""
        profile = self.api.ready()
        if profile.probed:
            return profile
        with self._lock:
            if self.api.profile.probed:
                return self.api.profile
            names = [join(directory, self.journal.temp_name()) for _ in range(3)]
            self.journal.temp_begins(directory)
            gone = False
            try:
                try:
                    profile = _probe.probe(self.api, *names)
                except (NotFound, ProtocolError, PermissionDenied) as error:  # how servers call a missing directory
                    if isinstance(error, LoginRequired) or not self.api.ensure_directory(directory):
                        raise
                    profile = _probe.probe(self.api, *names)
                gone = True
            finally:
                self.journal.temp_ended(gone=gone)
        return profile


class _Directory:
    """Whether a directory is known to be there; while its first file is under way the others wait at the gate."""

    __slots__ = ("gate", "known", "staging")

    def __init__(self, staging: Staging) -> None:
        self.known = False
        self.gate: Gate | None = None
        self.staging = staging


class _Loop:
    """One run of write_many. All runs in the thread that iterates, but the Jobs."""

    def __init__(self, uploader: Uploader, items: Iterable[WriteItem]) -> None:
        self._uploader = uploader
        self._api = uploader.api
        self._journal = uploader.journal
        self._publisher = Publisher(uploader.api)
        self._items = iter(items)
        self._memory = 0
        self._open = 0
        self._directories: dict[str, _Directory] = {}
        self._preparing: Gate | None = None
        self._temps: set[str] = set()  # that may be on the server now
        self.flows = Flows(self._api.client, self._begin, room=self._room)

    def run(self) -> Iterator[Result]:
        """Results in order of completion; where the caller stops early, what is half done is removed."""
        try:
            yield from self.flows.run()
        finally:
            if self._temps:
                self._sweep()

    def _sweep(self) -> None:
        """Remove the temporary files of flows that were given up. One attempt each: somebody waits for the end."""
        left = sorted(self._temps)
        names = iter(left)

        def following() -> Request | None:
            temp = next(names, None)
            return None if temp is None else self._api.request("DELETE", temp, idempotent=False)

        gone = 0
        for completion in self._api.client.send_many(following):
            response = completion.response
            gone += response is not None and (response.status < 300 or response.status in {404, 410})
        for number in range(len(left)):
            self._journal.temp_ended(gone=number < gone)
        self._temps.clear()

    def _room(self) -> bool:
        return self._memory < MEMORY and self._open < FILES

    def _begin(self) -> tuple[Flow, str, object] | None:
        item = next(self._items, None)
        return None if item is None else (self._flow(item), item.path, item.tag)

    # ---- one file

    def _flow(self, item: WriteItem) -> Flow:
        self._open += 1
        loaded = 0
        reader: Reader | None = None
        try:
            self._check(item)
            directory = parent(item.path)
            yield from self._prepared(directory)
            place = self._directories.get(directory) or self._new_directory(directory)
            while not place.known and place.gate is not None:
                yield place.gate
            scout = not place.known
            if scout:
                place.gate = Gate()
            try:
                size = item.source.size
                if size is not None and size <= WHOLE:
                    data = self._load(item, size)
                    loaded = size
                    self._memory += loaded
                    entry = yield from self._send(item, place, data, None)
                else:
                    if scout:  # rather one request more than a large body for nothing
                        yield Job(lambda: self._api.ensure_directory(directory))
                        self._settle(place, known=True)
                    reader = yield Job(lambda: Reader(item.source, self._api.context.state_dir))
                    assert reader is not None
                    entry = yield from self._send_large(item, place, reader)
            finally:
                if scout:
                    self._settle(place, known=place.known)
        finally:
            self._open -= 1
            self._memory -= loaded
            if reader is not None:
                reader.close()
        return entry  # type: ignore[no-any-return] # what a flow is sent is Any

    def _check(self, item: WriteItem) -> None:
        if not item.path:
            raise IsADirectory("is the root, which is a directory", op="write", path=item.path)
        profile = self._api.profile
        if item.if_absent and not profile.if_absent:
            raise Unsupported("the server was not seen to obey conditions (if_absent)", op="write", path=item.path)
        if item.if_version is not None and not profile.if_version:
            raise Unsupported("the server was not seen to obey conditions (if_version)", op="write", path=item.path)

    def _prepared(self, directory: str) -> Part:
        while not self._api.profile.probed:
            if self._preparing is not None:
                yield self._preparing
                continue
            gate = self._preparing = Gate()
            try:
                yield Job(lambda: self._uploader.prepare(directory))
            finally:
                self._preparing = None
                self.flows.open(gate)

    def _new_directory(self, directory: str) -> _Directory:
        place = self._directories[directory] = _Directory(Staging(self._api, self.flows, directory))
        return place

    def _settle(self, place: _Directory, *, known: bool) -> None:
        place.known = known
        gate, place.gate = place.gate, None
        if gate is not None:
            self.flows.open(gate)

    @staticmethod
    def _load(item: WriteItem, size: int) -> bytes:
        data = item.source.load()
        if len(data) != size:
            raise SourceChanged(f"the source has {len(data)} bytes, not {size}", op="write", path=item.path)
        return data

    def _send_large(self, item: WriteItem, place: _Directory, reader: Reader) -> Part:
        profile = self._api.profile
        conditional = item.if_absent or item.if_version is not None
        can_move = profile.refuses_overwrite if item.if_absent else profile.move_version
        if (
            profile.vendor == NEXTCLOUD
            and self._api.settings.uploads is not None
            and reader.size > CHUNKED_FROM
            and (can_move or not conditional)
        ):
            return (yield Job(lambda: self._uploader.chunks.upload(item, reader)))
        digest = ""
        if profile.checksums:
            digest = yield Job(lambda: reader.digest("sha1"))
        return (yield from self._send(item, place, reader.body(progress=item.progress), digest))

    def _send(self, item: WriteItem, place: _Directory, body: bytes | Body, digest: str | None) -> Part:
        """`digest`: the SHA-1, None where it is still to be made of what is in memory."""
        profile = self._api.profile
        headers = [_OCTETS]
        seconds = None if item.modified_ns is None else item.modified_ns // 1_000_000_000
        if seconds is not None and profile.header_time and _is_sendable(seconds, profile):
            headers.append(("x-oc-mtime", str(seconds)))
        if profile.checksums:
            if digest is None:
                assert isinstance(body, bytes)
                digest = hashlib.sha1(body, usedforsecurity=False).hexdigest()
            headers.append(("oc-checksum", f"SHA1:{digest}"))
        every = tuple(headers)
        if profile.atomic:
            return (yield from self._put(item, place, body, every, digest or ""))
        return (yield from self._put_and_move(item, place, body, every, seconds))

    # ---- where a PUT shows only when it is complete

    def _put(
        self, item: WriteItem, place: _Directory, body: bytes | Body, headers: tuple[Header, ...], digest: str
    ) -> Part:
        api, profile, path = self._api, self._api.profile, item.path
        condition: tuple[Header, ...] = ()
        if item.if_absent:
            condition = (("if-none-match", "*"),)
        elif item.if_version is not None:
            tag = f'"{item.if_version}"'
            condition = (("if-match", tag),) if profile.if_version == "if-match" else (("if", f"([{tag}])"),)
        # Sent twice, a conditional write would be refused by what its first copy wrote.
        request = api.request("PUT", path, headers=headers + condition, body=body, idempotent=not condition)
        staging = place.staging
        staging.under_way += 1
        try:
            response: Response = yield from api.patiently(request)
            if response.status in _MISSING_DIRECTORY and not place.known:
                yield from self._make(parent(path), place)
                response = yield from api.patiently(request)
            if response.status not in DONE:
                raise (yield Job(lambda: self._publisher.refused(item, response)))
            if not place.known:
                self._settle(place, known=True)
            entry = self._trusted(item, response, headers, digest, body)
        except Exception:  # not GeneratorExit: nobody goes on then
            staging.left()
            raise
        if entry is not None:
            staging.left()
        else:
            batch = staging.arrived(path, path)
            if batch is not None:
                yield batch.gate
            entry = (batch and batch.found.get(path)) or (yield from self._publisher.look(path))
            if entry.is_dir or (entry.size is not None and entry.size != _length(body)):
                # Either it was not stored as it was sent, or somebody else wrote it just after: this way tells.
                return (yield from self._put_and_move(item, place, body, headers, None))
        return entry

    def _trusted(
        self, item: WriteItem, response: Response, headers: tuple[Header, ...], digest: str, body: bytes | Body
    ) -> Entry | None:
        """The entry as the answer proves it; None where it must be looked up."""
        if self._api.profile.vendor not in {NEXTCLOUD, OWNCLOUD}:
            return None
        version = opaque(response.header("oc-etag") or response.header("etag"))
        accepted = (response.header("x-oc-mtime") or "").lower() == "accepted"
        if version is None or not accepted or headers[1][0] != "x-oc-mtime":
            return None
        when = int(headers[1][1]) * 1_000_000_000
        hashes = {"sha1": digest} if digest else NO_HASHES
        return Entry(item.path, Kind.FILE, _length(body), when, None, version, None, hashes)

    # ---- elsewhere

    def _put_and_move(
        self,
        item: WriteItem,
        place: _Directory,
        body: bytes | Body,
        headers: tuple[Header, ...],
        seconds: int | None,
    ) -> Part:
        api, path = self._api, item.path
        require_movable(api.profile, path)
        directory = parent(path)
        temp = join(directory, self._journal.temp_name())
        self._journal.temp_begins(directory)
        self._temps.add(temp)
        gone, staging, under_way = False, place.staging, True
        staging.under_way += 1
        try:
            request = api.request("PUT", temp, headers=headers, body=body)
            response: Response = yield request
            if response.status in _MISSING_DIRECTORY and not place.known:
                yield from self._make(directory, place)
                response = yield request
            if response.status not in DONE:
                gone = response.status in _MISSING_DIRECTORY
                raise (yield Job(lambda: self._publisher.refused(item, response)))
            if not place.known:
                self._settle(place, known=True)
            profile = api.profile
            if seconds is not None and seconds >= 0 and not profile.header_time and profile.patch_time:
                patch = _probe.patch_time_body(profile.patch_time, seconds)
                yield api.request("PROPPATCH", temp, headers=(XML,), body=patch)  # its effect shows at the end
            under_way = False
            batch = staging.arrived(temp, path)
            if batch is not None:
                yield batch.gate
            staged: Entry = (batch and batch.found.get(temp)) or (yield from self._publisher.look(temp))
            _require_size(staged, body, path)
            replaces = batch is not None and self._is_file_now(batch, path)
            entry = yield from self._publisher.publish(item, temp, staged, replaces=replaces)
        except Exception:  # not GeneratorExit: `_sweep` sees to the temporary files of a loop that is given up
            if under_way:
                staging.left()
            if not gone:
                gone = yield from self._publisher.drop(temp)
            self._temp_ended(temp, gone=gone)
            raise
        self._temp_ended(temp, gone=True)
        return entry

    def _temp_ended(self, temp: str, *, gone: bool) -> None:
        self._temps.discard(temp)
        self._journal.temp_ended(gone=gone)

    def _is_file_now(self, batch: Batch, path: str) -> bool:
        """Whether a file was seen under the final name so short a time ago that it need not be looked at again."""
        there = batch.found.get(path)
        return there is not None and not there.is_dir and self._api.client.clock.monotonic() - batch.seen < FRESH

    # ---- common

    def _make(self, directory: str, place: _Directory) -> Part:
        """The directory was missing, perhaps."""
        response: Response = yield self._api.request("MKCOL", directory, directory=True)
        if response.status != 201:
            yield Job(lambda: self._api.ensure_directory(directory))
        place.known = True


def require_movable(profile: Profile, path: str) -> None:
    """A server that takes a Destination for another name would put the file over another one."""
    for char in profile.confused:
        if char in path:
            raise InvalidName(f"the server does not keep {char!r} in names that files are moved to", path=path)


def _is_sendable(seconds: int, profile: Profile) -> bool:
    return seconds > _FIRST_TIME if profile.vendor in {NEXTCLOUD, OWNCLOUD} else seconds >= 0


def _length(body: bytes | Body) -> int:
    return len(body) if isinstance(body, bytes) else body.length


def _require_size(entry: Entry, body: bytes | Body, path: str) -> None:
    if entry.is_dir or (entry.size is not None and entry.size != _length(body)):
        raise IntegrityError(f"the server has {entry.size} bytes; {_length(body)} were sent", op="write", path=path)


__all__ = ["Uploader", "run_one"]
