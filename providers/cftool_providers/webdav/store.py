"""The Store of WebDAV: each method here in terms of the modules that know how. See the package for the quirks.

Keeps no entries between calls; what it remembers is what the server is and was seen to do.
"""

import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IsADirectory,
    NotADirectory,
    NotFound,
    StoreError,
    TemporaryError,
    Unsupported,
)
from cftool.core.paths import is_within, parent
from cftool.core.provider import Context, Secret
from cftool.core.store import Optionals
from cftool.core.types import (
    Cap,
    Download,
    Entry,
    Features,
    Kind,
    Leftover,
    NameRules,
    ReadItem,
    Result,
    Source,
    Usage,
    WalkOrder,
    WriteItem,
)
from cftool.http.types import Response
from cftool_providers.webdav import _multistatus
from cftool_providers.webdav._api import CONNECTIONS, QUOTA, Api
from cftool_providers.webdav._delete import Deleter
from cftool_providers.webdav._download import Downloader
from cftool_providers.webdav._journal import Journal
from cftool_providers.webdav._listing import Lister
from cftool_providers.webdav._settings import settings
from cftool_providers.webdav._upload import Uploader, require_movable
from cftool_providers.webdav._vendor import NEXTCLOUD, OWNCLOUD, RCLONE, Profile

log = logging.getLogger("cftool.webdav")

_CAPS = (
    Cap.WALK | Cap.COPY | Cap.MOVE | Cap.MOVE_DIR | Cap.WRITE_MANY | Cap.READ_MANY | Cap.DELETE_MANY
    | Cap.DELETE_DIR | Cap.EMPTY_DIRS | Cap.RANGES | Cap.LEFTOVERS
)  # fmt: skip
_DONE = frozenset({200, 201, 204})
_COMPONENT_BYTES = 255  # of the file systems behind nearly all of them
# In names that `rclone serve` lists as others: a sync would take such a file for one that the source lacks.
_RENAMED = "".join(map(chr, range(1, 32))) + "\x7f\u201b"
_TEMP = re.compile(r"\.cftool-([0-9a-f]{12})-[0-9a-f]+\.tmp")


def open_store(values: Mapping[str, str | int | float | bool | Secret | None], context: Context) -> "WebDavStore":
    """Check the options and make the store; nothing is sent before it is used."""
    return WebDavStore(Api(settings(values), context))


