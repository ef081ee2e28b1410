"""The owner's socket, and looking after a cache: what is asked, what is answered, what is damaged."""

import errno
import json
import os
import socket
import sqlite3
import threading
from pathlib import Path

import pytest

from cftool.core.errors import PermissionDenied, StoreError, TemporaryError
from cftool.core.types import Cap
from cftool.testing.faulty import Fault
from cftool.wrap.caching import care
from cftool.wrap.caching import owner as owners
from cftool.wrap.caching.journal import Journal
from cftool.wrap.caching.owner import Owner, ask
from cftool.wrap.caching.visiting import VisitingStore, anything_pending
from tests.wrap.caching.kit import cached, get, in_files, put


@pytest.fixture
def owner(store):
    owner = Owner(store)
    yield owner
    owner.close()


def asked(directory, **request):
    return list(ask(directory, request))


# ---- the socket


def test_flush_after_an_outage_goes_on_until_all_is_uploaded(
    store, owner, remote, memory, cache_directory, monkeypatch
):
    monkeypatch.setattr(owners, "_SLICE", 0.01)
    monkeypatch.setattr("cftool.wrap.caching.drain._BATCH", 1)
    for number in range(3):
        put(store, f"{number}", b"x")
    remote._faults["write"] = iter([Fault()] * 3)
    assert len(store.flush()) == 3
    *words, last = asked(cache_directory, do="flush", path="", timeout=60.0)
    assert last == {"pending": [], "count": 0}
    assert {e.path for e in memory.walk("")} == {"0", "1", "2"}
    assert all(word["left"] > 0 for word in words)


def test_flush_ends_where_nothing_goes_on(store, owner, remote, cache_directory):
    put(store, "bad", b"x")
    put(store, "good", b"x")
    real = remote.write

    def write(path, *args, **kwargs):
        if path == "bad":
            raise PermissionDenied("no")
        return real(path, *args, **kwargs)

    remote.write = write
    *_, last = asked(cache_directory, do="flush", path="", timeout=60.0)
    assert [(row["path"], row["error_kind"]) for row in last["pending"]] == [("bad", "permission_denied")]


def test_flush_ends_in_time_where_the_remote_does_not_answer(store, owner, remote, memory, cache_directory):
    put(store, "slow", b"x")
    real, go_on = remote.write, threading.Event()

    def write(*args, **kwargs):
        assert go_on.wait(60)
        return real(*args, **kwargs)

    remote.write = write
    *_, last = asked(cache_directory, do="flush", path="", timeout=0.1)
    assert [(row["path"], row["state"]) for row in last["pending"]] == [("slow", "uploading")]
    go_on.set()
    assert store.flush() == []
    assert get(memory, "slow") == b"x"


def test_requests_that_are_not_understood(store, owner, cache_directory):
    with pytest.raises(TemporaryError, match="not understood"):
        asked(cache_directory, do="dance")
    for line in (b"no json\n", b"[]\n", b'{"do": "forget"}\n', b'{"do": "flush", "timeout": "x"}\n'):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.path.join(cache_directory, "owner.sock"))
            connection.sendall(line)
            assert connection.recv(100) == b""
    assert asked(cache_directory, do="status")[0]["count"] == 0


def test_error_of_the_owner_reaches_who_asked(store, owner, cache_directory):
    def broken(path=""):
        raise StoreError(f"broken {path}")

    store.clear = broken
    with pytest.raises(TemporaryError, match="broken x"):
        asked(cache_directory, do="clear", path="x")


def test_error_of_a_flush_reaches_who_asked(store, owner, cache_directory):
    def broken(path, *, timeout):
        raise StoreError(f"broken after {timeout:.0f} s")

    store.flush = broken
    with pytest.raises(TemporaryError, match="broken after 2 s"):
        asked(cache_directory, do="flush", path="", timeout=60.0)


def test_owner_that_does_not_answer_is_told(cache_directory):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.join(cache_directory, "owner.sock"))
        server.listen()
        with pytest.raises(TemporaryError, match="does not answer"):
            list(ask(cache_directory, {"do": "status"}, patience=0.01))


def test_owner_that_ends_just_then_is_nobody(cache_directory):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.join(cache_directory, "owner.sock"))
        server.listen()

        def hang_up():
            connection, _ = server.accept()
            connection.close()  # with the request unread: a reset

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            answers = list(ask(cache_directory, {"do": "status"}))
        except ConnectionRefusedError:
            answers = []
        thread.join()
    assert answers == []


