"""What needs its moment: threads that meet, files that go between two looks, services that answer oddly."""

import errno
import os
import queue
import sqlite3
import threading
from pathlib import Path

import pytest

from cftool.core.errors import (
    ConnectionFailed,
    Interrupted,
    LoginRequired,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    StoreError,
)
from cftool.core.types import Cap, Entry, Kind, NameRules
from cftool.disk.root import Root
from cftool.transfer import api, cleanup, execute, follow, run, scan, state, telling
from cftool.transfer.actions import Action
from cftool.transfer.conditions import Conditions
from cftool.transfer.events import Deleted, Failed, Note, Progress, Skipped
from cftool.transfer.follow import FollowingStore
from cftool.transfer.merge import Folding, exact_key
from cftool.transfer.options import Links, MaxDelete, Options
from cftool.transfer.tally import Tally
from tests.transfer.kit import T0, Bench, Fitted, held, local, make, put, remote, tree
from tests.transfer.test_corners import Plain, fit


def here(side) -> Path:
    return Path(side.local_root)


# ---- comparing


def test_only_the_side_whose_listing_knows_too_little_is_asked(between):
    between.src.store.listed = lambda entry: entry._replace(modified_ns=None, hashes={})
    put(between.src.store, "f", b"1", T0)
    put(between.dst.store, "f", b"1", T0)
    assert between.sync().compared_by == {"request": 1}
    assert (between.src.store.log.count(("stat", "f")), between.dst.store.log.count(("stat", "f"))) == (1, 0)


def test_a_hash_that_we_cannot_compute_proves_nothing(up):
    up.dst.store.listed = lambda entry: entry._replace(modified_ns=None, hashes={"unheard-of": "00"})
    make(here(up.src), {"f": b"1"}, T0)
    put(up.dst.store, "f", b"1", T0)
    assert up.sync().compared_by == {"request": 1}


def test_what_is_on_record_as_it_is_is_not_written_again(up, monkeypatch):
    make(here(up.src), {"f": b"1"}, T0)
    assert up.sync().copied == 1
    written = []
    monkeypatch.setattr(state.PairState, "put", lambda self, *row: written.append(row))
    assert up.sync(checksum=True).compared_by == {"hash": 1}
    assert written == []


def test_check_by_size_alone(up):
    make(here(up.src), {"same": b"1", "other": b"1"})
    put(up.dst.store, "same", b"2")
    put(up.dst.store, "other", b"22")
    summary = up.check(size_only=True)
    assert (summary.checked, summary.differences) == (2, 1)


# ---- the plan, where names fold


@pytest.fixture
def folding(tmp_path) -> Bench:
    """The source cannot tell `A` from `a`, the destination can."""
    store = Fitted(remote=True, names=NameRules(case_sensitive=False))
    return Bench(remote(store), local(tmp_path / "dst"), str(tmp_path / "state"))


def test_twins_of_the_source_are_told_where_the_destination_has_neither(tmp_path):
    store = Fitted(remote=True, names=NameRules(case_sensitive=False))
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    make(here(bench.src), {"A": b"1", "a": b"2", "b": b"3"})
    bench.sync()
    assert {event.path for event in bench.told(Failed)} == {"A", "a"}
    assert held(store) == {"b": b"3"}


def test_of_directories_that_fold_to_one_what_the_source_lacks_goes_file_by_file(folding):
    put(folding.src.store, "d/f")
    make(here(folding.dst), {"d/f": b"x", "D/g": b"x"})
    folding.sync()
    assert [event.path for event in folding.told(Deleted)] == ["D/g"]
    assert folding.told(Failed) == []
    assert tree(here(folding.dst)) == {"d/f": b"x", "D": None}


def test_a_file_and_a_directory_that_fold_to_one_both_go_where_the_source_has_neither(folding):
    put(folding.src.store, "keep")
    make(here(folding.dst), {"keep": b"x", "X": b"1", "x/y": b"2"})
    folding.sync(max_delete=MaxDelete(None, None))
    assert tree(here(folding.dst)) == {"keep": b"x"}
    assert {event.path for event in folding.told(Deleted)} == {"X", "x/y", "x"}


def test_a_name_that_the_filter_leaves_out_as_a_file_counts_as_a_directory(tmp_path):
    class Small:
        def file(self, entry):
            return entry.size < 5

        def directory(self, path):
            return True

    store = Fitted(remote=True, names=NameRules(opaque=True))
    put(store, "x/y")
    real = store.inner.walk
    store.inner.walk = lambda path: iter(
        sorted([Entry("x", Kind.FILE, 9, T0, None, "v"), *real(path)], key=lambda e: exact_key(e.path, e.kind))
    )
    bench = Bench(remote(store), local(tmp_path / "dst"), str(tmp_path / "state"))
    assert bench.sync(select=Small()).errors == {}
    assert tree(tmp_path / "dst") == {"x/y": b"x"}


