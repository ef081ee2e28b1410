"""What the cache costs: requests, bytes read here and there, memory. Counted, never timed."""

import io
import os
import threading
import tracemalloc

import pytest

from cftool.core.download import VerifiedDownload
from cftool.core.wrapper import Wrapper
from cftool.testing.faulty import FaultyStore
from cftool.wrap.caching.blocks import BLOCK
from cftool.wrap.metadata.store import MetadataCachingStore
from tests.wrap.caching.kit import cached, get, put


class Ranges(FaultyStore):
    """Counts calls; and what was read, as ranges."""

    def __init__(self, inner):
        super().__init__(inner, {})
        self.ranges = []

    def read(self, path, *, start=0, end=None, if_version=None):
        self.ranges.append((start, end))
        return super().read(path, start=start, end=end, if_version=if_version)


@pytest.fixture
def remote(memory):
    return Ranges(memory)


@pytest.fixture
def store(remote, cache_directory):
    """As a mount has it: metadata are cached below."""
    store = cached(MetadataCachingStore(remote, ttl=3600), cache_directory, whole=BLOCK)
    yield store
    store.close()


@pytest.fixture
def disk(monkeypatch):
    """Bytes read from this disk by position."""
    read, real = [], os.pread

    def pread(fd, size, offset):
        data = real(fd, size, offset)
        read.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", pread)
    return read


def test_stat_and_hit_cost_no_request_and_no_more_than_what_is_read(store, remote, memory, disk):
    put(memory, "big", bytes(8 * BLOCK))
    get(store, "big")
    store.stat("big")
    before = remote.calls.copy()
    disk.clear()
    assert store.stat("big").size == 8 * BLOCK
    with store.open("big") as handle:
        assert handle.read(100, 5 * BLOCK) == bytes(100)
    assert (remote.calls - before, disk) == ({}, [100])


def test_stat_and_read_of_what_is_pending_cost_no_request(store, remote, disk):
    put(store, "d/file", b"x" * 1000)
    before = remote.calls.copy()
    assert store.stat("d/file").size == 1000
    with store.open("d/file") as handle:
        assert handle.read(10, 500) == b"x" * 10
    assert (remote.calls - before, disk) == ({}, [10])


def test_hit_after_a_restart_costs_one_look_and_no_content(store, remote, memory, cache_directory):
    put(memory, "file", b"content")
    get(store, "file")
    store.close()
    remote.ranges.clear()
    remote.calls.clear()
    again = cached(remote, cache_directory)
    assert get(again, "file") == b"content"
    assert (remote.ranges, dict(remote.calls)) == ([], {"stat": 1})
    again.close()


def test_read_here_and_there_fetches_the_blocks_that_it_touches(store, remote, memory):
    put(memory, "big", bytes(32 * BLOCK))
    with store.open("big") as handle:
        for at in (20, 7, 29):
            assert handle.read(10, at * BLOCK + 5) == bytes(10)
        assert handle.read(10, 7 * BLOCK + 500) == bytes(10)
    assert sorted(remote.ranges) == [(at * BLOCK, (at + 1) * BLOCK) for at in (7, 20, 29)]


def test_reader_from_the_start_gets_the_rest_ahead_in_ever_longer_stretches(store, remote, memory):
    content = os.urandom(32 * BLOCK)
    put(memory, "big", content)
    with store.open("big") as handle:
        got = b"".join(handle.read(BLOCK // 2, at) for at in range(0, len(content), BLOCK // 2))
    assert got == content
    fetched = sorted(remote.ranges)
    assert sum(end - start for start, end in fetched) == len(content)
    assert len(fetched) < 32  # fewer than blocks, and than half of the reads
    assert max(end - start for start, end in fetched) == 4 * BLOCK


def test_who_finds_all_that_he_reads_here_gets_the_rest_ahead_all_the_same(store, remote, memory):
    content = os.urandom(32 * BLOCK)
    put(memory, "big", content)
    size = BLOCK // 8
    with store.open("big") as handle:
        handle.read(size, 0)
        for at in range(size, len(content), 2 * size):
            for place in (at + size, at):  # as a kernel asks that wants two pieces at once
                while not handle.ready(place, place + size):
                    handle.ensure(place, place + size)
    assert sum(end - start for start, end in remote.ranges) == len(content)
    assert len(remote.ranges) <= 12


def test_blocks_of_a_long_stretch_are_there_as_they_come(cache_directory, memory):
    class Slow(Wrapper):
        def read(self, path, *, start=0, end=None, if_version=None):
            with super().read(path, start=start, end=end, if_version=if_version) as download:
                content = b"".join(download)

            def chunks():
                yield content[: BLOCK + 10]
                assert first.wait(60)
                yield content[BLOCK + 10 :]

            return VerifiedDownload(download.entry, chunks(), start=start, end=end, verify_hashes=False)

    first = threading.Event()
    put(memory, "big", bytes(4 * BLOCK))
    store = cached(Slow(memory), cache_directory, whole=BLOCK)
    with store.open("big") as handle:
        handle.fetching._in_flight.append((0, 4 * BLOCK))
        fetch = threading.Thread(target=handle.fetching._fetch, args=(0, 4 * BLOCK))
        fetch.start()
        assert handle.read(10, 0) == bytes(10)
        assert not handle.has(3 * BLOCK, 4 * BLOCK)
        first.set()
        fetch.join()
        assert handle.has(0, 4 * BLOCK)
    store.close()


def test_reader_of_what_is_closed_meanwhile_does_not_fetch_for_ever(store, memory):
    put(memory, "big", bytes(4 * BLOCK))
    handle = store.open("big")
    fetching = handle.fetching
    handle.close()
    fetching.ensure(0, BLOCK)


def test_large_files_pass_through_little_memory(store, memory):
    class Zeros(io.RawIOBase):
        left = 64 << 20

        def read(self, size=-1):
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    class Source:
        size = None
        local_path = None

        def open(self):
            return Zeros()

        def check(self):
            pass

    tracemalloc.start()
    try:
        store.write("big", Source())
        with store.read("big") as download:
            total = sum(len(chunk) for chunk in download)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 64 << 20
    assert peak < 16 << 20
