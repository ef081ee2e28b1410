"""A bounded number of calls at once, in threads; results as they end.

The items are pulled in the caller's thread, never further ahead than there are threads. Used by the batches.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def bounded(call: Callable[[Item], Value], items: Iterable[Item], threads: int) -> Iterator[Value]:
    """`call` of each item, at most `threads` at once, in the order in which they end. `call` must not raise."""
    running: set[Future[Value]] = set()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="cftool-sugarsync")
    try:
        for item in items:
            running.add(pool.submit(call, item))
            if len(running) >= threads:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for each in ended:
                    yield each.result()
        while running:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for each in ended:
                yield each.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
