"""Small content is in the journal itself: no data file, until it grows. What becomes of it in each state."""

import errno
import os
import sqlite3

import pytest

from cftool.core.errors import IntegrityError, QuotaExceeded, SourceChanged, StoreError
from cftool.wrap.caching import care, small
from cftool.wrap.caching.files import FileSource
from cftool.wrap.caching.journal import Journal
from cftool.wrap.caching.visiting import VisitingStore
from cftool_providers.memory import MemoryStore
from tests.wrap.caching.kit import Clock, cached, crashed, get, in_files, put

LIMIT = small.LARGEST


@pytest.fixture
def memory():
    return MemoryStore()


@pytest.fixture
def store(memory, cache_directory):
    store = cached(memory, cache_directory)
    yield store
    store.close()


def data_files(store):
    return [number for number, _ in store.files.ids()]


def inline(store):
    """Bytes by path, of clean and of pending content."""
    rows = {row.content: row.path for row in store.pending()}
    paths = {content.id: content.path or rows.get(content.id) for content in store.journal.contents()}
    return {paths[number]: size for number, size in store.journal.inline.sizes().items()}


@pytest.mark.parametrize(("size", "here"), [(0, True), (1, True), (LIMIT, True), (LIMIT + 1, False)])
def test_content_up_to_the_limit_has_no_data_file(store, memory, size, here):
    data = bytes(size)
    put(store, "written", data)
    draft = store.edit("drafted", create=True)
    draft.write(data, 0)
    draft.close()
    assert inline(store) == ({"written": size, "drafted": size} if here else {})
    assert len(data_files(store)) == (0 if here else 2)
    for name in ("written", "drafted"):
        assert get(store, name) == data
    assert store.check() == []
    assert store.flush() == []
    assert {e.path: get(memory, e.path) for e in memory.walk("")} == {"written": data, "drafted": data}
    assert get(store, "written") == data
    assert store.journal.totals() == store.journal.summed()


def test_it_stays_after_its_upload_and_a_restart_and_is_not_fetched_again(store, memory, cache_directory):
    put(store, "file", b"content")
    assert store.flush() == []
    store.close()
    again = cached(memory, cache_directory)
    with again.open("file") as handle:
        assert (handle.read(100, 3), handle.copied) == (b"tent", True)
    assert (again.stats.hits, again.stats.misses) == (1, 0)
    assert again.clear() == 1
    assert again.journal.inline.sizes() == {}
    assert again.journal.inline.total() == 0
    assert get(again, "file") == b"content"
    again.close()


def test_draft_is_read_cut_and_extended_in_memory(store):
    draft = store.edit("f", create=True)
    draft.write(b"content", 5)
    buffer = memoryview(bytearray(20))
    assert (draft.read_into(buffer, 0), bytes(buffer[:12])) == (12, bytes(5) + b"content")
    assert draft.read_into(buffer, 12) == 0
    draft.truncate(7)
    draft.truncate(9)
    draft.allocate(0, 10)
    draft.allocate(0, 3)
    draft.set_time(1_000_000_000)
    assert draft.times() == (10, 1_000_000_000)
    assert draft.close().modified_ns == 1_000_000_000
    assert get(store, "f") == bytes(5) + b"co" + bytes(3)
    assert data_files(store) == []


@pytest.mark.parametrize("grow", [
    lambda draft: draft.write(b"!", LIMIT),
    lambda draft: draft.truncate(LIMIT + 1),
    lambda draft: draft.allocate(LIMIT, 1),
])  # fmt: skip
@pytest.mark.parametrize("committed", [False, True])
def test_what_grows_above_the_limit_becomes_a_file(store, memory, cache_directory, grow, committed):
    draft = store.edit("f", create=True)
    draft.write(b"content", 0)
    if committed:
        draft.commit()
        assert inline(store) == {"f": 7}
    grow(draft)
    assert inline(store) == ({"f": 7} if committed else {})
    draft.commit()
    assert (inline(store), len(data_files(store)), store.journal.inline.total()) == ({}, 1, 0)
    draft.write(b"C", 0)
    crashed(store)
    again = cached(memory, cache_directory)
    assert again.problems == []
    found = get(again, "f")
    assert (found[:7], len(found)) == (b"Content", LIMIT + 1)
    again.close()


