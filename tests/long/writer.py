"""Random kill -9 of a process that writes files through the atomic writer, and a look at what is left.

The child writes version after version of a few files, small ones and one in parts, and acknowledges a version once
`Root.flush` has returned. The parent kills it after a random time. What must hold then: under every final name stands
one whole version, none older than the last that was acknowledged, and a sweep removes all temporary names.
"""

import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from cftool.core.types import Entry, Kind
from cftool.disk import temps
from cftool.disk.root import Root
from tests.trees import content

NAMES = ("a", "b", "sub/c", "sub/deeper/d")
LARGE = "sub/large"
LARGE_SIZE, PART = 300_000, 100_000


@dataclass(slots=True)
class Tally:
    """What a row of kills found."""

    kills: int = 0
    acknowledged: int = 0
    temporaries: int = 0
    wrong: int = 0
    lost: int = 0


def version_of(name: str, version: int) -> bytes:
    """The content of one version: whole, or recognisably not."""
    size = LARGE_SIZE if name == LARGE else 100 + 37 * version % 9_000
    return version.to_bytes(8, "big") + content(f"{name}/{version}", size - 8)


def entry(name: str, data: bytes, version: int) -> Entry:
    """What a listing would have said of it."""
    return Entry(name, Kind.FILE, size=len(data), modified_ns=10**18 + version, version=str(version))


def write_for_ever(folder: Path, first: int, acknowledge: int) -> None:
    """The child: never returns."""
    with Root(str(folder)) as root:
        for version in range(first, 1 << 40):
            for name in NAMES:
                data = version_of(name, version)
                root.target(name).save(data, entry(name, data, version))
            if version % 3 == 0:
                write_in_parts(root, version)
            failures = root.flush()
            os.write(acknowledge, (b"%d\n" % version) if not failures else b"failed %r\n" % (failures,))


def write_in_parts(root: Root, version: int) -> None:
    """The large file, parts out of order as downloads deliver them."""
    data = version_of(LARGE, version)
    said = entry(LARGE, data, version)
    partial = root.target(LARGE).begin(said)
    for start, end in reversed(partial.missing(PART)):
        partial.write_at(data[start:end], start)
        partial.done(start, end)
    partial.commit(said)
    partial.close()


def one_kill(folder: Path, first: int, seconds: float) -> tuple[int, int]:
    """Fork, let it write from version `first` on, kill it; the last version acknowledged and started."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            write_for_ever(folder, first, writing)
        finally:
            os._exit(1)
    os.close(writing)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        lines = [line for line in pipe.read().split(b"\n") if line]
    assert os.WIFSIGNALED(status), f"the writer ended by itself: {lines[-1:]}"
    assert all(line.isdigit() for line in lines), lines[-1]
    return (int(lines[-1]) if lines else first - 1), first + len(lines)


def look(folder: Path, acknowledged: int, started: int, tally: Tally) -> None:
    """Compare every file with the versions that may stand there."""
    for name in (*NAMES, LARGE):
        floor = acknowledged - acknowledged % 3 if name == LARGE else acknowledged
        try:
            data = (folder / name).read_bytes()
        except FileNotFoundError:
            tally.lost += floor > 0
            continue
        version = int.from_bytes(data[:8], "big")
        if data != version_of(name, version) or version > started:
            tally.wrong += 1
        elif version < floor:
            tally.lost += 1


def time_of_a_version(folder: Path) -> float:
    """Seconds that a version takes on this disk, now: what a random moment is drawn from."""
    reading, writing = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            write_for_ever(folder, 1, writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        for _ in range(4):
            pipe.readline()
        seconds = (time.monotonic() - started) / 4
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return seconds


def kill_writers(folder: Path, kills: int, seed: int) -> Tally:
    """`kills` rounds in one folder."""
    (folder / "tried").mkdir()
    longest = 3 * time_of_a_version(folder / "tried")
    folder = folder / "tree"
    folder.mkdir()
    rng = random.Random(seed)
    tally = Tally()
    acknowledged = 0
    for _ in range(kills):
        acknowledged_now, started = one_kill(folder, acknowledged + 1, rng.uniform(0, longest))
        tally.acknowledged += acknowledged_now - acknowledged
        acknowledged = acknowledged_now
        look(folder, acknowledged, started, tally)
        with Root(str(folder)) as root:
            tally.temporaries += len(temps.sweep(root))
            assert list(temps.find(root)) == []
        tally.kills += 1
        # The next writer starts anew: what it had not acknowledged may or may not be there, in any mixture of files.
        acknowledged = started
        for name in (*NAMES, LARGE):
            version = started - started % 3 if name == LARGE else started
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(version_of(name, version))
    return tally
