"""Corners of the plan, the state, the threads and the listings that whole runs seldom reach."""

import dataclasses
import os
import sqlite3
from pathlib import Path

import pytest

from cftool.core.errors import (
    ConfigError,
    ConnectionFailed,
    ListingError,
    NotFound,
    PermissionDenied,
    ProtocolError,
    Refused,
    SourceChanged,
    StoreError,
    Unsupported,
)
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, Entry, Kind, NameRules, Result, WalkOrder
from cftool.disk.root import Root
from cftool.transfer import api, execute, plan, scan, sides, state, telling
from cftool.transfer.events import Copied, Deleted, Failed, MadeDirectory, Note, Progress, Scanned, Skipped, Started
from cftool.transfer.merge import Folding, exact_key
from cftool.transfer.options import Links, MaxDelete, Options, Side
from cftool.transfer.state import PairState, pair_path
from cftool.transfer.telling import StoreSource
from cftool.transfer.threads import Workers, bounded
from tests.transfer.kit import T0, Bench, Fitted, held, local, make, put, remote, there, tree


def here(side) -> Path:
    return Path(side.local_root)


def fit(side, **features) -> None:
    side.store._features = dataclasses.replace(side.store.features, **features)


# ---- plan


def test_no_delete_settles_no_conflict_and_deletes_nothing(across):
    make(here(across.src), {"x": b"file", "y/in": b"1"})
    make(here(across.dst), {"x/old": b"1", "y": b"old", "z": b"old"})
    summary = across.sync(delete=False)
    assert sorted(summary.errors) == ["is_a_directory", "not_a_directory"]
    assert tree(here(across.dst)) == {"x/old": b"1", "y": b"old", "z": b"old"}
    assert (summary.deleted, summary.withheld) == (0, 0)


def test_what_is_larger_than_the_destination_takes_fails_before_it_is_sent(up):
    make(here(up.src), {"big": b"0123456789", "small": b"1"})
    fit(up.dst, size_limit=5)
    assert up.sync().errors == {"too_large": 1}
    assert held(up.dst.store) == {"small": b"1"}
    assert up.dst.store.calls["write"] == 1


def test_a_file_and_a_directory_of_one_name_at_the_source_are_reported(tmp_path):
    store = Fitted(remote=True, names=NameRules(opaque=True))
    put(store, "a-")
    put(store, "a/x")
    real = store.inner.walk
    store.inner.walk = lambda path: iter([Entry("a", Kind.FILE, 1, T0, None, "v"), *real(path)])
    store.inner.walk = lambda path: iter(
        sorted([Entry("a", Kind.FILE, 1, T0, None, "v"), *real(path)], key=lambda e: exact_key(e.path, e.kind))
    )
    bench = Bench(remote(store), local(tmp_path / "dst"), str(tmp_path / "state"))
    summary = bench.sync()
    assert [event.path for event in bench.told(Failed)] == ["a"]
    assert summary.errors == {"is_a_directory": 1}
    assert tree(tmp_path / "dst") == {"a-": b"x", "a/x": b"x"}


def test_both_kinds_may_stand_side_by_side_where_keys_are_opaque(up):
    fit(up.dst, names=NameRules(opaque=True))
    make(here(up.src), {"keep": b"1", "z": b"1"})
    put(up.dst.store, "keep")
    assert up.sync().errors == {}


def test_a_link_at_the_source_protects_a_directory_of_its_name(across):
    make(here(across.src), {"f": b"1"})
    os.symlink("f", here(across.src) / "name")
    make(here(across.dst), {"name/in": b"1", "name/deep/er": b"2", "name-else": b"3"})
    summary = across.sync()
    assert tree(here(across.dst)) == {"f": b"1", "name/in": b"1", "name/deep/er": b"2"}
    assert summary.deleted == 1


def test_a_directory_with_nothing_but_links_is_made(across):
    make(here(across.src), {"d": None, "e": None})
    os.symlink("/", here(across.src) / "d" / "link")
    assert across.sync().made_directories == 2
    assert tree(here(across.dst)) == {"d": None, "e": None}


