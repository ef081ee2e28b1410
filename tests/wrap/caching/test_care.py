"""Looking after a cache that nobody has open, and a disk that is in the way."""

import io
import os
import sqlite3
import threading
from dataclasses import replace

import pytest

from cftool.core.errors import (
    AlreadyExists,
    ConnectionFailed,
    IntegrityError,
    IsADirectory,
    Locked,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    QuotaExceeded,
    SourceChanged,
    StoreError,
    TemporaryError,
    Unsupported,
)
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, NameRules, WriteItem
from cftool.testing.faulty import Fault, FaultyStore
from cftool.wrap.caching import care, owner
from cftool.wrap.caching.blocks import BLOCK, Blocks
from cftool.wrap.caching.files import DataFiles, FileSource
from cftool.wrap.caching.journal import Journal
from cftool.wrap.caching.rows import State
from cftool.wrap.caching.visiting import VisitingStore
from cftool_providers.memory import MemoryStore
from tests.wrap.caching.kit import FlatMemory, cached, crashed, get, put

LARGE = 100_000  # bytes: such content has a data file of its own


def files(memory):
    return {entry.path: get(memory, entry.path) for entry in memory.walk("") if not entry.is_dir}


def filled(store, memory):
    """One clean file and one pending one, both large."""
    put(memory, "clean", bytes(LARGE))
    get(store, "clean")
    put(store, "pending", bytes(LARGE))


# ---- a cache that nobody has open


def test_what_is_pending_and_how_large_all_is_shows_without_a_lock(store, memory, cache_directory):
    filled(store, memory)
    for _ in range(2):
        rows, total, clean = care.looked_at(cache_directory)
        assert [row.path for row in rows] == ["pending"]
        assert total == 2 * clean >= 2 * LARGE
        store.close()


@pytest.mark.parametrize("everything", [False, True])
def test_clear_drops_what_is_pending_only_where_it_is_told_to(store, remote, memory, cache_directory, everything):
    filled(store, memory)
    store.close()
    cache = care.Unowned(cache_directory)
    with pytest.raises(Locked):
        care.Unowned(cache_directory)
    dropped, lost = care.cleared(cache, everything=everything)
    assert (dropped, [row.path for row in lost]) == (1, ["pending"] if everything else [])
    cache.close()
    again = cached(remote, cache_directory)
    assert again.problems == []
    assert [row.path for row in again.pending()] == ([] if everything else ["pending"])
    assert again.flush() == []
    assert set(files(memory)) == ({"clean"} if everything else {"clean", "pending"})
    again.close()


def test_data_files_that_nobody_knows_are_told_and_go_at_the_next_open(store, remote, memory, cache_directory):
    filled(store, memory)
    stray, begun, other = (os.path.join(cache_directory, "data", name) for name in ("ffff", "fffe.new", "readme"))
    for path in (stray, begun, other):
        with open(path, "w") as file:
            file.write("?")
    store.close()
    cache = care.Unowned(cache_directory)
    assert [found.fields() for found in care.unknown(cache.journal, cache.files)] == [
        {
            "path": "",
            "problem": "the data file ffff is in no row",
            "done": "it goes when the cache is next opened",
        }
    ]
    cache.close()
    again = cached(remote, cache_directory)
    assert again.problems == []
    assert [os.path.exists(path) for path in (stray, begun, other)] == [False, False, True]
    assert files(again) == {"clean": bytes(LARGE), "pending": bytes(LARGE)}
    again.close()


def test_fsck_leaves_alone_what_is_busy(store, memory):
    filled(store, memory)
    with store.open("clean") as handle:
        os.truncate(store.files.path(handle.number), 1)
        assert list(care.checked(store.journal, store.files, store.lock, {handle.number})) == []
    assert [found.path for found in store.check()] == ["clean"]


def test_journal_that_cannot_be_read_is_an_error_of_the_store(store, memory, cache_directory):
    put(store, "file", b"x")
    looking = Journal(os.path.join(cache_directory, "journal.sqlite"), identity=None, look=True)
    real = looking._db

    class Broken:
        def execute(self, text, *args):
            if text.startswith("SELECT"):
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR
                raise error
            return real.execute(text, *args)

    looking._db = Broken()
    with pytest.raises(StoreError, match="I/O error"):
        looking.shown()
    looking._db = real
    assert [row.path for row in looking.shown()[0]] == ["file"]
    looking.close()


