"""Uploads in one request: what is sent, what is believed, conditions, buckets made on the way."""

import json
import re
from dataclasses import replace

import pytest

from cftool.core.errors import (
    AlreadyExists,
    ConfigError,
    ConnectionFailed,
    IntegrityError,
    InvalidName,
    IsADirectory,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    ProtocolError,
    SourceChanged,
    StoreError,
    Unsupported,
)
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, WriteItem
from cftool.http import uploads
from cftool.testing.cases.base import OddSource
from cftool.testing.fake_gs import Habits
from cftool.testing.http_fake import FakeResponse, Fault, Wire

TIME = 1577934245123456789


class TestOne:
    def test_one_request_with_time_and_hash(self, lab):
        lab.fake.make("bucket")
        entry = lab.open().write("bucket/a b", BytesSource(b"hello"), modified_ns=TIME)
        stored = lab.fake.buckets["bucket"]["a b"]
        assert stored.data == b"hello"
        # As rclone writes it, and as gsutil does.
        assert stored.metadata == {
            "mtime": "2020-01-02T03:04:05.123456789Z",
            "goog-reserved-file-mtime": "1577934245",
        }
        assert lab.fake.ops["objects.insert"] == 1
        assert (entry.size, entry.modified_ns, entry.version) == (5, TIME, str(stored.generation))
        assert entry.hashes == {"md5": "5d41402abc4b2a76b9719d911017c592", "crc32c": "9a71bb4c"}
        stat = lab.open().stat("bucket/a b")
        assert entry == (stat if not lab.xml else stat._replace(stored_ns=None))

    @pytest.mark.parametrize("size", [0, 1, uploads.IN_MEMORY, uploads.IN_MEMORY + 1, (1 << 20) + 1, 3_000_001])
    def test_every_size_below_a_session_is_one_request(self, lab, size, tmp_path):
        from cftool.disk.source import LocalSource

        lab.fake.make("bucket")
        data = bytes(range(256)) * (size // 256 + 1)
        (tmp_path / "f").write_bytes(data[:size])
        told = []
        item = WriteItem("bucket/f", LocalSource(str(tmp_path / "f")), progress=told.append)
        [result] = lab.open().write_many([item])
        assert result.error is None
        assert lab.fake.buckets["bucket"]["f"].data == data[:size]
        assert sum(told) in {0, size}
        assert lab.fake.ops["objects.insert"] == 1

    def test_a_large_body_that_is_sent_again_is_whole(self, lab):
        lab.fake.make("bucket")
        lab.fake.fail("objects.insert", FakeResponse(200, fault=Fault(Wire.RESET)), times=2)
        data = bytes(range(256)) * 10_000
        lab.open().write("bucket/f", BytesSource(data))
        assert lab.fake.buckets["bucket"]["f"].data == data

    def test_other_bytes_than_were_sent_are_refused_by_the_service(self, either, monkeypatch):
        either.fake.make("bucket", ["f"], b"old")
        from cftool_providers.gs import _json, _xml

        for module, name in ((_json, "to_base64"), (_xml, "hash_header")):
            wrong = (lambda digest: "AAAAAAAAAAAAAAAAAAAAAA==") if name == "to_base64" else None
            if wrong is None:
                wrong = lambda name, digest: ("x-goog-hash", f"{name}=AAAAAAAAAAAAAAAAAAAAAA==")
            monkeypatch.setattr(module, name, wrong)
        with pytest.raises(IntegrityError):
            either.open().write("bucket/f", BytesSource(b"new"))
        assert either.fake.buckets["bucket"]["f"].data == b"old"

    def test_other_bytes_than_were_sent_are_not_believed_when_stored(self, either):
        either.fake.make("bucket")
        zero = "AAAAAAAAAAAAAAAAAAAAAA=="

        def lie(request, answer):
            if not either.xml:
                return replace(answer, body=json.dumps(json.loads(answer.body) | {"md5Hash": zero}).encode())
            kept = [pair for pair in answer.headers if not pair[1].startswith("md5=")]
            return replace(answer, headers=(*kept, ("x-goog-hash", f"md5={zero}")))

        either.fake.change("objects.insert", lie)
        with pytest.raises(IntegrityError):
            either.open().write("bucket/f", BytesSource(b"new"))

    @pytest.mark.parametrize(
        "fields",
        [{"name": "other"}, {"size": "4"}, {"generation": "x"}, {"size": None}],
        ids=["another name", "another size", "no generation", "no size"],
    )
    def test_an_answer_about_something_else_is_an_error(self, new_lab, fields):
        lab = new_lab()
        lab.fake.make("bucket")

        def lie(request, answer):
            return replace(answer, body=json.dumps(json.loads(answer.body) | fields).encode())

        lab.fake.change("objects.insert", lie)
        with pytest.raises((ProtocolError, IntegrityError)):
            lab.open().write("bucket/f", BytesSource(b"new"))

    def test_a_page_with_200_is_no_stored_file(self, either):
        either.fake.make("bucket")
        page = FakeResponse(200, (("Content-Type", "text/html"),), b"<html>Welcome</html>")
        either.fake.fail("objects.insert", page)
        with pytest.raises(ProtocolError):
            either.open().write("bucket/f", BytesSource(b"new"))

    def test_a_source_that_changed_is_not_published(self, either):
        either.fake.make("bucket", ["f"], b"old")
        for source in (
            OddSource(b"12345", size=5, changed=True),
            OddSource(b"1234", size=5),
            OddSource(b"123456", size=5),
            OddSource(b"1" * 2_000_000, size=2_000_001),
            OddSource(b"1" * 2_000_001, size=2_000_000),
            OddSource(b"1" * 2_000_000, size=2_000_000, changed=True),
            OddSource(b"12345", size=None, changed=True),
            OddSource(b"12345", size=None, fail_at=2),
        ):
            with pytest.raises(SourceChanged):
                either.open().write("bucket/f", source)
        assert either.fake.buckets["bucket"]["f"].data == b"old"

    def test_names_that_are_no_files(self, either):
        either.fake.make("bucket")
        store = either.open()
        with pytest.raises(InvalidName):
            store.write("", BytesSource(b""))
        with pytest.raises(IsADirectory):
            store.write("bucket", BytesSource(b""))
        with pytest.raises(InvalidName):
            store.write("bucket/..", BytesSource(b""))
        with pytest.raises(InvalidName):
            store.write("bucket/" + "x" * 1025, BytesSource(b""))

    def test_the_storage_class_is_that_of_the_option(self, either):
        either.fake.make("bucket")
        either.open(storage_class="nearline").write("bucket/f", BytesSource(b"x"))
        assert either.fake.buckets["bucket"]["f"].storage_class == "NEARLINE"


class TestMany:
    def test_costs_one_request_a_file_and_fails_singly(self, lab):
        lab.fake.make("bucket")
        lab.fake.fail("objects.insert", (403, "forbidden"), key="f3")
        items = [WriteItem(f"bucket/f{n}", BytesSource(b"x"), tag=n) for n in range(300)]
        items.append(WriteItem("bucket/bad", OddSource(b"x", size=1, fail_at=0, error=lambda: OSError("gone"))))
        results = {result.path: result.error for result in lab.open().write_many(items)}
        assert {path: type(error) for path, error in results.items() if error is not None} == {
            "bucket/f3": PermissionDenied,
            "bucket/bad": OSError,
        }
        assert lab.fake.ops["objects.insert"] == 300
        assert len(lab.fake.buckets["bucket"]) == 299

    def test_results_come_while_items_are_still_being_made(self, lab):
        lab.fake.make("bucket")
        made = []

        def items():
            for n in range(1000):
                made.append(n)
                yield WriteItem(f"bucket/f{n}", BytesSource(b"x"))

        results = lab.open().write_many(items())
        next(results)
        assert len(made) < 500
        assert len(list(results)) == 999

    def test_an_error_of_the_items_themselves_passes_through(self, lab):
        lab.fake.make("bucket")

        def items():
            yield WriteItem("bucket/f", BytesSource(b"x"))
            raise StoreError("the listing failed")

        with pytest.raises(StoreError, match="the listing failed"):
            list(lab.open().write_many(items()))

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


class TestConditions:
    def test_only_the_expected_version_is_replaced(self, lab):
        lab.fake.make("bucket", ["f"], b"old")
        store = lab.open()
        assert store.probe("bucket") == Cap.IF_VERSION | Cap.IF_ABSENT
        old = store.stat("bucket/f").version
        new = store.write("bucket/f", BytesSource(b"new"), if_version=old).version
        for version in (old, "1", "no number", "0", ""):
            with pytest.raises(PreconditionFailed):
                store.write("bucket/f", BytesSource(b"other"), if_version=version)
        with pytest.raises(PreconditionFailed):
            store.write("bucket/gone", BytesSource(b"other"), if_version=new)
        with pytest.raises(AlreadyExists):
            store.write("bucket/f", BytesSource(b"other"), if_absent=True)
        store.write("bucket/g", BytesSource(b"g"), if_absent=True)
        assert {key: stored.data for key, stored in lab.fake.buckets["bucket"].items()} == {"f": b"new", "g": b"g"}

    def test_a_conditional_write_whose_answer_got_lost_is_not_repeated(self, lab):
        lab.fake.make("bucket")
        store = lab.open()
        store.probe("bucket")
        lab.fake.change("objects.insert", lambda request, answer: FakeResponse(200, fault=Fault(Wire.CLOSE)))
        before = lab.fake.ops["objects.insert"]
        with pytest.raises(ConnectionFailed):
            store.write("bucket/f", BytesSource(b"x"), if_absent=True)
        assert lab.fake.ops["objects.insert"] == before + 1

    def test_a_service_that_ignores_them_has_none(self, new_lab):
        for xml in (False, True):
            lab = new_lab(Habits(conditions=False), xml=xml)
            lab.memory.clear()
            lab.fake.make("bucket", ["f"])
            store = lab.open()
            assert store.probe("bucket") == Cap.NONE
            for condition in ({"if_absent": True}, {"if_version": "5"}):
                with pytest.raises(Unsupported):
                    store.write("bucket/f", BytesSource(b"x"), **condition)
            assert lab.fake.buckets["bucket"]["f"].data == b"x"
            assert list(lab.fake.buckets["bucket"]) == ["f"]

    def test_what_was_seen_is_remembered(self, either):
        either.fake.make("bucket")
        either.open().probe("bucket")
        before = sum(either.fake.ops.values())
        assert Cap.IF_ABSENT in either.open().features.caps
        assert either.open().probe("bucket") == Cap.IF_VERSION | Cap.IF_ABSENT
        assert sum(either.fake.ops.values()) == before

    def test_googles_own_service_needs_no_probe(self, new_lab):
        store = new_lab().open(endpoint_url=None, anonymous=True, service_account_file=None)
        assert Cap.IF_VERSION | Cap.IF_ABSENT in store.features.caps
        assert store.probe("bucket") == Cap.IF_VERSION | Cap.IF_ABSENT


class TestBuckets:
    def test_a_missing_one_is_made_once(self, lab):
        items = [WriteItem(f"bucket/f{n}", BytesSource(b"x")) for n in range(100)]
        results = list(lab.open(location="EU").write_many(items))
        assert [result.error for result in results if result.error] == []
        assert lab.fake.ops["buckets.insert"] == 1
        assert len(lab.fake.buckets["bucket"]) == 100

    def test_or_not_where_that_is_not_wanted(self, either):
        with pytest.raises(NotFound):
            either.open(create_bucket=False).write("bucket/f", BytesSource(b"x"))
        assert either.fake.buckets == {}

    def test_without_a_project_the_error_says_what_to_do(self, new_lab):
        lab = new_lab()
        lab.fake.public = True
        store = lab.open(service_account_file=None, anonymous=True)
        with pytest.raises(ConfigError, match="set project"):
            store.write("bucket/f", BytesSource(b"x"))

    def test_somebody_else_who_makes_it_meanwhile_is_no_error(self, either):
        def steal(request, answer):
            either.fake.make("bucket")
            return answer

        either.fake.change("objects.insert", steal)
        either.open().write("bucket/f", BytesSource(b"x"))
        assert list(either.fake.buckets["bucket"]) == ["f"]

    def test_mkdir_and_rmdir_of_buckets(self, either):
        store = either.open()
        store.mkdir("bucket")
        store.mkdir("bucket")
        assert either.fake.buckets == {"bucket": {}}
        store.write("bucket/f", BytesSource(b"x"))
        with pytest.raises(StoreError, match="not empty"):
            store.rmdir("bucket")
        store.delete("bucket/f")
        store.rmdir("bucket")
        assert either.fake.buckets == {}
        with pytest.raises(InvalidName):
            store.mkdir("A")

    def test_mkdir_makes_the_bucket_too(self, either):
        either.open().mkdir("bucket/a/b")
        assert "a/b/" in either.fake.buckets["bucket"]


def test_the_wire_format_is_what_the_documentation_shows(new_lab):
    lab = new_lab()
    lab.fake.make("bucket")
    lab.open().write("bucket/dir/f", BytesSource(b"hello"))
    [request] = [r for r in lab.server.requests if r.method == "POST" and "/upload/" in r.target]
    assert request.target.startswith("/upload/storage/v1/b/bucket/o?uploadType=multipart")
    boundary = re.fullmatch(r"multipart/related; boundary=(\w+)", request.header("content-type"))[1]
    first, second = request.body.split(f"--{boundary}".encode())[1:3]
    assert json.loads(first.partition(b"\r\n\r\n")[2])["name"] == "dir/f"
    assert second.partition(b"\r\n\r\n")[2] == b"hello\r\n"
