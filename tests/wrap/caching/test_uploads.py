"""What becomes of pending changes: conflicts, refusals, limits of the cache, damage, a remote that is down."""

import errno
import os
from dataclasses import replace

import pytest

from cftool.core.errors import (
    AlreadyExists,
    ConnectionFailed,
    InvalidName,
    Locked,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    QuotaExceeded,
    StoreError,
    TemporaryError,
)
from cftool.core.types import Cap
from cftool.testing.faulty import Fault, FaultyStore
from cftool.wrap.caching.rows import State
from cftool.wrap.metadata.store import MetadataCachingStore
from cftool_providers.memory import MemoryStore
from tests.wrap.caching.kit import Clock, FlatMemory, cached, get, in_files, put


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(remote, clock, cache_directory):
    store = cached(remote, cache_directory, clock)
    yield store
    store.close()


def fails(remote, op, *faults):
    remote._faults[op] = iter(faults)


def refusal(error):
    return Fault(lambda: error)


def files(memory):
    return {entry.path: get(memory, entry.path) for entry in memory.walk("") if not entry.is_dir}


def rounds(store):
    while store.drain.step() == 0.0:
        pass


# ---- when


def test_upload_waits_for_its_delay_after_the_last_write(store, memory, clock):
    put(store, "file", b"1")
    clock.now += 50
    put(store, "file", b"22")
    clock.now += 50
    rounds(store)
    assert files(memory) == {}
    clock.now += 11
    rounds(store)
    assert files(memory) == {"file": b"22"}
    assert store.state_of("file") is State.CLEAN


def test_background_thread_uploads(remote, memory, cache_directory):
    store = cached(remote, cache_directory, delay=0.0)
    store.start()
    put(store, "file", b"x")
    for _ in range(100):
        if not store.pending():
            break
        store.waiting.wait(0.1)
    assert store.pending() == []
    store.close()
    assert files(memory) == {"file": b"x"}


def test_file_that_is_open_for_writing_is_not_uploaded_before_it_is_closed(store, memory, clock):
    draft = store.edit("file", create=True)
    os.pwrite(draft.fd, b"half", 0)
    draft.commit()
    clock.now += 100
    rounds(store)
    assert store.flush() != []
    assert files(memory) == {}
    os.pwrite(draft.fd, b"whole", 0)
    draft.close()
    clock.now += 100
    rounds(store)
    assert files(memory) == {"file": b"whole"}


# ---- conflicts


def test_edit_of_both_sides_keeps_both(store, memory):
    put(memory, "dir/file.txt", b"old")
    put(store, "dir/file.txt", b"ours")
    put(memory, "dir/file.txt", b"theirs")
    assert store.flush() == []
    [ours] = [path for path in files(memory) if "conflict here" in path]
    assert ours.startswith("dir/file (conflict here ")
    assert ours.endswith(").txt")
    assert files(memory) == {"dir/file.txt": b"theirs", ours: b"ours"}
    assert (store.stats.conflicts, get(store, "dir/file.txt"), get(store, ours)) == (1, b"theirs", b"ours")


def test_new_file_of_both_sides_keeps_both(store, memory):
    put(store, "file", b"ours")
    put(memory, "file", b"theirs")
    assert store.flush() == []
    assert sorted(files(memory).values()) == [b"ours", b"theirs"]
    assert files(memory)["file"] == b"theirs"


def test_same_new_file_of_both_sides_is_one(store, memory):
    put(store, "file", b"same")
    put(memory, "file", b"same")
    assert store.flush() == []
    assert files(memory) == {"file": b"same"}
    assert store.stats.conflicts == 0


def test_file_that_was_edited_meanwhile_is_not_deleted(store, memory):
    put(memory, "file", b"old")
    store.delete("file")
    put(memory, "file", b"theirs")
    assert store.flush() == []
    assert files(memory) == {"file": b"theirs"}
    assert (store.stats.conflicts, get(store, "file")) == (1, b"theirs")


def test_file_that_was_deleted_meanwhile_comes_back_with_our_edit(store, memory):
    put(memory, "file", b"old")
    put(store, "file", b"ours")
    memory.delete("file")
    assert store.flush() == []
    assert files(memory) == {"file": b"ours"}


def test_rename_onto_what_was_changed_meanwhile_keeps_both(store, memory):
    put(memory, "a", b"a")
    put(memory, "b", b"b")
    store.move("a", "b")
    put(memory, "b", b"theirs")
    assert store.flush() == []
    assert sorted(files(memory).values()) == [b"a", b"theirs"]
    assert files(memory)["b"] == b"theirs"


def test_directory_with_new_entries_of_others_stays(store, memory):
    memory.mkdir("dir")
    store.rmdir("dir")
    put(memory, "dir/new", b"theirs")
    assert store.flush() == []
    assert files(memory) == {"dir/new": b"theirs"}


