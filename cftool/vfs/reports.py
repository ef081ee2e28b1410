"""`.cftool/` in the root of a mount: what its cache does, as files, for programs without a client.

It is not in the listing of the root, so that nothing that copies the mount copies it, and nothing in it can be changed.
Each file is made anew when it is opened; reading has no effect. A directory of that name at the remote is not seen.
"""

import stat
from collections.abc import Callable, Mapping

from cftool.vfs.nodes import Node

NAME = ".cftool"
Reports = Mapping[str, Callable[[], bytes]]


class ReportNodes:
    """The nodes; `number` gives the id of a new one."""

    def __init__(self, root: Node, reports: Reports, number: Callable[[], int], now_ns: int) -> None:
        self.directory = Node(number(), root, NAME, stat.S_IFDIR | 0o555)
        self.directory.loaded = float("inf")
        self.directory.children = {}
        self._made: dict[int, Callable[[], bytes]] = {}
        for name, make in reports.items():
            node = Node(number(), self.directory, name, stat.S_IFREG | 0o444)
            self.directory.children[name] = node
            self._made[node.id] = make
        for node in self.nodes():
            node.uid, node.gid = root.uid, root.gid
            node.mtime_ns = node.ctime_ns = node.atime_ns = now_ns

    def nodes(self) -> list[Node]:
        """All of them."""
        return [self.directory, *(self.directory.children or {}).values()]

    def __contains__(self, number: int) -> bool:
        return number == self.directory.id or number in self._made

    def content(self, node: Node) -> bytes | None:
        """Of a report, as it is now; None of anything else."""
        make = self._made.get(node.id)
        return None if make is None else make()
