"""A bounded number of calls at once, in threads.

`bounded` pulls items from an iterator and gives results back as they end, never further ahead of its consumer than
there are threads, so that nothing piles up and a cancelled run ends soon. `in_order` gives them back in the order of
the items, and what has ended waits for what has not, up to a number. `Workers` runs calls that report by themselves;
it is an executor without futures, because a future costs more than the comparison it would wait for.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from cftool.core.dataclass import dataclass

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Done(Generic[Item, Value]):
    """One call that has ended: `value`, or `error`."""

    item: Item
    value: Value | None = None
    error: Exception | None = None


def bounded(function: Callable[[Item], Value], items: Iterable[Item], *, threads: int) -> Iterator[Done[Item, Value]]:
    """`function` of each item, at most `threads` at once; in the order in which they end."""
    finished: queue.SimpleQueue[Done[Item, Value]] = queue.SimpleQueue()

    def one(item: Item) -> None:
        try:
            finished.put(Done(item, function(item)))
        except Exception as error:
            finished.put(Done(item, error=error))

    waiting = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="transfer")
    try:
        for item in items:
            pool.submit(one, item)
            waiting += 1
            while waiting and (waiting >= threads or not finished.empty()):
                yield finished.get()
                waiting -= 1
        while waiting:
            yield finished.get()
            waiting -= 1
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_order(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    threads: int,
    ahead: int,
    settled: Callable[[Item], bool],
) -> Iterator[Done[Item, Value]]:
    """`function` of each item that is not `settled` already, at most `threads` at once; in the order of the items.

    At most `ahead` of them wait for one before them.
    """
    waiting: deque[tuple[Item, Future[Value] | None]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="transfer")
    try:
        for item in items:
            waiting.append((item, None if settled(item) else pool.submit(function, item)))
            while waiting and (len(waiting) >= ahead or waiting[0][1] is None or waiting[0][1].done()):
                yield _ended(*waiting.popleft())
        while waiting:
            yield _ended(*waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ended(item: Item, future: "Future[Value] | None") -> Done[Item, Value]:
    if future is None:
        return Done(item)
    try:
        return Done(item, future.result())
    except Exception as error:
        return Done(item, error=error)


class Workers:
    """Threads that are started as they are needed. What is submitted must catch its own exceptions."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._calls: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call it in one of the threads, some time."""
        self._calls.put((function, arguments))
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._work, name=f"worker {len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if not self._closed:
                call[0](*call[1])

    def close(self) -> None:
        """Wait for the calls that have begun; those that have not are dropped."""
        self._closed = True
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()
