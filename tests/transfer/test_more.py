"""Single files, check, removal of trees, followed links, cleanup."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from cftool.core import hashing
from cftool.core.errors import InvalidName, IsADirectory, NotFound, PermissionDenied, Refused, StoreError
from cftool.core.types import Cap, Leftover, NameRules
from cftool.transfer import api, verify
from cftool.transfer.cleanup import Unfinished, killed_runs
from cftool.transfer.events import Copied, Deleted, Differs, Failed, Note, Skipped
from cftool.transfer.options import Links, Options, Verify
from tests.transfer.kit import T0, Bench, Fitted, held, local, make, put, remote, there, tree


def one(bench, src, dst, **options):
    bench.events.clear()
    return api.copy_file(bench.src, src, bench.dst, dst, Options(**options), bench.around(), bench.events.append)


def here(side) -> Path:
    return Path(side.local_root)


# ---- one file


def test_a_file_goes_to_exactly_the_name_that_was_said(up):
    make(here(up.src), {"a/f": b"data"})
    summary = one(up, "a/f", "x/y")
    assert held(up.dst.store) == {"x/y": b"data"}
    assert (summary.copied, summary.bytes) == (1, 4)
    assert one(up, "a/f", "x/y").compared_by == {"time": 1}
    assert up.told(Copied) == []


def test_a_file_comes_down_with_its_time(down):
    put(down.src.store, "f", b"data", T0)
    assert one(down, "f", "g", verify=Verify.READBACK).copied == 1
    assert tree(here(down.dst)) == {"g": b"data"}
    assert os.stat(here(down.dst) / "g").st_mtime_ns == T0


def test_a_file_between_stores(between):
    put(between.src.store, "f", b"new", T0)
    put(between.dst.store, "g", b"old", T0 + 5)
    assert one(between, "f", "g", update=True).skipped == {"newer": 1}
    assert one(between, "f", "g", ignore_existing=True).skipped == {"existing": 1}
    assert one(between, "f", "h", existing=True).skipped == {"existing": 1}
    assert one(between, "f", "g", max_transfer=2).stopped == "max-transfer"
    assert one(between, "f", "g", dry_run=True).to_do == 1
    assert held(between.dst.store) == {"g": b"old"}
    assert one(between, "f", "g").copied == 1
    assert held(between.dst.store) == {"g": b"new"}


def test_what_is_no_file_is_refused_by_its_name(up):
    make(here(up.src), {"d": None, "f": b"1"})
    os.symlink("f", here(up.src) / "link")
    up.dst.store.inner.mkdir("taken")
    with pytest.raises(IsADirectory):
        one(up, "d", "x")
    with pytest.raises(IsADirectory):
        one(up, "f", "taken")
    with pytest.raises(NotFound):
        one(up, "missing", "x")
    with pytest.raises(Refused):
        api.copy_file(up.src, "f", up.src, "f", Options(), up.around(), up.events.append)
    assert one(up, "link", "x").errors == {"unsupported": 1}
    up.dst.store._features = __import__("dataclasses").replace(up.dst.store.features, names=NameRules(forbidden=":"))
    with pytest.raises(InvalidName):
        one(up, "f", "a:b")


@pytest.mark.parametrize("fails", [1, 9])
def test_a_file_that_changes_meanwhile_is_tried_anew(between, fails):
    from cftool.core.errors import IntegrityError

    put(between.src.store, "f", b"1")
    count = 0

    def spoil(op, path):
        nonlocal count
        count += op == "write"
        if op == "write" and count <= fails:
            raise IntegrityError("flipped")

    between.dst.store.before = spoil
    summary = one(between, "f", "g")
    assert (summary.copied, count) == ((1, 2) if fails == 1 else (0, 3))


def test_read_back_of_one_file(between):
    put(between.src.store, "f", b"1")
    between.dst.store.before = lambda op, path: put(between.dst.store, "g", b"?") if op == "read" else None
    assert one(between, "f", "g", verify=Verify.READBACK, retries=1).errors == {"precondition_failed": 1}

    def unreadable(op, path):
        if op == "read":
            raise PermissionDenied("no")

    between.dst.store.before = unreadable
    assert one(between, "f", "h", verify=Verify.READBACK).errors == {"permission_denied": 1}


# ---- check


def test_check_tells_each_kind_of_difference(up):
    make(here(up.src), {"same": b"1", "size": b"12", "content": b"a", "only-a": b"1", "kind": b"1"})
    for path, data in (("same", b"1"), ("size", b"1"), ("content", b"b"), ("only-b", b"1"), ("kind/f", b"1")):
        put(up.dst.store, path, data)
    up.src.store  # noqa: B018
    summary = up.check()
    assert {(event.sign, event.path, event.detail) for event in up.told(Differs)} == {
        ("*", "size", "size"),
        ("*", "content", "content"),
        ("+", "only-a", ""),
        ("+", "kind", ""),
        ("-", "only-b", ""),
        ("-", "kind/f", ""),
    }
    assert (summary.differences, summary.checked, summary.compared_by) == (6, 3, {"hash": 2, "size": 1})
    assert {event.sign for event in _one_way(up)} == {"*", "+"}


def _one_way(bench):
    bench.check(one_way=True)
    return bench.told(Differs)


def test_check_finds_content_that_differs_under_one_size_and_time(across):
    make(here(across.src), {"f": b"a"}, T0)
    make(here(across.dst), {"f": b"b"}, T0)
    assert across.check().differences == 1


def test_check_without_hashes_says_so_and_downloads_where_it_is_asked_to(tmp_path):
    def plain(name, data):
        store = Fitted(remote=True, hashes=frozenset())
        store.listed = lambda entry: entry._replace(hashes={})
        put(store, "f", data)
        return remote(store, name)

    bench = Bench(plain("a", b"1"), plain("b", b"2"), None)
    assert (bench.check().differences, bench.check().compared_by) == (0, {"size_only": 1})
    assert bench.told(Note)
    assert bench.check(download=True).differences == 1


def test_check_asks_for_a_hash_that_the_listing_does_not_carry(up):
    make(here(up.src), {"f": b"a"})
    put(up.dst.store, "f", b"b")
    up.dst.store.listed = lambda entry: entry._replace(hashes={})
    summary = up.check()
    assert (summary.differences, summary.compared_by) == (1, {"request": 1})


def test_check_reports_what_it_could_not_read(up):
    make(here(up.src), {"f": b"a", "g": b"a"})
    put(up.dst.store, "f", b"a")
    put(up.dst.store, "g", b"a")

    def refuse(op, path):
        if op == "read" and path == "f":
            raise PermissionDenied("no")

    up.dst.store.before = refuse
    summary = up.check(download=True)
    assert (summary.errors, summary.checked) == ({"permission_denied": 1}, 1)
    assert [(event.sign, event.path) for event in up.told(Differs)] == [("!", "f")]


def test_check_tells_differences_in_the_order_of_the_names_whichever_comparison_ends_first(up):
    """Some are known by their size, some by a link, some only when a slow server has sent the bytes."""
    names = [f"{number:02}" for number in range(20)]
    make(here(up.src), {name: b"1" for name in names if name != "07"})
    os.symlink("00", here(up.src) / "03-link")
    for name in names:
        put(up.dst.store, name, {"04": b"longer", "05": b"1"}.get(name, b"2"))
    last = threading.Event()

    def slow(op, path):
        if op == "read" and path == "00":
            assert last.wait(60)
        elif op == "read" and path == "19":
            last.set()

    up.dst.store.before = slow
    for _ in range(2):
        last.clear()
        summary = up.check(download=True, checkers=4)
        assert [event.path for event in up.told((Differs, Skipped))] == sorted({*names, "03-link"} - {"05"})
        assert (summary.differences, summary.skipped) == (19, {"link": 1})


def test_check_that_is_interrupted_compares_nothing_of_what_waits_for_its_turn(up, monkeypatch):
    make(here(up.src), {f"{number:02}": b"1" for number in range(50)})
    for number in range(50):
        put(up.dst.store, f"{number:02}", b"2")
    read, stopped, queued = [], threading.Event(), threading.Event()
    up.cancelled = stopped.is_set
    real = verify.Check._step

    def step(self, a, b):
        if a.path == "05":  # some wait by then
            queued.set()
        return real(self, a, b)

    def stop(op, path):
        if op == "read":
            read.append(path)
            assert queued.wait(60)
            stopped.set()

    monkeypatch.setattr(verify.Check, "_step", step)
    up.dst.store.before = stop
    summary = up.check(download=True, checkers=2)
    assert (summary.stopped, summary.errors, len(read) <= 2) == ("interrupted", {}, True)


def test_check_of_a_missing_side(up):
    make(here(up.src), {"f": b"a"})
    gone = there(here(up.src).parent / "gone")
    assert Bench(up.src, gone, None).check().differences == 1
    with pytest.raises(NotFound):
        Bench(gone, up.src, None).check()


def test_check_of_a_listing_that_fails_is_an_error(up):
    make(here(up.src), {"f": b"a"})

    def cut(entries):
        raise StoreError("cut")
        yield

    up.dst.store.walked = cut
    assert up.check().errors == {"store_error": 1}


def test_check_can_be_interrupted(up):
    make(here(up.src), {"f": b"a"})
    up.cancelled = lambda: True
    assert up.check().stopped == "interrupted"


def test_check_skips_links_and_tells_twins(tmp_path):
    folding = Fitted(remote=True, names=NameRules(case_sensitive=False))
    bench = Bench(local(tmp_path / "a"), remote(folding), None)
    make(tmp_path / "a", {"X": b"1", "x": b"2"})
    os.symlink("X", tmp_path / "a" / "link")
    summary = bench.check()
    assert {(event.sign, event.path) for event in bench.told(Differs)} == {("!", "X"), ("!", "x")}
    assert summary.skipped == {"link": 1}


def test_names_that_look_alike_are_told_apart(tmp_path):
    folding = Fitted(remote=True, names=NameRules(case_sensitive=False, unicode_form="NFC"))
    bench = Bench(local(tmp_path / "a"), remote(folding), None)
    make(tmp_path / "a", {"X": b"1", "x": b"2", "caf\u00e9": b"1", "cafe\u0301": b"2"})
    assert bench.sync().errors == {"already_exists": 4}
    assert {event.path: event.message.rpartition("tell it from ")[2] for event in bench.told(Failed)} == {
        "X": "x",
        "x": "X",
        "caf\u00e9": r"cafe\u0301, the same letters in another Unicode form",
        "cafe\u0301": r"caf\xe9, the same letters in another Unicode form",
    }


# ---- removal


def remove(bench, path, **options):
    bench.events.clear()
    return api.remove_tree(bench.dst, path, Options(**options), bench.around(), bench.events.append)


@pytest.mark.parametrize("way", ["up", "between", "across"])
def test_a_tree_is_removed_whole(way, request):
    bench = request.getfixturevalue(way)
    files = {"t/a": b"1", "t/b/c": b"2", "t/b/d/e": b"3", "stays": b"4", "t-not": b"5"}
    if bench.dst.local_root:
        make(here(bench.dst), files)
    else:
        for path, data in files.items():
            put(bench.dst.store, path, data)
    assert remove(bench, "t", dry_run=True).to_do == 6
    summary = remove(bench, "t")
    assert {event.path for event in bench.told(Deleted)} == {"t", "t/a", "t/b", "t/b/c", "t/b/d", "t/b/d/e"}
    assert summary.deleted == 6
    left = tree(here(bench.dst)) if bench.dst.local_root else held(bench.dst.store)
    assert left == {"stays": b"4", "t-not": b"5"}


def test_a_file_is_removed_and_a_missing_one_is_not_found(up):
    put(up.dst.store, "f")
    assert remove(up, up.dst.store.stat("f")).deleted == 1
    with pytest.raises(NotFound):
        remove(up, "f")


def test_what_cannot_be_removed_is_named_and_its_directory_stays(between):
    put(between.dst.store, "t/a")
    put(between.dst.store, "t/b")

    def refuse(op, path):
        if op == "delete" and path == "t/a":
            raise PermissionDenied("no")

    between.dst.store.before = refuse
    assert remove(between, "t").errors == {"permission_denied": 1}
    assert held(between.dst.store) == {"t/a": b"x"}


def test_removal_can_be_interrupted(up):
    for number in range(5):
        put(up.dst.store, f"t/{number}")
    up.cancelled = lambda: up.dst.store.calls["delete"] >= 2
    assert remove(up, "t").stopped == "interrupted"
    assert len(held(up.dst.store)) == 3


# ---- links that are followed


def test_links_are_followed_where_it_is_asked_for(up, tmp_path):
    make(tmp_path / "elsewhere", {"x": b"1", "deep/y": b"2"})
    make(here(up.src), {"f": b"0", "z": b"9"})
    os.symlink(tmp_path / "elsewhere", here(up.src) / "dir")
    os.symlink("f", here(up.src) / "file")
    assert up.sync(links=Links.FOLLOW).copied == 5
    assert held(up.dst.store) == {"f": b"0", "z": b"9", "file": b"0", "dir/x": b"1", "dir/deep/y": b"2"}
    assert up.sync(links=Links.FOLLOW).compared_by == {"state": 5}
    os.unlink(tmp_path / "elsewhere" / "x")
    assert up.sync(links=Links.FOLLOW).deleted == 1


def test_a_followed_link_that_leads_nowhere_is_an_error_by_name_and_nothing_is_deleted(up):
    make(here(up.src), {"f": b"0"})
    os.symlink("nowhere", here(up.src) / "broken")
    put(up.dst.store, "old")
    summary = up.sync(links=Links.FOLLOW)
    assert {(event.path, event.message) for event in up.told(Failed)} == {("broken", "the link leads nowhere")}
    assert held(up.dst.store) == {"f": b"0", "old": b"x"}
    assert (summary.withheld, summary.skipped) == (1, {})


def test_followed_links_that_go_in_circles_are_one_error_and_nothing_is_deleted(up):
    make(here(up.src), {"d/f": b"0"})
    os.symlink(".", here(up.src) / "d" / "self")
    os.symlink("..", here(up.src) / "d" / "up")
    os.symlink("loop", here(up.src) / "loop")
    put(up.dst.store, "old")
    summary = up.sync(links=Links.FOLLOW)
    assert {event.path for event in up.told(Failed)} == {"d/self", "d/up", "loop"}
    assert held(up.dst.store) == {"d/f": b"0", "old": b"x"}
    assert summary.withheld == 1


# ---- what killed runs leave


def test_temps_of_a_killed_run_are_swept_by_the_next(across):
    from cftool.disk import writer
    from cftool.disk.root import Root

    make(here(across.src), {"f": b"1"})
    mark = Unfinished(across.state_dir, across.dst.key)
    with Root(here(across.dst)) as root:
        draft = writer.draft(root, "f")
        os.close(draft.fd)  # as the kernel does at death
        draft.fd = -1
    left = list(os.listdir(here(across.dst)))
    assert len(left) == 1
    across.sync()
    assert set(os.listdir(here(across.dst))) == {*left, "f"}  # its run still lives
    mark.end(clean=False)
    across.sync()
    assert os.listdir(here(across.dst)) == ["f"]
    assert killed_runs(across.state_dir, across.dst.key) == []
    assert "1 temporary file" in across.told(Note)[0].message


def test_marks_concern_runs_at_above_and_below(tmp_path):
    state = str(tmp_path)
    assert killed_runs(state, "x") == []
    Unfinished(state, "a/b").end(clean=False)
    Unfinished(state, "a/b").end(clean=True)
    assert [len(killed_runs(state, key)) for key in ("a", "a/b", "a/b/c", "a/bc", "b")] == [1, 1, 1, 0, 0]


class Sessions(Fitted):
    def __init__(self):
        super().__init__(remote=True)
        self._features = __import__("dataclasses").replace(self._features, caps=self._features.caps | Cap.LEFTOVERS)
        self.sessions = [Leftover("mine", "1", own=True, size=5), Leftover("theirs", "2")]

    def leftovers(self, path, *, older_than=None):
        return iter([one for one in self.sessions if one.own or older_than is not None])

    def remove_leftover(self, leftover):
        self._call("remove_leftover", leftover.path)
        self.sessions.remove(leftover)


def test_unfinished_uploads_of_a_killed_run_are_aborted_by_the_next(tmp_path):
    store = Sessions()
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    bench.sync()
    assert len(store.sessions) == 2
    Unfinished(bench.state_dir, bench.dst.key).end(clean=False)
    bench.sync()
    assert [one.path for one in store.sessions] == ["theirs"]


def test_cleanup_tells_of_each(tmp_path):
    store = Sessions()
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))

    def run(**how):
        options = Options(dry_run=how.pop("dry_run", False))
        return api.cleanup(bench.dst, options, bench.around(), bench.events.append, **how)

    assert run(dry_run=True).to_do == 1
    assert run().deleted == 1
    assert run(older_than=7.0).deleted == 1
    store.sessions.append(Leftover("stuck", "3", own=True))

    def refuse(op, path):
        raise PermissionDenied("no")

    store.before = refuse
    assert run().errors == {"permission_denied": 1}
    bench.cancelled = lambda: True
    assert run().stopped == "interrupted"


def test_cleanup_of_a_local_tree_removes_dead_temps_only(across):
    from cftool.disk import writer
    from cftool.disk.root import Root

    with Root(here(across.dst)) as root:
        dead, alive = writer.draft(root, "a"), writer.draft(root, "b")
        os.close(dead.fd)
        dead.fd = -1
        across.events.clear()
        summary = api.cleanup(across.dst, Options(), across.around(), across.events.append)
        assert summary.deleted == 1
        assert os.listdir(here(across.dst)) == [alive.temp]
        alive.discard()


def test_skipped_reasons_are_words_of_the_contract(up):
    from cftool.transfer.events import REASONS

    assert {event.reason for event in up.told(Skipped)} <= set(REASONS)


@pytest.mark.parametrize(("verified", "times"), [(True, 0), (False, 1)])
def test_what_a_store_has_verified_is_not_hashed_again(down, monkeypatch, verified, times):
    down.src.store._features = replace(down.src.store.features, verified_reads=verified)
    put(down.src.store, "f", b"data")
    hashed = []
    monkeypatch.setattr(hashing, "mismatch", lambda data, hashes: hashed.append(data))
    assert down.copy().copied == 1
    assert len(hashed) == times
