"""Credentials, options, and the road to the service: proxies, authorities, hosts."""

import json
import os
import subprocess
import sys
from urllib.parse import parse_qsl

import pytest
from google.auth import jwt

from cftool.core.errors import ConfigError, ConnectionFailed, LoginRequired, TLSFailed
from cftool.core.provider import Secret
from cftool.core.sources import BytesSource
from cftool.http.oauth import Token, TokenFile, source_of
from cftool.testing.fake_gdrive import CLIENT_ID, CLIENT_SECRET, LOGIN, FakeGDrive
from cftool.testing.http_fake import Authority, FakeResponse
from cftool_providers.gdrive import SCOPE


def test_everything_goes_through_the_proxy_to_the_real_hosts(new_lab):
    lab = new_lab(transport="curl")
    store = lab.open()
    store.write("dir/f", BytesSource(b"x" * 5_000_001))
    assert store.read("dir/f").read() == b"x" * 5_000_001
    assert set(lab.proxy.connected) == {"www.googleapis.com:443", "oauth2.googleapis.com:443"}
    assert lab.proxy.forwarded == []


def test_an_authority_that_is_not_known_is_refused(new_lab):
    lab = new_lab(transport="curl")
    with Authority() as other:
        lab.env["SSL_CERT_FILE"] = other.bundle
        with pytest.raises((TLSFailed, ConnectionFailed)):
            lab.open().stat("f")
    assert lab.fake.log == []


def test_an_expired_access_token_is_renewed_once(lab):
    store = lab.open()
    store.write("f", BytesSource(b"x"))
    lab.fake.access.clear()
    assert store.stat("f").size == 1
    assert lab.fake.requests["token"] == 2


def test_the_next_process_takes_the_token_from_the_state_directory(quick):
    quick.open().write("f", BytesSource(b"x"))
    assert quick.open().stat("f").size == 1
    assert quick.fake.requests["token"] == 1
    path = TokenFile(quick.state_dir, "gdrive", "lab").path
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_login_of_the_command_is_used(quick):
    refresh = Secret("refresh-token-1")
    file = TokenFile(quick.state_dir, "gdrive", "lab")
    file.save(source_of(CLIENT_ID, None), Token(Secret("old"), 0.0, refresh))
    store = quick.open(refresh_token=None)
    store.write("f", BytesSource(b"x"))
    assert quick.fake.find("f")[0].content == b"x"
    assert store.features.identity == quick.open(refresh_token=refresh).features.identity


def test_without_any_credentials_the_error_says_what_to_do(quick):
    for options in ({"refresh_token": None}, {"client_id": None, "client_secret": None, "refresh_token": None}):
        with pytest.raises(LoginRequired, match="cftool config login lab"):
            quick.open(**options).stat("f")
    assert [request for request in quick.fake.log if request.host != LOGIN] == []


def test_a_wrong_secret_needs_a_login(quick):
    with pytest.raises(LoginRequired, match="expired or revoked"):
        quick.open(client_secret=Secret("wrong")).stat("f")


class Accounts(FakeGDrive):
    """Takes the assertions of service accounts, and keeps their claims."""

    def __init__(self):
        super().__init__()
        self.claims = []

    def _login(self, request):
        form = dict(parse_qsl(request.body.decode()))
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        self.claims.append(jwt.decode(form["assertion"], verify=False))
        self.access.add("of-account")
        body = json.dumps({"access_token": "of-account", "expires_in": 3600}).encode()
        return FakeResponse(200, (("Content-Type", "application/json"),), body)


@pytest.fixture
def key_file(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    info = {
        "type": "service_account",
        "client_email": "robot@project.iam.gserviceaccount.com",
        "private_key": pem,
        "private_key_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    path = tmp_path / "key.json"
    path.write_text(json.dumps(info))
    return str(path)


def test_a_service_account_acts_as_the_user_it_impersonates(new_lab, key_file):
    lab = new_lab(Accounts())
    store = lab.open(
        client_id=None,
        client_secret=None,
        refresh_token=None,
        service_account_file=key_file,
        impersonate="Ann@Example.org",
    )
    store.write("f", BytesSource(b"x"))
    [claims] = lab.fake.claims
    assert (claims["sub"], claims["scope"]) == ("Ann@Example.org", SCOPE)
    assert store.features.identity == "gdrive:my-drive:ann@example.org"


def test_the_variable_of_google_names_a_service_account(new_lab, key_file):
    lab = new_lab(Accounts())
    lab.env["GOOGLE_APPLICATION_CREDENTIALS"] = key_file
    lab.open(client_id=None, client_secret=None, refresh_token=None).write("f", BytesSource(b"x"))
    assert "sub" not in lab.fake.claims[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"root_folder_id": "https://drive.google.com/drive/folders/1"}, "is no id"),
        ({"shared_drive": "a b"}, "is no id"),
        ({"export_formats": "docx,doc"}, "'doc'"),
        ({"impersonate": "ann@example.org"}, "service_account_file"),
        ({"service_account_file": "/nowhere/key.json"}, "/nowhere/key.json"),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_request(quick, options, words):
    with pytest.raises(ConfigError, match=words):
        quick.open(**options)
    assert quick.fake.log == []


def test_a_file_that_is_no_key_is_refused(quick, tmp_path):
    path = tmp_path / "key.json"
    path.write_text("{}")
    with pytest.raises(ConfigError):
        quick.open(client_id=None, service_account_file=str(path))


def test_two_accounts_and_two_roots_are_not_one_service(quick):
    identities = {
        quick.open().features.identity,
        quick.open(refresh_token=Secret("another")).features.identity,
        quick.open(root_folder_id="1abc").features.identity,
        quick.open(shared_drive="0Axyz").features.identity,
    }
    assert len(identities) == 4
    assert not any("refresh" in identity for identity in identities)


def test_no_secret_is_logged(quick, caplog):
    caplog.set_level("DEBUG")
    quick.open().write("f", BytesSource(b"x" * 5_000_001))
    text = caplog.text
    assert "upload.chunk" in text
    for secret in ("session-0", "access-token", "refresh-token-1", CLIENT_SECRET):
        assert secret not in text


def test_requests_are_counted_by_call(quick):
    store = quick.open()
    store.write("f", BytesSource(b"x"))
    assert quick.requests == {"token": 1, "files.list": 1, "files.generateIds": 1, "upload.create": 1}


def test_naming_the_provider_imports_none_of_it():
    code = (
        "import sys, cftool.registry as r; p = r.provider('gdrive'); assert p.options; "
        "bad = [m for m in sys.modules if m.startswith(('requests', 'pycurl', 'google', 'cftool.http')) "
        "or m == 'cftool_providers.gdrive.store']; assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
