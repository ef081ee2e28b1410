"""Who reads requests and who answers them: several threads, of which one at a time reads from the kernel.

What is answered from memory or from this disk is answered by the thread that reads. Before work that may wait, for the
network or for a commit, it gives the reading to another thread and goes on with the work itself: no request is handed
over. Threads are made when none is free, up to a limit; beyond it slow work waits, and what is quick still goes on.

Answers that wait for a commit (`Later`) are collected while the kernel has more requests, so that one commit is that of
all of them, and of what many writers do at once.
"""

import errno
import os
import select
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from cftool.mount import protocol as fuse
from cftool.mount.protocol import Op

_LIMIT = 32
_MOMENT = 30e-6  # seconds
_LEFT_OUT = 15  # requests, at most
_LOOK = 0.02  # seconds
_LOOK_AGAIN = 0.002
_RUNNING = "/proc/loadavg"
_HEADER = struct.Struct("<IIQQII").unpack_from  # of `fuse.IN_HEADER` what is used
_AGAIN = frozenset({errno.ENOENT, errno.EINTR, errno.EAGAIN})  # interrupted, or taken back
_GONE = frozenset({errno.ENODEV, errno.EBADF})
MAX_WRITE = 1 << 20
_BUFFER = MAX_WRITE + 8192
_ROOM = fuse.OUT_SIZE + MAX_WRITE


class Request:
    """The request of the kernel that a thread is at, its fixed part read; the next one takes its place."""

    __slots__ = ("answer", "buffer", "count", "gid", "node", "op", "room", "uid", "unique", "view")

    def __init__(self, buffer: bytearray, room: bytearray) -> None:
        self.op = self.unique = self.node = self.uid = self.gid = self.count = 0
        self.buffer = buffer  # the whole request; its own part begins at `fuse.IN_SIZE`
        self.view = memoryview(buffer)
        self.room = room  # the thread's own, for what an answer is made of
        self.answer = memoryview(room)

    @property
    def data(self) -> memoryview:
        """What follows the fixed part; good until the request was served."""
        return self.view[fuse.IN_SIZE : self.count]

    def name(self, start: int = 0) -> str:
        """The name that stands at `start`, up to its NUL."""
        start += fuse.IN_SIZE
        return os.fsdecode(bytes(self.view[start : self.buffer.index(0, start)]))

    def names(self, start: int) -> tuple[str, str]:
        """Two names."""
        first, second = bytes(self.data[start:]).split(b"\0")[:2]
        return os.fsdecode(first), os.fsdecode(second)

    def kept(self) -> "Request":
        """The same with data of its own, for later."""
        other = Request(bytearray(self.view[: self.count]), bytearray(_ROOM))
        for name in ("op", "unique", "node", "uid", "gid", "count"):
            setattr(other, name, getattr(self, name))
        return other


class Later(Protocol):
    """Answers that wait, at one place for all threads. Used by the thread that reads alone, but for `finish`."""

    count: int  # of those that wait

    def passed(self) -> bool:
        """One more request was read meanwhile; whether that were enough."""
        ...

    def taken(self, *, early: bool = False) -> Callable[[], None]:
        """What gives those that wait now; others come anew.

        `early`: they may be given before all that follows is done, because no request is read before that.
        """
        ...

    def is_slow(self) -> bool:
        """Whether that is known to take its time."""
        ...


class Eager:
    """Waits for the next request without sleeping, for a moment after an answer.

    Programs that ask one thing after the other come back at once, and to wake a processor that sleeps costs several
    times what an answer does. Only where no program waits for a processor: it would wait for us. Where nothing came in
    the moment it is left out for a while, longer each time. Used by the thread that reads.
    """

    def __init__(
        self,
        asked: select.poll,
        *,
        now: Callable[[], float] = time.perf_counter,
        is_crowded: Callable[[], bool] | None = None,
    ) -> None:
        self._poll = asked.poll
        self._now = now
        self._is_crowded = is_crowded or _is_crowded
        self._left_out = self._next = 0
        self._look = 0.0  # when to look again whether it is crowded
        self._crowded = False

    def linger(self) -> None:
        """Return when there is a request, or when the moment is over."""
        if self._next:
            self._next -= 1
            return
        began = self._now()
        if began >= self._look:
            self._crowded = self._is_crowded()
            self._look = began + (_LOOK_AGAIN if self._crowded else _LOOK)
        if self._crowded:
            return
        end = began + _MOMENT
        while not self._poll(0):
            if self._now() >= end:
                self._left_out = self._next = min(2 * self._left_out + 1, _LEFT_OUT)
                return
        self._left_out = 0


