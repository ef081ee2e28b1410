"""What the cases share: writing and reading whole files, choosing by capability, sources that misbehave."""

import io
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import BinaryIO, ClassVar

import pytest

from cftool.core import paths
from cftool.core.errors import NotFound, SourceChanged
from cftool.core.sources import BytesSource
from cftool.core.store import Store
from cftool.core.types import Cap, Entry, Kind


class Base:
    """Knobs of the suite, and its helpers. Subclasses of `StoreContract` set the knobs."""

    many: ClassVar[int] = 1_100
    """Entries of the large directory: more than one page of the service's listing."""
    sizes: ClassVar[tuple[int, ...]] = (0, 1, 2, 4095, 4096, 4097, 65_535, 65_536, 65_537, 1_048_577)
    """Sizes in bytes that are written and read back; add the service's own borders (parts, chunks)."""
    big: ClassVar[int] = 3_000_017
    """Bytes of a file that does not fit into one chunk of a response."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """An empty store to work on, closed and cleaned by the fixture. Every subclass has its own."""
        raise NotImplementedError

    @staticmethod
    def put(store: Store, path: str, data: bytes = b"content", modified_ns: int | None = None) -> Entry:
        """Write a file."""
        return store.write(path, BytesSource(data), modified_ns=modified_ns)

    @staticmethod
    def get(store: Store, path: str) -> bytes:
        """Read a file."""
        with store.read(path) as download:
            return b"".join(download)

    @staticmethod
    def missing(store: Store, path: str) -> bool:
        """Whether nothing is at `path`."""
        try:
            store.stat(path)
        except NotFound:
            return True
        return False

    @staticmethod
    def listing(store: Store, path: str = "") -> dict[str, Entry]:
        """One directory, by path; a path listed twice fails. The root of an empty store may be missing."""
        return _by_path(store.scan(path), optional=path == "" and Cap.IMPLICIT_DIRS in store.features.caps)

    @classmethod
    def tree(cls, store: Store, path: str = "") -> dict[str, Kind]:
        """Everything below `path`, by recursion over `scan`."""
        found: dict[str, Kind] = {}
        for entry in cls.listing(store, path).values():
            found[entry.path] = entry.kind
            if entry.is_dir:
                found |= cls.tree(store, entry.path)
        return found

    @staticmethod
    def content(size: int, seed: int = 1) -> bytes:
        """Bytes that no store can mistake: the same for the same arguments, different at every offset."""
        return random.Random(seed).randbytes(size)  # noqa: S311 - test data, not a secret

    @staticmethod
    def need(store: Store, caps: Cap) -> None:
        """Skip the case where the stack lacks one of `caps`; what it must do then is `test_absent_…`."""
        lacking = caps & ~store.features.caps
        if lacking:
            pytest.skip(f"{store.name} has no {lacking.name}")

    @staticmethod
    def has(store: Store, caps: Cap) -> bool:
        """Whether the stack has all of `caps`."""
        return caps in store.features.caps

    @staticmethod
    def agree(listed: Entry, stat: Entry) -> None:
        """Assert that an entry equals `stat` in every field that it knows."""
        for field in ("path", "kind", "size", "modified_ns", "stored_ns", "version", "id"):
            known = getattr(listed, field)
            assert known is None or known == getattr(stat, field), f"{field} of {listed.path!r}"
        assert dict(listed.hashes) == {name: stat.hashes.get(name) for name in listed.hashes}, listed.path


def _by_path(entries: Iterator[Entry], *, optional: bool = False) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    try:
        for entry in entries:
            assert entry.path not in found, f"{entry.path!r} is listed twice"
            found[entry.path] = entry
    except NotFound:
        if not optional:
            raise
    return found


def strictly_rising(entries: list[Entry]) -> bool:
    """Whether entries are in the order of the merge, none twice."""
    keys = [paths.entry_key(entry) for entry in entries]
    return all(a < b for a, b in pairwise(keys))


class OddSource(BytesSource):
    """A source that is not what it says: another size, an error after some bytes, or changed at the end."""

    def __init__(
        self,
        data: bytes,
        *,
        size: int | None,
        fail_at: int | None = None,
        error: Callable[[], Exception] = lambda: SourceChanged("the source changed"),
        changed: bool = False,
    ) -> None:
        super().__init__(data)
        self.size = size
        self._fail_at = fail_at
        self._error = error
        self._changed = changed

    def open(self) -> BinaryIO:
        """A reader that fails where it was told to."""
        data = self.load_all()
        return io.BytesIO(data) if self._fail_at is None else _FailingReader(data, self._fail_at, self._error)

    def load(self) -> bytes:
        """The content, or the error; proven unchanged, as the protocol asks."""
        if self._fail_at is not None:
            raise self._error()
        self.check()
        data = self.load_all()
        if self.size is not None and len(data) != self.size:
            raise SourceChanged(f"the source has {len(data)} bytes, not {self.size}")
        return data

    def load_all(self) -> bytes:
        """The bytes, whatever is wrong with them."""
        return super().load()

    def check(self) -> None:
        """Raise where it was made as a changed one."""
        if self._changed:
            raise SourceChanged("the source changed")


class _FailingReader(io.BytesIO):
    def __init__(self, data: bytes, fail_at: int, error: Callable[[], Exception]) -> None:
        super().__init__(data)
        self._fail_at = fail_at
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        left = self._fail_at - self.tell()
        if left <= 0 or size is None or size < 0:  # whoever asks for all of it meets the error as well
            raise self._error()
        return super().read(min(size, left))

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # any writable buffer, as BytesIO takes it
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
