"""write, write_many, copy and move: how content gets under a name, whole or not at all.

A new file is two requests: it is made, then its content is sent, and until that has arrived the service shows it to
nobody. A replacement is made under a temporary name, looked at, given the name, and only then the old one goes. What
was sent is believed when a listing of its folder shows it, with its size and present: one listing for many files.
"""

import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from cftool.core import paths
from cftool.core.errors import (
    IntegrityError,
    Interrupted,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    PreconditionFailed,
    StoreError,
    TemporaryError,
)
from cftool.core.types import Entry, Result, WriteItem
from cftool_providers.sugarsync._body import Content
from cftool_providers.sugarsync._pages import Item
from cftool_providers.sugarsync._pool import bounded
from cftool_providers.sugarsync._service import CONNECTIONS, Service, Unsure
from cftool_providers.sugarsync._tree import BATCH_AGE, Contents, Tree, entry_of

log = logging.getLogger("cftool.sugarsync")

_LOOK = 500  # files of one folder that wait for a listing at most, or a quarter of what it holds
_TRIES = 3
# A placeholder that is older is no upload under way: it is ours to fill.
_ABANDONED = 3600.0
_STRIPES = 64
_RUN = secrets.token_hex(6)
_numbers = itertools.count()


class _Sent(NamedTuple):
    """What one call came to: sent and not seen yet, or failed."""

    item: WriteItem
    ref: str = ""
    size: int = 0
    error: Exception | None = None


def temp_name() -> str:
    """A name that nobody else uses, hidden from listings (`disk.temps`)."""
    return f".cftool-{_RUN}-{next(_numbers):x}.tmp"


