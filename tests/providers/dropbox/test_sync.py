"""The commands over Dropbox by the real engine: the budget of requests, interruptions, faults in the middle."""

import os
import shutil

import pytest

from cftool.testing.fake_dropbox import too_many
from cftool.testing.http_fake import FakeResponse, Wire

APPEND = "files/upload_session/append_batch"
FINISH = "files/upload_session/finish_batch_v2"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    """Pauses of the retry policy pass at once."""
    from cftool.http import retry

    monkeypatch.setattr(retry.Clock, "__init__", _patient(retry.Clock.__init__))


def _patient(init):
    def make(self, *args, **fields):
        import time

        shift = [0.0]

        def sleep(seconds):
            shift[0] += seconds

        fields.setdefault("monotonic", lambda: time.monotonic() + shift[0])
        fields.setdefault("sleep", sleep)
        init(self, *args, **fields)

    return make


def test_the_budget_of_requests(cli):
    src = cli.tree()
    up = cli.run("sync", src, "box:dst")
    assert up.summary["copied"] == 1000
    assert cli.stored() == cli.local(src)
    assert up.asked <= 20, up.requests
    again = cli.run("sync", src, "box:dst")
    assert (again.summary["copied"], again.summary["checked"]) == (0, 1000)
    assert again.asked <= 4, again.requests
    # from another machine as well: the listing has times and hashes
    shutil.rmtree(cli.here / "home/state")
    other = cli.run("sync", src, "box:dst")
    assert other.summary["copied"] == 0
    assert other.asked <= 4, other.requests
    for directory in src.iterdir():
        shutil.rmtree(directory)
    gone = cli.run("sync", src, "box:dst", "--allow-empty-source", "--max-delete", "100%")
    assert gone.summary["deleted"] == 1010
    assert cli.stored() == {}
    assert [node for node in cli.fake.nodes if node != "/dst"] == []
    assert gone.asked <= 4, gone.requests


def test_the_budget_of_a_listing(cli):
    for folder in range(100):
        for number in range(100):
            cli.fake.put(f"big/dir{folder}/file{number}", b"x")
    ran = cli.run("ls", "-R", "box:big")
    assert len(ran.events) == 10_100
    assert ran.asked <= 25, ran.requests


def test_a_download_is_the_same_tree(cli):
    src = cli.tree(folders=3, files=30)
    (src / "large").write_bytes(os.urandom(33_000_001))
    cli.run("sync", src, "box:dst")
    ran = cli.run("sync", "box:dst", cli.here / "back")
    assert cli.local(cli.here / "back") == cli.local(src)
    assert os.stat(cli.here / "back/dir1/file7").st_mtime_ns == os.stat(src / "dir1/file7").st_mtime_ns
    assert ran.summary["copied"] == 91
    assert cli.run("check", src, "box:dst").code == 0


def test_what_changed_goes_alone(cli):
    src = cli.tree(folders=2, files=10)
    cli.run("sync", src, "box:dst")
    cli.fake.sent.clear()
    (src / "dir1/file3").write_bytes(b"changed")
    (src / "dir1/file4").unlink()
    ran = cli.run("sync", src, "box:dst")
    assert (ran.summary["copied"], ran.summary["deleted"]) == (1, 1)
    assert cli.fake.sent == {"dst/dir1/file3": 1}
    assert cli.stored() == cli.local(src)


def test_a_remote_edit_made_meanwhile_is_not_overwritten(cli):
    src = cli.tree(folders=1, files=3)
    cli.run("sync", src, "box:dst")
    (src / "dir0/file1").write_bytes(b"ours")
    (src / "dir0/file2").unlink()

    def edit(request, answer):
        if request.path == "/2/files/list_folder":
            cli.fake.put("dst/dir0/file1", b"theirs")
            cli.fake.put("dst/dir0/file2", b"theirs, too")
        return answer

    cli.lab.change = edit
    cli.run("sync", src, "box:dst", "--retries", "0", code=None)
    assert b"theirs" in cli.stored().values()
    assert b"theirs, too" in cli.stored().values()


def test_names_that_dropbox_refuses_are_named(cli):
    src = cli.here / "src"
    src.mkdir()
    for name in ("good", "back\\slash", "trailing ", "desktop.ini", "Thumbs.db", "x" * 200, "del\x7f"):
        (src / name).write_bytes(b"x")
    ran = cli.run("sync", src, "box:dst", code=1)
    assert cli.stored().keys() == {"good", "x" * 200}
    failed = {event["path"] for event in ran.events if event["event"] == "error"}
    assert failed == {"back\\slash", "trailing ", "desktop.ini", "Thumbs.db", "del\x7f"}


def test_two_names_that_differ_in_case_are_reported_and_neither_is_copied(cli):
    src = cli.here / "src"
    src.mkdir()
    for name in ("a", "name", "NAME"):
        (src / name).write_bytes(name.encode())
    ran = cli.run("sync", src, "box:dst", code=1)
    assert cli.stored() == {"a": b"a"}
    assert "NAME" in ran.err


def test_another_case_is_the_same_file(cli):
    cli.fake.put("DST/Dir0/FILE1", b"0/1 ".ljust(1024, b"."))
    src = cli.tree(folders=1, files=3)
    ran = cli.run("sync", src, "box:dst")
    assert ran.summary["deleted"] == 0
    assert cli.fake.files().keys() == {"DST/Dir0/FILE1", "DST/Dir0/file0", "DST/Dir0/file2"}


