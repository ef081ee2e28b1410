"""`sync --plan`, `apply`, `--track-renames` and `--suffix` as they are typed."""

import json
import os

import pytest

from tests.cli.conftest import tree


@pytest.fixture
def work(here):
    tree(here / "src", new="1", sub__new="2")
    tree(here / "dst", old="x")
    return here


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_in_two_steps(run, work, monkeypatch):
    ran = run("sync", "src", "dst", "--plan", "p", code=10)
    assert sorted(ran.lines) == ["copy new", "copy sub/new", "delete old"]
    assert files(work / "dst") == ["old"]
    monkeypatch.chdir("/")  # the plan means the same from anywhere
    assert sorted(run("apply", work / "p", "-n", code=10).lines) == sorted(ran.lines)
    assert run("apply", work / "p", "--json").summary["copied"] == 2
    assert files(work / "dst") == ["new", "sub/new"]
    assert run("sync", work / "src", work / "dst", "--plan", work / "p").err.startswith("to copy 0 files")


def test_what_changed_is_named(run, work):
    run("sync", "src", "dst", "--plan", "p", code=10)
    (work / "src" / "new").write_text("changed")
    ran = run("apply", "p", code=1)
    assert "new: changed since the plan was made" in ran.err
    assert "deletions withheld: 1" in ran.err
    assert files(work / "dst") == ["old", "sub/new"]


@pytest.mark.parametrize("text", ["", "hello", '{"plan":1}'])
def test_what_is_no_plan(run, work, text):
    (work / "p").write_text(text)
    run("apply", "p", code=2)
    run("apply", "nothing", code=3)


def test_no_secret_goes_into_a_plan(run, work):
    ran = run("sync", "src", "s3,secret_access_key=abc123:bucket", "--plan", "p", code=2)
    assert "secret_access_key" in ran.err
    assert not (work / "p").exists()
    run("sync", "src", "memory,:x", "--plan", "p", code=2)


def test_to_a_store(run, work):
    run("sync", "src", "memory:planned", "--plan", "p", code=10)
    assert json.loads((work / "p").read_text().splitlines()[0])["dst"]["address"] == "memory:planned"
    run("apply", "p", "--transfers", "2", "--verify", "readback", "--wait-lock", "1")
    assert run("check", "src", "memory:planned").code == 0


def test_renames(run, work):
    run("sync", "src", "dst")
    os.rename(work / "src" / "new", work / "src" / "newer")
    assert run("sync", "src", "dst", "--track-renames", "-n", code=10).lines == ["move new -> newer"]
    assert run("sync", "src", "dst", "--track-renames", "--json").of("move") == [
        {"v": 1, "event": "move", "path": "new", "to": "newer"}
    ]


def test_a_suffix(run, work):
    tree(work / "dst", new="older")
    run("cp", "-r", "src", "dst", "--suffix", "~")
    assert (work / "dst" / "new~").read_text() == "older"
    assert "exclude each other" in run("cp", "-r", "src", "dst", "--suffix", "~", "--trash", code=2).err


def test_what_a_filter_leaves_out_is_in_no_plan(run, work):
    tree(work / "src", skipped="s")
    tree(work / "dst", skipped_too="t")
    run("sync", "src", "dst", "--exclude", "skipped*", "--plan", "p", code=10)
    run("apply", "p", "--bwlimit", "100M")
    assert files(work / "dst") == ["new", "skipped_too", "sub/new"]
    assert "delete-excluded" in run("sync", "src", "dst", "--delete-excluded", "--plan", "p", code=2).err


def test_a_filter_keeps_the_trash_out_too(run, work):
    tree(work / "src", new="1")
    tree(work / "dst", keep="k")
    run("sync", "src", "dst", "--trash", "--exclude", "keep")
    kept = [line.split("\t")[2] for line in run("trash", "list", "dst").lines]
    assert kept == ["old"]
    run("sync", "src", "dst", "--delete-excluded", "--exclude", "keep")
    assert [line.split("\t")[2] for line in run("trash", "list", "dst").lines] == ["old"]
    assert not (work / "dst" / "keep").exists()


def test_kept_links_and_a_trash_exclude_each_other_where_links_are_made(run, work):
    assert "--links keep" in run("cp", "-r", "src", "dst", "--trash", "--links", "keep", code=2).err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["apply", ""], 2, "cftool: apply: the name of the plan is empty"),
        (["sync", "src", "dst", "--plan", ""], 2, "cftool: --plan: the name of the file is empty"),
        (["sync", "src", "dst", "--plan", "src"], 1, "cftool: src: is a directory"),
        (["sync", "src", "dst", "--plan", "nosuch/p"], 3, "cftool: nosuch/p: no such file or directory"),
    ],
)
def test_a_place_that_can_hold_no_plan_is_told_before_the_work(run, work, words, code, said):
    ran = run(*words, code=code)
    assert (ran.lines, ran.err.splitlines()[0]) == ([], said)
