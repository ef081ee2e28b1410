"""The record of what a killed run leaves: what is written when, who may read it, and what damage does (nothing)."""

import json
import os
from pathlib import Path

import pytest

from cftool.core.errors import DirectoryNotEmpty, NotFound, StoreError
from cftool.core.types import Leftover
from cftool.disk.records import fingerprint
from cftool_providers.webdav._journal import Journal, Upload

UPLOAD = Upload("cftool-1", "d/f", "1:2:3:4:5", 100, 10, 7)


def die(journal):
    """As the kernel does for a dead process: the lock is gone, the file stays."""
    os.close(journal._fd)
    journal._fd = -1


def files(tmp_path):
    folder = tmp_path / "webdav-runs"
    return sorted(folder.iterdir()) if folder.exists() else []


@pytest.fixture
def new(tmp_path):
    return lambda service="dav": Journal(str(tmp_path), service)


def test_a_run_that_leaves_nothing_leaves_no_record(new, tmp_path):
    journal = new()
    journal.temp_begins("d")
    assert [oct(path.stat().st_mode & 0o777) for path in files(tmp_path)] == ["0o600"]
    journal.temp_ended(gone=True)
    journal.upload_begins(UPLOAD)
    journal.upload_ended(UPLOAD.id)
    journal.close()
    journal.close()
    assert files(tmp_path) == []


def test_a_run_that_wrote_nothing_writes_nothing(new, tmp_path):
    new().close()
    assert files(tmp_path) == []


def test_what_may_be_left_stays_on_record(new, tmp_path):
    journal = new()
    journal.temp_begins("d")
    journal.temp_ended(gone=False)
    journal.close()
    [record] = new().dead()
    assert record.directories == {"d"}
    record.remove()
    assert files(tmp_path) == []


def test_names_are_unique_and_hidden(new):
    journal, other = new(), new()
    names = {one.temp_name() for one in (journal, other) for _ in range(100)}
    assert len(names) == 200
    assert all(name.startswith(".cftool-") and name.endswith(".tmp") for name in names)


def test_a_live_run_is_nobody_elses_business(new):
    journal, other = new(), new()
    journal.upload_begins(UPLOAD)
    assert list(other.dead()) == []
    assert other.live() == {journal.run, other.run}
    assert other.unfinished("d/f", UPLOAD.source, 100, 10) is None


def test_a_dead_runs_upload_is_taken_over_once(new, tmp_path):
    journal, second, third = new(), new(), new()
    journal.upload_begins(UPLOAD)
    die(journal)
    assert second.unfinished("d/f", UPLOAD.source, 100, 10) == UPLOAD
    assert third.unfinished("d/f", UPLOAD.source, 100, 10) is None
    assert len(files(tmp_path)) == 1
    second.upload_ended(UPLOAD.id)
    second.close()
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "wanted", [("d/g", "1:2:3:4:5", 100, 10), ("d/f", "1:2:3:4:6", 100, 10), ("d/f", "1:2:3:4:5", 101, 10),
               ("d/f", "1:2:3:4:5", 100, 11), ("d/f", "", 100, 10)]
)  # fmt: skip
def test_another_file_or_another_size_of_pieces_is_another_upload(new, wanted):
    journal = new()
    journal.upload_begins(UPLOAD)
    die(journal)
    assert new().unfinished(*wanted) is None


def test_other_services_records_are_not_read(new):
    journal = new("dav-1")
    journal.upload_begins(UPLOAD)
    die(journal)
    assert list(new("dav-2").dead()) == []


def test_a_last_line_that_was_cut_counts_as_not_written(new, tmp_path):
    journal = new()
    journal.temp_begins("d")
    journal.upload_begins(UPLOAD)
    die(journal)
    [path] = files(tmp_path)
    data = path.read_bytes()
    last = data.rstrip(b"\n").rindex(b"\n") + 1
    for end in range(last, len(data)):
        path.write_bytes(data[:end])
        [record] = new().dead()
        assert (record.directories, record.uploads) == ({"d"}, {})
        record.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "{}\n",
        "[]\n",
        "null\n",
        "noise\n",
        "[" * 9000 + "\n",
        '{"service": "dav"}\n{"upload": {"id": "i", "path": 1, "source": "", "size": 1, "chunk": 1,"started_ns": 1}}\n',
        '{"service": "dav"}\n{"upload": {"id": 1}}\n',
    ],
)
def test_a_damaged_record_is_left_alone(new, tmp_path, text, caplog):
    folder = tmp_path / "webdav-runs"
    folder.mkdir()
    (folder / "0123.json").write_text(text)
    assert list(new().dead()) == []
    assert (folder / "0123.json").read_text() == text


