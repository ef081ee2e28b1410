"""The commands over a Google Drive of the configuration: what a user sees, exit codes, and requests."""

import re

import pytest

from cftool.cli import exits
from cftool.testing.fake_gdrive import (
    API,
    CLIENT_ID,
    CLIENT_SECRET,
    DOCUMENT,
    LOGIN,
    REFRESH,
    FakeGDrive,
    daily_limit,
    error,
)
from cftool.testing.http_fake import mocked
from tests.cli.conftest import Run


@pytest.fixture
def drive(here, monkeypatch):
    """The service, and `d:`, a remote on it."""
    monkeypatch.setenv("CFTOOL_TRANSPORT", "requests")
    config = here.parent / "config.toml"
    config.write_text(
        f'[remotes.d]\ntype = "gdrive"\nclient_id = "{CLIENT_ID}"\nclient_secret = "{CLIENT_SECRET}"\n'
        f'refresh_token = "{REFRESH}"\n'
    )
    config.chmod(0o600)
    monkeypatch.setenv("CFTOOL_CONFIG", str(config))
    fake = FakeGDrive()
    with mocked(fake.handle, re.compile(rf"https://({re.escape(API)}|{re.escape(LOGIN)})/")):
        yield fake
    assert fake.complaints == []


def test_a_tree_there_and_back(drive, run: Run, here):
    for number in range(5):
        (here / "a" / f"d{number}").mkdir(parents=True)
        (here / "a" / f"d{number}" / "f").write_bytes(b"x" * number)
    assert run("--json", "sync", "a", "d:back/up").summary["copied"] == 5
    assert run("--json", "sync", "a", "d:back/up").summary["compared_by"] == {"state": 5}
    assert run("ls", "-R", "d:back").lines[:3] == ["up/", "up/d0/", "up/d0/f"]
    run("cp", "-r", "d:back/up", "b")
    assert sorted(path.name for path in (here / "b").iterdir()) == [f"d{number}" for number in range(5)]
    assert run("check", "a", "d:back/up", code=0).lines == []
    (here / "a" / "d1" / "f").unlink()
    assert run("--json", "sync", "a", "d:back/up").summary["deleted"] >= 1
    assert drive.find("back/up/d1/f") == []
    run("rm", "-r", "d:back")
    assert drive.tree() == {}


def test_listing_asks_for_many_folders_at_once_and_sync_does_not(drive, run: Run, here):
    for number in range(8):
        drive.add(f"t/d{number}/f", b"x")
    run("ls", "-R", "d:t")
    assert max(request.query.count("in%20parents") for request in drive.log) == 8
    start = len(drive.log)
    run("sync", "d:t", "local")
    assert max(request.query.count("in%20parents") for request in drive.log[start:]) == 1


def test_the_configuration_is_tested(drive, run: Run):
    told = run("config", "test", "d", "--write").out.decode()
    assert "written, read back, deleted" in told
    assert "resumed uploads" in told
    assert drive.tree() == {}
    drive.revoked = True
    drive.access.clear()
    failed = run("config", "test", "d", code=exits.NOT_ALLOWED)
    assert "cftool config login d" in failed.err
    assert CLIENT_SECRET not in failed.err


def test_links_and_documents(drive, run: Run, here):
    document = drive.add("t/report", None, mime=DOCUMENT)
    drive.exports[document.id] = b"PK"
    drive.add("t/form", None, mime="application/vnd.google-apps.form")
    assert run("cat", "d:t/report.docx").out == b"PK"
    assert run("link", "d:t/report.docx").lines == [f"https://drive.google.com/file/d/{document.id}/view?usp=drivesdk"]
    summary = run("--json", "cp", "-r", "d:t", "local").summary
    assert (summary["copied"], summary["skipped_by"]) == (1, {"special": 1})


def test_the_daily_limit_ends_with_5_and_says_what_to_do(drive, run: Run, here):
    (here / "a").mkdir()
    for number in range(200):
        (here / "a" / f"f{number}").write_bytes(b"x")
    drive.fail("upload.create", daily_limit(), times=10_000, after=10)
    ran = run("cp", "-r", "a", "d:t", code=exits.TEMPORARY)
    assert "24 hours" in ran.err
    assert drive.requests["upload.create"] <= 10 + 64


def test_a_missing_permission_ends_with_4(drive, run: Run, here):
    (here / "f").write_bytes(b"x")
    drive.fail("upload.create", error(403, "insufficientFilePermissions", "You may not."), times=9)
    assert "You may not." in run("cp", "f", "d:f", code=exits.NOT_ALLOWED).err


def test_what_is_not_there_ends_with_3(drive, run: Run):
    run("ls", "d:nothing", code=exits.NOT_FOUND)
    run("cp", "d:nothing", "here", code=exits.NOT_FOUND)


def test_names_of_duplicates_are_shown_and_work(drive, run: Run):
    drive.add("t/f.txt", b"1")
    drive.add("t/f.txt", b"2")
    plain, second = sorted(run("ls", "d:t").lines)
    assert (plain, run("cat", f"d:t/{plain}").out) == ("f ~" + plain[3:], b"2")
    assert run("cat", f"d:t/{second}").out == b"1"
    run("rm", f"d:t/{plain}")
    assert drive.tree() == {"t": None, "t/f.txt": b"1"}


def test_space_used(drive, run: Run, here):
    drive.add("f", b"x" * 1000)
    assert run("df", "d:").lines[1].split()[:2] == [str(15 * 1024**3), "1000"]
