"""Questions to the user, for `config wizard` and `config login`: plain lines, so that they work over any connection.

Questions go to standard error, because standard output carries data only. Every wait for a line ends. The end of the
input (Ctrl-D, a pipe that is read up) is an error that says so; Ctrl-C is KeyboardInterrupt, as everywhere.
"""

import os
import select
import sys

from cftool.cli.session import Session
from cftool.core.errors import ConfigError
from cftool.core.paths import printable

PATIENCE = 1800.0  # seconds for one answer
_LONGEST = 64 * 1024  # bytes of one


def ask(session: Session, question: str) -> str:
    """One line, without blanks around it."""
    _show(session, _folded(session, question))
    line = _line()
    if not line.endswith("\n"):
        _show(session, "\n")
        if not line:
            raise ConfigError("the input ended before all was answered; nothing was changed")
    return line.strip()


def ask_secret(session: Session, question: str) -> str:
    """One line that is not shown; from a pipe or a file where standard input is one, and then without a question."""
    if sys.stdin is None or not sys.stdin.isatty():
        line = _line()
        if not line:
            raise ConfigError("the input ended before all was answered; nothing was changed")
        return line.strip()
    from getpass import getpass

    try:
        return getpass(printable(_folded(session, question))).strip()
    except EOFError:
        raise ConfigError("the input ended before all was answered; nothing was changed") from None


def _folded(session: Session, question: str) -> str:
    """The last line of a question that is wider than the terminal, once those before it are shown."""
    if sys.stderr is None or not sys.stderr.isatty():
        return question
    import textwrap

    width = max((os.get_terminal_size(2).columns or 80) - 1, 20)  # one for the blank at the end; 0: it does not tell
    *before, last = textwrap.wrap(question, width, break_long_words=False, break_on_hyphens=False)
    for line in before:
        _show(session, line)
        _show(session, "\n")
    return last + " "


def _show(session: Session, text: str) -> None:
    del session  # a question is shown even with -q: somebody has to answer it
    sys.stderr.write(text if text == "\n" else printable(text))
    sys.stderr.flush()


def _line() -> str:
    """The next line, as the terminal's own editing leaves it; one byte at a time, so that none waits in a buffer."""
    if sys.stdin is None:
        return ""
    data = bytearray()
    try:
        descriptor = sys.stdin.fileno()
        while not data.endswith(b"\n") and len(data) < _LONGEST:
            if not select.select([descriptor], [], [], PATIENCE)[0]:
                raise ConfigError(f"no answer came within {PATIENCE / 60:.0f} minutes")
            piece = os.read(descriptor, 1)
            if not piece:
                break
            data += piece
    except (OSError, ValueError) as error:
        raise ConfigError("standard input cannot be read") from error
    return data.decode("utf-8", "replace")
