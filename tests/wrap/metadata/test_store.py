"""MetadataCaching: requests are saved, and what it says is never older than what was done through it."""

from dataclasses import replace

import pytest

from cftool.core.errors import ConnectionFailed, Interrupted, NotADirectory, NotFound, PreconditionFailed
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, ChangeSet, Entry, Kind, Leftover, NameRules, ReadItem, Result, WriteItem
from cftool.testing.clock import FakeClock
from cftool.testing.faulty import Fault, FaultyStore
from cftool.testing.targets import MemoryTarget
from cftool.wrap.metadata.store import MetadataCachingStore
from cftool_providers.memory import MemoryStore


class Setup:
    def __init__(self, faults=None, *, limit=None, directory=None):
        self.memory = MemoryStore()
        features = self.memory.features
        self.memory._features = replace(features, caps=features.caps & ~Cap.CHANGES)
        for path in ("dir/a", "dir/b", "top"):
            self.memory.write(path, BytesSource(path.encode()))
        self.inner = FaultyStore(self.memory, faults or {})
        self.clock = FakeClock()
        self.store = MetadataCachingStore(self.inner, ttl=60, clock=self.clock, limit=limit, directory=directory)

    @property
    def calls(self):
        return dict(self.inner.calls)

    def put(self, path, data=b"new"):
        return self.store.write(path, BytesSource(data))

    def names(self, path=""):
        return sorted(e.name for e in self.store.scan(path))

    def missing(self, path):
        try:
            self.store.stat(path)
        except NotFound:
            return True
        return False


@pytest.fixture
def setup():
    return Setup()


def implicit():
    """As a flat store is: directories come and go with their files."""
    setup = Setup()
    features = setup.memory.features
    caps = (features.caps | Cap.IMPLICIT_DIRS) & ~Cap.EMPTY_DIRS
    setup.memory._features = replace(features, caps=caps, names=NameRules(opaque=True))
    delete = setup.memory.delete

    def delete_with_parents(path):
        delete(path)
        while path := path.rpartition("/")[0]:
            try:
                setup.memory.rmdir(path)
            except Exception:
                return

    setup.memory.delete = delete_with_parents
    setup.store = MetadataCachingStore(setup.inner, ttl=60, clock=setup.clock)
    return setup


# ---- what it saves


def test_a_second_stat_asks_nothing(setup):
    assert setup.store.stat("dir/a") == setup.store.stat("dir/a")
    assert setup.calls == {"stat": 1}


def test_that_nothing_is_there_is_remembered(setup):
    assert [setup.missing("dir/x") for _ in range(3)] == [True] * 3
    assert setup.calls == {"stat": 1}


def test_a_second_listing_asks_nothing(setup):
    assert [setup.names("dir") for _ in range(3)] == [["a", "b"]] * 3
    assert setup.calls == {"scan": 1}


def test_a_listing_answers_for_names_that_it_lacks_and_for_directories(setup):
    setup.names()
    assert setup.missing("nothing")
    assert setup.store.stat("dir").is_dir
    assert setup.calls == {"scan": 1}


def test_a_listing_answers_for_files_where_it_tells_all_that_a_stat_would(setup):
    setup.names()
    assert setup.store.stat("top") == setup.memory.stat("top")
    assert setup.calls == {"scan": 1}


def test_where_no_listing_tells_when_a_file_was_stored_the_first_stat_says_whether_a_stat_does(setup):
    listing = setup.memory.scan
    setup.memory.scan = lambda path: (e if e.is_dir else e._replace(stored_ns=None) for e in listing(path))
    setup.names("dir")
    setup.store.look("top")
    for _ in range(2):
        for name in ("dir/a", "dir/b"):
            assert setup.store.stat(name) == setup.memory.stat(name)
    assert setup.calls == {"scan": 1, "stat": 3}


def test_where_nothing_tells_when_a_file_was_stored_uploads_and_listings_are_whole(setup):
    for op in ("write", "stat", "scan"):
        real = getattr(setup.memory, op)
        setattr(setup.memory, op, lambda *args, real=real, **more: _unstored(real(*args, **more)))
    setup.names("dir")
    setup.put("dir/new")
    setup.put("top")
    for path in ("dir/a", "dir/new", "top"):
        assert setup.store.stat(path) == setup.memory.stat(path)
    assert setup.calls == {"scan": 1, "write": 2}


