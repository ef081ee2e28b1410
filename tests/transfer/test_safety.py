"""What deletes nothing, what is never overwritten, and what a fault in the middle leaves behind."""

import os
import shutil
from pathlib import Path

import pytest

from cftool.core.errors import (
    ConnectionFailed,
    IntegrityError,
    ListingError,
    LoginRequired,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    SourceChanged,
    StoreError,
)
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, Kind, NameRules, WalkOrder
from cftool.disk.locks import lock_tree
from cftool.transfer.events import Copied, Deleted, Failed, Note, Skipped
from cftool.transfer.options import MaxDelete, Verify
from tests.transfer.kit import T0, Bench, Fitted, held, local, make, put, remote, tree


def here(side) -> Path:
    return Path(side.local_root)


def untouched(bench, summary, *, why: str):
    assert bench.told(Deleted) == []
    assert summary.deleted == 0
    assert summary.withheld > 0
    assert why in summary.why


@pytest.fixture
def pair(between):
    """A source of three files, a destination with one more."""
    for path in ("a", "b/c", "d"):
        put(between.src.store, path)
    for path in ("a", "old", "old-dir/f"):
        put(between.dst.store, path)
    return between


def test_an_empty_source_deletes_nothing(pair):
    pair.src.store.inner.walk = lambda path: iter(())
    summary = pair.sync()
    untouched(pair, summary, why="empty")
    assert (summary.withheld, summary.errors) == (4, {})
    assert pair.sync(allow_empty_source=True).deleted == 0  # the second look still finds the files


def test_an_empty_source_may_empty_the_destination_where_it_is_asked_for(across):
    make(here(across.dst), {"f": b"1", "d/g": b"2"})
    untouched(across, across.sync(), why="empty")
    assert across.sync(allow_empty_source=True).deleted == 3
    assert tree(here(across.dst)) == {}


@pytest.mark.parametrize("side", ["src", "dst"])
@pytest.mark.parametrize("error", [ListingError("cut"), ConnectionFailed("away"), PermissionDenied("no")])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_listing_that_fails_deletes_nothing(pair, side, error, after):
    def cut(entries):
        for number, entry in enumerate(entries):
            if number == after:
                raise error
            yield entry

    getattr(pair, side).store.walked = cut
    summary = pair.sync()
    assert pair.told(Deleted) == []
    assert summary.errors == {error.kind: 1}
    assert [event.error for event in pair.told(Failed)] == [error]
    assert {"old", "old-dir/f"} <= set(held(pair.dst.store))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entries: iter([*entries, *[]][::-1]),
        lambda entries: (entry for one in entries for entry in (one, one)),
    ],
)
@pytest.mark.parametrize("side", ["src", "dst"])
def test_a_listing_out_of_order_or_with_a_name_twice_is_an_error_and_deletes_nothing(pair, side, spoil):
    getattr(pair, side).store.walked = spoil
    summary = pair.sync()
    assert pair.told(Deleted) == []
    assert summary.errors == {"listing_error": 1}


def test_a_listing_that_leaves_out_a_file_is_found_out_before_the_first_deletion(pair):
    put(pair.dst.store, "b/c")
    # Only the first listing lies: the second look is another call.
    real = pair.src.store.inner.walk
    pair.src.store.inner.walk = lambda path: (entry for entry in real(path) if entry.path != "b/c")
    summary = pair.sync()
    untouched(pair, summary, why="the source has b/c")


def test_a_second_look_that_fails_deletes_nothing(pair):
    def refuse(op, path):
        if op == "scan":
            raise ConnectionFailed("away")

    pair.src.store.before = refuse
    summary = pair.sync()
    untouched(pair, summary, why="once more")
    assert summary.errors == {"connection_failed": 1}


def test_a_second_look_costs_one_listing_for_each_parent_concerned(pair):
    for path in ("b/x", "b/y", "gone/1/2/3", "gone/4"):
        put(pair.dst.store, path)
    pair.sync()
    scanned = [path for op, path in pair.src.store.log if op == "scan"]
    assert sorted(scanned) == ["", "b"]
    assert set(held(pair.dst.store)) == {"a", "b/c", "d"}


def test_a_local_source_is_looked_at_once_more(up):
    make(here(up.src), {"a": b"1", "late/f": b"2"})
    put(up.dst.store, "a")
    put(up.dst.store, "late/f")
    put(up.dst.store, "old")
    inner = up.src.store
    seen = inner.walk
    inner.walk = lambda path: (entry for entry in seen(path) if not entry.path.startswith("late"))
    untouched(up, up.sync(), why="late")


