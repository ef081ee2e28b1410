"""Nextcloud's chunked uploads: what is sent, what a later run goes on with, and what a failure leaves (nothing)."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cftool.core.errors import AlreadyExists, IntegrityError, PreconditionFailed, StoreError, TemporaryError
from cftool.core.sources import BytesSource
from cftool.core.types import Cap
from cftool.disk.source import LocalSource
from cftool.testing.http_fake import FakeResponse, Fault, Wire
from cftool_providers.webdav import _chunks

MIB = 1024 * 1024
CHUNK = 5 * MIB
SIZE = 3 * CHUNK + 17
WHEN = 1_700_000_000


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(_chunks, "CHUNK", CHUNK)
    monkeypatch.setattr("cftool_providers.webdav._upload.CHUNKED_FROM", CHUNK)


@pytest.fixture
def impatient(monkeypatch):
    """One attempt a request."""
    from cftool.http.types import Policy

    monkeypatch.setattr("cftool.http.open.Policy", lambda: Policy(attempts=1))


@pytest.fixture
def data():
    import random

    return random.Random(1).randbytes(SIZE)


@pytest.fixture
def file(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    return path


def opened(lab):
    store = lab.open()
    store.probe()
    lab.forget()
    return store


def pieces(lab):
    return sorted(line.rpartition("/")[2] for line in lab.fake.log if line.startswith("PUT") and "/uploads/" in line)


def journals(lab):
    folder = Path(lab.state_dir, "webdav-runs")
    return sorted(folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("transport", ["curl", "requests"])
def test_a_large_file_goes_in_pieces_and_becomes_one(new_lab, transport, data, file):
    lab = new_lab(vendor="nextcloud", transport=transport)
    store = opened(lab)
    entry = store.write("d/f", LocalSource(str(file)), modified_ns=WHEN * 10**9)
    node = lab.fake.nodes["d/f"]
    assert (node.data, node.when) == (data, WHEN)
    assert node.checksums == f"SHA1:{hashlib.sha1(data).hexdigest()}"
    assert (entry.size, entry.modified_ns, entry.version) == (SIZE, WHEN * 10**9, node.etag)
    assert pieces(lab) == ["00001", "00002", "00003", "00004"]
    assert lab.fake.uploads == {}
    store.close()
    assert journals(lab) == []


def test_a_source_without_a_file_goes_in_pieces_too(new_lab, data):
    lab = new_lab(vendor="nextcloud")
    opened(lab).write("f", BytesSource(data))
    assert lab.fake.files() == {"f": data}
    assert len(pieces(lab)) == 4


def test_elsewhere_there_are_no_pieces(new_lab, data):
    for habits in ({"vendor": "owncloud"}, {"vendor": "plain"}, {"vendor": "nextcloud", "base": "/remote.php/webdav"}):
        lab = new_lab(**habits, state_dir=None)
        store = opened(lab)
        store.write("f", BytesSource(data))
        assert (lab.fake.files(), pieces(lab)) == ({"f": data}, [])
        assert Cap.RESUME not in store.features.caps


@pytest.mark.usefixtures("impatient")
class TestResume:
    def interrupted(self, new_lab, file, *, kill=True):
        """Two of four pieces are stored when the server stops answering; the process is gone."""
        lab = new_lab(vendor="nextcloud")
        store = opened(lab)
        lab.fake.rule("PUT", skip=2, times=99, instead=FakeResponse(503))
        with pytest.raises(TemporaryError):
            store.write("d/f", LocalSource(str(file)), modified_ns=WHEN * 10**9)
        lab.fake._rules.clear()
        [upload] = lab.fake.uploads.values()
        assert sorted(upload.parts) == ["00001", "00002"]
        if kill:  # as the kernel does for a dead process
            os.close(store._journal._fd)
            store._journal._fd = -1
        lab.forget()
        return lab, store

    def test_a_later_run_sends_what_is_missing(self, new_lab, file, data):
        lab, _ = self.interrupted(new_lab, file)
        store = lab.open()
        store.write("d/f", LocalSource(str(file)), modified_ns=WHEN * 10**9)
        assert lab.fake.files() == {"d/f": data}
        assert pieces(lab) == ["00003", "00004"]
        assert [line for line in lab.fake.log if line.startswith("MKCOL") and "/uploads/" in line] == []
        assert (lab.fake.uploads, list(store.leftovers(""))) == ({}, [])
        store.close()
        assert journals(lab) == []

    def test_so_does_the_same_run(self, new_lab, file, data):
        lab, store = self.interrupted(new_lab, file, kill=False)
        store.write("d/f", LocalSource(str(file)))
        assert (lab.fake.files(), pieces(lab)) == ({"d/f": data}, ["00003", "00004"])

    def test_the_names_of_an_object_store_are_understood(self, new_lab, file, data):
        """Over S3 the pieces are listed as 1 and 2."""
        lab, _ = self.interrupted(new_lab, file)

        def renamed(request, answer):
            return replace(answer, body=answer.body.replace(b"/0000", b"/"))

        lab.fake.rule("PROPFIND", times=9, act=renamed)
        lab.open().write("d/f", LocalSource(str(file)))
        assert (lab.fake.files(), pieces(lab)) == ({"d/f": data}, ["00003", "00004"])

    def test_a_piece_that_is_short_is_sent_again(self, new_lab, file, data):
        lab, _ = self.interrupted(new_lab, file)
        [upload] = lab.fake.uploads.values()
        upload.parts["00002"] = upload.parts["00002"][:-1]
        lab.open().write("d/f", LocalSource(str(file)))
        assert (lab.fake.files(), pieces(lab)) == ({"d/f": data}, ["00002", "00003", "00004"])

    def test_a_file_that_changed_begins_anew(self, new_lab, file, data):
        lab, _ = self.interrupted(new_lab, file)
        file.write_bytes(data[::-1])
        store = lab.open()
        store.write("d/f", LocalSource(str(file)))
        assert lab.fake.files() == {"d/f": data[::-1]}
        assert len(pieces(lab)) == 4

    def test_so_does_one_that_the_server_forgot(self, new_lab, file, data):
        lab, _ = self.interrupted(new_lab, file)
        lab.fake.uploads.clear()
        lab.open().write("d/f", LocalSource(str(file)))
        assert (lab.fake.files(), len(pieces(lab))) == ({"d/f": data}, 4)

    def test_an_upload_that_somebody_is_at_is_left_alone(self, new_lab, file, data):
        lab, store = self.interrupted(new_lab, file, kill=False)
        other = lab.open()
        other.write("d/f", LocalSource(str(file)))
        assert len(pieces(lab)) == 4
        assert len(lab.fake.uploads) == 1
        store.close()

    def test_what_a_dead_run_left_is_found_and_removed(self, new_lab, file):
        lab, _ = self.interrupted(new_lab, file)
        store = lab.open()
        [leftover] = store.leftovers("")
        assert (leftover.path, leftover.own) == ("d/f", True)
        assert list(store.leftovers("elsewhere")) == []
        store.remove_leftover(leftover)
        assert (lab.fake.uploads, list(store.leftovers(""))) == ({}, [])
        store.close()
        assert journals(lab) == []

    def test_of_other_machines_only_what_is_old(self, new_lab, file):
        lab, _ = self.interrupted(new_lab, file)
        for journal in journals(lab):
            journal.unlink()
        store = lab.open()
        assert list(store.leftovers("")) == []
        assert [left.own for left in store.leftovers("", older_than=60)] == [False]
        assert list(store.leftovers("", older_than=10**9)) == []


class TestFailures:
    def test_without_a_file_to_come_back_to_nothing_is_left(self, new_lab, data, impatient):
        lab = new_lab(vendor="nextcloud")
        store = opened(lab)
        lab.fake.rule("PUT", skip=1, times=99, instead=FakeResponse(503))
        with pytest.raises(TemporaryError):
            store.write("f", BytesSource(data))
        assert (lab.fake.uploads, lab.fake.files()) == ({}, {})

    @pytest.mark.parametrize("status", [400, 403, 413, 507])
    def test_a_piece_that_is_refused_ends_it(self, new_lab, file, status):
        lab = new_lab(vendor="nextcloud")
        store = opened(lab)
        lab.fake.rule("PUT", skip=1, times=99, instead=FakeResponse(status))
        with pytest.raises(StoreError):
            store.write("f", LocalSource(str(file)))
        assert (lab.fake.uploads, lab.fake.files()) == ({}, {})

    def test_the_old_file_stays_until_the_new_one_is_whole(self, new_lab, file, impatient):
        lab = new_lab(vendor="nextcloud")
        store = opened(lab)
        lab.fake.put("f", b"old")
        lab.fake.rule("MOVE", times=9, instead=FakeResponse(403))
        with pytest.raises(StoreError):
            store.write("f", LocalSource(str(file)))
        assert lab.fake.files() == {"f": b"old"}

    def test_an_answer_that_is_lost_is_waited_for(self, new_lab, file, data):
        lab = new_lab(vendor="nextcloud")
        store = opened(lab)
        lab.fake.rule("MOVE", act=lambda request, answer: replace(answer, fault=Fault(Wire.CLOSE)))
        entry = store.write("f", LocalSource(str(file)))
        assert (lab.fake.files(), entry.size) == ({"f": data}, SIZE)

    def test_what_became_another_file_is_told(self, new_lab, file):
        lab = new_lab(vendor="nextcloud")
        store = opened(lab)
        real = lab.fake._store
        lab.fake._store = lambda request, path, stored: real(request, path, stored[:-1])
        with pytest.raises(IntegrityError):
            store.write("f", LocalSource(str(file)))

    def test_conditions_hold_for_it_too(self, new_lab, file):
        lab = new_lab(vendor="nextcloud")
        store = opened(lab)
        lab.fake.put("f", b"old")
        with pytest.raises(AlreadyExists):
            store.write("f", LocalSource(str(file)), if_absent=True)
        with pytest.raises(PreconditionFailed):
            store.write("f", LocalSource(str(file)), if_version="another")
        assert (lab.fake.files(), lab.fake.uploads) == ({"f": b"old"}, {})

    def test_the_number_of_pieces_is_bounded(self, monkeypatch):
        assert max(CHUNK, -(-(1 << 40) // _chunks.MOST)) * _chunks.MOST >= 1 << 40
