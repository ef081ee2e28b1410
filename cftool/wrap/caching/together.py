"""Group commit: changes that wait for the lock at the same moment share one transaction, and one sync of the disk.

Whoever gets the lock first makes the changes of all who wait, each in its own savepoint, and commits once. No call
returns before that commit: the promise stays, only the waiting is shared. Who is to hear of it at once (`told`) does so
before what is kept in memory follows (`settle`): the lock is held until then, so that nobody sees that it does not yet.
"""

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import zip_longest
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class _Change(Generic[T]):
    __slots__ = ("done", "error", "make", "result", "told")

    def __init__(self, make: Callable[[], T], told: Callable[[], None] | None = None) -> None:
        self.make = make
        self.told = told
        self.done = False
        self.result: T
        self.error: BaseException | None = None


class Transaction(Protocol):
    """What all changes are made in."""

    def __call__(self, *, one: bool) -> AbstractContextManager[Any]:
        """`one`: there is one change only."""
        ...


class Together:
    """See the module. `transaction` is entered once for all; `undone` is called where its end fails.

    `settle` is called after each change: before the next one, and after the commit.
    """

    def __init__(
        self,
        lock: threading.RLock,
        transaction: "Transaction",
        *,
        settle: Callable[[], None],
        undone: Callable[[], None],
    ) -> None:
        self._lock = lock
        self._transaction = transaction
        self._settle = settle
        self._undone = undone
        self._queue: list[_Change[Any]] = []  # appended to by anybody, taken from under the lock

    def run(self, make: Callable[[], T], told: Callable[[], None] | None = None) -> T:
        """The result of `make`, which is called under the lock by this thread or another; its error is raised here.

        `told` is called by the same thread as soon as it is on the disk, if ever; it raises nothing.
        """
        change = _Change(make, told)
        self._queue.append(change)
        with self._lock:
            if not change.done:
                self._make(self._taken())
        if change.error is not None:
            raise change.error
        return change.result

    def run_all(self, makes: Iterable[Callable[[], T]], told: Iterable[Callable[[], None]] = ()) -> list[T | Exception]:
        """The same of several: the result or the error of each."""
        wanted = [_Change(make, hears) for make, hears in zip_longest(makes, told)]
        self._queue += wanted
        with self._lock:
            if not all(change.done for change in wanted):
                self._make(self._taken())
        answers: list[T | Exception] = []
        for change in wanted:
            if change.error is None:
                answers.append(change.result)
            elif isinstance(change.error, Exception):
                answers.append(change.error)
            else:
                raise change.error
        return answers

    def _taken(self) -> list[_Change[Any]]:
        """Under the lock: those that wait. Others are added to the same list meanwhile."""
        changes = self._queue.copy()
        del self._queue[: len(changes)]
        return changes

    def _make(self, changes: list[_Change[Any]]) -> None:
        try:
            with self._transaction(one=len(changes) == 1):
                for change in changes:
                    self._settle()
                    try:
                        change.result = change.make()
                    except Exception as error:
                        change.error = error
        except BaseException as error:
            for change in changes:
                change.error = change.error or error
            self._undone()
        try:
            for change in changes:
                change.done = True
                if change.told is not None and change.error is None:
                    change.told()
        finally:
            self._settle()
