"""mv: what is at the destination goes at the source, by rename or copy; nothing is ever at neither."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cftool.core.errors import (
    AlreadyExists,
    ConfigError,
    ConnectionFailed,
    IsADirectory,
    Locked,
    NotADirectory,
    NotFound,
    PermissionDenied,
    Refused,
    Unsupported,
)
from cftool.core.types import Cap, Kind, NameRules
from cftool.disk.locks import lock_tree
from cftool.testing.crash import every_death
from cftool.transfer import api, moving, shift
from cftool.transfer.events import Copied, Moved
from cftool.transfer.options import Links, Options, Side, Verify
from cftool.wrap.prefix import PrefixStore
from tests.transfer.kit import T0, Bench, Fitted, held, local, make, put, remote, there, tree


def here(side) -> Path:
    return Path(side.local_root)


def move(bench, **options):
    return bench.run(api.move, **options)


def one(bench, src, dst, **options):
    bench.events.clear()
    return api.move_file(bench.src, src, bench.dst, dst, Options(**options), bench.around(), bench.events.append)


class Account:
    """One store with both sides in it, as a service has them."""

    def __init__(self, **features):
        self.store = Fitted(remote=True, **features)
        self.store._features = replace(self.store.features, identity="memory/account")

    def side(self, path):
        return Side(PrefixStore(self.store, path), f"work:{path}", f"memory/account/{path}", None, self.store, path)

    def bench(self, tmp_path, src="a", dst="b"):
        return Bench(self.side(src), self.side(dst), str(tmp_path / "state"))


KINDS = ["local", "two disks", "up", "down", "service moves", "service copies", "service moves files", "between"]


@pytest.fixture(params=KINDS)
def bench(request, tmp_path, monkeypatch):
    """Every pair of sides that differs in the way of moving."""
    kind = request.param
    if kind == "two disks":
        real = os.rename

        def rename(src, dst, **how):
            if how.get("src_dir_fd") is not None and not str(src).startswith(".cftool-"):
                raise OSError(18, "Invalid cross-device link")
            return real(src, dst, **how)

        monkeypatch.setattr(os, "rename", rename)
    if kind in {"local", "two disks"}:
        return Bench(local(tmp_path / "src"), there(tmp_path / "dst"), str(tmp_path / "state"))
    if kind in {"up", "down", "between"}:
        return request.getfixturevalue(kind)
    without = {
        "service moves": Cap.NONE,
        "service copies": Cap.MOVE | Cap.MOVE_DIR,
        "service moves files": Cap.MOVE_DIR,
    }
    return Account(without=without[kind]).bench(tmp_path)


def fill(side, files, when=T0):
    if side.local_root is not None:
        here(side).mkdir(exist_ok=True)
        make(here(side), files, when)
        return
    for path, data in files.items():
        if data is None:
            side.store.mkdir(path)
        elif isinstance(side.store, PrefixStore):
            put(side.store.inner, f"{side.store.prefix}/{path}", data, when)
        else:
            put(side.store, path, data, when)


def seen(side):
    if side.local_root is not None:
        return tree(here(side)) if here(side).exists() else "gone"
    if isinstance(side.store, PrefixStore):
        lead = side.store.prefix + "/"
        found = {path[len(lead) :]: data for path, data in held(side.store.inner).items() if path.startswith(lead)}
        return found or ("gone" if side.store.prefix not in held(side.store.inner) else {})
    return held(side.store)


FILES = {"f": b"1", "d/g": b"22", "d/e/h": b"333"}


def gone(side):
    return seen(side) in ("gone", {})


def test_a_tree_changes_its_place(bench):
    fill(bench.src, {**FILES, "empty": None})
    summary = move(bench)
    assert (seen(bench.dst), gone(bench.src)) == ({**FILES, "empty": None}, True)
    assert (summary.errors, summary.moved > 0) == ({}, True)


def test_a_tree_merges_into_one_that_is_there(bench):
    fill(bench.src, FILES)
    fill(bench.dst, {"f": b"older", "mine": b"m", "d/g": b"22"})
    summary = move(bench)
    assert (seen(bench.dst), gone(bench.src)) == ({**FILES, "mine": b"m"}, True)
    assert summary.errors == {}
    assert {event.path for event in bench.told(Moved)} == set(FILES)


def test_a_second_run_finishes_what_a_killed_one_began(bench):
    fill(bench.src, FILES)
    fill(bench.dst, FILES)
    summary = move(bench)
    assert (seen(bench.dst), gone(bench.src), summary.errors) == (FILES, True, {})


def test_one_file(bench):
    fill(bench.src, {"f": b"1"})
    fill(bench.dst, {"other": b"o"})
    summary = one(bench, "f", "deep/g")
    assert (summary.moved, summary.errors) == (1, {})
    assert (seen(bench.dst), gone(bench.src)) == ({"deep/g": b"1", "other": b"o"}, True)
    assert [(event.path, event.to) for event in bench.told(Moved)] == [("f", "deep/g")]


@pytest.mark.parametrize("data", [b"1", b"older"])
def test_one_file_over_another(bench, data):
    fill(bench.src, {"f": b"1"})
    fill(bench.dst, {"g": data})
    assert one(bench, "f", "g", trash=".cftool-trash" if data == b"older" else None).errors == {}
    left = seen(bench.dst)
    assert (left.pop("g"), gone(bench.src)) == (b"1", True)
    assert list(left.values()) == ([b"older"] if data == b"older" else [])


def test_a_dry_run_moves_nothing(bench):
    fill(bench.src, FILES)
    before = seen(bench.src)
    assert move(bench, dry_run=True).to_do > 0
    fill(bench.dst, {"f": b"1"})
    summary = move(bench, dry_run=True)
    assert (summary.moved, summary.copied, summary.to_do) == (3, 0, 3)
    assert one(bench, "f", "g", dry_run=True).moved == 1
    assert one(bench, "f", "f", dry_run=True).moved == 1
    assert (seen(bench.src), seen(bench.dst)) == (before, {"f": b"1"})


def test_read_back_and_a_suffix(bench):
    fill(bench.src, FILES)
    fill(bench.dst, {"f": b"older"})
    assert move(bench, verify=Verify.READBACK, suffix="~").errors == {}
    assert (seen(bench.dst), gone(bench.src)) == ({**FILES, "f~": b"older"}, True)


def test_what_is_skipped_stays(bench):
    fill(bench.src, FILES)
    fill(bench.dst, {"f": b"older"})
    assert move(bench, ignore_existing=True).skipped == {"existing": 1}
    assert (seen(bench.src), seen(bench.dst)) == ({"f": b"1"}, {**FILES, "f": b"older"})
    assert one(bench, "f", "new", existing=True).skipped == {"existing": 1}
    assert one(bench, "f", "f", ignore_existing=True).skipped == {"existing": 1}
    assert seen(bench.src) == {"f": b"1"}
    assert move(bench, existing=True).errors == {}
    assert (seen(bench.dst), gone(bench.src)) == (FILES, True)


def test_a_limit_leaves_the_rest(bench):
    fill(bench.src, {"a": b"1", "b": b"22"})
    summary = move(bench, max_transfer=2)
    assert summary.stopped == "max-transfer"
    assert (seen(bench.src), seen(bench.dst)) == ({"b": b"22"}, {"a": b"1"})


def test_an_interrupted_run_removes_nothing(bench):
    fill(bench.src, FILES)
    fill(bench.dst, {"f": b"1"})
    bench.cancelled = lambda: True
    assert move(bench).stopped == "interrupted"
    assert seen(bench.src) == FILES


# ---- a source file goes only while it is what was copied


@pytest.fixture(params=["batches", "singles"])
def pair(request, tmp_path):
    """Two stores that nothing but copying connects."""
    without = Cap.NONE if request.param == "batches" else Cap.DELETE_MANY
    a, b = (Fitted(remote=True, without=without) for _ in range(2))
    return Bench(remote(a, "memory/a"), remote(b, "memory/b"), str(tmp_path / "state"))


def test_a_source_that_changed_after_it_was_copied_stays(pair):
    fill(pair.src, {"f": b"1", "g": b"2"})
    pair.dst.store.before = lambda op, path: put(pair.src.store, "f", b"newer") if path == "g" else None
    summary = move(pair, transfers=1)
    assert summary.errors == {"source_changed": 1}
    assert (seen(pair.src), seen(pair.dst)) == ({"f": b"newer"}, {"f": b"1", "g": b"2"})


def test_a_source_that_is_gone_by_then_is_moved(pair):
    fill(pair.src, {"f": b"1", "g": b"2", "d/h": b"3"})

    def vanish(op, path):
        if op == "write" and path == "g":
            pair.src.store.inner.delete("f")
            pair.src.store.inner.delete("d/h")
            pair.src.store.inner.rmdir("d")

    pair.dst.store.before = vanish
    summary = move(pair, transfers=1)
    assert (summary.moved, summary.errors, seen(pair.src)) == (3, {}, {})


def test_one_file_that_changed_stays(pair):
    fill(pair.src, {"f": b"1"})
    pair.dst.store.before = lambda op, path: put(pair.src.store, "f", b"newer") if op == "write" else None
    assert one(pair, "f", "g", retries=1).errors == {"source_changed": 1}
    assert seen(pair.src) == {"f": b"newer"}

    def later(op, path):
        if op == "stat":
            put(pair.src.store, "f", b"newest")

    fill(pair.src, {"f": b"1"})
    pair.dst.store.before = lambda op, path: None
    real = pair.dst.store.inner.write

    def write(path, source, **how):
        made = real(path, source, **how)
        put(pair.src.store, "f", b"newest")
        return made

    pair.dst.store.inner.write = write
    assert one(pair, "f", "h").errors == {"source_changed": 1}
    assert (seen(pair.src), seen(pair.dst)["h"]) == ({"f": b"newest"}, b"1")


@pytest.mark.parametrize("op", ["scan", "delete", "stat"])
def test_what_cannot_be_removed_is_told_and_both_are_there(pair, op):
    fill(pair.src, {"d/f": b"1"})
    fill(pair.dst, {"d/f": b"1"})
    pair.src.store.walked = lambda entries: entries

    def refuse(called, path):
        if called == op and pair.src.store.calls["walk"] and path in {"d", "d/f"}:
            raise PermissionDenied("no")

    pair.src.store.before = refuse
    summary = move(pair)
    assert seen(pair.dst) == {"d/f": b"1"}
    batches = Cap.DELETE_MANY in pair.src.store.features.caps
    happened = op == "delete" or (op == "scan") is batches
    assert (summary.errors, seen(pair.src)) == (({"permission_denied": 1}, {"d/f": b"1"}) if happened else ({}, {}))


def test_a_copy_that_failed_keeps_its_source(pair):
    fill(pair.src, FILES)

    def refuse(op, path):
        if op == "write" and path == "d/g":
            raise PermissionDenied("no")

    pair.dst.store.before = refuse
    assert move(pair).errors == {"permission_denied": 1}
    assert (seen(pair.src), seen(pair.dst)) == ({"d/g": b"22"}, {"f": b"1", "d/e/h": b"333"})


def test_one_file_whose_copy_failed_stays(pair):
    fill(pair.src, {"f": b"1"})

    def refuse(op, path):
        if op == "write":
            raise PermissionDenied("no")

    pair.dst.store.before = refuse
    assert one(pair, "f", "g").errors == {"permission_denied": 1}
    assert seen(pair.src) == {"f": b"1"}


def test_the_size_alone_is_no_proof(tmp_path):
    """Nothing but the size could be compared, so that it is copied; with --size-only that is what was asked for."""
    a = Fitted(remote=True, hashes=frozenset(), time_precision_ns=None, listed_time=False)
    b = Fitted(remote=True, hashes=frozenset(), time_precision_ns=None, listed_time=False)
    for store in (a, b):
        store.listed = lambda entry: entry._replace(modified_ns=None, stored_ns=None, hashes={})
    pair = Bench(remote(a, "memory/a"), remote(b, "memory/b"), str(tmp_path / "state"))
    for store in (a, b):
        real = store.inner.stat
        store.inner.stat = lambda path, real=real: real(path)._replace(modified_ns=None, stored_ns=None, hashes={})
    for step in (lambda **how: move(pair, **how), lambda **how: one(pair, "f", "f", **how)):
        for size_only in (False, True):
            fill(pair.src, {"f": b"new"})
            fill(pair.dst, {"f": b"old"})
            summary = step(size_only=size_only)
            assert (summary.errors, seen(pair.src)) == ({}, {})
            assert seen(pair.dst) == {"f": b"old" if size_only else b"new"}


def test_a_state_record_is_a_proof(up):
    make(here(up.src), {"f": b"1"})
    up.sync()
    assert move(up).compared_by == {"state": 1}
    assert (gone(up.src), seen(up.dst)) == (True, {"f": b"1"})


# ---- directories


def test_directories_that_still_hold_something_stay(across):
    make(here(across.src), {"d/f": b"1", "e/g": b"2"})
    os.symlink("f", here(across.src) / "d" / "link")
    make(here(across.dst), {"d": None})
    assert move(across).skipped == {"link": 1}
    assert sorted(os.listdir(here(across.src))) == ["d"]
    assert os.listdir(here(across.src) / "d") == ["link"]


def test_empty_directories_that_the_destination_cannot_hold_stay(tmp_path):
    store = Fitted(remote=True, without=Cap.EMPTY_DIRS)
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    make(here(bench.src), {"d/f": b"1", "empty": None})
    assert move(bench).skipped == {"empty": 1}
    assert (seen(bench.src), seen(bench.dst)) == ({"empty": None}, {"d/f": b"1"})


def test_an_empty_tree(across):
    shutil.rmtree(here(across.dst))
    make(here(across.src), {"d": None})
    assert move(across).moved == 1
    assert (gone(across.src), seen(across.dst)) == (True, {"d": None})


def test_a_directory_that_cannot_be_removed_is_told(pair):
    fill(pair.src, {"d/f": b"1"})

    def refuse(op, path):
        if op == "rmdir":
            raise PermissionDenied("no")

    pair.src.store.before = refuse
    assert move(pair).errors == {"permission_denied": 1}
    assert seen(pair.dst) == {"d/f": b"1"}


def test_implicit_directories_go_by_themselves(tmp_path):
    account = Account(without=Cap.MOVE | Cap.MOVE_DIR | Cap.EMPTY_DIRS, caps=Fitted().features.caps | Cap.IMPLICIT_DIRS)
    account.store.listed = lambda e: e._replace(stored_ns=None, id=None) if e.kind is Kind.DIRECTORY else e
    real = account.store.inner.stat
    account.store.inner.stat = lambda path: (
        real(path)._replace(stored_ns=None, id=None) if real(path).kind is Kind.DIRECTORY else real(path)
    )
    bench = account.bench(tmp_path)
    fill(bench.src, FILES)
    assert move(bench).errors == {}
    assert seen(bench.dst) == FILES
    assert account.store.calls["rmdir"] == 0


def test_a_root_that_is_gone_by_then_is_no_error(pair):
    bench = Bench(Account().side("a"), pair.dst, pair.state_dir)
    fill(bench.src, {"f": b"1"})
    store = bench.src.store.inner

    def faster(op, path):
        if (op, path) == ("stat", "a") and held(store) == {"a": None}:
            store.inner.rmdir("a")

    store.before = faster
    assert move(bench).errors == {}


# ---- what is refused


def test_overlap_is_refused(across, tmp_path):
    inside = local(here(across.src) / "sub")
    make(here(across.src), {"f": b"1", "sub/g": b"2"})
    for src, dst in ((across.src, across.src), (across.src, inside), (inside, across.src)):
        with pytest.raises(Refused):
            api.move(src, dst, Options(), across.around(), across.events.append)
    for a, b in (("f", "f"), ("f", "f/x")):
        with pytest.raises(Refused):
            api.move_file(across.src, a, across.src, b, Options(), across.around(), across.events.append)
    assert seen(across.src) == {"f": b"1", "sub/g": b"2"}


@pytest.mark.parametrize("links", [Links.FOLLOW, Links.KEEP])
def test_links_that_are_no_links_are_refused(across, links):
    make(here(across.src), {"f": b"1"})
    with pytest.raises(ConfigError):
        move(across, links=links)
    with pytest.raises(ConfigError):
        one(across, "f", "g", links=links)


def test_what_is_no_directory_and_what_is_missing(across):
    make(here(across.src), {"f": b"1", "d": None})
    with pytest.raises(IsADirectory):
        one(across, "d", "x")
    with pytest.raises(NotFound):
        one(across, "nothing", "x")
    missing = there(here(across.src) / "nothing")
    with pytest.raises(NotFound):
        api.move(missing, across.dst, Options(), across.around(), across.events.append)
    with pytest.raises((NotADirectory, NotFound)):
        api.move(there(here(across.src) / "f"), across.dst, Options(), across.around(), across.events.append)


def test_a_file_is_no_tree(tmp_path):
    bench = Account().bench(tmp_path)
    put(bench.src.store.inner, "a", b"a file")
    with pytest.raises(NotADirectory):
        move(bench)


@pytest.mark.parametrize("side", ["src", "dst"])
def test_both_sides_are_locked(across, side):
    make(here(across.src), {"f": b"1"})
    key = getattr(across, side).key
    with lock_tree(across.state_dir, key):
        with pytest.raises(Locked):
            move(across)
        with pytest.raises(Locked):
            one(across, "f", "g")
    with lock_tree(across.state_dir, f"{across.src.key}/f", shared=True), pytest.raises(Locked):
        one(across, "f", "g")
    assert seen(across.src) == {"f": b"1"}


def test_a_source_that_may_not_be_changed_stays(across):
    from cftool.wrap.readonly import ReadOnlyStore

    make(here(across.src), {"f": b"1"})
    across.src = replace(across.src, store=ReadOnlyStore(across.src.store))
    assert move(across).errors == {"read_only": 1}
    assert one(across, "f", "g").errors == {"read_only": 1}
    assert (seen(across.src), seen(across.dst)) == ({"f": b"1"}, {"f": b"1", "g": b"1"})


# ---- names that are one file


def test_two_names_of_one_file(across):
    make(here(across.src), {"f": b"1"})
    os.link(here(across.src) / "f", here(across.dst) / "g")
    assert one(across, "f", "g").moved == 1
    assert (seen(across.src), seen(across.dst)) == ({}, {"g": b"1"})


def test_a_hard_linked_tree_is_left_and_told(across):
    make(here(across.src), {"f": b"1"})
    os.link(here(across.src) / "f", here(across.dst) / "f")
    assert move(across).errors == {"already_exists": 1}
    assert (seen(across.src), seen(across.dst)) == ({"f": b"1"}, {"f": b"1"})


def test_one_directory_under_two_names_is_refused(across, monkeypatch):
    make(here(across.src), {"f": b"1"})
    monkeypatch.setattr(moving.os_path, "samefile", lambda a, b: True)
    with pytest.raises(Refused, match="same directory"):
        move(across)
    assert seen(across.src) == {"f": b"1"}


class Folding(Fitted):
    """A store that folds case: any spelling of a name finds the file."""

    def __init__(self, *, taken=False, **features):
        super().__init__(remote=True, names=NameRules(case_sensitive=False), **features)
        self._features = replace(self.features, identity="memory/folding")
        self.taken = taken

    def _real(self, path):
        for entry in self.inner.walk(""):
            if entry.path.casefold() == path.casefold():
                return entry.path
        return path

    def stat(self, path):
        return super().stat(self._real(path))

    def move(self, src, dst):
        real = self._real(dst)
        if self.taken and dst.casefold() == src.casefold():
            raise AlreadyExists("is there already")
        if real.casefold() != src.casefold() and real != dst:
            raise AlreadyExists("is there already")
        return super().move(self._real(src), dst)


def folded(tmp_path, src, dst, **how):
    store = Folding(**how)
    sides = [
        Side(
            PrefixStore(store, path) if path else store,
            f"work:{path}",
            f"memory/folding/{path}".rstrip("/"),
            None,
            store,
            path,
        )
        for path in (src, dst)
    ]
    return store, Bench(*sides, str(tmp_path / "state"))


@pytest.mark.parametrize("taken", [False, True])
def test_only_the_case_of_a_file_changes(tmp_path, taken):
    store, bench = folded(tmp_path, "", "", taken=taken)
    put(store, "readme", b"1")
    assert one(bench, "readme", "README", dry_run=True).moved == 1
    assert held(store) == {"readme": b"1"}
    assert one(bench, "readme", "README", trash=".cftool-trash").moved == 1
    assert held(store) == {"README": b"1"}


@pytest.mark.parametrize("taken", [False, True])
def test_only_the_case_of_a_directory_changes(tmp_path, taken):
    store, bench = folded(tmp_path, "docs", "Docs", taken=taken)
    put(store, "docs/f", b"1")
    assert move(bench).moved == 1
    assert held(store) == {"Docs/f": b"1"}


def test_a_case_that_nothing_can_change(tmp_path):
    store, bench = folded(tmp_path, "docs", "Docs", without=Cap.MOVE | Cap.MOVE_DIR)
    put(store, "docs/f", b"1")
    with pytest.raises(Refused, match="only the case differs"):
        move(bench)
    bench = Bench(bench.src, bench.src, bench.state_dir)
    with pytest.raises(Refused, match="only the case differs"):
        one(bench, "f", "F")
    assert held(store) == {"docs/f": b"1"}


def test_a_change_of_case_that_fails_half_way_is_undone(tmp_path):
    store, bench = folded(tmp_path, "", "", taken=True)
    put(store, "readme", b"1")
    real = store.inner.move

    def refuse(src, dst):
        if dst == "README":
            raise PermissionDenied("no")
        return real(src, dst)

    store.inner.move = refuse
    with pytest.raises(PermissionDenied):
        one(bench, "readme", "README")
    assert held(store) == {"readme": b"1"}


# ---- links


def test_a_link_is_moved_as_what_it_is(across):
    os.symlink("nowhere", here(across.src) / "link")
    assert one(across, "link", "l", dry_run=True).moved == 1
    assert one(across, "link", "l").moved == 1
    assert os.readlink(here(across.dst) / "l") == "nowhere"
    os.symlink("nowhere", here(across.src) / "link")
    assert one(across, "link", "l").errors == {"unsupported": 1}
    assert os.readlink(here(across.src) / "link") == "nowhere"


def test_a_link_stays_where_it_cannot_be_renamed(across, monkeypatch):
    os.symlink("nowhere", here(across.src) / "link")

    def refuse(*_):
        raise Unsupported("another disk")

    monkeypatch.setattr(shift.Shift, "file", refuse)
    assert one(across, "link", "l").errors == {"unsupported": 1}


# ---- renaming


def test_a_rename_that_is_refused_is_a_copy_and_the_rest_is_too(tmp_path):
    account = Account()
    bench = account.bench(tmp_path)
    fill(bench.src, {f"f{number}": b"x" for number in range(9)})
    fill(bench.dst, {"mine": b"m"})

    def refuse(op, path):
        if op == "move":
            raise Unsupported("not here")

    account.store.before = refuse
    assert move(bench, transfers=2).errors == {}
    assert account.store.calls["move"] <= 4
    assert (gone(bench.src), len(seen(bench.dst))) == (True, 10)
    assert len(bench.told(Copied)) == 9


def test_a_directory_that_somebody_made_meanwhile_is_merged_into(tmp_path):
    account = Account()
    bench = account.bench(tmp_path)
    fill(bench.src, {"f": b"1"})

    def faster(op, path):
        if op == "move" and path == "a":
            raise AlreadyExists("is there already")

    account.store.before = faster
    assert move(bench).errors == {}
    assert (seen(bench.dst), gone(bench.src)) == ({"f": b"1"}, True)


def test_a_rename_that_fails_is_told(tmp_path):
    account = Account()
    bench = account.bench(tmp_path)
    fill(bench.src, {"f": b"1", "g": b"2"})
    fill(bench.dst, {"mine": b"m"})

    def away(op, path):
        if op == "move" and path == "a/f":
            raise ConnectionFailed("away")

    account.store.before = away
    assert move(bench).errors == {"connection_failed": 1}
    assert (seen(bench.src), seen(bench.dst)) == ({"f": b"1"}, {"g": b"2", "mine": b"m"})


def test_what_is_no_file_is_not_renamed_by_the_executor():
    from cftool.core.types import Entry
    from cftool.transfer.actions import Action

    class Other:
        reads = True

        def run(self, actions: Iterator):
            from cftool.transfer.execute import Outcome

            yield from (Outcome(action) for action in actions)

        def close(self):
            self.closed = True

    other = Other()
    account = Account()
    renaming = shift.Renaming(shift.Shift(account.side("a"), account.side("b")), lambda: other, threads=1)
    link = Action(b"l", Entry("l", Kind.LINK), None)
    for _ in range(2):
        assert [outcome.error for outcome in renaming.run([link])] == [None]
    renaming.close()
    assert (renaming.reads, other.closed) == (True, True)


# ---- kills


@pytest.mark.crash
@pytest.mark.parametrize("way", ["rename", "merge", "copy"])
def test_at_no_instant_is_a_file_at_neither_place(tmp_path, way):
    bench = Bench(local(tmp_path / "src"), local(tmp_path / "dst"), None)
    files = {"f": b"content of f", "d/g": b"content of g"}
    if way == "copy":
        bench.src = replace(bench.src, store=Fitted(bench.src.store, without=Cap.MOVE | Cap.MOVE_DIR))
    outside = tmp_path

    def reset():
        for side in (outside / "src", outside / "dst"):
            shutil.rmtree(side, ignore_errors=True)
        make(outside / "src", files)
        if way != "rename":
            make(outside / "dst", {"f": b"older", "mine": b"m"}, T0 - 10**9)

    def fresh():
        src = local_if(outside / "src")
        if way == "copy":
            src = replace(src, store=Fitted(src.store, without=Cap.MOVE | Cap.MOVE_DIR))
        return Bench(src, there(outside / "dst"), None)

    def local_if(path):
        return there(path)

    def sweep(found):
        return {path: data for path, data in found.items() if ".cftool-" not in path and data is not None}

    count = 0
    for death in every_death(reset, lambda: move(fresh())):
        count += 1
        src = sweep(tree(outside / "src")) if (outside / "src").exists() else {}
        dst = sweep(tree(outside / "dst")) if (outside / "dst").exists() else {}
        for path, data in files.items():
            assert src.get(path) == data or dst.get(path) == data, (death, path)
            assert src.get(path, data) == data, (death, path)
            assert dst.get(path, data) in {data, b"older"}, (death, path)
        if (outside / "src").exists():
            assert move(fresh()).errors == {}, death
        expected = files if way == "rename" else {**files, "mine": b"m"}
        assert sweep(tree(outside / "dst")) == expected, death
        assert not (outside / "src").exists() or sweep(tree(outside / "src")) == {}, death
    assert count > (0 if way == "rename" else 5)


def test_a_directory_whose_rename_is_refused_is_named_as_it_was_typed(tmp_path):
    account = Account()
    put(account.store, "a/f")

    def before(op, path):
        if op == "move":
            raise PermissionDenied("not for you", op=op, path=path)

    account.store.before = before
    with pytest.raises(PermissionDenied) as caught:
        move(account.bench(tmp_path))
    assert (caught.value.place, caught.value.path) == ("work:a", "")
    assert held(account.store) == {"a/f": b"x"}


@pytest.mark.parametrize("refused", ["", "b/g"])
def test_a_service_that_copies_many_in_one_step_is_asked_once(tmp_path, refused):
    account = Account()
    caps = account.store.features.caps | Cap.COPY_MANY
    account.store._features = replace(account.store.features, caps=caps)
    for name in "fgh":
        put(account.store, f"a/{name}", name.encode())
    account.store.calls.clear()

    def before(op, path):
        if (op, path) == ("write", refused):
            raise PermissionDenied("not for you", op=op, path=path)

    account.store.before = before
    bench = account.bench(tmp_path)
    summary = bench.copy()
    copied = [name for name in "fgh" if f"b/{name}" != refused]
    assert [(event.path, event.server_side) for event in bench.told(Copied)] == [(name, True) for name in copied]
    assert dict(summary.errors) == ({"permission_denied": 1} if refused else {})
    assert (account.store.calls["write_many"], account.store.calls["copy"]) == (1, 0)
    assert held(account.store) == {f"a/{name}": name.encode() for name in "fgh"} | {
        f"b/{n}": n.encode() for n in copied
    }
