"""read and read_many: no wrong byte passes where the service has a hash, and no short file anywhere."""

import hashlib
from dataclasses import replace

import pytest

from cftool.core import hashing
from cftool.core.errors import (
    IntegrityError,
    IsADirectory,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    ProtocolError,
    StoreError,
)
from cftool.core.sources import BytesSource
from cftool.core.types import Entry, Kind, ReadItem
from cftool.disk.root import Root
from cftool.http import downloads, ranged
from cftool.testing.fake_s3 import Habits
from cftool.testing.http_fake import Fault, Wire
from cftool.testing.targets import MemoryPartial, MemoryTarget

from .test_upload import content, header

MIB = 1024 * 1024
PART = 5 * MIB


@pytest.fixture
def large(monkeypatch):
    """Everything above 100,000 bytes is large, in ranges of 200,000."""
    monkeypatch.setattr(downloads, "SMALL", 100_000)
    monkeypatch.setattr(ranged, "RANGE", 200_000)


def without(answer, name):
    return replace(answer, headers=tuple((n, v) for n, v in answer.headers if n.lower() != name))


class TestRead:
    def test_is_one_request(self, lab):
        lab.fake.make("bucket", ["f"], b"hello")
        store = lab.open()
        assert store.read("bucket/f").read() == b"hello"
        assert store.read("bucket/f", start=1, end=3).read() == b"el"
        assert dict(lab.requests) == {"GetObject": 2}

    def test_a_label_of_compression_belongs_to_the_object(self, lab):
        lab.fake.make("bucket", ["f"], b"not really gzip")
        lab.fake.buckets["bucket"]["f"].headers["content-encoding"] = "gzip"
        assert lab.open().read("bucket/f").read() == b"not really gzip"

    def test_a_directory_a_bucket_and_the_root_are_no_files(self, lab):
        lab.fake.make("bucket", ["d/f"])
        store = lab.open()
        for path in ("bucket/d", "bucket", ""):
            with pytest.raises(IsADirectory):
                store.read(path)

    @pytest.mark.parametrize(
        "change",
        [
            lambda a: replace(a, status=206),
            lambda a: header(a, "Content-Range", "bytes 0-4/5"),
            lambda a: replace(header(a, "Content-Range", "bytes 0-2/5"), body=a.body[:3], status=206),
        ],
    )
    def test_a_part_that_was_not_asked_for_is_an_error(self, lab, change):
        lab.fake.make("bucket", ["f"], b"hello")
        lab.fake.change("GetObject", lambda request, answer: change(answer))
        with pytest.raises(ProtocolError):
            lab.open().read("bucket/f").read()

    @pytest.mark.parametrize(
        "change",
        [
            lambda a: header(a, "Content-Range", "bytes 0-1/5"),
            lambda a: header(a, "Content-Range", "bytes 1-3/5"),
            lambda a: header(a, "Content-Range", "bytes 1-2/2"),
            lambda a: header(a, "Content-Range", "bytes */5"),
            lambda a: without(a, "content-range"),
            lambda a: replace(without(a, "content-range"), status=200, body=b"hello"),
            lambda a: replace(a, body=a.body + b"x"),
        ],
    )
    def test_another_range_than_asked_for_is_an_error(self, lab, change):
        lab.fake.make("bucket", ["f"], b"hello")
        lab.fake.change("GetObject", lambda request, answer: change(answer))
        with pytest.raises(StoreError):
            lab.open().read("bucket/f", start=1, end=3).read()

    def test_a_whole_object_is_right_where_the_range_is_all_of_it(self, lab):
        lab.fake.make("bucket", ["f"], b"hello")
        lab.fake.change("GetObject", lambda r, a: replace(without(a, "content-range"), status=200, body=b"hello"))
        assert lab.open().read("bucket/f", end=10).read() == b"hello"

    def test_a_range_behind_the_end_asks_for_the_object(self, lab):
        lab.fake.make("bucket", ["f"], b"hello")
        store = lab.open()
        download = store.read("bucket/f", start=5)
        assert (download.read(), download.entry.size) == (b"", 5)
        with pytest.raises(NotFound):
            store.read("bucket/none", start=5)
        with pytest.raises(PreconditionFailed):
            store.read("bucket/f", start=5, if_version="0" * 32)

    def test_a_version_is_checked_by_us_where_the_service_ignores_the_condition(self, lab):
        lab.fake.make("bucket", ["f"], b"hello")
        handle = lab.fake.handle
        store = lab.open()
        version = store.stat("bucket/f").version
        lab.fake.make("bucket", ["f"], b"other")
        lab.fake.change("GetObject", lambda r, a: handle_again(lab, r))
        with pytest.raises(PreconditionFailed):
            store.read("bucket/f", if_version=version)
        del handle

    @pytest.mark.parametrize("wire", [Wire.SHORT_BODY, Wire.RESET_BODY, Wire.FLIP])
    @pytest.mark.parametrize("at", [0, 1, 50_000, 99_999])
    def test_no_damaged_body_is_read_to_its_end(self, new_lab, wire, at):
        lab = new_lab()
        lab.fake.make("bucket", ["f"], content(100_000))
        lab.fake.change("GetObject", lambda request, answer: replace(answer, fault=Fault(wire, at)), times=20)
        store = lab.open()
        with pytest.raises(StoreError):
            store.read("bucket/f").read()

    def test_a_shorter_answer_that_looks_whole_is_caught_by_its_hash(self, lab):
        lab.fake.make("bucket", ["f"], content(1000))
        lab.fake.change("GetObject", lambda request, answer: replace(answer, body=answer.body[:500]))
        with pytest.raises(IntegrityError):
            lab.open().read("bucket/f").read()

    def test_errors_with_a_body_that_is_no_error_of_s3_are_not_not_found(self, lab):
        from cftool.testing.http_fake import FakeResponse

        page = FakeResponse(404, (("Content-Type", "text/html"),), b"<html>no such page</html>")
        lab.fake.fail("GetObject", page)
        with pytest.raises(ProtocolError, match="404 with an HTML page"):
            lab.open().read("bucket/f")

    def test_a_refused_head_is_explained_by_a_get(self, lab):
        lab.fake.make("bucket", ["f"])
        lab.fake.fail("HeadObject", (403, "AccessDenied"))
        lab.fake.fail("GetObject", (403, "InvalidAccessKeyId"), times=3)
        with pytest.raises(PermissionDenied, match="access_key_id"):
            lab.open().stat("bucket/f")


