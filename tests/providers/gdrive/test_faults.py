"""Answers that are late, refused, lost or cut, in the middle of whole runs: the end is right, or the error says why."""

import os
from collections.abc import Callable

import pytest

from cftool.cli import exits
from cftool.core.errors import LoginRequired, StoreError, TemporaryError
from cftool.core.sources import BytesSource
from cftool.core.types import ReadItem, WriteItem
from cftool.http.retry import Clock
from cftool.testing.fake_gdrive import FakeGDrive, error, rate_limited
from cftool.testing.http_fake import FakeResponse, Fault, Wire
from cftool.testing.targets import MemoryTarget
from cftool.transfer import api
from cftool.transfer.options import MaxDelete, Options

RESET, CLOSE = Fault(Wire.RESET), Fault(Wire.CLOSE)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """Waits pass at once, in every client: time goes on by what was waited."""
    passed = [0.0]
    real = Clock()

    def sleep(seconds):
        if seconds > 0.02:  # a look at worker threads is none of the waits that are meant
            passed[0] += seconds
        else:
            real.sleep(seconds)

    def monotonic():
        return real.monotonic() + passed[0]

    monkeypatch.setattr("cftool.http.client.Clock", lambda: Clock(monotonic=monotonic, sleep=sleep))
    return passed


@pytest.fixture
def local(tmp_path):
    root = tmp_path / "local"
    for folder in range(4):
        (root / f"d{folder}").mkdir(parents=True)
        for number in range(25):
            (root / f"d{folder}" / f"f{number:02}").write_bytes(os.urandom(200))
    return root


