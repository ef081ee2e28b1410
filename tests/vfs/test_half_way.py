"""What fails half-way, or meets another half-way: nothing is lost, told wrong, or waited for without a reason."""

import contextlib
import errno
import os
import threading

import pytest

from cftool.core.errors import NotFound, PermissionDenied, QuotaExceeded, TemporaryError
from cftool.testing.faulty import Fault, FaultyStore
from cftool.vfs.nodes import ROOT
from cftool.vfs.openfile import OpenFile
from cftool.wrap.caching.draft import Draft
from tests.vfs.kit import begun, made
from tests.wrap.caching.kit import get, put

PATIENCE = 60
LARGE = 100_000


def paths(store):
    return sorted(entry.path for entry in store.walk("") if not entry.is_dir)


# ---- names


def test_a_rename_over_the_only_file_with_a_mode_leaves_no_note_that_undoes_a_later_one(opened):
    vfs = opened()
    made(vfs, "f", b"old", mode=0o600)
    made(vfs, "tmp", b"new")
    vfs.rename(ROOT, "tmp", ROOT, "f")
    vfs.setattr(vfs.child(vfs.node(ROOT), "f").id, mode=0o600)
    opened.close(vfs)
    vfs = opened()
    assert vfs.getattr(vfs.child(vfs.node(ROOT), "f").id).mode & 0o777 == 0o600


def test_a_file_that_a_link_could_not_be_renamed_over_is_there_as_before(vfs, memory, monkeypatch):
    put(memory, "f", b"old")
    vfs.symlink(ROOT, "l", "x")

    def away(*_):
        raise TemporaryError("away", op="move")

    monkeypatch.setattr(vfs.store, "move", away)
    with pytest.raises(TemporaryError):
        vfs.rename(ROOT, "l", ROOT, "f")
    monkeypatch.undo()
    assert get(vfs.store, "f") == b"old"
    vfs.rename(ROOT, "l", ROOT, "f")
    vfs.store.flush()
    assert paths(memory) == ["f.rclonelink"]


def test_what_was_removed_by_others_is_missed_at_once_while_other_names_go(vfs, memory, monkeypatch):
    for number in range(20):
        put(memory, f"d{number}", b"")
    put(memory, "f", b"x")
    node = vfs.child(vfs.node(ROOT), "f").id
    memory.delete("f")
    opens, tries = vfs.store.open, []

    def meanwhile(path):
        tries.append(path)
        vfs.unlink(ROOT, f"d{len(tries)}")
        return opens(path)

    monkeypatch.setattr(vfs.store, "open", meanwhile)
    with pytest.raises(NotFound):
        vfs.open(node, os.O_RDONLY)
    assert tries == ["f"]


def test_what_was_removed_by_others_is_missed_though_others_rename_all_the_time(vfs, memory, monkeypatch):
    put(memory, "f", b"x")
    put(memory, "d/x", b"x")
    put(memory, "other", b"")
    node, directory = (vfs.child(vfs.node(ROOT), name).id for name in ("f", "d"))
    for path in ("f", "d/x"):
        memory.delete(path)
    memory.rmdir("d")
    names = ["other", "another"]

    def meanwhile(call):
        def renaming(path):
            if path in {"f", "d"}:
                vfs.rename(ROOT, names[0], ROOT, names[1])
                names.reverse()
            return call(path)

        return renaming

    for name in ("open", "scan"):
        monkeypatch.setattr(vfs.store, name, meanwhile(getattr(vfs.store, name)))
    with pytest.raises(NotFound):
        vfs.open(node, os.O_RDONLY)
    with pytest.raises(NotFound):
        vfs.opendir(directory)


# ---- content


def test_what_is_written_anew_is_not_published_by_a_rename_after_the_copy_was_uploaded(vfs, memory):
    handle = begun(vfs, "f", b"", flags=os.O_WRONLY)
    file = vfs.handle(handle).file
    assert vfs.given(handle, lambda fd: fd, anew=True) is not None
    os.pwrite(file.fd, b"w" * LARGE, 0)
    vfs.flush(handle)
    again = vfs.open(vfs.handle(handle).node.id, os.O_WRONLY | os.O_TRUNC)
    vfs.store.flush()
    os.pwrite(file.fd, b"ha", 0)
    vfs.rename(ROOT, "f", ROOT, "g")
    vfs.store.flush()
    assert get(memory, "g") == b"w" * LARGE
    vfs.flush(again)
    vfs.store.flush()
    assert get(vfs.store, "g") == b"ha"
    for each in (handle, again):
        vfs.release(each)


