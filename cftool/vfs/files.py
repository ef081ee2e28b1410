"""Files: made, opened, read, written, cut. All handles of one node share an `OpenFile`; `durable` has their ends."""

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from cftool.core import paths
from cftool.core.errors import NotFound
from cftool.vfs.durable import Durable, FileHandle
from cftool.vfs.listing import Listing
from cftool.vfs.nodes import Attr, Node, attr_of, error_of, place_of
from cftool.vfs.openfile import OpenFile
from cftool.vfs.tree import Tree
from cftool.wrap.caching import files as data_files

_ATTEMPTS = 10  # to find a file where others rename all the time
_SMALL_ONES = 4  # small files after which the next is taken to be one


class Files(Durable):
    """See the module."""

    def __init__(self, tree: Tree, listing: Listing) -> None:
        super().__init__(tree)
        self._listing = listing
        self._places = tree.places

    def create(
        self, parent: int, name: str, mode: int, flags: int, *, uid: int | None = None, gid: int | None = None
    ) -> tuple[Attr, int]:
        """Make and open. EEXIST with O_EXCL."""
        self._tree.changeable(parent)
        directory = self._tree.directory(parent)
        self._tree.may_be_called(directory, name)
        found = self._listing.child(directory, name)
        if found is not None:
            if flags & os.O_EXCL:
                raise error_of(errno.EEXIST)
            handle = self.open(found.id, flags)
            with self._lock:
                found.lookups += 1
                return attr_of(found), handle
        with self._places.keep(directory):
            draft = self._store.edit(paths.join(directory.path, name), create=True, absent=True)
            file = OpenFile(self._store, None, draft, 0)
            with self._lock:
                node = self._tree.attached(directory, name, stat.S_IFREG | stat.S_IMODE(mode), uid, gid)
                node.open = file
                node.lookups += 1
                return attr_of(node), self._handle(node, file, flags, made=True)

    def open(self, number: int, flags: int) -> int:
        """A handle. EISDIR, EROFS; ESTALE where its name is gone: the kernel looks it up anew."""
        node = self._tree.node(number)
        if node.is_dir:
            raise error_of(errno.EISDIR)
        truncates = bool(flags & os.O_TRUNC)
        if truncates or flags & os.O_ACCMODE != os.O_RDONLY:
            self._tree.changeable(number)
        with self._lock:  # it counts from here on: who is released meanwhile is not the last to change the file
            opened = None if node.open is None else self._handle(node, node.open, flags, made=truncates)
        shared = opened is not None
        if opened is None:
            opened, shared = self._opened(node, flags)
        if truncates and shared:
            try:
                self._cut(node, self.handles[opened].file, 0)
            except BaseException:
                self.release(opened)  # another may have left it to us to publish what he wrote
                raise
        return opened

    def _opened(self, node: Node, flags: int) -> tuple[int, bool]:
        """Open the content; and whether two did so at once, who share what the first of them made."""
        reports = self._tree.reports
        found: tuple[int, bool] | None = None
        attempts = itertools.count(1)
        while found is None:
            seen = self._places.now(node)
            if reports is not None and (content := reports.content(node)) is not None:
                found = self._attached(node, self._made_here(content), flags, seen)
            elif flags & os.O_TRUNC:
                with self._places.keep(node):
                    draft = self._store.edit(place_of(node, errno.ESTALE), truncate=True, create=True)
                    found = self._attached(node, OpenFile(self._store, None, draft, 0), flags, (node.place, seen[1]))
            else:
                try:
                    place_of(node, errno.ESTALE)
                    file = self._read(seen[0])
                except NotFound:
                    if self._places.stayed(node, seen, missed=True) or next(attempts) == _ATTEMPTS:
                        raise
                else:
                    found = self._attached(node, file, flags, seen)
        return found

    def _attached(self, node: Node, file: OpenFile, flags: int, seen: tuple[str, int]) -> tuple[int, bool] | None:
        """As `_opened`; None where the node is not any more where it was seen: `file` may be of what took its place."""
        truncates = bool(flags & os.O_TRUNC)
        found: tuple[int, bool] | None = None
        with self._lock:
            other = node.open
            if self._places.stayed(node, seen):
                if other is None:
                    node.open = file
                    node.size = file.size
                    if truncates:
                        node.mtime_ns = node.ctime_ns = self._tree.wall_ns()
                number = self._handle(node, file if other is None else other, flags, made=truncates)
                found = number, other is not None
        if found is None or other is not None:
            file.close()
        return found

    def _read(self, place: str) -> OpenFile:
        handle = self._store.open(place)
        if handle is None:
            return self._unsized(place)
        return OpenFile(self._store, handle, None, handle.entry.size or 0)

    def _made_here(self, content: bytes) -> OpenFile:
        draft = self._store.orphan(None)
        data_files.write_at(draft.fd, content, 0)
        file = OpenFile(self._store, None, draft, len(content))
        file.settled()
        return file

    def _unsized(self, place: str) -> OpenFile:
        """A file whose size shows only when it is read (an exported document): read it whole, once."""
        draft = self._store.orphan(None)
        at = 0
        with self._store.read(place) as download:
            for chunk in download:
                draft.reserve(at + len(chunk))
                os.pwrite(draft.fd, chunk, at)
                at += len(chunk)
        file = OpenFile(self._store, None, draft, at)
        file.settled()
        return file

    def _handle(self, node: Node, file: OpenFile, flags: int, *, made: bool = False) -> int:
        """Under the lock."""
        file.users += 1
        number = next(self._tree.handle_numbers)
        handle = self.handles[number] = FileHandle(node, file, flags, made)
        file.changers += handle.changes
        return number

    def unchanged(self, node: Node) -> bool:
        """Whether what the kernel has of an open file's content is what it is now: asked once at each opening."""
        with self._lock:
            file = node.open
            if file is None or file.draft is not None:
                return not node.rewritten
            version = None if file.handle is None else file.handle.entry.version
            same = version is not None and version == node.shown and not node.rewritten
            node.shown, node.rewritten = version, False
            return same

    def read(self, number: int, size: int, offset: int) -> bytes:
        """May wait for the network; see `OpenFile.ready`."""
        return self.handle(number).file.read(size, offset)

    def read_into(self, number: int, buffer: memoryview, offset: int) -> int:
        """The same into a buffer."""
        return self.handle(number).file.read_into(buffer, offset)

    def write(self, number: int, data: bytes | memoryview, offset: int) -> int:
        """Bytes written: all of them. ENOSPC before anything is accepted."""
        return self.write_to(self.handle(number), data, offset)

    def write_to(self, handle: FileHandle, data: bytes | memoryview, offset: int) -> int:
        """The same with the handle itself."""
        file = handle.file
        node = handle.node
        with self._drafting(node, file):
            if handle.flags & os.O_APPEND:
                offset = file.size
            file.write(data, offset, path="" if file.draft is not None else node.place)
            node.mtime_ns = node.ctime_ns = self._tree.wall_ns()
        return len(data)

    def _drafting(self, node: Node, file: OpenFile) -> AbstractContextManager[object]:
        """For a change: under the file's lock, so that content and time go together; its place stays if that counts."""
        if file.draft is not None:  # it has its path, and follows renames by itself
            return file.lock
        file.fetch()
        return self._placed(node, file)

    @contextlib.contextmanager
    def _placed(self, node: Node, file: OpenFile) -> Iterator[None]:
        with self._places.keep(node), file.lock:
            yield

    def allocate(self, number: int, offset: int, length: int, mode: int) -> None:
        """As fallocate; only reserving is supported."""
        handle = self.handle(number)
        if mode & ~1:
            raise error_of(errno.EOPNOTSUPP)
        file, node = handle.file, handle.node
        with self._drafting(node, file):
            file.allocate(offset, length, keep_size=bool(mode & 1), path=node.place)
            node.mtime_ns = self._tree.wall_ns()

    def truncate(self, node: Node, size: int) -> None:
        """Cut or extend with zeros, open or not. EISDIR, EFBIG."""
        if node.is_dir:
            raise error_of(errno.EISDIR)
        if size > self._largest():
            raise error_of(errno.EFBIG)
        number = self.open(node.id, os.O_WRONLY | (os.O_TRUNC if size == 0 else 0))
        try:
            if size:
                self._cut(node, self.handle(number).file, size)
        finally:
            self.release(number)  # publishes it, unless somebody else's close will

    def _cut(self, node: Node, file: OpenFile, size: int) -> None:
        if size and file.draft is None:
            file.fetch()
        with self._placed(node, file):
            file.truncate(size, path=node.place)
            node.mtime_ns = node.ctime_ns = self._tree.wall_ns()

    def joined(self, node: Node) -> int | None:
        """A handle more on what was, or is being, changed of it; None where it is not open, or that is the store's."""
        with self._lock:
            file = node.open
            return None if file is None or file.draft is None else self._handle(node, file, os.O_WRONLY)

    def set_time(self, number: int, modified_ns: int) -> bool:
        """Of the file: durable at once, unless the close of another is awaited anyway; False where it has no draft."""
        handle = self.handle(number)
        node, file = handle.node, handle.file
        with file.lock:
            awaited = file.dirty and file.changers > 1
            drafted = file.set_time(modified_ns)
            if drafted:
                node.mtime_ns = modified_ns
                if not awaited:
                    self._keep(node, file)
        return drafted

    def _largest(self) -> int:
        limit = self._store.features.size_limit
        return (1 << 63) - 1 if limit is None else limit

    def given(self, number: int, give: Callable[[int], int | None], *, anew: bool) -> int | None:
        """See `OpenFile.given`: of the handle's file."""
        handle = self.handle(number)
        file, writing = handle.file, handle.writable
        if file.draft is not None or not writing:  # its place does not count
            return file.given(give, writing=writing, anew=anew, path="")
        with self._places.keep(handle.node):
            return file.given(give, writing=writing, anew=anew, path=handle.node.place)

    def may_write_unseen(self, handle: FileHandle) -> bool:
        """Whether the kernel may do what follows an opening without telling.

        Not where a directory gets one small file after the other: for them a file is more work than a write. Nor where
        it may be mapped: of an msync nothing would be heard, and a mapping lives on when all that is heard of is over.
        """
        parent = handle.node.parent
        if parent is None or not handle.only_writes_anew:
            return False
        return parent.small < _SMALL_ONES and self._store.is_wide()
