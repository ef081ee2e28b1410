"""Temps of dead processes are found and removed; those of living ones, and all other files, are not touched."""

import os

import pytest

from cftool.core.types import Entry, Kind
from cftool.disk import temps
from cftool.disk.root import Root

PLAIN = ".cftool-0123456789ab-1f.tmp"
PART = f".cftool-{'0a' * 16}.part.tmp"
MAP = f".cftool-{'0a' * 16}.map.tmp"


def put(root, path, data=b"data"):
    full = os.path.join(root.path, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(data)


@pytest.mark.parametrize("name", [PLAIN, PART, MAP, temps.part_name("0" * 32), temps.map_name("f" * 32)])
def test_names_of_ours(name):
    assert temps.is_temp(name)


@pytest.mark.parametrize(
    "name",
    [
        "f",
        ".cftool-.tmp",
        ".cftool-notes.tmp",
        ".cftool-0123456789AB-1.tmp",
        PLAIN + "x",
        "x" + PLAIN,
        PLAIN + "\n",
        ".cftool-0123456789ab-.tmp",
        ".cftool",
    ],
)
def test_names_of_others(name):
    assert not temps.is_temp(name)


def test_sweep_removes_what_the_dead_left_and_nothing_else(root):
    for path in (PLAIN, f"a/b/{PART}", f"a/b/{MAP}", "a/f", ".cftool-notes.tmp"):
        put(root, path)
    os.symlink("/etc", os.path.join(root.path, "link"))
    assert sorted(temps.sweep(root)) == [PLAIN, f"a/b/{MAP}", f"a/b/{PART}"]
    left = [os.path.join(top, name) for top, _, names in os.walk(root.path) for name in names]
    assert sorted(os.path.relpath(path, root.path) for path in left) == [".cftool-notes.tmp", "a/f"]
    assert temps.sweep(root) == []


def test_sweep_can_keep_partials_and_stay_on_one_level(root):
    for path in (PLAIN, PART, MAP, f"a/{PLAIN}"):
        put(root, path)
    assert temps.sweep(root, keep_partials=True, recursive=False) == [PLAIN]
    assert sorted(temps.sweep(root, recursive=False)) == [MAP, PART]
    assert temps.sweep(root, "a") == [f"a/{PLAIN}"]


def test_temps_of_the_living_are_found_in_use_and_kept(root):
    root.target("f").save(b"data", Entry("f", Kind.FILE, 4))
    put(root, PLAIN, b"x" * 5000)
    put(root, PART)
    with Root(root.path) as other:
        found = {temp.path: temp for temp in temps.find(other)}
        assert len(found) == 3
        mine = next(temp for temp in found.values() if temp.in_use)
        assert not mine.partial
        assert found[PLAIN].bytes >= 5000
        assert not found[PLAIN].in_use
        assert found[PART].partial
        assert sorted(temps.sweep(other)) == sorted([PLAIN, PART])
    assert root.flush() == []
    assert os.listdir(root.path) == ["f"]


def test_only_temps_can_be_removed_by_remove(root):
    put(root, "f")
    with pytest.raises(ValueError, match="no temporary file"):
        temps.remove(root, "f")


def test_links_and_directories_with_our_names_are_left(root, tmp_path):
    (tmp_path / "outside").write_bytes(b"outside")
    os.symlink(tmp_path / "outside", os.path.join(root.path, PLAIN))
    os.mkdir(os.path.join(root.path, PART))
    os.mkfifo(os.path.join(root.path, MAP))
    assert temps.sweep(root) == []
    assert len(list(temps.find(root))) == 2
    assert temps.remove(root, "gone/" + PLAIN) is False
    assert (tmp_path / "outside").read_bytes() == b"outside"


def test_name_that_changed_hands_is_left(root, monkeypatch):
    put(root, PLAIN)
    real = temps.lock

    def lock(fd):
        os.unlink(os.path.join(root.path, PLAIN))
        put(root, PLAIN, b"another")
        return real(fd)

    monkeypatch.setattr(temps, "lock", lock)
    assert temps.sweep(root) == []
    assert os.listdir(root.path) == [PLAIN]

    def remove(fd):
        os.unlink(os.path.join(root.path, PLAIN))
        return real(fd)

    monkeypatch.setattr(temps, "lock", remove)
    assert temps.sweep(root) == []


def test_temp_that_cannot_be_removed_is_left(root, monkeypatch):
    put(root, PLAIN)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)
    assert temps.sweep(root) == []


def test_without_locks_nothing_is_removed(root, monkeypatch):
    put(root, PLAIN)

    def flock(fd, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(temps.fcntl, "flock", flock)
    assert temps.sweep(root) == []
    assert [temp.in_use for temp in temps.find(root)] == [True]
    root.target("f").save(b"data", Entry("f", Kind.FILE, 4))
    assert root.flush() == []


def test_lock_that_fails_otherwise_is_an_error_and_leaves_no_temp(root, monkeypatch):
    def flock(fd, how):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(temps.fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output"):
        temps.create(root.directory("").fd, root.run_id, 0o600)
    assert os.listdir(root.path) == []


def test_temp_swept_before_it_was_locked_is_made_again(root, monkeypatch):
    real = temps.lock
    swept = []

    def lock(fd):
        if not swept:
            (name,) = os.listdir(root.path)
            os.unlink(os.path.join(root.path, name))
            swept.append(name)
        return real(fd)

    monkeypatch.setattr(temps, "lock", lock)
    name, fd = temps.create(root.directory("").fd, root.run_id, 0o600)
    os.close(fd)
    assert os.listdir(root.path) == [name]
    assert name not in swept


def test_temp_locked_by_a_sweep_is_made_again(root, monkeypatch):
    answers = [False, True]
    monkeypatch.setattr(temps, "lock", lambda fd: answers.pop(0))
    name, fd = temps.create(root.directory("").fd, root.run_id, 0o600)
    os.close(fd)
    assert os.listdir(root.path) == [name]


def test_names_that_exist_are_passed_over(root, monkeypatch):
    import itertools

    monkeypatch.setattr(temps, "_counter", itertools.count())
    put(root, f".cftool-{root.run_id}-0.tmp")
    name, fd = temps.create(root.directory("").fd, root.run_id, 0o600)
    os.close(fd)
    assert name == f".cftool-{root.run_id}-1.tmp"


def test_directory_that_cannot_be_searched_is_told(root, monkeypatch, caplog):
    put(root, f"d/{PLAIN}")
    real = os.open

    def refuse(path, *args, **kwargs):
        if path == "d":
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    assert temps.sweep(root) == []
    assert "no search for temporary files in d" in caplog.text


def test_in_a_directory_that_is_gone_there_are_no_temps(root, caplog):
    assert temps.sweep(root, "gone") == []
    assert caplog.text == ""


@pytest.mark.crash
def test_killed_process_leaves_a_temp_that_is_free(root):
    child = os.fork()
    if child == 0:
        try:
            mine = Root(root.path)
            mine.target("f").save(b"data", Entry("f", Kind.FILE, 4))
            mine.target("g").begin(Entry("g", Kind.FILE, 4, version="v"))
        finally:
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert sorted(temp.in_use for temp in temps.find(root)) == [False, False, False]
    assert len(temps.sweep(root)) == 3
    assert os.listdir(root.path) == []