def test_the_end_of_a_mount_keeps_all_that_is_open_though_the_remote_is_away(opened, memory):
    away = FaultyStore(memory, {"write": [Fault(lambda: TemporaryError("away"))] * 100})
    vfs = opened(away, remote=True, patience=PATIENCE * 60)
    for name in "abc":
        begun(vfs, name, name.encode() * 5)
    vfs.close(in_use=True)
    assert vfs.handles == {}
    assert len(vfs.store.pending()) == 3
    vfs.store.close()


def test_one_that_cannot_be_committed_at_the_end_does_not_keep_the_others(vfs, monkeypatch, caplog):
    for name in "abc":
        begun(vfs, name, b"x" * LARGE)
    prepare = Draft.prepare

    def fails_once(draft):
        monkeypatch.setattr(Draft, "prepare", prepare)
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(Draft, "prepare", fails_once)
    vfs.close()
    assert [row.path for row in vfs.store.pending()] == ["b", "c"]
    assert "a is not kept as it was written" in caplog.text


def test_bytes_that_come_back_after_an_upload_are_a_change(opened, memory):
    vfs = opened(remote=True, patience=PATIENCE)
    handle = begun(vfs, "f", b"", flags=os.O_WRONLY)
    file = vfs.handle(handle).file
    assert vfs.given(handle, lambda fd: fd, anew=True) is not None
    times = iter(range(10**18, 10**18 + 10**10, 10**9))

    def written(data):
        os.pwrite(file.fd, data, 0)
        when = next(times)
        os.utime(file.fd, ns=(when, when))

    written(b"XXXX")
    vfs.rename(ROOT, "f", ROOT, "g")
    written(b"YYYY")
    vfs.fsync(handle)
    assert get(memory, "g") == b"YYYY"
    written(b"XXXX")
    vfs.fsync(handle)
    assert get(memory, "g") == b"XXXX"
    vfs.release(handle)


def test_what_another_left_to_an_opening_is_published_though_that_comes_to_nothing(vfs, monkeypatch):
    handle = begun(vfs, "f", b"committed")
    vfs.flush(handle)
    vfs.write(handle, b"MAPPED!!!", 0)  # no close follows

    def full(*_args, **_how):
        vfs.release(handle)
        raise QuotaExceeded("full")

    monkeypatch.setattr(OpenFile, "truncate", full)
    with pytest.raises(QuotaExceeded):
        vfs.open(vfs.handle(handle).node.id, os.O_WRONLY | os.O_TRUNC)
    assert get(vfs.store, "f") == b"MAPPED!!!"
    assert vfs.child(vfs.node(ROOT), "f").open is None


def test_the_mark_of_a_file_that_is_written_to_outlives_the_failure_of_another(vfs, memory, monkeypatch):
    handle = begun(vfs, "f", b"a" * LARGE)
    vfs.flush(handle)
    vfs.write(handle, b"b" * LARGE, LARGE)
    together = vfs.store._together
    transaction = together._transaction

    @contextlib.contextmanager
    def full(*, one=False):
        with transaction(one=one):
            yield
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(together, "_transaction", full)
    with pytest.raises(OSError, match="full"):
        put(vfs.store, "other", b"x")
    monkeypatch.undo()

    def broken(_):
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(Draft, "prepare", broken)
    for end in (vfs.flush, vfs.release):
        with pytest.raises(OSError, match="no"):
            end(handle)
    monkeypatch.undo()
    assert vfs.store.flush() == []
    assert get(memory, "f") == b"a" * LARGE + b"b" * LARGE
    assert vfs.store.journal.editing() == set()


# ---- who waits