def _unstored(answer):
    if isinstance(answer, Entry):
        return answer._replace(stored_ns=None)
    return (entry._replace(stored_ns=None) for entry in answer)


@pytest.mark.parametrize("lacks", [{"modified_ns": None}, {"hashes": {}}, {"size": None}, {"version": None}])
def test_a_listing_does_not_answer_for_files_where_a_stat_would_know_more(setup, lacks):
    listing = setup.memory.scan
    setup.memory.scan = lambda path: (e if e.is_dir else e._replace(**lacks) for e in listing(path))
    setup.names()
    for _ in range(2):
        assert setup.store.stat("top") == setup.memory.stat("top")
    assert setup.calls == {"scan": 1, "stat": 1}


def test_a_walk_answers_for_every_directory_of_it(setup):
    assert [e.path for e in setup.store.walk("")] == ["dir", "dir/a", "dir/b", "top"]
    assert (setup.names(), setup.names("dir")) == (["dir", "top"], ["a", "b"])
    assert setup.missing("dir/x")
    assert setup.calls == {"walk": 1}


def walked(setup, path=""):
    return [e.path for e in setup.store.walk(path)]


def test_a_walk_of_which_all_is_known_asks_nothing(setup):
    setup.memory.mkdir("dir.d/empty")
    expected = [e.path for e in setup.memory.walk("")]
    for _ in range(3):
        assert walked(setup) == expected
    assert setup.calls == {"walk": 1}
    assert walked(setup, "dir") == ["dir/a", "dir/b"]
    setup.put("dir/c")
    setup.store.delete("top")
    assert walked(setup) == [e.path for e in setup.memory.walk("")]
    assert setup.calls == {"walk": 1, "write": 1, "delete": 1}
    setup.memory.write("behind", BytesSource(b""))
    setup.clock.advance(61)
    assert "behind" in walked(setup)


def test_a_walk_of_which_something_is_not_known_is_asked_for(setup):
    setup.names()
    assert walked(setup) == ["dir", "dir/a", "dir/b", "top"]
    assert setup.calls == {"scan": 1, "walk": 1}
    setup.store._cache.forget("dir/a")
    assert walked(setup, "dir") == ["dir/a", "dir/b"]
    assert setup.calls == {"scan": 1, "walk": 2}


def test_a_walk_goes_on_where_something_is_forgotten_on_its_way(setup):
    setup.memory.mkdir("gone/sub")
    walked(setup)
    walk = setup.store.walk("")
    assert next(walk).path == "dir"
    setup.store._cache.clear()
    setup.memory.rmdir("gone/sub")
    setup.memory.rmdir("gone")
    assert [e.path for e in walk] == ["dir/a", "dir/b", "gone", "top"]
    assert setup.calls == {"walk": 1, "scan": 2}


def test_a_walk_of_very_large_directories_is_asked_for(setup, monkeypatch):
    monkeypatch.setattr("cftool.wrap.metadata.cache.SORTED", 3)
    walked(setup)
    assert walked(setup) == ["dir", "dir/a", "dir/b", "top"]
    setup.put("dir/c")
    setup.put("dir/d")
    walked(setup)
    assert setup.calls == {"walk": 2, "write": 2}


def test_a_walk_of_a_subtree_answers_for_it_alone(setup):
    setup.memory.mkdir("dir/empty")
    list(setup.store.walk("dir"))
    assert (setup.names("dir"), setup.names("dir/empty")) == (["a", "b", "empty"], [])
    assert setup.calls == {"walk": 1}
    assert setup.names() == ["dir", "top"]
    assert setup.calls == {"walk": 1, "scan": 1}


def test_everything_is_asked_anew_after_its_time(setup):
    setup.store.stat("top")
    setup.names("dir")
    assert setup.missing("x")
    setup.clock.advance(59.9)
    setup.store.stat("top")
    setup.names("dir")
    assert setup.calls == {"stat": 1, "scan": 2}  # of two names in the root it is listed
    setup.memory.write("x", BytesSource(b""))
    setup.memory.write("dir/c", BytesSource(b""))
    setup.clock.advance(0.2)
    assert not setup.missing("x")
    assert setup.names("dir") == ["a", "b", "c"]
    assert setup.store.stat("top").path == "top"
    assert setup.calls == {"stat": 1, "scan": 4}


def test_the_root_is_remembered_like_any_other(setup):
    assert setup.store.stat("").is_dir
    assert setup.store.stat("").is_dir
    assert setup.calls == {"stat": 1}