def test_an_empty_directory_replaces_a_file(across):
    make(here(across.src), {"d": None, "e": b"1"})
    make(here(across.dst), {"d": b"old", "e": b"1"})
    summary = across.sync()
    assert (summary.errors, tree(here(across.dst))) == ({}, {"d": None, "e": b"1"})
    assert [event.path for event in across.told(MadeDirectory)] == ["d"]


def test_empty_directories_that_follow_each_other_replace_files(across):
    make(here(across.src), {"d/a": None, "d/b": None, "f": b"1"})
    make(here(across.dst), {"d/a": b"old", "d/b": b"old"})
    summary = across.sync()
    assert (summary.errors, tree(here(across.dst))) == ({}, {"d/a": None, "d/b": None, "f": b"1"})


def test_with_existing_no_directory_is_made(across):
    make(here(across.src), {"d": None})
    make(here(across.dst), {"f": b"1"})
    assert across.copy(existing=True).made_directories == 0


def test_totals_are_told_while_it_goes_on(up, monkeypatch):
    monkeypatch.setattr(plan, "_TELL", 2)
    make(here(up.src), {f"f{number}": b"1" for number in range(6)})
    up.sync()
    assert [event.complete for event in up.told(Scanned)] == [False, False, False, True, True]


def test_directories_that_exist_by_themselves_cost_no_request(up):
    fit(up.dst, caps=up.dst.store.features.caps | Cap.IMPLICIT_DIRS, names=NameRules(opaque=True))
    make(here(up.src), {"keep": b"1"})
    put(up.dst.store, "gone/deep/f")
    up.dst.store.inner.space.listing_hides_nothing = True
    summary = up.sync()
    assert (summary.deleted, up.dst.store.calls["rmdir"]) == (1, 0)


def test_a_directory_that_is_not_empty_by_then_stays_and_is_no_failure(across):
    make(here(across.src), {"keep": b"1"})
    make(here(across.dst), {"d/f": b"1"})
    fine = across.dst.store.delete

    def late(path):
        fine(path)
        make(here(across.dst), {"d/new": b"2"})

    across.dst.store.delete = late
    summary = across.sync()
    assert (summary.errors, summary.deleted) == ({}, 1)
    assert tree(here(across.dst)) == {"keep": b"1", "d/new": b"2"}


# ---- replacements


def test_a_store_that_cannot_move_keeps_the_old(between):
    fit(between.dst, caps=between.dst.store.features.caps & ~Cap.MOVE_DIR)
    put(between.src.store, "x", b"file")
    put(between.dst.store, "x/old")
    put(between.dst.store, "gone")
    summary = between.sync()
    assert summary.errors == {"unsupported": 1}
    assert held(between.dst.store) == {"x/old": b"x", "gone": b"x"}
    assert (summary.withheld, summary.why) == (1, "a replacement failed")


def test_a_file_that_could_not_be_replaced_is_kept_under_a_name_that_is_told(between):
    put(between.src.store, "x/good")
    put(between.src.store, "x/wrong")
    put(between.dst.store, "x", b"old")

    def spoil(op, path):
        if op == "write" and path == "x/wrong":
            raise StoreError("no")

    between.dst.store.before = spoil
    summary = between.sync()
    kept = [path for path, data in held(between.dst.store).items() if data == b"old"]
    assert len(kept) == 1
    assert kept[0] in between.told(Failed)[-1].message
    assert summary.deleted == 0


def test_an_old_one_that_cannot_be_put_back_is_told(between):
    put(between.src.store, "x", b"new")
    put(between.dst.store, "x/old")
    moves = 0

    def spoil(op, path):
        nonlocal moves
        moves += op == "move"
        if op == "write" or (op == "move" and moves == 2):
            raise PermissionDenied("no")

    between.dst.store.before = spoil
    summary = between.sync()
    assert summary.errors == {"permission_denied": 2, "store_error": 1}
    assert "is kept as replaced-" in between.told(Failed)[-1].message


def test_an_empty_directory_that_cannot_be_made_puts_the_file_back(between):
    put(between.dst.store, "x", b"old")
    put(between.src.store, "y")
    between.src.store.inner.mkdir("x")

    def spoil(op, path):
        if op == "mkdir":
            raise PermissionDenied("no")

    between.dst.store.before = spoil
    assert between.sync().errors == {"permission_denied": 1}
    assert held(between.dst.store)["x"] == b"old"


