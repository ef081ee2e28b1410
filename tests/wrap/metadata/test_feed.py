"""Feeds of changes: one request instead of new listings, and nothing that they told of is served."""

import threading

import pytest

from cftool.core.errors import ConnectionFailed, Interrupted, PermissionDenied
from cftool.core.types import ChangeSet
from tests.wrap.metadata.kit import World, missing, names, put


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "cache", "dir/a", "dir/b", "top", feed=True)
    yield world
    world.close()


def warmed(world, **more):
    store = world.open(**more)
    for path in ("", "dir"):
        names(store, path)
    assert store.stat("top").size == 3
    assert missing(store, "dir/none")
    assert world.asked() == {"changes": 1, "list": 2}
    return store


def all_of_it(store):
    return [names(store), names(store, "dir"), store.stat("top").size, missing(store, "dir/none")]


def test_one_request_confirms_all_that_is_known(world):
    store = warmed(world)
    for _ in range(3):
        world.clock.advance(61)
        assert all_of_it(store) == [["dir", "top"], ["a", "b"], 3, True]
        assert world.asked() == {"changes": 1}


def test_it_does_so_for_the_next_run_too(world):
    warmed(world).close()
    world.clock.advance(100_000)
    assert all_of_it(world.open()) == [["dir", "top"], ["a", "b"], 3, True]
    assert world.asked() == {"changes": 1}


def test_one_request_confirms_a_whole_tree(world):
    store = world.open()
    expected = [entry.path for entry in store.walk("")]
    world.clock.advance(61)
    world.asked()
    assert [entry.path for entry in store.walk("")] == expected
    assert world.asked() == {"changes": 1}
    world.behind("dir/c")
    world.clock.advance(61)
    assert "dir/c" in [entry.path for entry in store.walk("")]
    assert world.asked() == {"changes": 1, "list": 1}


def test_what_changed_is_asked_for_and_nothing_else(world):
    store = warmed(world)
    world.behind("dir/c")
    assert names(store, "dir") == ["a", "b"]
    world.clock.advance(61)
    assert names(store) == ["dir", "top"]
    assert world.asked() == {"changes": 1, "list": 1}  # its parents may be new
    assert names(store, "dir") == ["a", "b", "c"]
    assert store.stat("top").size == 3
    assert world.asked() == {"list": 1}


def test_a_directory_that_moved_takes_all_below_with_it(world):
    store = warmed(world)
    world.memory.space.move("dir", "moved")
    world.clock.advance(61)
    assert missing(store, "dir/a")
    assert names(store) == ["moved", "top"]
    assert names(store, "moved") == ["a", "b"]


def test_what_was_asked_for_before_the_cursor_is_left_to_its_time(world):
    store = world.open()
    store._feed._not_before = 1e12  # the feed does not work yet
    names(store, "dir")
    store._feed._not_before = 0
    world.clock.advance(30)
    names(store)
    world.clock.advance(40)
    world.asked()
    names(store, "dir")
    assert world.asked() == {"list": 1}


def test_an_answer_that_a_poll_overtook_is_not_kept(world):
    """It was on its way when the feed told of the change: nobody would tell of it again."""
    store = warmed(world)
    listing = store._asked_for("dir", (b"", b"", 0))
    next(listing)
    world.behind("dir/c")
    assert store.poll() == frozenset()
    list(listing)
    assert names(store, "dir") == ["a", "b", "c"]


def test_a_reset_forgets_everything(world):
    store = warmed(world)
    world.memory.space._changes.clear()
    world.memory.space.changes = lambda since: ([], 77, since != 77)
    world.memory.space.delete("dir/a")
    world.clock.advance(61)
    assert names(store, "dir") == ["b"]
    assert world.asked() == {"changes": 1, "list": 1}
    world.clock.advance(61)
    assert names(store, "dir") == ["b"]
    assert world.asked() == {"changes": 1}


@pytest.mark.parametrize("answer", [("",), tuple(f"p{n}" for n in range(6000))])
def test_changes_of_the_root_and_very_many_forget_everything(world, answer):
    store = warmed(world)
    world.memory.changes = lambda cursor: ChangeSet(answer, "9")
    world.memory.space.delete("dir/a")
    world.clock.advance(61)
    assert names(store, "dir") == ["b"]


def failing(world, error):
    def changes(cursor):
        world.requests["changes"] += 1
        raise error

    world.memory.changes = changes