def handle_again(lab, request):
    """The answer to the same request without its condition; the signature is not looked at."""
    stored = lab.fake.buckets["bucket"]["f"]
    from cftool.testing.http_fake import FakeResponse

    return FakeResponse(200, (("ETag", f'"{stored.etag}"'),), stored.data)


class TestReadManySmall:
    def items(self, lab, store, count=5):
        lab.fake.make("bucket")
        for n in range(count):
            lab.fake.make("bucket", [f"f{n}"], content(n * 100, seed=n))
        return [ReadItem(entry, MemoryTarget(), tag=entry.path) for entry in store.scan("bucket")]

    def test_costs_one_request_a_file_and_brings_the_time(self, lab):
        store = lab.open()
        store.write("bucket/f", BytesSource(b"x"), modified_ns=5)
        [entry] = store.scan("bucket")
        lab.requests.clear()
        target = MemoryTarget()
        [result] = store.read_many([ReadItem(entry, target, tag=1)])
        assert (result.error, result.tag) == (None, 1)
        assert target.data == b"x"
        assert target.entry.modified_ns == result.entry.modified_ns == 5
        assert dict(lab.requests) == {"GetObject": 1}

    @pytest.mark.parametrize(
        "change",
        [
            lambda a: replace(a, body=a.body[:-1]),
            lambda a: replace(a, body=a.body + b"x"),
            lambda a: replace(a, body=b"y" * len(a.body)),
            lambda a: header(a, "ETag", '"another"'),
            lambda a: header(a, "Content-Range", "bytes 0-9/10"),
            lambda a: replace(a, fault=Fault(Wire.FLIP, 7)),
            lambda a: replace(a, status=206),
        ],
    )
    def test_what_is_not_the_object_listed_is_not_saved(self, lab, change):
        store = lab.open()
        items = self.items(lab, store, 3)
        lab.fake.change("GetObject", lambda request, answer: change(answer), key="f2")
        results = {r.path: r.error for r in store.read_many(items)}
        assert isinstance(results.pop("bucket/f2"), StoreError)
        assert set(results.values()) == {None}
        assert items[2].target.data is None

    def test_a_checksum_of_the_service_counts_under_kms(self, new_lab):
        lab = new_lab(Habits(kms=True))
        data = content(1000)
        lab.fake.make("bucket", ["f"], data)
        stored = lab.fake.buckets["bucket"]["f"]
        stored.sums["crc32"] = "AAAAAA=="
        store = lab.open()
        [entry] = store.scan("bucket")
        [result] = store.read_many([ReadItem(entry, MemoryTarget())])
        assert isinstance(result.error, IntegrityError)
        import base64

        stored.sums["crc32"] = base64.b64encode(bytes.fromhex(hashing.digest("crc32", data))).decode()
        [result] = store.read_many([ReadItem(entry, MemoryTarget())])
        assert result.error is None

    def test_a_target_that_fails_fails_its_file_alone(self, lab):
        store = lab.open()
        items = self.items(lab, store, 4)

        class Full(MemoryTarget):
            def save(self, data, entry):
                raise OSError(28, "No space left on device")

        items[1] = replace(items[1], target=Full())
        results = {r.path: r.error for r in store.read_many(items)}
        assert isinstance(results.pop("bucket/f1"), OSError)
        assert set(results.values()) == {None}

    def test_what_is_no_object_is_an_error(self, lab):
        lab.fake.make("bucket")
        items = [ReadItem(Entry(path, Kind.FILE, 1), MemoryTarget()) for path in ("bucket", "bucket/none", "bucket/f")]
        lab.fake.make("bucket", ["f"])
        results = {r.path: type(r.error) for r in lab.open().read_many(items)}
        assert results == {"bucket": IsADirectory, "bucket/none": NotFound, "bucket/f": type(None)}

    def test_memory_in_flight_is_bounded(self, lab, monkeypatch):
        monkeypatch.setattr(downloads, "MEMORY", 3000)
        lab.fake.make("bucket", [f"f{n}" for n in range(40)], bytes(1000))
        store = lab.open()
        pulled = []

        def items():
            for entry in store.scan("bucket"):
                pulled.append(entry)
                yield ReadItem(entry, MemoryTarget())

        for count, result in enumerate(store.read_many(items()), 1):
            assert result.error is None
            assert len(pulled) <= count + 4
        assert len(pulled) == 40


