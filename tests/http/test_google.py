"""Google's credentials: assertions, logins, what google-auth is left with, signed URLs, and what each failure means."""

import base64
import json

import pytest

from cftool.core.errors import ConfigError, LoginRequired, ProtocolError, TemporaryError
from cftool.core.provider import Context, Secret
from cftool.http import google
from cftool.http.types import Verdict
from cftool.testing.http_fake import FakeRequest, FakeResponse, FakeServer

NOW = 1_700_000_000.0


@pytest.fixture(scope="module")
def key():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode(), private.public_key()


class TokenServer:
    """A token endpoint that answers as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.answers: list[FakeResponse] = []

    def handle(self, request: FakeRequest) -> FakeResponse:
        from urllib.parse import parse_qsl

        assert (request.method, request.path) == ("POST", "/token")
        assert request.header("content-type") == "application/x-www-form-urlencoded"
        self.asked.append(dict(parse_qsl(request.body.decode())))
        if self.answers:
            return self.answers.pop(0)
        body = {"access_token": f"token-{len(self.asked)}", "expires_in": 3599, "token_type": "Bearer"}
        return FakeResponse(200, (("Content-Type", "application/json"),), json.dumps(body).encode())


@pytest.fixture
def tokens():
    fake = TokenServer()
    with FakeServer(fake.handle) as server:
        fake.url = f"{server.url}/token"
        yield fake


@pytest.fixture(params=["curl", "requests"])
def client(request):
    client = google.login_client(Context(transport=request.param))
    yield client
    client.close()


def account(key, url, **more):
    return {
        "type": "service_account", "client_email": "robot@x", "private_key": key[0], "private_key_id": "1",
        "token_uri": url, **more,
    }  # fmt: skip


def claims_of(assertion, public):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    head, claims, signature = (base64.urlsafe_b64decode(part + "==") for part in assertion.split("."))
    public.verify(signature, assertion.rpartition(".")[0].encode(), padding.PKCS1v15(), hashes.SHA256())
    assert json.loads(head)["alg"] == "RS256"
    return json.loads(claims)


class TestServiceAccount:
    def test_the_assertion_is_signed_and_says_who_wants_what(self, client, tokens, key):
        grant = google.service_account_grant(
            client, account(key, tokens.url), ["a", "b"], subject="user@x", wall=lambda: NOW
        )
        token = grant(None)
        assert (token.access, token.expires) == (Secret("token-1"), NOW + 3599)
        [asked] = tokens.asked
        assert asked["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        assert claims_of(asked["assertion"], key[1]) == {
            "iss": "robot@x", "scope": "a b", "aud": tokens.url, "iat": int(NOW), "exp": int(NOW) + 3600,
            "sub": "user@x",
        }  # fmt: skip

    @pytest.mark.parametrize("change", [{"private_key": None}, {"private_key": "no key"}, {"client_email": None}])
    def test_a_key_that_is_none_is_a_matter_of_configuration(self, client, tokens, key, change):
        info = account(key, tokens.url)
        info |= change
        info = {name: value for name, value in info.items() if value is not None}
        with pytest.raises(ConfigError):
            google.service_account_grant(client, info, ["a"])(None)
        assert tokens.asked == []

    @pytest.mark.parametrize(
        ("status", "body", "kind"),
        [
            (400, b'{"error": "invalid_grant", "error_description": "Account deleted"}', LoginRequired),
            (401, b'{"error": "invalid_client"}', LoginRequired),
            (200, b"<html>", ProtocolError),
            (200, b"{}", ProtocolError),
            (200, b'{"access_token": "x", "expires_in": "soon"}', ProtocolError),
        ],
    )
    def test_what_a_refusal_means(self, client, tokens, key, status, body, kind):
        tokens.answers.append(FakeResponse(status, (("Content-Type", "application/json"),), body))
        with pytest.raises(kind):
            google.service_account_grant(client, account(key, tokens.url), ["a"])(None)
        assert len(tokens.asked) == 1

    def test_a_passing_failure_is_outlasted(self, client, tokens, key):
        tokens.answers += [FakeResponse(500), FakeResponse(503), FakeResponse(429, (("Retry-After", "0"),))]
        assert google.service_account_grant(client, account(key, tokens.url), ["a"])(None).access
        assert len(tokens.asked) == 4

    def test_a_file_that_holds_none(self):
        for text in ("", "[]", "{}", '{"type": "authorized_user"}'):
            with pytest.raises(ConfigError):
                google.read_service_account(text)
        assert google.read_service_account('{"type": "service_account"}') == {"type": "service_account"}


class TestDefault:
    def grant(self, client, env):
        return google.default_grant(["a"], env=env, client=lambda: client, wall=lambda: NOW)

    def write(self, path, info):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(info))
        return str(path)

    def user(self, url):
        return {
            "type": "authorized_user", "client_id": "id", "client_secret": "secret", "refresh_token": "refresh",
            "token_uri": url,
        }  # fmt: skip

    def test_the_variables_file_comes_first(self, client, tokens, key, tmp_path):
        gcloud = self.write(tmp_path / ".config/gcloud/application_default_credentials.json", self.user(tokens.url))
        named = self.write(tmp_path / "named.json", account(key, tokens.url))
        env = {"HOME": str(tmp_path), "GOOGLE_APPLICATION_CREDENTIALS": named}
        assert google.default_file(env) == named
        assert self.grant(client, env)(None).access == Secret("token-1")
        assert "assertion" in tokens.asked[0]
        assert google.default_file({"HOME": str(tmp_path)}) == gcloud
        assert google.default_file({"HOME": str(tmp_path / "none")}) is None
        moved = {"HOME": "/none", "CLOUDSDK_CONFIG": str(tmp_path / ".config/gcloud")}
        assert google.default_file(moved) == gcloud

    def test_gclouds_login_is_refreshed_by_us(self, client, tokens, tmp_path):
        path = self.write(tmp_path / "adc.json", self.user(tokens.url))
        token = self.grant(client, {"GOOGLE_APPLICATION_CREDENTIALS": path})(None)
        assert token.access == Secret("token-1")
        assert tokens.asked == [
            {
                "grant_type": "refresh_token",
                "refresh_token": "refresh",
                "client_id": "id",
                "client_secret": "secret",
            }
        ]

    def test_a_revoked_login_says_what_to_run(self, client, tokens, tmp_path):
        path = self.write(tmp_path / "adc.json", self.user(tokens.url))
        tokens.answers.append(FakeResponse(400, (), b'{"error": "invalid_grant", "error_description": "revoked"}'))
        with pytest.raises(LoginRequired, match="gcloud auth application-default login"):
            self.grant(client, {"GOOGLE_APPLICATION_CREDENTIALS": path})(None)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"type": 5}', '{"type": "authorized_user"}'])
    def test_a_damaged_file_is_a_matter_of_configuration(self, client, tmp_path, text):
        (tmp_path / "adc.json").write_text(text)
        with pytest.raises(ConfigError):
            self.grant(client, {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "adc.json")})(None)

    def test_a_named_file_that_is_missing(self, client, tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            self.grant(client, {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none")})(None)


class TestLibrary:
    """What google-auth does whole: its failures in our words."""

    @pytest.fixture
    def library(self, monkeypatch):
        import google.auth as library

        class Credentials:
            token = "from-the-library"
            expiry = None
            error = None

            def refresh(self, request):
                assert request.session.verify
                if self.error is not None:
                    raise self.error

        found = Credentials()
        monkeypatch.setattr(library, "default", lambda scopes: (found, "project"))
        return found

    def grant(self, tmp_path):
        return google.default_grant(["a"], env={"HOME": str(tmp_path)})

    def test_a_token_without_and_with_an_end(self, library, tmp_path):
        from datetime import datetime

        assert self.grant(tmp_path)(None).expires == float("inf")
        library.expiry = datetime(2023, 11, 14, 22, 13, 20)  # noqa: DTZ001 - as google-auth has them
        token = self.grant(tmp_path)(None)
        assert (token.access, token.expires) == (Secret("from-the-library"), NOW)

    def test_what_its_failures_mean(self, library, tmp_path):
        from google.auth import exceptions

        for error, kind in (
            (exceptions.RefreshError("refused", {"secret": "body"}), LoginRequired),
            (exceptions.RefreshError(), LoginRequired),
            (exceptions.RefreshError("busy", retryable=True), TemporaryError),
            (exceptions.TransportError("no network"), TemporaryError),
            (exceptions.DefaultCredentialsError("none"), LoginRequired),
            (exceptions.MalformedError("odd"), LoginRequired),
        ):
            library.error = error
            with pytest.raises(kind) as caught:
                self.grant(tmp_path)(None)
            assert "secret" not in caught.value.message

    def test_no_token_at_all(self, library, tmp_path):
        library.token = None
        with pytest.raises(LoginRequired):
            self.grant(tmp_path)(None)

    def test_nothing_found_says_what_to_do(self, tmp_path, monkeypatch):
        import google.auth as library
        from google.auth import exceptions

        def nothing(scopes):
            raise exceptions.DefaultCredentialsError("none")

        monkeypatch.setattr(library, "default", nothing)
        with pytest.raises(LoginRequired, match="anonymous = true"):
            self.grant(tmp_path)(None)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.ANSWER), (400, Verdict.ANSWER), (401, Verdict.ANSWER), (408, Verdict.RETRY),
        (429, Verdict.SLOW_DOWN), (500, Verdict.RETRY), (503, Verdict.RETRY),
    ],
)  # fmt: skip
def test_what_is_tried_again_at_a_token_endpoint(status, verdict):
    assert google.classify(status, {}, b"") is verdict


def test_a_signed_url_is_made_as_the_documentation_says(key):
    import hashlib

    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    url = google.sign_url(account(key, "x"), "GET", "https://storage.googleapis.com/b/a%20b", 60, wall=lambda: NOW)
    start, _, signature = url.partition("&X-Goog-Signature=")
    assert start == (
        "https://storage.googleapis.com/b/a%20b?X-Goog-Algorithm=GOOG4-RSA-SHA256"
        "&X-Goog-Credential=robot%40x%2F20231114%2Fauto%2Fstorage%2Fgoog4_request&X-Goog-Date=20231114T221320Z"
        "&X-Goog-Expires=60&X-Goog-SignedHeaders=host"
    )
    query = start.partition("?")[2]
    canonical = f"GET\n/b/a%20b\n{query}\nhost:storage.googleapis.com\n\nhost\nUNSIGNED-PAYLOAD"
    text = (
        "GOOG4-RSA-SHA256\n20231114T221320Z\n20231114/auto/storage/goog4_request\n"
        + hashlib.sha256(canonical.encode()).hexdigest()
    )
    key[1].verify(bytes.fromhex(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256())
