"""What happens between two looks: somebody changes something just then, here or at the remote."""

import io
import os
from dataclasses import replace

import pytest

from cftool.core.errors import (
    AlreadyExists,
    ConnectionFailed,
    IsADirectory,
    NotADirectory,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    SourceChanged,
    StoreError,
    TemporaryError,
)
from cftool.core.types import Cap, Result
from cftool.testing.faulty import Fault, FaultyStore
from cftool.wrap.caching.blocks import BLOCK
from cftool.wrap.caching.rows import State, What
from tests.wrap.caching.kit import Clock, FlatMemory, cached, content_is_where_its_row_is, get, put


class Meanwhile:
    """Content; `act` is called when somebody begins to read it."""

    local_path = None

    def __init__(self, data, act):
        self.size = len(data)
        self._data = data
        self._act = act

    def open(self):
        self._act()
        return io.BytesIO(self._data)

    def load(self):
        self._act()
        return self._data

    def check(self):
        pass


class Told(FaultyStore):
    """Calls `before` ahead of each call, with its name and path."""

    def __init__(self, inner):
        super().__init__(inner, {})
        self.before = lambda op, path: None

    def stat(self, path):
        self.before("stat", path)
        return super().stat(path)

    def scan(self, path):
        self.before("scan", path)
        return super().scan(path)

    def write(self, path, source, **more):
        self.before("write", path)
        return super().write(path, source, **more)

    def delete(self, path):
        self.before("delete", path)
        return super().delete(path)

    def once(self, op, path, act):
        def before(what, where):
            if (what, where) == (op, path):
                self.before = lambda *_: None
                act()

        self.before = before


@pytest.fixture
def remote(memory):
    return Told(memory)


def files(memory):
    return {entry.path: get(memory, entry.path) for entry in memory.walk("") if not entry.is_dir}


# ---- a condition, while the content comes


def deleted(store):
    store.delete("file")


def deleted_there_too(store):
    store.delete("file")
    assert store.flush() == []


def replaced(store):
    put(store, "file", b"theirs")


def replaced_there_too(store):
    put(store, "file", b"theirs")
    assert store.flush() == []


@pytest.mark.parametrize("pending", [True, False])
@pytest.mark.parametrize("change", [deleted, deleted_there_too, replaced, replaced_there_too])
def test_condition_on_a_version_fails_where_it_has_gone_meanwhile(store, memory, pending, change):
    put(memory, "other", b"x")
    seen = put(store, "file", b"seen") if pending else put(memory, "file", b"seen")
    with pytest.raises(PreconditionFailed):
        store.write("file", Meanwhile(b"mine", lambda: change(store)), if_version=seen.version)
    assert store.flush() == []
    assert files(memory) == {"other": b"x", **({"file": b"theirs"} if "replaced" in change.__name__ else {})}
    assert content_is_where_its_row_is(store)
    assert len(store.journal.sizes()) == len(files(memory)) - ("other" in files(memory))


@pytest.mark.parametrize("change", [replaced, replaced_there_too])
def test_condition_that_nothing_is_there_fails_where_something_has_come_meanwhile(store, memory, change):
    with pytest.raises(AlreadyExists):
        store.write("file", Meanwhile(b"mine", lambda: change(store)), if_absent=True)
    assert store.flush() == []
    assert files(memory) == {"file": b"theirs"}


def test_condition_holds_where_the_seen_version_is_still_the_one(store, memory):
    seen = put(memory, "file", b"seen")
    store.write("file", Meanwhile(b"mine", lambda: put(store, "other", b"x")), if_version=seen.version)
    assert store.flush() == []
    assert files(memory) == {"file": b"mine", "other": b"x"}


# ---- a row, between the moment in which it is chosen and the one in which it goes


def test_time_that_is_set_just_before_a_file_is_uploaded_is_uploaded_with_it(store, memory):
    put(store, "file", b"x", modified_ns=1_000_000_000)
    chosen = store.pending()
    store.set_modified("file", 7_000_000_000)
    store.drain._do(chosen)
    assert memory.stat("file").modified_ns == 7_000_000_000
    assert store.pending() == []


