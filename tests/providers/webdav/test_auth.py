"""Logins: Basic, Digest and Bearer, what goes out when, and that no credential leaves its origin."""

import base64

import pytest

from cftool.core.errors import LoginRequired
from cftool.core.provider import Secret
from cftool.http.types import Request, Response
from cftool.testing.http_fake import FakeResponse
from cftool_providers.webdav import _auth
from cftool_providers.webdav._auth import Bearer, Challenge, Password

# RFC 7616, section 3.9.1
RFC = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="{nonce}", opaque="{opaque}"'
)
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
OPAQUE = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"


def asked(header: str) -> Response:
    return Response(401, {"www-authenticate": header})


def given(auth, url="http://dav.test/a", method="GET") -> dict[str, str]:
    return dict(auth.headers(Request(method, url)))


def fields(header: str) -> dict[str, str]:
    [(scheme, params)] = _auth.challenges(header)
    assert scheme == "digest"
    return params


class TestChallenges:
    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            ('Basic realm="x"', [("basic", {"realm": "x"})]),
            ("Basic", [("basic", {})]),
            ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
            (
                'Digest realm="a, Basic b", nonce="n=", Basic realm="c"',
                [("digest", {"realm": "a, Basic b", "nonce": "n="}), ("basic", {"realm": "c"})],
            ),
            (
                'Digest realm="say \\"hi\\"",nonce=n,stale=TRUE',
                [("digest", {"realm": 'say "hi"', "nonce": "n", "stale": "TRUE"})],
            ),
            ("", []),
        ],
    )
    def test_are_taken_apart(self, header, expected):
        assert _auth.challenges(header) == expected

    def test_the_strongest_that_can_be_answered_comes_first(self):
        header = ", ".join(f'Digest realm="r", nonce="n", qop="auth", algorithm={name}' for name in ("MD5", "SHA-256"))
        assert [one.algorithm for one in _auth.digest_challenges(header)] == ["SHA-256", "MD5"]

    @pytest.mark.parametrize(
        "header",
        [
            'Digest realm="r", qop="auth"',
            'Digest realm="r", nonce="n", qop="auth-int"',
            'Digest realm="r", nonce="n", algorithm=TOKEN',
        ],
        ids=["no nonce", "bodies to be hashed", "unknown algorithm"],
    )
    def test_what_cannot_be_answered_is_none(self, header):
        assert _auth.digest_challenges(header) == []


class TestDigest:
    def challenge(self, algorithm, **more):
        values = {"opaque": None, "qop": True, "stale": False, "userhash": False, "utf8": False} | more
        return Challenge("http-auth@example.org", NONCE, algorithm, **values)

    @pytest.mark.parametrize(
        ("algorithm", "expected"),
        [
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ],
    )
    def test_answers_the_examples_of_the_rfc(self, algorithm, expected):
        found = _auth.digest_response(
            self.challenge(algorithm),
            "Mufasa",
            "Circle of Life",
            "GET",
            "/dir/index.html",
            "00000001",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        )
        assert found == expected

    def test_without_qop_it_is_that_of_rfc_2069(self):
        challenge = Challenge(
            "testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "MD5", None, qop=False, stale=False,
            userhash=False, utf8=False,
        )  # fmt: skip
        found = _auth.digest_response(challenge, "Mufasa", "Circle Of Life", "GET", "/dir/index.html", "", "")
        assert found == "670fd8c2df070c60b045671b8b24ff02"

    def test_counts_up_with_every_request_and_anew_for_a_new_nonce(self):
        auth = Password("http://dav.test/", "me", Secret("pass"))
        assert given(auth) == {}
        assert auth.rejected(asked('Digest realm="r", nonce="one", qop="auth"'))
        assert [fields(given(auth)["authorization"])["nc"] for _ in range(3)] == ["00000001", "00000002", "00000003"]
        assert auth.rejected(asked('Digest realm="r", nonce="two", qop="auth", stale=true'))
        assert fields(given(auth)["authorization"])["nc"] == "00000001"

    def test_the_session_form_keeps_its_client_nonce(self):
        auth = Password("http://dav.test/", "me", Secret("pass"))
        auth.rejected(asked('Digest realm="r", nonce="one", qop="auth", algorithm=MD5-sess'))
        first, second = (fields(given(auth)["authorization"]) for _ in range(2))
        assert first["cnonce"] == second["cnonce"]
        assert first["algorithm"] == "MD5-sess"

    def test_names_beyond_ascii_are_hashed_or_escaped(self):
        auth = Password("http://dav.test/", "Jäsøn", Secret("pass"))
        auth.rejected(asked('Digest realm="r", nonce="n", qop="auth", charset=UTF-8'))
        assert "username*=UTF-8''J%C3%A4s%C3%B8n" in given(auth)["authorization"]
        auth.rejected(asked('Digest realm="r", nonce="m", qop="auth", charset=UTF-8, userhash=true'))
        found = fields(given(auth)["authorization"])
        assert (found["userhash"], len(found["username"])) == ("true", 32)

    def test_quotes_are_escaped_and_the_opaque_value_returned(self):
        auth = Password("http://dav.test/", 'a"b\\c', Secret("pass"))
        auth.rejected(asked('Digest realm="r\\"s", nonce="n", opaque="o\\"p"'))
        header = given(auth)["authorization"]
        assert 'username="a\\"b\\\\c"' in header
        assert 'realm="r\\"s"' in header
        assert 'opaque="o\\"p"' in header
        assert "qop" not in header


