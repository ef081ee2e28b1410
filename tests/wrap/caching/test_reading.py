"""Reading through the cache while the remote changes, breaks, or says little about its files."""

import os
import threading

import pytest

from cftool.core.errors import (
    ConnectionFailed,
    IntegrityError,
    IsADirectory,
    NotFound,
    PreconditionFailed,
    StoreError,
    TemporaryError,
    Unsupported,
)
from cftool.core.sources import BytesSource
from cftool.testing.faulty import Fault, FaultyStore
from cftool.wrap.caching.blocks import BLOCK, Blocks
from cftool.wrap.caching.rows import State
from cftool_providers.memory import MemoryStore
from tests.wrap.caching.kit import cached, get, put

BIG = bytes(range(256)) * (5 * BLOCK // 256) + b"the rest"


class Before(FaultyStore):
    """Calls `before` ahead of each read."""

    before = staticmethod(lambda: None)

    def __init__(self, inner):
        super().__init__(inner, {})
        self.ranges = []

    def read(self, path, *, start=0, end=None, if_version=None):
        self.before()
        self.ranges.append((start, end))
        return super().read(path, start=start, end=end, if_version=if_version)


@pytest.fixture
def remote(memory):
    return Before(memory)


@pytest.fixture(params=[BLOCK, 8 * BLOCK], ids=["in parts", "whole"])
def store(request, remote, cache_directory):
    store = cached(remote, cache_directory, whole=request.param)
    yield store
    store.close()


@pytest.fixture
def parts(remote, cache_directory):
    store = cached(remote, cache_directory, whole=BLOCK)
    yield store
    store.close()


# ---- the remote changes


def test_change_between_look_and_read_gives_the_newer_content(store, remote, memory):
    put(memory, "file", BIG)

    def change():
        remote.before = lambda: None
        put(memory, "file", BIG[::-1])

    remote.before = change
    try:
        got = get(store, "file")
    except PreconditionFailed:  # in parts it was open already: never a mixture
        got = get(store, "file")
    assert got == BIG[::-1]


def test_condition_on_a_version_that_is_gone(store, remote, memory):
    seen = put(memory, "file", BIG).version
    remote.before = lambda: put(memory, "file", b"new")
    with pytest.raises(PreconditionFailed), store.read("file", if_version=seen) as download:
        download.read()
    with pytest.raises(PreconditionFailed):
        store.open("file", if_version=seen)


def test_file_that_changes_at_every_look_is_given_up(remote, memory, cache_directory):
    store = cached(remote, cache_directory)
    versions = iter(range(1, 100))
    put(memory, "file", b"0")
    remote.before = lambda: put(memory, "file", b"%d" % next(versions))
    with pytest.raises(TemporaryError, match="changes faster"):
        store.open("file")
    store.close()


def test_file_that_goes_between_look_and_read(remote, memory, cache_directory):
    store = cached(remote, cache_directory)
    put(memory, "file", b"0")

    def gone():
        remote.before = lambda: None
        memory.delete("file")

    remote.before = gone
    with pytest.raises(NotFound):
        store.open("file")
    store.close()


def test_directory_is_no_file(store):
    store.mkdir("d")
    for call in (store.open, store.edit, lambda path: store.copy(path, "e"), store.delete,
                 lambda path: store.write(path, BytesSource(b""))):  # fmt: skip
        with pytest.raises(IsADirectory):
            call("d")
    with pytest.raises(IsADirectory):
        store.write("", BytesSource(b""))


# ---- the remote says little


class Silent(MemoryStore):
    """Entries without versions."""

    def stat(self, path):
        return super().stat(path)._replace(version=None)


def test_file_without_a_version_is_read_past_the_cache(cache_directory):
    memory = Silent()
    put(memory, "file", b"content")
    store = cached(memory, cache_directory)
    assert store.open("file") is None
    assert get(store, "file") == b"content"
    with store.read("file", start=2, end=4) as download:
        assert download.read() == b"nt"
    assert list(store.files.ids()) == []
    for call in (lambda: store.edit("file"), lambda: store.link("file")):
        with pytest.raises(Unsupported):
            call()
    with pytest.raises(NotFound):
        store.edit("other")
    put(store, "file", b"ours")
    assert get(store, "file") == b"ours"
    assert store.state_of("file") is State.DIRTY
    store.close()


# ---- the connection breaks, bytes are wrong


def test_break_in_a_read_is_told_and_the_next_read_goes_on(parts, remote, memory):
    put(memory, "file", BIG)
    with parts.open("file") as handle:
        assert handle.read(10, 0) == BIG[:10]
        remote._faults["read"] = iter([Fault()] * 20)
        with pytest.raises(ConnectionFailed):
            handle.read(10, 5 * BLOCK)
        remote._faults.clear()
        assert handle.read(10, 5 * BLOCK) == BIG[5 * BLOCK :]
    assert get(parts, "file") == BIG


def test_answer_that_is_short_is_no_content(parts, remote, memory):
    put(memory, "file", BIG)
    with parts.open("file") as handle:
        remote._faults["read"] = iter([Fault(at=100, quiet=True)] * 20)
        with pytest.raises(IntegrityError):
            handle.read(10, 3 * BLOCK)


def test_wrong_byte_shows_when_all_is_here_and_what_was_fetched_is_thrown_away(parts, remote, memory):
    put(memory, "file", BIG)
    remote._faults["read"] = iter([Fault(flip=True, at=5)])
    handle = parts.open("file")

    def read_all():
        for at in range(0, len(BIG), BLOCK):
            handle.read(BLOCK, at)

    with pytest.raises(IntegrityError):
        read_all()
    assert not handle.has(0, 1)
    with pytest.raises(IntegrityError):
        handle.read(1, 0)
    handle.close()
    assert list(parts.journal.contents()) == []
    assert get(parts, "file") == BIG


# ---- what is here in part


def test_part_that_was_fetched_is_there_after_a_restart(parts, remote, memory, cache_directory):
    put(memory, "file", BIG)
    with parts.open("file") as handle:
        assert handle.read(10, 2 * BLOCK) == BIG[2 * BLOCK : 2 * BLOCK + 10]
        assert not handle.complete
    parts.close()
    remote.ranges.clear()
    again = cached(remote, cache_directory, whole=BLOCK)
    with again.open("file") as handle:
        assert handle.has(2 * BLOCK, 2 * BLOCK + 10)
        assert handle.read(10, 2 * BLOCK) == BIG[2 * BLOCK : 2 * BLOCK + 10]
        assert remote.ranges == []
    with again.read("file", start=3 * BLOCK) as download:
        assert download.read() == BIG[3 * BLOCK :]
    assert get(again, "file") == BIG
    again.close()


def test_edit_of_a_file_that_is_here_in_part_fetches_the_rest(parts, memory):
    put(memory, "file", BIG)
    with parts.open("file") as handle:
        handle.read(10, 2 * BLOCK)
        draft = parts.edit("file")
    os.pwrite(draft.fd, b"XX", 0)
    draft.close()
    assert parts.flush() == []
    assert get(memory, "file") == b"XX" + BIG[2:]


def test_edit_whose_fetch_breaks_leaves_nothing(parts, remote, memory):
    put(memory, "file", BIG)
    remote._faults["read"] = iter([Fault()] * 50)
    with pytest.raises(ConnectionFailed):
        parts.edit("file")
    assert [making for _, making in parts.files.ids() if making] == []


def test_readers_of_one_file_fetch_each_block_once(parts, remote, memory):
    put(memory, "file", BIG)
    got = []

    def read():
        with parts.open("file") as handle:
            got.append(b"".join(handle.read(BLOCK, at) for at in range(0, len(BIG), BLOCK)))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [BIG] * 4
    assert sum(end - start for start, end in remote.ranges) == len(BIG)


def test_file_that_is_closed_while_it_is_fetched_keeps_its_descriptor_until_then(parts, remote, memory):
    """Its number must not be another file's while a thread still writes by it."""
    put(memory, "file", BIG)
    handle = parts.open("file")
    held, going = threading.Event(), threading.Event()

    def wait():
        if threading.current_thread().name.startswith("cftool-fetch"):
            held.set()
            assert going.wait(60)

    remote.before = wait
    handle.read(BLOCK, 0)
    assert held.wait(60)
    fd = handle.fetching._fd
    handle.close()
    os.fstat(fd)
    remote.before = lambda: None
    going.set()
    parts._pool.shutdown()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_clear_leaves_what_is_open(parts, memory):
    for path in ("a/one", "a/two", "b"):
        put(memory, path, b"x")
        get(parts, path)
    with parts.open("a/one"):
        assert parts.clear("a") == 1
    assert parts.clear("nothing") == 0
    assert sorted(content.path for content in parts.journal.contents()) == ["a/one", "b"]
    assert parts.clear() == 2


def test_copies_and_times(store, memory):
    put(memory, "file", b"content")
    store.copy("file", "copy")
    assert get(store, "copy") == b"content"
    put(store, "pending", b"ours")
    assert store.copy("pending", "second").size == 4
    assert store.set_modified("pending", 7_000_000_000).modified_ns == 7_000_000_000
    assert store.set_modified("file", 8_000_000_000).modified_ns == 8_000_000_000
    assert store.flush() == []
    assert memory.stat("pending").modified_ns == 7_000_000_000
    assert memory.stat("file").modified_ns == 8_000_000_000
    assert get(memory, "second") == b"ours"


# ---- the bitmap


def test_blocks_of_a_file():
    blocks = Blocks(3 * BLOCK + 10)
    assert (blocks.count, blocks.complete, blocks.present(), blocks.missing(0, 1)) == (4, False, 0, (0, BLOCK))
    blocks.add(BLOCK - 1, 2 * BLOCK)
    assert (blocks.has(BLOCK, 2 * BLOCK), blocks.has(0, 1), blocks.missing(0, BLOCK + 1)) == (True, False, (0, BLOCK))
    blocks.add(3 * BLOCK, 3 * BLOCK + 10)
    assert blocks.present() == BLOCK + 10
    assert Blocks(blocks.size, blocks.encode()).missing(2 * BLOCK, blocks.size) == (2 * BLOCK, 3 * BLOCK)
    blocks.add(0, blocks.size)
    assert (blocks.encode(), blocks.complete, blocks.missing(5, 5)) == (None, True, None)
    assert Blocks(0).complete
    assert Blocks(5, None).present() == 5


# ---- what is done beside a reader


def test_reader_of_a_cache_that_is_being_closed_fetches_for_himself(parts, memory):
    put(memory, "big", BIG)
    with parts.open("big") as handle:
        parts._pool.shutdown()
        assert b"".join(handle.read(BLOCK, at) for at in range(0, len(BIG), BLOCK)) == BIG


def test_blocks_that_cannot_be_noted_are_told_of_and_reach_the_reader(parts, memory, monkeypatch, caplog):
    put(memory, "big", BIG)

    def refuse(*_, **__):
        raise StoreError("input/output error")

    with parts.open("big") as handle, monkeypatch.context() as broken:
        broken.setattr(parts.journal, "progress", refuse)
        assert handle.read(len(BIG), 0) == BIG
        parts._pool.shutdown()  # what goes on beside the reader has ended
        assert "what was fetched of big is not kept: input/output error" in caplog.text
