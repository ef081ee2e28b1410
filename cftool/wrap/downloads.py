"""A Download around another: shows its own entry, and lets a wrapper put the context into errors on their way out."""

from collections.abc import Callable, Iterator
from typing import Self

from cftool.core.errors import StoreError
from cftool.core.types import Download, Entry


class WrappedDownload:
    """Forwards to `inner`; every StoreError passes through `adjust`, which changes it in place."""

    def __init__(self, inner: Download, entry: Entry, adjust: Callable[[StoreError], None]) -> None:
        self.entry = entry
        self._inner = inner
        self._adjust = adjust

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._inner.close()

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._inner
        except StoreError as error:
            self._adjust(error)
            raise

    def read(self, size: int = -1) -> bytes:
        """Forwarded."""
        try:
            return self._inner.read(size)
        except StoreError as error:
            self._adjust(error)
            raise

    def close(self) -> None:
        """Forwarded."""
        self._inner.close()
