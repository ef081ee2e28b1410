"""The engine over SugarSync: what is never missed, what interruptions and faults come to, what it says of its basis."""

import os
from collections import Counter

import pytest

from cftool.core.errors import LoginRequired, TemporaryError
from cftool.testing.http_fake import FakeResponse, Fault, Wire
from cftool.wrap.prefix import PrefixStore
from cftool.wrap.resume import ResumeStore
from tests.providers.sugarsync.conftest import hasten
from tests.transfer.kit import Bench, local, make, remote, tree

KEY = "sugarsync:566494/Folder"


class Pair:
    """A local tree and a sync folder."""

    def __init__(self, lab, tmp_path):
        self.lab = lab
        self.fake = lab.fake
        self.path = tmp_path / "local"
        self.state = str(tmp_path / "state")
        self.stop = lambda: False
        make(self.path, {})

    def bench(self, *, down=False):
        raw = self.lab.open(cancelled=lambda: self.stop())
        hasten(raw)
        here, there = local(self.path), remote(ResumeStore(PrefixStore(raw, "Folder")), KEY)
        bench = Bench(there, here, self.state) if down else Bench(here, there, self.state)
        bench.cancelled = lambda: self.stop()
        return bench

    def up(self, **options):
        return self.bench().sync(**options)

    def down(self, **options):
        return self.bench(down=True).sync(**options)

    def there(self):
        return {path.removeprefix("Folder/"): data for path, data in self.fake.tree().items()}

    def equal(self):
        return self.there() == tree(self.path)


@pytest.fixture
def pair(quick, tmp_path):
    return Pair(quick, tmp_path)


@pytest.fixture
def wired(lab, tmp_path):
    return Pair(lab, tmp_path)


def many(count):
    return {f"dir{n % 10}/file{n:04}": f"content {n}".encode() for n in range(count)}


# ---- nothing is missed, although there are neither times nor hashes


def test_an_edit_of_the_same_size_with_its_time_put_back_is_uploaded(pair):
    make(pair.path, {"file": b"one", "other": b"xyz"})
    pair.up()
    before = os.stat(pair.path / "file")
    (pair.path / "file").write_bytes(b"two")
    os.utime(pair.path / "file", ns=(before.st_atime_ns, before.st_mtime_ns))
    summary = pair.up()
    assert (summary.copied, summary.compared_by) == (1, {"state": 2})
    assert pair.there() == {"file": b"two", "other": b"xyz"}


def test_an_edit_of_the_same_size_by_somebody_else_is_overwritten_by_the_source(pair):
    make(pair.path, {"file": b"one"})
    pair.up()
    [number] = pair.fake.files
    pair.fake.files[number].data = b"two"
    pair.fake.files[number].modified += 1000
    assert pair.up().copied == 1
    assert pair.there() == {"file": b"one"}


def test_an_edit_of_the_same_size_by_somebody_else_is_downloaded(pair):
    number = pair.fake.put("Folder/file", b"one")
    assert pair.down().copied == 1
    assert pair.down().compared_by == {"state": 1}
    pair.fake.files[number].data = b"two"
    pair.fake.files[number].modified += 1000
    assert pair.down().copied == 1
    assert tree(pair.path) == {"file": b"two"}


def test_without_the_state_a_run_says_that_it_compared_sizes_only(pair, tmp_path):
    make(pair.path, many(20))
    pair.up()
    pair.state = str(tmp_path / "lost")
    summary = pair.up()
    assert (summary.copied, summary.compared_by) == (0, {"size_only": 20})
    assert pair.up().compared_by == {"size_only": 20}


def test_without_the_state_what_was_edited_after_its_upload_is_still_found(pair, tmp_path):
    make(pair.path, {"file": b"one", "same": b"xyz"})
    pair.up()
    later = pair.fake.clock * 1_000_000 + 10**9
    make(pair.path, {"file": b"two"}, modified_ns=later)
    pair.state = str(tmp_path / "lost")
    summary = pair.up()
    assert (summary.copied, summary.compared_by) == (1, {"size_only": 1, "time": 1})
    assert pair.equal()


# ---- a run that is interrupted, and its repetition


def test_an_interrupted_run_and_its_repetition_send_nothing_twice_that_was_whole(pair):
    make(pair.path, many(1000))
    whole: Counter[str] = Counter()
    handle = pair.fake._op_put_data

    def counted(request, call):
        answer = handle(request, call)
        whole[pair.fake.files[call.id].name] += 1
        return answer

    pair.fake._op_put_data = counted
    for limit in (150, 400, 401):
        pair.stop = lambda most=limit: whole.total() >= most
        assert pair.up().stopped == "interrupted"
    pair.stop = lambda: False
    assert pair.up().failures == ()
    assert pair.equal()
    assert len(pair.fake.tree()) == 1000
    assert max(whole.values()) == 1


# ---- faults in the middle


