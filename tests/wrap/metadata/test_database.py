"""The database: damage, disks that are full or read-only, restarts, and what is in memory then."""

import os
import sqlite3
from pathlib import Path

import pytest

from cftool.core.types import Entry, Kind
from cftool.wrap.metadata import care, place, rows
from cftool.wrap.metadata.database import Database
from cftool.wrap.metadata.store import MetadataCachingStore
from tests.wrap.metadata.kit import missing, names, put


def files(world, ending="sqlite"):
    return sorted(Path(world.directory).glob(f"*.{ending}"))


def test_it_is_ours_alone(world):
    names(world.open())
    [path] = files(world)
    assert [os.stat(one).st_mode & 0o777 for one in (path, path.parent)] == [0o600, 0o700]


@pytest.mark.parametrize("damage", [b"this is no database", b"", None])
def test_a_file_that_is_no_database_is_given_up(world, damage):
    """None: it is one, of other tables."""
    names(world.open())
    world.close()
    [path] = files(world)
    if damage is None:
        database = sqlite3.connect(path)
        database.execute("DROP TABLE entry")
        database.close()
    else:
        path.write_bytes(damage)
    store = world.open()
    assert store.stat("top").size == 3
    put(store, "new")
    assert names(store) == ["dir", "new", "top"]
    world.asked()
    assert names(world.open()) == ["dir", "new", "top"]
    assert world.asked() == {}
    assert bool(files(world, "dropped")) == (damage != b"")


def test_pages_that_are_damaged_are_given_up_when_they_are_met(world):
    for number in range(3000):
        world.behind(f"many/{number:05}")
    names(world.open(), "many")
    world.close()
    [path] = files(world)
    data = bytearray(path.read_bytes())
    for at in range(8192, len(data), 4096):
        data[at : at + 200] = os.urandom(200)
    path.write_bytes(data)
    store = world.open()
    for _ in range(2):
        assert len(names(store, "many")) == 3000
        assert store.stat("top").size == 3
        assert missing(store, "many/none")
        put(store, "dir/new")
    assert len(files(world, "dropped")) == 1


def test_who_has_a_file_open_that_another_gave_up_goes_over_to_the_new_one(world):
    one, other = world.open(), world.open()
    names(one)
    names(other)
    one._cache.database.drop(sqlite3.DatabaseError("on purpose"))
    put(one, "new")
    assert names(one) == names(other) == ["dir", "new", "top"]
    put(other, "newer")
    assert names(one) == ["dir", "new", "newer", "top"]
    assert len(files(world)) == 1


def test_what_was_asked_of_one_database_is_not_kept_in_the_next(world):
    store = world.open()
    stat = world.memory.stat

    def meanwhile(path):
        world.memory.stat = stat
        try:
            return stat(path)
        finally:
            store._cache.database.drop(sqlite3.DatabaseError("on purpose"))

    world.memory.stat = meanwhile
    store.stat("top")
    world.behind("top", b"changed while nobody could know")
    assert store.stat("top").size == 31


def test_a_listing_under_way_is_not_kept_in_another_database(world):
    for number in range(1500):
        world.behind(f"many/{number:05}")
    store = world.open()
    for after in (700, 1400):
        listing = store.scan("many")
        for _ in range(after):
            next(listing)
        store._cache.database.drop(sqlite3.DatabaseError("on purpose"))
        names(store)
        assert len(list(listing)) == 1500 - after
        world.asked()
        assert len(names(store, "many")) == 1500
        assert world.asked() == {"list": 1}
        store._cache.clear()


def test_files_of_earlier_boots_and_of_long_ago_are_cleared_away(world, monkeypatch):
    names(world.open())
    world.close()
    [old] = files(world)
    names_before = os.listdir(world.directory)
    monkeypatch.setattr(place, "boot_id", lambda: "00000000")
    names(world.open())
    world.close()
    assert old.exists()  # another machine may have it open
    for name in names_before:
        os.utime(old.parent / name, (0, 0))
    world.asked()
    names(world.open())
    assert world.asked() == {}
    assert not old.exists()
    world.opened[-1]._cache.database.drop(sqlite3.DatabaseError("once"))
    names(world.open())
    world.opened[-1]._cache.database.drop(sqlite3.DatabaseError("twice"))
    names(world.open())
    assert [path.name for path in files(world, "dropped")] == [f"00000000-{place.FORMAT}-2.dropped"]
    assert [path.name for path in files(world)] == [f"00000000-{place.FORMAT}-3.sqlite"]


def in_memory(world):
    """Whether it works, and no two share anything."""
    one, other = world.open(), world.open()
    assert names(one) == names(other) == ["dir", "top"]
    world.asked()
    assert names(one) == ["dir", "top"]
    put(one, "new")
    assert names(one) == ["dir", "new", "top"]
    assert world.asked() == {"put": 1}
    assert names(other) == ["dir", "top"]
    assert [one.poll(), one.poll()] == [frozenset(), frozenset()]
    one._cache.database.drop(sqlite3.DatabaseError("on purpose"))
    assert names(one) == ["dir", "new", "top"]


