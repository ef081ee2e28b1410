"""Files: made, opened, read, written, made durable, closed. All handles of one node share an `OpenFile`."""

import contextlib
import errno
import itertools
import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from cftool.core import paths
from cftool.core.errors import CftoolError, NotFound
from cftool.core.paths import printable
from cftool.vfs.listing import Listing
from cftool.vfs.nodes import Attr, Node, attr_of, error_of
from cftool.vfs.openfile import OpenFile
from cftool.vfs.tree import Tree
from cftool.wrap.caching import files as data_files
from cftool.wrap.caching.small import LARGEST

_log = logging.getLogger("cftool.vfs")
_ATTEMPTS = 10  # to find a file where others rename all the time
_SMALL_ONES = 4  # small files after which the next is taken to be one


@dataclass(slots=True)
class FileHandle:
    """One `open`."""

    node: Node
    file: OpenFile
    flags: int
    made: bool = False  # it made the file, or emptied it: also what was opened for reading only can do that
    past_the_pages: bool = False  # the kernel keeps nothing of what is written here

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self.flags & os.O_ACCMODE != os.O_RDONLY

    @property
    def only_writes_anew(self) -> bool:
        """Whether it begins with an empty file, which nobody else has open, and reads nothing."""
        return self.made and self.flags & os.O_ACCMODE == os.O_WRONLY and self.file.users == 1

    @property
    def changes(self) -> bool:
        """Whether its closing makes what was written durable."""
        return self.made or self.writable


