"""Where log records of the layers below go: standard error by -v, and `--log-file` as text or JSON Lines.

Every record is redacted and escaped before it is written: neither a secret nor a control character of a remote name
reaches a terminal or a log. Installed once a command, removed at its end.
"""

import logging
import sys
import time

from cftool.cli import formats
from cftool.cli.messages import Messages
from cftool.core.errors import ConfigError
from cftool.core.paths import printable

_LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
_NAMES = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}


def _clean(text: str) -> str:
    from cftool.http.redact import redact  # most runs log nothing

    return redact(text)


class _Text(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(printable(line) for line in _clean(super().format(record)).split("\n"))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        import json

        fields = {
            "time": formats.utc_time(int(record.created * 1e9)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _clean(record.getMessage()),
        }
        if record.exc_info:
            fields["traceback"] = _clean(self.formatException(record.exc_info))
        return json.dumps(fields)


class _Terminal(logging.Handler):
    def __init__(self, messages: Messages) -> None:
        super().__init__()
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = printable(_clean(record.getMessage()))
        except Exception:
            self.handleError(record)
            return
        self._messages.write(f"cftool: {text}" if record.levelno >= logging.WARNING else f"{record.name}: {text}")


class _File(logging.FileHandler):
    """A log file that says once that it cannot be written, and then is silent; `failed` tells of it."""

    def __init__(self, path: str, messages: Messages) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self._messages = messages
        self._path = path
        self.failed = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.failed:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging calls it so
        self._fail(sys.exc_info()[1])

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: BaseException | None) -> None:
        if not self.failed:
            self.failed = True
            reason = getattr(error, "strerror", None) or error
            # Not as a message, which would be logged.
            self._messages.write(printable(f"cftool: --log-file {self._path}: {reason}; nothing more is logged"))


class Logs:
    """The handlers of one command, as a context manager."""

    def __init__(self, messages: Messages, *, path: str | None, form: str | None) -> None:
        if form is not None and form not in {"text", "json"}:
            raise ConfigError(f"--log-format: {form!r} is none of text, json")
        self._logger = logging.getLogger("cftool")
        self._messages = messages
        self._handlers: list[logging.Handler] = []
        self._log_file: _File | None = None
        terminal = _Terminal(messages)
        terminal.setLevel(_LEVELS[messages.level])
        self._handlers.append(terminal)
        if path is not None:
            self._handlers.append(self._file(path, form))
            own = logging.getLogger("cftool-messages")  # no child of "cftool": the terminal has its own copy
            own.setLevel(logging.INFO)
            own.propagate = False
            messages.log = lambda kind, text: own.log(_NAMES[kind], "%s", text)

    @property
    def failed(self) -> bool:
        """Whether something that was to be logged is not in the file."""
        return self._log_file is not None and self._log_file.failed

    def __enter__(self) -> "Logs":
        for handler in self._handlers:
            self._logger.addHandler(handler)
        if len(self._handlers) > 1:
            logging.getLogger("cftool-messages").addHandler(self._handlers[1])
        level = min(handler.level for handler in self._handlers)
        self._before = (self._logger.level, self._logger.propagate)
        self._logger.setLevel(level)
        self._logger.propagate = False
        return self

    def __exit__(self, *exc: object) -> None:
        self._logger.setLevel(self._before[0])
        self._logger.propagate = self._before[1]
        self._messages.log = None
        for handler in self._handlers:
            self._logger.removeHandler(handler)
            logging.getLogger("cftool-messages").removeHandler(handler)
            handler.close()

    def _file(self, path: str, form: str | None) -> logging.Handler:
        try:
            handler = self._log_file = _File(path, self._messages)
        except OSError as error:
            raise ConfigError(f"--log-file {path}: {error.strerror}") from error
        handler.setFormatter(_Json() if form == "json" else _Text())
        handler.setLevel(logging.DEBUG if self._messages.level > 2 else logging.INFO)
        return handler
