"""Orders of changes, renames and uploads in which a file was shown twice, nowhere or as others'; and failed commits."""

import os
import sqlite3
import threading

import pytest

from cftool.core.errors import NotFound, StoreError
from cftool.wrap.caching.rows import State, What
from cftool_providers.memory import MemoryStore
from tests.wrap.caching.kit import cached, content_is_where_its_row_is, get, in_files, put
from tests.wrap.caching.test_together import Refusing


def files(store):
    return {entry.path: get(store, entry.path) for entry in store.walk("") if not entry.is_dir}


def fails_once(monkeypatch, owner, name):
    """The next call of a method of the journal fails."""

    def fails(*args, **how):
        monkeypatch.undo()
        raise StoreError("the disk is full", op="write")

    monkeypatch.setattr(owner, name, fails)


# ---- what is based on what, under directories that are renamed to and fro


def test_file_that_was_renamed_in_a_directory_of_another_name_is_not_taken_for_somebody_elses(store, memory):
    """Its own rename is pending under the name that the directory had then."""
    put(memory, "old/f", b"1")
    store.move("old/f", "old/g")
    store.move("old", "new")
    put(store, "new/g", b"2")
    store.move("new/g", "new/f")
    store.move("new", "old")
    draft = store.edit("old/f", truncate=True)
    draft.write(b"3", 0)
    draft.close()
    assert store.flush() == []
    assert files(memory) == {"old/f": b"3"}


@pytest.mark.parametrize("flushed", [False, True])
def test_draft_goes_with_its_directory_and_stays_based_on_its_own_file(store, memory, flushed):
    put(store, "old/f", b"1")
    draft = store.edit("old/f", truncate=True)
    if flushed:
        assert store.flush() == []
    store.move("old", "new")
    if flushed:
        assert store.flush() == []
    draft.write(b"2", 0)
    draft.close()
    assert store.flush() == []
    assert files(memory) == {"new/f": b"2"}


def test_edit_of_others_is_met_by_a_draft_that_went_with_its_directory(store, memory):
    put(memory, "old/f", b"1")
    draft = store.edit("old/f", truncate=True)
    store.move("old", "new")
    assert store.flush() == []
    put(memory, "new/f", b"theirs")
    draft.write(b"ours", 0)
    draft.close()
    assert store.flush() == []
    assert sorted(files(memory).values()) == [b"ours", b"theirs"]


def test_conflict_is_shown_in_the_directory_by_its_name_of_now(store, memory, monkeypatch):
    put(memory, "old/f", b"1")
    put(store, "old/f", b"ours")
    store.move("old", "new")
    put(memory, "old/f", b"theirs")
    with store.lock:
        [upload, _rename] = store.overlay.rows.values()
    store.drain._do([upload])
    assert [entry.path for entry in store.scan("")] == ["new"]
    assert sorted(get(store, entry.path) for entry in store.scan("new")) == [b"ours", b"theirs"]
    assert store.flush() == []
    assert sorted(files(memory).values()) == [b"ours", b"theirs"]
    assert {path.partition("/")[0] for path in files(memory)} == {"new"}


def test_file_is_found_though_its_directory_is_renamed_to_and_fro_while_it_is_looked_for(store, memory, monkeypatch):
    put(memory, "old/f", b"data")
    stat = memory.stat
    turns = iter([("old", "new"), ("new", "old")])

    def between(path):
        for src, dst in turns:
            store.move(src, dst)
            assert store.flush() == []
            raise NotFound("not found", op="stat", path=path)
        return stat(path)

    store.move("old", "new")
    store.move("new", "old")
    assert store.flush() == []
    monkeypatch.setattr(memory, "stat", lambda path: stat(path) if path != "old/f" else between(path))
    with store.lock:
        before = store._renames
    assert store.stat("old/f").size == 4
    assert store._renames == before + 2


def test_time_of_a_file_is_set_where_it_is_by_now(store, memory, monkeypatch):
    """The directory has its old name again, but not yet at the remote."""
    put(memory, "old/f", b"data")
    store.move("old", "new")
    store.move("new", "old")
    with store.lock:  # the first rename is under way
        first = store.drain._changed(next(iter(store.overlay.rows.values())), state=State.UPLOADING)
    memory.move("old", "new")
    with store.lock:
        store.drain._changed(first, state=State.DIRTY, attempts=1)
    store.set_modified("old/f", 10**18)
    assert store.flush() == []
    assert (files(memory), memory.stat("old/f").modified_ns) == ({"old/f": b"data"}, 10**18)


