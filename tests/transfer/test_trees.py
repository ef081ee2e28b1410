"""Whole runs between trees: what is there afterwards, what a second run costs, what was told."""

import os

import pytest

from cftool.core.errors import NotFound, Refused
from cftool.core.types import Cap
from cftool.transfer.events import Copied, Deleted, Failed, MadeDirectory, Skipped, Summary
from tests.transfer.kit import T0, Bench, Fitted, held, local, make, put, remote, tree

TREE = {
    "a.txt": b"alpha",
    "a/one": b"1",
    "a/two": b"22",
    "a-b": b"dash",
    "deep/er/file": b"deep",
    "empty": None,
    "zero": b"",
    "ümläut": b"u",
}


def _src(bench: Bench):
    return __import__("pathlib").Path(bench.src.local_root)


def _dst(bench: Bench):
    return __import__("pathlib").Path(bench.dst.local_root)


def test_an_upload_brings_every_file_and_empty_directory(up):
    make(_src(up), TREE)
    summary = up.sync()
    assert held(up.dst.store) == TREE
    assert (summary.copied, summary.errors, summary.made_directories) == (7, {}, 1)
    assert up.events[-1] == summary


def test_uploaded_files_keep_their_times(up):
    make(_src(up), {"f": b"x"}, modified_ns=T0 + 123456789)
    up.sync()
    assert up.dst.store.inner.stat("f").modified_ns == T0 + 123456789


def test_a_second_upload_lists_and_does_nothing_else(up):
    make(_src(up), TREE)
    up.sync()
    up.dst.store.calls.clear()
    summary = up.sync()
    assert dict(up.dst.store.calls) == {"walk": 1}
    assert (summary.copied, summary.compared_by) == (0, {"state": 7})


def test_a_second_upload_from_another_machine_costs_hashes_of_local_files_only(up, tmp_path):
    make(_src(up), TREE)
    up.sync()
    up.dst.store.calls.clear()
    up.state_dir = str(tmp_path / "elsewhere")
    summary = up.sync()
    assert set(up.dst.store.calls) == {"walk"}
    assert (summary.copied, summary.compared_by) == (0, {"hash": 7})
    assert up.sync().compared_by == {"state": 7}


def test_a_download_brings_every_file_and_empty_directory(down):
    for path, data in TREE.items():
        if data is None:
            down.src.store.inner.mkdir(path)
        else:
            put(down.src.store, path, data)
    summary = down.sync()
    assert tree(_dst(down)) == TREE
    assert summary.copied == 7
    assert os.stat(_dst(down) / "a.txt").st_mtime_ns == T0


def test_a_second_download_lists_and_does_nothing_else(down, tmp_path):
    for path, data in TREE.items():
        if data is not None:
            put(down.src.store, path, data)
    down.sync()
    down.src.store.calls.clear()
    assert down.sync().compared_by == {"state": 7}
    assert set(down.src.store.calls) == {"walk"}
    down.state_dir = str(tmp_path / "elsewhere")
    assert down.sync().compared_by == {"hash": 7}
    assert set(down.src.store.calls) == {"walk"}


def test_local_to_local_compares_by_time_without_state(across, tmp_path):
    make(_src(across), TREE)
    across.sync()
    assert tree(_dst(across)) == TREE
    across.state_dir = str(tmp_path / "elsewhere")
    assert across.sync().compared_by == {"time": 7}
    assert across.sync().compared_by == {"state": 7}


def test_between_two_stores_without_batches(between):
    for path, data in TREE.items():
        if data is not None:
            put(between.src.store, path, data)
    put(between.dst.store, "old/gone", b"1")
    summary = between.sync()
    assert held(between.dst.store) == {path: data for path, data in TREE.items() if data is not None}
    assert (summary.copied, summary.deleted) == (7, 2)
    assert between.sync().compared_by == {"state": 7}