def test_transaction_that_cannot_begin_is_an_error_of_the_store(store, remote, memory):
    real = store.journal._db

    class Busy:
        in_transaction = False

        def execute(self, text, *args):
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error

    store.journal._db = Busy()
    with pytest.raises(StoreError):
        store.journal.restart()
    store.journal._db = real
    put(store, "file", b"x")
    assert store.flush() == []


# ---- the disk


def test_disk_that_is_full_makes_room_of_clean_files_and_is_told_where_that_does_not_help(store, memory, monkeypatch):
    filled(store, memory)
    free = [0]
    monkeypatch.setattr(store, "spare", lambda: free[0])
    with pytest.raises(QuotaExceeded, match="disk of the cache is full"):
        put(store, "new", bytes(LARGE))
    assert [content.path for content in store.journal.contents()] == [None]  # clean files went first
    assert [row.path for row in store.pending()] == ["pending"]
    free[0] = 1 << 40
    put(store, "new", bytes(LARGE))
    assert store.flush() == []
    assert set(files(memory)) == {"clean", "pending", "new"}
    monkeypatch.setattr(store, "spare", lambda: 0 if store.journal.totals()[1] else 1 << 40)
    put(store, "another", bytes(LARGE))  # the clean files made room
    assert [row.path for row in store.pending()] == ["another"]


def test_open_files_stay_where_room_is_made(remote, memory, cache_directory):
    store = cached(remote, cache_directory, soft=0)
    put(memory, "a", bytes(LARGE))
    put(memory, "b", bytes(LARGE))
    with store.open("a") as handle:
        get(store, "b")
        store.make_room(1)
        assert [content.path for content in store.journal.contents()] == ["a"]
        store.make_room(1)  # there is nothing else
        assert handle.read(3, 0) == bytes(3)
    store.close()


def test_writers_that_wait_for_room_hurry_uploads_and_nothing_else(remote, memory, cache_directory):
    store = cached(remote, cache_directory, soft=4096, hard=3 * LARGE, patience=60.0, delay=3600.0)
    put(memory, "gone", b"x")
    store.delete("gone")
    for name in ("a", "b"):
        put(store, name, bytes(LARGE))
    store.start()
    put(store, "c", bytes(LARGE))
    assert store.flush() == []
    assert set(files(memory)) == {"a", "b", "c"}
    store.close()


def test_data_files_that_cannot_be_had(tmp_path, caplog):
    data = DataFiles(str(tmp_path / "data"))
    with pytest.raises(NotFound):
        data.open(7)
    assert data.size(7) is None
    assert data.set_one_aside(7, "now") is None
    (tmp_path / "data" / "7").mkdir()  # as no cache makes it
    data.remove(7)
    assert "7 cannot be removed" in caplog.text
    (tmp_path / "data" / "7.damaged-now").write_text("in the way")
    with pytest.raises(StoreError):
        data.set_one_aside(7, "now")
    data.close()


def test_source_of_an_upload_notices_that_its_file_is_another(tmp_path):
    path = tmp_path / "content"
    source = FileSource(str(path), 3)
    for call in (source.open, source.check):
        with pytest.raises(StoreError):
            call()
    path.write_bytes(b"123")
    source.check()
    assert source.load() == b"123"
    path.write_bytes(b"1234")
    for call in (source.open, source.check):
        with pytest.raises(SourceChanged):
            call()
    with pytest.raises(StoreError):
        FileSource(str(path / "below"), 3).check()


def test_part_of_a_block_is_no_block():
    blocks = Blocks(2 * BLOCK)
    blocks.add(10, BLOCK)
    assert blocks.present() == 0


# ---- closing


