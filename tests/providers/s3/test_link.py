"""Presigned links: good without keys, for as long as was said, for the right region and host."""

import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from cftool.core.errors import IsADirectory, LoginRequired, NotFound, Unsupported
from cftool.core.types import Cap

KEY = "d/a b+ü&?#%.txt"


def fetch(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read()


@pytest.fixture
def lab(new_lab):
    lab = new_lab()
    lab.fake.make("bucket", [KEY, "d/x"], b"content")
    return lab


def test_anybody_reads_by_it_and_by_no_other(lab):
    store = lab.open()
    assert Cap.LINK in store.features.caps
    url = store.link(f"bucket/{KEY}", expires=60)
    assert fetch(url) == b"content"
    for wrong in (url.replace("Expires=60", "Expires=61"), url.replace("/d/", "/e/"), url.partition("?")[0]):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            fetch(wrong)


def test_it_ends_when_it_was_said(lab):
    store = lab.open()
    short, long = store.link("bucket/d/x", expires=3600), store.link("bucket/d/x")
    lab.fake.now = lambda: time.time() + 3700
    with pytest.raises(urllib.error.HTTPError, match="403"):
        fetch(short)
    assert fetch(long) == b"content"
    assert "X-Amz-Expires=604800&" in long
    for seconds in (0, 0.5, 604_801, -1):
        with pytest.raises(Unsupported, match="7 days"):
            store.link("bucket/d/x", expires=seconds)


def test_it_is_the_one_that_botocore_makes(lab):
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials

    store = lab.open(requester_pays=True)
    url = store.link(f"bucket/{KEY}", expires=77)
    parts = urllib.parse.urlsplit(url)
    query = dict(urllib.parse.parse_qsl(parts.query))
    assert query["x-amz-request-payer"] == "requester"
    access, day, region, *_ = query["X-Amz-Credential"].split("/")

    class Then(botocore.auth.S3SigV4QueryAuth):
        def add_auth(self, request):
            request.context["timestamp"] = query["X-Amz-Date"]
            self._modify_request_before_signing(request)
            string = self.string_to_sign(request, self.canonical_request(request))
            self._inject_signature_to_request(request, self.signature(string, request))

    credentials = botocore.credentials.Credentials(access, lab.fake.keys[access])
    request = botocore.awsrequest.AWSRequest("GET", url.partition("&X-Amz-Algorithm")[0])
    Then(credentials, "s3", region, expires=77).add_auth(request)
    theirs = urllib.parse.parse_qs(urllib.parse.urlsplit(request.url).query)
    assert theirs["X-Amz-Signature"] == [query["X-Amz-Signature"]]
    assert day == query["X-Amz-Date"][:8]


def test_the_region_is_learnt_first(lab):
    lab.fake.make("far", ["x"], b"far away")
    lab.fake.regions["far"] = "eu-central-1"
    store = lab.open()
    assert fetch(store.link("far/x")) == b"far away"
    assert fetch(store.link("bucket/d/x")) == b"content"


def test_the_bucket_goes_into_the_host_where_it_is_so_configured(lab):
    lab.fake.domain = "localhost"
    store = lab.open(addressing_style="virtual", endpoint_url=lab.url.replace("127.0.0.1", "localhost"))
    assert store._service.link("bucket", "d/x", 60).startswith("http://bucket.localhost:")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", IsADirectory),
        ("bucket", IsADirectory),
        ("bucket/d", IsADirectory),
        ("bucket/no", NotFound),
        ("no/x", NotFound),
    ],
)
def test_only_files_that_are_there_have_one(lab, path, error):
    with pytest.raises(error):
        lab.open().link(path)


def test_without_keys_it_is_the_plain_url(lab):
    lab.fake.public = True
    store = lab.open(anonymous=True, access_key_id=None, secret_access_key=None)
    url = store.link("bucket/d/x")
    assert "?" not in url
    assert fetch(url) == b"content"
    with pytest.raises(Unsupported, match="expire"):
        store.link("bucket/d/x", expires=60)


def test_wrong_keys_give_none(lab):
    with pytest.raises(LoginRequired):
        lab.open(access_key_id="nobody").link("bucket/d/x")


def test_temporary_keys_are_said_to_be_so(new_lab, caplog):
    from cftool.core.provider import Secret

    lab = new_lab(token="session")
    lab.fake.make("bucket", ["x"], b"content")
    url = lab.open(session_token=Secret("session")).link("bucket/x")
    assert fetch(url) == b"content"
    assert "ends when they do" in caplog.text
