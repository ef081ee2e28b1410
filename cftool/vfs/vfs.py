"""The file system: every operation by node and handle, as POSIX names it. Raises OSError and StoreError (with `errno`).

It is put together here, from parts with one concern each, and each operation is that of a part. Local content and all
that the journal knows is answered without the network.
"""

import time
from collections.abc import Callable

from cftool.core.errors import CftoolError, NotFound
from cftool.vfs.attributes import Attributes
from cftool.vfs.files import Files
from cftool.vfs.listing import Listing
from cftool.vfs.names import Names
from cftool.vfs.reports import Reports
from cftool.vfs.status import Status
from cftool.vfs.tree import Tree, VfsSettings
from cftool.wrap.caching.store import CachingStore


class Vfs:
    """See the module; the parts say what each operation does."""

    def __init__(
        self,
        store: CachingStore,
        settings: VfsSettings | None = None,
        *,
        root_path: str = "",
        attributes: Attributes | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
        reports: Reports | None = None,
    ) -> None:
        self.store = store
        self.settings = settings or VfsSettings()
        tree = Tree(
            store, self.settings, root_path=root_path, attributes=attributes or Attributes(None), clock=clock,
            wall_ns=wall_ns, reports=reports,
        )  # fmt: skip
        self.listing = Listing(tree)
        self._files = files = Files(tree, self.listing)
        names = Names(tree, self.listing, files)
        status = Status(tree, files)
        self._attributes = tree.attributes
        self._attributes.settle(self._is_there)

        self.nodes = tree.nodes
        self.is_steady = tree.places.is_steady
        self.node = tree.node
        self.is_report = tree.is_report
        self.getattr = tree.getattr

        self.lookup = self.listing.lookup
        self.refer = self.listing.refer
        self.forget = self.listing.forget
        self.forget_many = self.listing.forget_many
        self.child = self.listing.child
        self.children = self.listing.children
        self.is_listed = self.listing.is_listed
        self.others_changed = self.listing.others_changed
        self.opendir = self.listing.opendir
        self.readdir = self.listing.readdir
        self.releasedir = self.listing.releasedir

        self.mkdir = names.mkdir
        self.mknod = names.mknod
        self.symlink = names.symlink
        self.rmdir = names.rmdir
        self.unlink = names.unlink
        self.rename = names.rename

        self.handles = files.handles
        self.handle = files.handle
        self.create = files.create
        self.open = files.open
        self.unchanged = files.unchanged
        self.read = files.read
        self.read_into = files.read_into
        self.write = files.write
        self.write_to = files.write_to
        self.allocate = files.allocate
        self.flush = files.flush
        self.flush_together = files.flush_together
        self.is_free = files.is_free
        self.is_small = files.is_small
        self.given = files.given
        self.may_write_unseen = files.may_write_unseen
        self.fsync = files.fsync
        self.release = files.release
        self.ends_at_once = files.ends_at_once

        self.setattr = status.setattr
        self.unprivileged = status.unprivileged
        self.xattrs = status.xattrs
        self.readlink = status.readlink
        self.statfs = status.statfs

    def _is_there(self, place: str) -> bool:
        """As far as one can know now."""
        try:
            self.store.stat(place)
        except NotFound:
            return False
        except CftoolError:
            return True
        return True

    def close(self, *, in_use: bool = False) -> None:
        """Commit what is open, and let go of it. `in_use`: programs have files open, which are in the middle of it."""
        if in_use:
            self._files.put_aside()
        self._files.close()
        self._attributes.close()
