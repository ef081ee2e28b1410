"""--trash and --suffix: what a run would lose is kept first, nothing kept is ever overwritten, and all comes back."""

import os
import shutil
from pathlib import Path

import pytest

from cftool.core.errors import (
    AlreadyExists,
    ConfigError,
    ConnectionFailed,
    IntegrityError,
    NotFound,
    PermissionDenied,
    SourceChanged,
    Unsupported,
)
from cftool.core.types import Cap, Entry, Kind
from cftool.disk.locks import Lock
from cftool.disk.root import Root
from cftool.testing.crash import every_death
from cftool.transfer import api, keep, relocate, trash
from cftool.transfer.events import Copied, Deleted, Moved
from cftool.transfer.hidden import is_hidden
from cftool.transfer.options import Options
from tests.transfer.kit import T0, Bench, Fitted, held, local, make, put, remote, tree

DAY = "1970-01-01T00-16-40Z"  # the bench's clock
BIN = ".cftool-trash"


def here(side) -> Path:
    return Path(side.local_root)


@pytest.fixture(params=["local", "moves and copies", "moves", "copies", "copies in batches"])
def bench(request, tmp_path):
    """A local source, and a destination of each ability."""
    without = {
        "moves and copies": Cap.NONE,
        "moves": Cap.COPY,
        "copies": Cap.MOVE | Cap.MOVE_DIR | Cap.DELETE_MANY,
        "copies in batches": Cap.MOVE,
    }
    source = local(tmp_path / "src")
    if request.param == "local":
        return Bench(source, local(tmp_path / "dst"), str(tmp_path / "state"))
    store = Fitted(
        remote=True, without=without[request.param] | (Cap.MOVE_DIR if request.param == "copies" else Cap.NONE)
    )
    return Bench(source, remote(store), str(tmp_path / "state"))


def fill(bench, files):
    for path, data in files.items():
        if bench.dst.local_root is not None:
            make(here(bench.dst), {path: data}, T0 if path == "same" else T0 - 10**9)
        else:
            put(bench.dst.store, path, data, T0 if path == "same" else T0 - 10**9)


def seen(bench):
    found = tree(here(bench.dst)) if bench.dst.local_root is not None else held(bench.dst.store)
    return {path: data for path, data in found.items() if data is not None}


def restore(bench, path, target=None, *, when=None, replace=False, **options):
    bench.events.clear()
    options.setdefault("trash", BIN)
    return api.restore(
        bench.dst,
        path,
        bench.dst,
        target or path,
        Options(**options),
        bench.around(),
        bench.events.append,
        trash=options["trash"],
        when=when,
        replace=replace,
    )


def test_what_sync_deletes_and_replaces_is_kept(bench):
    make(here(bench.src), {"a": b"new", "same": b"s"})
    fill(bench, {"a": b"older", "gone": b"1", "d/gone": b"2", "same": b"s"})
    summary = bench.sync(trash=BIN)
    assert seen(bench) == {
        "a": b"new",
        "same": b"s",
        f"{BIN}/{DAY}/a": b"older",
        f"{BIN}/{DAY}/gone": b"1",
        f"{BIN}/{DAY}/d/gone": b"2",
    }
    assert {(event.path, event.to) for event in bench.told(Moved)} == {
        ("gone", f"{BIN}/{DAY}/gone"),
        ("d/gone", f"{BIN}/{DAY}/d/gone"),
    }
    assert (summary.moved, summary.errors, [e.path for e in bench.told(Copied)]) == (2, {}, ["a"])
    assert {event.path for event in bench.told(Deleted)} <= {"d"}


def test_the_trash_is_left_alone_by_every_later_run(bench):
    make(here(bench.src), {"a": b"new"})
    fill(bench, {"a": b"older", "gone": b"1"})
    bench.sync(trash=BIN)
    before = seen(bench)
    assert (bench.sync().deleted, bench.sync(force_delete=True).deleted) == (0, 0)
    assert (bench.copy().copied, bench.check().differences) == (0, 0)
    assert seen(bench) == before


def test_a_trash_in_a_directory_of_its_own_and_in_the_source_takes_no_part(bench):
    make(here(bench.src), {"a": b"new", f"{BIN}/x/y": b"t", f"d/{BIN}/z": b"t"})
    fill(bench, {"gone": b"1"})
    bench.sync(trash=f"old/things/{BIN}")
    assert seen(bench) == {"a": b"new", f"old/things/{BIN}/{DAY}/gone": b"1"}
    assert bench.sync().deleted == 0


