"""`--trash`, `trash` and `restore` as they are typed."""

import re
import time
from datetime import datetime

import pytest

from cftool.cli.cmd_restore import moment
from cftool.core.errors import ConfigError
from tests.cli.conftest import tree

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?")


@pytest.fixture
def synced(run, here):
    """`dst` had gone and f; `src` has another f."""
    tree(here / "src", f="new!")
    tree(here / "dst", f="old", gone="gone", sub__deep="deep")
    run("sync", "--trash", "src", "dst")
    return here


def names(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_bare_flag_takes_no_word_for_its_value(synced):
    assert names(synced / "src") == ["f"]
    assert [STAMP.sub("T", name) for name in names(synced / "dst")] == [
        ".cftool-trash/T/f",
        ".cftool-trash/T/gone",
        ".cftool-trash/T/sub/deep",
        "f",
    ]


def test_a_directory_for_the_trash(run, here):
    tree(here / "src", f="new!")
    tree(here / "dst", f="old")
    run("cp", "-r", "--trash=bin", "src", "dst")
    assert [STAMP.sub("T", name) for name in names(here / "dst")] == ["bin/.cftool-trash/T/f", "f"]
    run("restore", "dst/f", "again", "--trash=bin")
    assert (here / "again").read_text() == "old"
    assert len(run("trash", "list", "dst", "--trash=bin").lines) == 1
    run("trash", "empty", "dst", "--trash=bin")
    assert run("trash", "list", "dst", "--trash=bin").lines == []
    assert "below the destination" in run("cp", "-r", "--trash=/tmp/x", "src", "dst", code=2).err


def test_a_word_behind_two_dashes_is_a_name(run, here):
    tree(here, **{"--trash": "a file"})
    run("cp", "--", "--trash", "copy")
    assert (here / "copy").read_text() == "a file"


def test_the_list(run, synced):
    rows = [line.split("\t") for line in run("trash", "list", "dst").lines]
    assert [row[1:] for row in rows] == [["3", "f"], ["4", "gone"], ["4", "sub/deep"]]
    assert all(STAMP.fullmatch(row[0]) for row in rows)
    events = run("trash", "list", "dst", "--json").of("old")
    assert [event["path"] for event in events] == ["f", "gone", "sub/deep"]
    assert events[0]["in"] == f".cftool-trash/{rows[0][0]}/f"
    assert run("trash", "list", "dst", "--older-than", "1d").lines == []
    assert "say one of list, empty" in run("trash", code=2).err


def test_emptying(run, synced):
    run("trash", "empty", "dst", "--older-than", "1d")
    assert len(names(synced / "dst")) == 4
    assert run("trash", "empty", "dst", "-n", code=10).lines != []
    run("trash", "empty", "dst")
    assert names(synced / "dst") == ["f"]


def test_restoring(run, synced):
    assert run("restore", "dst/gone").err.startswith("restored 1 file (4 B)")
    assert (synced / "dst" / "gone").read_text() == "gone"
    run("restore", "dst/sub", "back")
    assert (synced / "back" / "deep").read_text() == "deep"
    (synced / "folder").mkdir()
    run("restore", "dst/sub/deep", "folder/")
    assert (synced / "folder" / "deep").read_text() == "deep"
    assert run("restore", "dst/sub", "-n", code=10).lines == ["copy sub/deep"]


def test_all_that_a_trash_holds_comes_back_at_once(run, synced, monkeypatch):
    ran = run("restore", "dst", code=1)
    assert ran.err.startswith("cftool: f: is there, and is not what the trash has")
    assert [(synced / "dst" / name).read_text() for name in ("f", "gone", "sub/deep")] == ["new!", "gone", "deep"]
    run("restore", "dst", "as-it-was")
    assert names(synced / "as-it-was") == ["f", "gone", "sub/deep"]
    monkeypatch.chdir(synced / "dst")
    run("restore", ".", "--force")
    assert (synced / "dst" / "f").read_text() == "old"


def test_what_is_there_stays_unless_it_is_said(run, synced):
    assert "--force replaces it" in run("restore", "dst/f", code=1).err
    assert (synced / "dst" / "f").read_text() == "new!"
    run("restore", "dst/f", "--force")
    assert (synced / "dst" / "f").read_text() == "old"
    assert [line.split("\t")[2] for line in run("trash", "list", "dst").lines].count("f") == 2


def test_as_it_was(run, synced):
    run("restore", "dst/gone", "there", "--at", "1h")
    assert (synced / "there").read_text() == "gone"
    run("restore", "dst/gone", "not", "--at", "2099-01-01", code=3)
    assert "is no time" in run("restore", "dst/gone", "--at", "soon", code=2).err


def test_what_is_not_in_the_trash(run, synced):
    run("restore", "dst/nothing", code=3)
    run("restore", "elsewhere/f", code=3)
    assert run("restore", "src", code=3).err.startswith("cftool: src: no trash at or above")
    assert "under which name" in run("restore", "dst/gone", "/", code=2).err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T16-05-09Z", 1769875509.0),
        ("2026-01-31T16:05:09Z", 1769875509.0),
        ("2026-01-31 16:05:09+00:00", 1769875509.0),
        ("2h", 1000.0 - 7200),
        ("90", 910.0),
    ],
)
def test_times(text, expected):
    assert moment(text, 1000.0) == expected


def test_local_times():
    assert moment("2026-01-31 16:05", 0.0) == time.mktime((2026, 1, 31, 16, 5, 0, 0, 0, -1))
    assert moment("2026-01-31", 0.0) == datetime(2026, 1, 31).astimezone().timestamp()
    with pytest.raises(ConfigError):
        moment("2026-13-31", 0.0)
