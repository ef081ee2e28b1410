"""What is copied and deleted is decided by how it is now: never by a cached listing, whoever opened the stack."""

from dataclasses import replace

import pytest

from cftool.core.errors import NotFound
from cftool.core.sources import BytesSource
from cftool.core.types import NameRules, WriteItem
from cftool.core.wrapper import ask_always
from cftool.stack import Metadata, build
from cftool.transfer import api
from cftool.transfer.options import MaxDelete, Options, Surroundings
from cftool.wrap.noting import NotingStore
from tests.transfer.kit import T0, held, local, make, remote
from tests.wrap.metadata.kit import missing, names, put


def run(what, src, dst, tmp_path, **options):
    around = Surroundings(state_dir=str(tmp_path / "state"), now=lambda: T0 / 1e9, cancelled=lambda: False)
    return what(src, dst, Options(**options), around, lambda event: None)


def warm(world):
    """A stack that knows everything, for a long time."""
    store = build(world.memory, metadata=Metadata(1e9, world.directory))
    world.opened.append(store)
    assert len(list(store.walk(""))) == 4
    for path in ("", "dir"):
        names(store, path)
    world.asked()
    names(store)
    assert missing(store, "dir/new")
    assert world.asked() == {}
    return store


def test_a_sync_deletes_nothing_that_a_cached_listing_of_the_source_lacks(world, tmp_path):
    store = warm(world)
    world.behind("dir/new")
    make(tmp_path / "dst", {"dir/a": b"dir/a", "dir/b": b"dir/b", "dir/new": b"old", "top": b"top"})
    done = run(api.sync, remote(store), local(tmp_path / "dst"), tmp_path)
    assert done.deleted == 0
    assert (tmp_path / "dst/dir/new").read_bytes() == b"theirs"


def test_a_sync_sees_what_its_destination_lost(world, tmp_path):
    store = warm(world)
    world.memory.space.delete("dir/a")
    make(tmp_path / "src", {"dir/a": b"dir/a", "dir/b": b"dir/b", "top": b"top"})
    run(api.sync, local(tmp_path / "src"), remote(store), tmp_path)
    assert "dir/a" in held(world.memory)


def test_a_check_finds_what_differs_since_it_was_cached(world, tmp_path):
    store = warm(world)
    make(tmp_path / "other", {"dir/a": b"dir/a", "dir/b": b"dir/b", "top": b"top"})
    assert run(api.check, remote(store), local(tmp_path / "other"), tmp_path, checksum=True).differences == 0
    world.behind("top", b"TOP")
    assert run(api.check, remote(store), local(tmp_path / "other"), tmp_path, checksum=True).differences == 1


def test_the_gate_counts_by_how_it_is_now(world, tmp_path):
    """The source has lost all but one by now, which a cached listing would not tell, nor the files to delete."""
    store = warm(world)
    for path in ("dir/a", "dir/b"):
        world.memory.space.delete(path)
    make(tmp_path / "dst", {"dir/a": b"dir/a", "dir/b": b"dir/b", "top": b"top"})
    limit = MaxDelete(files=1, share=None)
    done = run(api.sync, remote(store), local(tmp_path / "dst"), tmp_path, max_delete=limit)
    assert (done.deleted, done.withheld) == (0, 2)


def test_a_stack_that_was_told_so_asks_always_and_keeps_what_it_hears(world):
    store = warm(world)
    ask_always(store)
    world.behind("dir/new")
    assert names(store, "dir") == ["a", "b", "new"]
    assert store.stat("dir/new").size == 6
    assert world.asked() == {"list": 1, "stat": 1}
    other = build(world.memory, metadata=Metadata(1e9, world.directory))
    assert (names(other, "dir"), other.stat("dir/new").size) == (["a", "b", "new"], 6)
    assert world.asked() == {}
    other.close()


# ---- runs that only tell what they change


@pytest.fixture
def noting(world):
    store = NotingStore(world.memory, world.directory)
    world.opened.append(store)
    return store


CHANGES = {
    "write": lambda s: s.write("dir/new", BytesSource(b"")),
    "delete": lambda s: s.delete("dir/a"),
    "mkdir": lambda s: s.mkdir("dir/sub"),
    "rmdir": lambda s: s.rmdir("dir/empty"),
    "copy": lambda s: s.copy("top", "dir/copy"),
    "move": lambda s: s.move("dir/a", "dir/z"),
    "move of a directory": lambda s: s.move("dir", "moved"),
    "set_modified": lambda s: s.set_modified("dir/a", 5),
    "delete_dir": lambda s: s.delete_dir("dir"),
    "write_many": lambda s: list(s.write_many(iter([_item("dir/new")]))),
    "delete_many": lambda s: list(s.delete_many(iter([s.stat("dir/a"), s.stat("dir/empty")]))),
}