@pytest.mark.parametrize("error", [StoreError("disk"), LoginRequired("expired"), QuotaExceeded("full")])
def test_a_failed_transfer_withholds_all_deletions_and_the_copies_are_done(pair, error):
    def spoil(op, path):
        if op == "write" and path == "d":
            raise error

    pair.dst.store.before = spoil
    summary = pair.sync()
    untouched(pair, summary, why="1 entry failed")
    assert summary.errors == {error.kind: 1}
    assert "b/c" in held(pair.dst.store)


def test_a_full_or_closed_service_is_not_asked_for_every_file(up):
    make(here(up.src), {f"f{number:04}": b"x" for number in range(500)})

    def full(op, path):
        if op == "write":
            raise QuotaExceeded("full")

    up.dst.store.before = full
    summary = up.sync()
    assert 1 <= sum(summary.errors.values()) < 20
    assert up.told(Note)


def test_too_many_deletions_delete_nothing(between):
    put(between.src.store, "keep")
    for number in range(150):
        put(between.dst.store, f"f{number}")
    untouched(between, between.sync(), why="150 of 150 files")
    untouched(between, between.sync(max_delete=MaxDelete(149, None)), why="149 files")
    assert between.sync(max_delete=MaxDelete(150, None)).deleted == 150


def test_another_local_source_deletes_nothing(up, tmp_path):
    make(here(up.src), {f"f{number}": b"x" for number in range(10)})
    put(up.dst.store, "extra")
    assert up.sync().deleted == 1
    # Another disk is mounted there: some files of its own, none of ours.
    os.rename(here(up.src), tmp_path / "away")
    make(here(up.src), {"other1": b"1", "other2": b"2"})
    up.src = local(here(up.src))
    for _ in range(3):  # copying from it does not make it the source, however often
        untouched(up, up.sync(), why="another one")
    assert up.sync(force_delete=True).deleted == 10
    assert up.sync().deleted == 0


def test_a_local_tree_that_was_made_anew_with_the_same_files_is_the_same_source(up, tmp_path):
    files = {f"f{number}": b"x" for number in range(10)}
    make(here(up.src), files)
    up.sync()
    shutil.rmtree(here(up.src))
    make(tmp_path / "between", {"takes the inode": b""})
    make(here(up.src), {name: data for name, data in files.items() if name < "f5"})
    up.src = local(here(up.src))
    assert up.sync().deleted == 5


def test_another_account_under_the_same_address_deletes_nothing(between):
    put(between.src.store, "a")
    between.sync()
    other = Fitted(remote=True)
    put(other, "b")
    between.src = __import__("dataclasses").replace(remote(other, "memory/other"), address=between.src.address)
    untouched(between, between.sync(), why="another one")
    assert between.sync(force_delete=True).deleted == 1


def test_a_file_that_vanishes_between_listing_and_transfer_is_no_failure(pair):
    def vanish(op, path):
        if op == "read" and path == "d":
            pair.src.store.inner.delete("d")

    pair.src.store.before = vanish
    summary = pair.sync()
    assert summary.skipped == {"vanished": 1}
    assert (summary.errors, summary.withheld) == ({}, 0)
    assert set(held(pair.dst.store)) == {"a", "b/c"}


def test_a_local_file_that_vanishes_is_no_failure(up):
    make(here(up.src), {"a": b"1", "b": b"2"})
    walk = up.src.store.walk

    def vanishing(path):
        entries = list(walk(path))
        os.unlink(here(up.src) / "b")
        yield from entries

    up.src.store.walk = vanishing
    summary = up.sync()
    assert (summary.copied, summary.skipped, summary.errors) == (1, {"vanished": 1}, {})


def test_not_found_at_the_destination_is_a_failure(pair):
    def lost(op, path):
        if op == "write" and path == "d":
            raise NotFound("no such bucket")

    pair.dst.store.before = lost
    assert pair.sync().errors == {"not_found": 1}


@pytest.mark.parametrize(
    ("error", "tries"), [(IntegrityError("flipped"), 3), (SourceChanged("grew"), 3), (StoreError("no"), 1)]
)
def test_what_http_cannot_repeat_is_tried_anew(pair, error, tries):
    count = 0

    def spoil(op, path):
        nonlocal count
        if op == "write" and path == "d":
            count += 1
            if count < 5:
                raise error

    pair.dst.store.before = spoil
    assert pair.sync().errors == {error.kind: 1}
    assert count == tries
    assert pair.sync(retries=7).errors == {} or error.kind == "store_error"


def test_a_source_that_changed_since_it_was_listed_is_copied_as_it_is_now(up):
    make(here(up.src), {"f": b"old"})
    walk = up.src.store.walk

    def changing(path):
        entries = list(walk(path))
        make(here(up.src), {"f": b"newer"})
        yield from entries

    up.src.store.walk = changing
    assert up.sync().errors == {}
    assert held(up.dst.store) == {"f": b"newer"}
    up.src.store.walk = walk
    assert up.sync().compared_by == {"state": 1}


