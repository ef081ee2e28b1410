"""Runs `cftool` in this process and keeps what it says: as a pipe gets it, or as a terminal does."""

import contextlib
import json
import os
import pty
import tempfile
import threading
from dataclasses import dataclass
from typing import Any

from cftool.cli.main import main


@dataclass(frozen=True)
class Ran:
    """What a command left. On a terminal `out` is all that it showed, `err` is empty."""

    words: tuple[str, ...]
    code: int
    out: bytes
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    def of(self, name: str) -> list[dict[str, Any]]:
        """Those of one name."""
        return [event for event in self.events if event["event"] == name]

    def __str__(self) -> str:
        out = self.out[-3000:].decode("utf-8", "backslashreplace")
        return f"$ {' '.join(self.words[:6])}\nexit {self.code}\n{out}\n{self.err[-3000:]}"


def run(*words: object, code: int | None = None) -> Ran:
    """One command; another exit code than `code`, a traceback or an internal error is an AssertionError."""
    args = tuple(map(str, words))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with (
            open(os.dup(out.fileno()), "w", encoding="utf-8") as to,
            open(os.dup(err.fileno()), "w", encoding="utf-8", errors="backslashreplace") as beside,
            contextlib.redirect_stdout(to),
            contextlib.redirect_stderr(beside),
        ):
            got = main(list(args))
        out.seek(0)
        err.seek(0)
        ran = Ran(args, got, out.read(), err.read().decode())
    _sane(ran, ran.err, code)
    return ran


def on_terminal(*words: object, code: int | None = None) -> Ran:
    """The same, with one terminal as standard output and error."""
    args = tuple(map(str, words))
    master, slave = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # so a terminal ends
            while data := os.read(master, 65536):
                seen.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with (
            open(slave, "w", encoding="utf-8", errors="backslashreplace") as terminal,
            contextlib.redirect_stdout(terminal),
            contextlib.redirect_stderr(terminal),
        ):
            got = main(list(args))
    finally:
        reader.join(60)
        os.close(master)
    ran = Ran(args, got, b"".join(seen).replace(b"\r\n", b"\n"), "")
    _sane(ran, ran.out.decode("utf-8", "replace"), code)
    return ran


def _sane(ran: Ran, said: str, code: int | None) -> None:
    assert "Traceback" not in said, ran
    assert "internal error" not in said, ran
    assert code is None or ran.code == code, ran