def test_upload_is_waited_for_under_the_name_that_the_file_got_meanwhile(store, memory, monkeypatch):
    draft = store.edit("f", create=True)
    draft.write(b"1", 0)
    upload = store.upload
    asked = []

    def renames(path, *, timeout):
        asked.append(path)
        if path == "f":
            store.move("f", "g")
        upload(path, timeout=timeout)

    monkeypatch.setattr(store, "upload", renames)
    draft.bring(draft.copied(), timeout=60.0)
    assert (asked, files(memory)) == (["f", "g"], {"g": b"1"})
    draft.discard()


def test_upload_of_a_file_that_is_removed_meanwhile_is_waited_for_no_longer(store, memory, monkeypatch):
    draft = store.edit("f", create=True)
    draft.write(b"1", 0)
    upload = store.upload

    def removes(path, *, timeout):
        upload(path, timeout=timeout)
        store.delete(path)
        draft.removed()

    monkeypatch.setattr(store, "upload", removes)
    draft.bring(draft.copied(), timeout=60.0)
    draft.discard()
    assert store.flush() == []
    assert files(memory) == {}


# ---- content that is open


def opened_and_renamed(store, memory):
    """A handle of `new/f`, which was `old/f` when it was opened."""
    put(memory, "old/f", b"data")
    in_files(store)
    handle = store.open("old/f")
    store.move("old", "new")
    assert store.flush() == []
    return handle


def test_open_content_can_be_written_to_though_its_directory_was_renamed(store, memory):
    """As the kernel goes on with the very file that it reads."""
    handle = opened_and_renamed(store, memory)
    draft = store.adopt(handle, "new/f")
    handle.close()
    draft.write(b"more", 4)
    draft.close()
    assert store.flush() == []
    assert files(memory) == {"new/f": b"datamore"}
    assert content_is_where_its_row_is(store)


def test_content_that_nobody_needs_any_more_goes_when_it_is_closed(store, memory):
    handle = opened_and_renamed(store, memory)
    assert handle.read(10, 0) == b"data"
    assert not content_is_where_its_row_is(store)
    handle.close()
    assert content_is_where_its_row_is(store)


class NewVersions(MemoryStore):
    """A file whose time was set is another version, as where setting it is a copy."""

    def set_modified(self, path, modified_ns):
        return put(self, path, get(self, path), modified_ns=modified_ns)


def test_open_content_is_based_on_what_setting_its_time_made_of_it(cache_directory):
    memory = NewVersions()
    store = cached(memory, cache_directory)
    put(memory, "f", b"data")
    in_files(store)
    handle = store.open("f")
    store.set_modified("f", 10**18)
    draft = store.adopt(handle, "f")
    handle.close()
    draft.write(b"more", 4)
    draft.close()
    assert store.flush() == []
    assert files(memory) == {"f": b"datamore"}
    store.close()


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_open_content_is_based_on_its_own_upload_however_its_directory_is_called(store, memory, when):
    """Uploaded before the rename was asked for, before it was done, and after another one was."""
    put(memory, "old/f", b"data")
    in_files(store)
    handle = store.open("old/f")
    put(store, "old/f", b"data")
    if when == "before":
        assert store.flush() == []
    store.move("old", "new")
    if when == "after":
        store.move("new", "last")
    assert store.flush() == []
    directory = "last" if when == "after" else "new"
    draft = store.adopt(handle, f"{directory}/f")
    handle.close()
    draft.write(b"more", 4)
    draft.close()
    assert store.flush() == []
    assert files(memory) == {f"{directory}/f": b"datamore"}


def test_file_is_moved_onto_one_that_was_renamed_in_a_directory_of_another_name(store, memory):
    put(memory, "old/f", b"1")
    put(memory, "g", b"2")
    store.move("old/f", "old/h")
    store.move("old", "new")
    store.move("g", "new/h")
    assert store.flush() == []
    assert files(memory) == {"new/h": b"2"}


def test_content_that_has_grown_is_another_version(store):
    draft = store.edit("f", create=True)
    draft.write(b"1", 0)
    draft.commit()
    before = store.stat("f")
    draft.write(b"2", 1)
    draft.commit()
    assert store.stat("f").version != before.version
    draft.discard()


