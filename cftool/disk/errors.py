"""What an OSError of the local file system means in our error tree; the one place that knows.

Used at the border of every public function of `disk` and of the local provider: above it no OSError is seen.
"""

import errno
from types import TracebackType

from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    ReadOnly,
    StoreError,
    TemporaryError,
    TooLarge,
    Unsupported,
)

_CLASSES: dict[int, type[StoreError]] = {
    errno.ENOENT: NotFound,
    errno.EACCES: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.EEXIST: AlreadyExists,
    errno.ENOTDIR: NotADirectory,
    errno.EISDIR: IsADirectory,
    errno.ENOTEMPTY: DirectoryNotEmpty,
    errno.ENOSPC: QuotaExceeded,
    errno.EDQUOT: QuotaExceeded,
    errno.EROFS: ReadOnly,
    errno.EFBIG: TooLarge,
    errno.ELOOP: InvalidName,
    errno.ENAMETOOLONG: InvalidName,
    errno.EILSEQ: InvalidName,
    errno.EINVAL: InvalidName,  # how FAT and others refuse a name
    errno.EXDEV: Unsupported,
    errno.ENOTSUP: Unsupported,
    errno.ENOSYS: Unsupported,
    # Network file systems that are away for the moment. EAGAIN, EBUSY, EIO and the rest stay plain errors.
    errno.ETIMEDOUT: TemporaryError,
    errno.ESTALE: TemporaryError,
}


def store_error(error: OSError, *, op: str | None = None, path: str | None = None) -> StoreError:
    """The StoreError for `error`; its text is the system's own, in lower case, as it continues `path: …`."""
    text = error.strerror or str(error) or "input/output error"
    kind = _CLASSES.get(error.errno or 0, StoreError)
    return kind(text[:1].lower() + text[1:], op=op, path=path)


class translated:  # noqa: N801 - reads as a verb: `with translated("stat", path):`
    """Turns an OSError of its block into the StoreError; a class, because a generator costs four times as much."""

    __slots__ = ("_op", "_path")

    def __init__(self, op: str, path: str) -> None:
        self._op = op
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, OSError):
            raise store_error(error, op=self._op, path=self._path) from error
        if isinstance(error, StoreError):
            error.at(op=self._op, path=self._path)
