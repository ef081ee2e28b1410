"""sync, check, rm, mkdir, cat, stat, du and cleanup on local trees: what they do, print and exit with."""

import os
import subprocess

import pytest

from tests.cli.conftest import tree


@pytest.fixture
def work(here):
    tree(here, a__1="one", a__sub__2="two", f="file")
    return here


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


class TestSync:
    def test_the_destination_holds_exactly_what_the_source_holds(self, run, work):
        tree(work / "b", old="x", sub__old="y")
        ran = run("sync", "a", "b", "--json")
        assert files(work / "b") == ["1", "sub/2"]
        assert sorted(event["path"] for event in ran.of("delete")) == ["old", "sub/old"]
        assert (ran.summary["copied"], ran.summary["deleted"]) == (2, 2)

    def test_no_delete(self, run, work):
        tree(work / "b", old="x")
        run("sync", "a", "b", "--no-delete")
        assert files(work / "b") == ["1", "old", "sub/2"]

    def test_an_empty_source_is_refused_with_the_reason(self, run, work):
        (work / "empty").mkdir()
        ran = run("sync", "empty", "a", "--json", code=7)
        withheld = ran.summary["deletions_withheld"]
        assert (withheld >= 2, ran.summary["exit"]) == (True, 7)
        assert ran.summary["why"]
        assert f"deletions withheld: {withheld} (" in run("sync", "empty", "a", code=7).err
        assert files(work / "a") == ["1", "sub/2"]
        run("sync", "empty", "a", "--allow-empty-source")
        assert files(work / "a") == []

    def test_a_dry_run_shows_copies_and_deletions(self, run, work):
        tree(work / "b", old="x")
        ran = run("sync", "a", "b", "-n", code=10)
        assert sorted(ran.lines) == ["copy 1", "copy sub/2", "delete old"]
        assert files(work / "b") == ["old"]

    def test_a_file_is_refused(self, run, work):
        assert "cp copies a file" in run("sync", "f", "b", code=2).err

    def test_a_missing_source_is_3_and_the_summary_says_so(self, run, work):
        assert run("sync", "missing", "b", "--json", code=3).summary["exit"] == 3

    def test_overlap_is_7(self, run, work):
        run("sync", "a", "a/sub", code=7)
        run("sync", "a/sub", "a", code=7)

    def test_the_limit_of_transfers_is_8(self, run, work):
        for number in range(4):
            (work / "a" / f"big{number}").write_bytes(bytes(2_000_000))
        assert run("sync", "a", "b", "--max-transfer", "1M", "--json", code=8).summary["exit"] == 8

    def test_a_held_lock_is_9(self, run, work, monkeypatch):
        from cftool.config import dirs
        from cftool.disk import locks

        with locks.lock_tree(dirs.state_dir(os.environ), str(work / "b"), wait=0):
            ran = run("sync", "a", "b", "--json", code=9)
        assert (ran.of("error")[0]["kind"], ran.summary["exit"]) == ("locked", 9)
        run("sync", "a", "b")


class TestCheck:
    def test_differences_are_lines_and_6(self, run, work):
        run("cp", "-r", "a", "b")
        assert run("check", "a", "b").out == b""
        (work / "b/1").write_text("ONE")
        (work / "b/new").write_text("")
        (work / "b/sub/2").unlink()
        ran = run("check", "a", "b", code=6)
        assert sorted(ran.lines) == ["* 1", "+ sub/2", "- new"]
        assert "3 differences" in ran.err
        assert sorted(run("check", "a", "b", "--one-way", "--download", code=6).lines) == ["* 1", "+ sub/2"]

    def test_as_json(self, run, work):
        ran = run("check", "a", "missing", "--json", code=None)
        run("cp", "-r", "a", "b")
        (work / "b/1").write_text("ONE")
        ran = run("check", "a", "b", "--json", code=6)
        assert [(event["path"], event["sign"]) for event in ran.of("difference")] == [("1", "*")]
        assert (ran.summary["differences"], ran.summary["exit"]) == (1, 6)


class TestRemove:
    def test_files_and_trees(self, run, work):
        ran = run("rm", "-r", "a", "f", "--json")
        assert files(work) == []
        assert not (work / "a").exists()
        assert {"a/1", "a/sub/2", "a", "f"} <= {event["path"] for event in ran.of("delete")}
        assert ran.summary["exit"] == 0

    def test_a_directory_needs_r(self, run, work):
        assert "-r" in run("rm", "a", code=2).err
        assert files(work) == ["a/1", "a/sub/2", "f"]

    def test_what_is_missing_is_3_and_with_f_nothing(self, run, work):
        assert run("rm", "missing", "f", code=3).err.startswith("cftool: missing: ")
        assert files(work) == ["a/1", "a/sub/2"]
        run("rm", "-f", "missing")

    def test_a_dry_run_removes_nothing(self, run, work):
        ran = run("rm", "-r", "a", "--dry-run", code=10)
        assert {"delete a/1", "delete a/sub/2", "delete a/"} <= set(ran.lines)
        assert files(work) == ["a/1", "a/sub/2", "f"]

    @pytest.mark.parametrize("path", ["/", ".", "..", "a/..", "memory:"])
    def test_roots_are_refused(self, run, work, path):
        assert "rm does not remove" in run("rm", "-r", path, code=7).err
        assert files(work) == ["a/1", "a/sub/2", "f"]

    def test_a_link_is_removed_and_not_what_it_leads_to(self, run, work):
        (work / "link").symlink_to("a")
        run("rm", "-r", "link")
        assert not (work / "link").is_symlink()
        assert files(work) == ["a/1", "a/sub/2", "f"]

    def test_a_trailing_slash_after_a_file_is_told(self, run, work):
        run("rm", "f/", code=1)
        assert (work / "f").exists()