# ---- refusals


@pytest.mark.parametrize(
    ("error", "seconds"), [(QuotaExceeded("full"), 600), (PermissionDenied("no"), 300), (StoreError("odd"), 2)]
)
def test_refused_upload_is_tried_again_later(store, remote, memory, clock, error, seconds):
    put(store, "file", b"x")
    clock.now += 61
    fails(remote, "write", refusal(error))
    rounds(store)
    [row] = store.pending()
    assert (row.state, row.attempts, row.next_try - clock.now, row.error_kind) == (State.DIRTY, 1, seconds, error.kind)
    clock.now += seconds + 1
    rounds(store)
    assert files(memory) == {"file": b"x"}


def test_what_can_never_work_waits_for_a_change_or_a_flush(store, remote, memory, clock):
    put(store, "file", b"x")
    clock.now += 61
    fails(remote, "write", refusal(InvalidName("no such names here")))
    rounds(store)
    clock.now += 1e6
    rounds(store)
    assert [row.state for row in store.pending()] == [State.FAILED]
    assert get(store, "file") == b"x"
    assert store.flush() == []
    assert files(memory) == {"file": b"x"}


@pytest.mark.parametrize("change", ["write", "delete", "move"])
def test_what_can_never_work_is_tried_again_when_it_was_changed(store, remote, memory, clock, change):
    put(store, "file", b"x")
    clock.now += 61
    fails(remote, "write", refusal(InvalidName("no such names here")))
    rounds(store)
    if change == "write":
        put(store, "file", b"xx")
    elif change == "delete":
        store.delete("file")
    else:
        store.move("file", "other")
    clock.now += 61
    rounds(store)
    assert store.pending() == []
    assert files(memory) == {"write": {"file": b"xx"}, "delete": {}, "move": {"other": b"x"}}[change]


def test_one_failure_stops_no_other(store, remote, memory):
    for name in ("a", "b", "c"):
        put(store, name, b"x")
    fails(remote, "write", refusal(PermissionDenied("no")))
    [left] = store.flush()
    assert files(memory).keys() == {"a", "b", "c"} - {left.path}


def test_service_says_when_to_come_back(store, remote, clock):
    put(store, "file", b"x")
    clock.now += 61
    fails(remote, "write", refusal(TemporaryError("busy", retry_after=77.0)))
    rounds(store)
    assert store.pending()[0].next_try == clock.now + 77


def test_upload_whose_answer_was_lost_is_known_again(store, remote, memory):
    put(memory, "file", b"old")
    put(store, "file", b"new")
    fails(remote, "write", Fault(answer_lost=True))
    assert len(store.flush()) == 1
    assert store.flush() == []
    assert files(memory) == {"file": b"new"}
    assert store.stats.conflicts == 0


def test_rename_whose_answer_was_lost_is_shown_and_done(store, remote, memory):
    put(memory, "d/f", b"x")
    store.move("d", "e")
    fails(remote, "move", Fault(answer_lost=True))
    assert len(store.flush()) == 1
    assert [e.path for e in store.walk("")] == ["e", "e/f"]
    assert get(store, "e/f") == b"x"
    with pytest.raises(NotFound):
        store.stat("d/f")
    assert store.flush() == []
    assert files(memory) == {"e/f": b"x"}


class Overtaken(FlatMemory):
    """`then` happens while its next listing of `d` is made: that has what was first, or what is left."""

    then = None

    def scan(self, path):
        if path != "d" or self.then is None:
            return super().scan(path)
        then, self.then = self.then, None
        before = list(super().scan(path))
        then()
        left = {entry.path for entry in self.walk("")}
        return iter([entry for entry in before if entry.path in left] or before[:1])


@pytest.mark.parametrize("moves", [0, 1, 3])
def test_listing_that_a_rename_overtakes_is_whole(cache_directory, moves):
    inner = Overtaken()
    store = cached(FaultyStore(inner, {"move": [None] * moves + [Fault()]}), cache_directory)
    for name in ("a", "b", "c"):
        put(store, f"d/{name}", b"x")
    assert store.flush() == []
    store.move("d", "e")
    put(store, "e/new", b"x")
    inner.then = store.flush
    assert sorted(entry.name for entry in store.scan("e")) == ["a", "b", "c", "new"]
    left = sorted(entry.path for entry in inner.walk("") if entry.path.startswith("d/"))
    assert left == ["d/a", "d/b", "d/c"][moves:]
    store.close()


