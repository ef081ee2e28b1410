"""Signatures against botocore's, for hundreds of random requests; the clock's skew; credentials that end."""

import random
import threading
from datetime import UTC, datetime
from unittest import mock
from urllib.parse import urlsplit

import pytest
from botocore import auth as reference
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from cftool.http.sigv4 import GOOG, Credentials, SigV4
from cftool.http.types import Body, Request, Response
from cftool.http.urls import quote_path, quote_query

NOW = 1_700_000_000.0
KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TEMPORARY = Credentials("ASIAEXAMPLE", "secret/with+signs", "token//with+signs==")
ALPHABET = "abcXYZ019-._~ /+%&=?#@:,;!*'()[]{}\"\\<>|^`$äé漢字🙂\u0301\t\n"
HEADERS = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("x-amz-meta-mtime", "1700000000.123456789"),
    ("X-Amz-Meta-Name", "  many   blanks  "),
    ("x-amz-acl", "private"),
    ("Range", "bytes=0-1"),
    ("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
    ("if-none-match", "*"),
    ("x-amz-copy-source", "/bucket/a%20b"),
]


def signer(credentials=KEYS, region="eu-central-1", now=lambda: NOW):
    return SigV4(lambda: credentials, region=region, now=now)


def frozen():
    moment = datetime.fromtimestamp(NOW, UTC)
    return mock.patch.object(reference, "get_current_datetime", return_value=moment)


def boto(credentials):
    return BotoCredentials(credentials.access_key_id, credentials.secret_access_key, credentials.session_token or None)


def random_text(dice, longest=12):
    return "".join(dice.choice(ALPHABET) for _ in range(dice.randrange(1, longest)))


def random_url(dice):
    host = dice.choice(
        ["s3.eu-central-1.amazonaws.com", "127.0.0.1:9000", "bucket.s3.test", "s3.test:8443", "[::1]:9000"]
    )
    scheme = dice.choice(["http", "https"])
    path = "/" + quote_path(dice.choice(["", "bucket", "bucket//", "b/../c/./d"]) + random_text(dice))
    names = dice.sample(
        ["list-type", "prefix", "uploads", "X-b", "delimiter", "partNumber", "a", "A"], dice.randrange(4)
    )
    query = quote_query((name, random_text(dice) if dice.random() < 0.8 else "") for name in names)
    return f"{scheme}://{host}{path}" + (f"?{query}" if query else "")


@pytest.mark.parametrize("seed", range(20))
def test_headers_are_signed_as_botocore_signs_them(seed):
    dice = random.Random(seed)
    for _ in range(20):
        credentials = dice.choice([KEYS, TEMPORARY])
        method = dice.choice(["GET", "PUT", "HEAD", "POST", "DELETE"])
        headers = tuple(dice.sample(HEADERS, dice.randrange(5)))
        body = dice.choice([b"", b"content", bytes(1000)]) if method in {"PUT", "POST"} else b""
        url = random_url(dice)
        theirs = AWSRequest(method, url, headers=dict(headers), data=body)
        with frozen():
            reference.S3SigV4Auth(boto(credentials), "s3", "eu-central-1").add_auth(theirs)
        ours = dict(signer(credentials).headers(Request(method, url, headers, body)))
        expected = {name: theirs.headers[name] for name in ours}
        assert ours == expected, (seed, method, url, headers)
        assert ("x-amz-security-token" in ours) is bool(credentials.session_token)


@pytest.mark.parametrize("seed", range(10))
def test_urls_are_presigned_as_botocore_presigns_them(seed):
    dice = random.Random(seed)
    for _ in range(20):
        credentials = dice.choice([KEYS, TEMPORARY])
        url = random_url(dice)
        theirs = AWSRequest("GET", url)
        with frozen():
            reference.S3SigV4QueryAuth(boto(credentials), "s3", "eu-central-1", expires=600).add_auth(theirs)
        ours = signer(credentials).presign("GET", url, 600)
        # botocore writes an operation's query anew (in its own escaping); the pairs and the signature are the same.
        assert sorted(urlsplit(ours).query.split("&")) == sorted(urlsplit(theirs.url).query.split("&")), (seed, url)
        assert urlsplit(ours)[:3] == urlsplit(theirs.url)[:3]


