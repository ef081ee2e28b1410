"""What whole runs seldom meet: listings that fail in part, sides that change, disks and services that refuse."""

import os
import sqlite3
import threading
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from cftool.core.errors import (
    ConfigError,
    ConnectionFailed,
    Interrupted,
    NotFound,
    PermissionDenied,
    StoreError,
    Unnamed,
    Unsupported,
)
from cftool.core.types import Cap, Kind, Leftover
from cftool.disk import writer
from cftool.disk.root import Root
from cftool.transfer import api, execute, state, verify
from cftool.transfer.beside import Beside
from cftool.transfer.cleanup import Unfinished, killed_runs
from cftool.transfer.events import Deleted, Differs, Failed, MadeDirectory, Note, Scanned
from cftool.transfer.follow import FollowingStore
from cftool.transfer.options import Links, Options
from tests.transfer.kit import T0, Bench, Fitted, held, local, make, put, remote, tree


def here(side) -> Path:
    return Path(side.local_root)


# ---- check


def test_check_goes_on_beside_a_directory_that_cannot_be_listed(between):
    for name in ("a/f", "b/f", "c/f"):
        put(between.src.store, name)
        put(between.dst.store, name, b"other")
    between.src.store._features = replace(between.src.store.features, caps=between.src.store.features.caps & ~Cap.WALK)

    def refuse(op, path):
        if (op, path) == ("scan", "b"):
            raise PermissionDenied("not for you", path=path)

    between.src.store.before = refuse
    summary = between.check()
    assert summary.errors == {"permission_denied": 1}
    assert [(event.sign, event.path) for event in between.told(Differs)] == [("*", "a/f"), ("*", "c/f")]


def test_check_ends_when_its_time_is_over(up, monkeypatch):
    make(here(up.src), {f"{number:02}": b"x" for number in range(20)})
    seen = []
    real = verify.Check._step

    def step(self, a, b):
        seen.append(a)
        up.now += 10
        return real(self, a, b)

    monkeypatch.setattr(verify.Check, "_step", step)
    summary = up.check(max_duration=25.0)
    assert (summary.stopped, len(seen)) == ("max-duration", 3)


def test_check_names_a_followed_link_that_leads_nowhere(up):
    make(here(up.src), {"f": b"1"})
    put(up.dst.store, "f", b"1")
    os.symlink("nowhere", here(up.src) / "broken")
    summary = up.check(links=Links.FOLLOW)
    assert [(event.sign, event.path) for event in up.told(Differs)] == [("!", "broken")]
    assert summary.errors == {"store_error": 1}


def test_check_of_a_file_against_a_directory_and_of_unknown_sizes(between):
    put(between.src.store, "kind", b"1")
    put(between.dst.store, "kind/inside", b"1")
    put(between.src.store, "same", b"1")
    put(between.dst.store, "same", b"1")
    between.dst.store.listed = lambda entry: entry._replace(size=None) if entry.kind is Kind.FILE else entry
    summary = between.check(one_way=True)
    assert summary.checked == 1
    assert {(event.sign, event.path) for event in between.told(Differs)} <= {("+", "kind"), ("*", "kind")}


def test_check_tells_how_far_it_is(across, monkeypatch):
    monkeypatch.setattr(verify, "_TELL", 2)
    make(here(across.src), {f"{number}": b"x" for number in range(5)})
    make(here(across.dst), {f"{number}": b"x" for number in range(5)})
    across.check()
    assert [(event.files, event.complete) for event in across.told(Scanned)] == [(2, False), (4, False), (5, True)]


def test_check_of_two_services_compares_the_hashes_that_both_list_and_notices_a_change(between):
    for name, theirs in (("same", b"1"), ("other", b"2"), ("changed", b"1")):
        put(between.src.store, name, b"1")
        put(between.dst.store, name, theirs)
    assert between.check().compared_by == {"hash": 3}
    between.dst.store.listed = lambda entry: entry._replace(hashes={})

    def change(op, path):
        if (op, path) == ("stat", "changed"):
            between.dst.store.before = lambda *_: None
            put(between.dst.store, "changed", b"3")

    between.dst.store.before = change
    summary = between.check()
    assert summary.errors == {"precondition_failed": 1}
    assert {(event.sign, event.path) for event in between.told(Differs)} == {("*", "other"), ("!", "changed")}


# ---- what killed runs leave