class Uploader:
    """Thread-safe."""

    def __init__(self, service: Service, tree: Tree, wall: Callable[[], float] = time.time) -> None:
        self._service = service
        self._tree = tree
        self._wall = wall
        self._paths = [threading.RLock() for _ in range(_STRIPES)]
        self._folders = [threading.Lock() for _ in range(_STRIPES)]

    def _path(self, path: str) -> threading.RLock:
        """The lock of all that write to this path."""
        return self._paths[hash(path.casefold()) % _STRIPES]

    # ---- write and write_many

    def one(self, item: WriteItem) -> Entry:
        """Write one file. Raises what went wrong."""
        with self._path(item.path):  # until it was seen, no other thread may replace it
            sent = self._send(item, max_age=0.0)
            if sent.error is not None:
                raise sent.error
            [result] = self._look(paths.parent(item.path), [sent])
        if result.error is not None:
            raise result.error
        assert result.entry is not None
        return result.entry

    def run(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Results as folders are looked at."""
        waiting: dict[str, list[_Sent]] = {}
        busy: dict[str, int] = {}  # files of a folder that are under way
        behind: list[str] = []  # folders that the items have left
        current = ""

        def feed() -> Iterator[WriteItem]:
            nonlocal current
            for item in items:
                place = paths.parent(item.path)
                if place != current:
                    behind.append(current)
                    current = place
                busy[place] = busy.get(place, 0) + 1
                yield item

        for sent in bounded(lambda item: self._send(item, max_age=BATCH_AGE), feed(), CONNECTIONS):
            place = paths.parent(sent.item.path)
            busy[place] -= 1
            if isinstance(sent.error, Interrupted):
                raise sent.error
            if sent.error is not None:
                yield Result(sent.item.path, error=sent.error, tag=sent.item.tag)
            else:
                waiting.setdefault(place, []).append(sent)
                if len(waiting[place]) >= max(_LOOK, self._size(place) // 4):
                    yield from self._look(place, waiting.pop(place))
            for left in [each for each in behind if not busy.get(each)]:
                behind.remove(left)
                if left in waiting and left != current:
                    yield from self._look(left, waiting.pop(left))
        for result in bounded(lambda pair: self._look(*pair), list(waiting.items()), CONNECTIONS):
            yield from result

    def _size(self, place: str) -> int:
        try:
            return len(self._tree.contents(place, max_age=BATCH_AGE * 100).shown)
        except StoreError:
            return 0

    def _send(self, item: WriteItem, *, max_age: float) -> _Sent:
        try:
            self._service.check()
            place, _, name = item.path.rpartition("/")
            if not place:
                raise InvalidName(
                    "cannot be a file: the root of SugarSync holds sync folders only", op="write", path=item.path
                )
            with self._path(item.path):
                folder, contents = self._place(place, max_age)
                old = contents.find(name)
                if old is not None and old.is_dir:
                    raise IsADirectory("is a directory", op="write", path=item.path)
                content = Content(item.source, item.progress, self._service.check)
                try:
                    if old is None:
                        ref = self._new(place, folder, contents, name, content)
                    else:
                        ref = self._replacement(place, folder, contents, name, content)
                        self._swap(ref, name, old, folder, contents)
                finally:
                    content.close()
                contents.put(name, Item(name, ref, is_dir=False, size=content.size))
            return _Sent(item, ref, content.size)
        except Unsure as error:
            return _Sent(item, error=TemporaryError(error.message, op="write", retry_after=error.retry_after))
        except Exception as error:  # a source may raise what it likes: it is this file's failure alone
            return _Sent(item, error=error)

    def _place(self, place: str, max_age: float) -> tuple[str, Contents]:
        """The folder, made where it is missing, and what it holds."""
        folder = self._tree.make(place, max_age=max_age)
        with self._folders[hash(place) % _STRIPES]:  # one listing serves all that wait for it
            return folder, self._tree.contents(place, max_age=max_age or BATCH_AGE / 100)

    def _new(self, place: str, folder: str, contents: Contents, name: str, content: Content) -> str:
        ref = self._abandoned(contents, name) or self._create(place, folder, contents, name)
        try:
            self._service.put_data(ref, content.body)
        except BaseException:
            self._give_up(ref)
            raise
        return ref

    def _replacement(self, place: str, folder: str, contents: Contents, name: str, content: Content) -> str:
        """The new content under a temporary name, seen to be there."""
        ref = self._create(place, folder, contents, temp_name())
        try:
            self._service.put_data(ref, content.body)
            info = self._service.file(ref)
            if not info.present or info.size != content.size:
                raise IntegrityError(
                    f"{content.size} bytes were sent, {info.size} are there", op="write", path=paths.join(place, name)
                )
        except BaseException:
            self._give_up(ref)
            raise
        return ref

    def _swap(self, ref: str, name: str, old: Item, folder: str, contents: Contents | None) -> None:
        """Give a whole file the name of an old one, which goes to the Deleted Files.

        The service allows two files of one name, so that the name is never without a whole file. Should it refuse, the
        old one goes first, and comes back where the new one does not get its name after all.
        """
        try:
            self._service.change(ref, name, folder)
        except TemporaryError:
            raise
        except StoreError as refused:
            log.info("%s: %s; the old one goes first", paths.printable(name), refused)
            self._service.trash(old)
            try:
                self._service.change(ref, name, folder)
            except StoreError:
                if not self._service.own.hard_delete:
                    self._service.change(old.ref, old.name, folder)
                raise
        else:
            self._service.trash(old)
        if contents is not None:
            contents.drop(old)

    def _abandoned(self, contents: Contents, name: str) -> str | None:
        """A file of that name that somebody made long ago and never filled."""
        horizon = (self._wall() - _ABANDONED) * 1e9
        for item in contents.hidden:
            if item.name == name and not item.present and (item.stored_ns or 0) < horizon:
                contents.hidden.remove(item)
                return item.ref
        return None

    def _create(self, place: str, folder: str, contents: Contents, name: str) -> str:
        """A file without content. Where no answer tells, a listing does: what is new there under the name is ours."""
        for attempt in range(_TRIES):
            try:
                return self._service.create_file(folder, name)
            except Unsure:
                if attempt == _TRIES - 1:
                    raise
                known = contents.refs()
                for item in self._tree.fresh(place, folder).hidden:
                    if item.name == name and item.ref not in known:
                        return item.ref
        raise AssertionError

    def _give_up(self, ref: str) -> None:
        """Remove what was not finished, if that is possible; nobody sees it."""
        try:
            self._service.remove(ref)
        except StoreError as error:
            log.info("an unfinished upload stays behind, hidden: %s", error)

    # ---- believing it

    def _look(self, place: str, files: list[_Sent]) -> list[Result]:
        """One listing of the folder for all of them."""
        try:
            contents = self._tree.fresh(place, self._tree.folder(place, max_age=BATCH_AGE))
        except StoreError as error:
            return [Result(sent.item.path, error=_again(error, sent.item.path), tag=sent.item.tag) for sent in files]
        by_ref = {item.ref: (name, item) for name, item in contents.entries()}
        return [self._seen(sent, by_ref.get(sent.ref), contents) for sent in files]

    @staticmethod
    def _seen(sent: _Sent, found: tuple[str, Item] | None, contents: Contents) -> Result:
        path, tag = sent.item.path, sent.item.tag
        name = path.rpartition("/")[2]
        error: StoreError
        if found is None:
            error = IntegrityError("was sent, and is not there whole", op="write", path=path)
            if name in contents.shown and sent.ref not in {item.ref for item in contents.hidden}:
                error = PreconditionFailed("somebody else replaced it meanwhile", op="write", path=path)
        elif found[1].size != sent.size:
            error = IntegrityError(f"{sent.size} bytes were sent, {found[1].size} are there", op="write", path=path)
        elif found[0] != name:
            error = PreconditionFailed(
                f"somebody else wrote it meanwhile; ours is kept as {paths.printable(found[0])}", op="write", path=path
            )
        else:
            return Result(path, entry_of(path, found[1]), tag=tag)
        return Result(path, error=error, tag=tag)

    # ---- copy and move

    def copy(self, src: str, dst: str) -> Entry:
        """One request where nothing is at `dst`; else under a temporary name first."""
        item = self._source(src, "copy")
        place, name = self._target(dst, "copy")
        with self._path(dst):
            folder, contents = self._place(place, 0.0)
            old = self._replaced(contents, name, dst)
            ref = self._copied(item, place, folder, contents, name if old is None else temp_name())
            info = self._service.file(ref)
            if not info.present or info.size != item.size:
                self._give_up(ref)
                raise IntegrityError(f"the copy has {info.size} bytes of {item.size}", op="copy", path=dst)
            if old is not None:
                self._swap(ref, name, old, folder, None)
        return self._now(place, folder, ref, dst)

    def _copied(self, item: Item, place: str, folder: str, contents: Contents, name: str) -> str:
        for attempt in range(_TRIES):
            try:
                return self._service.copy_file(item.ref, folder, name)
            except Unsure as error:
                if attempt == _TRIES - 1:
                    raise TemporaryError(error.message, op="copy", retry_after=error.retry_after) from error
                known, now = contents.refs(), self._tree.fresh(place, folder)
                for other in (*(each for _, each in now.entries()), *now.hidden):
                    if other.name == name and other.ref not in known:
                        return other.ref
        raise AssertionError

    def move(self, src: str, dst: str) -> Entry:
        """One request, and one more where a file is replaced."""
        item = self._tree.item(src) if src else None
        if item is None or "/" not in src:
            raise _not_movable("move", src)
        place, name = self._target(dst, "move")
        with self._path(dst):
            folder, contents = self._place(place, 0.0)
            old = contents.find(name)
            if old is not None and old.ref == item.ref:
                old = None  # another spelling of its own name
            if item.is_dir and old is not None:
                raise PreconditionFailed("something is there already", op="move", path=dst)
            if old is None:
                self._service.change(item.ref, name, folder)
            else:
                self._replaced(contents, name, dst)
                self._swap(item.ref, name, old, folder, None)
        self._tree.forget(src)
        self._tree.forget(dst)
        return self._now(place, folder, item.ref, dst)

    def _now(self, place: str, folder: str, ref: str, path: str) -> Entry:
        contents = self._tree.fresh(place, folder)
        for _, item in contents.entries():
            if item.ref == ref:
                return entry_of(path, item)
        raise NotFound("is not there, although the service said so", path=path)

    def _source(self, path: str, op: str) -> Item:
        if "/" not in path:
            raise IsADirectory("is a directory", op=op, path=path)
        item = self._tree.item(path)
        if item.is_dir:
            raise IsADirectory("is a directory", op=op, path=path)
        return item

    @staticmethod
    def _target(path: str, op: str) -> tuple[str, str]:
        place, _, name = path.rpartition("/")
        if not place:
            raise _not_movable(op, path)
        return place, name

    @staticmethod
    def _replaced(contents: Contents, name: str, path: str) -> Item | None:
        old = contents.find(name)
        if old is not None and old.is_dir:
            raise IsADirectory("is a directory", path=path)
        return old


def _not_movable(op: str, path: str) -> StoreError:
    return InvalidName("is a sync folder, or the root: nothing is moved or copied there", op=op, path=path)


def _again(error: StoreError, path: str) -> StoreError:
    """An error of a whole folder, once for each of its files."""
    if isinstance(error, NotFound | NotADirectory):
        return PreconditionFailed("its folder was moved or removed meanwhile", op="write", path=path)
    return type(error)(error.message, op="write", path=path, retry_after=error.retry_after)