@pytest.mark.parametrize("files", [({"x": b"1"}, {"x/y": b"2"}), ({"x/y": b"1"}, {"x": b"2"})])
def test_a_dry_run_of_a_replacement_changes_nothing(across, files):
    make(here(across.src), files[0])
    make(here(across.dst), files[1])
    summary = across.sync(dry_run=True)
    assert tree(here(across.dst)) == files[1]
    assert {event.path for event in across.told(Copied)} == set(files[0])
    assert {event.path for event in across.told(Deleted)} == {"x", *files[1]}
    assert summary.errors == {}


# ---- executors


class Forgetful(Fitted):
    """Answers for nothing."""

    def write_many(self, items):
        list(items)
        return iter(())

    def delete_many(self, entries):
        list(entries)
        return iter([Result("who knows")])


def test_what_a_store_never_answers_for_has_failed(up):
    up.dst = remote(Forgetful(remote=True, listed_time=False))
    make(here(up.src), {"f": b"1"})
    assert up.sync().errors == {"protocol_error": 1}
    assert [event.path for event in up.told(Failed)] == ["f"]


def test_a_deletion_that_a_store_never_answers_for_has_failed(across):
    make(here(across.src), {"keep": b"1"})
    across.dst = remote(Forgetful(remote=True))
    put(across.dst.store, "keep", b"1")
    put(across.dst.store, "old")
    assert across.sync().errors == {"protocol_error": 1}


def test_a_batch_that_breaks_off_is_told_and_the_run_ends_in_order(up):
    make(here(up.src), {"f": b"1", "g": b"2"})

    def broken(items):
        next(iter(items))
        raise ConnectionFailed("gone")
        yield

    up.dst.store.write_many = broken
    summary = up.sync()
    assert summary.errors == {"connection_failed": 1, "protocol_error": 1}


def test_a_deletion_batch_that_breaks_off_is_told(up):
    make(here(up.src), {"f": b"1"})
    put(up.dst.store, "old")

    def broken(entries):
        raise ConnectionFailed("gone")
        yield

    up.dst.store.delete_many = broken
    assert up.sync().errors == {"connection_failed": 1}


def test_a_service_that_stays_away_is_not_asked_for_every_file(up):
    make(here(up.src), {f"f{number:04}": b"x" for number in range(300)})

    def away(op, path):
        if op == "write":
            raise ConnectionFailed("away")

    up.dst.store.before = away
    assert up.sync().errors == {"connection_failed": 64}


def test_a_download_that_cannot_be_published_has_failed(down):
    for path in ("f", "g"):
        put(down.src.store, path)
    down.dst = local(here(down.dst))
    (here(down.dst) / "f").mkdir()
    (here(down.dst) / "f" / "in").write_bytes(b"1")
    summary = down.copy()
    assert summary.errors == {"is_a_directory": 1}
    assert tree(here(down.dst)) == {"f/in": b"1", "g": b"x"}


def test_a_failure_of_the_disk_at_the_end_is_a_failure_of_the_file(down, monkeypatch):
    put(down.src.store, "f")
    put(down.src.store, "g")
    flush = execute.Root.flush
    monkeypatch.setattr(execute.Root, "flush", lambda self: [*flush(self), ("f", StoreError("input/output error"))])
    summary = down.sync()
    assert {event.path for event in down.told(Failed)} >= {"f"}
    assert [event.path for event in down.told(Copied)] == ["g"]
    assert summary.errors["store_error"] >= 1


def test_a_name_that_the_disk_refuses_fails_alone(down):
    put(down.src.store, ".cftool-reserved.tmp")
    put(down.src.store, "ok")
    summary = down.sync()
    assert sum(summary.errors.values()) <= 1
    assert tree(here(down.dst))["ok"] == b"x"


def test_large_files_are_told_of_while_they_come(down, monkeypatch):
    monkeypatch.setattr(telling, "LARGE", 3)
    put(down.src.store, "big", b"12345")
    put(down.src.store, "small", b"1")
    down.sync()
    assert down.told(Started) == [Started("big", 5)]
    assert down.told(Progress) == [Progress("big", 5)]