# ---- own changes


def test_the_entry_of_an_upload_answers_stat_and_joins_the_listing(setup):
    setup.names("dir")
    entry = setup.put("dir/new")
    assert setup.store.stat("dir/new") == entry
    assert setup.names("dir") == ["a", "b", "new"]
    assert setup.calls == {"scan": 1, "write": 1}


def test_the_entry_of_an_upload_that_knows_less_than_stat_is_asked_for_once(setup):
    setup.names("dir")
    assert setup.missing("dir/new")
    write = setup.memory.write
    setup.memory.write = lambda *args, **kwargs: write(*args, **kwargs)._replace(stored_ns=None)
    setup.put("dir/new")
    assert setup.names("dir") == ["a", "b", "new"]
    for _ in range(2):
        assert setup.store.stat("dir/new") == setup.memory.stat("dir/new")
    assert setup.calls == {"scan": 1, "write": 1, "stat": 1}


def test_an_upload_into_a_new_directory_shows_everywhere(setup):
    setup.names()
    assert setup.missing("far/away")
    setup.put("far/away/file")
    assert setup.store.stat("far/away").is_dir
    assert setup.names() == ["dir", "far", "top"]
    assert setup.names("far") == ["away"]


def test_a_deleted_file_is_gone_at_once_and_without_a_request(setup):
    setup.names("dir")
    setup.store.stat("dir/a")
    setup.store.delete("dir/a")
    assert setup.missing("dir/a")
    assert setup.names("dir") == ["b"]
    assert setup.calls == {"scan": 1, "delete": 1}


def test_a_made_and_a_removed_directory_show(setup):
    setup.names()
    assert setup.missing("new/sub")
    setup.store.mkdir("new/sub")
    assert setup.store.stat("new/sub").is_dir
    assert setup.names() == ["dir", "new", "top"]
    setup.store.rmdir("new/sub")
    assert setup.missing("new/sub")
    assert setup.names("new") == []
    with pytest.raises(NotFound):
        setup.names("new/sub")


def test_the_root_can_be_made_again(setup):
    assert setup.store.mkdir("").path == ""
    assert setup.names() == ["dir", "top"]


def test_copy_move_and_set_modified_show(setup):
    setup.names()
    setup.names("dir")
    assert setup.missing("moved/a")
    assert setup.store.copy("top", "dir/copy") == setup.store.stat("dir/copy")
    assert setup.names("dir") == ["a", "b", "copy"]
    setup.store.set_modified("dir/copy", 5)
    assert setup.store.stat("dir/copy").modified_ns == 5
    assert {e.name: e.modified_ns for e in setup.store.scan("dir")}["copy"] == 5
    setup.store.move("dir", "moved")
    assert setup.missing("dir")
    assert setup.missing("dir/a")
    assert setup.store.stat("moved/a").path == "moved/a"
    assert setup.names() == ["moved", "top"]
    assert setup.names("moved") == ["a", "b", "copy"]


def test_batches_show(setup):
    setup.names("dir")
    results = list(setup.store.write_many([WriteItem("dir/c", BytesSource(b"c"), tag=1)]))
    assert setup.store.stat("dir/c") == results[0].entry
    assert setup.names("dir") == ["a", "b", "c"]
    list(setup.store.delete_many([Entry("dir/a", Kind.FILE)]))
    assert setup.missing("dir/a")
    assert setup.names("dir") == ["b", "c"]


# ---- where directories are implicit


def test_a_directory_goes_with_its_last_file():
    setup = implicit()
    setup.put("x/y/only")
    assert (setup.names(), setup.names("x"), setup.names("x/y")) == (["dir", "top", "x"], ["y"], ["only"])
    assert setup.store.stat("x").is_dir
    setup.store.delete("x/y/only")
    assert setup.names() == ["dir", "top"]
    assert setup.missing("x")
    with pytest.raises(NotFound):
        setup.names("x/y")


def test_a_directory_with_another_file_stays_without_a_request():
    setup = implicit()
    setup.names("dir")
    setup.names()
    before = setup.calls
    setup.store.delete("dir/a")
    assert setup.names("dir") == ["b"]
    assert setup.names() == ["dir", "top"]
    assert setup.calls == {**before, "delete": 1}


