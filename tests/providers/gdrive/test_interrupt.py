"""Ctrl-C: what is under way is given up soon, is no failure of a file, and goes on in the next run."""

import os
import threading

import pytest

from cftool.core.errors import Interrupted
from cftool.core.sources import BytesSource
from cftool.core.types import ReadItem, WriteItem
from cftool.disk.root import Root
from cftool.disk.source import LocalSource
from cftool.testing.fake_gdrive import GRAIN
from cftool.testing.http_fake import FakeResponse
from cftool.testing.targets import MemoryTarget
from cftool_providers.gdrive import _resumable


@pytest.fixture
def stop():
    return threading.Event()


def stop_after(count, results, stop, seen):
    """Take results into `seen`, and want the end after some."""
    for number, result in enumerate(results, 1):
        seen.append(result)
        if number == count:
            stop.set()


def test_many_small_uploads(quick, stop):
    store = quick.open(cancelled=stop.is_set)
    seen = []

    def items():
        for number in range(1000):
            yield WriteItem(f"d/f{number}", BytesSource(b"x"))

    with pytest.raises(Interrupted):
        stop_after(20, store.write_many(items()), stop, seen)
    assert [result.error for result in seen if result.error is not None] == []
    assert len(quick.fake.tree()) < 1000


def test_a_large_upload_is_given_up_and_goes_on_later(quick, stop, tmp_path, monkeypatch):
    monkeypatch.setattr(_resumable, "PIECE", 8 * GRAIN)
    data = os.urandom(6_000_000)
    (tmp_path / "big").write_bytes(data)
    store = quick.open(cancelled=stop.is_set)
    session_had = []

    def second_piece():
        stop.set()
        session = quick.fake.sessions["session-0"]
        session_had.append(len(session.data))
        return FakeResponse(308, (("Range", f"bytes=0-{len(session.data) - 1}"),))

    quick.fake.fail("upload.chunk", second_piece, after=1)
    with Root(str(tmp_path)) as root:
        with pytest.raises(Interrupted):
            list(store.write_many([WriteItem("big", LocalSource(root, "big"))]))
        assert session_had == [8 * GRAIN]
        assert quick.fake.tree() == {}
        quick.open().write("big", LocalSource(root, "big"))
    assert quick.fake.tree() == {"big": data}
    assert quick.fake.requests["upload.start"] == 1


def test_downloads_and_deletes(quick, stop):
    for number in range(3000):
        quick.fake.add(f"d/f{number}", b"x")
    store = quick.open(cancelled=stop.is_set)
    entries = list(store.scan("d"))
    seen = []
    with pytest.raises(Interrupted):
        stop_after(10, store.read_many(ReadItem(entry, MemoryTarget()) for entry in entries), stop, seen)
    stop.clear()
    with pytest.raises(Interrupted):
        stop_after(1, store.delete_many(entries), stop, seen)
    assert {result.error for result in seen} == {None}
    assert len(quick.fake.tree()) > 1


def test_a_large_download_that_nobody_wants_any_more_ends(quick):
    quick.fake.add("big", os.urandom(20_000_000))
    quick.fake.add("small", b"x")
    store = quick.open()
    results = iter(store.read_many([ReadItem(entry, MemoryTarget()) for entry in store.scan("")]))
    next(results)
    results.close()
    assert store.stat("small").size == 1


def test_a_name_too_long_for_a_batch_is_asked_for_alone(quick):
    store = quick.open()
    name = "日" * 255
    store.write(f"a/b/{name}/{name}", BytesSource(b"x"))
    assert store.read(f"a/b/{name}/{name}").read() == b"x"
    long = "日" * 900
    store.write(f"a/b/{long}/{name}", BytesSource(b"y"))
    assert store.stat(f"a/b/{long}/{name}").size == 1


def test_the_type_of_a_file_follows_its_name_and_never_its_packing(quick):
    store = quick.open()
    for name in ("a.jpg", "a.tar.gz", "a", "a.gdoc"):
        store.write(name, BytesSource(b"x"))
    kinds = {file.name: file.mime for file in quick.fake.files.values() if file.content == b"x"}
    assert kinds["a.jpg"] == "image/jpeg"
    assert kinds["a.tar.gz"] == kinds["a"] == "application/octet-stream"