@pytest.mark.parametrize("taking", ["unlink", "rename"])
def test_closes_that_come_together_do_not_wait_for_a_file_whose_name_is_being_taken(vfs, memory, monkeypatch, taking):
    for name in ("f", "g"):
        put(memory, name, b"old")
    slow = vfs.open(vfs.child(vfs.node(ROOT), "f").id, os.O_WRONLY | os.O_TRUNC)
    vfs.write(slow, b"n", 0)
    other = begun(vfs, "k", b"k")
    stat = memory.stat
    asked, goes_on, told = threading.Event(), threading.Event(), threading.Event()

    def waits(path):
        asked.set()
        assert goes_on.wait(PATIENCE)
        return stat(path)

    monkeypatch.setattr(memory, "stat", waits)
    take = (lambda: vfs.unlink(ROOT, "f")) if taking == "unlink" else (lambda: vfs.rename(ROOT, "g", ROOT, "f"))
    taker = threading.Thread(target=take)
    closer = threading.Thread(target=lambda: vfs.flush_together([slow, other], [lambda: None, told.set]))
    taker.start()
    assert asked.wait(PATIENCE)
    assert (vfs.is_free(slow), vfs.is_free(other)) == (False, True)
    closer.start()
    assert told.wait(PATIENCE)
    assert get(vfs.store, "k") == b"k"
    goes_on.set()
    for thread in (taker, closer):
        thread.join(PATIENCE)
    assert get(vfs.store, "f") == b"old" if taking == "rename" else "f" not in paths(vfs.store)
    for handle in (slow, other):
        vfs.release(handle)


def test_a_directory_is_renamed_at_the_remote_while_a_file_in_it_is_written(opened, memory):
    vfs = opened(remote=True, through=True, patience=PATIENCE)
    directory = vfs.mkdir(ROOT, "d", 0o755).id
    _, handle = vfs.create(directory, "tmp", 0o644, os.O_WRONLY)
    vfs.write(handle, b"x", 0)
    vfs.rename(directory, "tmp", directory, "final")
    vfs.rename(ROOT, "d", ROOT, "e")
    _, other = vfs.create(directory, "other", 0o644, os.O_WRONLY)
    vfs.write(other, b"y", 0)
    vfs.fsync(other)
    assert get(memory, "e/other") == b"y"
    vfs.write(handle, b"z", 1)
    vfs.flush(handle)
    assert get(memory, "e/final") == b"xz"
    for each in (handle, other):
        vfs.release(each)


def test_a_rename_is_waited_for_where_only_a_reader_is_left(opened, memory):
    vfs = opened(remote=True, through=True, patience=PATIENCE)
    handle = begun(vfs, "f", b"n")
    reader = vfs.open(vfs.handle(handle).node.id, os.O_RDONLY)
    vfs.flush(handle)
    vfs.release(handle)
    vfs.rename(ROOT, "f", ROOT, "g")
    assert paths(memory) == ["g"]
    vfs.release(reader)


def test_a_time_is_set_of_what_is_only_read_though_its_upload_is_refused(opened, memory):
    refusing = FaultyStore(memory, {"write": [Fault(lambda: PermissionDenied("refused"))] * 100})
    vfs = opened(refusing, remote=True, patience=PATIENCE)
    put(vfs.store, "f", b"pending")
    node = vfs.child(vfs.node(ROOT), "f").id
    reader = vfs.open(node, os.O_RDONLY)
    assert vfs.setattr(node, mtime_ns=10**18).mtime_ns == 10**18
    assert vfs.store.stat("f").modified_ns == 10**18
    vfs.release(reader)


@pytest.mark.parametrize("remote", [False, True])
def test_a_listing_that_began_before_a_close_does_not_bring_the_old_size_back(opened, memory, monkeypatch, remote):
    vfs = opened(remote=remote, patience=PATIENCE, ttl=0.0)
    put(memory, "f", b"old")
    node = vfs.child(vfs.node(ROOT), "f").id
    scan = vfs.store.scan

    def meanwhile(path):
        monkeypatch.undo()
        entries = list(scan(path))
        handle = vfs.open(node, os.O_WRONLY | os.O_TRUNC)
        vfs.write(handle, b"much longer", 0)
        vfs.flush(handle)
        vfs.release(handle)
        return entries

    monkeypatch.setattr(vfs.store, "scan", meanwhile)
    vfs.listing.children(vfs.node(ROOT))
    assert vfs.getattr(node).size == 11