class Sessions(Fitted):
    """Two unfinished uploads of ours, whose removal may be refused."""

    refuses = False

    def __init__(self):
        super().__init__(remote=True)
        features = self._features
        self._features = replace(features, caps=features.caps | Cap.LEFTOVERS)
        self.sessions = [Leftover("one", "1", own=True), Leftover("two", "2", own=True), Leftover("theirs", "3")]

    def leftovers(self, path, *, older_than=None):
        return iter(list(self.sessions))

    def remove_leftover(self, leftover):
        if self.refuses:
            raise ConnectionFailed("down")
        self.sessions.remove(leftover)


@pytest.mark.parametrize("refuses", [False, True])
def test_our_own_sessions_of_a_killed_run_go_and_nobody_elses(tmp_path, refuses):
    bench = Bench(local(tmp_path / "src"), remote(Sessions()), str(tmp_path / "state"))
    Unfinished(bench.state_dir, bench.dst.key).end(clean=False)
    bench.dst.store.refuses = refuses
    bench.sync()
    assert [one.path for one in bench.dst.store.sessions] == (["one", "two", "theirs"] if refuses else ["theirs"])
    assert ["2 unfinished" in note.message for note in bench.told(Note)] == ([] if refuses else [True])
    assert len(killed_runs(bench.state_dir, bench.dst.key)) == (1 if refuses else 0)


def test_temporary_files_beside_one_file_are_swept_where_its_directory_is(across):
    make(here(across.src), {"f": b"1"})
    Unfinished(across.state_dir, across.dst.key).end(clean=False)
    arguments = (Options(), across.around(), across.events.append)
    assert api.copy_file(across.src, "f", across.dst, "new/deep/f", *arguments).copied == 1
    with Root(str(here(across.dst))) as root:
        dead = writer.draft(root, "new/deep/f")
        os.close(dead.fd)
        dead.fd = -1
    os.unlink(here(across.dst) / "new/deep/f")
    Unfinished(across.state_dir, across.dst.key).end(clean=False)
    assert api.copy_file(across.src, "f", across.dst, "new/deep/f", *arguments).copied == 1
    assert os.listdir(here(across.dst) / "new/deep") == ["f"]


def dead_temps(bench, count):
    with Root(str(here(bench.dst))) as root:
        for number in range(count):
            dead = writer.draft(root, f"{number}")
            os.close(dead.fd)
            dead.fd = -1


def test_cleanup_of_a_local_tree_ends_where_it_is_interrupted_and_tells_what_it_cannot_remove(across, monkeypatch):
    dead_temps(across, 2)
    across.cancelled = lambda: True
    around = across.around()
    assert api.cleanup(across.dst, Options(), around, across.events.append).stopped == "interrupted"
    across.cancelled = lambda: False

    def refuse(root, path):
        raise PermissionDenied("not yours", path=path)

    monkeypatch.setattr("cftool.transfer.cleanup.temps.remove", refuse)
    summary = api.cleanup(across.dst, Options(), across.around(), across.events.append)
    assert (summary.errors, summary.deleted) == ({"permission_denied": 2}, 0)
    monkeypatch.setattr("cftool.transfer.cleanup.temps.remove", lambda root, path: False)  # somebody was faster
    assert api.cleanup(across.dst, Options(), across.around(), across.events.append).deleted == 0


# ---- links that are followed


def test_followed_links_are_read_as_what_they_lead_to(tmp_path):
    make(tmp_path / "elsewhere", {"f": b"0123456789"})
    root = tmp_path / "root"
    root.mkdir()
    os.symlink(tmp_path / "elsewhere", root / "dir")
    with Root(str(root)) as opened:
        temp = writer.draft(opened, "unfinished")
        store = FollowingStore(local(root).store, str(root))
        assert [entry.path for entry in store.scan("")] == ["dir"]
        temp.discard()
    version = store.stat("dir/f").version
    with store.read("dir/f", start=2, end=5, if_version=version) as download:
        assert download.read() == b"234"
    with store.read("dir/f", start=8) as download:
        assert download.read() == b"89"
    with pytest.raises(StoreError, match="another version"):
        store.read("dir/f", if_version="0")


# ---- times, listings, disks


@pytest.mark.parametrize("listed", [True, False])
def test_only_the_time_differs_where_the_destination_cannot_set_one(tmp_path, listed):
    store = Fitted(remote=True, without=Cap.SET_MODIFIED)
    if not listed:
        store.listed = lambda entry: entry._replace(modified_ns=None)
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    make(here(bench.src), {"f": b"1"}, T0)
    put(store, "f", b"1", T0 + 10**12)
    assert bench.sync().copied == 0
    assert (store.calls["set_modified"], store.inner.stat("f").modified_ns) == (0, T0 + 10**12)


