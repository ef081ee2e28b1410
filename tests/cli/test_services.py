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


@pytest.mark.parametrize("kind", ["s3", "gs", "gs-xml"])
class TestRemovingAtObjectStores:
    """What is asked before something is removed would be asked again by its listing."""

    @pytest.fixture
    def bucket(self, here, tmp_path, kind):
        with served(kind, tmp_path) as service:
            yield service

    def left(self, bucket, *keys):
        bucket.fake.make("bucket", keys, data=b"")
        bucket.requests.clear()
        return f"{bucket.remote}:bucket/x"

    def keys(self, bucket):
        return sorted(bucket.fake.buckets["bucket"])

    def test_a_tree_costs_its_listing_and_its_deletions(self, run, bucket, kind):
        files, pages, deletions = {"s3": (2000, 2, 2), "gs": (300, 1, 3), "gs-xml": (50, 1, 50)}[kind]
        address = self.left(bucket, *(f"x/{number // 100}/{number:04}" for number in range(files)))
        ran = run("rm", "-r", address, "--json")
        assert (ran.summary["deleted"], self.keys(bucket)) == (files, ["d/"])
        assert len(bucket.requests) == pages + deletions

    def test_a_file_and_what_is_not_there_cost_no_more_than_without_r(self, run, bucket):
        address = self.left(bucket, "x", "x-1", "x.txt", "y")
        run("rm", "-r", address)
        assert (self.keys(bucket), len(bucket.requests)) == (["d/", "x-1", "x.txt", "y"], 2)
        bucket.requests.clear()
        missing = run("rm", "-r", address, code=3)
        assert len(bucket.requests) == 1
        assert missing.err.splitlines()[0] == run("rm", address, code=3).err.splitlines()[0]
        assert run("rm", "-rf", address).err == run("rm", "-f", address).err

    def test_a_file_and_a_directory_of_one_name_go_both_and_without_r_the_file_alone(self, run, bucket):
        address = self.left(bucket, "x", "x/", "x/1", "x/2/3", "x0/4")
        dry = run("rm", "-r", "--dry-run", address, code=10)
        assert dry.lines == ["delete x", "delete x/1", "delete x/2/3", "delete x/"]
        run("rm", address)
        assert self.keys(bucket) == ["d/", "x/", "x/1", "x/2/3", "x0/4"]
        self.left(bucket, "x")
        assert run("rm", "-r", address, "--json").summary["deleted"] == 4
        assert self.keys(bucket) == ["d/", "x0/4"]

    def test_a_slash_at_the_end_means_the_directory(self, run, bucket):
        address = self.left(bucket, "x")
        run("rm", "-r", f"{address}/", code=1)
        assert self.keys(bucket) == ["d/", "x"]
        self.left(bucket, "x/1")
        run("rm", "-r", f"{address}/", code=None)

    def test_a_listing_that_is_refused_is_told_at_the_address(self, run, bucket):
        address = self.left(bucket, "x/1")
        bucket.change = lambda _request, _answer: FakeResponse(403)
        ran = run("rm", "-rf", address, code=4)
        assert ran.err.startswith(f"cftool: {address}: ")
        assert self.keys(bucket) == ["d/", "x/1"]


@pytest.mark.parametrize("kind", ["s3", "gs", "gs-xml"])
def test_a_listing_of_nothing_asks_no_more_than_whether_it_is_a_file(run, here, tmp_path, kind):
    with served(kind, tmp_path) as service:
        for command in ("ls", "du"):
            service.requests.clear()
            run(command, f"{service.place}/none", code=3)
            assert len(service.requests) == 2
        service.put("file", b"content")
        service.change = lambda request, answer: answer if "prefix" in request.params else FakeResponse(403)
        run("ls", f"{service.place}/file", code=4)  # that it may not be looked at does not mean that it is not there