class WebDavStore(Optionals):
    """See core.store.Store."""

    def __init__(self, api: Api) -> None:
        self.name = api.name
        self._api = api
        self._journal = Journal(api.context.state_dir, api.settings.identity)
        self._lister = Lister(api)
        self._uploader = Uploader(api, self._journal)
        self._downloader = Downloader(api)
        self._deleter = Deleter(api, self._lister)
        self._hashes = self._known_hashes(api.profile)
        # `rclone serve` finds a name under either of its Unicode forms.
        form = "NFC" if api.profile.vendor == RCLONE else None
        rules = partial(NameRules, utf8=True, component_bytes=_COMPONENT_BYTES, unicode_form=form)
        self._names, self._names_of_rclone = rules(), rules(forbidden=_RENAMED)
        self._features: tuple[Profile, Features] | None = None

    def _known_hashes(self, profile: Profile) -> frozenset[str]:
        # Constant for the store's life: by what is known now, or else by the look of the address.
        family = profile.vendor in {NEXTCLOUD, OWNCLOUD}
        unknown = self._api.settings.vendor == "auto" and profile == Profile()
        if family or (unknown and self._api.settings.installation is not None):
            return frozenset({"md5", "sha1"})
        return frozenset()

    @property
    def features(self) -> Features:
        """Times and conditions appear when they are known to work."""
        profile = self._api.profile
        if self._features is None or self._features[0] is not profile:
            self._features = (profile, self._made_features(profile))
        return self._features[1]

    def _made_features(self, profile: Profile) -> Features:
        caps = _CAPS
        if profile.quota and self._api.quirks.usage:
            caps |= Cap.USAGE
        if profile.patch_time:
            caps |= Cap.SET_MODIFIED
        if profile.if_absent:
            caps |= Cap.IF_ABSENT
        if profile.if_version:
            caps |= Cap.IF_VERSION
        if (
            profile.vendor == NEXTCLOUD
            and self._api.settings.uploads is not None
            and self._api.context.state_dir is not None
        ):
            caps |= Cap.RESUME
        return Features(
            caps=caps,
            identity=self._api.settings.identity,
            hashes=self._hashes,
            time_precision_ns=1_000_000_000 if profile.times else None,
            listed_time=profile.times,
            names=self._names_of_rclone if profile.vendor == RCLONE else self._names,
            walk_order=WalkOrder.NONE,
            connections=CONNECTIONS,
            verified_reads=True,
        )

    def probe(self, path: str = "") -> Cap:
        """Find out, with small files in directory `path` that are removed again, what only a write can show."""
        self._uploader.prepare(path)
        return self.features.caps

    # ---- the protocol's order

    def stat(self, path: str) -> Entry:
        """PROPFIND with depth 0."""
        return self._known(self._api.find(path, directory=not path))

    def _known(self, entry: Entry) -> Entry:
        """Without hashes that `features` does not name."""
        return entry if not entry.hashes or self._hashes else entry._replace(hashes={})

    def scan(self, path: str) -> Iterator[Entry]:
        """PROPFIND with depth 1, read as it arrives."""
        return map(self._known, self._lister.scan(path))

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """One GET."""
        return self._downloader.read(path, start, end, if_version)

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """PUT; or PUT beside it and MOVE; or pieces."""
        return self._known(self._uploader.write(WriteItem(path, source, modified_ns, if_version, if_absent)))

    def delete(self, path: str) -> None:
        """PROPFIND and DELETE."""
        self._late(lambda: self._deleter.file(path))

    def mkdir(self, path: str) -> Entry:
        """MKCOL, from the first missing directory on."""
        try:
            if path:
                self._api.ready()
                self._api.ensure_directory(path)
        except NotADirectory as error:
            there = self._api.exists(path)
            if there is not None:
                raise AlreadyExists("a file has that name", op="mkdir", path=path) from None
            raise error.at(op="mkdir") from None
        return Entry(path, Kind.DIRECTORY)

    def rmdir(self, path: str) -> None:
        """PROPFIND with depth 1, and DELETE where it is empty. What dead runs of this machine left there goes first."""
        try:
            self._late(lambda: self._deleter.directory(path))
        except DirectoryNotEmpty:
            left = self._left_by_the_dead(path)
            if not left:
                raise
            for temp in left:
                self._deleter.file(temp)
            self._late(lambda: self._deleter.directory(path))

    def close(self) -> None:
        """Close the connections, and the journal where nothing was left behind."""
        self._journal.close()
        self._api.close()

    # ---- optional

    def walk(self, path: str) -> Iterator[Entry]:
        """Depth infinity where the server has it, else level by level."""
        return map(self._known, self._lister.walk(path))

    def copy(self, src: str, dst: str) -> Entry:
        """COPY."""
        if self._source(src).is_dir:
            raise IsADirectory("is a directory", op="copy", path=src)
        self._transport("COPY", src, dst, directory=False)
        return self._known(self._api.found_late(dst))

    def move(self, src: str, dst: str) -> Entry:
        """MOVE, of directories too."""
        if src == dst:
            return self.stat(src)
        entry = self._source(src)
        self._transport("MOVE", src, dst, directory=entry.is_dir)
        return self._known(self._api.found_late(dst))

    def _source(self, src: str) -> Entry:
        if not src:
            raise Unsupported("is the root, which stays where it is", path=src)
        return self._api.find(src)

    def _transport(self, method: str, src: str, dst: str, *, directory: bool) -> None:
        """COPY or MOVE onto nothing, or onto a file; never onto a directory with entries."""
        api = self._api
        if not dst:
            raise IsADirectory("is the root", path=dst)
        profile = self._uploader.prepare(parent(dst))
        require_movable(profile, dst)
        response = self._send_transport(method, src, dst, directory=directory, overwrite=False, blind=profile)
        if response is not None and response.status in {400, 403, 404, 409, 500}:
            # Each server has its own word for a missing directory.
            api.ensure_directory(parent(dst))
            response = self._send_transport(method, src, dst, directory=directory, overwrite=False, blind=profile)
        if response is None or response.status == 412 or (response.status in {301, 302} and not directory):
            self._make_room(dst, directory=directory)
            response = self._send_transport(method, src, dst, directory=directory, overwrite=True, blind=None)
        assert response is not None
        if response.status not in _DONE:
            raise api.error(response, src)

    def _send_transport(
        self, method: str, src: str, dst: str, *, directory: bool, overwrite: bool, blind: Profile | None
    ) -> Response | None:
        """The answer; None where the destination must be looked at first."""
        api = self._api
        if blind is not None and not blind.refuses_overwrite:
            there = api.exists(dst)
            if there is not None:
                return None
        headers = api.transport_headers(dst, directory=directory, overwrite=overwrite)
        request = api.request(method, src, directory=directory, headers=headers, idempotent=False)
        try:
            return api.send(request)
        except TemporaryError:
            if overwrite:
                raise
            # Apache says 500 where the destination's directory is missing; or the answer got lost.
            if api.exists(parent(dst)) is None:
                return Response(409, {})
            if method == "MOVE" and api.exists(src) is None and api.exists(dst) is not None:
                return Response(201, {})
            raise

    def _make_room(self, dst: str, *, directory: bool) -> None:
        """What is at `dst` may be replaced, or this raises."""
        there = self._api.exists(dst)
        if there is None:
            return
        if directory:
            if not there.is_dir:
                raise NotADirectory("is a file", path=dst)
            if not self._lister.is_empty(dst):
                raise DirectoryNotEmpty("is not empty", path=dst)
        elif there.is_dir:
            raise IsADirectory("is a directory", path=dst)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """PROPPATCH."""
        return self._known(self._uploader.set_modified(path, modified_ns // 1_000_000_000))

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Parallel requests in one loop."""
        for result in self._uploader.run(items):
            if result.entry is not None and result.entry.hashes and not self._hashes:
                yield Result(result.path, self._known(result.entry), None, result.tag)
            else:
                yield result

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Parallel requests in one loop."""
        return self._downloader.run(items)

    def delete_dir(self, path: str) -> None:
        """PROPFIND and one DELETE, where the host can."""
        self._late(lambda: self._deleter.tree(path))

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Parallel requests in one loop."""
        self._api.ready()
        return self._deleter.run(entries)

    def usage(self) -> Usage:
        """The quota properties of the top (RFC 4331)."""
        api = self._api
        if not api.ready().quota:
            raise self._unsupported("usage")
        request = api.quota_request()
        for attempt in range(api.quirks.usage_tries):
            response = api.send(request)
            if response.status != 400 or attempt + 1 == api.quirks.usage_tries:
                break
            api.client.clock.sleep(0.5)
        if response.status != 207 and response.status >= 300:
            raise api.error(response, "")
        _multistatus.check_answer(response.status, response.headers, api.host)
        rows = _multistatus.decode(response.body, bare_names=api.quirks.bare_names)
        if len(rows) != 1:
            raise StoreError(f"{api.host} answered about {len(rows)} entries where it was asked for one", op="usage")
        free, used = (_space(rows[0].found.get(name)) for name in QUOTA)
        if free is None and used is None:
            raise Unsupported(f"{api.host} does not tell how much space there is", op="usage")
        return Usage(None if free is None or used is None else free + used, used, free)

    # ---- leftovers

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Temporary names and unfinished uploads: of dead runs of this machine; with `older_than`, of anybody."""
        self._api.ready()
        told: set[str] = set()
        for leftover in self._own_leftovers(path):
            told.add(leftover.id)
            yield leftover
        if older_than is None:
            return
        limit = time.time_ns() - int(older_than * 1_000_000_000)
        live = self._journal.live()
        for entry in self._lister.walk(path, hidden=True):
            match = _TEMP.fullmatch(entry.name)
            when = entry.stored_ns if entry.stored_ns is not None else entry.modified_ns
            if match is None or match[1] in live or entry.path in told or (when or 0) > limit:
                continue
            yield Leftover(entry.path, entry.path, when, entry.size, own=False)
        if not path:
            for upload_id, when in self._uploader.chunks.all():
                if upload_id not in told and (when or 0) <= limit:
                    yield Leftover("", upload_id, when, None, own=False)

    def _own_leftovers(self, path: str) -> Iterator[Leftover]:
        for record in self._journal.dead():
            try:
                left = False
                for directory in sorted(record.directories):
                    for entry in self._temps(directory, record.run):
                        left = True
                        if is_within(entry.path, path):
                            yield Leftover(entry.path, entry.path, entry.stored_ns, entry.size, own=True)
                for upload in list(record.uploads.values()):
                    left = True
                    if is_within(upload.path, path):
                        yield Leftover(upload.path, upload.id, upload.started_ns, None, own=True)
                if not left:
                    record.remove()
            finally:
                record.close()

    def _left_by_the_dead(self, path: str) -> list[str]:
        """Temporary files of dead runs of this machine, where a directory has nothing else."""
        dead = set()
        for record in self._journal.dead():
            dead.add(record.run)
            record.close()
        found = []
        for entry in self._lister.scan(path, hidden=True):
            match = _TEMP.fullmatch(entry.name)
            if match is None or match[1] not in dead:
                return []
            found.append(entry.path)
        return found

    def _temps(self, directory: str, run: str) -> Iterator[Entry]:
        try:
            for entry in self._lister.scan(directory, hidden=True):
                match = _TEMP.fullmatch(entry.name)
                if match is not None and match[1] == run:
                    yield entry
        except (NotFound, NotADirectory):
            return

    def remove_leftover(self, leftover: Leftover) -> None:
        """DELETE of a temporary file or of an upload's pieces, and our record of it."""
        if not leftover.id.startswith("cftool-"):
            if _TEMP.fullmatch(leftover.id.rpartition("/")[2]) is None:
                raise StoreError("is no temporary file of ours", op="remove_leftover", path=leftover.path)
            try:
                self._deleter.file(leftover.id)
            except NotFound:
                return
            return
        self._uploader.chunks.remove(leftover.id)
        for record in self._journal.dead():
            if leftover.id in record.uploads:
                record.drop(leftover.id)
                if not (record.uploads or record.directories):
                    record.remove()
            record.close()

    # ---- helpers

    def _late(self, action: "object") -> None:
        """Do it; once more where the host shows new files late."""
        assert callable(action)
        try:
            action()
        except NotFound:
            if not self._api.quirks.late:
                raise
            self._api.client.clock.sleep(0.5)
            action()


def _space(text: str | None) -> int | None:
    """Bytes; None where it is no number. Negative values are Nextcloud's for unlimited and unknown."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None
