"""Records of uploads: whose process is dead, what a damaged or foreign one counts for, and places where none can be."""

import json
import os

import pytest

from cftool.disk import records
from cftool.disk.records import Folder, fingerprint
from cftool.disk.sessions import Sessions


@pytest.fixture
def sessions(tmp_path):
    return Sessions(str(tmp_path), "service", kind="uploads")


def begun(sessions, path="bucket/file", upload_id=None):
    record = sessions.begin(path, "source", 5, "headers")
    if upload_id is not None:
        record.created(upload_id)
    return record


def files(tmp_path):
    return sorted((tmp_path / "uploads").iterdir())


def test_what_a_dead_process_was_at_is_found_and_what_is_under_way_is_not(sessions):
    dead, alive = begun(sessions, "a", "one"), begun(sessions, "b", "two")
    dead.close()
    dead.close()  # as who leaves in a hurry does
    assert sessions.live() == {"two"}
    unmade = begun(sessions, "c")  # the service has not said its id yet
    assert sessions.live() == {"two"}
    (found,) = sessions.stale()
    assert found.name == os.path.basename(found._name)
    unmade.remove()
    assert (found.intent, found.upload_id) == (dead.intent, "one")
    assert sessions.live() == {"one", "two"}  # the first is held by us by now
    found.remove()
    assert list(sessions.stale()) == []
    assert sessions.live() == {"two"}
    alive.remove()
    assert sessions.live() == set()


def test_only_records_of_that_path_are_looked_at(sessions, tmp_path):
    for path in "ab":
        begun(sessions, path).close()
    assert [found.intent.path for found in sessions.stale("b")] == ["b"]
    assert len(files(tmp_path)) == 2


def test_a_record_of_another_service_is_left_alone(sessions, tmp_path):
    begun(Sessions(str(tmp_path), "other", kind="uploads")).close()
    assert list(sessions.stale()) == []
    assert len(files(tmp_path)) == 1


def test_a_second_line_that_was_cut_by_a_crash_was_never_written(sessions, tmp_path):
    begun(sessions, upload_id="one").close()
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:-3])
    (found,) = sessions.stale()
    assert found.upload_id is None
    found.close()


INTENT = {"service": "service", "path": "p", "source": "s", "part_size": 5, "headers": "h", "started_ns": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json\n",
        b"[]\n",
        b"[" * 100_000 + b"\n",
        json.dumps({**INTENT, "more": 1}).encode() + b"\n",
        json.dumps({**INTENT, "part_size": "5"}).encode() + b"\n",
        json.dumps({**INTENT, "path": 5}).encode() + b"\n",
        json.dumps(INTENT).encode() + b'\n{"no id": 1}\n',
    ],
)
def test_a_damaged_record_is_left_alone_and_told(sessions, tmp_path, caplog, content):
    begun(sessions).close()
    (file,) = files(tmp_path)
    file.write_bytes(content)
    assert list(sessions.stale()) == []
    assert "is damaged; it is left alone" in caplog.text
    assert file.read_bytes() == content


def test_a_record_that_goes_before_it_can_be_taken_is_none(sessions, tmp_path, monkeypatch):
    begun(sessions).close()
    (file,) = files(tmp_path)
    real = os.open

    def gone(path, *how, **more):
        file.unlink(missing_ok=True)
        return real(path, *how, **more)

    monkeypatch.setattr(records.os, "open", gone)
    assert list(sessions.stale()) == []


def test_a_record_that_another_finished_just_before_we_had_its_lock_is_none(sessions, tmp_path, monkeypatch):
    begun(sessions).close()
    (file,) = files(tmp_path)
    real = records.fcntl.flock

    def finished(fd, how):
        file.unlink(missing_ok=True)
        real(fd, how)

    monkeypatch.setattr(records.fcntl, "flock", finished)
    assert list(sessions.stale()) == []


def test_a_place_where_nothing_can_be_recorded_is_told_and_the_upload_goes_on(tmp_path, caplog):
    (tmp_path / "uploads").write_text("in the way")
    assert begun(Sessions(str(tmp_path), "service", kind="uploads")) is None
    assert "cannot be recorded" in caplog.text
    assert list(Sessions(str(tmp_path), "service", kind="uploads").stale()) == []


def test_without_a_state_directory_nothing_is_kept():
    sessions = Sessions(None, "service", kind="uploads")
    assert begun(sessions) is None
    assert (list(sessions.stale()), sessions.live()) == ([], set())


def test_a_record_that_cannot_be_written_leaves_no_descriptor(tmp_path, monkeypatch, descriptors):
    def full(fd):
        raise OSError(28, "No space left on device")

    folder = Folder(str(tmp_path), "uploads", "service")
    before = descriptors()
    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.create("about", {})
    assert descriptors() == before


def test_a_fingerprint_is_of_one_file_as_it_is(tmp_path):
    path = tmp_path / "f"
    path.write_text("1")
    first = fingerprint(str(path))
    assert first == fingerprint(str(path))
    path.write_text("12")
    assert first != fingerprint(str(path))
    assert (fingerprint(None), fingerprint(str(tmp_path / "none"))) == ("", "")
