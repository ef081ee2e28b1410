"""write: small files in one multipart request, large ones by sessions (see `_resumable`); for many see `_upload_many`.

The place of a file is looked at before, and the answer says where it went. A new file has an id that was fetched
before: a request whose answer was lost is sent again and makes no second one.
"""

import hashlib
import json
import logging
import secrets
from collections.abc import Callable

from cftool.core import paths
from cftool.core.dataclass import dataclass
from cftool.core.errors import (
    IntegrityError,
    InvalidName,
    IsADirectory,
    NotFound,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    TooLarge,
    Unsupported,
)
from cftool.core.types import Entry, WriteItem
from cftool.http.types import Request, Response
from cftool_providers.gdrive import _errors, _files
from cftool_providers.gdrive._files import FIELDS, Item
from cftool_providers.gdrive._formats import PREFIX
from cftool_providers.gdrive._resumable import Resumable
from cftool_providers.gdrive._service import Service, file_path
from cftool_providers.gdrive._sessions import Sessions
from cftool_providers.gdrive._tree import Keyed, Look, Tree

log = logging.getLogger("cftool.gdrive")

SMALL = 5_000_000  # up to this a file goes in one request: the service's limit is 5 MB
MAX_FILE = 5_120 * 1024**3
ATTEMPTS = 3


@dataclass(slots=True)
class Place:
    """Where one file goes. `handle`: the id of the file that it replaces, or the one that it will have (`new`)."""

    parent: str
    name: str
    handle: str
    new: bool
    stand_in: Item | None = None  # a shortcut of that name, which goes when the file is there

    def metadata(self, item: WriteItem) -> dict[str, object]:
        """What the file is created or updated with."""
        found: dict[str, object] = {}
        if self.new:
            found = {"id": self.handle, "name": self.name, "parents": [self.parent]}
        if item.modified_ns is not None:
            found["modifiedTime"] = _files.time_text(item.modified_ns)
        return found


def mime_of(name: str) -> str:
    """The media type that the name suggests; never one that the service would convert."""
    import mimetypes

    kind, encoding = mimetypes.guess_type(name, strict=False)
    if kind is None or encoding is not None or kind.startswith(PREFIX):  # `.tar.gz` is no archive that is read as one
        return "application/octet-stream"
    return kind


