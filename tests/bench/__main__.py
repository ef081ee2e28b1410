"""`python -m tests.bench`: measures, prints the tables, and writes them to tests/bench/RESULTS.md.

With `--webdav` the servers are `rclone serve webdav` and Apache, and the file is WEBDAV.md; with `--gs` it is an
emulator of Google Cloud Storage, and the file is GS.md. With `--mount` mounts are measured, and the file is MOUNT.md;
with `--cache` the write-back cache, and it is CACHE.md.
"""

import argparse
import contextlib
import os
import platform
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import cache
from tests.bench import lab as labs
from tests.bench.clients import Client
from tests.bench.mount import MountBench
from tests.bench.small import GS_NOTE, WEBDAV_NOTE, gs, webdav
from tests.bench.tables import Bench, Table

RESULTS = Path(__file__).with_name("RESULTS.md")
WEBDAV = Path(__file__).with_name("WEBDAV.md")
GS = Path(__file__).with_name("GS.md")
MOUNT = Path(__file__).with_name("MOUNT.md")
CACHE = Path(__file__).with_name("CACHE.md")
S3_NOTE = (
    "rclone runs with 32 transfers; `no hashes` adds `--s3-disable-checksum --ignore-checksum --s3-no-head`.",
    "cftool verifies all that it writes and reads.",
)
WORDS = "## What stands between\n"  # what was written by hand, and stays when the figures are new
MOUNT_NOTE = (
    "Rates are of the program that uses the mount, CPU seconds (in brackets) of the process behind it; medians.",
    "rclone runs with `--vfs-cache-mode full --use-server-modtime --vfs-fast-fingerprint --dir-cache-time 1h",
    "--attr-timeout 1h`; both keep uploads back for an hour. What cftool wrote is on the disk when close returns;",
    "rclone syncs nothing.",
)
ONLY = ("upload", "download", "list", "no-op", "delete", "large", "tls", "million", "start")


def main() -> None:
    options = _arguments()
    started = time.time()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # servers and mounts go with us
    if options.cache:
        table = cache.measured(options.rounds, options.scratch, _say)
        _give("\n".join([*_facts("--cache", options, started), "", *table]) + "\n", CACHE, options)
        return
    with tempfile.TemporaryDirectory(prefix="cftool-bench-", dir=options.scratch) as folder:
        if options.webdav or options.gs:
            bench = Bench(Path(folder), options.rounds, say=_say)
            lab = (webdav if options.webdav else gs)(bench, options.only, options.files)
            _give(_report(bench.tables, lab, options, started), WEBDAV if options.webdav else GS, options)
        else:
            _others(options, folder, started)


