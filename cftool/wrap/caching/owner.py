"""The owner's socket: other processes ask the one that has a cache open to upload, and what it holds.

One JSON object a line in both directions, over `owner.sock` in the cache's directory (mode 0700, so that only its user
reaches it). Requests: `{"do": "status"}`, `{"do": "flush", "path": …, "timeout": …}`, `{"do": "forget", "paths": […]}`,
`{"do": "clear"}` of clean content, `{"do": "fsck"}`. A
flush answers with `{"left": N}` now and then, so that the other side sees progress, and last with `{"pending": […]}`.
"""

import contextlib
import json
import logging
import os
import socket
import socketserver
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast

from cftool.core.errors import CftoolError, TemporaryError
from cftool.wrap.caching.rows import Pending, State, What

if TYPE_CHECKING:
    from cftool.wrap.caching.store import CachingStore

_log = logging.getLogger("cftool.cache")
NAME = "owner.sock"
_PATIENCE = 30.0  # seconds without a line, at most
_SLICE = 2.0  # seconds of a flush between two words
_LARGEST = 1 << 24
SHOWN = 1000  # pending rows in one answer


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    store: "CachingStore"


class Owner:
    """Serves the socket until `close`."""

    def __init__(self, store: "CachingStore") -> None:
        self._directory = os.open(store.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        path = _short(self._directory)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # of a dead owner: the lock is ours
        self._server = _Server(path, _Handler)
        os.chmod(path, 0o600)
        self._server.store = store
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.5,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_short(self._directory))
        os.close(self._directory)


class _Handler(socketserver.StreamRequestHandler):
    timeout = _PATIENCE

    def handle(self) -> None:
        try:
            line = self.rfile.readline(_LARGEST)
            asked = json.loads(line)
            for answer in self._answers(asked):
                self.wfile.write(json.dumps(answer).encode() + b"\n")
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.info("a request over the cache's socket was not answered: %s", error)
        except CftoolError as error:
            with contextlib.suppress(OSError):
                self.wfile.write(json.dumps({"error": str(error)}).encode() + b"\n")

    def _answers(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        store = cast("_Server", self.server).store
        path = str(asked.get("path", ""))
        if asked["do"] == "status":
            yield status(store)
        elif asked["do"] == "clear":
            yield {"files": store.clear(path)}
        elif asked["do"] == "fsck":
            yield {"found": [finding.fields() for finding in store.check()]}
        elif asked["do"] == "forget":
            for place in asked["paths"]:
                store.clear(str(place), changed=True)
            yield {}
        elif asked["do"] == "flush":
            yield from self._flush(store, path, float(asked.get("timeout", 0.0)))
        else:
            yield {"error": "not understood"}

    @staticmethod
    def _flush(store: "CachingStore", path: str, timeout: float) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + timeout
        before = {row.seq: row.attempts for row in store.pending()}
        count = len(before)
        while True:
            with store.lock:
                seen = store.waiting.count
            left = _flushed(store, path, max(0.0, deadline - time.monotonic()))
            with store.lock:
                edited = any(store.being_edited(row) for row in left)
            # Something failed now, not only before somebody asked, or is in use, and nothing else goes on.
            failed = any(row.state is State.FAILED or row.attempts > before.get(row.seq, 0) for row in left)
            busy = any(row.state is State.UPLOADING for row in left)
            stuck = (failed or edited) and len(left) >= count and not busy
            count = len(left)
            if not left or stuck or time.monotonic() >= deadline:
                yield {"pending": [shown(row) for row in left[:SHOWN]], "count": len(left)}
                return
            yield {"left": len(left)}
            store.waiting.wait(min(_SLICE, deadline - time.monotonic()), seen)


def _flushed(store: "CachingStore", path: str, seconds: float) -> list[Pending]:
    """`flush` for a while, but who waits waits no longer than `seconds`: what a round has begun goes on without him."""
    answer: Future[list[Pending]] = Future()

    def run() -> None:
        try:
            answer.set_result(store.flush(path, timeout=min(_SLICE, seconds)))
        except BaseException as error:  # raised where it is waited for
            answer.set_exception(error)

    threading.Thread(target=run, name="cftool-flush", daemon=True).start()
    try:
        return answer.result(timeout=seconds or None)
    except TimeoutError:
        with store.lock:
            return list(store.overlay.touching(path))


def shown(row: Pending) -> dict[str, Any]:
    """A pending change for machines and for `cache status`."""
    return {
        "path": row.path, "what": row.what.value, "to": row.dst, "state": row.state.value, "bytes": row.size,
        "since": row.created, "due": row.due, "attempts": row.attempts, "next_try": row.next_try,
        "error_kind": row.error_kind, "error": row.error,
    }  # fmt: skip


def dirty(rows: Iterable[Pending]) -> dict[str, int]:
    """How many files are not uploaded, and their bytes."""
    sizes = [row.size or 0 for row in rows if row.what is What.UPLOAD]
    return {"dirty_files": len(sizes), "dirty_bytes": sum(sizes)}


def status(store: "CachingStore") -> dict[str, Any]:
    """What a cache holds, and what it has done since it was opened. Bytes, and bytes a second."""
    with store.lock:
        total, clean = store.journal.totals()
        rows = list(store.overlay.rows.values())
    stats = store.stats
    return {
        "cache": os.path.basename(store.directory), "bytes": total, "clean_bytes": clean, "count": len(rows),
        "pending": [shown(row) for row in rows[:SHOWN]],
        "soft_limit": store.settings.soft, "hard_limit": store.settings.hard,
        "hits": stats.hits, "misses": stats.misses, "conflicts": stats.conflicts,
        "uploaded": stats.up.bytes, "upload_rate": stats.up.rate,
        "downloaded": stats.down.bytes, "download_rate": stats.down.rate,
        "errors": {
            kind: {"count": one.count, "last": one.last, "text": one.text} for kind, one in stats.by_kind().items()
        },
        "problems": store.problems, **dirty(rows),
    }  # fmt: skip


def ask(directory: str, request: dict[str, Any], *, patience: float = _PATIENCE) -> Iterator[dict[str, Any]]:
    """Send a request to the owner of the cache in `directory`; its answers.

    Raises ConnectionRefusedError or FileNotFoundError where nobody answers, TemporaryError where the owner stops to.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(patience)
            connection.connect(_short(fd))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                for line in lines:
                    answer = json.loads(line)
                    if "error" in answer:
                        raise TemporaryError(str(answer["error"]))
                    yield answer
    except (ConnectionResetError, BrokenPipeError) as error:  # it ended just now
        raise ConnectionRefusedError(error.errno, error.strerror) from error
    except TimeoutError:
        raise TemporaryError("the process that has the cache open does not answer") from None
    finally:
        os.close(fd)


def _short(directory: int) -> str:
    """The socket's path in a form that fits into the 108 bytes of an address, however deep the directory is."""
    return f"/proc/self/fd/{directory}/{NAME}"
