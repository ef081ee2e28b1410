"""Standard output: data only, one place. Names are escaped on terminals and exact everywhere else.

`Output` buffers bytes and writes them through `sys.stdout.buffer`, so that names that are not UTF-8 leave as the bytes
they are. A reader that went away (`| head`) surfaces as BrokenPipeError, any other failure as OutputError; nothing is
lost in silence. Workers may call it from several threads: a line is never torn.
"""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import BinaryIO

from cftool.core.errors import CftoolError
from cftool.core.paths import printable

_WORDS = {True: "true", False: "false"}
_FLUSH_AT = 64 * 1024  # characters; one write for some thousand names


class OutputError(CftoolError):
    """Standard output cannot be written."""


class Output:
    """The standard output of one command."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self._stream: BinaryIO | None = getattr(sys.stdout, "buffer", None)
        self.terminal = bool(sys.stdout is not None and sys.stdout.isatty())
        self._pending: list[str] = []
        self._size = 0
        self._lock = threading.Lock()
        self._encode_json = _json_encoder() if json else None

    def name(self, text: str) -> str:
        """A name as it may be shown here."""
        return printable(text) if self.terminal else text

    def line(self, text: str, end: str = "\n") -> None:
        """Write one line; what comes from outside in it has gone through `name`."""
        with self._lock:
            self._pending.append(text + end)
            self._size += len(text)
            if self._size >= _FLUSH_AT or self.terminal:
                self._flush()

    def event(self, event: str, fields: Mapping[str, object]) -> None:
        """Write one JSON line with the version of the format and the event's name."""
        encode = self._encode_json
        assert encode is not None
        # The encoder escapes everything beyond ASCII: no name can break a line, and bytes that are no UTF-8 survive.
        # The line is put together here, because there is one for each file: a quarter of the encoder's time.
        parts = [f'{{"v":1,"event":{encode(event)}']
        for name, value in fields.items():
            text = str(value) if type(value) is int else _WORDS[value] if type(value) is bool else encode(value)
            parts.append(f',"{name}":{text}')
        self.line("".join(parts) + "}")

    def data(self, chunk: bytes) -> None:
        """Write bytes as they are."""
        with self._lock:
            self._flush()
            self._write(chunk)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        with self._lock:
            self._flush()
            if self._stream is not None:
                self._guard(self._stream.flush)

    def abandon(self) -> None:
        """Forget what is pending and keep the interpreter from trying again at exit: nobody reads any more."""
        self._pending.clear()
        try:
            sys.stdout.fileno()
        except (AttributeError, OSError, ValueError):
            return
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)

    def _flush(self) -> None:
        if self._pending:
            text = "".join(self._pending)
            self._pending.clear()
            self._size = 0
            try:
                data = text.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:  # half a character, which some services give away: no file name, but a name
                data = text.encode("utf-8", "surrogatepass")
            self._write(data)
            if self.terminal and self._stream is not None:
                self._guard(self._stream.flush)

    def _write(self, data: bytes) -> None:
        if self._stream is None:
            raise OutputError("standard output is closed")
        stream = self._stream
        self._guard(lambda: stream.write(data))

    def _guard(self, action: Callable[[], object]) -> None:
        try:
            action()
        except BrokenPipeError:
            raise
        except (OSError, ValueError) as error:
            raise OutputError(f"standard output: {getattr(error, 'strerror', None) or error}") from error


def _json_encoder() -> Callable[[object], str]:
    import json  # not at the top: only --json needs it
    from json.encoder import encode_basestring_ascii

    encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
    return lambda value: encode_basestring_ascii(value) if type(value) is str else encode(value)
