"""Paths to ids: one question for each name on the way, all of them in one batch where the folders are known already.

What is remembered is where a folder was, never what it holds; it only makes the questions guesses that can be asked
together, and each use asks them anew. So a folder that was renamed, moved or put into the trash behind our back is
noticed before anything is read from it or written to it. Made folders carry ids fetched before, and are made once.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from cftool.core import paths
from cftool.core.errors import AlreadyExists, ListingError, NotADirectory, NotFound, ProtocolError, StoreError
from cftool_providers.gdrive import _files
from cftool_providers.gdrive._batch import Answer, Call
from cftool_providers.gdrive._files import FIELDS, Item
from cftool_providers.gdrive._formats import FOLDER, SHORTCUT
from cftool_providers.gdrive._service import Service, file_path

PAGE = 1000  # files a page: the service's most
_FOLDERS = 100_000  # remembered at most
_FILES = 50_000
_JUST = 15.0  # seconds for which it counts that another thread made a folder
LIST_FIELDS = f"nextPageToken,incompleteSearch,files({FIELDS})"


def literal(text: str) -> str:
    """A text as the query language wants it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Look(NamedTuple):
    """What is on the way to a path: the folders' ids, the root's first, and what has the path, if anything."""

    folders: list[str]
    item: Item | None


class Keyed:
    """A lock for each key, as long as somebody holds or wants it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Hold the lock of `key`."""
        with self._guard:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._locks[key]
                if users == 1:
                    del self._locks[key]
                else:
                    self._locks[key] = (lock, users - 1)