def content(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def stored(fake, top="tree/"):
    return {path[len(top) :]: data for path, data in fake.tree().items() if path.startswith(top) and data is not None}


OP_FAULTS: dict[str, Callable[[FakeGDrive], None]] = {
    "403 storm": lambda fake: fake.fail("upload.create", rate_limited(), times=30, after=20),
    "429 storm with Retry-After": lambda fake: fake.fail(
        "upload.create", rate_limited("rateLimitExceeded", status=429, wait=7), times=10, after=20
    ),
    "403 in a batch and in listings": lambda fake: (
        fake.fail("files.list", rate_limited("rateLimitExceeded"), times=3),
        fake.fail("files.create", rate_limited(), times=3),
        fake.fail("files.generateIds", rate_limited(), times=1),
    ),
    "500s": lambda fake: fake.fail("upload.create", error(500, "backendError", "Backend Error"), times=15, after=5),
    "502 with HTML": lambda fake: fake.fail("upload.create", FakeResponse(502, (), b"<html>bad</html>"), times=5),
    "503s": lambda fake: fake.fail("*", error(503, "backendError", "Transient"), times=12, after=40),
    "resets": lambda fake: fake.fail("upload.create", FakeResponse(200, (), b"", RESET), times=10, after=10),
    "lost answers to creates": lambda fake: fake.lose("upload.create", RESET, times=10, after=10),
    "lost answers to folders": lambda fake: fake.lose("files.create", CLOSE, times=3),
    "lost answers to everything": lambda fake: fake.lose("*", RESET, times=8, after=3),
    "expired token": lambda fake: fake.fail("upload.create", lambda: _expire(fake), after=30),
    "cut answers": lambda fake: fake.fail("upload.create", _cut(), times=5, after=10, late=True),
}


def _expire(fake):
    fake.access.clear()
    return error(401, "authError", "Invalid Credentials", location="Authorization")


def _cut():
    body = b'{"id": "1abc", "name": "f"' + b" " * 100
    headers = (("Content-Type", "application/json"),)
    return FakeResponse(200, headers, body, Fault(Wire.RESET_BODY, at=20))


@pytest.mark.parametrize("name", OP_FAULTS)
@pytest.mark.parametrize("transport", ["curl", "requests"])
def test_an_upload_comes_through(new_lab, local, name, transport):
    lab = new_lab(transport=transport)
    lab.fake.folder("tree")
    OP_FAULTS[name](lab.fake)
    summary = lab.run(api.sync, lab.side(str(local)), lab.side("drive:tree"))
    assert (summary.copied, summary.errors) == (100, {})
    assert stored(lab.fake) == content(local)
    assert not [path for path in lab.fake.tree() if "#" in path], "duplicates"
    summary = lab.run(api.sync, lab.side(str(local)), lab.side("drive:tree"))
    assert (summary.copied, summary.errors) == (0, {})


DOWN_FAULTS: dict[str, Callable[[FakeGDrive], None]] = {
    "403 storm": lambda fake: fake.fail("files.download", rate_limited(), times=20, after=10),
    "500s": lambda fake: fake.fail("files.download", error(500, "backendError", "Backend Error"), times=10, after=5),
    "resets": lambda fake: fake.fail("files.download", FakeResponse(200, (), b"", RESET), times=10, after=10),
    "truncated bodies": lambda fake: fake.fail(
        "files.download", FakeResponse(200, (), b"x" * 200, Fault(Wire.SHORT_BODY, at=100)), times=10, after=10
    ),
    "resets in bodies": lambda fake: fake.fail(
        "files.download", FakeResponse(200, (), b"x" * 200, Fault(Wire.RESET_BODY, at=100)), times=10, after=10
    ),
    "calls refused within a batch": lambda fake: fake.fail("files.get", rate_limited(), times=40),
    "lost batches": lambda fake: fake.lose("batch", RESET, times=2),
    "a batch that is cut": lambda fake: fake.fail(
        "batch", FakeResponse(200, (("Content-Type", "multipart/mixed; boundary=x"),), b"--x\r\n", RESET), times=1
    ),
    "expired token": lambda fake: fake.fail("files.download", lambda: _expire(fake), after=30),
}


@pytest.mark.parametrize("name", DOWN_FAULTS)
@pytest.mark.parametrize("transport", ["curl", "requests"])
def test_a_download_comes_through(new_lab, tmp_path, name, transport):
    lab = new_lab(transport=transport)
    for number in range(60):
        lab.fake.add(f"tree/d{number % 3}/f{number}", os.urandom(200))
    DOWN_FAULTS[name](lab.fake)
    summary = lab.run(api.sync, lab.side("drive:tree"), lab.side(str(tmp_path / "back")))
    assert (summary.copied, summary.errors) == (60, {})
    assert content(tmp_path / "back") == stored(lab.fake)


@pytest.mark.parametrize("wrong", ["flipped", "short", "long", "empty", "HTML"])
def test_wrong_bytes_are_never_published(quick, tmp_path, wrong):
    data = os.urandom(500)
    body = {
        "flipped": bytes([data[0] ^ 1]) + data[1:],
        "short": data[:-1],
        "long": data + b"x",
        "empty": b"",
        "HTML": b"<html>sign in</html>",
    }[wrong]
    quick.fake.add("tree/f", data)
    quick.fake.fail("files.download", FakeResponse(200, (("Content-Type", "text/html"),), body), times=99)
    summary = quick.run(api.copy, quick.side("drive:tree"), quick.side(str(tmp_path / "back")))
    assert summary.copied == 0
    assert summary.errors
    assert content(tmp_path / "back") == {}
    with pytest.raises(StoreError):
        quick.open().read("tree/f").read()


def test_a_revoked_login_ends_the_run_with_what_to_do(quick, local):
    quick.fake.revoked = True
    quick.fake.access.clear()
    with pytest.raises(LoginRequired, match="cftool config login drive"):
        quick.side("drive:tree").store.stat("x")
    summary = quick.run(api.sync, quick.side(str(local)), quick.side("drive:tree"))
    assert summary.copied == 0
    assert exits.of_summary(summary) == exits.NOT_ALLOWED


def test_a_login_revoked_in_the_middle_deletes_nothing_and_ends_with_4(quick, local):
    fake = quick.fake
    fake.add("tree/old", b"old")

    def revoke():
        fake.revoked = True
        return _expire(fake)

    fake.fail("upload.create", revoke, after=30)
    summary = quick.run(api.sync, quick.side(str(local)), quick.side("drive:tree"))
    assert exits.of_summary(summary) == exits.NOT_ALLOWED
    assert (summary.deleted, stored(fake)["old"]) == (0, b"old")


@pytest.mark.parametrize("kind", ["rates", "errors"])
def test_a_service_that_stays_away_ends_with_5(quick, local, kind):
    quick.fake.folder("tree")
    answer = rate_limited() if kind == "rates" else error(500, "backendError", "Backend Error")
    quick.fake.fail("upload.create", answer, times=1 << 30, after=5)
    summary = quick.run(api.sync, quick.side(str(local)), quick.side("drive:tree"))
    assert summary.copied == 5
    assert exits.of_summary(summary) == exits.TEMPORARY
    data = content(local)
    assert all(data[path] == there for path, there in stored(quick.fake).items())


def test_retry_after_holds_the_whole_remote(quick, fast):
    quick.fake.fail("files.list", rate_limited(status=429, wait=30), times=1)
    with pytest.raises(StoreError):
        quick.open().read("nothing")
    assert fast[0] >= 30


def test_a_refusal_that_is_no_rate_limit_is_not_repeated(quick):
    quick.fake.fail("upload.create", error(403, "insufficientFilePermissions", "No."), times=9)
    with pytest.raises(StoreError):
        quick.open().write("f", BytesSource(b"x"))
    assert quick.fake.requests["upload.create"] == 1


def test_rate_limits_lower_the_pace_and_it_recovers(quick):
    store = quick.open()
    pacer = store._service.client.pacer
    before = pacer.limit
    quick.fake.fail("files.list", rate_limited(), times=2)
    list(store.scan(""))
    assert pacer.limit < before
    list(store.write_many(WriteItem(f"f{number}", BytesSource(b"x")) for number in range(200)))
    assert pacer.limit > before // 4


def test_the_words_of_the_daily_limit_do_not_stop_what_uploads_nothing(quick):
    quick.fake.add("f", b"x")
    words = error(403, "userRateLimitExceeded", "User rate limit exceeded.", domain="usageLimits")
    quick.fake.fail("files.list", words, times=3)
    assert quick.open().stat("f").size == 1


@pytest.mark.parametrize("fault", [RESET, CLOSE])
def test_a_copy_whose_answer_is_lost_is_one_copy(lab, fault):
    store = lab.open()
    store.write("a", BytesSource(b"x"))
    lab.fake.lose("files.copy", fault)
    assert store.copy("a", "b").size == 1
    assert lab.fake.tree() == {"a": b"x", "b": b"x"}


def test_a_move_whose_answer_is_lost_was_one(lab):
    store = lab.open()
    store.write("a/f", BytesSource(b"x"))
    lab.fake.lose("files.update", RESET)
    assert store.move("a/f", "b/g").path == "b/g"
    assert lab.fake.tree() == {"a": None, "b": None, "b/g": b"x"}


def test_a_move_that_did_not_arrive_is_an_error_and_nothing_is_lost(quick):
    store = quick.open()
    store.write("a", BytesSource(b"x"))
    store.write("b", BytesSource(b"y"))
    quick.fake.fail("files.update", FakeResponse(200, (), b"", RESET), times=20)
    with pytest.raises(TemporaryError):
        store.move("a", "b")
    assert quick.fake.tree() == {"a": b"x", "b": b"y"}


@pytest.mark.parametrize("trash", [True, False])
def test_deletes_whose_answers_are_lost_are_done(quick, trash):
    store = quick.open(use_trash=trash)
    for number in range(30):
        quick.fake.add(f"d/f{number}")
    quick.fake.lose("batch", RESET, times=2)
    assert {result.error for result in store.delete_many(list(store.scan("d")))} == {None}
    assert quick.fake.tree() == {"d": None}


def test_one_call_refused_within_a_batch_fails_alone(quick):
    store = quick.open()
    for number in range(30):
        quick.fake.add(f"d/f{number:02}")
    entries = sorted(store.scan("d"))
    quick.fake.fail("files.update", error(403, "insufficientFilePermissions", "No."), after=7)
    failed = [result.path for result in store.delete_many(entries) if result.error is not None]
    assert failed == ["d/f07"]
    assert quick.fake.tree().keys() == {"d", "d/f07"}


def test_a_batch_that_leaves_a_call_out_proves_nothing(quick):
    store = quick.open()
    for number in range(3):
        quick.fake.add(f"d/f{number}")
    entries = list(store.scan("d"))
    part = b"Content-Type: application/http\r\nContent-ID: <response-0>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}"
    body = b"--x\r\n" + part + b"\r\n--x--\r\n"
    quick.fake.fail("batch", FakeResponse(200, (("Content-Type", "multipart/mixed; boundary=x"),), body))
    assert all(isinstance(result.error, StoreError) for result in store.delete_many(entries))


def test_a_file_that_changes_between_the_listing_and_its_download(quick, tmp_path):
    file = quick.fake.add("tree/f", b"old")
    store = quick.open()
    [entry] = store.scan("tree")
    file.content, file.revision = b"new", 1
    target = MemoryTarget()
    [result] = store.read_many([ReadItem(entry, target)])
    assert isinstance(result.error, StoreError)
    assert target.data is None


def test_a_sync_that_was_interrupted_goes_on_and_sends_nothing_twice(quick, tmp_path):
    local = tmp_path / "many"
    for folder in range(10):
        (local / f"d{folder}").mkdir(parents=True)
        for number in range(100):
            (local / f"d{folder}" / f"f{number:02}").write_bytes(os.urandom(64))
    quick.fake.folder("tree")
    quick.fake.add("tree/doomed", b"x")
    around = api.Surroundings(
        state_dir=quick.state_dir, now=lambda: 0.0, cancelled=lambda: quick.fake.calls["upload.create"] >= 400
    )
    options = Options(max_delete=MaxDelete(None, None))
    summary = api.sync(quick.side(str(local)), quick.side("drive:tree"), options, around, lambda event: None)
    assert summary.stopped == "interrupted"
    assert "doomed" in stored(quick.fake)
    sent = len(stored(quick.fake)) - 1
    assert 300 < sent < 1000
    before = quick.fake.calls["upload.create"]
    summary = quick.run(api.sync, quick.side(str(local)), quick.side("drive:tree"), options=options)
    assert (summary.copied, summary.errors, summary.deleted) == (1000 - sent, {}, 1)
    assert quick.fake.calls["upload.create"] - before == 1000 - sent
    assert quick.fake.calls["upload.update"] == 0
    assert stored(quick.fake) == content(local)
