"""Times of directories, where both sides are trees of this machine: as rsync -a and cp -a keep them.

No listing tells them, so that one is asked for as the plan comes to its directory: before mv takes something out of it.
They are set when the run has ended, and nothing is written below any more. Nothing depends on them: what the file
system does not let be set is only logged, and no event tells of them.
"""

import logging
import os
import stat

from cftool.core import paths
from cftool.core.errors import StoreError
from cftool.core.types import Entry, Kind
from cftool.disk.errors import translated
from cftool.disk.root import Root
from cftool.transfer.options import Options, Side
from cftool.transfer.spool import Spool

log = logging.getLogger("cftool.transfer")


class DirectoryTimes:
    """Of the source tree `src`, for the tree `dst`; both paths of this machine. Main thread only."""

    def __init__(self, src: str, dst: str, spool_dir: str | None) -> None:
        self._src, self._dst = src, dst
        self._seen = Spool(spool_dir)

    def note(self, path: str) -> None:
        """Keep in mind what time the source's directory has now."""
        try:
            found = os.stat(os.path.join(self._src, path))
        except OSError as error:  # gone, or its listing fails as well, and is told
            log.debug("no time of %s: %s", paths.printable(path), error.strerror)
            return
        self._seen.append(b"", Entry(path, Kind.DIRECTORY, None, found.st_mtime_ns))

    def set(self) -> None:
        """Give each to the directory of that name at the destination, where it is another."""
        if not os.path.isdir(self._dst):
            return
        with Root(self._dst) as root:
            for _key, entry in self._seen:
                assert entry.modified_ns is not None
                try:
                    _set(root, entry.path, entry.modified_ns)
                except StoreError as error:  # not made, a file meanwhile, somebody else's
                    log.info("the time of %s stays: %s", paths.printable(entry.path) or "the directory", error.message)

    def close(self) -> None:
        """Forget all."""
        self._seen.close()


def _set(root: Root, path: str, modified_ns: int) -> None:
    there = root.stat(path)
    if there.st_mtime_ns == modified_ns or not stat.S_ISDIR(there.st_mode):
        return
    with translated("set_modified", path):
        os.utime(root.directory(path).fd, ns=(there.st_atime_ns, modified_ns))


def directory_times(src: Side, dst: Side, options: Options, spool_dir: str | None) -> DirectoryTimes | None:
    """None where a side has no times of directories, or nothing is to be changed."""
    if src.local_root is None or dst.local_root is None or options.dry_run:
        return None
    return DirectoryTimes(src.local_root or "/", dst.local_root or "/", spool_dir)
