"""webdavclient3, a client of somebody else's making, on the real servers: it reads what we write, we what it writes."""

import os
import warnings
from urllib.parse import urlsplit

import pytest

from cftool.core.provider import Context
from cftool.core.sources import BytesSource
from cftool.core.types import ReadItem, WriteItem
from cftool.testing.targets import MemoryTarget
from cftool_providers.webdav import PROVIDER
from tests.dav_servers import new_folder

pytestmark = pytest.mark.real

FILES = {
    "plain.txt": b"hello",
    "empty": b"",
    "with blank & more.txt": b"blank",
    "ümläut-日本語.txt": "ümläut".encode(),
    "percent%41.txt": b"percent",
    "deep/er/file.bin": bytes(range(256)) * 4000,
}


@pytest.fixture
def folder():
    return new_folder()


@pytest.fixture
def client(dav_server, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from webdav3.client import Client

        scheme, host, path, *_ = urlsplit(dav_server.url)
        # It would look at directories with HEAD, which not every server answers.
        client = Client(
            {"webdav_hostname": f"{scheme}://{host}", "webdav_root": path.rstrip("/") or "/", "disable_check": True}
        )
        client.mkdir(folder)
        return client


@pytest.fixture
def store(client, dav_server, folder):
    url = dav_server.url.rstrip("/") + "/" + folder
    store = PROVIDER.open({"url": url, "vendor": "auto"}, Context(remote="dav", env=os.environ))
    yield store
    store.close()


def test_it_reads_what_we_wrote(store, client, folder, tmp_path):
    results = list(store.write_many(WriteItem(path, BytesSource(data)) for path, data in FILES.items()))
    assert [result.error for result in results] == [None] * len(FILES)
    assert "file.bin" in client.list(f"{folder}/deep/er")
    assert {name.rstrip("/") for name in client.list(folder)} >= {"plain.txt", "empty", "deep"}
    for number, (path, data) in enumerate(FILES.items()):
        if "%" in path:
            continue  # it takes the name apart a second time
        target = tmp_path / str(number)
        client.download_file(f"{folder}/{path}", str(target))
        assert target.read_bytes() == data
        assert int(client.info(f"{folder}/{path}")["size"]) == len(data)


def test_we_read_what_it_wrote(store, client, folder, tmp_path):
    client.mkdir(f"{folder}/deep")
    client.mkdir(f"{folder}/deep/er")
    wrote = {path: data for path, data in FILES.items() if "%" not in path}
    for path, data in wrote.items():
        (tmp_path / "file").write_bytes(data)
        client.upload_file(f"{folder}/{path}", str(tmp_path / "file"))
    entries = {entry.path: entry for entry in store.walk("") if not entry.is_dir}
    assert {path: entry.size for path, entry in entries.items()} == {path: len(data) for path, data in wrote.items()}
    targets = {path: MemoryTarget() for path in wrote}
    assert not any(result.error for result in store.read_many(ReadItem(entries[path], targets[path]) for path in wrote))
    assert {path: target.data for path, target in targets.items()} == wrote


def test_what_it_moves_and_deletes_is_moved_and_gone_for_us(store, client, folder):
    store.write("a", BytesSource(b"a"))
    store.write("b", BytesSource(b"b"))
    client.move(f"{folder}/a", f"{folder}/c")
    client.clean(f"{folder}/b")
    assert {entry.path: entry.size for entry in store.scan("")} == {"c": 1}
    store.move("c", "d")
    assert [name for name in client.list(folder) if not name.endswith("/")] == ["d"]