@pytest.mark.usefixtures("large")
class TestReadManyLarge:
    def get(self, lab, data, *, habits_md5=False):
        store = lab.open(part_size=PART)
        [entry] = store.scan("bucket")
        target = MemoryTarget()
        [result] = store.read_many([ReadItem(entry, target, tag="t")])
        assert result.tag == "t"
        return result, target

    @pytest.mark.parametrize("size", [100_001, 200_000, 200_001, 1_000_000])
    def test_arrives_in_ranges(self, lab, size):
        data = content(size)
        lab.fake.make("bucket", ["f"], data)
        result, target = self.get(lab, data)
        assert result.error is None
        assert target.data == data
        assert lab.requests["GetObject"] == -(-size // 200_000)
        assert lab.requests["HeadObject"] == 1

    def test_checksums_of_the_ranges_join_to_that_of_the_file(self, lab, monkeypatch):
        data = content(PART + 1)
        lab.open(part_size=PART).write("bucket/f", BytesSource(data), modified_ns=7)

        def read_back(self, size, offset):
            raise AssertionError("the file is read back")

        monkeypatch.setattr(MemoryPartial, "read_at", read_back)
        result, target = self.get(lab, data)
        assert result.error is None
        assert target.data == data
        assert target.entry.modified_ns == 7

    @pytest.mark.parametrize("habits", [Habits(), Habits(full_checksums=False)], ids=["crc", "md5"])
    def test_a_flipped_byte_in_a_range_is_caught(self, new_lab, habits):
        lab = new_lab(habits)
        data = content(PART + 1)
        store = lab.open(part_size=PART)
        store.write("bucket/f", BytesSource(data))
        lab.fake.change("GetObject", lambda request, answer: replace(answer, fault=Fault(Wire.FLIP, 99)), skip=3)
        [entry] = store.scan("bucket")
        discarded = []

        class Target(MemoryTarget):
            def begin(self, entry):
                partial = super().begin(entry)
                partial.discard = lambda: discarded.append(True)
                return partial

        target = Target()
        [result] = store.read_many([ReadItem(entry, target)])
        assert isinstance(result.error, IntegrityError)
        assert target.data is None
        assert discarded == [True]

    @pytest.mark.parametrize(
        "change",
        [
            lambda a: replace(a, body=a.body[:-1]),
            lambda a: header(a, "Content-Range", "bytes 0-199999/500000"),
            lambda a: header(a, "Content-Range", "bytes 200000-399999/500001"),
            lambda a: header(a, "ETag", '"other"'),
            lambda a: without(a, "content-range"),
            lambda a: replace(a, status=200),
        ],
    )
    def test_a_range_that_is_another_is_an_error_or_right(self, lab, change):
        data = content(500_000)
        lab.fake.make("bucket", ["f"], data)
        lab.fake.change("GetObject", lambda request, answer: change(answer), skip=1)
        result, target = self.get(lab, data)
        if result.error is None:
            assert target.data == data  # 200 with the right Content-Range
        else:
            assert isinstance(result.error, StoreError)
            assert target.data is None

    @pytest.mark.parametrize("wire", [Wire.SHORT_BODY, Wire.RESET_BODY])
    def test_a_range_that_breaks_off_is_asked_for_again(self, lab, wire):
        data = content(500_000)
        lab.fake.make("bucket", ["f"], data)
        lab.fake.change("GetObject", lambda request, answer: replace(answer, fault=Fault(wire, 70_000)), skip=1)
        result, target = self.get(lab, data)
        assert result.error is None
        assert target.data == data

    def test_a_version_that_changes_meanwhile_fails_and_stays_unpublished(self, lab):
        lab.fake.make("bucket", ["f"], content(900_000))
        store = lab.open()
        [entry] = store.scan("bucket")

        def replaced(request, answer):
            lab.fake.make("bucket", ["f"], content(900_000, seed=2))
            return answer

        lab.fake.change("GetObject", replaced)
        target = MemoryTarget()
        [result] = store.read_many([ReadItem(entry, target)])
        assert isinstance(result.error, (PreconditionFailed, IntegrityError))
        assert target.data is None

    def test_a_version_other_than_listed_fails(self, lab):
        lab.fake.make("bucket", ["f"], content(900_000))
        store = lab.open()
        [entry] = store.scan("bucket")
        for data in (content(900_000, seed=2), content(800_000)):
            lab.fake.make("bucket", ["f"], data)
            [result] = store.read_many([ReadItem(entry, MemoryTarget())])
            assert isinstance(result.error, (PreconditionFailed, IntegrityError))
        del lab.fake.buckets["bucket"]["f"]
        [result] = store.read_many([ReadItem(entry, MemoryTarget())])
        assert isinstance(result.error, NotFound)

    def test_goes_on_where_an_earlier_run_was_killed(self, lab, tmp_path):
        data = content(1_000_000)
        lab.fake.make("bucket", ["f"], data)
        store = lab.open()
        [entry] = store.scan("bucket")
        lab.fake.fail("GetObject", (403, "AccessDenied"), skip=3)
        with Root(str(tmp_path / "out"), create=True) as root:
            [result] = store.read_many([ReadItem(entry, root.target("f", origin="s3"))])
            assert isinstance(result.error, PermissionDenied)
        lab.requests.clear()
        with Root(str(tmp_path / "out")) as root:
            [result] = store.read_many([ReadItem(entry, root.target("f", origin="s3"))])
            assert result.error is None
            assert root.flush() == []
        assert (tmp_path / "out" / "f").read_bytes() == data
        assert lab.requests["GetObject"] < 5

    def test_what_was_damaged_by_an_earlier_run_is_found_when_it_is_read_back(self, lab):
        data = content(1_000_000)
        lab.fake.make("bucket", ["f"], data)
        store = lab.open()
        [entry] = store.scan("bucket")
        discarded = []

        class Target(MemoryTarget):
            def begin(self, entry):
                partial = super().begin(entry)
                partial.done(0, 600_000)  # nothing was written there
                partial.discard = lambda: discarded.append(True)
                return partial

        target = Target()
        [result] = store.read_many([ReadItem(entry, target)])
        assert isinstance(result.error, IntegrityError)
        assert target.data is None
        assert discarded == [True]

    def test_a_disk_that_fails_in_the_middle_fails_the_file(self, lab):
        lab.fake.make("bucket", ["f"], content(900_000))
        lab.fake.make("bucket", ["g"], content(900_000))
        store = lab.open()

        class Broken(MemoryTarget):
            def begin(self, entry):
                partial = super().begin(entry)

                def fail(chunks, offset):
                    raise OSError(28, "No space left on device")

                partial.writev_at = fail
                return partial

        targets = {"bucket/f": Broken(), "bucket/g": MemoryTarget()}
        results = {r.path: r.error for r in store.read_many(ReadItem(e, targets[e.path]) for e in store.scan("bucket"))}
        assert isinstance(results["bucket/f"], OSError)
        assert results["bucket/g"] is None
        assert hashlib.md5(targets["bucket/g"].data).hexdigest() == lab.fake.buckets["bucket"]["g"].etag

    def test_many_large_ones_and_small_ones(self, lab):
        for n in range(8):
            lab.fake.make("bucket", [f"f{n}"], content(300_000 + n, seed=n))
            lab.fake.make("bucket", [f"s{n}"], content(n, seed=n))
        store = lab.open()
        targets = {f"bucket/{key}": MemoryTarget() for key in lab.fake.buckets["bucket"]}
        results = list(store.read_many(ReadItem(e, targets[e.path]) for e in store.scan("bucket")))
        assert [r.error for r in results] == [None] * 16
        assert all(targets[f"bucket/{key}"].data == o.data for key, o in lab.fake.buckets["bucket"].items())

    def test_abandoning_it_keeps_what_is_there(self, lab):
        lab.fake.make("bucket", ["a"])
        for n in range(3):
            lab.fake.make("bucket", [f"f{n}"], content(900_000, seed=n))
        store = lab.open()
        results = store.read_many(ReadItem(e, MemoryTarget()) for e in store.scan("bucket"))
        next(results)
        results.close()
        assert store.read("bucket/a").read() == b"x"
