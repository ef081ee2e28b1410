"""Large uploads: sessions that go on after anything, and parallel parts that are composed."""

import os
from pathlib import Path

import pytest

from cftool.core.errors import (
    AlreadyExists,
    IntegrityError,
    Interrupted,
    PermissionDenied,
    PreconditionFailed,
    ProtocolError,
    SourceChanged,
    StoreError,
    TemporaryError,
)
from cftool.core.sources import BytesSource
from cftool.core.types import WriteItem
from cftool.disk.source import LocalSource
from cftool.testing.cases.base import OddSource
from cftool.testing.fake_gs import Habits
from cftool.testing.http_fake import FakeResponse, Fault, Wire
from cftool_providers.gs import _large, _session, _upload

KIB = 1024
CHUNK = 256 * KIB


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Sessions from 512 KiB on, in chunks of 256 KiB; nothing is composed."""
    monkeypatch.setattr(_upload, "WHOLE", 512 * KIB)
    monkeypatch.setattr(_session, "CHUNK", CHUNK)
    monkeypatch.setattr(_session, "STREAM_CHUNK", CHUNK)


@pytest.fixture
def composing(monkeypatch):
    """Files from 2 MiB on are cut into parts of 1 MiB."""
    monkeypatch.setattr(_large, "COMPOSE_FROM", 2048 * KIB)
    monkeypatch.setattr(_large, "PART", 1024 * KIB)


def local(tmp_path, size: int, seed: int = 1) -> LocalSource:
    import random

    path = tmp_path / "file"
    path.write_bytes(random.Random(seed).randbytes(size))
    return LocalSource(str(path))


def records(lab) -> list[Path]:
    try:
        return sorted(Path(lab.state_dir, "gs-uploads").iterdir())
    except FileNotFoundError:
        return []


def stored(lab, key="f") -> bytes:
    return lab.fake.buckets["bucket"][key].data


class Stream(BytesSource):
    """Of unknown size, and it cannot seek."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.size = None


