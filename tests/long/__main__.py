"""`python -m tests.long`: the harnesses at release size, one after the other; the counts go to tests/RESULTS.md.

A row there is the last run of one harness, with its date, command and machine: `--only` replaces no other row.
"""

import argparse
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.long.writer import kill_writers

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests/RESULTS.md"
HARNESSES = {
    "round trips": "tests/acceptance/test_roundtrip.py",
    "kills of sync": "tests/acceptance/test_kills.py",
    "histories of two trees and their syncs": "tests/transfer/test_sync_model.py",
    "interrupted large files": "tests/acceptance/test_resume.py",
    "refusals": "tests/acceptance/test_refusals.py",
    "exit codes": "tests/acceptance/test_exit_codes.py",
    "fuzzed decoders": "tests/fuzz",
    "secret canary": "tests/adversarial/test_canary.py",
    "symlink racer": "tests/adversarial/test_symlinks.py",
    "power cuts": "tests/adversarial/test_power_cuts.py",
    "names": "tests/adversarial/test_names.py",
    "wrong answers to listings": "tests/adversarial/test_listing_faults.py",
    "wrong bodies": "tests/adversarial/test_body_faults.py",
    "random operations on a file of a mount": "tests/mount/test_fsx.py",
    "threads at a file system": "tests/vfs/test_threads.py",
    "kills of a mount": "tests/mount/test_kills.py",
    "kills of a mount under programs": "tests/mount/test_kills_programs.py",
    "kills of the write-back cache": "tests/wrap/caching/test_kills.py",
    "model of the write-back cache": "tests/wrap/caching/test_model.py",
    "edits of others under the write-back cache": "tests/wrap/caching/test_others_model.py",
    "model of the archiving layer": "tests/wrap/archiving/test_model.py",
    "power cuts of the write-back cache": "tests/adversarial/test_cache_power_cuts.py",
    "two machines on one archive": "tests/wrap/archiving/test_two_machines.py",
    "kills of the archiving layer": "tests/wrap/archiving/test_kills.py",
    "power cuts of the archiving layer": "tests/adversarial/test_archive_power_cuts.py",
}
WRITER = "kills of the local writer"
PROOF = "table of commands and flags"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One harness: whether it held, what it counted, and how long it took."""

    name: str
    held: bool
    counts: str
    seconds: float


def main() -> int:
    """Run what is asked for; 1 where anything did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.long", description=__doc__)
    parser.add_argument("--only", action="append", choices=[WRITER, PROOF, *HARNESSES], help="may be repeated")
    parser.add_argument("--kills", type=int, default=10_000, help="of the local writer")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    options = parser.parse_args()
    chosen = options.only or [WRITER, PROOF, *HARNESSES]
    started = time.time()
    outcomes = [_writer(options.kills, options.seed)] if WRITER in chosen else []
    if PROOF in chosen:
        outcomes.append(_proof())
    for name, path in HARNESSES.items():
        if name in chosen:
            outcomes.append(_pytest(name, path, options.seed))
            print(outcomes[-1], file=sys.stderr)
    rows = {outcome.name: _row(outcome, options, started) for outcome in outcomes}
    report = _report({**(_old_rows() if options.write else {}), **rows})
    print(report)
    if options.write:
        RESULTS.write_text(report)
    return 0 if all(outcome.held for outcome in outcomes) else 1


def _writer(kills: int, seed: int) -> Outcome:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cftool-kills-") as folder:
        tally = kill_writers(Path(folder), kills, seed)
    counts = (
        f"{tally.kills} kills, {tally.acknowledged} acknowledged versions of 5 files, {tally.temporaries} temporary "
        f"files swept, {tally.wrong} wrong, {tally.lost} lost"
    )
    outcome = Outcome(WRITER, not (tally.wrong or tally.lost), counts, time.monotonic() - started)
    print(outcome, file=sys.stderr)
    return outcome


def _proof() -> Outcome:
    """Each command, flag, event and exit code is taken away: does the test that shows it fail?"""
    started = time.monotonic()
    command = [sys.executable, "-m", "tests.house.proof"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout, file=sys.stderr)
    counts = next(line for line in done.stdout.splitlines() if line.endswith("do not hold"))
    return Outcome(PROOF, done.returncode == 0, counts, time.monotonic() - started)


def _pytest(name: str, path: str, seed: int) -> Outcome:
    started = time.monotonic()
    with _scratch() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", path, f"--junit-xml={report}", "-o", "junit_family=xunit1"]
        command.append(f"--basetemp={folder}/tests")
        env = {**os.environ, "TEST_SIZE": "full", "TEST_SEED": str(seed)}
        done = subprocess.run([*command, "-p", "no:xdist"], cwd=ROOT, env=env, stdout=sys.stderr, check=False)
        suite = ET.parse(report).getroot().find("testsuite")
        assert suite is not None
        totals: dict[str, int] = {}
        for found in suite.iter("property"):
            totals[found.attrib["name"]] = totals.get(found.attrib["name"], 0) + int(found.attrib["value"])
    tests, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    counts = [f"{tests} tests", f"{failed} failed", *([f"{skipped} skipped"] if skipped else [])]
    counts += [f"{value:,} {key}" for key, value in totals.items()]
    return Outcome(name, done.returncode == 0 and not skipped, ", ".join(counts), time.monotonic() - started)


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    """A new directory where `make test` has its own: in memory where there is plenty."""
    made = subprocess.run(["bash", "tests/house/scratch.sh"], cwd=ROOT, capture_output=True, text=True, check=True)
    folder = made.stdout.strip()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _row(outcome: Outcome, options: argparse.Namespace, started: float) -> str:
    """One harness's line of the table."""
    kills = f" --kills {options.kills}" if outcome.name == WRITER else ""
    command = f'`python -m tests.long --only "{outcome.name}" --seed {options.seed}{kills}`'
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(started))
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    held = "held" if outcome.held else "**FAILED**"
    return f"| {outcome.name} | {held} | {outcome.counts} | {outcome.seconds:.0f} | {when} | {command} | {machine} |"


def _old_rows() -> dict[str, str]:
    """The rows of harnesses that still exist, by name."""
    if not RESULTS.exists():
        return {}
    found = {line.split("|")[1].strip(): line for line in RESULTS.read_text().splitlines() if line.startswith("| ")}
    return {name: line for name, line in found.items() if name in {WRITER, PROOF, *HARNESSES}}


def _report(rows: dict[str, str]) -> str:
    lines = [
        "# The long runs",
        "",
        "Each row is the last run of one harness at release size (`make long` runs all of them).",
        "",
        "| harness | | counted | seconds | date | command | machine |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [rows[name] for name in (WRITER, PROOF, *HARNESSES) if name in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