def test_a_second_run_of_the_same_second_takes_another_folder(bench):
    make(here(bench.src), {"a": b"2"})
    fill(bench, {"a": b"1"})
    bench.sync(trash=BIN)
    make(here(bench.src), {"a": b"three"})
    bench.sync(trash=BIN)
    assert seen(bench) == {"a": b"three", f"{BIN}/{DAY}/a": b"1", f"{BIN}/{DAY}-2/a": b"2"}


def test_a_folder_that_another_run_has_taken_but_not_made_yet_is_left_to_it(bench):
    make(here(bench.src), {"a": b"new"})
    fill(bench, {"a": b"older"})
    with Lock(bench.state_dir, f"{bench.dst.key.rstrip('/')}/{BIN}/{DAY}"):
        bench.copy(trash=BIN)
    assert seen(bench) == {"a": b"new", f"{BIN}/{DAY}-2/a": b"older"}


def test_cp_keeps_what_it_replaces_and_one_file_does_too(bench):
    make(here(bench.src), {"a": b"new", "b": b"new"})
    fill(bench, {"a": b"older", "b": b"older", "mine": b"1"})
    bench.copy(trash=BIN)
    assert seen(bench)[f"{BIN}/{DAY}/a"] == b"older"
    make(here(bench.src), {"b": b"newest"})
    summary = api.copy_file(bench.src, "b", bench.dst, "b", Options(trash=BIN), bench.around(), bench.events.append)
    assert (summary.copied, seen(bench)["b"], seen(bench)["mine"]) == (1, b"newest", b"1")
    assert seen(bench)[f"{BIN}/{DAY}-2/b"] == b"new"


def test_a_file_against_a_directory_is_kept_as_a_whole(bench):
    if Cap.MOVE_DIR not in bench.dst.store.features.caps or Cap.MOVE not in bench.dst.store.features.caps:
        pytest.skip("a destination that cannot move refuses to replace one by the other")
    make(here(bench.src), {"x": b"file", "y/f": b"1"})
    fill(bench, {"x/1": b"old", "x/d/2": b"old", "y": b"old"})
    bench.sync(trash=BIN)
    assert seen(bench) == {
        "x": b"file",
        "y/f": b"1",
        f"{BIN}/{DAY}/x/1": b"old",
        f"{BIN}/{DAY}/x/d/2": b"old",
        f"{BIN}/{DAY}/y": b"old",
    }


def test_what_cannot_be_kept_whole_is_told(tmp_path):
    bench = Bench(local(tmp_path / "src"), remote(Fitted(remote=True)), str(tmp_path / "state"))
    make(here(bench.src), {"x": b"file"})
    fill(bench, {"x/1": b"old"})

    def refuse(op, path):
        if op == "move" and path.startswith("replaced-"):
            raise PermissionDenied("no")

    bench.dst.store.before = refuse
    assert bench.sync(trash=BIN).errors == {"permission_denied": 1}
    assert b"old" in seen(bench).values()


def test_a_link_that_gives_way_to_a_file_is_kept(across):
    make(here(across.src), {"f": b"1"})
    os.symlink("elsewhere", here(across.dst) / "f")
    across.copy(trash=BIN)
    assert (here(across.dst) / "f").read_bytes() == b"1"
    assert os.readlink(here(across.dst) / BIN / DAY / "f") == "elsewhere"


def test_what_vanished_before_it_could_be_moved_away_is_no_error(across):
    keeper = keep.keeper(across.dst, Options(trash=BIN), across.around())
    from cftool.transfer.actions import Action

    keeper.keep(Action(b"f", Entry("f", Kind.FILE), None, replaces=True))
    make(here(across.dst), {"d": None})
    keeper.keep(Action(b"d", Entry("d", Kind.FILE), None, path="d", replaces=True))  # a directory is the run's to judge
    assert tree(here(across.dst)) == {"d": None}


