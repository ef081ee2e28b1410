"""The Store of Dropbox: each method here in terms of the modules that know how. See the package for the quirks.

Keeps no entries between calls.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO

from cftool.core import ops
from cftool.core.errors import AlreadyExists, IsADirectory, ProtocolError, StoreError, Unsupported
from cftool.core.provider import Context
from cftool.core.store import Optionals
from cftool.core.types import (
    Cap,
    ChangeSet,
    Download,
    Entry,
    Features,
    Kind,
    NameRules,
    ReadItem,
    Result,
    Source,
    Usage,
    WalkOrder,
    WriteItem,
)
from cftool_providers.dropbox import _entries, _errors
from cftool_providers.dropbox._api import CONNECTIONS, Service, Values, answer, api_path
from cftool_providers.dropbox._delete import Deleter
from cftool_providers.dropbox._download import Downloader
from cftool_providers.dropbox._large import LARGEST
from cftool_providers.dropbox._listing import Lister
from cftool_providers.dropbox._relocate import Relocator
from cftool_providers.dropbox._sessions import Sessions
from cftool_providers.dropbox._upload import Uploader

_CAPS = (
    Cap.WALK | Cap.COPY | Cap.MOVE | Cap.MOVE_DIR | Cap.IF_VERSION | Cap.IF_ABSENT | Cap.WRITE_MANY | Cap.READ_MANY
    | Cap.DELETE_DIR | Cap.DELETE_MANY | Cap.CHANGES | Cap.USAGE | Cap.EMPTY_DIRS | Cap.RANGES | Cap.LINK
)  # fmt: skip


def open_store(values: Values, context: Context) -> "DropboxStore":
    """Check the options and make the store; nothing is sent before it is used."""
    return DropboxStore(Service(values, context))


class DropboxStore(Optionals):
    """See core.store.Store."""

    def __init__(self, service: Service) -> None:
        self.name = service.name
        self._service = service
        self._lister = Lister(service)
        state_dir = service.context.state_dir
        self._uploader = Uploader(service, self._lister, Sessions(state_dir, service.identity))
        self._downloader = Downloader(service, self._lister)
        self._deleter = Deleter(service, self._lister)
        self._relocator = Relocator(service, self._lister, self._replace, self._deleter.one)
        self._features = Features(
            caps=_CAPS if state_dir is None else _CAPS | Cap.RESUME,
            identity=service.identity,
            hashes=frozenset({"dropbox"}),
            time_precision_ns=1_000_000_000,
            listed_time=True,
            size_limit=LARGEST,
            # Unicode forms: taken as one, because a sync that takes them for two could delete what it just wrote.
            names=NameRules(forbidden="\\\x7f", no_end=" ", case_sensitive=False, unicode_form="NFC"),
            walk_order=WalkOrder.NONE,
            connections=CONNECTIONS,
        )

    @property
    def features(self) -> Features:
        """Constant."""
        return self._features

    # ---- the protocol's order

    def stat(self, path: str) -> Entry:
        """One request."""
        return self._lister.stat(path)

    def scan(self, path: str) -> Iterator[Entry]:
        """Pages of list_folder."""
        return self._lister.scan(path)

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """One request."""
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
        """One request, or an upload session. The same content again is not written, and keeps its old time."""
        if not path:
            raise IsADirectory("is the root", op="write", path=path)
        return self._uploader.write(WriteItem(path, source, modified_ns, if_version, if_absent))

    def delete(self, path: str) -> None:
        """A look, and the deletion of the revision that was seen."""
        self._deleter.delete(path)

    def mkdir(self, path: str) -> Entry:
        """The service makes parents by itself."""
        if not path:
            return Entry("", Kind.DIRECTORY)
        try:
            found = self._service.call(
                "files/create_folder_v2", {"path": api_path(path), "autorename": False}, path=path
            )
        except IsADirectory:
            return self._lister.stat(path)
        metadata = found.get("metadata")
        if not isinstance(metadata, dict):
            raise ProtocolError("Dropbox does not tell what it made", op="mkdir", path=path)
        return _entries.entry({**metadata, ".tag": "folder"}, path)

    def rmdir(self, path: str) -> None:
        """A look whether it is empty, and the deletion."""
        self._deleter.rmdir(path)

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    # ---- optional

    def walk(self, path: str) -> Iterator[Entry]:
        """Pages of a recursive list_folder."""
        return self._lister.walk(path)

    def copy(self, src: str, dst: str) -> Entry:
        """Together with other copies that wait; over a file its content comes through here."""
        return self._relocator.copy(src, dst)

    def move(self, src: str, dst: str) -> Entry:
        """Together with other moves that wait; over a file its content comes through here."""
        if src == dst:
            return self.stat(src)
        return self._relocator.move(src, dst)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Upload sessions in batches."""
        return self._uploader.run(items)

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Parallel requests."""
        return self._downloader.run(items)

    def delete_dir(self, path: str) -> None:
        """get_metadata, and a delete_batch of the folder."""
        self._deleter.whole(path)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """delete_batch by the thousand."""
        return self._deleter.run(entries)

    def changes(self, cursor: str | None) -> ChangeSet:
        """list_folder/continue."""
        return self._lister.changes(cursor)

    def wait_for_changes(self, cursor: str, timeout: int = 30) -> tuple[bool, float]:
        """Beyond the protocol: block until `changes(cursor)` has something to tell. See Lister.wait."""
        return self._lister.wait(cursor, timeout)

    def usage(self) -> Usage:
        """Of the account; in a team of what the user may use of the team's space."""
        found = self._service.call("users/get_space_usage", None)
        used, allocation = found.get("used"), found.get("allocation")
        if not isinstance(allocation, dict):
            raise ProtocolError("Dropbox does not tell the space of the account", op="usage")
        total = allocation.get("allocated")
        if allocation.get(".tag") == "team":
            own = allocation.get("user_within_team_space_allocated")
            if isinstance(own, int) and own > 0:
                total = own
            else:
                used = allocation.get("used")
        if not _count(used) or (total is not None and not _count(total)):
            raise ProtocolError("Dropbox tells a space that is no number of bytes", op="usage")
        assert isinstance(used, int)
        return Usage(total, used, None if total is None else max(0, total - used))

    def link(self, path: str, *, expires: float | None = None) -> str:
        """A shared link, by which anybody sees the file; the one that is there already, where there is one."""
        arg: dict[str, Any] = {"path": api_path(path)}
        if expires is not None:
            end = datetime.fromtimestamp(self._service.client.clock.wall() + expires, UTC)
            arg["settings"] = {"expires": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        route = "sharing/create_shared_link_with_settings"
        response = self._service.client.send(self._service.request(route, arg))
        tree = _errors.body_error(response.body) if response.status == 409 else None
        if "shared_link_already_exists" not in _errors.tags(tree):
            return _url(answer(response, path), path)
        found = _errors.leaf(tree).get("metadata")
        if isinstance(found, dict):
            return _url(found, path)
        links = self._service.call(
            "sharing/list_shared_links", {"path": api_path(path), "direct_only": True}, path=path
        )
        first = next(iter(links.get("links") or ()), None)
        if not isinstance(first, dict):
            raise ProtocolError("Dropbox has a link already and does not tell it", op="link", path=path)
        return _url(first, path)

    # ---- for Relocator

    def _replace(self, entry: Entry, there: Entry) -> Entry:
        """Write the content of one file over another: old bytes or new ones, and never none."""
        source = _Content(self._downloader, entry)
        item = WriteItem(there.path, source, entry.modified_ns, there.version)
        try:
            return self._uploader.write(item)
        except AlreadyExists as error:
            raise StoreError(error.message, op="copy", path=there.path) from None


class _Content:
    """A file of the service as a Source."""

    local_path: str | None = None

    def __init__(self, downloader: Downloader, entry: Entry) -> None:
        if entry.kind is not Kind.FILE:
            raise Unsupported("has no content", op="copy", path=entry.path)
        self._downloader = downloader
        self._entry = entry
        self.size = entry.size

    def open(self) -> BinaryIO:
        """The content as a stream."""
        return ops.as_file(self._downloader.read(self._entry.path, 0, None, self._entry.version))

    def load(self) -> bytes:
        """The content, verified by its hash."""
        with self._downloader.read(self._entry.path, 0, None, self._entry.version) as download:
            return download.read()

    def check(self) -> None:
        """The download's end has proven it: exactly this version, whole."""


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _url(found: dict[str, Any], path: str) -> str:
    url = found.get("url")
    if not isinstance(url, str) or not url.startswith("https://"):
        raise ProtocolError("Dropbox gave no link", op="link", path=path)
    return url
