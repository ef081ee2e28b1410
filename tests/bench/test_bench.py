"""The benchmark's own arithmetic; what it measures is no test's business."""

import contextlib
import sys

import pytest

from tests.bench import cache
from tests.bench.__main__ import _runs
from tests.bench.lab import APACHE, FAKE_GCS, RCLONE_WEBDAV, Served
from tests.bench.measure import Cost, apart, median, run
from tests.bench.tables import Bar, Table


def test_cpu_of_children_is_counted():
    work = "sum(range(3_000_000))"
    script = f"import subprocess, sys; {work}; subprocess.run([sys.executable, '-c', {work!r}], check=True)"
    alone = run([sys.executable, "-c", work], {}).cost
    both = run([sys.executable, "-c", script], {}).cost
    assert 0 < alone.cpu < both.cpu
    assert alone.rss > 1


def test_a_failing_command_ends_the_benchmark_with_its_words():
    with pytest.raises(SystemExit, match="no such thing"):
        run([sys.executable, "-c", "import sys; sys.exit('no such thing')"], {})


def test_figures_are_medians_and_memory_is_the_largest():
    costs = [Cost(1.0, 9.0, 10.0, 5), Cost(2.0, 8.0, 30.0, 5), Cost(9.0, 7.0, 20.0, 6)]
    assert median(costs) == Cost(2.0, 8.0, 30.0, 5)


def test_a_bar_holds_up_to_its_limit():
    rows = {"cftool": Cost(1.5, 2.0, 80.0, 10), "s5cmd": Cost(3.0, 2.5, 30.0, 10)}
    assert Bar("cpu", 1.5).judge(rows) == ("1.50 s CPU", "≤ 1.5 s CPU", True)
    assert Bar("rss", 79).judge(rows) == ("80 MiB", "≤ 79 MiB", False)
    assert Bar("wall", 0.7, "s5cmd").judge(rows) == ("0.80 × s5cmd wall", "≤ 0.7 ×", False)


def test_a_bar_on_what_was_not_counted_does_not_hold():
    assert Bar("requests", 10).judge({"cftool": Cost(1.0, 1.0, 1.0)}) == ("not counted", "≤ 10 requests", False)


def test_what_is_counted_apart_comes_back_or_ends_the_benchmark():
    assert apart(lambda: 42) == 42
    with pytest.raises(SystemExit, match="counted"):
        apart(lambda: sys.exit("no such thing"))


def test_what_a_cache_with_many_pending_files_costs_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PENDING", 7)
    heard = []
    lines = cache.measured(1, str(tmp_path), heard.append)
    assert [line.split(" | ")[0] for line in lines if "7" in line.split(" | ")[0]] == [
        "| open with 7 pending files", "| open with 7 pending files", "| 7 pending files",
    ]  # fmt: skip
    assert len(heard) == 2
    assert list(tmp_path.iterdir()) == []


LOGS = {
    "rclone": (
        RCLONE_WEBDAV,
        [
            "2026/11/26 03:37:13 NOTICE: Local file system at t: WebDav Server started on [http://127.0.0.1:1/]",
            "2026/11/26 03:37:14 INFO  : //x: PUT from 127.0.0.1:50402",
            "2026/11/26 03:37:14 INFO  : x: Moved (server-side) to: y",
            "2026/11/26 03:37:14 INFO  : //x: MOVE from 127.0.0.1:45362",
        ],
    ),
    "apache": (APACHE, ["PUT /dav/x", "MOVE /dav/x"]),
    "gcs": (
        FAKE_GCS,
        [
            'time=2026-11-26T03:37:15.224Z level=INFO msg="server started at http://127.0.0.1:18098"',
            'time=2026-11-26T03:37:16.183Z msg="127.0.0.1 - - [x] \\"POST /storage/v1/b HTTP/1.1\\" 200 388"',
            'time=2026-11-26T03:37:16.244Z msg="127.0.0.1 - - [x] \\"GET /storage/v1/b HTTP/1.1\\" 404 119"',
        ],
    ),
}


@pytest.mark.parametrize("name", LOGS)
def test_requests_are_counted_by_the_log_of_the_server_from_the_last_reset_on(tmp_path, name):
    service, lines = LOGS[name]
    lab = Served(service, tmp_path, contextlib.ExitStack())
    log = tmp_path / "log"
    log.write_text("\n".join(lines) + "\n")
    assert lab.requests() == 2
    lab.reset()
    assert lab.requests() == 0
    with log.open("a") as file:
        file.write("\n".join(lines) + "\n")
    assert lab.requests() == 2


def test_who_ran_once_only_is_named():
    assert _runs(Table("t", {}, runs=1, once=("rclone",))) == "1 run"
    assert _runs(Table("t", {}, runs=3)) == "3 runs"
    assert _runs(Table("t", {}, runs=3, once=("rclone",))) == "3 runs; rclone once"
