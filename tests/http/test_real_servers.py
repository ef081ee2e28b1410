"""Signed requests against S3 servers of others' making, over both transports."""

from collections import Counter

import pytest

from cftool.core.provider import Context
from cftool.http.open import open_client
from cftool.http.sigv4 import Credentials, SigV4
from cftool.http.types import Body, NoAuth, Request, Verdict
from cftool.http.urls import quote_path, quote_query
from tests.servers import REGION

KEYS = ["plain.txt", "with blank", "plus+and&and=", "grün/漢字🙂", "percent%41", "tilde~", "(brackets)[]{}", "a'b\"c"]


@pytest.fixture(params=["moto", "rclone"])
def service(request):
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def client(service, kind):
    keys = Credentials(service.access_key, service.secret_key)
    context = Context(transport=kind, requests=Counter())
    auth = SigV4(lambda: keys, region=REGION)
    client = open_client(context, auth=auth, classify=lambda status, headers, body: Verdict.ANSWER, connections=8)
    yield client
    client.close()


@pytest.fixture
def bucket(client, service, kind, request):
    url = f"{service.url}/http-{kind}-{abs(hash(request.node.name)) % 10**9}"
    assert client.send(Request("PUT", url)).status == 200
    return url


@pytest.mark.real
def test_keys_of_all_kinds_are_signed_as_the_server_expects(client, bucket):
    waiting = [Request("PUT", f"{bucket}/{quote_path(key)}", body=key.encode(), tag=key) for key in KEYS]
    for completion in client.send_many(lambda: waiting.pop() if waiting else None):
        assert completion.error is None
        assert completion.response.status == 200, (completion.request.tag, completion.response.body)
    for key in KEYS:
        assert client.send(Request("GET", f"{bucket}/{quote_path(key)}")).body == key.encode()
    listing = client.send(Request("GET", f"{bucket}?{quote_query([('prefix', 'plus+'), ('list-type', '2')])}"))
    assert listing.status == 200
    assert b"<KeyCount>1</KeyCount>" in listing.body or listing.body.count(b"<Contents>") == 1


@pytest.mark.real
def test_a_streamed_body_is_accepted_unsigned_over_plain_http(client, bucket, service):
    content = bytes(range(256)) * 8192
    body = Body(len(content), lambda size, offset: content[offset : offset + size])
    assert client.send(Request("PUT", f"{bucket}/large", (("x-amz-meta-a", "b"),), body)).status == 200
    with client.stream(Request("GET", f"{bucket}/large")) as stream:
        assert stream.read_all() == content
    ranged = client.send(Request("GET", f"{bucket}/large", (("range", "bytes=256-511"),)))
    assert ranged.body == bytes(range(256))
    assert ranged.header("content-range") == f"bytes 256-511/{len(content)}"
    assert ranged.status == (206 if service.kind == "moto" else 200)  # rclone says 200 to a range
    assert client.send(Request("HEAD", f"{bucket}/large")).header("content-length") == str(len(content))


@pytest.mark.real
def test_a_wrong_secret_is_refused(rclone_server, kind):
    auth = SigV4(lambda: Credentials(rclone_server.access_key, "wrong"), region=REGION)
    client = open_client(Context(transport=kind), auth=auth, classify=lambda *answer: Verdict.ANSWER)
    assert client.send(Request("GET", rclone_server.url + "/")).status == 403
    client.close()


@pytest.mark.real
def test_a_presigned_url_needs_no_credentials(client, bucket, service, kind):
    client.send(Request("PUT", f"{bucket}/shared", body=b"content"))
    url = client.auth.presign("GET", f"{bucket}/shared", 60)
    anonymous = open_client(Context(transport=kind), auth=NoAuth(), classify=lambda *answer: Verdict.ANSWER)
    assert anonymous.send(Request("GET", url)).body == b"content"
    if service.kind == "rclone":
        forged = url.replace("X-Amz-Expires=60", "X-Amz-Expires=61")
        assert anonymous.send(Request("GET", forged)).status == 403
    anonymous.close()
