"""The one Download: no short, long or false body passes, however it is read."""

import hashlib

import pytest

from cftool.core.download import VerifiedDownload
from cftool.core.errors import ConnectionFailed, IntegrityError
from cftool.core.types import Entry, Kind

DATA = b"0123456789" * 10


def entry(size=100, **hashes):
    return Entry("f", Kind.FILE, size, hashes=hashes)


def pieces(data=DATA, size=7):
    return iter([data[start : start + size] for start in range(0, len(data), size)])


def by_iteration(download):
    return b"".join(download)


def by_read(download):
    return download.read()


def by_small_reads(download):
    data = b""
    while piece := download.read(3):
        assert len(piece) == 3 or len(data) + len(piece) == 100
        data += piece
    return data


def by_mixed_reads(download):
    return download.read(0) + download.read(5) + next(iter(download)) + download.read(20) + b"".join(download)


READERS = [by_iteration, by_read, by_small_reads, by_mixed_reads]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_good_content_passes_and_is_closed(reader, size):
    closed = []
    with VerifiedDownload(
        entry(md5=hashlib.md5(DATA).hexdigest()), pieces(size=size), close=lambda: closed.append(1)
    ) as download:
        assert reader(download) == DATA
        assert closed == [1]
        assert download.read() == b""
        assert download.read(5) == b""
        assert list(download) == []
    assert closed == [1]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", DATA + b"more", b"", DATA[:50]])
def test_wrong_length_is_an_error(reader, data):
    with pytest.raises(IntegrityError):
        reader(VerifiedDownload(entry(), pieces(data)))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512", "crc32", "crc32c", "crc64nvme"])
def test_wrong_content_is_an_error(reader, name):
    from cftool.core import hashing

    if not hashing.available(name):
        pytest.skip(f"{name} needs awscrt")
    good = VerifiedDownload(entry(**{name: hashing.digest(name, DATA)}), pieces())
    assert reader(good) == DATA
    bad = VerifiedDownload(entry(**{name: hashing.digest(name, DATA)}), pieces(b"X" + DATA[1:]))
    with pytest.raises(IntegrityError, match=name):
        reader(bad)


def test_reader_that_takes_exactly_the_size_has_a_verified_file():
    with pytest.raises(IntegrityError):
        VerifiedDownload(entry(md5="0" * 32), pieces()).read(100)
    download = VerifiedDownload(entry(md5="0" * 32), pieces())
    got = []
    with pytest.raises(IntegrityError):
        got += iter(download)
    assert len(got) <= 14


@pytest.mark.parametrize(("start", "end"), [(0, 50), (10, None), (10, 20), (0, 0), (100, None), (200, 300), (90, 500)])
def test_ranges_have_their_length_and_no_hash(start, end):
    data = DATA[start:end]
    download = VerifiedDownload(entry(md5="0" * 32), pieces(data), start=start, end=end)
    assert download.read() == data
    with pytest.raises(IntegrityError):
        VerifiedDownload(entry(), pieces(data + b"x"), start=start, end=end).read()


@pytest.mark.parametrize("end", [100, 1000])
def test_range_that_is_the_whole_file_has_a_hash(end):
    with pytest.raises(IntegrityError):
        VerifiedDownload(entry(md5="0" * 32), pieces(), end=end).read()


def test_unknown_size_ends_with_the_chunks():
    assert VerifiedDownload(entry(None), pieces()).read() == DATA
    assert VerifiedDownload(entry(None), pieces(), end=1000).read() == DATA
    with pytest.raises(IntegrityError):
        VerifiedDownload(entry(None, md5="0" * 32), pieces()).read()


def test_hashes_that_nobody_can_compute_and_those_not_wanted():
    assert VerifiedDownload(entry(quickxor="00"), pieces()).read() == DATA
    assert VerifiedDownload(entry(md5="0" * 32), pieces(), verify_hashes=False).read() == DATA


@pytest.mark.parametrize("size", [1, 10, 100])
def test_bytes_after_the_last_whole_piece_are_an_error(size):
    with pytest.raises(IntegrityError):
        VerifiedDownload(entry(), pieces(DATA + b"more", size)).read(100)


def test_received_counts_what_came():
    download = VerifiedDownload(entry(), pieces())
    download.read(1)
    assert download.received == 7


def test_empty_pieces_are_no_end():
    assert VerifiedDownload(entry(), iter([b"", DATA[:50], b"", b"", DATA[50:], b""])).read() == DATA


def test_error_of_the_chunks_passes_and_the_rest_is_no_success():
    def chunks():
        yield DATA[:50]
        raise ConnectionFailed("cut")

    download = VerifiedDownload(entry(), chunks())
    with pytest.raises(ConnectionFailed):
        download.read()
    with pytest.raises(IntegrityError):
        download.read()


def test_closed_early_reads_nothing_more():
    closed = []
    download = VerifiedDownload(entry(), pieces(), close=lambda: closed.append(1))
    assert download.read(7) == DATA[:7]
    download.close()
    download.close()
    assert closed == [1]
    assert download.read() == b""
