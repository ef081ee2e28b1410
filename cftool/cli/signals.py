"""Ctrl-C: the first ends what is under way and lets the command clean up, the second stops at once.

A command that polls (`graceful`) gets a flag; any other gets KeyboardInterrupt. SIGTERM and SIGHUP count as Ctrl-C, so
that a service manager's stop cleans up too. Handlers are restored on the way out: tests and programs call `run` too.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """The signal handlers of one command, as a context manager."""

    def __init__(self, announce: Callable[[str], None], leave: Callable[[], None] = lambda: None) -> None:
        self._announce = announce
        self._leave = leave  # puts the terminal back in order before an exit at once
        self._count = 0
        self._polling = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        for number in _SIGNALS:
            try:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and background jobs stay as they are
                    self._before[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread: whoever runs there handles signals
                break
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def cancelled(self) -> bool:
        """Whether a signal came; the engine asks between two entries."""
        return self._count > 0

    def stopping(self) -> bool:
        """Whether calls that are under way are to end: only while a command polls, so that its cleanup still works."""
        return self._polling and self._count > 0

    @contextmanager
    def graceful(self) -> Iterator[None]:
        """Inside, the first signal sets the flag only."""
        self._polling = True
        try:
            yield
        finally:
            self._polling = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._count += 1
        if self._count > 1:
            self._leave()
            os._exit(130)  # no cleanup on purpose: the second one means now. What is left over, the next run removes
        if not self._polling:
            raise KeyboardInterrupt
        text = "stopping: what is under way is given up (again to stop at once)"
        try:
            self._announce(text)
        except RuntimeError:  # the signal came in the middle of writing to the same stream: past it, then
            with suppress(OSError):
                os.write(2, f"{text}\n".encode())
