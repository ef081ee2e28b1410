"""Ctrl-C in the middle of a file, an edit that hides behind its old time, and when a service is asked what it obeys."""

import os
from pathlib import Path

import pytest

from cftool.core.errors import DirectoryNotEmpty, Interrupted, TemporaryError
from cftool.core.types import Cap
from cftool.transfer import api
from cftool.transfer.events import Copied, Deleted, Failed, Progress
from cftool.transfer.options import Options
from cftool_providers.local.store import LocalStore
from tests.transfer.kit import T0, Bench, Fitted, held, local, make, put, remote, tree


def here(side) -> Path:
    return Path(side.local_root)


def edited(path: Path, data: bytes) -> None:
    """Other content of the same length, the modification time put back."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)


# ---- the first Ctrl-C


@pytest.mark.parametrize("way", ["up", "down", "between"])
@pytest.mark.parametrize("task", ["sync", "copy"])
def test_a_file_that_is_given_up_is_not_a_failed_one(way, task, request):
    bench = request.getfixturevalue(way)
    if way == "up":
        make(here(bench.src), {f"f{n}": b"x" for n in range(9)})
    else:
        for n in range(9):
            put(bench.src.store, f"f{n}")
    spoilt = bench.src.store if way == "down" else bench.dst.store
    broken = []

    def before(op, path):
        if op == ("read" if way == "down" else "write"):
            broken.append(path)
            if len(broken) > 3:
                raise Interrupted("interrupted")

    spoilt.before = before
    bench.cancelled = lambda: len(broken) > 3
    summary = getattr(bench, task)()
    assert (summary.stopped, dict(summary.errors), bench.told(Failed)) == ("interrupted", {}, [])
    assert summary.copied == len(bench.told(Copied)) == 3
    spoilt.before, bench.cancelled = (lambda op, path: None), (lambda: False)
    again = getattr(bench, task)()
    assert (again.copied, again.compared_by["state"]) == (6, 3)


@pytest.mark.parametrize("op", ["write_many", "walk"])
def test_a_batch_or_listing_that_breaks_off_is_not_a_failure(up, op):
    make(here(up.src), {"a": b"x", "b": b"x"})
    put(up.dst.store, "old")

    def before(called, path):
        if called == op:
            raise Interrupted("interrupted")

    up.dst.store.before = before
    summary = up.sync()
    assert (summary.stopped, dict(summary.errors)) == ("interrupted", {})
    assert "old" in held(up.dst.store)


def test_one_file_that_is_given_up(up):
    make(here(up.src), {"a": b"x"})

    def before(op, path):
        if op == "write_many":
            raise Interrupted("interrupted")

    up.dst.store.before = before
    summary = api.copy_file(up.src, "a", up.dst, "b", Options(), up.around(), up.events.append)
    assert (summary.stopped, dict(summary.errors), summary.copied) == ("interrupted", {}, 0)


def test_a_local_copy_ends_between_two_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("cftool.disk.copying._RANGE", 1 << 20)
    monkeypatch.setattr("cftool.disk.copying._FICLONE", 0)  # no file system shares blocks by that number
    src = local(tmp_path / "src")
    make(tmp_path / "src", {"large": os.urandom(9 << 20)})
    told = []
    (tmp_path / "dst").mkdir()
    real = os.path.realpath(tmp_path / "dst")
    dst = api.Side(LocalStore(real, cancelled=lambda: len(told) > 2), real, real, real)
    bench = Bench(src, dst, str(tmp_path / "state"))

    def emit(event):
        if isinstance(event, Progress):
            told.append(event.bytes)

    summary = api.sync(src, dst, Options(), bench.around(), emit)
    assert (summary.stopped, dict(summary.errors), tree(tmp_path / "dst")) == ("interrupted", {}, {})
    assert sum(told) == 3 << 20


def test_a_copy_between_stores_ends_between_two_pieces_and_tells_each_byte_once(between):
    put(between.src.store, "large", bytes(9 << 20))
    assert between.sync().copied == 1
    assert sum(event.bytes for event in between.told(Progress)) == 9 << 20
    put(between.src.store, "large", bytes(10 << 20))
    reads = between.src.store.calls["read"]
    between.cancelled = lambda: between.src.store.calls["read"] > reads
    summary = between.sync()
    assert (summary.stopped, dict(summary.errors)) == ("interrupted", {})
    assert len(held(between.dst.store)["large"]) == 9 << 20


# ---- a touched file


@pytest.mark.parametrize("listed", [True, False], ids=["time listed", "time asked for"])
def test_an_edit_whose_time_was_put_back_goes_to_a_store(tmp_path, listed):
    store = Fitted(remote=True, listed_time=listed, hashes=frozenset({"md5"}))
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    make(tmp_path / "src", {"a": b"old", "b": b"old"})
    assert bench.sync().copied == 2
    edited(tmp_path / "src/a", b"new")
    edited(tmp_path / "src/b", b"old")
    summary = bench.sync()
    assert (summary.copied, held(store)) == (1, {"a": b"new", "b": b"old"})
    assert bench.sync().compared_by == {"state": 2}


def test_a_time_that_changed_alone_is_set_where_no_listing_has_times(tmp_path):
    store = Fitted(remote=True, listed_time=False, hashes=frozenset({"md5"}))
    store.listed = lambda entry: entry._replace(modified_ns=None)
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    make(tmp_path / "src", {"a": b"old", "b": b"old"}, T0)
    assert bench.sync().copied == 2
    store.calls.clear()
    os.utime(tmp_path / "src/a", ns=(T0, T0 + 5_000_000_000))
    os.chmod(tmp_path / "src/b", 0o600)
    summary = bench.sync()
    assert (summary.copied, dict(summary.compared_by)) == (0, {"hash": 2})
    assert [store.inner.stat(name).modified_ns - T0 for name in "ab"] == [5_000_000_000, 0]
    assert (store.calls["stat"], store.calls["set_modified"], store.calls["write_many"]) == (2, 1, 0)
    assert bench.sync().compared_by == {"state": 2}


@pytest.mark.parametrize("side", ["src", "dst"])
def test_an_edit_whose_time_was_put_back_is_found_between_local_trees(across, side):
    make(here(across.src), {"a": b"old", "b": b"old"})
    assert across.sync().copied == 2
    edited(here(getattr(across, side)) / "a", b"new")
    summary = across.sync()
    assert (summary.copied, dict(summary.compared_by)) == (1, {"hash": 1, "state": 1})
    assert tree(here(across.dst)) == tree(here(across.src))
    assert across.sync().compared_by == {"state": 2}


def test_where_no_hash_tells_a_touched_file_is_copied(tmp_path):
    store = Fitted(remote=True, listed_time=True, hashes=frozenset())
    store.listed = lambda entry: entry._replace(hashes={})
    plain = store.inner.stat
    store.stat = lambda path: plain(path)._replace(hashes={})
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    make(tmp_path / "src", {"a": b"old"})
    assert bench.sync().copied == 1
    edited(tmp_path / "src/a", b"new")
    assert (bench.sync().copied, held(store)) == (1, {"a": b"new"})


# ---- what a service obeys


class Asked(Fitted):
    """Shows that it obeys conditions only after it was asked."""

    def __init__(self, *, fails=False):
        super().__init__(remote=True, without=Cap.IF_VERSION | Cap.IF_ABSENT)
        self.fails = fails

    def probe(self, path):
        self._call("probe", path)
        if self.fails:
            raise TemporaryError("busy")
        self._features = __import__("dataclasses").replace(
            self._features, caps=self._features.caps | Cap.IF_VERSION | Cap.IF_ABSENT
        )
        return Cap.IF_VERSION | Cap.IF_ABSENT


def test_a_service_is_asked_once_and_only_before_something_is_replaced(tmp_path):
    store = Asked()
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    make(tmp_path / "src", {"a": b"1", "b": b"1"})
    assert (bench.sync().copied, store.calls["probe"]) == (2, 0)
    assert (bench.sync().copied, store.calls["probe"]) == (0, 0)
    make(tmp_path / "src", {"a": b"22", "b": b"22"})
    seen = []
    write = store.inner.write

    def noted(path, source, **how):
        seen.append(how["if_version"])
        return write(path, source, **how)

    store.inner.write = noted
    assert (bench.sync().copied, store.calls["probe"]) == (2, 1)
    assert None not in seen
    assert len(seen) == 2


def test_a_service_that_cannot_be_asked_is_written_to_without_conditions(tmp_path):
    store = Asked(fails=True)
    bench = Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))
    make(tmp_path / "src", {"a": b"1", "b": b"1"})
    bench.sync()
    make(tmp_path / "src", {"a": b"22", "b": b"22"}, modified_ns=T0 + 1)
    assert (bench.sync().copied, store.calls["probe"]) == (2, 1)
    assert held(store) == {"a": b"22", "b": b"22"}


# ---- a directory that was named


def test_a_named_directory_that_stays_is_an_error(up):
    put(up.dst.store, "d/f")

    def before(op, path):
        if (op, path) == ("rmdir", "d"):
            raise DirectoryNotEmpty("holds old versions", path=path)

    up.dst.store.before = before
    summary = api.remove_tree(up.dst, "d", Options(), up.around(), up.events.append)
    assert dict(summary.errors) == {"directory_not_empty": 1}
    assert [event.path for event in up.told(Deleted)] == ["d/f"]
