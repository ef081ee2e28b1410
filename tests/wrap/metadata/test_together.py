"""Several users of one cache: instances, threads, processes; and the death of one in the middle of a change."""

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from cftool.core.errors import ConnectionFailed, NotFound
from cftool.core.sources import BytesSource
from cftool.core.types import Entry, Kind, NameRules, Result, WriteItem
from cftool.testing.crash import every_traced_death
from cftool.testing.faulty import Fault, FaultyStore
from cftool.wrap.metadata import marks, place
from cftool.wrap.metadata.store import MetadataCachingStore
from cftool_providers.local.store import LocalStore
from tests.sizes import FULL
from tests.wrap.metadata.kit import World, missing, names, put


def test_what_one_has_heard_the_other_knows(world):
    one, other = world.open(), world.open()
    assert names(one, "dir") == ["a", "b"]
    assert one.stat("top").size == 3
    assert missing(one, "nothing/at/all")
    world.asked()
    assert names(other, "dir") == ["a", "b"]
    assert other.stat("top") == world.memory.space.node("top").entry("top")
    assert missing(other, "nothing/at/all")
    assert missing(other, "dir/nothing")
    assert world.asked() == {}


def test_it_is_known_in_the_next_run_until_its_time_is_over(world):
    world.open().close()
    names(world.open(), "dir")
    world.close()
    world.clock.advance(59)
    world.asked()
    store = world.open()
    assert names(store, "dir") == ["a", "b"]
    assert world.asked() == {}
    world.behind("dir/c")
    world.clock.advance(1)
    assert names(store, "dir") == ["a", "b", "c"]


def test_each_has_its_own_patience(world):
    names(world.open(ttl=5), "dir")
    world.clock.advance(20)
    world.asked()
    names(world.open(ttl=30), "dir")
    assert world.asked() == {}
    names(world.open(ttl=5), "dir")
    assert world.asked()["list"] == 1


@pytest.mark.parametrize("op", ["scan", "walk"])
def test_a_listing_overtaken_by_a_change_of_another_is_not_kept(world, op):
    one, other = world.open(), world.open()
    listing = getattr(one, op)("")
    next(listing)
    put(other, "new")
    list(listing)
    assert names(one) == ["dir", "new", "top"]


def test_a_walk_overtaken_by_a_change_keeps_the_directories_that_it_did_not_touch(world):
    one, other = world.open(), world.open()
    names(other)
    listing = one.walk("")
    next(listing)
    put(other, "dir/new")
    list(listing)
    world.asked()
    names(one)
    assert world.asked() == {}
    assert names(one, "dir") == ["a", "b", "new"]


def test_a_stat_while_another_writes_is_not_kept(world):
    """He asks while it is under way, hears of the old file, and must not know it when the write has ended."""
    one = world.open()
    write = world.memory.write

    def meanwhile(path, source, **more):
        other.look("top")
        return write(path, source, **more)

    other = world.open()
    world.memory.write = meanwhile
    entry = put(one, "top", b"longer than before")
    assert other.stat("top") == entry


def test_changes_elsewhere_do_not_keep_a_listing_from_being_kept(world):
    one, other = world.open(), world.open()
    names(other)
    names(other, "dir")
    world.clock.advance(61)
    names(other)  # known: dir is there
    listing = one.scan("")
    next(listing)
    put(other, "dir/new")
    list(listing)
    world.asked()
    assert names(other) == ["dir", "top"]
    assert world.asked() == {}


def test_a_listing_that_is_forgotten_while_it_is_given_goes_on_at_the_remote(world):
    for number in range(2500):
        world.behind(f"many/{number:04}")
    one, other = world.open(), world.open()
    names(one, "many")
    world.asked()
    listing = one.scan("many")
    first = [next(listing).name for _ in range(1000)]
    put(other, "many/1500b")
    put(other, "many/0000a")  # behind the place that was reached
    other._cache.clear()
    rest = [entry.name for entry in listing]
    assert sorted(first + rest) == [f"{n:04}" for n in range(1501)] + ["1500b"] + [f"{n:04}" for n in range(1501, 2500)]
    assert world.asked()["list"] == 1