def test_run_without_a_place_for_its_lists_has_them_in_memory(across):
    make(here(across.src), {"f": b"1"})
    make(here(across.dst), {"old": b"1"})
    os.makedirs(across.state_dir)
    Path(across.state_dir, "spool").write_text("in the way")
    assert across.sync().deleted == 1
    assert tree(here(across.dst)) == {"f": b"1"}


def test_files_that_vanish_while_a_tree_is_removed_are_gone(between):
    for name in ("d/a", "d/b"):
        put(between.dst.store, name)

    def faster(op, path):
        if op == "rmdir" and path == "d":
            between.dst.store.before = lambda *_: None
            between.dst.store.inner.rmdir("d")

    between.dst.store.before = faster
    summary = api.remove_tree(between.dst, "d", Options(), between.around(), between.events.append)
    assert (summary.errors, held(between.dst.store)) == ({}, {})
    assert {event.path for event in between.told(Deleted)} >= {"d/a", "d/b"}


@pytest.mark.parametrize("error", [None, PermissionDenied("no"), NotFound("gone"), Unsupported("not this one")])
def test_directory_that_a_service_removes_as_a_whole_is_one_deletion(between, error):
    store = between.dst.store
    put(store, "d/a")
    features = store.features
    store._features = replace(features, caps=features.caps | Cap.DELETE_DIR)

    def delete_dir(path):
        if error is not None:
            raise error
        store.inner.delete(f"{path}/a")
        store.inner.rmdir(path)

    store.delete_dir = delete_dir
    summary = api.remove_tree(between.dst, "d", Options(), between.around(), between.events.append)
    entry_by_entry = isinstance(error, Unsupported)
    expected = (2, 0) if entry_by_entry else (1, 0) if error is None else (0, 1)
    assert (summary.deleted, sum(summary.errors.values())) == expected
    assert (held(store) == {}) is (error is None or entry_by_entry)


def test_comparisons_that_take_long_are_waited_for(down, monkeypatch):
    """Nothing is left to copy but what a comparison finds, which has to ask the source."""
    down.src.store.listed = lambda entry: entry._replace(modified_ns=None, hashes={})
    monkeypatch.setattr("cftool.transfer.beside._POLL", 0.001)
    put(down.src.store, "f", b"1", T0)
    make(here(down.dst), {"f": b"2"}, T0 + 10**12)
    waits, asked_again = threading.Event(), threading.Event()
    real = Beside.take_found

    def take_found(self, *, wait):
        if wait:
            waits.set()
        real(self, wait=wait)

    def cancelled():
        if waits.is_set() and threading.current_thread() is threading.main_thread():
            asked_again.set()
        return False

    def slow(op, path):
        if op in {"stat", "read"} and path == "f":
            assert asked_again.wait(60)

    monkeypatch.setattr(Beside, "take_found", take_found)
    down.cancelled = cancelled
    down.src.store.before = slow
    assert down.sync().copied == 1
    assert tree(here(down.dst)) == {"f": b"1"}
    assert down.told(Failed) == []


def test_check_of_a_file_against_a_link(across):
    make(here(across.src), {"f": b"1"})
    os.symlink("elsewhere", here(across.dst) / "f")
    across.check()
    assert [(event.sign, event.path, event.detail) for event in across.told(Differs)] == [("*", "f", "kind")]


# ---- downloads, many at once


@pytest.fixture
def many(down):
    for name in "abcde":
        put(down.src.store, name, name.encode())
    return down


def test_downloads_are_told_group_by_group(many, monkeypatch):
    monkeypatch.setattr(execute, "_FLUSH", 2)
    assert many.sync().copied == 5
    assert tree(here(many.dst)) == {name: name.encode() for name in "abcde"}


def test_download_that_has_no_place_fails_alone(many, monkeypatch):
    real = execute.Download._target

    def target(self, path):
        if path == "c":
            raise PermissionDenied("not there", path=path)
        return real(self, path)

    monkeypatch.setattr(execute.Download, "_target", target)
    summary = many.sync()
    assert (summary.copied, summary.errors) == (4, {"permission_denied": 1})
    assert set(tree(here(many.dst))) == set("abde")


def test_downloads_that_are_interrupted_leave_what_was_whole(many):
    real = many.src.store.read_many

    def read_many(items):
        yield from islice(real(items), 3)
        raise Interrupted("the run is to end")

    many.src.store.read_many = read_many
    summary = many.sync()
    assert (summary.stopped, summary.copied, summary.errors) == ("interrupted", 3, {})
    assert len(tree(here(many.dst))) == 3