# ---- listings


def test_a_source_that_was_not_found_and_then_is_there_is_no_empty_one(between):
    put(between.src.store, "f")
    put(between.dst.store, "old")

    def once(op, path):
        if op == "walk":
            raise NotFound("not there", path="")

    between.src.store.before = once
    with pytest.raises(NotFound):
        between.sync()
    assert held(between.dst.store) == {"old": b"x"}


def test_a_listing_that_runs_ahead_waits_for_who_reads_it(monkeypatch):
    monkeypatch.setattr(scan, "_CHUNK", 1)
    monkeypatch.setattr(scan, "_POLL", 0.001)
    was_full = threading.Event()

    class Watched(queue.Queue):
        def put(self, *args, **named):
            try:
                super().put(*args, **named)
            except queue.Full:
                was_full.set()
                raise

    store = Fitted(remote=True)
    names = [f"f{number}" for number in range(5)]
    for name in names:
        put(store, name)
    one = scan.Scan(store, scan.How(), name="test")
    one._queue = Watched(1)
    one.start()
    assert was_full.wait(60)
    assert [entry.path for _key, entry in one] == names
    assert one.complete
    one.close()


def test_a_listing_that_could_not_begin_is_closed_all_the_same(up, monkeypatch):
    def no_thread(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(scan.Scan, "start", no_thread)
    with pytest.raises(RuntimeError, match="start new thread"):
        up.sync()


def test_folded_names_of_a_service_that_lists_by_directory_are_sorted():
    store = Plain()
    for name in ("B/x", "a/x", "C"):
        put(store, name)
    key_of = Folding(case=True, form=None).key
    listing = scan.Listing(store, scan.How(key_of=key_of), scan.Chunk())
    found = [pair for batch in listing.batches() for pair in batch]
    assert [entry.path for _key, entry in found] == ["a", "a/x", "B", "B/x", "C"]
    assert [key for key, _entry in found] == sorted(key for key, _entry in found)


def test_a_run_that_is_interrupted_while_it_waits_for_a_listing_deletes_nothing(up, monkeypatch):
    monkeypatch.setattr(scan, "_CHUNK", 1)
    monkeypatch.setattr(scan, "_POLL", 0.001)
    make(here(up.src), {"a": b"1"})
    for name in ("a", "old"):
        put(up.dst.store, name, b"1")
    waits, goes_on = threading.Event(), threading.Event()
    taking: list[bool] = []
    take = scan.Scan._take

    def noted(self):
        taking.append(True)
        try:
            return take(self)
        finally:
            taking.clear()

    def slow(entries):
        for entry in entries:
            yield entry
            waits.set()
            assert goes_on.wait(60)

    def cancelled():
        if taking and run_begun:
            taking.append(True)  # looks of this wait
        stops = len(taking) > 3 and waits.is_set() and threading.current_thread() is threading.main_thread()
        if stops:
            goes_on.set()
            return True
        return goes_on.is_set()

    run_begun: list[bool] = []
    begin = run.Run._begin

    def begun(self, scans):
        missing = begin(self, scans)
        run_begun.append(True)
        return missing

    monkeypatch.setattr(scan.Scan, "_take", noted)
    monkeypatch.setattr(run.Run, "_begin", begun)
    up.dst.store.walked = slow
    up.cancelled = cancelled
    summary = up.sync()
    assert (summary.stopped, summary.errors, summary.deleted) == ("interrupted", {}, 0)
    assert "old" in held(up.dst.store)


def test_a_plan_with_many_comparisons_under_way_looks_no_further_ahead(up, monkeypatch):
    monkeypatch.setattr(run, "_CHECKING", 0)
    make(here(up.src), {f"f{number}": b"new" for number in range(5)}, T0)
    put(up.dst.store, "f0", b"old", T0 + 10**12)
    assert up.sync().copied == 5
    assert set(held(up.dst.store).values()) == {b"new"}


def test_a_run_that_gives_up_has_not_seen_all_and_deletes_nothing(up, monkeypatch):
    monkeypatch.setattr(scan, "_CHUNK", 1)
    fit(up.dst, caps=up.dst.store.features.caps & ~Cap.WRITE_MANY)
    make(here(up.src), {f"f{number:03}": b"1" for number in range(200)})
    put(up.dst.store, "old")
    gave_up = threading.Event()

    def expired(op, path):
        if op == "write":
            gave_up.set()
            raise LoginRequired("the login has expired")

    def slow(entries):
        for entry in entries:
            yield entry
            assert gave_up.wait(60)

    up.dst.store.before = expired
    up.dst.store.walked = slow
    summary = up.sync(transfers=1)
    assert (summary.deleted, "old" in held(up.dst.store)) == (0, True)
    assert summary.errors.keys() == {"login_required"}


def test_files_that_were_under_way_when_a_run_gave_up_are_told_too(up):
    fit(up.dst, caps=up.dst.store.features.caps & ~Cap.WRITE_MANY)
    make(here(up.src), {"a": b"1", "b": b"2"})
    both = threading.Barrier(2, timeout=60)

    def full(op, path):
        if op == "write":
            both.wait()
            raise QuotaExceeded("the account is full")

    up.dst.store.before = full
    assert up.sync(transfers=2).errors == {"quota_exceeded": 2}
    assert len([note for note in up.told(Note) if "nothing more is started" in note.message]) == 1


# ---- copying


def test_two_threads_have_a_service_asked_once_about_conditions():
    store = Fitted(remote=True, without=Cap.IF_VERSION)
    put(store, "f")
    asked = []
    both = threading.Event()

    class Watched:
        """A lock that tells when a second thread has come to it."""

        def __init__(self):
            self._lock, self._came = threading.Lock(), 0

        def __enter__(self):
            self._came += 1
            if self._came == 2:
                both.set()
            self._lock.acquire()

        def __exit__(self, *exc):
            self._lock.release()

    def probe(path):
        asked.append(path)
        assert both.wait(60)
        return Cap.NONE

    store.probe = probe
    conditions = Conditions(store, Options())
    conditions._lock = Watched()
    entry = store.stat("f")
    threads = [threading.Thread(target=conditions.of, args=(Action(b"f", entry, entry),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert asked == [""]


def test_followed_files_that_vanish_before_their_turn_are_told(up):
    make(here(up.src), dict.fromkeys("abcd", b"1"))

    def vanish(op, path):
        if op == "write":
            (here(up.src) / {"a": "b", "c": "d"}[path]).unlink()

    up.dst.store.before = vanish
    summary = up.copy(links=Links.FOLLOW)
    assert (summary.copied, summary.errors) == (2, {})
    assert [(event.path, event.reason) for event in up.told(Skipped)] == [("b", "vanished"), ("d", "vanished")]


def test_files_of_some_size_tell_how_far_they_are_without_a_name(across, monkeypatch):
    monkeypatch.setattr(execute, "_NOTICED", 3)
    make(here(across.src), {"large": b"12345", "small": b"1"})
    assert across.sync().copied == 2
    assert [(event.path, event.bytes) for event in across.told(Progress)] == [("", 5)]


def test_a_download_that_is_gone_when_it_is_looked_at_has_failed(down, monkeypatch):
    monkeypatch.setattr(telling, "LARGE", 1)
    for name in "ab":
        put(down.src.store, name)
    flush = Root.flush

    def others(self):
        failures = flush(self)
        (here(down.dst) / "a").unlink(missing_ok=True)
        return failures

    monkeypatch.setattr(Root, "flush", others)
    summary = down.sync()
    assert (summary.copied, summary.errors) == (1, {"not_found": 1})


def test_local_files_go_one_by_one_to_a_service_without_batches(up):
    fit(up.dst, caps=up.dst.store.features.caps & ~Cap.WRITE_MANY)
    make(here(up.src), {"a": b"1", "d/b": b"2"})
    assert up.sync().copied == 2
    assert held(up.dst.store) == {"a": b"1", "d/b": b"2"}


# ---- replacing and removing


def test_an_old_one_of_which_nothing_is_known_is_left_aside_and_told(between):
    put(between.src.store, "x", b"new")
    put(between.dst.store, "x/old")

    def spoil(op, path):
        if op == "write":
            raise PermissionDenied("no")
        if (op, path) == ("stat", "x"):
            raise ConnectionFailed("down")

    between.dst.store.before = spoil
    between.sync()
    assert "is kept as replaced-" in between.told(Failed)[-1].message
    assert list(held(between.dst.store).values()) == [b"x"]


def test_a_batch_of_deletions_that_breaks_off_for_the_end_is_no_failure(up):
    put(up.dst.store, "d/a")

    def ends(entries):
        list(entries)
        raise Interrupted("the run is to end")
        yield

    up.dst.store.delete_many = ends
    summary = api.remove_tree(up.dst, "d", Options(), up.around(), up.events.append)
    assert (summary.deleted, summary.errors, summary.stopped) == (0, {}, "interrupted")


def test_a_login_that_ends_a_batch_of_deletions_is_told_and_the_rest_is_not_guessed_at(up):
    for name in "abc":
        put(up.dst.store, f"d/{name}")

    def ends(entries):
        list(entries)
        raise LoginRequired("the login has expired", store="lab")
        yield

    up.dst.store.delete_many = ends
    summary = api.remove_tree(up.dst, "d", Options(), up.around(), up.events.append)
    assert (summary.deleted, summary.errors) == (0, {"login_required": 1})
    assert [(event.path, event.error.place) for event in up.told(Failed)] == [("", "lab:")]


def test_a_login_that_ends_a_batch_of_copies_is_told_and_the_rest_is_not_guessed_at(up):
    make(here(up.src), {"a": b"1", "b": b"2"})

    def ends(items):
        list(items)
        raise LoginRequired("the login has expired", store="lab")
        yield

    up.dst.store.write_many = ends
    assert up.sync().errors == {"login_required": 1}
    assert [event.path for event in up.told(Failed)] == [""]


def test_a_directory_that_cannot_be_listed_is_named_and_stays(between):
    fit(between.dst, caps=between.dst.store.features.caps & ~Cap.WALK)
    for name in ("d/a/f", "d/b/f"):
        put(between.dst.store, name)

    def dark(op, path):
        if (op, path) == ("scan", "d/b"):
            raise PermissionDenied("not for you", path=path)

    between.dst.store.before = dark
    summary = api.remove_tree(between.dst, "d", Options(), between.around(), between.events.append)
    assert [event.path for event in between.told(Failed)] == ["d/b"]
    assert summary.errors == {"permission_denied": 1}
    assert held(between.dst.store) == {"d/b/f": b"x"}


def test_a_run_that_ends_while_marks_are_looked_at_is_no_killed_one(tmp_path, monkeypatch):
    cleanup.Unfinished(str(tmp_path), "/a").end(clean=False)
    real = os.listdir
    monkeypatch.setattr(cleanup.os, "listdir", lambda path: [*real(path), "ended"])
    assert [os.path.basename(path) for path in cleanup.killed_runs(str(tmp_path), "/a")] == real(
        tmp_path / "unfinished"
    )


# ---- links that are followed


class Entries:
    """What os.scandir gives, with `spoil(name)` before a look at an entry."""

    scandir = staticmethod(os.scandir)

    def __init__(self, path, spoil):
        self._entries, self._spoil = self.scandir(path), spoil

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._entries.close()

    def __iter__(self):
        return (Looked(entry, self._spoil) for entry in self._entries)


class Looked:
    def __init__(self, entry, spoil):
        self.name, self.is_symlink, self._entry, self._spoil = entry.name, entry.is_symlink, entry, spoil

    def stat(self):
        self._spoil(self._entry)
        return self._entry.stat()


def test_a_followed_listing_passes_over_what_goes_meanwhile(tmp_path, monkeypatch):
    make(tmp_path, {"gone": b"1", "kept": b"1"})

    def spoil(entry):
        if entry.name == "gone":
            os.unlink(entry.path)

    store = FollowingStore(local(tmp_path).store, str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(follow.os, "scandir", lambda path: Entries(path, spoil))
        assert [entry.path for entry in store.scan("")] == ["kept"]


def test_a_followed_listing_with_an_entry_that_cannot_be_looked_at_is_an_error(tmp_path, monkeypatch):
    make(tmp_path, {"bad": b"1"})

    def spoil(entry):
        raise OSError(errno.EIO, "the disk is broken")

    store = FollowingStore(local(tmp_path).store, str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(follow.os, "scandir", lambda path: Entries(path, spoil))
        with pytest.raises(StoreError, match="broken"):
            list(store.scan(""))


def test_a_followed_file_is_read_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "_PIECE", 4)
    make(tmp_path, {"f": b"0123456789"})
    with FollowingStore(local(tmp_path).store, str(tmp_path)).read("f") as download:
        assert download.read() == b"0123456789"


# ---- what a run keeps and tells


def test_a_database_of_a_pair_that_fails_at_its_beginning_is_as_it_was(tmp_path, monkeypatch):
    path = str(tmp_path / "pair.sqlite")
    first = state.PairState(path, identity="one", folding="no")
    first.put(b"k", 1, "a", "b")
    first.flush()
    first.close()

    def broken(self):
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(state.PairState, "_accepted", broken)
        with pytest.raises(sqlite3.OperationalError):
            state.PairState(path, identity="two", folding="case")
    again = state.PairState(path, identity="one", folding="no")
    assert [key for key, _row in again.rows()] == [b"k"]
    again.close()


def test_a_note_is_told_once():
    told = []
    tally = Tally(told.append, now=lambda: 0.0, dry_run=False)
    for message in ("a", "b", "a"):
        tally.note(message)
    assert [event.message for event in told] == ["a", "b"]
