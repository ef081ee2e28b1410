"""The provider against servers of somebody else's making: moto and `rclone serve s3`, over real sockets."""

import hashlib

import pytest

from cftool.core.errors import NotFound, StoreError
from cftool.core.provider import Context, Secret
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, ReadItem, WriteItem
from cftool.disk.source import LocalSource
from cftool.testing.targets import MemoryTarget
from cftool_providers.s3 import PROVIDER
from tests.servers import REGION, S3Server

from .conftest import Remembering
from .test_upload import PART, content

pytestmark = pytest.mark.real

NAMES = ["plain", "d/a b+c%", "d/é/日本", "d-e", "d.e", "d/z/&<>'\"", "new\tline", "~x", "😀"]


def open_store(server: S3Server, state_dir=None, transport=None):
    values: dict[str, object] = {option.name: None for option in PROVIDER.options}
    values |= {
        "endpoint_url": server.url,
        "access_key_id": server.access_key,
        "secret_access_key": Secret(server.secret_key),
        "region": REGION,
        "part_size": PART,
    }
    return PROVIDER.open(values, Context(memory=Remembering(), state_dir=state_dir, transport=transport))


@pytest.fixture(params=["moto", "rclone"])
def server(request) -> S3Server:
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def store(server, tmp_path):
    store = open_store(server, str(tmp_path / "state"))
    yield store
    store.close()


@pytest.fixture
def bucket(store, request):
    name = "t" + hashlib.md5(request.node.name.encode()).hexdigest()[:20]
    store.mkdir(name)
    return name


def test_a_round_trip_keeps_content_names_and_times(store, bucket, server):
    files = {f"{bucket}/{name}": content(n * 1000, seed=n) for n, name in enumerate(NAMES)}
    items = [WriteItem(path, BytesSource(data), modified_ns=10**18 + n) for n, (path, data) in enumerate(files.items())]
    assert [r.error for r in store.write_many(items)] == [None] * len(files)
    walked = [e for e in store.walk(bucket) if not e.is_dir]
    assert {e.path: e.size for e in walked} == {path: len(data) for path, data in files.items()}
    targets = {path: MemoryTarget() for path in files}
    assert not any(r.error for r in store.read_many(ReadItem(e, targets[e.path]) for e in walked))
    assert {path: target.data for path, target in targets.items()} == files
    for item in items:
        assert targets[item.path].entry.modified_ns == item.modified_ns
    assert not any(r.error for r in store.delete_many(list(store.walk(bucket))))
    assert [e for e in store.walk(bucket) if not e.is_dir] == []


def test_scan_and_walk_agree(store, bucket):
    for result in store.write_many(WriteItem(f"{bucket}/{name}", BytesSource(b"x")) for name in NAMES):
        assert result.error is None

    def below(path):
        for entry in store.scan(path):
            yield entry
            if entry.is_dir:
                yield from below(entry.path)

    assert {(e.path, e.kind) for e in below(bucket)} == {(e.path, e.kind) for e in store.walk(bucket)}
    assert bucket in {e.path for e in store.scan("")}
    for path in (f"{bucket}/none", f"{bucket}/d/", f"{bucket}/pla"):
        with pytest.raises(StoreError):
            list(store.walk(path))


def test_pages_are_followed(store, bucket):
    names = [f"{bucket}/d{n % 7}/f{n:04}" for n in range(1100)]
    assert not any(r.error for r in store.write_many(WriteItem(name, BytesSource(b"")) for name in names))
    assert [e.path for e in store.walk(bucket) if not e.is_dir] == sorted(names)
    assert not any(r.error for r in store.delete_many(e for e in list(store.walk(bucket)) if not e.is_dir))


def test_large_files(store, bucket, tmp_path):
    data = content(2 * PART + 12_345)
    (tmp_path / "file").write_bytes(data)
    entry = store.write(f"{bucket}/large", LocalSource(str(tmp_path / "file")), modified_ns=123_456_789)
    assert entry.size == len(data)
    assert entry.modified_ns == 123_456_789
    assert entry.hashes
    assert store.stat(f"{bucket}/large") == entry
    target = MemoryTarget()
    [result] = store.read_many([ReadItem(entry, target)])
    assert result.error is None
    assert target.data == data
    with store.read(f"{bucket}/large", start=PART - 5, end=PART + 5) as download:
        assert download.read() == data[PART - 5 : PART + 5]
    assert list(store.leftovers(bucket, older_than=0)) == []


def test_copies_and_times(store, bucket):
    store.write(f"{bucket}/a", BytesSource(b"content"), modified_ns=5)
    assert store.copy(f"{bucket}/a", f"{bucket}/b c").modified_ns == 5
    assert store.set_modified(f"{bucket}/a", 1_500_000_000_123_456_789).modified_ns == 1_500_000_000_123_456_789
    store.move(f"{bucket}/a", f"{bucket}/d/e")
    assert store.read(f"{bucket}/d/e").read() == b"content"
    with pytest.raises(NotFound):
        store.stat(f"{bucket}/a")


def test_conditions_are_what_the_server_makes_of_them(store, bucket, server):
    caps = store.probe(bucket)
    assert (Cap.IF_ABSENT in caps) == (Cap.IF_VERSION in caps) == (server.kind == "moto")


def test_buckets_come_and_go(store, bucket):
    store.write(f"{bucket}-new/f", BytesSource(b"x"))
    store.delete(f"{bucket}-new/f")
    store.rmdir(f"{bucket}-new")
    with pytest.raises(NotFound):
        store.stat(f"{bucket}-new")
    with pytest.raises(NotFound):
        list(store.walk(f"{bucket}-new"))


def test_odd_keys_at_moto(moto_server):
    store = open_store(moto_server)
    odd = ["a//b", "a/./b", "/lead", "ctrl\x01", "trail//"]
    store.mkdir("oddkeys")
    for key in odd:
        store.write(f"oddkeys/{key}", BytesSource(key.encode()))
    assert {e.path for e in store.walk("oddkeys") if not e.is_dir} == {f"oddkeys/{key}" for key in odd}
    for key in odd:
        assert store.read(f"oddkeys/{key}").read() == key.encode()
    assert not any(r.error for r in store.delete_many([e for e in store.walk("oddkeys") if not e.is_dir]))
    store.close()


def test_wrong_keys_ask_for_a_login(rclone_server):
    from cftool.core.errors import LoginRequired

    values = {option.name: None for option in PROVIDER.options}
    values |= {"endpoint_url": rclone_server.url, "access_key_id": "wrong-key", "secret_access_key": Secret("wrong")}
    with pytest.raises(LoginRequired):
        list(PROVIDER.open(values, Context()).scan(""))