def test_pending_paths_that_are_no_utf8_are_told_and_asked_for(store, owner, cache_directory, memory):
    name = os.fsdecode(b"caf\xe9")
    put(store, name, b"x")
    [said] = asked(cache_directory, do="status")
    assert [row["path"] for row in said["pending"]] == [name]
    assert json.dumps(said)
    assert asked(cache_directory, do="flush", path=name, timeout=60.0)[-1]["count"] == 0


# ---- fsck


def damage(store, path, how):
    with store.open(path) as handle:
        place = store.files.path(handle.number)
    how(place)
    return place


def flip(place):
    with open(place, "r+b") as file:
        file.write(b"X")


@pytest.mark.parametrize(
    ("how", "problem"),
    [(os.unlink, "is missing"), (lambda p: os.truncate(p, 1), "has 1 bytes, not 7"), (flip, "has another ")],
)
def test_fsck_sets_clean_content_aside_and_it_is_fetched_again(store, memory, how, problem):
    put(memory, "file", b"content")
    assert get(store, "file") == b"content"
    place = damage(store, "file", how)
    [found] = store.check()
    assert (found.path, problem in found.problem, "fetched again" in found.done) == ("file", True, True)
    assert store.check() == []
    assert get(store, "file") == b"content"
    aside = [name for name in os.listdir(os.path.dirname(place)) if ".damaged-" in name]
    assert len(aside) == (0 if how is os.unlink else 1)


def test_fsck_is_done_by_the_owner_for_whoever_asks(store, owner, cache_directory, memory):
    put(memory, "file", b"content")
    assert get(store, "file") == b"content"
    damage(store, "file", flip)
    [said] = asked(cache_directory, do="fsck")
    assert [(found["path"], "fetched again" in found["done"]) for found in said["found"]] == [("file", True)]
    assert asked(cache_directory, do="fsck") == [{"found": []}]


def test_fsck_tells_pending_content_that_is_damaged_and_keeps_it(store, memory):
    in_files(store)
    put(store, "file", b"content")
    place = damage(store, "file", lambda p: os.truncate(p, 1))
    assert [(found.path, "not uploaded" in found.done) for found in store.check()] == [("file", True)]
    assert [(row.path, row.error_kind) for row in store.flush()] == [("file", "damaged")]
    assert [found.path for found in store.check()] == ["file"]
    assert os.path.getsize(place) == 1
    assert list(memory.walk("")) == []


def test_fsck_leaves_what_is_open_alone(store, memory):
    put(memory, "file", b"content")
    with store.open("file") as handle:
        flip(store.files.path(handle.number))
        assert store.check() == []
    assert len(store.check()) == 1


def test_fsck_of_content_without_a_row_and_of_a_row_without_content(store, cache_directory):
    put(store, "file", b"content")
    store.journal._db.execute("PRAGMA foreign_keys = OFF")
    store.journal._db.execute("DELETE FROM content")
    store.journal._db.execute("INSERT INTO content (id, size) VALUES (77, 5)")
    found = {one.path: one for one in store.check()}
    assert found[""].done == "nothing needs it"
    assert found["file"].problem == "its content is in no row"


def test_fsck_does_not_touch_what_was_replaced_while_it_looked(store, memory, monkeypatch):
    put(memory, "file", b"content")
    get(store, "file")
    damage(store, "file", flip)
    real = care._problem

    def replaced(content, *rest):
        problem = real(content, *rest)
        store.journal.progress(content.id, blocks=None, allocated=1)
        return problem

    monkeypatch.setattr(care, "_problem", replaced)
    assert store.check() == []


# ---- damage of the journal


def test_damaged_journal_is_set_aside_with_all_content_and_told(store, remote, cache_directory):
    put(store, "small", b"in the journal itself")
    in_files(store)
    put(store, "file", b"only copy")
    store.close()
    with open(os.path.join(cache_directory, "journal.sqlite"), "r+b") as file:
        file.write(b"no database at all" * 100)
    assert not anything_pending(cache_directory)
    with pytest.raises(StoreError, match="damaged"):
        care.Unowned(cache_directory)
    again = cached(remote, cache_directory)
    assert [text.split(" and is now ")[0].split(" is in ")[0] for text in again.problems] == [
        "the journal, with small files, was damaged", "content that no journal knows",
    ]  # fmt: skip
    again.close()
    kept = [os.path.join(place, name) for place, _, names in os.walk(cache_directory) for name in names]
    kept = [Path(path).read_bytes() for path in kept if ".damaged-" in path]
    assert b"only copy" in kept
    assert any(b"in the journal itself" in data for data in kept)