def test_mkdir_promises_nothing_where_it_makes_nothing():
    setup = implicit()
    setup.memory.mkdir = lambda path: Entry(path, Kind.DIRECTORY)
    assert setup.missing("new")
    assert setup.store.mkdir("new").is_dir
    assert setup.missing("new")


# ---- errors and races


@pytest.mark.parametrize(
    ("op", "call"),
    [
        ("write", lambda s: s.write("dir/new", BytesSource(b""))),
        ("delete", lambda s: s.delete("dir/a")),
        ("mkdir", lambda s: s.mkdir("dir/new")),
        ("rmdir", lambda s: s.rmdir("dir/empty")),
        ("copy", lambda s: s.copy("top", "dir/new")),
        ("move", lambda s: s.move("dir/a", "dir/new")),
        ("set_modified", lambda s: s.set_modified("dir/a", 5)),
    ],
)
def test_a_change_whose_answer_was_lost_is_asked_for_again(op, call):
    setup = Setup({op: [Fault(answer_lost=True)]})
    setup.memory.mkdir("dir/empty")
    for path in ("dir/a", "dir/empty"):
        setup.store.stat(path)
    setup.names("dir")
    assert setup.missing("dir/new")
    with pytest.raises(ConnectionFailed):
        call(setup.store)
    assert setup.names("dir") == sorted(e.name for e in setup.memory.scan("dir"))
    for entry in setup.memory.scan("dir"):
        assert setup.store.stat(entry.path) == entry


def test_an_item_of_a_batch_whose_answer_was_lost_is_asked_for_again():
    setup = Setup({"write": [Fault(answer_lost=True)]})
    setup.names("dir")
    [result] = setup.store.write_many([WriteItem("dir/new", BytesSource(b""))])
    assert isinstance(result.error, ConnectionFailed)
    assert setup.names("dir") == ["a", "b", "new"]


def test_items_of_a_batch_that_was_abandoned_are_asked_for_again(setup):
    def reads_ahead(items):
        taken = list(items)
        for item in taken:
            setup.memory.write(item.path, item.source)
        for item in taken:
            yield Result(item.path, entry=setup.memory.stat(item.path))

    setup.memory.write_many = None
    setup.inner.write_many = reads_ahead
    setup.names("dir")
    results = setup.store.write_many(WriteItem(f"dir/{n}", BytesSource(b"")) for n in range(3))
    next(results)
    results.close()
    assert setup.names("dir") == ["0", "1", "2", "a", "b"]


@pytest.mark.parametrize("op", ["scan", "walk"])
def test_a_listing_that_breaks_is_not_remembered(op):
    setup = Setup({op: [Fault(at=1)]})
    with pytest.raises(ConnectionFailed):
        list(getattr(setup.store, op)(""))
    assert setup.names() == ["dir", "top"]


def test_a_listing_that_was_abandoned_is_not_remembered(setup):
    next(setup.store.scan(""))
    next(setup.store.walk(""))
    assert setup.names() == ["dir", "top"]


@pytest.mark.parametrize("op", ["scan", "walk"])
def test_a_listing_overtaken_by_a_change_is_not_remembered(setup, op):
    listing = getattr(setup.store, op)("")
    first = next(listing)
    assert first.path == "dir"
    setup.put("new")
    list(listing)
    assert setup.names() == ["dir", "new", "top"]


@pytest.mark.parametrize("there", [True, False])
def test_a_stat_overtaken_by_a_change_is_not_remembered(setup, there):
    """The answer is on its way while another thread replaces the file."""
    path = "top" if there else "fresh"
    stat = setup.memory.stat

    def overtaken(path):
        setup.memory.stat = stat
        try:
            return stat(path)
        finally:
            setup.put(path, b"newer content")

    setup.memory.stat = overtaken
    setup.missing(path)
    assert setup.store.stat(path).size == len(b"newer content")


def test_a_read_that_finds_nothing_forgets_what_was_known(setup):
    version = setup.store.stat("top").version
    setup.memory.write("top", BytesSource(b"changed behind"))
    with pytest.raises(PreconditionFailed):
        setup.store.read("top", if_version=version)
    assert setup.store.stat("top").size == len(b"changed behind")
    setup.memory.delete("top")
    with pytest.raises(NotFound):
        setup.store.read("top")
    assert setup.missing("top")
    assert setup.store.read("dir/a").read() == b"dir/a"


