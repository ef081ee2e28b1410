"""Who reads requests and who answers them: several threads, of which one at a time reads from the kernel.

What is answered from memory or from this disk is answered by the thread that reads. Before work that may wait, for the
network or for a commit, it gives the reading to another thread and goes on with the work itself: no request is handed
over. Threads are made when none is free, up to a limit; beyond it slow work waits, and what is quick still goes on.
"""

import errno
import os
import threading
from collections import deque
from collections.abc import Callable

from cftool.mount import protocol as fuse
from cftool.mount.protocol import Op

_LIMIT = 32
MAX_WRITE = 1 << 20
_BUFFER = MAX_WRITE + 8192


class Request:
    """One request of the kernel, its fixed part read. `data` is good until the request was served."""

    __slots__ = ("data", "gid", "node", "op", "pid", "room", "uid", "unique")

    def __init__(
        self, op: int, unique: int, node: int, who: tuple[int, int, int], data: memoryview, room: bytearray
    ) -> None:
        self.op = op
        self.unique = unique
        self.node = node
        self.uid, self.gid, self.pid = who
        self.data = data
        self.room = room  # the thread's own, for what an answer is made of

    def name(self, start: int = 0) -> str:
        """The name that stands at `start`, up to its NUL."""
        return os.fsdecode(bytes(self.data[start:]).split(b"\0", 1)[0])

    def names(self, start: int) -> tuple[str, str]:
        """Two names."""
        first, second = bytes(self.data[start:]).split(b"\0")[:2]
        return os.fsdecode(first), os.fsdecode(second)

    def kept(self) -> "Request":
        """The same with data of its own, for later."""
        data = memoryview(bytes(self.data))
        return Request(self.op, self.unique, self.node, (self.uid, self.gid, self.pid), data, bytearray(MAX_WRITE))


class Loop:
    """See the module. `serve` answers a request, and raises nothing; `quick`: whether it does so without waiting."""

    def __init__(self, fd: int, *, serve: Callable[[Request], None], quick: Callable[[Request], bool]) -> None:
        self._fd = fd
        self._serve = serve
        self._quick = quick
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
        buffer = bytearray(_BUFFER)
        view = memoryview(buffer)
        room = bytearray(MAX_WRITE)
        while True:
            request = self._lead([buffer], view, room)
            while request is not None:
                self._serve(request)
                with self._lock:
                    request = self._waiting.popleft() if self._waiting else None
            with self._lock:
                self._free += 1
            if self._over:
                return

    def _lead(self, buffers: list[bytearray], view: memoryview, room: bytearray) -> Request | None:
        """Read, and answer what is quick; a request that may take its time, when somebody else can read on."""
        with self._turn:
            with self._lock:
                self._free -= 1
            while not self._over:
                count = self._read(buffers)
                if count < 0:
                    break
                _length, op, unique, node, uid, gid, pid, _ext, _pad = fuse.IN_HEADER.unpack_from(buffers[0])
                request = Request(op, unique, node, (uid, gid, pid), view[fuse.IN_SIZE : count], room)
                if op == Op.DESTROY:
                    self._serve(request)
                    break
                if self._quick(request):
                    self._serve(request)
                elif self._relieved():
                    return request
                else:
                    with self._lock:
                        self._waiting.append(request.kept())
            self._over = True
            return None

    def _read(self, buffers: list[bytearray]) -> int:
        """The length of a request; -1 where there will be no more."""
        while True:
            try:
                return os.readv(self._fd, buffers)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.EINTR, errno.EAGAIN}:  # interrupted, or taken back
                    continue
                if error.errno in {errno.ENODEV, errno.EBADF}:
                    return -1
                raise

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