def test_an_edit_at_the_destination_since_the_listing_is_not_overwritten(between):
    put(between.src.store, "f", b"ours")
    put(between.dst.store, "f", b"old!")
    between.dst.store.inner.set_modified("f", T0 - 10)

    def edit(op, path):
        if op == "read":
            put(between.dst.store, "f", b"theirs")

    between.src.store.before = edit
    assert between.sync().errors == {"precondition_failed": 1}
    assert held(between.dst.store) == {"f": b"theirs"}


def test_a_file_that_appears_at_the_destination_is_not_overwritten(between):
    put(between.src.store, "f", b"ours")
    between.src.store.before = lambda op, path: put(between.dst.store, "f", b"theirs") if op == "read" else None
    assert between.sync().errors == {"already_exists": 1}
    assert held(between.dst.store) == {"f": b"theirs"}


def test_a_directory_that_cannot_be_read_fails_by_name_and_the_rest_is_copied(between):
    for side in (between.src, between.dst):
        side.store._features = __import__("dataclasses").replace(
            side.store.features, caps=side.store.features.caps & ~Cap.WALK
        )
    for path in ("a", "dark/f", "dark/g/h", "z"):
        put(between.src.store, path)
    put(between.dst.store, "dark/old")
    put(between.dst.store, "old")

    def dark(op, path):
        if (op, path) == ("scan", "dark"):
            raise PermissionDenied("no", path=path)

    between.src.store.before = dark
    summary = between.sync()
    assert summary.errors == {"permission_denied": 1}
    assert [event.path for event in between.told(Failed)] == ["dark"]
    assert set(held(between.dst.store)) == {"a", "z", "dark/old", "old"}
    # The same at the destination: what is there is unknown, so that nothing is written below it.
    between.src.store.before = lambda op, path: None
    between.dst.store.before = dark
    summary = between.sync()
    assert summary.errors == {"permission_denied": 1}
    assert set(held(between.dst.store)) == {"a", "z", "dark/old", "old"}
    between.dst.store.before = lambda op, path: None
    assert between.sync().errors == {}
    assert set(held(between.dst.store)) == {"a", "z", "dark/f", "dark/g/h"}


def test_two_names_that_the_destination_takes_for_one_are_not_copied(tmp_path):
    store = Fitted(remote=True, names=NameRules(case_sensitive=False), walk_order=WalkOrder.NONE)
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    make(tmp_path / "src", {"A": b"1", "a": b"2", "B/x": b"3", "b/y": b"4", "c": b"5", "Keep/Me": b"6"})
    put(store, "a", b"old")
    put(store, "b/z", b"old")
    put(store, "keep/me", b"6")
    put(store, "gone")
    summary = bench.sync()
    assert {event.path for event in bench.told(Failed)} == {"A", "a", "B", "b"}
    assert held(store) == {"a": b"old", "b/z": b"old", "c": b"5", "keep/me": b"6", "gone": b"x"}
    assert summary.withheld == 1


def test_a_destination_with_names_that_the_source_takes_for_one_loses_the_other(tmp_path):
    src = Fitted(remote=True, names=NameRules(case_sensitive=False))
    dst = Fitted(remote=True)
    bench = Bench(remote(src, "memory/a"), remote(dst, "memory/b"), str(tmp_path / "state"))
    put(src, "a", b"1")
    put(dst, "A", b"0")
    put(dst, "a", b"1")
    assert bench.sync().errors == {}
    assert held(dst) == {"a": b"1"}


def test_listings_in_no_order_are_sorted(tmp_path):
    src = Fitted(remote=True, walk_order=WalkOrder.NONE)
    src.walked = lambda entries: iter(list(entries)[::-1])
    dst = Fitted(remote=True)
    bench = Bench(remote(src, "memory/a"), remote(dst, "memory/b"), str(tmp_path / "state"))
    for path in ("z", "a/b", "a-b", "a/b2/c"):
        put(src, path)
    assert bench.sync().copied == 4
    assert held(dst) == held(src)


def test_an_interrupted_run_starts_nothing_new_and_deletes_nothing(up):
    make(here(up.src), {f"f{number:03}": b"x" for number in range(300)})
    put(up.dst.store, "old")
    up.cancelled = lambda: up.dst.store.calls["write"] >= 5
    summary = up.sync()
    assert summary.stopped == "interrupted"
    assert 5 <= summary.copied <= 6
    assert "old" in held(up.dst.store)
    up.cancelled = lambda: False
    copied = up.sync()
    assert copied.compared_by["state"] == summary.copied
    assert set(held(up.dst.store)) == {f"f{number:03}" for number in range(300)}


