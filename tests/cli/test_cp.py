"""Where cp puts what: the table of the manual, locally, and its JSON events."""

import io
import os
import sys

import pytest

from tests.cli.conftest import tree


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.fixture
def work(here):
    tree(here, a__1="one", a__sub__2="two", f="file", g="other")
    (here / "dir").mkdir()
    return here


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["f", "new"], ["new"]),
        (["f", "new/"], ["new/f"]),
        (["f", "deep/er/new"], ["deep/er/new"]),
        (["f", "dir"], ["dir/f"]),
        (["f", "dir/"], ["dir/f"]),
        (["f", "g", "new"], ["new/f", "new/g"]),
        (["-r", "a", "new"], ["new/1", "new/sub/2"]),
        (["-r", "a/", "new"], ["new/1", "new/sub/2"]),
        (["-r", "a", "dir"], ["dir/1", "dir/sub/2"]),
        (["-r", "a", "dir/"], ["dir/a/1", "dir/a/sub/2"]),
        (["-r", "a", "new/"], ["new/a/1", "new/a/sub/2"]),
        (["-r", "a", "f", "new"], ["new/a/1", "new/a/sub/2", "new/f"]),
        (["-r", "a/.", "dir/"], ["dir/1", "dir/sub/2"]),
        (["-R", "a", "new"], ["new/1", "new/sub/2"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_where_each_source_goes(run, work, words, expected):
    before = files(work)
    run("cp", *words)
    assert sorted(set(files(work)) - set(before)) == expected
    run("cp", *words)
    assert sorted(set(files(work)) - set(before)) == expected


def test_a_second_run_copies_nothing(run, work):
    assert run("cp", "-r", "a", "new", "--json").summary["copied"] == 2
    again = run("cp", "-r", "a", "new", "--json").summary
    assert (again["copied"], again["checked"]) == (0, 2)


def test_nothing_is_deleted_at_the_destination(run, work):
    tree(work / "new", mine="x", sub__mine="y")
    run("cp", "-r", "a", "new")
    assert files(work / "new") == ["1", "mine", "sub/2", "sub/mine"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["a", "new"], 2, "-r"),
        (["missing", "new"], 3, "missing"),
        (["-r", "missing", "new"], 3, "missing"),
        (["f/", "new"], 1, "not a directory"),
        (["f", "g", "f"], 1, "a directory is needed"),
        (["-r", "a", "f"], 1, "a directory is needed"),
        (["f", "g/"], 1, "a directory is needed"),
        (["f", "f"], 7, "cftool: f: source and destination are the same file"),
        (["dir/../f", "."], 7, "cftool: dir/../f: source and destination are the same file"),
        (["f", "g/x"], 1, "cftool: g/x: g: is not a directory"),
        (["-", "g/x"], 1, "cftool: g/x: g: is not a directory"),
        (["-r", "a", "a"], 7, "same"),
        (["-r", "a", "a/sub/deeper"], 7, "inside"),
        (["f", "nosuch:x"], 2, "nosuch"),
        (["f", "-", "x"], 2, "one file"),
        (["-", "-"], 2, "standard output"),
        (["f", "-", "--json"], 2, "standard output"),
        (["-", "x", "-n"], 2, "--dry-run"),
        (["-", "dir"], 1, "directory"),
        (["-", "new/"], 1, "name of a file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_what_cannot_be_copied_changes_nothing(run, work, words, code, said):
    before = files(work)
    assert said in run("cp", *words, code=code).err
    assert files(work) == before


def test_one_source_that_is_missing_stops_no_other(run, work):
    ran = run("cp", "f", "missing", "g", "new", "--json", code=3)
    assert files(work / "new") == ["f", "g"]
    assert [event["kind"] for event in ran.of("error")] == ["not_found"]
    assert (ran.summary["copied"], ran.summary["errors"], ran.summary["exit"]) == (2, 1, 3)


def test_the_events_of_a_copy(run, work):
    ran = run("cp", "-r", "a", "new", "--json")
    assert sorted((event["path"], event["bytes"], event["v"]) for event in ran.of("copy")) == [
        ("1", 3, 1),
        ("sub/2", 3, 1),
    ]
    names = {"copied", "deleted", "moved", "checked", "skipped", "errors", "bytes", "seconds", "requests"}
    assert names | {"compared_by", "exit"} <= set(ran.summary)
    assert (ran.summary["copied"], ran.summary["bytes"], ran.summary["exit"]) == (2, 6, 0)


def test_a_dry_run_tells_and_changes_nothing(run, work):
    before = files(work)
    ran = run("cp", "-r", "a", "new", "--dry-run", "--json", code=10)
    assert all(event["dry_run"] for event in ran.events)
    assert sorted(event["path"] for event in ran.of("copy")) == ["1", "sub/2"]
    assert ran.summary["exit"] == 10
    plain = run("cp", "-r", "a", "new", "-n", code=10)
    assert plain.lines == ["copy 1", "copy sub/2"]
    assert "to copy 2 files" in plain.err
    assert files(work) == before
    run("cp", "-r", "a", "new")
    run("cp", "-r", "a", "new", "-n")


def test_links_are_skipped_and_told(run, work):
    (work / "a/link").symlink_to("1")
    ran = run("cp", "-r", "a", "new", "--json")
    assert [(event["path"], event["reason"]) for event in ran.of("skip")] == [("link", "link")]
    assert (ran.summary["skipped"], ran.summary["skipped_by"]) == (1, {"link": 1})
    assert "1 skipped (link)" in run("cp", "-r", "a", "new2").err


def test_a_summary_in_one_line_and_nothing_on_standard_output(run, work):
    ran = run("cp", "-r", "a", "new")
    assert ran.out == b""
    assert ran.err.startswith("copied 2 files (6 B) in ")
    assert ran.err.count("\n") == 1
    assert run("cp", "-r", "a", "new", "-q").err == ""
    assert "compared by" in run("cp", "-r", "a", "new").err


def test_verbose_tells_each_file(run, work):
    assert {"copy 1", "copy sub/2"} <= set(run("cp", "-r", "a", "new", "-v").err.splitlines())


class TestStandardInputAndOutput:
    @pytest.fixture
    def stdin(self, monkeypatch):
        opened = []

        def install(data):
            read, write = os.pipe()
            with os.fdopen(write, "wb") as pipe:
                pipe.write(data)
            opened.append(io.TextIOWrapper(os.fdopen(read, "rb")))
            monkeypatch.setattr(sys, "stdin", opened[0])

        yield install
        for stream in opened:
            stream.close()

    def test_a_file_to_standard_output(self, run, work):
        assert run("cp", "f", "-").out == b"file"

    def test_standard_input_to_a_file(self, run, work, stdin):
        stdin(b"from a pipe")
        ran = run("cp", "-", "new", "--json")
        assert (work / "new").read_bytes() == b"from a pipe"
        assert [(event["path"], event["bytes"]) for event in ran.of("copy")] == [("new", 11)]
        assert ran.summary["copied"] == 1

    def test_a_regular_file_on_standard_input(self, run, work, monkeypatch):
        with (work / "g").open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            run("cp", "-", "new")
        assert (work / "new").read_text() == "other"

    def test_more_than_is_held_in_memory_is_streamed(self, run, work, monkeypatch):
        from cftool.cli import stdio

        monkeypatch.setattr(stdio, "_HELD", 1000)
        data = os.urandom(5000)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        run("cp", "-", "new")
        assert (work / "new").read_bytes() == data

    def test_a_closed_standard_input_is_told(self, run, work, monkeypatch):
        monkeypatch.setattr(sys, "stdin", None)
        assert "closed" in run("cp", "-", "new", code=2).err
        assert not (work / "new").exists()


def test_a_fifo_is_neither_copied_in_silence_nor_replaced(run, work):
    os.mkfifo(work / "pipe")
    for words in (["cp", "pipe", "new"], ["mv", "pipe", "new"], ["cp", "f", "pipe"], ["mv", "f", "pipe"]):
        ran = run(*words, code=1)
        assert "FIFO" in ran.err, words
    for words in (["sync", "a", "copy", "--metrics-file", "pipe"], ["sync", "a", "copy", "--plan", "pipe"]):
        assert "FIFO" in run(*words, code=None).err, words
    assert (work / "pipe").is_fifo()
    assert (work / "f").read_text() == "file"
    assert files(work) == ["a/1", "a/sub/2", "f", "g"]


@pytest.mark.parametrize("words", [("cp", "-r"), ("sync",), ("mv", "-r"), ("cp",)], ids=" ".join)
def test_a_bucket_that_cannot_be_is_told_once_and_as_it_was_typed(run, work, fake_s3, words):
    tree(work / "a", **{f"many{number}": "x" for number in range(9)})
    source = "f" if words == ("cp",) else "a"
    ran = run(*words, source, "lab:NO/below", code=1)
    assert ran.err.splitlines()[0].startswith("cftool: lab:NO/below: the bucket has a name that the service does not")
    assert len(ran.err.splitlines()) == 2  # the other is the summary
    kept = run(*words, source, "lab,create_bucket=false:nosuch/below", code=3)
    assert kept.err.splitlines()[0] == "cftool: lab,create_bucket=false:nosuch/below: no such bucket"
    assert len(kept.err.splitlines()) == 2
    assert "many8" in files(work / "a")


def test_a_bucket_that_cannot_be_among_others_fails_alone(run, work, fake_s3):
    tree(work / "top", NO__a="1", good__b="2")
    ran = run("cp", "-r", "top", "lab:", "--json", code=1)
    assert ([one["path"] for one in ran.of("error")], ran.summary["copied"]) == (["NO/a"], 1)


def test_a_file_in_the_way_of_a_directory_is_said_to_be(run, work):
    tree(work / "dir", sub="in the way")
    told = "cftool: sub/2: is not a directory: a file stands above it at the destination"
    assert run("cp", "-r", "a", "dir", code=1).err.splitlines()[0] == told
