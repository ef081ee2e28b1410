"""ReadOnly: the last wrapper before the provider. Nothing above it, a background upload included, changes the store."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NoReturn

from cftool.core.errors import ReadOnly
from cftool.core.store import Store
from cftool.core.types import Cap, Entry, Features, Leftover, Result, Source, WriteItem
from cftool.core.wrapper import Wrapper

_CHANGING = (
    Cap.COPY
    | Cap.MOVE
    | Cap.MOVE_DIR
    | Cap.SET_MODIFIED
    | Cap.IF_VERSION
    | Cap.IF_ABSENT
    | Cap.WRITE_MANY
    | Cap.COPY_MANY
    | Cap.DELETE_MANY
    | Cap.DELETE_DIR
)


class ReadOnlyStore(Wrapper):
    """Every member that changes something raises ReadOnly, and no capability promises one."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._seen = inner.features
        self._features = replace(self._seen, caps=self._seen.caps & ~_CHANGING)

    @property
    def features(self) -> Features:
        """The inner store's, less what changes it."""
        seen = self.inner.features
        if seen is not self._seen:
            self._seen, self._features = seen, replace(seen, caps=seen.caps & ~_CHANGING)
        return self._features

    def write(
        self,
        path: str,
        source: Source,
        *,
        modified_ns: int | None = None,
        if_version: str | None = None,
        if_absent: bool = False,
    ) -> Entry:
        """Refused."""
        del source, modified_ns, if_version, if_absent
        self._refuse("write", path)

    def delete(self, path: str) -> None:
        """Refused."""
        self._refuse("delete", path)

    def mkdir(self, path: str) -> Entry:
        """Refused."""
        self._refuse("mkdir", path)

    def rmdir(self, path: str) -> None:
        """Refused."""
        self._refuse("rmdir", path)

    def copy(self, src: str, dst: str) -> Entry:
        """Refused."""
        del src
        self._refuse("copy", dst)

    def move(self, src: str, dst: str) -> Entry:
        """Refused."""
        del dst
        self._refuse("move", src)

    def set_modified(self, path: str, modified_ns: int) -> Entry:
        """Refused."""
        del modified_ns
        self._refuse("set_modified", path)

    def write_many(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """Refused."""
        del items
        self._refuse("write_many", None)

    def delete_dir(self, path: str) -> NoReturn:
        """Refused."""
        self._refuse("delete_dir", path)

    def delete_many(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """Refused."""
        del entries
        self._refuse("delete_many", None)

    def remove_leftover(self, leftover: Leftover) -> None:
        """Refused; listing them is allowed."""
        self._refuse("remove_leftover", leftover.path)

    def probe(self, path: str) -> Cap:
        """Nothing: finding out would write."""
        del path
        return Cap.NONE

    def _refuse(self, op: str, path: str | None) -> NoReturn:
        raise ReadOnly(f"{self.name} is opened read-only", op=op, path=path, store=self.name)
