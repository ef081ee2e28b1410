"""Opening a write-back cache with very many pending files: `python -m tests.bench --cache` writes CACHE.md.

A child process opens and closes the cache; what it costs beyond one that does the same with an empty cache is what the
pending files cost. Their data files are empty: the number of files counts here, not their bytes.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.bench.measure import Cost, median, run
from tests.bench.tables import Bar

PENDING = 100_000
BARS = (Bar("cpu", 2.0), Bar("rss", 150))
_OPEN = """
import sys
from cftool.wrap.caching import CachingStore
from cftool_providers.memory import MemoryStore
store = CachingStore(MemoryStore(), sys.argv[1])
assert len(store.pending()) == int(sys.argv[2])
store.close()
"""
_ROOT = Path(__file__).resolve().parents[2]


def filled(directory: str, count: int) -> None:
    """A cache with so many pending files of no bytes, in folders of a hundred."""
    from cftool.wrap.caching import CachingStore
    from cftool.wrap.caching.rows import Content, Pending, What
    from cftool_providers.memory import MemoryStore

    store = CachingStore(MemoryStore(), directory)
    with store.journal.together():
        for number in range(1, count + 1):
            os.close(os.open(store.files.path(number), os.O_WRONLY | os.O_CREAT, 0o600))
            path = f"folder {number // 1000}/sub {number // 100 % 10}/file {number:06d}.txt"
            row = Pending(0, What.UPLOAD, path, content=number, size=0, modified_ns=number, base="", due=2e9)
            store.journal.record([row], made=Content(number, None, 0))
    store.close()


def measured(rounds: int, scratch: str | None, say: Callable[[str], None]) -> list[str]:
    """The lines of the table."""
    costs: dict[int, list[Cost]] = {0: [], PENDING: []}
    folder = tempfile.mkdtemp(prefix="cftool-bench-cache-", dir=scratch)
    try:
        for count in costs:
            filled(os.path.join(folder, str(count)), count)
        for number in range(rounds):
            for count, found in costs.items():
                place = os.path.join(folder, str(count))
                command = [sys.executable, "-c", _OPEN, place, str(count)]
                found.append(run(command, {"PYTHONPATH": f"{_ROOT}:{_ROOT / 'providers'}"}).cost)
                say(f"round {number + 1}: {count:,} pending: {found[-1].cpu:.2f} s CPU, {found[-1].rss:.0f} MiB")
    finally:
        shutil.rmtree(folder)
    return _table(median(costs[0]), median(costs[PENDING]))


def _table(empty: Cost, full: Cost) -> list[str]:
    cost = replace(full, cpu=full.cpu - empty.cpu, wall=full.wall - empty.wall)
    lines = ["## Bars", "", "| work | measured | bar | |", "|---|---|---|---|"]
    for bar in BARS:
        found, limit, holds = bar.judge({"cftool": cost})
        lines.append(f"| open with {PENDING:,} pending files | {found} | {limit} | {'pass' if holds else '**FAIL**'} |")
    lines += ["", "## Runs", "", "| cache | CPU s | wall s | peak MiB |", "|---|---|---|---|"]
    for name, one in (("empty", empty), (f"{PENDING:,} pending files", full)):
        lines.append(f"| {name} | {one.cpu:.3f} | {one.wall:.3f} | {one.rss:.0f} |")
    return lines