def test_journal_of_another_version_or_not_begun_is_left_alone(store, remote, cache_directory):
    store.close()
    path = os.path.join(cache_directory, "journal.sqlite")
    db = sqlite3.connect(path)
    db.execute("UPDATE meta SET value = '99' WHERE name = 'format'")
    db.commit()
    for look in (True, False):
        with pytest.raises(StoreError, match="another version"):
            Journal(path, identity=None, look=look)
    with pytest.raises(StoreError, match="another version"):
        cached(remote, cache_directory)
    db.execute("DELETE FROM meta")
    db.commit()
    db.close()
    with pytest.raises(StoreError, match="not begun"):
        Journal(path, identity=None, look=True)
    assert not Journal.is_sound(os.path.join(cache_directory, "none.sqlite"))
    assert not Journal.has_pending(os.path.join(cache_directory, "none.sqlite"))


# ---- the background


def test_error_of_its_own_does_not_end_the_background(store, remote, memory, monkeypatch, caplog):
    put(store, "file", b"x")
    real, broken = store.drain.step, threading.Event()

    def step():
        if not broken.is_set():
            broken.set()
            raise ZeroDivisionError
        return real()

    monkeypatch.setattr(store.drain, "step", step)
    store.start()
    store.start()  # is running
    assert broken.wait(60)
    store.upload("file", timeout=60.0)
    assert {e.path for e in memory.walk("")} == {"file"}
    assert "had an error of its own" in caplog.text


def test_remote_edit_is_logged_and_counted(store, memory, caplog):
    put(memory, "file", b"old")
    put(store, "file", b"ours")
    put(memory, "file", b"theirs")
    assert store.flush() == []
    assert store.stats.conflicts == 1
    assert store.stats.errors["conflict"].count == 1
    assert "file was changed at the remote meanwhile; both are kept, ours as file (conflict here" in caplog.text


# ---- passed on


def test_usage_counts_what_is_still_to_come(store, memory):
    before = store.usage()
    put(store, "file", b"x" * 100)
    after = store.usage()
    assert (after.used or 0) - (before.used or 0) == (100 if before.used is not None else 0)


def test_link_is_of_what_is_at_the_remote(remote, memory, cache_directory):
    remote.link = lambda path, *, expires=None: f"https://{path}?{len(get(memory, path))}"
    store = cached(remote, cache_directory)
    put(store, "file", b"12345")
    assert store.link("file") == "https://file?5"
    put(store, "file", b"123")
    remote._faults["write"] = iter([Fault()])
    with pytest.raises(TemporaryError, match="not uploaded yet"):
        store.link("file")
    store.close()


def test_leftovers_and_probes_are_of_the_store_below(remote, cache_directory):
    seen = []
    remote.leftovers = lambda path, *, older_than=None: iter([(path, older_than)])
    remote.remove_leftover = seen.append
    remote.probe = lambda path: Cap.RANGES
    store = cached(remote, cache_directory)
    put(store, "f", b"x")
    visitor = VisitingStore(remote, cache_directory)
    for one in (store, visitor):
        assert list(one.leftovers("p", older_than=3)) == [("p", 3)]
        one.remove_leftover("left")
        assert one.probe("p") is Cap.RANGES
    assert visitor.usage() == remote.usage()
    assert seen == ["left", "left"]
    visitor.journal.close()
    store.close()


def test_disk_that_is_full_is_an_error_of_the_store(store, monkeypatch):
    real = os.pwrite

    def full(fd, data, offset):
        raise OSError(errno.ENOSPC, "no space left")

    class Odd:
        size = None
        local_path = None

        def open(self):
            import io

            return io.BytesIO(b"x" * 10)

        def check(self):
            pass

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError) as failed:
        store.write("file", Odd())
    monkeypatch.setattr(os, "pwrite", real)
    assert failed.value.errno == errno.ENOSPC
    assert [number for number, making in store.files.ids()] == []