def test_a_feed_that_fails_for_now_is_asked_again_later(world):
    store = warmed(world)
    works = world.memory.changes
    failing(world, ConnectionFailed("on purpose"))
    world.clock.advance(61)
    assert all_of_it(store)[:2] == [["dir", "top"], ["a", "b"]]
    assert world.asked()["changes"] == 1
    world.memory.changes = works
    world.clock.advance(61)
    assert all_of_it(store)[:2] == [["dir", "top"], ["a", "b"]]
    assert world.asked() == {"changes": 1}


def test_a_feed_that_fails_for_good_is_begun_anew(world):
    store = warmed(world)
    works = world.memory.changes
    failing(world, PermissionDenied("on purpose"))
    world.clock.advance(61)
    names(store)
    assert store._cache.feed() is None
    world.clock.advance(61)
    names(store)  # it still does not work
    assert world.asked() == {"changes": 2, "list": 2}
    world.memory.changes = works
    world.clock.advance(61)
    names(store)
    assert world.asked() == {"changes": 1, "list": 1}
    world.clock.advance(61)
    names(store)
    assert world.asked() == {"changes": 1}


@pytest.mark.parametrize("known", [True, False])
def test_an_interrupt_goes_through(world, known):
    store = warmed(world) if known else world.open()
    failing(world, Interrupted("the run is to end"))
    world.clock.advance(61)
    with pytest.raises(Interrupted):
        names(store)


def test_of_many_who_wait_one_asks(world):
    store = warmed(world)
    world.clock.advance(61)
    works = world.memory.changes
    waiting = threading.Barrier(3)

    def changes(cursor):
        # The others have found their rows too old by now, or will find them confirmed.
        world.clock.advance(0.001)
        return works(cursor)

    world.memory.changes = changes

    def look():
        waiting.wait()
        assert names(store) == ["dir", "top"]

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.asked() == {"changes": 1}


def test_who_waited_for_a_first_cursor_does_not_ask_for_another(world):
    store = world.open()
    lock = store._feed._lock

    class Late:
        def __enter__(self):
            lock.acquire()
            store._cache.feed_begun("1")

        def __exit__(self, *exc):
            lock.release()

    store._feed._lock = Late()
    names(store)
    assert world.asked() == {"list": 1}


def test_what_a_cursor_that_is_gone_covered_is_asked_for(world):
    store = warmed(world)
    store._cache.feed_ended()
    assert not store._feed.confirm()
    world.clock.advance(61)
    names(store)
    assert world.asked() == {"changes": 1, "list": 1}


def test_who_waited_for_the_answer_of_another_does_not_ask_again(world):
    store = warmed(world)
    world.clock.advance(61)
    assert store._feed.confirm()
    assert store._feed.confirm()
    assert world.asked() == {"changes": 1}


def test_two_who_ask_at_once_both_forget_what_they_hear_of(world):
    one, other = warmed(world), world.open()
    works = world.memory.changes

    def overtaken(cursor):
        world.memory.changes = works
        found = works(cursor)
        world.behind("dir/later")
        other.poll()
        return found

    world.memory.changes = overtaken
    world.behind("dir/c")
    one.poll()
    for store in (one, other):
        assert names(store, "dir") == ["a", "b", "c", "later"]


# ---- polls


def test_a_poll_tells_what_changed_since_the_last_one(world):
    store = warmed(world)
    assert store.poll() == frozenset()
    world.behind("dir/c")
    put(store, "mine")
    assert store.poll() >= {"dir/c"}
    assert names(store, "dir") == ["a", "b", "c"]
    assert store.poll() == frozenset()


def test_a_poll_hears_of_what_another_run_was_told_by_the_feed(world):
    store = warmed(world)
    store.poll()
    world.behind("dir/c")
    world.clock.advance(61)
    assert names(world.open(), "dir") == ["a", "b", "c"]
    assert store.poll() == {"dir/c"}


def test_a_poll_without_a_cursor_begins_with_one(world):
    store = world.open()
    assert store.poll() == frozenset()
    world.behind("dir/c")
    assert store.poll() == {"dir/c"}


def test_a_reset_is_told_as_a_change_of_everything(world):
    store = warmed(world)
    store.poll()
    world.memory.changes = lambda cursor: ChangeSet((), "9", reset=True)
    world.clock.advance(1)
    assert store.poll() == {""}


def test_changes_that_a_caller_asks_for_are_forgotten_and_told(world):
    store = warmed(world)
    other = world.open()
    other.poll()
    cursor = store.changes(None).cursor
    world.behind("dir/c")
    assert store.changes(cursor).paths == ("dir/c",)
    assert names(store, "dir") == ["a", "b", "c"]
    assert "dir/c" in other.poll()
