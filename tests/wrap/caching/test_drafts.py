"""Files that are open for writing: fsync that means the remote, and what a crash in the middle of a write leaves."""

import os
import threading
from dataclasses import replace

import pytest

from cftool.core.errors import IntegrityError, InvalidName, PermissionDenied, QuotaExceeded, TemporaryError
from cftool.testing.faulty import Fault
from cftool.wrap.caching import care
from cftool.wrap.caching.rows import State
from cftool.wrap.caching.small import LARGEST
from tests.wrap.caching.kit import cached, crashed, get, in_files, put

LONG = 60.0  # seconds that no test takes


@pytest.fixture
def running(store):
    """With uploads in the background, none of which is due."""
    store.start()
    return store


def files(memory):
    return {entry.path: get(memory, entry.path) for entry in memory.walk("") if not entry.is_dir}


def content_files(store):
    return sorted(number for number, _ in store.files.ids())


def written(store, path, data, **how):
    draft = store.edit(path, create=True, **how)
    write(draft, data)
    return draft


def write(draft, data, offset=0):
    draft.reserve(offset + len(data))
    os.pwrite(draft.fd, data, offset)


# ---- fsync that means the remote


@pytest.mark.parametrize("background", [False, True])
def test_open_draft_is_uploaded_as_it_is_and_goes_on(store, memory, background):
    if background:
        store.start()
    draft = written(store, "d/file", b"one")
    draft.bring(draft.copied(), timeout=LONG)
    assert files(memory) == {"d/file": b"one"}
    write(draft, b"two!", 3)
    assert get(store, "d/file") == b"one"
    draft.bring(draft.copied(), timeout=LONG)
    assert files(memory) == {"d/file": b"onetwo!"}
    write(draft, b"O")
    draft.close()
    assert get(store, "d/file") == b"Onetwo!"
    assert store.flush() == []
    assert files(memory) == {"d/file": b"Onetwo!"}
    assert store.stats.conflicts == 0
    assert content_files(store) == sorted(number for number, _, _ in store.journal.sizes())


def test_upload_of_a_draft_that_was_committed_before(running, memory):
    draft = written(running, "file", b"one")
    draft.commit()
    draft.bring(draft.copied(), timeout=LONG)
    assert files(memory) == {"file": b"one"}
    assert running.pending() == []
    draft.discard()
    assert len(content_files(running)) == 1
    assert get(running, "file") == b"one"


def test_second_upload_of_the_same_content_sends_nothing(running, remote):
    draft = written(running, "file", b"one")
    draft.bring(draft.copied(), timeout=LONG)
    before = remote.calls.copy()
    draft.bring(draft.copied(), timeout=LONG)
    assert remote.calls == before
    draft.discard()


def test_draft_stays_based_on_its_own_upload_however_much_was_uploaded_since(store, memory, monkeypatch):
    monkeypatch.setattr("cftool.wrap.caching.owned._REMEMBERED", 2)
    put(memory, "file", b"old")
    draft = written(store, "file", b"new")
    draft.bring(draft.copied(), timeout=LONG)
    for name in ("a", "b", "c"):
        put(store, name, b"x")
    assert store.flush() == []
    write(draft, b"NEW")
    draft.close()
    assert store.flush() == []
    assert files(memory)["file"] == b"NEW"
    assert store.stats.conflicts == 0


def test_draft_without_a_name_is_not_uploaded(running, memory):
    draft = written(running, "file", b"one")
    draft.removed()
    draft.bring(draft.copied(), timeout=LONG)
    assert draft.commit() is None
    draft.discard()
    assert (files(memory), content_files(running)) == ({}, [])


@pytest.mark.parametrize(
    ("error", "raised"),
    [(PermissionDenied("no"), PermissionDenied), (QuotaExceeded("full"), QuotaExceeded),
     (InvalidName("no such names"), InvalidName), (TemporaryError("busy"), TemporaryError)],
)  # fmt: skip
@pytest.mark.parametrize("background", [False, True])
def test_refused_upload_is_told_and_stays_pending(store, remote, memory, error, raised, background):
    if background:
        store.start()
    remote._faults["write"] = iter([Fault(lambda: error)])
    draft = written(store, "file", b"one")
    with pytest.raises(raised, match=str(error)):
        draft.bring(draft.copied(), timeout=LONG)
    draft.discard()
    assert [(row.path, row.error_kind) for row in store.pending()] == [("file", error.kind)]
    store.upload("file", timeout=LONG)
    assert files(memory) == {"file": b"one"}