def test_a_run_stops_at_max_transfer_and_deletes_nothing(up):
    make(here(up.src), {f"f{number}": b"12345" for number in range(10)})
    put(up.dst.store, "old")
    summary = up.sync(max_transfer=22)
    assert (summary.copied, summary.stopped) == (4, "max-transfer")
    assert "old" in held(up.dst.store)


def test_a_run_stops_at_max_duration_and_deletes_nothing(up):
    make(here(up.src), {f"f{number:02}": b"1" for number in range(50)})

    def slow(op, path):
        up.now += 1.0

    up.dst.store.before = slow
    summary = up.sync(max_duration=10.0)
    assert summary.stopped == "max-duration"
    assert 0 < summary.copied < 50


def test_a_second_run_on_the_same_destination_is_locked_out(up):
    from cftool.core.errors import Locked

    make(here(up.src), {"f": b"1"})
    with lock_tree(up.state_dir, up.dst.key), pytest.raises(Locked):
        up.sync()
    with lock_tree(up.state_dir, up.dst.key, shared=True):
        with pytest.raises(Locked):
            up.sync()
        assert up.copy().copied == 1


def test_read_back_finds_what_was_stored_wrongly(up):
    make(here(up.src), {"good": b"1", "bad": b"2"})
    inner = up.dst.store.inner
    write = inner.write

    def flipping(path, source, **how):
        entry = write(path, source, **how)
        if path == "bad":
            return write(path, BytesSource(b"3"), **{**how, "if_absent": False})
        return entry

    inner.write = flipping
    summary = up.sync(verify=Verify.READBACK)
    assert summary.errors == {"integrity_error": 1}
    assert [event.path for event in up.told(Copied)] == ["good"]


def test_a_damaged_state_database_is_set_aside_and_the_run_goes_on(up):
    make(here(up.src), {"f": b"1"})
    up.sync()
    (database,) = [path for path in (Path(up.state_dir) / "pairs").glob("*.sqlite") if path.name != "sources.sqlite"]
    for side in Path(up.state_dir).glob("pairs/*-wal"):
        side.unlink()
    database.write_bytes(b"this is no database" * 100)
    summary = up.sync()
    assert summary.compared_by == {"hash": 1}
    assert any("damaged" in event.message for event in up.told(Note))
    assert list((Path(up.state_dir) / "pairs").glob("*.damaged-*"))


def test_a_filter_protects_what_it_leaves_out_on_both_sides(up):
    class NoLogs:
        def file(self, entry):
            return not entry.path.endswith(".log") and (entry.size or 0) < 10

        def directory(self, path):
            return path != "private"

    make(here(up.src), {"a": b"1", "big": b"0123456789abc", "x.log": b"1", "private/p": b"1", "only-logs/y.log": b"1"})
    for path in ("a", "big", "y.log", "private/q", "gone", "gone-dir/z.log", "gone-dir/z"):
        put(up.dst.store, path, b"s")
    summary = up.sync(select=NoLogs())
    assert set(held(up.dst.store)) == {"a", "big", "y.log", "private/q", "gone-dir/z.log"}
    assert summary.errors == {}
    assert summary.skipped == {"excluded": 3}
    summary = up.sync(select=NoLogs(), delete_excluded=True, max_delete=MaxDelete(None, None))
    assert set(held(up.dst.store)) == {"a"}


def test_update_existing_and_ignore_existing(between):
    put(between.src.store, "both", b"new", T0)
    put(between.dst.store, "both", b"theirs", T0 + 5_000_000_000)
    put(between.src.store, "only", b"1")
    summary = between.sync(update=True, existing=True)
    assert {(event.path, event.reason) for event in between.told(Skipped)} == {("both", "newer"), ("only", "existing")}
    assert summary.copied == 0
    assert between.sync(ignore_existing=True).copied == 1
    assert held(between.dst.store)["both"] == b"theirs"


def test_an_aside_that_cannot_be_replaced_goes_back(across):
    make(here(across.src), {"x": b"file"})
    make(here(across.dst), {"x/deep/f": b"1"})
    across.dst.store.write_many = lambda items: iter(
        [
            __import__("cftool.core.types", fromlist=["Result"]).Result(i.path, error=StoreError("no"), tag=i.tag)
            for i in items
        ]
    )
    summary = across.sync()
    assert summary.errors == {"store_error": 1}
    assert tree(here(across.dst)) == {"x/deep/f": b"1"}


def test_kinds_are_what_the_stores_say(across):
    make(here(across.src), {"d/f": b"1"})
    across.sync()
    assert {entry.kind for entry in across.dst.store.walk("")} == {Kind.FILE, Kind.DIRECTORY}