def test_large_files_are_told_of_while_they_go(up, monkeypatch):
    monkeypatch.setattr(telling, "LARGE", 3)
    make(here(up.src), {"big": b"12345", "small": b"1"})
    up.sync()
    assert up.told(Started) == [Started("big", 5)]


def test_parts_of_a_large_download_are_told_of(tmp_path):
    from cftool.testing.targets import MemoryTarget

    told = []
    target = telling.TellingTarget(MemoryTarget(), told.append)
    entry = Entry("f", Kind.FILE, 6)
    partial = target.begin(entry)
    partial.write_at(b"abc", 0)
    partial.done(0, 3)
    partial.writev_at([b"d", b"ef"], 3)
    partial.done(3, 6)
    assert partial.missing(4) == []
    assert partial.read_at(2, 1) == b"bc"
    partial.commit(entry)
    assert told == [Progress("f", 3), Progress("f", 3)]


def test_what_an_earlier_run_left_of_a_download_counts_at_once(tmp_path):
    told = []
    entry = Entry("f", Kind.FILE, 6, T0, None, "v1")
    with Root(str(tmp_path)) as root:
        first = root.target("f", origin="o").begin(entry)
        first.write_at(b"abc", 0)
        first.done(0, 3)
        first.close()
        again = telling.TellingTarget(root.target("f", origin="o"), told.append).begin(entry)
        again.discard()
        again.close()
    assert told == [Progress("f", 3)]


def test_a_source_in_a_store_is_always_the_listed_version():
    store = Fitted(remote=True)
    put(store, "f", b"12345")
    source = StoreSource(store, store.inner.stat("f"))
    with source.open() as reader:
        assert reader.readable()
        assert (reader.read(2), reader.read(2), reader.read()) == (b"12", b"34", b"5")
    with source.open() as reader:
        buffer = bytearray(3)
        assert (reader.readinto(buffer), bytes(buffer)) == (3, b"123")
        reader.close()
    assert source.load() == b"12345"
    source.check()
    old = store.inner.stat("f")
    put(store, "f", b"other")
    with pytest.raises(SourceChanged):
        StoreSource(store, old).open()
    with pytest.raises(SourceChanged):
        StoreSource(store, old._replace(version=None, size=3)).open()


# ---- state


def test_a_dry_run_uses_the_state_and_leaves_it_alone(up):
    make(here(up.src), {"f": b"1"})
    up.sync()
    (here(up.src) / "g").write_bytes(b"2")
    path = pair_path(up.state_dir, up.src.key, up.dst.key)
    before = sqlite3.connect(path).execute("SELECT * FROM files").fetchall()
    assert up.sync(dry_run=True).compared_by == {"state": 1}
    assert sqlite3.connect(path).execute("SELECT * FROM files").fetchall() == before


def test_a_state_database_of_another_shape_is_not_read_by_a_dry_run(tmp_path):
    path = str(tmp_path / "pairs" / "x.sqlite")
    os.makedirs(tmp_path / "pairs")
    sqlite3.connect(path).execute("CREATE TABLE other (x)").connection.close()
    found = PairState(path, identity="i", folding="f", read_only=True)
    assert list(found.rows()) == []
    found.close()


def test_rows_of_another_folding_are_forgotten(tmp_path):
    path = str(tmp_path / "pairs" / "x.sqlite")
    first = PairState(path, identity="i", folding="no")
    first.put(b"k", 1, "a", "b")
    first.flush()
    assert len(list(first.rows())) == 1
    first.close()
    again = PairState(path, identity="i", folding="case")
    assert list(again.rows()) == []
    again.close()


def test_rows_of_paths_that_are_gone_are_forgotten(up, monkeypatch):
    monkeypatch.setattr(state, "_BATCH", 2)
    make(here(up.src), {f"f{number}": b"1" for number in range(6)})
    up.sync()
    for number in range(1, 6):
        (here(up.src) / f"f{number}").unlink()
        up.dst.store.inner.delete(f"f{number}")
    up.sync()
    path = pair_path(up.state_dir, up.src.key, up.dst.key)
    assert sqlite3.connect(path).execute("SELECT key FROM files").fetchall() == [(b"f0",)]


