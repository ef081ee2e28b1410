"""A store that fails on purpose: errors before or after the work was done, cut listings, cut and damaged downloads.

    store = FaultyStore(inner, {"read": [Fault(at=1000)], "write": [None, Fault(answer_lost=True)]})

Each call of a member takes the next fault of its list; None, or the end of the list, lets it pass. Batches run item by
item through the single members, so that the same faults reach them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Self, TypeVar

from cftool.core.errors import ConnectionFailed, NotFound, StoreError
from cftool.core.store import Store
from cftool.core.types import Download, Entry, ReadItem, Result, Source, WriteItem
from cftool.core.wrapper import Wrapper

_T = TypeVar("_T")


def _broken() -> Exception:
    return ConnectionFailed("the connection broke, on purpose")


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong in one call.

    `error` is raised before anything is done; with `answer_lost` after it was done. With `at`, in the middle: of a
    download after that many bytes, of a listing after that many entries. `flip`: no error, but the byte at `at` is
    another one. `quiet`: no error, but the stream or listing ends there as if it were whole.
    """

    error: Callable[[], Exception] = _broken
    answer_lost: bool = False
    at: int | None = None
    flip: bool = False
    quiet: bool = False


class FaultyStore(Wrapper):
    """`inner` with faults; `calls` counts what arrived here, by member."""

    def __init__(self, inner: Store, faults: Mapping[str, Iterable[Fault | None]]) -> None:
        super().__init__(inner)
        self.calls: Counter[str] = Counter()
        self._faults = {op: iter(list(each)) for op, each in faults.items()}
        self._lock = Lock()

    def _next(self, op: str) -> Fault | None:
        with self._lock:
            self.calls[op] += 1
            return next(self._faults.get(op, iter(())), None)

    def _do(self, op: str, call: Callable[[], _T]) -> _T:
        fault = self._next(op)
        if fault is None:
            return call()
        if fault.answer_lost:
            call()
        raise fault.error()

    def stat(self, path: str) -> Entry:
        """With faults."""
        return self._do("stat", lambda: self.inner.stat(path))

    def scan(self, path: str) -> Iterator[Entry]:
        """With faults."""
        return self._listing("scan", self.inner.scan, path)

    def walk(self, path: str) -> Iterator[Entry]:
        """With faults."""
        return self._listing("walk", self.inner.walk, path)

    def _listing(self, op: str, call: Callable[[str], Iterator[Entry]], path: str) -> Iterator[Entry]:
        fault = self._next(op)
        if fault is not None and fault.at is None:
            raise fault.error()
        for number, entry in enumerate(call(path)):
            if fault is not None and number == fault.at:
                if fault.quiet:
                    return
                raise fault.error()
            yield entry

    def read(self, path: str, *, start: int = 0, end: int | None = None, if_version: str | None = None) -> Download:
        """With faults."""
        fault = self._next("read")
        if fault is not None and fault.at is None:
            raise fault.error()
        download = self.inner.read(path, start=start, end=end, if_version=if_version)
        return download if fault is None else _FaultyDownload(download, fault)

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """With faults."""
        return self._do(
            "write",
            lambda: self.inner.write(path, source, modified_ns=modified_ns, if_version=if_version, if_absent=if_absent),
        )

    def delete(self, path: str) -> None:
        """With faults."""
        self._do("delete", lambda: self.inner.delete(path))

    def mkdir(self, path: str) -> Entry:
        """With faults."""
        return self._do("mkdir", lambda: self.inner.mkdir(path))

    def rmdir(self, path: str) -> None:
        """With faults."""
        self._do("rmdir", lambda: self.inner.rmdir(path))

    def copy(self, src: str, dst: str) -> Entry:
        """With faults."""
        return self._do("copy", lambda: self.inner.copy(src, dst))

    def move(self, src: str, dst: str) -> Entry:
        """With faults."""
        return self._do("move", lambda: self.inner.move(src, dst))

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """With faults."""
        return self._do("set_modified", lambda: self.inner.set_modified(path, modified_ns))

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Item by item through `write`."""
        for item in items:
            yield _result(item.path, item.tag, lambda i=item: self._write(i))  # type: ignore[misc]

    def _write(self, item: WriteItem) -> Entry:
        return self.write(
            item.path,
            item.source,
            modified_ns=item.modified_ns,
            if_version=item.if_version,
            if_absent=item.if_absent,
        )

    def read_many(self, items: Iterable[ReadItem]) -> Iterator[Result]:
        """Item by item through `read`."""
        for item in items:
            yield _result(item.entry.path, item.tag, lambda i=item: self._read(i))  # type: ignore[misc]

    def _read(self, item: ReadItem) -> Entry:
        with self.read(item.entry.path, if_version=item.entry.version) as download:
            item.target.save(download.read(), download.entry)
            return download.entry

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Item by item through `delete` and `rmdir`."""
        for entry in entries:
            yield _result(entry.path, None, lambda e=entry: self._remove(e))  # type: ignore[misc]

    def _remove(self, entry: Entry) -> Entry:
        try:
            if entry.is_dir:
                self.rmdir(entry.path)
            else:
                self.delete(entry.path)
        except NotFound:
            pass
        return entry


def _result(path: str, tag: object, action: Callable[[], Entry]) -> Result:
    try:
        return Result(path, entry=action(), tag=tag)
    except StoreError as error:
        return Result(path, error=error, tag=tag)


class _FaultyDownload:
    """Counts bytes as they pass, and does what the fault says at its place."""

    def __init__(self, inner: Download, fault: Fault) -> None:
        self.entry = inner.entry
        self._inner = inner
        self._fault = fault
        self._stream = self._chunks()
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        if self._rest:
            rest, self._rest = self._rest, b""
            yield rest
        yield from self._stream

    def read(self, size: int = -1) -> bytes:
        """As of any download."""
        data = bytearray(self._rest)
        while (size < 0 or len(data) < size) and (chunk := next(self._stream, b"")):
            data += chunk
        cut = len(data) if size < 0 else size
        self._rest = bytes(data[cut:])
        return bytes(data[:cut])

    def close(self) -> None:
        """Close the inner one."""
        self._inner.close()

    def _chunks(self) -> Iterator[bytes]:
        at = self._fault.at or 0
        passed = 0
        for chunk in self._inner:
            here = at - passed
            passed += len(chunk)
            if not 0 <= here < len(chunk):
                yield chunk
                continue
            if self._fault.flip:
                yield chunk[:here] + bytes([chunk[here] ^ 1]) + chunk[here + 1 :]
                continue
            if here:
                yield chunk[:here]
            if self._fault.quiet:
                return
            raise self._fault.error()
        if passed == at and not self._fault.flip and not self._fault.quiet:
            raise self._fault.error()  # after the last byte, before the end was proven
