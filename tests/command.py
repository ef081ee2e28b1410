"""Runs the `cftool` command as a user would: a child process with an environment of its own, and its output as data.

Used by the acceptance tests, the harnesses, the benchmark and the demonstration; nothing of cftool is imported here.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tests import warm
from tests.dav_servers import DavServer
from tests.servers import S3Server, tool

_PROOF = ("PYTHONPATH", "PROOF_WITHOUT")  # what is taken away from the program: tests/house/proof
PATIENCE = 600  # seconds; a command that takes longer hangs


@dataclass(frozen=True, slots=True)
class Done:
    """A finished command."""

    args: tuple[str, ...]
    code: int
    out: bytes
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines of standard output."""
        return [json.loads(line) for line in self.out.splitlines()]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of one name."""
        return [line for line in self.events if line["event"] == event]

    @property
    def summary(self) -> dict[str, Any]:
        """The last line, which must be the summary."""
        last = self.events[-1]
        assert last["event"] == "summary", self
        return last

    def __str__(self) -> str:
        out = self.out.decode(errors="replace")
        return f"$ {' '.join(self.args)}\nexit {self.code}\n--- stdout\n{out[-4000:]}\n--- stderr\n{self.err[-4000:]}"


@dataclass(frozen=True, slots=True)
class Cftool:
    """The command with the settings of one imaginary user, whose home is `home`."""

    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """No setting of the real user; state, cache and configuration below `home`."""
        kept = {
            name: os.environ[name]
            for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START", *_PROOF)
            if name in os.environ and (name not in _PROOF or _PROOF[-1] in os.environ)
        }
        return {
            **kept,
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            **self.settings,
        }

    def with_server(self, server: S3Server | DavServer, remote: str = "lab") -> "Cftool":
        """The same user with the server as a remote more."""
        return Cftool(self.home, {**self.settings, **server.cftool_environment(remote)})

    def run(self, *args: object, code: int | None = 0, stdin: bytes | None = None) -> Done:
        """Run to the end; another exit code than `code` (None: any) is an AssertionError with all that was printed."""
        command, environment = [tool("cftool"), *map(str, args)], self.environment()
        if warm.fits(environment):
            done = _warm(command, environment, stdin)
        else:
            finished = subprocess.run(
                command,
                input=stdin,
                stdin=None if stdin is not None else subprocess.DEVNULL,
                capture_output=True,
                env=environment,
                timeout=PATIENCE,
                check=False,
            )
            done = _done(command[1:], finished.returncode, finished.stdout, finished.stderr)
        assert "Traceback" not in done.err, done
        assert code is None or done.code == code, done
        return done

    @contextlib.contextmanager
    def started(self, *args: object) -> "Iterator[subprocess.Popen[bytes]]":
        """The command while it runs, in a process group of its own; what still runs at the end is killed."""
        process = subprocess.Popen(
            [tool("cftool"), *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment(),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            kill(process)


def _done(args: Sequence[str], code: int, out: bytes, err: bytes) -> Done:
    return Done(tuple(args), code, out, err.decode(errors="replace"))


_forking = warm.Warm()


def _warm(command: Sequence[str], environment: Mapping[str, str], stdin: bytes | None) -> Done:
    """As `subprocess.run` would, without a new interpreter; files in memory stand for pipes of any size."""
    with (
        open(os.devnull, "rb") if stdin is None else _memory(stdin) as source,
        _memory() as out,
        _memory() as err,
    ):
        code = _forking.run(command, environment, [end.fileno() for end in (source, out, err)], PATIENCE)
        for end in (out, err):
            end.seek(0)
        return _done(command[1:], code, out.read(), err.read())


def _memory(content: bytes = b"") -> BinaryIO:
    end = open(os.memfd_create("end"), "w+b", buffering=0)  # noqa: SIM115 - the caller's to close
    end.write(content)
    end.seek(0)
    return end


def kill(process: "subprocess.Popen[bytes]") -> None:
    """kill -9 of the process and its children, and the end of it awaited."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout is not None:
        process.stdout.close()
    process.wait()


def peer(name: str, *args: object, env: Mapping[str, str], code: int | None = 0) -> Done:
    """Run rclone or s5cmd, the independent judges."""
    command: Sequence[str] = [tool(name), *map(str, args)]
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
    finished = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env={**kept, **env}, timeout=PATIENCE, check=False
    )
    done = _done([name, *command[1:]], finished.returncode, finished.stdout, finished.stderr)
    assert code is None or done.code == code, done
    return done