def test_growing_that_is_given_up_leaves_what_was_committed(store):
    draft = store.edit("f", create=True)
    draft.write(b"content", 0)
    draft.commit()
    draft.write(b"x", LIMIT)
    assert len(data_files(store)) == 1
    draft.discard()
    assert (get(store, "f"), data_files(store)) == (b"content", [])


def test_draft_that_is_dropped_leaves_what_was_committed(store):
    draft = store.edit("f", create=True)
    draft.write(b"one", 0)
    draft.commit()
    draft.write(b"two and more", 0)
    draft.discard()
    never = store.edit("never", create=True)
    never.write(b"x", 0)
    never.discard()
    assert {entry.path: get(store, entry.path) for entry in store.scan("")} == {"f": b"one"}


def test_draft_that_cannot_become_a_file_stays_what_it_was(store, monkeypatch):
    draft = store.edit("f", create=True)
    draft.write(b"small", 0)

    def full(*_):
        raise QuotaExceeded("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("cftool.wrap.caching.draft.data_files.write_at", full)
        with pytest.raises(QuotaExceeded):
            draft.write(bytes(small.LARGEST), 5)
    assert list(store.files.ids()) == []
    draft.close()
    assert get(store, "f") == b"small"


@pytest.mark.parametrize("size", [10, small.LARGEST + 10])
def test_draft_is_read_and_has_its_time_in_memory_as_in_a_file(store, size):
    draft = store.edit("f", create=True)
    draft.write(b"x" * size, 0)
    buffer = bytearray(20)
    assert draft.read_into(memoryview(buffer), size - 5) == 5
    assert buffer[:5] == b"xxxxx"
    draft.set_time(7_000_000_000)
    assert draft.has_room(size)
    draft.close()
    assert (store.stat("f").modified_ns, store.stat("f").size) == (7_000_000_000, size)


def test_time_of_the_beginning_of_the_epoch_is_a_time(store):
    draft = store.edit("f", create=True)
    draft.write(b"x", 0)
    draft.close(0)
    assert store.stat("f").modified_ns == 0


def test_small_writes_have_room_until_they_would_have_to_ask(store):
    draft = store.edit("f", create=True)
    assert not draft.has_room(small.LARGEST + 1)
    draft.write(b"x", 0)
    assert draft.has_room(100)
    assert store.has_small_room()
    draft.discard()


def test_reader_without_files_in_memory_has_one_of_the_disk(store, monkeypatch):
    put(store, "f", b"content")
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with store.open("f") as handle:
        assert handle.read(99, 0) == b"content"

    def none_left(**_):
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr("tempfile.TemporaryFile", none_left)
    with pytest.raises(StoreError, match="too many"):
        store.open("f")


def test_content_that_is_replaced_before_it_is_sent_is_not_sent():
    gone = small.InlineSource(3, lambda: None, lambda: None)
    other = small.InlineSource(3, lambda: b"1234", lambda: 4)
    for call in (gone.load, gone.check):
        with pytest.raises(SourceChanged, match="replaced"):
            call()
    for call in (other.open, other.check):
        with pytest.raises(SourceChanged, match="another size"):
            call()
    same = small.InlineSource(3, lambda: b"123", lambda: 3)
    same.check()
    assert same.open().read() == b"123"


def test_large_local_file_is_copied_by_the_system(store, tmp_path):
    path = tmp_path / "local"
    path.write_bytes(b"x" * (small.LARGEST + 1))
    store.write("f", FileSource(str(path), small.LARGEST + 1))
    assert get(store, "f") == path.read_bytes()


def test_reader_keeps_what_it_opened(store):
    put(store, "f", b"old")
    with store.open("f") as handle:
        put(store, "f", b"newer")
        assert handle.read(10, 0) == b"old"
    assert get(store, "f") == b"newer"


def test_open_draft_is_uploaded_as_it_is(store, memory):
    draft = store.edit("f", create=True)
    draft.write(b"one", 0)
    draft.bring(draft.copied(), timeout=60.0)
    assert get(memory, "f") == b"one"
    draft.write(b"two", 3)
    draft.close()
    assert store.flush() == []
    assert (get(memory, "f"), store.stats.conflicts, data_files(store)) == (b"onetwo", 0, [])


def test_visitor_reads_it(store, memory, cache_directory):
    put(store, "f", b"content")
    visitor = VisitingStore(memory, cache_directory)
    assert get(visitor, "f") == b"content"
    with visitor.read("f", start=2, end=5) as download:
        assert download.read() == b"nte"
    with visitor.read("f", start=7) as download:
        assert download.read() == b""
    visitor.journal.close()


def test_source_that_is_longer_or_shorter_than_it_said_is_refused(store):
    from cftool.core.sources import BytesSource

    for wrong in (3, 20):
        source = BytesSource(b"content")
        source.size = wrong
        with pytest.raises(SourceChanged):
            store.write("f", source)
    assert (list(store.scan("")), inline(store)) == ([], {})


# ---- limits


def test_more_than_the_journal_is_to_hold_goes_to_files(store, monkeypatch):
    monkeypatch.setattr(small, "MOST", 10)
    put(store, "a", b"12345678")
    put(store, "b", b"12345678")
    draft = store.edit("c", create=True)
    draft.write(b"12345678", 0)
    draft.bring(draft.copied(), timeout=60.0)
    draft.close()
    assert inline(store) == {"a": 8}
    assert [get(store, name) for name in "abc"] == [b"12345678"] * 3


def test_clean_content_goes_where_the_journal_holds_much(memory, cache_directory, monkeypatch):
    """What was used longest ago goes first."""
    clock = Clock()
    store = cached(memory, cache_directory, clock)
    monkeypatch.setattr(small, "FULL", 30)
    monkeypatch.setattr(small, "ENOUGH", 20)
    for name in "abc":
        put(store, name, b"1234567890")
        assert store.flush() == []
        clock.now += 1
    get(store, "a")
    assert sorted(inline(store)) == ["a", "b", "c"]
    put(store, "d", b"1")
    assert sorted(inline(store)) == ["a", "b", "c", "d"]
    assert store.flush() == []
    assert sorted(inline(store)) == ["a", "d"]
    assert get(store, "b") == b"1234567890"
    assert store.check() == []
    store.close()


def test_clean_content_that_is_open_stays_and_what_is_pending_always_does(memory, cache_directory, monkeypatch):
    store = cached(memory, cache_directory)
    monkeypatch.setattr(small, "FULL", 25)
    monkeypatch.setattr(small, "ENOUGH", 0)
    for name in "ab":
        put(store, name, b"1234567890")
    assert store.flush() == []
    put(store, "c", b"1234567890")
    put(store, "pending", b"1")
    with store.open("a"):
        assert store.flush("c") == []
    assert "pending" in inline(store)
    assert "b" not in inline(store)
    assert get(store, "a") == b"1234567890"
    store.close()


def test_hard_limit_counts_it(memory, cache_directory):
    store = cached(memory, cache_directory, soft=4096, hard=2 * 4096)
    put(store, "a", b"x")
    draft = store.edit("b", create=True)
    draft.write(b"x", 0)
    draft.close()
    with pytest.raises(QuotaExceeded):
        put(store, "c", b"x")
    with pytest.raises(QuotaExceeded):
        store.edit("d", create=True).write(b"x", 0)
    store.close()


# ---- damage, and older caches


def test_content_that_is_damaged_is_told_and_kept(store, memory):
    put(store, "file", b"content")
    put(store, "fine", b"x")
    store.journal._db.execute("UPDATE inline SET data = x'79' WHERE length(data) = 7")
    [found] = store.check()
    assert (found.path, "1 bytes, not 7" in found.problem, "not uploaded" in found.done) == ("file", True, True)
    assert [(row.path, row.error_kind) for row in store.flush()] == [("file", "damaged")]
    assert [entry.path for entry in memory.walk("")] == ["fine"]
    with pytest.raises(IntegrityError):
        store.upload("file", timeout=60.0)


@pytest.mark.parametrize("harm", ["DELETE FROM inline", "UPDATE inline SET data = x'79'"])
def test_content_that_is_damaged_is_not_uploaded_after_a_restart(store, memory, cache_directory, harm):
    put(store, "file", b"content")
    store.journal._db.execute(harm)
    store.close()
    again = cached(memory, cache_directory)
    assert again.problems == ["file: its content is damaged and is not uploaded"]
    assert again.flush() != []
    assert list(memory.walk("")) == []
    again.close()


def test_clean_content_that_is_damaged_is_fetched_again(store, memory):
    put(store, "file", b"content")
    assert store.flush() == []
    store.journal._db.execute("UPDATE inline SET data = x'434f4e54454e54'")
    [found] = store.check()
    assert ("another" in found.problem, "fetched again" in found.done) == (True, True)
    assert get(store, "file") == b"content"


def test_data_file_of_content_that_is_in_the_journal_counts_for_nothing(store, memory, cache_directory):
    put(store, "file", b"content")
    [number] = store.journal.inline.sizes()
    store.close()
    with open(store.files.path(number), "wb") as file:
        file.write(b"longer than committed")
    cache = care.Unowned(cache_directory)
    assert [found.problem for found in care.unknown(cache.journal, cache.files)] == ["the data file 1 is in no row"]
    cache.close()
    again = cached(memory, cache_directory)
    assert (get(again, "file"), data_files(again)) == (b"content", [])
    again.close()


def test_cache_of_the_first_format_is_read_drained_and_goes_on(store, memory, cache_directory):
    in_files(store)
    put(store, "old", b"pending in a file")
    put(store, "other", b"clean")
    assert store.flush("other") == []
    store.close()
    path = os.path.join(cache_directory, "journal.sqlite")
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE inline")
        db.execute("UPDATE meta SET value = '1' WHERE name = 'format'")
    db.close()
    visitor = VisitingStore(memory, cache_directory)
    assert get(visitor, "old") == b"pending in a file"
    again = cached(memory, cache_directory)
    assert again.problems == []
    put(again, "new", b"small")
    assert inline(again) == {"new": 5}
    assert {name: get(visitor, name) for name in ("old", "other", "new")} == {
        "old": b"pending in a file", "other": b"clean", "new": b"small",
    }  # fmt: skip
    visitor.journal.close()
    assert again.flush() == []
    assert get(memory, "old") == b"pending in a file"
    again.close()
    journal = Journal(path, identity=None)
    assert journal._db.execute("SELECT value FROM meta WHERE name = 'format'").fetchone() == ("2",)
    journal.close()


# ---- its parts


def test_source_of_it_says_when_it_is_not_what_it_was(store):
    source = small.InlineSource(3, lambda: b"abc", lambda: 3)
    source.check()
    assert (source.load(), source.open().read(), source.local_path) == (b"abc", b"abc", None)
    put(store, "f", b"content")
    [row] = store.pending()
    source = store.source_of(row.content, 7)
    source.check()
    assert source.load() == b"content"
    assert store.flush() == []
    store.clear()
    for call in (source.load, source.check, small.InlineSource(4, lambda: b"abc", lambda: 3).check):
        with pytest.raises(SourceChanged):
            call()


def test_copy_for_a_reader_lies_on_the_disk_where_memory_has_no_files(store, monkeypatch):
    put(store, "f", b"content")
    monkeypatch.delattr(os, "memfd_create")
    assert (get(store, "f"), data_files(store)) == (b"content", [])

    def full(*args):
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(os, "memfd_create", full, raising=False)
    with pytest.raises(StoreError, match="too many"):
        get(store, "f")


def test_draft_stays_in_memory_where_its_file_cannot_be_written(store, monkeypatch):
    draft = store.edit("f", create=True)
    draft.write(b"content", 0)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", full)
        with pytest.raises(OSError, match="full"):
            draft.write(b"x", LIMIT)
    assert data_files(store) == []
    draft.close()
    assert get(store, "f") == b"content"


def test_draft_in_a_file_is_read_cut_and_extended_there(store):
    draft = store.edit("f", create=True)
    draft.write(bytes(LIMIT), 5)
    draft.write(b"abc", 0)
    buffer = memoryview(bytearray(3))
    assert (draft.read_into(buffer, 0), bytes(buffer)) == (3, b"abc")
    draft.truncate(2)
    draft.allocate(0, 4)
    draft.set_time(1_000_000_000)
    assert (draft.times(), draft.size, draft.is_small) == ((4, 1_000_000_000), 4, False)
    draft.close()
    assert (get(store, "f"), inline(store)) == (b"ab\0\0", {})


def test_edit_of_a_file_begins_with_what_it_has(store):
    for name, size in (("small", 10), ("large", LIMIT + 10)):
        put(store, name, b"x" * size)
        draft = store.edit(name)
        draft.write(b"y", size - 1)
        draft.close()
        assert get(store, name) == b"x" * (size - 1) + b"y"
    assert (inline(store), len(data_files(store))) == ({"small": 10}, 1)


def test_small_file_that_is_made_of_an_open_one_that_is_removed(store):
    draft = store.edit("f", create=True)
    draft.write(b"content", 0)
    draft.removed()
    draft.bring(draft.copied(), timeout=60.0)
    assert draft.commit() is None
    draft.discard()
    draft.discard()
    assert (list(store.scan("")), inline(store), data_files(store)) == ([], {}, [])


def test_room_for_small_files_is_asked_for_much_at_once(store):
    assert not store.has_small_room()
    draft = store.edit("f", create=True)
    assert not draft.has_room(LIMIT + 1)
    assert draft.has_room(0)
    draft.write(b"x", 0)
    assert store.has_small_room()
    assert draft.has_room(LIMIT)
    draft.discard()


def test_content_that_is_open_stays_where_the_journal_holds_much(store, monkeypatch):
    put(store, "f", b"1234567890")
    put(store, "g", b"1234567890")
    monkeypatch.setattr(small, "FULL", 5)
    monkeypatch.setattr(small, "ENOUGH", 0)
    with store.open("f"):
        assert store.flush() == []
        assert inline(store) == {"f": 10}


def test_cache_that_is_cleared_for_all_has_none(store, cache_directory):
    put(store, "clean", b"x")
    assert store.flush() == []
    put(store, "pending", b"y")
    store.close()
    cache = care.Unowned(cache_directory)
    count, lost = care.cleared(cache, everything=True)
    assert (count, [row.path for row in lost], cache.journal.inline.sizes()) == (1, ["pending"], {})
    cache.close()


def test_what_is_committed_again_takes_the_place_of_what_was(store):
    draft = store.edit("f", create=True)
    for data in (b"one", b"longer", b""):
        draft.truncate(0)
        draft.write(data, 0)
        draft.commit()
        assert (get(store, "f"), inline(store), store.journal.inline.total()) == (data, {"f": len(data)}, len(data))
    draft.discard()
    assert len(store.journal.sizes()) == 1


def test_kernels_small_file_is_one_where_the_journal_is_full(store, monkeypatch):
    monkeypatch.setattr(small, "MOST", 0)
    draft = store.edit("f", create=True)
    assert draft.lend(lambda fd: 7) == 7
    os.pwrite(draft.fd, b"content", 0)
    draft.close()
    assert (get(store, "f"), inline(store), len(data_files(store))) == (b"content", {}, 1)
    assert store.check() == []


def test_draft_in_a_file_says_whether_it_has_to_ask(store):
    draft = store.edit("f", create=True)
    draft.write(b"x", LIMIT)
    assert draft.has_room(LIMIT)
    assert not draft.has_room(1 << 50)
    draft.commit()
    assert not draft.has_room(1)  # the journal has to hear of the next write
    draft.write(b"y", 0)
    assert draft.has_room(1)
    draft.discard()
