"""A local source whose symbolic links stand for what they point to (--links follow).

The one place of the engine where links are followed, and only for reading: a destination never is. A link that leads
nowhere stays a link, which is skipped and counted; one that leads back to a directory above it is an error by name.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate

from cftool.core.download import VerifiedDownload
from cftool.core.errors import InvalidName, PreconditionFailed
from cftool.core.store import Store
from cftool.core.types import Cap, Download, Entry, Features, Kind
from cftool.core.wrapper import Wrapper
from cftool.disk import temps
from cftool.disk.errors import translated
from cftool.disk.listing import entry_of
from cftool.disk.source import LocalSource

_PIECE = 1 << 20
_CAPS = Cap.RANGES  # for reading only; a recursive listing is made of scans


class FollowingStore(Wrapper):
    """The tree at `root` with its links followed; read-only."""

    def __init__(self, inner: Store, root: str) -> None:
        super().__init__(inner)
        self._root = root
        self._features = replace(inner.features, caps=_CAPS)

    @property
    def features(self) -> Features:
        """The inner store's, without what would go past this one."""
        return self._features

    def stat(self, path: str) -> Entry:
        """What the path leads to; a link that leads nowhere, itself."""
        real = self._real(path)
        with translated("stat", path):
            try:
                return entry_of(path, os.stat(real))
            except FileNotFoundError:
                return entry_of(path, os.lstat(real))

    def scan(self, path: str) -> Iterator[Entry]:
        """One level. Raises InvalidName where the directory is one that it lies in."""
        self._refuse_circle(path)
        prefix = path + "/" if path else ""
        with translated("scan", path), os.scandir(self._real(path)) as found:
            for entry in found:
                if temps.is_temp(entry.name):
                    continue
                try:
                    yield entry_of(prefix + entry.name, entry.stat())
                except FileNotFoundError:
                    if entry.is_symlink():
                        yield Entry(prefix + entry.name, Kind.LINK)
                except OSError:
                    # A link through a directory that we may not enter, or to itself.
                    if not entry.is_symlink():
                        raise
                    yield Entry(prefix + entry.name, Kind.LINK)

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """The file that the path leads to; that it did not change is proven at the end of the stream."""
        entry = self.stat(path)
        if if_version is not None and if_version != entry.version:
            raise PreconditionFailed("is another version now", op="read", path=path)
        return VerifiedDownload(entry, _chunks(self.source(entry), start, end), start=start, end=end)

    def source(self, entry: Entry) -> LocalSource:
        """The bytes of exactly the file that the listing saw."""
        return LocalSource(os.path.realpath(self._real(entry.path)), version=entry.version)

    def _real(self, path: str) -> str:
        return os.path.join(self._root, path) if path else self._root

    def _refuse_circle(self, path: str) -> None:
        seen = set()
        steps = accumulate(path.split("/"), lambda a, b: f"{a}/{b}") if path else ()
        with translated("scan", path):
            for step in ("", *steps):
                status = os.stat(self._real(step))
                key = (status.st_dev, status.st_ino)
                if key in seen:
                    raise InvalidName("a link leads back to a directory above it", op="scan", path=path)
                seen.add(key)


def _chunks(source: LocalSource, start: int, end: int | None) -> Iterator[bytes]:
    with source.open() as reader:
        reader.seek(start)
        missing = (source.size or 0) - start if end is None else end - start
        while missing > 0 and (data := reader.read(min(_PIECE, missing))):
            missing -= len(data)
            if missing <= 0:
                source.check()
            yield data