class Uploader:
    """Writes single files. Thread-safe."""

    def __init__(self, tree: Tree, sessions: Sessions, remove: Callable[[Item], None]) -> None:
        self.tree = tree
        self.service: Service = tree.service
        self.sessions = sessions
        self.remove = remove
        self._writing = Keyed()

    def one(self, item: WriteItem) -> Entry:
        """Write one file; threads that write one path come after each other."""
        require_possible(item)
        with self._writing.hold(item.path):
            for attempt in range(ATTEMPTS):
                try:
                    return self._one(item)
                except Moved as moved:
                    log.info("%s: %s; looking again", paths.printable(item.path), moved.error.message)
                    if attempt == ATTEMPTS - 1:
                        raise moved.error from None
        raise AssertionError

    def _one(self, item: WriteItem) -> Entry:
        place = self._place(item.path)
        if is_small(item):
            data = load(item)
            made = self.understood(item, place, self.service.send(self.small(item, place, data)), data)
        else:
            made = self.large(item, place)
        return self.finished(item, place, made)

    def _place(self, path: str) -> Place:
        folder = path.rpartition("/")[0]
        look = self.tree.look(path)
        if look.item is not None:
            return self.place(look.folders[-1], path, look.item)
        parent = look.folders[-1]
        if len(look.folders) < len(path.split("/")):
            parent, _ = self.tree.ensure(folder, Look(look.folders, None))
        return self.place(parent, path, None)

    def place(self, parent: str, path: str, old: Item | None) -> Place:
        """The place of a file whose folder was looked at. Raises IsADirectory, Unsupported."""
        name = path.rpartition("/")[2]
        if old is None:
            return Place(parent, name, self.service.new_id(), new=True)
        if old.is_folder:
            raise IsADirectory("is a folder", op="write", path=path)
        if old.is_shortcut:
            return Place(parent, name, self.service.new_id(), new=True, stand_in=old)
        if old.is_document:
            raise Unsupported("a Google document has that name; a file does not replace it", op="write", path=path)
        return Place(parent, name, old.id, new=False)

    # ---- sending

    def small(self, item: WriteItem, place: Place, data: bytes, tag: object = None) -> Request:
        """The one request of a small file."""
        self.service.require_uploads()
        boundary = f"cftool-{secrets.token_hex(12)}"
        body = b"".join(
            (
                f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
                json.dumps(place.metadata(item)).encode(),
                f"\r\n--{boundary}\r\nContent-Type: {mime_of(place.name)}\r\n\r\n".encode(),
                data,
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )
        return self.service.upload(
            "POST" if place.new else "PATCH",
            "upload.create" if place.new else "upload.update",
            "files" if place.new else file_path(place.handle),
            self.service.params((("uploadType", "multipart"), ("fields", FIELDS))),
            headers=(("content-type", f"multipart/related; boundary={boundary}"),),
            body=body,
            tag=tag,
        )

    def understood(self, item: WriteItem, place: Place, response: Response, data: bytes) -> Item:
        """What the service made of a small upload. Raises Moved where the place is not what it was."""
        if response.status == 409 and place.new and _errors.reason_of(response.body).reason == _errors.IN_USE:
            # An earlier attempt of this very request arrived, and its answer did not.
            made = _files.item(self.tree.get(place.handle))
        elif response.status >= 300:
            error = self.service.upload_error(response.status, response.body, item.path)
            if isinstance(error, NotFound):
                raise Moved(error)
            raise error
        else:
            made = _files.item(_files.parse(response.body, response.headers))
        self.verified(item, place, made, len(data), hashlib.md5(data, usedforsecurity=False).hexdigest())
        return made

    def large(self, item: WriteItem, place: Place, check: Callable[[], None] | None = None) -> Item:
        """One session's upload; `check` raises where it is to be given up."""
        self.service.require_uploads()
        stop = check or self.service.check
        try:
            made, md5 = Resumable(self.service, self.sessions, item, place, mime_of(place.name), stop).run()
        except NotFound as error:
            raise Moved(error) from None
        self.verified(item, place, made, item.source.size, md5)
        return made

    def verified(self, item: WriteItem, place: Place, made: Item, size: int | None, md5: str) -> None:
        """Raise where the service has something else than was sent, or has it somewhere else."""
        stored = made.hashes.get("md5")
        if made.id != place.handle or (size is not None and made.size != size) or (stored or md5) != md5:
            item.source.check()  # where the source changed under the upload, that is the better answer
            if place.new and made.id == place.handle:
                self.remove(made)
            raise IntegrityError(
                f"the service stored other bytes than were sent: {made.size} bytes, MD5 {stored}, not {md5}",
                op="write",
                path=item.path,
            )
        parents = frozenset(made.parents)
        moved = place.parent != "root" and bool(parents) and place.parent not in parents
        # What it is called in the store is its name, or that of a duplicate.
        renamed = made.name not in _files.candidates(place.name, ())
        if made.trashed or moved or renamed:
            if place.new:
                self.remove(made)
            what = "was put into the trash" if made.trashed else "was moved or renamed"
            raise Moved(PreconditionFailed(f"it, or its folder, {what} meanwhile", op="write", path=item.path))

    def finished(self, item: WriteItem, place: Place, made: Item) -> Entry:
        """The entry; what only stood there in its stead goes."""
        if place.stand_in is not None:
            self.remove(place.stand_in)
        self.tree.saw(made.id, item.path)
        return _files.entry(made, item.path, self.tree.exports)


class Moved(Exception):
    """The place of a file is not what it was: look again."""

    def __init__(self, error: StoreError) -> None:
        super().__init__(error)
        self.error = error


def require_possible(item: WriteItem) -> None:
    """Raise for what no look at the service could make possible."""
    if not item.path:
        raise IsADirectory("is the root", op="write", path=item.path)
    if item.if_absent or item.if_version is not None:
        raise Unsupported("the service knows no conditions", op="write", path=item.path)
    size = item.source.size
    if size is not None and size > MAX_FILE:
        raise TooLarge("is larger than 5 TiB, the service's largest file", op="write", path=item.path)
    if len(item.path.rpartition("/")[2]) > 32_000:
        raise InvalidName("is longer than the service takes", op="write", path=item.path)


def is_small(item: WriteItem) -> bool:
    """Whether it goes in one request."""
    return item.source.size is not None and item.source.size <= SMALL


def load(item: WriteItem) -> bytes:
    """The content of a small file, proven unchanged."""
    data = item.source.load()
    if len(data) != item.source.size:
        raise SourceChanged(f"the source has {len(data)} bytes, not {item.source.size}", op="write", path=item.path)
    return data
