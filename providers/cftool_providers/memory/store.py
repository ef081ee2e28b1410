"""The Store over a `Space`. No requests, no waiting; every optional member works but `leftovers`: there are none."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from cftool.core.download import VerifiedDownload
from cftool.core.errors import (
    NotFound,
    PreconditionFailed,
    SourceChanged,
    StoreError,
)
from cftool.core.store import Optionals
from cftool.core.types import (
    Cap,
    ChangeSet,
    Download,
    Entry,
    Features,
    NameRules,
    ReadItem,
    Result,
    Source,
    Usage,
    WalkOrder,
    WriteItem,
)
from cftool_providers.memory.space import Space

_CHUNK = 64 * 1024
_CAPS = (
    Cap.WALK
    | Cap.COPY
    | Cap.MOVE
    | Cap.MOVE_DIR
    | Cap.SET_MODIFIED
    | Cap.IF_VERSION
    | Cap.IF_ABSENT
    | Cap.WRITE_MANY
    | Cap.READ_MANY
    | Cap.DELETE_MANY
    | Cap.CHANGES
    | Cap.USAGE
    | Cap.EMPTY_DIRS
    | Cap.RANGES
)


class MemoryStore(Optionals):
    """A view of one space; any number of stores may share it."""

    def __init__(
        self, space: Space | None = None, *, name: str = "memory", requests: Counter[str] | None = None
    ) -> None:
        self.name = name
        self.space = Space(name) if space is None else space
        self._requests: Counter[str] = Counter() if requests is None else requests
        self._features = Features(
            caps=_CAPS,
            identity=f"memory/{self.space.name}",
            hashes=frozenset({"md5", "sha256"}),
            time_precision_ns=1,
            listed_time=True,
            names=NameRules(utf8=False),
            walk_order=WalkOrder.BYTES,
            connections=4,
            remote=False,
        )

    @property
    def features(self) -> Features:
        """Constant."""
        return self._features

    def stat(self, path: str) -> Entry:
        """As the Store says."""
        self._requests["stat"] += 1
        return self.space.node(path).entry(path)

    def scan(self, path: str) -> Iterator[Entry]:
        """A snapshot of the directory, taken at the first step."""
        self._requests["list"] += 1
        yield from self.space.listing(path)

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """The content as it is now, whatever happens to the name while it is read."""
        self._requests["get"] += 1
        file = self.space.file(path)
        if if_version is not None and if_version != file.version:
            raise PreconditionFailed("is another version now", path=path)
        view = memoryview(file.data)[start:end]
        chunks = (bytes(view[at : at + _CHUNK]) for at in range(0, len(view), _CHUNK))
        return VerifiedDownload(file.entry(path), chunks, start=start, end=end)

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """Without `modified_ns` the file's time is now."""
        self._requests["put"] += 1
        with source.open() as reader:
            data = reader.read()
        if source.size is not None and len(data) != source.size:
            raise SourceChanged(f"the source has {len(data)} bytes, not {source.size}", path=path)
        source.check()
        return self.space.put(path, data, modified_ns, if_version, if_absent)

    def delete(self, path: str) -> None:
        """As the Store says."""
        self._requests["delete"] += 1
        self.space.delete(path)

    def mkdir(self, path: str) -> Entry:
        """As the Store says."""
        self._requests["mkdir"] += 1
        return self.space.mkdir(path)

    def rmdir(self, path: str) -> None:
        """As the Store says."""
        self._requests["rmdir"] += 1
        self.space.rmdir(path)

    def close(self) -> None:
        """Nothing to release: the space stays for the next store of this name."""

    def walk(self, path: str) -> Iterator[Entry]:
        """Depth first, each directory a snapshot of the moment it is reached."""
        self._requests["list"] += 1
        stack = [iter(self.space.listing(path))]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
                continue
            yield entry
            if entry.is_dir:
                try:
                    stack.append(iter(self.space.listing(entry.path)))
                except NotFound:  # removed meanwhile, with all that was below it
                    continue

    def copy(self, src: str, dst: str) -> Entry:
        """As the Store says."""
        self._requests["copy"] += 1
        return self.space.copy(src, dst)

    def move(self, src: str, dst: str) -> Entry:
        """As the Store says; a directory moves only to a free name."""
        self._requests["move"] += 1
        return self.space.move(src, dst)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """As the Store says."""
        self._requests["set_modified"] += 1
        return self.space.set_modified(path, modified_ns)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """One after the other; there is nothing to gain from more."""
        for item in items:
            yield _result(
                item.path,
                lambda item=item: self.write(  # type: ignore[misc]  # mypy cannot type a default of a lambda
                    item.path,
                    item.source,
                    modified_ns=item.modified_ns,
                    if_version=item.if_version,
                    if_absent=item.if_absent,
                ),
                item.tag,
            )

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """One after the other, each saved whole."""
        for item in items:
            yield _result(item.entry.path, lambda item=item: self._download(item), item.tag)  # type: ignore[misc]

    def _download(self, item: ReadItem) -> Entry:
        with self.read(item.entry.path, if_version=item.entry.version) as download:
            item.target.save(download.read(), download.entry)
            return download.entry

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """One after the other."""
        for entry in entries:
            yield _result(entry.path, lambda entry=entry: self._remove(entry), None)  # type: ignore[misc]

    def _remove(self, entry: Entry) -> Entry:
        try:
            if entry.is_dir:
                self.rmdir(entry.path)
            else:
                self.delete(entry.path)
        except NotFound:
            pass
        return entry

    def changes(self, cursor: str | None) -> ChangeSet:
        """Numbered; a cursor that is too old, or not one of ours, gives `reset`."""
        try:
            since = None if cursor is None else int(cursor)
        except ValueError:
            since = -1
        changed, following, reset = self.space.changes(since)
        return ChangeSet(tuple(dict.fromkeys(changed)), str(following), reset)

    def usage(self) -> Usage:
        """Bytes of content; memory has no quota that we know."""
        return Usage(used=self.space.used())


def _result(path: str, action: Callable[[], Entry], tag: object) -> Result:
    try:
        return Result(path, entry=action(), tag=tag)
    except StoreError as error:
        return Result(path, error=error, tag=tag)