def test_a_record_that_is_a_link_is_not_followed(new, tmp_path):
    folder = tmp_path / "webdav-runs"
    folder.mkdir()
    (tmp_path / "elsewhere").write_text(json.dumps({"service": "dav"}) + "\n")
    (folder / "0123.json").symlink_to(tmp_path / "elsewhere")
    assert list(new().dead()) == []


def test_without_a_place_nothing_is_kept_and_nothing_fails(tmp_path, caplog):
    for place in (None, "/proc/nothing"):
        journal = Journal(place, "dav")
        journal.temp_begins("d")
        journal.upload_begins(UPLOAD)
        journal.temp_ended(gone=True)
        journal.upload_ended(UPLOAD.id)
        assert list(journal.dead()) == []
        assert journal.live() == {journal.run}
        journal.close()
    assert "cannot be written down" in caplog.text


def test_a_fingerprint_changes_with_the_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"1")
    first = fingerprint(str(path))
    assert first == fingerprint(str(path))
    os.utime(path, ns=(1, 1))
    assert fingerprint(str(path)) != first
    assert fingerprint(str(tmp_path / "nothing")) == fingerprint(None) == ""


class TestLeftovers:
    def killed(self, new_lab):
        """A run that died with a temporary file on the server."""
        lab = new_lab()
        store = lab.open()
        store.probe()
        name = store._journal.temp_name()
        store._journal.temp_begins("d")
        lab.fake.put(f"d/{name}")
        die(store._journal)
        return lab, f"d/{name}"

    def test_of_dead_runs_are_listed_and_removed_with_their_record(self, new_lab):
        lab, path = self.killed(new_lab)
        store = lab.open()
        [leftover] = store.leftovers("")
        assert (leftover.path, leftover.size, leftover.own) == (path, 7, True)
        assert [*store.leftovers("d")] == [leftover]
        assert [*store.leftovers("e")] == []
        store.remove_leftover(leftover)
        store.remove_leftover(leftover)
        assert lab.fake.files() == {}
        assert [*store.leftovers("")] == []
        assert files(Path(lab.state_dir)) == []

    def test_of_dead_runs_do_not_keep_a_directory(self, new_lab):
        lab, _path = self.killed(new_lab)
        lab.open().rmdir("d")
        assert lab.fake.files() == {}
        with pytest.raises(NotFound):
            lab.open().stat("d")

    @pytest.mark.parametrize("name", ["f", ".cftool-ffffffffffff-1.tmp"])
    def test_of_dead_runs_stay_in_a_directory_that_stays(self, new_lab, name):
        lab, path = self.killed(new_lab)
        lab.fake.put(f"d/{name}")
        with pytest.raises(DirectoryNotEmpty):
            lab.open().rmdir("d")
        assert set(lab.fake.files()) == {path, f"d/{name}"}

    def test_of_live_runs_and_of_others_are_not(self, new_lab):
        lab = new_lab()
        store = lab.open()
        store.probe()
        store._journal.temp_begins("")
        lab.fake.put(store._journal.temp_name())
        lab.fake.put(".cftool-ffffffffffff-1.tmp")
        lab.fake.put(".cftool-notours.tmp")
        assert [*lab.open().leftovers("")] == []
        assert [left.path for left in lab.open().leftovers("", older_than=1)] == [".cftool-ffffffffffff-1.tmp"]

    @pytest.mark.parametrize("name", ["f", "d/f", "d/.cftool-x.tmp", "../.cftool-ffffffffffff-1.tmpx"])
    def test_nothing_else_is_ever_removed_as_one(self, new_lab, name):
        lab = new_lab()
        lab.fake.put("f")
        with pytest.raises(StoreError):
            lab.open().remove_leftover(Leftover(name, name, None, None, own=True))
        assert lab.fake.files() == {"f": b"content"}
