"""The Store of SugarSync: each method here in terms of the modules that know how. See the package for the quirks."""

import time
from collections.abc import Iterable, Iterator, Mapping

from cftool.core import paths
from cftool.core.errors import AlreadyExists, IsADirectory, NotADirectory, NotFound, Unsupported
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
from cftool_providers.sugarsync._login import settings
from cftool_providers.sugarsync._many import Deleter, Reader, Rmdir
from cftool_providers.sugarsync._service import CONNECTIONS, Service
from cftool_providers.sugarsync._tree import Tree, entry_of
from cftool_providers.sugarsync._upload import Uploader

_CAPS = (
    Cap.WALK | Cap.COPY | Cap.MOVE | Cap.MOVE_DIR | Cap.WRITE_MANY | Cap.READ_MANY | Cap.DELETE_MANY | Cap.USAGE
    | Cap.DELETE_DIR | Cap.EMPTY_DIRS | Cap.RANGES | Cap.LEFTOVERS | Cap.LINK
)  # fmt: skip
# What XML cannot carry, and line ends and tabs, which the service's own clients do not take.
_FORBIDDEN = "".join(map(chr, range(1, 32))) + "\ufffe\uffff"
_NAMES = NameRules(utf8=True, top_files=False, component_bytes=255, forbidden=_FORBIDDEN, case_sensitive=False)


def open_store(values: Mapping[str, str | int | float | bool | Secret | None], context: Context) -> "SugarSyncStore":
    """Check the options and make the store; nothing is sent before it is used."""
    return SugarSyncStore(Service(settings(values), context))


class SugarSyncStore(Optionals):
    """See core.store.Store."""

    def __init__(self, service: Service) -> None:
        self.name = service.name
        self._service = service
        self._tree = Tree(service)
        self._uploader = Uploader(service, self._tree)
        self._reader = Reader(service, self._tree)
        self._deleter = Deleter(service, self._tree)
        self._rmdir = Rmdir(service, self._tree)
        self._features: Features | None = None

    @property
    def features(self) -> Features:
        """The identity is the account's number: remembered since the first run, which asks for it."""
        if self._features is None:
            self._features = Features(
                caps=_CAPS,
                identity=f"sugarsync:{self._service.account().user}",
                names=_NAMES,
                walk_order=WalkOrder.NONE,
                connections=CONNECTIONS,
            )
        return self._features

    # ---- the protocol's order

    def stat(self, path: str) -> Entry:
        """One listing of the folder that holds it."""
        if not path:
            return Entry("", Kind.DIRECTORY, id=self._service.account().folders)
        try:
            return entry_of(path, self._tree.item(path))
        except NotADirectory as error:
            raise NotFound("no such file or directory", op="stat", path=path) from error

    def scan(self, path: str) -> Iterator[Entry]:
        """The folder's pages. All of them, because only then it is known which names are there twice."""
        for name, item in self._tree.contents(path).entries():
            yield entry_of(paths.join(path, name), item)

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """One listing and one GET."""
        return self._reader.read(path, start, end, if_version)

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """Two requests for a new file and five for a replacement, and a listing before and after."""
        item = WriteItem(path, source, modified_ns, if_version, if_absent)
        self._unconditional(item)
        return self._uploader.one(item)

    def delete(self, path: str) -> None:
        """To the Deleted Files, or for good with `hard_delete`."""
        if not path:
            raise IsADirectory("is the root", op="delete", path=path)
        self._deleter.one(path)

    def mkdir(self, path: str) -> Entry:
        """One request for each that is missing."""
        try:
            return Entry(path, Kind.DIRECTORY, id=self._tree.make(path) if path else self._service.account().folders)
        except NotADirectory as error:
            if error.path == path:
                raise AlreadyExists("a file has that name", op="mkdir", path=path) from error
            raise

    def rmdir(self, path: str) -> None:
        """One listing and one request."""
        self._rmdir(path)

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    # ---- optional

    def walk(self, path: str) -> Iterator[Entry]:
        """Folders in parallel, each by its pages."""
        for place, contents in self._tree.walk(path):
            for name, item in contents.entries():
                yield entry_of(paths.join(place, name), item)

    def copy(self, src: str, dst: str) -> Entry:
        """One request, three where a file is replaced."""
        return self._uploader.copy(src, dst)

    def move(self, src: str, dst: str) -> Entry:
        """One request, two where a file is replaced."""
        return self._uploader.move(src, dst)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Two requests a new file, and listings of each folder before and after."""

        def sound() -> Iterator[WriteItem]:
            for item in items:
                self._unconditional(item)
                yield item

        return self._uploader.run(sound())

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """One request a file, and a listing of its folder where the last one is too old."""
        return self._reader.run(items)

    def delete_dir(self, path: str) -> None:
        """One request: the folder goes to the Deleted Files with all that is in it. A sync folder cannot."""
        if "/" not in path:
            raise Unsupported("a sync folder cannot be moved to the Deleted Files", op="delete_dir", path=path)
        self._rmdir.whole(path)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """One request a file, and a listing of its folder where the last one is too old."""
        return self._deleter.run(entries, self._rmdir)

    def usage(self) -> Usage:
        """What the account may hold and holds."""
        found = self._service.user()
        return Usage(found.limit, found.used, max(0, found.limit - found.used))

    def link(self, path: str, *, expires: float | None = None) -> str:
        """The public link of a file; it does not expire."""
        if expires is not None:
            raise Unsupported("public links of SugarSync do not expire", op="link", path=path)
        entry = self._reader.found(path, max_age=0.0)
        assert entry.id is not None
        return self._service.publish(entry.id)

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Our temporary names, and files that nobody filled. Whose they are cannot be told, only how old they are."""
        if older_than is None:
            return
        horizon = time.time_ns() - int(older_than * 1e9)
        for place, contents in self._tree.walk(path):
            for item in contents.hidden:
                if item.stored_ns is not None and item.stored_ns <= horizon:
                    size = item.size if item.present else None
                    yield Leftover(paths.join(place, item.name), item.ref, item.stored_ns, size)

    def remove_leftover(self, leftover: Leftover) -> None:
        """To the Deleted Files, so that an upload that was under way after all is not lost."""
        try:
            self._service.change(leftover.id, leftover.path.rpartition("/")[2], self._service.account().deleted)
        except NotFound:
            return

    @staticmethod
    def _unconditional(item: WriteItem) -> None:
        if item.if_version is not None or item.if_absent:
            raise Unsupported("SugarSync has no conditional writes", op="write", path=item.path)
