"""One run of one command, measured by the kernel: CPU of it and its children, wall time, and peak memory.

This process stays small, for the peak memory of a child starts at that of whoever forked it.
"""

import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run: seconds of CPU (user and system) and of wall, MiB of memory at the peak, requests where counted."""

    cpu: float
    wall: float
    rss: float
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The cost of a run and what it wrote to standard output."""

    cost: Cost
    out: bytes


def run(command: Sequence[str], env: Mapping[str, str], *, keep_output: bool = False) -> Outcome:
    """Run to the end; a failure ends the benchmark with what the command said."""
    # Small outputs fit into a pipe; the large ones (listings) go nowhere, as they would to a pipe that is read at once.
    reading, writing = os.pipe()
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=writing if keep_output else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **env},
    )
    os.close(writing)
    assert process.stderr is not None
    with os.fdopen(reading, "rb") as stdout, process.stderr as stderr:
        out = stdout.read() if keep_output else b""
        said = stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{shlex.join(command)}\nexit {process.returncode}\n{said.decode(errors='replace')[-4000:]}")
    return Outcome(Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024), out)


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure by itself; of memory the largest, for a bar on memory is a bar on the worst run."""
    requests = [cost.requests for cost in costs if cost.requests is not None]
    return Cost(
        statistics.median(cost.cpu for cost in costs),
        statistics.median(cost.wall for cost in costs),
        max(cost.rss for cost in costs),
        int(statistics.median(requests)) if requests else None,
    )


def apart(work: Callable[[], int]) -> int:
    """What `work` gives, found out in a child process: the memory that it needs does not stay with this one."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(writing, str(work()).encode())
            code = 0
        except SystemExit as end:
            print(end, file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as found:
        text = found.read()
    _, status = os.waitpid(pid, 0)
    if status:
        sys.exit("a run that was only to be counted failed")
    return int(text)