def test_empty_directory_is_there_under_either_name_of_a_rename_that_was_tried(store, remote, memory):
    memory.mkdir("d")
    store.move("d", "e")
    fails(remote, "move", refusal(ConnectionFailed("down")))
    assert len(store.flush()) == 1  # still at the old name
    assert list(store.scan("e")) == []
    fails(remote, "move", Fault(answer_lost=True))
    assert len(store.flush()) == 1  # at the new one, which is not known yet
    assert list(store.scan("e")) == []
    store.rmdir("e")
    assert store.flush() == []
    assert list(memory.scan("")) == []


def test_remote_that_is_down(store, remote, memory, clock):
    put(memory, "known", b"cached")
    assert get(store, "known") == b"cached"
    down = [refusal(ConnectionFailed("down")) for _ in range(1000)]
    for op in ("stat", "read", "scan", "write"):
        fails(remote, op, *down)
    assert get(store, "known") == b"cached"
    put(store, "new", b"queued")
    assert get(store, "new") == b"queued"
    for call in (lambda: store.stat("unknown"), lambda: store.delete("unknown"), lambda: store.mkdir("dir")):
        with pytest.raises(TemporaryError):
            call()
    clock.now += 100
    rounds(store)
    assert [(row.path, row.error_kind) for row in store.pending()] == [("new", "connection_failed")]
    remote._faults.clear()
    clock.now += 1000
    rounds(store)
    assert files(memory) == {"known": b"cached", "new": b"queued"}


@pytest.mark.parametrize(
    "error", [ConnectionFailed("down"), QuotaExceeded("the account is full")], ids=["down", "full"]
)
def test_remote_that_takes_nothing_for_ten_minutes(store, remote, memory, clock, caplog, error):
    """All that is done meanwhile is told, tried now and then, and there at the end, in its order and under its name."""
    for name in ("d/old", "d/gone", "kept"):
        put(memory, name, name.encode())
        assert get(store, name) == name.encode()
        assert store.stat(name).size
    for op in ("write", "move", "delete", "mkdir"):
        fails(remote, op, *[refusal(error)] * 10_000)
    put(store, "d/new", b"before the rename")
    put(store, "new", b"first")
    clock.now += 61
    rounds(store)
    store.move("d", "e")
    put(store, "e/later", b"after the rename")
    store.delete("e/gone")
    put(store, "new", b"second")
    store.move("new", "renamed")
    expected = {
        "e/old": b"d/old", "e/new": b"before the rename", "e/later": b"after the rename", "kept": b"kept",
        "renamed": b"second",
    }  # fmt: skip
    end = clock.now + 600
    while clock.now < end:
        rounds(store)
        assert {entry.path: get(store, entry.path) for entry in store.walk("") if not entry.is_dir} == expected
        clock.now += 10
    waiting = store.pending()
    assert {row.error_kind for row in waiting} == {"", error.kind}  # what waits for another was not tried
    assert str(error.message) in caplog.text
    assert 2 <= sum(remote.calls[op] for op in ("write", "move", "delete")) <= 40
    remote._faults.clear()
    clock.now += 600  # the longest pause between two tries
    rounds(store)
    assert (store.pending(), files(memory), store.stats.conflicts) == ([], expected, 0)


# ---- conditions


def test_conditions_hold_for_what_is_pending(store):
    entry = put(store, "file", b"1", if_absent=True)
    with pytest.raises(AlreadyExists):
        put(store, "file", b"2", if_absent=True)
    newer = put(store, "file", b"22", if_version=entry.version)
    with pytest.raises(PreconditionFailed):
        put(store, "file", b"3", if_version=entry.version)
    with pytest.raises(PreconditionFailed):
        store.read("file", if_version=entry.version)
    assert store.read("file", if_version=newer.version).read() == b"22"


# ---- limits


def test_soft_limit_evicts_what_was_used_longest_ago(remote, memory, clock, cache_directory):
    store = cached(remote, cache_directory, clock, soft=3 * 4096)
    for name in ("a", "b", "c"):
        put(memory, name, name.encode() * 4096)
        clock.now += 1
        get(store, name)
    clock.now += 1
    get(store, "a")
    put(store, "new", b"n" * 4096)
    assert sorted(content.path for content in store.journal.contents() if content.path) == ["a", "c"]
    assert store.journal.totals() == store.journal.summed()
    store.close()


def test_hard_limit_refuses_before_data_is_taken(remote, clock, cache_directory):
    store = cached(remote, cache_directory, clock, soft=4096, hard=2 * 4096)
    put(store, "a", b"a" * 4096)
    put(store, "b", b"b" * 4096)
    with pytest.raises(QuotaExceeded) as failed:
        put(store, "c", b"c" * 4096)
    assert failed.value.errno in {errno.ENOSPC, errno.EDQUOT}
    assert [number for number, making in store.files.ids() if making] == []
    assert store.flush() == []
    put(store, "c", b"c" * 4096)
    store.close()


