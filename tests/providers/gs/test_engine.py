"""The command over Google Cloud Storage: budgets of requests, and faults in the middle of a sync."""

import itertools
import json
import os
import signal
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from cftool.cli.main import main
from cftool.testing.fake_gs import ACCESS_KEY, SECRET_KEY
from cftool.testing.fake_gs_parts import Refused
from cftool.testing.http_fake import FakeResponse, Fault, Wire

_numbers = itertools.count()  # a remote of its own for each test: the pace of one outlasts its store


@dataclass(frozen=True)
class Ran:
    code: int
    events: list[dict[str, Any]]
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        assert self.events, self.err
        assert self.events[-1]["event"] == "summary", self
        return self.events[-1]

    @property
    def requests(self) -> int:
        return sum(self.summary["requests"].values())


@pytest.fixture
def run(tmp_path, monkeypatch, capfdbinary):
    """Run `cftool` with these words and --json in this process."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def call(*words: object, code: int = 0) -> Ran:
        capfdbinary.readouterr()
        name = os.environ["LAB"]
        got = main([str(word).replace("lab:", f"{name}:") for word in words] + ["--json"])
        out, err = capfdbinary.readouterr()
        ran = Ran(got, [json.loads(line) for line in out.splitlines()], err.decode())
        assert "Traceback" not in ran.err, ran
        assert got == code, (ran.code, ran.err, ran.events[-3:])
        return ran

    return call


def define(lab, monkeypatch):
    """The lab's service as a remote of the environment."""
    name = f"lab{next(_numbers)}"
    settings = {"TYPE": "gs", "ENDPOINT_URL": lab.url}
    if lab.xml:
        settings |= {"ACCESS_KEY_ID": ACCESS_KEY, "SECRET_ACCESS_KEY": SECRET_KEY}
    else:
        settings["SERVICE_ACCOUNT_FILE"] = lab.account()
    for key, value in settings.items():
        monkeypatch.setenv(f"CFTOOL_{name.upper()}_{key}", value)
    monkeypatch.setenv("LAB", name)
    monkeypatch.setenv("CFTOOL_TRANSPORT", lab.transport)
    lab.fake.make("bucket")
    return lab


@pytest.fixture
def remote(either, monkeypatch):
    """The service as the remote `lab`, over either API."""
    return define(either, monkeypatch)


@pytest.fixture
def json_remote(json_lab, monkeypatch):
    """The same over the JSON API alone, on either transport."""
    return define(json_lab, monkeypatch)