def test_without_a_directory_it_is_in_memory(world):
    store = MetadataCachingStore(world.memory, ttl=60, clock=world.clock)
    names(store)
    world.asked()
    assert names(store) == ["dir", "top"]
    assert world.asked() == {}
    store.close()


def test_where_no_directory_can_be_made_it_is_in_memory(world, tmp_path):
    (tmp_path / "cache").write_bytes(b"a file is in the way")
    in_memory(world)


def test_in_a_read_only_directory_it_is_in_memory(world, monkeypatch):
    os.makedirs(world.directory)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != world.directory and access(path, mode))
    in_memory(world)
    assert os.listdir(world.directory) == []


@pytest.mark.parametrize("name", ["empty", "none"])
def test_where_the_system_does_not_tell_its_boot_it_is_in_memory(world, tmp_path, monkeypatch, name):
    (tmp_path / "empty").write_bytes(b"")
    monkeypatch.setattr(place, "_BOOT", str(tmp_path / name))
    assert not place.is_used(world.directory)
    in_memory(world)


def test_where_no_database_can_be_made_it_is_in_memory(world, monkeypatch):
    from cftool.disk import sqlite

    def full(path, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sqlite, "open_unsynced", full)
    in_memory(world)


def test_where_no_change_can_be_noted_at_all_it_is_in_memory(world):
    """The disk is full when signs of life are to be made, and later too."""
    store, reader = world.open(), world.open()
    names(reader)

    def full(directory):
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cftool.wrap.metadata.database.Owner", full)
        put(store, "new")
    assert names(reader) == ["dir", "new", "top"]
    assert store._cache.database.directory is None
    assert names(store) == ["dir", "new", "top"]


def test_a_directory_that_cannot_be_listed_is_none(world, monkeypatch):
    store = world.open()

    def refused(place):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(place.Place, "current", refused)
    assert names(store) == names(store) == ["dir", "top"]
    assert world.asked() == {"list": 1}
    assert store._cache.database.directory is None


def test_what_cannot_be_renamed_is_left_alone(world, monkeypatch):
    names(world.open())
    world.close()
    [path] = files(world)
    path.write_bytes(b"this is no database")

    def refused(path):
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(place.Place, "drop", refused)
    in_memory(world)
    assert path.read_bytes() == b"this is no database"


def held(world):
    """A connection of somebody who holds the lock for writing, and does not wait."""
    [path] = files(world)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def impatient(store):
    store._cache.database.look(lambda db: None, None)
    store._cache.database._connection.execute("PRAGMA busy_timeout = 0")


def test_what_cannot_be_kept_just_now_is_asked_again(world):
    store = world.open()
    names(store)
    other = held(world)
    impatient(store)
    assert [store.stat("dir/a").size, store.stat("dir/a").size] == [5, 5]
    assert world.asked()["stat"] == 2
    other.close()
    assert [store.stat("dir/a").size, store.stat("dir/a").size] == [5, 5]
    assert world.asked() == {"stat": 1}
    assert len(files(world)) == 1


def test_a_change_that_cannot_be_noted_takes_the_cache_with_it(world):
    store, reader = world.open(), world.open()
    names(store)
    names(reader)
    other = held(world)
    impatient(store)
    put(store, "new")
    assert names(reader) == ["dir", "new", "top"]
    other.close()
    assert names(store) == ["dir", "new", "top"]
    assert len(files(world, "dropped")) == 1


def test_after_close_nothing_is_kept_and_nothing_fails(world):
    store = world.open()
    names(store)
    listing = store.scan("dir")
    next(listing)
    store.close()
    store.close()
    assert len(list(listing)) == 1
    put(store, "new")
    assert names(store) == ["dir", "new", "top"]
    assert store._cache.others_changed() == {""}
    world.asked()
    other = world.open()
    assert names(other) == ["dir", "top"]  # a change through a closed store is nobody's


def test_an_error_that_is_none_of_the_database_s_undoes_the_transaction(tmp_path):
    database = Database(str(tmp_path / "x"))

    def broken(db):
        db.execute("INSERT INTO source (owner) VALUES ('x')")
        raise ZeroDivisionError

    for method in (database.look, database.learn, database.change):
        with pytest.raises(ZeroDivisionError):
            method(broken, None)
    assert database.look(lambda db: db.execute("SELECT count(*) FROM source").fetchone(), None) == (0,)
    database.close()


# ---- rows

