"""A local file as the source of a write, proven unchanged over the time it was read.

Inode, size, modification and change time must be at the end what they were at the start. A program can put back size
and modification time after an edit, but not the change time.
"""

import io
import os
from typing import BinaryIO, cast

from cftool.core.errors import SourceChanged, StoreError
from cftool.disk.errors import translated
from cftool.disk.root import Root

_READ = 1 << 20


def version_of(status: os.stat_result) -> str:
    """The version of a local file, as its entries carry it."""
    return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


class LocalSource:
    """types.Source over a file of a Root, or over any regular file by its path.

    `version` is that of the listing that named the file: where the file is another one by now, that is SourceChanged,
    at once, or with the listing's `size` when it is opened, so that many files cost no second look each. Without, and
    without `status`, the file counts as it is when this object is made.
    """

    def __init__(
        self,
        root: Root | str,
        path: str = "",
        status: os.stat_result | None = None,
        *,
        version: str | None = None,
        size: int | None = None,
    ) -> None:
        if isinstance(root, str):
            directory, path = os.path.split(os.path.join(root, path) if path else root)
            root = Root(directory or ".")
        self._root = root
        self.path = path
        self.local_path: str | None = f"{root.path.rstrip('/')}/{path}"
        self.size: int | None
        if version is not None and size is not None:
            self.size, self.version = size, version
            return
        if status is None:
            status = self._root.stat(self.path)
        self.size = status.st_size
        self.version = version_of(status)
        if version is not None and version != self.version:
            raise self._changed()

    def open(self) -> BinaryIO:
        """A raw file at offset 0."""
        fd = self._root.open_read(self.path)
        try:
            with translated("read", self.path):
                self._require(os.fstat(fd))
            return cast("BinaryIO", io.FileIO(fd, "rb", closefd=True))
        except BaseException:
            os.close(fd)
            raise

    def load(self) -> bytes:
        """The whole content, unchanged before and after."""
        fd = self._root.open_read(self.path)
        try:
            with translated("read", self.path):
                status = os.fstat(fd)
                self._require(status)
                data = _read_all(fd, status.st_size)
                self._require(os.fstat(fd))
        finally:
            os.close(fd)
        if len(data) != self.size:
            raise self._changed()
        return data

    def check(self) -> None:
        """The path must still lead to the file that was read, unchanged. A file that is gone has changed."""
        try:
            status = self._root.stat(self.path)
        except StoreError as error:
            raise SourceChanged(f"is not there any more: {error.message}", op="read", path=self.path) from error
        self._require(status)

    def _require(self, status: os.stat_result) -> None:
        if version_of(status) != self.version:
            raise self._changed()

    def _changed(self) -> SourceChanged:
        return SourceChanged("changed while it was read", op="read", path=self.path)


def _read_all(fd: int, size: int) -> bytes:
    data = os.read(fd, size + 1)  # one more, so that the end is seen
    if len(data) == size:
        return data
    pieces = [data]
    while data:
        data = os.read(fd, _READ)
        pieces.append(data)
    return b"".join(pieces)
