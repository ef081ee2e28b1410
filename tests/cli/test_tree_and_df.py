"""tree draws what is below a path; df tells the space of what holds it."""

import os
import shutil
import subprocess

import pytest

from tests.cli.conftest import tree


@pytest.fixture
def full(place):
    place.put("b", b"22")
    place.put("a/y", b"1")
    place.put("a/sub/z", bytes(3_565_158))
    place.put("c", b"")
    return place


class TestTree:
    def test_lines_and_counts(self, run, full):
        assert run("tree", full.at()).lines == [
            full.at(),
            "├── a",
            "│   ├── sub",
            "│   │   └── z",
            "│   └── y",
            "├── b",
            "└── c",
            "",
            "2 directories, 4 files",
        ]

    def test_depth_and_directories(self, run, full):
        assert run("tree", "--depth", "1", full.at()).lines[1:] == [
            "├── a",
            "├── b",
            "└── c",
            "",
            "1 directory, 2 files",
        ]
        assert run("tree", "-L", "2", "-d", full.at()).lines[1:] == ["└── a", "    └── sub", "", "2 directories"]

    def test_sizes(self, run, full):
        assert run("tree", "-s", full.at("a")).lines[1:4] == [
            "├── [          -]  sub",
            "│   └── [    3565158]  z",
            "└── [          1]  y",
        ]
        assert run("tree", "-h", full.at("a")).lines[2] == "│   └── [  3.4M]  z"

    def test_as_json(self, run, full):
        *entries, last = run("tree", full.at("a"), "--json").events
        assert [(entry["event"], entry["path"], entry["bytes"]) for entry in entries] == [
            ("entry", "sub", None),
            ("entry", "sub/z", 3_565_158),
            ("entry", "y", 1),
        ]
        assert last == {"v": 1, "event": "tree", "directories": 1, "files": 2, "exit": 0}

    def test_a_file_and_what_is_missing(self, run, full):
        ran = run("tree", full.at("b"), full.at("missing"), code=3)
        assert ran.lines == [full.at("b"), "", "0 directories, 1 file"]
        assert "missing" in ran.err


class TestTreeHere:
    def test_the_current_directory_is_the_default(self, run, here):
        tree(here, a__b="")
        assert run("tree").lines == [".", "└── a", "    └── b", "", "1 directory, 1 file"]
        run("tree", "--depth", "0", code=2)

    def test_deeper_than_python_calls(self, run, here, monkeypatch):
        monkeypatch.setenv("CFTOOL_DEEP_TYPE", "memory")
        run("touch", "deep:" + "/".join(["d"] * 500))
        assert run("tree", "deep:").lines[-1] == "499 directories, 1 file"

    def test_names_are_escaped_on_a_terminal_only(self, here):
        import pty
        import sys
        from pathlib import Path

        (here / "x\x1b[31m").write_text("")
        parent, child = pty.openpty()
        command = [str(Path(sys.executable).parent / "cftool"), "tree", "."]
        subprocess.run(command, stdout=child, stdin=subprocess.DEVNULL, check=True)
        os.close(child)
        shown = os.read(parent, 1000).decode()
        os.close(parent)
        assert "└── x\\x1b[31m\r\n" in shown
        assert "\x1b" not in shown

    def test_opaque_keys_that_are_file_and_directory(self, run, fake_s3):
        fake_s3.make("bucket", ["a", "a/b", "c//d"])
        assert run("tree", "lab:bucket").lines[1:-2] == [
            "├── a",
            "├── a/",
            "│   └── b",
            "└── c",
            "    └── ",
            "        └── d",
        ]


class TestDf:
    def test_the_file_system_of_a_path(self, run, here):
        tree(here, f="x")
        found = os.statvfs(here)
        for path in (".", "f", str(here)):
            (event,) = run("df", path, "--json").events
            assert (event["event"], event["path"], event["total"]) == ("df", path, found.f_blocks * found.f_frsize)
            assert event["used"] + event["free"] <= event["total"]
        run("df", "missing", code=3)

    @pytest.mark.skipif(shutil.which("df") is None or not os.path.ismount("/dev/shm"), reason="no /dev/shm here")
    def test_another_file_system_is_not_that_of_the_root(self, run):
        size = subprocess.run(["df", "-B1", "--output=size", "/dev/shm"], capture_output=True, check=True).stdout
        assert run("df", "/dev/shm", "--json").events[0]["total"] == int(size.split()[1])

    def test_a_table(self, run, here):
        lines = run("df", ".", here).lines
        assert lines[0].split() == ["Size", "Used", "Free", "Use%", "Remote"]
        assert [line.split()[-1] for line in lines[1:]] == [".", str(here)]
        assert lines[1].split()[3].endswith("%")
        assert "iB" in run("df", "-h").lines[1]

    def test_an_account(self, run, monkeypatch, here):
        monkeypatch.setenv("CFTOOL_ACCOUNT_TYPE", "memory")
        tree(here, f="12345")
        run("cp", "f", "account:a/b")
        assert run("df", "account:").lines[1].split() == ["-", "5", "-", "-", "account:"]
        (event,) = run("df", "account:", "--json").events
        assert (event["total"], event["used"], event["free"]) == (None, 5, None)

    def test_a_service_that_does_not_tell_is_1_and_stops_no_other(self, run, fake_s3):
        ran = run("df", "lab:", ".", code=1)
        assert "lab: this service does not say how much is used or free" in ran.err
        assert len(ran.lines) == 2
        assert [event["kind"] for event in run("df", "lab:", "--json", code=1).events] == ["unsupported"]
