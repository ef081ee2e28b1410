"""Times of files over a store whose listings have none: kept when the content goes, and shown of that version alone."""

import sqlite3
from dataclasses import replace

import pytest

from cftool.core.sources import BytesSource
from cftool.core.types import Cap
from cftool.testing.faulty import Fault, FaultyStore
from cftool.wrap.caching import file_times
from cftool.wrap.caching.care import looked_at
from cftool.wrap.caching.journal import Journal
from cftool_providers.memory import MemoryStore
from tests.wrap.caching.kit import cached, get, put


class Untold(MemoryStore):
    """As S3: the time is in the answer to `stat` alone, and the version is one of the content."""

    @property
    def features(self):
        return replace(super().features, listed_time=False)

    def scan(self, path):
        return (entry._replace(modified_ns=None) for entry in super().scan(path))


@pytest.fixture
def inner():
    return Untold()


@pytest.fixture
def store(inner, tmp_path):
    store = cached(inner, tmp_path / "cache")
    yield store
    store.close()


def times(store, path=""):
    return {entry.path: entry.modified_ns for entry in store.scan(path) if not entry.is_dir}


def test_content_that_goes_leaves_its_time(store, inner):
    put(store, "f", b"one", modified_ns=1)
    assert store.flush() == []
    store.clear()
    assert times(store) == {"f": 1}
    put(inner, "f", b"two", modified_ns=2)
    assert times(store) == {"f": None}


def test_what_others_say_that_they_changed_is_forgotten(store):
    for name in ("d/f", "g"):
        put(store, name, b"one", modified_ns=1)
    assert store.flush() == []
    store.clear()
    store.clear("d", changed=True)
    assert (times(store, "d"), times(store)) == ({"d/f": None}, {"g": 1})
    store.clear(changed=True)
    assert times(store) == {"g": None}


def test_a_time_that_was_set_is_shown_with_the_content_and_without(store):
    put(store, "f", b"one", modified_ns=1)
    assert store.flush() == []
    store.set_modified("f", 5)
    assert times(store) == {"f": 5}
    store.clear()
    assert times(store) == {"f": 5}


def test_names_that_change_take_the_times_along(store):
    for name in ("d/gone", "d/here", "f"):
        put(store, name, b"one", modified_ns=1)
    assert store.flush() == []
    store.clear("d/gone")
    store.move("d", "e")
    store.move("f", "g")
    assert store.flush() == []
    assert {path: when for path, (_, when) in store.journal.times("").items()} == {"e/gone": 1, "e/here": 1, "g": 1}


def test_a_rename_that_is_under_way_shows_the_times_too(inner, tmp_path):
    remote = FaultyStore(inner, {"move": [Fault(answer_lost=True)]})
    store = cached(remote, tmp_path / "cache")
    put(store, "d/f", b"one", modified_ns=1)
    assert store.flush() == []
    store.move("d", "e")
    assert len(store.flush()) == 1  # it has happened, which nobody knows yet
    assert times(store, "e") == {"e/f": 1}
    store.close()


class Remaking(Untold):
    """As S3 with what was uploaded in parts: a copy is another version. Directories are moved file by file."""

    @property
    def features(self):
        features = super().features
        return replace(features, caps=features.caps & ~Cap.MOVE_DIR)

    def move(self, src, dst):
        entry = self.stat(src)
        moved = self.write(dst, BytesSource(get(self, src)), modified_ns=entry.modified_ns)
        self.delete(src)
        return moved


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_files_that_are_other_versions_in_a_renamed_directory_keep_their_times(tmp_path, broken):
    """Also where the rename needs several tries, and where nothing of them is in the cache."""
    inner = Remaking()
    remote = FaultyStore(inner, {})
    store = cached(remote, tmp_path / "cache")
    for number, name in enumerate(("d/a", "d/b", "d/sub/c")):
        put(store, name, b"one", modified_ns=10**18 + number)
    assert store.flush() == []
    store.clear()
    if broken:
        remote._faults["move"] = iter([*[None] * broken, Fault()])
    store.move("d", "e")
    while store.flush():
        pass
    assert {**times(store, "e"), **times(store, "e/sub")} == {"e/a": 10**18, "e/b": 10**18 + 1, "e/sub/c": 10**18 + 2}
    assert store.drain._remade == {}
    store.close()


def test_what_is_not_known_whole_is_not_kept(inner):
    put(inner, "f", b"one", modified_ns=1)
    entry = inner.stat("f")
    assert len(file_times.rows_of(entry)) == 1
    for unknown in (None, entry._replace(version=None), entry._replace(modified_ns=None)):
        assert file_times.rows_of(unknown) == []


def test_stores_that_list_times_have_none_here(tmp_path):
    inner = MemoryStore()
    store = cached(inner, tmp_path / "cache")
    put(store, "f", b"one", modified_ns=1)
    assert store.flush() == []
    store.set_modified("f", 5)
    store.clear()
    assert (times(store), store.journal.times("")) == ({"f": 5}, {})
    store.close()


def test_a_journal_of_before_is_looked_at_as_it_is(store, tmp_path):
    put(store, "f", b"one", modified_ns=1)
    store.close()
    path = tmp_path / "cache" / "journal.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE file_time")
    db.close()
    assert [row.path for row in looked_at(str(tmp_path / "cache"))[0]] == ["f"]
    journal = Journal(str(path), identity=None, look=True)
    assert journal.times("") == {}
    journal.close()


def test_only_the_newest_are_kept(store, monkeypatch):
    monkeypatch.setattr(file_times, "_KEPT", 2)
    for number in range(3):
        put(store, f"f{number}", b"one", modified_ns=number)
    assert store.flush() == []
    store.clear()
    assert sorted(store.journal.times("")) == ["f1", "f2"]
