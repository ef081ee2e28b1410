"""Symbolic links as what they are: read without being followed, made and replaced in one step.

For `transfer.links` alone. The directory of a link is reached as every other, through no link at all; what the new link
leads to is written down and never looked at. A replacement has a temp's name for an instant; where the process dies in
it, `temps` removes the leftover an hour later.
"""

import os
from typing import TYPE_CHECKING

from cftool.core.errors import IsADirectory
from cftool.disk import temps
from cftool.disk.errors import translated
from cftool.disk.writer import refuse_special

if TYPE_CHECKING:
    from cftool.disk.root import Root


def read(root: "Root", path: str) -> bytes:
    """What the link leads to. InvalidName where it is none."""
    directory, name = root.parent(path)
    with translated("read", path):
        return os.readlink(os.fsencode(name), dir_fd=directory.fd)


def place(root: "Root", path: str, target: bytes, modified_ns: int | None) -> None:
    """Make the link `path`, in place of a file or a link. Raises IsADirectory. Durable with the root's next sync."""
    root.check_name(path)
    directory, name = root.parent(path, create=True)
    with translated("write", path):
        try:
            os.symlink(target, os.fsencode(name), dir_fd=directory.fd)
            _set_time(name, directory.fd, modified_ns)
        except FileExistsError:
            _replace(root, name, directory.fd, target, modified_ns)
    root.published(path)


def _replace(root: "Root", name: str, directory_fd: int, target: bytes, modified_ns: int | None) -> None:
    refuse_special(directory_fd, name)
    temp = temps.link(directory_fd, root.run_id, target)
    try:
        _set_time(temp, directory_fd, modified_ns)
        os.rename(temp, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    except IsADirectoryError:
        os.unlink(temp, dir_fd=directory_fd)
        raise IsADirectory("is a directory") from None
    except BaseException:
        os.unlink(temp, dir_fd=directory_fd)
        raise


def _set_time(name: str, directory_fd: int, modified_ns: int | None) -> None:
    if modified_ns is not None:
        os.utime(name, ns=(modified_ns, modified_ns), dir_fd=directory_fd, follow_symlinks=False)