def tree(path, folders=10, files=100, size=1024) -> dict[str, bytes]:
    """`folders` of `files` each; by key."""
    made = {}
    for folder in range(folders):
        (path / f"d{folder:03}").mkdir(parents=True)
        for number in range(files):
            data = os.urandom(8) * (size // 8)
            name = f"d{folder:03}/f{number:03}"
            (path / name).write_bytes(data)
            made[name] = data
    return made


def contents(lab) -> dict[str, bytes]:
    return {key: stored.data for key, stored in lab.fake.buckets["bucket"].items()}


class TestBudgets:
    """Those of the JSON API; the XML API lists no times and deletes one by one."""

    def test_upload_no_op_and_delete(self, json_remote, run, tmp_path):
        made = tree(tmp_path / "src")
        ran = run("sync", "src", "lab:bucket/x")
        assert ran.summary["copied"] == 1000
        assert ran.requests <= 1003, ran.summary["requests"]
        assert contents(json_remote) == {f"x/{key}": data for key, data in made.items()}
        ran = run("sync", "src", "lab:bucket/x")
        assert (ran.summary["copied"], ran.summary["checked"]) == (0, 1000)
        assert ran.requests <= 3, ran.summary["requests"]
        ran = run("rm", "-r", "lab:bucket/x")
        assert contents(json_remote) == {}
        assert ran.requests <= 15, ran.summary["requests"]

    def test_a_no_op_from_another_machine_knows_the_times(self, json_remote, run, tmp_path, monkeypatch):
        tree(tmp_path / "src")
        run("sync", "src", "lab:bucket/x")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
        ran = run("sync", "src", "lab:bucket/x")
        assert (ran.summary["copied"], ran.summary["checked"]) == (0, 1000)
        assert ran.requests <= 3, ran.summary["requests"]

    def test_list_of_ten_thousand(self, json_remote, run):
        keys = [f"x/d{n // 100:03}/f{n:05}" for n in range(10_000)]
        json_remote.fake.make("bucket", keys)
        ran = run("ls", "-R", "-l", "lab:bucket/x")
        assert sum(not event["is_dir"] for event in ran.events if event["event"] == "entry") == 10_000
        assert sum(json_remote.fake.ops.values()) <= 12, json_remote.fake.ops

    def test_download(self, json_remote, run, tmp_path):
        json_remote.fake.make("bucket", [f"x/d{n // 100}/f{n}" for n in range(1000)], b"1234")
        ran = run("cp", "-r", "lab:bucket/x", "back")
        assert ran.summary["copied"] == 1000
        assert ran.requests <= 1004, ran.summary["requests"]


class TestXmlBudgets:
    def test_upload_no_op_and_delete(self, new_lab, run, tmp_path, monkeypatch):
        lab = define(new_lab(xml=True), monkeypatch)
        made = tree(tmp_path / "src")
        ran = run("sync", "src", "lab:bucket/x")
        assert contents(lab) == {f"x/{key}": data for key, data in made.items()}
        assert ran.requests <= 1003, ran.summary["requests"]
        ran = run("sync", "src", "lab:bucket/x")
        assert (ran.summary["copied"], ran.requests) == (0, 1)
        run("rm", "-r", "lab:bucket/x")
        assert contents(lab) == {}


def sync_both_ways(lab, run, tmp_path, made):
    """A sync up and one down, and all is there and equal."""
    run("sync", "src", "lab:bucket/x")
    assert contents(lab) == {f"x/{key}": data for key, data in made.items()}
    run("sync", "lab:bucket/x", "back")
    back = {
        str(path.relative_to(tmp_path / "back")): path.read_bytes()
        for path in (tmp_path / "back").rglob("*")
        if path.is_file()
    }
    assert back == made


def answer(status: int, reason: str, *headers: tuple[str, str]) -> FakeResponse:
    from cftool.testing.fake_gs import FakeGS

    plain = FakeGS.error(Refused(status, reason, reason))
    return FakeResponse(status, (*plain.headers, *headers), plain.body)


PASSING = {
    "429": answer(429, "rateLimitExceeded"),
    "429 with Retry-After": answer(429, "rateLimitExceeded", ("Retry-After", "0")),
    "403 that means the rate": answer(403, "userRateLimitExceeded"),
    "500": answer(500, "backendError"),
    "502 with a page": FakeResponse(502, (("Content-Type", "text/html"),), b"<html>Bad Gateway</html>"),
    "503": answer(503, "backendError"),
    "408": answer(408, "uploadBrokenConnection"),
    "a reset": FakeResponse(200, fault=Fault(Wire.RESET)),
    "a lost answer": None,
    "a cut body": FakeResponse(200, (("Content-Length", "1000"),), b"x" * 10, Fault(Wire.SHORT_BODY, at=5)),
}


def lose(request, response):
    """It was done, and nobody hears of it."""
    return FakeResponse(200, fault=Fault(Wire.CLOSE))


class TestFaults:
    @pytest.mark.parametrize("fault", PASSING)
    def test_a_passing_fault_is_outlasted(self, remote, run, tmp_path, fault):
        made = tree(tmp_path / "src", folders=3, files=20)
        (tmp_path / "src/large").write_bytes(made.setdefault("large", os.urandom(17 << 20)))
        for op in ("objects.list", "objects.insert", "upload.start", "upload.chunk", "objects.download"):
            skip = 0 if op in {"objects.list", "upload.start", "upload.chunk"} else 3
            if PASSING[fault] is None:
                remote.fake.change(op, lose, skip=skip, times=2)
            else:
                remote.fake.fail(op, PASSING[fault], skip=skip, times=2)
        sync_both_ways(remote, run, tmp_path, made)

    def test_an_expired_token_is_renewed(self, json_remote, run, tmp_path):
        made = tree(tmp_path / "src", folders=3, files=20)

        def expire(request, response):
            json_remote.fake.tokens.clear()
            return response

        for skip in (5, 30):
            json_remote.fake.change("objects.insert", expire, skip=skip)
        json_remote.fake.change("objects.download", expire, skip=10)
        sync_both_ways(json_remote, run, tmp_path, made)

    def test_a_revoked_account_ends_with_4(self, json_remote, run, tmp_path):
        tree(tmp_path / "src", folders=3, files=20)

        def revoke(request, response):
            json_remote.fake.tokens.clear()
            json_remote.fake.accounts.clear()
            return response

        json_remote.fake.change("objects.insert", revoke, skip=20)
        ran = run("sync", "src", "lab:bucket/x", code=4)
        assert "not valid any more" in json.dumps(ran.events)
        run("ls", "lab:bucket", code=4)

    def test_a_storm_that_does_not_end_is_exit_5(self, remote, run, tmp_path):
        tree(tmp_path / "src", folders=1, files=5)
        remote.fake.fail("objects.insert", answer(429, "rateLimitExceeded", ("Retry-After", "86400")), times=1000)
        run("sync", "src", "lab:bucket/x", code=5)
        assert contents(remote) == {}

    def test_a_listing_that_fails_deletes_nothing(self, remote, run, tmp_path):
        made = tree(tmp_path / "src", folders=2, files=5)
        run("sync", "src", "lab:bucket/x")
        run("sync", "lab:bucket/x", "back")
        html = FakeResponse(200, (("Content-Type", "text/html"),), b"<html>Welcome</html>")
        remote.fake.fail("objects.list", html, times=1000)
        run("sync", "lab:bucket/x", "back", code=1)
        assert len([path for path in (tmp_path / "back").rglob("*") if path.is_file()]) == len(made)

    def test_bytes_that_changed_on_the_way_are_not_believed(self, remote, run, tmp_path):
        remote.fake.make("bucket", ["x/a", "x/b"], b"0123456789" * 10)

        def flip(request, response):
            return FakeResponse(response.status, response.headers, response.body, Fault(Wire.FLIP, at=3))

        remote.fake.change("objects.download", flip, key="x/a", times=100)
        run("cp", "-r", "lab:bucket/x", "back", code=1)
        assert not (tmp_path / "back/a").exists()
        assert (tmp_path / "back/b").exists()


def test_an_interrupted_sync_goes_on_and_sends_nothing_twice(json_remote, run, tmp_path):
    made = tree(tmp_path / "src")

    def stop(request, response):
        # The handler may run in another thread; the signal is for the main one.
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return response

    json_remote.fake.change("objects.insert", stop, skip=400)
    run("sync", "src", "lab:bucket/x", code=130)
    there = set(contents(json_remote))
    assert 400 <= len(there) < 1000
    before = json_remote.fake.ops["objects.insert"]
    json_remote.fake.log.clear()
    run("sync", "src", "lab:bucket/x")
    assert contents(json_remote) == {f"x/{key}": data for key, data in made.items()}
    sent = [key for op, key in json_remote.fake.log if op == "objects.insert"]
    assert len(sent) == json_remote.fake.ops["objects.insert"] - before
    # The fake may still have been at the last requests of the first run when that had ended.
    assert 0 <= len(sent) - (1000 - len(there)) <= 4
    assert not there & set(sent)