def test_threads_of_several_stores_agree(world):
    stores = [world.open() for _ in range(2)]
    errors = []

    def work(number):
        store = stores[number % 2]
        try:
            for count in range(15):
                path = f"t{number}/f{count}"
                put(store, path, b"x" * count)
                assert store.stat(path).size == count
                assert f"f{count}" in names(store, f"t{number}")
                if count % 3 == 0:
                    store.delete(path)
                    assert missing(store, path)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for store in stores:
        assert [e.path for e in store.walk("")] == [e.path for e in world.memory.walk("")]
        for number in range(4):
            assert names(store, f"t{number}") == sorted(e.name for e in world.memory.scan(f"t{number}"))


# ---- what others changed


def test_what_others_changed_is_told_once(world):
    one, other = world.open(), world.open()
    assert one.poll() == set()
    put(one, "mine")
    put(other, "dir/theirs")
    other.move("dir/a", "dir/z")
    assert one.poll() == {"dir/theirs", "dir/a", "dir/z"}
    assert one.poll() == set()
    assert other.poll() == set()
    one.delete("mine")
    assert other.poll() == {"mine"}


def test_of_too_many_changes_it_is_told_that_all_may_be_another(world, monkeypatch):
    monkeypatch.setattr(marks, "KEPT", 10)
    one, other = world.open(), world.open()
    one.poll()
    listing = one.scan("dir")
    next(listing)
    for number in range(12):
        put(other, f"n{number}")
    list(listing)  # nobody can tell any more whether it was touched
    assert one.poll() == {""}
    assert one.poll() == set()
    world.asked()
    names(one, "dir")
    assert world.asked()["list"] == 1


# ---- batches


def test_of_a_path_that_is_written_twice_at_once_nothing_is_believed(world):
    store = world.open()
    entries = [Entry("same", Kind.FILE, size, 1, 1, str(size)) for size in (1, 2, 3)]

    def both_at_once(items):
        taken = list(items)
        put(world.memory, "same", b"333")
        yield Result("same", entry=entries[2], tag=taken[1].tag)
        yield Result("same", entry=entries[0], tag=taken[0].tag)

    world.memory.write_many = both_at_once
    assert len(list(store.write_many(WriteItem("same", BytesSource(b"x"), tag=n) for n in range(2)))) == 2
    assert store.stat("same") == world.memory.stat("same")


def test_a_result_that_nobody_asked_for_is_not_believed(world):
    store = world.open()
    store.stat("top")
    entry = Entry("top", Kind.FILE, 7, 1, 1, "7")
    world.memory.write_many = lambda items: iter([Result("top", entry=entry)])
    list(store.write_many([]))
    assert store.stat("top") == world.memory.stat("top")


# ---- deaths


def test_who_died_while_he_wrote_leaves_nothing_that_is_believed(world):
    store = world.open()
    store.stat("dir/a")
    names(store, "dir")
    names(store)
    dying = world.open()
    [mark] = dying._cache.begin("dir/a")
    assert store.stat("dir/a").size == 5  # he lives: nothing has ended
    world.behind("dir/a", b"arrived")
    dying._cache.database._owner.close()  # as the kernel does
    assert store.stat("dir/a").size == 7
    assert store.poll() == set()
    world.behind("dir/a", b"arrived later, for the service was still at it")
    assert store.stat("dir/a").size == 46
    world.clock.advance(marks.GRACE + 1)
    store.look("dir/a")
    world.asked()
    store.stat("dir/a")
    assert world.asked() == {}
    assert mark.path == "dir/a"
    dying._cache.database._owner = None


def test_listings_of_the_dead_are_cleared_away(world):
    for number in range(1200):
        world.behind(f"many/{number}")
    dying = world.open()
    listing = dying.scan("many")
    for _ in range(1100):
        next(listing)
    dying._cache.database._owner.close()
    store = world.open()
    assert len(names(store, "many")) == 1200
    found = store._cache.database.look(
        lambda db: [
            db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("source", "listed", "garbage")
        ],
        None,
    )
    for _ in range(4):
        store.look("top")
    left = store._cache.database.look(lambda db: db.execute("SELECT count(*) FROM listed").fetchone()[0], None)
    assert (found[0], left) == (0, 1200)
    dying._cache.database._owner = None


