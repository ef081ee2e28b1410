"""What the command does alike at every provider, over their fakes: addresses that lead nowhere, logins that end."""

import pytest

from cftool.testing.http_fake import FakeResponse
from tests.adversarial.services import KINDS, WIRED, served, without_waiting


@pytest.fixture(params=KINDS)
def service(request, here, tmp_path, monkeypatch):
    """A service of each kind, with an empty directory."""
    without_waiting(monkeypatch)
    with served(request.param, tmp_path) as one:
        yield one


@pytest.mark.parametrize("flags", [(), ("--older-than", "1d"), ("--dry-run",)], ids=" ".join)
def test_cleanup_of_what_is_not_there_says_what_ls_says(run, service, flags):
    """A slip of the pen in a cron job is not to pass for a clean remote."""
    for path in ("nowhere-77", f"{service.path}/none"):
        address = f"{service.remote}:{path}"
        listed, cleaned = run("ls", address, code=3), run("cleanup", *flags, address, code=3)
        assert cleaned.err.splitlines()[0] == listed.err.splitlines()[0]
    assert run("cleanup", *flags, service.place).err.startswith("to delete 0" if "--dry-run" in flags else "deleted 0")


@pytest.mark.parametrize("service", WIRED, indirect=True)
def test_a_source_that_cannot_be_listed_leaves_no_directory_behind(run, here, service):
    service.put("file", b"content")
    service.change = lambda _request, _answer: FakeResponse(503)
    run("sync", service.place, "new", code=5)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("words", [("sync",), ("cp", "-r"), ("mv", "-r"), ("sync", "--trash")], ids=" ".join)
def test_nor_does_one_that_is_there_and_may_not_be_listed(run, here, tmp_path, words):
    with served("s3", tmp_path) as service:
        service.put("file", b"content")
        service.change = lambda request, answer: (
            FakeResponse(403) if "list-type" in request.params and "max-keys" not in request.params else answer
        )
        run(*words, service.place, "new", code=4)
    assert list(here.iterdir()) == []