class TestSession:
    def test_chunks_and_one_object_with_all_metadata(self, lab, tmp_path):
        lab.fake.make("bucket")
        source = local(tmp_path, 5 * CHUNK + 1)
        told = []
        item = WriteItem("bucket/f", source, 1577934245123456789, progress=told.append)
        [result] = lab.open().write_many([item])
        assert result.error is None
        assert stored(lab) == Path(source.local_path).read_bytes()
        assert lab.fake.buckets["bucket"]["f"].metadata["mtime"] == "2020-01-02T03:04:05.123456789Z"
        assert (result.entry.size, result.entry.modified_ns) == (5 * CHUNK + 1, 1577934245123456789)
        assert set(result.entry.hashes) == {"md5", "crc32c"}
        assert lab.fake.ops["upload.start"] == 1
        assert lab.fake.ops["upload.chunk"] == 6
        assert sum(told) == 5 * CHUNK + 1
        assert records(lab) == []

    @pytest.mark.parametrize("size", [512 * KIB + 1, 3 * CHUNK, 3 * CHUNK - 1, 3 * CHUNK + 1])
    def test_streams_of_any_size(self, lab, size):
        lab.fake.make("bucket")
        data = os.urandom(size)
        told = []
        [result] = lab.open().write_many([WriteItem("bucket/f", Stream(data), progress=told.append)])
        assert result.error is None
        assert stored(lab) == data
        assert sum(told) == size

    def test_a_chunk_that_is_stored_in_part_is_finished(self, new_lab, tmp_path):
        for xml in (False, True):
            lab = new_lab(Habits(partial=True), xml=xml)
            lab.fake.make("bucket")
            source = local(tmp_path, 9 * CHUNK + 5)
            lab.open().write("bucket/f", source)
            assert stored(lab) == Path(source.local_path).read_bytes()
            data = os.urandom(5 * CHUNK + 77)
            lab.open().write("bucket/s", Stream(data))
            assert stored(lab, "s") == data

    @pytest.mark.parametrize("kind", ["reset", "lost", "500", "503", "401"])
    @pytest.mark.parametrize("skip", [0, 2, 5])
    def test_any_fault_of_any_chunk_is_outlasted(self, lab, tmp_path, kind, skip):
        lab.fake.make("bucket")
        source = local(tmp_path, 5 * CHUNK + 1)
        if kind == "lost":
            lab.fake.change("upload.chunk", lambda r, a: FakeResponse(200, fault=Fault(Wire.CLOSE)), skip=skip, times=2)
        else:
            answer = FakeResponse(200, fault=Fault(Wire.RESET)) if kind == "reset" else (int(kind), "backendError")
            lab.fake.fail("upload.chunk", answer, skip=skip, times=2)
        lab.open().write("bucket/f", source)
        assert stored(lab) == Path(source.local_path).read_bytes()
        assert lab.fake.ops["upload.start"] == 1

    def test_a_lost_answer_to_the_last_chunk_stores_it_once(self, lab, tmp_path):
        lab.fake.make("bucket")
        source = local(tmp_path, 3 * CHUNK)
        lab.fake.change("upload.chunk", lambda r, a: FakeResponse(200, fault=Fault(Wire.CLOSE)), skip=2, times=1)
        entry = lab.open().write("bucket/f", source)
        assert stored(lab) == Path(source.local_path).read_bytes()
        assert entry.version == str(lab.fake.buckets["bucket"]["f"].generation)

    def test_a_session_that_is_gone_is_begun_anew(self, lab, tmp_path):
        lab.fake.make("bucket")

        def forget(request, answer):
            lab.fake.sessions.clear()
            return answer

        lab.fake.change("upload.chunk", forget, skip=2)
        source = local(tmp_path, 5 * CHUNK + 1)
        lab.open().write("bucket/f", source)
        assert stored(lab) == Path(source.local_path).read_bytes()
        assert lab.fake.ops["upload.start"] == 2

    def test_a_service_that_stores_nothing_is_given_up_on(self, either, tmp_path):
        either.fake.make("bucket")
        either.fake.fail("upload.chunk", FakeResponse(308), times=100)
        with pytest.raises(ProtocolError, match="does not go on"):
            either.open().write("bucket/f", local(tmp_path, 3 * CHUNK))
        assert either.fake.ops["upload.chunk"] < 20
        assert either.fake.sessions == {}

    @pytest.mark.parametrize("text", ["bytes=0-99999999", "bytes=5-9", "nonsense"])
    def test_a_range_that_cannot_be_is_an_error(self, either, tmp_path, text):
        either.fake.make("bucket")
        either.fake.fail("upload.chunk", FakeResponse(308, (("Range", text),)))
        with pytest.raises(ProtocolError):
            either.open().write("bucket/f", local(tmp_path, 3 * CHUNK))
        assert either.fake.buckets["bucket"] == {}

    @pytest.mark.parametrize("location", [None, "", "nonsense", "/upload?no_id=1", "http://evil.test/x"])
    def test_an_address_that_is_none_is_an_error(self, either, tmp_path, location):
        either.fake.make("bucket")
        headers = () if location is None else (("Location", location),)
        either.fake.fail("upload.start", FakeResponse(200, headers))
        with pytest.raises(ProtocolError):
            either.open().write("bucket/f", local(tmp_path, 3 * CHUNK))

    def test_credentials_stay_at_our_endpoint_whatever_the_address_says(self, new_lab, tmp_path):
        lab = new_lab()
        lab.fake.make("bucket")

        def elsewhere(request, answer):
            place = answer.header("location").replace(lab.url, "https://evil.test")
            return FakeResponse(200, (("Location", place),))

        lab.fake.change("upload.start", elsewhere)
        source = local(tmp_path, 3 * CHUNK)
        lab.open().write("bucket/f", source)
        assert stored(lab) == Path(source.local_path).read_bytes()

    def test_conditions_hold_for_sessions(self, lab, tmp_path):
        lab.fake.make("bucket", ["f"], b"old")
        store = lab.open()
        version = store.stat("bucket/f").version
        source = local(tmp_path, 3 * CHUNK)
        with pytest.raises(AlreadyExists):
            store.write("bucket/f", source, if_absent=True)
        with pytest.raises(PreconditionFailed):
            store.write("bucket/f", source, if_version="1")

        def meanwhile(request, answer):
            lab.fake.make("bucket", ["f"], b"theirs")
            return answer

        lab.fake.change("upload.chunk", meanwhile, skip=1)
        with pytest.raises(PreconditionFailed):
            store.write("bucket/f", source, if_version=version)
        assert stored(lab) == b"theirs"
        store.write("bucket/f", source, if_version=store.stat("bucket/f").version)
        assert len(stored(lab)) == 3 * CHUNK

    def test_a_source_that_changes_is_not_published(self, either, tmp_path):
        either.fake.make("bucket", ["f"], b"old")
        data = os.urandom(5 * CHUNK)
        for source in (
            OddSource(data, size=len(data), changed=True),
            OddSource(data, size=len(data) + 1),
            OddSource(data, size=len(data) - 1),
            OddSource(data, size=len(data), fail_at=CHUNK + 5),
            OddSource(data, size=None, fail_at=CHUNK + 5),
            OddSource(data, size=None, changed=True),
        ):
            with pytest.raises(SourceChanged):
                either.open().write("bucket/f", source)
            assert stored(either) == b"old"
        assert either.fake.sessions == {}
        source = local(tmp_path, 5 * CHUNK)

        def change(request, answer):
            Path(source.local_path).write_bytes(os.urandom(5 * CHUNK))
            return answer

        either.fake.change("upload.chunk", change, skip=1)
        with pytest.raises(SourceChanged):
            either.open().write("bucket/f", source)
        assert stored(either) == b"old"

    def test_bytes_that_change_on_the_way_are_not_published(self, either, tmp_path):
        either.fake.make("bucket", ["f"], b"old")

        def damage(request, answer):
            [session] = either.fake.sessions.values()
            session.data[5] ^= 1
            return answer

        either.fake.change("upload.chunk", damage, skip=1)
        with pytest.raises(IntegrityError):
            either.open().write("bucket/f", local(tmp_path, 5 * CHUNK))
        assert stored(either) == b"old"

    def test_without_crc32c_md5_protects_it(self, either, tmp_path, monkeypatch):
        from cftool.core import hashing

        monkeypatch.setattr(hashing, "available", lambda name: name == "md5")
        either.fake.make("bucket")
        source = local(tmp_path, 3 * CHUNK + 3)
        either.open().write("bucket/f", source)
        assert stored(either) == Path(source.local_path).read_bytes()
        last = [r for r in either.server.requests if r.method == "PUT"][-1]
        assert last.header("x-goog-hash").startswith("md5=")

    def test_a_missing_bucket_is_made(self, either, tmp_path):
        either.open().write("bucket/f", local(tmp_path, 3 * CHUNK))
        assert len(stored(either)) == 3 * CHUNK