def _is_crowded() -> bool:
    """Whether there are more programs that could run than processors; also where that cannot be known."""
    try:
        with open(_RUNNING, "rb", buffering=0) as file:  # proc_loadavg(5): the fourth field
            running = int(file.read(100).split()[3].partition(b"/")[0])
        return running > len(os.sched_getaffinity(0))
    except (OSError, ValueError, IndexError):
        return True


class Loop:
    """See the module. `serve` answers a request, and raises nothing; `quick` does so where it needs no waiting."""

    def __init__(
        self, fd: int, *, serve: Callable[[Request], None], quick: Callable[[Request], bool], later: Later
    ) -> None:
        self._fd = fd
        self._serve = serve
        self._quick = quick
        self._later = later
        self._asked = select.poll()
        self._asked.register(fd, select.POLLIN)
        self._eager = Eager(self._asked)
        self._turn = threading.Lock()  # who holds it reads
        self._lock = threading.Lock()  # of what follows
        self._free = 0  # threads that wait for their turn
        self._threads: list[threading.Thread] = []
        self._waiting: deque[Request] = deque()
        self._over = False

    def run(self) -> None:
        """Until the mount is taken away, and all that was asked is answered."""
        self._free = 1
        self._work()
        while True:
            with self._lock:
                if not self._threads:
                    return
                thread = self._threads.pop()
            thread.join()

    def _work(self) -> None:
        own = Request(bytearray(_BUFFER), bytearray(_ROOM))
        while True:
            work = self._lead(own)
            while work is not None:
                work()
                with self._lock:
                    request = self._waiting.popleft() if self._waiting else None
                work = None if request is None else self._serving(request)
            with self._lock:
                self._free += 1
            if self._over:
                return

    def _serving(self, request: Request) -> Callable[[], None]:
        return lambda: self._serve(request)

    def _lead(self, request: Request) -> Callable[[], None] | None:
        """Read, and answer what is quick; what may take its time, when somebody else can read on."""
        later, quick = self._later, self._quick  # names of its own: this is passed for every request
        fd, buffer, buffers, read, header = self._fd, request.buffer, [request.buffer], os.readv, _HEADER
        linger, answered = self._eager.linger, False
        with self._turn:
            with self._lock:
                self._free -= 1
            while not self._over:
                if later.count and (later.passed() or not self._asked.poll(0)):
                    if later.is_slow() and self._relieved():
                        return later.taken()
                    later.taken(early=True)()
                if answered:
                    linger()
                    answered = False
                try:
                    request.count = read(fd, buffers)
                except OSError as error:
                    if error.errno in _AGAIN:
                        continue
                    if error.errno in _GONE:
                        break
                    raise
                _, request.op, request.unique, request.node, request.uid, request.gid = header(buffer)
                if quick(request):
                    answered = True
                    continue
                if request.op == Op.DESTROY:
                    self._serve(request)
                    break
                if self._relieved():
                    return self._serving(request)
                with self._lock:
                    self._waiting.append(request.kept())
            self._over = True
            return later.taken() if later.count else None

    def _relieved(self) -> bool:
        """Whether there is a thread to read on."""
        with self._lock:
            if self._free:
                return True
            if len(self._threads) >= _LIMIT:
                return False
            self._free += 1
            thread = threading.Thread(target=self._work, name=f"cftool-mount-{len(self._threads) + 1}", daemon=True)
            self._threads.append(thread)
        thread.start()
        return True
