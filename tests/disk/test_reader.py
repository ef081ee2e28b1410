"""Bytes of a source for uploads: each told of once, none too many, none too few."""

import io

import pytest

from cftool.core.errors import SourceChanged
from cftool.core.sources import BytesSource
from cftool.disk.reader import Counted, Reader
from cftool.disk.source import LocalSource

DATA = bytes(range(256)) * 20


class Stream(BytesSource):
    """What can only be read on."""

    def open(self):
        class Once(io.BytesIO):
            def seekable(self):
                return False

        return Once(self._data)


@pytest.fixture(params=["file", "seekable"])
def reader(request, tmp_path):
    (tmp_path / "f").write_bytes(DATA)
    reader = Reader(LocalSource(str(tmp_path / "f")) if request.param == "file" else BytesSource(DATA))
    yield reader
    reader.close()


def test_each_byte_is_told_of_once_however_often_it_is_read(reader):
    told = []
    counted = Counted(reader, 100, told.append)
    assert [counted.pread(50, at) for at in (0, 0, 30, 10)] == [
        DATA[100:150],
        DATA[100:150],
        DATA[130:180],
        DATA[110:160],
    ]
    assert told == [50, 30]


def test_a_hash_is_of_the_very_stretch(reader):
    assert reader.random
    assert reader.digest("crc32", 256, 512) == Reader(BytesSource(DATA[256:512])).digest("crc32", 0, 256)


def test_a_source_that_is_shorter_or_longer_than_it_was_said_is_refused(reader):
    reader.require_end(len(DATA))
    with pytest.raises(SourceChanged, match=f"has {len(DATA)} bytes; {len(DATA) + 1} were expected"):
        reader.digest("md5", 0, len(DATA) + 1)
    with pytest.raises(SourceChanged, match="has more than the 10 bytes expected"):
        reader.require_end(10)


def test_a_stream_gives_its_bytes_in_order():
    stream = Reader(Stream(DATA))
    assert (stream.random, stream.take(10), stream.take(1 << 20)) == (False, DATA[:10], DATA[10:])
    stream.require_end(len(DATA))
    stream.close()
    longer = Reader(Stream(DATA))
    longer.take(10)
    with pytest.raises(SourceChanged, match="has more than the 10 bytes expected"):
        longer.require_end(10)
    longer.close()


def test_a_source_that_cannot_say_whether_it_can_seek_is_closed():
    opened = []

    class Broken(BytesSource):
        def open(self):
            class File(io.BytesIO):
                def seekable(self):
                    raise OSError("input/output error")

            opened.append(File(self._data))
            return opened[0]

    with pytest.raises(OSError, match="input/output error"):
        Reader(Broken(DATA))
    assert opened[0].closed
