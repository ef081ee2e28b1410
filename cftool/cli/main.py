"""The entry point of the `cftool` command: answers `--version` and completions, and leaves everything else to `app`.

Nothing but built-in modules is imported here: cron calls cftool every minute, and scripts ask for its version. The
three standard descriptors are made sure of first, so that no file of ours is ever opened as descriptor 0, 1 or 2.
"""

import _signal  # type: ignore[import-not-found]  # the interpreter's own; `signal` costs its enumerations
import atexit
import gc
import os
import sys

from cftool import __version__

TYPE_CHECKING = False  # as typing's, without its import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run one command line (default: this process's) and return its exit code."""
    if argv is None:
        _end_quietly()
    _secure_descriptors()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["-V"], ["version"]):
        return _version()
    if arguments[:1] == ["__complete"]:
        return _complete(arguments[1:], alone=argv is None)
    # Start-up makes a hundred thousand objects that all stay: looking through them for garbage costs a tenth of it.
    gc.disable()
    from cftool.cli.app import run

    code = run(arguments)
    if argv is None:
        _leave(code)
    gc.enable()
    return code


def _complete(arguments: "list[str]", *, alone: bool) -> int:
    from cftool.cli import complete

    code = complete.run(arguments, alone=alone)
    if alone:
        os._exit(code)  # whatever still waits for a server is left behind
    return code


def _leave(code: int) -> "NoReturn":
    """End the process without taking the interpreter apart object by object, which costs as much as a small listing."""
    atexit._run_exitfuncs()  # noqa: SLF001 - the rest of an orderly end: there is no public name for it
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            code = code or 1
    os._exit(code)


def _version() -> int:
    try:
        os.write(1, f"cftool {__version__}\n".encode())
    except BrokenPipeError:
        return 141
    except OSError as error:
        why = " is closed" if sys.stdout is None else f": {error.strerror}"
        try:
            os.write(2, f"cftool: standard output{why}\n".encode())
        except OSError:
            pass  # nobody is left to tell
        return 1
    return 0


def _end_quietly() -> None:
    """Until a command has handlers of its own nothing is begun: Ctrl-C ends the process, without a traceback."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, lambda *_: os._exit(130))


def _secure_descriptors() -> None:
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # Read-only, so that writing to a closed standard output fails as it should, instead of vanishing.
            os.open(os.devnull, os.O_RDONLY)