def test_close_ends_what_is_open_and_keeps_what_was_fetched(remote, memory, cache_directory):
    store = cached(remote, cache_directory, whole=BLOCK)
    put(memory, "large", bytes(3 * BLOCK))
    handle = store.open("large")
    handle.read(1, 2 * BLOCK)
    draft = store.edit("never committed", create=True)
    os.pwrite(draft.fd, b"x", 0)
    store.close()
    store.close()
    draft.discard()
    again = cached(remote, cache_directory, whole=BLOCK)
    assert [entry.path for entry in again.scan("")] == ["large"]
    with again.open("large") as kept:
        assert (kept.has(2 * BLOCK, 3 * BLOCK), kept.has(0, 1)) == (True, False)
    kept.close()
    again.close()


# ---- what the remote cannot do


def test_copy_and_times_of_what_has_no_version_are_refused(cache_directory):
    class Silent(MemoryStore):
        def stat(self, path):
            return super().stat(path)._replace(version=None)

        @property
        def features(self):
            features = super().features
            return replace(features, caps=Cap.RANGES)

    memory = Silent()
    put(memory, "file", b"content")
    store = cached(memory, cache_directory)
    for call in (lambda: store.copy("file", "copy"), lambda: store.set_modified("file", 1)):
        with pytest.raises(Unsupported):
            call()
    store.close()


def test_time_of_a_file_is_set_by_an_upload_where_the_remote_cannot(cache_directory, memory):
    class Fixed(FaultyStore):
        @property
        def features(self):
            features = super().features
            return replace(features, caps=features.caps & ~Cap.SET_MODIFIED)

    put(memory, "file", b"content")
    store = cached(Fixed(memory, {}), cache_directory)
    assert store.set_modified("file", 7_000_000_000).modified_ns == 7_000_000_000
    assert store.flush() == []
    assert (files(memory), memory.stat("file").modified_ns) == ({"file": b"content"}, 7_000_000_000)
    store.close()


def test_directory_that_the_remote_cannot_make_is_told(store, remote):
    remote._faults["mkdir"] = iter([Fault(lambda: Unsupported("only files here"))])
    store.mkdir("d")
    assert [(row.path, row.state, row.error_kind) for row in store.flush()] == [("d", State.FAILED, "unsupported")]


def test_keys_of_an_object_store_may_stand_side_by_side(cache_directory):
    class Opaque(FlatMemory):
        @property
        def features(self):
            features = super().features
            return replace(features, names=NameRules(opaque=True))

    store = cached(Opaque(), cache_directory)
    put(store, "a", b"file")
    put(store, "a/b", b"below it")
    assert (get(store, "a"), get(store, "a/b")) == (b"file", b"below it")
    store.close()


@pytest.mark.parametrize("answer_lost", [False, True])
def test_rename_of_a_directory_that_stopped_half_way_goes_on_where_it_was(cache_directory, answer_lost):
    """File by file, where the service cannot do it at once."""
    memory = FlatMemory()
    remote = FaultyStore(memory, {})
    store = cached(remote, cache_directory)
    tree = {f"old/{name}": name.encode() for name in ("a", "sub/b", "sub/c", "sub/deep/d", "z")}
    for path, data in tree.items():
        put(memory, path, data)
    store.move("old", "new")
    wanted = {path.replace("old", "new"): data for path, data in tree.items()}
    for _ in range(2):
        remote._faults["move"] = iter([None, Fault(answer_lost=answer_lost)])
        assert len(store.flush()) == 1
        assert files(store) == wanted
        remote._faults.clear()
    assert store.flush() == []
    assert (files(memory), store.stats.conflicts) == (wanted, 0)
    store.close()


def test_directory_that_is_only_here_is_not_removed_unseen_while_the_remote_cannot_be_asked(cache_directory):
    memory = FlatMemory()
    remote = FaultyStore(memory, {})
    store = cached(remote, cache_directory)
    store.mkdir("d/e")
    assert store._only_local("d/e")
    put(memory, "d/e/theirs", b"x")
    assert not store._only_local("d/e")
    remote._faults["stat"] = iter([Fault(lambda: ConnectionFailed("down"))] * 2)
    assert not store._only_local("d/e")
    store.close()


# ---- fetching


class Gate(FaultyStore):
    """Reads wait until they may; those that are let through by `first` go at once."""

    def __init__(self, inner):
        super().__init__(inner, {})
        self.going, self.held = threading.Event(), threading.Event()
        self.going.set()

    def read(self, path, *, start=0, end=None, if_version=None):
        if not self.going.is_set():
            self.held.set()
            assert self.going.wait(60)
        return super().read(path, start=start, end=end, if_version=if_version)