def _item(path):
    return WriteItem(path, BytesSource(b"x"))


def shown(store):
    found = {}
    todo = [""]
    while todo:
        for entry in store.scan(todo.pop()):
            found[entry.path] = entry
            if entry.is_dir:
                todo.append(entry.path)
    return found


def stats(store):
    found = {}
    for path in ("", "dir", "moved", "dir/a", "dir/z", "dir/new", "dir/copy", "dir/sub", "dir/empty", "moved/a", "top"):
        try:
            found[path] = store.stat(path)
        except NotFound:
            found[path] = None
    return found


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_run_changes_is_not_served_by_others(world, noting, change, monkeypatch):
    world.memory.mkdir("dir/empty")
    _gives_delete_dir(world.memory, monkeypatch)
    store = world.open(ttl=1e9)
    shown(store), stats(store)
    CHANGES[change](noting)
    assert (shown(store), stats(store)) == (shown(world.memory), stats(world.memory))
    noting.close()
    assert (shown(store), stats(store)) == (shown(world.memory), stats(world.memory))
    world.asked()
    shown(store), stats(store)
    assert world.asked() == {}


def _gives_delete_dir(memory, monkeypatch):
    def delete_dir(path):
        for entry in [*memory.walk(path)][::-1]:
            (memory.rmdir if entry.is_dir else memory.delete)(entry.path)
        memory.rmdir(path)

    monkeypatch.setattr(memory, "delete_dir", delete_dir)


def test_a_run_that_finds_no_cache_makes_none(world, noting, tmp_path):
    put(noting, "dir/new")
    assert not (tmp_path / "cache").exists()
    (tmp_path / "cache").mkdir()
    put(noting, "dir/new")
    noting.close()
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_run_is_changing_is_not_kept_by_others(world, noting):
    store = world.open(ttl=1e9)
    shown(store)
    put(noting, "dir/new")
    shown(store)
    world.asked()
    assert names(store, "dir") == ["a", "b", "new"]
    assert world.asked() == {"list": 1}
    assert names(store) == ["dir", "top"]
    assert world.asked() == {}


def test_a_batch_without_a_cache_looks_for_one_once_a_moment(world, monkeypatch):
    clock, looked = [0.0], []
    noting = NotingStore(world.memory, world.directory, now=lambda: clock[0])
    real = noting._note
    monkeypatch.setattr(noting, "_note", lambda *where, **how: (looked.append((clock[0], *where)), real(*where, **how)))

    def items():
        for path in ("dir/x", "dir/y", "other/x", "other/y"):
            yield _item(path)
        clock[0] += 1
        yield _item("other/z")

    assert [result.error for result in noting.write_many(items())] == [None] * 5
    assert looked == [(0.0, "dir"), (0.0, "other"), (1.0, "other")]


def test_a_batch_looks_for_a_cache_again_after_a_moment(world):
    clock, opened = [0.0], []
    noting = NotingStore(world.memory, world.directory, now=lambda: clock[0])

    def items():
        yield _item("dir/x")
        opened.append(world.open(ttl=1e9))
        assert names(opened[0], "dir") == ["a", "b", "x"]
        clock[0] += 1
        yield _item("dir/new")
        yield _item("dir/y")

    assert [result.error for result in noting.write_many(items())] == [None] * 3
    noting.close()
    assert names(opened[0], "dir") == ["a", "b", "new", "x", "y"]


def test_thousands_of_directories_are_noted_some_at_a_time(world, noting, monkeypatch):
    monkeypatch.setattr("cftool.wrap.noting._HELD", 10)
    store = world.open(ttl=1e9)
    shown(store)
    for number in range(25):
        put(noting, f"dir{number}/file")
        assert len(noting._marks) <= 11
    assert len(shown(store)) == 4 + 50


def test_a_service_that_folds_names_hears_of_all_spellings(world, monkeypatch):
    names_fold = NameRules(case_sensitive=False, unicode_form="NFC")
    monkeypatch.setattr(world.memory, "_features", replace(world.memory.features, names=names_fold))
    store = world.open(ttl=1e9)
    noting = NotingStore(world.memory, world.directory)
    assert names(store, "dir") == ["a", "b"]
    put(noting, "DIR/x")
    assert names(store, "dir") == ["a", "b"]
    assert world.asked()["list"] == 2
    noting.close()
