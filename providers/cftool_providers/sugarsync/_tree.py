"""From paths to links: the folders of a path, what a folder holds, and all below it, folders in parallel.

What is cached are links of folders, each verified when it is used: by a look at the folder itself, whose name and
parent must be what the path says, so that nothing ever goes into a folder that somebody renamed or moved. Batches may
rely on a verification, and on a listing, that is at most `BATCH_AGE` seconds old; single operations never do.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from cftool.core import paths
from cftool.core.errors import AlreadyExists, ListingError, NotADirectory, NotFound, TemporaryError
from cftool.core.types import Entry, Kind
from cftool.disk.temps import is_temp
from cftool_providers.sugarsync._pages import PAGE, Item
from cftool_providers.sugarsync._service import CONNECTIONS, Service, Unsure

BATCH_AGE = 10.0
_TRIES = 3  # of a listing that changes while it is read, of making what no answer told of
_KEPT_FOLDERS = 50_000
_KEPT_ITEMS = 20_000  # of recent listings


class Contents:
    """What one listing of a folder found: `shown` by the name that users see, and what is `hidden` from them.

    Threads of a batch note what they made and took away.
    """

    def __init__(self, ref: str, at: float, items: list[Item]) -> None:
        self._lock = threading.Lock()
        self.ref = ref
        self.at = at
        self.hidden = [item for item in items if not item.present or is_temp(item.name)]
        self.shown = _named([item for item in items if item.present and not is_temp(item.name)])
        self._folded: dict[str, str] | None = None

    def find(self, name: str) -> Item | None:
        """The entry of that name, else one that differs in case only: to SugarSync's own clients they are the same."""
        with self._lock:
            item = self.shown.get(name)
            if item is None and name:
                if self._folded is None:
                    self._folded = {shown.casefold(): shown for shown in sorted(self.shown, reverse=True)}
                item = self.shown.get(self._folded.get(name.casefold(), ""))
            return item

    def entries(self) -> list[tuple[str, Item]]:
        """What is shown, as it is now."""
        with self._lock:
            return list(self.shown.items())

    def refs(self) -> set[str]:
        """All links."""
        with self._lock:
            return {item.ref for item in (*self.shown.values(), *self.hidden)}

    def put(self, name: str, item: Item) -> None:
        """Note what we made."""
        with self._lock:
            self.shown[name] = item
            if self._folded is not None:
                self._folded[name.casefold()] = name

    def drop(self, item: Item) -> None:
        """Note what we took away."""
        with self._lock:
            there = self.shown.get(item.name)
            names = [item.name] if there is not None and there.ref == item.ref else list(self.shown)
            for name in names:
                if self.shown[name].ref == item.ref:
                    del self.shown[name]
            self._folded = None


def _named(items: list[Item]) -> dict[str, Item]:
    """Entries by name; of several with one name all but one get their number into it."""
    shown: dict[str, Item] = {}
    twins: dict[str, list[Item]] = {}
    for item in items:
        other = shown.setdefault(item.name, item)
        if other is not item:
            twins.setdefault(item.name, [other]).append(item)
    for name, group in twins.items():
        keeper = _keeper(group)
        shown[name] = keeper
        for item in group:
            if item is not keeper:
                shown[_free(shown, name, item)] = item
    return shown


def _keeper(group: list[Item]) -> Item:
    """A folder, the one that was made first; else the newest file."""
    folders = [item for item in group if item.is_dir]
    if folders:
        return min(folders, key=lambda item: (len(item.ref), item.ref))
    return max(group, key=lambda item: (item.stored_ns or 0, len(item.ref), item.ref))


def _free(shown: dict[str, Item], name: str, item: Item) -> str:
    stem, dot, suffix = name.rpartition(".")
    if item.is_dir or not stem:
        stem, dot, suffix = name, "", ""
    label = f"{stem} (duplicate {item.number}){dot}{suffix}"
    while label in shown:
        label = f"{stem} (duplicate {item.number})_{dot}{suffix}"
        stem += "_"
    return label


