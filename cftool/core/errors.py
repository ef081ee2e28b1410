"""Every error that cftool raises on purpose, as one tree.

    CftoolError
    ├── ConfigError                what the user wrote is not usable (exit 2)
    ├── Locked                     another run holds the lock (exit 9)
    ├── Refused                    refused for safety, nothing was deleted (exit 7)
    └── StoreError                 one operation on one store failed
        ├── NotFound               ENOENT     ├── AlreadyExists      EEXIST
        ├── NotADirectory          ENOTDIR    ├── IsADirectory       EISDIR
        ├── DirectoryNotEmpty      ENOTEMPTY  ├── InvalidName        EINVAL
        ├── PermissionDenied       EACCES     │   └── Unnamed        EINVAL
        │   └── LoginRequired      EACCES     │
        ├── ReadOnly               EROFS      ├── Unsupported        ENOTSUP
        ├── QuotaExceeded          ENOSPC     ├── TooLarge           EFBIG
        ├── PreconditionFailed     ESTALE     ├── SourceChanged      EBUSY
        ├── TLSFailed              EIO        ├── Interrupted        EINTR
        ├── IntegrityError         EIO        ├── ProtocolError      EIO
        │                                     │   └── ListingError   EIO
        └── TemporaryError         EAGAIN (the only retryable ones)
            ├── RateLimited        └── ConnectionFailed

An error is raised once, where it happened, and is never wrapped by another layer: the layers above add
context (`op`, `path`, `store`) where it is missing, with `StoreError.at`.
"""

import errno as _errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Self

_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # where a word of a class's name begins


def kind_of(error: BaseException) -> str:
    """The name of an error's class in `--json` events and metrics: `config_error`, `tls_failed`."""
    return _WORD.sub("_", type(error).__name__).lower()


class CftoolError(Exception):
    """Base of all; its text is one line for the user: what, where, what to do."""


class ConfigError(CftoolError):
    """The command line or the configuration is not usable."""


class Locked(CftoolError):
    """Another run holds the lock."""


class Refused(CftoolError):
    """A safety rule forbids the whole operation; nothing was changed."""


class StoreError(CftoolError):
    """An operation on a store failed.

    `op` is the method's name, `path` the canonical path as the raising layer knows it, `store` the remote's name,
    `retry_after` seconds that the service asked us to wait, `errno` what a file system would answer.
    """

    errno: ClassVar[int] = _errno.EIO
    retryable: ClassVar[bool] = False
    place: str | None = None  # the address as it was typed, where a run knows it and the error concerns that very place
    of_bucket: bool = False  # it concerns the bucket, and so all that is written there alike

    def __init__(
        self,
        message: str,
        *,
        op: str | None = None,
        path: str | None = None,
        store: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.op = op
        self.path = path
        self.store = store
        self.retry_after = retry_after

    def at(self, *, op: str | None = None, path: str | None = None, store: str | None = None) -> Self:
        """Fill in what is not known yet, and return self, for `raise error.at(...)`."""
        self.op = self.op or op
        self.path = self.path if self.path is not None else path
        self.store = self.store or store
        return self

    def at_place(self, address: str) -> Self:
        """Say at which address this was, as it was typed; return self."""
        self.place = address
        return self

    @property
    def kind(self) -> str:
        """The name used in `--json` events: `not_found`, `temporary_error`, …"""
        return kind_of(self)

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the keyword arguments over pickling (worker processes)."""
        return (_rebuild, (type(self), self.message, self.op, self.path, self.store, self.retry_after))


def _rebuild(
    cls: type[StoreError], message: str, op: str | None, path: str | None, store: str | None, retry_after: float | None
) -> StoreError:
    return cls(message, op=op, path=path, store=store, retry_after=retry_after)


class NotFound(StoreError):
    """Nothing is there, confirmed by the service; never used where an answer is merely missing."""

    errno = _errno.ENOENT


class AlreadyExists(StoreError):
    """Something is there already and the call said `if_absent`."""

    errno = _errno.EEXIST


class NotADirectory(StoreError):
    """A file stands where a directory is needed."""

    errno = _errno.ENOTDIR


class IsADirectory(StoreError):
    """A directory stands where a file is needed."""

    errno = _errno.EISDIR


class DirectoryNotEmpty(StoreError):
    """`rmdir` of a directory that has entries."""

    errno = _errno.ENOTEMPTY


class InvalidName(StoreError):
    """The store cannot hold this name, or must not (`..`, NUL); the message says why."""

    errno = _errno.EINVAL


class Unnamed(InvalidName):
    """A listing met an entry that a view cannot show; it is raised at the end, when all others have been given."""


class PermissionDenied(StoreError):
    """The credentials are good, but not for this."""

    errno = _errno.EACCES


class LoginRequired(PermissionDenied):
    """Credentials are missing, wrong, expired or revoked."""


class ReadOnly(StoreError):
    """The stack was opened read-only."""

    errno = _errno.EROFS


class Unsupported(StoreError):
    """This stack cannot do that; raised before any request."""

    errno = _errno.ENOTSUP


class QuotaExceeded(StoreError):
    """The account or the disk is full."""

    errno = _errno.ENOSPC


class TooLarge(StoreError):
    """Larger than the service's largest object."""

    errno = _errno.EFBIG


class PreconditionFailed(StoreError):
    """The entry is not the version that the call was conditional on."""

    errno = _errno.ESTALE


class SourceChanged(StoreError):
    """The source changed while it was read; nothing was published."""

    errno = _errno.EBUSY


class IntegrityError(StoreError):
    """Bytes arrived, or were stored, that are not those that were sent: length or hash differs."""


class ProtocolError(StoreError):
    """The server answered, but not as its protocol demands; nothing of it is believed."""


class ListingError(ProtocolError):
    """A listing that did not prove itself complete; it must never count as an empty or a shorter one."""


class TemporaryError(StoreError):
    """Trying later may help: server errors, time-outs. Raised only after `http` used up its retry budget."""

    errno = _errno.EAGAIN
    retryable = True


class RateLimited(TemporaryError):
    """The service asked us to slow down (429, 503 SlowDown, …)."""


class ConnectionFailed(TemporaryError):
    """No connection, or it broke: DNS, refused, reset, TLS, time-out.

    `sent`: the request may have reached the server; False only where that is certain.
    """

    sent: bool = True


class Interrupted(StoreError):
    """The run is to end (Ctrl-C): what was under way was given up, nothing of it was published.

    Not a failure of the entry; what a later run can take up (upload sessions, partial downloads) is kept.
    """

    errno = _errno.EINTR


class TLSFailed(StoreError):
    """The server's certificate was not accepted; trying again cannot help. The message names the CA bundle used."""


@contextmanager
def told_at(address: str) -> Iterator[None]:
    """What fails in the block is told with the address as it was typed."""
    try:
        yield
    except StoreError as error:
        raise error.at_place(address) from None


def of_no_bucket(error: StoreError) -> StoreError:
    """`error`, which is why a bucket could not be made."""
    error.of_bucket, error.path = True, None  # whoever wrote knows where
    if isinstance(error, PermissionDenied):
        error.message = f"the bucket is not there and cannot be made: {error.message}"
    return error
