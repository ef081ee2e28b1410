"""The Store of Google Drive: each method here in terms of the modules that know how. See the package for the quirks.

Keeps no entries between calls; what it remembers is where folders were, and asks anew at each use.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping

from cftool.core import paths
from cftool.core.errors import (
    AlreadyExists,
    ConnectionFailed,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    ProtocolError,
    StoreError,
    TemporaryError,
    Unsupported,
)
from cftool.core.provider import Context, Secret
from cftool.core.store import Optionals
from cftool.core.types import (
    Cap,
    ChangeSet,
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
from cftool_providers.gdrive import _files, _settings
from cftool_providers.gdrive._changes import Feed
from cftool_providers.gdrive._delete import Deleter
from cftool_providers.gdrive._download import Downloader
from cftool_providers.gdrive._files import FIELDS, HASHES, MILLISECOND, Item
from cftool_providers.gdrive._listing import Lister
from cftool_providers.gdrive._resumable import cancel
from cftool_providers.gdrive._service import CONNECTIONS, Service, file_path
from cftool_providers.gdrive._sessions import Sessions
from cftool_providers.gdrive._tree import Look, Tree, is_in_use
from cftool_providers.gdrive._upload import MAX_FILE, Uploader
from cftool_providers.gdrive._upload_many import write_many

log = logging.getLogger("cftool.gdrive")

_CAPS = (
    Cap.WALK | Cap.COPY | Cap.MOVE | Cap.MOVE_DIR | Cap.SET_MODIFIED | Cap.WRITE_MANY | Cap.READ_MANY | Cap.DELETE_MANY
    | Cap.CHANGES | Cap.EMPTY_DIRS | Cap.RANGES | Cap.LINK
)  # fmt: skip


def open_store(values: Mapping[str, str | int | float | bool | Secret | None], context: Context) -> "GDriveStore":
    """Check the options and make the store; nothing is sent before it is used."""
    return GDriveStore(Service(_settings.settings(values, context), values, context))


class GDriveStore(Optionals):
    """See core.store.Store."""

    def __init__(self, service: Service) -> None:
        self.name = service.name
        self._service = service
        self._tree = Tree(service)
        self._lister = Lister(self._tree, grouped=not service.context.deletes)
        self._sessions = Sessions(service.context.state_dir, service.settings.identity)
        self._deleter = Deleter(self._tree)
        self._downloader = Downloader(self._tree)
        self._uploader = Uploader(self._tree, self._sessions, self._deleter.remove)
        self._feed = Feed(self._tree)
        caps = _CAPS
        if service.settings.trash:
            caps |= Cap.DELETE_DIR  # deleting for good would leave what others own in it without a place
        if service.settings.drive is None:
            caps |= Cap.USAGE  # a shared drive has no quota of its own
        if service.context.state_dir is not None:
            caps |= Cap.RESUME | Cap.LEFTOVERS
        self._features = Features(
            caps=caps,
            identity=service.settings.identity,
            hashes=HASHES,
            time_precision_ns=MILLISECOND,
            listed_time=True,
            size_limit=MAX_FILE,
            names=NameRules(),
            walk_order=WalkOrder.NONE,
            connections=CONNECTIONS,
        )

    @property
    def features(self) -> Features:
        """Constant."""
        return self._features

    # ---- the protocol's order

    def stat(self, path: str) -> Entry:
        """One request; nothing is asked of the root."""
        if not path:
            return Entry("", Kind.DIRECTORY)
        return _files.entry(self._tree.find(path, "stat"), path, self._tree.exports)

    def scan(self, path: str) -> Iterator[Entry]:
        """Pages of files.list, of one folder."""
        return self._lister.scan(path)

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """The metadata, then the bytes."""
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
        """What is there is looked at first; a small file is then one request."""
        item = WriteItem(path, source, modified_ns, if_version, if_absent)
        try:
            return self._uploader.one(item)
        except StoreError as error:
            raise error.at(op="write", path=path) from None

    def delete(self, path: str) -> None:
        """Into the trash, unless `use_trash` is off."""
        self._deleter.one(path)

    def mkdir(self, path: str) -> Entry:
        """A folder, and its parents."""
        if not path:
            return Entry("", Kind.DIRECTORY)
        try:
            look = self._tree.look(path)
            if look.item is not None and not look.item.is_folder:
                raise AlreadyExists("a file has that name", op="mkdir", path=path)
            handle = look.item.id if look.item is not None else self._tree.ensure(path, look)[0]
        except StoreError as error:
            raise error.at(op="mkdir", path=path) from None
        return Entry(path, Kind.DIRECTORY, id=handle)

    def rmdir(self, path: str) -> None:
        """A folder that was just seen to be empty."""
        self._deleter.rmdir(path)

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    # ---- optional

    def walk(self, path: str) -> Iterator[Entry]:
        """Queries over many folders at once; over one each, where the run may delete."""
        return self._lister.walk(path)

    def copy(self, src: str, dst: str) -> Entry:
        """files.copy under an id fetched before; what stood at `dst` goes when the copy is there."""
        one, old, parent = self._pair("copy", src, dst)
        if one.is_folder:
            raise IsADirectory("is a folder", op="copy", path=src)
        if _files.kind_of(one, self._tree.exports) is not Kind.FILE:
            raise Unsupported("has no content to copy", op="copy", path=src)
        if old is not None and old.id == one.id:
            return _files.entry(one, dst, self._tree.exports)
        body: dict[str, object] = {"name": self._real_name(one, dst), "parents": [parent]}
        if one.content.modified_ns is not None:
            body["modifiedTime"] = _files.time_text(one.content.modified_ns)
        if not one.is_document:  # for those the service chooses the id
            body["id"] = self._service.new_id()
        made = self._copied(one, body)
        if made.trashed:
            raise NotFound("the folder was put into the trash meanwhile", op="copy", path=dst)
        if made.size != one.content.size or made.hashes != one.content.hashes:
            self._deleter.remove(made)
            raise ProtocolError("the copy is not what was copied", op="copy", path=dst)
        if old is not None:
            self._deleter.remove(old)
        self._tree.saw(made.id, dst)
        return _files.entry(made, dst, self._tree.exports)

    def _copied(self, one: Item, body: Mapping[str, object]) -> Item:
        params = self._service.params((("fields", FIELDS),))
        try:
            return _files.item(
                self._service.call(
                    "POST", "files.copy", file_path(one.content.id, "/copy"), params, body=body, idempotent="id" in body
                )
            )
        except StoreError as error:
            if "id" not in body or not is_in_use(error):
                raise error.at(op="copy") from None
            return _files.item(self._tree.get(str(body["id"])))  # it arrived, and its answer did not

    def move(self, src: str, dst: str) -> Entry:
        """Another name and another parent, in one request; what stood at `dst` goes when it is there."""
        if paths.is_within(dst, src) and src != dst:
            raise InvalidName("lies in itself", op="move", path=dst)
        one, old, parent = self._pair("move", src, dst)
        if old is not None and old.id == one.id:
            return _files.entry(one, dst, self._tree.exports)
        if old is not None and one.is_folder:
            raise AlreadyExists("something is there already", op="move", path=dst)
        body: dict[str, object] = {"name": self._real_name(one, dst)}
        if not one.is_folder and not one.is_shortcut and one.modified_ns is not None:
            body["modifiedTime"] = _files.time_text(one.modified_ns)
        moved = self._moved(one, body, parent)
        self._tree.forget(src)
        if old is not None:
            self._deleter.remove(old)
        if moved.is_folder:
            self._tree.remember(dst, moved.id)
        else:
            self._tree.saw(moved.id, dst)
        return _files.entry(moved._replace(target=one.target), dst, self._tree.exports)

    def _moved(self, one: Item, body: Mapping[str, object], parent: str) -> Item:
        more: tuple[tuple[str, str], ...] = (("fields", FIELDS),)
        target = self._tree.root_id() if parent == "root" else parent
        if target not in one.parents:
            more += (("addParents", target), ("removeParents", ",".join(one.parents)))
        request = self._service.request(
            "PATCH", "files.update", file_path(one.id), self._service.params(more), body=body, idempotent=False
        )
        try:
            response = self._service.send(request)
        except (ConnectionFailed, TemporaryError):
            now = _files.item(self._tree.get(one.id))
            if now.name != body["name"] or target not in now.parents:
                raise
            return now  # it arrived, and its answer did not
        if response.status >= 300:
            raise self._service.upload_error(response.status, response.body, "").at(op="move")
        return _files.item(_files.parse(response.body, response.headers))

    def _pair(self, op: str, src: str, dst: str) -> tuple[Item, Item | None, str]:
        """What is at `src`, what is at `dst`, and the folder that `dst` is to be in, made where it is missing."""
        if not src or not dst:
            raise IsADirectory("is the root", op=op, path="")
        one = self._tree.find(src, op)
        try:
            look = self._tree.look(dst)
            old = look.item
            if old is not None and old.id != one.id:
                if old.is_folder and not one.is_folder:
                    raise IsADirectory("is a folder", op=op, path=dst)
                if one.is_folder and not old.is_folder:
                    raise NotADirectory("is a file", op=op, path=dst)
            parent = look.folders[-1]
            if len(look.folders) < len(dst.split("/")):
                parent, _ = self._tree.ensure(paths.parent(dst), Look(look.folders, None))
        except StoreError as error:
            raise error.at(op=op, path=dst) from None
        return one, old, parent

    def _real_name(self, one: Item, path: str) -> str:
        """What the service is to call it: of a document without the extension under which it shows."""
        name = path.rpartition("/")[2]
        base = _files.base_name(one, self._tree.exports)
        if not one.is_document or not base.startswith(one.name):
            return name
        ending = base[len(one.name) :]
        if ending and not name.endswith(ending):
            raise Unsupported(f"is a Google document, whose name here ends with {ending}", path=path)
        return name.removesuffix(ending) if ending else name

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """files.update of the time alone."""
        one = self._tree.find(path, "set_modified")
        if one.is_folder or one.is_shortcut:
            raise Unsupported("has no time of its own", op="set_modified", path=path)
        try:
            found = self._service.call(
                "PATCH",
                "files.update",
                file_path(one.id),
                self._service.params((("fields", FIELDS),)),
                body={"modifiedTime": _files.time_text(modified_ns)},
            )
        except StoreError as error:
            raise error.at(op="set_modified", path=path) from None
        return _files.entry(_files.item(found), path, self._tree.exports)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Many uploads in parallel; each folder is looked at once."""
        return write_many(self._uploader, items)

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Many downloads in parallel; what they are is asked a hundred at a time."""
        return self._downloader.run(items)

    def delete_dir(self, path: str) -> None:
        """The folder goes into the trash with all that is in it."""
        self._deleter.whole(path)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Batches of a hundred."""
        return self._deleter.run(entries)

    def changes(self, cursor: str | None) -> ChangeSet:
        """The feed of changes."""
        return self._feed.changes(cursor)

    def usage(self) -> Usage:
        """Of the account, with Gmail and Photos; one without a limit has no total."""
        if Cap.USAGE not in self._features.caps:
            raise self._unsupported("usage")
        found = self._service.call("GET", "about.get", "about", (("fields", "storageQuota"),))
        quota = found.get("storageQuota")
        if not isinstance(quota, dict):
            raise ProtocolError("the service does not say how much is used", op="usage")
        total, used = _number(quota.get("limit")), _number(quota.get("usage"))
        free = None if total is None or used is None else max(0, total - used)
        return Usage(total, used, free)

    def link(self, path: str, *, expires: float | None = None) -> str:
        """Let everybody who has the link read, and give it."""
        if expires is not None:
            raise Unsupported("a link that ends is not to be had from the service", op="link", path=path)
        if not path:
            raise Unsupported("the root is not shared", op="link", path=path)
        one = self._tree.find(path, "link")
        try:
            self._service.call(
                "POST",
                "permissions.create",
                file_path(one.id, "/permissions"),
                self._service.params((("fields", "id"),)),
                body={"role": "reader", "type": "anyone"},
            )
            found = self._service.call(
                "GET",
                "files.get",
                file_path(one.id),
                self._service.params((("fields", "webViewLink,webContentLink"),)),
            )
        except StoreError as error:
            raise error.at(op="link", path=path) from None
        address = found.get("webViewLink") or found.get("webContentLink")
        if not isinstance(address, str) or not address.startswith("https://"):
            raise ProtocolError("the service gave no link", op="link", path=path)
        return address

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Sessions of killed runs of this machine: the service lists none."""
        if Cap.LEFTOVERS not in self._features.caps:
            raise self._unsupported("leftovers", path)
        del older_than  # the service names none of other machines; they end by themselves after a week
        found: list[Leftover] = []
        for record in self._sessions.stale():
            intent = record.intent
            if paths.is_within(intent.path, path):
                found.append(Leftover(intent.path, record.name, intent.started_ns, None, own=True))
            record.close()
        yield from found  # no record is held while the caller removes one

    def remove_leftover(self, leftover: Leftover) -> None:
        """Cancel the session and forget it."""
        if Cap.LEFTOVERS not in self._features.caps:
            raise self._unsupported("remove_leftover", leftover.path)
        for record in self._sessions.stale(leftover.path):
            if record.name != leftover.id:
                record.close()
                continue
            try:
                if record.uri is not None:
                    cancel(self._service, record.uri)
                record.remove()
            finally:
                record.close()


def _number(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    raise ProtocolError("the service's quota is no number", op="usage")
