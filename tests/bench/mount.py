"""Mounts beside each other: `cftool mount` and `rclone mount --vfs-cache-mode full` of the same bucket.

`python -m tests.bench --mount` writes MOUNT.md. Each round mounts each program anew, with an empty cache, and does the
same work on it one piece after another; the programs take turns. Rates are of the program that uses the mount, CPU is
that of the process behind it. Uploads wait (an hour), so that nothing competes with what is measured.
"""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.lab import Lab
from tests.bench.measure import run
from tests.servers import tool

MIB = 1 << 20
LARGE = 256 * MIB
RANDOM_READS = 5_000
CREATED = 2_000
LISTED = 10_000
CROWD = 200_000
IDLE = 10  # seconds
PROGRAMS = ("cftool", "cftool, no passthrough", "rclone")
PATIENCE = 120
_TICKS = os.sysconf("SC_CLK_TCK")
_MS_REMOUNT = 32


@dataclass(frozen=True, slots=True)
class Figure:
    """One piece of work: how much a second, and the CPU seconds of the mount's process for all of it."""

    rate: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Bar:
    """cftool's rate is at least `ratio` times rclone's; with `cpu` its CPU at most that part of rclone's."""

    row: str
    ratio: float
    cpu: float | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What is measured, in which unit, and what cftool is held to."""

    name: str
    unit: str
    bars: Sequence[Bar] = ()
    forgotten: bool = False  # whether the kernel knows no names when it begins


WORKS = (
    Work("cold streaming read", "MiB/s", (Bar("cftool", 1.2, 0.8),)),
    Work("sequential read of a cached file", "MiB/s", (Bar("cftool", 3.0), Bar("cftool, no passthrough", 1.5))),
    Work("random 4 KiB reads of a cached file", "reads/s", (Bar("cftool", 5.0), Bar("cftool, no passthrough", 5.0))),
    Work("sequential write", "MiB/s", (Bar("cftool", 3.0), Bar("cftool, no passthrough", 1.3))),
    Work("create 4 KiB files, one writer", "files/s", (Bar("cftool", 2.0), Bar("cftool, no passthrough", 2.0))),
    Work("create 4 KiB files, four writers", "files/s", (Bar("cftool", 2.5), Bar("cftool, no passthrough", 2.5))),
    Work(f"first ls -l of {LISTED:,}", "files/s"),
    Work(f"ls -l of {LISTED:,}, listed before", "files/s", (Bar("cftool", 3.0),), forgotten=True),
    Work("stat, nothing in the kernel", "files/s", (Bar("cftool", 3.0),), forgotten=True),
)


@dataclass
class Mounted:
    """A mount that is there. `process` serves it."""

    place: Path
    process: subprocess.Popen[bytes]

    def cpu(self) -> float:
        """Seconds of the process so far."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / _TICKS

    def memory(self) -> float:
        """MiB at the peak."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
        raise SystemExit("the kernel does not tell the peak of memory")

    def forget(self) -> None:
        """The kernel drops the names that it knows of this mount; the process behind it keeps its own."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(None, os.fsencode(self.place), None, ctypes.c_ulong(_MS_REMOUNT), None) != 0:
            raise SystemExit(f"remount: {os.strerror(ctypes.get_errno())}")


def _command(program: str, bucket: str, place: Path, home: Path) -> list[str]:
    if program == "rclone":
        return [
            tool("rclone"), "mount", f"lab:{bucket}", str(place), "--vfs-cache-mode", "full", "--vfs-write-back", "1h",
            "--cache-dir", str(home / "cache"), "--use-server-modtime", "--vfs-fast-fingerprint",
            "--dir-cache-time", "1h", "--attr-timeout", "1h", "--allow-non-empty",
        ]  # fmt: skip
    flags = ["--no-passthrough"] if program.endswith("no passthrough") else []
    return [
        tool("cftool"), "mount", f"lab:{bucket}", str(place), "--foreground", "--cache", "1h", "--metadata-cache", "1h",
        *flags,
    ]  # fmt: skip