def test_writer_waits_for_uploads_to_make_room(remote, memory, cache_directory):
    store = cached(remote, cache_directory, soft=4096, hard=2 * 4096, patience=30.0, delay=3600.0)
    store.start()
    for name in "abcdef":
        put(store, name, name.encode() * 4096)
    assert store.flush() == []
    assert len(files(memory)) == 6
    store.close()


# ---- damage


def test_pending_content_that_is_damaged_is_told_and_not_uploaded(store, remote, memory, cache_directory):
    in_files(store)
    put(store, "file", b"content")
    put(store, "other", b"fine")
    with store.open("file") as handle:
        path = store.files.path(handle.number)
    store.close()
    os.truncate(path, 3)
    again = cached(remote, cache_directory)
    assert again.problems == ["file: its content is damaged and is not uploaded"]
    assert [row.path for row in again.flush()] == ["file"]
    assert files(memory) == {"other": b"fine"}
    assert os.path.getsize(path) == 3
    again.close()


def test_clean_content_that_is_damaged_is_fetched_again(store, remote, memory, cache_directory):
    put(memory, "file", b"content")
    with store.open("file") as handle:
        path = store.files.path(handle.number)
    store.close()
    os.truncate(path, 3)
    again = cached(remote, cache_directory)
    assert get(again, "file") == b"content"
    again.close()


def test_second_owner_is_refused(store, cache_directory):
    with pytest.raises(Locked):
        cached(MemoryStore(), cache_directory)


def test_cache_of_another_remote_is_refused(store, cache_directory):
    store.close()
    other = MemoryStore()
    other._features = type(other._features)(identity="other")
    with pytest.raises(StoreError, match="another remote"):
        cached(other, cache_directory)


def test_rename_onto_a_file_whose_upload_may_have_arrived_is_no_conflict(store, remote, memory):
    put(store, "edited", b"1")
    fails(remote, "write", Fault(answer_lost=True))
    assert len(store.flush()) == 1
    put(store, "new", b"22")
    assert store.flush("new") == []
    store.move("new", "edited")
    assert store.flush() == []
    assert files(memory) == {"edited": b"22"}
    assert store.stats.conflicts == 0


def test_renames_onto_the_same_name_one_after_the_other_are_no_conflict(store, memory):
    put(memory, "edited", b"0")
    put(memory, "one", b"1")
    put(memory, "two", b"22")
    store.move("one", "edited")
    store.move("two", "edited")
    put(store, "three", b"333")
    store.move("three", "edited")
    assert store.flush() == []
    assert files(memory) == {"edited": b"333"}
    assert store.stats.conflicts == 0


def test_file_that_is_written_again_and_again_while_another_is_renamed_is_no_conflict(cache_directory, memory):
    class Busy(FaultyStore):  # somebody goes on working while versions are on their way
        def write(self, path, source, **more):
            if source.load() == b"first":
                put(store, "f", b"second")
                drafts.append(store.edit("f", truncate=True))
                store.move("old", "new")
            elif source.load() == b"second":
                draft = drafts.pop()
                os.write(draft.fd, b"third")
                draft.close()
            return super().write(path, source, **more)

    drafts = []
    store = cached(Busy(memory, {}), cache_directory)
    put(memory, "old", b"o")
    put(store, "f", b"first")
    assert store.flush() == []
    assert files(memory) == {"f": b"third", "new": b"o"}
    assert store.stats.conflicts == 0
    store.close()


def test_time_of_a_renamed_file_is_kept_where_neither_answers_nor_listings_tell(cache_directory, memory):
    class Silent(FaultyStore):  # as S3: only stat tells
        def move(self, src, dst):
            return super().move(src, dst)._replace(modified_ns=None)

        def scan(self, path):
            return (entry._replace(modified_ns=None) for entry in super().scan(path))

    store = cached(Silent(memory, {}), cache_directory)
    put(store, "old", b"x", modified_ns=10**18)
    assert store.flush() == []
    store.move("old", "new")
    assert store.flush() == []
    assert [(entry.path, entry.modified_ns) for entry in store.scan("")] == [("new", 10**18)]
    store.close()


def test_edit_of_others_is_seen_through_a_cache_of_metadata_where_the_service_knows_no_conditions(
    cache_directory, memory
):
    class Unconditional(FaultyStore):
        @property
        def features(self):
            features = super().features
            return replace(features, caps=features.caps & ~(Cap.IF_VERSION | Cap.IF_ABSENT))

    store = cached(MetadataCachingStore(Unconditional(memory, {}), ttl=3600), cache_directory)
    put(memory, "file", b"old")
    assert get(store, "file") == b"old"
    put(store, "file", b"ours")
    put(memory, "file", b"theirs, meanwhile")
    assert store.flush() == []
    found = files(memory)
    assert found.pop("file") == b"theirs, meanwhile"
    assert list(found.values()) == [b"ours"]
    store.close()
