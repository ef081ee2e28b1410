"""Ctrl-C in the middle of a large transfer: nothing is published, what is there is kept and taken up later."""

import pytest

from cftool.core.errors import Interrupted
from cftool.core.types import ReadItem, WriteItem
from cftool.disk.root import Root
from cftool.disk.source import LocalSource
from cftool.http import ranged

from .test_resume import records
from .test_upload import PART, content


def test_an_interrupted_upload_is_not_published_and_is_resumed(lab, tmp_path):
    lab.fake.make("bucket")
    path = tmp_path / "file"
    path.write_bytes(content(6 * PART))
    stopped = []

    def stop(request, answer):
        stopped.append(True)
        return answer

    lab.fake.change("UploadPart", stop, skip=1, times=1)
    store = lab.open(part_size=PART, cancelled=lambda: bool(stopped))
    with pytest.raises(Interrupted):
        store.write("bucket/f", LocalSource(str(path)), modified_ns=5)
    assert lab.fake.buckets["bucket"] == {}
    assert (len(lab.fake.uploads), len(records(lab))) == (1, 1)
    [upload] = lab.fake.uploads.values()
    kept = len(upload.parts)  # and perhaps some that were on their way
    assert kept >= 2
    lab.requests.clear()
    told = []
    [result] = lab.open(part_size=PART).write_many(
        [WriteItem("bucket/f", LocalSource(str(path)), modified_ns=5, progress=told.append)]
    )
    assert result.error is None
    assert lab.fake.buckets["bucket"]["f"].data == path.read_bytes()
    assert lab.requests["CreateMultipartUpload"] == 0
    assert lab.requests["UploadPart"] <= 6 - kept
    assert sum(told) == 6 * PART
    assert (lab.fake.uploads, records(lab)) == ({}, [])


def test_a_part_that_is_sent_twice_counts_once(lab, tmp_path):
    lab.fake.make("bucket")
    path = tmp_path / "file"
    path.write_bytes(content(3 * PART + 1))
    lab.fake.fail("UploadPart", (500, "InternalError"), times=2)
    told = []
    [result] = lab.open(part_size=PART).write_many(
        [WriteItem("bucket/f", LocalSource(str(path)), progress=told.append)]
    )
    assert result.error is None
    assert sum(told) == 3 * PART + 1
    assert len(told) > 3


def test_an_interrupted_download_keeps_its_ranges(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(ranged, "RANGE", 1 << 20)
    data = content(24 << 20)
    lab.fake.make("bucket", ["f"], data)
    stopped = []

    def stop(request, answer):
        stopped.append(True)
        return answer

    lab.fake.change("GetObject", stop, skip=10, times=1)
    (tmp_path / "to").mkdir()
    with Root(str(tmp_path / "to")) as root:
        store = lab.open(cancelled=lambda: bool(stopped))
        [entry] = lab.open().scan("bucket")
        with pytest.raises(Interrupted):
            list(store.read_many([ReadItem(entry, root.target("f"))]))
    assert not (tmp_path / "to/f").exists()
    lab.requests.clear()
    with Root(str(tmp_path / "to")) as root:
        [result] = lab.open().read_many([ReadItem(entry, root.target("f"))])
        assert (result.error, root.flush()) == (None, [])
    assert (tmp_path / "to/f").read_bytes() == data
    assert lab.requests["GetObject"] < 24


def test_a_stream_that_cannot_be_resumed_is_found_as_a_leftover(lab):
    from cftool.core.sources import BytesSource

    lab.fake.make("bucket")
    stopped = []

    def stop(request, answer):
        stopped.append(True)
        return answer

    lab.fake.change("UploadPart", stop, times=1)
    store = lab.open(part_size=PART, cancelled=lambda: bool(stopped))
    with pytest.raises(Interrupted):
        store.write("bucket/f", BytesSource(content(6 * PART)))
    assert lab.fake.buckets["bucket"] == {}
    assert [left.id for left in lab.open().leftovers("")] == list(lab.fake.uploads)