def test_row_that_was_replaced_just_before_it_goes_does_not_go(store, memory):
    put(store, "file", b"old")
    chosen = store.pending()
    put(store, "file", b"new")
    store.drain._do(chosen)
    assert files(memory) == {}
    assert store.flush() == []
    assert files(memory) == {"file": b"new"}


def test_error_of_the_program_itself_leaves_rows_that_can_be_tried_again(store, remote, memory):
    put(memory, "file", b"x")
    store.delete("file")

    def broken():
        raise ZeroDivisionError

    remote.once("delete", "file", broken)
    with pytest.raises(ZeroDivisionError):
        store.flush()
    assert [row.state for row in store.pending()] == [State.DIRTY]
    assert store.flush() == []
    assert files(memory) == {}


def test_file_that_others_delete_just_before_we_do_is_gone(store, remote, memory):
    put(memory, "file", b"x")
    store.delete("file")
    remote.once("delete", "file", lambda: memory.delete("file"))
    assert store.flush() == []
    assert (files(memory), store.stats.conflicts) == ({}, 0)


def test_file_that_others_delete_while_it_is_replaced_comes_back_with_our_content(store, remote, memory):
    put(memory, "file", b"old")
    put(store, "file", b"new")
    remote.once("write", "file", lambda: memory.delete("file"))
    assert store.flush() == []
    assert (files(memory), store.stats.conflicts) == ({"file": b"new"}, 0)


def test_condition_that_is_refused_again_although_nothing_is_there_is_tried_later(store, remote, memory):
    """A server that answers 412 whatever there is: no hot loop, and nothing is lost."""
    put(memory, "file", b"old")
    put(store, "file", b"new")
    memory.delete("file")
    remote._faults["write"] = iter([Fault(lambda: PreconditionFailed("no"))] * 9)
    [row] = store.flush()
    assert (row.state, row.error_kind, row.attempts) == (State.DIRTY, "temporary_error", 2)
    remote._faults.clear()
    assert store.flush() == []
    assert files(memory) == {"file": b"new"}


def test_condition_that_is_refused_although_it_holds_is_tried_later(store, remote, memory):
    put(memory, "file", b"old")
    put(store, "file", b"new")
    remote._faults["write"] = iter([Fault(lambda: PreconditionFailed("no"))])
    assert [row.error_kind for row in store.flush()] == ["temporary_error"]
    assert store.flush() == []
    assert (files(memory), store.stats.conflicts) == ({"file": b"new"}, 0)