def test_a_batch_of_reads_that_finds_nothing_forgets_what_was_known(setup):
    entries = [setup.store.stat("top"), setup.store.stat("dir/a")]
    setup.memory.delete("top")
    results = list(setup.store.read_many(ReadItem(e, MemoryTarget()) for e in entries))
    assert [type(r.error).__name__ for r in results] == ["NotFound", "NoneType"]
    assert setup.missing("top")


def test_changes_made_elsewhere_are_forgotten(setup):
    cursor = setup.store.changes(None).cursor
    setup.names("dir")
    setup.store.stat("dir/a")
    setup.memory.move("dir/a", "dir/z")
    assert setup.names("dir") == ["a", "b"]
    assert "dir/z" in setup.store.changes(cursor).paths
    assert setup.names("dir") == ["b", "z"]
    assert setup.missing("dir/a")


def test_a_reset_of_the_changes_forgets_everything(setup):
    setup.names()
    setup.store.stat("top")
    setup.memory.delete("top")
    setup.memory.changes = lambda cursor: ChangeSet((), "1", reset=True)
    setup.store.changes("old")
    assert setup.missing("top")
    assert setup.names() == ["dir"]


# ---- bounds


def fill(setup, count, directory="many"):
    for n in range(count):
        setup.memory.write(f"{directory}/{n:05}", BytesSource(b""))


def used(setup):
    cache = setup.store._cache
    return cache.database.look(cache.database.used, None)


def test_the_oldest_entries_go_first_when_it_is_full():
    setup = Setup(limit=300_000)
    fill(setup, 300)
    for n in range(300):
        setup.store.look(f"many/{n:05}")
        setup.clock.advance(0.01)
    assert setup.calls["stat"] == 300
    setup.store._cache.limit = used(setup) - 1
    setup.store.look("top")
    before = setup.calls["stat"]
    setup.store.stat("many/00299")
    assert setup.calls["stat"] == before
    assert not setup.store._cache.stat("many/00000").known


def test_listings_are_bounded_by_their_bytes():
    setup = Setup(limit=400_000)
    for directory in ("one", "two", "three", "four", "five"):
        fill(setup, 900, directory)
        assert len(setup.names(directory)) == 900
        setup.clock.advance(1)
        assert used(setup) <= 400_000
    kept = [d for d in ("one", "two", "three", "four", "five") if setup.store._cache.scan(d).source is not None]
    assert kept
    assert kept == ["one", "two", "three", "four", "five"][-len(kept) :]


@pytest.mark.parametrize("op", ["scan", "walk"])
def test_a_listing_larger_than_the_bound_passes_and_is_not_kept(op):
    setup = Setup(limit=200_000)
    fill(setup, 3000)
    for _ in range(2):
        assert len(list(getattr(setup.store, op)("many"))) == 3000
    assert setup.calls == {op: 2}
    assert used(setup) <= 200_000


def test_what_was_thrown_away_is_removed(setup):
    fill(setup, 2500)
    for _ in range(3):
        list(setup.store.walk(""))
        setup.store._cache.clear()
        setup.names("many")
        setup.store.move("many", "moved")
        setup.store.move("moved", "many")
    setup.store._cache.clear()
    assert used(setup) <= 8192


# ---- directories that are listed for their names


def test_a_second_name_of_a_directory_lists_it(setup):
    fill(setup, 30)
    for n in range(30):
        assert setup.store.stat(f"many/{n:05}").size == 0
    assert setup.missing("many/none")
    assert setup.calls == {"stat": 1, "scan": 1}


def test_the_same_name_again_does_not(setup):
    setup.missing("dir/x")
    setup.clock.advance(61)
    setup.missing("dir/x")
    assert setup.calls == {"stat": 2}


def test_one_with_too_many_names_is_not_listed_again(setup):
    fill(setup, 2500)
    for n in range(5):
        assert setup.store.stat(f"many/{n:05}").size == 0
    assert setup.calls == {"stat": 5, "scan": 1}
    assert not setup.store.prefetch("many", limit=10)
    assert setup.store.prefetch("many", limit=2500)


def test_where_a_listing_tells_less_it_is_not_listed(setup):
    setup.memory._features = replace(setup.memory.features, listed_time=False)
    for name in ("dir/a", "dir/b", "top"):
        setup.store.stat(name)
    assert setup.calls == {"stat": 3}


def test_a_listing_that_fails_leaves_the_question_to_be_asked():
    setup = Setup({"scan": [Fault()]})
    for name in ("dir/a", "dir/b", "dir/x"):
        assert setup.missing(name) == (name == "dir/x")
    assert setup.calls == {"stat": 3, "scan": 1}