@pytest.mark.parametrize("method", ["put", "drop", "flush", "accept", "rows", "__init__"])
def test_a_state_database_that_fails_withholds_deletions_and_the_rest_is_done(up, monkeypatch, method):
    make(here(up.src), {"f": b"1", "new": b"2"})
    put(up.dst.store, "f", b"1")
    put(up.dst.store, "old")
    if method == "drop":
        up.sync(max_delete=MaxDelete(0, None))
        path = pair_path(up.state_dir, up.src.key, up.dst.key)
        with sqlite3.connect(path) as db:
            db.execute("INSERT INTO files VALUES (x'6b', 1, 'a', 'b', 1)")
        db.close()

    def fail(self, *arguments, **named):
        raise sqlite3.OperationalError("disk I/O error")
        yield

    def fail_now(self, *arguments, **named):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(PairState, method, fail if method == "rows" else fail_now)
    summary = up.sync()
    assert summary.errors == {"store_error": 1}
    assert {"f", "new"} <= set(held(up.dst.store))
    if method not in {"flush", "accept"}:
        assert "old" in held(up.dst.store)


def test_a_transaction_that_fails_is_rolled_back(tmp_path):
    path = str(tmp_path / "pairs" / "x.sqlite")
    found = PairState(path, identity="i", folding="no")
    found.put(b"k", 1, None, "b")  # the schema refuses it
    with pytest.raises(sqlite3.IntegrityError):
        found.flush()
    found._puts.clear()
    found.put(b"k", 1, "a", "b")
    found.flush()
    assert len(list(found.rows())) == 1
    found.close()


def test_without_a_state_directory_a_run_keeps_nothing(across):
    across.state_dir = None
    make(here(across.src), {"f": b"1"})
    assert across.sync().copied == 1
    assert across.sync().compared_by == {"time": 1}


# ---- listings


class Plain(Fitted):
    """Lists by directory only."""

    def __init__(self, **features):
        super().__init__(remote=True, without=Cap.WALK, **features)


def listing(store, **how):
    beside = scan.Chunk()
    found = [entry for batch in scan.Listing(store, scan.How(**how), beside).batches() for _key, entry in batch]
    return [entry.path for entry in found], [problem.path for problem in beside.problems]


@pytest.mark.parametrize("chunk", [4, 512])
def test_directories_larger_than_memory_are_sorted_on_disk(monkeypatch, chunk):
    monkeypatch.setattr(scan, "_CHUNK", chunk)
    store = Plain()
    names = [f"{number:02}" for number in range(30)]
    for name in names:
        put(store, f"d/{name}")
    store.walked = lambda entries: iter(list(entries)[::-1])
    assert listing(store, in_memory=7) == (["d", *(f"d/{name}" for name in names)], [])


def test_a_listing_by_directory_that_is_deeper_than_any_is_a_loop():
    store = Plain()
    store.scan = lambda path: iter([Entry(f"{path}/x".lstrip("/"), Kind.DIRECTORY)])
    with pytest.raises(ListingError, match="deeper"):
        listing(store)


def test_a_service_that_is_away_ends_a_listing_by_directory():
    store = Plain()
    put(store, "d/f")

    def away(op, path):
        if path == "d":
            raise ConnectionFailed("away")

    store.before = away
    with pytest.raises(ConnectionFailed):
        listing(store)