class Tree:
    """See the module. Thread-safe."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.root = service.settings.root
        self.exports: Sequence[str] = service.settings.exports
        self.grouping = True  # a query over several parents was not seen to leave any out
        self._folders: dict[str, str] = {}
        self._when: dict[str, float] = {}
        self._files: dict[str, str] = {}  # ids to paths: what a change of theirs makes stale
        self._making = Keyed()

    # ---- what is remembered

    def remember(self, path: str, handle: str) -> None:
        """A folder was seen there."""
        if len(self._folders) >= _FOLDERS:
            self._folders.clear()
            self._when.clear()
        self._folders[path] = handle
        self._when[path] = self.service.client.clock.monotonic()
        self.saw(handle, path)

    def known(self, path: str) -> str | None:
        """Where a folder was when it was last seen."""
        return self._folders.get(path) if path else self.root

    def fresh(self, path: str, seconds: float) -> bool:
        """Whether the folder was seen at `path` less than that long ago."""
        if not path:
            return True
        when = self._when.get(path)
        return when is not None and self.service.client.clock.monotonic() - when <= seconds

    def saw(self, handle: str, path: str) -> None:
        """Something with this id was seen there."""
        if len(self._files) >= _FILES:
            self._files.clear()
        self._files[handle] = path

    def path_of(self, handle: str) -> str | None:
        """Where an id was last seen."""
        return self._files.get(handle)

    def forget(self, path: str) -> None:
        """A folder is gone, and all below with it."""
        if path not in self._folders:  # nothing below it is known either
            return
        for known in [each for each in list(self._folders) if paths.is_within(each, path)]:
            self._folders.pop(known, None)
            self._when.pop(known, None)

    def root_id(self) -> str:
        """The root's own id, which its alias stands for; asked once."""
        if self.root != "root":
            return self.root
        key = f"{self.service.settings.identity}:root"
        found = self.service.context.memory.get(key)
        if found is None:
            found = _files.item(self.get("root")).id
            self.service.context.memory.set(key, found)
        return found

    # ---- questions

    def question(self, parent: str, name: str) -> Call:
        """Which children of `parent` may show as `name`."""
        names = " or ".join(f"name = {literal(each)}" for each in _files.candidates(name, self.exports))
        query = f"{literal(parent)} in parents and trashed = false and ({names})"
        return Call("GET", "files", self.list_params(query))

    def list_params(self, query: str, token: str | None = None) -> tuple[tuple[str, str], ...]:
        """The parameters of files.list."""
        more: tuple[tuple[str, str], ...] = (("q", query), ("pageSize", str(PAGE)), ("fields", LIST_FIELDS))
        if token is not None:
            more += (("pageToken", token),)
        return self.service.params(more, listing=True)

    def children_query(self, parents: Iterable[str]) -> str:
        """What is in any of these folders."""
        some = " or ".join(f"{literal(each)} in parents" for each in parents)
        return f"({some}) and trashed = false"

    def rest(self, call: Call, parent: str, answer: Answer) -> list[Item]:
        """All items of a listing whose first page is `answer`."""
        seen: set[str] = set()
        found = _files.page(answer.json(), (parent,), seen)
        items = found.items
        while found.following is not None:
            params = (*call.params, ("pageToken", found.following))
            found = _files.page(self.service.call("GET", "files.list", "files", params), (parent,), seen)
            items += found.items
        return _once(items)

    def _answer(self, call: Call, parent: str, name: str, answer: Answer) -> Item | None:
        if answer.status == 404:  # the parent itself is gone
            return None
        one = _files.pick(self.rest(call, parent, answer), name, self.exports)
        return None if one is None else self.resolved([one])[0]

    def resolved(self, items: list[Item]) -> list[Item]:
        """The same, shortcuts to files with what they point to; those that lead to nothing stay as they are."""
        wanted = {
            one.points_to[0]: one.points_to
            for one in items
            if one.points_to is not None and one.points_to[1] not in {FOLDER, SHORTCUT}
        }
        if not wanted:
            return items
        handles = list(wanted)
        params = self.service.params((("fields", FIELDS),))
        answers = self.service.batch([Call("GET", file_path(handle), params) for handle in handles])
        targets: dict[str, Item] = {}
        for handle, answer in zip(handles, answers, strict=True):
            if answer.status in {403, 404}:
                continue  # gone, or not shared with us any more
            target = _files.item(answer.json())
            if not target.trashed and target.mime not in {FOLDER, SHORTCUT}:
                targets[handle] = target
        return [
            one._replace(target=targets.get(one.points_to[0])) if one.points_to is not None else one for one in items
        ]

    # ---- looking

    def look(self, path: str) -> Look:
        """Who is on the way, now. `folders` ends where the way does. Raises NotADirectory below a file."""
        look, _ = self._looked(path, listing=False)
        return look

    def look_into(self, path: str) -> tuple[Look, list[Item] | None]:
        """The same, and what is in the folder at `path` where the guess at its id was right: None otherwise."""
        return self._looked(path, listing=True)

    def _looked(self, path: str, *, listing: bool) -> tuple[Look, list[Item] | None]:
        names = path.split("/")
        ids = [self.root]
        for end in range(1, len(names)):
            handle = self._folders.get("/".join(names[:end]))
            if handle is None:
                break
            ids.append(handle)
        # What another thread makes while the questions are under way is not what they found missing.
        before = [self._folders.get("/".join(names[: level + 1])) for level in range(len(names))]
        guess = self._folders.get(path) if listing and len(ids) == len(names) else None
        calls = [self.question(parent, name) for parent, name in zip(ids, names, strict=False)]
        if guess is not None:
            calls.append(Call("GET", "files", self.list_params(self.children_query((guess,)))))
        answers = self.service.batch(calls)
        folders = [self.root]
        one: Item | None = None
        for level, name in enumerate(names):
            if level < len(ids) and ids[level] == folders[-1]:
                one = self._answer(calls[level], folders[-1], name, answers[level])
            else:
                call = self.question(folders[-1], name)
                one = self._answer(call, folders[-1], name, self.service.batch([call])[0])
            where = "/".join(names[: level + 1])
            if (one is None or not one.is_folder) and before[level] == self._folders.get(where):
                self.forget(where)
            if one is None:
                return Look(folders, None), None
            if not one.is_folder:
                self.saw(one.id, where)
                if level < len(names) - 1:
                    raise NotADirectory("a file, or a link, is on the way", path=where)
                return Look(folders, one), None
            self.remember(where, one.id)
            if level < len(names) - 1:
                folders.append(one.id)
        assert one is not None  # a path has one name at least
        if guess is None or guess != one.id:
            return Look(folders, one), None
        return Look(folders, one), self.rest(calls[-1], guess, answers[-1])

    def find(self, path: str, op: str) -> Item:
        """What has the path. Raises NotFound, NotADirectory."""
        try:
            found = self.look(path).item
        except StoreError as error:
            raise error.at(op=op, path=path) from None
        if found is None:
            raise NotFound("there is no such file or folder", op=op, path=path)
        return found

    def folder(self, path: str, op: str) -> str:
        """The id of the folder at `path`. Raises NotFound, NotADirectory."""
        if not path:
            return self.root
        found = self.find(path, op)
        if not found.is_folder:
            raise NotADirectory("is no folder", op=op, path=path)
        return found.id

    # ---- children

    def children(self, folder: str, *, pages: int | None = None) -> tuple[list[Item], bool]:
        """What is in a folder, and whether that is all; more than `pages` pages are not asked for."""
        seen: set[str] = set()
        items: list[Item] = []
        token: str | None = None
        query = self.children_query((folder,))
        while True:
            found = _files.page(
                self.service.call("GET", "files.list", "files", self.list_params(query, token)), (folder,), seen
            )
            items += found.items
            token = found.following
            if token is None:
                return self.resolved(_once(items)), True
            if pages is not None and len(seen) >= pages:
                return items, False

    def named(self, items: list[Item]) -> dict[str, Item]:
        """Children by the names under which they show."""
        return _files.named(items, self.exports)

    # ---- making folders

    def ensure(self, path: str, look: Look | None = None) -> tuple[str, bool]:
        """The id of the folder at `path`, made with its parents where it is missing, and whether it was made now.

        `look`: what is on the way, where that was just seen. Raises NotADirectory where a file is on the way.
        """
        if not path:
            return self.root, False
        look = look or self.look(path)
        if look.item is not None:
            if not look.item.is_folder:
                raise NotADirectory("a file has that name", path=path)
            return look.item.id, False
        names = path.split("/")
        parent = look.folders[-1]
        made = False
        for level in range(len(look.folders) - 1, len(names)):
            parent, made = self.make("/".join(names[: level + 1]), parent)
        return parent, made

    def make(self, path: str, parent: str) -> tuple[str, bool]:
        """Make the folder that was just seen to be missing in `parent`; once, however many threads want it."""
        with self._making.hold(path):
            handle = self._folders.get(path)
            if handle is not None and self.fresh(path, _JUST):  # another thread was at it meanwhile
                return handle, False
            one = self.create_folder(path, parent)
            self.remember(path, one.id)
            return one.id, True

    def create_folder(self, path: str, parent: str) -> Item:
        """files.create; sent again it makes no second one."""
        handle = self.service.new_id()
        body = {"id": handle, "name": path.rpartition("/")[2], "mimeType": FOLDER, "parents": [parent]}
        try:
            found = self.service.call(
                "POST", "files.create", "files", self.service.params((("fields", FIELDS),)), body=body
            )
        except StoreError as error:
            if not is_in_use(error):
                raise error.at(path=path) from None
            found = self.get(handle)
        one = _files.item(found)
        if one.id != handle or one.mime != FOLDER:
            raise ProtocolError("the service made something else than was asked for", path=path)
        if one.trashed:
            raise NotFound("the folder above it was put into the trash meanwhile", path=path)
        return one

    def get(self, handle: str) -> dict[str, object]:
        """The resource of an id."""
        return self.service.call("GET", "files.get", file_path(handle), self.service.params((("fields", FIELDS),)))


def is_in_use(error: StoreError) -> bool:
    """Whether a create was refused because it had arrived already."""
    return isinstance(error, AlreadyExists)


def _once(items: list[Item]) -> list[Item]:
    """A file that moved from one page to the next while they were read comes twice."""
    found: dict[str, Item] = {}
    for one in items:
        if found.setdefault(one.id, one) is not one and found[one.id].name != one.name:
            raise ListingError("a listing names one file by two names", op="scan")
    return list(found.values())
