"""delete, delete_many, rmdir, mkdir, copy, move and set_modified: what is sent, and what an answer has to say."""

import hashlib
from dataclasses import replace

import pytest

from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IntegrityError,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    ProtocolError,
    StoreError,
    TemporaryError,
    Unsupported,
)
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, Entry, Kind
from cftool.testing.fake_s3 import Habits
from cftool.testing.http_fake import FakeResponse
from cftool_providers.s3 import _copy, _settings

from .test_upload import PART, content


def files(*keys):
    return [Entry(f"bucket/{key}", Kind.FILE) for key in keys]


def outcome(results):
    return {r.path: None if r.error is None else type(r.error) for r in results}


class TestDeleteMany:
    def test_a_thousand_go_in_one_request(self, lab):
        lab.fake.make("bucket", [f"f{n}" for n in range(5000)])
        store = lab.open()
        results = list(store.delete_many(files(*(f"f{n}" for n in range(5000)))))
        assert len(results) == 5000
        assert not any(r.error for r in results)
        assert lab.fake.buckets["bucket"] == {}
        assert dict(lab.requests) == {"DeleteObjects": 5}

    def test_keys_that_a_batch_cannot_name_go_alone(self, lab):
        odd = ["ctrl\x01", " lead", "trail ", "tab\t", "new\nline", "cr\r", "\ufffe", "\udcff", "a&<>\"'", "é"]
        lab.fake.make("bucket", odd)
        assert set(outcome(lab.open().delete_many(files(*odd))).values()) == {None}
        assert lab.fake.buckets["bucket"] == {}
        assert lab.requests["DeleteObject"] == 7
        assert lab.requests["DeleteObjects"] == 1

    def test_several_buckets(self, lab):
        lab.fake.make("bucket", ["a"])
        lab.fake.make("other", ["a"])
        entries = [*files("a"), Entry("other/a", Kind.FILE)]
        assert set(outcome(lab.open().delete_many(entries)).values()) == {None}
        assert lab.requests["DeleteObjects"] == 2

    def test_directories_lose_their_markers(self, lab):
        lab.fake.make("bucket", ["d/", "d/e/"], b"")
        lab.fake.make("bucket", ["d/f"])
        store = lab.open()
        assert set(outcome(store.delete_many(list(store.walk("bucket")))).values()) == {None}
        assert lab.fake.buckets["bucket"] == {}

    def test_each_failure_is_told_with_its_key(self, lab):
        lab.fake.make("bucket", ["a", "b", "c"])

        def deny(request, answer):
            body = answer.body.replace(
                b"<Deleted><Key>b</Key></Deleted>",
                b"<Error><Key>b</Key><Code>AccessDenied</Code><Message>locked</Message></Error>",
            )
            return replace(answer, body=body)

        lab.fake.change("DeleteObjects", deny)
        results = list(lab.open().delete_many(files("a", "b", "c")))
        assert outcome(results) == {"bucket/a": None, "bucket/b": PermissionDenied, "bucket/c": None}
        assert "locked" in str(next(r.error for r in results if r.error))

    def test_a_key_that_failed_in_passing_is_tried_again(self, lab):
        lab.fake.make("bucket", ["a", "b"])

        def busy(request, answer):
            body = answer.body.replace(
                b"<Deleted><Key>b</Key></Deleted>",
                b"<Error><Key>b</Key><Code>InternalError</Code><Message>oops</Message></Error>",
            )
            return replace(answer, body=body)

        lab.fake.change("DeleteObjects", busy, times=2)
        assert outcome(lab.open().delete_many(files("a", "b"))) == {"bucket/a": None, "bucket/b": None}
        assert lab.requests["DeleteObjects"] == 3
        lab.fake.change("DeleteObjects", busy, times=99)
        assert outcome(lab.open().delete_many(files("a", "b"))) == {"bucket/a": None, "bucket/b": TemporaryError}

    def test_a_key_that_is_gone_is_done(self, lab):
        lab.fake.make("bucket", ["a"])
        body = b"<DeleteResult><Error><Key>a</Key><Code>NoSuchKey</Code></Error></DeleteResult>"
        lab.fake.change("DeleteObjects", lambda request, answer: replace(answer, body=body))
        assert outcome(lab.open().delete_many(files("a"))) == {"bucket/a": None}

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>Welcome</html>",
            b"<DeleteResult/>",
            b"<DeleteResult><Deleted><Key>other</Key></Deleted></DeleteResult>",
            b"<DeleteResult><Deleted><Key>a</Key></Deleted>",
            b"<Error><Code>AccessDenied</Code></Error>",
        ],
    )
    def test_an_answer_that_does_not_account_for_a_key_is_no_success(self, lab, body):
        lab.fake.make("bucket", ["a"])
        lab.fake.change("DeleteObjects", lambda request, answer: replace(answer, body=body))
        [result] = lab.open().delete_many(files("a"))
        assert isinstance(result.error, StoreError)

    def test_a_failed_request_fails_its_keys_each_with_its_own_path(self, lab):
        lab.fake.make("bucket", ["a", "b"])
        lab.fake.fail("DeleteObjects", (403, "AccessDenied"))
        results = list(lab.open().delete_many(files("a", "b")))
        assert [(r.path, r.error.path) for r in results] == [("bucket/a",) * 2, ("bucket/b",) * 2]

    def test_directories_without_markers_may_fail_where_nothing_is_left(self, lab):
        """`rclone serve s3` answers InternalError for a marker that it does not have."""
        lab.fake.make("bucket", ["d/a"])

        def fail(request, answer):
            body = answer.body.replace(
                b"<Deleted><Key>d/</Key></Deleted>", b"<Error><Key>d/</Key><Code>InternalError</Code></Error>"
            )
            return replace(answer, body=body)

        lab.fake.change("DeleteObjects", fail, times=9)
        entries = [*files("d/a"), Entry("bucket/d", Kind.DIRECTORY)]
        assert set(outcome(lab.open().delete_many(entries)).values()) == {None}

    def test_buckets_and_the_same_path_twice(self, lab):
        lab.fake.make("bucket", ["a"])
        results = list(lab.open().delete_many([Entry("bucket", Kind.DIRECTORY), *files("a", "a")]))
        assert [(r.path, type(r.error)) for r in sorted(results, key=lambda r: r.path)] == [
            ("bucket", InvalidName),
            ("bucket/a", type(None)),
            ("bucket/a", type(None)),
        ]

    def test_nothing_is_nothing(self, lab):
        assert list(lab.open().delete_many([])) == []
        assert not lab.requests