GOOD = [
    Entry("d/f", Kind.FILE, 5, -1, 2**62, "v", "i", {"md5": "ab", "sha256": "cd"}),
    Entry("d/f", Kind.FILE),
    Entry("d/f", Kind.DIRECTORY, id="x"),
    Entry("d/f", Kind.LINK, version="ä"),
    Entry("d/f", Kind.OTHER, 0),
]


@pytest.mark.parametrize("entry", GOOD)
def test_an_entry_comes_back_as_it_went(entry):
    assert rows.decode("d/f", rows.encode(entry)) == entry


def test_nothing_comes_back_as_nothing():
    assert rows.decode("d/f", rows.encode(None)) is None


@pytest.mark.parametrize(
    "entry",
    [
        Entry("f", Kind.FILE, 2**63),
        Entry("f", Kind.FILE, modified_ns=-(2**63) - 1),
        Entry("f", Kind.FILE, version="\ud83d"),
        Entry("f", Kind.FILE, hashes={"a b": "x"}),
        Entry("f", Kind.FILE, hashes={"a": "x:y"}),
        Entry("f", Kind.FILE, hashes={"a": "ä"}),
    ],
)
def test_what_fits_into_no_row_is_not_kept_and_is_shown_all_the_same(world, entry):
    with pytest.raises(rows.Unkeepable):
        rows.encode(entry)
    store = world.open()
    world.memory.stat = lambda path: entry
    world.memory.scan = lambda path: iter([entry])
    world.memory.write = lambda path, source, **more: entry._replace(stored_ns=1)
    names(store, "dir")
    for _ in range(2):
        assert store.stat("f") == entry
        assert list(store.scan("")) == [entry]
    put(store, "f")
    assert store.stat("f") == entry


BAD = [
    ("kind", "9"), ("kind", "'x'"), ("kind", "1.5"), ("size", "'x'"), ("size", "-1"), ("modified", "x'00'"),
    ("version", "x'00'"), ("hashes", "'x'"), ("hashes", "'a:b a:c'"), ("hashes", "'a:b:c'"), ("hashes", "':'"),
    ("hashes", "5"), ("kind", "0"),
]  # fmt: skip


@pytest.mark.parametrize(("column", "value"), BAD)
@pytest.mark.parametrize("table", ["entry", "listed"])
def test_a_row_that_is_none_is_not_believed(world, table, column, value):
    store = world.open()
    store.look("dir/a")
    if table == "listed":
        names(store, "dir")
    store._cache.database.look(lambda db: db.execute(f"UPDATE {table} SET {column} = {value}"), None)
    for _ in range(2):
        assert store.stat("dir/a") == world.memory.stat("dir/a")
        assert names(store, "dir") == ["a", "b"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET asked = 'x'",
        "UPDATE listing SET asked = 'x'",
        "UPDATE listing SET source = 'x'",
        "UPDATE listed SET name = x'ff'",
        "UPDATE listed SET name = x'612f78' WHERE name = x'61'",
        "UPDATE listed SET kind=0, size=NULL, modified=NULL, stored=NULL, version=NULL, id=NULL, hashes=NULL",
        "UPDATE listed SET name = 'x' WHERE name = x'61'",
        "INSERT INTO mark (path, key, reach, tree, owner, open, until) VALUES (x'', 'x', x'', 0, 'x', 1, 0)",
        "INSERT INTO mark (path, key, reach, tree, owner, open, until) VALUES (x'', x'', x'', 9, 'x', 1, 0)",
        "INSERT INTO feed VALUES ('', x'00', 0.0, 0.0)",
        "INSERT INTO sqlite_sequence VALUES ('mark', 'x')",
    ],
)
def test_a_database_that_says_nonsense_is_not_believed(world, statement):
    store = world.open()
    store.look("dir/a")
    names(store, "dir")
    store._cache.database.look(lambda db: db.execute(statement), None)
    for _ in range(2):
        assert store.stat("dir/a") == world.memory.stat("dir/a")
        assert names(store, "dir") == ["a", "b"]
        assert store.stat("dir/b") == world.memory.stat("dir/b")
        assert missing(store, "dir/x")
        assert store.look("top") == world.memory.stat("top")


def test_what_is_found_wrong_is_given_up_for_everybody(world):
    store = world.open()
    names(store)
    store._cache.database.drop(rows.Damaged("a row is none"))
    assert len(files(world, "dropped")) == 1
    assert names(store) == ["dir", "top"]


def test_disk_gets_back_what_was_forgotten(world):
    for number in range(3000):
        world.behind(f"many/{number:04}")
    names(world.open(), "many")
    before = care.measured(world.directory)
    assert (before.entries, care.cleared(world.directory)) == (3000, before)
    after = care.measured(world.directory)
    assert (after.entries, after.listings, after.bytes < before.bytes / 2) == (0, 0, True)
    world.asked()
    assert len(names(world.open(), "many")) == 3000
    assert world.asked()["list"] == 1
    assert care.measured(str(world.directory) + "/nowhere") == care.Size()