@pytest.mark.parametrize("fault", ["copy fails", "it is another by then", "nothing can be copied"])
def test_what_cannot_be_kept_is_not_deleted(bench, fault):
    if bench.dst.local_root is not None or Cap.COPY not in bench.dst.store.features.caps:
        pytest.skip("the faults are those of a store that copies")
    make(here(bench.src), {"a": b"1"})
    fill(bench, {"a": b"1", "gone": b"22"})
    store = bench.dst.store
    moves = Cap.MOVE in store.features.caps

    def spoil(op, path):
        if op in {"copy", "move"} and path == "gone":
            if fault == "copy fails":
                raise ConnectionFailed("away")
            if fault == "it is another by then" and not moves:
                bench.dst.store.before = lambda op, path: None
                real = store.inner.copy

                def copy(src, dst):
                    made = real(src, dst)
                    put(store, "gone", b"newer")
                    return made

                store.inner.copy = copy

    store.before = spoil
    if fault == "nothing can be copied":
        real = store.inner.copy
        store.inner.copy = lambda src, dst: real("a", dst)
        if moves:
            pytest.skip("a move needs no copy")
    elif fault == "it is another by then" and moves:
        pytest.skip("a move takes whatever is there")
    summary = bench.sync(trash=BIN)
    assert sum(summary.errors.values()) == 1
    assert seen(bench)["gone"] in {b"22", b"newer"}


def test_a_file_that_could_not_be_replaced_is_put_back(tmp_path):
    store = Fitted(remote=True, without=Cap.COPY)
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    make(here(bench.src), {"a": b"new", "b": b"new"})
    fill(bench, {"a": b"older", "b": b"older"})

    def refuse(op, path):
        if op == "write" and path == "a":
            raise PermissionDenied("no")
        if op == "write" and path == "b":
            put(store, "b", b"somebody's")
            raise PermissionDenied("no")

    store.before = refuse
    assert bench.copy(trash=BIN).errors == {"permission_denied": 2}
    assert seen(bench) == {"a": b"older", "b": b"somebody's", f"{BIN}/{DAY}/b": b"older"}


def test_a_second_attempt_keeps_the_old_one_once_and_a_newer_one_besides(bench):
    make(here(bench.src), {"a": b"new"})
    fill(bench, {"a": b"older"})
    from cftool.transfer.actions import Action

    keeper = keep.keeper(bench.dst, Options(trash=BIN), bench.around())
    source = bench.src.store.stat("a")
    first = bench.dst.store.stat("a")
    keeper.keep(Action(b"a", source, first))
    copies = Cap.COPY in bench.dst.store.features.caps
    if copies:
        keeper.keep(Action(b"a", source, first))
        assert seen(bench) == {"a": b"older", f"{BIN}/{DAY}/a": b"older"}
    for data in (b"newer", b"newest"):
        if bench.dst.local_root is not None:
            (here(bench.dst) / "a").unlink(missing_ok=True)
        fill(bench, {"a": data})
        keeper.keep(Action(b"a", source, bench.dst.store.stat("a")))
    kept = {path: data for path, data in seen(bench).items() if path != "a"}
    assert kept[f"{BIN}/{DAY}/a"] == b"older"
    assert set(kept.values()) == {b"older", b"newer", b"newest"}


def test_where_there_are_no_hard_links_it_is_copied(across, monkeypatch):
    make(here(across.src), {"a": b"new"})
    fill(across, {"a": b"older"})

    def none(self, path, to):
        raise Unsupported("no hard links here")

    monkeypatch.setattr(Root, "link", none)
    across.copy(trash=BIN)
    assert seen(across) == {"a": b"new", f"{BIN}/{DAY}/a": b"older"}


def test_the_gate_is_as_before(bench):
    make(here(bench.src), {"a": b"1"})
    fill(bench, {f"f{number}": b"x" for number in range(5)})
    from cftool.transfer.options import MaxDelete

    summary = bench.sync(trash=BIN, max_delete=MaxDelete(files=2, share=None))
    assert (summary.withheld, summary.moved, bench.told(Moved)) == (5, 0, [])
    (here(bench.src) / "a").unlink()
    summary = bench.sync(trash=BIN)
    assert (summary.moved, "empty" in summary.why) == (0, True)


def test_a_dry_run_shows_it_and_changes_nothing(bench):
    make(here(bench.src), {"a": b"new", "x": b"file"})
    fill(bench, {"a": b"older", "gone": b"1", "d/gone": b"2", "x/1": b"old"})
    before = seen(bench)
    summary = bench.sync(trash=BIN, dry_run=True)
    assert (seen(bench), summary.moved) == (before, 3)
    assert ("gone", f"{BIN}/{DAY}/gone") in {(event.path, event.to) for event in bench.told(Moved)}


# ---- suffix