@pytest.mark.parametrize("route", [APPEND, FINISH, "files/upload_session/start_batch", "files/list_folder"])
@pytest.mark.parametrize(
    "trouble",
    [
        FakeResponse(500),
        FakeResponse(503, (("Retry-After", "2"),)),
        too_many(3),
        too_many(1, "too_many_write_operations"),
        Wire.RESET,
        Wire.CLOSE,
    ],
    ids=["500", "503", "429", "writes", "reset after", "close after"],
)
def test_a_passing_fault_is_passed(cli, route, trouble):
    src = cli.tree(folders=3, files=250)
    cli.fake.plan(route, trouble, trouble)
    cli.run("sync", src, "box:dst")
    assert cli.stored() == cli.local(src)
    assert set(cli.fake.sent.values()) == {1}
    assert cli.run("sync", src, "box:dst").summary["copied"] == 0


def test_a_storm_of_429_slows_down_and_ends_well(cli):
    src = cli.tree(folders=2, files=100)
    for route in (APPEND, FINISH):
        cli.fake.plan(route, *[too_many(1)] * 6)
    cli.fake.busy = 150  # and entries one by one
    cli.run("sync", src, "box:dst")
    assert cli.stored() == cli.local(src)


def test_a_storm_without_an_end_exits_with_5_and_deletes_nothing(cli):
    src = cli.tree(folders=1, files=20)
    cli.fake.put("dst/theirs", b"kept")
    cli.fake.plan(FINISH, *[too_many(1)] * 500)
    cli.run("sync", src, "box:dst", "--retries", "0", code=5)
    assert cli.stored() == {"theirs": b"kept"}


def test_entries_that_are_refused_for_ever_exit_with_5(cli):
    src = cli.tree(folders=1, files=20)
    cli.fake.busy = 10_000
    cli.run("sync", src, "box:dst", "--retries", "0", code=5)
    assert cli.stored() == {}


@pytest.mark.parametrize("route", [APPEND, FINISH])
def test_a_login_that_ends_in_the_middle_is_renewed(cli, route):
    src = cli.tree(folders=2, files=150)

    def expire(request, answer):
        if request.path == f"/2/{route}" and not expired:
            expired.append(True)
            cli.fake.oauth.access.clear()
        return answer

    expired = []
    cli.lab.change = expire
    cli.run("sync", src, "box:dst")
    assert cli.stored() == cli.local(src)


@pytest.mark.parametrize("route", ["files/list_folder", APPEND, "files/upload_session/start_batch"])
def test_a_login_that_is_revoked_in_the_middle_exits_with_4(cli, route):
    src = cli.tree(folders=2, files=300)
    cli.fake.put("dst/theirs", b"kept")

    def revoke(request, answer):
        if request.path == f"/2/{route}":
            cli.fake.oauth.revoke()
        return answer

    cli.lab.change = revoke
    ran = cli.run("sync", src, "box:dst", code=4)
    assert "cftool config login box" in ran.err
    assert cli.stored()["theirs"] == b"kept"
    assert "s3cr3t" not in ran.err


def test_an_interrupted_upload_is_taken_up_where_it_was(cli):
    """Two rounds of 500: what was committed is not sent again."""
    src = cli.tree()
    cli.fake.plan(FINISH, FakeResponse(200, (("Content-Type", "application/json"),), b"{}"))
    cli.fake._plans[FINISH].appendleft(None)  # the first round is good
    cli.run("sync", src, "box:dst", "--retries", "0", code=1)
    assert len(cli.stored()) == 500
    cli.run("sync", src, "box:dst")
    assert cli.stored() == cli.local(src)
    assert set(cli.fake.sent.values()) == {1}


@pytest.mark.parametrize(
    "wire", [Wire.SHORT_BODY, Wire.RESET_BODY, Wire.FLIP, Wire.CLOSE, Wire.RESET], ids=lambda wire: wire.name
)
@pytest.mark.parametrize("size", [5000, 20_000_000])
def test_a_damaged_download_is_mended_or_told(cli, wire, size):
    data = os.urandom(size)
    cli.fake.put("dst/file", data)
    cli.fake.plan("files/download", wire, wire)
    cli.run("cp", "box:dst/file", cli.here / "file", code=None)
    found = (cli.here / "file").read_bytes() if (cli.here / "file").exists() else None
    assert found in {None, data}
    cli.run("cp", "box:dst/file", cli.here / "file")
    assert (cli.here / "file").read_bytes() == data


def test_cp_cat_stat_mkdir_rm(cli):
    src = cli.tree(folders=1, files=2)
    cli.run("cp", "-r", src, "box:dst")
    cli.run("cp", "box:dst/dir0/file1", "box:dst/copied")
    assert cli.stored()["copied"] == cli.stored()["dir0/file1"]
    (entry,) = [event for event in cli.run("stat", "box:dst/copied").events if event["event"] == "entry"]
    assert entry["hashes"].keys() == {"dropbox"}
    cli.run("mkdir", "box:dst/new/deep")
    assert "/dst/new/deep" in cli.fake.nodes
    ran = cli.run("rm", "-r", "box:dst")
    assert cli.fake.nodes == {}
    assert ran.asked <= 10, ran.requests
    cli.run("ls", "box:dst", code=3)


def test_config_test_tells_what_works(cli):
    ran = cli.run("config", "test", "box", "--write")
    (features,) = [event for event in ran.events if event["event"] == "features"]
    assert (features["conditional_writes"], features["hashes"]) == (True, ["dropbox"])
    cli.fake.oauth.revoke()
    assert "cftool config login box" in cli.run("config", "test", "box", code=4).err