def _others(options: argparse.Namespace, folder: str, started: float) -> None:
    """What runs on one server from the beginning to the end."""
    with _lab(options, folder) as lab:
        if options.mount:
            mounts = MountBench(Path(folder), options.rounds, say=_say)
            mounts.run(lab)
            lines = [*_head(lab, options, started, ("cftool", "rclone")), *MOUNT_NOTE, "", *mounts.tables()]
            _give("\n".join(lines) + "\n", MOUNT, options)
            return
        bench = Bench(Path(folder), options.rounds, say=_say)
        works = {
            "upload": bench.upload_small,
            "download": bench.download_small,
            "list": bench.list_many,
            "no-op": bench.no_op,
            "delete": bench.delete,
            "large": bench.large,
            "million": bench.million,
            "start": bench.start_up,
        }
        chosen = options.only or [name for name in works if lab.control or name != "million"]
        for name, work in works.items():
            if name in chosen:
                work(lab)
            if name == "large" and options.s3lab and (not options.only or "tls" in options.only):
                with labs.stand_in(options.s3lab, tls=True) as over_tls:
                    bench.large(over_tls)
        report = _report(bench.tables, lab, options, started)
    _give(report, RESULTS, options)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _give(report: str, path: Path, options: argparse.Namespace) -> None:
    print(report)
    if options.write:
        old = path.read_text() if path.exists() else ""
        at = old.find(WORDS)
        path.write_text(report if at < 0 else f"{report}\n{old[at:]}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--server", metavar="URL", help="an S3 server that is running")
    where.add_argument("--s3lab", metavar="PATH", help="the binary of the measuring stand-in, started from here")
    where.add_argument("--webdav", action="store_true", help="the tables of WebDAV, on two servers")
    where.add_argument("--gs", action="store_true", help="the tables of Google Cloud Storage, on an emulator")
    parser.add_argument("--mount", action="store_true", help="mounts, beside rclone's")
    parser.add_argument("--cache", action="store_true", help="the write-back cache with very many pending files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, help="of --webdav and --gs: so many, for a look")
    parser.add_argument("--only", action="append", choices=ONLY, help="one table; may be repeated")
    parser.add_argument(
        "--scratch", metavar="DIR", help="where data is made; a memory file system gives quieter figures"
    )
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    options = parser.parse_args()
    if options.s3lab:
        options.s3lab = os.path.abspath(options.s3lab)
    return options


@contextlib.contextmanager
def _lab(options: argparse.Namespace, folder: str) -> Iterator[labs.Lab]:
    if options.server:
        context = labs.given(options.server)
    elif options.s3lab:
        context = labs.stand_in(options.s3lab)
    else:
        context = labs.local_rclone(Path(folder))
    with context as lab:
        yield lab


def _machine() -> str:
    model = "unknown processor"
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    system = f"{platform.system()} {platform.release()}"
    return f"{os.cpu_count()} x {model}, {memory} GiB, {system}, Python {platform.python_version()}"


def _facts(what: str, options: argparse.Namespace, started: float) -> list[str]:
    arguments = [f"--rounds {options.rounds}", *(f"--only {name}" for name in options.only or ())]
    arguments += [f"--files {options.files}"] if options.files else []
    if what:
        arguments.append(what)
    if options.s3lab:
        arguments.append(f"--s3lab {shlex.quote(Path(options.s3lab).name)}")
    if options.server:
        arguments.append("--server URL")
    if options.scratch:
        arguments.append(f"--scratch {shlex.quote(options.scratch)}")
    return [
        "# Measured",
        "",
        f"- command: `python -m tests.bench {' '.join(arguments)}`",
        f"- date: {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(started))}, {time.time() - started:.0f} s",
        f"- machine: {_machine()}; load {os.getloadavg()[0]:.1f}",
    ]


def _head(lab: labs.Lab, options: argparse.Namespace, started: float, names: tuple[str, ...]) -> list[str]:
    what = " ".join(f"--{name}" for name in ("webdav", "gs", "mount") if getattr(options, name))
    place = "as named below," if isinstance(lab, labs.Served) else lab.name
    said = {name: Client(name, lab, Path()).version() for name in names}
    versions = ", ".join(f"{name} {version.rpartition(' ')[2]}" for name, version in said.items())
    return [
        *_facts(what, options, started),
        f"- versions: {versions}",
        f"- server: {place} on the same machine, over the loopback",
        "",
    ]


def _report(tables: list[Table], lab: labs.Lab, options: argparse.Namespace, started: float) -> str:
    names = ("cftool", "rclone") if options.webdav or options.gs else ("cftool", "rclone", "s5cmd")
    note = WEBDAV_NOTE if options.webdav else GS_NOTE if options.gs else S3_NOTE
    lines = [
        *_head(lab, options, started, names),
        "CPU is user and system time of the client and its children, start-up included; figures are medians, memory",
        "is the largest. Wall time is good for comparing the clients of one table only.",
        *note,
        "",
        "## Bars",
        "",
        "| work | measured | bar | |",
        "|---|---|---|---|",
    ]
    for table in tables:
        for bar in table.bars:
            measured, limit, holds = bar.judge(table.rows)
            lines.append(f"| {table.title} | {measured} | {limit} | {'pass' if holds else '**FAIL**'} |")
    for table in tables:
        lines += ["", f"## {table.title} ({_runs(table)})", ""]
        lines += ["| client | CPU s | wall s | peak MiB | requests |", "|---|---|---|---|---|"]
        for name, cost in table.rows.items():
            requests = "–" if cost.requests is None else str(cost.requests)
            lines.append(f"| {name} | {cost.cpu:.3f} | {cost.wall:.3f} | {cost.rss:.0f} | {requests} |")
    return "\n".join(lines) + "\n"


def _runs(table: Table) -> str:
    """How often each client ran."""
    told = f"{table.runs} {'run' if table.runs == 1 else 'runs'}"
    return told if table.runs == 1 or not table.once else f"{told}; {', '.join(table.once)} once"


if __name__ == "__main__":
    main()
