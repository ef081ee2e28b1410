"""--track-renames: what has another name is moved, never a wrong file, and never past the gate."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cftool.core.errors import ConnectionFailed, PermissionDenied
from cftool.core.types import Cap, Entry, Kind
from cftool.disk import birth
from cftool.transfer.events import Copied, Deleted, Failed, Moved, Note
from cftool.transfer.options import MaxDelete
from cftool.transfer.renames import Renames
from tests.transfer.kit import T0, Bench, Fitted, held, local, make, put, remote, tree

ODD = T0 + 123_456_789  # a time that no tool gives to many files


def here(side) -> Path:
    return Path(side.local_root)


def moves(bench):
    return sorted((event.path, event.to) for event in bench.told(Moved))


def bare(store):
    """Listings and answers without hashes: then only the inode tells."""
    store.listed = lambda entry: entry._replace(modified_ns=None, hashes={})
    store._features = replace(store.features, hashes=frozenset())
    real = store.inner.stat
    store.inner.stat = lambda path: real(path)._replace(hashes={})
    return store


@pytest.fixture(params=["hashes", "inodes", "copies"])
def synced(request, up):
    """A tree that was synced once, and then had a directory and a file renamed."""
    if request.param == "inodes":
        bare(up.dst.store)
    if request.param == "copies":
        up.dst.store._features = replace(up.dst.store.features, caps=up.dst.store.features.caps & ~Cap.MOVE)
    for number, path in enumerate(("old/a", "old/b", "f", "stays")):
        make(here(up.src), {path: path.encode() * 9}, ODD + number)
    assert up.sync().copied == 4
    os.rename(here(up.src) / "old", here(up.src) / "new")
    os.rename(here(up.src) / "f", here(up.src) / "g")
    return up


RENAMED = {"new/a": b"old/a" * 9, "new/b": b"old/b" * 9, "g": b"f" * 9, "stays": b"stays" * 9}


def test_renamed_files_are_moved(synced):
    summary = synced.sync(track_renames=True)
    assert held(synced.dst.store) == RENAMED
    assert moves(synced) == [("f", "g"), ("old/a", "new/a"), ("old/b", "new/b")]
    assert (summary.moved, summary.copied, summary.errors) == (3, 0, {})
    assert {event.path for event in synced.told(Deleted)} <= {"old"}
    again = synced.sync(track_renames=True)
    assert (again.compared_by, again.moved, again.copied) == ({"state": 4}, 0, 0)


def test_without_the_flag_they_are_copied(synced):
    summary = synced.sync()
    assert (summary.moved, summary.copied, held(synced.dst.store)) == (0, 3, RENAMED)


def test_a_dry_run_shows_them(synced):
    before = held(synced.dst.store)
    summary = synced.sync(track_renames=True, dry_run=True)
    assert (summary.moved, summary.copied, held(synced.dst.store)) == (3, 0, before)
    assert len(moves(synced)) == 3


def test_cp_and_a_sync_that_deletes_nothing_move_nothing(synced):
    assert synced.copy(track_renames=True).moved == 0
    assert set(held(synced.dst.store)) == {"old/a", "old/b", "f", *RENAMED}


@pytest.mark.parametrize("why", ["limit", "failure", "a listing that lies"])
def test_where_the_gate_forbids_a_deletion_nothing_is_moved(synced, why):
    before = held(synced.dst.store)
    options = {}
    if why == "limit":
        put(synced.dst.store, "more", b"!")
        options["max_delete"] = MaxDelete(files=0, share=None)
    elif why == "failure":
        make(here(synced.src), {"stays": b"changed"})

        def refuse(op, path):  # the changed file is copied before anything is renamed
            if op == "write" and path == "stays":
                raise PermissionDenied("no")

        synced.dst.store.before = refuse
    else:
        listed = synced.src.store.walk
        synced.src.store.walk = lambda path: (entry for entry in listed(path) if entry.path != "stays")
    summary = synced.sync(track_renames=True, **options)
    assert moves(synced) == []
    assert summary.withheld > 0
    assert set(before) <= set(held(synced.dst.store))
    assert {path: data for path, data in held(synced.dst.store).items() if path in ("new/a", "new/b", "g")} == {
        path: RENAMED[path] for path in ("new/a", "new/b", "g")
    }
    assert any("renamed files are copied" in note.message for note in synced.told(Note))


def test_renames_do_not_count_as_deletions(up):
    files = {f"old/{number}": str(number).encode() * 50 for number in range(150)}
    make(here(up.src), files, ODD)
    up.sync()
    os.rename(here(up.src) / "old", here(up.src) / "new")
    assert up.sync(track_renames=True).moved == 150
    assert held(up.dst.store) == {path.replace("old", "new"): data for path, data in files.items()}


# ---- never a wrong one


@pytest.fixture
def two(across):
    make(here(across.src), {"a": b"content", "stays": b"s"}, ODD)
    across.sync()
    return across


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (os.rename(root / "a", root / "b"), os.link(root / "b", root / "c")),
        lambda root: (make(root, {"b": b"content", "c": b"content"}, T0), (root / "a").unlink()),
    ],
)
def test_two_new_files_for_one_old_one_are_copied(two, change):
    change(here(two.src))
    summary = two.sync(track_renames=True)
    assert (summary.moved, summary.copied, summary.deleted) == (0, 2, 1)
    assert tree(here(two.dst)) == tree(here(two.src))


def test_two_old_files_for_one_new_one_are_copied(across):
    make(here(across.src), {"a": b"content", "b": b"content", "stays": b"s"}, ODD)
    across.sync()
    (here(across.src) / "a").unlink()
    (here(across.src) / "b").unlink()
    make(here(across.src), {"c": b"content"}, ODD)
    assert (across.sync(track_renames=True).moved, tree(here(across.dst))) == (0, {"c": b"content", "stays": b"s"})


def test_another_content_of_the_same_size_is_copied(two):
    (here(two.src) / "a").unlink()
    make(here(two.src), {"b": b"CONTENT"}, ODD)
    assert (two.sync(track_renames=True).moved, tree(here(two.dst))) == (0, {"b": b"CONTENT", "stays": b"s"})


@pytest.mark.parametrize("when", [T0, ODD])
def test_an_inode_counts_only_with_a_time_that_nothing_else_has(up, when):
    """The same inode, size and time with other content: a tool that sets round times. With hashes it is found out."""
    bare(up.dst.store)
    make(here(up.src), {"a": b"content", "stays": b"s"}, when)
    up.sync()
    os.rename(here(up.src) / "a", here(up.src) / "b")
    assert up.sync(track_renames=True).moved == (when == ODD)


def test_an_old_file_that_was_changed_at_the_destination_is_no_rename(up):
    bare(up.dst.store)
    make(here(up.src), {"a": b"content", "stays": b"s"}, ODD)
    up.sync()
    os.rename(here(up.src) / "a", here(up.src) / "b")
    put(up.dst.store, "a", b"CONTENT")
    assert (up.sync(track_renames=True).moved, held(up.dst.store)) == (0, {"b": b"content", "stays": b"s"})


def test_a_record_of_another_source_is_no_proof(up):
    bare(up.dst.store)
    make(here(up.src), {"a": b"content", "stays": b"s"}, ODD)
    up.sync()
    os.rename(here(up.src), here(up.src).with_name("aside"))
    here(up.src).mkdir()
    os.rename(here(up.src).with_name("aside") / "stays", here(up.src) / "stays")
    os.rename(here(up.src).with_name("aside") / "a", here(up.src) / "b")
    up.src = local(here(up.src))
    assert up.sync(track_renames=True, force_delete=True).moved == 0
    assert held(up.dst.store) == {"b": b"content", "stays": b"s"}


def test_a_reused_inode_is_no_rename(up):
    """The same inode number, size and time as what was recorded, and another file."""
    bare(up.dst.store)
    make(here(up.src), {"a": b"content", "stays": b"s"}, ODD)
    up.sync()
    number = os.stat(here(up.src) / "a").st_ino
    (here(up.src) / "a").unlink()
    make(here(up.src), {"b": b"CONTENT"}, ODD)
    assert up.sync(track_renames=True).moved == 0
    assert held(up.dst.store) == {"b": b"CONTENT", "stays": b"s"}
    print("reused" if os.stat(here(up.src) / "b").st_ino == number else "not reused")


def test_what_was_never_recorded_has_no_inode_to_go_by(up):
    bare(up.dst.store)
    put(up.dst.store, "a", b"content")
    make(here(up.src), {"b": b"content"}, ODD)
    assert up.sync(track_renames=True).moved == 0


def test_where_no_file_has_a_birth_time_no_inode_counts(up, monkeypatch):
    bare(up.dst.store)
    make(here(up.src), {"a": b"content", "stays": b"s"}, ODD)
    up.sync()
    os.rename(here(up.src) / "a", here(up.src) / "b")
    monkeypatch.setattr(birth, "born_ns", lambda root, path: None)
    assert up.sync(track_renames=True).moved == 0


def test_empty_files_and_short_checksums_tell_nothing(down):
    down.src.store.listed = down.dst.store.walk and (lambda entry: entry._replace(hashes={"crc32": "00000000"}))
    for path in ("b", "empty"):
        put(down.src.store, path, b"content" if path == "b" else b"")
    here(down.dst).mkdir()
    make(here(down.dst), {"a": b"content", "nothing": b""})
    assert down.sync(track_renames=True).moved == 0


def test_a_download_is_matched_by_the_hash_of_the_service(down):
    put(down.src.store, "b", b"content")
    put(down.src.store, "c", b"CONTENT")
    here(down.dst).mkdir()
    make(here(down.dst), {"a": b"content", "stays": b"CONtent"})
    summary = down.sync(track_renames=True)
    assert moves(down) == [("a", "b")]
    assert (summary.errors, tree(here(down.dst))) == ({}, {"b": b"content", "c": b"CONTENT"})
    assert os.stat(here(down.dst) / "b").st_mtime_ns == T0
    assert down.sync(track_renames=True).copied == 0


def test_between_services_a_common_hash_is_needed(between):
    put(between.dst.store, "a", b"content")
    between.dst.store._features = replace(between.dst.store.features, caps=between.dst.store.features.caps | Cap.MOVE)
    between.src.store.listed = lambda entry: entry._replace(hashes={"sha1": "1"})
    put(between.src.store, "b", b"content")
    assert between.sync(track_renames=True, dry_run=True).moved == 0
    between.src.store.listed = lambda entry: entry
    assert between.sync(track_renames=True).moved == 1


def test_a_destination_that_can_do_neither_copies(tmp_path):
    bench = Bench(local(tmp_path / "src"), remote(Fitted(without=Cap.COPY | Cap.MOVE)), str(tmp_path / "state"))
    make(here(bench.src), {"b": b"content"})
    put(bench.dst.store, "a", b"content")
    assert bench.sync(track_renames=True).copied == 1
    assert ["neither" in note.message for note in bench.told(Note)] == [True]


def test_what_cannot_be_read_is_copied(down):
    put(down.src.store, "b", b"content")
    here(down.dst).mkdir()
    make(here(down.dst), {"a": b"content"})

    real = down.dst.store.read

    def read(path, **how):
        if path == "a":
            raise PermissionDenied("no")
        return real(path, **how)

    down.dst.store.read = read
    summary = down.sync(track_renames=True)
    assert (summary.moved, summary.copied, summary.errors) == (0, 1, {})


@pytest.mark.parametrize("fault", ["new changed", "old changed", "there by now", "move fails", "time fails", "wrong"])
def test_a_rename_that_fails_is_a_copy(up, fault):
    make(here(up.src), {"a": b"content", "stays": b"s"}, ODD)
    up.sync()
    os.rename(here(up.src) / "a", here(up.src) / "b")
    os.utime(here(up.src) / "b", ns=(T0 + 7, T0 + 7))
    store = up.dst.store
    asked = Counter()

    def act(op, path):
        asked[op, path] += 1
        if (op, path) == ("stat", "a") and asked[op, path] == 1:
            if fault == "old changed":
                put(store, "a", b"CONTENT!")
            if fault == "there by now":
                put(store, "b", b"faster")
            if fault == "new changed":
                make(here(up.src), {"b": b"changed meanwhile"}, T0 + 9)
        if op == "move" and fault == "move fails":
            raise ConnectionFailed("away")
        if op == "set_modified" and fault == "time fails":
            raise ConnectionFailed("away")

    store.before = act
    if fault == "new changed":
        make(here(up.src), {"b": b"changed meanwhile, and longer"}, T0 + 9)
    if fault == "wrong":
        real = store.inner.move

        def wrong(src, dst):
            real(src, dst)
            put(store, dst, b"CONTENT")
            return store.inner.stat(dst)

        store.inner.move = wrong
    summary = up.sync(track_renames=True)
    assert summary.errors == {}
    data = (here(up.src) / "b").read_bytes()
    assert held(store) == {"b": data, "stays": b"s"}
    assert summary.moved == (fault == "time fails")


def test_a_source_that_changed_after_it_was_listed_is_copied(up, monkeypatch):
    make(here(up.src), {"a": b"content", "stays": b"s"}, ODD)
    up.sync()
    os.rename(here(up.src) / "a", here(up.src) / "b")
    real = up.src.store.stat

    def stat(path):
        if path == "b":
            make(here(up.src), {"b": b"changed"}, T0 + 9)
        return real(path)

    monkeypatch.setattr(up.src.store, "stat", stat)
    summary = up.sync(track_renames=True)
    assert (summary.moved, held(up.dst.store)["b"]) == (0, b"changed")


def test_a_run_that_is_stopped_renames_nothing(up):
    make(here(up.src), {"a": b"content", "big": b"0" * 100}, ODD)
    up.sync()
    os.rename(here(up.src) / "a", here(up.src) / "b")
    make(here(up.src), {"big": b"1" * 101})
    assert up.sync(track_renames=True, max_transfer=10).stopped == "max-transfer"
    assert moves(up) == []


def test_an_incomplete_listing_renames_nothing_and_copies_the_rest(between):
    """Listings come in chunks of 512: the first of them counts."""
    put(between.dst.store, "a", b"content")
    put(between.src.store, "b", b"content")
    for number in range(600):
        put(between.src.store, f"c{number:03}", b"")

    def cut(entries):
        for entry in entries:
            if entry.path == "c590":
                raise ConnectionFailed("away")
            yield entry

    between.src.store.walked = cut
    between.dst.store._features = replace(between.dst.store.features, caps=between.dst.store.features.caps | Cap.MOVE)
    summary = between.sync(track_renames=True)
    assert (summary.moved, between.told(Deleted)) == (0, [])
    assert {"a", "b", "c500"} <= set(held(between.dst.store))


# ---- against a model

NAMES = st.sampled_from(["a", "b", "c", "d/a", "d/b", "e/f/g"])
TREES = st.dictionaries(NAMES, st.sampled_from([b"1", b"2", b"22", b"33", b""]), max_size=6)


@settings(max_examples=60, deadline=None)
@given(before=TREES, after=TREES)
def test_the_result_is_that_of_a_plain_sync(before, after, tmp_path_factory):
    root = tmp_path_factory.mktemp("model")
    ends, gone = [], []
    for track in (False, True):
        source, store = Fitted(remote=True), Fitted(remote=True, without=Cap.COPY)
        bench = Bench(remote(source, "memory/a"), remote(store, "memory/b"), str(root / str(track)))
        for path, data in before.items():
            put(store, path, data, T0)
        for path, data in after.items():
            put(source, path, data, T0 + 5)
        summary = bench.sync(track_renames=track)
        assert bench.told(Failed) == []
        gone.append({event.path for event in bench.told(Deleted)})
        ends.append(({path: data for path, data in held(store).items() if data is not None}, summary.withheld > 0))
    assert ends[0] == ends[1]
    assert gone[1] <= gone[0]
    assert ends[1][1] or ends[1][0] == after


def test_nothing_is_told_twice(synced):
    synced.sync(track_renames=True)
    assert synced.told(Copied) == []


def test_what_is_no_file_is_not_noted():
    tracked = Renames(remote(Fitted()), remote(Fitted()), None, threads=1, spool_dir=None)
    tracked.note(b"d/", Entry("d", Kind.DIRECTORY), (b"d/", None, "", "", 1))
    assert tracked._rows == {}