class TestDeleteOne:
    def test_says_what_was_there(self, lab):
        lab.fake.make("bucket", ["f", "d/f"])
        store = lab.open()
        store.delete("bucket/f")
        with pytest.raises(NotFound):
            store.delete("bucket/f")
        for path in ("bucket/d", "bucket", ""):
            with pytest.raises(IsADirectory):
                store.delete(path)
        assert lab.fake.buckets["bucket"].keys() == {"d/f"}


class TestDirectories:
    def test_mkdir_makes_markers_of_what_is_missing(self, lab):
        lab.fake.make("bucket", ["a/file"])
        store = lab.open()
        assert store.mkdir("bucket/a/b/c").is_dir
        assert lab.fake.buckets["bucket"].keys() == {"a/file", "a/b/", "a/b/c/"}
        store.mkdir("bucket/a/b/c")
        store.mkdir("bucket/a")
        assert lab.fake.buckets["bucket"].keys() == {"a/file", "a/b/", "a/b/c/"}
        store.mkdir("new/x")
        store.mkdir("newer")
        assert lab.fake.buckets["new"].keys() == {"x/"}
        assert lab.fake.buckets["newer"] == {}
        store.mkdir("newer")
        assert store.mkdir("").is_dir

    def test_mkdir_overwrites_no_file(self, lab):
        lab.fake.make("bucket", ["f", "g/"], b"content")
        store = lab.open()
        for path in ("bucket/f", "bucket/g"):
            with pytest.raises(AlreadyExists):
                store.mkdir(path)
        assert {o.data for o in lab.fake.buckets["bucket"].values()} == {b"content"}

    def test_a_service_without_markers_is_found_out(self, new_lab):
        lab = new_lab(Habits(markers=False))
        lab.fake.make("bucket")
        store = lab.open()
        assert Cap.EMPTY_DIRS in store.features.caps
        with pytest.raises(Unsupported):
            store.mkdir("bucket/d")
        assert lab.fake.buckets["bucket"] == {}
        assert Cap.EMPTY_DIRS not in store.features.caps
        puts = lab.requests["PutObject"]
        with pytest.raises(Unsupported):
            store.mkdir("bucket/e")
        assert lab.requests["PutObject"] == puts

    def test_rmdir_removes_what_is_empty_only(self, lab):
        lab.fake.make("bucket", ["d/", "e/"], b"")
        lab.fake.make("bucket", ["e/x", "g/"], b"content")
        store = lab.open()
        store.rmdir("bucket/d")
        for path, error in (
            ("bucket/d", NotFound),
            ("bucket/e", DirectoryNotEmpty),
            ("bucket/e/x", NotADirectory),
            ("bucket/g", DirectoryNotEmpty),
            ("bucket", DirectoryNotEmpty),
            ("nobody", NotFound),
            ("", InvalidName),
        ):
            with pytest.raises(error):
                store.rmdir(path)
        lab.fake.buckets["bucket"].clear()
        store.rmdir("bucket")
        assert lab.fake.buckets == {}