def signed(request, **fields):
    return dict(signer(**fields).headers(request))


def test_the_payload_is_hashed_for_small_bytes_and_unsigned_for_large_ones():
    url = "https://s3.test/b/k"
    hashed = signed(Request("PUT", url, body=b"content"))["x-amz-content-sha256"]
    assert hashed == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    for body in (bytes(600 * 1024), Body(5, lambda size, offset: b"x")):
        for place in (url, url.replace("https", "http")):
            assert signed(Request("PUT", place, body=body))["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    given = signed(Request("PUT", url, body=b"content", payload_hash="UNSIGNED-PAYLOAD"))
    assert given["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


def test_default_ports_are_not_part_of_the_host():
    plain = signed(Request("GET", "https://s3.test/b"))
    assert plain == signed(Request("GET", "https://s3.test:443/b"))
    assert plain != signed(Request("GET", "https://s3.test:80/b"))


def test_what_transports_add_or_change_is_not_signed():
    url = "https://s3.test/b"
    noise = (
        ("User-Agent", "x"),
        ("Expect", "100-continue"),
        ("Authorization", "old"),
        ("Transfer-Encoding", "chunked"),
    )
    assert signed(Request("GET", url, noise)) == signed(Request("GET", url))


def test_the_region_may_change_and_the_day_may_end():
    region, now = ["us-east-1"], [NOW]
    auth = SigV4(lambda: KEYS, region=lambda: region[0], now=lambda: now[0])
    request = Request("GET", "https://s3.test/b")
    first = dict(auth.headers(request))["authorization"]
    assert "20231114/us-east-1/s3/aws4_request" in first
    region[0] = "eu-west-1"
    assert "20231114/eu-west-1/s3/aws4_request" in dict(auth.headers(request))["authorization"]
    now[0] += 86400
    assert "20231115/eu-west-1/s3/aws4_request" in dict(auth.headers(request))["authorization"]
    region[0], now[0] = "us-east-1", NOW
    assert dict(auth.headers(request))["authorization"] == first


# ---- refusals

SKEWED = b"<Error><Code>RequestTimeTooSkewed</Code></Error>"


def test_a_skewed_clock_is_learnt_from_the_refusal_and_only_once():
    auth = signer()
    refusal = Response(403, {"date": "Tue, 14 Nov 2023 23:13:20 GMT"}, SKEWED)
    assert auth.rejected(refusal)
    assert dict(auth.headers(Request("GET", "https://s3.test/b")))["x-amz-date"] == "20231114T231320Z"
    assert not auth.rejected(refusal)


def test_a_refusal_without_a_usable_date_teaches_nothing():
    auth = signer()
    assert not auth.rejected(Response(403, {}, SKEWED))
    assert not auth.rejected(Response(403, {"date": "yesterday"}, SKEWED))
    assert not auth.learn_date("yesterday")


def test_a_head_refused_without_words_is_explained_by_a_clock_far_off():
    assert signer().rejected(Response(403, {"date": "Tue, 14 Nov 2023 22:30:20 GMT"}))
    assert not signer().rejected(Response(403, {"date": "Tue, 14 Nov 2023 22:20:20 GMT"}))
    assert not signer().rejected(Response(403, {"date": "never"}))


def test_other_refusals_change_nothing():
    body = b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
    assert not signer().rejected(Response(403, {"date": "Tue, 14 Nov 2023 23:13:20 GMT"}, body))


def test_an_expired_token_is_replaced_where_there_is_another():
    supply = [TEMPORARY, KEYS, KEYS]
    auth = SigV4(lambda: supply.pop(0), region="us-east-1", now=lambda: NOW)
    request = Request("GET", "https://s3.test/b")
    assert "ASIAEXAMPLE" in dict(auth.headers(request))["authorization"]
    refusal = Response(400, {}, b"<Error><Code>ExpiredToken</Code></Error>")
    assert auth.rejected(refusal)
    assert "AKIDEXAMPLE" in dict(auth.headers(request))["authorization"]
    assert not auth.rejected(refusal)


def ending(name, seconds):
    return Credentials(name, "secret", "token", expires=NOW + seconds)


def test_credentials_are_loaded_once_and_refreshed_near_their_end():
    now = [NOW]
    supply = [ending("FIRST", 3600), ending("SECOND", 7200)]
    auth = SigV4(lambda: supply.pop(0), region="us-east-1", now=lambda: now[0])
    request = Request("GET", "https://s3.test/b")
    for later, name in [(0, "FIRST"), (3200, "FIRST"), (3400, "SECOND"), (3600, "SECOND")]:
        now[0] = NOW + later
        assert f"Credential={name}/" in dict(auth.headers(request))["authorization"]


def test_a_refresh_that_fails_is_put_off_while_the_old_ones_last():
    now = [NOW]

    def load():
        if now[0] == NOW:
            return ending("FIRST", 600)
        raise LookupError("the metadata service is away")

    auth = SigV4(load, region="us-east-1", now=lambda: now[0])
    request = Request("GET", "https://s3.test/b")
    auth.headers(request)
    now[0] = NOW + 400
    assert "Credential=FIRST/" in dict(auth.headers(request))["authorization"]
    now[0] = NOW + 601
    with pytest.raises(LookupError):
        auth.headers(request)


def test_threads_share_one_refresh():
    loads = []

    def load():
        loads.append(1)
        return KEYS

    auth = SigV4(load, region="us-east-1", now=lambda: NOW)
    request = Request("GET", "https://s3.test/b")
    results = []
    threads = [threading.Thread(target=lambda: results.append(tuple(auth.headers(request)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert len(loads) == 1


def test_secrets_do_not_print():
    assert "wJalr" not in repr(KEYS)
    assert "wJalr" not in str([KEYS])


class TestGoogle:
    """The same scheme in Google's words, computed here by hand from its documentation."""

    KEYS = Credentials("GOOGEXAMPLE", "bGoa+V7g/yqDXvKRqq+JTFn4uQZbPiQJo4pf9RzJ")

    def signature(self, canonical: str, stamp: str) -> str:
        import hashlib
        import hmac

        secret = ("GOOG4" + self.KEYS.secret_access_key).encode()
        for part in (stamp[:8], "auto", "storage", "goog4_request"):
            secret = hmac.digest(secret, part.encode(), "sha256")
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"GOOG4-HMAC-SHA256\n{stamp}\n{stamp[:8]}/auto/storage/goog4_request\n{digest}"
        return hmac.digest(secret, text.encode(), "sha256").hex()

    def signer(self):
        return SigV4(lambda: self.KEYS, region="auto", dialect=GOOG, now=lambda: NOW)

    def test_headers(self):
        import hashlib

        request = Request(
            "PUT",
            "https://storage.googleapis.com/b/a%20b?compose",
            (("x-goog-meta-mtime", "x"), ("content-type", "text/plain")),
            b"hello",
        )
        found = dict(self.signer().headers(request))
        stamp, payload = "20231114T221320Z", hashlib.sha256(b"hello").hexdigest()
        names = "content-type;host;x-goog-content-sha256;x-goog-date;x-goog-meta-mtime"
        canonical = (
            "PUT\n/b/a%20b\ncompose=\ncontent-type:text/plain\nhost:storage.googleapis.com\n"
            f"x-goog-content-sha256:{payload}\nx-goog-date:{stamp}\nx-goog-meta-mtime:x\n\n{names}\n{payload}"
        )
        assert found == {
            "x-goog-content-sha256": payload,
            "x-goog-date": stamp,
            "authorization": "GOOG4-HMAC-SHA256 Credential=GOOGEXAMPLE/20231114/auto/storage/goog4_request, "
            f"SignedHeaders={names}, Signature={self.signature(canonical, stamp)}",
        }

    def test_presigned(self):
        url = self.signer().presign("GET", "https://storage.googleapis.com/b/k", 60)
        start, _, signature = url.partition("&X-Goog-Signature=")
        query = start.partition("?")[2]
        assert query == (
            "X-Goog-Algorithm=GOOG4-HMAC-SHA256&X-Goog-Credential=GOOGEXAMPLE%2F20231114%2Fauto%2Fstorage%2F"
            "goog4_request&X-Goog-Date=20231114T221320Z&X-Goog-Expires=60&X-Goog-SignedHeaders=host"
        )
        canonical = f"GET\n/b/k\n{query}\nhost:storage.googleapis.com\n\nhost\nUNSIGNED-PAYLOAD"
        assert signature == self.signature(canonical, "20231114T221320Z")