def test_an_interrupt_while_a_directory_is_listed_goes_through():
    setup = Setup({"scan": [Fault(error=lambda: Interrupted("the run is to end"))]})
    setup.store.stat("dir/a")
    with pytest.raises(Interrupted):
        setup.store.stat("dir/b")


def test_of_many_directories_it_is_not_remembered_for_ever(setup):
    for n in range(1100):
        assert setup.missing(f"d{n}/x")
    assert len(setup.store._missed) == 1000


# ---- corners


def test_a_later_listing_that_knows_less_confirms_what_a_stat_said(setup):
    setup.memory._features = replace(setup.memory.features, listed_time=False)
    setup.store = MetadataCachingStore(setup.inner, ttl=60, clock=setup.clock)
    for change in (False, True):
        setup.clock.advance(61)
        before = setup.store.look("top")
        setup.clock.advance(1)
        if change:
            setup.memory.write("top", BytesSource(b"another"))
        setup.names()
        setup.inner.calls.clear()
        assert (setup.store.stat("top") == before) is not change
        assert setup.calls == ({"stat": 1} if change else {})


def test_what_a_stat_said_is_old_after_its_time(setup):
    setup.store.look("top")
    setup.clock.advance(61)
    setup.store.stat("top")
    assert setup.calls == {"stat": 2}


def test_a_walk_of_which_something_is_old_is_asked_for(setup):
    assert walked(setup) == walked(setup)
    setup.clock.advance(61)
    walked(setup)
    assert setup.calls == {"walk": 2}


def test_a_walk_of_very_many_directories(setup):
    for n in range(2100):
        setup.memory.mkdir(f"d{n:04}/e")
    walked(setup)
    expected = [e.path for e in setup.memory.walk("")]
    assert walked(setup) == expected
    assert setup.calls == {"walk": 1}


def test_the_root_stays_and_what_is_moved_to_itself_too(setup):
    setup.memory.rmdir = lambda path: None
    setup.store.rmdir("")
    assert setup.names() == ["dir", "top"]
    setup.memory.move = lambda src, dst: setup.memory.stat(src)
    setup.store.move("top", "top")
    assert setup.store.stat("top").size == 3


def test_a_directory_that_is_removed_whole_is_gone(setup):
    assert walked(setup)
    setup.memory.delete_dir = lambda path: [
        *map(setup.memory.delete, ("dir/a", "dir/b")),
        setup.memory.rmdir("dir"),
    ]
    setup.store.delete_dir("dir")
    assert setup.missing("dir")
    assert setup.missing("dir/a")
    assert walked(setup) == ["top"]
    assert setup.calls == {"walk": 1, "stat": 1}


def test_a_tree_is_asked_for_whatever_is_known(setup):
    assert walked(setup)
    setup.memory.delete("dir/a")
    setup.memory.tree = lambda path: iter([setup.memory.stat(path), *setup.memory.walk(path)])
    assert [entry.path for entry in setup.store.tree("dir")] == ["dir", "dir/b"]


def test_a_file_in_the_place_of_a_directory_is_no_directory(setup):
    """Others made a directory of it and removed it; what was known below must not stand."""
    setup.memory.mkdir("x")
    assert setup.names("x") == []
    setup.memory.rmdir("x")
    setup.put("x")
    with pytest.raises(NotADirectory):
        setup.names("x")


def test_a_directory_that_is_not_there_is_asked_for_once(setup):
    for _ in range(2):
        with pytest.raises(NotFound):
            setup.names("none")
    assert setup.calls == {"scan": 1}


def test_the_rest_is_asked(setup):
    removed = []
    setup.memory.link = lambda path, *, expires=None: f"link to {path} for {expires}"
    assert setup.store.link("top", expires=3.0) == "link to top for 3.0"
    assert setup.store.probe("top") == Cap.NONE
    setup.memory.leftovers = lambda path, *, older_than=None: iter([Leftover(path, str(older_than))])
    setup.memory.remove_leftover = removed.append
    [leftover] = setup.store.leftovers("dir", older_than=3)
    setup.store.remove_leftover(leftover)
    assert removed == [Leftover("dir", "3")]
    assert setup.store.usage().used == 13
    assert setup.store.features is setup.memory.features
    setup.store.close()