CHILD = """
import sys
from cftool.core.sources import BytesSource
from cftool.wrap.metadata.store import MetadataCachingStore
from cftool_providers.local.store import LocalStore
root, cache = sys.argv[1:]
store = MetadataCachingStore(LocalStore(root), ttl=3600, directory=cache)
print(sorted(e.name for e in store.scan("dir")), flush=True)
for line in sys.stdin:
    word, path = line.split()
    if word == "write":
        store.write(path, BytesSource(b"by the child"))
    elif word == "delete":
        store.delete(path)
    elif word == "names":
        print(sorted(e.name for e in store.scan(path)), flush=True)
        continue
    print("done", flush=True)
store.close()
"""


def test_processes_hear_of_each_other(tmp_path):
    root, cache = tmp_path / "root", tmp_path / "cache"
    (root / "dir").mkdir(parents=True)
    (root / "dir/old").write_bytes(b"old")
    store = MetadataCachingStore(LocalStore(str(root)), ttl=3600, directory=str(cache))
    assert names(store, "dir") == ["old"]
    (root / "dir/behind").write_bytes(b"nobody hears of it")
    command = [sys.executable, "-c", CHILD, str(root), str(cache)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_env()) as child:

        def ask(line):
            child.stdin.write(line + "\n")
            child.stdin.flush()
            return child.stdout.readline().strip()

        assert child.stdout.readline().strip() == "['old']"  # what the parent had listed
        assert ask("write dir/child") == "done"
        assert store.stat("dir/child").size == 12
        assert names(store, "dir") == ["child", "old"]
        put(store, "dir/parent")
        assert ask("names dir") == "['child', 'old', 'parent']"
        assert ask("delete dir/old") == "done"
        assert names(store, "dir") == ["child", "parent"]
        assert missing(store, "dir/old")
        child.stdin.close()
        assert child.wait() == 0
    store.close()
    assert [name for name in os.listdir(cache) if name.startswith("owner-")] == []


def _env():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


ACTIONS = {
    "replace": lambda s: s.write("dir/a", BytesSource(b"replaced")),
    "write": lambda s: s.write("dir/new", BytesSource(b"new")),
    "write into new directories": lambda s: s.write("x/y/z", BytesSource(b"new")),
    "delete": lambda s: s.delete("dir/a"),
    "move": lambda s: s.move("dir", "moved"),
}


@pytest.mark.crash
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_death_at_any_system_call_leaves_nothing_stale(tmp_path, action):
    """The remote is a directory; the child changes it through the cache, and dies at any entry to the kernel."""
    root, cache = tmp_path / "root", tmp_path / "cache"

    def reset():
        for path in (root, cache):
            shutil.rmtree(path, ignore_errors=True)
        (root / "dir/sub").mkdir(parents=True)
        (root / "dir/a").write_bytes(b"a")
        (root / "dir/sub/b").write_bytes(b"b")
        store = opened()
        everything(store)
        store.close()

    def opened():
        return MetadataCachingStore(LocalStore(str(root)), ttl=3600, directory=str(cache))

    def act():
        ACTIONS[action](opened())

    count = 0
    for death in every_traced_death(reset, act, step=1 if FULL else 9):
        count += 1
        store = opened()
        assert everything(store) == everything(LocalStore(str(root))), death
        store.close()
    assert count > 10


PATHS = ("dir", "dir/a", "dir/new", "x", "x/y", "x/y/z", "moved", "moved/a", "moved/sub/b", "dir/sub/b")


def everything(store):
    found, todo = {}, [""]
    while todo:
        directory = todo.pop()
        found[f"{directory}/"] = sorted(e.name for e in store.scan(directory))
        todo += [e.path for e in store.scan(directory) if e.is_dir]
    for path in PATHS:
        try:
            entry = store.stat(path)
            found[path] = (entry.kind, entry.size, None if entry.is_dir else entry.version)
        except NotFound:
            found[path] = None
    return found


# ---- names that a service may take for one


@pytest.fixture
def folding(tmp_path):
    world = World(tmp_path / "folding", "Dir/File")
    rules = NameRules(case_sensitive=False, unicode_form="NFC")
    world.memory._features = replace(world.memory.features, names=rules)
    yield world
    world.close()