@pytest.mark.parametrize("chunk", [1, 512])
def test_a_local_walk_goes_on_behind_a_directory_that_cannot_be_read(across, monkeypatch, chunk):
    monkeypatch.setattr(scan, "_CHUNK", chunk)
    make(here(across.src), {"a/f": b"1", "b/c/f": b"2", "b/dark/f": b"3", "b/z": b"4", "c": b"5"})
    store = across.src.store
    walk, scan_ = store.walk, store.scan

    def dark_walk(path):
        for entry in walk(path):
            if entry.path.startswith("b/dark/"):
                raise PermissionDenied("no", path="b/dark")
            yield entry

    def dark_scan(path):
        if path == "b/dark":
            raise PermissionDenied("no", path=path)
        return scan_(path)

    store.walk, store.scan = dark_walk, dark_scan
    make(here(across.dst), {"b/dark/kept": b"1", "old": b"1"})
    summary = across.sync()
    assert [event.path for event in across.told(Failed)] == ["b/dark"]
    assert tree(here(across.dst)) == {
        "a/f": b"1",
        "b/c/f": b"2",
        "b/z": b"4",
        "c": b"5",
        "b/dark/kept": b"1",
        "old": b"1",
    }
    assert summary.withheld == 1


def test_a_filter_over_a_listing_in_no_order(tmp_path):
    class Only:
        def file(self, entry):
            return entry.path.endswith(".txt")

        def directory(self, path):
            return path != "no"

    src = Fitted(remote=True, walk_order=WalkOrder.NONE)
    src.walked = lambda entries: iter(list(entries)[::-1])
    for path in ("a.txt", "b.log", "no/c.txt", "d/e.txt"):
        put(src, path)
    bench = Bench(remote(src, "memory/a"), local(tmp_path / "dst"), str(tmp_path / "state"))
    assert bench.sync(select=Only()).skipped == {"excluded": 1}
    assert tree(tmp_path / "dst") == {"a.txt": b"x", "d/e.txt": b"x"}


def test_a_name_listed_twice_is_found_out_where_names_fold(tmp_path):
    src = Fitted(remote=True, names=NameRules(case_sensitive=False))
    put(src, "a")
    src.walked = lambda entries: (entry for one in list(entries) for entry in (one, one))
    bench = Bench(remote(src, "memory/a"), local(tmp_path / "dst"), str(tmp_path / "state"))
    assert bench.sync().errors == {"listing_error": 1}


def test_folded_names_in_order_do_not_stop_the_listing():
    fold = Folding.of(Fitted(names=NameRules(case_sensitive=False)).features, Fitted().features)
    store = Fitted(remote=True)
    for path in ("A", "a", "B"):
        put(store, path)
    assert listing(store, key_of=fold.key_of())[0] == ["A", "a", "B"]


def test_the_memory_of_a_filter_is_bounded(monkeypatch):
    monkeypatch.setattr(scan, "_MEMO", 3)

    class All:
        def file(self, entry):
            return True

        def directory(self, path):
            return True

    store = Fitted(remote=True)
    for number in range(8):
        put(store, f"d{number}/f")
    assert len(listing(store, select=All())[0]) == 16


def test_closing_a_listing_ends_its_thread(monkeypatch):
    monkeypatch.setattr(scan, "_CHUNK", 1)
    store = Fitted(remote=True)
    for number in range(40):
        put(store, f"f{number}")
    one = scan.Scan(store, scan.How(), name="test")
    one.start()
    one.first()
    one.close()
    assert not one._thread.is_alive()


# ---- threads


