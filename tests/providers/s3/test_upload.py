"""write and write_many: what is verified, what is sent, and what a failure leaves behind (nothing)."""

import hashlib
import os
from dataclasses import replace

import pytest

from cftool.core import hashing
from cftool.core.errors import (
    AlreadyExists,
    ConnectionFailed,
    IntegrityError,
    InvalidName,
    IsADirectory,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    ProtocolError,
    QuotaExceeded,
    SourceChanged,
    StoreError,
    TooLarge,
    Unsupported,
)
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, WriteItem
from cftool.disk.source import LocalSource
from cftool.http import uploads
from cftool.testing.cases.base import OddSource
from cftool.testing.fake_s3 import Habits
from cftool.testing.http_fake import FakeResponse, Fault, Wire

MIB = 1024 * 1024
PART = 5 * MIB
WHEN = 1_700_000_000_123_456_789
NO_CHECKSUMS = Habits(full_checksums=False)


def content(size: int, seed: int = 1) -> bytes:
    import random

    return random.Random(seed).randbytes(size)


def header(answer: FakeResponse, name: str, value: str) -> FakeResponse:
    return replace(answer, headers=(*((n, v) for n, v in answer.headers if n.lower() != name.lower()), (name, value)))


class Stream(BytesSource):
    """Of unknown size, and not to be read but in order."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.size = None


class TestOneRequest:
    @pytest.mark.parametrize("size", [0, 5, uploads.IN_MEMORY, uploads.IN_MEMORY + 1, PART])
    def test_is_one_put_whose_content_and_time_arrive(self, lab, size):
        lab.fake.make("bucket")
        data = content(size)
        entry = lab.open(part_size=PART).write("bucket/d/f", BytesSource(data), modified_ns=WHEN)
        stored = lab.fake.buckets["bucket"]["d/f"]
        assert stored.data == data
        assert stored.headers["x-amz-meta-mtime"] == "1700000000.123456789"
        assert entry.hashes == {"md5": hashlib.md5(data).hexdigest()}
        assert (entry.version, entry.size, entry.modified_ns) == (stored.etag, size, WHEN)
        assert dict(lab.requests) == {"PutObject": 1}

    @pytest.mark.parametrize("size", [5, uploads.IN_MEMORY + 1])
    def test_an_etag_that_is_not_our_md5_is_an_integrity_error(self, lab, size):
        lab.fake.make("bucket")
        wrong = f'"{hashlib.md5(b"other").hexdigest()}"'
        lab.fake.change("PutObject", lambda request, answer: header(answer, "ETag", wrong))
        with pytest.raises(IntegrityError, match="other bytes"):
            lab.open().write("bucket/f", BytesSource(content(size)))

    @pytest.mark.parametrize("size", [5, uploads.IN_MEMORY + 1])
    def test_a_body_that_is_damaged_on_the_way_is_refused_by_the_service(self, lab, size):
        lab.fake.make("bucket")
        handle = lab.fake.handle
        store = lab.open()

        def damaged(request):
            if request.body:
                request = replace(request, body=request.body[:-1] + bytes([request.body[-1] ^ 1]))
            return handle(request)

        lab.fake.handle = damaged
        with pytest.raises(IntegrityError):
            store.write("bucket/f", BytesSource(content(size)))
        assert lab.fake.buckets["bucket"] == {}

    def test_an_etag_of_kms_is_no_md5_and_is_learnt_for_the_bucket(self, new_lab):
        lab = new_lab(Habits(kms=True))
        lab.fake.make("bucket")
        store = lab.open()
        entry = store.write("bucket/f", BytesSource(b"hello"))
        assert entry.hashes == {}
        assert entry.version == lab.fake.buckets["bucket"]["f"].etag
        [listed] = store.scan("bucket")
        assert listed.hashes == {}
        [again] = lab.open().scan("bucket")  # remembered
        assert again.hashes == {}

    def test_a_source_that_changes_between_hash_and_upload_publishes_nothing(self, lab, tmp_path):
        lab.fake.make("bucket")
        path = tmp_path / "file"
        path.write_bytes(content(uploads.IN_MEMORY + 10))
        source = LocalSource(str(path))
        check = source.check

        def check_then_change():
            check()
            path.write_bytes(content(uploads.IN_MEMORY + 10, seed=2))

        source.check = check_then_change
        with pytest.raises(SourceChanged):
            lab.open().write("bucket/f", source)
        assert lab.fake.buckets["bucket"] == {}

    def test_a_file_that_shrinks_under_the_upload_is_a_changed_source(self, lab, tmp_path):
        lab.fake.make("bucket")
        path = tmp_path / "file"
        path.write_bytes(content(uploads.IN_MEMORY + 100_000))
        source = LocalSource(str(path))
        check = source.check

        def shrink():
            check()
            os.truncate(path, 10)

        source.check = shrink
        with pytest.raises(SourceChanged):
            lab.open().write("bucket/f", source)
        assert lab.fake.buckets["bucket"] == {}

    def test_settings_become_headers(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket")
        seen = []
        lab.fake.change("PutObject", lambda request, answer: seen.append(request.headers) or answer)
        store = lab.open(
            storage_class="STANDARD_IA",
            server_side_encryption="aws:kms",
            kms_key_id="key-1",
            acl="bucket-owner-full-control",
            requester_pays=True,
        )
        store.write("bucket/f", BytesSource(b"x"))
        wanted = {
            "x-amz-storage-class": "STANDARD_IA",
            "x-amz-server-side-encryption": "aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
            "x-amz-acl": "bucket-owner-full-control",
            "x-amz-request-payer": "requester",
            "content-type": "application/octet-stream",
        }
        assert wanted.items() <= seen[0].items()

    def test_requests_are_paid_for_everywhere(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket", ["d/f"])
        store = lab.open(requester_pays=True)
        list(store.walk("bucket"))
        store.stat("bucket/d/f")
        store.read("bucket/d/f").read()
        store.copy("bucket/d/f", "bucket/d/g")
        list(store.delete_many([*store.scan("bucket/d")]))
        assert lab.server is not None
        assert all(request.header("x-amz-request-payer") == "requester" for request in lab.server.requests)

    def test_anonymous_uploads_carry_an_md5(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket")
        lab.fake.public = True
        seen = []
        lab.fake.change("PutObject", lambda request, answer: seen.append(request.headers) or answer)
        store = lab.open(anonymous=True, access_key_id=None, secret_access_key=None)
        store.write("bucket/f", BytesSource(b"x"))
        assert "content-md5" in seen[0]
        assert "authorization" not in seen[0]

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            ((403, "AccessDenied"), PermissionDenied),
            ((403, "QuotaExceeded"), QuotaExceeded),
            ((507, "XMinioStorageFull"), QuotaExceeded),
            ((400, "EntityTooLarge"), TooLarge),
            ((400, "KeyTooLongError"), InvalidName),
            (FakeResponse(400, (("Content-Type", "text/html"),), b"<html>Bad Request</html>"), ProtocolError),
            (FakeResponse(302, (("Location", "http://evil.test/"),), b""), ProtocolError),
        ],
    )
    def test_refusals_are_told_apart(self, new_lab, answer, error):
        lab = new_lab()
        lab.fake.make("bucket")
        lab.fake.fail("PutObject", answer, times=5)
        with pytest.raises(error) as caught:
            lab.open().write("bucket/f", BytesSource(b"x"))
        assert caught.value.path == "bucket/f"

    def test_a_bucket_or_the_root_is_no_file(self, new_lab):
        store = new_lab().open()
        with pytest.raises(IsADirectory):
            store.write("bucket", BytesSource(b"x"))
        with pytest.raises(InvalidName):
            store.write("", BytesSource(b"x"))

    def test_what_no_object_can_hold_is_refused_before_any_request(self, new_lab):
        lab = new_lab()
        with pytest.raises(TooLarge):
            lab.open().write("bucket/f", OddSource(b"", size=6 * 1024**4))
        assert not lab.requests


class TestBuckets:
    @pytest.mark.parametrize("size", [5, PART + 1])
    def test_a_missing_bucket_is_made_once(self, lab, size):
        store = lab.open(part_size=PART)
        for name in ("a", "b"):
            store.write(f"new/{name}", BytesSource(content(size)))
        assert lab.fake.buckets["new"].keys() == {"a", "b"}
        assert lab.requests["CreateBucket"] == 1

    def test_many_writers_make_it_once(self, lab):
        results = list(lab.open().write_many(WriteItem(f"new/f{n}", BytesSource(b"x")) for n in range(200)))
        assert [r.error for r in results] == [None] * 200
        assert lab.requests["CreateBucket"] == 1

    @pytest.mark.parametrize("size", [5, PART + 1])
    def test_it_is_not_made_where_that_is_switched_off(self, lab, size):
        with pytest.raises(NotFound):
            lab.open(create_bucket=False, part_size=PART).write("new/f", BytesSource(content(size)))
        assert lab.fake.buckets == {}

    def test_a_location_is_given_outside_of_the_first_region(self, new_lab):
        lab = new_lab(region="eu-west-3")
        lab.open(region="eu-west-3").write("new/f", BytesSource(b"x"))
        assert lab.fake.buckets["new"].keys() == {"f"}

    def test_a_name_that_cannot_be_is_an_invalid_name(self, lab):
        with pytest.raises(InvalidName):
            lab.open().write("No_Bucket/f", BytesSource(b"x"))


class TestConditions:
    def test_are_probed_once_and_remembered(self, lab):
        lab.fake.make("bucket")
        store = lab.open()
        assert not store.features.caps & (Cap.IF_VERSION | Cap.IF_ABSENT)
        first = store.write("bucket/f", BytesSource(b"one"), if_absent=True)
        assert Cap.IF_VERSION | Cap.IF_ABSENT in store.features.caps
        assert lab.requests["PutObject"] == 4
        with pytest.raises(AlreadyExists):
            store.write("bucket/f", BytesSource(b"two"), if_absent=True)
        store.write("bucket/f", BytesSource(b"two"), if_version=first.version)
        with pytest.raises(PreconditionFailed):
            store.write("bucket/f", BytesSource(b"three"), if_version=first.version)
        assert lab.requests["PutObject"] == 7
        again = lab.open()
        assert Cap.IF_VERSION | Cap.IF_ABSENT in again.features.caps
        assert lab.fake.buckets["bucket"].keys() == {"f"}

    def test_a_service_that_ignores_them_is_not_trusted_with_one(self, new_lab):
        lab = new_lab(Habits(conditions=False))
        lab.fake.make("bucket")
        store = lab.open()
        for condition in ({"if_absent": True}, {"if_version": "x"}):
            with pytest.raises(Unsupported):
                store.write("bucket/f", BytesSource(b"x"), **condition)
        assert lab.fake.buckets["bucket"] == {}
        assert not store.features.caps & (Cap.IF_VERSION | Cap.IF_ABSENT)
        assert lab.requests["PutObject"] == 3

    def test_a_version_that_is_gone_is_a_failed_condition(self, lab):
        lab.fake.make("bucket")
        store = lab.open(part_size=PART)
        for size in (5, PART + 1):
            with pytest.raises(PreconditionFailed):
                store.write("bucket/f", BytesSource(content(size)), if_version="0" * 32)
        assert lab.fake.buckets["bucket"] == {}
        assert lab.fake.uploads == {}

    def test_hold_for_multipart_uploads(self, lab):
        lab.fake.make("bucket")
        store = lab.open(part_size=PART)
        store.write("bucket/f", BytesSource(content(PART + 1)), if_absent=True)
        with pytest.raises(AlreadyExists):
            store.write("bucket/f", BytesSource(content(PART + 2)), if_absent=True)
        assert len(lab.fake.buckets["bucket"]["f"].data) == PART + 1
        assert lab.fake.uploads == {}

    def test_a_conditional_write_is_not_sent_twice(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket")
        store = lab.open()
        store.probe("bucket")
        before = lab.requests["PutObject"]
        lab.fake.change("PutObject", lambda request, answer: replace(answer, fault=Fault(Wire.RESET)))
        with pytest.raises(ConnectionFailed):
            store.write("bucket/f", BytesSource(b"x"), if_absent=True)
        assert lab.requests["PutObject"] == before + 1


class TestMultipart:
    @pytest.mark.parametrize("source", [BytesSource, Stream])
    @pytest.mark.parametrize("size", [PART + 1, 2 * PART, 3 * PART - 1])
    def test_with_checksums_of_the_full_object(self, lab, source, size):
        lab.fake.make("bucket")
        data = content(size)
        entry = lab.open(part_size=PART).write("bucket/f", source(data), modified_ns=WHEN)
        stored = lab.fake.buckets["bucket"]["f"]
        assert stored.data == data
        assert stored.sums
        assert entry.modified_ns == WHEN
        assert entry.hashes == {"crc64nvme": hashing.digest("crc64nvme", data)}
        assert entry.version == stored.etag
        assert lab.requests["UploadPart"] == -(-size // PART)
        assert lab.fake.uploads == {}

    def test_without_awscrt_the_checksum_is_crc32(self, lab, monkeypatch):
        monkeypatch.setattr(hashing, "available", lambda name: name != "crc64nvme")
        lab.fake.make("bucket")
        data = content(PART + 7)
        entry = lab.open(part_size=PART).write("bucket/f", BytesSource(data))
        assert entry.hashes == {"crc32": hashing.digest("crc32", data)}

    @pytest.mark.parametrize("root", ["InitiateMultipartUploadResult", "InitiateMultipartUpload"])
    def test_where_the_service_keeps_no_checksums_our_md5_is_in_the_metadata(self, new_lab, root):
        lab = new_lab(Habits(full_checksums=False, initiate_root=root))
        lab.fake.make("bucket")
        data = content(2 * PART + 3)
        store = lab.open(part_size=PART)
        for _ in range(2):
            entry = store.write("bucket/f", BytesSource(data))
            assert lab.fake.buckets["bucket"]["f"].data == data
            assert entry.hashes == {"md5": hashlib.md5(data).hexdigest()}
        assert lab.requests["CreateMultipartUpload"] == 3  # the first one showed that it keeps none
        assert lab.requests["AbortMultipartUpload"] == 1
        assert lab.fake.uploads == {}
        assert store.read("bucket/f").read() == data

    def test_a_stream_without_checksums_of_the_service(self, new_lab):
        lab = new_lab(NO_CHECKSUMS)
        lab.fake.make("bucket")
        data = content(2 * PART + 3)
        entry = lab.open(part_size=PART).write("bucket/f", Stream(data))
        assert lab.fake.buckets["bucket"]["f"].data == data
        assert entry.size == len(data)

    def test_parts_grow_so_that_ten_thousand_suffice(self, new_lab, monkeypatch):
        from cftool_providers.s3 import _multipart

        monkeypatch.setattr(_multipart, "MAX_PARTS", 2)
        lab = new_lab()
        lab.fake.make("bucket")
        lab.open(part_size=PART).write("bucket/f", BytesSource(content(3 * PART + 1)))
        assert lab.requests["UploadPart"] == 2

    def test_parts_of_a_stream_double(self, new_lab, monkeypatch):
        from cftool_providers.s3 import _multipart

        monkeypatch.setattr(_multipart, "GROWTH", 1)
        lab = new_lab()
        lab.fake.make("bucket")
        data = content(8 * PART)
        lab.open(part_size=PART).write("bucket/f", Stream(data))
        assert lab.fake.buckets["bucket"]["f"].data == data
        assert lab.requests["UploadPart"] == 4

    def test_a_stream_of_too_many_parts_is_too_large(self, new_lab, monkeypatch):
        from cftool_providers.s3 import _multipart

        monkeypatch.setattr(_multipart, "MAX_PARTS", 2)
        lab = new_lab()
        lab.fake.make("bucket")
        with pytest.raises(TooLarge):
            lab.open(part_size=PART).write("bucket/f", Stream(content(3 * PART)))
        assert lab.fake.buckets["bucket"] == {}
        assert lab.fake.uploads == {}

    @pytest.mark.parametrize("habits", [Habits(), NO_CHECKSUMS], ids=["crc", "md5"])
    @pytest.mark.parametrize(
        ("op", "answer", "error"),
        [
            ("CreateMultipartUpload", (403, "AccessDenied"), PermissionDenied),
            ("CreateMultipartUpload", FakeResponse(200, (), b"<html>Welcome</html>"), ProtocolError),
            ("CreateMultipartUpload", FakeResponse(200, (), b"<InitiateMultipartUploadResult/>"), ProtocolError),
            ("UploadPart", (403, "AccessDenied"), PermissionDenied),
            ("UploadPart", FakeResponse(200, (), b""), ProtocolError),
            ("UploadPart", (400, "BadDigest"), IntegrityError),
            ("CompleteMultipartUpload", (403, "AccessDenied"), PermissionDenied),
            ("CompleteMultipartUpload", FakeResponse(200, (), b"<html>Welcome</html>"), ProtocolError),
            ("CompleteMultipartUpload", FakeResponse(200, (), b""), ProtocolError),
        ],
    )
    def test_a_failure_aborts_the_upload_and_keeps_the_old_file(self, new_lab, habits, op, answer, error):
        lab = new_lab(habits)
        lab.fake.make("bucket", ["f"], b"old")
        lab.memory[f"s3:{lab.url.partition('://')[2]}:full-object-checksum"] = "none" if habits is NO_CHECKSUMS else ""
        lab.fake.fail(op, answer)
        with pytest.raises(error):
            lab.open(part_size=PART).write("bucket/f", BytesSource(content(2 * PART)))
        assert lab.fake.buckets["bucket"]["f"].data == b"old"
        assert lab.fake.uploads == {}

    @pytest.mark.parametrize("habits", [Habits(), NO_CHECKSUMS], ids=["crc", "md5"])
    def test_a_part_stored_with_other_bytes_is_an_integrity_error(self, new_lab, habits):
        lab = new_lab(habits)
        lab.fake.make("bucket", ["f"], b"old")

        def lie(request, answer):
            answer = header(answer, "ETag", f'"{"0" * 32}"')
            return header(answer, "x-amz-checksum-crc64nvme", "AAAAAAAAAAA=") if habits.full_checksums else answer

        lab.fake.change("UploadPart", lie)
        with pytest.raises(IntegrityError):
            lab.open(part_size=PART).write("bucket/f", BytesSource(content(2 * PART)))
        assert lab.fake.buckets["bucket"]["f"].data == b"old"
        assert lab.fake.uploads == {}

    def test_an_error_under_200_of_the_completion_is_repeated(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket")
        lab.fake.fail("CompleteMultipartUpload", replace(lab.fake.error(200, "InternalError"), status=200), times=2)
        data = content(2 * PART)
        lab.open(part_size=PART).write("bucket/f", BytesSource(data))
        assert lab.fake.buckets["bucket"]["f"].data == data
        assert lab.requests["CompleteMultipartUpload"] == 3

    @pytest.mark.parametrize("habits", [Habits(), NO_CHECKSUMS], ids=["crc", "md5"])
    @pytest.mark.parametrize("wire", [Wire.RESET, Wire.CLOSE, Wire.SHORT_BODY])
    def test_a_completion_whose_answer_is_lost_is_recognised(self, new_lab, habits, wire):
        lab = new_lab(habits)
        lab.fake.make("bucket")
        lab.fake.change("CompleteMultipartUpload", lambda request, answer: replace(answer, fault=Fault(wire, 10)))
        data = content(2 * PART)
        entry = lab.open(part_size=PART).write("bucket/f", BytesSource(data))
        assert lab.fake.buckets["bucket"]["f"].data == data
        assert entry.size == len(data)
        # The second found the upload gone; libcurl may have sent it by itself.
        assert lab.fake.ops["CompleteMultipartUpload"] == 2

    def test_somebody_elses_file_is_not_taken_for_ours(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket")

        def steal(request, answer):
            lab.fake.make("bucket", ["f"], content(2 * PART, seed=9))
            return lab.fake.error(404, "NoSuchUpload")

        lab.fake.change("CompleteMultipartUpload", steal)
        with pytest.raises(NotFound):
            lab.open(part_size=PART).write("bucket/f", BytesSource(content(2 * PART)))

    def test_a_file_that_is_not_there_after_its_completion_is_an_error(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket")

        def lose(request, answer):
            lab.fake.buckets["bucket"].clear()
            return answer

        lab.fake.change("CompleteMultipartUpload", lose)
        with pytest.raises(IntegrityError, match="does not have it"):
            lab.open(part_size=PART).write("bucket/f", BytesSource(content(2 * PART)))

    @pytest.mark.parametrize("habits", [Habits(), NO_CHECKSUMS], ids=["crc", "md5"])
    def test_a_file_that_is_another_after_its_completion_is_an_error(self, new_lab, habits):
        lab = new_lab(habits)
        lab.fake.make("bucket")

        def damage(request, answer):
            stored = lab.fake.buckets["bucket"]["f"]
            lab.fake.buckets["bucket"]["f"] = replace(stored, data=stored.data[:-1])
            return answer

        lab.fake.change("CompleteMultipartUpload", damage)
        with pytest.raises(IntegrityError):
            lab.open(part_size=PART).write("bucket/f", BytesSource(content(2 * PART)))

    def test_an_etag_that_our_parts_do_not_make_is_an_error(self, new_lab):
        lab = new_lab(NO_CHECKSUMS)
        lab.fake.make("bucket")

        def lie(request, answer):
            import re

            return replace(answer, body=re.sub(rb"&quot;[0-9a-f]{32}-2", b"&quot;" + b"0" * 32 + b"-2", answer.body))

        lab.fake.change("CompleteMultipartUpload", lie)
        with pytest.raises(IntegrityError):
            lab.open(part_size=PART).write("bucket/f", BytesSource(content(2 * PART)))

    @pytest.mark.parametrize("habits", [Habits(), NO_CHECKSUMS], ids=["crc", "md5"])
    def test_a_source_that_changed_is_not_published(self, new_lab, habits):
        lab = new_lab(habits)
        lab.fake.make("bucket", ["f"], b"old")
        for source in (
            OddSource(content(2 * PART), size=2 * PART, changed=True),
            OddSource(content(2 * PART), size=2 * PART + 1),
            OddSource(content(2 * PART + 1), size=2 * PART),
            OddSource(content(2 * PART), size=2 * PART, fail_at=PART + 5),
            OddSource(content(2 * PART), size=None, fail_at=PART + 5),
            OddSource(content(2 * PART), size=None, changed=True),
            OddSource(content(100), size=None, changed=True),
        ):
            with pytest.raises(SourceChanged):
                lab.open(part_size=PART).write("bucket/f", source)
            assert lab.fake.buckets["bucket"]["f"].data == b"old"
            assert lab.fake.uploads == {}

    def test_a_passing_failure_of_a_part_is_not_seen(self, lab):
        lab.fake.make("bucket")
        lab.fake.fail("UploadPart", (500, "InternalError"), times=2)
        lab.fake.fail("CreateMultipartUpload", (500, "InternalError"))
        data = content(3 * PART)
        lab.open(part_size=PART).write("bucket/f", BytesSource(data))
        assert lab.fake.buckets["bucket"]["f"].data == data
        assert lab.fake.uploads == {}


class TestMany:
    def test_costs_one_request_a_file(self, lab):
        lab.fake.make("bucket")
        results = list(lab.open().write_many(WriteItem(f"bucket/f{n}", BytesSource(b"x")) for n in range(300)))
        assert len(results) == 300
        assert dict(lab.requests) == {"PutObject": 300}

    def test_small_files_pass_large_ones_and_all_arrive(self, lab):
        lab.fake.make("bucket")
        sizes = {f"large{n}": PART + n for n in range(6)} | {f"small{n}": n for n in range(40)}
        sizes |= {f"medium{n}": uploads.IN_MEMORY + n + 1 for n in range(5)}
        items = [WriteItem(f"bucket/{name}", BytesSource(content(size))) for name, size in sizes.items()]
        items += [WriteItem(f"bucket/stream{n}", Stream(content(n * 3 * MIB))) for n in range(3)]
        results = list(lab.open(part_size=PART).write_many(items))
        assert [r.error for r in results if r.error] == []
        assert len(results) == len(items)
        assert {k: len(o.data) for k, o in lab.fake.buckets["bucket"].items()} == sizes | {
            f"stream{n}": n * 3 * MIB for n in range(3)
        }

    def test_one_failure_stops_no_other(self, lab):
        lab.fake.make("bucket")
        lab.fake.fail("PutObject", (403, "AccessDenied"), key="f3")
        lab.fake.fail("UploadPart", (403, "AccessDenied"), key="l1")
        items = [WriteItem(f"bucket/f{n}", BytesSource(b"x"), tag=n) for n in range(10)]
        items += [WriteItem(f"bucket/l{n}", BytesSource(content(PART + 1)), tag=n) for n in range(3)]
        items.append(WriteItem("bucket/bad", OddSource(b"x", size=1, changed=True)))
        items.append(WriteItem("bucket/gone", OddSource(b"x", size=1, fail_at=0, error=lambda: OSError("gone"))))
        results = {r.path: r.error for r in lab.open(part_size=PART).write_many(items)}
        assert len(results) == len(items)
        failed = {path: type(error) for path, error in results.items() if error is not None}
        assert failed == {
            "bucket/f3": PermissionDenied,
            "bucket/l1": PermissionDenied,
            "bucket/bad": SourceChanged,
            "bucket/gone": OSError,
        }
        assert lab.fake.uploads == {}

    def test_failures_alone_come_out_without_any_request(self, lab):
        items = [WriteItem("bucket", BytesSource(b"x")), WriteItem("", BytesSource(b"x"))]
        results = list(lab.open().write_many(items))
        assert [type(r.error) for r in results] == [IsADirectory, InvalidName]
        assert not lab.requests

    def test_results_come_while_items_are_still_being_made(self, lab):
        lab.fake.make("bucket")
        made = []

        def items():
            for n in range(2000):
                made.append(n)
                yield WriteItem(f"bucket/f{n}", BytesSource(b"x"))

        results = lab.open().write_many(items())
        next(results)
        assert len(made) < 500
        assert len(list(results)) == 1999

    def test_memory_of_files_in_flight_is_bounded(self, lab, monkeypatch):
        monkeypatch.setattr(uploads, "MEMORY", 3 * 1000)
        lab.fake.make("bucket")
        loaded = []

        class Counted(BytesSource):
            def load(self):
                loaded.append(len(loaded))
                return super().load()

        results = lab.open().write_many(WriteItem(f"bucket/f{n}", Counted(bytes(1000))) for n in range(50))
        for count, _ in enumerate(results, 1):
            assert len(loaded) <= count + 4
        assert len(loaded) == 50

    def test_abandoning_it_leaves_no_upload_behind(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket")
        items = [WriteItem("bucket/small", BytesSource(b"x"))]
        items += [WriteItem(f"bucket/l{n}", BytesSource(content(3 * PART))) for n in range(3)]
        results = lab.open(part_size=PART).write_many(items)
        next(results)
        results.close()
        assert lab.fake.uploads == {}

    def test_an_error_of_the_items_themselves_passes_through(self, lab):
        lab.fake.make("bucket")

        def items():
            yield WriteItem("bucket/f", BytesSource(b"x"))
            raise StoreError("the listing failed")

        with pytest.raises(StoreError, match="the listing failed"):
            list(lab.open().write_many(items()))
