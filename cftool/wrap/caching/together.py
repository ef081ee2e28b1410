"""Group commit: changes that wait for the lock at the same moment share one transaction, and one sync of the disk.

Whoever gets the lock first makes the changes of all who wait, each in its own savepoint, and commits once. No call
returns before that commit: the promise stays, only the waiting is shared.
"""

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class _Change(Generic[T]):
    def __init__(self, make: Callable[[], T]) -> None:
        self.make = make
        self.result: list[T] = []
        self.error: BaseException | None = None

    @property
    def done(self) -> bool:
        return bool(self.result) or self.error is not None


class Transaction(Protocol):
    """What all changes are made in."""

    def __call__(self, *, one: bool) -> AbstractContextManager[Any]:
        """`one`: there is one change only."""
        ...


class Together:
    """See the module. `transaction` is entered once for all; `undone` is called where its end fails."""

    def __init__(
        self,
        lock: threading.RLock,
        transaction: "Transaction",
        *,
        undone: Callable[[], None],
    ) -> None:
        self._lock = lock
        self._transaction = transaction
        self._undone = undone
        self._queue: list[_Change[Any]] = []
        self._queue_lock = threading.Lock()

    def run(self, make: Callable[[], T]) -> T:
        """The result of `make`, which is called under the lock by this thread or another; its error is raised here."""
        [change] = self._done([make])
        if change.error is not None:
            raise change.error
        return change.result[0]

    def run_all(self, makes: Iterable[Callable[[], T]]) -> list[T | Exception]:
        """The same of several: the result or the error of each."""
        answers: list[T | Exception] = []
        for change in self._done(makes):
            if change.error is None:
                answers.append(change.result[0])
            elif isinstance(change.error, Exception):
                answers.append(change.error)
            else:
                raise change.error
        return answers

    def _done(self, makes: Iterable[Callable[[], T]]) -> list[_Change[T]]:
        wanted = [_Change(make) for make in makes]
        with self._queue_lock:
            self._queue += wanted
        with self._lock:
            if not all(change.done for change in wanted):
                with self._queue_lock:
                    changes, self._queue = self._queue, []
                self._make(changes)
        return wanted

    def _make(self, changes: list[_Change[Any]]) -> None:
        try:
            with self._transaction(one=len(changes) == 1):
                for change in changes:
                    try:
                        change.result.append(change.make())
                    except Exception as error:
                        change.error = error
        except BaseException as error:
            for change in changes:
                change.error = change.error or error
            self._undone()
