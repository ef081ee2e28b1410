"""Cases about several threads at one store: each call is whole, whoever else is at it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cftool.core.errors import NotFound, StoreError
from cftool.core.sources import BytesSource
from cftool.core.store import Store
from cftool.core.types import Cap
from cftool.testing.cases.base import Base

_THREADS = 8


def _together(actions: list[Callable[[], object]]) -> list[object]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return [future.result() for future in [pool.submit(action) for action in actions]]


class ParallelCases(Base):
    """See the module."""

    def test_threads_write_and_read_different_files(self, store: Store) -> None:
        contents = {f"dir{n % 4}/file{n}": self.content(5_000 + n, seed=n) for n in range(40)}

        def round_trip(path: str) -> bool:
            self.put(store, path, contents[path])
            return self.get(store, path) == contents[path]

        assert all(_together([lambda p=path: round_trip(p) for path in contents]))  # type: ignore[misc]
        assert {p for p, kind in self.tree(store).items() if kind.value == "file"} == contents.keys()

    def test_threads_write_one_file_and_one_of_them_wins_whole(self, store: Store) -> None:
        contents = [self.content(100_000 + n, seed=n) for n in range(_THREADS)]
        _together([lambda d=data: self.put(store, "dir/file", d) for data in contents])  # type: ignore[misc]
        assert self.get(store, "dir/file") in contents
        assert self.tree(store).keys() == {"dir", "dir/file"}

    def test_readers_see_one_version_while_writers_replace(self, store: Store) -> None:
        contents = [self.content(60_000, seed=n) for n in range(4)]
        self.put(store, "file", contents[0])

        def read() -> bool:
            try:
                return self.get(store, "file") in contents
            except StoreError:  # refusing a file that changes under the reader is allowed; a mixture is not
                return True

        writers = [lambda d=data: self.put(store, "file", d) is not None for data in contents]
        assert all(_together([*writers, *[read] * 12, *writers, *[read] * 12]))

    def test_threads_that_create_if_absent_agree_on_one(self, store: Store) -> None:
        self.need(store, Cap.IF_ABSENT)
        contents = [f"thread {n}".encode() for n in range(_THREADS)]

        def create(data: bytes) -> bytes | None:
            try:
                store.write("file", BytesSource(data), if_absent=True)
            except StoreError:
                return None
            return data

        winners = [w for w in _together([lambda d=d: create(d) for d in contents]) if w]  # type: ignore[misc]
        assert len(winners) == 1
        assert self.get(store, "file") == winners[0]

    def test_threads_make_and_remove_the_same_directories(self, store: Store) -> None:
        def work(number: int) -> None:
            store.mkdir("shared/dir")
            self.put(store, f"shared/dir/file{number}")

        _together([lambda n=n: work(n) for n in range(_THREADS)])  # type: ignore[misc]
        assert len(self.listing(store, "shared/dir")) == _THREADS

    def test_threads_delete_one_file_and_nobody_fails_otherwise(self, store: Store) -> None:
        self.put(store, "file")
        self.put(store, "kept", b"kept")

        def delete() -> None:
            try:
                store.delete("file")
            except NotFound:
                return

        _together([delete] * _THREADS)
        assert self.listing(store).keys() == {"kept"}
