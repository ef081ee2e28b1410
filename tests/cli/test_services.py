"""What the command does alike at every provider, over their fakes: addresses that lead nowhere, logins that end."""

import pytest

from cftool.testing.http_fake import FakeResponse
from tests.adversarial.services import KINDS, WIRED, served, without_waiting
from tests.cli.conftest import tree


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


def refused(request):
    """An answer to credentials that were good a moment ago."""
    if b"grant_type" in request.body:
        return FakeResponse(400, (("content-type", "application/json"),), b'{"error":"invalid_grant"}')
    body = b"<Error><Code>InvalidAccessKeyId</Code><Message>it was taken back</Message></Error>"
    return FakeResponse(401, (("content-type", "application/xml"),), body)


REVOKED = {
    "cp -r a {}": {"s3": 12, "gs": 12, "gs-xml": 12, "gdrive": 12, "webdav": 6, "nextcloud": 6, "sugarsync": 8},
    "cp -r {} b": {
        "s3": 8,
        "gs": 8,
        "gs-xml": 8,
        "dropbox": 8,
        "gdrive": 8,
        "webdav": 8,
        "nextcloud": 8,
        "sugarsync": 8,
    },
    "mv -r {} b": {"gs-xml": 10, "webdav": 10, "sugarsync": 10},
    "rm -r {}": {"gs-xml": 4, "sugarsync": 4},
    "sync --force-delete --allow-empty-source none {}": {"gs-xml": 4, "webdav": 4, "sugarsync": 4},
    "check --download a {}": {"s3": 6, "webdav": 4},
}  # by the request after which the login is not accepted any more


@pytest.mark.parametrize(
    ("words", "service", "after"),
    [(words, kind, after) for words, kinds in REVOKED.items() for kind, after in kinds.items()],
    indirect=["service"],
)
def test_a_login_that_is_revoked_on_the_way_is_told_once_and_ends_the_run(run, here, service, words, after):
    """Whatever is under way meets it, forty files at once at some services."""
    (here / "none").mkdir()
    tree(here / "a", **{f"f{number}": "content" for number in range(24)})
    if not words.startswith("cp -r a"):
        run("cp", "-r", "a", service.place)
    before = len(service.requests)
    service.change = lambda request, answer: refused(request) if len(service.requests) > before + after else answer
    ran = run(*words.format(service.place).split(), "--json", code=4)
    assert [(event["path"], event["kind"]) for event in ran.of("error")] == [("", "login_required")]
    assert ran.summary["errors_by"] == {"login_required": 1}
    [line] = ran.err.splitlines()
    assert line.startswith(f"cftool: {service.remote}:")