def test_reader_waits_for_a_block_that_another_is_fetching(memory, cache_directory, monkeypatch):
    remote = Gate(memory)
    store = cached(remote, cache_directory, whole=BLOCK)
    put(memory, "file", bytes(range(256)) * (4 * BLOCK // 256))
    with store.open("file") as one, store.open("file") as other:
        remote.going.clear()
        got, waits = [], threading.Event()
        real = one.fetching._ready.wait

        def wait(seconds):
            waits.set()
            return real(seconds)

        monkeypatch.setattr(one.fetching._ready, "wait", wait)
        threads = [threading.Thread(target=lambda h=h: got.append(h.read(9, 2 * BLOCK + 7))) for h in (one, other)]
        for thread in threads:
            thread.start()
        assert remote.held.wait(60)
        assert waits.wait(60)
        remote.going.set()
        for thread in threads:
            thread.join()
        assert got == [bytes(range(7, 16))] * 2
    store.close()


def test_reader_of_a_stretch_fetches_what_nobody_is_at_and_waits_for_the_rest(memory, cache_directory):
    remote = Gate(memory)
    store = cached(remote, cache_directory, whole=BLOCK)
    content = os.urandom(4 * BLOCK)
    put(memory, "file", content)
    with store.open("file") as handle:
        remote.going.clear()
        last = threading.Thread(target=lambda: handle.read(1, 3 * BLOCK))
        last.start()
        assert remote.held.wait(60)
        got, ranges, real = [], [], FaultyStore.read

        def read(path, *, start=0, end=None, if_version=None):
            ranges.append((start, end))
            remote.going.set()
            return real(remote, path, start=start, end=end, if_version=if_version)

        remote.read = read
        got.append(handle.read(2 * BLOCK, 2 * BLOCK))
        last.join()
        assert (got, ranges) == ([content[2 * BLOCK :]], [(2 * BLOCK, 3 * BLOCK)])
    store.close()


def test_file_that_is_shorter_than_what_was_fetched_is_told(memory, remote, cache_directory):
    store = cached(remote, cache_directory, whole=BLOCK)
    put(memory, "file", os.urandom(3 * BLOCK))
    handle = store.open("file")
    handle.read(1, 2 * BLOCK)
    handle.read(1, BLOCK)
    os.truncate(store.files.path(handle.number), 0)
    with pytest.raises(IntegrityError, match="shorter"):
        handle.read(1, 0)
    handle.close()
    store.close()


def test_content_without_a_hash_is_taken_as_it_comes(cache_directory):
    class Hashless(MemoryStore):
        def stat(self, path):
            return super().stat(path)._replace(hashes={})

    memory = Hashless()
    put(memory, "file", bytes(3 * BLOCK))
    store = cached(memory, cache_directory, whole=BLOCK)
    assert get(store, "file") == bytes(3 * BLOCK)
    store._pool.shutdown()  # what was read ahead is saved
    assert [content.blocks for content in store.journal.contents()] == [None]
    store.close()


def test_stretch_that_nobody_waits_for_any_more_is_not_fetched(memory, cache_directory):
    remote = Gate(memory)
    store = cached(remote, cache_directory, whole=BLOCK)
    put(memory, "file", bytes(64 * BLOCK))
    handle = store.open("file")
    fetching = handle.fetching
    fetching._in_flight.append((0, BLOCK))
    handle.close()
    remote.calls.clear()
    fetching._fetch(0, BLOCK)
    assert (fetching._in_flight, remote.calls["read"]) == ([], 0)
    store.close()


# ---- the answers of an upload


@pytest.mark.parametrize("theirs", [b"our", b"our content and more", b"other"])
def test_what_is_there_is_ours_only_byte_for_byte_where_there_is_no_hash(cache_directory, theirs):
    class Hashless(MemoryStore):
        def stat(self, path):
            entry = super().stat(path)
            return entry._replace(hashes={}, size=11 if not entry.is_dir else None)

    memory = Hashless()
    store = cached(memory, cache_directory)
    put(store, "file", b"our content")
    put(memory, "file", theirs)
    store.flush()
    assert get(memory, "file") == theirs
    assert store.stats.conflicts == 1
    store.close()


def test_upload_whose_content_nobody_wants_any_more_is_looked_for_and_not_repeated(store, remote, memory):
    put(memory, "file", b"old")
    put(store, "file", b"unwanted")
    remote._faults["write"] = iter([Fault()])
    assert len(store.flush()) == 1
    put(store, "file", b"wanted")
    assert store.flush() == []
    assert (files(memory), store.stats.conflicts) == ({"file": b"wanted"}, 0)
    assert remote.calls["write"] == 2


@pytest.mark.parametrize("conditions", [Cap.NONE, Cap.IF_VERSION, Cap.IF_VERSION | Cap.IF_ABSENT])
def test_uploads_without_batches_run_side_by_side_and_each_counts_for_itself(cache_directory, memory, conditions):
    class Single(FaultyStore):
        @property
        def features(self):
            features = super().features
            without = Cap.WRITE_MANY | ((Cap.IF_VERSION | Cap.IF_ABSENT) & ~conditions)
            return replace(features, caps=features.caps & ~without, connections=1)

    remote = Single(memory, {"write": [None, Fault()]})
    store = cached(remote, cache_directory)
    put(memory, "edited", b"old")
    for name in ("a", "b", "edited"):
        put(store, name, name.encode())
    put(memory, "edited", b"theirs")
    assert [row.path for row in store.flush()] == ["b"]
    assert (store.stats.up.bytes, store.stats.conflicts) == (len("a") + len("edited"), 1)
    assert store.flush() == []
    assert sorted(files(memory).values()) == [b"a", b"b", b"edited", b"theirs"]
    store.close()


def test_file_without_a_version_is_replaced_as_it_was_asked_for(cache_directory):
    class Silent(MemoryStore):
        def stat(self, path):
            return super().stat(path)._replace(version=None)

    memory = Silent()
    put(memory, "file", b"old")
    store = cached(memory, cache_directory)
    put(store, "file", b"new")
    assert store.flush() == []
    assert (files(memory), store.stats.conflicts) == ({"file": b"new"}, 0)
    store.close()


def test_flush_whose_time_is_over_tries_nothing(store, remote):
    put(store, "file", b"x")
    assert [row.path for row in store.flush(timeout=-1.0)] == ["file"]
    assert remote.calls["write"] == 0


def test_times_are_kept_only_where_the_remote_keeps_some(cache_directory, memory):
    class Timeless(FaultyStore):
        @property
        def features(self):
            features = super().features
            return replace(features, caps=features.caps & ~Cap.SET_MODIFIED, time_precision_ns=None)

    store = cached(Timeless(memory, {}), cache_directory)
    assert Cap.SET_MODIFIED not in store.features.caps
    store.close()


def test_damaged_content_is_never_taken_for_what_the_remote_has(cache_directory, memory):
    store = cached(FaultyStore(memory, {"write": [Fault(answer_lost=True)]}), cache_directory)
    put(store, "file", bytes(LARGE))
    assert len(store.flush()) == 1
    with store.open("file") as handle:
        os.truncate(store.files.path(handle.number), 3)
    assert [row.error_kind for row in store.flush()] != []
    assert memory.stat("file").size == LARGE
    store.close()


def test_rounds_take_no_more_than_a_batch_at_once(store, memory, monkeypatch):
    monkeypatch.setattr("cftool.wrap.caching.drain._BATCH", 2)
    for number in range(5):
        put(store, f"{number}", b"x")
    store.times.wall.now += 100
    left = []
    while store.drain.step() == 0.0:
        left.append(len(store.pending()))
    assert left == [3, 1, 0]


def test_what_ends_a_program_ends_a_transaction_without_a_trace(store, memory):
    def interrupted():
        store.localize(add=("never",))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.together(interrupted)
    assert store.journal.local() == []
    put(store, "file", b"x")
    assert store.flush() == []


@pytest.mark.parametrize("word", ["BEGIN", "COMMIT"])
def test_what_ends_a_program_at_the_edge_of_a_transaction_leaves_no_trace(store, word):
    real = store.journal._db

    class Ended:
        def __getattr__(self, name):
            return getattr(real, name)

        def execute(self, text, *args):
            if text.startswith(word):
                raise KeyboardInterrupt
            return real.execute(text, *args)

    store.journal._db = Ended()
    with pytest.raises(KeyboardInterrupt):
        store.localize(add=("never",))
    store.journal._db = real
    assert (store.journal.local(), real.in_transaction) == ([], False)
    put(store, "file", b"x")
    assert store.flush() == []


# ---- renames that are merged


def test_renames_onto_what_is_pending_take_its_place(store, memory):
    put(memory, "clean", b"clean")
    put(memory, "there", b"old")
    put(store, "a", b"a")
    put(store, "b", b"b")
    store.move("a", "b")  # onto an upload
    put(store, "c", b"c")
    store.delete("there")
    store.move("c", "there")  # onto a deletion
    put(store, "there2", b"gone")
    store.move("clean", "there2")  # of what the remote has, onto an upload
    assert files(store) == {"b": b"a", "there": b"c", "there2": b"clean"}
    assert store.flush() == []
    assert (files(memory), store.stats.conflicts) == ({"b": b"a", "there": b"c", "there2": b"clean"}, 0)


def test_edited_file_that_is_renamed_takes_its_old_name_away(store, memory):
    put(memory, "old", b"1")
    put(store, "old", b"22")
    store.move("old", "new")
    assert store.flush() == []
    assert (files(memory), store.stats.conflicts) == ({"new": b"22"}, 0)


def test_directories_are_not_renamed_onto_directories(store, memory):
    memory.mkdir("a")
    memory.mkdir("b")
    with pytest.raises(AlreadyExists):
        store.move("a", "b")


def test_source_that_is_shorter_than_it_said_is_refused(store):
    class Short:
        size, local_path = LARGE, None

        def open(self):
            return io.BytesIO(b"short")

        def check(self):
            pass

    with pytest.raises(SourceChanged, match="5 bytes"):
        store.write("file", Short())
    assert (list(store.scan("")), list(store.files.ids())) == ([], [])


def test_new_directory_of_the_top_is_gone_where_it_was_removed_while_it_was_made(cache_directory):
    """The remote cannot make it, so that it would become one that is only here."""
    memory = FlatMemory()

    class Slow(FaultyStore):
        def mkdir(self, path):
            store.rmdir("top")
            super().mkdir(path)

    store = cached(Slow(memory, {}), cache_directory)
    store.mkdir("top")
    assert store.flush() == []
    assert list(store.scan("")) == []
    store.close()


# ---- files that are removed, or in the kernel's hands, while they are open


@pytest.mark.parametrize("whole", [True, False])
def test_writes_to_a_file_that_was_removed_while_it_was_open_are_nobodys(store, memory, whole):
    put(memory, "file", b"content")
    with store.open("file") as handle:
        store.delete("file")
        draft = store.orphan(handle if whole else None)
        assert os.pread(draft.fd, 99, 0) == (b"content" if whole else b"")
        os.pwrite(draft.fd, b"C", 0)
        assert draft.commit() is None
        draft.discard()
    assert store.flush() == []
    assert files(memory) == {}


def test_clean_content_that_is_written_to_in_place_is_no_clean_content_any_more(store, memory):
    put(memory, "file", bytes(LARGE))
    with store.open("file") as handle:
        draft = store.adopt(handle, "file")
        assert store.journal.clean("file") is None
        os.pwrite(draft.fd, b"X", 0)
        draft.close()
    assert store.flush() == []
    assert get(memory, "file") == b"X" + bytes(LARGE - 1)


def test_content_whose_row_cannot_be_taken_away_is_not_written_to(store, memory, monkeypatch):
    put(memory, "file", bytes(LARGE))
    open_files = len(os.listdir("/proc/self/fd"))
    with store.open("file") as handle:

        def full(_numbers):
            raise QuotaExceeded("the disk is full")

        monkeypatch.setattr(store.journal, "forget", full)
        with pytest.raises(QuotaExceeded):
            store.adopt(handle, "file")
    assert len(os.listdir("/proc/self/fd")) == open_files
    assert store.pending() == []


@pytest.mark.parametrize("when", ["before", "while it is copied"])
def test_draft_that_is_removed_while_it_is_sent_sends_nothing(store, memory, monkeypatch, when):
    draft = store.edit("file", create=True)
    os.pwrite(draft.fd, b"x", 0)
    if when == "before":
        draft.removed()
    else:
        real = store.make_room
        monkeypatch.setattr(store, "make_room", lambda size: (real(size), draft.removed()))
    draft.bring(draft.copied(), timeout=60.0)
    draft.discard()
    assert (store.pending(), files(memory), list(store.files.ids())) == ([], {}, [])


def test_draft_that_is_renamed_while_it_is_sent_is_at_both_places_at_the_end(store, remote, memory):
    draft = store.edit("file", create=True)
    os.pwrite(draft.fd, b"x", 0)
    real = remote.write

    def write(path, *args, **more):
        remote.write = real
        store.move("file", "renamed")
        return real(path, *args, **more)

    remote.write = write
    draft.bring(draft.copied(), timeout=60.0)
    assert draft.path == "renamed"
    os.pwrite(draft.fd, b"y", 1)
    draft.close()
    assert store.flush() == []
    assert (files(memory), store.stats.conflicts) == ({"renamed": b"xy"}, 0)


def test_draft_that_cannot_be_copied_leaves_nothing_and_stays_open(store, memory, monkeypatch):
    draft = store.edit("file", create=True)
    os.ftruncate(draft.fd, LARGE)

    def full(*_):
        raise QuotaExceeded("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("cftool.wrap.caching.draft.copying.copy", full)
        with pytest.raises(QuotaExceeded):
            draft.bring(draft.copied(), timeout=60.0)
    assert (store.pending(), len(list(store.files.ids()))) == ([], 1)
    draft.bring(draft.copied(), timeout=60.0)
    draft.close()
    assert store.flush() == []
    assert files(memory) == {"file": bytes(LARGE)}


def test_draft_that_is_renamed_while_it_is_open_is_uploaded_under_its_new_name(store, memory):
    put(memory, "d/file", b"old")
    draft = store.edit("d/file")
    other = store.edit("elsewhere", create=True)
    os.pwrite(draft.fd, b"NEW", 0)
    store.move("d", "e")
    draft.close()
    other.close()
    assert store.flush() == []
    assert (files(memory), store.stats.conflicts) == ({"e/file": b"NEW", "elsewhere": b""}, 0)


# ---- visitors


@pytest.fixture
def visited(store, remote, cache_directory):
    """A visitor of what a dead owner left."""
    visitor = []

    def visit():
        crashed(store)
        visitor.append(VisitingStore(remote, cache_directory))
        return visitor[0]

    yield visit
    for one in visitor:
        one.journal.close()


def test_visitor_sees_what_each_name_is(store, memory, visited):
    put(memory, "moved/file", b"clean")
    store.mkdir("new")
    seen = put(store, "pending", b"x")
    store.move("moved", "elsewhere")
    visitor = visited()
    with pytest.raises(IsADirectory):
        visitor.read("new")
    with pytest.raises(PreconditionFailed):
        visitor.read("pending", if_version="another")
    assert visitor.read("pending", if_version=seen.version).read() == b"x"
    download = visitor.read("elsewhere/file", start=1)
    assert (download.read(), download.entry.path) == (b"lean", "elsewhere/file")


def test_visitor_changes_nothing_over_what_is_pending(store, memory, visited):
    put(memory, "a", b"1")
    put(store, "a", b"22")
    put(store, "d/b", b"333")
    visitor = visited()
    assert visitor.mkdir("d").is_dir
    assert visitor.copy("a", "c").size == 2
    assert visitor.set_modified("a", 7_000_000_000).modified_ns == 7_000_000_000
    visitor.delete("d/b")
    visitor.rmdir("d")
    assert files(memory) == {"a": b"22", "c": b"22"}
    assert not visitor.touched("")


def test_link_of_a_visitor_is_of_what_was_pending(store, remote, memory, visited):
    remote.link = lambda path, *, expires=None: f"https://{path}?{len(get(memory, path))}"
    put(store, "file", b"12345")
    assert visited().link("file") == "https://file?5"


def test_condition_on_a_pending_version_is_one_on_what_was_uploaded_of_it(store, memory, visited):
    seen = put(store, "file", b"pending").version
    visited().write("file", BytesSource(b"mine"), if_version=seen)
    assert files(memory) == {"file": b"mine"}


def test_owner_hears_of_what_a_visitor_changed(store, remote, memory, cache_directory):
    put(store, "file", bytes(LARGE))
    serving = owner.Owner(store)
    visitor = VisitingStore(memory, cache_directory)
    visitor.write("file", BytesSource(b"mine"))
    assert store.journal.clean("file") is None
    assert get(store, "file") == b"mine"
    serving.close()
    visitor.journal.close()


def test_all_that_stands_in_the_way_of_a_batch_is_asked_for_once(cache_directory, memory, store):
    put(store, "a", b"x")
    put(store, "b", b"x")
    crashed(store)
    remote = FaultyStore(memory, {"write": [Fault()] * 99})
    visitor = VisitingStore(remote, cache_directory)
    items = [WriteItem(path, BytesSource(b"new")) for path in ("a", "b")]
    results = {result.path: type(result.error) for result in visitor.write_many(items)}
    assert results == {"a": TemporaryError, "b": TemporaryError}
    visitor.journal.close()


@pytest.mark.parametrize("edited", [False, True])
def test_condition_on_a_pending_version_without_conditions_at_the_remote(cache_directory, memory, edited):
    class Unconditional(FaultyStore):
        @property
        def features(self):
            features = super().features
            return replace(features, caps=features.caps & ~(Cap.IF_VERSION | Cap.IF_ABSENT))

    remote = Unconditional(memory, {})
    store = cached(remote, cache_directory)
    seen = put(store, "file", b"pending").version
    crashed(store)
    visitor = VisitingStore(remote, cache_directory)
    if edited:
        visitor.settle("file")
        put(memory, "file", b"theirs")
        with pytest.raises(PreconditionFailed):
            visitor.write("file", BytesSource(b"mine"), if_version=seen)
    else:
        visitor.write("file", BytesSource(b"mine"), if_version=seen)
    assert files(memory) == {"file": b"theirs" if edited else b"mine"}
    visitor.journal.close()


def test_visitor_reads_what_is_replaced_again_and_again(store, memory, visited, monkeypatch):
    put(store, "file", b"x")
    visitor = visited()

    def gone(*_):
        raise FileNotFoundError

    monkeypatch.setattr(visitor, "_read_here", gone)
    with pytest.raises(TemporaryError, match="changes faster"):
        visitor.read("file")


def test_cache_that_is_in_use_and_whose_owner_does_not_answer_is_told(store, remote, cache_directory):
    put(store, "file", b"x")
    visitor = VisitingStore(remote, cache_directory)
    with pytest.raises(TemporaryError, match="nobody answers"):
        visitor.delete("file")
    visitor.journal.close()


def test_what_the_owner_could_not_upload_is_named(store, remote, memory, cache_directory):
    put(store, "file", b"x")
    serving = owner.Owner(store)
    remote._faults["write"] = iter([Fault(lambda: PermissionDenied("not yours"))] * 9)
    visitor = VisitingStore(memory, cache_directory)
    with pytest.raises(TemporaryError, match="not yours"):
        visitor.delete("file")
    serving.close()
    visitor.journal.close()


def test_refused_items_of_a_batch_of_deletes_come_with_their_errors(store, remote, memory, cache_directory):
    put(memory, "other", b"x")
    put(store, "file", b"x")
    crashed(store)

    class Batching(FaultyStore):
        @property
        def features(self):
            features = super().features
            return replace(features, caps=features.caps | Cap.DELETE_MANY)

    batching = Batching(memory, {"write": [Fault(), Fault()]})
    visitor = VisitingStore(batching, cache_directory)
    entries = [visitor.stat("file"), visitor.stat("other")]
    results = {result.path: type(result.error) for result in visitor.delete_many(entries)}
    assert results == {"file": TemporaryError, "other": type(None)}
    assert files(memory) == {}
    visitor.journal.close()
