"""Rare turns: sources that can only be read on, probes that fail, loops that are torn down, answers that contradict."""

import io
from dataclasses import replace

import pytest

from cftool.core.errors import (
    IntegrityError,
    ListingError,
    NotFound,
    PermissionDenied,
    ProtocolError,
    SourceChanged,
    StoreError,
    Unsupported,
)
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, Entry, Kind, ReadItem, WriteItem
from cftool.disk import reader
from cftool.disk.root import Root
from cftool.http import downloads, flat, ranged, uploads
from cftool.testing.fake_s3 import Habits
from cftool.testing.http_fake import FakeResponse, Fault, Wire
from cftool.testing.targets import MemoryTarget
from cftool_providers.s3 import _conditions, _multipart

from .test_upload import PART, Stream, content, header

NO_CHECKSUMS = Habits(full_checksums=False)


class Pipe(BytesSource):
    """Of known size, and only readable in order."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        super().__init__(data)
        if size is not None:
            self.size = size

    def open(self):
        class OnlyOn(io.BytesIO):
            def seekable(self):
                return False

            def seek(self, *args):
                raise AssertionError("a pipe cannot seek")

        return OnlyOn(super().load())


class TestPipes:
    @pytest.mark.parametrize("size", [10, uploads.IN_MEMORY + 1, PART, 2 * PART + 1])
    def test_are_read_once_in_order(self, lab, size):
        lab.fake.make("bucket")
        data = content(size)
        entry = lab.open(part_size=PART).write("bucket/f", Pipe(data))
        assert lab.fake.buckets["bucket"]["f"].data == data
        assert entry.size == size

    @pytest.mark.parametrize("said", [-1, 1])
    @pytest.mark.parametrize("size", [uploads.IN_MEMORY + 5, 2 * PART])
    def test_that_are_not_as_long_as_they_said_publish_nothing(self, lab, size, said):
        lab.fake.make("bucket")
        with pytest.raises(SourceChanged):
            lab.open(part_size=PART).write("bucket/f", Pipe(content(size), size + said))
        assert lab.fake.buckets["bucket"] == {}
        assert lab.fake.uploads == {}

    def test_that_shrink_below_one_part_publish_nothing(self, lab):
        lab.fake.make("bucket")
        with pytest.raises(SourceChanged):
            lab.open(part_size=PART).write("bucket/f", Pipe(b"short", PART + 1))
        assert lab.fake.buckets["bucket"] == {}

    def test_what_the_signature_does_not_cover_has_an_md5(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket")
        seen = []
        lab.fake.change("PutObject", lambda request, answer: seen.append(request) or answer)
        lab.open(part_size=PART).write("bucket/f", Stream(content(uploads.IN_MEMORY + 1)))
        assert seen[0].header("content-md5")

    def test_a_source_whose_file_has_no_number_is_closed(self):
        closed = []

        class Odd(BytesSource):
            local_path = "/somewhere"

            def open(self):
                file = io.BytesIO(b"x")
                close = file.close
                file.close = lambda: (closed.append(True), close())  # type: ignore[method-assign]
                return file

        with pytest.raises(io.UnsupportedOperation):
            reader.Reader(Odd(b"x"))
        assert closed == [True]


class TestProbes:
    def test_a_refused_probe_is_the_error_and_is_not_remembered(self, lab):
        lab.fake.make("bucket")
        store = lab.open()
        lab.fake.fail("PutObject", (403, "AccessDenied"))
        with pytest.raises(PermissionDenied):
            store.write("bucket/f", BytesSource(b"x"), if_absent=True)
        store.write("bucket/f", BytesSource(b"x"), if_absent=True)
        assert lab.fake.buckets["bucket"].keys() == {"f"}

    def test_make_the_bucket_that_the_write_would_make(self, lab):
        lab.open().write("new/f", BytesSource(b"x"), if_absent=True)
        assert lab.fake.buckets["new"].keys() == {"f"}

    def test_one_of_two_conditions_may_be_obeyed(self, lab, monkeypatch):
        lab.fake.make("bucket")
        lab.memory[f"s3:{lab.url.partition('://')[2]}/bucket:conditions"] = "absent"
        store = lab.open()
        assert store.probe("bucket") == Cap.IF_ABSENT
        with pytest.raises(Unsupported):
            store.write("bucket/f", BytesSource(b"x"), if_version="1")
        store.write("bucket/f", BytesSource(b"x"), if_absent=True)

    def test_a_probe_that_cannot_be_removed_is_told(self, lab, caplog):
        lab.fake.make("bucket")
        lab.fake.change("DeleteObject", lambda r, a: FakeResponse(500, (), b"<Error><Code>x</Code></Error>"), times=99)
        store = lab.open()
        store._service.client.schedule.policy = replace(store._service.client.policy, attempts=1)
        store.probe("bucket")
        assert "could not be removed" in caplog.text

    def test_results_of_a_batch_carry_it(self, new_lab):
        lab = new_lab(Habits(conditions=False))
        lab.fake.make("bucket")
        items = [WriteItem("bucket/a", BytesSource(b"x"), if_absent=True), WriteItem("bucket/b", BytesSource(b"x"))]
        results = {r.path: type(r.error) for r in lab.open().write_many(items)}
        assert results == {"bucket/a": Unsupported, "bucket/b": type(None)}

    def test_junk_in_the_memory_is_no_capability(self, lab):
        lab.fake.make("bucket")
        lab.memory[f"s3:{lab.url.partition('://')[2]}/:conditions"] = "none,,junk"
        assert not lab.open().features.caps & (Cap.IF_ABSENT | Cap.IF_VERSION)
        assert _conditions._CAPS.keys() == {"absent", "version"}


class TestTornDown:
    """The consumer stops in the middle: no thread, no descriptor and no upload is left."""

    @pytest.mark.parametrize("results", range(4))
    @pytest.mark.parametrize("source", [BytesSource, Stream])
    def test_uploads(self, new_lab, results, source):
        lab = new_lab()
        lab.fake.make("bucket")
        items = [WriteItem(f"bucket/s{n}", BytesSource(b"x")) for n in range(results + 1)]
        items[1:1] = [WriteItem(f"bucket/l{n}", source(content(3 * PART))) for n in range(2)]
        run = lab.open(part_size=PART).write_many(items)
        for _ in range(results + 1):
            next(run)
        run.close()
        assert lab.fake.uploads == {}

    def test_an_abort_that_fails_is_told(self, new_lab, caplog):
        lab = new_lab()
        lab.fake.make("bucket")
        lab.fake.fail("AbortMultipartUpload", (403, "AccessDenied"), times=9)
        items = [WriteItem("bucket/s", BytesSource(b"x")), WriteItem("bucket/l", BytesSource(content(3 * PART)))]
        lab.fake.change("UploadPart", lambda r, a: FakeResponse(403, (), lab.fake.error(403, "AccessDenied").body))
        results = {r.path: r.error for r in lab.open(part_size=PART).write_many(items)}
        assert isinstance(results["bucket/l"], PermissionDenied)
        assert "was not aborted" in caplog.text

    def test_downloads(self, lab, monkeypatch, tmp_path):
        monkeypatch.setattr(downloads, "SMALL", 1000)
        monkeypatch.setattr(ranged, "RANGE", 50_000)
        lab.fake.make("bucket", ["a"])
        for n in range(3):
            lab.fake.make("bucket", [f"f{n}"], content(900_000, seed=n))
        store = lab.open()
        with Root(str(tmp_path / "out"), create=True) as root:
            run = store.read_many(ReadItem(e, root.target(e.name)) for e in store.scan("bucket"))
            next(run)
            run.close()
        assert store.read("bucket/a").read() == b"x"


class TestContradictions:
    def test_a_range_of_more_bytes_than_asked_for_is_not_written(self, new_lab, monkeypatch):
        monkeypatch.setattr(downloads, "SMALL", 1000)
        monkeypatch.setattr(ranged, "RANGE", 50_000)
        lab = new_lab(transport="requests")
        lab.fake.make("bucket", ["f"], content(100_000))

        def more(request, answer):
            answer = replace(answer, body=answer.body + b"more")
            return header(answer, "Content-Length", str(len(answer.body)))

        lab.fake.change("GetObject", more)
        store = lab.open()
        [entry] = store.scan("bucket")
        target = MemoryTarget()
        [result] = store.read_many([ReadItem(entry, target)])
        assert isinstance(result.error, StoreError)
        assert target.data is None

    def test_an_error_page_in_place_of_a_range_is_not_written(self, lab, monkeypatch):
        monkeypatch.setattr(downloads, "SMALL", 1000)
        lab.fake.make("bucket", ["f"], content(100_000))
        lab.fake.change("GetObject", lambda r, a: FakeResponse(200, (), b"<html>Welcome</html>"))
        store = lab.open()
        [entry] = store.scan("bucket")
        target = MemoryTarget()
        [result] = store.read_many([ReadItem(entry, target)])
        assert isinstance(result.error, ProtocolError)
        assert target.data is None

    def test_an_etag_in_the_metadata_that_is_wrong_is_found_on_reading(self, lab):
        lab.fake.make("bucket", ["f"], b"content")
        stored = lab.fake.buckets["bucket"]["f"]
        stored.etag += "-2"
        stored.headers["x-amz-meta-md5chksum"] = "AAAAAAAAAAAAAAAAAAAAAA=="
        store = lab.open()
        with pytest.raises(IntegrityError):
            store.read("bucket/f").read()
        [result] = store.read_many([ReadItem(store.stat("bucket/f"), MemoryTarget())])
        assert isinstance(result.error, IntegrityError)

    def test_a_head_without_a_length_is_no_entry(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket", ["f"])
        lab.fake.change("HeadObject", lambda r, a: header(a, "Content-Length", "unknown"))
        with pytest.raises(StoreError):
            lab.open().stat("bucket/f")

    def test_a_completion_that_tells_another_checksum_is_an_error(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket")

        def lie(request, answer):
            body = answer.body.replace(b"<ETag>", b"<ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME><ETag>")
            return replace(answer, body=body)

        lab.fake.change("CompleteMultipartUpload", lie)
        with pytest.raises(IntegrityError, match="another checksum"):
            lab.open(part_size=PART).write("bucket/f", BytesSource(content(2 * PART)))

    def test_a_bucket_that_belongs_to_another_is_not_written(self, lab):
        lab.fake.fail("CreateBucket", (409, "BucketAlreadyExists"))
        with pytest.raises(StoreError, match="somebody else"):
            lab.open().write("taken/f", BytesSource(b"x"))

    def test_a_bucket_that_appears_meanwhile_is_used(self, lab):
        def appear(request, answer):
            return lab.fake.error(409, "BucketAlreadyExists")

        lab.fake.change("CreateBucket", appear)
        lab.open().write("ours/f", BytesSource(b"x"))
        assert lab.fake.buckets["ours"].keys() == {"f"}

    def test_a_bucket_that_vanishes_again_and_again_ends_in_an_error(self, new_lab):
        lab = new_lab()

        def vanish(request, answer):
            lab.fake.buckets.clear()
            return answer

        lab.fake.change("CreateBucket", vanish, times=99)
        for size in (5, PART + 1):
            with pytest.raises(NotFound):
                lab.open(part_size=PART).write("new/f", BytesSource(content(size)))

    def test_every_loop_has_its_bounds(self):
        assert flat.WINDOW * 1000 * 400 <= 64 * 1024**2  # bytes of entries that wait
        assert _multipart.BUFFERS <= 64 * 1024**2
        assert uploads.MEMORY + downloads.MEMORY <= 80 * 1024**2

    def test_one_delete_of_many_that_fails_is_told(self, lab):
        lab.fake.make("bucket", ["x\x01", "y\x01"])
        lab.fake.fail("DeleteObject", (403, "AccessDenied"), key="x\x01")
        entries = [Entry("bucket/x\x01", Kind.FILE), Entry("bucket/y\x01", Kind.FILE)]
        results = {r.path: type(r.error) for r in lab.open().delete_many(entries)}
        assert results == {"bucket/x\x01": PermissionDenied, "bucket/y\x01": type(None)}

    def test_a_lost_answer_to_a_small_put_is_repeated(self, lab):
        lab.fake.make("bucket")
        lab.fake.change("PutObject", lambda r, a: replace(a, fault=Fault(Wire.RESET)))
        entry = lab.open().write("bucket/f", BytesSource(b"x"))
        assert entry.version == lab.fake.buckets["bucket"]["f"].etag


class TestHead:
    def test_an_expired_session_that_only_head_meets_is_renewed(self, new_lab, monkeypatch):
        """Amazon answers HEAD with 400 and no body then; the GET that asks why has the session renewed."""
        lab = new_lab()
        lab.fake.make("bucket", ["f"])
        lab.fake.fail("HeadObject", FakeResponse(400, (), b""))
        assert lab.open().stat("bucket/f").size == 1
        assert dict(lab.requests) == {"HeadObject": 2, "GetObject": 1}

    def test_of_an_empty_object_it_is_asked_again_as_well(self, lab):
        lab.fake.make("bucket", ["f"], b"")
        lab.fake.fail("HeadObject", FakeResponse(400, (), b""))
        assert lab.open().stat("bucket/f").size == 0

    def test_a_head_that_goes_on_failing_is_an_error(self, lab):
        lab.fake.make("bucket", ["f"])
        lab.fake.fail("HeadObject", FakeResponse(400, (), b""), times=9)
        with pytest.raises(ProtocolError):
            lab.open().stat("bucket/f")

    def test_a_listing_with_a_bare_404_is_no_missing_bucket(self, lab):
        lab.fake.make("bucket", ["f"])
        lab.fake.fail("ListObjectsV2", FakeResponse(404, (), b""))
        with pytest.raises(ListingError):
            list(lab.open().walk("bucket"))

    def test_a_place_that_the_service_does_not_know_is_left_out(self, new_lab):
        lab = new_lab(region="default")
        lab.fake.fail("CreateBucket", (400, "InvalidLocationConstraint"))
        lab.fake.region = "us-east-1"
        lab.fake.regions["new"] = "default"
        lab.open(region="default").write("new/f", BytesSource(b"x"))
        assert lab.fake.buckets["new"].keys() == {"f"}

    def test_making_a_bucket_may_teach_its_region(self, new_lab):
        lab = new_lab()
        lab.fake.fail("PutObject", (404, "NoSuchBucket"))
        lab.fake.fail("CreateBucket", lab.fake.error(400, "AuthorizationHeaderMalformed", Region="elsewhere"))
        lab.fake.fail("CreateBucket", FakeResponse(200))
        lab.fake.make("new")
        lab.fake.regions["new"] = "elsewhere"
        lab.open().write("new/f", BytesSource(b"x"))
        assert lab.fake.buckets["new"].keys() == {"f"}
