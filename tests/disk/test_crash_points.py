"""Death at every system call of every local write: a final name holds a whole file, and a sweep leaves no temp."""

import os

import pytest

from cftool.core.types import Entry, Kind
from cftool.disk import atomic, group, temps
from cftool.disk.root import Root
from cftool.testing.crash import every_death

pytestmark = pytest.mark.crash

OLD = b"old " * 100
NEW = b"new content " * 1000
TIME = 1_600_000_000_123_456_789


def entry(path, data, version="v1"):
    return Entry(path, Kind.FILE, len(data), TIME, None, version)


class Tree:
    """A directory that each run starts anew."""

    def __init__(self, path):
        self.path = str(path)

    def reset(self, **files):
        for directory, _, names in os.walk(self.path, topdown=False):
            for name in names:
                os.unlink(os.path.join(directory, name))
            os.rmdir(directory)
        os.mkdir(self.path)
        for name, data in files.items():
            self.put(name, data)

    def put(self, name, data):
        with open(os.path.join(self.path, name), "wb") as file:
            file.write(data)

    def files(self):
        """Content by path, temps included."""
        found = {}
        for directory, _, names in os.walk(self.path):
            for name in names:
                path = os.path.join(directory, name)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, self.path)] = file.read()
        return found

    def swept(self):
        """The files after a later run swept; no temp may be among them."""
        with Root(self.path) as root:
            temps.sweep(root)
        files = self.files()
        assert not [path for path in files if temps.is_temp(os.path.basename(path))]
        return files


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "tree")


def save(tree, *paths):
    with Root(tree.path) as root:
        for path in paths:
            root.target(path).save(NEW, entry(path, NEW))
        assert root.flush() == []


def deaths(reset, action, look):
    """Look at what is left after each death; how many there were, so that no test passes for want of any."""
    count = 0
    for death in every_death(reset, action):
        count += 1
        try:
            look()
        except AssertionError as error:
            raise AssertionError(f"after {death}: {error}") from error
    return count


def test_new_file_is_whole_or_absent(tree):
    def look():
        assert tree.swept() in ({}, {"a/b/f": NEW})

    assert deaths(tree.reset, lambda: save(tree, "a/b/f"), look) > 20


def test_replaced_file_is_old_or_new(tree):
    def look():
        assert tree.swept() in ({"f": OLD}, {"f": NEW})

    assert deaths(lambda: tree.reset(f=OLD), lambda: save(tree, "f"), look) > 15


def test_deleted_file_is_whole_or_gone(tree):
    def action():
        with Root(tree.path) as root:
            root.unlink("f")

    def look():
        assert tree.swept() in ({"f": OLD, "g": OLD}, {"g": OLD})

    assert deaths(lambda: tree.reset(f=OLD, g=OLD), action, look) > 1


def test_renamed_file_has_one_of_its_names(tree):
    def action():
        with Root(tree.path) as root:
            root.rename("f", "g")
            assert root.flush() == []

    def look():
        assert tree.swept() in ({"f": NEW, "g": OLD}, {"g": NEW})

    assert deaths(lambda: tree.reset(f=NEW, g=OLD), action, look) > 3


def test_group_commit_publishes_each_file_whole(tree, publishing):
    names = ["f1", "d/f2", "f3", "d/f4", "f5"]

    def look():
        files = tree.swept()
        assert set(files) <= set(names)
        assert all(data == NEW or (name == "f1" and data == OLD) for name, data in files.items())
        assert "f1" in files

    assert deaths(lambda: tree.reset(f1=OLD), lambda: save(tree, *names), look) > 60


def test_flush_is_where_files_become_certain(tree, publishing):
    """What a flush said is there after any later death."""

    def action():
        with Root(tree.path) as root:
            root.target("first").save(NEW, entry("first", NEW))
            assert root.flush() == []
            tree.put("mark", b"")
            root.target("second").save(NEW, entry("second", NEW))
            root.flush()

    def look():
        files = tree.swept()
        if "mark" in files:
            assert files["first"] == NEW

    assert deaths(tree.reset, action, look) > 20


def download(tree, log=None):
    """One resumable download in four parts; `log` takes the parts that had to be fetched."""
    with Root(tree.path) as root:
        partial = root.target("f").begin(entry("f", NEW))
        for start, end in partial.missing(len(NEW) // 4):
            partial.writev_at([NEW[start : start + 10], NEW[start + 10 : end]], start)
            partial.done(start, end)
            if log is not None:
                log.append((start, end))
        partial.commit(entry("f", NEW))
        assert root.flush() == []


@pytest.fixture
def every_range_recorded(monkeypatch):
    from cftool.disk import partial

    monkeypatch.setattr(partial, "_RECORD", 1)


def test_partial_download_is_old_or_new_and_the_next_run_completes_it(tree, every_range_recorded):
    def look():
        assert tree.files().get("f") in (OLD, NEW)
        download(tree)
        assert tree.files() == {"f": NEW}

    assert deaths(lambda: tree.reset(f=OLD), lambda: download(tree), look) > 25


def test_partial_download_fetches_again_at_most_the_part_that_was_being_written(tree, every_range_recorded):
    progress = os.path.join(os.path.dirname(tree.path), "progress")
    part = len(NEW) // 4

    def action():
        class Progress(list):
            def append(self, item):
                with open(progress, "ab") as file:
                    file.write(b".")

        download(tree, Progress())

    def reset():
        tree.reset()
        with open(progress, "wb"):
            pass

    def look():
        done = os.path.getsize(progress)
        again = []
        if "f" not in tree.files():
            download(tree, again)
        assert sum(end - start for start, end in again) <= len(NEW) - done * part

    assert deaths(reset, action, look) > 25


def test_partial_download_that_nobody_takes_up_is_swept(tree, every_range_recorded):
    def look():
        assert tree.swept() in ({}, {"f": NEW})

    assert deaths(tree.reset, lambda: download(tree), look) > 25


def test_small_file_of_ours_is_old_or_new(tree):
    path = os.path.join(tree.path, "config")

    def look():
        assert tree.swept() in ({"config": OLD}, {"config": NEW})

    assert deaths(lambda: tree.reset(config=OLD), lambda: atomic.write_file(path, NEW), look) > 8


def test_batches_are_published_before_the_flush(tree, monkeypatch, publishing):
    """A death late in a run keeps what its earlier batches published."""
    monkeypatch.setattr(group, "BATCH_FILES", 2)
    monkeypatch.setattr(group, "_PROBE_FILES", 2)
    names = [f"f{number}" for number in range(6)]

    def look():
        files = tree.swept()
        assert set(files.values()) <= {NEW}

    assert deaths(tree.reset, lambda: save(tree, *names), look) > 60