def test_a_suffix_keeps_old_versions_beside_and_never_over_another(bench):
    make(here(bench.src), {"a": b"2", "c": b"1"})
    fill(bench, {"a": b"1", "gone": b"g"})
    bench.sync(suffix="~")
    assert seen(bench) == {"a": b"2", "c": b"1", "a~": b"1", "gone~": b"g"}
    make(here(bench.src), {"a": b"three"})
    summary = bench.sync(suffix="~")
    assert seen(bench) == {"a": b"three", "c": b"1", "a~": b"1", "a~.1": b"2", "gone~": b"g"}
    assert (summary.deleted, summary.moved) == (0, 0)
    assert bench.sync(suffix="~", dry_run=True).to_do == 0


def test_a_suffix_in_a_dry_run(bench):
    make(here(bench.src), {"c": b"1"})
    fill(bench, {"gone": b"g"})
    bench.sync(suffix="~", dry_run=True)
    assert [(event.path, event.to) for event in bench.told(Moved)] == [("gone", "gone~")]


def test_flags_that_cannot_be_met_are_refused(bench, tmp_path):
    for options in ({"trash": BIN, "suffix": "~"}, {"suffix": ""}, {"suffix": "a/b"}):
        with pytest.raises(ConfigError):
            bench.sync(**options)
    weak = remote(Fitted(without=Cap.COPY | Cap.MOVE))
    with pytest.raises(ConfigError, match="neither move nor copy"):
        api.sync(bench.src, weak, Options(trash=BIN), bench.around(), bench.events.append)


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("", BIN),
        ("/", None),
        ("old", f"old/{BIN}"),
        (f"old/{BIN}", f"old/{BIN}"),
        (BIN, BIN),
        ("x:y", None),
        ("a/../b", None),
    ],
)
def test_what_a_trash_folder_may_be(text, folder):
    if folder is None:
        with pytest.raises(ConfigError):
            keep.trash_folder(text)
    else:
        assert keep.trash_folder(text) == folder


