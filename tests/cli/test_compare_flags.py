"""The flags that decide whether a file is copied, through the commands that share them."""

import os

import pytest

from tests.cli.conftest import tree

MOVED = {"cp": ("cp", "-r"), "mv": ("mv", "-r"), "sync": ("sync",)}


@pytest.fixture
def two(here):
    """Two directories with a file of one name and size; that of `b` is newer."""
    tree(here, a__f="old")
    tree(here, b__f="new")
    os.utime(here / "a" / "f", (1_600_000_000, 1_600_000_000))
    os.utime(here / "b" / "f", (1_700_000_000, 1_700_000_000))
    return here


@pytest.mark.parametrize("command", MOVED)
def test_update_skips_what_is_newer_at_the_destination(run, two, command):
    run(*MOVED[command], "a", "b")
    assert (two / "b" / "f").read_text() == "old"  # without the flag the other time is a difference
    (two / "b" / "f").write_text("new")
    tree(two, a__f="odd")
    os.utime(two / "a" / "f", (1_600_000_000, 1_600_000_000))
    run(*MOVED[command], "--update", "a", "b")
    assert (two / "b" / "f").read_text() == "new"


@pytest.mark.parametrize("command", ["cp", "sync"])
def test_ignore_times_copies_what_is_equal(run, two, command):
    run(*MOVED[command], "a", "b")
    assert run(*MOVED[command], "--json", "a", "b").events[-1]["copied"] == 0
    assert run(*MOVED[command], "--json", "--ignore-times", "a", "b").events[-1]["copied"] == 1


@pytest.mark.parametrize("command", MOVED)
def test_checkers_are_a_count(run, two, command):
    assert "--checkers" in run(*MOVED[command], "--checkers", "none", "a", "b", code=2).err
    run(*MOVED[command], "--checkers", "1", "a", "b")
    assert (two / "b" / "f").read_text() == "old"
