"""Large files: concurrent sessions, streams, and uploads that go on in a later process."""

import io
import os
import signal
import subprocess
import sys
import threading

import pytest

from cftool.core.errors import IntegrityError, Interrupted, SourceChanged, StoreError, TemporaryError, TooLarge
from cftool.core.sources import BytesSource
from cftool.core.types import ReadItem, WriteItem
from cftool.disk.source import LocalSource
from cftool.testing.http_fake import FakeResponse, Wire
from cftool.testing.targets import MemoryTarget
from cftool_providers.dropbox import _large
from cftool_providers.dropbox._sessions import Sessions
from tests.providers.dropbox.test_quirks import refusal

MIB = 1024 * 1024
APPEND = "files/upload_session/append_v2"
START = "files/upload_session/start"
FINISH = "files/upload_session/finish_batch_v2"


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(_large, "PART", 4 * MIB)


@pytest.fixture
def local(tmp_path):
    """A file of 5 parts and a bit."""
    path = tmp_path / "local"
    path.write_bytes(os.urandom(20 * MIB + 77))
    return path


def send(store, path, **more):
    return store.write("file", LocalSource(str(path)), modified_ns=10**18, **more)


class Stream(BytesSource):
    """What can only be read on."""

    def __init__(self, data, size=None):
        super().__init__(data)
        self.size = size

    def open(self):
        class Once(io.BytesIO):
            def seekable(self):
                return False

        return Once(self._data)


def test_parts_go_in_parallel_and_the_last_after_all(lab, local):
    order = []

    def note(request, answer):
        if request.path == f"/2/{APPEND}":
            order.append(b'"close":true' in request.header("dropbox-api-arg").encode())
        return answer

    lab.change = note
    entry = send(lab.open(), local)
    assert order == [False] * 5 + [True]
    assert lab.fake.files() == {"file": local.read_bytes()}
    assert entry == lab.open().stat("file")
    assert os.listdir(os.path.join(lab.state_dir, "dropbox-uploads")) == []


@pytest.mark.parametrize("size", [8 * MIB + 1, 12 * MIB, 12 * MIB + 5])
@pytest.mark.parametrize("known", [True, False])
def test_streams(quick, size, known):
    data = os.urandom(size)
    told: list[int] = []
    item = WriteItem("file", Stream(data, size if known else None), progress=told.append)
    (result,) = quick.open().write_many([item])
    assert result.error is None
    assert quick.fake.files() == {"file": data}
    assert sum(told) == size


def test_a_stream_of_another_size_publishes_nothing(quick):
    with pytest.raises(SourceChanged):
        quick.open().write("file", Stream(os.urandom(9 * MIB), 9 * MIB + 1))
    assert quick.fake.files() == {}


def test_progress_counts_each_byte_once(quick, local):
    told: list[int] = []
    quick.fake.plan(APPEND, FakeResponse(500), Wire.RESET, refusal("content_hash_mismatch"))
    (result,) = quick.open().write_many([WriteItem("file", LocalSource(str(local)), progress=told.append)])
    assert result.error is None
    assert sum(told) == local.stat().st_size


def test_more_than_the_service_takes_is_refused_before_a_request(quick):
    class Huge(BytesSource):
        pass

    source = Huge(b"")
    source.size = 2**41
    with pytest.raises(TooLarge):
        quick.open().write("file", source)
    assert quick.fake.requests == {}


@pytest.mark.parametrize("trouble", [Wire.RESET, Wire.CLOSE, FakeResponse(502)])
@pytest.mark.parametrize("route", [START, APPEND, FINISH])
def test_lost_answers_are_no_matter(lab, local, route, trouble):
    lab.fake.plan(route, trouble, trouble)
    entry = send(lab.open(), local)
    assert entry == lab.open().stat("file")
    assert lab.fake.files() == {"file": local.read_bytes()}
    assert lab.fake.sent == {"file": 1}


def test_conditions_hold_for_large_files_too(quick, local):
    store = quick.open()
    entry = send(store, local, if_absent=True)
    quick.fake.plan(FINISH, Wire.CLOSE)
    assert send(store, local, if_version=entry.version) == entry
    with pytest.raises(StoreError):
        send(store, local, if_absent=True)


# ---- going on later