class TestCopy:
    def put(self, lab, **options):
        store = lab.open(**options)
        store.write("bucket/a b", BytesSource(b"content"), modified_ns=5)
        stored = lab.fake.buckets["bucket"]["a b"]
        stored.headers |= {"content-type": "text/x", "cache-control": "no", "x-amz-meta-colour": "red"}
        return store

    def test_keeps_the_metadata(self, lab):
        store = self.put(lab)
        entry = store.copy("bucket/a b", "other/é+")
        copied = lab.fake.buckets["other"]["é+"]
        assert copied.data == b"content"
        assert copied.headers == lab.fake.buckets["bucket"]["a b"].headers
        assert (entry.path, entry.size, entry.modified_ns) == ("other/é+", 7, 5)

    def test_set_modified_changes_the_time_and_nothing_else(self, lab):
        store = self.put(lab)
        before = dict(lab.fake.buckets["bucket"]["a b"].headers)
        entry = store.set_modified("bucket/a b", 1_500_000_000_123_456_789)
        assert entry.modified_ns == 1_500_000_000_123_456_789
        assert lab.fake.buckets["bucket"]["a b"].headers == before | {"x-amz-meta-mtime": "1500000000.123456789"}

    def test_a_multipart_file_keeps_a_hash(self, new_lab):
        lab = new_lab(Habits(full_checksums=False))
        store = lab.open(part_size=PART)
        data = content(PART + 1)
        store.write("bucket/f", BytesSource(data))
        assert store.set_modified("bucket/f", 9).hashes["md5"] == hashlib.md5(data).hexdigest()

    def test_move_leaves_one_of_two(self, lab):
        store = self.put(lab)
        assert store.move("bucket/a b", "bucket/c").path == "bucket/c"
        assert lab.fake.buckets["bucket"].keys() == {"c"}
        assert store.move("bucket/c", "bucket/c").path == "bucket/c"
        assert lab.fake.buckets["bucket"].keys() == {"c"}
        lab.fake.fail("CopyObject", (403, "AccessDenied"))
        with pytest.raises(PermissionDenied):
            store.move("bucket/c", "bucket/d")
        assert lab.fake.buckets["bucket"].keys() == {"c"}

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (FakeResponse(200, (), b"<Error><Code>AccessDenied</Code></Error>"), PermissionDenied),
            (FakeResponse(200, (), b"<html>Welcome</html>"), ProtocolError),
            (FakeResponse(200, (), b""), ProtocolError),
            ((412, "PreconditionFailed"), PreconditionFailed),
            ((403, "InvalidObjectState"), Unsupported),
            (FakeResponse(200, (), b"<CopyObjectResult/>"), IntegrityError),
        ],
    )
    def test_an_answer_that_is_no_success_is_an_error(self, lab, answer, error):
        store = self.put(lab)
        lab.fake.fail("CopyObject", answer)
        with pytest.raises(error):
            store.move("bucket/a b", "bucket/c")
        assert lab.fake.buckets["bucket"].keys() == {"a b"}

    def test_a_copy_that_is_another_is_an_error(self, lab):
        store = self.put(lab)
        lab.fake.make("bucket", ["c"], b"another")
        lab.fake.fail("CopyObject", FakeResponse(200, (), b"<CopyObjectResult/>"))
        with pytest.raises(IntegrityError):
            store.move("bucket/a b", "bucket/c")
        assert "a b" in lab.fake.buckets["bucket"]

    def test_a_directory_a_bucket_and_nothing_cannot_be_copied(self, lab):
        lab.fake.make("bucket", ["d/f"])
        store = lab.open()
        for path, error in (("bucket/d", IsADirectory), ("bucket", IsADirectory), ("bucket/none", NotFound)):
            with pytest.raises(error):
                store.copy(path, "bucket/x")
            with pytest.raises(error):
                store.set_modified(path, 1)
        with pytest.raises(IsADirectory):
            store.copy("bucket/d/f", "other")