def faults(fake):
    """What the service may do, and how often, without hurting."""
    reset = FakeResponse(200, fault=Fault(Wire.RESET))
    short = FakeResponse(200, (("Content-Type", "application/xml"),), b"<x", fault=Fault(Wire.CLOSE))
    for op in (
        "POST file",
        "PUT data",
        "PUT file",
        "GET contents",
        "GET data",
        "POST folder",
        "GET folder",
        "GET file",
    ):
        yield f"{op}: reset", lambda op=op: fake.fail(op, reset, skip=2, times=2)
        yield f"{op}: closed", lambda op=op: fake.fail(op, short, skip=1, times=2)
        yield f"{op}: the answer lost", lambda op=op: fake.lose(op, skip=2, times=2)
        yield f"{op}: 503", lambda op=op: fake.fail(op, (503, "Busy"), skip=3, times=5)
        yield f"{op}: 429", lambda op=op: fake.fail(op, (429, "Slowly"), skip=1, times=4)
        yield f"{op}: 500", lambda op=op: fake.fail(op, (500, "Oops"), skip=2, times=2)
        yield f"{op}: 401", lambda op=op: fake.fail(op, (401, "Expired"), skip=2, times=1)
    yield "a cut upload", lambda: fake.cut_upload(skip=3, times=3)


NAMES = [name for name, _ in faults(None)]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_recovers_from_what_passes(pair, name):
    make(pair.path, dict(list(many(60).items())[:30]))
    assert pair.up().failures == ()
    make(pair.path, {**many(60), "dir0/file0000": b"changed", "dir1/file0001": b"changed too"})
    (pair.path / "dir2/file0002").unlink()
    dict(faults(pair.fake))[name]()
    summary = pair.up()
    if summary.failures:  # where more came together than one run repeats: it says so, and the next one mends it
        assert all(isinstance(error, TemporaryError) for error in summary.failures), summary.failures
        assert pair.up().failures == ()
    assert pair.equal()
    assert pair.fake.placeholders() == []


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("GET data", "GET contents", "GET file"))])
def test_a_download_recovers_from_what_passes(wired, name):
    for path, data in many(40).items():
        wired.fake.put(f"Folder/{path}", data)
    wired.fake.put("Folder/large", b"x" * 5_000_000)
    dict(faults(wired.fake))[name]()
    assert wired.down().failures == ()
    assert wired.equal()


def test_truncated_bodies_are_resumed_or_refused_and_never_kept(wired):
    wired.fake.put("Folder/small", b"0123456789" * 100)
    wired.fake.put("Folder/large", bytes(range(256)) * 24_000)

    def cut(_request, answer):
        from dataclasses import replace

        return replace(answer, fault=Fault(Wire.SHORT_BODY, at=len(answer.body) // 2))

    wired.fake.change("GET data", cut, times=2)
    first = wired.down()
    for path, data in tree(wired.path).items():
        assert data == wired.there()[path]
    assert all(isinstance(error, TemporaryError) for error in first.failures)
    assert wired.down().failures == ()
    assert wired.equal()


def test_tokens_that_expire_again_and_again_hold_nothing_up(pair):
    make(pair.path, many(50))
    handle = pair.fake._op_put_data

    def expiring(request, call):
        answer = handle(request, call)
        if call.id.endswith(("0", "5")):
            pair.fake.expire()
        return answer

    pair.fake._op_put_data = expiring
    assert pair.up().failures == ()
    assert pair.equal()
    assert pair.fake.ops["token"] > 5


def test_a_login_that_is_revoked_in_the_middle_ends_the_run_and_deletes_nothing(pair):
    make(pair.path, {"old": b"old"})
    pair.up()
    (pair.path / "old").unlink()
    make(pair.path, many(100))
    handle = pair.fake._op_put_data

    def revoked(request, call):
        answer = handle(request, call)
        if pair.fake.ops["PUT data"] >= 20:
            pair.fake.expire()
            pair.fake.refresh_tokens.clear()
        return answer

    pair.fake._op_put_data = revoked
    summary = pair.up()
    assert any(isinstance(error, LoginRequired) for error in summary.failures)
    assert (summary.deleted, pair.there()["old"]) == (0, b"old")
    assert set(pair.there().items()) <= {*many(100).items(), ("old", b"old")} | {
        (place, None) for place in pair.there()
    }


def test_a_storm_that_does_not_pass_ends_the_run_as_temporary_and_deletes_nothing(pair):
    make(pair.path, {"old": b"old"})
    pair.up()
    (pair.path / "old").unlink()
    make(pair.path, many(30))
    pair.fake.fail("PUT data", (503, "Busy"), skip=5, times=10**9)
    summary = pair.up()
    assert summary.failures
    assert all(isinstance(error, TemporaryError) for error in summary.failures)
    assert (summary.deleted, pair.there()["old"]) == (0, b"old")
    pair.fake._rules.clear()
    assert pair.up().failures == ()
    assert pair.equal()


def test_moved_folders_and_replaced_kinds_end_equal(pair):
    make(pair.path, {"a/file": b"1", "b": b"2", "c/d/e": b"3"})
    pair.up()
    (pair.path / "b").unlink()
    (pair.path / "a/file").unlink()
    (pair.path / "a").rmdir()
    make(pair.path, {"a": b"now a file", "b/inside": b"now a directory"})
    assert pair.up().failures == ()
    assert pair.equal()
