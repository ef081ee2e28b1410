"""mv as it is typed: where things go is said by cp; here, that the source is gone, or is not."""

import os

import pytest

from tests.cli.conftest import tree


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink())


@pytest.fixture
def work(here):
    tree(here, a__1="one", a__sub__2="two", f="file", g="other")
    (here / "dir").mkdir()
    return here


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["f", "new"], ["a/1", "a/sub/2", "g", "new"]),
        (["f", "dir"], ["a/1", "a/sub/2", "dir/f", "g"]),
        (["f", "g"], ["a/1", "a/sub/2", "g"]),
        (["f", "g", "new"], ["a/1", "a/sub/2", "new/f", "new/g"]),
        (["-r", "a", "new"], ["f", "g", "new/1", "new/sub/2"]),
        (["-r", "a", "dir"], ["dir/1", "dir/sub/2", "f", "g"]),
        (["-r", "a", "dir/"], ["dir/a/1", "dir/a/sub/2", "f", "g"]),
        (["-r", "a", "f", "dir"], ["dir/a/1", "dir/a/sub/2", "dir/f", "g"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_where_each_source_goes_and_that_it_is_gone(run, work, words, expected):
    run("mv", *words)
    assert files(work) == expected
    assert not (work / words[0]).exists() or words[0] == "-r"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["a", "new"], 2),
        (["f"], 2),
        (["-", "new"], 2),
        (["nothing", "new"], 3),
        (["f", "f"], 7),
        (["f", "./f"], 7),
        (["-r", "a", "a"], 7),
        (["-r", "a", "a/sub"], 7),
        (["-r", "a/sub", "a"], 7),
        (["f", "dir/f", "a/"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_refused_changes_nothing(run, work, words, code):
    (work / "dir" / "f").write_text("another")
    before = files(work)
    run("mv", *words, code=code)
    assert files(work) == before


def test_cp_refuses_two_of_one_name_too(run, work):
    (work / "dir" / "f").write_text("another")
    assert "would both become f" in run("cp", "f", "dir/f", "a/", code=2).err


def test_events_and_summary(run, work):
    ran = run("mv", "f", "new", "--json")
    assert [(event["path"], event["to"]) for event in ran.of("move")] == [("f", "new")]
    assert (ran.summary["moved"], ran.summary["copied"], ran.summary["exit"]) == (1, 0, 0)
    assert run("mv", "g", "h").err.startswith("moved 1 entry in")
    assert run("mv", "-n", "h", "i", code=10).lines == ["move h -> i"]
    assert run("mv", "-n", "-r", "a", "b", code=10).err.startswith("to move 1 entry")


def test_a_link_is_moved_not_what_it_leads_to(run, work):
    os.symlink("f", work / "link")
    run("mv", "link", "renamed")
    assert os.readlink(work / "renamed") == "f"
    assert (work / "f").read_text() == "file"


def test_to_a_store_and_back(run, work):
    ran = run("mv", "-r", "a", "memory:mv-there")
    assert ran.err.startswith("moved 2 entries, 2 of them copied (6 B)")
    assert not (work / "a").exists()
    run("mv", "-r", "memory:mv-there", "memory:mv-elsewhere")
    run("mv", "-r", "memory:mv-elsewhere", "back")
    assert files(work / "back") == ["1", "sub/2"]
    run("ls", "memory:mv-elsewhere", code=3)


def test_what_a_filter_leaves_out_stays(run, work):
    run("mv", "-r", "a", "new", "--exclude", "2")
    assert files(work) == ["a/sub/2", "f", "g", "new/1"]
    assert run("mv", "f", "h", "--exclude", "f", "--json").summary["skipped"] == 1
    assert files(work) == ["a/sub/2", "f", "g", "new/1"]


def test_followed_and_kept_links_are_refused(run, work):
    for how in ("follow", "keep"):
        run("mv", "f", "h", "--links", how, code=2)
        run("mv", "-r", "a", "h", "--links", how, code=2)
    assert files(work) == ["a/1", "a/sub/2", "f", "g"]