def test_one_service_copies_by_itself(tmp_path):
    store = Fitted(remote=True)
    put(store, "from/f", b"data")
    put(store, "from/d/g", b"more")
    store.inner.mkdir("to")
    from cftool.wrap.prefix import PrefixStore

    def side(name):
        return __import__("dataclasses").replace(
            remote(PrefixStore(store, name), f"memory/{name}"), base=store, base_path=name
        )

    bench = Bench(side("from"), side("to"), str(tmp_path / "state"))
    summary = bench.sync()
    assert (held(store)["to/f"], held(store)["to/d/g"]) == (b"data", b"more")
    assert store.calls["read"] == store.calls["write"] == 0
    assert [event.server_side for event in bench.told(Copied)] == [True, True]
    assert summary.copied == 2


def test_sync_deletes_what_the_source_lacks(up):
    make(_src(up), {"keep": b"1", "dir/keep": b"2"})
    for path in ("gone", "dir/gone", "away/x", "away/y/z"):
        put(up.dst.store, path)
    summary = up.sync()
    assert held(up.dst.store) == {"keep": b"1", "dir/keep": b"2"}
    assert summary.deleted == 6
    assert {(event.path, event.is_dir) for event in up.told(Deleted)} == {
        ("gone", False),
        ("dir/gone", False),
        ("away/x", False),
        ("away/y/z", False),
        ("away", True),
        ("away/y", True),
    }


def test_copy_deletes_nothing(up):
    make(_src(up), {"keep": b"1"})
    put(up.dst.store, "other")
    summary = up.copy()
    assert held(up.dst.store) == {"keep": b"1", "other": b"x"}
    assert (summary.deleted, summary.withheld) == (0, 0)


def test_a_changed_file_is_copied_and_an_equal_one_is_not(up):
    make(_src(up), {"same": b"1", "size": b"long", "content": b"aa"})
    for path, data in (("same", b"1"), ("size", b"l"), ("content", b"bb")):
        put(up.dst.store, path, data)
    summary = up.sync()
    assert {event.path for event in up.told(Copied)} == {"size", "content"}
    assert summary.compared_by == {"size": 1, "hash": 2}


def test_a_dry_run_tells_the_same_and_changes_nothing(up, tmp_path):
    make(_src(up), {"new": b"1", "empty": None})
    put(up.dst.store, "old")
    summary = up.sync(dry_run=True)
    assert held(up.dst.store) == {"old": b"x"}
    assert summary.to_do == 3
    assert [event.dry_run for event in up.told((Copied, Deleted, MadeDirectory))] == [True] * 3
    assert not (tmp_path / "state" / "pairs").exists()
    assert up.sync().copied == 1


def test_a_missing_source_is_not_found(tmp_path, up):
    os.rmdir(_src(up))
    put(up.dst.store, "f")
    with pytest.raises(NotFound):
        up.sync()
    assert held(up.dst.store) == {"f": b"x"}


@pytest.mark.parametrize(("a", "b"), [("x", "x"), ("x", "x/y"), ("x/y", "x")])
def test_sides_that_overlap_are_refused(tmp_path, a, b):
    src, dst = local(tmp_path / a), local(tmp_path / b)
    make(tmp_path / a, {"f": b"1"})
    with pytest.raises(Refused):
        Bench(src, dst, str(tmp_path / "state")).sync()


def test_links_and_special_files_are_skipped_and_counted(up):
    make(_src(up), {"f": b"1"})
    os.symlink("f", _src(up) / "link")
    os.mkfifo(_src(up) / "pipe")
    put(up.dst.store, "link", b"kept")
    put(up.dst.store, "pipe/in", b"kept")
    summary = up.sync()
    assert summary.skipped == {"link": 1, "special": 1}
    assert {(event.path, event.reason) for event in up.told(Skipped)} == {("link", "link"), ("pipe", "special")}
    assert held(up.dst.store) == {"f": b"1", "link": b"kept", "pipe/in": b"kept"}


