"""Uploads that ended early: what is on record, what is resumed, what is aborted, and what `leftovers` finds."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cftool.core.errors import IntegrityError, TemporaryError
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, Leftover
from cftool.disk.records import fingerprint
from cftool.disk.sessions import Sessions
from cftool.disk.source import LocalSource
from cftool.testing.fake_s3 import ACCESS_KEY, SECRET_KEY, Habits
from cftool.testing.http_fake import Fault, Wire

from .test_upload import PART, content

BUSY = (500, "InternalError")


@pytest.fixture
def impatient(monkeypatch):
    """One attempt a request."""
    from cftool.http.types import Policy

    monkeypatch.setattr("cftool.http.open.Policy", lambda: Policy(attempts=1))


def records(lab):
    try:
        return sorted(Path(lab.state_dir, "s3-uploads").iterdir())
    except FileNotFoundError:
        return []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("habits", [Habits(), Habits(full_checksums=False)], ids=["crc", "md5"])
class TestResume:
    def interrupted(self, new_lab, tmp_path, habits, parts=4):
        """A file of several parts, of which some are stored when the service stops answering."""
        lab = new_lab(habits)
        lab.fake.make("bucket")
        path = tmp_path / "file"
        path.write_bytes(content(parts * PART - 7))
        store = lab.open(part_size=PART)
        lab.fake.fail("UploadPart", BUSY, skip=2, times=99)
        with pytest.raises(TemporaryError):
            store.write("bucket/f", LocalSource(str(path)), modified_ns=5)
        lab.fake._rules.clear()
        assert len(lab.fake.uploads) == 1
        assert len(records(lab)) == 1
        lab.requests.clear()
        return lab, path

    def test_goes_on_with_the_parts_that_are_there(self, new_lab, tmp_path, habits):
        lab, path = self.interrupted(new_lab, tmp_path, habits)
        there = len(next(iter(lab.fake.uploads.values())).parts)
        assert there >= 1
        entry = lab.open(part_size=PART).write("bucket/f", LocalSource(str(path)), modified_ns=5)
        assert lab.fake.buckets["bucket"]["f"].data == path.read_bytes()
        assert entry.modified_ns == 5
        assert lab.requests["UploadPart"] == 4 - there
        assert lab.requests["CreateMultipartUpload"] == 0
        assert (lab.fake.uploads, records(lab)) == ({}, [])

    def test_pages_of_parts_are_followed(self, new_lab, tmp_path, habits):
        lab, path = self.interrupted(new_lab, tmp_path, habits)
        lab.fake.habits = replace(lab.fake.habits, page=1)
        there = len(next(iter(lab.fake.uploads.values())).parts)
        lab.open(part_size=PART).write("bucket/f", LocalSource(str(path)), modified_ns=5)
        assert lab.requests["ListParts"] == there
        assert lab.requests["UploadPart"] == 4 - there

    def test_a_stored_part_that_is_another_is_sent_again(self, new_lab, tmp_path, habits):
        lab, path = self.interrupted(new_lab, tmp_path, habits)
        upload = next(iter(lab.fake.uploads.values()))
        number, (data, _, _) = next(iter(upload.parts.items()))
        wrong = bytes(len(data))
        upload.parts[number] = (wrong, lab.fake._etag(wrong), "AAAAAAAAAAA=")
        lab.open(part_size=PART).write("bucket/f", LocalSource(str(path)), modified_ns=5)
        assert lab.fake.buckets["bucket"]["f"].data == path.read_bytes()

    def test_another_file_does_not_go_on_with_it_but_aborts_it(self, new_lab, tmp_path, habits):
        lab, path = self.interrupted(new_lab, tmp_path, habits)
        [old] = lab.fake.uploads
        path.write_bytes(content(4 * PART - 7, seed=2))
        lab.open(part_size=PART).write("bucket/f", LocalSource(str(path)), modified_ns=5)
        assert lab.fake.buckets["bucket"]["f"].data == path.read_bytes()
        assert lab.requests["AbortMultipartUpload"] == 1
        assert (lab.fake.uploads, records(lab)) == ({}, [])
        del old

    def test_other_metadata_or_part_size_do_not_go_on_with_it(self, new_lab, tmp_path, habits):
        for change in ({"modified_ns": 6}, {"part_size": 2 * PART}):
            lab, path = self.interrupted(new_lab, tmp_path, habits)
            store = lab.open(part_size=change.get("part_size", PART))
            store.write("bucket/f", LocalSource(str(path)), modified_ns=change.get("modified_ns", 5))
            assert lab.requests["CreateMultipartUpload"] == 1
            assert lab.fake.buckets["bucket"]["f"].data == path.read_bytes()
            assert (lab.fake.uploads, records(lab)) == ({}, [])

    def test_one_that_the_service_has_forgotten_is_begun_anew(self, new_lab, tmp_path, habits):
        lab, path = self.interrupted(new_lab, tmp_path, habits)
        lab.fake.uploads.clear()
        lab.open(part_size=PART).write("bucket/f", LocalSource(str(path)), modified_ns=5)
        assert lab.fake.buckets["bucket"]["f"].data == path.read_bytes()
        assert records(lab) == []

    def test_one_that_is_in_use_is_left_alone(self, new_lab, tmp_path, habits):
        lab, path = self.interrupted(new_lab, tmp_path, habits)
        [upload_id] = lab.fake.uploads
        sessions = Sessions(lab.state_dir, lab.open().features.identity, kind="s3-uploads")
        [held] = sessions.stale("bucket/f")
        assert held.upload_id == upload_id
        store = lab.open(part_size=PART)
        store.write("bucket/f", LocalSource(str(path)), modified_ns=5)
        assert list(lab.fake.uploads) == [upload_id]
        assert list(store.leftovers("", older_than=0)) == []
        held.close()
        assert [leftover.id for leftover in store.leftovers("")] == [upload_id]

    def test_a_list_of_parts_that_may_be_wrong_is_not_believed(self, new_lab, tmp_path, habits):
        lab, path = self.interrupted(new_lab, tmp_path, habits)
        lab.fake.change("ListParts", lambda request, answer: replace(answer, body=b"<html/>"))
        lab.open(part_size=PART).write("bucket/f", LocalSource(str(path)), modified_ns=5)
        assert lab.fake.buckets["bucket"]["f"].data == path.read_bytes()
        assert lab.requests["CreateMultipartUpload"] == 1
        assert (lab.requests["UploadPart"], lab.fake.uploads, records(lab)) == (4, {}, [])


@pytest.mark.usefixtures("impatient")
class TestLeftovers:
    def test_are_found_by_our_records_and_removed(self, new_lab, tmp_path):
        lab, _ = TestResume().interrupted(new_lab, tmp_path, Habits())
        store = lab.open()
        assert Cap.LEFTOVERS in store.features.caps
        assert list(store.leftovers("other")) == list(store.leftovers("bucket/x")) == []
        [found] = store.leftovers("bucket")
        assert (found.path, found.own) == ("bucket/f", True)
        store.remove_leftover(found)
        assert (lab.fake.uploads, records(lab)) == ({}, [])
        store.remove_leftover(found)  # gone already: no error

    def test_an_upload_whose_creation_was_not_answered_is_found_by_its_intent(self, new_lab, tmp_path):
        lab = new_lab()
        lab.fake.make("bucket")
        path = tmp_path / "file"
        path.write_bytes(content(2 * PART))
        lab.fake._clock = int(time.time())
        lab.fake.change("CreateMultipartUpload", lambda r, a: replace(a, fault=Fault(Wire.RESET)), times=3)
        store = lab.open(part_size=PART)
        with pytest.raises(TemporaryError):
            store.write("bucket/f", LocalSource(str(path)))
        orphans = set(lab.fake.uploads)
        assert orphans
        assert {leftover.id for leftover in store.leftovers("")} == orphans
        for leftover in list(store.leftovers("")):
            store.remove_leftover(leftover)
        assert (lab.fake.uploads, records(lab)) == ({}, [])

    def test_those_of_others_only_when_they_are_old(self, new_lab):
        lab = new_lab()
        lab.fake.make("bucket")
        lab.fake.make("second")
        store = lab.open()
        for bucket, key in (("bucket", "d/é+ x"), ("bucket", "e"), ("second", "f")):
            store._service.send("POST", "CreateMultipartUpload", bucket, key, query="uploads=", headers=())
        assert list(store.leftovers("")) == []
        found = list(store.leftovers("", older_than=3600))
        assert [(leftover.path, leftover.own) for leftover in found] == [
            ("bucket/d/é+ x", False),
            ("bucket/e", False),
            ("second/f", False),
        ]
        assert [leftover.path for leftover in store.leftovers("bucket/d", older_than=0)] == ["bucket/d/é+ x"]
        assert list(store.leftovers("", older_than=100 * 365 * 86400)) == []
        store.remove_leftover(found[0])
        assert len(lab.fake.uploads) == 2

    def test_a_bucket_that_is_gone_has_none(self, new_lab):
        assert list(new_lab().open().leftovers("nobody", older_than=0)) == []

    def test_a_stream_that_failed_is_aborted_at_once(self, new_lab):
        from .test_upload import Stream

        lab = new_lab()
        lab.fake.make("bucket")
        lab.fake.fail("UploadPart", BUSY, skip=1, times=9)
        with pytest.raises(TemporaryError):
            lab.open(part_size=PART).write("bucket/f", Stream(content(3 * PART)))
        assert (lab.fake.uploads, records(lab)) == ({}, [])

    def test_an_integrity_error_aborts(self, new_lab, tmp_path):
        lab = new_lab()
        lab.fake.make("bucket")
        path = tmp_path / "file"
        path.write_bytes(content(2 * PART))
        lab.fake.fail("UploadPart", (400, "BadDigest"))
        with pytest.raises(IntegrityError):
            lab.open(part_size=PART).write("bucket/f", LocalSource(str(path)))
        assert (lab.fake.uploads, records(lab)) == ({}, [])


class TestRecords:
    def begin(self, tmp_path, path="bucket/f"):
        return Sessions(str(tmp_path), "s3:x", kind="s3-uploads").begin(path, "1:2", 5, "h: 1")

    def test_are_on_disk_before_the_upload_and_hold_no_secret(self, tmp_path):
        record = self.begin(tmp_path)
        record.created("id-1")
        record.close()
        [file] = (tmp_path / "s3-uploads").iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert lines[0]["path"] == "bucket/f"
        assert lines[1] == {"id": "id-1"}
        assert SECRET_KEY not in file.read_text()

    def test_paths_of_any_bytes_survive(self, tmp_path):
        path = "bucket/é\udcff\n\x01"
        self.begin(tmp_path, path).close()
        [found] = Sessions(str(tmp_path), "s3:x", kind="s3-uploads").stale(path)
        assert found.intent.path == path

    def test_a_line_that_was_cut_counts_as_not_written(self, tmp_path):
        record = self.begin(tmp_path)
        record.created("id-1")
        record.close()
        [file] = (tmp_path / "s3-uploads").iterdir()
        whole = file.read_bytes()
        sessions = Sessions(str(tmp_path), "s3:x", kind="s3-uploads")
        for cut in range(len(whole)):
            file.write_bytes(whole[:cut])
            found = list(sessions.stale())
            for each in found:
                each.close()
            ids = [each.upload_id for each in found]
            assert ids == ([] if cut <= whole.index(b"\n") else [None])
        assert file.exists()  # a damaged record is never removed by itself

    def test_those_of_another_service_are_not_ours(self, tmp_path):
        self.begin(tmp_path).close()
        assert list(Sessions(str(tmp_path), "s3:other", kind="s3-uploads").stale()) == []

    def test_live_ones_are_told(self, tmp_path):
        record = self.begin(tmp_path)
        record.created("id-1")
        sessions = Sessions(str(tmp_path), "s3:x", kind="s3-uploads")
        assert sessions.live() == {"id-1"}
        assert list(sessions.stale()) == []
        record.remove()
        assert sessions.live() == set()

    def test_without_a_place_nothing_is_kept_and_uploads_work(self, tmp_path, new_lab, caplog):
        assert Sessions(None, "s3:x", kind="s3-uploads").begin("bucket/f", "", 5, "") is None
        assert list(Sessions(None, "s3:x", kind="s3-uploads").stale()) == []
        blocked = tmp_path / "file"
        blocked.write_text("no directory")
        lab = new_lab()
        lab.state_dir = str(blocked)
        lab.fake.make("bucket")
        lab.open(part_size=PART).write("bucket/f", BytesSource(content(PART + 1)))
        assert "cannot be recorded" in caplog.text
        assert lab.fake.uploads == {}

    def test_the_fingerprint_changes_with_the_file(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"one")
        first = fingerprint(str(path))
        os.utime(path, ns=(1, 1))
        assert fingerprint(str(path)) != first
        assert fingerprint(None) == fingerprint(str(tmp_path / "none")) == ""


_CHILD = """
import sys
from cftool.core.provider import Context, Secret
from cftool.disk.source import LocalSource
from cftool_providers.s3 import PROVIDER
url, key, secret, state, path = sys.argv[1:]
values = {option.name: None for option in PROVIDER.options}
values |= {"endpoint_url": url, "access_key_id": key, "secret_access_key": Secret(secret), "region": "us-east-1"}
values["part_size"] = 5 * 1024 * 1024
store = PROVIDER.open(values, Context(state_dir=state))
store.write("bucket/f", LocalSource(path), modified_ns=5)
"""


@pytest.mark.crash
def test_an_upload_of_a_killed_process_is_resumed(new_lab, tmp_path):
    lab = new_lab()
    lab.fake.make("bucket")
    path = tmp_path / "file"
    path.write_bytes(content(4 * PART))
    reached, gate = threading.Event(), threading.Event()

    def hold(request, answer):
        reached.set()
        return replace(answer, fault=Fault(Wire.WAIT, gate=gate))

    lab.fake.change("UploadPart", hold, skip=2, times=99)
    command = [sys.executable, "-c", _CHILD, lab.url, ACCESS_KEY, SECRET_KEY, lab.state_dir, str(path)]
    with subprocess.Popen(command) as child:
        assert reached.wait(60)
        child.send_signal(signal.SIGKILL)
    gate.set()
    lab.fake._rules.clear()
    [(upload_id, upload)] = lab.fake.uploads.items()
    there = len(upload.parts)
    assert there >= 2
    assert [leftover.id for leftover in lab.open().leftovers("")] == [upload_id]
    lab.requests.clear()
    lab.open(part_size=PART).write("bucket/f", LocalSource(str(path)), modified_ns=5)
    assert lab.fake.buckets["bucket"]["f"].data == path.read_bytes()
    assert lab.requests["UploadPart"] <= 4 - 2
    assert (lab.fake.uploads, records(lab)) == ({}, [])


def test_a_leftover_says_what_it_is():
    assert Leftover("bucket/f", "id").own is False