def _broken(lab, local, *, after: int) -> None:
    """An upload that ends when `after` parts are stored."""
    stored = threading.Semaphore(after)
    stop = threading.Event()

    def count(request, answer):
        if request.path == f"/2/{APPEND}" and not stored.acquire(blocking=False):
            stop.set()
        return answer

    lab.change = count
    with pytest.raises((Interrupted, TemporaryError)):
        send(lab.open(cancelled=stop.is_set), local)
    lab.change = lambda request, answer: answer
    lab.fake.requests.clear()


def test_a_later_run_goes_on(quick, local):
    _broken(quick, local, after=2)
    (name,) = os.listdir(os.path.join(quick.state_dir, "dropbox-uploads"))
    with open(os.path.join(quick.state_dir, "dropbox-uploads", name), "rb") as file:
        known = file.read().count(b'"hash"')
    assert known >= 1
    send(quick.open(), local)
    assert quick.fake.files() == {"file": local.read_bytes()}
    assert (quick.fake.requests[START], quick.fake.requests[APPEND]) == (0, 6 - known)
    assert os.listdir(os.path.join(quick.state_dir, "dropbox-uploads")) == []


def test_a_source_that_changed_meanwhile_is_sent_from_the_start(quick, local):
    _broken(quick, local, after=2)
    local.write_bytes(os.urandom(20 * MIB + 77))
    send(quick.open(), local)
    assert quick.fake.files() == {"file": local.read_bytes()}
    assert (quick.fake.requests[START], quick.fake.requests[APPEND]) == (1, 6)


def test_a_session_that_is_gone_is_begun_anew(quick, local):
    _broken(quick, local, after=2)
    quick.fake.sessions.clear()
    send(quick.open(), local)
    assert quick.fake.files() == {"file": local.read_bytes()}
    assert quick.fake.requests[START] == 1


def test_a_session_that_lacks_parts_is_begun_anew(quick, local):
    _broken(quick, local, after=3)
    (session,) = quick.fake.sessions.values()
    session.pieces.pop(min(session.pieces))
    send(quick.open(), local)
    assert quick.fake.files() == {"file": local.read_bytes()}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]\n", b'{"x": 1}\n', b"\xff\n"])
def test_a_damaged_record_is_left_alone(quick, local, damage):
    _broken(quick, local, after=2)
    directory = os.path.join(quick.state_dir, "dropbox-uploads")
    (name,) = os.listdir(directory)
    with open(os.path.join(directory, name), "wb") as file:
        file.write(damage)
    send(quick.open(), local)
    assert quick.fake.files() == {"file": local.read_bytes()}
    assert os.listdir(directory) == [name]


def test_lines_that_a_crash_cut_do_not_count(quick, local):
    _broken(quick, local, after=2)
    directory = os.path.join(quick.state_dir, "dropbox-uploads")
    (name,) = os.listdir(directory)
    with open(os.path.join(directory, name), "ab") as file:
        file.write(b'{"at": 0, "ha\n{"at": 4194304, "hash": "x"}\n{"at"')
    send(quick.open(), local)
    assert quick.fake.files() == {"file": local.read_bytes()}


def test_an_upload_that_is_under_way_is_not_taken_over(tmp_path):
    first = Sessions(str(tmp_path), "dropbox:a").open("file", "1:2", 4)
    second = Sessions(str(tmp_path), "dropbox:a").open("file", "1:2", 4)
    assert first is not None
    assert second is not None
    first.began("session")
    assert second.session is None
    first.close()
    second.remove()
    again = Sessions(str(tmp_path), "dropbox:a").open("file", "1:2", 4)
    assert again is not None
    assert again.session == "session"
    again.close()
    other = Sessions(str(tmp_path), "dropbox:b").open("file", "1:2", 4)
    assert other is not None
    assert other.session is None
    other.close()


def test_old_records_are_swept(tmp_path, monkeypatch):
    record = Sessions(str(tmp_path), "dropbox:a").open("old", "1:2", 4)
    assert record is not None
    record.began("session")
    record.close()
    import time

    later = time.time_ns() + 7 * 24 * 3600 * 10**9
    monkeypatch.setattr("cftool_providers.dropbox._sessions.time.time_ns", lambda: later)
    again = Sessions(str(tmp_path), "dropbox:a").open("old", "1:2", 4)
    assert again is not None
    assert again.session is None
    again.close()


def test_without_a_place_for_records_it_still_goes(quick, local, tmp_path):
    quick.state_dir = str(tmp_path / "blocked")
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked/dropbox-uploads").write_text("a file is in the way")
    send(quick.open(refresh_token=None, app_key=None, access_token=_given(quick)), local)
    assert quick.fake.files() == {"file": local.read_bytes()}