def test_no_more_calls_at_once_than_threads_and_each_result_once():
    results = list(bounded(lambda number: 10 // number, range(5), threads=2))
    assert sorted((done.item, done.value) for done in results if done.error is None) == [
        (1, 10),
        (2, 5),
        (3, 3),
        (4, 2),
    ]
    assert [type(done.error) for done in results if done.error is not None] == [ZeroDivisionError]


def test_workers_drop_what_has_not_begun():
    import threading

    workers = Workers(1)
    begun, go, done = threading.Event(), threading.Event(), []

    def first():
        begun.set()
        go.wait(10)
        done.append(1)

    workers.submit(first)
    workers.submit(done.append, 2)
    begun.wait(10)
    workers._closed = True
    go.set()
    workers.close()
    assert done == [1]


# ---- comparisons beside the merge


def test_a_file_that_vanishes_while_it_is_compared_is_no_failure(up):
    make(here(up.src), {"f": b"1"})
    put(up.dst.store, "f", b"2")
    read = up.src.store.read

    def vanish(path, **how):
        (here(up.src) / path).unlink()
        return read(path, **how)

    up.src.store.read = vanish
    summary = up.sync()
    assert (summary.skipped, summary.errors) == ({"vanished": 1}, {})


@pytest.mark.parametrize("error", [NotFound("gone there"), PermissionDenied("no")])
def test_a_comparison_that_fails_is_a_failure_of_its_file(up, error):
    make(here(up.src), {"f": b"1", "g": b"2"})
    put(up.dst.store, "f", b"2")
    read = up.src.store.read

    def fail(path, **how):
        raise error

    up.src.store.read = fail
    assert up.sync().errors == {error.kind: 1}
    assert held(up.dst.store) == {"f": b"2", "g": b"2"}
    del read


def test_a_source_that_cannot_be_asked_any_more_is_a_failure(between):
    put(between.src.store, "f")

    def spoil(op, path):
        if op == "read":
            raise SourceChanged("changed")
        if op == "stat":
            raise PermissionDenied("no")

    between.src.store.before = spoil
    assert between.sync().errors == {"permission_denied": 1}


def test_a_comparison_whose_source_cannot_be_asked_any_more_is_a_failure(up):
    make(here(up.src), {"f": b"1"})
    put(up.dst.store, "f", b"2")

    def changed(path, **how):
        raise SourceChanged("changed")

    def unknown(path):
        raise PermissionDenied("no")

    up.src.store.read, up.src.store.stat = changed, unknown
    assert up.sync().errors == {"permission_denied": 1}


def test_a_merge_that_runs_far_ahead_waits_for_comparisons(up, monkeypatch):
    from cftool.transfer import beside

    monkeypatch.setattr(beside, "_WAITING", 2)
    files = {f"f{number}": b"1" for number in range(20)}
    make(here(up.src), files)
    for path in files:
        put(up.dst.store, path, b"2")
    assert up.sync(checkers=1).copied == 20


@pytest.mark.parametrize(
    ("error", "expected"), [(PermissionDenied("no"), {"permission_denied": 1}), (Unsupported("no"), {})]
)
def test_a_directory_that_cannot_be_made(up, error, expected):
    make(here(up.src), {"d": None, "f": b"1"})

    def refuse(op, path):
        if op == "mkdir":
            raise error

    up.dst.store.before = refuse
    summary = up.sync()
    assert summary.errors == expected
    assert summary.skipped == ({} if expected else {"empty": 1})


# ---- sides


def test_a_local_root_and_a_remote_do_not_overlap(tmp_path):
    src = Side(local(tmp_path).store, "/", "/", "/")
    sides.refuse(src, remote(Fitted()), Options(), delete=True)
    with pytest.raises(Refused):
        sides.refuse(src, local(tmp_path), Options(), delete=True)


def test_a_side_inside_the_other_passes_where_a_filter_excludes_it(tmp_path):
    class Except:
        def file(self, entry):
            return True

        def directory(self, path):
            return path != "backup"

    make(tmp_path / "a", {"f": b"1", "backup/old": b"2"})
    bench = Bench(local(tmp_path / "a"), local(tmp_path / "a" / "backup"), str(tmp_path / "state"))
    bench.sync(select=Except())
    assert tree(tmp_path / "a") == {"f": b"1", "backup/f": b"1"}
    back = Bench(local(tmp_path / "a" / "backup"), local(tmp_path / "a"), str(tmp_path / "state2"))
    assert back.sync(select=Except()).errors == {}
    with pytest.raises(Refused):
        back.sync(select=Except(), delete_excluded=True)
    assert back.copy().errors == {}


def test_following_links_needs_a_local_source(down):
    with pytest.raises(ConfigError):
        down.sync(links=Links.FOLLOW)


def test_a_side_of_an_opened_address_moves_its_key_and_root_along(tmp_path):
    import cftool.stack as stack_module
    from cftool.config.address import parse

    (tmp_path / "d" / "e").mkdir(parents=True)
    config = __import__("cftool.config.file", fromlist=["load"]).load(None, {"HOME": str(tmp_path)})
    opened = stack_module.open_address(
        parse(str(tmp_path / "d"), remotes=[]), config, context=stack_module.OpenContext(env={})
    )
    real = os.path.realpath(tmp_path)
    assert (sides.side(opened).key, sides.side(opened).local_root) == (f"{real}/d", f"{real}/d")
    below = sides.side(opened, opened.path + "/e")
    assert (below.key, below.local_root, below.base_path) == (f"{real}/d/e", f"{real}/d/e", opened.path + "/e")
    top = sides.side(opened, "")
    assert (top.key, top.local_root) == ("/", "/")
    elsewhere = dataclasses.replace(opened, key=f"host{opened.key}", local_root=None)
    far = sides.side(elsewhere, opened.path + "/e")
    assert (far.key, far.local_root) == (f"host{opened.key}/e", None)
    opened.store.close()


def test_an_empty_prefix_of_a_bucket_is_a_source_that_is_missing(tmp_path):
    store = Fitted(remote=True)
    store._features = dataclasses.replace(store.features, caps=store.features.caps | Cap.IMPLICIT_DIRS)

    def nothing(op, path):
        if op == "stat":
            raise NotFound("nothing below")

    store.before = nothing
    bench = Bench(remote(store), local(tmp_path / "dst"), str(tmp_path / "state"))
    make(tmp_path / "dst", {"f": b"1"})
    with pytest.raises(NotFound):
        bench.sync()
    assert tree(tmp_path / "dst") == {"f": b"1"}


def test_a_missing_destination_of_an_empty_source_is_made(tmp_path):
    bench = Bench(local(tmp_path / "src"), there(tmp_path / "dst"), str(tmp_path / "state"))
    assert bench.copy().errors == {}
    assert (tmp_path / "dst").is_dir()


def test_a_run_cancelled_from_the_start_does_nothing(up):
    make(here(up.src), {"f": b"1"})
    up.cancelled = lambda: True
    assert (up.sync().stopped, held(up.dst.store)) == ("interrupted", {})


def test_events_of_errors_that_are_not_ours_name_the_entry(up):
    make(here(up.src), {"f": b"1"})
    put(up.dst.store, "f", b"2")

    def bug(path, **how):
        raise ZeroDivisionError

    up.src.store.read = bug
    up.sync()
    assert [(event.path, event.kind, event.message) for event in up.told(Failed)] == [
        ("f", "error", "ZeroDivisionError")
    ]


def test_protocol_words():
    assert ProtocolError("x").kind == "protocol_error"
    assert BytesSource(b"1").size == 1
    assert Skipped("a", "link").reason in __import__("cftool.transfer.events", fromlist=["REASONS"]).REASONS
    assert Note("x").message == "x"


def refusing(op, at=""):
    """What a store does that does not permit `op`."""

    def before(name, path):
        if name == op and path.startswith(at):
            raise PermissionDenied("permission denied", op=name, path=path)

    return before


@pytest.mark.parametrize(
    ("side", "op", "said"),
    [("src", "read", "permission denied"), ("dst", "write", "permission denied at the destination")],
)
def test_it_is_told_at_which_side_a_copy_was_not_permitted(between, side, op, said):
    put(between.src.store, "f")
    getattr(between, side).store.before = refusing(op)
    between.copy()
    assert [(event.path, event.message) for event in between.told(Failed)] == [("f", said)]
    between.run(lambda src, dst, *rest: api.copy_file(src, "f", dst, "g", *rest))
    assert [event.message for event in between.told(Failed)] == [said]


def test_a_directory_that_cannot_be_listed_is_what_rm_names(between):
    put(between.src.store, "d/f")
    between.src.store.before = refusing("walk", "d")
    between.run(lambda src, _dst, *rest: api.remove_tree(src, "d", *rest))
    assert [(event.path, event.message) for event in between.told(Failed)] == [("d", "permission denied")]


def test_what_several_parts_of_a_run_meet_at_the_root_is_told_once(across, monkeypatch):
    def refuse(_self):
        raise PermissionDenied("permission denied", op="open")

    across.src.store.walk = across.src.store.scan = lambda _path: refuse(None)
    monkeypatch.setattr(Root, "identity", refuse)
    summary = across.sync()
    told = [(event.path, event.message, event.error.place) for event in across.told(Failed)]
    assert (told, summary.errors) == ([("", "permission denied", across.src.address)], {"permission_denied": 1})
