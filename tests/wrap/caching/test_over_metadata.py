"""The cache over a cache of metadata: what decides whether something is written over is never answered from memory."""

from dataclasses import replace

import pytest

from cftool.core.types import Cap
from cftool.wrap.metadata.store import MetadataCachingStore
from cftool_providers.memory import MemoryStore
from tests.wrap.caching.kit import cached, get, put


class Unconditional(MemoryStore):
    """Memory that obeys no conditions, as many servers do not."""

    @property
    def features(self):
        features = super().features
        return replace(features, caps=features.caps & ~(Cap.IF_VERSION | Cap.IF_ABSENT))


@pytest.fixture
def remote():
    return Unconditional()


def test_an_edit_of_others_within_the_metadata_time_is_a_conflict(remote, tmp_path):
    put(remote, "dir/file.txt", b"before")
    with_memory = MetadataCachingStore(remote, ttl=3600.0)
    store = cached(with_memory, tmp_path, delay=0.0)
    assert get(store, "dir/file.txt") == b"before"
    put(store, "dir/file.txt", b"ours")
    put(remote, "dir/file.txt", b"theirs")  # past the caches
    assert store.flush() == []
    assert get(remote, "dir/file.txt") == b"theirs"
    [kept] = [entry.path for entry in remote.scan("dir") if "conflict" in entry.path]
    assert get(remote, kept) == b"ours"
    store.close()


def test_a_file_that_others_made_within_the_metadata_time_is_a_conflict(remote, tmp_path):
    put(remote, "dir/other", b"")
    with_memory = MetadataCachingStore(remote, ttl=3600.0)
    store = cached(with_memory, tmp_path, delay=0.0)
    assert [entry.name for entry in store.scan("dir")] == ["other"]
    put(store, "dir/new", b"ours")
    put(remote, "dir/new", b"theirs")
    assert store.flush() == []
    assert {get(remote, entry.path) for entry in remote.scan("dir")} == {b"", b"ours", b"theirs"}
    store.close()


def test_what_others_edited_within_the_metadata_time_is_not_deleted(remote, tmp_path):
    put(remote, "dir/file", b"before")
    with_memory = MetadataCachingStore(remote, ttl=3600.0)
    store = cached(with_memory, tmp_path, delay=0.0)
    assert get(store, "dir/file") == b"before"
    store.delete("dir/file")
    put(remote, "dir/file", b"theirs")
    store.flush()
    assert get(remote, "dir/file") == b"theirs"
    store.close()