def _given(lab):
    from cftool.core.provider import Secret

    lab.fake.oauth.access.add("given")
    return Secret("given")


@pytest.mark.crash
def test_a_killed_process_is_gone_on_from_by_the_next(new_lab, tmp_path):
    lab = new_lab(transport="curl")
    path = tmp_path / "big"
    path.write_bytes(os.urandom(56 * MIB))
    env = {
        **lab.env,
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "CFTOOL_BOX_TYPE": "dropbox",
        "CFTOOL_BOX_APP_KEY": "key",
        "CFTOOL_BOX_REFRESH_TOKEN": lab.refresh,
    }
    command = [os.path.join(os.path.dirname(sys.executable), "cftool"), "cp", str(path), "box:dir/big"]
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    offsets: list[str] = []

    def kill(request, answer):
        if request.path == f"/2/{APPEND}":
            offsets.append(request.header("dropbox-api-arg"))
            if len(offsets) == 6:
                child.send_signal(signal.SIGKILL)
        return answer

    lab.change = kill
    _, err = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, err
    assert lab.fake.files() == {}
    lab.fake.requests.clear()
    done = subprocess.run(command, env=env, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert lab.fake.files() == {"dir/big": path.read_bytes()}
    assert lab.fake.requests[START] == 0
    assert lab.fake.requests[APPEND] < 7
    assert set(lab.proxy.connected) == {"api.dropboxapi.com:443", "content.dropboxapi.com:443"}
    assert lab.refresh.encode() not in done.stderr + err


@pytest.mark.crash
@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_sync_that_is_killed_goes_on_with_what_is_not_whole(new_lab, tmp_path, at):
    """A thousand files; the process dies at the given append_batch of ten."""
    lab = new_lab(transport="curl")
    src = tmp_path / "src"
    src.mkdir()
    for number in range(1000):
        (src / f"file{number}").write_bytes(b"%d" % number * 100)
    command = [os.path.join(os.path.dirname(sys.executable), "cftool"), "sync", str(src), "box:dst"]
    env = {
        **lab.env,
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "CFTOOL_BOX_TYPE": "dropbox",
        "CFTOOL_BOX_APP_KEY": "key",
        "CFTOOL_BOX_REFRESH_TOKEN": lab.refresh,
    }
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def kill(request, answer):
        if lab.fake.requests["files/upload_session/append_batch"] == at:
            child.send_signal(signal.SIGKILL)
        return answer

    lab.change = kill
    _, err = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, err
    whole = len(lab.fake.files())
    assert whole in {0, 500}
    lab.change = lambda request, answer: answer
    done = subprocess.run(command, env=env, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    expected = {f"dst/{path.name}": path.read_bytes() for path in src.iterdir()}
    assert lab.fake.files() == expected
    assert set(lab.fake.sent.values()) == {1}  # what was whole was not sent again


# ---- downloads


def test_a_large_download_in_ranges_that_break(lab):
    data = os.urandom(40 * MIB + 3)
    lab.fake.put("file", data)
    lab.fake.plan("files/download", Wire.SHORT_BODY, Wire.RESET_BODY, FakeResponse(500))
    (entry,) = lab.open().scan("")
    target = MemoryTarget()
    (result,) = lab.open().read_many([ReadItem(entry, target)])
    assert result.error is None
    assert target.data == data


def test_a_large_download_that_is_wrong_is_not_published(quick):
    quick.fake.put("file", os.urandom(20 * MIB))
    quick.fake.plan("files/download", Wire.FLIP)
    (entry,) = quick.open().scan("")
    target = MemoryTarget()
    (result,) = quick.open().read_many([ReadItem(entry, target)])
    assert isinstance(result.error, IntegrityError)
    assert target.data is None


def test_a_large_file_that_changes_while_it_is_read(quick):
    quick.fake.put("file", os.urandom(40 * MIB))
    (entry,) = quick.open().scan("")

    def replace(request, answer):
        if request.path == "/2/files/download":
            quick.fake.put("file", os.urandom(40 * MIB))
        return answer

    quick.change = replace
    target = MemoryTarget()
    (result,) = quick.open().read_many([ReadItem(entry, target)])
    assert isinstance(result.error, StoreError)
    assert target.data is None
