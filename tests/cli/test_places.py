"""rmdir, touch, put, cat and `-`: the same words on local disk, in memory and on S3."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cftool.core.errors import NotFound
from tests.cli.conftest import tree

CFTOOL = str(Path(sys.executable).parent / "cftool")


class TestRmdir:
    def test_an_empty_directory_goes(self, run, place):
        run("mkdir", place.at("a"))
        ran = run("rmdir", place.at("a") + "/", "--json")
        assert ran.events == [{"v": 1, "event": "delete", "path": place.at("a"), "is_dir": True}]
        assert not place.has("a")
        assert place.has("")

    def test_what_is_not_empty_stays_and_stops_no_other(self, run, place):
        place.put("a/f", b"kept")
        run("mkdir", place.at("b"))
        ran = run("rmdir", place.at("a"), place.at("b"), code=1)
        assert "not empty" in ran.err
        assert (place.get("a/f"), place.has("b")) == (b"kept", False)
        run("rmdir", "--ignore-fail-on-non-empty", place.at("a"))
        assert place.get("a/f") == b"kept"

    def test_a_file_is_no_directory(self, run, place):
        place.put("f")
        run("rmdir", place.at("f"), code=1)
        run("rmdir", "-n", place.at("f"), code=1)
        assert place.has("f")

    def test_what_is_missing_is_3(self, run, place):
        run("rmdir", place.at("missing"), code=3)
        run("rmdir", "-n", place.at("missing"), code=3)

    def test_parents_as_far_as_they_are_empty(self, run, place):
        place.put("x/f")
        run("mkdir", place.at("x/a/b"))
        run("rmdir", "-p", "--ignore-fail-on-non-empty", place.at("x/a/b"))
        assert (place.has("x/a"), place.has("x/f")) == (False, True)

    def test_a_dry_run_removes_nothing(self, run, place):
        run("mkdir", place.at("a/b"))
        assert run("rmdir", "-n", place.at("a/b"), code=10).lines == [f"delete {place.at('a/b')}/"]
        assert "not empty" in run("rmdir", "-n", place.at("a"), code=1).err
        (event,) = run("rmdir", "-n", "--json", place.at("a/b"), code=10).events
        assert event["dry_run"]
        assert place.has("a/b")


class TestRmdirHere:
    def test_parents_of_a_relative_path_end_where_it_began(self, run, here):
        (here / "a/b/c").mkdir(parents=True)
        ran = run("rmdir", "-p", "-n", "a/b/c", code=10)
        assert ran.lines == ["delete a/b/c/", "delete a/b/", "delete a/"]
        run("rmdir", "-pv", "./a/b/c")
        assert os.listdir(here) == []

    @pytest.mark.parametrize("path", ["/", ".", "..", "x/.", "memory:"])
    def test_roots_are_refused(self, run, here, path):
        (here / "x").mkdir()
        assert "rmdir does not remove" in run("rmdir", path, code=7).err

    def test_a_link_is_no_directory(self, run, here):
        (here / "a").mkdir()
        (here / "link").symlink_to("a")
        run("rmdir", "link", code=1)
        assert (here / "a").is_dir()

    def test_an_empty_bucket(self, run, fake_s3):
        run("rmdir", "lab:bucket")
        assert fake_s3.buckets == {}


class TestTouch:
    def test_an_empty_file_is_made(self, run, place):
        ran = run("touch", place.at("f"), place.at("deep/er/g"), "--json")
        assert [(e["event"], e["path"], e["created"]) for e in ran.events] == [
            ("touch", place.at("f"), True),
            ("touch", place.at("deep/er/g"), True),
        ]
        assert (place.get("f"), place.get("deep/er/g")) == (b"", b"")

    def test_content_stays_and_the_time_becomes_now(self, run, place):
        place.put("f", b"content", when=10**18)
        run("touch", place.at("f"))
        assert place.get("f") == b"content"
        assert place.entry("f").modified_ns > 1_600_000_000 * 10**9

    def test_a_time_that_is_given(self, run, place):
        place.put("f", b"content", when=10**18)
        run("touch", "-d", "2024-02-29T12:30:15.123456789Z", place.at("f"), place.at("new"))
        assert [place.entry(name).modified_ns for name in ("f", "new")] == [1709209815123456789] * 2
        (event,) = run("touch", "-d", "@5", place.at("f"), "--json").events
        assert (event["created"], event["modified"]) == (False, "1970-01-01T00:00:05Z")
        run("touch", "-r", place.at("f"), place.at("new"))
        assert place.entry("new").modified_ns == 5 * 10**9

    def test_no_create(self, run, place):
        run("touch", "-c", place.at("f"))
        assert not place.has("f")

    def test_a_dry_run_changes_nothing(self, run, place):
        place.put("f", b"x", when=10**18)
        assert run("touch", "-n", place.at("f"), place.at("g"), code=10).lines == [
            f"touch {place.at('f')}",
            f"touch {place.at('g')}",
        ]
        assert (place.entry("f").modified_ns, place.has("g")) == (10**18, False)

    def test_directories_are_told(self, run, place):
        run("mkdir", place.at("a"))
        place.put("f")
        assert "is a directory" in run("touch", place.at("a"), code=1).err
        run("touch", place.at("f/"), code=1)
        run("touch", place.at("new/"), code=3)

    def test_times_exclude_each_other(self, run, place):
        run("touch", "-d", "now", "-t", "202401010000", place.at("f"), code=2)
        run("touch", "-d", "soon", place.at("f"), code=2)
        run("touch", "-t", "99", place.at("f"), code=2)
        run("touch", "-r", place.at("missing"), place.at("f"), code=3)
        assert not place.has("f")


class TestTouchWithoutTimes:
    """A store that cannot set times says so, and nothing is claimed."""

    @pytest.fixture(autouse=True)
    def _timeless(self, monkeypatch):
        from dataclasses import replace

        from cftool.core.types import Cap
        from cftool_providers.memory.store import MemoryStore

        features = MemoryStore().features
        poor = replace(features, caps=features.caps & ~Cap.SET_MODIFIED, time_precision_ns=None)
        monkeypatch.setattr(MemoryStore, "features", property(lambda self: poor))
        monkeypatch.setenv("CFTOOL_POOR_TYPE", "memory")

    def test_a_file_that_is_there_is_an_error_and_a_new_one_is_made(self, run):
        name = f"poor:{os.getpid()}-new"
        run("touch", name)
        assert "cannot set the time" in run("touch", name, code=1).err
        assert "keeps no times" in run("touch", "-d", "@5", "poor:other", code=1).err
        run("stat", "poor:other", code=3)


class TestPut:
    def test_standard_input_becomes_a_file(self, run, place, stdin):
        stdin(b"piped")
        ran = run("put", place.at("a/f"), "--json")
        assert place.get("a/f") == b"piped"
        assert [(e["path"], e["bytes"]) for e in ran.of("copy")] == [("f", 5)]
        assert (ran.summary["copied"], ran.summary["exit"]) == (1, 0)

    def test_more_than_memory_holds_is_streamed(self, run, place, stdin, monkeypatch):
        from cftool.cli import stdio

        monkeypatch.setattr(stdio, "_HELD", 1000)
        data = os.urandom(6_000_000)  # more than one part
        stdin(data)
        run("put", place.at("f"))
        assert place.get("f") == data

    @pytest.mark.parametrize("held", [0, 100])
    @pytest.mark.parametrize("there", [True, False])
    def test_nothing_is_published_where_the_input_breaks_off(self, run, place, monkeypatch, held, there):
        from cftool.cli import stdio

        class Broken(io.RawIOBase):
            given = 0

            def readable(self):
                return True

            def readinto(self, buffer):
                if self.given >= 6_000_000:
                    raise OSError(5, "Input/output error")
                self.given += len(buffer)
                buffer[:] = bytes(len(buffer))
                return len(buffer)

        if there:
            place.put("f", b"old")
        monkeypatch.setattr(stdio, "_HELD", held or 8_000_000)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Broken())))
        ran = run("put", place.at("f"), "--json", code=1)
        assert "standard input cannot be read: Input/output error" in ran.err
        assert place.has("f") == there
        if there:
            assert place.get("f") == b"old"
        if held:
            assert (ran.summary["copied"], ran.summary["errors"], ran.summary["exit"]) == (0, 1, 1)
        if place.fake is not None:
            assert place.fake.uploads == {}

    def test_a_directory_is_no_file(self, run, place, stdin):
        stdin(b"x")
        run("mkdir", place.at("a"))
        run("put", place.at("a"), code=1)
        run("put", place.at("a/"), code=1)
        assert "no place in a store" in run("put", "-", code=2).err


def test_what_cannot_be_read_is_told_by_name(here):
    with open("/proc/self/mem", "rb") as file:
        done = subprocess.run([CFTOOL, "put", "f"], stdin=file, capture_output=True, check=False)
    assert (done.returncode, b"standard input" in done.stderr) == (1, True)
    assert os.listdir(here) == []


class TestStandardStreams:
    def test_cp_both_ways(self, run, place, stdin):
        stdin(b"through cp")
        run("cp", "-", place.at("f"))
        assert run("cp", place.at("f"), "-").out == b"through cp"
        assert run("cat", place.at("f"), place.at("f"), "--offset", "8").out == b"cpcp"
        run("cat", place.at("missing"), code=3)

    @pytest.mark.parametrize(
        ("flags", "expected"),
        [
            ([], b"0123456789"),
            (["--offset", "7"], b"789"),
            (["--count", "3"], b"012"),
            (["--offset", "2", "--count", "3"], b"234"),
            (["--offset", "99"], b""),
            (["--count", "0"], b""),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_cat_of_standard_input(self, run, here, stdin, flags, expected, monkeypatch):
        from cftool.cli import stdio

        monkeypatch.setattr(stdio, "_CHUNK", 4)
        stdin(b"0123456789")
        assert run("cat", "-", *flags).out == expected

    def test_standard_input_among_files(self, run, here, stdin):
        tree(here, a="A", b="B")
        stdin(b"-in-")
        assert run("cat", "a", "-", "b").out == b"A-in-B"
        assert "--offset" in run("cat", "-", "--offset", "-3", code=2).err


@pytest.mark.parametrize(
    ("words", "events"),
    [
        (["ls", "-R", "{}"], {"entry"}),
        (["stat", "{}/f"], {"entry"}),
        (["du", "{}"], {"du"}),
        (["tree", "{}"], {"entry", "tree"}),
        (["hash", "sha1", "{}/f"], {"hash"}),
        (["touch", "{}/f"], {"touch"}),
        (["put", "{}/new"], {"copy", "summary"}),
        (["mkdir", "{}/empty"], {"mkdir"}),
        (["rm", "{}/f"], {"delete", "summary"}),
        (["cp", "{}/f", "{}/g"], {"copy", "summary"}),
        (["rmdir", "{}/missing"], {"error"}),
        (["touch", "{}/d"], {"error"}),
        (["tree", "{}/missing"], {"error", "tree"}),
        (["hash", "md5", "{}/missing"], {"error"}),
        (["link", "{}/d"], {"error"}),
        (["df", "nosuch:"], {"error"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_json_lines_have_their_version_and_event(run, place, stdin, words, events):
    stdin(b"data")
    place.put("f", b"x")
    place.put("d/e", b"y")
    ran = run(*(word.replace("{}", place.root) for word in words), "--json", code=None)
    assert {event["event"] for event in ran.events} == events
    assert {event["v"] for event in ran.events} == {1}
    assert (ran.code != 0) == ("error" in events)


def test_the_place_is_what_it_says(place):
    with pytest.raises(NotFound):
        place.get("nothing")
