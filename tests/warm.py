"""Starts `cftool` as a process that is forked from one which has imported the program already.

A test of the command costs a quarter then: most of a short run is the start of Python and the import of modules. It is
a process of its own all the same, with the arguments, environment, directory and descriptors that it is given; what a
fresh interpreter would do otherwise (locale, coverage, options of Python) is left to a fresh one: see `fits`.
"""

import atexit
import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

AT_START = ("LANG", "LC_ALL", "LC_CTYPE", "COVERAGE_PROCESS_START")  # what an interpreter looks at when it starts
PACKAGES = ("core", "disk", "http", "config", "wrap", "transfer", "cli")
MESSAGE = 1 << 20  # bytes; argv and environment


class Warm:
    """The process that forks, started when it is asked for first. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None
        self._owner = 0

    def run(self, argv: Sequence[str], env: Mapping[str, str], descriptors: Sequence[int], timeout: float) -> int:
        """The exit code of `argv` run with these three standard descriptors; negative: the signal that ended it."""
        here, there = socket.socketpair()
        with here:
            with there, self._lock:
                message = json.dumps([list(argv), dict(env), os.getcwd()]).encode("utf-8", "surrogateescape")
                socket.send_fds(self._open(), [message], [*descriptors, there.fileno()])
            here.settimeout(timeout)
            answer = here.recv(64).decode()
        if not answer:
            raise RuntimeError("the process that forks commands has ended")
        return os.waitstatus_to_exitcode(int(answer))

    def _open(self) -> socket.socket:
        if self._channel is None or self._owner != os.getpid():
            here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for end in (here, there):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE)
            kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", *AT_START) if name in os.environ}
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(there.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=kept,
                cwd=Path(__file__).parents[1],
                pass_fds=[there.fileno()],
            )
            there.close()
            self._channel, self._owner = here, os.getpid()
            atexit.register(self._close, process)
        return self._channel

    def _close(self, process: "subprocess.Popen[bytes]") -> None:
        if self._channel is not None and self._owner == os.getpid():
            self._channel.close()
            process.wait()


def fits(env: Mapping[str, str]) -> bool:
    """Whether a process that starts with this environment may be forked from one that started with ours."""
    return (
        "COVERAGE_PROCESS_START" not in env
        and all(env.get(name) == os.environ.get(name) for name in AT_START)
        and not any(name.startswith("PYTHON") for name in env)
    )


def _modules() -> Iterable[str]:
    """All modules of the program that most commands import."""
    import cftool
    import cftool_providers

    root = Path(cftool.__path__[0])
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
    root = Path(cftool_providers.__path__[0])
    for path in sorted(root.rglob("*.py")):
        yield ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")


def _serve(channel: socket.socket) -> None:
    """Fork for each message, and tell each end."""
    waiting = selectors.DefaultSelector()
    waiting.register(channel, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is channel:
                message, descriptors, _flags, _address = socket.recv_fds(channel, MESSAGE, 4)
                if not message:
                    os._exit(0)
                pid = os.fork()
                if pid == 0:
                    waiting.close()
                    channel.close()
                    _become(json.loads(message.decode("utf-8", "surrogateescape")), descriptors)
                for descriptor in descriptors[:3]:
                    os.close(descriptor)
                waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, descriptors[3]))
            else:
                pid, reply = key.data
                waiting.unregister(key.fileobj)
                os.close(int(key.fd))
                status = os.waitpid(pid, 0)[1]
                with contextlib.suppress(OSError):
                    os.write(reply, str(status).encode())
                os.close(reply)


def _become(given: tuple[list[str], dict[str, str], str], descriptors: list[int]) -> None:
    """Be the command."""
    from cftool.cli.main import main

    argv, env, directory = given
    os.chdir(directory)
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = argv
    code = 1
    try:
        code = main()
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(code)


if __name__ == "__main__":
    import gc
    import importlib

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for module in _modules():
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
