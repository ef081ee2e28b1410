"""Against an emulator of somebody else's making, over a real socket: fake-gcs-server, as its package bundles it.

It speaks the JSON API alone. What it does by its own rules and not by Google's is no business of these tests.
"""

import itertools
import os

import pytest

from cftool.core.provider import Context
from cftool.testing.contract import StoreContract
from cftool.wrap.prefix import PrefixStore
from cftool_providers.gs import PROVIDER, _large, _session, _upload
from tests.gs_servers import fake_gcs

pytestmark = pytest.mark.real
KIB = 1024
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server():
    with fake_gcs() as running:
        yield running.url


@pytest.fixture
def open_store(server, tmp_path):
    stores = []

    def make():
        values = {option.name: option.default for option in PROVIDER.options}
        env = {"STORAGE_EMULATOR_HOST": server}
        stores.append(PROVIDER.open(values, Context(remote="real", env=env, state_dir=str(tmp_path / "state"))))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


class TestContract(StoreContract):
    many = 1_010
    sizes = (0, 1, 65_537, 512 * KIB + 1, 1024 * KIB, 1024 * KIB + 1)

    @pytest.fixture
    def store(self, open_store, monkeypatch):
        monkeypatch.setattr(_upload, "WHOLE", 1024 * KIB)
        monkeypatch.setattr(_session, "CHUNK", 512 * KIB)
        monkeypatch.setattr(_session, "STREAM_CHUNK", 256 * KIB)
        store = open_store()
        bucket = f"bucket-{os.getpid()}-{next(_numbers)}"
        store.mkdir(bucket)
        store.probe(bucket)
        return PrefixStore(store, bucket)


def test_a_missing_bucket_is_made_by_the_first_write(open_store):
    from cftool.core.sources import BytesSource
    from cftool.core.types import WriteItem

    items = [WriteItem(f"new-{os.getpid()}/{name}", BytesSource(b"hello")) for name in "abcdef"]
    assert [result.error for result in open_store().write_many(items) if result.error] == []
    with open_store().read(f"new-{os.getpid()}/f") as download:
        assert download.read() == b"hello"


def test_a_large_file_is_composed_of_parts(open_store, monkeypatch, tmp_path):
    from cftool.disk.source import LocalSource

    monkeypatch.setattr(_large, "COMPOSE_FROM", 2048 * KIB)
    monkeypatch.setattr(_large, "PART", 1024 * KIB)
    monkeypatch.setattr(_upload, "WHOLE", 512 * KIB)
    data = os.urandom(5_000_000)
    (tmp_path / "f").write_bytes(data)
    store, bucket = open_store(), f"large-{os.getpid()}"
    store.mkdir(bucket)
    store.write(f"{bucket}/f", LocalSource(str(tmp_path / "f")), modified_ns=1_500_000_000)
    assert [entry.path for entry in store.walk(bucket)] == [f"{bucket}/f"]
    assert store.stat(f"{bucket}/f").modified_ns == 1_500_000_000
    with store.read(f"{bucket}/f") as download:
        assert download.read() == data


def test_many_are_deleted_in_batches(open_store):
    from cftool.core.sources import BytesSource
    from cftool.core.types import WriteItem

    store, bucket = open_store(), f"many-{os.getpid()}"
    store.mkdir(bucket)
    items = [WriteItem(f"{bucket}/d {n % 7}/ä+&f{n}", BytesSource(b"x")) for n in range(250)]
    assert [result.error for result in store.write_many(items) if result.error] == []
    entries = [entry for entry in store.walk(bucket) if not entry.is_dir]
    assert len(entries) == 250
    assert [result.error for result in store.delete_many(entries) if result.error] == []
    assert list(store.walk(bucket)) == []