def test_replaced_content_is_removed_under_the_lock(store, memory, monkeypatch):
    """Others change the set of open drafts, which is looked through."""
    put(memory, "f", b"1")
    assert get(store, "f") == b"1"
    put(memory, "f", b"2")
    free = []
    unlink = store.unlink

    def looks(number):
        def look():
            taken = store.lock.acquire(blocking=False)
            free.append(taken)
            if taken:
                store.lock.release()

        looker = threading.Thread(target=look)
        looker.start()
        looker.join(60)
        unlink(number)

    monkeypatch.setattr(store, "unlink", looks)
    assert get(store, "f") == b"2"
    assert free == [False]


def test_draft_ends_in_one_step_with_the_look_at_its_row(store, monkeypatch):
    """Who drops the row while the draft is there leaves the file to it."""
    in_files(store)
    draft = store.edit("f", create=True)
    draft.write(b"x" * 100_000, 0)
    draft.commit()
    forget, got = store.forget_draft, []

    def forgets(one):
        replaces = threading.Thread(target=lambda: got.append(store.lock.acquire(timeout=0)))
        replaces.start()
        replaces.join(60)
        forget(one)

    monkeypatch.setattr(store, "forget_draft", forgets)
    draft.discard()
    assert got == [False]


# ---- what the journal could not take


@pytest.mark.parametrize("several", [False, True], ids=["alone", "with others"])
def test_what_the_kernel_wrote_is_not_taken_for_committed_where_the_commit_failed(store, monkeypatch, several):
    draft = store.edit("f", create=True)
    assert draft.lend(lambda _fd: 7) == 7
    os.pwrite(draft.fd, b"1", 0)
    draft.commit()
    os.pwrite(draft.fd, b"2", 0)
    draft.prepare()
    fails_once(monkeypatch, store.journal, "grow")
    makes = [lambda: draft.enter(None), *([lambda: store.localize(add=("d",))] if several else [])]
    assert isinstance(store.all_together(makes)[0], StoreError)
    assert not draft.is_unchanged()
    draft.commit()
    assert draft.is_unchanged()
    draft.discard()
    assert get(store, "f") == b"2"


def test_mark_that_failed_with_its_commit_is_set_by_the_next(store):
    in_files(store)
    draft = store.edit("f", create=True)
    draft.lend(lambda _fd: 7)
    os.pwrite(draft.fd, b"x" * 100_000, 0)
    draft.prepare()
    real = store.journal._db
    store.journal._db = Refusing(real, "COMMIT", "database or disk is full", sqlite3.SQLITE_FULL)
    with pytest.raises(StoreError):
        draft.commit()
    store.journal._db = real
    draft.commit()
    assert store.journal.editing() == {draft.number}
    draft.discard()


def test_content_that_somebody_reads_stays_where_what_replaces_it_could_not_be_entered(store, memory):
    in_files(store)
    put(store, "f", b"x" * 100_000)
    real = store.journal._db
    with store.open("f"):
        store.journal._db = Refusing(real, "COMMIT", "database or disk is full", sqlite3.SQLITE_FULL)
        with pytest.raises(StoreError):
            put(store, "f", b"new")
        store.journal._db = real
    assert get(store, "f") == b"x" * 100_000
    assert store.flush() == []
    assert get(memory, "f") == b"x" * 100_000


def test_draft_keeps_its_name_where_the_rename_could_not_be_entered(store, memory, monkeypatch):
    put(memory, "f", b"1")
    draft = store.edit("f", truncate=True)
    fails_once(monkeypatch, store.journal, "record")
    with pytest.raises(StoreError):
        store.move("f", "g")
    draft.write(b"2", 0)
    draft.close()
    assert store.flush() == []
    assert files(memory) == {"f": b"2"}
    assert [row for row in store.pending() if row.state is not State.CLEAN] == []


def test_draft_is_new_until_something_of_it_or_of_its_name_is_known(store, memory):
    put(memory, "there", b"1")
    new, old = store.edit("new", create=True), store.edit("there", truncate=True)
    assert (new.is_new, old.is_new) == (True, False)
    new.write(b"1", 0)
    new.copied()
    assert not new.is_new
    for draft in (new, old):
        draft.discard()


def test_row_that_gets_another_name_stays_where_it_was_in_the_order(store, remote, cache_directory):
    """As in the journal, which the next process opens."""
    put(store, "d/f", b"1")
    store.move("d", "e")
    with store.lock:
        numbers = list(store.overlay.rows)
        [upload] = [row for row in store.overlay.rows.values() if row.what is What.UPLOAD]
        store.overlay.call(upload, upload)
        assert list(store.overlay.rows) == numbers
    assert get(store, "e/f") == b"1"
    store.close()
    again = cached(remote, cache_directory)
    assert get(again, "e/f") == b"1"
    again.close()
