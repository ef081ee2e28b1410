"""Where nodes are, while others rename what is above them. Used by all who ask the store by a path.

The kernel locks a directory that something is made in, removed from or renamed in, but no directory above it, and no
opening at all. Who changes something at the store by a path therefore keeps the node there meanwhile (`keep`); who
renames or removes has the node and all that is below it for himself (`change`). Who only looks keeps nobody waiting:
he asks afterwards whether it stayed, and looks again where not (`now`, `stayed`).

Nobody takes one of these within another, nor while he has the lock of a file: those are taken within.
"""

import threading
from collections.abc import Sequence
from types import TracebackType

from cftool.vfs.nodes import Node


class Places:
    """See the module. `lock`: the tree's."""

    def __init__(self, lock: threading.RLock) -> None:
        self._changed = threading.Condition(lock)
        self._kept: list[Node] = []
        self._wanted: list[Node] = []  # by those who wait to change them: nobody new keeps these
        self._changing: list[Node] = []
        self._around: list[Node] = []  # the directories that names are changed in
        self._renames = 0  # that are over

    def is_steady(self) -> bool:
        """Whether nobody has to wait for a place, as far as one can know."""
        return not (self._changing or self._wanted)

    def keep(self, node: Node) -> "_Keeping":
        """A context manager: it stays where it is."""
        return _Keeping(self, node)

    def change(self, *nodes: Node, keep: Sequence[Node], renames: bool = False) -> "_Changing":
        """A context manager: these lose their places, or `renames`: get others; `keep` stay where they are."""
        return _Changing(self, nodes, keep, renames=renames)

    def now(self, node: Node) -> tuple[str, int]:
        """Its place when nobody is changing that, nor names in it, and what `stayed` is to be told."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_changing(node))
            return node.place, self._renames

    def stayed(self, node: Node, seen: tuple[str, int], *, missed: bool = False) -> bool:
        """Whether it is where it was seen. `missed`: and nothing was there, which another place in between explains."""
        place, renames = seen
        with self._changed:
            if self._is_changing(node) or (missed and renames != self._renames):
                return False
            return node.place == place

    def _is_changing(self, node: Node) -> bool:
        return node in self._around or _is_within(node, self._changing)

    def begin_keeping(self, node: Node) -> None:
        """See `keep`."""
        with self._changed:
            if self._changing or self._wanted:
                self._changed.wait_for(lambda: not _is_within(node, self._changing + self._wanted))
            self._kept.append(node)

    def end_keeping(self, node: Node) -> None:
        """See `keep`."""
        with self._changed:
            self._kept.remove(node)
            if self._wanted:
                self._changed.notify_all()

    def begin_changing(self, nodes: Sequence[Node], keep: Sequence[Node]) -> None:
        """See `change`: all at once, so that nobody has one of them and waits for another."""
        with self._changed:
            self._wanted += nodes
            try:
                self._changed.wait_for(lambda: self._may_change(nodes, keep))
            finally:
                for node in nodes:
                    self._wanted.remove(node)
            self._changing += nodes
            self._kept += keep
            self._around += keep

    def _may_change(self, nodes: Sequence[Node], keep: Sequence[Node]) -> bool:
        if any(_is_within(other, nodes) for other in self._kept + self._changing):
            return False
        return not any(_is_within(node, self._changing) for node in (*nodes, *keep))

    def end_changing(self, nodes: Sequence[Node], keep: Sequence[Node], *, renames: bool) -> None:
        """See `change`."""
        with self._changed:
            for node in nodes:
                self._changing.remove(node)
            for node in keep:
                self._kept.remove(node)
                self._around.remove(node)
            self._renames += renames
            self._changed.notify_all()


def _is_within(node: Node | None, above: Sequence[Node]) -> bool:
    while node is not None and above:
        if node in above:
            return True
        node = node.parent
    return False


class _Keeping:
    __slots__ = ("_node", "_places")

    def __init__(self, places: Places, node: Node) -> None:
        self._places = places
        self._node = node

    def __enter__(self) -> None:
        self._places.begin_keeping(self._node)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._places.end_keeping(self._node)


class _Changing:
    __slots__ = ("_keep", "_nodes", "_places", "_renames")

    def __init__(self, places: Places, nodes: Sequence[Node], keep: Sequence[Node], *, renames: bool) -> None:
        self._places = places
        self._nodes = nodes
        self._keep = keep
        self._renames = renames

    def __enter__(self) -> None:
        self._places.begin_changing(self._nodes, self._keep)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._places.end_changing(self._nodes, self._keep, renames=self._renames)