def test_what_is_hidden():
    assert [is_hidden(path) for path in (BIN, f"{BIN}/x", f"a/{BIN}/b", f"a{BIN}/b", f"{BIN}x", "a")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_names_run_out(across, monkeypatch):
    monkeypatch.setattr(keep, "_NAMES", 2)
    make(here(across.dst), {"a": b"1", "a~": b"1", "a~.1": b"1", f"{BIN}/{DAY}/x": b"1"})
    from cftool.transfer.actions import Action

    for options in ({"suffix": "~"}, {"trash": BIN}):
        keeper = keep.keeper(across.dst, Options(**options), across.around())
        with pytest.raises(AlreadyExists):
            keeper.place("a")
    keeper = keep.keeper(across.dst, Options(trash="t"), across.around())
    source = across.dst.store.stat("a")
    for number in range(2):
        os.utime(here(across.dst) / "a", ns=(T0, T0 + number))
        keeper.keep(Action(b"a", source, across.dst.store.stat("a")))
    os.utime(here(across.dst) / "a", ns=(T0, T0 + 9))
    with pytest.raises(AlreadyExists):
        keeper.keep(Action(b"a", source, across.dst.store.stat("a")))


# ---- within one store


def test_versions_are_told_apart_by_everything_that_both_know():
    file = Entry("f", Kind.FILE, 1, 2, 3, None)
    same = relocate.same_version
    assert same(file._replace(version="a"), file._replace(version="a", modified_ns=9))
    assert not same(file._replace(version="a"), file._replace(version="b"))
    assert same(file, file._replace(stored_ns=None))
    assert not same(file, file._replace(size=2))
    assert not same(Entry("f", Kind.FILE, 1), Entry("f", Kind.FILE, 1))  # the size alone proves nothing
    assert not same(file, Entry("f", Kind.DIRECTORY))
    assert same(Entry("f", Kind.DIRECTORY), Entry("f", Kind.DIRECTORY))


def test_a_copy_that_is_no_copy_is_found_out():
    store = Fitted(without=Cap.MOVE)
    put(store, "f", b"12")
    entry = store.stat("f")
    put(store, "g", b"13")
    with pytest.raises(IntegrityError):
        relocate.prove(entry, store.stat("g"))
    with pytest.raises(IntegrityError):
        relocate.prove(entry, Entry("g", Kind.DIRECTORY))
    with pytest.raises(Unsupported):
        relocate.copied(Fitted(without=Cap.COPY), entry, "h")
    with pytest.raises(SourceChanged):
        relocate.drop(store, entry._replace(version="another"))
    relocate.drop(store, entry)
    relocate.drop(store, entry)  # gone already
    assert held(store) == {"g": b"13"}


# ---- the trash itself


@pytest.fixture
def old(bench):
    """Three generations: `f` was 1 before 1000 s, 2 before 2000 s, 3 before 3000 s; `d/g` went at 2000 s."""
    fill(bench, {"f": b"1", "d/g": b"g", "keep": b"k"})
    make(here(bench.src), {"d/g": b"g", "keep": b"k"}, T0 - 10**9)
    for number, now in ((2, 1000.0), (3, 2000.0), (4, 3000.0)):
        make(here(bench.src), {"f": b"f" * number}, T0 + number * 10**9)
        if number == 3:
            (here(bench.src) / "d" / "g").unlink()
        bench.now = now
        assert bench.sync(trash=BIN).errors == {}
    bench.now = 4000.0
    return bench


def data(bench, path="f"):
    return seen(bench).get(path)


def test_the_trash_is_listed_oldest_first(old):
    names = [(one.folder.when, one.path, one.entry.size) for one in api.trash_files(old.dst, BIN, old.around())]
    assert names == [(1000.0, "f", 1), (2000.0, "d/g", 1), (2000.0, "f", 2), (3000.0, "f", 3)]
    young = [one.folder.when for one in api.trash_files(old.dst, BIN, old.around(), older_than=1500)]
    assert young == [1000.0, 2000.0, 2000.0]
    assert list(api.trash_files(old.dst, f"nothing/{BIN}", old.around())) == []


def test_folders_of_another_make_are_not_ours(across):
    make(here(across.dst), {f"{BIN}/mine/f": b"1", f"{BIN}/{DAY}": b"a file", f"{BIN}/2026-02-31T00-00-00Z/f": b"1"})
    assert [folder.name for folder in trash.folders(across.dst.store, BIN)] == ["2026-02-31T00-00-00Z"]
    assert trash.folders(across.dst.store, f"{BIN}/{DAY}") == []


def test_the_newest_comes_back_where_it_was_and_stays_in_the_trash(old):
    summary = restore(old, "d/g")
    assert (summary.copied, data(old, "d/g")) == (1, b"g")
    assert len(list(api.trash_files(old.dst, BIN, old.around()))) == 4
    summary = restore(old, "d/g")
    assert (summary.copied, summary.checked, summary.errors) == (0, 1, {})


@pytest.mark.parametrize(
    ("when", "expected"), [(None, b"fff"), (500.0, b"1"), (1000.0, b"1"), (1500.0, b"ff"), (2500.0, b"fff")]
)
def test_a_file_comes_back_as_it_was_at_a_time(old, when, expected):
    assert restore(old, "f", "again", when=when).copied == 1
    assert data(old, "again") == expected


def test_what_is_there_is_replaced_only_where_it_is_said_and_then_kept(old):
    summary = restore(old, "f")
    assert (summary.errors, data(old)) == ({"already_exists": 1}, b"ffff")
    summary = restore(old, "f", replace=True)
    assert (summary.copied, summary.errors, data(old)) == (1, {}, b"fff")
    assert seen(old)[f"{BIN}/1970-01-01T01-06-40Z/f"] == b"ffff"


def test_a_directory_comes_back_with_all_below_it(old):
    summary = restore(old, "d", "back")
    assert (summary.copied, data(old, "back/g")) == (1, b"g")


def test_what_the_trash_does_not_have_is_not_found(old):
    for path, when in (("nothing", None), ("f", 3500.0)):
        with pytest.raises(NotFound):
            restore(old, path, when=when)


def test_a_dry_restore_changes_nothing(old):
    before = seen(old)
    assert restore(old, "d/g", dry_run=True).to_do == 1
    assert seen(old) == before


def test_where_a_directory_stands_nothing_is_restored(old):
    fill(old, {"e/x": b"1"})
    assert restore(old, "f", "e").errors == {"already_exists": 1}


def test_what_fails_while_it_is_restored_is_told(tmp_path):
    store = Fitted(remote=True)
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    for path in ("a", "b"):
        put(store, f"{BIN}/{DAY}/{path}")

    def refuse(op, path):
        if op == "write" and path == "a":
            raise PermissionDenied("no")

    store.before = refuse
    assert (restore(bench, "a").errors, restore(bench, "b").copied) == ({"permission_denied": 1}, 1)
    bench.cancelled = lambda: True
    put(store, f"{BIN}/{DAY}/c")
    assert restore(bench, "c").stopped == "interrupted"

    def broken(op, path):
        if op == "stat" and path == "d":
            raise ConnectionFailed("away")

    bench.cancelled = lambda: False
    store.before = broken
    put(store, f"{BIN}/{DAY}/d")
    assert restore(bench, "d").errors == {"connection_failed": 1}


def test_an_executor_that_breaks_off_is_told(across, monkeypatch):
    make(here(across.dst), {f"{BIN}/{DAY}/f": b"1"})

    class Broken:
        reads = False

        def run(self, actions):
            list(actions)
            raise ConnectionFailed("away")
            yield

        def close(self):
            pass

    monkeypatch.setattr(trash, "choose", lambda *args: Broken())
    assert restore(across, "f").errors == {"connection_failed": 1}


def test_what_was_kept_is_found_from_anywhere_below_the_root(old):
    assert trash.find(old.dst.store, "d/g", BIN) == ("", "d/g")
    assert trash.find(old.dst.store, "nothing", BIN) is None


def test_a_trash_is_emptied_by_age(old):
    def empty(**how):
        old.events.clear()
        age = how.pop("older_than", None)
        return api.empty_trash(old.dst, BIN, Options(**how), old.around(), old.events.append, older_than=age)

    before = seen(old)
    assert empty(dry_run=True).to_do >= 4
    assert seen(old) == before
    empty(older_than=1500.0)
    assert [one.folder.when for one in api.trash_files(old.dst, BIN, old.around())] == [3000.0]
    empty()
    assert list(api.trash_files(old.dst, BIN, old.around())) == []
    assert seen(old) == {"f": b"ffff", "keep": b"k"}


def test_a_folder_that_cannot_be_emptied_stays(tmp_path):
    store = Fitted(remote=True)
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    for path in ("a", "b"):
        put(store, f"{BIN}/{DAY}/{path}")

    def refuse(op, path):
        if op == "delete" and path.endswith("a"):
            raise PermissionDenied("no")

    store.before = refuse
    summary = api.empty_trash(bench.dst, BIN, Options(), bench.around(), bench.events.append)
    assert (summary.errors, held(store)) == ({"permission_denied": 1}, {f"{BIN}/{DAY}/a": b"x"})


def test_restoring_to_another_tree(old, tmp_path):
    to = local(tmp_path / "elsewhere")
    summary = api.restore(old.dst, "f", to, "x/f", Options(trash=BIN), old.around(), old.events.append, trash=BIN)
    assert (summary.copied, tree(here(to))) == (1, {"x/f": b"fff"})
    summary = api.restore(
        old.dst, "f", to, "x/f", Options(), old.around(), old.events.append, trash=BIN, replace=True, when=1000.0
    )
    assert (summary.copied, tree(here(to))) == (1, {"x/f": b"1"})


def test_a_restored_file_is_told_from_another_by_hash_where_no_listing_has_times(up):
    put(up.dst.store, f"{BIN}/{DAY}/f", b"1")
    put(up.dst.store, "f", b"1", T0 + 5 * 10**9)
    assert restore(up, "f").checked == 1
    put(up.dst.store, "f", b"2", T0 + 5 * 10**9)
    assert restore(up, "f").errors == {"already_exists": 1}


# ---- what a kill leaves


@pytest.mark.crash
def test_at_no_instant_is_the_old_content_nowhere(tmp_path):
    """A replaced and a deleted file: after a death at any call, each old version is whole somewhere, and so is `a`."""
    bench = Bench(local(tmp_path / "src"), local(tmp_path / "dst"), None)
    make(here(bench.src), {"a": b"new content"})

    def reset():
        for path in here(bench.dst).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(here(bench.dst), {"a": b"old content", "gone": b"gone content"}, T0 - 10**9)

    count = 0
    for death in every_death(reset, lambda: bench.sync(trash=BIN)):
        count += 1
        files = tree(here(bench.dst))
        whole = {path: data for path, data in files.items() if not path.rpartition("/")[2].startswith(".cftool-")}
        assert {b"old content", b"gone content"} <= set(whole.values()), death
        assert whole["a"] in {b"old content", b"new content"}, death
        bench.now += 1
        assert bench.sync(trash=BIN).errors == {}
        after = {path: data for path, data in tree(here(bench.dst)).items() if not path.startswith(".cftool-")}
        assert after == {"a": b"new content"}, death
        assert {b"old content", b"gone content"} <= set(tree(here(bench.dst)).values()), death
    assert count > 20