def test_forms_fold_alone_where_case_does_not(folding):
    folding.memory._features = replace(folding.memory.features, names=NameRules(unicode_form="NFC"))
    store = folding.open()
    composed, decomposed = "\u00e9", "e\u0301"
    assert missing(store, decomposed)
    assert missing(store, "E\u0301")
    put(store, composed)
    folding.asked()
    missing(store, decomposed)
    assert folding.asked()["stat"] == 1
    assert missing(store, "E\u0301")
    assert folding.asked() == {}


def test_a_listing_says_of_no_name_that_nothing_is_there_where_names_fold(folding):
    store = folding.open()
    assert names(store, "Dir") == ["File"]
    folding.asked()
    assert missing(store, "Dir/FILE")
    assert folding.asked()["stat"] == 1
    assert missing(store, "Dir/FILE")
    assert folding.asked() == {}


def test_a_change_concerns_all_spellings(folding):
    store = folding.open()
    composed, decomposed = "Dir/\u00e9", "Dir/e\u0301"
    assert missing(store, "dir/file")
    assert missing(store, decomposed)
    assert names(store, "Dir") == ["File"]
    put(store, "DIR/FILE")
    put(store, composed)
    folding.asked()
    missing(store, "dir/file")
    missing(store, decomposed)
    names(store, "Dir")
    assert folding.asked() == {"stat": 2, "list": 1}


def test_a_new_name_joins_the_listing_where_no_other_spelling_is_in_it(folding):
    store = folding.open()
    names(store, "Dir")
    put(store, "Dir/new")
    folding.asked()
    assert names(store, "Dir") == ["File", "new"]
    assert folding.asked() == {}
    put(store, "Dir/NEW")
    assert names(store, "Dir") == ["File", "NEW", "new"]
    assert folding.asked()["list"] == 1


@pytest.mark.parametrize("name", ["\udcff\udc80 bytes", "a\x01b", "ẞ", "x" * 255])
def test_names_that_are_no_text_come_back_as_they_went(world, name):
    store = world.open()
    put(store, f"odd/{name}")
    assert names(store, "odd") == [name]
    world.asked()
    other = world.open()
    assert names(other, "odd") == [name]
    assert other.stat(f"odd/{name}").path == f"odd/{name}"
    assert missing(other, "odd/x")
    assert world.asked() == {}


def test_half_a_character_comes_back_as_it_went(world):
    world.memory.scan = lambda path: iter([Entry("half \ud83d", Kind.FILE, 1, 1, 1, "1", hashes={"md5": "1"})])
    names(world.open())
    world.memory.scan = None
    store = world.open()
    assert (names(store), store.stat("half \ud83d").size) == (["half \ud83d"], 1)
    assert [e.path for e in store.walk("")] == ["half \ud83d"]


def test_a_file_and_a_directory_of_one_name_are_both_listed(world):
    world.memory._features = replace(world.memory.features, names=NameRules(opaque=True, utf8=False))
    world.memory.scan = lambda path: iter([Entry("x", Kind.FILE, 1, 1, 1, "1"), Entry("x", Kind.DIRECTORY)])
    store = world.open()
    for _ in range(2):
        assert [e.kind for e in store.scan("")] == [Kind.FILE, Kind.DIRECTORY]
    put(world.memory, "x")
    assert store.stat("x") == world.memory.stat("x")  # which of both the service means it tells by itself
    store.delete("x")
    world.memory.mkdir("x")
    assert store.stat("x").is_dir


# ---- where it cannot be written


@pytest.mark.parametrize("answer", [None, "lost"])
def test_a_change_whose_answer_was_lost_is_no_longer_known_to_anybody(world, answer):
    fault = Fault(answer_lost=answer is not None)
    one, other = world.open(inner=FaultyStore(world.memory, {"write": [fault]})), world.open()
    names(other, "dir")
    other.stat("dir/a")
    with pytest.raises(ConnectionFailed):
        put(one, "dir/a", b"longer by much")
    assert other.stat("dir/a") == world.memory.stat("dir/a")


def test_signs_of_life(tmp_path):
    assert not place.is_alive(str(tmp_path), "no token")
    assert not place.is_alive(str(tmp_path), "0" * 16)
    owner = place.Owner(str(tmp_path))
    assert place.is_alive(str(tmp_path), owner.token)
    os.close(owner._fd)
    assert not place.is_alive(str(tmp_path), owner.token)
    assert os.listdir(tmp_path) == []
