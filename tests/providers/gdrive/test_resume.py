"""Resumable uploads: pieces, lost answers, sessions of killed runs, sources that change."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cftool.core.errors import IntegrityError, ProtocolError, SourceChanged, StoreError, TemporaryError
from cftool.core.types import Cap, ReadItem, WriteItem
from cftool.disk.root import Root
from cftool.disk.source import LocalSource
from cftool.http.retry import Clock
from cftool.testing.cases.base import OddSource
from cftool.testing.fake_gdrive import CLIENT_ID, CLIENT_SECRET, GRAIN, REFRESH, error, rate_limited
from cftool.testing.http_fake import FakeResponse, Fault, Wire
from cftool.testing.targets import MemoryTarget
from cftool.transfer import api
from cftool_providers.gdrive import _resumable
from cftool_providers.gdrive._sessions import LIFE_NS

SIZE = 6 * GRAIN * 8 + 17  # above what goes in one request


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(_resumable, "PIECE", 8 * GRAIN)
    monkeypatch.setattr(_resumable, "BUFFERED", 4 * GRAIN)
    real = Clock()
    monkeypatch.setattr("cftool.http.client.Clock", lambda: Clock(sleep=lambda s: real.sleep(min(s, 0.001))))


@pytest.fixture
def local(tmp_path):
    """A large local file, as (path, content, source)."""
    (tmp_path / "src").mkdir()
    data = os.urandom(SIZE)
    (tmp_path / "src" / "big").write_bytes(data)
    with Root(str(tmp_path / "src")) as root:
        yield tmp_path / "src" / "big", data, LocalSource(root, "big")


def chunks(fake):
    return [
        request.header("content-range")
        for request in fake.log
        if "upload_id=" in request.query and request.method == "PUT"
    ]


class Killed(BaseException):
    """The process is gone."""


def kill_at(lab, store, source, pieces):
    """Begin the upload, and die when the service has that many pieces."""
    real = store._service.client.send
    sent = []

    def send(request):
        if request.op == "upload.chunk":
            if len(sent) == pieces:
                raise Killed
            sent.append(request)
        return real(request)

    store._service.client.send = send
    with pytest.raises(Killed):
        store.write("dir/big", source)
    store._service.client.send = real


def test_pieces_are_multiples_of_256_kib_and_follow_each_other(lab, local):
    _, data, source = local
    entry = lab.open().write("big", source, modified_ns=1_600_000_000_000_000_000)
    assert entry.size == SIZE
    assert lab.fake.find("big")[0].content == data
    assert entry.modified_ns == 1_600_000_000_000_000_000
    spans = chunks(lab.fake)
    assert spans[0] == f"bytes 0-{8 * GRAIN - 1}/{SIZE}"
    assert spans[-1] == f"bytes {48 * GRAIN}-{SIZE - 1}/{SIZE}"
    assert len(spans) == 7
    assert lab.requests["upload.start"] == 1


@pytest.mark.parametrize("size", [0, 1, GRAIN - 1, GRAIN, 4 * GRAIN, 4 * GRAIN + 1, 8 * GRAIN])
def test_a_source_of_unknown_size(quick, size):
    data = os.urandom(size)
    entry = quick.open().write("f", OddSource(data, size=None))
    assert (entry.size, quick.fake.find("f")[0].content) == (size, data)


def test_a_later_run_goes_on_where_the_killed_one_stopped(quick, local):
    _, data, source = local
    kill_at(quick, quick.open(), source, 3)
    begun = len(chunks(quick.fake))
    assert quick.fake.tree() == {"dir": None}
    store = quick.open()
    assert Cap.RESUME in store.features.caps
    store.write("dir/big", source)
    spans = chunks(quick.fake)[begun:]
    assert spans[0] == f"bytes */{SIZE}"
    assert spans[1] == f"bytes {24 * GRAIN}-{32 * GRAIN - 1}/{SIZE}"
    assert len(spans) == 1 + 4
    assert quick.fake.requests["upload.start"] == 1
    assert quick.fake.tree() == {"dir": None, "dir/big": data}
    assert os.listdir(os.path.join(quick.state_dir, "gdrive-uploads")) == []


def test_a_run_that_was_killed_after_the_last_piece_sends_nothing_again(quick, local):
    _, data, source = local
    store = quick.open()
    real = store._service.client.send

    def send(request):
        response = real(request)
        if request.op == "upload.chunk" and response.status == 200:
            raise Killed
        return response

    store._service.client.send = send
    with pytest.raises(Killed):
        store.write("dir/big", source)
    assert quick.fake.tree() == {"dir": None, "dir/big": data}
    file = quick.fake.find("dir/big")[0]
    begun = len(chunks(quick.fake))
    # The file is there by now: the next run would replace it, and the old session is of no use to that.
    quick.open().write("dir/big", source)
    assert quick.fake.find("dir/big") == [file]
    assert file.content == data
    assert len(chunks(quick.fake)) - begun <= 7


@pytest.mark.parametrize("what", ["content", "time", "session", "folder", "record"])
def test_nothing_is_resumed_that_is_not_the_same(quick, local, what):
    path, data, source = local
    kill_at(quick, quick.open(), source, 3)
    if what == "content":
        data = os.urandom(SIZE)
        path.write_bytes(data)
    elif what == "time":
        os.utime(path, ns=(1, 1))
    elif what == "session":
        quick.fake.sessions.clear()
    elif what == "folder":
        quick.fake.find("dir")[0].name = "other"
    else:
        [name] = os.listdir(os.path.join(quick.state_dir, "gdrive-uploads"))
        where = Path(quick.state_dir, "gdrive-uploads", name)
        where.write_text(where.read_text().replace("www.googleapis.com", "evil.example"))
    with Root(str(path.parent)) as root:
        quick.open().write("dir/big", LocalSource(root, "big"))
    assert quick.fake.find("dir/big")[0].content == data
    assert quick.fake.requests["upload.start"] == 2
    assert not any("evil" in request.host for request in quick.fake.log)


def test_a_record_is_dropped_after_the_week_that_a_session_lasts(quick, local):
    _, _data, source = local
    kill_at(quick, quick.open(), source, 1)
    directory = os.path.join(quick.state_dir, "gdrive-uploads")
    [name] = os.listdir(directory)
    path = os.path.join(directory, name)
    assert os.stat(path).st_mode & 0o777 == 0o600
    with open(path) as file:
        intent, uri = file.read().splitlines()
    found = json.loads(intent)
    found["started_ns"] = time.time_ns() - LIFE_NS - 1
    with open(path, "w") as file:
        file.write(json.dumps(found) + "\n" + uri + "\n")
    assert list(quick.open().leftovers("")) == []
    assert os.listdir(directory) == []


def test_cleanup_lists_and_cancels_sessions_of_killed_runs(quick, local):
    _, _data, source = local
    kill_at(quick, quick.open(), source, 1)
    store = quick.open()
    assert list(store.leftovers("elsewhere")) == []
    for leftover in store.leftovers("dir"):
        assert (leftover.path, leftover.own) == ("dir/big", True)
        assert "upload_id" not in leftover.id
        store.remove_leftover(leftover)
    assert quick.fake.sessions == {}
    assert list(store.leftovers("")) == []


FAULTS = {
    "a lost answer": lambda fake: fake.lose("upload.chunk", Fault(Wire.RESET), after=2),
    "the last answer lost": lambda fake: fake.lose("upload.chunk", Fault(Wire.RESET), after=6),
    "a reset": lambda fake: fake.fail("upload.chunk", FakeResponse(200, (), b"", Fault(Wire.RESET)), after=2, times=3),
    "500s": lambda fake: fake.fail("upload.chunk", error(500, "backendError", "Backend Error"), times=4, after=1),
    "503s": lambda fake: fake.fail("upload.chunk", error(503, "backendError", "Backend Error"), times=4, after=1),
    "rate limits": lambda fake: fake.fail("upload.chunk", rate_limited(), times=4, after=1),
    "rate limits at the start": lambda fake: fake.fail("upload.start", rate_limited(), times=4),
    "a start whose answer is lost": lambda fake: fake.lose("upload.start", Fault(Wire.RESET)),
    "an expired token": lambda fake: fake.fail("upload.start", error(401, "authError", "Invalid Credentials")),
    "a session that is forgotten": lambda fake: fake.fail("upload.chunk", lambda: _forget(fake), after=3),
    "all that is sent is lost": lambda fake: fake.lose("upload.chunk", Fault(Wire.CLOSE), times=5, after=1),
}


def _forget(fake):
    fake.sessions.clear()
    return error(404, "notFound", "Not Found")


@pytest.mark.parametrize("name", FAULTS)
def test_a_large_upload_comes_through(lab, local, name):
    _, data, source = local
    FAULTS[name](lab.fake)
    progress = []
    [result] = lab.open().write_many([WriteItem("dir/big", source, progress=progress.append)])
    assert result.error is None
    assert lab.fake.tree() == {"dir": None, "dir/big": data}
    assert sum(progress) in {SIZE, 2 * SIZE} or "forgotten" in name


def test_a_piece_of_which_the_service_kept_a_part_goes_on_from_there(quick, local):
    _, data, source = local
    fake = quick.fake

    def keep_a_part():
        session = fake.sessions["session-0"]
        session.data += data[8 * GRAIN : 10 * GRAIN]
        return FakeResponse(308, (("Range", f"bytes=0-{len(session.data) - 1}"),))

    fake.fail("upload.chunk", keep_a_part, after=1)
    quick.open().write("big", source)
    assert fake.find("big")[0].content == data
    assert f"bytes {10 * GRAIN}-{18 * GRAIN - 1}/{SIZE}" in chunks(fake)


@pytest.mark.parametrize(
    "answer",
    [
        FakeResponse(308, (("Range", "bytes=0-99999999"),)),
        FakeResponse(308, (("Range", "bytes=5-9"),)),
        FakeResponse(308, (("Range", "items 0-1"),)),
        FakeResponse(200, (("Content-Type", "text/html"),), b"<html>"),
        FakeResponse(200, (("Content-Type", "application/json"),), b"{}"),
        FakeResponse(302, (("Location", "https://evil.example/"),)),
    ],
)
def test_a_wrong_answer_to_a_piece_is_an_error(quick, local, answer):
    _, _data, source = local
    quick.fake.fail("upload.chunk", answer, after=1, times=1)
    with pytest.raises(ProtocolError):
        quick.open().write("big", source)
    assert quick.fake.tree() == {}


@pytest.mark.parametrize(
    "place",
    [
        "",
        "https://evil.example/upload/drive/v3/files?upload_id=x",
        "http://www.googleapis.com/upload/drive/v3/files?upload_id=x",
        "https://www.googleapis.com.evil.example/upload/drive/v3/files?upload_id=x",
        "https://user@evil.example/upload/drive/v3/files?upload_id=x",
        "https://www.googleapis.com/drive/v3/files?upload_id=x",
        "//www.googleapis.com/upload/drive/v3/files?upload_id=x",
    ],
)
def test_a_session_elsewhere_gets_neither_bytes_nor_credentials(quick, local, place):
    _, _data, source = local
    quick.fake.fail("upload.start", FakeResponse(200, (("Location", place),)), times=9)
    with pytest.raises(ProtocolError):
        quick.open().write("big", source)
    assert chunks(quick.fake) == []
    assert {request.host for request in quick.fake.log} <= {"www.googleapis.com", "oauth2.googleapis.com"}


def test_a_source_that_changes_is_not_published_and_leaves_no_session(quick, local):
    path, _data, source = local
    fake = quick.fake
    fake.add("big", b"old")

    def change():
        with open(path, "r+b") as file:
            file.write(b"changed")
        return rate_limited()

    fake.fail("upload.chunk", change, after=3)
    with pytest.raises(SourceChanged):
        quick.open().write("big", source)
    assert fake.tree() == {"big": b"old"}
    assert fake.sessions == {}
    assert os.listdir(os.path.join(quick.state_dir, "gdrive-uploads")) == []


def test_a_new_file_that_arrived_damaged_is_removed(quick, local):
    _, _data, source = local
    store = quick.open()
    real = store._service.client.send

    def send(request):
        response = real(request)
        if request.op == "upload.chunk" and response.status == 200:
            file = quick.fake.find("big")[0]
            file.content = file.content[:-1] + b"?"
            response.body = json.dumps(file.resource()).encode()
        return response

    store._service.client.send = send
    with pytest.raises(IntegrityError):
        store.write("big", source)
    assert quick.fake.tree() == {}


def test_a_service_that_takes_nothing_ends_the_upload(quick, local):
    _, _data, source = local
    quick.fake.fail("upload.chunk", FakeResponse(308), times=1 << 30)
    with pytest.raises(TemporaryError):
        quick.open().write("big", source)


_CHILD = """
import os, sys
from cftool.core.provider import Context, Secret
from cftool.disk.root import Root
from cftool.disk.source import LocalSource
from cftool_providers.gdrive import PROVIDER, _resumable
_resumable.PIECE = int(sys.argv[3])
values = {"client_id": os.environ["ID"], "client_secret": Secret(os.environ["SECRET"])}
values["refresh_token"] = Secret(os.environ["REFRESH"])
store = PROVIDER.open(values, Context(remote="lab", env=os.environ, state_dir=sys.argv[1], transport="curl"))
with Root(sys.argv[2]) as root:
    store.write("dir/big", LocalSource(root, "big"))