class TestCopyInParts:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(_copy, "MAX_COPY", 1000)
        monkeypatch.setattr(_copy, "PART", 400)

    def put(self, new_lab):
        lab = new_lab(Habits(min_part=1))
        store = lab.open(storage_class="GLACIER_IR")
        self.data = content(1001)
        store.write("bucket/f", BytesSource(self.data), modified_ns=5)
        lab.fake.buckets["bucket"]["f"].headers["x-amz-meta-colour"] = "red"
        return lab, store

    def test_copies_content_and_metadata(self, new_lab):
        lab, store = self.put(new_lab)
        entry = store.copy("bucket/f", "other/g")
        copied = lab.fake.buckets["other"]["g"]
        assert copied.data == self.data
        assert copied.headers["x-amz-meta-colour"] == "red"
        assert copied.headers["x-amz-storage-class"] == "GLACIER_IR"
        assert entry.modified_ns == 5
        assert entry.hashes["md5"] == hashlib.md5(self.data).hexdigest()
        assert lab.requests["UploadPartCopy"] == 3

    def test_set_modified(self, new_lab):
        lab, store = self.put(new_lab)
        assert store.set_modified("bucket/f", 77).modified_ns == 77
        assert lab.fake.buckets["bucket"]["f"].headers["x-amz-meta-colour"] == "red"

    @pytest.mark.parametrize("op", ["CreateMultipartUpload", "UploadPartCopy", "CompleteMultipartUpload"])
    @pytest.mark.parametrize(
        ("answer", "error"),
        [((403, "AccessDenied"), PermissionDenied), (FakeResponse(200, (), b"<html/>"), ProtocolError)],
        ids=["refused", "web page"],
    )
    def test_a_failure_leaves_nothing_behind(self, new_lab, op, answer, error):
        lab, store = self.put(new_lab)
        lab.fake.fail(op, answer)
        with pytest.raises(error):
            store.copy("bucket/f", "bucket/g")
        assert lab.fake.buckets["bucket"].keys() == {"f"}
        assert lab.fake.uploads == {}


def test_the_largest_single_copy_is_amazons():
    assert _settings.MAX_COPY == 5 * 1024**3
