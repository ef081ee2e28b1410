"""Batches of a visitor: the store's own, of what is not pending. What is in their way is uploaded as one batch."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Protocol

from cftool.core.errors import StoreError
from cftool.core.store import Store
from cftool.core.types import Entry, Result, WriteItem


class Visitor(Protocol):
    """What a batch needs of its store."""

    inner: Store

    def touched(self, path: str) -> bool:
        """Whether something is pending at, above or below it."""
        ...

    def condition(self, path: str, if_version: str | None, make_way: Callable[[str], object]) -> str | None:
        """A condition as the store below understands it."""
        ...

    def settle(self, path: str) -> bool:
        """Bring it to the remote; whether the owner did."""
        ...

    def forget(self, places: list[str]) -> None:
        """Tell the owner what was changed."""
        ...


class Batch:
    """One call. Items are pulled as the store below pulls them, and settled before it sees them."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self._all_asked = False
        self._changed: list[str] = []  # of which the owner hears
        self._wrong: list[Result] = []

    def write(self, items: Iterable[WriteItem]) -> Iterator[Result]:
        """As `write_many`."""

        def ready() -> Iterator[WriteItem]:
            for item in items:
                try:
                    condition = self._visitor.condition(item.path, item.if_version, self._make_way)
                    self._make_way(item.path)
                except StoreError as error:
                    self._wrong.append(Result(item.path, error=error, tag=item.tag))
                else:
                    yield item if condition == item.if_version else replace(item, if_version=condition)

        yield from self._results(self._visitor.inner.write_many(ready()))

    def delete(self, entries: Iterable[Entry]) -> Iterator[Result]:
        """As `delete_many`."""

        def ready() -> Iterator[Entry]:
            for entry in entries:
                try:
                    self._make_way(entry.path)
                except StoreError as error:
                    self._wrong.append(Result(entry.path, error=error))
                else:
                    yield entry

        yield from self._results(self._visitor.inner.delete_many(ready()))

    def _make_way(self, path: str) -> None:
        """Nothing is pending there any more. Raises what stands in the way."""
        visitor = self._visitor
        if not visitor.touched(path):
            return
        if not self._all_asked:  # whatever else is in the way of this batch goes together with it
            self._all_asked = True
            with contextlib.suppress(StoreError):
                visitor.settle("")
        visitor.settle(path)
        self._changed.append(path)

    def _results(self, answers: Iterator[Result]) -> Iterator[Result]:
        try:
            for answer in answers:
                yield answer
                yield from self._refused()
            yield from self._refused()
        finally:
            if self._changed:
                self._visitor.forget(self._changed)

    def _refused(self) -> Iterator[Result]:
        wrong, self._wrong = self._wrong, []
        yield from wrong
