"""Listings of local directories: complete or an error, in the order of the merge, nothing followed."""

import os
import random

import pytest

from cftool.core import paths
from cftool.core.errors import ListingError, NotADirectory, NotFound, PermissionDenied, StoreError
from cftool.core.types import Entry, Kind
from cftool.disk import listing


def put(root, path, data=b"data"):
    full = os.path.join(os.fsencode(root.path), os.fsencode(path))
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(data)


def walked(root, path=""):
    return list(listing.walk(root, path))


def test_entries_of_each_kind(root):
    put(root, "d/f")
    os.symlink("f", os.path.join(root.path, "d", "link"))
    os.symlink("..", os.path.join(root.path, "d", "loop"))
    os.mkfifo(os.path.join(root.path, "d", "pipe"))
    put(root, "d/.cftool-0123456789ab-0.tmp")
    status = os.stat(os.path.join(root.path, "d", "f"))
    version = f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
    expected = [
        Entry("d", Kind.DIRECTORY),
        Entry("d/f", Kind.FILE, 4, status.st_mtime_ns, None, version),
        Entry("d/link", Kind.LINK),
        Entry("d/loop", Kind.LINK),
        Entry("d/pipe", Kind.OTHER),
    ]
    assert walked(root) == expected
    assert walked(root, "d") == expected[1:]
    assert sorted(listing.scan(root, "d")) == expected[1:]
    assert list(listing.scan(root, "")) == expected[:1]
    for entry in expected:
        assert listing.stat_entry(root, entry.path) == entry
    assert listing.stat_entry(root, "") == Entry("", Kind.DIRECTORY)
    with pytest.raises(NotFound):
        listing.stat_entry(root, "d/.cftool-0123456789ab-0.tmp")


NAMES = ["a", "a-b", "a.b", "a0", "b", "é", "\udcff", "\udce9", "\ue000", "😀", "~", " ", "z\udc80", "日本"]


def test_walk_is_in_the_order_of_bytes(root):
    chance = random.Random(3)
    for _ in range(300):
        path = "/".join(chance.choice(NAMES) for _ in range(chance.randrange(1, 5)))
        try:
            put(root, path)
        except (IsADirectoryError, NotADirectoryError, FileExistsError):
            continue
    entries = walked(root)
    keys = [paths.entry_key(entry) for entry in entries]
    assert keys == sorted(set(keys))
    found = {os.path.join(top, name) for top, dirs, files in os.walk(root.path) for name in dirs + files}
    assert {os.path.join(root.path, entry.path) for entry in entries} == found
    assert len(entries) > 100


def test_walk_holds_one_descriptor_a_level_and_gives_all_back(root, descriptors):
    for number in range(30):
        put(root, f"d{number}/e/f")
    before = descriptors()
    walk = listing.walk(root, "")
    for _ in range(10):
        next(walk)
        assert descriptors() <= before + 3
    walk.close()
    assert descriptors() == before


def test_nothing_there_and_not_a_directory(root):
    put(root, "f")
    for call in (walked, lambda root, path: list(listing.scan(root, path))):
        with pytest.raises(NotFound):
            call(root, "none")
        with pytest.raises(NotADirectory):
            call(root, "f")


def unreadable(monkeypatch, name):
    real = os.open

    def refuse(path, *args, **kwargs):
        if path == name:
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)


def test_unreadable_directory_is_an_error_and_never_skipped(root, monkeypatch):
    for path in ("a/f", "b/f", "c/f"):
        put(root, path)
    unreadable(monkeypatch, "b")
    seen = []
    with pytest.raises(PermissionDenied) as caught:
        seen += (entry.path for entry in listing.walk(root, ""))
    assert caught.value.path == "b"


def test_unreadable_top_is_an_error(root, monkeypatch):
    put(root, "d/f")
    root.directory("d")
    unreadable(monkeypatch, ".")
    for call in (lambda: walked(root, "d"), lambda: list(listing.scan(root, "d"))):
        with pytest.raises(PermissionDenied):
            call()


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_directory_that_cannot_be_read_to_its_end_is_an_error(root, monkeypatch, error, descriptors):
    put(root, "d/f")
    before = descriptors()

    def fail(fd):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", fail)
        with pytest.raises((StoreError, KeyboardInterrupt)):
            walked(root)
    assert descriptors() == before


def test_what_vanishes_meanwhile_is_left_out(root):
    for path in ("a/f", "b", "c/f"):
        put(root, path)
    walk = listing.walk(root, "")
    assert next(walk).path == "a"
    os.unlink(os.path.join(root.path, "a/f"))
    os.rmdir(os.path.join(root.path, "a"))
    os.unlink(os.path.join(root.path, "b"))
    assert [entry.path for entry in walk] == ["c", "c/f"]


def test_directory_swapped_for_a_link_meanwhile_is_an_error(root, tmp_path):
    put(root, "a/f")
    walk = listing.walk(root, "")
    assert next(walk).path == "a"
    os.rename(os.path.join(root.path, "a"), tmp_path / "aside")
    os.symlink(tmp_path / "aside", os.path.join(root.path, "a"))
    with pytest.raises(StoreError):
        next(walk)


def test_entry_whose_status_cannot_be_had_is_an_error():
    class Broken:
        def is_file(self, *, follow_symlinks):
            return True

        def stat(self, *, follow_symlinks):
            raise OSError(5, "Input/output error")

    with pytest.raises(StoreError) as caught:
        listing._entry("f", Broken())
    assert caught.value.path == "f"


def test_vanished_entry_is_none(root):
    put(root, "f")
    (found,) = os.scandir(root.path)
    os.unlink(os.path.join(root.path, "f"))
    assert listing._entry("f", found) is None
    scan = root.scan("")
    put(root, "g")
    assert [name for name, _ in scan] == ["g"]


def test_scan_leaves_out_what_vanished(root, monkeypatch):
    put(root, "f")
    monkeypatch.setattr(listing, "_entry", lambda path, found: None)
    assert list(listing.scan(root, "")) == []


def test_depth_is_bounded(root, monkeypatch):
    monkeypatch.setattr(listing, "MAX_DEPTH", 3)
    os.makedirs(os.path.join(root.path, "a/b/c/d"))
    with pytest.raises(ListingError, match="deeper than 3"):
        walked(root)
    os.rmdir(os.path.join(root.path, "a/b/c/d"))
    assert len(walked(root)) == 3
