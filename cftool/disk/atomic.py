"""Small files replaced whole: configuration, tokens. Old bytes or new bytes, on the disk when it returns.

Not for data of the user, which `writer` writes below a Root. A symbolic link is followed: people keep their
configuration in a repository, and expect the file there to change.
"""

import contextlib
import os

from cftool.disk import durability, temps
from cftool.disk.errors import store_error
from cftool.disk.writer import refuse_special


def write_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace the file at `path`, with exactly the permission bits `mode`. Raises StoreError."""
    real = os.path.realpath(path)
    try:
        directory = os.open(os.path.dirname(real), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _replace(directory, os.path.basename(real), data, mode)
        finally:
            os.close(directory)
    except OSError as error:
        raise store_error(error, op="write", path=path) from error


def _replace(directory: int, name: str, data: bytes, mode: int) -> None:
    refuse_special(directory, name)
    temp, fd = temps.create(directory, os.urandom(6).hex(), 0o600)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.fchmod(fd, mode)
            os.fsync(fd)
            os.rename(temp, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temp, dir_fd=directory)
            raise
        durability.sync_directory(directory)
    finally:
        os.close(fd)