def test_error_behind_an_upload_that_is_done_does_not_undo_it(cache_directory, monkeypatch):
    memory = FlatMemory()
    remote = FaultyStore(memory, {"write": [Fault(answer_lost=True)]})
    store = cached(remote, cache_directory)
    store.mkdir("d/e")
    put(store, "d/e/file", b"x")
    assert len(store.flush()) == 1

    def full(*_args, **_more):
        raise QuotaExceeded("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(store.journal, "localize", full)
        assert store.flush() == []
    assert files(memory) == {"d/e/file": b"x"}
    assert [entry.path for entry in store.walk("")] == ["d", "d/e", "d/e/file"]
    store.close()


# ---- conflicts on top of each other


def conflicted(store, remote, memory):
    """Our upload meets an edit of others while newer content of ours waits for it."""
    put(memory, "file", b"old")
    put(store, "file", b"ours, older")

    def theirs():
        put(store, "file", b"ours, newest")
        put(memory, "file", b"theirs")

    remote.once("write", "file", theirs)
    store.drain._do(store.pending())


def test_newer_content_behind_a_conflict_is_one_too_and_everything_is_kept(store, remote, memory):
    conflicted(store, remote, memory)
    assert store.flush() == []
    assert files(memory).pop("file") == b"theirs"
    assert sorted(files(memory).values()) == [b"ours, newest", b"ours, older", b"theirs"]


def test_conflict_that_is_deleted_before_its_upload_does_not_make_the_newer_content_replace_theirs(
    store, remote, memory
):
    conflicted(store, remote, memory)
    [copy] = [row.path for row in store.pending() if row.state is State.CONFLICTED]
    store.delete(copy)
    assert store.flush() == []
    assert files(memory).pop("file") == b"theirs"
    assert sorted(files(memory).values()) == [b"ours, newest", b"theirs"]


def test_delete_behind_a_conflict_does_not_delete_theirs(store, remote, memory):
    put(memory, "file", b"old")
    put(store, "file", b"ours")

    def theirs():
        store.delete("file")
        put(memory, "file", b"theirs")

    remote.once("write", "file", theirs)
    store.drain._do(store.pending())
    assert store.flush() == []
    assert files(memory).pop("file") == b"theirs"
    assert sorted(files(memory).values()) == [b"ours", b"theirs"]


@pytest.mark.parametrize("behind", ["write", "delete", "draft"])
@pytest.mark.parametrize("there", [True, False])
def test_what_waits_for_a_rename_that_meets_an_edit_of_others_leaves_that_alone(store, memory, behind, there):
    put(memory, "a", b"ours")
    if there:
        put(memory, "b", b"old")
    store.move("a", "b")
    draft = None
    if behind == "write":
        put(store, "b", b"newest")
    elif behind == "delete":
        store.delete("b")
    else:
        draft = store.edit("b")
        os.pwrite(draft.fd, b"newest", 0)
    put(memory, "b", b"theirs")
    assert store.flush() == []
    if draft is not None:
        draft.close()
        assert store.flush() == []
    assert files(memory)["b"] == b"theirs"
    assert sorted(files(memory).values()) == [*([] if behind == "delete" else [b"newest"]), b"ours", b"theirs"]


def test_what_waits_for_a_rename_whose_file_others_removed_leaves_theirs_alone(store, remote, memory):
    put(memory, "a", b"ours")
    store.move("a", "b")
    put(store, "b", b"newest")
    memory.delete("a")
    store.drain._do(store.pending()[:1])
    put(memory, "b", b"theirs")
    assert store.flush() == []
    assert files(memory)["b"] == b"theirs"
    assert sorted(files(memory).values()) == [b"newest", b"theirs"]


def test_file_that_others_replace_before_our_rename_is_done_is_read_as_it_is(store, memory):
    """What is cached is another version, though of the same size."""
    put(memory, "old", b"cached")
    assert get(store, "old") == b"cached"
    store.move("old", "new")
    put(memory, "old", b"theirs")
    assert store.flush() == []
    assert (get(store, "new"), files(memory)) == (b"theirs", {"new": b"theirs"})


def test_file_that_others_replace_before_our_rename_and_deletion_are_done_is_kept(store, memory):
    put(memory, "old", b"old")
    store.move("old", "new")
    store.delete("new")
    put(memory, "old", b"theirs, and longer")
    assert store.flush() == []
    assert files(memory) == {"new": b"theirs, and longer"}


def test_file_that_others_put_in_the_place_of_a_rename_is_read_as_it_is(store, memory):
    put(memory, "old", b"cached")
    assert get(store, "old") == b"cached"
    store.move("old", "new")
    memory.delete("old")
    put(memory, "new", b"theirs")
    assert store.flush() == []
    assert (get(store, "new"), files(memory)) == (b"theirs", {"new": b"theirs"})


def test_cached_content_goes_with_a_rename(store, remote, memory):
    put(memory, "old", b"cached")
    assert get(store, "old") == b"cached"
    store.move("old", "new")
    assert store.flush() == []
    remote.calls.clear()
    assert (get(store, "new"), remote.calls["read"]) == (b"cached", 0)


def test_conflict_names_that_are_taken_are_numbered(store, memory):
    for content in (b"1", b"2", b"3"):
        put(store, "file.txt", b"ours " + content)
        put(memory, "file.txt", b"theirs " + content)
        assert store.flush() == []
    kept = {path.partition(" (")[2]: data for path, data in files(memory).items()}
    assert kept == {
        "": b"theirs 3", "conflict here 2023-11-14 22-13-20).txt": b"ours 1",
        "conflict here 2023-11-14 22-13-20 2).txt": b"ours 2", "conflict here 2023-11-14 22-13-20 3).txt": b"ours 3",
    }  # fmt: skip


def test_both_names_of_a_rename_are_written_again_before_it_is_done(store, memory):
    put(memory, "a", b"moved")
    store.move("a", "b")
    put(store, "a", b"new a")
    put(store, "b", b"new b")
    assert store.flush() == []
    assert (files(memory), store.stats.conflicts) == ({"a": b"new a", "b": b"new b"}, 0)


def test_file_that_is_deleted_again_before_the_first_deletion_is_known_to_be_done(store, remote, memory):
    put(memory, "file", b"old")
    store.delete("file")
    remote._faults["delete"] = iter([Fault()])
    assert len(store.flush()) == 1
    put(store, "file", b"new")
    store.delete("file")
    with pytest.raises(NotFound):
        store.stat("file")
    assert store.flush() == []
    assert (files(memory), store.stats.conflicts) == ({}, 0)


def test_file_that_is_deleted_twice_while_its_upload_is_unknown_is_gone(store, remote, memory):
    put(memory, "file", b"old")
    store.delete("file")
    put(store, "file", b"new")
    remote._faults["write"] = iter([Fault(answer_lost=True)])
    store.flush()
    put(store, "file", b"newer")
    store.delete("file")
    put(store, "file", b"newest")
    store.delete("file")
    assert store.flush() == []
    assert (files(memory), store.stats.conflicts) == ({}, 0)


def test_file_that_was_edited_and_then_deleted_here_is_deleted_there(store, memory):
    put(memory, "file", b"old")
    put(store, "file", b"new")
    store.delete("file")
    with pytest.raises(NotFound):
        store.stat("file")
    assert store.flush() == []
    assert files(memory) == {}


# ---- reading, while the file goes elsewhere


def test_file_that_is_deleted_here_between_look_and_read_is_not_found(store, remote, memory):
    put(memory, "file", b"x")
    looked = []

    def gone():
        looked.append(1)
        store.delete("file")

    real = store.stat

    def stat(path):
        entry = real(path)
        if not looked:
            gone()
        return entry

    store.stat = stat
    with pytest.raises(NotFound):
        store.open("file")


def test_file_that_is_replaced_here_between_look_and_read_is_read_as_it_is_by_then(store, memory):
    put(store, "file", b"old")
    real = store.stat

    def stat(path):
        store.stat = real
        entry = real(path)
        put(store, "file", b"newer")
        return entry

    store.stat = stat
    with store.open("file") as handle:
        assert (handle.read(9, 0), handle.entry.size) == (b"newer", 5)


@pytest.mark.parametrize("error", [PreconditionFailed, SourceChanged])
@pytest.mark.parametrize("at", [None, 2])
def test_file_that_changes_at_the_remote_when_it_is_read_is_read_again(store, remote, memory, error, at):
    put(memory, "file", b"data")
    remote._faults["read"] = iter([Fault(lambda: error("changed"), at=at)])
    assert get(store, "file") == b"data"
    assert content_is_where_its_row_is(store)


def test_two_who_begin_to_read_a_large_file_at_the_same_moment_share_what_they_fetch(remote, memory, cache_directory):
    store = cached(remote, cache_directory, whole=BLOCK)
    put(memory, "file", bytes(3 * BLOCK))
    real, first = store.make_room, []

    def room(wanted):
        store.make_room = real
        first.append(store.open("file"))
        real(wanted)

    store.make_room = room
    with store.open("file") as second, first[0]:
        assert second.fetching is first[0].fetching
        assert (second.read(9, 2 * BLOCK), len(store.journal.sizes())) == (bytes(9), 1)
    store.close()


def test_listing_of_a_directory_that_is_renamed_at_the_remote_just_then(store, remote, memory):
    """It is listed under its old name by the journal, and has its new one when the remote is asked."""
    put(memory, "old/file", b"x")
    store.move("old", "new")

    def done():
        assert store.flush() == []

    remote.once("scan", "old", done)
    assert [entry.path for entry in store.scan("new")] == ["new/file"]
    assert [entry.path for entry in store.scan("")] == ["new"]


def test_listing_of_an_empty_directory_whose_parent_is_renamed_at_the_remote_just_then(store, remote, memory):
    memory.mkdir("old/empty")
    store.move("old", "new")
    remote.once("scan", "old/empty", lambda: store.flush())
    assert list(store.scan("new/empty")) == []
    assert [entry.path for entry in memory.walk("")] == ["new", "new/empty"]


def test_file_that_is_known_to_be_absent_is_made_without_asking(store, remote, memory):
    def nothing(op, path):
        raise AssertionError((op, path))

    remote.before = nothing
    draft = store.edit("d/file", create=True, absent=True)
    os.pwrite(draft.fd, b"new", 0)
    draft.close()
    assert get(store, "d/file") == b"new"
    remote.before = lambda op, path: None
    assert store.flush() == []
    assert get(memory, "d/file") == b"new"


@pytest.mark.parametrize("renames", [1, 2], ids=["on its way", "done"])
def test_directory_that_is_renamed_to_and_fro_while_it_is_listed(store, remote, memory, renames):
    """The remote is asked for it under its name just when it has the other one."""
    for name in ("a", "b"):
        put(memory, f"dir/{name}", b"x")
    put(store, "dir/new", b"x")
    store.move("dir", "away")
    store.move("away", "dir")

    def left():
        return sum(row.what is What.RENAME for row in store.pending())

    def done():
        while left() > 2 - renames:
            store.drain.step()
        if renames == 2:  # the listing began in between
            raise NotFound("not there", op="scan", path="dir")

    assert left() == 2
    remote.once("scan", "dir", done)
    assert sorted(entry.path for entry in store.scan("dir")) == ["dir/a", "dir/b", "dir/new"]


def test_entry_that_is_renamed_at_the_remote_while_its_directory_is_listed(store, remote, memory):
    put(memory, "dir/old", b"x")
    put(memory, "dir/stays", b"y")
    store.move("dir/old", "dir/new")
    remote.once("stat", "dir/old", lambda: store.flush())
    assert sorted(entry.path for entry in store.scan("dir")) == ["dir/new", "dir/stays"]


def test_entry_that_is_removed_at_the_remote_while_its_directory_is_listed_is_left_out(store, remote, memory):
    put(memory, "dir/old", b"x")
    store.move("dir/old", "dir/new")
    remote.once("stat", "dir/old", lambda: memory.delete("dir/old"))
    assert list(store.scan("dir")) == []


def test_what_is_asked_for_while_it_is_renamed_at_the_remote_is_found(store, remote, memory):
    put(memory, "old", b"x")
    store.move("old", "new")
    remote.once("stat", "old", lambda: store.flush())
    assert store.stat("new").size == 1


def test_listings_of_what_is_no_directory(store, memory):
    put(store, "file", b"x")
    put(memory, "d/sub/f", b"x")
    store.move("d", "e")
    with pytest.raises(NotADirectory):
        list(store.scan("file"))
    for path in ("d", "d/sub", "nothing"):
        with pytest.raises(NotFound):
            list(store.scan(path))


# ---- batches of the store below


class Batches(Told):
    """With batches; `stops` after so many answers, with `error` or without a word."""

    stops, error = 1 << 30, None

    @property
    def features(self):
        features = super().features
        return replace(features, caps=features.caps | Cap.WRITE_MANY)

    def write_many(self, items):
        for number, item in enumerate(items):
            if number == self.stops:
                if self.error is not None:
                    raise self.error
                return
            try:
                entry = self._write(item)
            except StoreError as error:
                yield Result(item.path, error=error, tag=item.tag)
            else:
                yield Result(item.path, entry=entry, tag=item.tag)


@pytest.fixture
def batches(memory):
    return Batches(memory)


@pytest.fixture
def batching(batches, cache_directory):
    store = cached(batches, cache_directory, Clock())
    yield store
    store.close()


def test_an_error_of_no_class_of_ours_has_a_kind_in_words_too(batching, batches, monkeypatch):
    put(batching, "a", b"a")
    put(batching, "b", b"b")
    refused = lambda items: [Result(item.path, error=BrokenPipeError("gone"), tag=item.tag) for item in items]
    monkeypatch.setattr(batches, "write_many", refused)
    assert [row.error_kind for row in batching.flush()] == ["broken_pipe_error"] * 2


@pytest.mark.parametrize(
    ("error", "kind"), [(ConnectionFailed("down"), "connection_failed"), (None, "temporary_error")]
)
def test_batch_that_ends_early_is_told_and_its_rest_is_tried_again(batching, batches, memory, error, kind):
    for name in "abc":
        put(batching, name, name.encode())
    batches.stops, batches.error = 1, error
    left = batching.flush()
    assert [(row.path, row.attempts, row.error_kind) for row in left] == [("b", 1, kind), ("c", 1, kind)]
    assert all(row.next_try > batching.times.wall() for row in left)
    assert batching.stats.up.bytes == 1
    batches.stops = 99
    assert batching.flush() == []
    assert files(memory) == {"a": b"a", "b": b"b", "c": b"c"}


def test_conflict_in_a_batch_is_no_unanswered_row(batching, batches, memory):
    """What a look at the remote has settled is not sent, so that nobody answers for it."""
    put(memory, "file", b"old")
    put(batching, "file", b"ours")
    put(batching, "other", b"x")
    put(memory, "file", b"theirs")
    batches._faults["write"] = iter([Fault(), Fault()])
    assert len(batching.flush()) == 2
    assert batching.flush() == []
    assert sorted(files(memory).values()) == [b"ours", b"theirs", b"x"]


def test_bytes_of_uploads_that_failed_are_not_counted(store, remote, memory):
    put(store, "file", b"x" * 100)
    remote._faults["write"] = iter([Fault()])
    assert len(store.flush()) == 1
    assert store.stats.up.bytes == 0
    assert store.flush() == []
    assert store.stats.up.bytes == 100


# ---- directories above


def test_file_below_a_file_is_refused_and_one_below_a_directory_that_cannot_be_asked_for_is_not(store, remote, memory):
    put(memory, "file", b"x")
    with pytest.raises(NotADirectory):
        put(store, "file/below", b"x")
    remote._faults["stat"] = iter([Fault(lambda: ConnectionFailed("down"))] * 9)
    put(store, "d/e/new", b"x")
    for call in (lambda: store.move("d/e/new", "other"), lambda: store.mkdir("dir")):
        with pytest.raises(TemporaryError, match=r"cannot be asked|down"):
            call()
    remote._faults.clear()
    assert store.flush() == []
    assert files(memory) == {"file": b"x", "d/e/new": b"x"}


def test_moves_that_are_none(store, memory):
    put(memory, "file", b"x")
    memory.mkdir("dir")
    assert store.move("file", "file").path == "file"
    for src, dst, error in (("", "x", StoreError), ("dir", "dir/sub", StoreError), ("file", "dir", IsADirectory),
                            ("dir", "file", NotADirectory)):  # fmt: skip
        with pytest.raises(error):
            store.move(src, dst)
    with pytest.raises(StoreError):
        store.rmdir("")
    assert store.pending() == []