def entry_of(path: str, item: Item) -> Entry:
    """An item under its path."""
    if item.is_dir:
        return Entry(path, Kind.DIRECTORY, id=item.ref)
    version = f"{item.number}-{(item.stored_ns or 0) // 1_000_000}-{item.size}"
    return Entry(path, Kind.FILE, item.size, None, item.stored_ns, version, item.ref)


class _Known:
    """A folder's link, and when it was last seen to be where its path says."""

    __slots__ = ("at", "name", "parent", "ref")

    def __init__(self, ref: str, name: str, parent: str, at: float) -> None:
        self.ref = ref
        self.name = name
        self.parent = parent
        self.at = at


class Tree:
    """Thread-safe."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: dict[str, _Known] = {}
        self._recent: OrderedDict[str, Contents] = OrderedDict()
        self._items = 0
        self._lock = threading.Lock()
        self._making = threading.RLock()  # held by who looks for a folder and makes it where there is none

    # ---- folders

    def folder(self, path: str, *, max_age: float = 0.0) -> str:
        """The link of a folder, verified at most `max_age` seconds ago. Raises NotFound, NotADirectory."""
        ref, at = self._service.account().folders, ""
        for name in path.split("/") if path else ():
            parent, ref = ref, ""
            place, at = at, paths.join(at, name)
            known = self._known.get(at)
            if known is not None:
                if known.parent == parent and self._holds(known, max_age, top=not place):
                    ref = known.ref
                else:
                    self.forget(at)
            if not ref:
                item = self._contents(place, parent, max_age).find(name)
                if item is None:
                    raise NotFound("no such directory", path=at)
                if not item.is_dir:
                    raise NotADirectory("is a file", path=at)
                ref = item.ref
                self._learn(at, item, parent)
        return ref

    def _holds(self, known: _Known, max_age: float, *, top: bool) -> bool:
        now = self._service.clock()
        if now - known.at <= max_age and max_age > 0:
            return True
        try:
            info = self._service.folder(known.ref)
        except NotFound:
            return False
        # The parent of a sync folder is a workspace, or none is told; in the Deleted Files it is no sync folder more.
        deleted = self._service.account().deleted
        if info.name != known.name or info.parent == deleted or (not top and info.parent != known.parent):
            return False
        known.at = now
        return True

    def _learn(self, path: str, item: Item, parent: str) -> None:
        with self._lock:
            if len(self._known) >= _KEPT_FOLDERS:
                self._known.clear()
            self._known[path] = _Known(item.ref, item.name, parent, self._service.clock())

    def forget(self, path: str) -> None:
        """What was known of `path`, of all below, and the listing that named it."""
        below = path + "/"
        with self._lock:
            for known in [each for each in self._known if each == path or each.startswith(below)]:
                self._known.pop(known, None)
            for seen in [each for each in self._recent if each == path or each.startswith(below)]:
                self._drop_recent(seen)
            self._drop_recent(paths.parent(path))

    def make(self, path: str, *, max_age: float = 0.0) -> str:
        """The link of a folder, which is made with its parents where it is not there."""
        with self._making:
            try:
                return self.folder(path, max_age=max_age)
            except NotFound:
                pass
            place, _, name = path.rpartition("/")
            parent = self.make(place, max_age=BATCH_AGE) if place else self._service.account().folders
            item = self._make(place, parent, name)
            self._learn(path, item, parent)
            with self._lock:
                siblings = self._recent.get(place)
                if siblings is not None:
                    siblings.put(name, item)
            if place:  # of a sync folder we do not know that it is ours
                self._keep(path, Contents(item.ref, self._service.clock(), []))
            return item.ref

    def _make(self, place: str, parent: str, name: str) -> Item:
        for attempt in range(_TRIES):
            try:
                if place:
                    return Item(name, self._service.create_folder(parent, name), is_dir=True)
                self._service.create_sync_folder(name)
            except Unsure as error:
                if attempt == _TRIES - 1:
                    raise TemporaryError(error.message, op="mkdir", retry_after=error.retry_after) from error
            item = self.fresh(place, parent).find(name)
            if item is not None:
                if not item.is_dir:
                    raise AlreadyExists("a file has that name", op="mkdir", path=paths.join(place, name))
                return item
        raise TemporaryError("the service said that it made the folder, and does not list it", op="mkdir")

    # ---- what they hold

    def contents(self, path: str, *, max_age: float = 0.0) -> Contents:
        """What a folder holds, by a listing at most `max_age` seconds old."""
        return self._contents(path, self.folder(path, max_age=max_age), max_age)

    def _contents(self, path: str, ref: str, max_age: float) -> Contents:
        if max_age > 0:
            recent = self._recent.get(path)
            if recent is not None and recent.ref == ref and self._service.clock() - recent.at <= max_age:
                return recent
        return self.fresh(path, ref)

    def fresh(self, path: str, ref: str) -> Contents:
        """List a folder now. Raises ListingError where it does not hold still."""
        before = self._service.clock()
        found = Contents(ref, before, self._listed(ref, top=not path))
        for name, item in found.entries():
            if item.is_dir:
                self._learn(paths.join(path, name), item, ref)
        self._keep(path, found)
        return found

    def _listed(self, ref: str, *, top: bool) -> list[Item]:
        deleted = self._service.account().deleted if top else ""
        for _ in range(_TRIES):
            items = self._pages(ref, top=top)
            if items is not None:
                return [item for item in items if item.ref != deleted]
        raise ListingError("the folder changes faster than it can be listed")

    def _pages(self, ref: str, *, top: bool) -> list[Item] | None:
        """All pages; None where an entry moved in between."""
        page = self._service.page(ref, 0, top=top)
        items = page.items
        while page.more:
            last = items[-1]
            page = self._service.page(ref, len(items) - 1, PAGE + 1, top=top)
            if page.items and page.items[0].ref != last.ref:
                return None
            if len(page.items) < 2:
                raise ListingError("the listing said that more follows, and nothing came")
            items += page.items[1:]
        return None if len({item.ref for item in items}) != len(items) else items

    def _keep(self, path: str, found: Contents) -> None:
        with self._lock:
            self._drop_recent(path)
            self._recent[path] = found
            self._items += len(found.shown) + 1
            while self._items > _KEPT_ITEMS and len(self._recent) > 1:
                self._drop_recent(next(iter(self._recent)))

    def _drop_recent(self, path: str) -> None:
        old = self._recent.pop(path, None)
        if old is not None:
            self._items = max(0, self._items - len(old.shown) - 1)

    def item(self, path: str, *, max_age: float = 0.0) -> Item:
        """What is at `path`. Raises NotFound, NotADirectory."""
        item = self.contents(paths.parent(path), max_age=max_age).find(path.rpartition("/")[2])
        if item is None:
            raise NotFound("no such file or directory", path=path)
        return item

    # ---- all below

    def walk(self, path: str) -> Iterator[tuple[str, Contents]]:
        """Every folder at and below `path` with what it holds, in no order; as many at once as the service likes."""
        todo: deque[tuple[str, str, int]] = deque([(path, self.folder(path), 0)])
        seen = {todo[0][1]}
        running: dict[Future[Contents], tuple[str, int]] = {}
        with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="cftool-walk") as pool:
            try:
                while todo or running:
                    while todo and len(running) < CONNECTIONS:
                        place, ref, depth = todo.pop()
                        running[pool.submit(self.fresh, place, ref)] = (place, depth)
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        place, depth = running.pop(done)
                        found = done.result()
                        for name, item in found.entries():
                            if item.is_dir:
                                if item.ref in seen or depth >= paths.MAX_DEPTH:
                                    raise ListingError("the folders lead in a circle", path=paths.join(place, name))
                                seen.add(item.ref)
                                todo.append((paths.join(place, name), item.ref, depth + 1))
                        yield place, found
            finally:
                for each in running:
                    each.cancel()