@contextlib.contextmanager
def mounted(program: str, lab: Lab, bucket: str, folder: Path) -> Iterator[Mounted]:
    """With an empty cache below `folder`; killed and taken away at the end."""
    home, place = folder / "home", folder / "mnt"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    place.mkdir(exist_ok=True)
    if program == "rclone":
        env = lab.server.rclone_environment()
    else:
        folders = {name: str(home / name) for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
        env = {**folders, **lab.server.cftool_environment()}
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        _command(program, bucket, place, home), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **env},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while not os.path.ismount(place):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{program} does not mount:\n{(folder / 'log').read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)
        yield Mounted(place, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        subprocess.run(["umount", "-l", str(place)], stderr=subprocess.DEVNULL, check=False)
        log.close()
        shutil.rmtree(home, ignore_errors=True)


# ---- the pieces of work: each gives how much was done


def _read(path: Path) -> float:
    fd = os.open(path, os.O_RDONLY)
    buffer = bytearray(MIB)
    total = 0
    try:
        while count := os.readv(fd, [buffer]):
            total += count
    finally:
        os.close(fd)
    if total != LARGE:
        raise SystemExit(f"{path.name}: {total} bytes of {LARGE}")
    return total / MIB


def _dropped(path: Path) -> int:
    """Open, with nothing of it in the kernel's cache of this mount."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return fd


def _reread(path: Path) -> float:
    os.close(_dropped(path))
    return _read(path)


def _random(path: Path) -> float:
    fd = _dropped(path)
    rng = random.Random(1)
    places = [rng.randrange(LARGE // 4096) * 4096 for _ in range(RANDOM_READS)]
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    try:
        for place in places:
            os.pread(fd, 4096, place)
    finally:
        os.close(fd)
    return RANDOM_READS


def _write(path: Path) -> float:
    data = random.Random(2).randbytes(MIB)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        for _ in range(LARGE // MIB):
            os.write(fd, data)
    finally:
        os.close(fd)
    return LARGE / MIB


def _create(folder: str, count: int) -> int:
    data = bytes(range(256)) * 16
    os.mkdir(folder)
    for number in range(count):
        fd = os.open(f"{folder}/f{number:05d}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # as programs do
        os.write(fd, data)
        os.close(fd)
    return count


def _list(folder: Path) -> float:
    done = subprocess.run(["ls", "-l", folder], capture_output=True, env={"LC_ALL": "C"}, check=True)
    shown = done.stdout.count(b"\n") - 1
    if shown != LISTED:
        raise SystemExit(f"ls -l shows {shown} files of {LISTED}")
    return LISTED


def _stat(folder: Path) -> float:
    for number in random.Random(3).sample(range(LISTED), LISTED):
        os.stat(f"{folder}/file-{number:07d}.dat")
    return LISTED


@dataclass
class MountBench:
    """All rounds. `figures` by work and program; `costs` of standing there: idle CPU and memory."""

    scratch: Path
    rounds: int
    say: Callable[[str], None] = print
    figures: dict[str, dict[str, list[Figure]]] = field(default_factory=dict)
    idle: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    crowd: dict[str, float] = field(default_factory=dict)

    def run(self, lab: Lab, programs: Sequence[str] = PROGRAMS) -> None:
        """Measure everything."""
        lab.reset(data=True)
        self._fill(lab)
        order = list(programs)
        for number in range(self.rounds):
            for program in order:
                self._round(program, number, lab)
                self.say(f"{program}: round {number + 1} of {self.rounds}")
            order = order[1:] + order[:1]
        if lab.control:
            for program in programs:
                if program != "cftool, no passthrough":
                    self._crowded(program, lab)

    def _fill(self, lab: Lab) -> None:
        lab.fill("bench", LISTED, per_folder=LISTED)
        local = self.scratch / "cold.bin"
        rng = random.Random(4)
        with local.open("wb") as file:
            for _ in range(LARGE // MIB):
                file.write(rng.randbytes(MIB))
        env = {"XDG_STATE_HOME": str(self.scratch / "filling"), **lab.server.cftool_environment()}
        run([tool("cftool"), "cp", str(local), "lab:bench/cold.bin"], env)
        local.unlink()
        lab.fill("crowd", CROWD if lab.control else 0, per_folder=CROWD)

    def _round(self, program: str, number: int, lab: Lab) -> None:
        with mounted(program, lab, "bench", self.scratch / "work") as mount, ProcessPoolExecutor(4) as pool:
            list(pool.map(abs, range(4)))  # its processes are there
            place, listed = mount.place, mount.place / "d00000"
            mark = f"{PROGRAMS.index(program)}-{number}"  # directories are made at the remote at once

            def four() -> float:
                folders = [str(place / f"{mark}-four-{writer}") for writer in range(4)]
                return sum(pool.map(_create, folders, [CREATED // 4] * 4))

            pieces: tuple[Callable[[], float], ...] = (
                lambda: _read(place / "cold.bin"),
                lambda: _reread(place / "cold.bin"),
                lambda: _random(place / "cold.bin"),
                lambda: _write(place / "written.bin"),
                lambda: _create(str(place / f"{mark}-one"), CREATED),
                four,
                lambda: _list(listed),
                lambda: _list(listed),
                lambda: _stat(listed),
            )
            for work, piece in zip(WORKS, pieces, strict=True):
                if work.forgotten:
                    mount.forget()  # takes the kernel as long as a good part of the work itself
                cpu, began = mount.cpu(), time.perf_counter()
                done = piece()
                seconds = time.perf_counter() - began
                figure = Figure(done / seconds, mount.cpu() - cpu)
                self.figures.setdefault(work.name, {}).setdefault(program, []).append(figure)
            self.memory[program] = max(self.memory.get(program, 0.0), mount.memory())
            cpu = mount.cpu()
            time.sleep(IDLE)
            self.idle[program] = (mount.cpu() - cpu) / IDLE

    def _crowded(self, program: str, lab: Lab) -> None:
        with mounted(program, lab, "crowd", self.scratch / "work") as mount:
            with os.scandir(mount.place / "d00000") as entries:
                count = sum(1 for entry in entries if entry.stat().st_size)
            if count != CROWD:
                raise SystemExit(f"{program}: {count} of {CROWD} entries")
            self.crowd[program] = mount.memory()
        self.say(f"{program}: {CROWD:,} entries")

    # ---- the report

    def tables(self) -> list[str]:
        """In Markdown: bars, then all figures."""
        lines = ["## Bars", "", "| work | measured | bar | |", "|---|---|---|---|"]
        for work in WORKS:
            found = {name: middle(figures) for name, figures in self.figures.get(work.name, {}).items()}
            lines += [line for bar in work.bars if bar.row in found for line in _judged(work, bar, found)]
        names = [name for name in PROGRAMS if name in self.idle]
        lines += ["", "## Figures", "", f"| work | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for work in WORKS:
            cells = [_cell(middle(self.figures[work.name][name])) for name in names]
            lines.append(f"| {work.name}, {work.unit} (CPU s) | {' | '.join(cells)} |")
        rows = (
            (f"CPU while nothing is asked, % ({IDLE} s)", self.idle, 100.0),
            ("memory at the peak of all that, MiB", self.memory, 1.0),
            (f"memory at the peak of scandir and stat of {CROWD:,} in one directory, MiB", self.crowd, 1.0),
        )
        for title, values, factor in rows:
            cells = [f"{values[name] * factor:.1f}" if name in values else "–" for name in names]
            lines.append(f"| {title} | {' | '.join(cells)} |")
        return lines


def middle(figures: Sequence[Figure]) -> Figure:
    """The median of each by itself."""
    return Figure(statistics.median(one.rate for one in figures), statistics.median(one.cpu for one in figures))


def _cell(figure: Figure) -> str:
    return f"{figure.rate:,.0f} ({figure.cpu:.2f})"


def _judged(work: Work, bar: Bar, found: dict[str, Figure]) -> Iterator[str]:
    ours, theirs = found[bar.row], found["rclone"]
    ratio = ours.rate / theirs.rate
    verdict = "pass" if ratio >= bar.ratio else "**FAIL**"
    title = work.name + bar.row.removeprefix("cftool")
    yield f"| {title} | {ratio:.2f} × rclone | ≥ {bar.ratio:g} × | {verdict} |"
    if bar.cpu is not None and theirs.cpu:
        ratio = ours.cpu / theirs.cpu
        verdict = "pass" if ratio <= bar.cpu else "**FAIL**"
        yield f"| {title}, CPU | {ratio:.2f} × rclone | ≤ {bar.cpu:g} × | {verdict} |"