"""


@pytest.mark.crash
def test_an_upload_of_a_killed_process_is_resumed(new_lab, local):
    path, data, source = local
    lab = new_lab(transport="curl")
    reached, gate = threading.Event(), threading.Event()

    def hold():
        reached.set()
        return FakeResponse(308, (), b"", Fault(Wire.WAIT, gate=gate))

    lab.fake.fail("upload.chunk", hold, after=3, times=99)
    env = lab.env | {"ID": CLIENT_ID, "SECRET": CLIENT_SECRET, "REFRESH": REFRESH}
    command = [sys.executable, "-c", _CHILD, lab.state_dir, str(path.parent), str(8 * GRAIN)]
    with subprocess.Popen(command, env=env) as child:
        assert reached.wait(60)
        child.send_signal(signal.SIGKILL)
    gate.set()
    lab.fake._plans.clear()
    assert [leftover.path for leftover in lab.open().leftovers("")] == ["dir/big"]
    there = len(lab.fake.sessions["session-0"].data)
    assert there >= 16 * GRAIN
    begun = len(lab.fake.log)
    lab.open().write("dir/big", source)
    assert lab.fake.tree() == {"dir": None, "dir/big": data}
    sent = sum(len(request.body) for request in lab.fake.log[begun:] if "upload_id=" in request.query)
    assert sent == SIZE - there
    assert os.listdir(os.path.join(lab.state_dir, "gdrive-uploads")) == []


# ---- downloads


class Kept(MemoryTarget):
    """Keeps what an earlier attempt brought, as the local target does."""

    def __init__(self):
        super().__init__()
        self.partial = None

    def begin(self, entry):
        if self.partial is None:
            self.partial = super().begin(entry)
        return self.partial


def test_a_large_download_goes_on_where_it_broke(lab, monkeypatch):
    from cftool_providers.gdrive import _download

    monkeypatch.setattr(_download, "PIECE", 3_000_000)
    data = os.urandom(10_000_000)
    lab.fake.add("big", data)
    store = lab.open()
    [entry] = store.scan("")
    span = (("Content-Range", f"bytes 6000000-8999999/{len(data)}"),)
    cut = FakeResponse(206, span, data[6_000_000:9_000_000], Fault(Wire.SHORT_BODY, at=70_000))
    lab.fake.fail("files.download", cut, after=2, times=99)  # a break before the headers were read is tried again
    target = Kept()
    [result] = store.read_many([ReadItem(entry, target)])
    assert isinstance(result.error, StoreError)
    assert target.data is None
    lab.fake._plans.clear()
    start = len(lab.fake.log)
    [result] = store.read_many([ReadItem(entry, target)])
    assert result.error is None
    assert target.data == data
    ranges = [request.header("range") for request in lab.fake.log[start:] if "alt=media" in request.query]
    assert ranges == ["bytes=6000000-8999999", "bytes=9000000-9999999"]


def test_a_large_download_of_two_versions_is_refused(quick, monkeypatch):
    from cftool_providers.gdrive import _download

    monkeypatch.setattr(_download, "PIECE", 3_000_000)
    file = quick.fake.add("big", os.urandom(10_000_000))
    store = quick.open()
    [entry] = store.scan("")

    def changed():
        file.content, file.revision = os.urandom(10_000_000), file.revision + 1
        part = file.content[3_000_000:6_000_000]
        return FakeResponse(206, (("Content-Range", "bytes 3000000-5999999/10000000"),), part)

    quick.fake.fail("files.download", changed, after=1)
    target = Kept()
    [result] = store.read_many([ReadItem(entry, target)])
    assert isinstance(result.error, StoreError)
    assert target.data is None


# ---- documents through the engine


def test_documents_are_copied_once_and_not_again_while_unchanged(quick, tmp_path):
    fake = quick.fake
    doc = fake.add("tree/report", None, mime="application/vnd.google-apps.document")
    fake.exports[doc.id] = b"PK first"
    fake.add("tree/form", None, mime="application/vnd.google-apps.form")
    fake.add("tree/plain", b"plain")
    back = tmp_path / "back"
    summary = quick.run(api.sync, quick.side("drive:tree"), quick.side(str(back)))
    assert (summary.copied, summary.errors, dict(summary.skipped)) == (2, {}, {"special": 1})
    assert (back / "report.docx").read_bytes() == b"PK first"
    for _ in range(2):
        summary = quick.run(api.sync, quick.side("drive:tree"), quick.side(str(back)))
        assert (summary.copied, summary.errors) == (0, {})
    assert fake.calls["files.export"] == 1
    fake.exports[doc.id] = b"PK second"
    doc.modified = "2026-04-01T00:00:00.000Z"
    summary = quick.run(api.sync, quick.side("drive:tree"), quick.side(str(back)))
    assert summary.copied == 1
    assert (back / "report.docx").read_bytes() == b"PK second"


def test_documents_are_copied_to_another_machine_without_state(quick, tmp_path):
    doc = quick.fake.add("tree/report", None, mime="application/vnd.google-apps.document")
    quick.fake.exports[doc.id] = b"PK"
    back = tmp_path / "back"
    quick.run(api.copy, quick.side("drive:tree"), quick.side(str(back)))
    quick.state_dir = str(tmp_path / "other-state")
    summary = quick.run(api.copy, quick.side("drive:tree"), quick.side(str(back)))
    assert (summary.copied, dict(summary.compared_by)) == (0, {"time": 1})