class Files:
    """See the module."""

    def __init__(self, tree: Tree, listing: Listing) -> None:
        self._tree = tree
        self._listing = listing
        self._store = tree.store
        self._settings = tree.settings
        self._lock = tree.lock
        self._places = tree.places
        self.handles: dict[int, FileHandle] = {}

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
                    draft = self._store.edit(_place(node), truncate=True, create=True)
                    found = self._attached(node, OpenFile(self._store, None, draft, 0), flags, (node.place, seen[1]))
            else:
                try:
                    file = self._read(_place(node, seen[0]))
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

    def handle(self, number: int) -> FileHandle:
        """By number. EBADF."""
        found = self.handles.get(number)
        if found is None:
            raise error_of(errno.EBADF)
        return found

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

    def flush(self, number: int) -> None:
        """A descriptor is being closed: what was written is durable in the journal when this returns."""
        handle = self.handle(number)
        if handle.changes:
            self._commit(handle.node, handle.file)

    def fsync(self, number: int) -> None:
        """As flush, whoever wrote."""
        handle = self.handle(number)
        self._commit(handle.node, handle.file)

    def is_free(self, number: int) -> bool:
        """Whether nobody is at the file of a handle who may take his time, as far as one can know."""
        handle = self.handles.get(number)
        return handle is None or handle.file.is_free

    def is_small(self, number: int) -> bool:
        """Whether `flush_together` may be asked: nobody is at the file, and its commit is all that there is to do."""
        handle = self.handle(number)
        file = handle.file
        return not self._settings.remote and file.is_small and file.is_free

    def flush_together(self, numbers: Sequence[int], told: Sequence[Callable[[], None]] = ()) -> list[Exception | None]:
        """As `flush` of each, with one commit for all; the error of each.

        `told` of each is called as soon as it is durable, unless there was nothing to do: before what is kept in
        memory says so, so that nothing may be asked of these files before this returns.
        """
        if len(numbers) == 1:
            return [self._flushed_alone(numbers[0], *told)]
        found = [self.handles.get(number) for number in numbers]
        errors: dict[OpenFile, Exception] = {}
        nodes = {handle.file: handle.node for handle in found if handle is not None}
        free = []
        with contextlib.ExitStack() as locked:
            for file in nodes:
                if file.lock.acquire(blocking=False):  # of the others one does not know how long they take
                    locked.callback(file.lock.release)
                    free.append(file)
            changes = []
            for file in free:
                try:
                    change = file.change(nodes[file].mtime_ns)
                except (OSError, CftoolError) as error:
                    errors[file] = error
                else:
                    changes += [] if change is None else [(file, change)]
            hears = {handle.file: each for handle, each in zip(found, told, strict=False) if handle is not None}
            answers = self._store.all_together(
                [change.enter for _, change in changes], [hears[file] for file, _ in changes if hears]
            )
            for (file, change), answer in zip(changes, answers, strict=True):
                if isinstance(answer, Exception):
                    errors[file] = answer
                else:
                    file.committed(change, answer)
                    self._published(nodes[file], file, change.modified_ns)
        return [
            error_of(errno.EBADF) if handle is None
            else errors.get(handle.file) if handle.file in free
            else self._flushed_alone(number, *told[place : place + 1])
            for place, (number, handle) in enumerate(zip(numbers, found, strict=True))
        ]  # fmt: skip

    def _flushed_alone(self, number: int, told: Callable[[], None] | None = None) -> Exception | None:
        try:
            handle = self.handle(number)
            self._commit(handle.node, handle.file, told)
        except (OSError, CftoolError) as error:
            return error
        return None

    def _commit(self, node: Node, file: OpenFile, told: Callable[[], None] | None = None) -> None:
        if not self._waits_for_the_remote(node):
            self.publish(node, file, told)
            return
        wait = self._begin_upload(node, file)
        try:
            wait(self._settings.patience)
        finally:
            with self._lock:
                node.size = file.size
                node.rewritten = True

    def _waits_for_the_remote(self, node: Node) -> bool:
        return self._settings.remote and not node.gone and not self._tree.is_report(node.id)

    def _begin_upload(self, node: Node, file: OpenFile) -> Callable[[float], None]:
        """See `OpenFile.begin_upload`."""
        with file.lock:
            wait = file.begin_upload(node.place, node.mtime_ns)
            with self._lock:
                if node.parent is not None:
                    node.parent.changes += 1
                node.size = file.size
                attr_of(node)  # a direct file says by itself when it was changed: that goes on to be shown
                node.rewritten = True
        return wait

    def publish(self, node: Node, file: OpenFile, told: Callable[[], None] | None = None) -> bool:
        """What was written is durable in the journal, with the time that is shown: programs remember it.

        False where there was nothing to do.
        """
        with file.lock:
            when = file.commit(node.mtime_ns, told)
            if when is not None:
                self._published(node, file, when)
        return when is not None

    def publish_new(self, node: Node, file: OpenFile) -> None:
        """The same where nothing of it was ever committed, and nothing else is under its name."""
        with file.lock:
            if file.is_new:
                self._keep(node, file)

    def _keep(self, node: Node, file: OpenFile) -> None:
        """The same where nobody waits for the remote now, but may before the file is closed: then for a copy."""
        if self._waits_for_the_remote(node):
            self._begin_upload(node, file)
        else:
            self.publish(node, file)

    def _published(self, node: Node, file: OpenFile, when: int) -> None:
        """Under the file's lock: what a listing that began before has said of it does not count."""
        with self._lock:
            node.size = file.size
            node.shown = file.version
            node.mtime_ns = when
            if file.direct:
                node.ctime_ns = when
                node.rewritten = True
            if node.parent is not None:
                node.parent.changes += 1
                node.parent.small = node.parent.small + 1 if node.size <= LARGEST else 0

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

    def release(self, number: int, *, waits: bool = True) -> None:
        """The last reference to a handle is gone, of which the kernel tells late. `waits`: also for the remote.

        What another handle is changing by then is committed when that is closed: it may just have emptied the file. An
        opening counts before it empties, for which it needs the file's lock: not between our look and our commit.
        """
        handle = self.handles.pop(number, None)
        if handle is None:
            return
        node, file = handle.node, handle.file
        wait: Callable[[float], None] | None = None
        last = False
        try:
            with file.lock:
                try:
                    if handle.changes and file.changers == 1:
                        if self._waits_for_the_remote(node):
                            wait = self._begin_upload(node, file)
                        elif file.dirty:
                            self.publish(node, file)
                finally:
                    last = self._left(node, file, handle)
            if wait is not None and waits:
                wait(self._settings.patience)
        finally:
            if last:
                file.close()
                if self._settings.forget and not node.gone:
                    self._store.clear(node.place)

    def close(self) -> None:
        """Of the mount: commit what is open, and let go of it. One that cannot be committed stops no other."""
        for number in list(self.handles):
            place = self.handles[number].node.place
            try:
                self.release(number, waits=False)
            except (OSError, CftoolError) as error:
                _log.error("%s is not kept as it was written: %s", printable(place), error)

    def put_aside(self) -> None:
        """Before the end, while programs have files open: what they did not finish is not to pass for finished.

        The file keeps what was last closed or synced.
        """
        for file, node in {handle.file: handle.node for handle in list(self.handles.values())}.items():
            name = file.put_aside()
            if name is not None:
                _log.warning(
                    "%s was not closed: what was written is kept as %s", printable(node.place), printable(name)
                )

    def _left(self, node: Node, file: OpenFile, handle: FileHandle) -> bool:
        """One has it open less; whether that was the last."""
        with self._lock:
            file.users -= 1
            file.changers -= handle.changes
            if file.users:
                return False
            node.size = file.size
            node.open = None
            self._tree.let_go(node)
            return True

    def ends_at_once(self, handle: FileHandle) -> bool:
        """Whether `release` has nothing to wait for, as far as one can know."""
        file = handle.file
        return file.is_local and file.is_free and not file.dirty and not (handle.changes and self._settings.remote)


def _place(node: Node, place: str | None = None) -> str:
    """As `Node.place`. ESTALE where it has none."""
    if node.gone:
        raise error_of(errno.ESTALE)
    return node.place if place is None else place