@pytest.mark.parametrize("error", [None, ConnectionFailed("down"), Interrupted("the run is to end")])
def test_service_shows_what_it_makes_of_conditions_once_a_run(up, error):
    asked = []

    def probe(path):
        asked.append(path)
        if error is not None:
            raise error
        return Cap.NONE

    store = up.dst.store
    store.probe = probe
    store._features = replace(store.features, caps=store.features.caps & ~Cap.IF_VERSION)
    for name in "ab":
        put(up.dst.store, name, b"old", T0)
    make(here(up.src), {"a": b"new one", "b": b"new two"})
    summary = up.sync()
    assert len(asked) == 1
    if isinstance(error, Interrupted):
        assert summary.stopped == "interrupted"
    else:
        assert (summary.copied, held(up.dst.store)) == (2, {"a": b"new one", "b": b"new two"})


# ---- what a record of equality is not made of, and what a replacement leaves


def test_files_that_nothing_would_know_again_are_not_recorded(tmp_path):
    store = Fitted(remote=True)
    store.listed = lambda entry: entry._replace(version=None, stored_ns=None)
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    make(here(bench.src), {"f": b"1"}, T0)
    put(store, "f", b"1", T0)
    for _ in range(2):
        assert bench.sync().compared_by == {"time": 1}


def test_replacement_that_is_interrupted_keeps_the_old(across, monkeypatch):
    make(here(across.src), {"x": b"new"})
    make(here(across.dst), {"x/old": b"1"})
    real = execute.choose

    def choose(*arguments):
        chosen = real(*arguments)

        def stopped(actions):
            list(actions)
            raise Interrupted("the run is to end")
            yield

        chosen.run = stopped
        return chosen

    monkeypatch.setattr("cftool.transfer.run.choose", choose)
    summary = across.sync()
    assert (summary.stopped, summary.copied) == ("interrupted", 0)
    assert tree(here(across.dst)) == {"x/old": b"1"}


def test_removal_that_is_interrupted_by_the_service_is_no_failure(between):
    put(between.dst.store, "d/a")

    def stop(op, path):
        if op == "delete":
            raise Interrupted("the run is to end")

    between.dst.store.before = stop
    summary = api.remove_tree(between.dst, "d", Options(), between.around(), between.events.append)
    assert (summary.stopped, summary.errors) == ("interrupted", {})


def test_state_of_a_pair_that_cannot_be_begun_is_closed(tmp_path, monkeypatch):
    closed = []
    real = state.PairState._prepare

    def broken(self, *arguments):
        closed.append(self._db)
        raise OSError("the disk is gone")

    monkeypatch.setattr(state.PairState, "_prepare", broken)
    path = str(tmp_path / "pair.sqlite")
    with pytest.raises(OSError, match="gone"):
        state.PairState(path, identity="source", folding="")
    with pytest.raises(sqlite3.ProgrammingError):
        closed[0].execute("SELECT 1")
    monkeypatch.setattr(state.PairState, "_prepare", real)


# ---- what a service turns out not to do


def lose(side, caps) -> None:
    """Take abilities from a store."""
    features = side.store.features
    side.store._features = replace(features, caps=features.caps & ~caps)


def refusing(refused, error):
    """For `before`: one operation fails."""

    def before(op, path):
        if op == refused:
            raise error("not here", op=op, path=path)

    return before


def test_a_time_that_one_file_cannot_have_leaves_it_as_it_is(between):
    put(between.src.store, "f")
    put(between.dst.store, "f", modified_ns=T0 - 10**12)
    between.dst.store.before = refusing("set_modified", Unsupported)
    summary = between.sync()
    assert (summary.checked, summary.copied, summary.errors) == (1, 0, {})
    assert between.dst.store.calls["set_modified"] == 1


def test_where_no_time_can_be_set_a_touched_file_is_compared_by_its_hash_alone(up):
    lose(up.dst, Cap.SET_MODIFIED)
    make(here(up.src), {"f": b"1"})
    up.sync()
    make(here(up.src), {"f": b"1"}, modified_ns=T0 + 10**12)
    up.dst.store.calls.clear()
    summary = up.sync()
    assert (summary.checked, summary.copied, summary.compared_by) == (1, 0, {"hash": 1})
    assert up.dst.store.calls["stat"] == 0


