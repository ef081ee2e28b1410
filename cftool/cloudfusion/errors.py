"""The exceptions of the CloudFusion documents, and which of cftool's errors each stands for.

    StoreAccessError               anything that a store or the configuration refused
    ├── NoSuchFilesytemObjectError     NotFound
    ├── AlreadyExistsError             AlreadyExists
    ├── StoreSpaceLimitError           QuotaExceeded, TooLarge
    ├── StoreAutorizationError         PermissionDenied, LoginRequired, ReadOnly
    └── NotSynchronizedError           NotUploaded
    InvalidPathValueError          InvalidName; a ValueError
    InterruptedException           Interrupted, by an interrupt_event

The names are spelt as they always were. `__cause__` is cftool's own error, with operation, path and errno.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from cftool.cached import NotUploaded, Unsent
from cftool.core import errors


class StoreAccessError(Exception):
    """Base of what a store raises. `status` is 0, or what the server said."""

    def __init__(self, msg: str, status: int = 0) -> None:
        super().__init__(f"{msg}\nStatus: {status}" if status else msg)
        self.status = status


class StoreSpaceLimitError(StoreAccessError):
    """The account is full, or the file larger than the service's largest."""

    def __init__(self, msg: str = "", status: int = 0) -> None:
        super().__init__(msg, status)


class NoSuchFilesytemObjectError(StoreAccessError):
    """Nothing is at that path."""

    def __init__(self, path: str, status: int = 0) -> None:
        super().__init__(f"{path} does not exist.", status)


class StoreAutorizationError(StoreAccessError):
    """The login is missing or refused, or the store is read-only."""


class AlreadyExistsError(StoreAccessError):
    """Something is at that path already."""


class NotSynchronizedError(StoreAccessError):
    """`sync` could not bring everything to the remote. `unsent`: path, kind of change and reason of each."""

    def __init__(self, msg: str, unsent: tuple[Unsent, ...] = ()) -> None:
        super().__init__(msg)
        self.unsent = unsent


class InvalidPathValueError(ValueError):
    """A path that no store, or not this one, can have."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is no valid path!!")


class InterruptedException(Exception):
    """The event that was given with an upload was set; nothing of it was stored."""


_STANDS_FOR: tuple[tuple[type[errors.CftoolError], type[StoreAccessError]], ...] = (
    (errors.AlreadyExists, AlreadyExistsError),
    (errors.QuotaExceeded, StoreSpaceLimitError),
    (errors.TooLarge, StoreSpaceLimitError),
    (errors.PermissionDenied, StoreAutorizationError),
    (errors.ReadOnly, StoreAutorizationError),
)


@contextmanager
def told(path: str | None = None) -> Iterator[None]:
    """Around a call of cftool: its errors become those of the documents, about `path` as the caller says it."""
    try:
        yield
    except errors.CftoolError as error:
        raise translated(error, path) from error


def translated(error: errors.CftoolError, path: str | None = None) -> Exception:
    """What `error` is to a caller who said `path`."""
    where = path
    if where is None and isinstance(error, errors.StoreError) and error.path is not None:
        where = "/" + error.path.removeprefix("/")  # a place on this machine is absolute
    text = str(error) if where is None else f"{where}: {error}"
    if isinstance(error, errors.NotFound):
        return NoSuchFilesytemObjectError(where or text)
    if isinstance(error, errors.InvalidName):
        return InvalidPathValueError(text)
    if isinstance(error, errors.Interrupted):
        return InterruptedException(text)
    if isinstance(error, NotUploaded):
        return NotSynchronizedError(str(error), tuple(one._replace(path="/" + one.path) for one in error.unsent))
    for kind, ours in _STANDS_FOR:
        if isinstance(error, kind):
            return ours(text)
    return StoreAccessError(text)
