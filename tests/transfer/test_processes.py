"""Runs in real processes: two at once, and one that is killed at every point of recording its state."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cftool.transfer.state import pair_path
from tests.transfer.kit import Bench, local, make, tree

COPIES = 3000

PRELUDE = """
import os, signal, sys
from pathlib import Path
from tests.transfer.kit import Bench, local
root = Path(sys.argv[1])
bench = Bench(local(root / "src"), local(root / "dst"), str(root / "state"))
"""


def child(root: Path, code: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code), str(root), *arguments],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.crash
def test_a_second_process_on_the_same_destination_is_locked_out(tmp_path):
    make(tmp_path / "src", {"f": b"1"})
    (tmp_path / "dst").mkdir()
    first = child(
        tmp_path,
        """
        walk = bench.src.store.walk
        def slow(path):
            print("listing", flush=True)
            sys.stdin.readline()
            return walk(path)
        bench.src.store.walk = slow
        print(bench.sync().copied)
        """,
    )
    assert first.stdout.readline() == "listing\n"
    second = child(
        tmp_path,
        """
        from cftool.core.errors import Locked
        try:
            bench.sync()
        except Locked:
            print("locked")
        """,
    )
    assert second.communicate(timeout=30)[0] == "locked\n"
    assert first.communicate("go\n", timeout=30)[0] == "1\n"
    assert tree(tmp_path / "dst") == {"f": b"1"}


# Dies as kill -9 does, before or after the n-th commit of the state database, with more files to come.
DYING = """
from cftool.transfer import state
state._BATCH = 8
number, when = int(sys.argv[2]), sys.argv[3]
flush, count = state.PairState.flush, 0
def dying(self):
    global count
    if self._puts or self._drops:
        count += 1
    if count == number and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    flush(self)
    if count == number and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
state.PairState.flush = dying
bench.sync()
print("done")
"""


@pytest.mark.crash
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_run_that_is_killed_while_it_records_is_taken_up_by_the_next(tmp_path, number, when):
    files = {f"d{number % 7}/f{number:03}": str(number).encode() for number in range(200)}
    make(tmp_path / "src", files)
    make(tmp_path / "dst", {"d0/old": b"1"})
    process = child(tmp_path, DYING, str(number), when)
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == -signal.SIGKILL
    recorded = rows(tmp_path)
    assert recorded == 8 * (number - (when == "before"))
    after = tree(tmp_path / "dst")
    assert {path: after.get(path, data) for path, data in files.items()} == files  # whole or not there
    bench = Bench(local(tmp_path / "src"), local(tmp_path / "dst"), str(tmp_path / "state"))
    summary = bench.sync()
    assert summary.compared_by.get("state", 0) == recorded
    assert (summary.errors, summary.deleted) == ({}, 1)
    assert tree(tmp_path / "dst") == files
    assert [name for _, _, names in os.walk(tmp_path / "dst") for name in names if name.startswith(".cftool-")] == []
    assert bench.sync().compared_by == {"state": 200}


def rows(root: Path) -> int:
    path = pair_path(str(root / "state"), os.path.realpath(root / "src"), os.path.realpath(root / "dst"))
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT count(*) FROM files").fetchone()[0]
    finally:
        connection.close()


# Two sides of a hundred thousand entries each, made on the fly: what is measured is the engine, not the lists.
MANY = """
import resource
from cftool.core.types import Cap, Entry, Features, Kind, NameRules, WalkOrder
from cftool.transfer.options import Side

class Made:
    name = "made"
    features = Features(
        caps=Cap.WALK | Cap.DELETE_MANY, identity="made", listed_time=True, time_precision_ns=1,
        names=NameRules(opaque=True), walk_order=WalkOrder.BYTES,
    )
    def walk(self, path):
        for folder in range(100):
            yield Entry(f"folder {folder:03}", Kind.DIRECTORY)
            for number in range(1000):
                yield Entry(f"folder {folder:03}/a file's name {number:05}", Kind.FILE, 4096, 1, None, f"v{number}")

bench.src, bench.dst = Side(Made(), "a", "a"), Side(Made(), "b", "b")
emit = lambda event: None
from cftool.transfer import api
from cftool.transfer.options import Options
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(2):
    summary = api.sync(bench.src, bench.dst, Options(), bench.around(), emit)
    print(dict(summary.compared_by), summary.errors == {})
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_does_not_grow_with_the_tree(tmp_path):
    out, _ = child(tmp_path, MANY).communicate(timeout=120)
    first, second, grown = out.splitlines()
    assert (first, second) == ("{'time': 100000} True", "{'state': 100000} True")
    assert int(grown) < 40  # MiB; two lists of entries would take 100