def test_upload_that_takes_too_long_is_told(running, remote, memory):
    going = threading.Event()
    real = remote.write

    def slow(*args, **kwargs):
        assert going.wait(LONG)
        return real(*args, **kwargs)

    remote.write = slow
    draft = written(running, "file", b"one")
    with pytest.raises(TemporaryError, match="not uploaded within 0 s"):
        draft.bring(draft.copied(), timeout=0.01)
    with pytest.raises(TemporaryError, match="not uploaded within 0 s"):
        running.upload("file", timeout=0.01)
    assert running.flush("file", timeout=0.01) != []
    going.set()
    running.upload("file", timeout=LONG)
    assert files(memory) == {"file": b"one"}
    draft.discard()


def test_upload_waits_for_what_took_the_place_of_the_content(running, remote, memory):
    """A second writer replaces what waits behind a first upload: the end is the newest content at the remote."""
    held, going = threading.Event(), threading.Event()
    real = remote.write

    def slow(*args, **kwargs):
        held.set()
        assert going.wait(LONG)
        return real(*args, **kwargs)

    remote.write = slow
    put(running, "other", b"first round")
    first = threading.Thread(target=lambda: running.upload("other", timeout=LONG))
    first.start()
    assert held.wait(LONG)
    put(running, "file", b"old")
    waiter = threading.Thread(target=lambda: running.upload("file", timeout=LONG))
    seen = running.waiting.count
    waiter.start()
    while running.waiting.count == seen:
        pass
    put(running, "file", b"newest")
    going.set()
    first.join()
    waiter.join()
    assert files(memory) == {"other": b"first round", "file": b"newest"}


def test_upload_of_what_is_not_pending_asks_nobody(running, remote):
    running.upload("file", timeout=LONG)
    assert sum(remote.calls.values()) == 0


def test_remote_edit_during_the_wait_keeps_both(running, memory):
    put(memory, "file", b"old")
    draft = written(running, "file", b"ours")
    put(memory, "file", b"theirs")
    draft.bring(draft.copied(), timeout=LONG)
    assert sorted(files(memory).values()) == [b"ours", b"theirs"]
    assert running.stats.conflicts == 1
    draft.discard()


# ---- a crash while something is written to


def test_file_that_grew_after_its_commit_is_not_damaged_by_a_crash(store, remote, memory, cache_directory):
    put(store, "other", b"x")
    draft = written(store, "file", b"synced")
    draft.commit()
    write(draft, b" and more", 6)
    crashed(store)
    again = cached(remote, cache_directory)
    assert again.problems == []
    assert get(again, "file") == b"synced and more"
    assert again.stat("file").size == 15
    assert again.flush() == []
    assert files(memory) == {"file": b"synced and more", "other": b"x"}
    assert again.journal.editing() == set()
    again.close()


def test_file_that_was_cut_after_its_commit_is_not_damaged_by_a_crash(store, remote, memory, cache_directory):
    draft = written(store, "file", b"synced")
    draft.commit()
    draft.reserve(2)
    os.ftruncate(draft.fd, 2)
    crashed(store)
    cache = care.Unowned(cache_directory)
    assert list(care.checked(cache.journal, cache.files, store.lock, ())) == []
    cache.close()
    again = cached(remote, cache_directory)
    assert again.problems == []
    assert again.flush() == []
    assert files(memory) == {"file": b"sy"}
    again.close()


def test_what_was_written_to_and_then_closed_can_be_damaged_again(store, remote, cache_directory):
    draft = written(store, "file", b"synced")
    draft.commit()
    write(draft, b"more")
    draft.close()
    path = store.files.path(draft.number)
    store.close()
    os.truncate(path, 1)
    again = cached(remote, cache_directory)
    assert again.problems == ["file: its content is damaged and is not uploaded"]
    again.close()


def test_draft_that_is_dropped_after_a_commit_leaves_a_row_that_is_right(store, memory):
    draft = written(store, "file", b"synced")
    draft.commit()
    write(draft, b"synced and more")
    draft.discard()
    assert store.stat("file").size == 15
    assert store.flush() == []
    assert files(memory) == {"file": b"synced and more"}


# ---- content that is damaged while it waits


@pytest.mark.parametrize("harm", [os.unlink, lambda path: os.truncate(path, 1)])
def test_content_that_is_damaged_while_it_waits_is_told_and_kept(store, memory, harm):
    in_files(store)
    put(store, "file", b"content")
    put(store, "fine", b"x")
    with store.open("file") as handle:
        path = store.files.path(handle.number)
    harm(path)
    assert [(row.path, row.state, row.error_kind) for row in store.flush()] == [("file", State.FAILED, "damaged")]
    assert files(memory) == {"fine": b"x"}
    assert store.stats.errors["damaged"].count == 1
    with pytest.raises(IntegrityError):
        store.upload("file", timeout=LONG)
    assert store.flush() != []
    assert store.stats.errors["damaged"].count == 1
    put(store, "file", b"again")
    assert store.flush() == []
    assert files(memory) == {"fine": b"x", "file": b"again"}