def test_an_empty_directory_that_is_refused_only_when_it_is_made_is_skipped(up):
    make(here(up.src), {"d": None, "f": b"1"})
    up.dst.store.before = refusing("mkdir", Unsupported)
    summary = up.sync()
    assert (summary.copied, summary.skipped, summary.errors) == (1, {"empty": 1}, {})


def test_a_directory_that_takes_long_holds_no_file_up(up):
    make(here(up.src), {"d": None, "f": b"1", "g": b"2"})
    last = threading.Event()
    done = []

    def before(op, path):
        if op == "mkdir":
            assert last.wait(60)
        elif (op, path) == ("write", "g"):
            done.extend(event.path for event in up.told(MadeDirectory))
            last.set()

    up.dst.store.before = before
    summary = up.sync()
    assert (summary.copied, summary.made_directories, summary.errors, done) == (2, 1, {}, [])


def test_where_a_service_keeps_nothing_unfinished_a_killed_run_is_forgotten(up):
    assert Cap.LEFTOVERS not in up.dst.store.features.caps
    Unfinished(up.state_dir, up.dst.key).end(clean=False)
    make(here(up.src), {"f": b"1"})
    up.sync()
    assert killed_runs(up.state_dir, up.dst.key) == []


def test_where_all_that_is_unfinished_is_somebody_elses_nothing_is_told(tmp_path):
    bench = Bench(local(tmp_path / "src"), remote(Sessions()), str(tmp_path / "state"))
    bench.dst.store.sessions = [Leftover("theirs", "3")]
    Unfinished(bench.state_dir, bench.dst.key).end(clean=False)
    bench.sync()
    assert [one.path for one in bench.dst.store.sessions] == ["theirs"]
    assert [note for note in bench.told(Note) if "unfinished" in note.message] == []


@pytest.mark.parametrize(("flag", "options"), [("--trash", {"trash": ".trash"}), ("--suffix", {"suffix": "~"})])
def test_old_versions_are_not_kept_where_links_are_made(across, flag, options):
    with pytest.raises(ConfigError, match=f"{flag} does not go with --links keep where links are made"):
        across.sync(links=Links.KEEP, **options)


def test_a_trash_needs_a_destination_that_moves_or_copies_by_itself(between):
    lose(between.dst, Cap.MOVE | Cap.COPY)
    with pytest.raises(ConfigError, match="--trash: memory/b: can neither move nor copy by itself"):
        between.sync(trash=".trash")


def test_a_trash_that_is_emptied_where_directories_are_implied_leaves_nothing_to_remove(between):
    put(between.dst.store, ".trash/2023-11-14T00-00-00Z/f")
    features = between.dst.store.features
    between.dst.store._features = replace(features, caps=features.caps | Cap.IMPLICIT_DIRS)
    api.empty_trash(between.dst, ".trash", Options(), between.around(), between.events.append)
    assert [event.path for event in between.told(Deleted)] == [".trash/2023-11-14T00-00-00Z/f"]
    assert between.dst.store.calls["rmdir"] == 0


def test_an_entry_without_a_name_is_told_and_the_others_are_copied(between):
    put(between.src.store, "f")
    put(between.dst.store, "old")

    def walked(entries):
        yield from entries
        raise Unnamed("a/ is an entry itself: left out")

    between.src.store.walked = walked
    summary = between.sync()
    assert (summary.copied, summary.errors, summary.deleted) == (1, {"unnamed": 1}, 0)


def test_a_root_that_cannot_be_made_is_named_as_it_was_typed(between):
    def before(op, path):
        if op == "mkdir":
            raise PermissionDenied("not for you", op=op, path=path)
        raise NotFound("not found", op=op, path=path)

    between.dst.store.before = before
    with pytest.raises(PermissionDenied) as caught:
        between.copy()
    assert caught.value.place == "memory/b:"


def test_what_concerns_a_whole_bucket_is_told_once_with_its_address_as_it_was_typed(between):
    for name in "abc":
        put(between.src.store, name)
    between.dst = replace(between.dst, base_path="bucket")

    def before(op, path):
        if op == "write":
            error = PermissionDenied("the bucket cannot be made", op=op, path=path)
            error.of_bucket = True
            raise error

    between.dst.store.before = before
    arguments = (Options(), between.around(), between.events.append)
    for call in (between.sync, lambda: api.copy_file(between.src, "a", between.dst, "a", *arguments)):
        with pytest.raises(PermissionDenied) as caught:
            call()
        assert (caught.value.place, caught.value.path) == ("memory/b:", "")
    assert between.told(Failed) == []
