"""Group commit: who waits shares a commit; nothing is lost, and nothing is there where the commit failed."""

import sqlite3
import threading

import pytest

from cftool.core.errors import AlreadyExists, StoreError
from cftool.wrap.caching import small
from cftool.wrap.caching.together import _Change
from tests.wrap.caching.kit import cached, get, put


@pytest.fixture(params=[0, small.LARGEST], ids=["file", "small"])
def store(request, remote, cache_directory):
    store = cached(remote, cache_directory, inline=request.param)
    yield store
    store.close()


def at_once(store, calls):
    """Run them in threads; the errors, in the order of the calls."""
    errors = [None] * len(calls)

    def run(number, call):
        try:
            call()
        except StoreError as error:
            errors[number] = error

    threads = [threading.Thread(target=run, args=(number, call)) for number, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_many_writers_lose_nothing(store):
    calls = [lambda n=n: put(store, f"d/{n}", str(n).encode()) for n in range(40)]
    assert at_once(store, calls) == [None] * 40
    assert {e.path: get(store, e.path) for e in store.scan("d")} == {f"d/{n}": str(n).encode() for n in range(40)}


def test_only_one_of_many_makes_a_new_file(store):
    errors = at_once(store, [lambda n=n: put(store, "file", b"%d" % n, if_absent=True) for n in range(20)])
    [winner] = [n for n, error in enumerate(errors) if error is None]
    assert {type(error) for n, error in enumerate(errors) if n != winner} == {AlreadyExists}
    assert get(store, "file") == b"%d" % winner
    assert len(list(store.journal.sizes())) == 1


def test_changes_of_one_batch_share_a_transaction_and_fail_alone(store):
    begun = []
    store.journal._db.set_trace_callback(lambda text: begun.append(text) if text.startswith("BEGIN") else None)

    def change(name, error=None):
        def make():
            store.localize(add=(name,))
            if error is not None:
                raise error

        return make

    batch = [_Change(change("a")), _Change(change("b", StoreError("no"))), _Change(change("c"))]
    with store.lock:
        store._together._make(batch)
    assert len(begun) == 1
    assert [item.error is None for item in batch] == [True, False, True]


class Refusing:
    """A database that fails every statement that begins so."""

    def __init__(self, real, statement, message, code):
        self._real, self._statement, self._message, self._code = real, statement, message, code

    def __getattr__(self, name):
        return getattr(self._real, name)

    def execute(self, text, *args):
        if text.startswith(self._statement):
            error = sqlite3.OperationalError(self._message)
            error.sqlite_errorcode = self._code
            raise error
        return self._real.execute(text, *args)


def test_failed_commit_is_told_and_nothing_is_shown_of_it(store):
    put(store, "file", b"old")
    real = store.journal._db

    store.journal._db = Refusing(real, "COMMIT", "database or disk is full", sqlite3.SQLITE_FULL)
    with pytest.raises(StoreError):
        put(store, "file", b"new content")
    store.journal._db = real
    assert get(store, "file") == b"old"
    assert len(list(store.files.ids())) == (1 if store.settings.inline == 0 else 0)
    assert store.flush() == []


def test_several_changes_of_one_caller_have_one_commit_and_an_answer_each(store):
    begun = []
    store.journal._db.set_trace_callback(lambda text: begun.append(text) if text.startswith("BEGIN") else None)

    def wrong():
        raise StoreError("no")

    answers = store.all_together([lambda: 1, wrong, lambda: store.localize(add=("d",))])
    assert (answers[0], str(answers[1]), answers[2], len(begun)) == (1, "no", None, 1)
    assert "d" in store.overlay.local
    assert store.all_together([]) == []


@pytest.mark.parametrize("others", [0, 1])
def test_change_that_fails_within_leaves_nothing_of_itself(store, others):
    """Alone it has no savepoint: the whole transaction goes."""
    put(store, "file", b"old")

    def broken():
        store.localize(add=("made",))
        with store.journal._transaction() as db:
            db.execute("DELETE FROM pending")
            raise StoreError("broken")

    answers = store.all_together([broken, *[lambda: store.localize(add=("fine",))] * others])
    assert str(answers[0]) == "broken"
    assert sorted(store.journal.local()) == (["fine", "made"] if others else [])
    assert get(store, "file") == b"old"
    assert store.flush() == []


def test_interruption_within_a_change_is_passed_on(store):
    def stopped():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.all_together([stopped])
    put(store, "file", b"new")
    assert get(store, "file") == b"new"


def test_change_within_a_change_is_part_of_it(store):
    assert store.together(lambda: store.together(lambda: store.localize(add=("d",)))) is None
    assert store.journal.local() == ["d"]


def test_change_that_the_journal_does_not_take_is_told_alone_and_with_others(store):
    put(store, "file", b"old")
    real = store.journal._db

    store.journal._db = Refusing(real, "INSERT INTO pending", "disk I/O error", sqlite3.SQLITE_IOERR)
    with pytest.raises(StoreError):
        put(store, "file", b"new content")
    assert [type(error) for error in at_once(store, [lambda: put(store, "other", b"x")] * 3)] != [type(None)] * 3
    store.journal._db = real
    assert get(store, "file") == b"old"
    assert [entry.path for entry in store.scan("")] == ["file"]
    assert store.flush() == []


def test_who_is_told_hears_of_what_is_on_the_disk_and_of_nothing_else(store):
    told = []

    def hears(name):
        def told_of():
            told.append((name, store.journal._db.in_transaction, sorted(store.journal.local())))

        return told_of

    def wrong():
        raise StoreError("no")

    makes = [lambda: store.localize(add=("a",)), wrong, lambda: store.localize(add=("b",))]
    store.all_together(makes, [hears("a"), hears("wrong"), hears("b")])
    assert told == [("a", False, ["a", "b"]), ("b", False, ["a", "b"])]

    real = store.journal._db
    store.journal._db = Refusing(real, "COMMIT", "database or disk is full", sqlite3.SQLITE_FULL)
    with pytest.raises(StoreError):
        store.together(lambda: store.localize(add=("c",)), hears("c"))
    store.journal._db = real
    assert len(told) == 2


def test_what_is_taken_back_counts_no_more(store):
    put(store, "file", b"x" * 5000)
    before = (*store.journal.totals(), store.journal.inline.total())
    real = store.journal._db
    store.journal._db = Refusing(real, "COMMIT", "database or disk is full", sqlite3.SQLITE_FULL)
    with pytest.raises(StoreError):
        put(store, "other", b"y" * 9000)
    store.journal._db = real
    assert (*store.journal.totals(), store.journal.inline.total()) == before
    assert store.journal.totals() == store.journal.summed()
    assert [row.path for row in store.pending()] == ["file"]