# ---- files that the kernel writes to without telling


def lent(store, path):
    """A new draft, and the descriptor that the kernel would have."""
    given = []

    def give(fd):
        given.append(os.dup(fd))
        return 7

    draft = store.edit(path, create=True)
    assert draft.lend(give) == 7
    return draft, given[0]


def unseen(fd, data, offset=0):
    os.pwrite(fd, data, offset)


def test_small_content_of_the_kernels_file_is_in_the_journal_and_stands_until_the_next_commit(
    store, remote, memory, cache_directory
):
    draft, fd = lent(store, "f")
    unseen(fd, b"content")
    assert (draft.is_small, draft.is_unchanged()) == (True, False)
    draft.commit()
    assert draft.is_unchanged()
    unseen(fd, b"CONTENT and more")
    assert not draft.is_unchanged()
    assert store.journal.editing() == set()
    crashed(store)
    again = cached(remote, cache_directory)
    assert (get(again, "f"), content_files(again), again.problems) == (b"content", [], [])
    assert again.flush() == []
    assert files(memory) == {"f": b"content"}
    again.close()
    os.close(fd)


@pytest.mark.parametrize("before", [b"", b"small first"])
def test_large_content_of_the_kernels_file_is_what_it_is_after_a_crash(store, remote, cache_directory, before):
    draft, fd = lent(store, "f")
    if before:
        unseen(fd, before)
        draft.commit()
    large = bytes(LARGEST + 1)
    unseen(fd, large)
    draft.commit()
    assert not draft.is_unchanged()
    assert store.journal.editing() == {draft.number}
    unseen(fd, b"more", len(large))
    crashed(store)
    again = cached(remote, cache_directory)
    assert (get(again, "f"), again.problems) == (large + b"more", [])
    again.close()
    os.close(fd)


def test_kernels_file_that_was_never_closed_is_not_there_after_a_crash(store, remote, cache_directory):
    _, fd = lent(store, "f")
    unseen(fd, b"never closed")
    crashed(store)
    again = cached(remote, cache_directory)
    assert (list(again.scan("")), content_files(again)) == ([], [])
    again.close()
    os.close(fd)


def test_closed_file_of_the_kernel_is_uploaded(store, memory):
    for name, size in (("small", 10), ("large", LARGEST + 1)):
        draft, fd = lent(store, name)
        unseen(fd, bytes(size))
        draft.close()
        os.close(fd)
    assert store.flush() == []
    assert {name: len(data) for name, data in files(memory).items()} == {"small": 10, "large": LARGEST + 1}
    assert (store.silent, store.journal.editing()) == (set(), set())
    assert store.check() == []


def test_kernel_that_takes_no_file_leaves_the_draft_as_it_was(store):
    draft = store.edit("f", create=True)
    assert draft.lend(lambda fd: None) is None
    assert store.silent == set()
    draft.write(b"content", 0)
    draft.close()
    assert get(store, "f") == b"content"


def test_what_the_kernel_has_written_counts_for_all_others(remote, cache_directory):
    store = cached(remote, cache_directory, hard=1 << 20, soft=1 << 20)
    _, fd = lent(store, "f")
    unseen(fd, b"x" * (1 << 20))
    with pytest.raises(QuotaExceeded):
        put(store, "other", bytes(LARGEST + 1))
    store.close()
    os.close(fd)


def test_unseen_writes_need_much_room(remote, cache_directory, monkeypatch):
    store = cached(remote, cache_directory, hard=8 << 30)
    free = 3 << 30
    monkeypatch.setattr(store, "spare", lambda: free)
    assert store.is_wide()
    free = 1 << 30
    assert store.is_wide()  # looked at a moment ago
    store.times.monotonic.now += 1
    assert not store.is_wide()
    store.settings = replace(store.settings, hard=1 << 29)
    free = 3 << 30
    store.times.monotonic.now += 1
    assert not store.is_wide()
    store.close()


def test_draft_of_what_is_renamed_over_is_not_published(store):
    put(store, "f", b"old")
    put(store, "new", b"new")
    draft = store.edit("f")
    write(draft, b"OLD")
    store.move("new", "f")
    assert draft.close() is None
    assert get(store, "f") == b"new"
