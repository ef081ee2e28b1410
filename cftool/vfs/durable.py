"""Making durable what was written: at a close, a sync, the release of a handle and the end of the mount.

With `VfsSettings.remote` a close and a sync are over when the remote has it; a copy goes there then, because the file
may still be written to.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cftool.core.errors import CftoolError
from cftool.core.paths import printable
from cftool.vfs.nodes import Node, attr_of, error_of
from cftool.vfs.openfile import OpenFile
from cftool.vfs.tree import Tree
from cftool.wrap.caching.small import LARGEST

_log = logging.getLogger("cftool.vfs")


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


class Durable:
    """See the module. The handles are here."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._store = tree.store
        self._settings = tree.settings
        self._lock = tree.lock
        self.handles: dict[int, FileHandle] = {}

    def handle(self, number: int) -> FileHandle:
        """By number. EBADF."""
        found = self.handles.get(number)
        if found is None:
            raise error_of(errno.EBADF)
        return found

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
        free: dict[OpenFile, Node] = {}
        with contextlib.ExitStack() as locked:
            for file, node in nodes.items():
                if file.lock.acquire(blocking=False):  # of the others one does not know how long they take
                    locked.callback(file.lock.release)
                    free[file] = node
            changes = []
            for file, node in free.items():
                try:
                    change = file.change(node.mtime_ns)
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
                    self._published(free[file], file, change.modified_ns)
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
