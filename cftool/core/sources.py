"""Sources of bytes that need no disk: content that is in memory already.

`disk.source.LocalSource` is the one for files. Used by `ops`, by `put` of small input, by providers for their own small
objects, and by tests.
"""

import io
from typing import BinaryIO


class BytesSource:
    """A Source over bytes in memory; it can neither change nor come short."""

    local_path: str | None = None

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        if isinstance(data, bytearray | memoryview):
            data = bytes(data)  # a copy, which nobody can change meanwhile
        if not isinstance(data, bytes):
            raise TypeError(f"content is bytes, not {type(data).__name__}")
        self._data = data
        self.size: int | None = len(data)

    def open(self) -> BinaryIO:
        """A new reader at offset 0."""
        return io.BytesIO(self._data)

    def load(self) -> bytes:
        """The bytes themselves."""
        return self._data

    def check(self) -> None:
        """Nothing to check: bytes are immutable."""
