"""Executors around an executor: something is done in threads before a file is copied, or after it was.

`Before` lets `prepare` see each action first: what it raises is that action's outcome, and the file is not copied.
`After` lets `inspect` judge each outcome. Both keep the contract of `execute.Executor`; `run` and `single` put them
together.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from cftool.transfer.actions import Action
from cftool.transfer.execute import Executor, Outcome
from cftool.transfer.threads import bounded


class Before:
    """`prepare` is called for each action, at most `threads` at once, before `inner` hears of it."""

    def __init__(self, inner: Executor, prepare: Callable[[Action], None], *, threads: int) -> None:
        self.reads = inner.reads
        self._inner = inner
        self._prepare = prepare
        self._threads = threads
        self._refused: deque[Outcome] = deque()

    def run(self, actions: Iterable[Action]) -> Iterator[Outcome]:
        """As Executor says."""
        for outcome in self._inner.run(self._prepared(actions)):
            yield outcome
            yield from self._told()
        yield from self._told()

    def _prepared(self, actions: Iterable[Action]) -> Iterator[Action]:
        for done in bounded(self._prepare, actions, threads=self._threads):
            if done.error is None:
                yield done.item
            else:
                self._refused.append(Outcome(done.item, error=done.error))

    def _told(self) -> Iterator[Outcome]:
        while self._refused:
            yield self._refused.popleft()

    def close(self) -> None:
        """Close the inner one."""
        self._inner.close()


class After:
    """`inspect` gives the outcome that counts, for each outcome of `inner`, at most `threads` at once."""

    def __init__(self, inner: Executor, inspect: Callable[[Outcome], Outcome], *, threads: int) -> None:
        self.reads = inner.reads
        self._inner = inner
        self._inspect = inspect
        self._threads = threads

    def run(self, actions: Iterable[Action]) -> Iterator[Outcome]:
        """As Executor says."""
        for done in bounded(self._inspect, self._inner.run(actions), threads=self._threads):
            yield Outcome(done.item.action, error=done.error) if done.value is None else done.value

    def close(self) -> None:
        """Close the inner one."""
        self._inner.close()
