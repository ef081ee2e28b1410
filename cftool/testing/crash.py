"""Deaths and refusals at every system call: the enumerator behind the tests of what survives a crash.

`every_death` runs an action in child processes, each of which is killed (SIGKILL) right before, in the middle of, or
right after its k-th call of the os module that changes something, for every k until the action gets through; after
each death the caller looks at what is left. `every_traced_death` does so at the kernel's border, for what a C library
does by itself (SQLite). `every_refusal` lets the n-th call of one function fail instead, in this process.
"""

import contextlib
import ctypes
import errno
import fcntl
import itertools
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

CALLS = (
    *("open", "close", "write", "pwrite", "pwritev", "ftruncate", "fsync", "fdatasync", "rename", "replace"),
    *("unlink", "rmdir", "mkdir", "link", "symlink", "utime", "fchmod", "chmod", "fchown", "copy_file_range"),
)
_WRITES = frozenset({"write", "pwrite", "pwritev"})
_NOT_APPLICABLE = 78
_BROKEN = 70
_TRACEME, _SYSCALL = 0, 24  # of ptrace(2)


class Death(NamedTuple):
    """Where a child was killed: at its `number`-th call; `when` is "before", "middle" (of a write) or "after"."""

    number: int
    when: str


def every_death(reset: Callable[[], object], action: Callable[[], object]) -> Iterator[Death]:
    """Yield after each death; `reset` makes the state before each run, `action` is what must be safe."""
    for number in itertools.count(1):
        through = True
        for when in ("before", "middle", "after"):
            reset()
            outcome = run_and_die(action, number, when)
            if outcome == "died":
                through = False
                yield Death(number, when)
        if through:
            return


def every_death_at_a_call(reset: Callable[[], object], action: Callable[[], object]) -> Iterator[Death]:
    """As `every_death`, for an action that changes nothing between two calls: right after one is right before the next.

    So each call needs one run, writes two; the last state is that of the action that got through.
    """
    for number in itertools.count(1):
        reset()
        outcome, is_write = _run_and_tell(action, number)
        if outcome != "died":
            yield Death(number - 1, "after")
            return
        yield Death(number, "before")
        if is_write:
            reset()
            assert run_and_die(action, number, "middle") == "died"
            yield Death(number, "middle")


def _run_and_tell(action: Callable[[], object], number: int) -> tuple[str, bool]:
    """Die before that call: how it ended, and whether it is one that writes."""
    reading, writing = os.pipe()
    write = os.write
    try:
        outcome = run_and_die(action, number, "before", last_word=lambda name: write(writing, name.encode()))
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb") as told:
        return outcome, told.read().decode() in _WRITES


def every_traced_death(reset: Callable[[], object], action: Callable[[], object], *, step: int = 1) -> Iterator[Death]:
    """As `every_death`, but at every entry to and return from the kernel. OSError where processes may not be traced.

    `step`: only at each so-manieth of them; an odd one meets entries and returns.
    """
    for number in itertools.count(1, step):
        reset()
        if not _die_traced(action, number):
            return
        yield Death(number, "after" if number % 2 == 0 else "before")


def _die_traced(action: Callable[[], object], stops: int) -> bool:
    """Kill the child at that many stops; False where it ended before."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    ptrace.restype = ctypes.c_long
    child = _fork()
    if child == 0:
        code = _BROKEN
        try:
            if ptrace(_TRACEME, 0, None, None) == 0:
                os.kill(os.getpid(), signal.SIGSTOP)
                action()
                code = 0
            else:
                code = _NOT_APPLICABLE
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    while os.WIFSTOPPED(status) and stops:
        received = os.WSTOPSIG(status)
        stops -= 1
        # Signals of its own go on to it; the stops of the tracer and the first one do not.
        passed = received if received not in {signal.SIGTRAP, signal.SIGSTOP} else None
        if ptrace(_SYSCALL, child, None, passed) != 0:
            break
        _, status = os.waitpid(child, 0)
    if os.WIFSTOPPED(status):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return True
    code = os.waitstatus_to_exitcode(status)
    if code == _NOT_APPLICABLE:
        raise OSError(errno.EPERM, "processes cannot be traced here")
    if code != 0:
        raise AssertionError(f"the action failed in the child (exit {code})")
    return False


def _fork() -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about threads: the child only runs the action, and ends
        return os.fork()


def run_and_die(
    action: Callable[[], object], number: int, when: str, *, last_word: Callable[[str], object] = len
) -> str:
    """Run `action` in a child that dies at that call: "died", "through" (it has fewer calls) or "other" (no write).

    `last_word` hears the call's name in the child.
    """
    child = _fork()
    if child == 0:
        _child(action, number, when, last_word)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return "died"
    code = os.waitstatus_to_exitcode(status)
    if code not in {0, _NOT_APPLICABLE}:
        raise AssertionError(f"the action failed in the child (exit {code}) at call {number} {when}")
    return "through" if code == 0 else "other"


def _child(action: Callable[[], object], number: int, when: str, last_word: Callable[[str], object]) -> None:
    code = _BROKEN
    try:
        counter = itertools.count(1)
        for name in CALLS:
            _wrap(os, name, counter, (number, when, last_word))
        _wrap(fcntl, "flock", counter, (number, when, last_word))
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wrap(module: Any, name: str, counter: Iterator[int], death: tuple[int, str, Callable[[str], object]]) -> None:
    real = getattr(module, name)
    kill = os.kill
    number, when, last_word = death

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(counter) != number:
            return real(*args, **kwargs)
        if when == "middle":
            if name not in _WRITES:
                os._exit(_NOT_APPLICABLE)
            real(args[0], _half(args[1]), *args[2:], **kwargs)
        elif when == "after":
            # A refusal must not be seen by the action: it is dead.
            with contextlib.suppress(OSError):
                real(*args, **kwargs)
        last_word(name)
        kill(os.getpid(), signal.SIGKILL)
        return None

    setattr(module, name, call)


def _half(data: Any) -> Any:
    return data[: len(data) // 2] if isinstance(data, list) else bytes(data)[: len(data) // 2]


class Refusal:
    """One injected failure: `happened` tells whether the call was reached."""

    def __init__(self, name: str, number: int, error: int) -> None:
        self.name = name
        self.number = number
        self.error = error
        self.happened = False

    def __repr__(self) -> str:
        return f"<{self.name} no. {self.number} fails with {os.strerror(self.error)}>"


@contextlib.contextmanager
def refusing(name: str, number: int, error: int) -> Iterator[Refusal]:
    """Within the block the `number`-th call of `os.<name>` raises that errno, without being done."""
    refusal = Refusal(name, number, error)
    real = getattr(os, name)
    counter = itertools.count(1)

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(counter) != number:
            return real(*args, **kwargs)
        refusal.happened = True
        if name == "close":  # the descriptor is gone even where close fails
            real(*args, **kwargs)
        raise OSError(error, os.strerror(error))

    setattr(os, name, call)
    try:
        yield refusal
    finally:
        setattr(os, name, real)


def every_refusal(name: str, error: int, attempt: Callable[[], object]) -> Iterator[tuple[Refusal, Exception | None]]:
    """Call `attempt` again and again, the n-th call failing, for every n; yields what it raised (None: it coped)."""
    for number in itertools.count(1):
        raised: Exception | None = None
        with refusing(name, number, error) as refusal:
            try:
                attempt()
            except Exception as failure:
                raised = failure
        if not refusal.happened:
            if raised is not None:
                raise raised
            return
        yield refusal, raised
