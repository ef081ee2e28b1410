"""Times of directories between trees of one machine, as cp -a and rsync -a keep them."""

import errno
import os
import stat

import pytest

from cftool.transfer.directory_times import DirectoryTimes
from tests.cli.conftest import tree

OLD = 981_173_106_123_456_789
DIRECTORIES = ("", "a", "a/b", "a/b/c", "empty")


@pytest.fixture
def source(here):
    tree(here / "src", a__f="1", a__b__c__g="2", h="3")
    (here / "src/empty").mkdir()
    for path in reversed(DIRECTORIES):
        dated(here / "src" / path)
    return here / "src"


def dated(path, when=OLD):
    os.utime(path, ns=(when, when + len(path.name)))


def times(root):
    """What the directories have, as far as they are not what the source had."""
    found = {path: (root / path).stat().st_mtime_ns for path in DIRECTORIES if (root / path).is_dir()}
    return {path: when for path, when in found.items() if path and when != OLD + len(path.rpartition("/")[2])}


@pytest.mark.parametrize(
    "words", [("cp", "-r"), ("sync",), ("mv", "-r"), ("cp", "-r", "--links", "keep")], ids=" ".join
)
@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
def test_they_are_kept(run, here, source, words, there):
    if there:  # so that mv goes file by file
        tree(here / "dst", a__old="0")
    expected = source.stat().st_mtime_ns
    run(*words, "src", "dst")
    assert (times(here / "dst"), (here / "dst").stat().st_mtime_ns) == ({}, expected)


def test_one_that_differs_alone_is_set_without_a_word(run, here, source):
    run("sync", "src", "dst")
    dated(here / "dst/a/b", 0)
    assert run("sync", "--dry-run", "src", "dst").out == b""
    assert list(times(here / "dst")) == ["a/b"]
    again = run("sync", "src", "dst", "--json")
    assert [event["event"] for event in again.events] == ["summary"]
    assert times(here / "dst") == {}


def test_what_is_deleted_or_kept_in_a_trash_comes_before(run, here, source):
    run("sync", "src", "dst")
    (here / "dst/a/b/old").touch()
    (here / "dst/gone").mkdir()
    run("sync", "--trash", "src", "dst")
    assert (times(here / "dst"), (here / "dst").stat().st_mtime_ns) == ({}, source.stat().st_mtime_ns)


def test_those_that_the_filter_leaves_out_stay_as_they_are(run, here, source):
    (here / "dst/a/b").mkdir(parents=True)
    dated(here / "dst/a/b", 0)
    run("sync", "--exclude", "a/b/**", "src", "dst")
    assert (here / "dst/a/b").stat().st_mtime_ns == 1


def test_a_link_in_the_way_is_not_followed(run, here, source):
    (here / "dst").mkdir()
    (here / "elsewhere").mkdir()
    dated(here / "elsewhere", 0)
    (here / "dst/empty").symlink_to(here / "elsewhere")
    before = (here / "elsewhere").stat().st_mtime_ns
    run("cp", "-r", "src", "dst", code=None)
    assert (here / "elsewhere").stat().st_mtime_ns == before


def test_a_run_that_was_stopped_sets_none(run, here, source):
    run("sync", "--max-transfer", "1", "src", "dst", code=8)
    assert (here / "dst").stat().st_mtime_ns != source.stat().st_mtime_ns


def test_what_may_not_be_set_is_no_failure(run, here, source, monkeypatch):
    """A directory of somebody else's in which one may write."""
    real = os.utime

    def utime(where, *rest, **more):
        if isinstance(where, int) and stat.S_ISDIR(os.fstat(where).st_mode):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(where, *rest, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", utime)
        assert "not permitted" not in run("sync", "src", "dst").err
    assert sorted(times(here / "dst")) == sorted(DIRECTORIES[1:])
    run("sync", "src", "dst")
    assert times(here / "dst") == {}


def test_apply_leaves_them_alone(run, here, source):
    """A plan names what is to be done, and they are not in it."""
    run("sync", "--plan", "plan", "src", "dst", code=10)
    run("apply", "plan")
    assert (here / "dst/a/f").read_text() == "1"
    assert sorted(times(here / "dst")) == sorted(DIRECTORIES[1:])


def test_what_is_gone_at_either_side_has_no_time(here, source):
    noted = DirectoryTimes(str(source), str(here / "dst"), None)
    noted.note("a")
    noted.note("nothing")
    noted.set()  # there is no destination
    (here / "dst").mkdir()
    noted.set()
    (here / "dst/a").mkdir()
    noted.set()
    noted.close()
    assert (here / "dst/a").stat().st_mtime_ns == (source / "a").stat().st_mtime_ns
