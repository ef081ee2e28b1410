"""Drives one libcurl multi handle with epoll. Owned by one thread at a time; used by `curl` and `curl_many`.

libcurl tells which sockets it waits for and when it wants to be woken; `step` waits, lets it act, and returns what has
finished. epoll and not libcurl's own select, which is blind to descriptors above 1023. A transfer on which no byte
moves for the idle timeout is ended here: libcurl's own low-speed check would count the time in which the caller was
busy elsewhere and did not drive.

Invariant: every loop that is open is kept alive by `_open`, so that a forked child can never finalise one:
curl_multi_cleanup would wait there for resolver threads that exist only in the parent.
"""

import os
import select
import time
from typing import Any

import pycurl

from cftool.http.curl_errors import TIMED_OUT
from cftool.http.curl_handle import Handle

Finished = tuple[Handle, int, str]

_LONGEST_WAIT = 5.0  # seconds between two looks for idle transfers
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_POLL_MASKS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: _IN,
    pycurl.POLL_OUT: _OUT,
    pycurl.POLL_INOUT: _IN | _OUT,
}
_open: "set[Loop]" = set()


class Loop:
    """A multi handle with its connections, kept between uses. `start`, then `step` until the handle is returned."""

    def __init__(self, *, connections: int, idle_timeout: float) -> None:
        self._pid = os.getpid()
        self._idle_timeout = idle_timeout
        self._glance = min(_LONGEST_WAIT, idle_timeout / 4)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, 0)
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._poller = select.epoll()
        self._registered: dict[int, int] = {}
        self._leaving: set[int] = set()  # sockets that libcurl let go of; most come back with the next request
        self._deadline: float | None = None  # when libcurl wants to be called
        self._busy: dict[Any, Handle] = {}
        self._waited = 0.0  # seconds spent waiting: the clock of the idle timeout
        self._looked = 0.0
        self._error: BaseException | None = None
        _open.add(self)

    @property
    def foreign(self) -> bool:
        """Whether a parent process owns it: nothing of it may be touched."""
        return self._pid != os.getpid()

    def start(self, handle: Handle) -> None:
        """Begin the transfer that `handle` was prepared for."""
        handle.progress, handle.quiet_since = 0.0, self._waited
        self._busy[handle.curl] = handle
        self._multi.add_handle(handle.curl)

    def abort(self, handle: Handle) -> None:
        """End a transfer; a connection in the middle of one is closed."""
        if self._busy.pop(handle.curl, None) is not None:
            self._multi.remove_handle(handle.curl)
            self._settle()

    def resume(self, handle: Handle) -> None:
        """Go on with a paused transfer."""
        handle.paused = False
        handle.quiet_since = self._waited
        handle.curl.pause(pycurl.PAUSE_CONT)

    def step(self, timeout: float | None = None, stream: Handle | None = None) -> list[Finished]:
        """Wait until something happens, `timeout` seconds at most, and return the transfers that have ended.

        Where `stream` has something for its reader already, there is no wait.
        """
        act = self._multi.socket_action
        now = time.monotonic()
        if self._deadline is not None and self._deadline <= now:
            self._deadline = None
            act(pycurl.SOCKET_TIMEOUT, 0)
            finished = self._finished()
            if finished or (stream is not None and stream.ready):
                return finished
        self._settle()
        wait = self._glance if timeout is None else min(timeout, self._glance)
        if self._deadline is not None:
            wait = min(wait, max(0.0, self._deadline - now))
        events = self._poller.poll(wait)
        self._waited += time.monotonic() - now
        for fd, event in events:
            if event == _IN:
                act(fd, 1)
            else:
                # Errors and hang-ups are for libcurl to find out about by reading.
                act(fd, (1 if event & ~_OUT else 0) | (2 if event & _OUT else 0))
        finished = self._finished()
        if self._waited - self._looked >= self._glance:
            self._looked = self._waited
            finished += self._idle()
        return finished

    def _finished(self) -> list[Finished]:
        if self._error is not None:  # an interrupt that arrived inside a callback
            error, self._error = self._error, None
            raise error
        found: list[Finished] = []
        while True:
            queued, good, bad = self._multi.info_read()
            for curl in good:
                self._multi.remove_handle(curl)
                found.append((self._busy.pop(curl), 0, ""))
            for curl, code, text in bad:
                self._multi.remove_handle(curl)
                found.append((self._busy.pop(curl), code, text))
            if not queued:
                return found

    def _idle(self) -> list[Finished]:
        """Transfers on which nothing has moved for too long; they are ended."""
        found: list[Finished] = []
        for handle in list(self._busy.values()):
            moved = handle.moved()
            if moved != handle.progress or handle.paused:
                handle.progress, handle.quiet_since = moved, self._waited
            elif self._waited - handle.quiet_since >= self._idle_timeout:
                self.abort(handle)
                found.append((handle, TIMED_OUT, f"nothing for {self._idle_timeout:g} s"))
        return found

    # ---- libcurl's callbacks

    def _on_socket(self, what: int, fd: int, multi: object, data: object) -> None:
        """Watch `fd` for other events."""
        del multi, data
        try:
            if what == pycurl.POLL_REMOVE:
                self._leaving.add(fd)
                return
            self._leaving.discard(fd)
            mask = _POLL_MASKS[what]
            if fd in self._registered:
                # The kernel's word counts: a closed descriptor has left epoll, and its number may have come back.
                try:
                    self._poller.modify(fd, mask)
                except FileNotFoundError:
                    self._poller.register(fd, mask)
            else:
                self._poller.register(fd, mask)
            self._registered[fd] = mask
        except BaseException as error:
            self._error = self._error or error

    def _on_timer(self, milliseconds: int) -> None:
        """Call libcurl in that time; a negative one: no more."""
        self._deadline = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _settle(self) -> None:
        """Forget the sockets that libcurl let go of and did not take back."""
        if not self._leaving:
            return
        for fd in self._leaving:
            if self._registered.pop(fd, None) is not None:
                try:
                    self._poller.unregister(fd)
                except (FileNotFoundError, OSError):  # closed meanwhile: the kernel did it
                    pass
        self._leaving.clear()

    def close(self) -> None:
        """Close all connections; in a forked child nothing happens. Idempotent."""
        if self.foreign or self not in _open:
            return
        for handle in list(self._busy.values()):
            self.abort(handle)
        self._multi.close()
        self._poller.close()
        _open.discard(self)