class TestResume:
    def stop_after(self, lab, chunks: int, op="upload.chunk"):
        """A `cancelled` that says yes once so many chunks were answered."""
        seen = []

        def count(request, answer):
            seen.append(1)
            return answer

        lab.fake.change(op, count, times=10_000)
        return lambda: len(seen) >= chunks

    def test_a_later_run_goes_on_where_it_was(self, lab, tmp_path):
        lab.fake.make("bucket")
        source = local(tmp_path, 8 * CHUNK + 9)
        with pytest.raises(Interrupted):
            lab.open(cancelled=self.stop_after(lab, 4)).write("bucket/f", source, modified_ns=5)
        assert (lab.fake.buckets["bucket"], len(records(lab))) == ({}, 1)
        assert oct(records(lab)[0].stat().st_mode)[-3:] == "600"
        lab.fake.log.clear()
        told = []
        [result] = lab.open().write_many([WriteItem("bucket/f", source, 5, progress=told.append)])
        assert result.error is None
        assert stored(lab) == Path(source.local_path).read_bytes()
        ops = [op for op, _ in lab.fake.log]
        assert "upload.start" not in ops
        assert ops.count("upload.chunk") <= 5
        assert sum(told) == 8 * CHUNK + 9
        assert records(lab) == []

    def test_a_changed_file_is_begun_anew_and_the_old_session_ended(self, lab, tmp_path):
        lab.fake.make("bucket")
        with pytest.raises(Interrupted):
            lab.open(cancelled=self.stop_after(lab, 2)).write("bucket/f", local(tmp_path, 8 * CHUNK))
        source = local(tmp_path, 8 * CHUNK, seed=2)
        lab.open().write("bucket/f", source)
        assert stored(lab) == Path(source.local_path).read_bytes()
        assert lab.fake.ops["upload.cancel"] == 1
        assert records(lab) == []

    def test_a_session_that_has_expired_is_begun_anew(self, lab, tmp_path):
        lab.fake.make("bucket")
        source = local(tmp_path, 8 * CHUNK)
        with pytest.raises(Interrupted):
            lab.open(cancelled=self.stop_after(lab, 2)).write("bucket/f", source)
        lab.fake.sessions.clear()
        lab.open().write("bucket/f", source)
        assert stored(lab) == Path(source.local_path).read_bytes()
        assert records(lab) == []

    def test_one_that_was_complete_is_not_sent_again(self, either, tmp_path):
        either.fake.make("bucket")
        source = local(tmp_path, 4 * CHUNK)
        stopped = []

        def lose(request, answer):
            stopped.append(1)
            return FakeResponse(200, fault=Fault(Wire.CLOSE))

        either.fake.change("upload.chunk", lose, skip=3)
        with pytest.raises(Interrupted):
            either.open(cancelled=lambda: bool(stopped)).write("bucket/f", source)
        assert (len(records(either)), len(stored(either))) == (1, 4 * CHUNK)
        either.fake.log.clear()
        either.open().write("bucket/f", source)
        assert [op for op, _ in either.fake.log if op.startswith("upload")] == ["upload.status"]
        assert records(either) == []

    def test_cleanup_tells_and_ends_it_without_showing_its_address(self, either, tmp_path):
        either.fake.make("bucket")
        with pytest.raises(Interrupted):
            either.open(cancelled=self.stop_after(either, 2)).write("bucket/f", local(tmp_path, 8 * CHUNK))
        store = either.open()
        [leftover] = store.leftovers("bucket")
        assert (leftover.path, leftover.own) == ("bucket/f", True)
        assert "upload_id" not in leftover.id
        assert list(store.leftovers("bucket/other")) == []
        store.remove_leftover(leftover)
        store.remove_leftover(leftover)
        assert (either.fake.sessions, records(either), list(store.leftovers(""))) == ({}, [], [])

    def test_a_failure_that_will_not_pass_leaves_nothing(self, either, tmp_path):
        either.fake.make("bucket")
        either.fake.fail("upload.chunk", (403, "forbidden"), skip=2)
        with pytest.raises(PermissionDenied):
            either.open().write("bucket/f", local(tmp_path, 8 * CHUNK))
        assert (either.fake.sessions, records(either)) == ({}, [])

    def test_without_a_state_directory_nothing_is_kept(self, either, tmp_path):
        either.fake.make("bucket")
        source = local(tmp_path, 4 * CHUNK)
        either.open(state=False).write("bucket/f", source)
        assert stored(either) == Path(source.local_path).read_bytes()