class TestMkdir:
    def test_parents_are_made_and_a_second_time_is_no_error(self, run, work):
        run("mkdir", "x/y/z", "-p")
        run("mkdir", "x/y/z")
        assert (work / "x/y/z").is_dir()

    def test_a_file_in_the_way(self, run, work):
        run("mkdir", "f", code=1)
        run("mkdir", "f/below", code=1)

    def test_events_and_dry_run(self, run, work):
        ran = run("mkdir", "x", "-n", "--json", code=10)
        assert [(event["event"], event["dry_run"]) for event in ran.events] == [("mkdir", True)]
        assert run("mkdir", "x", "-n", code=10).lines == ["mkdir x"]
        assert not (work / "x").exists()
        assert [event["path"] for event in run("mkdir", "x", "./y/", "--json").of("mkdir")] == ["x", "./y/"]


class TestCat:
    @pytest.mark.parametrize(
        ("flags", "expected"),
        [
            ([], b"file"),
            (["--offset", "1"], b"ile"),
            (["--count", "2"], b"fi"),
            (["--offset", "1", "--count", "2"], b"il"),
            (["--offset", "9"], b""),
            (["--offset", "-3"], b"ile"),
            (["--offset", "-99"], b"file"),
            (["--count", "0"], b""),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_bytes(self, run, work, flags, expected):
        assert run("cat", "f", *flags).out == expected

    def test_several_files_and_one_that_is_missing(self, run, work):
        ran = run("cat", "a/1", "missing", "f", code=3)
        assert ran.out == b"onefile"
        assert ran.err.startswith("cftool: missing: ")

    def test_a_directory_is_no_file(self, run, work):
        run("cat", "a", code=1)
        run("cat", "f/", code=1)


class TestStat:
    def test_all_that_is_known(self, run, work):
        lines = run("stat", "f").lines
        assert lines[:3] == ["path:      f", "kind:      file", "size:      4 (4 B)"]
        assert lines[3].startswith("modified:")
        assert run("stat", "a").lines[1] == "kind:      directory"

    def test_as_json(self, run, work):
        (event,) = run("stat", "f", "--json").events
        assert (event["event"], event["bytes"], event["kind"], event["name"]) == ("entry", 4, "file", "f")
        assert [event["path"] for event in run("stat", "f", work / "a", "--json").events] == ["f", str(work / "a")]
        assert event["modified"].endswith("Z")

    def test_errors(self, run, work):
        assert run("stat", "missing", "f", code=3).lines[0] == "path:      f"
        run("stat", "f/", code=1)


class TestDu:
    def test_bytes_files_and_path(self, run, work):
        assert run("du", "a").lines == ["6\t2\ta"]
        assert run("du").lines == ["10\t3\t."]
        assert run("du", "f", "a").lines == ["4\t1\tf", "6\t2\ta"]
        (work / "a/big").write_bytes(bytes(3_565_158))
        assert run("du", "-h", "a").lines == ["3.4 MiB\t3\ta"]

    def test_as_json(self, run, work):
        assert run("du", "a", "--json").events == [
            {"v": 1, "event": "du", "path": "a", "bytes": 6, "files": 2, "directories": 1}
        ]

    def test_missing(self, run, work):
        run("du", "missing", code=3)


class TestCleanup:
    @pytest.fixture
    def left(self, work):
        """A temporary file of a process that was killed."""
        code = (
            "import os, signal, sys\n"
            "from cftool.core.sources import BytesSource\n"
            "from cftool.disk import writer\n"
            "from cftool.disk.root import Root\n"
            "draft = writer.draft(Root(sys.argv[1]), 'x')\n"
            "draft.write(b'half')\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        subprocess.run([os.sys.executable, "-c", code, str(work / "a")], check=False)
        names = [name for name in os.listdir(work / "a") if name.startswith(".cftool-")]
        assert len(names) == 1
        return names[0]

    def test_what_a_killed_run_left_is_listed_and_removed(self, run, work, left):
        assert run("cleanup", "a", "-n", code=10).lines == [f"delete {left}"]
        assert (work / "a" / left).exists()
        assert [event["path"] for event in run("cleanup", "a", "--json").of("delete")] == [left]
        assert not (work / "a" / left).exists()
        assert run("cleanup", "a", "-n").out == b""

    def test_temporary_files_are_never_listed(self, run, work, left):
        assert run("ls", "a").lines == ["1", "sub/"]
