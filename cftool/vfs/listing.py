"""What is in a directory: listed whole, once in `ttl` seconds, and kept; what is changed here is right at once.

A listing that began before something was changed here or by others is not believed. `on_change` hears of nodes that a
new listing showed to be others, `on_stale` of those whose name and attributes are to be asked for again: for the
kernel's caches.
"""

import errno
import logging
from collections.abc import Callable, Iterable

from cftool.core import paths
from cftool.core.errors import NotFound, TemporaryError
from cftool.core.types import Entry
from cftool.vfs.folding import Folding
from cftool.vfs.nodes import LINK_SUFFIX, ROOT, Attr, Node, attr_of, check_name, error_of
from cftool.vfs.reports import NAME
from cftool.vfs.tree import Tree

_LISTINGS = 5  # of a directory that is changed while it is listed
_log = logging.getLogger("cftool.vfs")


class Listing:
    """See the module."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._store = tree.store
        self._settings = tree.settings
        self._lock = tree.lock
        self._folding = Folding(tree.store.features.names)
        self._listings: dict[int, list[tuple[str, Node]]] = {}  # of open directories
        self._apart: dict[int, dict[str, Node]] = {}  # by their directory's number: names of what is not listed
        self.on_change: Callable[[Node], None] = _ignore
        self.on_stale: Callable[[Node], None] = _ignore

    def lookup(self, parent: int, name: str) -> Attr:
        """The kernel refers to the node until `forget`. ENOENT."""
        directory = self._tree.directory(parent)
        check_name(name)
        if name in {".", ".."}:
            node = directory if name == "." else directory.parent or directory
            with self._lock:
                node.lookups += 1
            return self._tree.getattr(node.id)
        while True:
            node = self.existing(directory, name)  # may wait for the network, and so is not under the lock
            with self._lock:
                if node.parent is not None:  # else it has lost its name meanwhile
                    node.lookups += 1
                    break
        return self._tree.getattr(node.id)

    def taken(self, directory: Node, name: str) -> Attr | None:
        """As `lookup` in a directory that is listed; None where there is no such name."""
        with self._lock:
            children = directory.children or {}
            node = children.get(name)
            if node is None and self._folding.folds:
                node = self._folding.find(children, name)
            if node is None:
                return None
            node.lookups += 1
            return attr_of(node)

    def refer(self, node: Node) -> Attr:
        """For readdirplus: the kernel refers to one more node."""
        with self._lock:
            node.lookups += 1
            return attr_of(node)

    def forget(self, number: int, count: int) -> None:
        """The kernel has dropped `count` references."""
        with self._lock:
            node = self._tree.nodes.get(number)
            if node is not None:
                node.lookups -= count
                self._tree.let_go(node)

    def forget_many(self, dropped: Iterable[tuple[int, int]]) -> None:
        """The same of many: their numbers, and the count of each."""
        nodes = self._tree.nodes
        with self._lock:
            for number, count in dropped:
                node = nodes.get(number)
                if node is not None:
                    node.lookups -= count
                    if node.parent is None:
                        self._tree.let_go(node)

    def child(self, parent: Node, name: str) -> Node | None:
        """By name, or None."""
        if name == NAME and self._tree.reports is not None and parent.id == ROOT:
            return self._tree.reports.directory
        try:
            children = self.children(parent)
        except TemporaryError:
            found = self._kept(parent, name)
            if found is None:
                raise
            return found
        found = children.get(name)
        if found is None and self._folding.folds:
            return self._folding.find(children, name)
        return found

    def _kept(self, parent: Node, name: str) -> Node | None:
        """While the remote is away: a name of a directory that was never listed, where the cache holds it by itself."""
        place = parent.place
        for link in (False, True):
            entry = self._store.kept(paths.join(place, name + LINK_SUFFIX if link else name))
            if entry is not None and not (link and entry.is_dir):
                break
        else:
            return None
        with self._lock:
            apart = self._apart.setdefault(parent.id, {})
            node = apart.get(name)
            if node is None or node.parent is not parent or node.name != name or node.is_dir != entry.is_dir:
                node = self._tree.made(parent, name, self._tree.type_and_mode(entry.is_dir, link=link))
                node.stored = entry.name if link else ""
                self._tree.apply(node)
                apart[name] = node
            self._update(node, entry)
            return node

    def existing(self, parent: Node, name: str) -> Node:
        """By name. ENOENT."""
        found = self.child(parent, name)
        if found is None:
            raise error_of(errno.ENOENT)
        return found

    def is_listed(self, node: Node) -> bool:
        """Whether what is known of a directory's names counts still."""
        if node.children is None or node.loaded < node.changed:
            return False
        return self._tree.clock() - node.loaded < self._settings.ttl

    def children(self, node: Node) -> dict[str, Node]:
        """Of a directory: listed where that was never done, or too long ago."""
        for attempt in range(_LISTINGS):
            with self._lock:
                known = node.children
                if known is not None and self.is_listed(node):
                    return known
                if node.gone:
                    return known or {}
            seen = self._tree.places.now(node)  # before `changes`, which a rename counts at its end
            place, changes = seen[0], node.changes
            began = self._tree.clock()
            try:
                entries = list(self._store.scan(place))
            except TemporaryError:
                if node.children is not None:  # the remote is away: what is known goes on
                    return node.children
                raise
            except NotFound:
                if not self._tree.places.stayed(node, seen, missed=True) and attempt + 1 < _LISTINGS:
                    continue
                if node.id != ROOT:
                    raise
                entries = []  # an object store's root that nothing is below yet
            with self._lock:
                if node.children is not known and node.children is not None and node.loaded >= began:
                    return node.children  # somebody else listed it meanwhile
                # Otherwise the listing may be older than what was done meanwhile, or that of another directory.
                if node.changes == changes and self._tree.places.stayed(node, seen):
                    self._take_listing(node, entries, began)
                    assert node.children is not None
                    return node.children
        if node.children is not None:  # it changes here all the time: what is done here is known anyway
            return node.children
        raise TemporaryError("it changes faster than it can be listed", op="list", path=place, store=self._store.name)

    def _take_listing(self, node: Node, entries: list[Entry], began: float) -> None:
        """Under the lock: nodes of names that are still there stay the same nodes."""
        apart = self._apart.pop(node.id, {})
        old = {name: child for name, child in apart.items() if child.parent is node and child.name == name}
        old |= node.children or {}
        new: dict[str, Node] = {}
        place = node.place
        for entry in entries:
            name, link = _shown(entry)
            if paths.component_problem(name) is not None or entry.path != paths.join(place, entry.name):
                # A key of an object store, such as `a//b`: for one of these the kernel refuses the whole directory.
                if node.children is None:
                    _log.warning("%s: not shown, for no file can have this name", entry.path)
                continue
            if name == NAME and node.id == ROOT and self._tree.reports is not None:
                if node.children is None:
                    _log.warning("%s: not shown, the mount's statistics have this name", entry.path)
                continue
            child = old.get(name)
            if child is None or child.is_dir != entry.is_dir or child.is_link != link:
                child = self._tree.made(node, name, self._tree.type_and_mode(entry.is_dir, link=link))
                child.stored = entry.name if link else ""
                self._tree.apply(child)
            elif child.version != entry.version and child.open is None and not entry.is_dir:
                self.on_change(child)
            self._update(child, entry)
            new[name] = child
        for name, owned in self._tree.attributes.specials(node.path):
            if name not in new:
                child = old.get(name)
                new[name] = child if child is not None and child.is_special else self._tree.special(node, name, owned)
        for name, child in old.items():
            if new.get(name) is not child:
                if child.open is not None and name not in new and not child.open.removed:
                    new[name] = child  # open here and not yet published, or removed at the remote: its user goes on
                    continue
                child.parent = None
                self.on_change(child)
                self._tree.let_go(child)
        node.children = new
        node.folders = sum(child.is_dir for child in new.values())
        node.loaded = began

    @staticmethod
    def _update(node: Node, entry: Entry) -> None:
        node.version = entry.version
        if entry.size is not None:
            node.size = entry.size
        when = entry.modified_ns if entry.modified_ns is not None else entry.stored_ns
        if when is not None and (node.open is None or not node.open.dirty):
            node.mtime_ns = node.ctime_ns = when
            node.atime_ns = max(node.atime_ns, when)

    def others_changed(self, changed: Iterable[str]) -> None:
        """What others have changed at the remote, each with all below it, "" for everything: asked for anew."""
        now = self._tree.clock()
        with self._lock:
            root = self._tree.nodes[ROOT]
            for path in changed:
                if paths.is_within(path, root.path):
                    self._forget_below(self._known(path[len(root.path) :].strip("/")), now)
                elif paths.is_within(root.path, path):
                    self._forget_below(root, now)

    def _known(self, path: str) -> Node:
        """Under the lock: the node of a path below the root, or of the nearest directory above it that is known."""
        node = self._tree.nodes[ROOT]
        for name in path.split("/"):
            child = (node.children or {}).get(name) or (node.children or {}).get(name.removesuffix(LINK_SUFFIX))
            if child is None:
                break
            node = child
        return node

    def _forget_below(self, node: Node, now: float) -> None:
        """Under the lock: its directory, and all directories below it; the kernel forgets the names."""
        if node.parent is not None:
            node.parent.changed = now
        todo = [node]
        while todo:
            node = todo.pop()
            if node.lookups > 0 and node.parent is not None:
                self.on_stale(node)
            if node.is_dir and not self._tree.is_report(node.id):
                node.changed = now
                todo += (node.children or {}).values()

    def opendir(self, number: int) -> int:
        """A handle whose listing does not change while it is read."""
        node = self._tree.directory(number)
        children = self.children(node)
        with self._lock:
            handle = next(self._tree.handle_numbers)
            self._listings[handle] = [(".", node), ("..", node.parent or node), *children.items()]
            return handle

    def readdir(self, handle: int) -> list[tuple[str, Node]]:
        """All names and nodes, in an order that stays."""
        return self._listings[handle]

    def releasedir(self, handle: int) -> None:
        """Done."""
        self._listings.pop(handle, None)


def _ignore(node: Node) -> None:
    del node


def _shown(entry: Entry) -> tuple[str, bool]:
    """The name under which an entry is shown, and whether it is a link."""
    name = entry.name
    if not entry.is_dir and name.endswith(LINK_SUFFIX) and name != LINK_SUFFIX:
        return name.removesuffix(LINK_SUFFIX), True
    return name, False