def test_a_link_at_the_destination_stays(across):
    make(_src(across), {"f": b"1"})
    os.symlink("/etc", _dst(across) / "out")
    summary = across.sync()
    assert os.path.islink(_dst(across) / "out")
    assert summary.errors == {}


def test_a_file_replaces_a_link_of_its_name_and_not_what_it_points_to(across, tmp_path):
    (tmp_path / "outside").write_bytes(b"outside")
    make(_src(across), {"f": b"new"})
    os.symlink(tmp_path / "outside", _dst(across) / "f")
    across.sync()
    assert (tmp_path / "outside").read_bytes() == b"outside"
    assert tree(_dst(across)) == {"f": b"new"}
    assert not os.path.islink(_dst(across) / "f")


@pytest.mark.parametrize("way", ["up", "across", "between"])
def test_a_file_over_a_directory_is_replaced_by_sync_only(way, request):
    bench = request.getfixturevalue(way)
    place(bench.src, {"x": b"file", "x-y": b"between", "z": b"z"})
    place(bench.dst, {"x/in/side": b"1", "x/file": b"2", "x-y": b"between", "z": b"z"})
    summary = bench.copy()
    assert summary.errors == {"is_a_directory": 1}
    assert contents(bench.dst) == {"x/in/side": b"1", "x/file": b"2", "x-y": b"between", "z": b"z"}
    summary = bench.sync()
    assert contents(bench.dst) == {"x": b"file", "x-y": b"between", "z": b"z"}
    assert summary.errors == {}
    assert {event.path for event in bench.told(Deleted)} == {"x", "x/in", "x/in/side", "x/file"}


@pytest.mark.parametrize("way", ["up", "across", "between"])
def test_a_directory_over_a_file_is_replaced_by_sync_only(way, request):
    bench = request.getfixturevalue(way)
    place(bench.src, {"x/in/side": b"1", "x/file": b"2", "x-y": b"between"})
    place(bench.dst, {"x": b"old", "x-y": b"between"})
    assert bench.copy().errors != {}
    assert contents(bench.dst)["x"] == b"old"
    summary = bench.sync()
    assert contents(bench.dst) == {"x/in/side": b"1", "x/file": b"2", "x-y": b"between"}
    assert summary.errors == {}
    assert (summary.copied, summary.deleted) == (2, 1)


def place(side, files):
    if side.local_root is not None:
        make(__import__("pathlib").Path(side.local_root), files)
    else:
        for path, data in files.items():
            put(side.store, path, data)


def contents(side):
    if side.local_root is not None:
        return tree(__import__("pathlib").Path(side.local_root))
    return held(side.store)


def test_a_name_that_the_destination_cannot_hold_fails_by_name_and_withholds_deletions(tmp_path):
    from cftool.core.types import NameRules

    store = Fitted(remote=True, names=NameRules(forbidden=":"))
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    make(tmp_path / "src", {"a:b": b"1", "ok": b"2", "d:r": None})
    put(store, "old")
    summary = bench.sync()
    assert held(store) == {"ok": b"2", "old": b"x"}
    assert {(event.path, event.kind) for event in bench.told(Failed)} == {
        ("a:b", "invalid_name"),
        ("d:r", "invalid_name"),
    }
    assert summary.withheld == 1


def test_the_last_event_is_the_summary_and_totals_are_complete(up):
    from cftool.transfer.events import Scanned

    make(_src(up), TREE)
    summary = up.sync()
    assert isinstance(up.events[-1], Summary)
    assert up.events[-1] is summary
    assert up.told(Scanned)[-1] == Scanned(7, 17, 7, 17, True)


def test_empty_directories_are_not_made_where_the_destination_has_none(tmp_path):
    store = Fitted(remote=True, without=Cap.EMPTY_DIRS)
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    make(tmp_path / "src", {"empty": None, "f": b"1"})
    summary = bench.sync()
    assert (summary.made_directories, summary.skipped, summary.errors) == (0, {"empty": 1}, {})
    assert held(store) == {"f": b"1"}