class TestWhatGoesOutWhen:
    BASIC = "Basic " + base64.b64encode(b"me:pass").decode()

    @pytest.mark.parametrize(
        "url", ["https://dav.test/", "http://localhost:8080/", "http://127.0.0.1/", "http://[::1]/"]
    )
    def test_basic_at_once_where_it_is_safe(self, url):
        assert given(Password(url, "me", Secret("pass")), url + "x") == {"authorization": self.BASIC}

    def test_over_plain_http_only_when_it_is_asked_for(self, caplog):
        auth = Password("http://dav.test/", "me", Secret("pass"))
        assert given(auth) == {}
        assert auth.rejected(asked('Basic realm="r"'))
        assert given(auth) == {"authorization": self.BASIC}
        assert "plain HTTP" in caplog.text
        assert "pass" not in caplog.text.replace("password", "")

    def test_never_in_the_clear_where_digest_is_offered_too(self):
        auth = Password("http://dav.test/", "me", Secret("pass"))
        assert auth.rejected(asked('Basic realm="r", Digest realm="r", nonce="n", qop="auth"'))
        assert given(auth)["authorization"].startswith("Digest ")
        assert "pass" not in given(auth)["authorization"]

    def test_a_wrong_password_is_not_tried_for_ever(self):
        auth = Password("https://dav.test/", "me", Secret("pass"))
        assert not auth.rejected(asked('Basic realm="r"'))
        assert not auth.rejected(asked(""))

    @pytest.mark.parametrize(
        "url", ["http://other.test/a", "https://dav.test/a", "http://dav.test:81/a", "http://dav.test.evil.test/a"]
    )
    @pytest.mark.parametrize("kind", ["basic", "digest", "bearer"])
    def test_nothing_goes_to_another_origin(self, url, kind):
        auth = Bearer("http://dav.test/", Secret("t")) if kind == "bearer" else Password(
            "http://dav.test/", "me", Secret("pass")
        )  # fmt: skip
        auth.rejected(asked('Basic realm="r"' if kind == "basic" else 'Digest realm="r", nonce="n"'))
        assert given(auth)
        assert given(auth, url) == {}

    def test_a_token_is_sent_as_bearer(self):
        assert given(Bearer("https://dav.test/", Secret("t")), "https://dav.test/x") == {"authorization": "Bearer t"}


@pytest.mark.parametrize("transport", ["curl", "requests"])
class TestWithAServer:
    @pytest.mark.parametrize("auth", ["basic", "digest", "digest-sha256"])
    def test_password(self, new_lab, transport, auth):
        lab = new_lab(transport=transport, user="me", password="pä:ss", auth=auth)
        lab.fake.put("a b/ü", b"content")
        store = lab.open()
        assert store.read("a b/ü").read() == b"content"
        assert [entry.path for entry in store.walk("")] == ["a b", "a b/ü"]

    def test_bearer(self, new_lab, transport):
        lab = new_lab(transport=transport, user="me", password="token", auth="bearer")
        lab.fake.put("a")
        assert [entry.path for entry in lab.open(bearer_token=Secret("token")).scan("")] == ["a"]

    def test_a_nonce_that_is_stale_is_renewed(self, new_lab, transport):
        lab = new_lab(transport=transport, user="me", password="p", auth="digest")
        lab.fake.put("a")
        store = lab.open()
        assert store.stat("a").size == 7
        lab.fake.nonce = "nonce-2"
        assert store.stat("a").size == 7
        assert store.read("a").read() == b"content"

    @pytest.mark.parametrize("auth", ["basic", "digest", "bearer"])
    def test_what_is_wrong_is_a_login_error_after_few_requests(self, new_lab, transport, auth):
        lab = new_lab(transport=transport, user="me", password="right", auth=auth)
        wrong = {"bearer_token": Secret("wrong")} if auth == "bearer" else {"password": Secret("wrong")}
        store = lab.open(**wrong)
        with pytest.raises(LoginRequired):
            store.stat("a")
        assert sum(lab.fake.requests.values()) <= 8

    def test_no_redirect_gets_the_password(self, new_lab, transport):
        lab = new_lab(transport=transport, user="me", password="p")
        lab.fake.put("a")
        store = lab.open()
        store._api.ready()
        seen = []

        def redirect(request, answer):
            seen.append(request.host)
            return FakeResponse(302, (("Location", "https://evil.test/a"),))

        lab.fake.rule("*", times=9, act=redirect)
        with pytest.raises(Exception, match=r"evil\.test"):
            store.stat("a")
        assert set(seen) == {lab.origin.partition("://")[2]}


def test_a_user_and_a_token_show_in_no_message(new_lab, caplog):
    lab = new_lab(user="me", password="s3cret-word")
    caplog.set_level("DEBUG")
    with pytest.raises(LoginRequired) as caught:
        lab.open(password=Secret("s3cret-w0rd")).stat("a")
    assert "s3cret" not in str(caught.value) + caplog.text
