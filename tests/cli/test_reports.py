"""--stats, --metrics-file and the limits of a run, as a user and a scraper see them."""

import os
import re
import subprocess

import pytest

from cftool.cli import run as run_module
from cftool.cli.metrics import Metrics
from cftool.cli.options import Common
from cftool.cli.session import Session
from cftool.transfer import events
from tests.cli.conftest import tree
from tests.cli.test_environment import CFTOOL

SERIES = re.compile(r'^([a-z_]+)\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\} ([0-9.e+-]+)$')


def parsed(path) -> dict[tuple[str, ...], float]:
    """The file by the rules of the format: every series has HELP and TYPE before it, and comes once."""
    found: dict[tuple[str, ...], float] = {}
    known = set()
    text = path.read_text()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            assert (word, name in known) in {("HELP", False), ("TYPE", True)}
            assert word == "HELP" or rest == "gauge"
            known.add(name)
            continue
        match = SERIES.match(line)
        assert match, line
        name, labels, value = match.groups()
        pairs = dict(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', labels))
        pairs.pop("task")
        pairs.pop("command")
        key = (name.removeprefix("cftool_run_"), *pairs.values())
        assert name in known
        assert key not in found
        found[key] = float(value)
    return found


@pytest.fixture
def work(here):
    tree(here / "a", x="1", d__y="22")
    return here


class TestMetrics:
    def test_a_run_in_figures(self, run, work):
        run("sync", "a", "b")
        (work / "a/new").write_text("333")
        (work / "a/x").unlink()
        (work / "a/link").symlink_to("y")
        summary = run("sync", "a", "b", "--metrics-file", "nightly.prom", "--json", "--max-delete", "100%").summary
        figures = parsed(work / "nightly.prom")
        assert figures["entries", "copied"] == summary["copied"] == 1
        assert figures["entries", "deleted"] == summary["deleted"] == 1
        assert figures["bytes",] == summary["bytes"] == 3
        assert figures["skipped", "link"] == 1
        assert (figures["exit_code",], figures["in_progress",]) == (0, 0)
        assert figures["compared", "state"] == 1
        assert figures["seconds",] >= 0
        assert figures["last_success_timestamp_seconds",] >= figures["start_timestamp_seconds",]
        assert 'task="nightly",command="sync"' in (work / "nightly.prom").read_text()
        assert sorted(os.listdir(work)) == ["a", "b", "nightly.prom"]
        assert (work / "nightly.prom").stat().st_mode & 0o777 == 0o644

    def test_the_time_of_the_last_success_outlives_a_failure(self, run, work):
        run("sync", "a", "b", "--metrics-file", "m.prom")
        before = parsed(work / "m.prom")
        (work / "list").write_text("missing\n")
        run("sync", "a", "b", "--metrics-file", "m.prom", "--files-from", "list", code=3)
        after = parsed(work / "m.prom")
        assert after["exit_code",] == 3
        assert after["errors", "not_found"] == 1
        assert after["last_success_timestamp_seconds",] == before["last_success_timestamp_seconds",]

    def test_a_file_that_cannot_be_written_is_told_before_anything_is_done(self, run, work):
        ran = run("sync", "a", "b", "--metrics-file", "no/such/dir/m.prom", code=2)
        assert "--metrics-file no/such/dir/m.prom" in ran.err
        assert not (work / "b").exists()

    def test_one_that_fails_at_the_end_fails_the_run(self, here, capfd):
        (here / "m").mkdir()

        def command(session):
            session.metrics_file = "m/x.prom"

            def step(around, emit):
                os.unlink(here / "m/x.prom")
                (here / "m/x.prom").mkdir()
                return events.Summary()

            return run_module.execute(session, [step])

        assert Session.run(Common(), command) == 1
        assert "--metrics-file" in capfd.readouterr().err

    def test_labels_are_escaped(self, here):
        metrics = Metrics('odd"\\\nname.prom', "sync")
        metrics.write(events.Summary(errors={"a": 1}), {"Put": 2}, code=None)
        figures = parsed(here / 'odd"\\\nname.prom')
        assert (figures["requests", "Put"], figures["errors", "a"], figures["in_progress",]) == (2, 1, 1)
        assert ("exit_code",) not in figures


class TestStats:
    def test_a_line_each_interval_and_the_metrics_with_it(self, here, capfd, monkeypatch):
        """The interval's thread is stepped by hand."""
        seen = []

        class Steps:
            def __init__(self):
                self.left = 3

            def wait(self, interval):
                self.left -= 1
                return self.left < 0

            def set(self):
                pass

        def command(session):
            session.stats, session.metrics_file = 60.0, "m.prom"
            running = run_module.Run(session, dry_run=False, verb="copied")
            running._ended = Steps()
            running.emit(events.Scanned(10, 1 << 30, 5, 4 << 20, complete=True))
            running.emit(events.Copied("f", 1 << 20))
            running.emit(events.Deleted("g"))
            with running:
                for thread in __import__("threading").enumerate():
                    if thread.name == "stats":
                        thread.join()
                seen.append(parsed(here / "m.prom"))
            return running.finish()

        assert Session.run(Common(), command) == 0
        lines = [line for line in capfd.readouterr().err.splitlines() if " of 4.0 MiB" in line]
        assert len(lines) == 3
        assert re.match(r"1\.0 MiB of 4\.0 MiB  25%  .*/s.*, 1 of 5 files, 1 deleted", lines[0])
        assert (seen[0]["entries", "copied"], seen[0]["bytes",], seen[0]["in_progress",]) == (1, 1 << 20, 1)

    def test_nothing_without_it_until_the_end(self, run, work):
        assert run("cp", "-r", "a", "b").err.count("\n") == 1

    def test_it_goes_to_the_log_as_well(self, run, work):
        assert "--stats" in run("cp", "-r", "a", "b", "--stats", "often", code=2).err
        run("cp", "-r", "a", "b", "--stats", "1h", "--log-file", "log", "--log-format", "json")
        assert "copied 2 files" in (work / "log").read_text()


class TestLimits:
    def test_what_a_whole_command_may_move(self, run, work):
        tree(work / "big", a="x" * 60, b="x" * 60, c="x" * 60)
        ran = run("cp", "big/a", "big/b", "big/c", "out/", "--max-transfer", "130", "--json", code=8)
        assert (ran.summary["copied"], ran.summary["stopped"]) == (2, "max-transfer")
        (work / "b").mkdir()
        (work / "b/old").write_text("x")
        ran = run("sync", "big", "b", "--max-transfer", "100", "--json", code=8)
        assert (ran.summary["copied"], ran.summary["deleted"]) == (1, 0)
        assert (work / "b/old").exists()
        run("sync", "big", "b", "--max-duration", "1h")
        assert not (work / "b/old").exists()

    def test_a_pace_holds_a_local_copy_back(self, run, work):
        (work / "big").write_bytes(os.urandom(150_000))
        ran = run("cp", "big", "copy", "--bwlimit", "300k", "--json")
        assert (work / "copy").read_bytes() == (work / "big").read_bytes()
        assert ran.summary["seconds"] >= 0.35 or _clones(work)

    def test_fewer_connections_than_the_pace_could_feed(self, here):
        from cftool.cli import transfer_flags

        for flags, expected in (
            ({"bwlimit": "100k"}, 1),
            ({"bwlimit": "512k"}, 8),
            ({"bwlimit": "10M"}, None),
            ({"bwlimit": "off"}, None),
            ({"bwlimit": "100k", "transfers": "3"}, 3),
        ):
            session = Session(Common())
            transfer_flags.prepare(session, transfer_flags.Transfer(**flags))
            assert session.connections == expected


def _clones(work) -> bool:
    done = subprocess.run(["cp", "--reflink=always", "big", "clone"], cwd=work, capture_output=True, check=False)
    return done.returncode == 0


def test_links_that_are_skipped_are_named_but_not_by_the_thousand(run, work):
    for number in range(8):
        (work / f"a/l{number}").symlink_to("x")
    err = run("cp", "-r", "a", "b").err
    assert "8 symbolic links skipped (see --links): l0, l1, l2, l3, l4, …" in err
    assert "symbolic" not in run("cp", "-r", "a", "b", "-q").err
    assert run("cp", "-r", "a", "c", "--links", "keep").err.count("\n") == 1
    assert os.readlink(work / "c/l7") == "x"


def test_a_summary_to_a_reader_that_went_away_or_a_closed_standard_error(work):
    tree(work / "many", **{f"f{number}": "x" for number in range(50)})
    script = f'"{CFTOOL}" sync many out -n | head -n 1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[0].startswith("copy f")
    assert done.stdout.splitlines()[-1] in {"10", "141"}
    assert "Traceback" not in done.stderr
    closed = subprocess.run([CFTOOL, "sync", "many", "out", "-v"], check=False, preexec_fn=lambda: os.close(2))
    assert closed.returncode == 0
    assert len(os.listdir(work / "out")) == 50