@pytest.mark.usefixtures("composing")
class TestCompose:
    SIZE = 4096 * KIB + 77

    def test_parts_in_parallel_become_one_object(self, lab, tmp_path):
        lab.fake.make("bucket")
        source = local(tmp_path, self.SIZE)
        told = []
        [result] = lab.open().write_many([WriteItem("bucket/dir/f", source, 1_500_000_000, progress=told.append)])
        assert result.error is None
        assert list(lab.fake.buckets["bucket"]) == ["dir/f"]
        whole = lab.fake.buckets["bucket"]["dir/f"]
        assert whole.data == Path(source.local_path).read_bytes()
        assert whole.metadata["mtime"] == "1970-01-01T00:00:01.5Z"
        assert (result.entry.modified_ns, set(result.entry.hashes)) == (1_500_000_000, {"crc32c"})
        assert (lab.fake.ops["upload.start"], lab.fake.ops["objects.compose"]) == (5, 1)
        assert sum(told) == self.SIZE
        assert records(lab) == []
        with lab.open().read("bucket/dir/f") as download:
            assert download.read() == whole.data

    def test_never_more_than_32_parts(self, new_lab, tmp_path, monkeypatch):
        monkeypatch.setattr(_large, "PART", 64 * KIB)
        lab = new_lab()
        lab.fake.make("bucket")
        source = local(tmp_path, 33 * 1024 * KIB)
        lab.open().write("bucket/f", source)
        assert stored(lab) == Path(source.local_path).read_bytes()
        assert lab.fake.ops["upload.start"] <= 32

    def test_a_damaged_part_is_not_published(self, either, tmp_path):
        either.fake.make("bucket", ["f"], b"old")

        def damage(request, answer):
            from dataclasses import replace

            for key, part in list(either.fake.buckets["bucket"].items()):
                if ".part-01" in key:
                    either.fake.buckets["bucket"][key] = replace(part, data=part.data[:-1] + b"?")
            return answer

        either.fake.change("upload.chunk", damage, times=1000)
        with pytest.raises(IntegrityError):
            either.open().write("bucket/f", local(tmp_path, self.SIZE))
        assert list(either.fake.buckets["bucket"]) == ["f"]

    def test_a_lost_answer_is_made_up_for(self, lab, tmp_path):
        lab.fake.make("bucket")
        store = lab.open()
        store.probe("bucket")
        lab.fake.change("objects.compose", lambda r, a: FakeResponse(200, fault=Fault(Wire.CLOSE)), times=1)
        source = local(tmp_path, self.SIZE)
        store.write("bucket/f", source, if_absent=True)
        assert stored(lab) == Path(source.local_path).read_bytes()
        assert list(lab.fake.buckets["bucket"]) == ["f"]

    def test_conditions_are_those_of_the_whole(self, lab, tmp_path):
        lab.fake.make("bucket", ["f"], b"old")
        store = lab.open()
        source = local(tmp_path, self.SIZE)
        with pytest.raises(AlreadyExists):
            store.write("bucket/f", source, if_absent=True)
        with pytest.raises(PreconditionFailed):
            store.write("bucket/f", source, if_version="1")
        assert list(lab.fake.buckets["bucket"]) == ["f"]
        assert stored(lab) == b"old"
        store.write("bucket/f", source, if_version=store.stat("bucket/f").version)
        assert len(stored(lab)) == self.SIZE

    def test_a_service_that_composes_nothing_gets_one_session(self, new_lab, tmp_path):
        for xml in (False, True):
            lab = new_lab(Habits(compose=False), xml=xml)
            lab.memory.clear()
            lab.fake.make("bucket")
            source = local(tmp_path, self.SIZE)
            lab.open().write("bucket/f", source)
            assert stored(lab) == Path(source.local_path).read_bytes()
            assert list(lab.fake.buckets["bucket"]) == ["f"]
            lab.open().write("bucket/g", source)
            assert lab.fake.ops["objects.compose"] == 1

    def test_a_later_run_takes_the_parts_that_are_whole(self, lab, tmp_path):
        lab.fake.make("bucket")
        source = local(tmp_path, self.SIZE)
        stop = TestResume().stop_after(lab, 10)
        with pytest.raises(Interrupted):
            lab.open(cancelled=stop).write("bucket/f", source)
        assert "f" not in lab.fake.buckets["bucket"]
        chunks = lab.fake.ops["upload.chunk"]
        told = []
        [result] = lab.open().write_many([WriteItem("bucket/f", source, progress=told.append)])
        assert result.error is None
        assert stored(lab) == Path(source.local_path).read_bytes()
        assert list(lab.fake.buckets["bucket"]) == ["f"]
        assert lab.fake.ops["upload.chunk"] - chunks <= 17 - 8
        assert sum(told) == self.SIZE
        assert (records(lab), [s for s in lab.fake.sessions.values() if s.done is None]) == ([], [])

    def test_a_changed_file_gets_new_parts_and_the_old_ones_go(self, lab, tmp_path):
        lab.fake.make("bucket")
        with pytest.raises(Interrupted):
            lab.open(cancelled=TestResume().stop_after(lab, 10)).write("bucket/f", local(tmp_path, self.SIZE))
        source = local(tmp_path, self.SIZE, seed=3)
        lab.open().write("bucket/f", source)
        assert stored(lab) == Path(source.local_path).read_bytes()
        assert list(lab.fake.buckets["bucket"]) == ["f"]

    def test_cleanup_finds_ours_and_with_an_age_those_of_others(self, either, tmp_path):
        either.fake.make("bucket", ["x/f.cftool-0123456789abcdef.part-00", "x/f.cftool-0123456789abcdef.part-01"])
        either.fake.make("bucket", ["x/f.cftool-notes", "x/other"])
        with pytest.raises(Interrupted):
            either.open(cancelled=TestResume().stop_after(either, 10)).write("bucket/f", local(tmp_path, self.SIZE))
        store = either.open()
        own = list(store.leftovers(""))
        assert own
        assert all(leftover.own for leftover in own)
        for leftover in own:
            store.remove_leftover(leftover)
        left = set(either.fake.buckets["bucket"])
        assert not [key for key in left if key.startswith("f.")]
        assert [leftover.path for leftover in store.leftovers("bucket/x", older_than=60)] == ["bucket/x/f"]
        [leftover] = store.leftovers("", older_than=60)
        assert (leftover.own, leftover.size) == (False, 2)
        assert list(store.leftovers("bucket/y", older_than=60)) == []
        store.remove_leftover(leftover)
        assert set(either.fake.buckets["bucket"]) == {"x/f.cftool-notes", "x/other"}
        assert records(either) == []

    def test_a_failed_part_leaves_no_other_behind(self, either, tmp_path):
        either.fake.make("bucket")
        either.fake.fail("upload.chunk", (403, "forbidden"), skip=9)
        with pytest.raises(PermissionDenied):
            either.open().write("bucket/f", local(tmp_path, self.SIZE))
        assert (either.fake.buckets["bucket"], records(either)) == ({}, [])

    def test_parts_that_cannot_be_deleted_are_no_failure_of_the_file(self, either, tmp_path):
        either.fake.make("bucket")
        either.fake.fail("objects.delete", (403, "forbidden"), times=1000)
        source = local(tmp_path, self.SIZE)
        either.open().write("bucket/f", source)
        assert stored(either) == Path(source.local_path).read_bytes()
        [leftover] = either.open().leftovers("bucket")
        with pytest.raises(StoreError):
            either.open().remove_leftover(leftover)

    def test_a_cold_storage_class_is_not_cut(self, new_lab, tmp_path):
        lab = new_lab()
        lab.fake.make("bucket")
        lab.open(storage_class="ARCHIVE").write("bucket/f", local(tmp_path, self.SIZE))
        assert lab.fake.ops["objects.compose"] == 0


def test_a_failure_that_may_pass_keeps_the_session(either, tmp_path, monkeypatch):
    monkeypatch.setattr(_session, "ATTEMPTS", 1)
    either.fake.make("bucket")
    either.fake.fail("upload.chunk", FakeResponse(200, fault=Fault(Wire.RESET)), skip=2, times=3)
    source = local(tmp_path, 8 * CHUNK)
    with pytest.raises(TemporaryError):
        either.open().write("bucket/f", source)
    assert len(records(either)) == 1
    either.open().write("bucket/f", source)
    assert either.fake.ops["upload.start"] == 1
    assert stored(either) == Path(source.local_path).read_bytes()
